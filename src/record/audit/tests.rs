//! The log of a state folder, over stops of every kind.

use super::*;
use crate::digest::Digests;
use crate::list::{Decision, Decisions, decide};
use tempfile::TempDir;

const ROTATE: u64 = 1 << 30;

/// A state folder.
struct Folder(TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A process with this configuration starts.
    fn start(&self, configuration: &str) -> Audit {
        self.start_rotating(configuration, ROTATE)
    }

    fn start_rotating(&self, configuration: &str, rotate: u64) -> Audit {
        let audit = Audit::open(self.0.path(), rotate).unwrap();
        let digest = format!("{configuration:0<16}");
        audit
            .begin(&Run { sections: vec![("listen", digest.clone()), ("log", "0".repeat(16))], list_key: digest })
            .unwrap();
        audit
    }

    fn read(&self) -> Vec<u8> {
        fs::read(self.at(CURRENT)).unwrap()
    }

    fn verify(&self) -> Report {
        verify(self.0.path(), &[], &[]).unwrap()
    }

    /// The operations of all lines, in order; what is no line is `?`.
    fn operations(&self) -> String {
        let mut operations = Vec::new();
        for file in files(self.0.path()).unwrap() {
            for line in fs::read(file.path).unwrap().split_inclusive(|byte| *byte == b'\n') {
                let line: Value = serde_json::from_slice(line).unwrap_or_default();
                operations.push(line["operation"].as_str().unwrap_or("?").to_owned());
            }
        }
        operations.join(" ")
    }
}

fn put(audit: &Audit, lines: usize) {
    for n in 0..lines {
        audit.append(&line(json!({ "operation": "Put", "n": n }))).unwrap();
    }
}

fn line(value: Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap()
}

fn problems(report: &Report) -> String {
    let broken = report.files.iter().filter_map(|file| file.broken.as_ref());
    let broken = broken.map(|broken| format!("{} at {}: {}", broken.line, broken.offset, broken.reason));
    report.problems.iter().cloned().chain(broken).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_folder_serves_one_process() {
    let folder = Folder::new();
    let first = folder.start("a");
    assert!(matches!(Audit::open(folder.0.path(), ROTATE), Err(AuditError::InUse(_))));
    drop(first);
    assert!(Audit::open(folder.0.path(), ROTATE).is_ok());
}

#[test]
fn the_chain_goes_on_over_restarts_and_says_what_has_changed() {
    let folder = Folder::new();
    for configuration in ["a", "a", "b"] {
        put(&folder.start(configuration), 2);
    }
    let begun = "ChainStart Checkpoint Put Put";
    let changed = "ChainStart ConfigurationChanged KeyChanged Checkpoint Put Put";
    assert_eq!(folder.operations(), format!("{begun} {begun} {changed}"));
    let report = folder.verify();
    assert!(report.is_good(), "{}", problems(&report));
    assert_eq!((report.files[0].lines, report.files[0].checkpoints, report.unsigned, report.keys.len()), (14, 3, 2, 1));
    let text = String::from_utf8(folder.read()).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[4]["before_hash"], lines[3]["hash"]);
    assert_eq!((&lines[9]["sections"], &lines[10]["which"]), (&json!(["listen"]), &json!("list")));
    assert!(lines.iter().enumerate().all(|(at, line)| line["seq"] == at + 1 && line["time"].is_string()));
    assert!(text.lines().all(|line| line.contains(",\"seq\":") && line.ends_with("\"}")));
}

