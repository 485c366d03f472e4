//! `hashgate list`

use super::{Exit, hash};
use crate::digest::Digest;
use crate::list::text;
use anyhow::Context as _;
use std::collections::HashSet;
use std::fs::File;
use std::io::{BufReader, Write as _, stdin, stdout};
use std::path::{Path, PathBuf};

pub(super) fn lookup(lists: &[PathBuf], wanted: &[String]) -> anyhow::Result<Exit> {
    let mut entries = HashSet::new();
    for list in lists {
        let file = File::open(list).with_context(|| list.display().to_string())?;
        let read = text::read(BufReader::new(file)).with_context(|| list.display().to_string())?;
        for (line, why) in &read.first_bad {
            eprintln!("hashgate: {}:{line}: skipped: {why}", list.display());
        }
        anyhow::ensure!(!read.entries.is_empty(), "{} holds no entry", list.display());
        entries.extend(read.entries);
    }
    let mut out = stdout().lock();
    let mut found = false;
    for wanted in wanted {
        for (name, digests) in digests_of(wanted)? {
            let listed = digests.iter().any(|digest| entries.contains(digest));
            found |= listed;
            writeln!(out, "{}  {name}", if listed { "listed" } else { "unlisted" })?;
        }
    }
    Ok(if found { Exit::Done } else { Exit::NothingFound })
}

/// What an argument stands for, with the digests to look for.
fn digests_of(wanted: &str) -> anyhow::Result<Vec<(String, Vec<Digest>)>> {
    if wanted == "-" {
        let read = text::read(stdin().lock())?;
        anyhow::ensure!(read.bad_lines == 0, "standard input: a line is no digest");
        return Ok(read.entries.into_iter().map(|digest| (digest.to_hex(), vec![digest])).collect());
    }
    // A file may be called like a digest; a digest is never meant for a file that is there.
    if !Path::new(wanted).exists()
        && let Some(digest) = Digest::from_hex(wanted)
    {
        return Ok(vec![(wanted.to_owned(), vec![digest])]);
    }
    let digests = hash::digest_file(Path::new(wanted))
        .with_context(|| format!("{wanted} is neither a file nor an MD5, SHA-1 or SHA-256 digest"))?;
    Ok(vec![(wanted.to_owned(), digests.iter().collect())])
}
