//! The key file, and what an index derives from it.
//!
//! An index has a data key of its own, drawn at random when it is first compiled, and stands wrapped in its header under
//! the key file's key. So another key file can be put over an index without its sources (`list rekey`), and whoever
//! overwrites the header has destroyed the whole index.

use crate::digest::{Algorithm, Digest};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The system says no.
    #[error("key file {0}: {1}")]
    Io(PathBuf, io::Error),
    /// Somebody else could read or replace it.
    #[error("key file {0} can be read by others or written by its group; run: chmod 600 {0}")]
    Open(PathBuf),
    /// Not 64 hexadecimal digits.
    #[error("key file {0} does not hold a key: 64 hexadecimal digits are expected")]
    Malformed(PathBuf),
    /// No key, and an index that needs the one that is missing.
    #[error(
        "key file {key} is not there, but {index} was sealed with a key; name its key file with --key, or remove the index"
    )]
    Lost {
        /// The file that is missing.
        key: PathBuf,
        /// An index that needs it.
        index: PathBuf,
    },
}

/// The key that seals indexes: 32 random bytes.
#[derive(Clone)]
pub struct Key([u8; 32]);

impl Key {
    /// Draws a new one.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn random() -> io::Result<Key> {
        Ok(Key(random()?))
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// It is missing, open to others, or holds no key.
    pub fn read(path: &Path) -> Result<Key, KeyError> {
        let failed = |error| KeyError::Io(path.to_owned(), error);
        let file = File::open(path).map_err(failed)?;
        // Asked of the open file, so that nobody can exchange it in between.
        if file.metadata().map_err(failed)?.permissions().mode() & 0o027 != 0 {
            return Err(KeyError::Open(path.to_owned()));
        }
        let mut text = String::new();
        let malformed = || KeyError::Malformed(path.to_owned());
        file.take(1024).read_to_string(&mut text).map_err(|_| malformed())?;
        let bytes = hex::decode(text.trim()).map_err(|_| malformed())?;
        Ok(Key(bytes.try_into().map_err(|_| malformed())?))
    }

    /// Reads a key file, or makes it where it is missing and none of `folders` holds an index, which would need the key
    /// that is missing. Says whether it was made.
    ///
    /// # Errors
    /// As [`Key::read`]; [`KeyError::Lost`].
    pub fn read_or_make(path: &Path, folders: &[&Path]) -> Result<(Key, bool), KeyError> {
        if path.exists() {
            return Ok((Key::read(path)?, false));
        }
        for folder in folders {
            if let Some(index) = super::files_in(folder).into_iter().next() {
                return Err(KeyError::Lost { key: path.to_owned(), index });
            }
        }
        Ok((Key::make(path)?, true))
    }

    /// Makes a key file that is not there yet.
    ///
    /// # Errors
    /// The file is there, or cannot be written.
    pub fn make(path: &Path) -> Result<Key, KeyError> {
        let make = || {
            let key = Key::random()?;
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            writeln!(file, "{}", hex::encode(key.0))?;
            file.sync_all()?;
            Ok(key)
        };
        make().map_err(|error| KeyError::Io(path.to_owned(), error))
    }

    /// Tells keys apart without giving one away.
    pub fn id(&self) -> [u8; 16] {
        first16(blake3::keyed_hash(&self.derive("key id"), b""))
    }

    /// What stands for some bytes, for a purpose of its own: nobody without the key can make it.
    pub fn mark(&self, purpose: &str, bytes: &[u8]) -> [u8; 16] {
        first16(blake3::keyed_hash(&self.derive(purpose), bytes))
    }

    /// The data key from its wrapped form and back: the pad is fresh for every salt, and a salt is never used twice.
    pub(super) fn wrap(&self, salt: &[u8; 32], data_key: &[u8; 32]) -> [u8; 32] {
        let pad = blake3::keyed_hash(&self.derive("wrap"), salt);
        std::array::from_fn(|at| pad.as_bytes()[at] ^ data_key[at])
    }

    /// Another key, for a purpose of its own.
    pub fn derive_key(&self, purpose: &str) -> [u8; 32] {
        self.derive(purpose)
    }

    fn derive(&self, purpose: &str) -> [u8; 32] {
        blake3::derive_key(&format!("hashgate key file v1 {purpose}"), &self.0)
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(***)")
    }
}

/// Random bytes from the system.
pub(super) fn random() -> io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}

/// Everything that is derived from the data key of one index.
#[derive(Clone)]
pub struct Seal {
    data_key: [u8; 32],
    rows: [[u8; 32]; 3],
    sizes: [u8; 32],
    ids: [u8; 32],
    pages: [u8; 32],
    root: [u8; 32],
}

impl Seal {
    /// One with a data key of its own.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn random() -> io::Result<Seal> {
        Ok(Seal::of(random()?))
    }

    pub(super) fn of(data_key: [u8; 32]) -> Seal {
        let derive = |purpose: &str| blake3::derive_key(&format!("hashgate index v1 {purpose}"), &data_key);
        Seal {
            data_key,
            rows: Algorithm::ALL.map(|algorithm| derive(algorithm.tag())),
            sizes: derive("sizes"),
            ids: derive("ids"),
            pages: derive("pages"),
            root: derive("root"),
        }
    }

    pub(super) fn data_key(&self) -> &[u8; 32] {
        &self.data_key
    }

    /// What stands in a row for a digest.
    pub fn mark(&self, digest: &Digest) -> [u8; 16] {
        first16(blake3::keyed_hash(&self.rows[digest.algorithm() as usize], digest.as_bytes()))
    }

    /// What stands in a row for a size; never 0, which stands for none. One wrong size in 255 has the same.
    pub(super) fn size_mark(&self, mark: &[u8; 16], size: u64) -> u8 {
        let mut text = [0; 24];
        text[..16].copy_from_slice(mark);
        text[16..].copy_from_slice(&size.to_le_bytes());
        let hash = blake3::keyed_hash(&self.sizes, &text);
        // 64 bits modulo 255: no value is likelier than another by more than one in 2^56.
        let number = u64::from_le_bytes(std::array::from_fn(|at| hash.as_bytes()[at]));
        (number % 255) as u8 + 1
    }

    /// What stands in the side file for an entry's id.
    pub(super) fn id_mark(&self, source: &str, id: &str) -> [u8; 16] {
        let mut hasher = blake3::Hasher::new_keyed(&self.ids);
        hasher.update(&(source.len() as u64).to_le_bytes()).update(source.as_bytes()).update(id.as_bytes());
        first16(hasher.finalize())
    }

    pub(super) fn page_digest(&self, page: &[u8]) -> [u8; 16] {
        first16(blake3::keyed_hash(&self.pages, page))
    }

    /// The digest of everything that is checked when a file is opened.
    pub(super) fn root<'a>(&self, parts: impl IntoIterator<Item = &'a [u8]>) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.root);
        for part in parts {
            hasher.update(part);
        }
        hasher.finalize()
    }
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seal(***)")
    }
}

fn first16(hash: blake3::Hash) -> [u8; 16] {
    std::array::from_fn(|at| hash.as_bytes()[at])
}