/// Wherever a crash tears the last line: what is left stays, and is put on record.
#[test]
fn a_torn_tail_is_put_on_record_wherever_it_is_torn() {
    let folder = Folder::new();
    put(&folder.start("a"), 3);
    let whole = folder.read();
    let last = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    let head = fs::read(folder.at("audit.head")).unwrap();
    for end in last..=whole.len() {
        fs::write(folder.at(CURRENT), &whole[..end]).unwrap();
        fs::write(folder.at("audit.head"), &head).unwrap();
        assert_eq!(folder.verify().is_good(), end == last || end == whole.len(), "{end}: before the next start");
        put(&folder.start("a"), 1);
        assert!(folder.read().starts_with(&whole[..end]), "{end}: what was there stays");
        let report = folder.verify();
        assert!(report.is_good(), "{end}: {}", problems(&report));
        let torn = (end - last) as u64;
        // Where only its end is missing, the line is whole all the same.
        let expected: Vec<_> = (end != last && end < whole.len() - 1)
            .then(|| Recovered { offset: last as u64, bytes: torn + 1, whole_lines: 0 })
            .into_iter()
            .collect();
        assert_eq!(report.files[0].recovered, expected, "{end}");
        if end % 16 == 0 {
            put(&folder.start("a"), 1);
            assert!(folder.verify().is_good(), "{end}: once more");
        }
    }
}

#[test]
fn what_a_power_loss_leaves_is_put_on_record() {
    let folder = Folder::new();
    put(&folder.start("a"), 3);
    let (whole, head) = (folder.read(), fs::read(folder.at("audit.head")).unwrap());
    for tail in [vec![0; 5000], vec![0; 3 << 20], b"{\"n\":1}\n".to_vec(), b"\n\n".to_vec(), b"\0\0\n{\"x".to_vec()] {
        fs::write(folder.at(CURRENT), [&whole[..], &tail].concat()).unwrap();
        put(&folder.start("a"), 1);
        let report = folder.verify();
        assert!(report.is_good() && report.files[0].recovered.len() == 1, "{}", problems(&report));
        let text = folder.read();
        let covered = whole.len() + usize::try_from(report.files[0].recovered[0].bytes).unwrap();
        assert_eq!(text[covered], b'{', "the next line begins behind it");
        // The record is of these very bytes.
        for place in [whole.len(), covered - 1] {
            let mut changed = text.clone();
            changed[place] ^= 1;
            fs::write(folder.at(CURRENT), changed).unwrap();
            assert!(!folder.verify().is_good(), "{place} of {}", text.len());
        }
        fs::write(folder.at("audit.head"), &head).unwrap();
    }
}

/// A line that somebody changed before a restart is on record as well, and not as something that a crash does.
#[test]
fn a_change_does_not_pass_as_a_torn_tail() {
    let folder = Folder::new();
    put(&folder.start("a"), 4);
    let text = String::from_utf8(folder.read()).unwrap();
    fs::write(folder.at(CURRENT), text.replace("\"n\":1", "\"n\":7")).unwrap();
    put(&folder.start("a"), 1);
    let report = folder.verify();
    assert!(!report.is_good());
    assert_eq!(report.files[0].recovered[0].whole_lines, 3, "the changed one, and two that follow it");
}

#[test]
fn a_log_that_is_shorter_than_its_head_says_is_no_secret() {
    for (what, reason) in
        [("lines", "shorter than audit.head says"), ("file", "shorter"), ("head", "audit.head is missing")]
    {
        let folder = Folder::new();
        put(&folder.start("a"), 3);
        put(&folder.start("a"), 3);
        let anchor = vec![
            Checkpoint::find(&serde_json::from_slice(&fs::read(folder.at("audit.head")).unwrap()).unwrap()).unwrap(),
        ];
        assert!(verify(folder.0.path(), &[], &anchor).unwrap().is_good());
        let text = String::from_utf8(folder.read()).unwrap();
        let kept: String = text.split_inclusive('\n').take(4).collect();
        match what {
            "lines" => fs::write(folder.at(CURRENT), kept).unwrap(),
            "file" => fs::remove_file(folder.at(CURRENT)).unwrap(),
            _ => {
                fs::write(folder.at(CURRENT), kept).unwrap();
                fs::remove_file(folder.at("audit.head")).unwrap();
            }
        }
        assert!(!folder.verify().is_good(), "{what}: also before the next start");
        let audit = folder.start("a");
        put(&audit, 20);
        audit.checkpoint().unwrap();
        drop(audit);
        assert!(folder.operations().contains("Truncated ChainStart"), "{what}: {}", folder.operations());
        let report = folder.verify();
        assert!(!report.is_good() && problems(&report).contains(reason), "{what}: {}", problems(&report));
        // The lines that came since have the numbers of those that are gone; an anchor is not taken in.
        let report = verify(folder.0.path(), &[], &anchor).unwrap();
        assert!(problems(&report).contains("is another than the anchor"), "{what}: {}", problems(&report));
    }
}

