//! The cases on disk: one file each, replaced whole, and synced before anybody acts on it.
//!
//! A file is sealed with a key from the state folder. `CASE.kept` is what the quarantine bucket does not have yet, `CASE.case` the rest.

use super::case::{Case, State};
use super::reserve::Reserve;
use super::sealer::Sealer;
use crate::list::index::seal::{Key, KeyError};
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

const KEY_FILE: &str = "cases.key";
const KEPT: &str = "kept";
const DONE: &str = "case";

/// The folder of the cases.
pub struct Journal {
    dir: PathBuf,
    sealer: Arc<Sealer>,
    reserve: Arc<Reserve>,
    /// Cases that the quarantine bucket does not have yet.
    kept: Mutex<BTreeSet<String>>,
    /// One change at a time.
    changing: Mutex<()>,
}

impl Journal {
    /// Opens the folder, and makes it and its key where they are not there.
    ///
    /// # Errors
    /// The system's, or the key's.
    pub(super) fn open(dir: &Path, state_dir: &Path, reserve: Arc<Reserve>) -> Result<Journal, KeyError> {
        let key_path = state_dir.join(KEY_FILE);
        let failed = |error| KeyError::Io(dir.to_owned(), error);
        fs::create_dir_all(dir).map_err(failed)?;
        let names = file_names(dir).map_err(failed)?;
        if !key_path.exists() && !names.is_empty() {
            return Err(KeyError::Lost { key: key_path, index: dir.join(&names[0]) });
        }
        let (key, _) = Key::read_or_make(&key_path, &[])?;
        let sealer = Arc::new(Sealer::new(&key, &key_path)?);
        let mut kept = BTreeSet::new();
        for name in &names {
            let Some((case, ending)) = name.rsplit_once('.') else { continue };
            match ending {
                // Its transfer was done when the gate ended.
                KEPT if dir.join(format!("{case}.{DONE}")).exists() => {
                    fs::remove_file(dir.join(name)).map_err(failed)?
                }
                KEPT => {
                    kept.insert(case.to_owned());
                }
                DONE => {}
                _ => fs::remove_file(dir.join(name)).map_err(failed)?,
            }
        }
        Ok(Journal { dir: dir.to_owned(), sealer, reserve, kept: Mutex::new(kept), changing: Mutex::default() })
    }

    /// What its files are sealed with.
    pub(super) fn sealer(&self) -> &Arc<Sealer> {
        &self.sealer
    }

    /// Writes a case down; it is on the disk when this returns. It blocks.
    ///
    /// # Errors
    /// The system's; then it is as it was.
    pub(super) fn write(&self, case: &Case) -> io::Result<()> {
        let (id, is_kept) = (&case.manifest.case, matches!(case.state, State::Kept { .. }));
        let sealed = self.sealer.seal(id, serde_json::to_vec(case)?)?;
        let [here, there] = if is_kept { [KEPT, DONE] } else { [DONE, KEPT] }.map(|ending| self.path(id, ending));
        self.reserve.with_room(|| replace(&here, &sealed))?;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if is_kept {
            kept.insert(id.clone());
        } else if kept.remove(id) {
            // What stays is removed at the next start.
            fs::remove_file(there).ok();
        }
        Ok(())
    }

