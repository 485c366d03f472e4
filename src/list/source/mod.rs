//! Lists in the formats in which their makers give them out, each read as a stream.
//!
//! What a format says about an entry goes into an [`Entry`]; what is no entry is told by its place and a reason that never
//! holds a digest. Perceptual hashes are passed over: they are compared otherwise.

mod json;
mod ncmec;
mod records;
mod sqlite;
mod table;

use super::entry::{Entry, Item};
use super::feed::{Fed, Place};
use super::index::Kind;
use crate::digest::{Algorithm, Digest};
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use time::OffsetDateTime;

/// Bad places that are named one by one; the others are only counted.
const BAD_NAMED: usize = 10;

/// Longest name of a category: all of them are in memory, and in rules of the policy.
const CATEGORY_MAX: usize = 256;

macro_rules! formats {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// A format of lists.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Format { $($(#[$doc])* $name,)* }

        impl Format {
            /// Every format.
            pub const ALL: &'static [Format] = &[$(Format::$name,)*];

            /// Its name on the command line.
            pub fn name(self) -> &'static str {
                match self { $(Format::$name => $word,)* }
            }
        }
    };
}

formats! {
    /// Bare digests and the lines of `sha256sum` and its relatives.
    Text = "text",
    /// Comma separated values with a header, by a map of columns.
    Csv = "csv",
    /// Interpol ICSE, `;` between values.
    IcseCsv = "icse-csv",
    /// Project VIC, data models 1.3 and 2.0, lists and cases.
    VicsJson = "vics-json",
    /// CAID.
    CaidJson = "caid-json",
    /// NCMEC hash sharing, version 2.
    NcmecXml = "ncmec-xml",
    /// `type value` lines of python-threatexchange.
    ThreatExchangeFile = "threatexchange-file",
    /// ThreatExchange descriptors.
    ThreatExchangeJson = "threatexchange-json",
    /// StopNCII.
    StopNciiJson = "stopncii-json",
    /// Tech Against Terrorism.
    TatJson = "tat-json",
    /// ClamAV .hdb, .hsb, .fp and .sfp.
    ClamAv = "clamav",
    /// STIX 2.1 bundles.
    Stix = "stix",
    /// MISP events.
    MispEvent = "misp-event",
    /// MISP warninglists.
    MispWarninglist = "misp-warninglist",
    /// NSRL RDS 2.
    NsrlCsv = "nsrl-csv",
    /// NSRL RDS 3.
    NsrlSqlite = "nsrl-sqlite",
}

/// How a source is to be read.
#[derive(Clone, Debug)]
pub struct Options {
    /// The format; `None` finds it out.
    pub format: Option<Format>,
    /// What the operator said the entries are; `None` where nothing was said.
    pub kind: Option<Kind>,
    /// Which column holds what, for [`Format::Csv`]: `md5=hash_md5,category=severity`.
    pub columns: Option<String>,
    /// What time it is, for entries that end.
    pub now: OffsetDateTime,
}

impl Format {
    /// The format of that name.
    pub fn named(name: &str) -> Option<Format> {
        Format::ALL.iter().copied().find(|format| format.name() == name)
    }

