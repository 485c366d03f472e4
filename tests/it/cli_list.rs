//! The contract of `hashgate list`, and that no digest leaves it.

use crate::cli::run;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
const ABC_MD5: &str = "900150983cd24fb0d6963f7d28e17f72";
const EMPTY_MD5: &str = "d41d8cd98f00b204e9800998ecf8427e";
/// SHA-256 of "abd".
const ABD: &str = "a52d159f262b2c6ddb724a61840befc36eb30c88877a4030b65cbe86298449c9";

/// A folder to work in, and commands in which `@name` stands for a file in it.
struct Folder(TempDir);

impl Folder {
    fn new() -> Folder {
        let folder = Folder(tempfile::tempdir().unwrap());
        folder.write("list", &format!("{ABC}\n{ABC_MD5}\n"));
        folder
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn list(&self, command: &str) -> (i32, String, String) {
        let place = |word: &str| word.strip_prefix('@').map_or_else(|| word.to_owned(), |name| self.path(name));
        let words: Vec<String> = ["list"].into_iter().chain(command.split(' ')).map(place).collect();
        let (code, out, err) = run(&words.iter().map(String::as_str).collect::<Vec<_>>(), "");
        (code.unwrap(), out, err)
    }

    /// A command that works; what it says on stdout.
    fn done(&self, command: &str) -> String {
        let (code, out, err) = self.list(command);
        assert_eq!(code, 0, "{command}: {out}{err}");
        out
    }
}

#[test]
fn compile_then_look_up() {
    let folder = Folder::new();
    let (code, out, err) = folder.list("compile -o @x.index --key @k @list");
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("2 entries (1 MD5, 1 SHA256), 0 left out") && err.contains("made the key file"), "{out}{err}");
    assert_eq!(folder.done(&format!("lookup --list @x.index --key @k {ABC}")), format!("listed  {ABC}\n"));
    folder.write("file", "abc");
    folder.write("other", "abd");
    assert_eq!(folder.list("lookup --list @x.index --key @k @file").0, 0);
    assert_eq!(folder.list("lookup --list @x.index --key @k @other").0, 3);
    assert_eq!(folder.list("lookup --list @x.index --list @list --key @k @other").0, 3);
    let info = folder.done("info @x.index --key @k");
    for line in ["name: x", "kind: known-bad", "entries: 2", "SHA256: 1 digests", "source: list (text)", "seal: whole"]
    {
        assert!(info.contains(line), "{line} is not in {info}");
    }
    assert!(folder.done("info @x.index --key @none").contains("seal: not verified"));
    assert!(folder.done("info @list").contains("a source, not sealed"));
    let (code, _, err) = folder.list("lookup --list @x.index --key @none abc");
    assert!(code == 1 && err.contains("key file"), "{err}");
    // An index is nothing to compile, and a key that is lost is not made again.
    assert!(folder.list("compile -o @y.index --key @k @x.index").2.contains("is an index already"));
    assert!(folder.list("compile -o @list --key @k @list").2.contains("it is not replaced"));
    assert!(folder.list("compile -o @y.index --key @lost @list").2.contains("was sealed with a key"));
    assert!(!Path::new(&folder.path("lost")).exists());
}

#[test]
fn what_is_left_out_is_named_by_its_line_and_never_by_its_digest() {
    let folder = Folder::new();
    folder.write("list", &format!("{ABC}\nnonsense {ABC}\n{EMPTY_MD5}\n{ABC_MD5}\n"));
    folder.write("good", &format!("{ABC_MD5}  logo.png\n"));
    let (code, out, err) = folder.list("compile -o @x.index --key @k --veto @good @list");
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("1 entries (1 SHA256), 2 left out, 0 replaced or removed, 1 bad lines"), "{out}");
    for line in ["list:2: skipped", "list:3: left out: every empty file", "list:4: left out: a known-good list"] {
        assert!(err.contains(line), "{line} is not in {err}");
    }
    let said = out + &err + &folder.done("info @x.index --key @k");
    for digest in [ABC, ABC_MD5, EMPTY_MD5] {
        assert!(!said.contains(&digest[..12]), "{said}");
    }
    let (code, _, err) = folder.list("compile -o @strict.index --key @k --strict @list");
    assert!(code == 1 && err.contains("nothing was written") && !Path::new(&folder.path("strict.index")).exists());
    // The same list of harmless files as an index; and it is no list to refuse anything by.
    folder.done("compile -o @good.index --key @k --kind known-good @good");
    assert!(folder.done("compile -o @x.index --key @k --veto @good.index @list").contains("2 left out"));
    assert!(folder.list("compile -o @x.index --key @k --veto @x.index @list").2.contains("is a known-bad list"));
    // Nothing left: what is there stays.
    folder.write("list", EMPTY_MD5);
    let (code, _, err) = folder.list("compile -o @x.index --key @k @list");
    assert!(code == 1 && err.contains("no entry is left"), "{err}");
    assert_eq!(folder.list(&format!("lookup --list @x.index --key @k {ABC}")).0, 0);
}

