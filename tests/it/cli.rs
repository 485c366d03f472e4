//! The contract of the commands that scripts rely on.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

pub fn run(arguments: &[&str], input: &str) -> (Option<i32>, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_hashgate"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that does not read its input may be gone already.
    child.stdin.take().unwrap().write_all(input.as_bytes()).ok();
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn hash_prints_tagged_lines_or_json() {
    let (code, out, _) = run(&["hash", "-"], "abc");
    assert_eq!(code, Some(0));
    assert_eq!(out.lines().last(), Some(format!("SHA256 (-) = {ABC}").as_str()));
    assert_eq!(out.lines().count(), 3);
    let (_, out, _) = run(&["hash", "--json", "-"], "abc");
    let line: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((line["sha256"].as_str(), line["size"].as_u64()), (Some(ABC), Some(3)));
    let (code, out, err) = run(&["hash", "/nonexistent", "-"], "abc");
    assert_eq!((code, out.lines().count()), (Some(1), 3));
    assert!(err.contains("/nonexistent"));
}

#[test]
fn lookup_tells_by_its_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("list"), format!("{ABC}\n")).unwrap();
    std::fs::write(path("file"), "abc").unwrap();
    std::fs::write(path("other"), "abd").unwrap();
    let lookup = |wanted: &str, input: &str| {
        let (code, out, _) = run(&["list", "lookup", "--list", &path("list"), wanted], input);
        (code.unwrap(), out)
    };
    assert_eq!(lookup(&path("file"), ""), (0, format!("listed  {}\n", path("file"))));
    assert_eq!(lookup(&path("other"), "").0, 3);
    assert_eq!(lookup(&ABC.to_uppercase(), "").0, 0);
    assert_eq!(lookup("-", &format!("{ABC}  name\n")).0, 0);
    assert_eq!(lookup("-", "900150983cd24fb0d6963f7d28e17f72\n").0, 3);
    assert_eq!(lookup(&path("missing"), "").0, 1);
}

#[test]
fn usage_and_configuration_have_their_codes() {
    assert_eq!(run(&["nonsense"], "").0, Some(64));
    assert_eq!(run(&["serve"], "").0, Some(64));
    assert_eq!(run(&["--help"], "").0, Some(0));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("c.yaml");
    std::fs::write(&file, "listen: { address: x }\norigin: {}\n").unwrap();
    for command in ["check", "serve"] {
        let (code, out, err) = run(&[command, "--config", file.to_str().unwrap()], "");
        assert_eq!((code, out.as_str()), (Some(78), ""));
        for problem in ["listen.address:", "origin.endpoint: is needed", "lists: at least one"] {
            assert!(err.contains(problem), "{problem} is not in {err}");
        }
    }
    std::fs::write(dir.path().join("list"), ABC).unwrap();
    std::fs::write(&file, "listen: { address: '127.0.0.1:0' }\norigin: { endpoint: 'http://127.0.0.1:1' }\nlists: [ { name: a, source: list } ]\n").unwrap();
    let (code, out, err) = run(&["check", "--config", file.to_str().unwrap()], "");
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("list a: 1 entries"));
    assert!(!dir.path().join("state").exists(), "check touches nothing");
}

#[test]
fn the_demo_holds() {
    let (code, out, err) = run(&["demo", "--once"], "");
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("403 AccessDenied") && out.ends_with("All held.\n"), "{out}");
    assert_eq!(err, "");
}
