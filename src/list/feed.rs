//! The one place where compiling meets the readers of source formats.

use super::entry::{Entry, Item};
use super::source::{self, Options};
use super::text;
use std::fmt;
use std::io::{self, BufRead};
use std::path::Path;

/// Where in a source something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A line, from 1.
    Line(u64),
    /// A byte, from 0.
    Byte(u64),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Line(number) => write!(f, "{number}"),
            Place::Byte(offset) => write!(f, "byte {offset}"),
        }
    }
}

/// What was read from a source beside its items.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fed {
    /// The format it was read as.
    pub format: String,
    /// Places that hold no entry but should.
    pub bad_lines: u64,
    /// Records that are no entries by the rules of their format: perceptual hashes, uncategorised ones, and the like.
    pub passed_over: u64,
    /// The first of the places that hold no entry but should, with the reason.
    pub first_bad: Vec<(Place, String)>,
    /// Where the next page is, for sources that come in pages.
    pub next: Option<String>,
    /// The newest time in it, as the source writes it.
    pub newest: Option<String>,
}

/// Gives every item of a source to `sink`, in its order.
///
/// # Errors
/// The reader's, the sink's, and what a format cannot be read or used as.
pub fn feed(path: &Path, options: &Options, sink: &mut dyn FnMut(Place, Item) -> io::Result<()>) -> io::Result<Fed> {
    source::read_file(path, options, sink)
}

/// Text lists: the one format that is more than a table.
pub(super) fn text(source: impl BufRead, sink: &mut dyn FnMut(Place, Item) -> io::Result<()>) -> io::Result<Fed> {
    let read = text::read_each(source, &mut |line, digest| {
        let entry = Entry { digests: vec![digest], ..Entry::default() };
        sink(Place::Line(line), Item::Entry(entry))
    })?;
    let first_bad = read.first_bad.iter().map(|(line, why)| (Place::Line(*line), why.to_string())).collect();
    Ok(Fed { format: "text".to_owned(), bad_lines: read.bad_lines, first_bad, ..Fed::default() })
}
