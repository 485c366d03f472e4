//! What a client promised about its payload, and whether it was kept. Some stores do not look, or look after they have
//! stored; so we look before the hold is released.

use crate::digest::Digests;
use crate::route::Promised;
use crate::s3::code::Code;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use crc_fast::CrcAlgorithm;
use http::HeaderMap;
use sha2::{Digest as _, Sha512};
use std::hash::Hasher as _;
use twox_hash::{XxHash3_64, XxHash3_128, XxHash64};

/// A promise that was not kept, or that could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrokenPromise {
    /// `x-amz-content-sha256` differs.
    #[error("the payload's SHA-256 is not the one in x-amz-content-sha256")]
    ContentSha256,
    /// `Content-MD5` differs.
    #[error("the payload's MD5 is not the one in Content-MD5")]
    ContentMd5,
    /// A checksum differs.
    #[error("a checksum of the payload is not the one that was sent with it")]
    Checksum,
    /// A checksum differs, and `x-amz-sdk-checksum-algorithm` names another algorithm.
    #[error("x-amz-sdk-checksum-algorithm does not name the algorithm of the checksum that was sent")]
    Algorithm,
    /// A digest or checksum that is not base64 of the right length.
    #[error("a digest or checksum header is malformed")]
    Malformed,
}

impl BrokenPromise {
    /// The S3 error code.
    pub fn code(self) -> Code {
        match self {
            BrokenPromise::ContentSha256 => Code::XAmzContentSHA256Mismatch,
            BrokenPromise::ContentMd5 | BrokenPromise::Checksum => Code::BadDigest,
            BrokenPromise::Algorithm => Code::InvalidRequest,
            BrokenPromise::Malformed => Code::InvalidDigest,
        }
    }

    /// The metric label.
    pub fn label(self) -> &'static str {
        match self {
            BrokenPromise::ContentSha256 => "content_sha256_mismatch",
            BrokenPromise::ContentMd5 => "content_md5_mismatch",
            BrokenPromise::Checksum => "checksum_mismatch",
            BrokenPromise::Algorithm => "checksum_algorithm",
            BrokenPromise::Malformed => "digest_malformed",
        }
    }
}

/// Everything that was promised about one payload, being checked while it streams.
pub struct Promises {
    sha256: Promised,
    md5: Option<[u8; 16]>,
    checksums: Vec<Checksum>,
    /// The algorithm that the client says it has used.
    algorithm: Option<String>,
}

struct Checksum {
    header: &'static str,
    computing: Computing,
    /// `None`: it comes in the trailer.
    expected: Option<Vec<u8>>,
}

/// One checksum being computed. MD5, SHA-1 and SHA-256 are taken from the digests that are computed anyway.
enum Computing {
    Crc(crc_fast::Digest, usize),
    Md5,
    Sha1,
    Sha256,
    Sha512(Box<Sha512>),
    XxHash64(XxHash64),
    XxHash3(Box<XxHash3_64>),
    XxHash128(Box<XxHash3_128>),
}

/// The checksum headers of the S3 service model (`ChecksumAlgorithm`, 2026).
const CHECKSUMS: [&str; 10] = [
    "x-amz-checksum-crc32",
    "x-amz-checksum-crc32c",
    "x-amz-checksum-crc64nvme",
    "x-amz-checksum-md5",
    "x-amz-checksum-sha1",
    "x-amz-checksum-sha256",
    "x-amz-checksum-sha512",
    "x-amz-checksum-xxhash64",
    "x-amz-checksum-xxhash3",
    "x-amz-checksum-xxhash128",
];

impl Promises {
    /// Reads the promises out of a request's headers. `announced` are the trailers to come. `about_object` says that
    /// checksum headers speak of a whole object and not of this body (CompleteMultipartUpload).
    pub fn read(
        headers: &HeaderMap,
        sha256: Promised,
        announced: &[String],
        about_object: bool,
    ) -> Result<Promises, BrokenPromise> {
        let md5 = match headers.get("content-md5") {
            None => None,
            Some(value) => Some(decode(value.as_bytes())?.try_into().map_err(|_| BrokenPromise::Malformed)?),
        };
        let mut checksums = Vec::new();
        for header in CHECKSUMS {
            let in_header = headers.get(header).filter(|_| !about_object);
            if in_header.is_none() && !announced.iter().any(|name| name == header) {
                continue;
            }
            let computing = Computing::start(header);
            let expected = in_header.map(|value| decode_checksum(value.as_bytes(), &computing)).transpose()?;
            checksums.push(Checksum { header, computing, expected });
        }
        let algorithm = headers.get("x-amz-sdk-checksum-algorithm").and_then(|value| value.to_str().ok());
        Ok(Promises { sha256, md5, checksums, algorithm: algorithm.map(str::to_ascii_lowercase) })
    }

