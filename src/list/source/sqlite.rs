//! NSRL RDS 3: a database of SQLite, read where it is, row by row.
//!
//! Source: NIST, "RDS v3.0 Database Schema": the table FILE has sha256, sha1, md5 and file_size.

use super::{Reading, add};
use crate::digest::Algorithm;
use crate::list::entry::Entry;
use crate::list::feed::Place;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use std::io;
use std::path::Path;

/// How every such file begins (SQLite, "Database File Format", section 1.3.1).
pub(super) const MAGIC: &[u8] = b"SQLite format 3\0";

/// Reads the files of a database. Nothing is written, not even a journal: nobody else may write to it meanwhile.
pub(super) fn read(path: &Path, reading: &mut Reading<'_>) -> io::Result<()> {
    let failed = |error: rusqlite::Error| io::Error::new(io::ErrorKind::InvalidData, error.to_string());
    let absolute = std::path::absolute(path)?;
    let name = absolute.to_str().ok_or_else(|| io::Error::other("its name is no text"))?;
    let escaped = name.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let database = Connection::open_with_flags(format!("file:{escaped}?mode=ro&immutable=1"), flags).map_err(failed)?;
    let mut statement = database.prepare("SELECT sha256, sha1, md5, file_size FROM FILE").map_err(failed)?;
    let mut rows = statement.query([]).map_err(failed)?;
    let mut number = 0;
    while let Some(row) = rows.next().map_err(failed)? {
        number += 1;
        let place = Place::Line(number);
        let mut entry = Entry::default();
        let columns = [Algorithm::Sha256, Algorithm::Sha1, Algorithm::Md5];
        let mut added = Ok(());
        for (column, algorithm) in columns.into_iter().enumerate() {
            let text = match row.get_ref(column).map_err(failed)? {
                ValueRef::Text(text) => std::str::from_utf8(text).unwrap_or("?"),
                ValueRef::Null => "",
                _ => "?",
            };
            added = added.and_then(|()| add(&mut entry, algorithm, text));
        }
        entry.size = match row.get_ref(3).map_err(failed)? {
            ValueRef::Integer(size) => u64::try_from(size).ok(),
            ValueRef::Text(text) => std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()),
            _ => None,
        };
        match added {
            Ok(()) => reading.entry(place, entry)?,
            Err(why) => reading.bad(place, why),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{Format, Options};
    use crate::digest::{Algorithm, Digests};
    use crate::list::entry::Item;
    use crate::list::feed::feed;
    use crate::list::index::Kind;
    use rusqlite::{Connection, params};
    use time::OffsetDateTime;

    /// A database in the shape of RDS 3, with rows that are none.
    #[test]
    fn a_database_is_read_where_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("RDS 3?.db");
        let digests = Digests::of(b"harmless");
        let hex = |algorithm| digests.get(algorithm).unwrap().to_hex().to_uppercase();
        {
            let database = Connection::open(&path).unwrap();
            database.execute_batch("CREATE TABLE FILE (sha256 VARCHAR, sha1 VARCHAR, md5 VARCHAR, crc32 VARCHAR, file_name VARCHAR, file_size INTEGER, package_id INTEGER)").unwrap();
            let insert = "INSERT INTO FILE VALUES (?1, ?2, ?3, 'X', 'a', ?4, 1)";
            let (sha256, sha1, md5) = (hex(Algorithm::Sha256), hex(Algorithm::Sha1), hex(Algorithm::Md5));
            database.execute(insert, params![sha256, sha1, md5, 8]).unwrap();
            database.execute(insert, params![None::<String>, sha1, md5, "8"]).unwrap();
            database.execute(insert, params!["short", sha1, md5, 8]).unwrap();
            database.execute(insert, params![None::<String>, None::<String>, 7, 8]).unwrap();
        }
        let before = std::fs::metadata(&path).unwrap().modified().unwrap();
        let now = OffsetDateTime::UNIX_EPOCH;
        let mut entries = Vec::new();
        let mut read = |kind| {
            let options = Options { format: None, kind, columns: None, now };
            feed(&path, &options, &mut |_, item| {
                if let Item::Entry(entry) = item {
                    entries.push(entry);
                }
                Ok(())
            })
        };
        let error = read(Some(Kind::KnownBad)).unwrap_err().to_string();
        assert!(error.contains("known-good"), "{error}");
        let fed = read(Some(Kind::KnownGood)).unwrap();
        assert_eq!((fed.format.as_str(), fed.bad_lines), (Format::NsrlSqlite.name(), 2));
        assert_eq!(
            entries.iter().map(|entry| (entry.digests.len(), entry.size)).collect::<Vec<_>>(),
            [(3, Some(8)), (2, Some(8))]
        );
        assert_eq!(std::fs::metadata(&path).unwrap().modified().unwrap(), before);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no journal beside it");
    }

    #[test]
    fn another_database_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("other.db");
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE x (y)").unwrap();
        let options =
            Options { format: None, kind: Some(Kind::KnownGood), columns: None, now: OffsetDateTime::UNIX_EPOCH };
        let error = feed(&path, &options, &mut |_, _| Ok(())).unwrap_err();
        assert!(error.to_string().contains("no such table: FILE"), "{error}");
    }
}
