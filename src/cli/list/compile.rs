//! `hashgate list compile`

use super::{KeyArgument, compile_source, complain};
use crate::cli::Exit;
use crate::digest::Algorithm;
use crate::list::feed::feed;
use crate::list::index::compile::{Compiled, Compiler, Options, SIZE_MIN};
use crate::list::index::seal::Key;
use crate::list::index::{Access, Index, Kind, copy_private, folder_of, is_sealed};
use crate::list::source::{self, Format};
use anyhow::Context as _;
use clap::Args;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use time::OffsetDateTime;

#[derive(Args)]
pub(in crate::cli) struct Arguments {
    /// Where the index goes; one that is there is replaced at once, and only by one that holds something
    #[arg(short, long, value_name = "INDEX")]
    output: PathBuf,
    #[command(flatten)]
    key: KeyArgument,
    /// The list's name, else that of the index
    #[arg(long)]
    name: Option<String>,
    /// How the sources are written
    #[arg(long, default_value = "auto", value_parser = format)]
    format: Choice,
    /// Whether its entries are refused, or veto those of other lists
    #[arg(long, value_parser = ["known-bad", "known-good"])]
    kind: Option<String>,
    /// The category of entries that bring none, scheme:value; else that of the configuration counts
    #[arg(long)]
    category: Option<String>,
    /// Which columns of a CSV file hold what, such as md5=hash_md5,category=severity
    #[arg(long, value_name = "MAP")]
    columns: Option<String>,
    /// Write nothing if a line cannot be read
    #[arg(long)]
    strict: bool,
    /// Leave out entries whose file a known-good list has, an index or a source; may be given more than once
    #[arg(long = "veto", value_name = "SOURCE")]
    vetoes: Vec<PathBuf>,
    /// Leave out entries of files that are known to be smaller, in bytes
    #[arg(long, default_value_t = SIZE_MIN, value_name = "BYTES")]
    size_min: u64,
    /// The sources are parts of one: an entry's id means the same in all of them
    #[arg(long)]
    same_ids: bool,
    /// The lists to read
    #[arg(required = true, value_name = "SOURCE")]
    sources: Vec<PathBuf>,
}

/// A format; `None` finds it out.
#[derive(Clone, Copy)]
struct Choice(Option<Format>);

fn format(name: &str) -> Result<Choice, String> {
    if name == "auto" {
        return Ok(Choice(None));
    }
    let names: Vec<&str> = Format::ALL.iter().map(|format| format.name()).collect();
    let format = Format::named(name).ok_or(format!("it is none of auto, {}", names.join(", ")))?;
    Ok(Choice(Some(format)))
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let category = arguments.category.clone();
    if let Some(category) = &category {
        let shaped = category.split_once(':').is_some_and(|(scheme, value)| !scheme.is_empty() && !value.is_empty());
        anyhow::ensure!(shaped, "--category: `{category}` is not of the form scheme:value, such as house:baseline");
    }
    for source in &arguments.sources {
        let sealed = is_sealed(source).with_context(|| source.display().to_string())?;
        anyhow::ensure!(!sealed, "{} is an index already; compile its sources", source.display());
    }
    let output = &arguments.output;
    let (folder, key_folder) = (folder_of(output), folder_of(&arguments.key.key));
    let (key, made) = Key::read_or_make(&arguments.key.key, &[folder, key_folder])?;
    if made {
        eprintln!("hashgate: made the key file {}; keep a copy where the indexes are not", arguments.key.key.display());
    }
    let name = || output.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let said =
        arguments.kind.as_deref().map(|kind| if kind == "known-good" { Kind::KnownGood } else { Kind::KnownBad });
    let kind = said.unwrap_or(Kind::KnownBad);
    let Choice(format) = arguments.format;
    let how =
        source::Options { format, kind: said, columns: arguments.columns.clone(), now: OffsetDateTime::now_utc() };
    let name = arguments.name.clone().unwrap_or_else(name);
    let options = Options { name, kind, category, size_min: arguments.size_min };
    let temporary = tempfile::Builder::new().prefix(".compile-").tempdir_in(folder)?;
    let goods = arguments.vetoes.iter().enumerate().map(|(number, veto)| known_good(veto, number, &key, &temporary));
    let goods = goods.collect::<anyhow::Result<_>>()?;

    let mut compiler = Compiler::new(output, &key, options, goods)?;
    let mut bad_lines = 0;
    for source in &arguments.sources {
        let name = source.file_name().unwrap_or_default().to_string_lossy();
        let ids = if arguments.same_ids { "" } else { &name };
        let read = compiler.source_with_ids(&name, ids, |sink| feed(source, &how, sink));
        let fed = read.with_context(|| source.display().to_string())?;
        complain(source, &fed);
        bad_lines += fed.bad_lines;
    }
    anyhow::ensure!(!arguments.strict || bad_lines == 0, "--strict: {bad_lines} lines are bad; nothing was written");
    report(output, &compiler.finish(&key)?);
    Ok(Exit::Done)
}

/// A known-good list as an index of our own, which is mapped.
fn known_good(source: &Path, number: usize, key: &Key, temporary: &TempDir) -> anyhow::Result<Index> {
    let place = temporary.path().join(number.to_string());
    let name = source.display().to_string();
    if is_sealed(source).with_context(|| name.clone())? {
        // With a key that does not fit, or a damaged file, the message names the file that was given.
        let about = Index::open(source, key, Access::Seal)?.about().clone();
        anyhow::ensure!(about.kind == Kind::KnownGood, "{name} is a known-bad list; --veto takes known-good ones");
        copy_private(source, &place).with_context(|| name)?;
    } else {
        let options = Options { name, kind: Kind::KnownGood, category: None, size_min: 0 };
        compile_source(source, Compiler::new(&place, key, options, Vec::new())?, key)?;
    }
    Ok(Index::open(&place, key, Access::Map)?)
}

fn report(output: &Path, compiled: &Compiled) {
    for vetoed in &compiled.vetoed {
        eprintln!("hashgate: {}:{}: left out: {}", vetoed.source, vetoed.place, vetoed.why.reason());
    }
    let (about, named) = (&compiled.about, compiled.vetoed.len() as u64);
    if about.vetoed > named {
        eprintln!("hashgate: {} more entries were left out", about.vetoed - named);
    }
    let digests: Vec<String> = Algorithm::ALL
        .into_iter()
        .zip(about.rows)
        .filter(|(_, rows)| *rows > 0)
        .map(|(algorithm, rows)| format!("{rows} {}", algorithm.tag()))
        .collect();
    println!(
        "{}: {} entries ({}), {} left out, {} replaced or removed, {} bad lines",
        output.display(),
        about.entries,
        digests.join(", "),
        about.vetoed,
        compiled.replaced,
        about.bad_lines
    );
}
