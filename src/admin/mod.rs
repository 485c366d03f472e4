//! The operator's side: health and metrics. It listens apart from clients, and nothing here touches an upload.

use crate::config::settings::Secret;
use crate::gate::Gate;
use crate::record::Alarm;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::io;
use std::sync::Arc;
use subtle::ConstantTimeEq as _;
use tokio::net::TcpListener;
use tokio::sync::watch;

#[derive(Clone)]
struct Admin {
    gate: Arc<Gate>,
    token: Option<Secret>,
}

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
        .route("/metrics", get(metrics))
        .with_state(Admin { gate, token });
    let stopped = async move {
        stopping.wait_for(|stop| *stop).await.ok();
    };
    axum::serve(listener, router).with_graceful_shutdown(stopped).await
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
