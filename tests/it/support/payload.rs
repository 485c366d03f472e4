//! Synthetic object bytes: pseudo-random by seed, so that a gibibyte needs no memory, or literal.

use bytes::Bytes;
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// The bytes of an object.
#[derive(Clone, Debug)]
pub(crate) enum Payload {
    /// `len` bytes that follow from `seed`.
    Random { seed: u64, len: u64 },
    /// These bytes.
    Literal(Bytes),
}

impl Payload {
    /// `len` bytes that follow from `seed`.
    pub(crate) fn random(seed: u64, len: u64) -> Payload {
        Payload::Random { seed, len }
    }

    pub(crate) fn len(&self) -> u64 {
        match self {
            Payload::Random { len, .. } => *len,
            Payload::Literal(bytes) => bytes.len() as u64,
        }
    }

    /// The payload in pieces of `size` bytes, the last one shorter; none for an empty payload.
    pub(crate) fn pieces(&self, size: usize) -> Box<dyn Iterator<Item = Bytes> + Send> {
        match self.clone() {
            Payload::Random { seed, len } => Box::new((0..len.div_ceil(size as u64)).map(move |i| {
                let start = i * size as u64;
                random_bytes(seed, start, (len - start).min(size as u64) as usize)
            })),
            Payload::Literal(bytes) => Box::new((0..bytes.len().div_ceil(size)).map(move |i| {
                let start = i * size;
                bytes.slice(start..bytes.len().min(start + size))
            })),
        }
    }

    /// All of it.
    pub(crate) fn bytes(&self) -> Bytes {
        match self {
            Payload::Random { seed, len } => random_bytes(*seed, 0, *len as usize),
            Payload::Literal(bytes) => bytes.clone(),
        }
    }

    pub(crate) fn sha256(&self) -> String {
        self.digest::<Sha256>()
    }

    pub(crate) fn sha1(&self) -> String {
        self.digest::<Sha1>()
    }

    pub(crate) fn md5(&self) -> String {
        self.digest::<Md5>()
    }

    fn digest<D: Digest>(&self) -> String {
        let mut digest = D::new();
        for piece in self.pieces(1 << 16) {
            digest.update(&piece);
        }
        hex::encode(digest.finalize())
    }
}

impl From<&'static str> for Payload {
    fn from(text: &'static str) -> Payload {
        Payload::Literal(Bytes::from_static(text.as_bytes()))
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Payload {
        Payload::Literal(bytes.into())
    }
}

/// Bytes `start..start + len` of the stream that belongs to `seed`; `start` is a multiple of 8.
fn random_bytes(seed: u64, start: u64, len: usize) -> Bytes {
    let mut bytes = Vec::with_capacity(len + 8);
    let mut word = start / 8;
    while bytes.len() < len {
        // SplitMix64: any word can be computed without those before it.
        let mut z = seed.wrapping_mul(0xA24B_AED4_963E_E407).wrapping_add(word.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bytes.extend_from_slice(&(z ^ (z >> 31)).to_le_bytes());
        word += 1;
    }
    bytes.truncate(len);
    bytes.into()
}
