//! A payload as its readers get it: browsers and clients undo `Content-Encoding`, so a listed file that was compressed is
//! as readable as it was. Each layer that is undone is hashed by itself.
//!
//! A header names the layers; gzip and zstd are also known by their magic numbers, because a copy can add the header later,
//! and because a header may say another thing than the bytes. What a stream holds up to the byte at which it is broken is hashed all the same: readers show that much.
//! A bound that is reached (ratio, size, time, layers) leaves the rest unknown, and says so.

use super::archive::{Archive, ArchiveError};
use super::gzip::{Gzip, Members};
use crate::config::settings;
use crate::digest::{Algorithms, Digests, Hashing};
use crate::s3::encoding::Encoding;
use std::io::{self, Write};
use std::time::Duration;
use tokio::time::Instant;
use zstd::zstd_safe::DParameter;

/// Decoded bytes that are free of the ratio: small files compress well.
const RATIO_FREE: u64 = 1 << 20;

/// The largest window of zstd, as a power of two: what RFC 9659, section 3, has its readers keep for `Content-Encoding`.
/// Larger ones are for archives that a program was told to unpack.
const ZSTD_WINDOW_LOG: u32 = 23;

/// About what the decoder of a layer takes, in bytes: its window, and what it reads into and writes from.
const GZIP_MEMORY: u64 = 128 << 10;
const ZSTD_MEMORY: u64 = 9 << 20;
const BROTLI_MEMORY: u64 = 17 << 20;

/// What is decoded before the bounds are looked at: a block of four bytes may stand for 128 KiB (RFC 8878, section 3.1.1.2).
const STEP: usize = 1 << 10;

/// Members of one archive that are looked up.
const MEMBERS_MAX: usize = 10_000;

/// Why the rest of a payload is not known decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// More than so many decoded bytes for each encoded one.
    Ratio,
    /// More decoded bytes.
    Size,
    /// More time.
    Time,
    /// A larger window than is kept (zstd).
    Memory,
    /// A form that some readers still know (zstd before 0.8).
    Format,
    /// More layers.
    Layers,
}

/// What came of decoding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// The digests behind each layer, outermost first.
    pub layers: Vec<Digests>,
    /// The bound that was reached.
    pub bound: Option<Bound>,
    /// The stream is broken: what it holds up to there is in `layers`.
    pub broken: bool,
    /// Whether a header said that it is encoded.
    pub declared: bool,
    /// What came of the archive, where the store will unpack one: the members are in `layers`, too.
    pub archive: Option<Result<(), ArchiveError>>,
}

impl Decoded {
    /// What came of reading the same payload in two ways.
    pub fn and(mut self, other: Decoded) -> Decoded {
        self.layers.extend(other.layers);
        self.bound = self.bound.or(other.bound);
        self.broken |= other.broken;
        self.declared |= other.declared;
        self
    }

    /// The metric label.
    pub fn label(&self) -> &'static str {
        match (self.bound, self.broken) {
            (Some(Bound::Ratio), _) => "ratio",
            (Some(Bound::Size), _) => "size",
            (Some(Bound::Time), _) => "time",
            (Some(Bound::Memory), _) => "memory",
            (Some(Bound::Format), _) => "format",
            (Some(Bound::Layers), _) => "layers",
            (None, true) => "broken",
            (None, false) => "decoded",
        }
    }
}

/// A payload being decoded.
pub struct Decoding {
    next: Next,
    /// Declared layers that are known, the outermost first.
    declared: Vec<Encoding>,
    bounds: settings::Encodings,
    algorithms: Algorithms,
    encoded: u64,
    spent: Duration,
    stopped: Option<Stop>,
    /// What was known when it stopped.
    layers: Vec<Digests>,
    /// Reads the payload, or what it decodes to, as an archive that the store will unpack.
    archive: Option<Archive>,
    /// Bytes of which it is not known yet whether they are encoded.
    begun: Vec<u8>,
}

enum Stop {
    Bound(Bound),
    Broken,
}

impl Decoding {
    /// Of a payload with this `Content-Encoding`.
    pub fn new(content_encoding: &str, bounds: &settings::Encodings, algorithms: Algorithms) -> Decoding {
        let mut declared: Vec<Encoding> = Encoding::named(content_encoding).collect();
        // The last one was applied last, so it is undone first.
        declared.reverse();
        let too_many = declared.len() > bounds.layers;
        Decoding {
            next: Next::Undecided(Vec::new()),
            declared,
            bounds: bounds.clone(),
            algorithms,
            encoded: 0,
            spent: Duration::ZERO,
            stopped: too_many.then_some(Stop::Bound(Bound::Layers)),
            layers: Vec::new(),
            archive: None,
            begun: Vec::new(),
        }
    }

