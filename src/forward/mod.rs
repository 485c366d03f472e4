//! To the origin, holding back the end.
//!
//! [`Held`] takes segments and sends on all but the last payload piece and what follows it. [`release`] sends the rest,
//! and takes the [`Clear`](crate::decide::Clear) that only `decide` makes. A `Held` that is dropped aborts: the body
//! yields an error and the connection is reset, so that the origin never sees an end.

mod body;
mod connect;
mod head;
mod hold;
mod origin;
mod resign;

pub use body::{AnswerBody, Piece, RequestBody, buffered};
pub use connect::{RootsError, roots};
pub use head::{OriginHead, answer_head};
pub use hold::{Asked, Held, Interrupted, release};
pub use origin::{Origin, OriginError};
pub use resign::{Reframe, Resigning};

/// The first window: an upload's request is opened at the origin when its payload is complete and clear, or longer than
/// this many bytes. A store that saw the header of a shorter one and then lost the connection replaced the older object
/// by an empty one.
pub const WINDOW: usize = 64 << 10;