    /// Finds the format out, by the file's name and its first bytes; `None` for JSON that does not say there what it is.
    pub fn detect(file_name: &str, head: &[u8]) -> Option<Format> {
        let name = file_name.to_ascii_lowercase();
        if head.starts_with(sqlite::MAGIC) {
            return Some(Format::NsrlSqlite);
        }
        if [".hdb", ".hsb", ".fp", ".sfp", ".mdb", ".msb", ".imp"].iter().any(|end| name.ends_with(end)) {
            return Some(Format::ClamAv);
        }
        let head = String::from_utf8_lossy(head).to_ascii_lowercase();
        let head = head.trim_start_matches('\u{feff}').trim_start();
        let has = |word: &str| head.contains(word);
        Some(match head.chars().next() {
            Some('{' | '[') => match () {
                () if has("/projectvic/datamodels/1.2") => Format::CaidJson,
                () if has("projectvic") || has("vicsdatamodel") => Format::VicsJson,
                () if has("\"hashrecords\"") => Format::StopNciiJson,
                () if has("\"hash_digest\"") => Format::TatJson,
                () if has("\"raw_indicator\"") || has("\"indicator\":{\"") => Format::ThreatExchangeJson,
                () if has("\"bundle\"") => Format::Stix,
                () if has("\"event\"") && has("\"attribute\"") => Format::MispEvent,
                () if has("\"matching_attributes\"") || has("\"list\"") => Format::MispWarninglist,
                () => return None,
            },
            Some('<') => Format::NcmecXml,
            _ if head.starts_with("\"sha-1\",\"md5\"") => Format::NsrlCsv,
            _ if head.starts_with("md5;sha1;") => Format::IcseCsv,
            _ if ["pdq ", "video_md5 ", "raw_text "].iter().any(|word| head.starts_with(word)) => {
                Format::ThreatExchangeFile
            }
            _ => Format::Text,
        })
    }

    /// Whether its entries can be of that kind.
    ///
    /// # Errors
    /// What to do instead.
    fn check_kind(self, kind: Option<Kind>, file_name: &str) -> Result<(), String> {
        let good = match self {
            Format::NsrlCsv | Format::NsrlSqlite => true,
            Format::ClamAv => {
                let name = file_name.to_ascii_lowercase();
                name.ends_with(".fp") || name.ends_with(".sfp")
            }
            Format::CaidJson if kind.is_none() => {
                return Err("CAID files hold known-good lists as well as known-bad ones: say --kind".to_owned());
            }
            _ => return Ok(()),
        };
        if good && kind != Some(Kind::KnownGood) {
            return Err("it is a list of known-good files: say --kind known-good, or give it to --veto".to_owned());
        }
        Ok(())
    }
}

/// What takes entries while a source is read.
struct Reading<'a> {
    fed: Fed,
    sink: &'a mut dyn FnMut(Place, Item) -> io::Result<()>,
}

impl Reading<'_> {
    fn entry(&mut self, place: Place, entry: Entry) -> io::Result<()> {
        if entry.digests.is_empty() {
            self.bad(place, "it has no MD5, SHA-1 or SHA-256 digest");
            return Ok(());
        }
        if entry.category.as_ref().is_some_and(|category| category.len() > CATEGORY_MAX) {
            self.bad(place, "its category is longer than 256 bytes");
            return Ok(());
        }
        (self.sink)(place, Item::Entry(entry))
    }

    fn removed(&mut self, place: Place, id: String) -> io::Result<()> {
        (self.sink)(place, Item::Removed(id))
    }

    fn bad(&mut self, place: Place, why: &str) {
        self.fed.bad_lines += 1;
        if self.fed.first_bad.len() < BAD_NAMED {
            self.fed.first_bad.push((place, why.to_owned()));
        }
    }

    /// Not an entry by the rules of its format: counted apart.
    fn passed_over(&mut self) {
        self.fed.passed_over += 1;
    }
}