    /// Of a payload of which nobody may have heard what was said: it is what its first bytes tell, and zlib, which readers
    /// take for gzip where that was said.
    pub fn unsaid(bounds: &settings::Encodings, algorithms: Algorithms) -> Decoding {
        Decoding::new("gzip", bounds, algorithms)
    }

    /// The ways in which readers may take a payload with this `Content-Encoding`. Brotli begins with any bytes, so that what
    /// says it is may be something else to whoever does not heed it.
    pub fn ways(content_encoding: &str, bounds: &settings::Encodings, algorithms: Algorithms) -> Vec<Decoding> {
        let may_be_other = Encoding::named(content_encoding).any(|encoding| encoding == Encoding::Brotli);
        let said = [Some(content_encoding), may_be_other.then_some("")];
        said.into_iter().flatten().map(|said| Decoding::new(said, bounds, algorithms)).collect()
    }

    /// What came of all of them.
    pub fn finish_all(ways: Vec<Decoding>) -> Option<Decoded> {
        ways.into_iter().filter_map(Decoding::finish).reduce(Decoded::and)
    }

    /// The store will unpack the payload: its members are hashed, too.
    #[must_use]
    pub fn unpacking(mut self) -> Decoding {
        self.archive = Some(Archive::new(self.algorithms, MEMBERS_MAX));
        if !self.bounds.decode {
            self.next = Next::Plain;
        }
        self
    }

    /// Takes the next bytes of the payload.
    pub fn update(&mut self, bytes: &[u8]) {
        if let (Next::Plain, None) = (&self.next, &self.archive) {
            return;
        }
        bytes.chunks(STEP).for_each(|piece| self.step(piece));
    }

    fn step(&mut self, bytes: &[u8]) {
        self.encoded += bytes.len() as u64;
        if let (Some(archive), Next::Plain) = (&mut self.archive, &self.next) {
            archive.push(bytes);
        } else if self.archive.is_some() && matches!(self.next, Next::Undecided(_)) {
            self.begun.extend_from_slice(bytes);
        }
        if self.stopped.is_some() || matches!(self.next, Next::Plain) || !self.bounds.decode {
            return;
        }
        let started = Instant::now();
        let (next, shape) = self.next_and_shape();
        let written = next.write(bytes, &shape);
        if let (Some(archive), Next::Plain) = (&mut self.archive, &self.next) {
            archive.push(&std::mem::take(&mut self.begun));
        }
        self.spent += started.elapsed();
        let decoded = self.next.decoded_max();
        let allowed = self.encoded.saturating_mul(self.bounds.ratio).saturating_add(RATIO_FREE);
        let stop = match written {
            Err(error) => bound_of(&error).map_or(Stop::Broken, Stop::Bound),
            Ok(()) if decoded > self.bounds.size => Stop::Bound(Bound::Size),
            Ok(()) if decoded > allowed => Stop::Bound(Bound::Ratio),
            Ok(()) if self.spent > self.bounds.time => Stop::Bound(Bound::Time),
            Ok(()) if self.next.has_more_layers(self.bounds.layers) => Stop::Bound(Bound::Layers),
            Ok(()) => match self.next.inner_bound() {
                Some(bound) => Stop::Bound(bound),
                None => return,
            },
        };
        self.stop(stop);
    }

    /// Nothing more is decoded; what is known is kept, and the decoders go.
    fn stop(&mut self, stop: Stop) {
        let (next, shape) = self.next_and_shape();
        // What they still hold readers see, too.
        next.end(&shape).ok();
        let inner = self.next.inner_bound().filter(|_| matches!(stop, Stop::Broken));
        self.stopped = Some(inner.map_or(stop, Stop::Bound));
        if let Some(archive) = self.next.take_archive() {
            self.archive = Some(archive);
        }
        self.next.collect(&mut self.layers);
        self.next = Next::Ended;
    }

    fn next_and_shape(&mut self) -> (&mut Next, Shape<'_>) {
        let shape = Shape {
            layers: &self.declared,
            left: self.bounds.layers,
            algorithms: self.algorithms,
            unpack: self.archive.is_some(),
        };
        (&mut self.next, shape)
    }