#[test]
fn an_anchor_beyond_the_end_is_missed() {
    let folder = Folder::new();
    let audit = folder.start("a");
    let head = fs::read(folder.at("audit.head")).unwrap();
    let text = folder.read();
    put(&audit, 3);
    let anchor = [audit.checkpoint().unwrap()];
    drop(audit);
    // Somebody puts an old state back, which is whole in itself.
    fs::write(folder.at("audit.head"), head).unwrap();
    fs::write(folder.at(CURRENT), text).unwrap();
    assert!(folder.verify().is_good());
    let report = verify(folder.0.path(), &[], &anchor).unwrap();
    assert!(problems(&report).contains("line 5, of which the anchor"), "{}", problems(&report));
}

#[test]
fn a_file_that_is_long_enough_is_put_aside_and_the_chain_goes_on() {
    let folder = Folder::new();
    let audit = folder.start_rotating("a", 3000);
    let mut last = None;
    for _ in 0..5 {
        put(&audit, 20);
        last = Some(audit.checkpoint().unwrap());
    }
    drop(audit);
    put(&folder.start_rotating("a", 3000), 5);
    let report = folder.verify();
    assert!(report.is_good(), "{}", problems(&report));
    assert_eq!(report.files.len(), 6, "{:?}", files(folder.0.path()).unwrap());
    assert!(report.files.iter().all(|file| file.checkpoints > 0 && file.lines < 30));
    let all = files(folder.0.path()).unwrap();
    for file in &all[..5] {
        let text = fs::read_to_string(&file.path).unwrap();
        let line: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!(line["seq"].as_u64(), file.first, "it has the name of its first line");
        let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert_eq!(last["operation"], "Checkpoint", "it is signed to its end");
    }
    assert_eq!(verify(folder.0.path(), &[], &[last.unwrap()]).unwrap().anchored, 1);

    // The crash came between the two renames.
    let first: Value = serde_json::from_slice(folder.read().split(|byte| *byte == b'\n').next().unwrap()).unwrap();
    fs::rename(folder.at(CURRENT), folder.at(&name_of(first["seq"].as_u64().unwrap()))).unwrap();
    put(&folder.start_rotating("a", 3000), 5);
    let report = folder.verify();
    assert!(report.is_good() && report.files.len() == 7, "{}", problems(&report));

    // A file in the middle is gone, and then the first.
    let aside = fs::read(&all[2].path).unwrap();
    fs::remove_file(&all[2].path).unwrap();
    assert!(problems(&folder.verify()).contains("is due"), "{}", problems(&folder.verify()));
    fs::write(&all[2].path, aside).unwrap();
    let text = fs::read_to_string(&all[0].path).unwrap();
    fs::remove_file(&all[0].path).unwrap();
    assert!(problems(&folder.verify()).contains("are not there"), "{}", problems(&folder.verify()));
    // The first line of what is left says after which line it comes, and the gate's word from elsewhere agrees.
    let second = fs::read_to_string(&all[1].path).unwrap();
    let opening: Value = serde_json::from_str(second.lines().next().unwrap()).unwrap();
    let anchor = [Checkpoint::find(&opening).unwrap()];
    let report = verify(folder.0.path(), &[], &anchor).unwrap();
    assert!(report.is_good(), "{}", problems(&report));
    assert_eq!(text.lines().last().map(|line| line.contains(&hex::encode(anchor[0].line.hash))), Some(true));
}

