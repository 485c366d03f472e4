//! `hashgate audit verify` and `hashgate audit export`

use super::Exit;
use crate::config;
use crate::record::audit::{self, Days, FileReport, Hit, Report};
use anyhow::Context as _;
use clap::Subcommand;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use time::Date;
use time::macros::format_description;

#[derive(Subcommand)]
pub(super) enum AuditCommand {
    /// Say whether anybody has changed, dropped, added or cut a line of the audit log; exits 1 if so
    Verify {
        /// The configuration file of the gate
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Checkpoints that were kept elsewhere (a copy of audit.head, events of a webhook): the log must have their lines
        #[arg(long, value_name = "FILE")]
        anchor: Vec<PathBuf>,
        /// The gate's public key: nobody else's signature counts; may be given more than once
        #[arg(long, value_name = "PUBLIC")]
        key: Vec<String>,
    },
    /// Print every hit, when it came, was decided and acted on, as CSV, without content, digests or names of customers
    Export {
        /// The configuration file of the gate
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// The first day on which hits came (2026-01-31, UTC)
        #[arg(long, value_name = "DAY", value_parser = day)]
        from: Option<Date>,
        /// The last day
        #[arg(long, value_name = "DAY", value_parser = day)]
        to: Option<Date>,
        /// Print one JSON object for each hit
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(command: AuditCommand) -> anyhow::Result<Exit> {
    let (AuditCommand::Verify { config, .. } | AuditCommand::Export { config, .. }) = &command;
    let state_dir = match config::load(config) {
        Ok(settings) => settings.state_dir,
        Err(error) => {
            eprintln!("{error}");
            return Ok(Exit::Configuration);
        }
    };
    match command {
        AuditCommand::Verify { anchor, key, .. } => verify(&state_dir, &anchor, &key),
        AuditCommand::Export { from, to, json, .. } => export(&state_dir, Days { from, to }, json),
    }
}

fn verify(state_dir: &Path, anchors: &[PathBuf], keys: &[String]) -> anyhow::Result<Exit> {
    let mut checkpoints = Vec::new();
    for anchor in anchors {
        let found = audit::read_anchors(anchor)?;
        for checkpoint in &found {
            let known = keys.is_empty() || keys.iter().any(|key| key == checkpoint.key());
            anyhow::ensure!(known, "{}: it is signed by another key, {}", anchor.display(), checkpoint.key());
        }
        checkpoints.extend(found);
    }
    let report = audit::verify(state_dir, keys, &checkpoints).with_context(|| state_dir.display().to_string())?;
    print(&mut io::stdout().lock(), &report, keys.is_empty())?;
    Ok(if report.is_good() { Exit::Done } else { Exit::Failed })
}

fn print(out: &mut impl Write, report: &Report, believed: bool) -> io::Result<()> {
    for file in &report.files {
        print_file(out, file)?;
    }
    for problem in &report.problems {
        writeln!(out, "BROKEN: {problem}")?;
    }
    for key in &report.keys {
        let whence = if believed { " (as the log itself says; compare it, or give it with --key)" } else { "" };
        writeln!(out, "signed by {key}{whence}")?;
    }
    if let Some(seq) = report.begins_after {
        writeln!(out, "the lines up to {seq} are not there: they were put away, or removed")?;
    }
    if report.anchored > 0 {
        writeln!(out, "checkpoints kept elsewhere: {} are in the log", report.anchored)?;
    }
    if report.put_away > 0 {
        writeln!(out, "checkpoints kept elsewhere: {} are of lines that are not there any more", report.put_away)?;
    }
    writeln!(out, "{} lines since the last checkpoint", report.unsigned)?;
    writeln!(out, "{}", if report.is_good() { "the audit log is whole" } else { "the audit log is NOT whole" })
}

fn print_file(out: &mut impl Write, file: &FileReport) -> io::Result<()> {
    writeln!(out, "{}: {} lines, {} checkpoints", file.name, file.lines, file.checkpoints)?;
    for place in &file.recovered {
        let (name, bytes, offset) = (&file.name, place.bytes, place.offset);
        match place.whole_lines {
            0 => writeln!(out, "{name}: torn by a crash and on record: {bytes} bytes at byte {offset}")?,
            lines => writeln!(
                out,
                "{name}: BROKEN: {bytes} bytes at byte {offset} are on record as torn by a crash, but hold {lines} whole lines"
            )?,
        }
    }
    if let Some(broken) = &file.broken {
        writeln!(out, "{}: BROKEN: line {}, at byte {}: {}", file.name, broken.line, broken.offset, broken.reason)?;
    }
    Ok(())
}

fn export(state_dir: &Path, days: Days, json: bool) -> anyhow::Result<Exit> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    if json {
        audit::export(state_dir, days, &mut |hit| writeln!(out, "{}", hit.json()))
            .with_context(|| state_dir.display().to_string())?;
    } else {
        let mut table = csv::Writer::from_writer(&mut out);
        table.write_record([
            "case",
            "operation",
            "received",
            "decided",
            "acted",
            "act",
            "lists",
            "categories",
            "history",
        ])?;
        audit::export(state_dir, days, &mut |hit| table.write_record(row(hit)))?;
        table.flush()?;
    }
    out.flush()?;
    Ok(Exit::Done)
}

/// What was done about it as a hit stands in columns of its own; what came before and later is in its history.
fn row(hit: &Hit) -> [String; 9] {
    let joined = |part: fn(&(String, String)) -> &String| -> String {
        hit.matched.iter().map(|label| part(label).as_str()).collect::<Vec<_>>().join("; ")
    };
    let history: Vec<String> = hit.acts.iter().map(|(time, act)| format!("{time} {act}")).collect();
    let Hit { case, operation, received, decided, acted: (acted, act), .. } = hit;
    [
        case.clone(),
        operation.clone(),
        received.clone(),
        decided.clone(),
        acted.clone(),
        act.clone(),
        joined(|(list, _)| list),
        joined(|(_, category)| category),
        history.join("; "),
    ]
}

fn day(text: &str) -> Result<Date, String> {
    Date::parse(text, format_description!("[year]-[month]-[day]"))
        .map_err(|_| "expected a day such as 2026-01-31".to_owned())
}