    /// About what its decoders take, in bytes.
    pub fn memory(&self) -> u64 {
        self.next.memory()
    }

    /// What came of it; `None` where nothing is encoded.
    pub fn finish(mut self) -> Option<Decoded> {
        let declared = !self.declared.is_empty();
        if self.stopped.is_none() {
            let (next, shape) = self.next_and_shape();
            match next.end(&shape) {
                Ok(()) => self.next.collect(&mut self.layers),
                Err(error) => self.stop(bound_of(&error).map_or(Stop::Broken, Stop::Bound)),
            }
        }
        let (bound, broken) = match self.stopped {
            Some(Stop::Bound(bound)) => (Some(bound), false),
            Some(Stop::Broken) => (None, true),
            None => (None, false),
        };
        let mut layers = self.layers;
        let archive = self.archive.map(|mut archive| {
            if matches!(self.next, Next::Plain) {
                archive.push(&self.begun);
            }
            let archive = self.next.take_archive().unwrap_or(archive);
            archive.finish().map(|members| layers.extend(members))
        });
        // Of an archive that is encoded and cannot be decoded whole, nobody knows every member.
        let archive = archive.map(|read| if bound.is_some() || broken { Err(ArchiveError::Truncated) } else { read });
        let any = archive.is_some()
            || bound.is_some()
            || (!layers.is_empty() && (declared || layers.iter().any(|layer| layer.length > 0)));
        any.then_some(Decoded { layers, bound, broken, declared, archive })
    }
}

/// What is still to be undone, and how.
struct Shape<'a> {
    layers: &'a [Encoding],
    left: usize,
    algorithms: Algorithms,
    /// Whether what the first layer gives is an archive that the store will unpack.
    unpack: bool,
}

/// What becomes of bytes behind a layer.
enum Next {
    /// Too few bytes to tell.
    Undecided(Vec<u8>),
    /// Nothing is to be undone.
    Plain,
    /// A layer is undone.
    Layer(Box<Layer>),
    /// Nothing is undone any more.
    Ended,
}

/// Bytes that tell what they are.
const MAGIC_LEN: usize = 4;

/// What a payload is that begins with these bytes, [`MAGIC_LEN`] at least, and does not say it.
fn recognised(begun: &[u8]) -> Option<Encoding> {
    match begun {
        [0x1f, 0x8b, 0x08, ..] => Some(Encoding::Gzip),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Encoding::Zstd),
        // A frame that readers skip may come first (RFC 8878, section 3.1.2).
        [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Encoding::Zstd),
        _ if is_old_zstd(begun) => Some(Encoding::Zstd),
        _ => None,
    }
}

/// Whether a frame of zstd 0.2 to 0.7 begins here: today's library is mostly built to read some of them, and never writes one.
fn is_old_zstd(bytes: &[u8]) -> bool {
    matches!(bytes, [0x22..=0x27, 0xb5, 0x2f, 0xfd, ..])
}

/// A header of zlib (RFC 1950, section 2.2) is a multiple of 31, with 8 for its method.
fn is_zlib(begun: &[u8]) -> bool {
    begun[0] & 15 == 8 && u16::from_be_bytes([begun[0], begun[1]]).is_multiple_of(31)
}

/// The first bytes of a payload, as far as they came.
#[derive(Clone, Copy, Debug, Default)]
pub struct Begun {
    bytes: [u8; MAGIC_LEN],
    len: usize,
}

impl Begun {
    /// Takes the next bytes of the payload.
    pub fn see(&mut self, bytes: &[u8]) {
        let more = bytes.len().min(MAGIC_LEN - self.len);
        self.bytes[self.len..self.len + more].copy_from_slice(&bytes[..more]);
        self.len += more;
    }

    /// Whether it is surely nothing that [`Decoding::unsaid`] would undo. Fewer bytes than it takes to tell may be the
    /// beginning of anything.
    pub fn is_plain(&self) -> bool {
        self.len == MAGIC_LEN && recognised(&self.bytes).is_none() && !is_zlib(&self.bytes)
    }
}

impl Next {
    fn write(&mut self, bytes: &[u8], shape: &Shape<'_>) -> io::Result<()> {
        if let Next::Undecided(begun) = self {
            begun.extend_from_slice(bytes);
            if begun.len() < MAGIC_LEN {
                return Ok(());
            }
            let begun = std::mem::take(begun);
            *self = Next::decide(&begun, shape)?;
            return self.write_on(&begun);
        }
        self.write_on(bytes)
    }

