//! The index as a whole: against a hash map, flipped, cut short, with the wrong key.

use super::compile::{Compiled, Compiler, Options, Veto};
use super::seal::{Key, KeyError};
use super::{Access, Diff, Hit, Ids, Index, IndexError, Kind};
use crate::digest::{Algorithm, Digest, Digests};
use crate::list::entry::{Entry, Item};
use crate::list::feed::{Fed, Place};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

fn options(kind: Kind) -> Options {
    Options { name: "sample".into(), kind, category: None, size_min: 64 }
}

/// Compiles items of one source, in runs of this many bytes.
fn compile_in_runs(place: &Path, key: &Key, kind: Kind, goods: Vec<Index>, items: &[Item], run: usize) -> Compiled {
    let mut compiler = Compiler::with_runs_of(run, place, key, options(kind), goods).unwrap();
    compiler
        .source("source", |sink| {
            for (number, item) in items.iter().enumerate() {
                sink(Place::Line(number as u64 + 1), item.clone())?;
            }
            Ok(Fed { format: "test".into(), ..Fed::default() })
        })
        .unwrap();
    compiler.finish(key).unwrap()
}

fn compile(place: &Path, key: &Key, items: &[Item]) -> Index {
    compile_in_runs(place, key, Kind::KnownBad, Vec::new(), items, 1 << 20);
    Index::open(place, key, Access::Map).unwrap()
}

fn entry(payload: &[u8], algorithms: &[Algorithm]) -> Entry {
    let digests = Digests::of(payload);
    Entry { digests: algorithms.iter().filter_map(|a| digests.get(*a)).collect(), ..Entry::default() }
}

fn items(count: u32) -> Vec<Item> {
    (0..count).map(|n| Item::Entry(entry(&n.to_le_bytes(), &[Algorithm::Sha256]))).collect()
}

fn sha256(payload: &[u8]) -> Digest {
    Digest::Sha256(Digests::of(payload).sha256)
}