/// Every way to touch a log is found by `verify`, at the first line that it touches.
#[test]
fn what_is_done_to_a_log_is_found() {
    let folder = Folder::new();
    let audit = folder.start("a");
    put(&audit, 5);
    audit.checkpoint().unwrap();
    drop(audit);
    let text = String::from_utf8(folder.read()).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let offset = |line: u64| lines[..line as usize - 1].concat().len() as u64;
    let upper = lines[3].to_uppercase();
    for (what, changed, at) in [
        ("dropped", [&lines[..3], &lines[4..]].concat(), 4),
        ("reordered", [&lines[..3], &[lines[4], lines[3]], &lines[5..]].concat(), 4),
        ("twice", [&lines[..4], &lines[3..]].concat(), 5),
        ("changed", [&lines[..3], &[upper.as_str()], &lines[4..]].concat(), 4),
        ("an empty line", [&lines[..3], &["\n"], &lines[3..]].concat(), 4),
        ("another last line", [&lines[..7], &["{}\n"]].concat(), 8),
    ] {
        fs::write(folder.at(CURRENT), changed.concat()).unwrap();
        let report = folder.verify();
        let broken = report.files[0].broken.as_ref().map(|broken| (broken.line, broken.offset));
        assert_eq!((broken, report.is_good()), (Some((at, offset(at))), false), "{what}: {}", problems(&report));
    }
    fs::write(folder.at(CURRENT), lines[1..].concat()).unwrap();
    assert!(problems(&folder.verify()).contains("the lines up to 1 are not there"), "{}", problems(&folder.verify()));
    // Cut short: what is left is a whole chain, and the head tells.
    fs::write(folder.at(CURRENT), lines[..5].concat()).unwrap();
    assert!(problems(&folder.verify()).contains("line 7, of which audit.head"), "{}", problems(&folder.verify()));
}

/// Whoever makes the chain anew behind a change cannot sign its checkpoints.
#[test]
fn a_chain_made_anew_has_no_signature() {
    let folder = Folder::new();
    let audit = folder.start("a");
    put(&audit, 5);
    audit.checkpoint().unwrap();
    let key = audit.signing().public();
    drop(audit);
    let text = String::from_utf8(folder.read()).unwrap();
    let (mut forged, mut link) = (Vec::new(), Link::NONE);
    for line in text.replace("\"n\":2", "\"n\":9").lines() {
        let mut line = line.split(",\"seq\":").next().unwrap().as_bytes().to_vec();
        link = link.close(&mut line);
        forged.extend_from_slice(&line);
        forged.push(b'\n');
    }
    assert_eq!(link.seq, 8);
    fs::write(folder.at(CURRENT), &forged).unwrap();
    let report = folder.verify();
    assert!(problems(&report).contains("line 7 is another than audit.head"), "{}", problems(&report));
    fs::write(folder.at(CURRENT), &text).unwrap();

    // With a key of their own they can, and then it is another key.
    let theirs = Signing::open(tempfile::tempdir().unwrap().path()).unwrap().public();
    assert!(verify(folder.0.path(), std::slice::from_ref(&key), &[]).unwrap().is_good());
    let report = verify(folder.0.path(), &[theirs], &[]).unwrap();
    assert!(problems(&report).contains("signed by another key"), "{}", problems(&report));
}

#[test]
fn a_new_signing_key_is_told_of() {
    let folder = Folder::new();
    let old = folder.start("a").signing().public();
    fs::remove_file(folder.at("signing.key")).unwrap();
    let audit = folder.start("a");
    let new = audit.signing().public();
    drop(audit);
    assert_eq!(folder.operations(), "ChainStart Checkpoint ChainStart KeyChanged Checkpoint");
    let report = folder.verify();
    assert!(report.is_good(), "{}", problems(&report));
    assert_eq!(report.keys, [old.clone(), new.clone()]);
    assert!(!verify(folder.0.path(), std::slice::from_ref(&old), &[]).unwrap().is_good());
    assert!(verify(folder.0.path(), &[old, new], &[]).unwrap().is_good());
}

#[test]
fn a_log_from_before_there_was_a_chain_is_covered() {
    let folder = Folder::new();
    fs::write(folder.at(CURRENT), "{\"n\":1}\n{\"n\":2}\n{\"n\"").unwrap();
    put(&folder.start("a"), 1);
    assert_eq!(folder.operations(), "? ? ? Recovered ChainStart Checkpoint Put");
    let report = folder.verify();
    assert!(report.is_good(), "{}", problems(&report));
    assert_eq!(report.files[0].recovered, [Recovered { offset: 0, bytes: 21, whole_lines: 0 }]);
}

