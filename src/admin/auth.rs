//! Who asks: bearer tokens with a name, a role and an end.

use super::Admin;
use crate::config::settings::{Operator, Role};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use subtle::ConstantTimeEq as _;
use time::OffsetDateTime;

/// An answer that says what is wrong, and what to do about it.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Problem {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Problem {
        Problem { status, code, message: message.into() }
    }

    /// The request itself is wrong.
    pub(super) fn bad(message: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    /// What failed here; details are in the log.
    pub(super) fn broken(message: impl Into<String>) -> Problem {
        let message = message.into();
        tracing::error!("the admin API: {message}");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", message)
    }

    /// The word that scripts, and the audit line, have for it.
    pub(super) fn code(&self) -> &'static str {
        self.code
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = json!({ "error": { "code": self.code, "message": self.message } }).to_string();
        let content = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
        let mut answer = (self.status, content, body).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            answer.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
        }
        answer
    }
}

impl Admin {
    /// The operator whose token came with the request.
    pub(super) fn operator(&self, headers: &HeaderMap) -> Result<&Operator, Problem> {
        let operators = self.gate.settings.admin.as_ref().map_or(&[][..], |admin| &admin.operators);
        if operators.is_empty() {
            let message = "admin.tokens is empty: give an operator a name, a role, a token_file and the day it expires";
            return Err(Problem::new(StatusCode::NOT_FOUND, "no_tokens", message));
        }
        let given = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes()).unwrap_or_default();
        let operator = holder(operators, given);
        let unknown = "an `Authorization: Bearer TOKEN` header with a token of admin.tokens is needed";
        let operator = operator.ok_or_else(|| Problem::new(StatusCode::UNAUTHORIZED, "unknown_token", unknown))?;
        if operator.expires <= OffsetDateTime::now_utc() {
            tracing::warn!(operator = operator.name, "an expired token was refused");
            let message = "this token has expired: make a new one, and give it a later `expires` in admin.tokens";
            return Err(Problem::new(StatusCode::UNAUTHORIZED, "expired_token", message));
        }
        Ok(operator)
    }
}

/// Fails where they may only look.
pub(super) fn officer(operator: &Operator) -> Result<(), Problem> {
    if operator.role == Role::Officer {
        return Ok(());
    }
    let message = "only an officer may do this; this token has the role `viewer` in admin.tokens";
    Err(Problem::new(StatusCode::FORBIDDEN, "not_an_officer", message))
}

/// Digests are compared, and always all of them: how long it takes tells nothing of any token, nor its length.
fn holder<'a>(operators: &'a [Operator], authorization: &[u8]) -> Option<&'a Operator> {
    let given = blake3::hash(authorization);
    let mut found = None;
    for operator in operators {
        let expected = blake3::hash(format!("Bearer {}", operator.token.expose()).as_bytes());
        if bool::from(given.as_bytes().ct_eq(expected.as_bytes())) {
            found = Some(operator);
        }
    }
    found
}
