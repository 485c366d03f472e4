//! The framing of a request body: which of its bytes are payload.
//!
//! A [`Framer`] takes wire bytes in any split and yields [`Segment`]s; put together again they are the wire bytes. It is
//! stricter than every store behind us: what two parsers could read differently is refused.
//!
//! Grammar (Amazon S3 API Reference, "Signature Calculations for the Authorization Header: Transferring Payload in
//! Multiple Chunks", and its page on trailing headers), in the strict form that we take:
//!
//! ```text
//! body    = *chunk last-chunk ( CRLF / trailers )
//! chunk   = size [ext] CRLF size-octets CRLF            ; size > 0
//! last    = "0" [ext] CRLF
//! size    = 1*8HEX                                      ; no leading zero, sign, prefix or blank
//! ext     = ";chunk-signature=" signature               ; in signed modes always, in unsigned ones never
//! trailers= 1*( name ":" value [LF] CRLF ) [ "x-amz-trailer-signature:" signature CRLF ] CRLF
//! ```

use super::form::{Fields, Form, FormError};
use bytes::{Buf, Bytes, BytesMut};

/// Longest size line: eight digits, the extension with a SigV4A signature, CRLF.
const SIZE_LINE_MAX: usize = 8 + ";chunk-signature=".len() + 144 + 2;
/// Longest trailer section, as s3s bounds it.
const TRAILERS_MAX: usize = 16 << 10;
/// Most trailer lines.
const TRAILER_LINES_MAX: usize = 100;

/// A piece of a body, in wire order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// Bytes of the object.
    Payload(Bytes),
    /// Bytes around it, with what they mean.
    Frame(Bytes, Mark),
}

impl Segment {
    /// Its wire bytes.
    pub fn wire(&self) -> &Bytes {
        match self {
            Segment::Payload(wire) | Segment::Frame(wire, _) => wire,
        }
    }
}

/// What a frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A chunk of `size` payload bytes follows (none behind the last one's, whose size is 0), signed with `signature`.
    ChunkStart {
        /// Payload bytes in the chunk.
        size: u64,
        /// The chunk signature in hexadecimal, in signed modes.
        signature: Option<String>,
    },
    /// The CRLF behind a chunk's payload: the chunk is complete.
    ChunkEnd,
    /// All that stands before the payload of a form.
    Fields(Fields),
    /// The end of the body: the closing CRLF, the trailers with theirs, or a form's closing boundary.
    End(Trailers),
}

/// The trailing headers of a body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trailers {
    /// Names in lower case with trimmed values, in the order sent; without `x-amz-trailer-signature`.
    pub fields: Vec<(String, String)>,
    /// The value of `x-amz-trailer-signature`.
    pub signature: Option<String>,
}

/// How a chunked body is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signing {
    /// Not at all: `STREAMING-UNSIGNED-PAYLOAD-TRAILER`.
    Unsigned,
    /// Each chunk with SigV4, 64 hexadecimal digits.
    V4,
    /// Each chunk with SigV4A, 144 characters, padded with `*`.
    V4a,
}

/// What is wrong with a body's framing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// A size line that is not of the grammar.
    #[error("a chunk's size line is malformed")]
    SizeLine,
    /// A chunk's payload is not followed by CRLF.
    #[error("a chunk does not end where its size says")]
    ChunkEnd,
    /// More payload than the declared length.
    #[error("the body holds more than the declared length")]
    TooLong,
    /// Less payload than the declared length.
    #[error("the body holds less than the declared length")]
    TooShort,
    /// The body ended inside its framing.
    #[error("the body ended before its framing did")]
    Truncated,
    /// Bytes behind the end.
    #[error("there are bytes behind the end of the body")]
    AfterEnd,
    /// Trailers that are malformed, too large, or not those announced.
    #[error("the trailer is malformed or not the announced one")]
    Trailer,
    /// A form that is not of the grammar.
    #[error(transparent)]
    Form(#[from] FormError),
}

/// Splits a body into payload and frames.
#[derive(Debug)]
pub enum Framer {
    /// The body is the payload.
    Raw(Raw),
    /// `aws-chunked`.
    Chunked(Chunked),
    /// A form: the payload is its part `file`.
    Form(Box<Form>),
}

impl Framer {
    /// For a body that is the payload, of `length` bytes where that was declared.
    pub fn raw(length: Option<u64>) -> Framer {
        Framer::Raw(Raw { declared: length, seen: 0 })
    }

    /// For an `aws-chunked` body with `decoded_length` payload bytes. `trailers` are the names that `x-amz-trailer`
    /// announced, in lower case; `None` in modes without a trailer.
    pub fn chunked(signing: Signing, decoded_length: u64, trailers: Option<Vec<String>>) -> Framer {
        Framer::Chunked(Chunked {
            signing,
            declared: decoded_length,
            announced: trailers,
            seen: 0,
            buffer: BytesMut::new(),
            state: State::SizeLine,
        })
    }