    /// Whether the digests must hold MD5 for this.
    pub fn needs_md5(&self) -> bool {
        self.md5.is_some() || self.checksums.iter().any(|c| matches!(c.computing, Computing::Md5))
    }

    /// Whether the digests must hold SHA-1 for this.
    pub fn needs_sha1(&self) -> bool {
        self.checksums.iter().any(|c| matches!(c.computing, Computing::Sha1))
    }

    /// Takes the next bytes of the payload.
    pub fn update(&mut self, payload: &[u8]) {
        for checksum in &mut self.checksums {
            checksum.computing.update(payload);
        }
    }

    /// Compares what was computed with what was promised. `trailers` are names in lower case with values.
    pub fn check(self, digests: &Digests, trailers: &[(String, String)]) -> Result<(), BrokenPromise> {
        if matches!(self.sha256, Promised::Sha256(promised) if promised != digests.sha256) {
            return Err(BrokenPromise::ContentSha256);
        }
        if self.md5.is_some_and(|promised| digests.md5 != Some(promised)) {
            return Err(BrokenPromise::ContentMd5);
        }
        for checksum in self.checksums {
            let in_trailer = trailers.iter().find(|(name, _)| name == checksum.header);
            let in_trailer =
                in_trailer.map(|(_, value)| decode_checksum(value.as_bytes(), &checksum.computing)).transpose()?;
            let computed = checksum.computing.finish(digests);
            if [checksum.expected, in_trailer].into_iter().flatten().any(|expected| expected != computed) {
                let other = self.algorithm.filter(|name| checksum.header.strip_prefix("x-amz-checksum-") != Some(name));
                return Err(if other.is_some() { BrokenPromise::Algorithm } else { BrokenPromise::Checksum });
            }
        }
        Ok(())
    }
}

impl Computing {
    fn start(header: &str) -> Computing {
        match header {
            "x-amz-checksum-crc32" => Computing::Crc(crc_fast::Digest::new(CrcAlgorithm::Crc32IsoHdlc), 4),
            "x-amz-checksum-crc32c" => Computing::Crc(crc_fast::Digest::new(CrcAlgorithm::Crc32Iscsi), 4),
            "x-amz-checksum-crc64nvme" => Computing::Crc(crc_fast::Digest::new(CrcAlgorithm::Crc64Nvme), 8),
            "x-amz-checksum-md5" => Computing::Md5,
            "x-amz-checksum-sha1" => Computing::Sha1,
            "x-amz-checksum-sha512" => Computing::Sha512(Box::default()),
            "x-amz-checksum-xxhash64" => Computing::XxHash64(XxHash64::with_seed(0)),
            "x-amz-checksum-xxhash3" => Computing::XxHash3(Box::default()),
            "x-amz-checksum-xxhash128" => Computing::XxHash128(Box::default()),
            _ => Computing::Sha256,
        }
    }

    fn len(&self) -> usize {
        match self {
            Computing::Crc(_, len) => *len,
            Computing::XxHash64(_) | Computing::XxHash3(_) => 8,
            Computing::Md5 | Computing::XxHash128(_) => 16,
            Computing::Sha1 => 20,
            Computing::Sha256 => 32,
            Computing::Sha512(_) => 64,
        }
    }

    fn update(&mut self, payload: &[u8]) {
        match self {
            Computing::Crc(crc, _) => crc.update(payload),
            Computing::Md5 | Computing::Sha1 | Computing::Sha256 => {}
            Computing::Sha512(sha) => sha.update(payload),
            Computing::XxHash64(xx) => xx.write(payload),
            Computing::XxHash3(xx) => xx.write(payload),
            Computing::XxHash128(xx) => xx.write(payload),
        }
    }

    /// The checksum's bytes, big-endian as S3 writes them.
    fn finish(self, digests: &Digests) -> Vec<u8> {
        match self {
            Computing::Crc(crc, len) => crc.finalize().to_be_bytes()[8 - len..].to_vec(),
            Computing::Md5 => digests.md5.map(|d| d.to_vec()).unwrap_or_default(),
            Computing::Sha1 => digests.sha1.map(|d| d.to_vec()).unwrap_or_default(),
            Computing::Sha256 => digests.sha256.to_vec(),
            Computing::Sha512(sha) => sha.finalize().to_vec(),
            Computing::XxHash64(xx) => xx.finish().to_be_bytes().to_vec(),
            Computing::XxHash3(xx) => xx.finish().to_be_bytes().to_vec(),
            Computing::XxHash128(xx) => xx.finish_128().to_be_bytes().to_vec(),
        }
    }
}

