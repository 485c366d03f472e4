//! Seals what the state folder keeps of cases and parts (AES-256-GCM), because it names digests and persons: a copy of the
//! folder without its key tells nothing.

use crate::list::index::seal::{Key, KeyError};
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use std::io;
use std::path::Path;

/// The key, ready for use.
pub(super) struct Sealer(RandomizedNonceKey);

impl Sealer {
    /// With the key that was read from this file.
    ///
    /// # Errors
    /// It is none.
    pub(super) fn new(key: &Key, path: &Path) -> Result<Sealer, KeyError> {
        let sealing = RandomizedNonceKey::new(&AES_256_GCM, &key.derive_key("cases"));
        sealing.map(Sealer).map_err(|_| KeyError::Malformed(path.to_owned()))
    }

    /// Seals a text that goes into the file of this name.
    ///
    /// # Errors
    /// No random numbers.
    pub(super) fn seal(&self, name: &str, mut text: Vec<u8>) -> io::Result<Vec<u8>> {
        let nonce = self.0.seal_in_place_append_tag(Aad::from(name.as_bytes()), &mut text);
        let nonce = nonce.map_err(|_| io::Error::other("the state cannot be sealed"))?;
        Ok([&nonce.as_ref()[..], &text].concat())
    }

    /// The text of what the file of this name holds; `None` where it is damaged, or sealed with another key.
    pub(super) fn open(&self, name: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, text) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut text = text.to_vec();
        let text = self.0.open_in_place(nonce, Aad::from(name.as_bytes()), &mut text).ok()?;
        Some(text.to_vec())
    }
}
