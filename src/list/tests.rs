//! The lists of a gate: loading, getting worse, getting better.

use super::entry::{Entry, Item};
use super::feed::{Fed, Place};
use super::index::compile::{Compiler, Options};
use super::index::seal::Key;
use super::*;
use crate::decide::{Label, Mark};
use crate::digest::Digest;
use std::fs;
use std::path::Path;
use std::time::Duration;

fn source(path: &Path) -> ListSource {
    ListSource::from_path("sample", path, "house:test")
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
    assert!(matches!(lists.reload()[0].1, Err(ListError { why: Why::Empty { .. }, .. })));
    fs::remove_file(&path).unwrap();
    assert!(matches!(lists.reload()[0].1, Err(ListError { why: Why::Read(_), .. })));
    assert!(listed(b"one") && lists.status()[0].failed);

    fs::write(&path, hex(b"two")).unwrap();
    assert_eq!(lists.reload()[0].1.as_ref().unwrap(), &Loaded { entries: 1, bad_lines: 0, how: How::Loaded });
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

/// A list that fails is stale after half of its `max_age`, without one after three refreshes; one that is only old when it
/// is too old.
#[tokio::test(start_paused = true)]
async fn a_list_goes_stale_before_it_is_too_old() {
    let dir = tempfile::tempdir().unwrap();
    let (path, away) = (dir.path().join("list"), dir.path().join("away"));
    let seconds = Duration::from_secs;
    for (max_age, fails, stale_after) in [(Some(300), true, 150), (None, true, 180), (Some(300), false, 300)] {
        fs::write(&path, hex(b"one")).unwrap();
        let max_age = max_age.map(seconds);
        let list = ListSource { max_age, refresh: seconds(60), ..source(&path) };
        let lists = Lists::load(&[list], Keeping::default()).unwrap();
        let is_stale = || lists.status()[0].is_stale;
        if fails {
            fs::rename(&path, &away).unwrap();
            assert!(lists.reload()[0].1.is_err());
        }
        tokio::time::advance(seconds(stale_after - 1)).await;
        assert!(!is_stale(), "{max_age:?} {fails}");
        tokio::time::advance(seconds(2)).await;
        assert!(is_stale(), "{max_age:?} {fails}");
        if fails {
            fs::rename(&away, &path).unwrap();
        }
        lists.reload();
        assert!(!is_stale(), "{max_age:?} {fails}: it was read");
    }
}

#[test]
fn every_list_that_cannot_be_used_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (missing, empty) = (dir.path().join("missing"), dir.path().join("empty"));
    fs::write(&empty, "").unwrap();
    let errors = Lists::load(&[source(&missing), source(&empty)], Keeping::default()).err().unwrap();
    assert!(matches!(errors[..], [ListError { why: Why::Read(_), .. }, ListError { why: Why::Empty { .. }, .. }]));
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
        Bench { dir, key, keeping: Keeping { key_file, state_dir, reaching: None } }
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
    let text = ListSource::from_path("text", &bench.path("text"), "house:test");
    let lists = bench.load(&[source(&bench.path("index")), text]).unwrap();
    let label = |list: &str, category: &str| Label {
        list: list.into(),
        category: category.into(),
        on_probation: false,
        payload: Mark::default(),
    };
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
    let mut files: Vec<_> =
        fs::read_dir(bench.path("state/lists")).unwrap().map(|file| file.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, ["sample.index", "sample.json"]);
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
    assert!(bench.error().contains("--kind"));
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
    bench.keeping = Keeping { key_file, state_dir: None, reaching: None };
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
        let lists = bench.load(&[list]).unwrap();
        assert!(lists.status()[0].entries == 4 && lists.status()[0].failed, "nor by a restart");
        write(2);
        assert_eq!(lists.reload().remove(0).1.unwrap().entries, 2);
        write(4);
        assert_eq!(lists.reload().remove(0).1.unwrap().entries, 4);
        write(1);
        assert!(lists.reload().remove(0).1.is_err());
        accept(&bench.path("state"), "sample").unwrap();
        assert_eq!(lists.refresh().remove(0).1.unwrap().entries, 1);
        assert!(!bench.path("state/lists/sample.accept").exists());
    }
}

