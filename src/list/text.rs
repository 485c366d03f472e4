//! Text lists: bare digests, the lines of `md5sum` and its relatives, and tagged lines in the BSD style.
//!
//! Formats: GNU coreutils manual, "md5sum invocation" (also the leading backslash of escaped names); BSD `md5(1)`.

use crate::digest::{Algorithm, Digest};
use std::io::{self, BufRead};

/// Longest line that is looked at; the rest of a longer one is skipped, so that no file can exhaust memory.
const LINE_MAX: usize = 64 << 10;

/// Bad lines that are named one by one; the others are only counted.
const BAD_LINES_NAMED: usize = 10;

/// What was read from a list.
#[derive(Debug, Default)]
pub struct ListRead {
    /// Lines that are neither an entry nor a comment.
    pub bad_lines: u64,
    /// The first of them: line number from 1, and why.
    pub first_bad: Vec<(u64, BadLine)>,
}

/// Why a line is no entry. The line itself is not kept: it may hold a listed digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadLine {
    /// No digest at its beginning, and no tag.
    #[error("it begins with no MD5, SHA-1 or SHA-256 digest in hexadecimal")]
    NoDigest,
    /// A tag that its digest does not fit.
    #[error("its tag and the length of its digest do not fit together")]
    TagMismatch,
    /// Longer than any line should be.
    #[error("it is longer than 64 KiB")]
    TooLong,
}

enum Line {
    Nothing,
    Entry(Digest),
}

/// Reads a list of any length: each digest goes to `sink` with the number of its line, from 1.
///
/// # Errors
/// The reader's, and the sink's. Bad lines are no error: they are skipped and counted.
pub fn read_each(
    mut source: impl BufRead,
    sink: &mut dyn FnMut(u64, Digest) -> io::Result<()>,
) -> io::Result<ListRead> {
    let mut read = ListRead::default();
    let mut line = Vec::new();
    let mut number = 0;
    while let Some(whole) = next_line(&mut source, &mut line)? {
        number += 1;
        let text = if number == 1 { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line) } else { &line };
        match if whole { parse(text) } else { Err(BadLine::TooLong) } {
            Ok(Line::Nothing) => {}
            Ok(Line::Entry(digest)) => sink(number, digest)?,
            Err(why) => {
                read.bad_lines += 1;
                if read.first_bad.len() < BAD_LINES_NAMED {
                    read.first_bad.push((number, why));
                }
            }
        }
    }
    Ok(read)
}

/// Reads the next line into `line`, without its end. `Some(false)`: it is too long, and its rest was skipped.
fn next_line(source: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Option<bool>> {
    line.clear();
    let mut whole = true;
    let mut any = false;
    loop {
        let buffer = source.fill_buf()?;
        if buffer.is_empty() {
            return Ok(any.then_some(whole));
        }
        any = true;
        let newline = buffer.iter().position(|&byte| byte == b'\n');
        let piece = &buffer[..newline.unwrap_or(buffer.len())];
        if line.len() + piece.len() <= LINE_MAX {
            line.extend_from_slice(piece);
        } else {
            whole = false;
        }
        let used = newline.map_or(buffer.len(), |at| at + 1);
        source.consume(used);
        if newline.is_some() {
            return Ok(Some(whole));
        }
    }
}

fn parse(line: &[u8]) -> Result<Line, BadLine> {
    let line = line.trim_ascii();
    if line.is_empty() || line[0] == b'#' {
        return Ok(Line::Nothing);
    }
    if let Some(tagged) = parse_tagged(line) {
        return tagged.map(Line::Entry);
    }
    // GNU marks a line whose file name is escaped with a backslash.
    let line = line.strip_prefix(b"\\").unwrap_or(line);
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (digest, rest) = line.split_at(digits);
    if !matches!(rest.first(), None | Some(b' ' | b'\t')) {
        return Err(BadLine::NoDigest);
    }
    from_hex(digest).map(Line::Entry).ok_or(BadLine::NoDigest)
}

/// `SHA256 (name) = hex`, also without the blanks as OpenSSL writes it. `None`: the line has no tag.
fn parse_tagged(line: &[u8]) -> Option<Result<Digest, BadLine>> {
    let algorithm = Algorithm::ALL.into_iter().find(|a| {
        let after = line.strip_prefix(a.tag().as_bytes());
        after.is_some_and(|after| after.trim_ascii_start().starts_with(b"("))
    })?;
    // The name may hold `) =` itself; the digest is behind the last one.
    let digest = line.rsplit(|&byte| byte == b'=').next().map(<[u8]>::trim_ascii).and_then(from_hex);
    Some(digest.filter(|digest| digest.algorithm() == algorithm).ok_or(BadLine::TagMismatch))
}

fn from_hex(digits: &[u8]) -> Option<Digest> {
    Digest::from_hex(std::str::from_utf8(digits).ok()?)
}

/// Every empty file has it, so an entry would match each of them: a slip of whoever made the list.
pub(super) fn is_of_empty_file(digest: &Digest) -> bool {
    crate::digest::Digests::of(b"").get(digest.algorithm()) == Some(*digest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MD5: &str = "900150983cd24fb0d6963f7d28e17f72";
    const SHA1: &str = "a9993e364706816aba3e25717850c26c9cd0d89d";
    const SHA256: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn read(text: &[u8]) -> (Vec<String>, ListRead) {
        let mut entries = Vec::new();
        let read = read_each(text, &mut |_, digest| {
            entries.push(digest.to_hex());
            Ok(())
        });
        (entries, read.unwrap())
    }

    fn entries(text: &str) -> Vec<String> {
        read(text.as_bytes()).0
    }

    #[test]
    fn every_form_of_line() {
        for digest in [MD5, SHA1, SHA256] {
            let upper = digest.to_uppercase();
            for line in [
                digest.to_owned(),
                format!("{digest}  name with  blanks.jpg"),
                format!("{digest} *binary.jpg"),
                format!("\\{digest}  escaped\\nname"),
                format!("\u{feff}{upper}\r"),
                format!("# a comment\r\n\r\n  {digest}\t"),
            ] {
                assert_eq!(entries(&line), [digest], "{line:?}");
            }
        }
        for (tag, digest) in [("MD5", MD5), ("SHA1", SHA1), ("SHA256", SHA256)] {
            for line in [format!("{tag} (a) = b (c).jpg) = {digest}"), format!("{tag}(name)= {digest}\r\n")] {
                assert_eq!(entries(&line), [digest], "{line:?}");
            }
        }
    }

    #[test]
    fn bad_lines_are_counted_named_by_number_and_skipped() {
        let long = "a".repeat(LINE_MAX + 1);
        let text = format!("{MD5}\n{MD5}0\nnonsense\nSHA256 (x) = {MD5}\n{MD5},x\n{long}\n{SHA1}");
        let (entries, read) = read(text.as_bytes());
        assert_eq!(entries.len(), 2);
        assert_eq!(read.bad_lines, 5);
        use BadLine::{NoDigest, TagMismatch, TooLong};
        assert_eq!(read.first_bad, [(2, NoDigest), (3, NoDigest), (4, TagMismatch), (5, NoDigest), (6, TooLong)]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..500)) {
            let (entries, read) = read(&bytes);
            let lines = bytes.split(|&b| b == b'\n').count();
            prop_assert!(entries.len() + read.bad_lines as usize <= lines);
        }
    }
}
