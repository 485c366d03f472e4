//! The audit log of a real gate, over SIGKILL and restarts, and its commands.

use crate::cli::run;
use crate::support::client::{Client, Form};
use crate::support::eventually;
use crate::support::fake_origin::FakeOrigin;
use crate::support::gate::{Mode, end_in_order, gate, spawn};
use crate::support::payload::Payload;
use crate::support::store::Store;
use serde_json::Value;
use std::fs;
use std::io::Write as _;
use std::path::Path;

/// What a command says, with its exit code.
fn audit(config: &Path, arguments: &[&str]) -> (i32, String) {
    let config = config.display().to_string();
    let all = [&["audit"], arguments, &["--config", &config]].concat();
    let (code, out, err) = run(&all, "");
    assert_eq!(err, "");
    (code.expect("it ends"), out)
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).expect("readable");
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// A killed gate's log goes on where it was; what was torn is on record; whoever changes a line is found; a checkpoint that
/// was kept elsewhere finds who puts an old log back. The check on the hash check names every hit and nobody.
#[tokio::test]
async fn a_killed_gate_leaves_a_log_that_can_be_verified() {
    let origin = FakeOrigin::accepting().await;
    let store = Store::fake(origin.address);
    let bad = Payload::random(1, 10_000);
    let (folder, config) =
        gate(&store).list("sample", [bad.sha256()]).mode(Mode::Verify).yaml("audit: { checkpoint: 50ms }").write();
    let state = folder.path().join("state");
    let log = state.join("audit.log");
    let put = async |address, key: &str, payload: &Payload| {
        let answer = Client::new(&store, address).put(Form::RawSigned, &format!("/bucket/{key}"), payload).await;
        answer.expect("an answer").status
    };
    let (mut child, address, _) = spawn(&config);
    for n in 0..5 {
        assert_eq!(put(address, &format!("clean-name-{n}"), &Payload::random(2, 100)).await, 200);
        assert_eq!(put(address, "bad-name", &bad).await, 403);
    }
    // A gate that runs can be verified, too.
    let (code, out) = audit(&config, &["verify"]);
    assert!(code == 0 && out.contains("the audit log is whole"), "{out}");
    child.kill().expect("it ran");
    child.wait().expect("its end");
    let anchor = folder.path().join("anchor");
    fs::copy(state.join("audit.head"), &anchor).expect("a head");
    let old = fs::read(&log).expect("readable");

    // The power went in the middle of a line.
    fs::OpenOptions::new()
        .append(true)
        .open(&log)
        .expect("there")
        .write_all(b"{\"answer_bytes\":12,\"bu")
        .expect("taken");
    let (code, out) = audit(&config, &["verify"]);
    assert!(code == 1 && out.contains("no whole line of the chain"), "{out}");
    let (child, address, _) = spawn(&config);
    assert_eq!(put(address, "bad-name", &bad).await, 403);
    end_in_order(child);

    let anchor = anchor.display().to_string();
    let all = lines(&log);
    let starts: Vec<&Value> = all.iter().filter(|line| line["operation"] == "ChainStart").collect();
    assert_eq!(starts.len(), 2);
    assert_eq!(starts[0]["configuration"], starts[1]["configuration"]);
    assert_eq!(all.last().map(|line| &line["operation"]), Some(&"Checkpoint".into()), "the last word is signed");
    let key = starts[0]["key"].as_str().expect("a key");
    let (code, out) = audit(&config, &["verify", "--anchor", &anchor, "--key", key]);
    assert!(
        code == 0 && out.contains("torn by a crash and on record: 23 bytes"),
        "with the line end that closes them: {out}"
    );
    assert!(out.contains("checkpoints kept elsewhere: 1 are in the log") && out.contains("\n0 lines since"), "{out}");

    let (code, out) = audit(&config, &["export"]);
    let rows: Vec<&str> = out.lines().collect();
    assert_eq!((code, rows.len()), (0, 7), "{out}");
    assert!(rows[1].contains(",PutObject,20") && rows[1].contains(",rejected,sample,house:test,"), "{out}");
    let (_, out) = audit(&config, &["export", "--json", "--from", "2026-01-01"]);
    let hit: Value = serde_json::from_str(out.lines().next().expect("a hit")).expect("JSON");
    assert_eq!((&hit["matched"][0]["list"], &hit["acts"][0]["act"]), (&"sample".into(), &"rejected".into()));
    assert!(hit["received"].as_str() < hit["decided"].as_str(), "{hit}");
    assert_eq!(audit(&config, &["export", "--json", "--to", "2026-01-01"]), (0, String::new()));

    // Nobody's name, address or key is in the log, or what is made of it.
    let text = fs::read_to_string(&log).expect("readable");
    for personal in ["127.0.0.1", "-name", "fake", "peer", "access_key"] {
        assert!(!text.contains(personal) && !out.contains(personal), "{personal}");
    }
    assert!(text.contains("\"tenant\":\"acme\"") && !out.contains("acme"));

    // What is old was put away: the gate's signature says where the rest begins, and an old checkpoint stays a good one.
    let last = text.trim_end().rfind('\n').expect("more than one line") + 1;
    fs::write(&log, &text[last..]).expect("writable");
    for (arguments, told) in [
        (&["verify", "--key", key][..], "are not there: they were put away, or removed"),
        (&["verify", "--anchor", &anchor], "1 are of lines that are not there any more"),
    ] {
        let (code, out) = audit(&config, arguments);
        assert!(code == 0 && out.contains(told), "{out}");
    }
    assert_eq!(audit(&config, &["verify"]).0, 1, "nobody says whose signature that is");

    fs::write(&log, text.replacen("\"outcome\":\"rejected\"", "\"outcome\":\"forwarded\"", 1)).expect("writable");
    let (code, out) = audit(&config, &["verify"]);
    assert!(code == 1 && out.contains("its hash is not that of its bytes") && out.contains("NOT whole"), "{out}");
    // An old log, with its old head, is whole in itself.
    fs::write(&log, old).expect("writable");
    fs::copy(&anchor, state.join("audit.head")).expect("writable");
    assert_eq!(audit(&config, &["verify"]).0, 0);
    let newer = all.iter().rfind(|line| line["operation"] == "Checkpoint").expect("one").to_string();
    fs::write(&anchor, newer).expect("writable");
    let (code, out) = audit(&config, &["verify", "--anchor", &anchor]);
    assert!(code == 1 && out.contains("of which the anchor"), "{out}");
}