    /// Takes the next wire bytes and appends the segments that they complete. After an error the framer is of no
    /// further use, and the segments that were appended must not be followed by others.
    pub fn push(&mut self, wire: Bytes, out: &mut Vec<Segment>) -> Result<(), FramingError> {
        match self {
            Framer::Raw(raw) => raw.push(wire, out),
            Framer::Chunked(chunked) => chunked.push(wire, out),
            Framer::Form(form) => Ok(form.push(wire, out)?),
        }
    }

    /// Says that the body has ended, and appends the segments that are complete only then.
    pub fn finish(&mut self, out: &mut Vec<Segment>) -> Result<(), FramingError> {
        match self {
            Framer::Raw(raw) => match raw.declared {
                Some(declared) if raw.seen < declared => Err(FramingError::TooShort),
                _ => Ok(()),
            },
            Framer::Chunked(chunked) => match chunked.state {
                State::Ended => Ok(()),
                _ => Err(FramingError::Truncated),
            },
            Framer::Form(form) => Ok(form.finish(out)?),
        }
    }
}

/// State of a raw body.
#[derive(Debug)]
pub struct Raw {
    declared: Option<u64>,
    seen: u64,
}

impl Raw {
    fn push(&mut self, wire: Bytes, out: &mut Vec<Segment>) -> Result<(), FramingError> {
        self.seen += wire.len() as u64;
        if self.declared.is_some_and(|declared| self.seen > declared) {
            return Err(FramingError::TooLong);
        }
        if !wire.is_empty() {
            out.push(Segment::Payload(wire));
        }
        Ok(())
    }
}

/// State of an `aws-chunked` body.
#[derive(Debug)]
pub struct Chunked {
    signing: Signing,
    declared: u64,
    announced: Option<Vec<String>>,
    seen: u64,
    /// Bytes of a frame that is not complete yet; bounded by the limits above.
    buffer: BytesMut,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    SizeLine,
    Payload { left: u64 },
    ChunkEnd,
    End,
    Ended,
}

impl Chunked {
    fn push(&mut self, mut wire: Bytes, out: &mut Vec<Segment>) -> Result<(), FramingError> {
        while !wire.is_empty() {
            match self.state {
                State::SizeLine => self.size_line(&mut wire, out)?,
                State::Payload { left } => self.payload(left, &mut wire, out),
                State::ChunkEnd => self.chunk_end(&mut wire, out)?,
                State::End => self.end(&mut wire, out)?,
                State::Ended => return Err(FramingError::AfterEnd),
            }
        }
        Ok(())
    }

    fn size_line(&mut self, wire: &mut Bytes, out: &mut Vec<Segment>) -> Result<(), FramingError> {
        let Some(line) = self.line(wire, SIZE_LINE_MAX).map_err(|_| FramingError::SizeLine)? else {
            return Ok(());
        };
        let (size, signature) = parse_size_line(&line[..line.len() - 2], self.signing)?;
        self.seen += size;
        if self.seen > self.declared {
            // Seen here, and not at the last byte: nothing of this chunk may go on.
            return Err(FramingError::TooLong);
        }
        if size == 0 && self.seen < self.declared {
            return Err(FramingError::TooShort);
        }
        self.state = if size == 0 { State::End } else { State::Payload { left: size } };
        out.push(Segment::Frame(line, Mark::ChunkStart { size, signature }));
        Ok(())
    }

    fn payload(&mut self, left: u64, wire: &mut Bytes, out: &mut Vec<Segment>) {
        let take = usize::try_from(left).unwrap_or(usize::MAX).min(wire.len());
        out.push(Segment::Payload(wire.split_to(take)));
        let left = left - take as u64;
        self.state = if left == 0 { State::ChunkEnd } else { State::Payload { left } };
    }

    fn chunk_end(&mut self, wire: &mut Bytes, out: &mut Vec<Segment>) -> Result<(), FramingError> {
        let take = (2 - self.buffer.len()).min(wire.len());
        self.buffer.extend_from_slice(&wire.split_to(take));
        if !b"\r\n".starts_with(&self.buffer) {
            return Err(FramingError::ChunkEnd);
        }
        if self.buffer.len() == 2 {
            out.push(Segment::Frame(self.buffer.split().freeze(), Mark::ChunkEnd));
            self.state = State::SizeLine;
        }
        Ok(())
    }