fn is_listed(index: &Index, digest: &Digest) -> bool {
    matches!(index.look_up(digest, None), Ok(Hit::Row(_)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// Whatever the entries, in however many runs they are sorted: the index says what a map says, mapped or read.
    #[test]
    fn an_index_says_what_a_map_says(
        entries in proptest::collection::vec((0u16..400, 0usize..3, proptest::option::of(0u8..4)), 1..900),
        run in 64usize..20_000,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let (place, key) = (dir.path().join("index"), Key::random().unwrap());
        let digest = |number: u16, algorithm| Digests::of(&number.to_le_bytes()).get(Algorithm::ALL[algorithm]).unwrap();
        let mut map: BTreeMap<Digest, BTreeSet<String>> = BTreeMap::new();
        let mut items = Vec::new();
        for (number, algorithm, category) in &entries {
            let category = category.map(|category| format!("test:{category}"));
            let digest = digest(*number, *algorithm);
            map.entry(digest).or_default().insert(category.clone().unwrap_or_default());
            items.push(Item::Entry(Entry { digests: vec![digest], category, ..Entry::default() }));
        }
        let compiled = compile_in_runs(&place, &key, Kind::KnownBad, Vec::new(), &items, run);
        prop_assert_eq!(compiled.about.entries, entries.len() as u64);
        for access in [Access::Map, Access::Read] {
            let index = Index::open(&place, &key, access).unwrap();
            prop_assert_eq!(index.about(), &compiled.about);
            prop_assert_eq!(index.rows() as usize, map.len());
            for number in 0..450 {
                for algorithm in 0..3 {
                    let digest = digest(number, algorithm);
                    let seen = match index.look_up(&digest, None).unwrap() {
                        Hit::Row(set) => Some(index.categories(set).iter().cloned().collect()),
                        _ => None,
                    };
                    prop_assert_eq!(seen.as_ref(), map.get(&digest));
                }
            }
            prop_assert_eq!(index.scrub(Duration::ZERO, &|| false), 0);
        }
    }
}

/// Whichever byte of a file changes: it does not open, or the lookups on that page have no answer. None says "unlisted".
#[test]
fn a_flipped_byte_is_never_a_negative() {
    let dir = tempfile::tempdir().unwrap();
    let (place, key) = (dir.path().join("index"), Key::random().unwrap());
    compile(&place, &key, &items(300));
    let good = fs::read(&place).unwrap();
    // Two row pages; the one of the table behind them is looked at when the file is opened.
    let (pages, body) = (2, 4096..3 * 4096);
    let (mut refused, mut undecidable) = (0, 0);
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        fs::write(&place, &bad).unwrap();
        match Index::open(&place, &key, Access::Read) {
            Err(error) => {
                assert!(!body.contains(&at), "{at}: {error}");
                let text = error.to_string();
                assert!(text.contains(place.to_str().unwrap()) && text.contains("ompile"), "{text}");
                refused += 1;
            }
            Ok(index) => {
                assert!(body.contains(&at), "{at} is under no digest");
                // Every fifth is enough to touch both row pages; each lookup is a listed one.
                for number in (0u32..300).step_by(5) {
                    match index.look_up(&sha256(&number.to_le_bytes()), None) {
                        Ok(hit) => assert_ne!(hit, Hit::None, "{at}"),
                        Err(super::BadPage) => undecidable += 1,
                    }
                }
                assert_eq!(index.scrub(Duration::ZERO, &|| false), 1);
            }
        }
    }
    assert_eq!(refused, good.len() - pages * 4096);
    assert!(undecidable > pages * 4096 * 10);
}

/// The same of the side file: what an entry put into the index is said rightly, or not at all.
#[test]
fn a_flipped_byte_of_the_side_file_names_no_other_row() {
    let dir = tempfile::tempdir().unwrap();
    let (place, key) = (dir.path().join("index"), Key::random().unwrap());
    let with_id = |n: u32| Entry { id: Some(n.to_string()), ..entry(&n.to_le_bytes(), &[Algorithm::Sha256]) };
    let index = compile(&place, &key, &(0..150).map(|n| Item::Entry(with_id(n))).collect::<Vec<_>>());
    let side = Ids::path_of(&place);
    let good = fs::read(&side).unwrap();
    let rows = |ids: &Ids, n: u32| ids.rows_of(&index, "source", &n.to_string());
    let whole = Ids::open(&place, &key, Access::Read).unwrap().unwrap();
    let expected: Vec<_> = (0..150).map(|n| rows(&whole, n).unwrap()).collect();
    assert!(expected.iter().all(|rows| rows.len() == 1));
    // Two row pages.
    let body = 4096..3 * 4096;
    let mut unknown = 0;
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        fs::write(&side, &bad).unwrap();
        match Ids::open(&place, &key, Access::Read) {
            Err(error) => assert!(!body.contains(&at) && error.to_string().contains("ompile"), "{at}: {error}"),
            Ok(None) => panic!("{at}: it is there"),
            Ok(Some(ids)) => {
                assert!(body.contains(&at), "{at} is under no digest");
                for n in (0..150).step_by(10) {
                    match rows(&ids, n) {
                        Ok(rows) => assert_eq!(rows, expected[n as usize], "{at}"),
                        Err(super::BadPage) => unknown += 1,
                    }
                }
            }
        }
    }
    assert!(unknown > 2 * 4096 * 5, "{unknown}");
}

#[test]
fn a_file_that_was_cut_short_or_grew_does_not_open() {
    let dir = tempfile::tempdir().unwrap();
    let (place, key) = (dir.path().join("index"), Key::random().unwrap());
    compile(&place, &key, &items(300));
    let good = fs::read(&place).unwrap();
    for length in (0..good.len()).step_by(97).chain([good.len() - 1]) {
        fs::write(&place, &good[..length]).unwrap();
        let error = Index::open(&place, &key, Access::Map).unwrap_err();
        assert_eq!(matches!(error, IndexError::NoIndex(_)), length < 16, "{length}: {error}");
    }
    fs::write(&place, [&good[..], b"\0"].concat()).unwrap();
    assert!(matches!(Index::open(&place, &key, Access::Map), Err(IndexError::Damaged(_))));
}

