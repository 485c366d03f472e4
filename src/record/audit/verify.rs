//! `hashgate audit verify`: everything that can be found out about a log without trusting who has it.

use super::LOCK;
use super::chain::Link;
use super::head::Head;
use super::lines::{Line, Lines, LogFile, files};
use super::recover::opening;
use super::run::START;
use super::signed::{self, CHECKPOINT, Checkpoint};
use super::walk::{Gap, RECOVERED, Step, TRUNCATED, Walker};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::path::Path;

/// What was found.
#[derive(Debug, Default)]
pub struct Report {
    /// File by file.
    pub files: Vec<FileReport>,
    /// What is wrong with the log as a whole.
    pub problems: Vec<String>,
    /// The keys whose signatures were taken as the gate's.
    pub keys: Vec<String>,
    /// Checkpoints kept elsewhere whose line is there, unchanged.
    pub anchored: usize,
    /// Checkpoints kept elsewhere of lines that were put away: nobody can say here whether they still are what they were.
    pub put_away: usize,
    /// The lines up to this one are not there, and the gate's signature says where what is left begins.
    pub begins_after: Option<u64>,
    /// Lines since the last checkpoint: their end could have been made anew by somebody who has the file.
    pub unsigned: u64,
}

/// What was found in one file.
#[derive(Debug, Default)]
pub struct FileReport {
    /// Its name.
    pub name: String,
    /// Lines that follow one another.
    pub lines: u64,
    /// Checkpoints among them, with good signatures.
    pub checkpoints: u64,
    /// Places that a crash has torn, and that the gate itself has put on record.
    pub recovered: Vec<Recovered>,
    /// Where the chain breaks first.
    pub broken: Option<Broken>,
}

/// A place that the gate has put on record.
#[derive(Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Where it begins.
    pub offset: u64,
    /// How long it is.
    pub bytes: u64,
    /// Lines in it that look whole: more than a crash leaves.
    pub whole_lines: u64,
}

/// Where a chain breaks.
#[derive(Debug, PartialEq, Eq)]
pub struct Broken {
    /// Which line of the file, from 1 on.
    pub line: u64,
    /// Where it begins.
    pub offset: u64,
    /// What is wrong with it.
    pub reason: String,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_good(&self) -> bool {
        let whole =
            |file: &FileReport| file.broken.is_none() && file.recovered.iter().all(|place| place.whole_lines == 0);
        self.problems.is_empty() && self.files.iter().all(whole)
    }
}

/// Verifies the log of a state folder; a gate may run there. `keys` are the public keys that may have signed it; where none
/// is given, the first that has, and those that the log itself says came later. `anchors` were kept elsewhere.
///
/// # Errors
/// A file cannot be read.
pub fn verify(dir: &Path, keys: &[String], anchors: &[Checkpoint]) -> io::Result<Report> {
    // In this order: a gate that runs has written the lines before the head, and lines before the lock is gone.
    let runs = File::open(dir.join(LOCK)).is_ok_and(|lock| lock.try_lock().is_err());
    let head = Head::read(dir)?;
    let files = opened(dir)?;
    let head = head.as_ref().map(|head| &head.checkpoint);
    // Whoever cuts the log can sign a head with a key of their own.
    let foreign = head.filter(|head| !keys.is_empty() && !keys.iter().any(|key| key == head.key()));
    let head = head.filter(|_| foreign.is_none());
    let mut verifying = Verifying::new(keys, anchors, head);
    if let Some(foreign) = foreign {
        verifying.report.problems.push(format!("audit.head is signed by another key, {}", foreign.key()));
    } else if head.is_none() && !files.is_empty() {
        verifying.report.problems.push("audit.head is missing, or its signature does not hold".to_owned());
    }
    let last = files.len().saturating_sub(1);
    for (at, (file, lines)) in files.into_iter().enumerate() {
        verifying.file(&file, lines, runs && at == last)?;
    }
    Ok(verifying.end(head))
}

type OpenFile = (LogFile, Lines<io::BufReader<File>>);

/// Opens all files at once. A gate that runs may put one aside meanwhile; then once more.
fn opened(dir: &Path) -> io::Result<Vec<OpenFile>> {
    loop {
        let names = files(dir)?;
        let opened =
            names.iter().map(|file| Ok((file.clone(), Lines::open(&file.path, 0)?))).collect::<io::Result<_>>();
        if files(dir)? == names {
            return opened;
        }
    }
}

