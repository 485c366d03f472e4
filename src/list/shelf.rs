//! Where the versions of lists are kept: sealed indexes in the state folder, private copies that nobody else writes to.
//!
//! For a list NAME: `NAME.index` is the version in use, `NAME.versions` its entries one by one where changes come on top
//! of them, `NAME.new` and `NAME.new-versions` those in the making, `NAME.accepted` the last one that was accepted, while
//! the one in use is on probation; `NAME.json` says what the source looked like, and `NAME.accept` is an operator's word
//! that what comes is right.

use super::Keeping;
use super::index::seal::{Key, KeyError};
use super::index::{Access, Ids, copy_private};
use crate::config::settings::ListSource;
use serde_json::{Value, json};
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;

/// The folder, and the key of what is compiled into it.
pub(super) struct Shelf {
    dir: PathBuf,
    key: Key,
    /// Whether the key is the configured one, which sources that are indexes need.
    pub(super) key_configured: bool,
    /// Without a state folder nothing is kept.
    temporary: Option<TempDir>,
}

/// What a source looked like when it was read. The same again is no new version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Of a file or folder: a digest of names, times and lengths.
    pub(super) files: Option<String>,
    /// Of an answer over HTTP.
    pub(super) etag: Option<String>,
    /// The same.
    pub(super) last_modified: Option<String>,
    /// Of a source that tells what has changed: the time from which on it is asked.
    pub(super) checkpoint: Option<String>,
}

/// What is known of the version in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) seen: Seen,
    pub(super) read_at: SystemTime,
}

/// A kind of file of a list.
#[derive(Clone, Copy)]
pub(super) enum File {
    Index,
    New,
    Accepted,
    Accept,
    Note,
    Versions,
    NewVersions,
}

impl Shelf {
    /// Opens the folder, and finds the key or makes one. It blocks.
    pub(super) fn open(keeping: &Keeping) -> Result<Shelf, KeyError> {
        let configured = keeping.key_file.as_deref().map(Key::read).transpose()?;
        let key_configured = configured.is_some();
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |error| KeyError::Io(path, error)
        };
        let Some(state) = &keeping.state_dir else {
            let temporary = tempfile::tempdir().map_err(failed(&std::env::temp_dir()))?;
            let dir = temporary.path().to_owned();
            let random = || Key::random().map_err(failed(&dir));
            let key = configured.map_or_else(random, Ok)?;
            return Ok(Shelf { dir, key, key_configured, temporary: Some(temporary) });
        };
        let dir = folder(state);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(failed(&dir))?;
        let own = dir.join("key");
        let key = match configured {
            Some(key) => key,
            None if own.exists() => Key::read(&own)?,
            None => Key::make(&own)?,
        };
        Ok(Shelf { dir, key, key_configured, temporary: None })
    }

    pub(super) fn key(&self) -> &Key {
        &self.key
    }

    /// Puts an index that is a source into the making. Where nothing is kept it is only looked at, where it is.
    pub(super) fn copy(&self, source: &Path, list: &str) -> io::Result<()> {
        let new = self.path(list, File::New);
        if self.temporary.is_none() { copy_private(source, &new) } else { symlink(source, new) }
    }

    /// How the version in the making may be opened: only what is ours is mapped.
    pub(super) fn access(&self, list: &str) -> Access {
        let ours = !fs::symlink_metadata(self.path(list, File::New)).is_ok_and(|meta| meta.is_symlink());
        if ours { Access::Map } else { Access::Seal }
    }

    pub(super) fn path(&self, list: &str, file: File) -> PathBuf {
        path(&self.dir, list, file)
    }

    pub(super) fn has(&self, list: &str, file: File) -> bool {
        self.path(list, file).exists()
    }

    /// Removes a file, if it is there.
    pub(super) fn remove(&self, list: &str, file: File) -> io::Result<()> {
        match fs::remove_file(self.path(list, file)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Puts the version in the making in the place of the one in use. On probation, the last accepted one is kept.
    pub(super) fn exchange(&self, source: &ListSource, note: &Note, on_probation: bool) -> io::Result<()> {
        let at = |file| self.path(&source.name, file);
        // In this order a crash in between leaves an older note, or none: then the source is read again.
        self.remove(&source.name, File::Note)?;
        if !on_probation {
            self.remove(&source.name, File::Accepted)?;
        } else if !self.has(&source.name, File::Accepted) {
            fs::hard_link(at(File::Index), at(File::Accepted))?;
        }
        // Which entry a row came from is asked of sources that were compiled elsewhere only.
        match fs::remove_file(Ids::path_of(&at(File::New))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::rename(at(File::New), at(File::Index))?;
        match fs::rename(at(File::NewVersions), at(File::Versions)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Err(_) => self.remove(&source.name, File::Versions)?,
            Ok(()) => {}
        }
        self.remove(&source.name, File::Accept)?;
        self.write_note(source, note)
    }

    /// Remembers when the source was read, and what it looked like.
    pub(super) fn write_note(&self, source: &ListSource, note: &Note) -> io::Result<()> {
        let seconds = note.read_at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let seen = &note.seen;
        let text = json!({
            "made_from": made_from(source), "read_at": seconds,
            "files": seen.files, "etag": seen.etag, "last_modified": seen.last_modified,
            "checkpoint": seen.checkpoint,
        });
        fs::write(self.path(&source.name, File::Note), text.to_string())
    }

    /// What is known of the version in use; `None` where nothing is, or where it was made from another source.
    pub(super) fn note(&self, source: &ListSource) -> Option<Note> {
        let note: Value = serde_json::from_slice(&fs::read(self.path(&source.name, File::Note)).ok()?).ok()?;
        if note["made_from"] != made_from(source) {
            return None;
        }
        let text = |key: &str| note[key].as_str().map(str::to_owned);
        let read_at = UNIX_EPOCH + Duration::from_secs(note["read_at"].as_u64()?);
        let seen = Seen {
            files: text("files"),
            etag: text("etag"),
            last_modified: text("last_modified"),
            checkpoint: text("checkpoint"),
        };
        Some(Note { seen, read_at })
    }
}

/// What makes another list of the same source.
fn made_from(source: &ListSource) -> String {
    let ListSource { source: from, format, kind, columns, size_min, signed_by, paged, .. } = source;
    let format = format.map_or("auto", |format| format.name());
    let kind = kind.map_or("", |kind| kind.word());
    format!("{from} {format} {kind} {columns:?} {size_min} {signed_by:?} {paged}")
}

/// Where the versions of lists are, in the state folder.
pub(super) fn folder(state_dir: &Path) -> PathBuf {
    state_dir.join("lists")
}

/// Whether a file with this name is one of a list's sealed ones.
pub(super) fn is_of(list: &str, file_name: &std::ffi::OsStr) -> bool {
    let sealed = [File::Index, File::New, File::Accepted, File::Versions, File::NewVersions];
    sealed.into_iter().any(|file| path(Path::new(""), list, file).as_os_str() == file_name)
}

/// The file of a list. Names of lists hold letters, digits, `.`, `_` and `-` only.
pub(super) fn path(folder: &Path, list: &str, file: File) -> PathBuf {
    let end = match file {
        File::Index => "index",
        File::New => "new",
        File::Accepted => "accepted",
        File::Accept => "accept",
        File::Note => "json",
        File::Versions => "versions",
        // No dot in it: names of lists may have one.
        File::NewVersions => "new-versions",
    };
    folder.join(format!("{list}.{end}"))
}
