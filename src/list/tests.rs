//! The lists of a gate: loading, getting worse, getting better.

use super::entry::{Entry, Item};
use super::feed::{Fed, Place};
use super::index::Kind;
use super::index::compile::{Compiler, Options};
use super::*;
use crate::digest::Digest;
use std::fs;
use std::path::Path;
use std::time::Duration;

fn source(path: &Path) -> ListSource {
    ListSource {
        name: "sample".into(),
        source: path.into(),
        category: "house:test".into(),
        refresh: None,
        max_age: None,
        shrink_max_percent: None,
    }
}

fn hex(payload: &[u8]) -> String {
    hex::encode(Digests::of(payload).sha256)
}

#[test]
fn a_list_that_gets_worse_stays_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("list");
    fs::write(&path, hex(b"one")).unwrap();
    let lists = Lists::load(&[source(&path)], Keeping::default()).unwrap();
    let listed = |payload: &[u8]| matches!(lists.look_up(&Digests::of(payload)), Finding::Listed(_));
    assert!(listed(b"one") && !listed(b"two"));

    fs::write(&path, "# nothing\n").unwrap();
    assert!(matches!(lists.reload()[0].1, Err(ListError::Empty { .. })));
    fs::remove_file(&path).unwrap();
    assert!(matches!(lists.reload()[0].1, Err(ListError::Read { .. })));
    assert!(listed(b"one") && lists.status()[0].failed);

    fs::write(&path, hex(b"two")).unwrap();
    assert_eq!(lists.reload()[0].1.as_ref().unwrap(), &Loaded { entries: 1, bad_lines: 0 });
    assert!(!listed(b"one") && listed(b"two") && !lists.status()[0].failed);
}

#[test]
fn an_old_list_decides_nothing_but_its_hits() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("list");
    fs::write(&path, hex(b"one")).unwrap();
    let lists =
        Lists::load(&[ListSource { max_age: Some(Duration::ZERO), ..source(&path) }], Keeping::default()).unwrap();
    assert!(matches!(lists.look_up(&Digests::of(b"one")), Finding::Listed(_)));
    assert_eq!(lists.look_up(&Digests::of(b"two")), Finding::Undecidable(Undecidable::ListTooOld));
}

#[test]
fn every_list_that_cannot_be_used_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (missing, empty) = (dir.path().join("missing"), dir.path().join("empty"));
    fs::write(&empty, "").unwrap();
    let errors = Lists::load(&[source(&missing), source(&empty)], Keeping::default()).err().unwrap();
    assert!(matches!(errors[..], [ListError::Read { .. }, ListError::Empty { .. }]));
}

/// A state folder, a key file, and an index of payloads compiled with it.
struct Bench {
    dir: tempfile::TempDir,
    key: Key,
    keeping: Keeping,
}

impl Bench {
    fn new() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let (key_file, state_dir) = (Some(dir.path().join("hashgate.key")), Some(dir.path().join("state")));
        let key = Key::make(key_file.as_ref().unwrap()).unwrap();
        Bench { dir, key, keeping: Keeping { key_file, state_dir } }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn compile(&self, kind: Kind, entries: &[(&[u8], Option<&str>, Option<u64>)]) {
        let options = Options { name: "x".into(), kind, category: None, size_min: 0 };
        let mut compiler = Compiler::new(&self.path("index"), &self.key, options, Vec::new()).unwrap();
        let read = |sink: &mut dyn FnMut(Place, Item) -> io::Result<()>| {
            for (payload, category, size) in entries {
                let digests = vec![Digest::Sha256(Digests::of(payload).sha256)];
                let category = category.map(str::to_owned);
                sink(Place::Line(1), Item::Entry(Entry { digests, category, size: *size, id: None }))?;
            }
            Ok(Fed::default())
        };
        compiler.source("source", read).unwrap();
        compiler.finish(&self.key).unwrap();
    }

    fn load(&self, sources: &[ListSource]) -> Result<Lists, Vec<ListError>> {
        Lists::load(sources, self.keeping.clone())
    }

    fn error(&self) -> String {
        self.load(&[source(&self.path("index"))]).err().unwrap()[0].to_string()
    }
}

#[test]
fn indexes_and_text_lists_stand_together() {
    let bench = Bench::new();
    bench.compile(
        Kind::KnownBad,
        &[(b"one", None, None), (b"two", Some("icse:other"), Some(3)), (b"six", None, Some(9))],
    );
    fs::write(bench.path("text"), hex(b"two")).unwrap();
    let text = ListSource { name: "text".into(), ..source(&bench.path("text")) };
    let lists = bench.load(&[source(&bench.path("index")), text]).unwrap();
    let label = |list: &str, category: &str| Label { list: list.into(), category: category.into() };
    assert_eq!(lists.look_up(&Digests::of(b"one")), Finding::Listed(vec![label("sample", "house:test")]));
    let both = vec![label("sample", "icse:other"), label("text", "house:test")];
    assert_eq!(lists.look_up(&Digests::of(b"two")), Finding::Listed(both));
    assert_eq!(lists.look_up(&Digests::of(b"none")), Finding::Unlisted);
    assert_eq!(lists.look_up(&Digests::of(b"six")), Finding::Unlisted, "it has 3 bytes, not 9");
    assert_eq!((lists.status()[0].entries, lists.status()[0].wrong_sizes), (3, 1));
    assert!(lists.current().is_listed(&Digest::Sha256(Digests::of(b"six").sha256)), "for masking, whatever its size");
}