fn csv(bench: &Bench, rows: &[(&[u8], &str)]) -> ListSource {
    let rows = rows.iter().map(|(payload, category)| format!("{},{category}\n", hex(payload)));
    fs::write(bench.path("list.csv"), format!("hash,kind\n{}", rows.collect::<String>())).unwrap();
    let columns = Some("sha256=hash,category=kind".to_owned());
    ListSource { columns, growth_max_percent: Some(100), ..source(&bench.path("list.csv")) }
}

/// What the lists say: rejected, only observed, or nothing.
fn found(lists: &Lists, payload: &[u8]) -> &'static str {
    match lists.look_up(&Digests::of(payload)) {
        Finding::Listed(labels) if labels.iter().all(|label| label.on_probation) => "observed",
        Finding::Listed(_) => "listed",
        Finding::Unlisted => "unlisted",
        Finding::Undecidable(_) => "undecidable",
        Finding::Canary => "no list says so",
    }
}

/// A category that was never there, and growth beyond the bound, are only observed; also after a restart, until an
/// operator accepts them. What was listed before goes on being refused all the while.
#[test]
fn what_is_new_is_observed_until_it_is_accepted() {
    let bench = Bench::new();
    let list = csv(&bench, &[(b"1", "a"), (b"2", "a")]);
    let lists = bench.load(std::slice::from_ref(&list)).unwrap();
    csv(&bench, &[(b"1", "a"), (b"2", "a"), (b"3", "a"), (b"4", "b")]);
    lists.reload().remove(0).1.unwrap();
    let all = |lists: &Lists| [b"1", b"2", b"3", b"4", b"5"].map(|payload| found(lists, payload));
    assert_eq!(all(&lists), ["listed", "listed", "listed", "observed", "unlisted"], "twice as many, and a category");
    assert!(lists.status()[0].on_probation);

    csv(&bench, &[(b"1", "a"), (b"3", "a"), (b"4", "a"), (b"5", "a"), (b"6", "a")]);
    let grown = ["listed", "unlisted", "observed", "observed", "observed"];
    lists.reload().remove(0).1.unwrap();
    assert_eq!(all(&lists), grown, "more than twice as many as the last accepted version");
    drop(lists);
    let lists = bench.load(std::slice::from_ref(&list)).unwrap();
    assert_eq!(all(&lists), grown, "a restart accepts nothing");
    fs::remove_file(bench.path("list.csv")).unwrap();
    let lists = bench.load(std::slice::from_ref(&list)).unwrap();
    assert!(all(&lists) == grown && lists.status()[0].failed);

    accept(&bench.path("state"), "sample").unwrap();
    assert_eq!(
        lists.refresh().remove(0).1.unwrap().entries,
        5,
        "what is in use is accepted, though its source is away"
    );
    assert_eq!(all(&lists), ["listed", "unlisted", "listed", "listed", "listed"]);
    assert!(!lists.status()[0].on_probation);
    assert!(all(&bench.load(&[list]).unwrap())[4] == "listed");
}

