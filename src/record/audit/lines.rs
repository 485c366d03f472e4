//! The files of the log, and their lines, read in bounded memory.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

/// The file that is written to.
pub(super) const CURRENT: &str = "audit.log";

/// More than any line that the gate writes has; what is longer is none.
const LINE_MAX: usize = 1 << 20;

/// A file of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFile {
    /// Where it is.
    pub path: PathBuf,
    /// The number of its first line, of a file that was put aside; that is its name.
    pub first: Option<u64>,
}

impl LogFile {
    /// Its name alone.
    pub fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// The name of a file that was put aside.
pub(super) fn name_of(first: u64) -> String {
    format!("audit-{first}.log")
}

/// All files of the log in a state folder, in the order of their lines.
///
/// # Errors
/// The folder cannot be read.
pub fn files(dir: &Path) -> io::Result<Vec<LogFile>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let Some(name) = name.to_str() else { continue };
        let first = name.strip_prefix("audit-").and_then(|rest| rest.strip_suffix(".log")?.parse().ok());
        if name == CURRENT || first.is_some() {
            files.push(LogFile { path: dir.join(name), first });
        }
    }
    files.sort_by_key(|file| file.first.unwrap_or(u64::MAX));
    Ok(files)
}

/// A line, or what is in the place of one.
#[derive(Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Where it begins in its file.
    pub offset: u64,
    /// Without its line end.
    pub bytes: &'a [u8],
    /// Whether its line end is there.
    pub ended: bool,
}

/// The lines of a file.
pub struct Lines<R> {
    reader: R,
    offset: u64,
    buffer: Vec<u8>,
}

impl Lines<BufReader<File>> {
    /// Opens a file at an offset.
    ///
    /// # Errors
    /// The system's.
    pub fn open(path: &Path, offset: u64) -> io::Result<Lines<BufReader<File>>> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(Lines::new(BufReader::with_capacity(1 << 16, file), offset))
    }
}

impl<R: BufRead> Lines<R> {
    /// Reads from a reader that stands at an offset of the file.
    pub fn new(reader: R, offset: u64) -> Lines<R> {
        Lines { reader, offset, buffer: Vec::new() }
    }

    /// The next line; what is longer than a line can be comes in pieces without a line end.
    ///
    /// # Errors
    /// The system's.
    pub fn line(&mut self) -> io::Result<Option<Line<'_>>> {
        self.buffer.clear();
        let offset = self.offset;
        loop {
            let read = self
                .reader
                .by_ref()
                .take(LINE_MAX as u64 - self.buffer.len() as u64)
                .read_until(b'\n', &mut self.buffer);
            match read {
                Ok(_) => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.offset += self.buffer.len() as u64;
        if self.buffer.is_empty() {
            return Ok(None);
        }
        let ended = self.buffer.last() == Some(&b'\n');
        let bytes = self.buffer.strip_suffix(b"\n").unwrap_or(&self.buffer);
        Ok(Some(Line { offset, bytes, ended }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_and_what_is_too_long_in_pieces() {
        let long = vec![b'x'; LINE_MAX + 5];
        let text = [b"a\n\nbc\n", &long[..], b"\nend"].concat();
        let mut lines = Lines::new(&text[..], 100);
        let mut found = Vec::new();
        while let Some(line) = lines.line().unwrap() {
            found.push((line.offset, line.bytes.len(), line.ended));
        }
        let piece = LINE_MAX as u64;
        let expected = [
            (100, 1, true),
            (102, 0, true),
            (103, 2, true),
            (106, LINE_MAX, false),
            (106 + piece, 5, true),
            (112 + piece, 3, false),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn files_are_in_the_order_of_their_lines() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["audit.log", "audit-100.log", "audit-20.log", "audit.head", "audit-x.log", "lock"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let names: Vec<String> = files(dir.path()).unwrap().iter().map(LogFile::name).collect();
        assert_eq!(names, ["audit-20.log", "audit-100.log", "audit.log"]);
    }
}