/// Every change of a list, of the configuration and of what operators decide is a line.
#[tokio::test]
async fn changes_of_lists_and_configuration_are_on_record() {
    let origin = FakeOrigin::accepting().await;
    let store = Store::fake(origin.address);
    let (one, two) = (Payload::random(1, 1000), Payload::random(2, 1000));
    let gate = gate(&store).list("sample", [one.sha256()]).yaml("audit: { rotate: 10000 }").start().await;
    let list = gate.dir().join("sample.txt");
    let reload = async |text: String| {
        fs::write(&list, text).expect("writable");
        gate.running.reload().await;
    };
    reload(format!("{}\n{}\n", one.sha256(), two.sha256())).await;
    reload("nothing\n".to_owned()).await;
    reload(one.sha256()).await;
    assert_eq!(gate.client().put(Form::RawSigned, "/b/k", &one).await.expect("an answer").status, 403);
    let hit = gate.audit_line("the hit", |line| line["outcome"] == "rejected").await;
    let config = gate.dir().join("hashgate.yaml").display().to_string();
    let case = hit["request"].as_str().expect("an id").to_owned();
    assert_eq!(run(&["list", "veto", "--case", &case, "--config", &config], "").0, Some(0));
    let veto = eventually("the veto is on record", async || {
        gate.audit_of_all().into_iter().find(|line| line["operation"] == "ListVeto")
    })
    .await;
    assert_eq!(veto["case"], hit["request"]);

    assert_eq!(run(&["list", "accept", "sample", "--config", &config], "").0, Some(0));
    eventually("the acceptance is on record", async || {
        gate.audit_of_all().into_iter().find(|line| line["operation"] == "ListAccept")
    })
    .await;
    let text = fs::read_to_string(&config).expect("readable");
    fs::write(&config, format!("{text}\nencodings: {{ decode: false }}\n")).expect("writable");
    let gate = gate.restart().await;
    let told: Vec<String> = gate
        .audit_of_all()
        .iter()
        .filter(|line| line.get("request").is_none() && line["operation"] != "Checkpoint")
        .map(|line| {
            let more =
                ["how", "why", "source", "entries", "sections", "certificate"].map(|name| line[name].to_string());
            let more = more.into_iter().filter(|value| value != "null").collect::<Vec<_>>().join(" ");
            if line["operation"] == "ChainStart" {
                "ChainStart".into()
            } else {
                format!("{} {more}", line["operation"])
            }
        })
        .map(|line| line.replace('"', ""))
        .collect();
    let expected = [
        "ChainStart",
        "ListLoaded loaded file 1",
        "ListLoaded loaded file 2",
        "Reload none",
        "ListRefused empty file",
        "Reload none",
        "ListLoaded loaded file 1",
        "Reload none",
        "ListVeto ",
        "ListAccept ",
        "ChainStart",
        "ConfigurationChanged [encodings]",
        "ListLoaded kept file 1",
    ];
    assert_eq!(told, expected);
    let (code, out) = audit(Path::new(&config), &["verify"]);
    assert_eq!(code, 0, "{out}");
    let (_, out) = audit(Path::new(&config), &["export"]);
    assert!(out.contains("rejected; ") && out.contains(" ListVeto"), "{out}");
    assert!(out.contains(",rejected,sample,house:test,"), "the veto came later, and is no act on the hit: {out}");
    gate.stop().await;
}