/// The gate goes on with the last good index when the source is away, cut short or empty, also after a restart.
#[test]
fn an_index_that_gets_worse_stays_as_it_was() {
    let bench = Bench::new();
    bench.compile(Kind::KnownBad, &[(b"one", None, None)]);
    let sources = [source(&bench.path("index"))];
    let lists = bench.load(&sources).unwrap();
    let listed = |lists: &Lists, payload: &[u8]| matches!(lists.look_up(&Digests::of(payload)), Finding::Listed(_));
    let good = fs::read(bench.path("index")).unwrap();
    let mut flipped = good.clone();
    flipped[4096 + 20] ^= 1;
    for bad in [&good[..good.len() - 1], b"", b"hashgate sealed\0", &flipped] {
        fs::write(bench.path("index"), bad).unwrap();
        assert!(lists.reload()[0].1.is_err() && lists.status()[0].failed);
        assert!(listed(&lists, b"one"));
        let again = bench.load(&sources).unwrap();
        // A source that only lost a bit is the version of the copy, which is whole.
        assert!(listed(&again, b"one") && (again.status()[0].failed || bad == flipped));
    }
    fs::remove_file(bench.path("index")).unwrap();
    assert!(lists.reload()[0].1.is_err() && listed(&bench.load(&sources).unwrap(), b"one"));
    bench.compile(Kind::KnownBad, &[(b"two", None, None)]);
    assert!(lists.reload()[0].1.is_ok());
    assert!(listed(&lists, b"two") && !listed(&lists, b"one") && !lists.status()[0].failed);
    let copies: Vec<_> =
        fs::read_dir(bench.path("state/lists")).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(copies, ["sample.index"]);
}

/// A damaged page of the private copy: nothing is decided by it, the check finds it, and a reload heals it.
#[test]
fn a_damaged_page_decides_nothing() {
    let bench = Bench::new();
    bench.compile(Kind::KnownBad, &[(b"one", None, None)]);
    let sources = [source(&bench.path("index"))];
    drop(bench.load(&sources).unwrap());
    let copy = bench.path("state/lists/sample.index");
    let mut bytes = fs::read(&copy).unwrap();
    bytes[4096 + 20] ^= 1;
    fs::write(&copy, bytes).unwrap();
    let lists = bench.load(&sources).unwrap();
    let damaged = Finding::Undecidable(Undecidable::ListDamaged);
    assert_eq!(lists.look_up(&Digests::of(b"one")), damaged);
    assert_eq!(lists.look_up(&Digests::of(b"two")), damaged);
    assert!(lists.current().is_listed(&Digest::Sha256(Digests::of(b"two").sha256)), "what might be listed is masked");
    assert_eq!(lists.scrub(Duration::ZERO, &|| false), [("sample".to_owned(), 1)]);
    assert!(lists.status()[0].failed && lists.status()[0].bad_pages == 1);
    assert!(lists.reload()[0].1.is_ok());
    assert!(matches!(lists.look_up(&Digests::of(b"one")), Finding::Listed(_)));
    assert_eq!(lists.scrub(Duration::ZERO, &|| false), []);
}

#[test]
fn what_keeps_an_index_from_being_used_is_said() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut bench = Bench::new();
    bench.compile(Kind::KnownGood, &[(b"one", None, None)]);
    assert!(bench.error().contains("--veto"));
    bench.compile(Kind::KnownBad, &[(b"one", None, None)]);
    let key_file = bench.keeping.key_file.take();
    assert!(bench.error().contains("list_key: hashgate.key"));
    let other = bench.path("other.key");
    Key::make(&other).unwrap();
    bench.keeping.key_file = Some(other.clone());
    assert!(bench.error().contains("sealed with another key"));
    fs::set_permissions(&other, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(bench.error().contains("chmod 600"));
    // `check` opens it where it is, and touches nothing.
    fs::remove_dir_all(bench.path("state")).unwrap();
    bench.keeping = Keeping { key_file, state_dir: None };
    assert_eq!(bench.load(&[source(&bench.path("index"))]).unwrap().status()[0].entries, 1);
    assert!(!bench.path("state").exists());
}

/// Of four entries two may go at once where half of them may, and not three; text or index.
#[test]
fn a_list_that_shrinks_too_much_is_not_taken() {
    let bench = Bench::new();
    let index = |entries: usize| {
        let all: [(&[u8], _, _); 4] = [b"1", b"2", b"3", b"4"].map(|payload| (payload.as_slice(), None, None));
        bench.compile(Kind::KnownBad, &all[..entries]);
    };
    let text = |entries: usize| {
        fs::remove_file(bench.path("index")).ok();
        fs::write(
            bench.path("index"),
            [b"1", b"2", b"3", b"4"][..entries].iter().map(|p| hex(*p) + "\n").collect::<String>(),
        )
        .unwrap();
    };
    let write: [&dyn Fn(usize); 2] = [&text, &index];
    for write in write {
        fs::remove_file(bench.path("index")).ok();
        write(4);
        let list = ListSource { shrink_max_percent: Some(50), ..source(&bench.path("index")) };
        let lists = bench.load(std::slice::from_ref(&list)).unwrap();
        write(1);
        let error = lists.reload().remove(0).1.unwrap_err();
        assert!(error.to_string().contains("has 1 entries and had 4"), "{error}");
        assert!(matches!(lists.look_up(&Digests::of(b"4")), Finding::Listed(_)));
        write(2);
        assert_eq!(lists.reload().remove(0).1.unwrap().entries, 2);
        write(1);
        assert_eq!(bench.load(&[list]).unwrap().status()[0].entries, 1, "a restart takes it");
    }
}
