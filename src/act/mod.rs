//! What a verdict does beyond releasing or dropping the hold.

mod incident;
mod refusals;

pub use incident::{abort_multipart, remove_committed};
pub use refusals::Refusals;
