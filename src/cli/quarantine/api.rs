//! The gate's API, from the command line.

use super::super::Exit;
use crate::config::Desk;
use crate::web::{Web, WebError};
use anyhow::Context as _;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use std::io;
use std::time::Duration;

/// A purge waits for the store.
const TIMEOUT: Duration = Duration::from_secs(120);

/// A thousand cases take less than a megabyte.
const ANSWER_MAX: usize = 16 << 20;

/// What the gate says.
#[derive(Debug)]
pub(super) enum Told {
    /// What was asked for.
    This(Value),
    /// That it is not there.
    NotThere(String),
    /// Why not.
    No(String),
}

/// Asks. Where no gate listens, [`is_away`] says so of the error.
pub(super) fn get(desk: &Desk, path: &str) -> anyhow::Result<Told> {
    call(desk, Method::GET, path, Bytes::new())
}

pub(super) fn post(desk: &Desk, path: &str, body: &Value) -> anyhow::Result<Told> {
    call(desk, Method::POST, path, body.to_string().into())
}

/// Whether nobody listens at the address.
pub(super) fn is_away(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(WebError::Unreachable(_)))
}

/// A piece of a path or a query.
pub(super) fn encode(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

fn call(desk: &Desk, method: Method, path: &str, body: Bytes) -> anyhow::Result<Told> {
    let request = Request::builder()
        .method(method)
        .uri(format!("http://{}{path}", desk.address))
        .header(HOST, desk.address.to_string())
        .header(AUTHORIZATION, format!("Bearer {}", desk.operator.token.expose()))
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(body))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = runtime
        .block_on(async { Web::new(None)?.call(request, TIMEOUT, ANSWER_MAX).await.map_err(anyhow::Error::from) });
    let answer = answer.with_context(|| format!("the gate at admin.address {}", desk.address))?;
    let told: Value = serde_json::from_slice(answer.body())
        .with_context(|| format!("admin.address {} is not that of a gate", desk.address))?;
    let message = || {
        let message = told["error"]["message"].as_str().unwrap_or("it gives no reason");
        format!("{message} ({})", answer.status())
    };
    Ok(match answer.status() {
        StatusCode::OK => Told::This(told),
        StatusCode::NOT_FOUND if told["error"]["code"] == "no_case" => Told::NotThere(message()),
        _ => Told::No(message()),
    })
}

impl Told {
    /// Prints what was asked for, or says why not.
    pub(super) fn print(self, print: impl FnOnce(&Value) -> io::Result<()>) -> anyhow::Result<Exit> {
        match self {
            Told::This(value) => {
                print(&value)?;
                Ok(Exit::Done)
            }
            Told::NotThere(message) => {
                eprintln!("hashgate: {message}");
                Ok(Exit::NothingFound)
            }
            Told::No(message) => anyhow::bail!(message),
        }
    }
}
