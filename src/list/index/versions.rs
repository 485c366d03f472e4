//! The entries of an index one by one, sealed beside it, for sources that only tell what has changed.
//!
//! In the index itself entries with the same digest are one row, from which nobody could take one of them away again.

use super::seal::{Key, Seal};
use super::table::{Access, Table};
use super::write::Writer;
use super::{BadPage, IndexError};
use serde_json::json;
use std::io;
use std::path::Path;

/// id's mark 16, number 8 (big-endian), algorithms (0: it is gone), category 2, for each algorithm mark 16 and size mark.
pub(super) const VERSION_WIDTH: usize = 78;

/// The entries of one version of a list.
pub struct Versions {
    table: Table<VERSION_WIDTH>,
    /// By number.
    categories: Vec<String>,
}

impl Versions {
    /// Opens the file.
    ///
    /// # Errors
    /// It cannot be read, is damaged, or was sealed with another key.
    pub fn open(path: &Path, key: &Key) -> Result<Versions, IndexError> {
        let table = Table::open(path, key, Access::Map)?;
        let names = table.about()["categories"].as_array().into_iter().flatten();
        let categories = names.map(|name| name.as_str().unwrap_or_default().to_owned()).collect();
        Ok(Versions { table, categories })
    }

    pub(super) fn seal(&self) -> &Seal {
        self.table.seal()
    }

    /// Every entry with the name of its category.
    pub(super) fn entries(&self) -> impl Iterator<Item = Result<([u8; VERSION_WIDTH], &str), BadPage>> {
        (0..self.table.rows()).map(|number| {
            let version = *self.table.row(number)?;
            let category = u16::from_be_bytes([version[25], version[26]]);
            Ok((version, self.categories.get(usize::from(category)).ok_or(BadPage)?.as_str()))
        })
    }
}

/// Writes the file, entry by entry in the order of their ids' marks.
pub(super) struct VersionsWriter(Writer<VERSION_WIDTH>);

impl VersionsWriter {
    pub(super) fn new(place: &Path, seal: &Seal, entries_max: u64) -> io::Result<VersionsWriter> {
        Writer::new(place, seal, entries_max).map(VersionsWriter)
    }

    pub(super) fn push(&mut self, version: &[u8; VERSION_WIDTH]) -> io::Result<()> {
        self.0.push(version)
    }

    pub(super) fn finish(self, key: &Key, categories: &[String]) -> io::Result<()> {
        self.0.finish(key, &json!({ "categories": categories }))
    }
}
