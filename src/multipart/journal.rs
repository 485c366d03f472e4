//! The chains on disk, so that they survive a restart: one file for each upload, one line for each change.
//!
//! A forged line would be an evasion, so each carries a keyed digest of itself and of the line before it (BLAKE3); a file
//! is read up to the first line that does not fit. What is lost at the end of a file makes parts unknown, never known:
//! before the store may get other bytes for a part, a line that cuts it off is on the disk.

use super::Beginning;
use super::chain::{Body, Chain, Change};
use super::upload_id::UploadId;
use base64::prelude::{BASE64_STANDARD_NO_PAD as BASE64, Engine as _};
use serde::Deserialize as _;
use serde_json::{Value, json};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

const KEY_FILE: &str = "multipart.key";
const FOLDER: &str = "multipart";

/// The folder of the chains, and the key that makes their lines.
#[derive(Debug)]
pub(super) struct Journal {
    dir: PathBuf,
    key: [u8; 32],
}

/// The file of one upload, and the digest of its last line.
#[derive(Debug)]
pub(super) struct Page {
    path: PathBuf,
    last: [u8; 32],
    /// Whether the first line, which names the upload, is written.
    begun: bool,
}

/// An upload as its file has it.
pub(super) struct Loaded<S> {
    pub(super) id: UploadId,
    pub(super) beginning: Option<Beginning>,
    pub(super) chain: Chain<S>,
    pub(super) page: Page,
    /// How long ago it was changed last.
    pub(super) age: Duration,
}

impl Journal {
    /// Opens the folder below the state folder; makes it and the key where they are not there.
    ///
    /// # Errors
    /// The system's, with the path in question.
    pub(super) fn open(state_dir: &Path) -> io::Result<Journal> {
        let dir = state_dir.join(FOLDER);
        fs::create_dir_all(&dir).map_err(|error| at(&dir, error))?;
        let path = state_dir.join(KEY_FILE);
        let key = match fs::read(&path) {
            Ok(key) => key.try_into().map_err(|_| {
                at(&path, io::Error::other("it is not 32 bytes long; remove it, and uploads in parts begin anew"))
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => make_key(&path).map_err(|e| at(&path, e))?,
            Err(error) => return Err(at(&path, error)),
        };
        Ok(Journal { dir, key })
    }

    /// A page for an upload; nothing is written yet.
    pub(super) fn page(&self, id: &UploadId) -> Page {
        let name = blake3::keyed_hash(&self.key, id.to_string().as_bytes());
        Page { path: self.dir.join(format!("{}.log", &name.to_hex()[..32])), last: [0; 32], begun: false }
    }

    /// Writes the first line of a page, unless that is done. It blocks.
    pub(super) fn begin(&self, page: &mut Page, id: &UploadId, beginning: Option<&Beginning>) -> io::Result<()> {
        if page.begun {
            return Ok(());
        }
        let mut first = json!({ "bucket": id.bucket, "key": id.key, "upload": id.upload });
        if let Some(beginning) = beginning {
            first["beginning"] = json!(beginning);
        }
        self.append(page, first)?;
        page.begun = true;
        Ok(())
    }

    /// Writes a change of `chain`. What shortens it is on the disk when this returns. It blocks.
    pub(super) fn write<S>(&self, page: &mut Page, chain: &Chain<S>, change: Change) -> io::Result<()> {
        let link = |number: u16| &chain.links()[usize::from(number) - 1];
        let line = match change {
            Change::Link(number) => {
                let link = link(number);
                json!({
                    "part": number,
                    "etag": link.etag,
                    "length": link.body.length,
                    "sha256": BASE64.encode(link.body.sha256),
                    "state": BASE64.encode(&link.state),
                    "plain": link.is_plain,
                })
            }
            Change::ETag(number) => json!({ "part": number, "etag": link(number).etag }),
            Change::Cut(number) => json!({ "cut": number }),
        };
        let file = self.append(page, line)?;
        match change {
            Change::Cut(_) => file.sync_data(),
            Change::Link(_) | Change::ETag(_) => Ok(()),
        }
    }

    /// Forgets an upload.
    pub(super) fn remove(&self, page: &Page) {
        // Gone is gone; a file that stays expires at the next start.
        fs::remove_file(&page.path).ok();
    }

    /// Every upload that is on disk and was changed less than `expire` ago, read as far as it can be trusted. Older files
    /// and those of which nothing can be read are removed.
    pub(super) fn load<S>(&self, expire: Duration) -> io::Result<Vec<Loaded<S>>> {
        let mut uploads = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(|error| at(&self.dir, error))? {
            let path = entry?.path();
            let age = fs::metadata(&path)?.modified()?.elapsed().unwrap_or_default();
            match if age < expire { self.read(&path, age) } else { None } {
                Some(upload) => uploads.push(upload),
                None => fs::remove_file(&path).map_err(|error| at(&path, error))?,
            }
        }
        Ok(uploads)
    }

    fn read<S>(&self, path: &Path, age: Duration) -> Option<Loaded<S>> {
        let text = fs::read(path).ok()?;
        let mut page = Page { path: path.to_owned(), last: [0; 32], begun: true };
        let (mut first, mut chain, mut trusted) = (None, Chain::default(), 0);
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            let Some(value) = self.check(&mut page, line) else { break };
            let fits = match &first {
                None => {
                    first = first_line(&value);
                    first.is_some()
                }
                Some(_) => apply(&mut chain, &value).is_some(),
            };
            if !fits {
                break;
            }
            trusted += line.len() as u64;
        }
        // What cannot be trusted would stand between what is and what is to come.
        if trusted < text.len() as u64 {
            tracing::warn!("the end of {} does not fit and is cut off: those parts are not known", path.display());
            OpenOptions::new().write(true).open(path).and_then(|file| file.set_len(trusted)).ok()?;
        }
        let (id, beginning) = first?;
        Some(Loaded { id, beginning, chain, page, age })
    }

    fn append(&self, page: &mut Page, value: Value) -> io::Result<File> {
        let text = value.to_string();
        let last = self.digest(&page.last, text.as_bytes());
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&page.path)?;
        file.write_all(format!("{text} {}\n", hex::encode(last)).as_bytes())?;
        page.last = last;
        Ok(file)
    }

