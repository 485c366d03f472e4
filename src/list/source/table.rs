//! Formats of lines and columns.

use super::super::entry::Entry;
use super::super::feed::Place;
use super::json::TOKEN_MAX;
use super::{Reading, add};
use crate::digest::{Algorithm, Digest};
use std::collections::HashMap;
use std::io::{self, BufRead, Read};

/// Which column holds what; a column that a file does not have is left out.
#[derive(Debug, Default)]
pub(super) struct Columns {
    /// What it holds, in lower case, and the column's name, in lower case.
    map: Vec<(String, String)>,
    /// Put before a category.
    scheme: Option<&'static str>,
}

const WHAT: [&str; 6] = ["md5", "sha1", "sha256", "size", "category", "id"];

impl Columns {
    /// Of `what=column,what=column`.
    pub(super) fn parse(text: &str) -> Result<Columns, String> {
        let mut map = Vec::new();
        for pair in text.split(',').filter(|pair| !pair.trim().is_empty()) {
            let (what, column) = pair.split_once('=').ok_or(format!("--columns: `{pair}` is not what=column"))?;
            let what = what.trim().to_ascii_lowercase();
            if !WHAT.contains(&what.as_str()) {
                return Err(format!("--columns: `{what}` is none of {}", WHAT.join(", ")));
            }
            map.push((what, column.trim().to_ascii_lowercase()));
        }
        if !map.iter().any(|(what, _)| WHAT[..3].contains(&what.as_str())) {
            return Err("--columns: say which column holds the digests, such as md5=hash_md5,category=severity".into());
        }
        Ok(Columns { map, scheme: None })
    }

    /// NSRL RDS 2.
    pub(super) fn nsrl() -> Columns {
        let pair = |what: &str, column: &str| (what.to_owned(), column.to_owned());
        Columns { map: vec![pair("sha1", "sha-1"), pair("md5", "md5"), pair("size", "filesize")], scheme: None }
    }
}

/// Refuses a record that is longer than anything sensible, so that no file can exhaust memory: a line without an end, or
/// a quote that nobody closes.
struct Bounded<R> {
    reader: R,
    since_record: usize,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // What was read ahead counts for the next record, too.
        if self.since_record > TOKEN_MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a record is longer than 1 MiB; is a quote not closed?",
            ));
        }
        let read = self.reader.read(buffer)?;
        self.since_record += read;
        Ok(read)
    }
}

fn reader<R: BufRead>(source: R, delimiter: u8) -> csv::Reader<Bounded<R>> {
    // Lengths of records vary, and further columns are none of ours.
    let bounded = Bounded { reader: source, since_record: 0 };
    csv::ReaderBuilder::new().delimiter(delimiter).flexible(true).from_reader(bounded)
}

/// Reads the next record; false at the end.
fn next<R: Read>(reader: &mut csv::Reader<Bounded<R>>, record: &mut csv::ByteRecord) -> io::Result<bool> {
    reader.get_mut().since_record = 0;
    Ok(reader.read_byte_record(record)?)
}

/// The names of the columns, in lower case, with their places.
fn header<R: Read>(reader: &mut csv::Reader<R>) -> io::Result<HashMap<String, usize>> {
    let names = reader.byte_headers()?.clone();
    Ok(names.iter().enumerate().map(|(at, name)| (plain(name).to_ascii_lowercase(), at)).collect())
}

/// Text of a field. Some of these files are ISO-8859-1; what we look at is ASCII in both.
fn plain(field: &[u8]) -> String {
    String::from_utf8_lossy(field).trim_start_matches('\u{feff}').trim().to_owned()
}

/// A file with a header, by a map of columns.
pub(super) fn csv(source: impl BufRead, delimiter: u8, columns: &Columns, reading: &mut Reading<'_>) -> io::Result<()> {
    let mut reader = reader(source, delimiter);
    let header = header(&mut reader)?;
    let mut places = Vec::new();
    for (what, column) in &columns.map {
        match header.get(column) {
            Some(at) => places.push((what.as_str(), *at)),
            None => {
                let why = format!("the file has no column `{column}`");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
            }
        }
    }
    let mut record = csv::ByteRecord::new();
    while next(&mut reader, &mut record)? {
        let place = Place::Line(record.position().map_or(0, csv::Position::line));
        let mut entry = Entry::default();
        let mut problem = None;
        for (what, at) in &places {
            let text = plain(record.get(*at).unwrap_or_default());
            match *what {
                "md5" => problem = add(&mut entry, Algorithm::Md5, &text).err().or(problem),
                "sha1" => problem = add(&mut entry, Algorithm::Sha1, &text).err().or(problem),
                "sha256" => problem = add(&mut entry, Algorithm::Sha256, &text).err().or(problem),
                "size" => entry.size = text.parse().ok(),
                "category" => entry.category = category(&text, columns.scheme.unwrap_or("csv")),
                _ => entry.id = Some(text).filter(|text| !text.is_empty()),
            }
        }
        match problem {
            Some(why) => reading.bad(place, why),
            None => reading.entry(place, entry)?,
        }
    }
    Ok(())
}

