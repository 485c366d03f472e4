//! The house stays tidy: pure modules stay pure, and what the documents say is what there is.

use std::fs;
use std::path::{Path, PathBuf};

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(path: &Path) -> Vec<(PathBuf, String)> {
    if path.is_file() {
        return vec![(path.to_owned(), fs::read_to_string(path).unwrap())];
    }
    let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|entry| sources(&entry)).filter(|(path, _)| path.extension().is_some_and(|e| e == "rs")).collect()
}

/// The part of a file before its tests.
fn code(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod ").next().unwrap_or(text)
}

/// Nothing in `decide`, `s3`, `route` and `digest` knows a runtime, a clock, a socket or a file; `s3` and `digest` import
/// nothing of ours but themselves.
#[test]
fn pure_modules_stay_pure() {
    let forbidden =
        ["tokio", "hyper::", "std::fs", "std::io", "std::net::Tcp", "Instant", "SystemTime", "now_utc", "std::env"];
    for module in ["decide", "s3", "route", "digest.rs"] {
        for (path, text) in sources(&top().join("src").join(module)) {
            for word in forbidden {
                assert!(!code(&text).contains(word), "{} uses {word}", path.display());
            }
            let ours = code(&text).lines().filter(|line| line.contains("crate::"));
            let allowed = if matches!(module, "s3" | "digest.rs") { "crate::s3" } else { "crate::" };
            for line in ours {
                assert!(line.contains(allowed), "{}: {line}", path.display());
            }
        }
    }
}

/// Only `decide` makes a `Clear`, and only `forward::release` uses one up.
#[test]
fn the_proof_is_made_and_used_in_one_place_each() {
    for (path, text) in sources(&top().join("src")) {
        let made = code(&text).contains("Clear(())");
        assert_eq!(made, path.ends_with("decide/mod.rs"), "{}", path.display());
        let taken = code(&text).contains("_clear: Clear");
        assert_eq!(taken, path.ends_with("forward/hold.rs"), "{}", path.display());
    }
}

/// The README's table of metrics is what the registry holds.
#[test]
fn every_metric_is_documented() {
    let readme = fs::read_to_string(top().join("README.md")).unwrap();
    for (name, labels, help) in hashgate::record::DOCUMENTED {
        let labels = if labels.is_empty() { "–".to_owned() } else { labels.join(", ") };
        let row = format!("| `{name}` | {labels} | {help} |");
        assert!(readme.contains(&row), "the README lacks: {row}");
    }
    let rows = readme.lines().filter(|line| line.starts_with("| `hashgate_")).count();
    assert_eq!(rows, hashgate::record::DOCUMENTED.len());
    for outcome in hashgate::record::Outcome::ALL {
        assert!(readme.contains(outcome.label()), "the README does not name the outcome {}", outcome.label());
    }
}
