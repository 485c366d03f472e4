//! `hashgate list lookup`

use crate::cli::{Exit, hash};
use crate::digest::Digest;
use crate::list::index::{Hit, Index};
use crate::list::text;
use anyhow::Context as _;
use std::io::{Write as _, stdin, stdout};
use std::path::{Path, PathBuf};

pub(super) fn run(lists: &[PathBuf], key_file: &Path, wanted: &[String]) -> anyhow::Result<Exit> {
    let temporary = tempfile::tempdir()?;
    let open = |list: &PathBuf| super::open(list, key_file, &temporary);
    let indexes: Vec<Index> = lists.iter().map(open).collect::<anyhow::Result<_>>()?;
    let mut out = stdout().lock();
    let mut found = false;
    for wanted in wanted {
        for Wanted { name, digests, size } in stands_for(wanted)? {
            let mut listed = false;
            for (index, list) in indexes.iter().zip(lists) {
                for digest in &digests {
                    let hit = index.look_up(digest, size).with_context(|| list.display().to_string())?;
                    listed |= matches!(hit, Hit::Row(_));
                }
            }
            found |= listed;
            writeln!(out, "{}  {name}", if listed { "listed" } else { "unlisted" })?;
        }
    }
    Ok(if found { Exit::Done } else { Exit::NothingFound })
}

struct Wanted {
    name: String,
    digests: Vec<Digest>,
    size: Option<u64>,
}

/// What an argument stands for.
fn stands_for(wanted: &str) -> anyhow::Result<Vec<Wanted>> {
    let bare = |name: String, digest| Wanted { name, digests: vec![digest], size: None };
    if wanted == "-" {
        let mut digests = Vec::new();
        let read = text::read_each(stdin().lock(), &mut |_, digest| {
            digests.push(digest);
            Ok(())
        })?;
        anyhow::ensure!(read.bad_lines == 0, "standard input: a line is no digest");
        return Ok(digests.into_iter().map(|digest| bare(digest.to_hex(), digest)).collect());
    }
    // A file may be called like a digest; a digest is never meant for a file that is there.
    if !Path::new(wanted).exists()
        && let Some(digest) = Digest::from_hex(wanted)
    {
        return Ok(vec![bare(wanted.to_owned(), digest)]);
    }
    let digests = hash::digest_file(Path::new(wanted))
        .with_context(|| format!("{wanted} is neither a file nor an MD5, SHA-1 or SHA-256 digest"))?;
    let (name, size) = (wanted.to_owned(), Some(digests.length));
    Ok(vec![Wanted { name, digests: digests.iter().collect(), size }])
}
