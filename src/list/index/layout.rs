//! The first page of a sealed file.

use super::IndexError;
use super::seal::{Key, Seal};
use std::path::Path;

/// Everything is read and verified in pages of this size: the system's own, so that a page costs one fault.
pub(super) const PAGE: usize = 4096;

/// How a sealed file begins. The blank in it keeps a text list from beginning so.
pub(super) const MAGIC: [u8; 16] = *b"hashgate sealed\0";

const VERSION: u32 = 1;

/// The header without the root at its end.
const ROOTED: usize = PAGE - 32;

/// The longest description: names and categories, some thousand of them.
const ABOUT_MAX: u64 = 64 << 20;

/// Where things stand in the file: header, row pages, the prefix table's pages, the description (JSON, padded to a
/// page), one digest of 16 bytes for each row and table page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Bytes of a row.
    pub(super) width: u32,
    /// Rows in the file.
    pub(super) rows: u64,
    /// The prefix table has 2^bits + 1 entries.
    pub(super) bits: u32,
    /// Bytes of the description.
    pub(super) about: u64,
}

impl Layout {
    pub(super) fn row_pages(&self) -> u64 {
        self.rows.div_ceil(PAGE as u64 / u64::from(self.width))
    }

    pub(super) fn table_pages(&self) -> u64 {
        (((1u64 << self.bits) + 1) * 4).div_ceil(PAGE as u64)
    }

    /// Pages with a digest of their own.
    pub(super) fn pages(&self) -> u64 {
        self.row_pages() + self.table_pages()
    }

    pub(super) fn about_at(&self) -> u64 {
        (1 + self.pages()) * PAGE as u64
    }

    pub(super) fn digests_at(&self) -> u64 {
        self.about_at() + self.about.next_multiple_of(PAGE as u64)
    }

    pub(super) fn file_len(&self) -> u64 {
        self.digests_at() + self.pages() * 16
    }

    /// Whether no calculation with it can overflow.
    fn is_sane(&self) -> bool {
        matches!(self.width, 17..=256)
            && self.rows < u64::from(u32::MAX)
            && self.bits <= 32
            && (1..=ABOUT_MAX).contains(&self.about)
    }
}

/// A header as it was read, not verified yet.
pub(super) struct Header {
    pub(super) layout: Layout,
    pub(super) key_id: [u8; 16],
    salt: [u8; 32],
    wrapped: [u8; 32],
    bytes: Box<[u8; PAGE]>,
}

impl Header {
    /// Reads the fields of a first page.
    pub(super) fn parse(bytes: Box<[u8; PAGE]>, path: &Path) -> Result<Header, IndexError> {
        if bytes[..16] != MAGIC {
            return Err(IndexError::NoIndex(path.to_owned()));
        }
        let version = u32::from_le_bytes(field(&bytes[..], 16));
        if version != VERSION {
            return Err(IndexError::Version { path: path.to_owned(), version });
        }
        let layout = Layout {
            width: u32::from_le_bytes(field(&bytes[..], 20)),
            rows: u64::from_le_bytes(field(&bytes[..], 24)),
            bits: u32::from_le_bytes(field(&bytes[..], 32)),
            about: u64::from_le_bytes(field(&bytes[..], 40)),
        };
        if !layout.is_sane() {
            return Err(IndexError::Damaged(path.to_owned()));
        }
        let header = Header {
            layout,
            key_id: field(&bytes[..], 48),
            salt: field(&bytes[..], 64),
            wrapped: field(&bytes[..], 96),
            bytes,
        };
        Ok(header)
    }

    /// What the key makes of it; whether it is the right one is known when the root was checked.
    pub(super) fn unseal(&self, key: &Key) -> Seal {
        Seal::of(key.wrap(&self.salt, &self.wrapped))
    }

    pub(super) fn has_root(&self, seal: &Seal, about: &[u8], digests: &[u8]) -> bool {
        let root: [u8; 32] = field(&self.bytes[..], ROOTED);
        // The comparison of two `Hash`es takes the same time whatever they hold.
        seal.root([&self.bytes[..ROOTED], about, digests]) == blake3::Hash::from_bytes(root)
    }

    /// The header's bytes for a file with this layout. `about` is padded.
    pub(super) fn seal(
        layout: Layout,
        key: &Key,
        seal: &Seal,
        about: &[u8],
        digests: &[u8],
    ) -> std::io::Result<Box<[u8; PAGE]>> {
        let salt = super::seal::random()?;
        let mut bytes = Box::new([0; PAGE]);
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(0, &MAGIC);
        put(16, &VERSION.to_le_bytes());
        put(20, &layout.width.to_le_bytes());
        put(24, &layout.rows.to_le_bytes());
        put(32, &layout.bits.to_le_bytes());
        put(40, &layout.about.to_le_bytes());
        put(48, &key.id());
        put(64, &salt);
        put(96, &key.wrap(&salt, seal.data_key()));
        let root = seal.root([&bytes[..ROOTED], about, digests]);
        bytes[ROOTED..].copy_from_slice(root.as_bytes());
        Ok(bytes)
    }
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    std::array::from_fn(|offset| bytes[at + offset])
}
