//! gzip (RFC 1952) as the most lenient of its readers take it: what only some of them look at, and refuse, is passed over
//! here. That is the length of a name, the reserved flags, and every checksum. Zeros between members are padding.

use flate2::{Decompress, FlushDecompress, Status};
use std::io;

/// What is written out at once.
const OUTPUT_LEN: usize = 32 << 10;

/// Flags of a header (section 2.3.1): each says that a field follows, in this order.
const FEXTRA: u8 = 4;
const FNAME: u8 = 8;
const FCOMMENT: u8 = 16;
const FHCRC: u8 = 2;

/// Where the members go.
pub(super) trait Members {
    /// The next decoded bytes.
    fn take(&mut self, bytes: &[u8]);

    /// A member begins behind others.
    fn goes_on(&mut self);
}

/// A file of members, one behind the other.
pub(super) struct Gzip {
    step: Step,
    inflate: Decompress,
    output: Box<[u8]>,
    any: bool,
}

/// What is to come next.
enum Step {
    /// A member, or padding.
    Start,
    /// So many bytes of a header have come; its flags.
    Fixed(u8, u8),
    /// The first byte of a length, or nothing of it; flags of what follows.
    ExtraLength(Option<u8>, u8),
    /// So many bytes; flags of what follows.
    Extra(u16, u8),
    /// Text up to a zero; flags of what follows.
    Text(u8),
    /// So many bytes of a checksum.
    HeaderSum(u8),
    Body,
    /// So many bytes of checksum and length.
    Trailer(u8),
}

impl Gzip {
    pub(super) fn new() -> Gzip {
        let (inflate, output) = (Decompress::new(false), vec![0; OUTPUT_LEN].into());
        Gzip { step: Step::Start, inflate, output, any: false }
    }

    /// Takes the next bytes of the file.
    ///
    /// # Errors
    /// It is broken here. What it holds up to that was given out.
    pub(super) fn write(&mut self, mut bytes: &[u8], members: &mut impl Members) -> io::Result<()> {
        while let Some((first, rest)) = bytes.split_first() {
            if let Step::Body = self.step {
                bytes = self.inflate(bytes, members)?;
                continue;
            }
            self.step = self.byte(*first, members)?;
            bytes = rest;
        }
        Ok(())
    }

    /// Whether the file may end here.
    pub(super) fn is_whole(&self) -> bool {
        self.any && matches!(self.step, Step::Start)
    }

    /// Takes a byte of what is around the bodies.
    fn byte(&mut self, byte: u8, members: &mut impl Members) -> io::Result<Step> {
        Ok(match self.step {
            Step::Start if byte == 0 && self.any => Step::Start,
            Step::Start if byte == 0x1f => {
                if self.any {
                    members.goes_on();
                }
                Step::Fixed(1, 0)
            }
            Step::Fixed(1, _) if byte == 0x8b => Step::Fixed(2, 0),
            Step::Fixed(2, _) if byte == 8 => Step::Fixed(3, 0),
            Step::Fixed(3, _) => Step::Fixed(4, byte),
            Step::Fixed(9, flags) => Step::field(flags),
            Step::Fixed(at @ 4.., flags) => Step::Fixed(at + 1, flags),
            Step::ExtraLength(None, flags) => Step::ExtraLength(Some(byte), flags),
            Step::ExtraLength(Some(low), flags) => match u16::from_le_bytes([low, byte]) {
                0 => Step::field(flags),
                length => Step::Extra(length, flags),
            },
            Step::Extra(1, flags) => Step::field(flags),
            Step::Extra(left, flags) => Step::Extra(left - 1, flags),
            Step::Text(flags) if byte == 0 => Step::field(flags),
            Step::Text(flags) => Step::Text(flags),
            Step::HeaderSum(1) => Step::Body,
            Step::HeaderSum(left) => Step::HeaderSum(left - 1),
            Step::Trailer(1) => Step::Start,
            Step::Trailer(left) => Step::Trailer(left - 1),
            Step::Start | Step::Fixed(..) | Step::Body => return Err(io::ErrorKind::InvalidData.into()),
        })
    }

    /// Inflates what belongs to the body of a member; the bytes behind it.
    fn inflate<'a>(&mut self, mut bytes: &'a [u8], members: &mut impl Members) -> io::Result<&'a [u8]> {
        loop {
            let (read, made) = (self.inflate.total_in(), self.inflate.total_out());
            let status = self.inflate.decompress(bytes, &mut self.output, FlushDecompress::None);
            let read = (self.inflate.total_in() - read) as usize;
            let made = (self.inflate.total_out() - made) as usize;
            members.take(&self.output[..made]);
            bytes = &bytes[read..];
            match status.map_err(io::Error::other)? {
                Status::StreamEnd => {
                    self.inflate.reset(false);
                    (self.step, self.any) = (Step::Trailer(8), true);
                    return Ok(bytes);
                }
                // All that it holds was given out.
                Status::Ok | Status::BufError if bytes.is_empty() && made < OUTPUT_LEN => return Ok(bytes),
                Status::Ok | Status::BufError if read == 0 && made == 0 => {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                Status::Ok | Status::BufError => {}
            }
        }
    }
}

