//! The protocol of EOKM's HashCheckServer, as its two public clients speak it (AbuseIO SCART, `scartHASHcheck.php`;
//! Shimmie2, `ext/eokm`): `POST {endpoint}/{md5|sha1}` with HTTP Basic, one digest in hexadecimal as the body, and `true`
//! or `false` as the answer.
//!
//! Unlike those, everything that is not one of the two words is a failure, never a "no".

use crate::config::settings::Service;
use crate::digest::{Algorithm, Digest};
use crate::web::{Web, WebError, authorization};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderValue, Request};
use http_body_util::Full;
use std::time::Duration;

/// The answer is one word.
const ANSWER_MAX: usize = 1024;

pub(super) struct HashCheckServer {
    web: Web,
    endpoint: String,
    authorization: Option<HeaderValue>,
}

impl HashCheckServer {
    pub(super) fn new(web: Web, service: &Service) -> HashCheckServer {
        // Without it the service says 401, which is no answer.
        let authorization = service.login.as_ref().and_then(|login| authorization(login).ok());
        HashCheckServer { web, endpoint: service.endpoint.trim_end_matches('/').to_owned(), authorization }
    }

    /// Whether the service has this digest.
    pub(super) async fn has(&self, digest: &Digest, limit: Duration) -> Result<bool, WebError> {
        let format = match digest.algorithm() {
            Algorithm::Md5 => "md5",
            Algorithm::Sha1 => "sha1",
            Algorithm::Sha256 => return Err(WebError::Answer("the protocol knows md5 and sha1 only".into())),
        };
        let mut request = Request::post(format!("{}/{format}", self.endpoint))
            .header(USER_AGENT, concat!("hashgate/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_TYPE, "text/plain")
            .body(Full::new(Bytes::from(digest.to_hex())))
            .map_err(|error| WebError::Answer(error.to_string()))?;
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        }
        let answer = self.web.call(request, limit, ANSWER_MAX).await?;
        match (answer.status().as_u16(), answer.body().trim_ascii()) {
            (200, b"true") => Ok(true),
            (200, b"false") => Ok(false),
            // What it says instead may repeat the digest.
            (200, _) => Err(WebError::Answer("it is neither true nor false".into())),
            (status, _) => Err(WebError::Status { status }),
        }
    }
}
