//! Walking along the chain, over what the gate itself has said is broken.

use super::chain::{Link, Misfit, claim};
use super::lines::Line;
use super::signed;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

/// The operation of a line that covers what does not fit.
pub(super) const RECOVERED: &str = "Recovered";

/// The operation of a line that says that lines are gone.
pub(super) const TRUNCATED: &str = "Truncated";

/// A place in the chain, and what follows it without fitting.
pub(super) struct Walker {
    /// The last line that fits.
    pub(super) link: Link,
    /// What has come since, and does not.
    pub(super) gap: Option<Gap>,
    /// How many lines of the file have come.
    pub(super) line: u64,
}

/// Bytes that are no part of the chain.
pub(super) struct Gap {
    /// Which line of the file it begins with, from 1 on.
    pub(super) line: u64,
    /// Where it begins.
    pub(super) offset: u64,
    /// How long it is.
    pub(super) bytes: u64,
    /// Lines in it that look whole: a crash tears one, it does not make one that fits nowhere.
    pub(super) whole_lines: u64,
    /// Why its first line does not fit.
    pub(super) why: Misfit,
    /// Whether its last line end is there.
    pub(super) ended: bool,
    /// Its only line lacks nothing but its end, and would have this link with it.
    pub(super) unended: Option<Link>,
    sha256: Sha256,
}

/// What a line is in the chain.
pub(super) enum Step {
    /// It follows the one before; its members, where it is a signed one.
    Fits(Option<Map<String, Value>>),
    /// It follows the one before a gap, and covers it with the gate's signature.
    Closes(Gap, Map<String, Value>),
    /// It does not follow.
    InGap,
}

impl Walker {
    pub(super) fn new(link: Link) -> Walker {
        Walker { link, gap: None, line: 0 }
    }

    /// Takes the next line of the file.
    pub(super) fn step(&mut self, line: &Line<'_>) -> Step {
        self.line += 1;
        let follows = if line.ended { self.link.follow(line.bytes) } else { Err(Misfit::Shape) };
        match (follows, self.gap.take()) {
            (Ok(link), None) => {
                self.link = link;
                Step::Fits(signed::parse(line.bytes))
            }
            (Ok(link), Some(gap)) => match signed::parse(line.bytes).filter(|members| gap.is_covered_by(members)) {
                Some(members) => {
                    self.link = link;
                    Step::Closes(gap, members)
                }
                None => self.widen(Some(gap), Misfit::Shape, line),
            },
            (Err(why), gap) => self.widen(gap, why, line),
        }
    }

    fn widen(&mut self, gap: Option<Gap>, why: Misfit, line: &Line<'_>) -> Step {
        let unended = if line.ended { None } else { self.link.follow(line.bytes).ok() };
        let begin = || Gap {
            unended,
            line: self.line,
            offset: line.offset,
            bytes: 0,
            whole_lines: 0,
            why,
            ended: false,
            sha256: Sha256::new(),
        };
        self.gap.insert(gap.unwrap_or_else(begin)).add(line);
        Step::InGap
    }
}

impl Gap {
    fn add(&mut self, line: &Line<'_>) {
        self.sha256.update(line.bytes);
        self.bytes += line.bytes.len() as u64;
        self.whole_lines += u64::from(line.ended && claim(line.bytes).is_some());
        self.ended = line.ended;
        if line.ended {
            self.end();
        }
    }

    /// Ends its last line.
    pub(super) fn end(&mut self) {
        self.sha256.update(b"\n");
        self.bytes += 1;
        self.ended = true;
    }

    /// In hexadecimal.
    pub(super) fn digest(&self) -> String {
        hex::encode(self.sha256.clone().finalize())
    }

    fn is_covered_by(&self, members: &Map<String, Value>) -> bool {
        signed::text(members, "operation") == RECOVERED
            && members.get("bytes").and_then(Value::as_u64) == Some(self.bytes)
            && signed::text(members, "sha256") == self.digest()
            && signed::signer(members).is_some()
    }
}
