//! A sealed file of sorted rows that begin with 16 uniform bytes: how one is opened, and how a row is found in it.

use super::guide::Guide;
use super::layout::{Header, Layout, PAGE};
use super::map::Bytes;
use super::seal::{Key, Seal};
use super::{BadPage, IndexError};
use serde_json::Value;
use std::cmp::Ordering;
use std::fs::File;
use std::hint::black_box;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Rows that are looked at on either side of where one should be: three of four are no further off.
const AROUND: u32 = 13;

/// What comes from memory in one piece.
const CACHE_LINE: usize = 64;

/// How to get at a file's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Map it: for private copies that nobody changes, see [`Bytes::map`].
    Map,
    /// Read it into memory.
    Read,
    /// Only what is checked at opening: no lookup has an answer.
    Seal,
}

/// An open file with rows of `W` bytes.
pub(super) struct Table<const W: usize> {
    layout: Layout,
    seal: Seal,
    about: Value,
    bytes: Bytes,
    /// Made of the prefix table when the file is opened; `None` where no lookup has an answer.
    guide: Option<Guide>,
    /// One for each row and table page. Kept beside the map: what was checked once must not change any more.
    digests: Vec<u8>,
    /// One bit for each page that was found good.
    good: Vec<AtomicU64>,
}

/// Reads and parses the header of a file.
pub(super) fn header(file: &File, path: &Path) -> Result<Header, IndexError> {
    let mut bytes = Box::new([0; PAGE]);
    let read = (&mut &*file).take(PAGE as u64).read(&mut bytes[..]).map_err(|error| IndexError::io(path, error))?;
    if read < PAGE && (read < 16 || bytes[..16] != super::layout::MAGIC) {
        return Err(IndexError::NoIndex(path.to_owned()));
    }
    if read < PAGE {
        return Err(IndexError::Damaged(path.to_owned()));
    }
    Header::parse(bytes, path)
}

impl<const W: usize> Table<W> {
    pub(super) const ROWS_PER_PAGE: u32 = (PAGE / W) as u32;