#[test]
fn a_full_disk_is_noticed_and_gets_better_and_a_case_makes_room() {
    let folder = Folder::new();
    let audit = folder.start("a");
    let full = || Arc::new(OpenOptions::new().write(true).open("/dev/full").unwrap());
    let good = std::mem::replace(&mut audit.lock().file, full());
    assert!(audit.append(&line(json!({ "operation": "Put" }))).is_err());
    assert!(audit.append(&line(json!({ "operation": "Put", "case": "C" }))).is_err(), "there is no reserve yet");
    assert!(audit.is_broken());
    audit.lock().file = good.clone();
    audit.append(&line(json!({ "operation": "Put" }))).unwrap();
    assert!(!audit.is_broken());
    // Nobody sends an upload to a gate that says that it is not ready: its checkpoints find out both.
    for file in [full(), good.clone()] {
        audit.lock().file = file.clone();
        assert_eq!(audit.checkpoint().is_err(), audit.is_broken());
        assert_eq!(audit.is_broken(), !Arc::ptr_eq(&file, &good));
    }

    // A line was torn in the middle: the next one takes its place.
    (&*good).write_all(b"{\"operation\":\"Pu").unwrap();
    audit.lock().torn = true;
    audit.append(&line(json!({ "operation": "Put" }))).unwrap();

    let asked = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counts = asked.clone();
    audit.set_reserve(move || counts.fetch_add(1, Ordering::Relaxed) < 2);
    audit.lock().file = full();
    audit.append(&line(json!({ "operation": "Put" }))).unwrap_err();
    assert_eq!(asked.load(Ordering::Relaxed), 0, "only cases take from the reserve");
    audit.append(&line(json!({ "operation": "Put", "case": "C" }))).unwrap_err();
    assert_eq!(asked.load(Ordering::Relaxed), 3, "until nothing is left");
    audit.lock().file = good;
    audit.append(&line(json!({ "operation": "Put", "case": "C" }))).unwrap();
    assert_eq!(folder.operations(), "ChainStart Checkpoint Put Checkpoint Put Put");
    assert!(folder.verify().is_good());
}

/// What the disk has not taken keeps the name under which the next start looks for a torn end.
#[test]
fn a_file_that_is_not_on_the_disk_is_not_put_aside() {
    let folder = Folder::new();
    let audit = folder.start_rotating("a", 3000);
    put(&audit, 20);
    // It takes every write, and cannot be synced.
    let null = Arc::new(OpenOptions::new().write(true).open("/dev/null").unwrap());
    audit.lock().file = null;
    assert!(audit.checkpoint().is_err());
    assert!(audit.lock().file.sync_data().is_err() && !folder.at(&name_of(1)).exists());
}

/// A power loss kept the new name of a file that was put aside, and not its end.
#[test]
fn a_torn_file_that_was_put_aside_last_is_put_on_record() {
    for (what, current) in [("no file was begun", None), ("the new one is empty", Some(""))] {
        let folder = Folder::new();
        put(&folder.start("a"), 20);
        let whole = folder.read();
        fs::write(folder.at(&name_of(1)), &whole[..whole.len() - 30]).unwrap();
        fs::remove_file(folder.at(CURRENT)).unwrap();
        if let Some(text) = current {
            fs::write(folder.at(CURRENT), text).unwrap();
        }
        assert!(!folder.verify().is_good(), "{what}: before the next start");
        let audit = folder.start_rotating("a", 3000);
        let report = folder.verify();
        assert!(report.is_good(), "{what}: {}", problems(&report));
        let recovered: Vec<usize> = report.files.iter().map(|file| file.recovered.len()).collect();
        assert_eq!(recovered, [1, 0], "{what}: and it is put aside again, with its end");
        put(&audit, 1);
        drop(audit);
        put(&folder.start("a"), 1);
        assert!(folder.verify().is_good(), "{what}: once more");
    }
}

