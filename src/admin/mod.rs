//! The operator's side: health, metrics, and the API for cases. It listens apart from clients, and nothing here touches
//! an upload.

mod auth;
mod cases;
mod openapi;

pub(crate) use cases::audit_line;

use crate::config::settings::Secret;
use crate::gate::Gate;
use crate::record::Alarm;
use auth::Problem;
use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use std::io;
use std::sync::Arc;
use subtle::ConstantTimeEq as _;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, watch};

#[derive(Clone)]
struct Admin {
    gate: Arc<Gate>,
    token: Option<Secret>,
    /// Whoever acts on cases does so alone.
    acting: Arc<Mutex<()>>,
}

/// What an act may say.
const BODY_MAX: usize = 64 << 10;

/// Serves until `stopping` says true.
///
/// # Errors
/// The listener's.
pub async fn serve(
    gate: Arc<Gate>,
    listener: TcpListener,
    token: Option<Secret>,
    mut stopping: watch::Receiver<bool>,
) -> io::Result<()> {
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics));
    let router = api().into_iter().fold(router, |router, (path, method)| router.route(path, method));
    let router = router
        .route("/v1/{*rest}", axum::routing::any(no_such_path))
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .with_state(Admin { gate, token, acting: Arc::default() });
    let stopped = async move {
        stopping.wait_for(|stop| *stop).await.ok();
    };
    axum::serve(listener, router).with_graceful_shutdown(stopped).await
}

/// The API for operators, as `openapi` describes it.
fn api() -> Vec<(&'static str, MethodRouter<Admin>)> {
    vec![
        ("/v1/openapi.json", get(|| async { axum_json(openapi::document().to_string()) })),
        ("/v1/gate", get(cases::gate)),
        ("/v1/cases", get(cases::list)),
        ("/v1/cases/{case}", get(cases::show)),
        ("/v1/cases/{case}/report", get(cases::report)),
        ("/v1/cases/{case}/release", post(cases::release)),
        ("/v1/cases/{case}/purge", post(cases::purge)),
        ("/v1/cases/{case}/hold", post(cases::hold)),
        ("/v1/cases/{case}/unhold", post(cases::unhold)),
    ]
}

fn axum_json(text: String) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], text)
}

async fn no_such_path() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "no_such_path", "there is no such path; GET /v1/openapi.json has them all")
}

async fn wrong_method() -> Problem {
    let message = "this path does not take this method; GET /v1/openapi.json says which it takes";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", message)
}

/// Ready: uploads can be decided and recorded.
async fn ready(State(admin): State<Admin>) -> Response {
    let mut problems = Vec::new();
    if admin.gate.sinks.audit.is_broken() {
        problems.push("the audit log takes no line: uploads are refused\n");
    }
    if admin.gate.sinks.lists.any_too_old() {
        problems.push("a list is older than its max_age: uploads are refused\n");
    }
    if admin.gate.quarantine.as_ref().is_some_and(|quarantine| quarantine.is_tight()) {
        problems.push("the disk is full, and what is left of it goes to cases: uploads are refused\n");
    }
    if admin.gate.sinks.alarms.is_raised(Alarm::CanaryStored) {
        problems.push("the canary was stored, so the gate does not keep out what it must: uploads are refused\n");
    }
    if problems.is_empty() {
        "ready\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, problems.concat()).into_response()
    }
}

async fn metrics(State(admin): State<Admin>, headers: HeaderMap) -> Response {
    if !admin.may_read(&headers) {
        let ask = [(header::WWW_AUTHENTICATE, "Bearer")];
        return (StatusCode::UNAUTHORIZED, ask, "the token of admin.token_file is needed\n").into_response();
    }
    let metrics = &admin.gate.sinks.metrics;
    metrics.lists(&admin.gate.sinks.lists);
    metrics.multipart(&admin.gate.multipart);
    metrics.flooding(admin.gate.floods.flooding(&admin.gate.decisions));
    if let Some(quarantine) = &admin.gate.quarantine {
        metrics.quarantine(quarantine.status());
    }
    metrics.rechecks(admin.gate.rechecks.waiting());
    match metrics.render() {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

impl Admin {
    fn may_read(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.token else { return true };
        let given = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes()).unwrap_or_default();
        let expected = format!("Bearer {}", token.expose());
        given.ct_eq(expected.as_bytes()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The document and the router name the same paths. That each takes the methods that the document has is shown from
    /// outside, in `operators`.
    #[test]
    fn the_document_has_every_path() {
        let document = openapi::document();
        let mut documented: Vec<&str> = document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
        let mut paths: Vec<&str> = api().into_iter().map(|(path, _)| path).collect();
        paths.sort_unstable();
        documented.sort_unstable();
        assert_eq!(paths, documented);
    }
}
