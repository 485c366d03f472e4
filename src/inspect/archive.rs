//! The members of a tar archive that the store will unpack, hashed one by one as it streams.
//!
//! Readers of tar differ much, so only what all of them read alike is taken: ustar and pax headers with good checksums,
//! regular files, folders, long names; sizes in octal, or in a pax record. Everything else makes the archive unreadable,
//! and what is unreadable is refused.
//!
//! Sources: POSIX.1-2017, pax, "ustar Interchange Format" and "pax Interchange Format"; the GNU tar manual for `L`.

use crate::digest::{Algorithms, Digests, Hashing};

const BLOCK: usize = 512;
/// Longest pax header or long name; names are a kilobyte at most.
const EXTENDED_MAX: u64 = 64 << 10;

/// What keeps an archive from being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArchiveError {
    /// A header that is not of the grammar, or of a kind that readers treat differently.
    Header,
    /// Bytes behind the end.
    AfterEnd,
    /// It ends inside a member.
    Truncated,
    /// More members than are taken.
    Members,
}

/// An archive that streams by.
pub(super) struct Archive {
    algorithms: Algorithms,
    members_max: usize,
    members: Vec<Digests>,
    state: State,
    /// Bytes of a block, or of an extended header, that is not complete yet.
    buffer: Vec<u8>,
    /// A pax header came for the next member, and the size that it gives, if any.
    pax: Option<Option<u64>>,
    error: Option<ArchiveError>,
}

enum State {
    Header,
    /// A pax header or long name: bytes left, of which the last are padding.
    Extended {
        kind: u8,
        size: u64,
        left: u64,
    },
    /// A member, with its bytes and then its padding.
    Member {
        hashing: Box<Option<Hashing>>,
        left: u64,
        padding: u64,
    },
    /// One empty block came; the second ends the archive.
    HalfEnd,
    End,
}

impl Archive {
    /// Whose members are hashed with these algorithms.
    pub(super) fn new(algorithms: Algorithms, members_max: usize) -> Archive {
        Archive {
            algorithms,
            members_max,
            members: Vec::new(),
            state: State::Header,
            buffer: Vec::new(),
            pax: None,
            error: None,
        }
    }