#[test]
fn diff_counts() {
    let folder = Folder::new();
    folder.write("new", &format!("{ABC}\n{ABD}\n{}\n", ABD.replace('a', "b")));
    let expected = "added: 2\nremoved: 1\nchanged: 0\nunchanged: 1\n";
    assert_eq!(folder.done("diff @list @new"), expected);
    folder.done("compile -o @x.index --key @k @list");
    assert_eq!(folder.done("diff @x.index @new --key @k"), expected);
    fs::copy(folder.path("x.index"), folder.path("old.index")).unwrap();
    folder.done("compile -o @x.index --key @k @new");
    assert_eq!(folder.done("diff @old.index @x.index --key @k"), expected);
    assert_eq!(folder.done("diff @list @x.index --key @k"), expected);
    folder.done("compile -o @apart.index --key @k @new");
    assert!(folder.list("diff @old.index @apart.index --key @k").2.contains("compiled apart"));
}

#[test]
fn rekey_and_forget() {
    let folder = Folder::new();
    folder.done("compile -o @x.index --key @k --name sample @list");
    folder.done("rekey --key @k --new-key @k2 @x.index");
    assert_eq!(folder.list(&format!("lookup --list @x.index --key @k2 {ABC}")).0, 0);
    let (code, _, err) = folder.list(&format!("lookup --list @x.index --key @k {ABC}"));
    assert!(code == 1 && err.contains("sealed with another key"), "{err}");
    folder.done("compile -o @y.index --key @k2 --name other @list");
    assert_eq!(folder.list(&format!("forget nobody --dir {}", folder.path(""))).0, 3);
    folder.done(&format!("forget sample --dir {}", folder.path("")));
    assert!(!Path::new(&folder.path("x.index")).exists() && Path::new(&folder.path("y.index")).exists());
    folder.done(&format!("forget other --dir {}", folder.path("")));
    let record = fs::read_to_string(folder.path("forgotten.log")).unwrap();
    let lines: Vec<serde_json::Value> = record.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines[0]["list"].as_str(), lines[1]["list"].as_str()), (Some("sample"), Some("other")));
    assert_eq!(lines[0]["entries"], 2);
}

/// What a gate keeps of a list beside its index goes, too: an earlier version, one in the making, entries one by one.
#[test]
fn forget_leaves_nothing_of_a_list() {
    let folder = Folder::new();
    fs::create_dir(folder.path("lists")).unwrap();
    folder.done("compile -o @x.index --key @k --name elsewhere @list");
    let files = ["police.index", "police.accepted", "police.new", "police.versions", "police.new-versions", "police.x"];
    for file in files {
        fs::copy(folder.path("x.index"), folder.path(&format!("lists/{file}"))).unwrap();
    }
    folder.done(&format!("forget police --dir {}", folder.path("lists")));
    let mut left: Vec<_> = fs::read_dir(folder.path("lists")).unwrap().map(|file| file.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["forgotten.log", "police.x"]);
    let record = fs::read_to_string(folder.path("lists/forgotten.log")).unwrap();
    assert_eq!(record.lines().count(), files.len() - 1);
}

/// Formats of other makers, compiled and looked up: the category comes along, and no digest is printed.
#[test]
fn other_formats() {
    let folder = Folder::new();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/lists");
    for name in ["vics-2.0.json", "ncmec.xml", "nsrl.csv", "house.csv"] {
        fs::copy(fixtures.join(name), folder.path(name)).unwrap();
    }
    folder.write("sample", "hashgate sample 1");
    let out = folder.done("compile --size-min 1 -o @v.index --key @k @vics-2.0.json");
    assert!(out.contains("3 entries"), "{out}");
    // The fixture says of sample 1 that it is 1,001 bytes long, which it is not.
    assert_eq!(folder.list("lookup --list @v.index --key @k @sample").0, 3);
    let out = folder.done("compile -o @n.index --key @k --strict @ncmec.xml");
    assert!(out.contains("2 entries") && out.contains("1 replaced or removed") | out.contains("0 replaced"), "{out}");
    assert_eq!(folder.list("lookup --list @n.index --key @k @sample").0, 0);
    // A known-good list takes the entry out.
    let (code, out, err) = folder.list("compile -o @m.index --key @k --veto @nsrl.csv @ncmec.xml");
    assert!(code == 0 && out.contains("1 left out"), "{out}{err}");
    assert_eq!(folder.list("lookup --list @m.index --key @k @sample").0, 3);
    let (code, _, err) = folder.list("compile -o @x.index --key @k --columns md5=hash_md5 @house.csv");
    assert!(code == 0 && err.contains("house.csv:"), "{err}");
    for (command, what) in [
        ("compile -o @y.index --key @k @nsrl.csv", "known-good"),
        ("compile -o @y.index --key @k --format pdf @list", "none of auto"),
        ("compile -o @y.index --key @k --format stix @list", "byte"),
    ] {
        let (code, _, err) = folder.list(command);
        assert!(code != 0 && err.contains(what), "{command}: {err}");
    }
}
