//! The hold: what the origin has not been given yet.

use super::WINDOW;
use super::body::{AnswerBody, Piece, RequestBody, buffered};
use super::connect::AbortSwitch;
use super::head::OriginHead;
use super::origin::{Lease, Origin, OriginError};
use crate::decide::Clear;
use crate::s3::chunked::Segment;
use bytes::Bytes;
use http::{Response, StatusCode};
use hyper::body::Incoming;
use std::collections::VecDeque;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// How long an origin may take to say 100 Continue. Not all do; after this the body goes on without.
const CONTINUE_TIMEOUT: Duration = Duration::from_secs(1);

/// An upload on its way, whose end the origin does not have. Dropped, it aborts.
pub struct Held {
    origin: Arc<Origin>,
    head: OriginHead,
    stream: Option<Stream>,
    /// Wire bytes that are kept back: all of them before the request is opened; afterwards the last payload piece and
    /// what follows it.
    kept: VecDeque<Bytes>,
    /// Payload bytes in `kept` while the request is not open.
    window: usize,
    /// How many those may be before it is opened.
    window_max: usize,
}

/// What stops a [`Held`] from taking more.
pub enum Interrupted {
    /// The origin answered before the end. Its head and body, and the connection, which must not be used again.
    Answered(Response<AnswerBody>),
    /// The origin is lost.
    Lost(OriginError),
}

impl From<OriginError> for Interrupted {
    fn from(error: OriginError) -> Interrupted {
        Interrupted::Lost(error)
    }
}

/// What the origin says of a head without a body.
pub enum Asked {
    /// It would take the upload, or does not say.
    WouldTake,
    /// It refuses it.
    Refuses(Response<AnswerBody>),
}

type Answer = Pin<Box<dyn Future<Output = Result<Response<Incoming>, OriginError>> + Send>>;

/// A request that is open at the origin.
struct Stream {
    pieces: mpsc::Sender<Piece>,
    answer: Answer,
    lease: Lease,
    abort: AbortOnDrop,
}

/// Throws the switch unless it was disarmed: whatever way the upload ends, an unreleased one ends in a reset.
struct AbortOnDrop(Option<AbortSwitch>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        if let Some(switch) = &self.0 {
            switch.throw();
        }
    }
}

impl Held {
    /// An upload with this head, nothing of which has been sent.
    pub fn new(origin: Arc<Origin>, head: OriginHead) -> Held {
        Held { origin, head, stream: None, kept: VecDeque::new(), window: 0, window_max: WINDOW }
    }

    /// Keeps all of the payload back until it is decided: what the origin does with it does not wait for its end.
    #[must_use]
    pub fn whole(self) -> Held {
        Held { window_max: usize::MAX, ..self }
    }

    /// Whether the origin has been sent anything.
    pub fn is_open(&self) -> bool {
        self.stream.is_some()
    }

    /// Takes the next segment and sends on what need not be held any more, waiting while the origin takes nothing.
    pub async fn push(&mut self, segment: Segment) -> Result<(), Interrupted> {
        let wire = segment.wire().clone();
        let payload = matches!(segment, Segment::Payload(_));
        if self.stream.is_some() {
            if payload {
                self.send_kept().await?;
            }
            self.kept.push_back(wire);
            return Ok(());
        }
        if payload && self.window + wire.len() > self.window_max {
            // More than a window: what was kept so far is not the end.
            self.open().await?;
            self.send_kept().await?;
        } else if payload {
            self.window += wire.len();
        }
        self.kept.push_back(wire);
        Ok(())
    }

    /// Ends when the origin answers, or is lost, though it does not have the end yet; never while nothing was sent.
    pub async fn interrupted(&mut self) -> Interrupted {
        match &mut self.stream {
            None => pending().await,
            Some(stream) => {
                let answer = (&mut stream.answer).await;
                stream.answered(answer)
            }
        }
    }

    /// Opens the request with its head alone and waits for the origin's 100 Continue, for a client that waits for it,
    /// too. Only for payloads that are longer than the window.
    pub async fn open_and_wait(&mut self) -> Result<(), Interrupted> {
        let continued = self.open_expecting().await?;
        let Some(stream) = &mut self.stream else { return Ok(()) };
        tokio::select! {
            answer = &mut stream.answer => Err(stream.answered(answer)),
            // An origin that does not speak 100 just gets the body, as RFC 9110, section 10.1.1 has it. One that gave
            // its answer instead drops the other end; then the answer is what we wait for.
            _ = timeout(CONTINUE_TIMEOUT, async {
                if continued.await.is_err() {
                    pending::<()>().await;
                }
            }) => Ok(()),
        }
    }

