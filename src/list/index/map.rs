//! The bytes of a file that nobody changes: mapped, or read.
//!
//! The one place that maps files, and so the one with `unsafe` in it. [`Bytes::read`] is the safe path to the same bytes,
//! and a test holds the two together.

#![allow(unsafe_code, reason = "memory-mapping is unsafe by its nature; see the one block below")]

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::ops::Deref;

/// The bytes of a file.
#[derive(Debug)]
pub enum Bytes {
    /// Where the system keeps them.
    Mapped(memmap2::Mmap),
    /// Read into memory.
    Read(Vec<u8>),
}

impl Bytes {
    /// Maps a whole file.
    ///
    /// The file must be a private one that nobody shortens or writes to while it is mapped: one that this program wrote
    /// and put in place by renaming it, in a folder that only its user can write to. A shortened file would end the
    /// process by a signal at the next access.
    ///
    /// # Errors
    /// The system's.
    pub fn map(file: &File) -> io::Result<Bytes> {
        // SAFETY: a map is sound while nobody changes the file under it. Callers map private copies only (see above): our
        // own files are written once, put in place by a rename and never opened for writing again, but for their first
        // page, which is overwritten when an index is destroyed and which nobody reads through the map.
        let map = unsafe { memmap2::Mmap::map(file)? };
        // Lookups go anywhere; reading ahead would only push other pages out. Without the advice it is still right.
        map.advise(memmap2::Advice::Random).ok();
        Ok(Bytes::Mapped(map))
    }

    /// Reads a whole file.
    ///
    /// # Errors
    /// The system's.
    pub fn read(mut file: &File) -> io::Result<Bytes> {
        let mut bytes = Vec::new();
        file.rewind()?;
        file.read_to_end(&mut bytes)?;
        Ok(Bytes::Read(bytes))
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Mapped(map) => map,
            Bytes::Read(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write as _;

    proptest! {
        #[test]
        fn a_map_holds_what_a_read_gives(bytes in proptest::collection::vec(any::<u8>(), 0..20_000)) {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&bytes).unwrap();
            let (mapped, read) = (Bytes::map(&file).unwrap(), Bytes::read(&file).unwrap());
            prop_assert_eq!(&*mapped, &*read);
            prop_assert_eq!(&*read, &bytes[..]);
        }
    }
}
