//! Digests of a payload: which there are, and how to compute several of them in one pass.
//!
//! Pure: no clock, no socket, no file. [`Hashing`] takes bytes in any split and gives the same [`Digests`]
//! for the same bytes.

use md5::Md5;
use sha1::Sha1;
use sha2::digest::array::{Array, ArraySize};
use sha2::digest::common::hazmat::SerializableState as _;
use sha2::{Digest as _, Sha256};
use std::fmt;

/// A digest algorithm that a list entry can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// MD5, 16 bytes (RFC 1321).
    Md5,
    /// SHA-1, 20 bytes (FIPS 180-4).
    Sha1,
    /// SHA-256, 32 bytes (FIPS 180-4).
    Sha256,
}

impl Algorithm {
    /// Every algorithm, weakest first.
    pub const ALL: [Algorithm; 3] = [Algorithm::Md5, Algorithm::Sha1, Algorithm::Sha256];

    /// The name in tagged checksum lines (`SHA256 (name) = hex`).
    pub fn tag(self) -> &'static str {
        match self {
            Algorithm::Md5 => "MD5",
            Algorithm::Sha1 => "SHA1",
            Algorithm::Sha256 => "SHA256",
        }
    }

    /// The length of its digest, in bytes.
    pub fn digest_len(self) -> usize {
        match self {
            Algorithm::Md5 => 16,
            Algorithm::Sha1 => 20,
            Algorithm::Sha256 => 32,
        }
    }

    /// The algorithm whose digest is `len` bytes long; `None` where there is none.
    pub fn of_len(len: usize) -> Option<Algorithm> {
        Self::ALL.into_iter().find(|a| a.digest_len() == len)
    }
}

/// A set of algorithms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Algorithms(u8);

impl Algorithms {
    /// No algorithm.
    pub const NONE: Algorithms = Algorithms(0);

    /// This set and `algorithm`.
    #[must_use]
    pub fn with(self, algorithm: Algorithm) -> Algorithms {
        Algorithms(self.0 | 1 << algorithm as u8)
    }

    /// This set and `others`.
    #[must_use]
    pub fn and(self, others: Algorithms) -> Algorithms {
        Algorithms(self.0 | others.0)
    }

    /// Whether `algorithm` is in the set.
    pub fn contains(self, algorithm: Algorithm) -> bool {
        self.0 & (1 << algorithm as u8) != 0
    }
}

/// One finished digest with its algorithm. `Debug` names the algorithm only: a digest may be a listed one, and those
/// never reach a log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Digest {
    /// An MD5 digest.
    Md5([u8; 16]),
    /// A SHA-1 digest.
    Sha1([u8; 20]),
    /// A SHA-256 digest.
    Sha256([u8; 32]),
}

impl Digest {
    /// The digest that `bytes` is by its length; `None` where no algorithm has that length.
    pub fn from_bytes(bytes: &[u8]) -> Option<Digest> {
        match bytes.len() {
            16 => Some(Digest::Md5(bytes.try_into().ok()?)),
            20 => Some(Digest::Sha1(bytes.try_into().ok()?)),
            32 => Some(Digest::Sha256(bytes.try_into().ok()?)),
            _ => None,
        }
    }

    /// The digest written in `text` as hexadecimal digits of either case; `None` where it is not one.
    pub fn from_hex(text: &str) -> Option<Digest> {
        Digest::from_bytes(&hex::decode(text).ok()?)
    }

    /// Its algorithm.
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Digest::Md5(_) => Algorithm::Md5,
            Digest::Sha1(_) => Algorithm::Sha1,
            Digest::Sha256(_) => Algorithm::Sha256,
        }
    }

    /// Its bytes: 16, 20 or 32 of them.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Digest::Md5(bytes) => bytes,
            Digest::Sha1(bytes) => bytes,
            Digest::Sha256(bytes) => bytes,
        }
    }

    /// Lower-case hexadecimal. Call it only where the text goes to the person who has the file.
    pub fn to_hex(&self) -> String {
        hex::encode(self.as_bytes())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(..)", self.algorithm().tag())
    }
}

/// What was computed over one payload: SHA-256 always, the others where they were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digests {
    /// MD5, where it was asked for.
    pub md5: Option<[u8; 16]>,
    /// SHA-1, where it was asked for.
    pub sha1: Option<[u8; 20]>,
    /// SHA-256.
    pub sha256: [u8; 32],
    /// The payload's length in bytes.
    pub length: u64,
}

impl Digests {
    /// The digests of `payload` with every algorithm.
    pub fn of(payload: &[u8]) -> Digests {
        let mut hashing = Hashing::new(Algorithms::NONE.with(Algorithm::Md5).with(Algorithm::Sha1));
        hashing.update(payload);
        hashing.finish()
    }

    /// The digest of one algorithm; `None` where it was not computed.
    pub fn get(&self, algorithm: Algorithm) -> Option<Digest> {
        match algorithm {
            Algorithm::Md5 => self.md5.map(Digest::Md5),
            Algorithm::Sha1 => self.sha1.map(Digest::Sha1),
            Algorithm::Sha256 => Some(Digest::Sha256(self.sha256)),
        }
    }