/// What is left begins after a line of which no checkpoint may speak that anybody has kept.
#[test]
fn old_files_can_be_put_away_and_checkpoints_of_them_stay_good() {
    let folder = Folder::new();
    let audit = folder.start_rotating("a", 3000);
    let mut kept = Vec::new();
    for _ in 0..4 {
        put(&audit, 8);
        kept.push(audit.checkpoint().unwrap());
        put(&audit, 12);
        kept.push(audit.checkpoint().unwrap());
    }
    let key = [audit.signing().public()];
    drop(audit);
    let all = files(folder.0.path()).unwrap();
    assert_eq!(all.len(), 5);
    for away in &all[..2] {
        fs::remove_file(&away.path).unwrap();
    }
    let after = all[2].first.unwrap() - 1;
    let away = kept.iter().filter(|kept| kept.line.seq < after).count();
    let counts = |report: &Report| (report.is_good(), report.put_away, report.anchored, report.begins_after);
    let checked = |keys: &[String], anchors: &[Checkpoint]| verify(folder.0.path(), keys, anchors).unwrap();
    let report = checked(&[], &kept);
    assert_eq!(counts(&report), (true, away, kept.len() - away, Some(after)), "{}", problems(&report));
    assert_eq!(away, 3, "the fourth is of the very line before what is left");
    let report = checked(&[], &kept[..1]);
    assert_eq!(counts(&report), (true, 1, 0, Some(after)), "{}", problems(&report));
    let report = checked(&key, &[]);
    assert_eq!(counts(&report), (true, 0, 0, Some(after)), "{}", problems(&report));

    // Nobody has said whose the signature at the start is, or it is another's.
    let theirs = Signing::open(tempfile::tempdir().unwrap().path()).unwrap();
    let foreign = [Checkpoint::sign(kept[0].line, "2026-01-01T00:00:00Z", &theirs)];
    for (keys, anchors) in [(vec![], &[][..]), (vec![], &foreign), (vec![theirs.public()], &[])] {
        let report = checked(&keys, anchors);
        let expected = format!("the lines up to {after} are not there; if they were put away");
        assert!(problems(&report).contains(&expected) && report.begins_after.is_none(), "{}", problems(&report));
    }
    // Of a line that is there, an anchor is believed as before.
    let forged = Checkpoint::sign(Link { hash: [1; 32], ..kept[3].line }, "2026-01-01T00:00:00Z", &theirs);
    assert!(problems(&checked(&key, &[forged])).contains("is another than the anchor"));
}

/// Whoever has no key of the gate cuts its log, and signs a head for what is left with a key of their own.
#[test]
fn a_head_of_somebody_else_is_none() {
    let folder = Folder::new();
    put(&folder.start("a"), 5);
    let gate = [folder.start("a").signing().public()];
    let text = String::from_utf8(folder.read()).unwrap();
    let theirs = Signing::open(tempfile::tempdir().unwrap().path()).unwrap();
    let whole = fs::read(folder.at("audit.head")).unwrap();
    for lines in [0, 1, 2, 4, 8, 9] {
        let kept: String = text.split_inclusive('\n').take(lines).collect();
        let link = kept.lines().fold(Link::NONE, |link, line| link.follow(line.as_bytes()).unwrap());
        let checkpoint = Checkpoint::sign(link, "2026-01-01T00:00:00Z", &theirs);
        let forged = Head { checkpoint, first: 1, offset: kept.len() as u64, run: None };
        fs::write(folder.at(CURRENT), &kept).unwrap();
        forged.write(folder.0.path()).unwrap();
        let report = verify(folder.0.path(), &gate, &[]).unwrap();
        assert!(problems(&report).contains("audit.head is signed by another key"), "{lines}: {}", problems(&report));
        // Without a key the first that has signed the log is the gate's; an empty log has none.
        assert!(lines == 0 || problems(&folder.verify()).contains("a key that the log does not name"), "{lines}");
        put(&folder.start("a"), 1);
        // No gate had ever written a line, says a log without any: nothing can be found out about that here.
        let told = folder.operations().contains("Truncated ChainStart");
        assert_eq!((told, folder.verify().is_good()), (lines != 0, lines == 0), "{lines}: {}", folder.operations());
    }
    // Nor does such a head pass where all lines are gone.
    let checkpoint = Checkpoint::sign(Link { seq: 3, hash: [1; 32] }, "2026-01-01T00:00:00Z", &theirs);
    fs::remove_file(folder.at(CURRENT)).unwrap();
    Head { checkpoint, first: 1, offset: 0, run: None }.write(folder.0.path()).unwrap();
    put(&folder.start("a"), 1);
    assert!(folder.operations().starts_with("Truncated ChainStart"), "{}", folder.operations());
    // A head that was signed before the gate got a new key is still its own.
    fs::write(folder.at(CURRENT), &text).unwrap();
    fs::write(folder.at("audit.head"), whole).unwrap();
    fs::remove_file(folder.at("signing.key")).unwrap();
    put(&folder.start("a"), 1);
    assert!(folder.verify().is_good(), "{}", problems(&folder.verify()));
}