/// `scheme:value`; a value that has its own scheme keeps it.
fn category(text: &str, scheme: &str) -> Option<String> {
    match text {
        "" => None,
        text if text.contains(':') => Some(text.to_owned()),
        text => Some(format!("{scheme}:{text}")),
    }
}

/// Interpol ICSE: its column `Baseline` drives the policy that everybody wants.
pub(super) fn icse(source: impl BufRead, reading: &mut Reading<'_>) -> io::Result<()> {
    let mut reader = reader(source, b';');
    let header = header(&mut reader)?;
    if !header.contains_key("baseline") {
        // Else a policy for the baseline only would never fit.
        let why = "the file has no column `Baseline`; read it as csv, with a map of columns";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    let mut record = csv::ByteRecord::new();
    while next(&mut reader, &mut record)? {
        let place = Place::Line(record.position().map_or(0, csv::Position::line));
        let field = |name: &str| header.get(name).and_then(|at| record.get(*at)).map(plain).unwrap_or_default();
        let baseline = match field("baseline").to_ascii_lowercase().as_str() {
            "y" | "yes" | "t" | "true" => "icse:baseline",
            _ => "icse:other",
        };
        let id = Some(field("image id")).filter(|id| !id.is_empty());
        let mut entry = Entry { category: Some(baseline.to_owned()), id, ..Entry::default() };
        let added = add(&mut entry, Algorithm::Md5, &field("md5"))
            .and_then(|()| add(&mut entry, Algorithm::Sha1, &field("sha1")));
        match added {
            Ok(()) => reading.entry(place, entry)?,
            Err(why) => reading.bad(place, why),
        }
    }
    Ok(())
}

/// Calls `each` with every line that is not empty and no comment.
fn lines(mut source: impl BufRead, mut each: impl FnMut(Place, &str) -> io::Result<()>) -> io::Result<()> {
    let mut bytes = Vec::new();
    for number in 1.. {
        bytes.clear();
        if (&mut source).take(TOKEN_MAX as u64 + 1).read_until(b'\n', &mut bytes)? == 0 {
            break;
        }
        if bytes.len() > TOKEN_MAX {
            let why = format!("line {number} is longer than 1 MiB");
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        let line = plain(&bytes);
        if !line.is_empty() && !line.starts_with('#') {
            each(Place::Line(number), &line)?;
        }
    }
    Ok(())
}

/// python-threatexchange: `type value`.
pub(super) fn threat_exchange(source: impl BufRead, reading: &mut Reading<'_>) -> io::Result<()> {
    lines(source, |place, line| {
        let (kind, value) = line.split_once(' ').unwrap_or(("", line));
        let perceptual = ["pdq", "pdq_ocr", "tmk", "vpdq", "photodna", "tlsh_pdf", "raw_text", "trend_query", "url"];
        if perceptual.contains(&kind) {
            reading.passed_over();
            return Ok(());
        }
        match Digest::from_hex(value.trim()) {
            Some(digest) => reading.entry(place, Entry { digests: vec![digest], ..Entry::default() }),
            None => {
                reading.bad(place, "it is no `type value` with an MD5, SHA-1 or SHA-256 digest");
                Ok(())
            }
        }
    })
}

/// ClamAV: `digest:size:name`, and a least engine version behind it.
pub(super) fn clamav(source: impl BufRead, file_name: &str, reading: &mut Reading<'_>) -> io::Result<()> {
    let name = file_name.to_ascii_lowercase();
    if [".mdb", ".msb", ".imp"].iter().any(|end| name.ends_with(end)) {
        let why = "its digests are of sections or import tables of programs, not of whole files; it cannot be used";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    lines(source, |place, line| {
        let mut fields = line.split(':');
        let digest = fields.next().and_then(|digest| Digest::from_hex(digest.trim()));
        let size = fields.next().map(str::trim);
        let (Some(digest), Some(size), Some(_)) = (digest, size, fields.next()) else {
            reading.bad(place, "it is no digest:size:name");
            return Ok(());
        };
        let size = match size {
            "*" => None,
            size => match size.parse() {
                Ok(size) => Some(size),
                Err(_) => {
                    reading.bad(place, "its size is no number and no `*`");
                    return Ok(());
                }
            },
        };
        reading.entry(place, Entry { digests: vec![digest], size, ..Entry::default() })
    })
}
