//! The framing of a form upload: `multipart/form-data`, whose part `file` is the payload.
//!
//! A [`Form`] takes wire bytes in any split and yields [`Segment`]s; put together again they are the wire bytes. Parsers
//! of forms differ much, so it takes only what all of them read alike (RFC 7578 and RFC 2046 in a strict form):
//!
//! ```text
//! body   = "--" boundary CRLF *( field CRLF "--" boundary CRLF ) file CRLF "--" boundary "--" [CRLF]
//! part   = 1*( name ":" value CRLF ) CRLF octets        ; no preamble, no folded line, nothing behind `file`
//! ```

use super::chunked::{Mark, Segment, Trailers};
use bytes::{Bytes, BytesMut};

/// Most bytes of all fields, names and values: the bound of Amazon S3.
const FIELDS_MAX: usize = 20 << 10;
/// Most bytes of the headers of one part.
const PART_HEADERS_MAX: usize = 4 << 10;
/// Most headers of one part.
const PART_HEADER_LINES_MAX: usize = 8;
/// Most bytes before the payload, headers and delimiters counted.
const HEAD_MAX: usize = 128 << 10;
/// Longest boundary, by RFC 2046.
const BOUNDARY_MAX: usize = 70;

/// What a form says before its payload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    /// Names in lower case with values as sent, in the order sent; no name twice.
    pub fields: Vec<(String, String)>,
    /// The file's name, where the part gives one.
    pub filename: Option<String>,
}

impl Fields {
    /// The value of a field, its name in lower case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// What is wrong with a form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// The Content-Type is not a form's with one plain boundary.
    #[error("the Content-Type is not multipart/form-data with one plain boundary")]
    ContentType,
    /// Something stands where a delimiter line must, or a delimiter is not followed by what it must be.
    #[error("a boundary of the form is malformed, or bytes that look like one stand where none may")]
    Delimiter,
    /// The header lines of a part are not of the grammar, or too many.
    #[error("the header lines of a part are malformed or too many")]
    PartHeaders,
    /// The form has no part `file`.
    #[error("the form has no part named file")]
    NoFile,
    /// A field is named like the file part or like a field before it.
    #[error("a field of the form is given twice")]
    Duplicate,
    /// A part behind `file`.
    #[error("there is a part behind the file")]
    PartAfterFile,
    /// The fields are larger than Amazon S3 takes, or not text.
    #[error("the fields of the form are too large or not text")]
    Fields,
    /// The body ended before the closing boundary.
    #[error("the form ended before its closing boundary")]
    Truncated,
    /// Bytes behind the closing boundary.
    #[error("there are bytes behind the closing boundary")]
    AfterEnd,
}

/// Splits a form into payload and frames.
#[derive(Debug)]
pub struct Form {
    /// `--` and the boundary.
    dashed: Vec<u8>,
    /// Bytes that were not given out yet, bounded by the limits above.
    buffer: BytesMut,
    state: State,
    found: Fields,
    fields_size: usize,
}

#[derive(Debug)]
enum State {
    First,
    Headers {
        start: usize,
    },
    Value {
        name: String,
        start: usize,
    },
    AfterValue {
        start: usize,
    },
    /// `fresh`: no payload byte was given out.
    Payload {
        fresh: bool,
    },
    Closing {
        start: usize,
    },
    Ended,
}

impl Form {
    /// For a body with this Content-Type.
    pub fn new(content_type: &str) -> Result<Form, FormError> {
        let boundary = boundary(content_type).ok_or(FormError::ContentType)?;
        let dashed = format!("--{boundary}").into_bytes();
        let (buffer, found) = (BytesMut::new(), Fields::default());
        Ok(Form { dashed, buffer, state: State::First, found, fields_size: 0 })
    }

    /// Takes the next wire bytes and appends the segments that they complete. After an error the framer is of no
    /// further use, and the segments that were appended must not be followed by others.
    pub fn push(&mut self, wire: Bytes, out: &mut Vec<Segment>) -> Result<(), FormError> {
        let mut rest = &wire[..];
        while let Some((&byte, behind)) = rest.split_first() {
            if let State::Payload { fresh } = self.state {
                self.buffer.extend_from_slice(rest);
                rest = &[];
                // What stands behind a delimiter is taken byte by byte again.
                if let Some(closing) = self.payload(fresh, out)? {
                    for &byte in &closing {
                        self.closing(byte)?;
                    }
                }
                continue;
            }
            rest = behind;
            match self.state {
                State::Closing { .. } | State::Ended => self.closing(byte)?,
                _ => self.head(byte, out)?,
            }
        }
        Ok(())
    }