#[tokio::test]
async fn much_that_is_written_makes_a_checkpoint_due() {
    let folder = Folder::new();
    let audit = folder.start("a");
    let soon = std::time::Duration::from_millis(1);
    put(&audit, 999);
    assert!(tokio::time::timeout(soon, audit.checkpoint_due()).await.is_err());
    put(&audit, 1);
    audit.checkpoint_due().await;
    assert_eq!(audit.checkpoint().unwrap().line.seq, 1002);
    put(&audit, 1);
    assert!(tokio::time::timeout(soon, audit.checkpoint_due()).await.is_err());
}

/// Many threads write and one signs: no line is lost, and the chain holds.
#[test]
fn lines_of_many_threads_are_one_chain() {
    let folder = Folder::new();
    let audit = folder.start_rotating("a", 20_000);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| put(&audit, 500));
        }
        for _ in 0..10 {
            audit.checkpoint().unwrap();
        }
    });
    drop(audit);
    assert_eq!(folder.operations().split(' ').filter(|operation| *operation == "Put").count(), 2000);
    assert!(folder.verify().is_good(), "{}", problems(&folder.verify()));
}

/// What operators decide by the command line is on record, whether a gate runs or not, and once.
#[test]
fn acts_of_operators_are_heard() {
    let folder = Folder::new();
    let dir = folder.0.path();
    let audit = folder.start("a");
    let heard = Heard::open(dir);
    let mark = Decisions::open(dir).unwrap().mark(&Digests::of(b"x"));
    heard.listen(&audit).unwrap();
    decide(dir, "R1", &[mark], Decision::Veto, "2026-01-01T00:00:00Z").unwrap();
    heard.listen(&audit).unwrap();
    heard.listen(&audit).unwrap();
    // While no gate runs.
    decide(dir, "R1", &[mark], Decision::Confirm, "2026-01-02T00:00:00Z").unwrap();
    fs::create_dir(folder.at("lists")).unwrap();
    fs::write(folder.at("lists/forgotten.log"), "{\"list\":\"a\",\"entries\":3,\"destroyed\":\"x\"}\n{\"half").unwrap();
    Heard::open(dir).listen(&audit).unwrap();
    let begun = "ChainStart Checkpoint ListVeto ListConfirm ListForget";
    assert_eq!(folder.operations(), begun);
    let text = String::from_utf8(folder.read()).unwrap();
    let veto: Value = serde_json::from_str(text.lines().nth(2).unwrap()).unwrap();
    assert_eq!(
        (&veto["case"], &veto["decided"], &veto["mark"]),
        (&json!("R1"), &json!("2026-01-01T00:00:00Z"), &json!(mark.to_string()))
    );
    // Whoever rewrites a decision by hand is on record, too.
    fs::write(folder.at("decisions.log"), "{\"decision\":\"veto\",\"case\":\"R2\"}\n").unwrap();
    Heard::open(dir).listen(&audit).unwrap();
    assert_eq!(folder.operations(), format!("{begun} ActsRewritten ListVeto"));
    assert!(folder.verify().is_good());
}
