//! The one place where compiling meets the readers of source formats.

use super::entry::{Entry, Item};
use super::text;
use std::fmt;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;

/// Where in a source something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A line, from 1.
    Line(u64),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place::Line(number) = self;
        write!(f, "{number}")
    }
}

/// What was read from a source beside its items.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fed {
    /// The format it was read as.
    pub format: String,
    /// Places that hold no entry but should.
    pub bad_lines: u64,
    /// The first of them, with the reason.
    pub first_bad: Vec<(Place, String)>,
}

/// Gives every item of a source to `sink`, in its order.
///
/// # Errors
/// The reader's, and the sink's.
pub fn feed(path: &Path, sink: &mut dyn FnMut(Place, Item) -> io::Result<()>) -> io::Result<Fed> {
    let source = BufReader::with_capacity(256 << 10, File::open(path)?);
    let read = text::read_each(source, &mut |line, digest| {
        let entry = Entry { digests: vec![digest], ..Entry::default() };
        sink(Place::Line(line), Item::Entry(entry))
    })?;
    let first_bad = read.first_bad.iter().map(|(line, why)| (Place::Line(*line), why.to_string())).collect();
    Ok(Fed { format: "text".to_owned(), bad_lines: read.bad_lines, first_bad })
}
