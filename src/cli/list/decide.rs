//! `hashgate list veto` and `hashgate list confirm`

use crate::cli::Exit;
use crate::config;
use crate::decide::Mark;
use crate::list::{self, Decision};
use crate::record::audit;
use anyhow::Context as _;
use serde_json::Value;
use std::path::Path;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

pub(super) fn run(case: &str, config: &Path, decision: Decision) -> anyhow::Result<Exit> {
    let settings = match config::load(config) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("{error}");
            return Ok(Exit::Configuration);
        }
    };
    let state_dir = settings.state_dir.display().to_string();
    let matched = matches_of(&settings.state_dir, case).with_context(|| state_dir.clone())?;
    if matched.is_empty() {
        eprintln!("hashgate: the audit log in {state_dir} has no listed payload in a request `{case}`");
        return Ok(Exit::NothingFound);
    }
    let mut marks: Vec<Mark> = matched.iter().map(|(mark, _)| *mark).collect();
    marks.sort();
    marks.dedup();
    let now = OffsetDateTime::now_utc().format(&Rfc3339)?;
    list::decide(&settings.state_dir, case, &marks, decision, &now)
        .with_context(|| settings.state_dir.display().to_string())?;
    let done = match decision {
        Decision::Veto => "let through from now on",
        Decision::Confirm => "refused as before, without an alarm",
    };
    for (_, label) in &matched {
        println!("{label}: the payload of {case} is {done}");
    }
    Ok(Exit::Done)
}

/// The marks that the audit log has of a request, each with list and category.
fn matches_of(state_dir: &Path, case: &str) -> anyhow::Result<Vec<(Mark, String)>> {
    let mut found = Vec::new();
    for file in audit::files(state_dir)? {
        let mut lines = audit::Lines::open(&file.path, 0)?;
        while let Some(line) = lines.line()? {
            // Most lines are of other requests: not worth parsing.
            if !line.bytes.windows(case.len().max(1)).any(|window| window == case.as_bytes()) {
                continue;
            }
            let Ok(line) = serde_json::from_slice::<Value>(line.bytes) else { continue };
            if line["request"] != case {
                continue;
            }
            for label in line["matched"].as_array().into_iter().flatten() {
                let text = |key: &str| label[key].as_str().unwrap_or_default();
                if let Ok(mark) = text("mark").parse() {
                    found.push((mark, format!("{} {}", text("list"), text("category"))));
                }
            }
        }
    }
    Ok(found)
}
