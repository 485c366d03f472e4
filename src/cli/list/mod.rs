//! `hashgate list`

mod accept;
mod compile;
mod decide;
mod keys;
mod lookup;
mod show;

use super::Exit;
use crate::list::feed::{Fed, feed};
use crate::list::index::compile::{CompileError, Compiler, Options};
use crate::list::index::seal::Key;
use crate::list::index::{Access, Index, Kind, is_sealed};
use crate::list::{Decision, source};
use anyhow::Context as _;
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use time::OffsetDateTime;

#[derive(Subcommand)]
pub(super) enum ListCommand {
    /// Make a sealed index of lists, from which nobody can read without the key what is listed
    Compile(compile::Arguments),
    /// Tell what a list holds, in numbers
    Info {
        /// An index or a source
        list: PathBuf,
        #[command(flatten)]
        key: KeyArgument,
    },
    /// Tell how two versions of a list differ, in numbers
    Diff {
        /// An index or a source
        old: PathBuf,
        /// An index or a source
        new: PathBuf,
        #[command(flatten)]
        key: KeyArgument,
    },
    /// Tell whether digests or files are on a list; exits 0 if one is, 3 if none is
    Lookup {
        /// An index or a source; may be given more than once
        #[arg(long = "list", required = true, value_name = "LIST")]
        lists: Vec<PathBuf>,
        #[command(flatten)]
        key: KeyArgument,
        /// A digest in hexadecimal, a file to hash, or `-` for digests on standard input, one a line
        #[arg(required = true, value_name = "DIGEST|FILE|-")]
        wanted: Vec<String>,
    },
    /// Put another key over indexes, without their sources
    Rekey {
        #[command(flatten)]
        key: KeyArgument,
        /// The new key file, made when absent
        #[arg(long, value_name = "FILE")]
        new_key: PathBuf,
        /// The indexes
        #[arg(required = true, value_name = "INDEX")]
        indexes: Vec<PathBuf>,
    },
    /// Say that what a list has now, or will have next, is right, however much it has grown, shrunk or changed
    Accept {
        /// The list's name in the configuration
        name: String,
        /// The configuration file of the gate
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Take out the entry that a case has hit: its file is let through from now on
    Veto {
        /// The `request` of its audit line
        #[arg(long, value_name = "ID")]
        case: String,
        /// The configuration file of the gate
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Say that the entry that a case has hit is right, however often it hits; it also takes a veto back
    Confirm {
        /// The `request` of its audit line
        #[arg(long, value_name = "ID")]
        case: String,
        /// The configuration file of the gate
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Destroy every index of a list, and put the destruction on record; exits 3 if there is none
    Forget {
        /// The list's name
        name: String,
        /// A folder to look in, such as the gate's state/lists; may be given more than once
        #[arg(long = "dir", default_value = ".", value_name = "DIR")]
        folders: Vec<PathBuf>,
    },
}

#[derive(Args)]
pub(in crate::cli) struct KeyArgument {
    /// The key file that seals indexes
    #[arg(long, default_value = "hashgate.key", value_name = "FILE")]
    key: PathBuf,
}

pub(super) fn run(command: ListCommand) -> anyhow::Result<Exit> {
    match command {
        ListCommand::Compile(arguments) => compile::run(&arguments),
        ListCommand::Info { list, key } => show::info(&list, &key.key),
        ListCommand::Diff { old, new, key } => show::diff(&old, &new, &key.key),
        ListCommand::Lookup { lists, key, wanted } => lookup::run(&lists, &key.key, &wanted),
        ListCommand::Rekey { key, new_key, indexes } => keys::rekey(&key.key, &new_key, &indexes),
        ListCommand::Accept { name, config } => accept::run(&name, &config),
        ListCommand::Veto { case, config } => decide::run(&case, &config, Decision::Veto),
        ListCommand::Confirm { case, config } => decide::run(&case, &config, Decision::Confirm),
        ListCommand::Forget { name, folders } => keys::forget(&name, &folders),
    }
}

/// Opens an index, or makes one of a source for as long as the command runs.
fn open(list: &Path, key_file: &Path, temporary: &TempDir) -> anyhow::Result<Index> {
    if is_sealed(list).with_context(|| list.display().to_string())? {
        // It is not ours alone, so it is not mapped.
        return Ok(Index::open(list, &Key::read(key_file)?, Access::Read)?);
    }
    let place = temporary.path().join("index");
    let key = Key::random()?;
    compile_source(list, Compiler::new(&place, &key, for_a_moment(list), Vec::new())?, &key)?;
    Ok(Index::open(&place, &key, Access::Read)?)
}

/// Makes an index of one source. Bad lines are named on stderr.
fn compile_source(source: &Path, mut compiler: Compiler, key: &Key) -> anyhow::Result<()> {
    // Whoever looks into a source or vetoes with it may have a known-good one.
    let how =
        source::Options { format: None, kind: Some(Kind::KnownGood), columns: None, now: OffsetDateTime::now_utc() };
    let fed = compiler
        .source(&source.display().to_string(), |sink| feed(source, &how, sink))
        .with_context(|| source.display().to_string())?;
    complain(source, &fed);
    match compiler.finish(key) {
        Err(CompileError::Empty { .. }) => anyhow::bail!("{} holds no entry", source.display()),
        finished => finished.map(|_| ()).with_context(|| source.display().to_string()),
    }
}

fn for_a_moment(source: &Path) -> Options {
    let name = source.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Options { name, kind: Kind::KnownBad, category: None, size_min: 0 }
}

fn complain(source: &Path, fed: &Fed) {
    for (place, why) in &fed.first_bad {
        eprintln!("hashgate: {}:{place}: skipped: {why}", source.display());
    }
    let named = fed.first_bad.len() as u64;
    if fed.bad_lines > named {
        eprintln!("hashgate: {}: {} more lines were skipped", source.display(), fed.bad_lines - named);
    }
    if fed.passed_over > 0 {
        let (path, count) = (source.display(), fed.passed_over);
        eprintln!("hashgate: {path}: {count} records are no entries by the rules of {}", fed.format);
    }
}