    /// Every digest that was computed.
    pub fn iter(&self) -> impl Iterator<Item = Digest> + '_ {
        Algorithm::ALL.into_iter().filter_map(|a| self.get(a))
    }
}

/// Several digests being computed over the same bytes. It cannot fail.
#[derive(Clone)]
pub struct Hashing {
    md5: Option<Md5>,
    sha1: Option<Sha1>,
    sha256: Sha256,
    length: u64,
}

impl Hashing {
    /// Starts the given algorithms, and SHA-256 always.
    pub fn new(algorithms: Algorithms) -> Hashing {
        Hashing {
            md5: algorithms.contains(Algorithm::Md5).then(Md5::new),
            sha1: algorithms.contains(Algorithm::Sha1).then(Sha1::new),
            sha256: Sha256::new(),
            length: 0,
        }
    }

    /// Takes the next bytes of the payload.
    pub fn update(&mut self, bytes: &[u8]) {
        if let Some(md5) = &mut self.md5 {
            md5.update(bytes);
        }
        if let Some(sha1) = &mut self.sha1 {
            sha1.update(bytes);
        }
        self.sha256.update(bytes);
        self.length += bytes.len() as u64;
    }

    /// Bytes of the payload so far.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The state between two bytes, to go on from later: at most 300 bytes of it, and what they stand for is as secret as
    /// the digest. [`Hashing::restore`] reads it.
    pub fn save(&self) -> Vec<u8> {
        let mut state = self.length.to_be_bytes().to_vec();
        state.push(u8::from(self.md5.is_some()) | u8::from(self.sha1.is_some()) << 1);
        state.extend(self.sha256.serialize());
        state.extend(self.md5.iter().flat_map(|md5| md5.serialize()));
        state.extend(self.sha1.iter().flat_map(|sha1| sha1.serialize()));
        state
    }

    /// What [`Hashing::save`] gave; `None` for anything else. It must come from where nobody could have changed it: a
    /// forged state is a forged digest.
    pub fn restore(state: &[u8]) -> Option<Hashing> {
        let (length, state) = state.split_first_chunk()?;
        let (flags, state) = state.split_first()?;
        let mut state = state;
        let sha256 = Sha256::deserialize(&take(&mut state)?).ok()?;
        let md5 = if flags & 1 == 0 { None } else { Some(Md5::deserialize(&take(&mut state)?).ok()?) };
        let sha1 = if flags & 2 == 0 { None } else { Some(Sha1::deserialize(&take(&mut state)?).ok()?) };
        let length = u64::from_be_bytes(*length);
        state.is_empty().then_some(Hashing { md5, sha1, sha256, length })
    }

    /// The digests of all bytes taken.
    pub fn finish(self) -> Digests {
        Digests {
            md5: self.md5.map(|h| h.finalize().into()),
            sha1: self.sha1.map(|h| h.finalize().into()),
            sha256: self.sha256.finalize().into(),
            length: self.length,
        }
    }
}

/// The next array of a saved state.
fn take<N: ArraySize>(state: &mut &[u8]) -> Option<Array<u8, N>> {
    let (array, rest) = state.split_at_checked(N::USIZE)?;
    *state = rest;
    Array::try_from(array).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_saved_state_goes_on_where_it_was() {
        for algorithms in [Algorithms::NONE, Algorithms::NONE.with(Algorithm::Md5), ALL] {
            for cut in [0, 1, 63, 64, 65, 200] {
                let payload: Vec<u8> = (0..=255).collect();
                let mut first = Hashing::new(algorithms);
                first.update(&payload[..cut]);
                let saved = first.save();
                assert!(saved.len() <= 300, "{}", saved.len());
                let mut second = Hashing::restore(&saved).unwrap();
                second.update(&payload[cut..]);
                first.update(&payload[cut..]);
                assert_eq!(second.finish(), first.finish());
                assert!(Hashing::restore(&saved[1..]).is_none());
                assert!(Hashing::restore(&[&saved[..], b"x"].concat()).is_none());
            }
        }
    }

    const ALL: Algorithms = Algorithms(0b111);

    /// RFC 1321 A.5 and FIPS 180-4's examples, "abc".
    #[test]
    fn published_examples() {
        let digests = Digests::of(b"abc");
        let hex: Vec<String> = digests.iter().map(|d| d.to_hex()).collect();
        assert_eq!(
            hex,
            [
                "900150983cd24fb0d6963f7d28e17f72",
                "a9993e364706816aba3e25717850c26c9cd0d89d",
                "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
            ]
        );
        assert_eq!(digests.length, 3);
    }

    #[test]
    fn only_what_was_asked_for_is_computed() {
        let digests = Hashing::new(Algorithms::NONE).finish();
        assert_eq!((digests.md5, digests.sha1), (None, None));
        assert_eq!(digests.iter().count(), 1);
    }

    #[test]
    fn debug_hides_the_digest() {
        let digest = Digest::from_hex("900150983CD24FB0D6963F7D28E17F72").unwrap();
        assert_eq!(format!("{digest:?}"), "MD5(..)");
    }
}