    /// Aborts what was sent, and asks the origin on another connection whether it would have taken this head: where it
    /// refuses the caller, that is the answer that the caller should see.
    pub async fn abort_and_ask(self) -> Result<Asked, OriginError> {
        let Held { origin, mut head, stream, .. } = self;
        drop(stream);
        head.expect_continue();
        let mut asking = Held::new(origin, head);
        match asking.open_and_wait().await {
            Ok(()) => Ok(Asked::WouldTake),
            // Read while `asking` is there: dropped, it resets the connection that the answer comes over.
            Err(Interrupted::Answered(answer)) if !answer.status().is_success() => {
                Ok(Asked::Refuses(buffered(answer).await?))
            }
            Err(Interrupted::Answered(_)) => Ok(Asked::WouldTake),
            Err(Interrupted::Lost(error)) => Err(error),
        }
    }

    async fn open(&mut self) -> Result<(), OriginError> {
        self.open_expecting().await.map(drop)
    }

    /// Opens the request; the receiver hears of a 100 Continue.
    async fn open_expecting(&mut self) -> Result<oneshot::Receiver<()>, OriginError> {
        let mut connection = self.origin.connection().await?;
        let (pieces, receiver) = mpsc::channel(1);
        let mut request = self.head.request(RequestBody::Held(receiver));
        let (said, continued) = oneshot::channel();
        let said = std::sync::Mutex::new(Some(said));
        hyper::ext::on_informational(&mut request, move |head| {
            let waiting = said.lock().ok().and_then(|mut said| said.take());
            if let (StatusCode::CONTINUE, Some(waiting)) = (head.status(), waiting) {
                // Nobody waits any more: the body was sent without.
                waiting.send(()).ok();
            }
        });
        let abort = AbortOnDrop(Some(connection.abort.clone()));
        let sent = connection.sender.send_request(request);
        let answer: Answer = Box::pin(async move { sent.await.map_err(|error| OriginError::from_hyper(&error)) });
        let lease = Lease { origin: self.origin.clone(), connection };
        self.stream = Some(Stream { pieces, answer, lease, abort });
        Ok(continued)
    }

    async fn send_kept(&mut self) -> Result<(), Interrupted> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        let limit = self.origin.limits().answer_timeout;
        while let Some(wire) = self.kept.pop_front() {
            stream.send(Piece::Wire(wire), limit).await?;
        }
        Ok(())
    }
}

impl Stream {
    /// The origin answered before the end. Its request is poisoned, so its connection is never used again.
    fn answered(&self, answer: Result<Response<Incoming>, OriginError>) -> Interrupted {
        let idle_timeout = self.lease.origin.limits().answer_timeout;
        match answer {
            Ok(answer) => Interrupted::Answered(answer.map(|body| AnswerBody::new(body, None, idle_timeout))),
            Err(error) => Interrupted::Lost(error),
        }
    }

    async fn send(&mut self, piece: Piece, limit: Duration) -> Result<(), Interrupted> {
        tokio::select! {
            biased;
            answer = &mut self.answer => Err(self.answered(answer)),
            room = timeout(limit, self.pieces.reserve()) => match room {
                Ok(Ok(room)) => {
                    room.send(piece);
                    Ok(())
                }
                // The connection's task is gone, and says why through the answer.
                Ok(Err(_)) => {
                    let answer = (&mut self.answer).await;
                    Err(self.answered(answer))
                }
                Err(_) => Err(OriginError::Stalled.into()),
            },
        }
    }
}

/// Lets the end go, and gives the origin's answer. Needs the proof that the payload was decided, and uses it up.
pub async fn release(held: Held, _clear: Clear) -> Result<Response<AnswerBody>, OriginError> {
    let Held { origin, head, stream, mut kept, .. } = held;
    let limit = origin.limits().answer_timeout;
    let Some(stream) = stream else {
        return origin.send(head.request(RequestBody::Whole(kept))).await;
    };
    let Stream { pieces, mut answer, lease, mut abort } = stream;
    // Decided: from here on nothing has to be kept from the origin, and its answer may come at any moment.
    abort.0 = None;
    let ending = async {
        while let Some(wire) = kept.pop_front() {
            pieces.send(Piece::Wire(wire)).await.ok()?;
        }
        // Without it the body ends in an error, and the request is aborted.
        pieces.send(Piece::End).await.ok()
    };
    let answer = timeout(limit, async {
        tokio::select! {
            biased;
            // It counts the bytes, and needs no word that they were the last.
            answer = &mut answer => answer,
            // A connection that takes no more says why through its answer.
            _ = ending => answer.await,
        }
    })
    .await
    .map_err(|_| OriginError::Stalled)??;
    let refused = !answer.status().is_success();
    let answer = answer.map(|body| AnswerBody::new(body, Some(lease), limit));
    if refused { buffered(answer).await } else { Ok(answer) }
}
