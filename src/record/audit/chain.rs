//! The chain: every line ends with its number and a hash over the line before it and itself.
//!
//! `{...,"seq":N,"hash":"H"}`, where H is the SHA-256 of the hash before (32 bytes; noughts before the first line) and of the
//! line's own bytes up to `,"hash":"`. Nothing in here knows a file or a clock.

use sha2::{Digest as _, Sha256};
use std::io::Write as _;

const SEQ: &[u8] = b",\"seq\":";
const HASH: &[u8] = b",\"hash\":\"";
const END: &[u8] = b"\"}";

/// A place in the chain: the number of a line and its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// How many lines there are up to it.
    pub seq: u64,
    /// What the line after it hashes first.
    pub hash: [u8; 32],
}

/// Why a line does not follow the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// It does not end as lines do.
    #[error("no whole line of the chain")]
    Shape,
    /// One is missing, or is there twice.
    #[error("line {found} where {expected} is due")]
    Order {
        /// The number that would follow.
        expected: u64,
        /// The number that it bears.
        found: u64,
    },
    /// It, or the one before, is another than it was.
    #[error("its hash is not that of its bytes after the line before")]
    Hash,
}

impl Link {
    /// Before the first line.
    pub const NONE: Link = Link { seq: 0, hash: [0; 32] };

    /// Ends a line, an object with one member at least that lacks its closing brace, and is the link of it then.
    pub fn close(&self, line: &mut Vec<u8>) -> Link {
        let seq = self.seq + 1;
        line.extend_from_slice(SEQ);
        write!(line, "{seq}").expect("a Vec takes every write");
        let hash = self.hash(line);
        line.extend_from_slice(HASH);
        line.extend_from_slice(&digits(&hash));
        line.extend_from_slice(END);
        Link { seq, hash }
    }

    /// The link of a line, without its line end, that follows this one.
    ///
    /// # Errors
    /// It does not.
    pub fn follow(&self, line: &[u8]) -> Result<Link, Misfit> {
        let (found, covered) = claim(line).ok_or(Misfit::Shape)?;
        let expected = self.seq + 1;
        if found.seq != expected {
            return Err(Misfit::Order { expected, found: found.seq });
        }
        if self.hash(covered) != found.hash {
            return Err(Misfit::Hash);
        }
        Ok(found)
    }

    fn hash(&self, covered: &[u8]) -> [u8; 32] {
        Sha256::new().chain_update(self.hash).chain_update(covered).finalize().into()
    }
}

/// What a line says is its link, whether that is true or not, and the bytes that its hash covers.
pub(super) fn claim(line: &[u8]) -> Option<(Link, &[u8])> {
    let covered = line.len().checked_sub(HASH.len() + 64 + END.len())?;
    let (covered, end) = line.split_at(covered);
    let hash = digits_of(end.strip_prefix(HASH)?.strip_suffix(END)?)?;
    // At most 20 digits.
    let tail = &covered[covered.len().saturating_sub(20 + SEQ.len())..];
    let at = tail.windows(SEQ.len()).rposition(|window| window == SEQ)? + SEQ.len();
    let seq = std::str::from_utf8(&tail[at..]).ok()?.parse().ok()?;
    Some((Link { seq, hash }, covered))
}

/// In hexadecimal, without an allocation: every line of every upload comes by here.
fn digits(hash: &[u8; 32]) -> [u8; 64] {
    let mut text = [0; 64];
    hex::encode_to_slice(hash, &mut text).expect("64 digits for 32 bytes");
    text
}

