//! Writing a sealed file from rows that come in order.

use super::layout::{Header, Layout, PAGE};
use super::seal::{Key, Seal};
use serde_json::Value;
use std::fs::File;
use std::io::{self, BufWriter, Seek as _, SeekFrom, Write};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Rows of an average bucket of the prefix table are between this and twice as many. What is kept of the table in memory
/// has then a byte for some 800 rows: 140 KiB for a hundred million, which stay in a core's own cache beside all the rows
/// that pass through it. Four times as much did not, and cost a lookup a quarter of a random read; that the guess is
/// twice as far off costs less than a twentieth, because the rows beside it come along with the first.
const BUCKET_ROWS: u64 = 512;

/// A file in the making. Until [`Writer::finish`] it is a temporary one beside its place.
pub(super) struct Writer<const W: usize> {
    place: PathBuf,
    out: BufWriter<tempfile::NamedTempFile>,
    seal: Seal,
    bits: u32,
    rows: u64,
    page: Vec<u8>,
    digests: Vec<u8>,
    /// The number of rows whose prefix is less than the position.
    table: Vec<u32>,
}

impl<const W: usize> Writer<W> {
    /// Begins a file for at most `rows_max` rows; it takes the place of `place` when it is finished.
    pub(super) fn new(place: &Path, seal: &Seal, rows_max: u64) -> io::Result<Writer<W>> {
        if rows_max >= u64::from(u32::MAX) {
            return Err(io::Error::other("more than 4 billion digests do not go into one index; compile several"));
        }
        let mut file = tempfile::Builder::new().prefix(".compile-").tempfile_in(super::folder_of(place))?;
        file.seek(SeekFrom::Start(PAGE as u64))?;
        let bits = (rows_max / BUCKET_ROWS).max(1).ilog2();
        Ok(Writer {
            place: place.to_owned(),
            out: BufWriter::with_capacity(1 << 20, file),
            seal: seal.clone(),
            bits,
            rows: 0,
            page: Vec::with_capacity(PAGE),
            digests: Vec::new(),
            table: Vec::with_capacity((1 << bits) + 1),
        })
    }

    /// Takes the next row.
    pub(super) fn push(&mut self, row: &[u8; W]) -> io::Result<()> {
        let first = u32::from_be_bytes([row[0], row[1], row[2], row[3]]);
        let prefix = u64::from(first) >> (32 - self.bits);
        while self.table.len() as u64 <= prefix {
            self.table.push(self.rows as u32);
        }
        if self.page.len() + W > PAGE {
            self.end_page()?;
        }
        self.page.extend_from_slice(row);
        self.rows += 1;
        Ok(())
    }

    fn end_page(&mut self) -> io::Result<()> {
        self.page.resize(PAGE, 0);
        self.digests.extend_from_slice(&self.seal.page_digest(&self.page));
        self.out.write_all(&self.page)?;
        self.page.clear();
        Ok(())
    }

    /// Writes the rest, makes it durable, and puts it in its place at once.
    pub(super) fn finish(mut self, key: &Key, about: &Value) -> io::Result<()> {
        if !self.page.is_empty() {
            self.end_page()?;
        }
        self.table.resize((1 << self.bits) + 1, self.rows as u32);
        for entries in std::mem::take(&mut self.table).chunks(PAGE / 4) {
            self.page.extend(entries.iter().flat_map(|entry| entry.to_le_bytes()));
            self.end_page()?;
        }
        let mut about = serde_json::to_vec(about)?;
        let layout = Layout { width: W as u32, rows: self.rows, bits: self.bits, about: about.len() as u64 };
        about.resize(about.len().next_multiple_of(PAGE), 0);
        self.out.write_all(&about)?;
        self.out.write_all(&self.digests)?;
        let file = self.out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.as_file().write_all_at(&*Header::seal(layout, key, &self.seal, &about, &self.digests)?, 0)?;
        put_in_place(file, &self.place)
    }
}

/// Makes a temporary file durable and renames it to `place`.
pub(super) fn put_in_place(file: tempfile::NamedTempFile, place: &Path) -> io::Result<()> {
    // For its owner and the group that the gate may run in; what is in it is sealed.
    file.as_file().set_permissions(std::fs::Permissions::from_mode(0o640))?;
    file.as_file().sync_all()?;
    file.persist(place).map_err(|error| error.error)?;
    // The new name is durable with its folder only.
    File::open(super::folder_of(place))?.sync_all()
}
