//! Answers to clients: the origin's, passed on, or our own errors.

use crate::error::Failure;
use crate::forward::{AnswerBody, OriginError, answer_head};
use crate::record::Record;
use crate::s3::code::error_xml;
use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// Longest time that a refused body is read on.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Seconds after which a client should come again.
const RETRY_AFTER_SECONDS: &str = "2";

/// The body of an answer to a client.
pub enum Answer {
    /// Our own.
    Own(Full<Bytes>),
    /// The origin's; the record is written with its last byte.
    Passed {
        /// What comes from the origin.
        body: AnswerBody,
        /// The record; taken when the body has ended.
        record: Option<Record>,
    },
}

/// Passes the origin's answer on, to a client that asked `host`. It may send the client on to `wanted`, if the client said so.
pub fn pass_on(
    origin: Response<AnswerBody>,
    host: &str,
    wanted: Option<&str>,
    resource: &str,
    mut record: Record,
) -> Response<Answer> {
    let (head, body) = origin.into_parts();
    let Ok(head) = answer_head(head, &[host, wanted.unwrap_or(host)]) else {
        return fail(&Failure::PastTheGate, resource, record, false);
    };
    record.answering(head.status.as_u16());
    let mut answer = Answer::Passed { body, record: Some(record) };
    answer.close_at_end();
    Response::from_parts(head, answer)
}

/// Answers with an error of ours. Where the request was not read whole, the connection ends with it.
pub fn fail(failure: &Failure, resource: &str, record: Record, read_whole: bool) -> Response<Answer> {
    let (code, message) = failure.answer();
    let xml = error_xml(code, &message, resource, record.id());
    let mut response = Response::new(Answer::Own(Full::new(xml.into())));
    *response.status_mut() = code.status();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    if let Ok(id) = HeaderValue::try_from(record.id()) {
        headers.insert("x-amz-request-id", id);
    }
    if code.status() == 503 {
        headers.insert(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS));
    }
    if !read_whole {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    record.fail(failure, code.status().as_u16());
    response
}

/// Reads a body on and throws it away. True where it ended within `bytes_max`.
pub async fn drain(body: &mut Incoming, bytes_max: u64) -> bool {
    let mut drained = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        drained += frame.data_ref().map_or(0, |data| data.len() as u64);
        if drained > bytes_max {
            return false;
        }
    }
    true
}

impl Answer {
    fn close_at_end(&mut self) {
        if let Answer::Passed { body, record } = self
            && body.is_end_stream()
            && let Some(record) = record.take()
        {
            record.close();
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = OriginError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, OriginError>>> {
        let this = self.get_mut();
        let frame = match this {
            Answer::Own(own) => {
                let own = ready!(pin!(own).poll_frame(cx));
                return Poll::Ready(own.map(|frame| frame.map_err(|never: Infallible| match never {})));
            }
            Answer::Passed { body, record } => {
                let frame = ready!(pin!(body).poll_frame(cx));
                match (&frame, record.as_mut()) {
                    (Some(Ok(frame)), Some(record)) => {
                        record.answered(frame.data_ref().map_or(0, Bytes::len));
                    }
                    (None, Some(_)) => drop(record.take()),
                    (Some(Err(error)), Some(_)) => {
                        if let Some(record) = record.take() {
                            record.broke_off(error);
                        }
                    }
                    _ => {}
                }
                frame
            }
        };
        this.close_at_end();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Answer::Own(own) => own.is_end_stream(),
            Answer::Passed { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Answer::Own(own) => own.size_hint(),
            Answer::Passed { body, .. } => body.size_hint(),
        }
    }
}

impl Drop for Answer {
    /// Dropped before its end: the client did not wait for it.
    fn drop(&mut self) {
        if let Answer::Passed { record: Some(record), .. } = self {
            record.abandoned();
        }
    }
}