/// A known-good list takes back what others have, by the strongest digest that both can have; not while it is on
/// probation.
#[test]
fn a_known_good_list_takes_back() {
    let bench = Bench::new();
    let digests = Digests::of(b"logo");
    let md5 = digests.get(crate::digest::Algorithm::Md5).unwrap();
    fs::write(bench.path("bad"), format!("{}\n{}\n", md5.to_hex(), hex(b"bad"))).unwrap();
    fs::write(bench.path("good"), format!("{}\n", hex(b"logo"))).unwrap();
    let good = ListSource { kind: Some(Kind::KnownGood), growth_max_percent: Some(50), ..source(&bench.path("good")) };
    let bad = ListSource::from_path("bad", &bench.path("bad"), "house:test");
    let lists = bench.load(&[good, bad]).unwrap();
    assert_eq!((found(&lists, b"logo"), found(&lists, b"bad")), ("unlisted", "listed"));
    assert_eq!(lists.status()[0].vetoed, 1);
    fs::write(bench.path("good"), format!("{}\n{}\n", hex(b"logo"), hex(b"bad"))).unwrap();
    lists.reload().remove(0).1.unwrap();
    assert_eq!((found(&lists, b"logo"), found(&lists, b"bad")), ("unlisted", "listed"));
    accept(&bench.path("state"), "sample").unwrap();
    lists.refresh();
    assert_eq!(found(&lists, b"bad"), "unlisted");
}

/// A folder is one list of all its files; a file that comes or goes is a new version.
#[test]
fn a_folder_is_one_list() {
    let bench = Bench::new();
    fs::create_dir(bench.path("lists")).unwrap();
    fs::write(bench.path("lists/a.txt"), hex(b"1")).unwrap();
    let digest = Digests::of(b"2").get(crate::digest::Algorithm::Md5).unwrap().to_hex();
    fs::write(bench.path("lists/b.hdb"), format!("{digest}:1000:Test.A\n")).unwrap();
    fs::write(bench.path("lists/.part"), hex(b"3")).unwrap();
    let list = ListSource { refresh: Duration::ZERO, ..source(&bench.path("lists")) };
    let lists = bench.load(std::slice::from_ref(&list)).unwrap();
    assert_eq!((lists.status()[0].entries, found(&lists, b"1"), found(&lists, b"3")), (2, "listed", "unlisted"));
    assert!(lists.refresh().is_empty(), "unchanged is not read again");
    fs::rename(bench.path("lists/.part"), bench.path("lists/c.txt")).unwrap();
    assert_eq!(lists.refresh().remove(0).1.unwrap().entries, 3);
    assert_eq!(found(&lists, b"3"), "listed");
    bench.compile(Kind::KnownBad, &[(b"one", None, None)]);
    fs::rename(bench.path("index"), bench.path("lists/d.index")).unwrap();
    let error = lists.refresh().remove(0).1.unwrap_err().to_string();
    assert!(error.contains("d.index is a sealed index among other files"), "{error}");
    // Only sealed versions are on the shelf.
    for file in fs::read_dir(bench.path("state/lists")).unwrap() {
        let path = file.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        let holds = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
        assert!(!holds(hex(b"1").as_bytes()) && !holds(&Digests::of(b"1").sha256), "{}", path.display());
    }
}

/// A version that is not signed by the configured key is not taken.
#[test]
fn a_list_is_taken_only_with_its_signature() {
    // Made with `minisign -S` by a key that was made for this test.
    let (key, signature) = (include_str!("../../tests/data/lists/signed.pub"), "tests/data/lists/signed.txt.minisig");
    let bench = Bench::new();
    let data = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::copy(data.join("tests/data/lists/signed.txt"), bench.path("list.txt")).unwrap();
    let signed_by = key.lines().nth(1).map(str::to_owned);
    let list = ListSource { signed_by, ..source(&bench.path("list.txt")) };
    let error = bench.load(std::slice::from_ref(&list)).err().unwrap()[0].to_string();
    assert!(error.contains("not signed by the key of signed_by") && error.contains("list.txt.minisig"), "{error}");
    fs::copy(data.join(signature), bench.path("list.txt.minisig")).unwrap();
    let lists = bench.load(std::slice::from_ref(&list)).unwrap();
    assert_eq!(lists.status()[0].entries, 2);
    fs::write(bench.path("list.txt"), hex(b"1")).unwrap();
    let error = lists.reload().remove(0).1.unwrap_err().to_string();
    assert!(error.contains("not signed by the key of signed_by"), "{error}");
    assert_eq!(lists.status()[0].entries, 2);
}