fn decode(value: &[u8]) -> Result<Vec<u8>, BrokenPromise> {
    BASE64.decode(value.trim_ascii()).map_err(|_| BrokenPromise::Malformed)
}

fn decode_checksum(value: &[u8], computing: &Computing) -> Result<Vec<u8>, BrokenPromise> {
    let bytes = decode(value)?;
    if bytes.len() == computing.len() { Ok(bytes) } else { Err(BrokenPromise::Malformed) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    fn check(header: &'static str, value: &str, payload: &[u8]) -> Result<(), BrokenPromise> {
        let mut headers = HeaderMap::new();
        headers.insert(HeaderName::from_static(header), HeaderValue::from_str(value).unwrap());
        let mut promises = Promises::read(&headers, Promised::Nothing, &[], false)?;
        for piece in payload.chunks(4) {
            promises.update(piece);
        }
        promises.check(&Digests::of(payload), &[])
    }

    /// The check values of the CRC catalogue, and of the xxHash and FIPS 180-4 references, over "123456789" and "".
    #[test]
    fn published_check_values() {
        let be = |hex: &str| BASE64.encode(hex::decode(hex).unwrap());
        for (header, value) in [
            ("x-amz-checksum-crc32", be("cbf43926")),
            ("x-amz-checksum-crc32c", be("e3069283")),
            ("x-amz-checksum-crc64nvme", be("ae8b14860a799888")),
            ("x-amz-checksum-md5", be("25f9e794323b453885f5181f1b624d0b")),
            ("x-amz-checksum-sha1", be("f7c3bc1d808e04732adf679965ccc34ca7ae3441")),
            ("x-amz-checksum-sha256", be("15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225")),
            ("content-md5", be("25f9e794323b453885f5181f1b624d0b")),
        ] {
            assert_eq!(check(header, &value, b"123456789"), Ok(()), "{header}");
            let other = check(header, &value, b"12345678");
            assert!(matches!(other, Err(BrokenPromise::Checksum | BrokenPromise::ContentMd5)), "{header} {other:?}");
        }
        for (header, value) in [
            ("x-amz-checksum-xxhash64", be("ef46db3751d8e999")),
            ("x-amz-checksum-xxhash3", be("2d06800538d394c2")),
            ("x-amz-checksum-xxhash128", be("99aa06d3014798d86001c324468d497f")),
            (
                "x-amz-checksum-sha512",
                be(concat!(
                    "cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce",
                    "47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e"
                )),
            ),
        ] {
            assert_eq!(check(header, &value, b""), Ok(()), "{header}");
            assert_eq!(check(header, &value, b"x"), Err(BrokenPromise::Checksum), "{header}");
        }
    }

    #[test]
    fn a_value_of_another_length_is_malformed() {
        assert_eq!(check("x-amz-checksum-crc32", "AAAA", b""), Err(BrokenPromise::Malformed));
        assert_eq!(check("content-md5", "not base64", b""), Err(BrokenPromise::Malformed));
    }

    /// As Amazon S3 tells them apart.
    #[test]
    fn a_checksum_of_another_algorithm_than_the_client_says() {
        for (algorithm, payload, expected) in [
            ("CRC32", "12345678", Err(BrokenPromise::Checksum)),
            ("CRC32C", "12345678", Err(BrokenPromise::Algorithm)),
            ("CRC32C", "123456789", Ok(())),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("x-amz-checksum-crc32", HeaderValue::from_static("y/Q5Jg=="));
            headers.insert("x-amz-sdk-checksum-algorithm", HeaderValue::from_static(algorithm));
            let mut promises = Promises::read(&headers, Promised::Nothing, &[], false).unwrap();
            promises.update(payload.as_bytes());
            assert_eq!(promises.check(&Digests::of(payload.as_bytes()), &[]), expected, "{algorithm} {payload}");
        }
    }

    #[test]
    fn a_trailing_checksum_is_checked() {
        let announced = ["x-amz-checksum-crc32".to_owned()];
        let trailer = |value: &str| [("x-amz-checksum-crc32".to_owned(), value.to_owned())];
        for (value, expected) in [("y/Q5Jg==", Ok(())), ("y/Q5Jw==", Err(BrokenPromise::Checksum))] {
            let mut promises = Promises::read(&HeaderMap::new(), Promised::Nothing, &announced, false).unwrap();
            promises.update(b"123456789");
            assert_eq!(promises.check(&Digests::of(b"123456789"), &trailer(value)), expected);
        }
    }
}
