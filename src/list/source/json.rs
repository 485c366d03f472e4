//! Reading JSON of any size in little memory: a value is looked into, taken when it is short, or passed over.
//!
//! Source: RFC 8259. A list can be one line of gigabytes, so nothing is kept but what is asked for: a token is at most a
//! mebibyte and nesting at most 64 deep.

use serde_json::Value;
use std::io::{self, BufRead};

/// Longest token, and longest value that is taken whole.
pub(super) const TOKEN_MAX: usize = 1 << 20;
/// Deepest nesting.
pub(super) const DEPTH_MAX: usize = 64;

/// A reader that stands before a value, or inside one that is being looked into.
pub(super) struct Json<R> {
    reader: R,
    offset: u64,
    depth: usize,
}

impl<R: BufRead> Json<R> {
    /// At the beginning of a document; a byte order mark is passed over.
    pub(super) fn new(reader: R) -> io::Result<Json<R>> {
        let mut json = Json { reader, offset: 0, depth: 0 };
        if json.reader.fill_buf()?.starts_with(b"\xef\xbb\xbf") {
            json.reader.consume(3);
            json.offset = 3;
        }
        Ok(json)
    }

    /// The byte at which the reader stands, from 0.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// An error with the place.
    pub(super) fn malformed(&self, what: &str) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, format!("byte {}: {what}", self.offset))
    }

    /// Looks into an object: `each` stands before the value of a key and must take it or pass it over. Passes over
    /// anything that is no object.
    pub(super) fn object(&mut self, mut each: impl FnMut(&mut Json<R>, &str) -> io::Result<()>) -> io::Result<()> {
        if self.peek()? != b'{' {
            return self.skip();
        }
        self.enter()?;
        let mut first = true;
        while self.more(b'}', &mut first)? {
            let key = self.string()?;
            if self.peek()? != b':' {
                return Err(self.malformed("a key without a value"));
            }
            self.take();
            each(self, &key)?;
        }
        Ok(())
    }

    /// Looks into an array: `each` stands before an element. Passes over anything that is no array.
    pub(super) fn array(&mut self, mut each: impl FnMut(&mut Json<R>) -> io::Result<()>) -> io::Result<()> {
        if self.peek()? != b'[' {
            return self.skip();
        }
        self.enter()?;
        let mut first = true;
        while self.more(b']', &mut first)? {
            each(self)?;
        }
        Ok(())
    }

    /// Takes a value whole, of at most [`TOKEN_MAX`] bytes.
    pub(super) fn value(&mut self) -> io::Result<Value> {
        let mut bytes = Vec::new();
        self.pass(Some(&mut bytes))?;
        serde_json::from_slice(&bytes).map_err(|error| self.malformed(&error.to_string()))
    }

    /// Passes over a value.
    pub(super) fn skip(&mut self) -> io::Result<()> {
        self.pass(None)
    }

    /// Nothing but blanks is left.
    pub(super) fn end(&mut self) -> io::Result<()> {
        match self.peek_or_end()? {
            None => Ok(()),
            Some(_) => Err(self.malformed("something stands behind the document")),
        }
    }

    /// Whether another document follows, in files that hold one a line.
    pub(super) fn follows(&mut self) -> io::Result<bool> {
        Ok(self.peek_or_end()?.is_some())
    }

    /// Whether an array stands here.
    pub(super) fn is_array(&mut self) -> io::Result<bool> {
        Ok(self.peek()? == b'[')
    }

    fn enter(&mut self) -> io::Result<()> {
        self.take();
        self.depth += 1;
        if self.depth > DEPTH_MAX { Err(self.malformed("nested too deep")) } else { Ok(()) }
    }

    /// Steps to the next member, or over the closing bracket.
    fn more(&mut self, close: u8, first: &mut bool) -> io::Result<bool> {
        let next = self.peek()?;
        if next == close {
            self.take();
            self.depth -= 1;
            return Ok(false);
        }
        if !std::mem::take(first) {
            if next != b',' {
                return Err(self.malformed("a comma is missing"));
            }
            self.take();
            self.peek()?;
        }
        Ok(true)
    }

    fn string(&mut self) -> io::Result<String> {
        match self.value()? {
            Value::String(text) => Ok(text),
            _ => Err(self.malformed("a key is no string")),
        }
    }

    /// Passes over a value, keeping its bytes where they are wanted.
    fn pass(&mut self, mut kept: Option<&mut Vec<u8>>) -> io::Result<()> {
        self.peek()?;
        let (mut nested, mut in_string, mut escaped, mut length) = (0_usize, false, false, 0_usize);
        loop {
            let Some(byte) = self.byte()? else {
                // A number may be the whole document.
                return if nested == 0 && !in_string && length > 0 {
                    Ok(())
                } else {
                    Err(self.malformed("it ends early"))
                };
            };
            if !in_string
                && nested == 0
                && length > 0
                && matches!(byte, b',' | b']' | b'}' | b' ' | b'\t' | b'\r' | b'\n')
            {
                return Ok(());
            }
            self.take();
            length += 1;
            if let Some(kept) = &mut kept {
                if kept.len() == TOKEN_MAX {
                    return Err(self.malformed("a value is longer than 1 MiB"));
                }
                kept.push(byte);
            }
            match byte {
                _ if escaped => escaped = false,
                b'\\' if in_string => escaped = true,
                b'"' => {
                    in_string = !in_string;
                    if !in_string && nested == 0 {
                        return Ok(());
                    }
                }
                b'{' | b'[' if !in_string => {
                    nested += 1;
                    if self.depth + nested > DEPTH_MAX {
                        return Err(self.malformed("nested too deep"));
                    }
                }
                b'}' | b']' if !in_string => {
                    nested = nested.checked_sub(1).ok_or_else(|| self.malformed("a bracket too many"))?;
                    if nested == 0 {
                        return Ok(());
                    }
                }
                _ => {}
            }
        }
    }

    fn peek(&mut self) -> io::Result<u8> {
        self.peek_or_end()?.ok_or_else(|| self.malformed("it ends early"))
    }

    fn peek_or_end(&mut self) -> io::Result<Option<u8>> {
        while let Some(byte) = self.byte()? {
            if !matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
                return Ok(Some(byte));
            }
            self.take();
        }
        Ok(None)
    }

    fn byte(&mut self) -> io::Result<Option<u8>> {
        Ok(self.reader.fill_buf()?.first().copied())
    }

    fn take(&mut self) {
        self.reader.consume(1);
        self.offset += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufReader, Read};

    fn keys(text: &str) -> io::Result<Vec<(String, Value)>> {
        let mut found = Vec::new();
        let mut json = Json::new(text.as_bytes())?;
        json.object(|json, key| {
            found.push((key.to_owned(), json.value()?));
            Ok(())
        })?;
        json.end()?;
        Ok(found)
    }

    #[test]
    fn what_is_taken_is_what_serde_reads() {
        let text = "\u{feff} {\"a\" : [1, {\"b\": \"}]\\\"\"}], \"c\":null ,\"d\\u0041\":-1.5e3,\"e\":\"\"}\n";
        let whole: Value = serde_json::from_str(text.trim_start_matches('\u{feff}')).unwrap();
        let found: serde_json::Map<String, Value> = keys(text).unwrap().into_iter().collect();
        assert_eq!(Value::Object(found), whole);
    }

    #[test]
    fn what_is_malformed_says_where() {
        for text in ["", "{", "{\"a\"}", "{\"a\":1 \"b\":2}", "{\"a\":[1,2}", "{} x", "{1:2}", "{\"a\":tru}"] {
            let error = keys(text).unwrap_err();
            assert!(error.to_string().starts_with("byte "), "{text}: {error}");
        }
        let deep = format!("{{\"a\":{}", "[".repeat(100));
        assert!(keys(&deep).unwrap_err().to_string().contains("too deep"));
    }

    /// A value of 32 MiB is passed over without being kept, and refused where it is wanted.
    #[test]
    fn a_huge_value_needs_no_memory() {
        let huge = || BufReader::new(b"{\"a\":\"".chain(io::repeat(b'x').take(32 << 20)).chain(&b"\",\"b\":1}"[..]));
        let mut last = None;
        Json::new(huge())
            .unwrap()
            .object(|json, key| {
                if key == "a" {
                    return json.skip();
                }
                last = Some(json.value()?);
                Ok(())
            })
            .unwrap();
        assert_eq!(last, Some(Value::from(1)));
        let error = Json::new(huge()).unwrap().object(|json, _| json.value().map(drop)).unwrap_err();
        assert!(error.to_string().contains("longer than 1 MiB"), "{error}");
    }
}
