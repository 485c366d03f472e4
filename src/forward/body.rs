//! The bodies of requests to the origin, and of its answers.

use super::origin::{Lease, OriginError};
use bytes::Bytes;
use http::Response;
use http::header::CONTENT_LENGTH;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use std::collections::VecDeque;
use std::future::Future as _;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Sleep;

/// Most bytes of an early answer that are kept: errors are short.
const EARLY_ANSWER_MAX: usize = 64 << 10;

/// The body of a request to the origin.
pub enum RequestBody {
    /// None.
    Empty,
    /// All of it, already decided.
    Whole(VecDeque<Bytes>),
    /// Pieces as they are let go. The channel closing without `Piece::End` is an error: the request is aborted.
    Held(mpsc::Receiver<Piece>),
}

impl RequestBody {
    /// The same body once more; `None` where it is not at hand.
    pub(super) fn again(&self) -> Option<RequestBody> {
        match self {
            RequestBody::Empty => Some(RequestBody::Empty),
            RequestBody::Whole(pieces) => Some(RequestBody::Whole(pieces.clone())),
            RequestBody::Held(_) => None,
        }
    }
}

/// What goes through the channel of a held body.
#[derive(Debug)]
pub enum Piece {
    /// Wire bytes.
    Wire(Bytes),
    /// The last wire bytes have been sent.
    End,
}

/// The error that a body yields to abort its request.
#[derive(Debug, thiserror::Error)]
#[error("the upload was aborted by the gate")]
pub struct Aborted;

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        match self.get_mut() {
            RequestBody::Empty => Poll::Ready(None),
            RequestBody::Whole(pieces) => Poll::Ready(pieces.pop_front().map(|piece| Ok(Frame::data(piece)))),
            RequestBody::Held(pieces) => match pieces.poll_recv(cx) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Some(Piece::Wire(wire))) => Poll::Ready(Some(Ok(Frame::data(wire)))),
                Poll::Ready(Some(Piece::End)) => Poll::Ready(None),
                Poll::Ready(None) => Poll::Ready(Some(Err(Aborted))),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            RequestBody::Empty => true,
            RequestBody::Whole(pieces) => pieces.is_empty(),
            RequestBody::Held(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            RequestBody::Empty => SizeHint::with_exact(0),
            RequestBody::Whole(pieces) => SizeHint::with_exact(pieces.iter().map(|piece| piece.len() as u64).sum()),
            RequestBody::Held(_) => SizeHint::default(),
        }
    }
}

/// The body of an answer from the origin. At its end the connection goes back to the pool; dropped before, it is closed.
pub struct AnswerBody {
    source: Source,
    companion: Option<Box<dyn Send + Sync>>,
}

enum Source {
    /// Read whole before.
    Whole(Full<Bytes>),
    /// Coming from the origin.
    Streaming(Streaming),
    /// Coming from a task of ours; it ends when the sender is dropped.
    Channel(mpsc::Receiver<Bytes>),
}

struct Streaming {
    body: Incoming,
    lease: Option<Lease>,
    idle_timeout: Duration,
    idle: Option<Pin<Box<Sleep>>>,
}

impl AnswerBody {
    /// Without a lease the connection is not used again.
    pub(super) fn new(body: Incoming, lease: Option<Lease>, idle_timeout: Duration) -> AnswerBody {
        let mut streaming = Streaming { body, lease, idle_timeout, idle: None };
        streaming.give_back_at_end();
        AnswerBody { source: Source::Streaming(streaming), companion: None }
    }

    /// An answer that was read whole.
    pub fn whole(body: Bytes) -> AnswerBody {
        AnswerBody { source: Source::Whole(Full::new(body)), companion: None }
    }

    /// An answer that a task of ours sends, piece by piece.
    pub fn channel(pieces: mpsc::Receiver<Bytes>) -> AnswerBody {
        AnswerBody { source: Source::Channel(pieces), companion: None }
    }

    /// All of a body that was read whole by [`buffered`]; an error for any other.
    pub async fn collect_short(self) -> Result<Bytes, OriginError> {
        match self.source {
            Source::Whole(whole) => Ok(whole.into_inner().unwrap_or_default()),
            _ => Err(OriginError::Broken("its answer was not read whole".into())),
        }
    }

    /// Keeps something alive until the answer has ended.
    pub fn keeping(mut self, companion: impl Send + Sync + 'static) -> AnswerBody {
        self.companion = Some(Box::new(companion));
        self
    }
}

impl Streaming {
    fn give_back_at_end(&mut self) {
        if self.body.is_end_stream()
            && let Some(lease) = self.lease.take()
        {
            lease.give_back();
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = OriginError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, OriginError>>> {
        let this = self.get_mut();
        let frame = match &mut this.source {
            Source::Whole(whole) => {
                pin!(whole).poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(|never| match never {})))
            }
            Source::Streaming(streaming) => streaming.poll(cx),
            Source::Channel(pieces) => pieces.poll_recv(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece)))),
        };
        if matches!(frame, Poll::Ready(None)) {
            this.companion = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Whole(whole) => whole.is_end_stream(),
            Source::Streaming(streaming) => streaming.body.is_end_stream(),
            Source::Channel(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Whole(whole) => whole.size_hint(),
            Source::Streaming(streaming) => streaming.body.size_hint(),
            Source::Channel(_) => SizeHint::default(),
        }
    }
}

impl Streaming {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, OriginError>>> {
        if let Poll::Ready(frame) = pin!(&mut self.body).poll_frame(cx) {
            self.idle = None;
            self.give_back_at_end();
            return Poll::Ready(frame.map(|frame| frame.map_err(|error| OriginError::from_hyper(&error))));
        }
        let timeout = self.idle_timeout;
        let idle = self.idle.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        ready!(idle.as_mut().poll(cx));
        Poll::Ready(Some(Err(OriginError::Stalled)))
    }
}

/// Reads an early answer or a refusal whole, so that its connection can be given up. What is longer is cut off, as an
/// error.
///
/// An origin that refuses without having read the upload may reset its connection, and lose the body of its own answer
/// by that. The status is what counts: it goes on without a body.
pub async fn buffered(answer: Response<AnswerBody>) -> Result<Response<AnswerBody>, OriginError> {
    let (mut head, mut body) = answer.into_parts();
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = match frame {
            Ok(frame) => frame,
            Err(OriginError::Broken(_)) if !head.status.is_success() => {
                head.headers.remove(CONTENT_LENGTH);
                whole.clear();
                break;
            }
            Err(error) => return Err(error),
        };
        if let Ok(data) = frame.into_data() {
            whole.extend_from_slice(&data);
        }
        if whole.len() > EARLY_ANSWER_MAX {
            return Err(OriginError::Broken("its early answer is too long".into()));
        }
    }
    Ok(Response::from_parts(head, AnswerBody::whole(whole.into())))
}