impl Step {
    /// The next field that these flags name, or the body.
    fn field(flags: u8) -> Step {
        match flags {
            _ if flags & FEXTRA != 0 => Step::ExtraLength(None, flags & !FEXTRA),
            _ if flags & FNAME != 0 => Step::Text(flags & !FNAME),
            _ if flags & FCOMMENT != 0 => Step::Text(flags & !FCOMMENT),
            _ if flags & FHCRC != 0 => Step::HeaderSum(2),
            _ => Step::Body,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[derive(Default)]
    struct Read {
        bytes: Vec<u8>,
        /// Where members begin behind others.
        ends: Vec<usize>,
    }

    impl Members for Read {
        fn take(&mut self, bytes: &[u8]) {
            self.bytes.extend_from_slice(bytes);
        }

        fn goes_on(&mut self) {
            self.ends.push(self.bytes.len());
        }
    }

    fn body(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn member(flags: u8, fields: &[u8], bytes: &[u8]) -> Vec<u8> {
        [&[0x1f, 0x8b, 8, flags, 1, 2, 3, 4, 0, 255][..], fields, &body(bytes), b"12345678"].concat()
    }

    fn payload() -> Vec<u8> {
        (0..200_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
    }

    /// What it holds, whether it is whole, and whether it was broken on the way.
    fn read(file: &[u8], split: usize) -> (Read, bool, bool) {
        let (mut gzip, mut read) = (Gzip::new(), Read::default());
        let broken = file.chunks(split).any(|piece| gzip.write(piece, &mut read).is_err());
        (read, gzip.is_whole(), broken)
    }

    #[test]
    fn every_header_that_some_reader_takes() {
        let payload = payload();
        let long = [&[b'x'; 70_000][..], b"\0"].concat();
        for (name, flags, fields) in [
            ("none", 0, &b""[..]),
            ("text and reserved bits", 0xe1, b""),
            ("name", FNAME, b"name\0"),
            ("long name", FNAME, &long),
            ("long comment", FCOMMENT, &long),
            ("extra", FEXTRA, b"\x03\0abc"),
            ("empty extra", FEXTRA, b"\0\0"),
            ("wrong sum", FHCRC, b"xx"),
            ("all", FEXTRA | FNAME | FCOMMENT | FHCRC, b"\x01\0\0n\0c\0xx"),
        ] {
            let file = member(flags, fields, &payload);
            for split in [1, 13, file.len()] {
                let (read, whole, broken) = read(&file, split);
                assert!(read.bytes == payload && whole && !broken && read.ends.is_empty(), "{name} {split}");
            }
        }
    }

    #[test]
    fn members_and_what_is_between_them() {
        for padding in [&b""[..], b"\0", &[0; 1000]] {
            let file = [&member(0, b"", b"one")[..], padding, &member(FNAME, b"n\0", b"two"), padding].concat();
            for split in [1, 7, file.len()] {
                let (read, whole, broken) = read(&file, split);
                assert_eq!((&read.bytes[..], &read.ends[..], whole, broken), (&b"onetwo"[..], &[3][..], true, false));
            }
        }
    }

    #[test]
    fn what_it_holds_up_to_where_it_breaks() {
        let payload = payload();
        let file = member(0, b"", &payload);
        for split in [1, 1000, file.len()] {
            let (read, whole, broken) = read(&file[..file.len() - 20], split);
            assert!(payload.starts_with(&read.bytes) && read.bytes.len() > 100_000 && !whole && !broken);
            let (read, _, broken) = self::read(&[&file[..], b"garbage"].concat(), split);
            assert!(read.bytes == payload && broken);
        }
        for file in [&b"\0\0"[..], b"no", b"\x1f\x8b\x07\0", b""] {
            let (read, whole, _) = read(file, 1);
            assert!(read.bytes.is_empty() && !whole, "{file:?}");
        }
        // A block of a type that there is not, behind one that is stored.
        let stored = [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0][..], &[0, 3, 0, 252, 255], b"abc", &[7]].concat();
        let (read, whole, broken) = read(&stored, stored.len());
        assert_eq!((&read.bytes[..], whole, broken), (&b"abc"[..], false, true));
    }
}