    /// The line's value, where its digest fits; the page then stands behind it.
    fn check(&self, page: &mut Page, line: &[u8]) -> Option<Value> {
        let line = line.strip_suffix(b"\n")?;
        let (text, digest) = line.split_at_checked(line.len().checked_sub(65)?)?;
        let digest: [u8; 32] = hex::decode(digest.strip_prefix(b" ")?).ok()?.try_into().ok()?;
        let expected = self.digest(&page.last, text);
        if !bool::from(subtle::ConstantTimeEq::ct_eq(&expected[..], &digest[..])) {
            return None;
        }
        page.last = expected;
        serde_json::from_slice(text).ok()
    }

    fn digest(&self, last: &[u8; 32], text: &[u8]) -> [u8; 32] {
        *blake3::Hasher::new_keyed(&self.key).update(last).update(text).finalize().as_bytes()
    }
}

/// What the first line says.
fn first_line(line: &Value) -> Option<(UploadId, Option<Beginning>)> {
    let word = |key: &str| Some(line.get(key)?.as_str()?.to_owned());
    let id = UploadId { bucket: word("bucket")?, key: word("key")?, upload: word("upload")? };
    let beginning = line.get("beginning").map(Beginning::deserialize).transpose().ok()?;
    Some((id, beginning))
}

/// Does again what a line says was done. `None` where it does not follow from the lines before it.
fn apply<S>(chain: &mut Chain<S>, line: &Value) -> Option<()> {
    let number = |key: &str| u16::try_from(line.get(key)?.as_u64()?).ok();
    if let Some(cut) = number("cut") {
        chain.cut(cut);
        return Some(());
    }
    let part = number("part")?;
    let etag = line.get("etag")?.as_str()?.to_owned();
    let Some(state) = line.get("state") else { return chain.rename(part, etag) };
    let bytes = |value: &Value| BASE64.decode(value.as_str()?).ok();
    let body = Body { sha256: bytes(line.get("sha256")?)?.try_into().ok()?, length: line.get("length")?.as_u64()? };
    if usize::from(part) != chain.links().len() + 1 {
        return None;
    }
    chain.restore(etag, body, bytes(state)?, line.get("plain")?.as_bool()?);
    Some(())
}

