//! Where the chain goes on after a stop, an orderly one or not.
//!
//! Only what came after the last checkpoint is walked along: `audit.head` says where that is.

use super::chain::{Link, claim};
use super::head::Head;
use super::lines::{CURRENT, Line, Lines, LogFile, files};
use super::run::START;
use super::signed::{self, Checkpoint};
use super::walk::{Gap, Step, Walker};
use serde_json::{Map, Value};
use std::io;
use std::path::{Path, PathBuf};

/// The end of a log.
pub(super) struct End {
    /// The last line that fits.
    pub(super) link: Link,
    /// What comes after it in `audit.log`, or in `torn`.
    pub(super) gap: Option<Gap>,
    /// The number of the first line of `audit.log`.
    pub(super) first: u64,
    /// What the last start of the gate said of itself.
    pub(super) run: Option<Map<String, Value>>,
    /// What should be there and is not.
    pub(super) lost: Option<Lost>,
    /// The file that was put aside last, where it has the gap and no line came after it: a power loss kept its new name and
    /// not its end.
    pub(super) torn: Option<PathBuf>,
}

/// What is missing at the end of a log.
pub(super) enum Lost {
    /// The lines up to this checkpoint.
    Lines(Checkpoint),
    /// `audit.head`, or the gate's signature in it: nobody can say whether lines are.
    Head,
}

impl End {
    /// Finds it, for the gate with this public key.
    pub(super) fn find(dir: &Path, public: &str) -> io::Result<End> {
        let mut files = files(dir)?;
        // A crash between two renames leaves no current file, and one that was just made is empty.
        files.retain(|file| file.path.metadata().is_ok_and(|meta| meta.len() > 0));
        let (mut head, mut forged) = (Head::read(dir)?, false);
        if let Some(found) = &head
            && !is_of_gate(&files, found, public)?
        {
            (head, forged) = (None, found.checkpoint.line != Link::NONE);
        }
        let run = head.as_ref().and_then(|head| head.run.clone());
        let mut end = End { link: Link::NONE, gap: None, first: 1, run, lost: None, torn: None };
        match (&head, head.as_ref().and_then(|head| place(&files, head))) {
            (Some(head), Some(at)) => {
                end.first = head.first;
                end.link = head.checkpoint.line;
                end.walk(&files[at..], head.offset)?;
            }
            // What was before a file is said by its first line.
            (head, _) => {
                end.lost = head.as_ref().map(|head| Lost::Lines(head.checkpoint.clone()));
                let last = &files[files.len().saturating_sub(1)..];
                if forged {
                    end.lost = Some(Lost::Head);
                } else if let (Some(file), None) = (last.first(), &end.lost) {
                    // A log without a chain is one of before there were chains.
                    end.lost = (files.len() > 1 || has_chain(file)?).then_some(Lost::Head);
                }
                if let Some(file) = last.first() {
                    end.link = start_of(file)?;
                    end.first = end.link.seq + 1;
                }
                end.walk(last, 0)?;
            }
        }
        match files.last() {
            Some(LogFile { path, first: Some(first) }) if end.gap.is_some() => {
                (end.first, end.torn) = (*first, Some(path.clone()));
            }
            Some(LogFile { first: None, .. }) => {}
            _ => end.first = end.link.seq + 1,
        }
        Ok(end)
    }

    /// Goes on along `files`, in the first of them from `offset` on.
    fn walk(&mut self, files: &[LogFile], mut offset: u64) -> io::Result<()> {
        for file in files {
            let mut lines = Lines::open(&file.path, offset)?;
            let mut walker = Walker::new(self.link);
            if offset == 0 {
                self.first = self.link.seq + 1;
            }
            while let Some(line) = lines.line()? {
                if let Step::Fits(Some(members)) = walker.step(&line)
                    && signed::text(&members, "operation") == START
                {
                    self.run = Some(members);
                }
            }
            (self.link, self.gap, offset) = (walker.link, walker.gap, 0);
        }
        Ok(())
    }
}

/// Whether a head was signed by the gate: with the key that it has now, or, where that is new, with the one that signed the
/// line after the head's place as well. Whoever has no key of the gate can sign a head with one of their own; for it to count
/// they have to leave a line with that signature, which `audit verify --key` finds.
fn is_of_gate(files: &[LogFile], head: &Head, public: &str) -> io::Result<bool> {
    let (line, key) = (head.checkpoint.line, head.checkpoint.key());
    if key == public {
        return Ok(true);
    }
    let Some(file) = place(files, head).and_then(|at| files.get(at)) else { return Ok(false) };
    let mut lines = Lines::open(&file.path, head.offset)?;
    let members = lines.line()?.and_then(|line| signed::parse(line.bytes));
    Ok(members.is_some_and(|m| signed::signer(&m) == Some(key) && signed::before(&m) == Some(line)))
}

/// Which file the checkpoint of a head is in, where it is still as long as that says.
fn place(files: &[LogFile], head: &Head) -> Option<usize> {
    let aside = files.iter().position(|file| file.first == Some(head.first));
    let current = || files.iter().position(|file| file.first.is_none());
    let Some(at) = aside.or_else(current) else {
        // Nothing was there yet when it was written, or the crash came before the first line of a new file.
        return (head.offset == 0 && head.checkpoint.line == Link::NONE).then_some(files.len());
    };
    (files[at].path.metadata().is_ok_and(|meta| meta.len() >= head.offset)).then_some(at)
}

/// The place after which a file begins, which its first line says.
pub(super) fn start_of(file: &LogFile) -> io::Result<Link> {
    Ok(opening(file)?.map_or(Link::NONE, |(link, _)| link))
}

/// The place after which the first line of a file says that it comes, and the key that has signed it.
pub(super) fn opening(file: &LogFile) -> io::Result<Option<(Link, String)>> {
    let mut lines = Lines::open(&file.path, 0)?;
    let members = lines.line()?.and_then(|line| signed::parse(line.bytes));
    Ok(members.and_then(|members| Some((signed::before(&members)?, signed::signer(&members)?.to_owned()))))
}

fn has_chain(file: &LogFile) -> io::Result<bool> {
    let mut lines = Lines::open(&file.path, 0)?;
    let claims = |line: &Line<'_>| claim(line.bytes).is_some();
    Ok(file.name() != CURRENT || lines.line()?.is_some_and(|line| claims(&line)))
}