/// Gives every item of `source` to `sink`, in its order. `file_name` helps to find the format out.
///
/// # Errors
/// The reader's and the sink's; a document that cannot be read to its end; a kind that the format cannot be.
pub fn read(
    mut source: impl BufRead,
    file_name: &str,
    options: &Options,
    sink: &mut dyn FnMut(Place, Item) -> io::Result<()>,
) -> io::Result<Fed> {
    let format = match options.format {
        Some(format) => format,
        None if options.columns.is_some() => Format::Csv,
        None => Format::detect(file_name, source.fill_buf()?).ok_or_else(|| invalid(UNKNOWN_JSON.to_owned()))?,
    };
    format.check_kind(options.kind, file_name).map_err(invalid)?;
    let fed = Fed { format: format.name().to_owned(), ..Fed::default() };
    let mut reading = Reading { fed, sink };
    match format {
        Format::Text => return super::feed::text(source, sink),
        Format::Csv => {
            let columns = options.columns.as_deref().unwrap_or_default();
            let columns = table::Columns::parse(columns).map_err(invalid)?;
            table::csv(source, b',', &columns, &mut reading)?;
        }
        Format::IcseCsv => table::icse(source, &mut reading)?,
        Format::NsrlCsv => table::csv(source, b',', &table::Columns::nsrl(), &mut reading)?,
        Format::ThreatExchangeFile => table::threat_exchange(source, &mut reading)?,
        Format::ClamAv => table::clamav(source, file_name, &mut reading)?,
        Format::NcmecXml => ncmec::read(source, &mut reading)?,
        Format::NsrlSqlite => {
            return Err(invalid("a database is read in place: give a path, unsigned".to_owned()));
        }
        _ => records::read(source, format, options.now, &mut reading)?,
    }
    Ok(reading.fed)
}

/// As [`read`], for a file: a database is read where it is.
///
/// # Errors
/// As there.
pub fn read_file(
    path: &Path,
    options: &Options,
    sink: &mut dyn FnMut(Place, Item) -> io::Result<()>,
) -> io::Result<Fed> {
    let mut source = BufReader::with_capacity(256 << 10, File::open(path)?);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_database = source.fill_buf()?.starts_with(sqlite::MAGIC);
    if !is_database && options.format != Some(Format::NsrlSqlite) {
        let mut options = options.clone();
        if options.format.is_none() && options.columns.is_none() {
            options.format = Some(find_out(path, &name, source.fill_buf()?)?);
        }
        return read(source, &name, &options, sink);
    }
    let format = Format::NsrlSqlite;
    format.check_kind(options.kind, &name).map_err(invalid)?;
    let mut reading = Reading { fed: Fed { format: format.name().to_owned(), ..Fed::default() }, sink };
    sqlite::read(path, &mut reading)?;
    Ok(reading.fed)
}

/// The format of a file; what says so may stand behind gigabytes of entries, which takes a second pass.
fn find_out(path: &Path, name: &str, head: &[u8]) -> io::Result<Format> {
    if let Some(format) = Format::detect(name, head) {
        return Ok(format);
    }
    let outline = records::outline(BufReader::with_capacity(256 << 10, File::open(path)?))?;
    let whole = [head, outline.as_bytes()].concat();
    Format::detect(name, &whole).ok_or_else(|| invalid(UNKNOWN_JSON.to_owned()))
}

const UNKNOWN_JSON: &str = "it is JSON that does not say at its beginning of which format it is; name the format";

fn invalid(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

/// Adds a digest in hexadecimal, or base32 for SHA-1, to an entry. Absent ones are left out, too: empty, `null`.
fn add(entry: &mut Entry, algorithm: Algorithm, text: &str) -> Result<(), &'static str> {
    let text = text.trim();
    if text.is_empty() || text.eq_ignore_ascii_case("null") {
        return Ok(());
    }
    let digest = Digest::from_hex(text)
        .or_else(|| base32(text).and_then(|bytes| Digest::from_bytes(&bytes)))
        .filter(|digest| digest.algorithm() == algorithm)
        .ok_or("a digest is not of its algorithm")?;
    entry.digests.push(digest);
    Ok(())
}

/// RFC 4648, section 6, of 20 bytes.
fn base32(text: &str) -> Option<Vec<u8>> {
    if text.len() != 32 {
        return None;
    }
    let (mut bits, mut held, mut bytes) = (0_u32, 0, Vec::new());
    for byte in text.bytes() {
        let value = match byte.to_ascii_uppercase() {
            letter @ b'A'..=b'Z' => letter - b'A',
            digit @ b'2'..=b'7' => digit - b'2' + 26,
            _ => return None,
        };
        bits = bits << 5 | u32::from(value);
        held += 5;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests;
