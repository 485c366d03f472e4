//! The side file of an index: which rows came from which entry of which source.
//!
//! It is what tombstones and replacements need. A row is the keyed hash of (source, id) and the mark that stands in the
//! index for a digest: neither says anything without the key, and nothing needs to be decrypted, because whoever asks
//! knows the id. An encrypted table of plain ids would have to be read whole, or leak its order.

use super::table::{Access, Table};
use super::{BadPage, Index, IndexError};
use crate::list::index::seal::Key;
use std::path::{Path, PathBuf};

/// The side file of an index, opened.
pub struct Ids(Table<ID_WIDTH>);

/// The mark of an id, and of one of its digests.
pub(super) const ID_WIDTH: usize = 32;

impl Ids {
    /// Where the side file of an index is.
    pub fn path_of(index: &Path) -> PathBuf {
        let mut name = index.as_os_str().to_owned();
        name.push(".ids");
        name.into()
    }

    /// Opens the side file of an index; `None` where it has none, because no entry had an id.
    ///
    /// # Errors
    /// It cannot be read, or belongs to another version of the index.
    pub fn open(index: &Path, key: &Key, access: Access) -> Result<Option<Ids>, IndexError> {
        let path = Ids::path_of(index);
        if !path.exists() {
            return Ok(None);
        }
        Ok(Some(Ids(Table::open(&path, key, access)?)))
    }

    /// The numbers of the rows that an entry put into `index`.
    ///
    /// # Errors
    /// A page of either file is damaged.
    pub fn rows_of(&self, index: &Index, source: &str, id: &str) -> Result<Vec<u32>, BadPage> {
        let mark = self.0.seal().id_mark(source, id);
        let Some((found, _)) = self.0.find(mark)? else { return Ok(Vec::new()) };
        let mut rows = Vec::new();
        for number in found..self.0.rows() {
            let row = self.0.row(number)?;
            if row[..16] != mark {
                break;
            }
            let mut digest_mark = [0; 16];
            digest_mark.copy_from_slice(&row[16..]);
            rows.extend(index.find_mark(digest_mark)?);
        }
        Ok(rows)
    }
}