struct Verifying<'a> {
    report: Report,
    /// Whose signatures count. Without one the first is believed.
    keys: BTreeSet<&'a str>,
    given: bool,
    learned: BTreeSet<String>,
    /// A key that has signed, and that no line has told of yet.
    untold: Option<(String, Broken)>,
    anchors: BTreeMap<u64, Vec<(&'a Checkpoint, &'static str)>>,
    /// Who has signed what was kept elsewhere.
    anchor_keys: BTreeSet<&'a str>,
    /// Where the chain is; `None` behind a place where it is broken.
    link: Option<Link>,
}

impl<'a> Verifying<'a> {
    fn new(keys: &'a [String], anchors: &'a [Checkpoint], head: Option<&'a Checkpoint>) -> Verifying<'a> {
        let mut by_line: BTreeMap<u64, Vec<_>> = BTreeMap::new();
        for (anchor, whence) in
            anchors.iter().map(|anchor| (anchor, "the anchor")).chain(head.map(|head| (head, "audit.head")))
        {
            by_line.entry(anchor.line.seq).or_default().push((anchor, whence));
        }
        Verifying {
            report: Report::default(),
            keys: keys.iter().map(String::as_str).collect(),
            given: !keys.is_empty(),
            learned: BTreeSet::new(),
            untold: None,
            anchors: by_line,
            anchor_keys: anchors.iter().map(Checkpoint::key).collect(),
            link: None,
        }
    }

    /// Goes along a file, to its end or to where the chain breaks.
    fn file(&mut self, file: &LogFile, mut lines: Lines<io::BufReader<File>>, is_written: bool) -> io::Result<()> {
        let begins = match self.link.take() {
            Some(link) => link,
            None => self.beginning(file)?,
        };
        let mut report = FileReport { name: file.name(), ..FileReport::default() };
        let mut walker = Walker::new(begins);
        self.passed(begins);
        while let Some(line) = lines.line()? {
            if is_written && !line.ended {
                // Half of a line that is being written.
                break;
            }
            let before = walker.link;
            let checked = match walker.step(&line) {
                Step::Fits(members) => self.fits(&mut report, &line, before, walker.link, members.as_ref()),
                Step::Closes(gap, members) => {
                    report.recovered.push(recovered(&gap));
                    self.fits(&mut report, &line, before, walker.link, Some(&members))
                }
                Step::InGap => Ok(()),
            };
            if let Err(reason) = checked {
                report.broken = Some(Broken { line: walker.line, offset: line.offset, reason });
                break;
            }
        }
        if let (Some(gap), None) = (&walker.gap, &report.broken) {
            report.broken = Some(Broken { line: gap.line, offset: gap.offset, reason: gap.why.to_string() });
        }
        self.link = report.broken.is_none().then_some(walker.link);
        self.report.files.push(report);
        Ok(())
    }

    /// After which line the first file, or one behind a break, says that it begins.
    fn beginning(&mut self, file: &LogFile) -> io::Result<Link> {
        let Some((link, key)) = opening(file)? else { return Ok(Link::NONE) };
        if self.report.files.is_empty() && link != Link::NONE {
            self.begins_after(link, &key);
        }
        Ok(link)
    }

    /// The log begins after `link`, as a line says that is signed with `key`: what was before may have been put away, and
    /// was if somebody else says that the key is the gate's, or that there was such a line.
    fn begins_after(&mut self, link: Link, key: &str) {
        let anchored = self.anchors.get(&link.seq).is_some_and(|anchors| {
            anchors.iter().any(|(anchor, whence)| anchor.line == link && *whence == "the anchor")
        });
        if anchored || self.keys.contains(key) || self.anchor_keys.contains(key) {
            self.report.begins_after = Some(link.seq);
        } else {
            self.report.problems.push(format!(
                "the lines up to {} are not there; if they were put away, give the gate's public key with --key, or any \
                 checkpoint that was kept elsewhere with --anchor",
                link.seq
            ));
        }
        for anchors in self.anchors.range_mut(..link.seq).map(|(_, anchors)| anchors) {
            // A head of a line that is away is older than what is left, and stays a problem.
            let before = anchors.len();
            anchors.retain(|(_, whence)| *whence != "the anchor");
            self.report.put_away += before - anchors.len();
        }
    }

    fn fits(
        &mut self,
        report: &mut FileReport,
        line: &Line<'_>,
        before: Link,
        link: Link,
        members: Option<&Map<String, Value>>,
    ) -> Result<(), String> {
        report.lines += 1;
        self.report.unsigned += 1;
        self.passed(link);
        self.announced(line);
        let Some(members) = members else { return Ok(()) };
        let operation = signed::text(members, "operation");
        if !matches!(operation, CHECKPOINT | RECOVERED | TRUNCATED | START) {
            return Ok(());
        }
        let key = signed::signer(members).ok_or("its signature does not hold")?;
        self.believe(key, operation, report.lines, line.offset)?;
        if signed::before(members) != Some(before) {
            return Err("it was signed after another line than the one before it".to_owned());
        }
        match operation {
            CHECKPOINT => {
                report.checkpoints += 1;
                self.report.unsigned = 0;
            }
            TRUNCATED => {
                let lost = members.get("lost_seq").and_then(Value::as_u64);
                let lost = lost.map(|seq| format!(", up to line {seq} at {}", signed::text(members, "lost_time")));
                self.report.problems.push(format!(
                    "{}, line {}: the gate found that lines were gone: {}{}",
                    report.name,
                    report.lines,
                    signed::text(members, "reason"),
                    lost.unwrap_or_default()
                ));
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether a key may sign here.
    fn believe(&mut self, key: &str, operation: &str, line: u64, offset: u64) -> Result<(), String> {
        if self.keys.contains(key) || self.learned.contains(key) {
        } else if self.given {
            return Err(format!("it is signed by another key, {key}"));
        } else if self.learned.is_empty() {
            self.learned.insert(key.to_owned());
        } else if operation == CHECKPOINT {
            return Err(format!("it is signed by another key, {key}, and no line says that it is the gate's"));
        } else {
            // A start with a new key says so in the lines that follow.
            let reason =
                format!("it is signed by another key, {key}, and no line behind it says that it is the gate's");
            self.untold.get_or_insert((key.to_owned(), Broken { line, offset, reason }));
            return Ok(());
        }
        if !self.report.keys.iter().any(|known| known == key) {
            self.report.keys.push(key.to_owned());
        }
        Ok(())
    }

    /// A line that says that the gate has a new key.
    fn announced(&mut self, line: &Line<'_>) {
        let Some((key, _)) = &self.untold else { return };
        let Ok(Value::Object(members)) = serde_json::from_slice(line.bytes) else { return };
        if signed::text(&members, "operation") == "KeyChanged" && signed::text(&members, "to") == key {
            let key = key.clone();
            self.untold = None;
            self.learned.insert(key.clone());
            self.report.keys.push(key);
        }
    }

    /// The chain is at this place.
    fn passed(&mut self, link: Link) {
        for (anchor, whence) in self.anchors.remove(&link.seq).unwrap_or_default() {
            if anchor.line == link {
                self.report.anchored += usize::from(whence == "the anchor");
            } else {
                let time = anchor.time();
                self.report.problems.push(format!("line {} is another than {whence} of {time} says", link.seq));
            }
        }
    }

    fn end(mut self, head: Option<&Checkpoint>) -> Report {
        let told = |key: &str| self.keys.contains(key) || self.learned.contains(key);
        // Behind a break nobody has looked whether the key was told of.
        let is_broken = self.untold.is_some() || self.report.files.iter().any(|file| file.broken.is_some());
        if let Some(key) =
            head.map(Checkpoint::key).filter(|key| !is_broken && !self.report.keys.is_empty() && !told(key))
        {
            self.report.problems.push(format!("audit.head is signed by a key that the log does not name, {key}"));
        }
        if let Some((_, Broken { line, offset, reason })) = self.untold {
            self.report.problems.push(format!("line {line}, at byte {offset}: {reason}"));
        }
        for (anchor, whence) in self.anchors.into_values().flatten() {
            let (seq, time) = (anchor.line.seq, anchor.time());
            self.report.problems.push(format!("line {seq}, of which {whence} of {time} speaks, is not there"));
        }
        self.report
    }
}

fn recovered(gap: &Gap) -> Recovered {
    Recovered { offset: gap.offset, bytes: gap.bytes, whole_lines: gap.whole_lines }
}