fn make_key(path: &Path) -> io::Result<[u8; 32]> {
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(|error| io::Error::other(error.to_string()))?;
    let mut file: File = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(&key)?;
    file.sync_all()?;
    Ok(key)
}

fn at(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digests;

    const DAY: Duration = Duration::from_secs(86_400);

    fn id() -> UploadId {
        UploadId { bucket: "b".into(), key: "k/\"ü\n".into(), upload: "u".into() }
    }

    fn beginning() -> Beginning {
        Beginning {
            encoded: true,
            recognised: true,
            customer_key: true,
            headers: vec![("x-amz-meta-a".into(), "\"ü".into())],
        }
    }

    fn write(journal: &Journal) -> (Chain<()>, Page) {
        let (mut chain, mut page) = (Chain::default(), journal.page(&id()));
        journal.begin(&mut page, &id(), Some(&beginning())).unwrap();
        for number in 1..=4 {
            let body = Body::from(&Digests::of(&[number as u8]));
            chain.restore(format!("etag{number}"), body, vec![number as u8; 100], number == 1);
            journal.write(&mut page, &chain, Change::Link(number)).unwrap();
        }
        chain.cut(3);
        journal.write(&mut page, &chain, Change::Cut(3)).unwrap();
        chain.rename(2, "other".into());
        journal.write(&mut page, &chain, Change::ETag(2)).unwrap();
        (chain, page)
    }

    fn load(dir: &Path) -> Vec<Loaded<()>> {
        Journal::open(dir).unwrap().load(DAY).unwrap()
    }

    #[test]
    fn a_chain_comes_back_as_it_was_and_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let (chain, _) = write(&Journal::open(dir.path()).unwrap());
        let journal = Journal::open(dir.path()).unwrap();
        let mut loaded = journal.load::<()>(DAY).unwrap();
        let Loaded { id: found, beginning: said, chain: mut again, mut page, age } = loaded.pop().unwrap();
        assert!(loaded.is_empty() && found == id() && said == Some(beginning()) && age < DAY);
        let parts = |chain: &Chain<()>| -> Vec<_> {
            chain.links().iter().map(|l| (l.etag.clone(), l.body, l.state.clone(), l.is_plain)).collect()
        };
        assert_eq!(parts(&again), parts(&chain));
        again.restore("etag3".into(), Body { sha256: [3; 32], length: 3 }, vec![3; 10], false);
        journal.write(&mut page, &again, Change::Link(3)).unwrap();
        assert_eq!(parts(&load(dir.path())[0].chain), parts(&again));
        assert!(Journal::open(dir.path()).unwrap().load::<()>(Duration::ZERO).unwrap().is_empty());
        assert!(load(dir.path()).is_empty(), "what is too old was removed");
    }

    /// Whatever is changed, cut off, or moved: no part is known that was not there before that place.
    #[test]
    fn nothing_is_believed_behind_a_changed_byte() {
        let dir = tempfile::tempdir().unwrap();
        let (_, page) = write(&Journal::open(dir.path()).unwrap());
        let text = fs::read(&page.path).unwrap();
        let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
        let links_after = [0, 1, 2, 3, 4, 2, 2];
        for at in (0..text.len()).step_by(7).chain([0, text.len() - 1]) {
            let mut changed = text.clone();
            changed[at] ^= 1;
            fs::write(&page.path, &changed).unwrap();
            let line = text[..at].iter().filter(|byte| **byte == b'\n').count();
            let loaded = load(dir.path());
            match loaded.first() {
                None => assert_eq!(line, 0),
                Some(Loaded { chain, .. }) => assert_eq!(chain.links().len(), links_after[line - 1], "line {line}"),
            }
            fs::write(&page.path, &text).unwrap();
        }
        // The line that cuts parts off, taken out.
        fs::write(&page.path, [&lines[..5], &lines[6..]].concat().concat()).unwrap();
        let loaded = load(dir.path());
        assert_eq!(loaded[0].chain.links()[1].etag, "etag2", "a line behind the gap was believed");
        // Another key.
        fs::write(&page.path, &text).unwrap();
        fs::write(dir.path().join(KEY_FILE), [7; 32]).unwrap();
        assert!(load(dir.path()).is_empty());
    }
}