    fn write_on(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Next::Layer(layer) => layer.write_all(bytes),
            _ => Ok(()),
        }
    }

    fn decide(begun: &[u8], shape: &Shape<'_>) -> io::Result<Next> {
        let encoding = match (shape.layers.first(), recognised(begun)) {
            // It begins with any bytes.
            (Some(Encoding::Brotli), _) => Some(Encoding::Brotli),
            // Nothing else begins so, whatever was said.
            (_, Some(found)) => Some(found),
            // Readers that tell the two by their first bytes take either for gzip (zlib's manual, inflateInit2).
            (Some(Encoding::Gzip), None) if is_zlib(begun) => Some(Encoding::Deflate),
            (said, None) => said.copied(),
        };
        let Some(encoding) = encoding else { return Ok(Next::Plain) };
        let inner = Level {
            hashing: Hashing::new(shape.algorithms),
            length: 0,
            first_member: None,
            archive: shape.unpack.then(|| Box::new(Archive::new(shape.algorithms, MEMBERS_MAX))),
            next: Next::Undecided(Vec::new()),
            next_error: None,
            layers: shape.layers.get(1..).unwrap_or_default().to_vec(),
            left: shape.left.saturating_sub(1),
            algorithms: shape.algorithms,
        };
        Ok(Next::Layer(Box::new(match encoding {
            Encoding::Gzip => Layer::Gzip(Gzip::new(), inner),
            Encoding::Deflate if is_zlib(begun) => Layer::Zlib(flate2::write::ZlibDecoder::new(inner)),
            Encoding::Deflate => Layer::Deflate(flate2::write::DeflateDecoder::new(inner)),
            Encoding::Brotli => Layer::Brotli(Box::new(brotli_decompressor::DecompressorWriter::new(inner, 4096))),
            Encoding::Zstd => {
                let mut decoder = zstd::stream::write::Decoder::new(inner)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                // Not all readers look at it, and one that is wrong would keep the last block back.
                decoder.set_parameter(DParameter::ForceIgnoreChecksum(true))?;
                Layer::Zstd(decoder, Vec::new())
            }
        })))
    }

    /// Flushes what the decoders still hold, and tells whether each stream has ended.
    fn end(&mut self, shape: &Shape<'_>) -> io::Result<()> {
        if let Next::Undecided(begun) = self {
            let mut begun = std::mem::take(begun);
            if begun.is_empty() {
                *self = Next::Plain;
                return Ok(());
            }
            let len = begun.len();
            begun.resize(MAGIC_LEN.max(len), 0);
            *self = Next::decide(&begun, shape)?;
            self.write_on(&begun[..len])?;
        }
        match self {
            Next::Layer(layer) => layer.end(),
            _ => Ok(()),
        }
    }

    /// The most bytes that any layer decoded to.
    fn decoded_max(&self) -> u64 {
        match self {
            Next::Layer(layer) => layer.level().length.max(layer.level().next.decoded_max()),
            _ => 0,
        }
    }

    /// Whether more layers follow than may be undone.
    fn has_more_layers(&self, left: usize) -> bool {
        match self {
            Next::Layer(_) if left == 0 => true,
            Next::Layer(layer) => layer.level().next.has_more_layers(left - 1),
            _ => false,
        }
    }

    /// The bound at which a layer further in has stopped by itself.
    fn inner_bound(&self) -> Option<Bound> {
        let Next::Layer(layer) = self else { return None };
        layer.level().next_error.as_ref().and_then(bound_of).or_else(|| layer.level().next.inner_bound())
    }

    fn memory(&self) -> u64 {
        let Next::Layer(layer) = self else { return 0 };
        let own = match **layer {
            Layer::Gzip(..) | Layer::Zlib(_) | Layer::Deflate(_) => GZIP_MEMORY,
            Layer::Brotli(_) => BROTLI_MEMORY,
            Layer::Zstd(..) => ZSTD_MEMORY,
        };
        own + layer.level().next.memory()
    }

    /// The archive that the first layer gave.
    fn take_archive(&mut self) -> Option<Archive> {
        match self {
            Next::Layer(layer) => layer.level_mut().archive.take().map(|archive| *archive),
            _ => None,
        }
    }

    fn collect(&self, layers: &mut Vec<Digests>) {
        if let Next::Layer(layer) = self {
            let level = layer.level();
            layers.extend(level.first_member);
            layers.push(level.hashing.clone().finish());
            level.next.collect(layers);
        }
    }
}