#[test]
fn another_key_is_noticed_and_nothing_in_the_file_is_a_digest() {
    let dir = tempfile::tempdir().unwrap();
    let (place, key) = (dir.path().join("index"), Key::random().unwrap());
    let index = compile(&place, &key, &items(3));
    let other = Key::random().unwrap();
    assert!(matches!(Index::open(&place, &other, Access::Map), Err(IndexError::WrongKey(_))));
    assert!(matches!(
        Compiler::new(&place, &other, options(Kind::KnownBad), Vec::new()).err(),
        Some(super::compile::CompileError::Index(IndexError::WrongKey(_)))
    ));
    let file = fs::read(&place).unwrap();
    let digest = sha256(&0u32.to_le_bytes());
    assert!(is_listed(&index, &digest));
    assert!(!file.windows(6).any(|window| window == &digest.as_bytes()[..6]));
    // The same entries under another data key have nothing in common.
    let elsewhere = dir.path().join("elsewhere");
    let second = compile(&elsewhere, &key, &items(3));
    assert_ne!(index.row(0).unwrap()[..16], second.row(0).unwrap()[..16]);
}

#[test]
fn rekeyed_it_opens_with_the_new_key_only_and_destroyed_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let (place, key, new) = (dir.path().join("index"), Key::random().unwrap(), Key::random().unwrap());
    let with_id = Entry { id: Some("a".into()), ..entry(b"x", &[Algorithm::Md5]) };
    compile(&place, &key, &[Item::Entry(with_id)]);
    super::rekey(&place, &key, &new).unwrap();
    assert!(matches!(Index::open(&place, &key, Access::Map), Err(IndexError::WrongKey(_))));
    let index = Index::open(&place, &new, Access::Map).unwrap();
    assert!(is_listed(&index, &Digests::of(b"x").get(Algorithm::Md5).unwrap()));
    let ids = Ids::open(&place, &new, Access::Read).unwrap().unwrap();
    assert_eq!(ids.rows_of(&index, "source", "a").unwrap(), [0]);
    let kept = dir.path().join("kept");
    fs::hard_link(&place, &kept).unwrap();
    super::destroy(&place).unwrap();
    assert!(!place.exists() && Index::open(&kept, &new, Access::Map).is_err());
}

/// A later entry with the same id takes the place of an earlier one, and a tombstone removes it; the side file finds what
/// an id put into the index.
#[test]
fn the_last_entry_with_an_id_counts() {
    let dir = tempfile::tempdir().unwrap();
    let (place, key) = (dir.path().join("index"), Key::random().unwrap());
    let with_id = |id: &str, payload: &[u8]| {
        Item::Entry(Entry { id: Some(id.into()), ..entry(payload, &[Algorithm::Md5, Algorithm::Sha1]) })
    };
    let items = [
        with_id("a", b"first of a"),
        with_id("b", b"b"),
        with_id("c", b"c"),
        with_id("a", b"second of a"),
        Item::Removed("b".into()),
        Item::Removed("unheard of".into()),
        Item::Removed("c".into()),
        with_id("c", b"c again"),
    ];
    let compiled = compile_in_runs(&place, &key, Kind::KnownBad, Vec::new(), &items, 1);
    assert_eq!((compiled.about.entries, compiled.replaced, compiled.about.rows), (2, 3, [2, 2, 0]));
    let index = Index::open(&place, &key, Access::Map).unwrap();
    let listed = |payload: &[u8]| is_listed(&index, &Digests::of(payload).get(Algorithm::Sha1).unwrap());
    assert!(listed(b"second of a") && listed(b"c again"));
    assert!(!listed(b"first of a") && !listed(b"b") && !listed(b"c"));
    let ids = Ids::open(&place, &key, Access::Map).unwrap().unwrap();
    assert_eq!(ids.rows_of(&index, "source", "a").unwrap().len(), 2);
    assert_eq!(ids.rows_of(&index, "source", "b").unwrap().len(), 0);
    assert_eq!(ids.rows_of(&index, "another source", "a").unwrap().len(), 0);
}