    /// Changes a case. `None` where there is none, else what `change` gave; only where that is `Ok` it is written.
    ///
    /// # Errors
    /// The system's.
    pub fn change<T, E>(
        &self,
        id: &str,
        change: impl FnOnce(&mut Case) -> Result<T, E>,
    ) -> io::Result<Option<Result<T, E>>> {
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut case) = self.read(id)? else { return Ok(None) };
        let changed = change(&mut case);
        if changed.is_ok() {
            self.write(&case)?;
        }
        Ok(Some(changed))
    }

    /// One case.
    ///
    /// # Errors
    /// The system's; it cannot be opened with the key.
    pub fn read(&self, id: &str) -> io::Result<Option<Case>> {
        if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Ok(None);
        }
        for ending in [DONE, KEPT] {
            match fs::read(self.path(id, ending)) {
                Ok(sealed) => return self.unseal(id, &sealed).map(Some),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Every case, by time of arrival.
    ///
    /// # Errors
    /// The system's; one cannot be opened with the key.
    pub fn all(&self) -> io::Result<Vec<Case>> {
        let mut ids: Vec<String> = file_names(&self.dir)?
            .into_iter()
            .filter_map(|name| name.rsplit_once('.').map(|(id, _)| id.to_owned()))
            .collect();
        ids.sort();
        ids.dedup();
        let mut cases = Vec::new();
        for id in ids {
            cases.extend(self.read(&id)?);
        }
        cases.sort_by_key(|case| case.manifest.received);
        Ok(cases)
    }

    /// The cases that the quarantine bucket does not have yet.
    pub fn kept(&self) -> Vec<String> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// How many those are.
    pub fn backlog(&self) -> usize {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn path(&self, id: &str, ending: &str) -> PathBuf {
        self.dir.join(format!("{id}.{ending}"))
    }

    fn unseal(&self, id: &str, sealed: &[u8]) -> io::Result<Case> {
        let damaged = || io::Error::other(format!("the file of case {id} is damaged, or sealed with another key"));
        Ok(serde_json::from_slice(&self.sealer.open(id, sealed).ok_or_else(damaged)?)?)
    }
}

/// The cases of a state folder that no gate uses: nothing in it is made or changed.
pub struct Reading(Journal);

impl Reading {
    /// Opens them; `None` where there never was a case.
    ///
    /// # Errors
    /// The key's.
    pub(super) fn open(dir: &Path, state_dir: &Path) -> Result<Option<Reading>, KeyError> {
        let key_path = state_dir.join(KEY_FILE);
        if !key_path.exists() || !dir.exists() {
            return Ok(None);
        }
        let sealer = Arc::new(Sealer::new(&Key::read(&key_path)?, &key_path)?);
        let (kept, changing) = (Mutex::default(), Mutex::default());
        Ok(Some(Reading(Journal { dir: dir.to_owned(), sealer, reserve: Arc::new(Reserve::none()), kept, changing })))
    }

    /// As [`Journal::all`].
    ///
    /// # Errors
    /// The same.
    pub fn all(&self) -> io::Result<Vec<Case>> {
        self.0.all()
    }

    /// As [`Journal::read`].
    ///
    /// # Errors
    /// The same.
    pub fn read(&self, id: &str) -> io::Result<Option<Case>> {
        self.0.read(id)
    }
}

/// Puts a file in the place of another, so that after a crash it is the one or the other.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        // The name, too.
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    write().inspect_err(|_| {
        fs::remove_file(&new).ok();
    })
}

fn file_names(dir: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::super::case::tests::case;
    use super::*;
    use crate::act::quarantine::case::LocalPiece;

    fn open(dir: &Path) -> Result<Journal, KeyError> {
        let reserve = Arc::new(Reserve::open(&dir.join("reserve"), 1000).unwrap());
        Journal::open(&dir.join("cases"), dir, reserve)
    }

    #[test]
    fn a_case_comes_back_as_it_was_and_is_sealed_on_disk() {
        let dir = tempfile::tempdir().unwrap();
        let journal = open(dir.path()).unwrap();
        let (one, two) = (case("AA"), case("BB"));
        journal.write(&one).unwrap();
        journal.write(&two).unwrap();
        let journal = open(dir.path()).unwrap();
        assert_eq!((journal.read("AA").unwrap(), journal.kept()), (Some(one), vec!["AA".to_owned(), "BB".to_owned()]));
        assert_eq!(journal.read("../AA").unwrap(), None);
        let stored = |case: &mut Case| {
            case.state = State::Stored { at: "now".into() };
            Ok::<_, ()>(())
        };
        assert_eq!(journal.change("AA", stored).unwrap(), Some(Ok(())));
        assert_eq!(journal.change("CC", stored).unwrap(), None);
        assert_eq!(
            journal
                .change("BB", |case| {
                    case.legal_hold = true;
                    Err::<(), _>("no")
                })
                .unwrap(),
            Some(Err("no"))
        );
        let journal = open(dir.path()).unwrap();
        assert_eq!((journal.kept(), journal.backlog(), journal.all().unwrap().len()), (vec!["BB".to_owned()], 1, 2));
        assert!(!journal.read("BB").unwrap().unwrap().legal_hold, "what was refused is not written");
        for file in fs::read_dir(dir.path().join("cases")).unwrap() {
            let text = String::from_utf8_lossy(&fs::read(file.unwrap().path()).unwrap()).into_owned();
            assert!(!text.contains("manifest") && !text.contains(&two.manifest.digests.sha256));
        }
    }

    /// Whatever a crash leaves: the old case or the new one, once.
    #[test]
    fn what_a_crash_leaves_is_put_right() {
        let dir = tempfile::tempdir().unwrap();
        let cases = dir.path().join("cases");
        let journal = open(dir.path()).unwrap();
        journal.write(&case("AA")).unwrap();
        let kept = fs::read(cases.join("AA.kept")).unwrap();
        let stored = |case: &mut Case| {
            case.state = State::Stored { at: "now".into() };
            Ok::<_, ()>(())
        };
        journal.change("AA", stored).unwrap();
        // It ended between the new file and the removal of the old one, and in the middle of another's.
        fs::write(cases.join("AA.kept"), kept).unwrap();
        fs::write(cases.join("BB.new"), b"half of it").unwrap();
        let journal = open(dir.path()).unwrap();
        assert!(journal.kept().is_empty());
        assert_eq!(journal.all().unwrap().len(), 1);
        assert_eq!(journal.read("AA").unwrap().unwrap().state.word(), "stored");
        assert_eq!(fs::read_dir(&cases).unwrap().count(), 1);
    }

    #[test]
    fn a_changed_byte_another_name_or_another_key_is_an_error_and_no_case() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cases/AA.kept");
        let journal = open(dir.path()).unwrap();
        journal.write(&case("AA")).unwrap();
        let sealed = fs::read(&path).unwrap();
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            fs::write(&path, changed).unwrap();
            assert!(journal.read("AA").is_err(), "byte {at}");
        }
        fs::write(&path, &sealed).unwrap();
        fs::copy(&path, dir.path().join("cases/BB.kept")).unwrap();
        assert!(journal.read("AA").is_ok() && journal.read("BB").is_err());
        fs::remove_file(dir.path().join(KEY_FILE)).unwrap();
        assert!(matches!(open(dir.path()), Err(KeyError::Lost { .. })), "no new key over sealed cases");
        let piece = LocalPiece { file: "x".into(), header: String::new() };
        assert_eq!(State::Kept { pieces: vec![piece] }.word(), "kept");
    }
}