    /// Opens a file: its header, description and page digests are checked, its pages when they are first used.
    pub(super) fn open(path: &Path, key: &Key, access: Access) -> Result<Table<W>, IndexError> {
        let failed = |error| IndexError::io(path, error);
        let file = File::open(path).map_err(failed)?;
        let header = header(&file, path)?;
        if header.key_id != key.id() {
            return Err(IndexError::WrongKey(path.to_owned()));
        }
        let (layout, damaged) = (header.layout, || IndexError::Damaged(path.to_owned()));
        if layout.width as usize != W {
            return Err(IndexError::NoIndex(path.to_owned()));
        }
        if file.metadata().map_err(failed)?.len() != layout.file_len() {
            return Err(damaged());
        }
        let mut about = vec![0; layout.about.next_multiple_of(PAGE as u64) as usize];
        file.read_exact_at(&mut about, layout.about_at()).map_err(failed)?;
        let mut digests = vec![0; layout.pages() as usize * 16];
        file.read_exact_at(&mut digests, layout.digests_at()).map_err(failed)?;
        let seal = header.unseal(key);
        if !header.has_root(&seal, &about, &digests) {
            return Err(damaged());
        }
        let about = serde_json::from_slice(&about[..layout.about as usize]).map_err(|_| damaged())?;
        let bytes = match access {
            Access::Map => Bytes::map(&file),
            Access::Read => Bytes::read(&file),
            Access::Seal => Ok(Bytes::Read(Vec::new())),
        };
        let bytes = bytes.map_err(failed)?;
        if access != Access::Seal && bytes.len() as u64 != layout.file_len() {
            return Err(damaged());
        }
        let good = (0..layout.pages().div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        let mut table = Table { layout, seal, about, bytes, guide: None, digests, good };
        if access != Access::Seal {
            let starts = table.read_starts().map_err(|_| damaged())?;
            table.guide = Some(Guide::new(&starts, layout.bits));
        }
        Ok(table)
    }

    fn read_starts(&self) -> Result<Vec<u32>, BadPage> {
        let count = (1 << self.layout.bits) + 1;
        let mut starts = Vec::with_capacity(count);
        for number in self.layout.row_pages()..self.layout.pages() {
            let page = self.page(number as u32)?;
            starts
                .extend(page.chunks_exact(4).map(|start| u32::from_le_bytes([start[0], start[1], start[2], start[3]])));
        }
        starts.truncate(count);
        let fits = starts.is_sorted() && starts.first() == Some(&0) && starts.last() == Some(&self.rows());
        if fits { Ok(starts) } else { Err(BadPage) }
    }

    pub(super) fn about(&self) -> &Value {
        &self.about
    }

    pub(super) fn seal(&self) -> &Seal {
        &self.seal
    }

    pub(super) fn rows(&self) -> u32 {
        self.layout.rows as u32
    }

    pub(super) fn file_len(&self) -> u64 {
        self.layout.file_len()
    }

    /// A header with which the rest of the file, as it is, is sealed with another key.
    pub(super) fn sealed_anew(&self, key: &Key) -> std::io::Result<Box<[u8; PAGE]>> {
        let (from, to) = (self.layout.about_at() as usize, self.layout.digests_at() as usize);
        Header::seal(self.layout, key, &self.seal, &self.bytes[from..to], &self.digests)
    }

    /// The first row that begins with `mark`, with its number.
    pub(super) fn find(&self, mark: [u8; 16]) -> Result<Option<(u32, &[u8; W])>, BadPage> {
        let guide = self.guide.as_ref().ok_or(BadPage)?;
        let wanted = u128::from_be_bytes(mark);
        // The first half of a mark tells nearly all of them apart.
        let half = (wanted >> 64) as u64;
        let mut at = self.first_not_below(half, guide.guess(wanted))?;
        while at < self.rows() {
            let row = self.row(at)?;
            if half_of(row) != half {
                break;
            }
            match mark_of(row).cmp(&wanted) {
                Ordering::Less => at += 1,
                Ordering::Equal => return Ok(Some((at, row))),
                Ordering::Greater => break,
            }
        }
        Ok(None)
    }

    /// The number of the first row whose mark's first half is not less than `half`: looked for around a guess, and where
    /// it is not there, beside it.
    fn first_not_below(&self, half: u64, guess: u32) -> Result<u32, BadPage> {
        // Rows before `low` are less, and those from `high` on are not.
        let (mut low, mut high) = (0, self.rows());
        let (mut start, mut end) = (guess.saturating_sub(AROUND), guess.saturating_add(AROUND + 1).min(high));
        loop {
            let at = start + self.count_below(half, start, end)?;
            if at == start && start > low {
                (high, end) = (start, start);
                start = start.saturating_sub(2 * AROUND).max(low);
            } else if at == end && end < high {
                (low, start) = (end, end);
                end = end.saturating_add(2 * AROUND).min(high);
            } else {
                return Ok(at);
            }
        }
    }

    /// How many of the rows from `start` to `end` have a mark whose first half is less. All of them are looked at,
    /// whatever the first ones say: what does not wait for each other comes from memory at once, and nothing is foretold
    /// wrongly.
    fn count_below(&self, half: u64, start: u32, end: u32) -> Result<u32, BadPage> {
        let (mut row, mut below) = (start, 0);
        while row < end {
            let page = self.page(row / Self::ROWS_PER_PAGE)?;
            let first = row % Self::ROWS_PER_PAGE;
            let count = (end - row).min(Self::ROWS_PER_PAGE - first);
            let rows = &page[first as usize * W..(first + count) as usize * W];
            // All lines are asked for before the first one is here: counting waits for it, and a processor that waits
            // looks only so many instructions ahead.
            for line in rows.chunks(CACHE_LINE) {
                black_box(line[0]);
            }
            below += rows.chunks_exact(W).map(|row| u32::from(half_of(row) < half)).sum::<u32>();
            row += count;
        }
        Ok(below)
    }

    /// A row.
    pub(super) fn row(&self, number: u32) -> Result<&[u8; W], BadPage> {
        let page = self.page(number / Self::ROWS_PER_PAGE)?;
        let at = (number % Self::ROWS_PER_PAGE) as usize * W;
        page[at..at + W].try_into().map_err(|_| BadPage)
    }

    /// A page that was verified now or before.
    fn page(&self, number: u32) -> Result<&[u8; PAGE], BadPage> {
        let at = (1 + number as usize) * PAGE;
        let page = self.bytes.get(at..at + PAGE).and_then(|page| page.try_into().ok()).ok_or(BadPage)?;
        let (word, bit) = (&self.good[number as usize / 64], 1 << (number % 64));
        // No order is needed: the page itself never changes, and to verify it twice is harmless.
        if word.load(Relaxed) & bit == 0 {
            if !self.is_good(number, page) {
                return Err(BadPage);
            }
            word.fetch_or(bit, Relaxed);
        }
        Ok(page)
    }

    #[cold]
    fn is_good(&self, number: u32, page: &[u8; PAGE]) -> bool {
        let at = number as usize * 16;
        self.seal.page_digest(page) == self.digests[at..at + 16]
    }

    /// Verifies every page, also those that were found good before, and returns how many are bad. Rests for `pause`
    /// after each mebibyte, so that requests get their share of the memory and of the disk; stops early when told to.
    #[allow(clippy::disallowed_methods, reason = "scrubbing has a thread of its own")]
    pub(super) fn scrub(&self, pause: Duration, stop: &dyn Fn() -> bool) -> u64 {
        let mut bad = 0;
        for number in 0..self.layout.pages() as u32 {
            let (word, bit) = (&self.good[number as usize / 64], 1 << (number % 64));
            word.fetch_and(!bit, Relaxed);
            bad += u64::from(self.page(number).is_err());
            if number % 256 == 255 {
                if stop() {
                    break;
                }
                if !pause.is_zero() {
                    std::thread::sleep(pause);
                }
            }
        }
        bad
    }
}

/// The mark of a row, as a number that sorts as its bytes do.
fn mark_of(row: &[u8]) -> u128 {
    let mut mark = [0; 16];
    mark.copy_from_slice(&row[..16]);
    u128::from_be_bytes(mark)
}

/// The first half of a row's mark, likewise.
fn half_of(row: &[u8]) -> u64 {
    let mut half = [0; 8];
    half.copy_from_slice(&row[..8]);
    u64::from_be_bytes(half)
}
