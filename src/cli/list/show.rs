//! `hashgate list info` and `list diff`: numbers, never a digest.

use super::{compile_source, for_a_moment, open};
use crate::cli::Exit;
use crate::digest::Algorithm;
use crate::list::index::compile::Compiler;
use crate::list::index::seal::Key;
use crate::list::index::{self, About, Access, Index, about_unverified, is_sealed};
use anyhow::Context as _;
use std::io::{Write as _, stdout};
use std::path::Path;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

pub(super) fn info(list: &Path, key_file: &Path) -> anyhow::Result<Exit> {
    let mut out = stdout().lock();
    if !is_sealed(list).with_context(|| list.display().to_string())? {
        let index = open(list, key_file, &tempfile::tempdir()?)?;
        writeln!(out, "{}: a source, not sealed", list.display())?;
        print(&mut out, index.about())?;
        return Ok(Exit::Done);
    }
    writeln!(out, "{}: a sealed index, {} bytes", list.display(), std::fs::metadata(list)?.len())?;
    if key_file.exists() {
        let index = Index::open(list, &Key::read(key_file)?, Access::Read)?;
        print(&mut out, index.about())?;
        let bad = index.scrub(std::time::Duration::ZERO, &|| false);
        anyhow::ensure!(bad == 0, "{bad} of its pages are damaged; compile the list again, or copy the file again");
        writeln!(out, "seal: whole, by {}", key_file.display())?;
    } else {
        print(&mut out, &about_unverified(list)?)?;
        writeln!(out, "seal: not verified, there is no key file {}", key_file.display())?;
    }
    Ok(Exit::Done)
}

fn print(out: &mut impl std::io::Write, about: &About) -> anyhow::Result<()> {
    let built = OffsetDateTime::from_unix_timestamp(about.built as i64)?.format(&Rfc3339)?;
    writeln!(out, "name: {}\nkind: {}\ncompiled: {built}", about.name, about.kind.word())?;
    writeln!(out, "entries: {}\nleft out: {}\nbad lines: {}", about.entries, about.vetoed, about.bad_lines)?;
    for (algorithm, rows) in Algorithm::ALL.into_iter().zip(about.rows).filter(|(_, rows)| *rows > 0) {
        writeln!(out, "{}: {rows} digests", algorithm.tag())?;
    }
    for (source, format) in &about.sources {
        writeln!(out, "source: {source} ({format})")?;
    }
    let mut categories: Vec<&String> = about.category_sets.iter().flatten().collect();
    categories.sort();
    categories.dedup();
    for category in categories {
        let shown = if category.is_empty() { "as configured" } else { category };
        writeln!(out, "category: {shown}")?;
    }
    Ok(())
}

pub(super) fn diff(old: &Path, new: &Path, key_file: &Path) -> anyhow::Result<Exit> {
    let temporary = tempfile::tempdir()?;
    let is_index = |list: &Path| is_sealed(list).with_context(|| list.display().to_string());
    // A source is compiled with the data key of the other one, so that both can be compared.
    let (old_index, new_index) = if is_index(new)? && !is_index(old)? {
        let new_index = open(new, key_file, &temporary)?;
        (like(&new_index, old, &temporary)?, new_index)
    } else {
        let old_index = open(old, key_file, &temporary)?;
        let new_index =
            if is_index(new)? { open(new, key_file, &temporary)? } else { like(&old_index, new, &temporary)? };
        (old_index, new_index)
    };
    let diff = index::diff(&old_index, &new_index)?.with_context(|| {
        format!(
            "{} and {} were compiled apart from each other and cannot be compared; compile the new version over a copy of the old one",
            old.display(),
            new.display()
        )
    })?;
    let mut out = stdout().lock();
    writeln!(out, "added: {}\nremoved: {}", diff.added, diff.removed)?;
    writeln!(out, "changed: {}\nunchanged: {}", diff.changed, diff.unchanged)?;
    Ok(Exit::Done)
}

fn like(other: &Index, source: &Path, temporary: &tempfile::TempDir) -> anyhow::Result<Index> {
    let (place, key) = (temporary.path().join("like"), Key::random()?);
    compile_source(source, Compiler::like(other, &place, for_a_moment(source))?, &key)?;
    Ok(Index::open(&place, &key, Access::Read)?)
}