/// Lower case only: a line has one way to be written.
fn digits_of(text: &[u8]) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    hex::decode_to_slice(text, &mut hash).ok()?;
    (digits(&hash) == text).then_some(hash)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A chain of lines like those of uploads, and the link before each.
    pub(in crate::record::audit) fn chain(lines: usize) -> Vec<(Link, Vec<u8>)> {
        let mut link = Link::NONE;
        let make = |n| {
            let before = link;
            let mut line = format!(
                "{{\"time\":\"2026-01-01T00:00:00Z\",\"operation\":\"PutObject\",\"outcome\":\"forwarded\",\"payload_bytes\":{n}"
            )
            .into_bytes();
            link = before.close(&mut line);
            (before, line)
        };
        (0..lines).map(make).collect()
    }

    /// What is found of some text, line by line: how many lines follow one another, and why the next one does not.
    fn walk(mut link: Link, text: &[u8]) -> (usize, Option<Misfit>) {
        for (at, line) in text.split(|byte| *byte == b'\n').enumerate() {
            match link.follow(line) {
                Ok(next) => link = next,
                Err(misfit) => return (at, Some(misfit)),
            }
        }
        (text.split(|byte| *byte == b'\n').count(), None)
    }

    fn text(lines: &[&(Link, Vec<u8>)]) -> Vec<u8> {
        lines.iter().map(|(_, line)| line.as_slice()).collect::<Vec<_>>().join(&b'\n')
    }

    #[test]
    fn a_line_is_closed_as_documented() {
        let mut line = b"{\"n\":1".to_vec();
        let link = Link::NONE.close(&mut line);
        let covered = b"{\"n\":1,\"seq\":1";
        let expected = hex::encode(Sha256::digest([&[0; 32][..], covered].concat()));
        assert_eq!(String::from_utf8(line.clone()).unwrap(), format!("{{\"n\":1,\"seq\":1,\"hash\":\"{expected}\"}}"));
        assert_eq!((Link::NONE.follow(&line), hex::encode(link.hash)), (Ok(link), expected));
    }

    #[test]
    fn what_is_done_to_lines_is_found_at_the_first_that_it_touches() {
        let lines = chain(6);
        let [a, b, c, d, e, f] = [0, 1, 2, 3, 4, 5].map(|at| &lines[at]);
        let order = |expected, found| Some(Misfit::Order { expected, found });
        let forged = (Link::NONE, c.1.iter().map(|byte| if *byte == b'2' { b'9' } else { *byte }).collect());
        let upper =
            (Link::NONE, String::from_utf8(c.1.clone()).unwrap().replace("hash\":\"", "hash\":\"A").into_bytes());
        for (what, lines, expected) in [
            ("whole", vec![a, b, c, d, e, f], (6, None)),
            ("the first is dropped", vec![b, c, d], (0, order(1, 2))),
            ("one is dropped", vec![a, b, d, e, f], (2, order(3, 4))),
            ("two are exchanged", vec![a, c, b, d], (1, order(2, 3))),
            ("one is there twice", vec![a, b, b, c], (2, order(3, 2))),
            ("one is changed", vec![a, b, &forged, d], (2, Some(Misfit::Hash))),
            ("one is longer", vec![a, b, &upper, d], (2, Some(Misfit::Shape))),
        ] {
            assert_eq!(walk(Link::NONE, &text(&lines)), expected, "{what}");
        }
        for cut in 1..f.1.len() {
            let whole = text(&[a, b, c, d, e, f]);
            assert_eq!(walk(Link::NONE, &whole[..whole.len() - cut]), (5, Some(Misfit::Shape)), "cut by {cut}");
        }
        // A line whose hash was made anew fits, and the next one does not.
        let mut again = b"{\"operation\":\"PutObject\"".to_vec();
        c.0.close(&mut again);
        assert_eq!(walk(Link::NONE, &text(&[a, b, &(c.0, again), d])), (3, Some(Misfit::Hash)));
    }

    /// These values of every byte of `lines[at]`, its line end included: the line, or what it has become, fits no more. The
    /// lines before are as they were, and those behind are never reached.
    fn changes_are_found(lines: &[(Link, Vec<u8>)], at: usize, values: impl Fn(usize, u8) -> Vec<u8>) {
        let (before, line) = &lines[at];
        let mut text = [line, &b"\n"[..], &lines[at + 1].1].concat();
        for place in 0..=line.len() {
            let good = text[place];
            for value in values(place, good).into_iter().filter(|value| *value != good) {
                text[place] = value;
                let end = match value {
                    b'\n' => place,
                    _ if place == line.len() => text.len(),
                    _ => line.len(),
                };
                assert!(before.follow(&text[..end]).is_err(), "line {at}, byte {place}: {value}");
            }
            text[place] = good;
        }
        assert!(before.follow(line).is_ok());
    }

    /// A change of every single byte of 10,000 lines is found.
    #[test]
    fn every_byte_of_ten_thousand_lines_counts() {
        let lines = chain(10_001);
        for at in 0..10_000 {
            // Not the same change everywhere: a digit, a letter's case, a bit.
            changes_are_found(&lines, at, |place, good| {
                vec![[good ^ 1, good ^ 0x20, good.wrapping_add(1)][(at + place) % 3]]
            });
        }
    }

    /// All 255 other values of every byte of 100 lines are found.
    #[test]
    fn every_value_of_every_byte_of_a_hundred_lines_counts() {
        let lines = chain(101);
        for at in 0..100 {
            changes_are_found(&lines, at, |_, _| (0..=u8::MAX).collect());
        }
    }
}