    /// Collects line after line up to the empty one, then emits all of it as one frame.
    fn end(&mut self, wire: &mut Bytes, out: &mut Vec<Segment>) -> Result<(), FramingError> {
        while let Some(&byte) = wire.first() {
            wire.advance(1);
            self.buffer.extend_from_slice(&[byte]);
            if self.buffer.len() > TRAILERS_MAX {
                return Err(FramingError::Trailer);
            }
            if byte == b'\n' && (&self.buffer[..] == b"\r\n" || self.buffer.ends_with(b"\r\n\r\n")) {
                let section = self.buffer.split().freeze();
                let trailers = self.parse_trailers(&section[..section.len() - 2])?;
                out.push(Segment::Frame(section, Mark::End(trailers)));
                self.state = State::Ended;
                return Ok(());
            }
        }
        Ok(())
    }

    /// Takes bytes up to and with the next CRLF. `None`: it has not come yet.
    fn line(&mut self, wire: &mut Bytes, max: usize) -> Result<Option<Bytes>, ()> {
        let newline = wire.iter().take(max).position(|&b| b == b'\n');
        let take = newline.map_or(wire.len().min(max), |at| at + 1);
        self.buffer.extend_from_slice(&wire.split_to(take));
        if newline.is_none() {
            return if self.buffer.len() < max { Ok(None) } else { Err(()) };
        }
        if self.buffer.len() > max || !self.buffer.ends_with(b"\r\n") {
            return Err(());
        }
        Ok(Some(self.buffer.split().freeze()))
    }

    fn parse_trailers(&self, section: &[u8]) -> Result<Trailers, FramingError> {
        let mut trailers = Trailers::default();
        let text = std::str::from_utf8(section).map_err(|_| FramingError::Trailer)?;
        let Some(announced) = &self.announced else {
            return if text.is_empty() { Ok(trailers) } else { Err(FramingError::Trailer) };
        };
        for line in text.split_terminator("\r\n") {
            if trailers.fields.len() == TRAILER_LINES_MAX || trailers.signature.is_some() {
                return Err(FramingError::Trailer);
            }
            let (name, value) = parse_trailer_line(line)?;
            if name == "x-amz-trailer-signature" {
                trailers.signature = Some(valid_signature(&value, self.signing).ok_or(FramingError::Trailer)?);
            } else if announced.contains(&name) && trailers.fields.iter().all(|(seen, _)| *seen != name) {
                trailers.fields.push((name, value));
            } else {
                return Err(FramingError::Trailer);
            }
        }
        let signed = self.signing != Signing::Unsigned;
        if trailers.fields.len() != announced.len() || trailers.signature.is_some() != signed {
            return Err(FramingError::Trailer);
        }
        Ok(trailers)
    }
}

fn parse_size_line(line: &[u8], signing: Signing) -> Result<(u64, Option<String>), FramingError> {
    let line = std::str::from_utf8(line).map_err(|_| FramingError::SizeLine)?;
    let (size, signature) = match signing {
        Signing::Unsigned => (line, None),
        Signing::V4 | Signing::V4a => {
            let (size, signature) = line.split_once(";chunk-signature=").ok_or(FramingError::SizeLine)?;
            let signature = valid_signature(signature, signing).ok_or(FramingError::SizeLine)?;
            (size, Some(signature))
        }
    };
    let digits = (1..=8).contains(&size.len()) && size.bytes().all(|b| b.is_ascii_hexdigit());
    if !digits || (size.len() > 1 && size.starts_with('0')) {
        return Err(FramingError::SizeLine);
    }
    let size = u64::from_str_radix(size, 16).map_err(|_| FramingError::SizeLine)?;
    Ok((size, signature))
}

fn valid_signature(text: &str, signing: Signing) -> Option<String> {
    let lower_hex = |text: &str| text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let valid = match signing {
        Signing::Unsigned => false,
        Signing::V4 => text.len() == 64 && lower_hex(text),
        Signing::V4a => {
            let digits = text.trim_end_matches('*');
            text.len() == 144 && !digits.is_empty() && digits.len().is_multiple_of(2) && lower_hex(digits)
        }
    };
    valid.then(|| text.to_owned())
}

/// `name:value`, where some clients leave a line feed behind the value.
fn parse_trailer_line(line: &str) -> Result<(String, String), FramingError> {
    let (name, value) = line.split_once(':').ok_or(FramingError::Trailer)?;
    let token = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    let value = value.strip_suffix('\n').unwrap_or(value);
    let visible = |b: u8| b == b' ' || b.is_ascii_graphic();
    if name.is_empty() || !name.bytes().all(token) || !value.bytes().all(visible) {
        return Err(FramingError::Trailer);
    }
    Ok((name.to_ascii_lowercase(), value.trim().to_owned()))
}

#[cfg(test)]
mod tests;
