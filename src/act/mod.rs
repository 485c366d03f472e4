//! What a verdict does beyond releasing or dropping the hold.

mod incident;
mod own;
pub mod read_back;
mod refusals;

pub use incident::{abort_multipart, remove_committed};
pub use own::{Place, Source, read_source};
pub use read_back::ReadBacks;
pub use refusals::Refusals;