    /// Takes the next bytes. After an error they are only waited out.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if self.error.is_none() {
            self.error = self.take(bytes).err();
        }
    }

    /// The digests of all members.
    pub(super) fn finish(self) -> Result<Vec<Digests>, ArchiveError> {
        match (self.error, self.state) {
            (Some(error), _) => Err(error),
            // Go's reader takes an archive without its end for whole.
            (None, State::End | State::HalfEnd) => Ok(self.members),
            (None, State::Header) if self.buffer.is_empty() => Ok(self.members),
            _ => Err(ArchiveError::Truncated),
        }
    }

    fn take(&mut self, mut bytes: &[u8]) -> Result<(), ArchiveError> {
        while !bytes.is_empty() {
            match &mut self.state {
                State::Member { hashing, left, padding } => {
                    let take = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    if let Some(hashing) = hashing.as_mut() {
                        hashing.update(&bytes[..take]);
                    }
                    *left -= take as u64;
                    bytes = &bytes[take..];
                    let skip = if *left == 0 { (*padding as usize).min(bytes.len()) } else { 0 };
                    *padding -= skip as u64;
                    bytes = &bytes[skip..];
                    self.end_member()?;
                }
                State::End => {
                    // Padding up to the writer's record.
                    if bytes.iter().any(|byte| *byte != 0) {
                        return Err(ArchiveError::AfterEnd);
                    }
                    return Ok(());
                }
                State::Extended { left, .. } => {
                    let take = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    self.buffer.extend_from_slice(&bytes[..take]);
                    *left -= take as u64;
                    bytes = &bytes[take..];
                    self.end_extended()?;
                }
                State::Header | State::HalfEnd => {
                    let take = (BLOCK - self.buffer.len()).min(bytes.len());
                    self.buffer.extend_from_slice(&bytes[..take]);
                    bytes = &bytes[take..];
                    if self.buffer.len() == BLOCK {
                        let block = std::mem::take(&mut self.buffer);
                        self.block(&block)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn block(&mut self, block: &[u8]) -> Result<(), ArchiveError> {
        if block.iter().all(|byte| *byte == 0) {
            if self.pax.is_some() {
                return Err(ArchiveError::Header);
            }
            self.state = if matches!(self.state, State::HalfEnd) { State::End } else { State::HalfEnd };
            return Ok(());
        }
        // Behind one empty block some readers go on, others have ended.
        if matches!(self.state, State::HalfEnd) {
            return Err(ArchiveError::AfterEnd);
        }
        let header = Header::read(block).ok_or(ArchiveError::Header)?;
        match header.kind {
            b'x' | b'L' => {
                let left = header.size.next_multiple_of(BLOCK as u64);
                if header.size == 0 || header.size > EXTENDED_MAX {
                    return Err(ArchiveError::Header);
                }
                self.state = State::Extended { kind: header.kind, size: header.size, left };
                Ok(())
            }
            b'0' | 0 | b'5' => {
                let size = self.pax.take().flatten().unwrap_or(header.size);
                // A folder has no bytes, or readers differ on whether they are its.
                if header.kind == b'5' && size != 0 {
                    return Err(ArchiveError::Header);
                }
                let file = header.kind != b'5';
                if file && self.members.len() == self.members_max {
                    return Err(ArchiveError::Members);
                }
                let hashing = file.then(|| Hashing::new(self.algorithms));
                let padding = size.next_multiple_of(BLOCK as u64) - size;
                self.state = State::Member { hashing: Box::new(hashing), left: size, padding };
                self.end_member()
            }
            _ => Err(ArchiveError::Header),
        }
    }

    fn end_member(&mut self) -> Result<(), ArchiveError> {
        if let State::Member { hashing, left: 0, padding: 0 } = &mut self.state {
            self.members.extend(hashing.take().map(Hashing::finish));
            self.state = State::Header;
        }
        Ok(())
    }

    fn end_extended(&mut self) -> Result<(), ArchiveError> {
        let State::Extended { kind, size, left: 0 } = self.state else { return Ok(()) };
        let content = std::mem::take(&mut self.buffer);
        if kind == b'x' {
            let records = content.get(..size as usize).ok_or(ArchiveError::Header)?;
            let size = pax_size(records).ok_or(ArchiveError::Header)?;
            // Two of them for one member: readers differ on which counts.
            if self.pax.replace(size).is_some() {
                return Err(ArchiveError::Header);
            }
        }
        self.state = State::Header;
        Ok(())
    }
}

struct Header {
    kind: u8,
    size: u64,
}

impl Header {
    fn read(block: &[u8]) -> Option<Header> {
        let sum = octal(&block[148..156])?;
        let bytes =
            block.iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u64::from(*byte) });
        // POSIX adds unsigned bytes; a header that only fits signed ones is read by some.
        if sum != bytes.sum::<u64>() || !block[257..].starts_with(b"ustar") {
            return None;
        }
        Some(Header { kind: block[156], size: octal(&block[124..136])? })
    }
}

/// Octal digits, ended by a blank or a NUL.
fn octal(field: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(field).ok()?.trim_matches([' ', '\0']);
    if text.is_empty() || !text.bytes().all(|byte| matches!(byte, b'0'..=b'7')) {
        return None;
    }
    u64::from_str_radix(text, 8).ok()
}

/// The size in the records `length key=value\n` of a pax header, if there is one. `None`: malformed, or about holes.
fn pax_size(mut records: &[u8]) -> Option<Option<u64>> {
    let mut found = None;
    while !records.is_empty() {
        let blank = records.iter().position(|byte| *byte == b' ')?;
        let length: usize = std::str::from_utf8(&records[..blank]).ok()?.parse().ok()?;
        let record = records.get(blank + 1..length)?.strip_suffix(b"\n")?;
        let equals = record.iter().position(|byte| *byte == b'=')?;
        let (key, value) = (&record[..equals], std::str::from_utf8(&record[equals + 1..]).ok()?);
        if key.starts_with(b"GNU.sparse.") {
            return None;
        }
        if key == b"size" {
            let plain = value.parse::<u64>().ok().filter(|size| size.to_string() == value)?;
            if found.replace(plain).is_some() {
                return None;
            }
        }
        records = &records[length..];
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(name: &str, kind: u8, size: u64) -> Vec<u8> {
        let mut block = vec![0; BLOCK];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
        block[156] = kind;
        block[257..263].copy_from_slice(b"ustar\0");
        block[148..156].copy_from_slice(b"        ");
        let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        block
    }

    fn padded(bytes: &[u8]) -> Vec<u8> {
        let mut padded = bytes.to_vec();
        padded.resize(bytes.len().next_multiple_of(BLOCK), 0);
        padded
    }

    fn member(name: &str, bytes: &[u8]) -> Vec<u8> {
        [header(name, b'0', bytes.len() as u64), padded(bytes)].concat()
    }

    fn pax(records: &str) -> Vec<u8> {
        [header("pax", b'x', records.len() as u64), padded(records.as_bytes())].concat()
    }

    fn read(archive: &[u8], split: usize) -> Result<Vec<[u8; 32]>, ArchiveError> {
        let mut reading = Archive::new(Algorithms::NONE, 10);
        archive.chunks(split).for_each(|piece| reading.push(piece));
        Ok(reading.finish()?.iter().map(|digests| digests.sha256).collect())
    }

    fn sha256(bytes: &[u8]) -> [u8; 32] {
        Digests::of(bytes).sha256
    }

    const END: [u8; 1024] = [0; 1024];

    #[test]
    fn members_in_any_split() {
        let (one, two) = (vec![1; 700], vec![2; 512]);
        let long = [header("long", b'L', 120), padded(&[b'n'; 120])].concat();
        let sized = [pax("12 size=512\n"), header("x", b'0', 0), padded(&two)].concat();
        let archive = [
            header("folder/", b'5', 0),
            member("one", &one),
            long,
            member("two", &two),
            member("empty", b""),
            sized,
            END.to_vec(),
            vec![0; 9000],
        ]
        .concat();
        for split in [1, 13, 512, 100_000] {
            let expected = vec![sha256(&one), sha256(&two), sha256(b""), sha256(&two)];
            assert_eq!(read(&archive, split), Ok(expected), "{split}");
        }
        assert_eq!(read(&member("one", &one), 99), Ok(vec![sha256(&one)]), "without an end");
    }

    #[test]
    fn what_readers_treat_differently_is_refused() {
        let one = member("one", b"1");
        let mut sum = one.clone();
        sum[0] ^= 1;
        let mut old = one.clone();
        old[257..262].fill(0);
        for (archive, error) in [
            (sum, ArchiveError::Header),
            (old, ArchiveError::Header),
            ([one.clone(), END.to_vec(), one.clone()].concat(), ArchiveError::AfterEnd),
            ([one.clone(), vec![0; 512], one.clone()].concat(), ArchiveError::AfterEnd),
            (one[..600].to_vec(), ArchiveError::Truncated),
            (one[..100].to_vec(), ArchiveError::Truncated),
            (header("link", b'2', 0), ArchiveError::Header),
            (header("hard", b'1', 0), ArchiveError::Header),
            (header("sparse", b'S', 0), ArchiveError::Header),
            (header("folder", b'5', 5), ArchiveError::Header),
            (header("global", b'g', 5), ArchiveError::Header),
            ([pax("22 GNU.sparse.major=1\n"), one.clone()].concat(), ArchiveError::Header),
            ([pax("10 size=1\n"), pax("10 size=1\n"), one.clone()].concat(), ArchiveError::Header),
            ([pax("99 size=1\n"), one.clone()].concat(), ArchiveError::Header),
            ([pax("11 size=01\n"), one.clone()].concat(), ArchiveError::Header),
            (one.repeat(11), ArchiveError::Members),
        ] {
            for split in [7, 100_000] {
                assert_eq!(read(&archive, split), Err(error), "{}", String::from_utf8_lossy(&archive[..20]));
            }
        }
    }
}