/// A decoder; what it gives goes into its level.
enum Layer {
    Gzip(Gzip, Level),
    Zlib(flate2::write::ZlibDecoder<Level>),
    Deflate(flate2::write::DeflateDecoder<Level>),
    Brotli(Box<brotli_decompressor::DecompressorWriter<Level>>),
    /// And its last bytes, of which a frame may begin.
    Zstd(ZstdDecoder, Vec<u8>),
}

type ZstdDecoder = zstd::stream::write::Decoder<'static, Level>;

/// Decoded bytes: hashed, and decoded on where they are encoded once more.
struct Level {
    hashing: Hashing,
    length: u64,
    /// What a reader sees that stops behind the first member of a gzip file.
    first_member: Option<Digests>,
    archive: Option<Box<Archive>>,
    next: Next,
    /// Why nothing goes to `next` any more.
    next_error: Option<io::Error>,
    layers: Vec<Encoding>,
    left: usize,
    algorithms: Algorithms,
}

impl Level {
    fn see(&mut self, bytes: &[u8]) {
        self.hashing.update(bytes);
        self.length += bytes.len() as u64;
        if let Some(archive) = &mut self.archive {
            archive.push(bytes);
        }
        let shape = Shape { layers: &self.layers, left: self.left, algorithms: self.algorithms, unpack: false };
        // A broken layer further in changes nothing about this one, and keeps what it holds.
        if self.next_error.is_none() {
            self.next_error = self.next.write(bytes, &shape).err();
        }
    }
}

impl Write for Level {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.see(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Some readers put the members of a gzip file together, some stop behind the first.
impl Members for Level {
    fn take(&mut self, bytes: &[u8]) {
        self.see(bytes);
    }

    fn goes_on(&mut self) {
        let whole = &self.hashing;
        self.first_member.get_or_insert_with(|| whole.clone().finish());
    }
}

/// The longest header of a frame of zstd, in bytes: the library may wait for all of it.
const ZSTD_HEADER_LEN: usize = 18;

/// Writes on, with the bytes before these that may belong to the beginning of a frame.
fn write_frames(decoder: &mut ZstdDecoder, before: &mut Vec<u8>, bytes: &[u8]) -> io::Result<()> {
    let written = decoder.write_all(bytes);
    let Err(error) = written else {
        before.extend_from_slice(bytes);
        before.drain(..before.len().saturating_sub(ZSTD_HEADER_LEN));
        return Ok(());
    };
    // The library tells its errors by their texts alone.
    let text = error.to_string();
    let has_old = || {
        let mut seen = [&before[..], bytes].concat();
        // It stops at the first byte that is wrong, before the others have come.
        seen.extend_from_slice(match *seen {
            [.., 0x22..=0x27] => &[0xb5, 0x2f, 0xfd],
            [.., 0x22..=0x27, 0xb5] => &[0x2f, 0xfd],
            [.., 0x22..=0x27, 0xb5, 0x2f] => &[0xfd],
            _ => &[],
        });
        seen.windows(MAGIC_LEN).any(is_old_zstd)
    };
    Err(match () {
        () if text.contains("requires too much memory") => io::ErrorKind::OutOfMemory.into(),
        () if text.contains("Unknown frame descriptor") && has_old() => io::ErrorKind::Unsupported.into(),
        () => error,
    })
}

/// The bound that an error stands for: behind it a reader may see more.
fn bound_of(error: &io::Error) -> Option<Bound> {
    match error.kind() {
        io::ErrorKind::OutOfMemory => Some(Bound::Memory),
        io::ErrorKind::Unsupported => Some(Bound::Format),
        _ => None,
    }
}

impl Layer {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Layer::Gzip(gzip, level) => gzip.write(bytes, level),
            Layer::Zlib(decoder) => decoder.write_all(bytes),
            Layer::Deflate(decoder) => decoder.write_all(bytes),
            Layer::Brotli(decoder) => decoder.write_all(bytes),
            Layer::Zstd(decoder, before) => write_frames(decoder, before, bytes),
        }
    }