/// The same id in two sources names two entries, unless they are said to be parts of one.
#[test]
fn ids_belong_to_their_source() {
    let (dir, key) = (tempfile::tempdir().unwrap(), Key::random().unwrap());
    for (spaces, entries, replaced) in [(["a", "b"], 2, 0), (["", ""], 1, 1)] {
        let place = dir.path().join("index");
        let mut compiler = Compiler::new(&place, &key, options(Kind::KnownBad), Vec::new()).unwrap();
        for (space, payload) in spaces.iter().zip([b"1", b"2"]) {
            let entry = Entry { id: Some("7".into()), ..entry(payload, &[Algorithm::Sha1]) };
            let read = |sink: &mut dyn FnMut(Place, Item) -> std::io::Result<()>| {
                sink(Place::Line(1), Item::Entry(entry)).map(|()| Fed::default())
            };
            compiler.source_with_ids("name", space, read).unwrap();
        }
        let compiled = compiler.finish(&key).unwrap();
        assert_eq!((compiled.about.entries, compiled.replaced), (entries, replaced));
    }
}

#[test]
fn a_wrong_size_is_no_match_unless_sources_disagree() {
    let dir = tempfile::tempdir().unwrap();
    let (place, key) = (dir.path().join("index"), Key::random().unwrap());
    let sized = |payload: &[u8], size| Item::Entry(Entry { size: Some(size), ..entry(payload, &[Algorithm::Sha256]) });
    // Two sizes have the same mark once in 255 times, eight sizes never.
    let several = (1000..1008).map(|size| sized(b"two", size));
    let index = compile(&place, &key, &[sized(b"one", 1000)].into_iter().chain(several).collect::<Vec<_>>());
    let wrong = (0..1000).filter(|size| index.look_up(&sha256(b"one"), Some(*size)) == Ok(Hit::WrongSize)).count();
    assert!((950..1000).contains(&wrong), "{wrong} of 1000 wrong sizes were noticed");
    assert_eq!(index.look_up(&sha256(b"one"), Some(1000)), Ok(Hit::Row(0)));
    for size in 0..1000 {
        assert_eq!(index.look_up(&sha256(b"two"), Some(size)), Ok(Hit::Row(0)));
    }
}