    /// Says that the body has ended, and appends the last frame.
    pub fn finish(&mut self, out: &mut Vec<Segment>) -> Result<(), FormError> {
        let State::Closing { start } = self.state else { return Err(FormError::Truncated) };
        if !matches!(&self.buffer[start..], b"--" | b"--\r\n") {
            return Err(FormError::Truncated);
        }
        out.push(Segment::Frame(self.buffer.split().freeze(), Mark::End(Trailers::default())));
        self.state = State::Ended;
        Ok(())
    }

    /// Takes a byte that stands before the payload. One at a time, so that no split changes what is found.
    fn head(&mut self, byte: u8, out: &mut Vec<Segment>) -> Result<(), FormError> {
        self.buffer.extend_from_slice(&[byte]);
        let end = self.buffer.len();
        if end > HEAD_MAX {
            return Err(FormError::Fields);
        }
        match &mut self.state {
            State::First => {
                let line = [&self.dashed[..], b"\r\n"].concat();
                if !line.starts_with(&self.buffer) {
                    return Err(FormError::Delimiter);
                }
                if end == line.len() {
                    self.state = State::Headers { start: end };
                }
            }
            State::Headers { start } => {
                let lines = &self.buffer[*start..];
                if lines.len() > PART_HEADERS_MAX || lines == b"\r\n" {
                    return Err(FormError::PartHeaders);
                }
                if let Some(lines) = lines.strip_suffix(b"\r\n\r\n") {
                    let part = part(lines).ok_or(FormError::PartHeaders)?;
                    return self.part(part, end, out);
                }
            }
            State::Value { name, start } => {
                let value = &self.buffer[*start..];
                if let Some(before) = value.strip_suffix(&self.dashed[..])
                    && let Some(line_end) = stands_on_a_line(before)
                {
                    let value = before.strip_suffix(b"\r\n").filter(|_| line_end).ok_or(FormError::Delimiter)?;
                    let value = std::str::from_utf8(value).map_err(|_| FormError::Fields)?.to_owned();
                    self.fields_size += name.len() + value.len();
                    if self.fields_size > FIELDS_MAX {
                        return Err(FormError::Fields);
                    }
                    self.found.fields.push((std::mem::take(name), value));
                    self.state = State::AfterValue { start: end };
                }
            }
            State::AfterValue { start } => match &self.buffer[*start..] {
                b"\r" | b"-" => {}
                b"\r\n" => self.state = State::Headers { start: end },
                b"--" => return Err(FormError::NoFile),
                _ => return Err(FormError::Delimiter),
            },
            State::Payload { .. } | State::Closing { .. } | State::Ended => unreachable!("not before the payload"),
        }
        Ok(())
    }

    fn part(&mut self, part: Part, end: usize, out: &mut Vec<Segment>) -> Result<(), FormError> {
        if part.name == "file" {
            let fields = Fields { filename: part.filename, ..std::mem::take(&mut self.found) };
            out.push(Segment::Frame(self.buffer.split().freeze(), Mark::Fields(fields)));
            self.state = State::Payload { fresh: true };
            return Ok(());
        }
        let name = part.name.to_ascii_lowercase();
        // A decoy: some stores take `File` for the payload, others only `file`.
        if name == "file" || self.found.get(&name).is_some() {
            return Err(FormError::Duplicate);
        }
        // Many parsers tell files from fields by this parameter.
        if part.filename.is_some() {
            return Err(FormError::PartHeaders);
        }
        self.state = State::Value { name, start: end };
        Ok(())
    }

    /// Gives out payload, all but a window in which a delimiter may have begun. `Some`: the delimiter came, and these
    /// bytes behind it.
    fn payload(&mut self, fresh: bool, out: &mut Vec<Segment>) -> Result<Option<Bytes>, FormError> {
        let length = self.dashed.len();
        // The first two bytes of a window are only there to show what stands before a delimiter.
        let mut from = if fresh { 0 } else { 2 };
        while let Some(at) = self.buffer.get(from..).and_then(|rest| find(rest, &self.dashed)) {
            let at = from + at;
            match stands_on_a_line(&self.buffer[..at]) {
                None => from = at + 1,
                Some(false) => return Err(FormError::Delimiter),
                Some(true) => {
                    let payload = self.buffer.split_to(at - 2).freeze();
                    if !payload.is_empty() {
                        out.push(Segment::Payload(payload));
                    }
                    let start = 2 + length;
                    let behind = self.buffer.split_off(start).freeze();
                    self.state = State::Closing { start };
                    return Ok(Some(behind));
                }
            }
        }
        let give = self.buffer.len().saturating_sub(length + 1);
        if give > 0 {
            out.push(Segment::Payload(self.buffer.split_to(give).freeze()));
            self.state = State::Payload { fresh: false };
        }
        Ok(None)
    }