    fn end(&mut self) -> io::Result<()> {
        let ended = match self {
            Layer::Gzip(gzip, _) if gzip.is_whole() => Ok(()),
            Layer::Gzip(..) => Err(io::ErrorKind::UnexpectedEof.into()),
            Layer::Zlib(decoder) => decoder.try_finish(),
            Layer::Deflate(decoder) => decoder.try_finish(),
            Layer::Brotli(decoder) => decoder.close(),
            Layer::Zstd(decoder, _) => decoder.flush(),
        };
        let level = self.level_mut();
        let shape = Shape { layers: &level.layers, left: level.left, algorithms: level.algorithms, unpack: false };
        if level.next_error.is_some() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        ended.and(level.next.end(&shape))
    }

    fn level(&self) -> &Level {
        match self {
            Layer::Gzip(_, level) => level,
            Layer::Zlib(decoder) => decoder.get_ref(),
            Layer::Deflate(decoder) => decoder.get_ref(),
            Layer::Brotli(decoder) => decoder.get_ref(),
            Layer::Zstd(decoder, _) => decoder.get_ref(),
        }
    }

    fn level_mut(&mut self) -> &mut Level {
        match self {
            Layer::Gzip(_, level) => level,
            Layer::Zlib(decoder) => decoder.get_mut(),
            Layer::Deflate(decoder) => decoder.get_mut(),
            Layer::Brotli(decoder) => decoder.get_mut(),
            Layer::Zstd(decoder, _) => decoder.get_mut(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    fn bounds() -> settings::Encodings {
        settings::Encodings::default()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn deflate(bytes: &[u8], zlib: bool) -> Vec<u8> {
        let mut out = Vec::new();
        if zlib {
            flate2::read::ZlibEncoder::new(bytes, flate2::Compression::fast()).read_to_end(&mut out).unwrap();
        } else {
            flate2::read::DeflateEncoder::new(bytes, flate2::Compression::fast()).read_to_end(&mut out).unwrap();
        }
        out
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        zstd::encode_all(bytes, 1).unwrap()
    }

    /// One meta-block that is not compressed (RFC 7932, section 9.2), for up to 65,536 bytes.
    fn brotli(bytes: &[u8]) -> Vec<u8> {
        let length = (bytes.len() - 1) as u32;
        // WBITS 16 (0), ISLAST 0, MNIBBLES 4 (00), MLEN - 1 in 16 bits, ISUNCOMPRESSED 1, then bytes; 03 ends it.
        let head = length << 4 | 1 << 20;
        let mut out = head.to_le_bytes()[..3].to_vec();
        out.extend_from_slice(bytes);
        out.push(3);
        out
    }

    fn payload() -> Vec<u8> {
        (0..50_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
    }

    fn decode(header: Option<&str>, bytes: &[u8], split: usize, bounds: &settings::Encodings) -> Option<Decoded> {
        let mut decoding = Decoding::new(header.unwrap_or_default(), bounds, Algorithms::NONE);
        bytes.chunks(split).for_each(|piece| decoding.update(piece));
        decoding.finish()
    }

    fn sha256(bytes: &[u8]) -> [u8; 32] {
        Digests::of(bytes).sha256
    }

    #[test]
    fn every_encoding_in_any_split() {
        let payload = payload();
        for (header, bytes) in [
            (Some("gzip"), gzip(&payload)),
            (Some("X-GZIP"), gzip(&payload)),
            (None, gzip(&payload)),
            (None, zstd(&payload)),
            (Some("zstd"), zstd(&payload)),
            (Some("deflate"), deflate(&payload, true)),
            (Some("deflate"), deflate(&payload, false)),
            (Some("aws-chunked, br"), brotli(&payload)),
        ] {
            for split in [1, 7, 4096, bytes.len()] {
                let decoded = decode(header, &bytes, split, &bounds()).unwrap();
                assert_eq!(decoded.layers[0].sha256, sha256(&payload), "{header:?} {split}");
                assert_eq!(
                    (decoded.bound, decoded.broken, decoded.layers.len()),
                    (None, false, 1),
                    "{header:?} {split}"
                );
                assert_eq!(decoded.declared, header.is_some());
            }
        }
    }

    #[test]
    fn what_is_not_encoded_costs_nothing() {
        for bytes in [&b""[..], b"x", b"plain text", b"\x1f\x8b\x07"] {
            assert_eq!(decode(None, bytes, 1, &bounds()), None);
        }
        assert_eq!(decode(Some("identity, compress"), b"plain text", 4, &bounds()), None);
    }

    #[test]
    fn layers_are_hashed_one_by_one() {
        let payload = payload();
        let (inner, outer) = (gzip(&payload), zstd(&gzip(&payload)));
        for header in [Some("gzip, zstd"), Some("zstd"), None] {
            let decoded = decode(header, &outer, 1000, &bounds()).unwrap();
            let layers: Vec<_> = decoded.layers.iter().map(|layer| layer.sha256).collect();
            assert_eq!(layers, [sha256(&inner), sha256(&payload)], "{header:?}");
        }
        let decoded = decode(None, &gzip(&outer), 1000, &bounds()).unwrap();
        assert_eq!(decoded.bound, Some(Bound::Layers));
        assert_eq!(decode(Some("gzip, gzip, gzip"), &inner, 99, &bounds()).unwrap().bound, Some(Bound::Layers));
    }

    #[test]
    fn a_broken_stream_is_known_up_to_where_it_breaks() {
        let payload = payload();
        let garbage_behind = [gzip(&payload), b"garbage".to_vec()].concat();
        let cut = gzip(&payload);
        let cut = cut[..cut.len() - 8].to_vec();
        for (name, bytes) in [("garbage", garbage_behind), ("cut", cut)] {
            for split in [13, 100_000] {
                let decoded = decode(None, &bytes, split, &bounds()).unwrap();
                assert!(decoded.broken, "{name} {split}");
                assert_eq!(decoded.layers[0].sha256, sha256(&payload), "{name} {split}");
            }
        }
        // Declared, and nothing of the kind: readers see nothing of it either.
        let decoded = decode(Some("gzip"), b"no gzip at all", 5, &bounds()).unwrap();
        assert!(decoded.broken && decoded.bound.is_none());
    }

    /// Not every reader looks at them.
    #[test]
    fn a_wrong_sum_changes_nothing() {
        let payload = payload();
        let mut checked = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        checked.include_checksum(true).unwrap();
        checked.write_all(&payload).unwrap();
        for (mut bytes, from_end) in [(gzip(&payload), 5), (checked.finish().unwrap(), 1)] {
            let at = bytes.len() - from_end;
            bytes[at] ^= 1;
            for split in [13, 100_000] {
                let decoded = decode(None, &bytes, split, &bounds()).unwrap();
                assert_eq!((decoded.layers[0].sha256, decoded.broken), (sha256(&payload), false), "{split}");
            }
        }
    }

    /// Readers go by the bytes as well as by what was said.
    #[test]
    fn what_was_said_hides_nothing() {
        let payload = payload();
        for (header, bytes) in [
            ("gzip", deflate(&payload, true)),
            ("deflate", gzip(&payload)),
            ("zstd", gzip(&payload)),
            ("gzip", zstd(&payload)),
            ("br", gzip(&payload)),
            ("br", zstd(&payload)),
            ("gzip, br", gzip(&gzip(&payload))),
        ] {
            let mut ways = Decoding::ways(header, &bounds(), Algorithms::NONE);
            for piece in bytes.chunks(777) {
                ways.iter_mut().for_each(|way| way.update(piece));
            }
            let decoded = Decoding::finish_all(ways).unwrap();
            assert!(decoded.declared, "{header}");
            assert!(decoded.layers.iter().any(|layer| layer.sha256 == sha256(&payload)), "{header}");
        }
    }

    /// However much comes at once, no more is decoded than a bound lets through, and little beyond it.
    #[test]
    fn a_bound_counts_inside_a_piece() {
        // Blocks that repeat one byte 128 Ki times each, in a frame with a window of 8 MiB (RFC 8878, section 3.1.1).
        let block = ((128_u32 << 10) << 3 | 1 << 1).to_le_bytes();
        let blocks = (0..100_000).flat_map(|_| [block[0], block[1], block[2], b'x']);
        let bomb: Vec<u8> = b"\x28\xb5\x2f\xfd\0\x68".iter().copied().chain(blocks).collect();
        let mut decoding = Decoding::new("", &bounds(), Algorithms::NONE);
        decoding.update(&bomb);
        assert_eq!(decoding.memory(), 0, "its decoders are gone");
        let decoded = decoding.finish().unwrap();
        assert_eq!(decoded.bound, Some(Bound::Ratio));
        assert!(decoded.layers[0].length < 64 << 20, "{}", decoded.layers[0].length);
    }

    /// Readers differ on what the members of a gzip file are together.
    #[test]
    fn members_are_read_in_both_ways() {
        let (one, two) = (b"one".repeat(1000), b"two".repeat(1000));
        for split in [1, 100_000] {
            let decoded = decode(None, &[gzip(&one), gzip(&two)].concat(), split, &bounds()).unwrap();
            let layers: Vec<_> = decoded.layers.iter().map(|layer| layer.sha256).collect();
            assert_eq!(layers, [sha256(&one), sha256(&[one.clone(), two.clone()].concat())], "{split}");
            assert!(!decoded.broken);
        }
    }

    #[test]
    fn bounds_are_said() {
        let zeros = gzip(&vec![0; 20 << 20]);
        let small = settings::Encodings { size: 1 << 20, ratio: 1_000_000, ..bounds() };
        for (bounds, bound) in [(bounds(), Bound::Ratio), (small, Bound::Size)] {
            assert_eq!(decode(Some("gzip"), &zeros, 4096, &bounds).unwrap().bound, Some(bound));
        }
        let hasty = settings::Encodings { time: Duration::ZERO, ratio: 1_000_000, ..bounds() };
        assert_eq!(decode(None, &zeros, 4096, &hasty).unwrap().bound, Some(Bound::Time));
        let off = settings::Encodings { decode: false, ..bounds() };
        assert_eq!(decode(None, &zeros, 4096, &off), None);
    }

    fn zstd_with_window(bytes: &[u8], log: u32) -> Vec<u8> {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(log).unwrap();
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// A reader that keeps more would see what is behind it.
    #[test]
    fn a_window_that_is_too_large_is_a_bound() {
        let payload = payload();
        for (log, bound) in [(ZSTD_WINDOW_LOG, None), (ZSTD_WINDOW_LOG + 1, Some(Bound::Memory))] {
            let outer = zstd_with_window(&payload, log);
            for (header, bytes) in [(Some("zstd"), outer.clone()), (None, outer.clone()), (None, gzip(&outer))] {
                let decoded = decode(header, &bytes, 4096, &bounds()).unwrap();
                assert_eq!(decoded.bound, bound, "{header:?} {log}");
                let found = decoded.layers.iter().any(|layer| layer.sha256 == sha256(&payload));
                assert_eq!(found, bound.is_none(), "{header:?} {log}");
            }
        }
    }

    /// Who reads them would see what is in them; who only finds garbage sees what was before it.
    #[test]
    fn a_frame_of_an_old_form_is_a_bound() {
        let old = [&b"\x27\xb5\x2f\xfd"[..], &payload()].concat();
        let behind = [zstd(b"first"), old.clone()].concat();
        let garbage = [zstd(b"first"), payload()].concat();
        for (header, bytes, bound) in [
            (Some("zstd"), &old, Some(Bound::Format)),
            (None, &old, Some(Bound::Format)),
            (None, &behind, Some(Bound::Format)),
            (None, &gzip(&behind), Some(Bound::Format)),
            (Some("zstd"), &garbage, None),
        ] {
            for split in [1, 3, 100_000] {
                let decoded = decode(header, bytes, split, &bounds()).unwrap();
                assert_eq!((decoded.bound, decoded.broken || bound.is_some()), (bound, true), "{header:?} {split}");
            }
        }
    }

    #[test]
    fn a_frame_that_readers_skip_hides_nothing() {
        let payload = payload();
        let skipped = [&b"\x50\x2a\x4d\x18\x03\0\0\0abc"[..], &zstd(&payload)].concat();
        for split in [1, 4096] {
            let decoded = decode(None, &skipped, split, &bounds()).unwrap();
            assert_eq!((decoded.layers[0].sha256, decoded.broken), (sha256(&payload), false), "{split}");
        }
    }

    #[test]
    fn first_bytes_tell_what_is_plain() {
        for (bytes, plain) in [
            (&b"plain"[..], true),
            (b"\x1f\x8b\x08\0", false),
            (b"\x1f\x8b\x07\0", true),
            (b"pla", false),
            (b"", false),
        ] {
            for split in [1, 100] {
                let mut begun = Begun::default();
                bytes.chunks(split).for_each(|piece| begun.see(piece));
                assert_eq!(begun.is_plain(), plain, "{bytes:?}");
            }
        }
        assert!([zstd(b"x"), gzip(b"x"), deflate(b"x", true), b"\x5f\x2a\x4d\x18".to_vec()].iter().all(|bytes| {
            let mut begun = Begun::default();
            begun.see(bytes);
            !begun.is_plain()
        }));
    }
}