/// Guards and known-good lists take whole entries out, by the strongest digest that both have, and name where they stood.
#[test]
fn whole_entries_are_vetoed() {
    use Algorithm::{Md5, Sha1, Sha256};
    let dir = tempfile::tempdir().unwrap();
    let (good, place, key) = (dir.path().join("good"), dir.path().join("index"), Key::random().unwrap());
    let harmless = |payload: &[u8], algorithms: &[Algorithm]| Item::Entry(entry(payload, algorithms));
    // What two files with the same MD5 would look like: the digests of two payloads in one entry.
    let mut collision = entry(b"wallpaper", &[Md5]);
    collision.digests.extend(entry(b"made to collide", &[Sha1]).digests);
    let goods = [harmless(b"logo", &[Md5]), harmless(b"wallpaper", &[Md5, Sha1]), harmless(b"icon", &[Sha256])];
    compile_in_runs(&good, &key, Kind::KnownGood, Vec::new(), &goods, 1 << 20);
    let good = Index::open(&good, &key, Access::Map).unwrap();
    let small = Entry { size: Some(63), ..entry(b"small", &[Sha1]) };
    let items = [
        harmless(b"logo", &[Md5, Sha256]),
        harmless(b"wallpaper", &[Md5, Sha1, Sha256]),
        Item::Entry(collision.clone()),
        harmless(b"icon", &[Md5, Sha1]),
        harmless(b"", &[Sha1]),
        Item::Entry(small),
    ];
    let compiled = compile_in_runs(&place, &key, Kind::KnownBad, vec![good], &items, 1 << 20);
    let vetoed: Vec<_> = compiled.vetoed.iter().map(|vetoed| (vetoed.place, vetoed.why)).collect();
    assert_eq!(
        vetoed,
        [
            (Place::Line(1), Veto::KnownGood),
            (Place::Line(2), Veto::KnownGood),
            (Place::Line(5), Veto::EmptyFile),
            (Place::Line(6), Veto::TooSmall),
        ]
    );
    assert_eq!((compiled.about.entries, compiled.about.vetoed), (2, 4));
    let index = Index::open(&place, &key, Access::Map).unwrap();
    assert!(!is_listed(&index, &sha256(b"logo")), "a whole entry goes, not only the digest that met");
    assert!(collision.digests.iter().all(|digest| is_listed(&index, digest)));
}

#[test]
fn a_comparison_counts() {
    let dir = tempfile::tempdir().unwrap();
    let (place, old, key) = (dir.path().join("index"), dir.path().join("old"), Key::random().unwrap());
    let of = |category: &str, payload: &[u8]| {
        Item::Entry(Entry { category: Some(category.into()), ..entry(payload, &[Algorithm::Sha1]) })
    };
    compile(&place, &key, &[of("a:1", b"1"), of("b:1", b"2"), of("a:1", b"3"), of("b:1", b"3"), of("a:1", b"4")]);
    fs::copy(&place, &old).unwrap();
    let new =
        compile(&place, &key, &[of("b:1", b"3"), of("a:1", b"3"), of("b:1", b"1"), of("a:1", b"5"), of("b:1", b"2")]);
    let old = Index::open(&old, &key, Access::Read).unwrap();
    let expected = Diff { added: 1, removed: 1, changed: 1, unchanged: 2 };
    assert_eq!(super::diff(&old, &new), Ok(Some(expected)));
    let apart = compile(&dir.path().join("apart"), &key, &items(1));
    assert_eq!(super::diff(&old, &apart), Ok(None));
}

#[test]
fn nothing_is_written_where_nothing_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let (place, key) = (dir.path().join("index"), Key::random().unwrap());
    let compiler = Compiler::new(&place, &key, options(Kind::KnownBad), Vec::new()).unwrap();
    assert!(compiler.finish(&key).unwrap_err().to_string().contains("no entry is left"));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "no temporary file is left either");
}

#[test]
fn a_key_file_is_made_once_and_kept_from_others() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hashgate.key");
    let folders = [dir.path()];
    let (key, made) = Key::read_or_make(&path, &folders).unwrap();
    assert!(made);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let (again, made) = Key::read_or_make(&path, &folders).unwrap();
    assert!(!made && again.id() == key.id() && !format!("{key:?}").contains(&hex::encode(key.id())));
    for (mode, usable) in [(0o640, true), (0o660, false), (0o604, false), (0o602, false), (0o400, true)] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let read = Key::read(&path);
        assert_eq!(read.is_ok(), usable, "{mode:o}");
        assert!(usable || matches!(read, Err(KeyError::Open(_))));
    }
    fs::remove_file(&path).unwrap();
    fs::write(&path, "not a key").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(matches!(Key::read(&path), Err(KeyError::Malformed(_))));
    fs::remove_file(&path).unwrap();
    compile(&dir.path().join("index"), &key, &items(1));
    assert!(matches!(Key::read_or_make(&path, &folders), Err(KeyError::Lost { .. })));
    assert!(!path.exists());
}