    fn closing(&mut self, byte: u8) -> Result<(), FormError> {
        let State::Closing { start } = self.state else { return Err(FormError::AfterEnd) };
        self.buffer.extend_from_slice(&[byte]);
        match &self.buffer[start..] {
            b"\r\n" => Err(FormError::PartAfterFile),
            b"\r" => Ok(()),
            behind if b"--\r\n".starts_with(behind) => Ok(()),
            behind if behind.starts_with(b"--") => Err(FormError::AfterEnd),
            _ => Err(FormError::Delimiter),
        }
    }
}

/// Whether what follows `before` begins a line: `Some(true)` behind CRLF, `Some(false)` behind what only some parsers
/// take for a line's end (a bare CR or LF, or nothing at all).
fn stands_on_a_line(before: &[u8]) -> Option<bool> {
    match before {
        [.., b'\r', b'\n'] => Some(true),
        [] | [.., b'\r' | b'\n'] => Some(false),
        _ => None,
    }
}

fn find(text: &[u8], word: &[u8]) -> Option<usize> {
    text.windows(word.len()).position(|window| window == word)
}

fn boundary(content_type: &str) -> Option<String> {
    let (kind, rest) = content_type.split_once(';')?;
    if !kind.trim_end().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&b);
    let parameters = parameters(rest)?;
    let mut boundary = None;
    for (name, value) in parameters {
        match name.as_str() {
            "boundary" if boundary.is_none() => boundary = Some(value),
            "charset" => {}
            _ => return None,
        }
    }
    let valid =
        |text: &String| (1..=BOUNDARY_MAX).contains(&text.len()) && text.bytes().all(allowed) && !text.ends_with(' ');
    boundary.filter(valid)
}

struct Part {
    name: String,
    filename: Option<String>,
}

/// Reads the header lines of a part.
fn part(lines: &[u8]) -> Option<Part> {
    let text = std::str::from_utf8(lines).ok()?;
    let mut names: Vec<String> = Vec::new();
    let mut found = None;
    for line in text.split("\r\n") {
        let (name, value) = line.split_once(':')?;
        let (name, value) = (name.to_ascii_lowercase(), value.trim_matches([' ', '\t']));
        let lawful = is_token(&name) && !value.chars().any(|c| c.is_control() && c != '\t');
        if !lawful || names.contains(&name) || names.len() == PART_HEADER_LINES_MAX {
            return None;
        }
        let lower = value.to_ascii_lowercase();
        match name.as_str() {
            "content-disposition" => found = Some(disposition(value)?),
            "content-type" if lower.starts_with("multipart/") => return None,
            "content-transfer-encoding" if !matches!(lower.as_str(), "7bit" | "8bit" | "binary") => return None,
            _ => {}
        }
        names.push(name);
    }
    found
}

/// `form-data; name="..."` with at most a `filename`; `filename*` is among what is refused.
fn disposition(value: &str) -> Option<Part> {
    let (kind, rest) = value.split_once(';')?;
    if !kind.trim_end().eq_ignore_ascii_case("form-data") {
        return None;
    }
    let (mut name, mut filename) = (None, None);
    for (parameter, value) in parameters(rest)? {
        match parameter.as_str() {
            "name" if name.is_none() && !value.is_empty() => name = Some(value),
            "filename" if filename.is_none() => filename = Some(value),
            _ => return None,
        }
    }
    Some(Part { name: name?, filename })
}

/// `name=value` or `name="value"`, with `;` between; names in lower case. A backslash is read in two ways: refused.
fn parameters(mut text: &str) -> Option<Vec<(String, String)>> {
    let mut found = Vec::new();
    loop {
        let (name, rest) = text.trim_start_matches([' ', '\t']).split_once('=')?;
        let (value, rest) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => rest.split_at(rest.find([';', ' ', '\t']).unwrap_or(rest.len())),
        };
        if !is_token(name) || value.contains(['\\', '"']) || value.chars().any(char::is_control) {
            return None;
        }
        found.push((name.to_ascii_lowercase(), value.to_owned()));
        let rest = rest.trim_start_matches([' ', '\t']);
        if rest.is_empty() {
            return Some(found);
        }
        text = rest.strip_prefix(';')?;
    }
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'+-.^_`|~".contains(&b))
}

#[cfg(test)]
mod tests;
