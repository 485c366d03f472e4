//! What a verdict of `quarantine` keeps, at every store: sealed for its recipients, complete, and nowhere else.

use crate::origins_multipart::{Upload, object};
use crate::support::client::Form;
use crate::support::eventually;
use crate::support::fake_origin::FakeOrigin;
use crate::support::gate::{Builder, Gate, Mode, assert_absent, assert_refused, files, gate};
use crate::support::payload::Payload;
use crate::support::store::{Room, Store, stores};
use age::x25519::Identity;
use hashgate::act::quarantine::{Manifest, read_manifest};
use std::fs;
use std::time::Duration;

/// A gate that keeps every match in a bucket of its own at the same store, and the key that opens what it keeps.
async fn keeping(store: &Store, room: &Room) -> (Builder, Identity) {
    let identity = Identity::generate();
    let yaml = format!(
        "origin: {{ credentials: {{ access_key: {}, secret_key: {} }} }}\n\
         quarantine: {{ bucket: {}, prefix: {}-cases/, recipients: [ {} ], reserve: 1MiB }}\n\
         policy: {{ on_match: quarantine }}",
        store.access_key,
        store.secret_key,
        room.bucket,
        room.prefix,
        identity.to_public(),
    );
    (gate(store).yaml(&yaml), identity)
}

/// A case as its officer reads it, straight from the bucket: its manifest and its payload.
async fn open(store: &Store, room: &Room, case: &str, identity: &Identity) -> (Manifest, Vec<u8>) {
    let at = |object: &str| format!("/{}/{}-cases/{case}/{object}", room.bucket, room.prefix);
    let what = format!("{} {case}", store.name);
    let sealed = eventually(&format!("the manifest of {what}"), async || {
        let answer = store.client().get(&at("manifest.age")).await;
        (answer.status == 200).then_some(answer.body)
    })
    .await;
    let manifest = read_manifest(&age::decrypt(identity, &sealed).expect("its recipient"), None).expect(&what);
    let mut payload = Vec::new();
    for piece in &manifest.payload.pieces {
        let answer = store.client().get(&at(&piece.object)).await;
        assert_eq!(answer.status, 200, "{what}: {answer:?}");
        let opened = age::decrypt(identity, &answer.body).expect("its recipient");
        assert_eq!(opened.len() as u64, piece.size, "{what}");
        payload.extend(opened);
    }
    (manifest, payload)
}

/// The case of the last match; the audit line of its request names it.
async fn case_of(gate: &Gate, known: &mut Vec<String>) -> String {
    let line = gate.audit_line("quarantined", |line| {
        // What the store refused in its own words has a case as well.
        line["outcome"] == "quarantined" && !known.iter().any(|known| line["case"] == known.as_str())
    });
    let line = line.await;
    assert_eq!(line["payload_kept"], true, "{line}");
    let case = line["case"].as_str().expect("a case").to_owned();
    known.push(case.clone());
    case
}

/// In every form and both modes: the client is refused as ever, the store has nothing under the key, and the case opens
/// with the recipient's key to the very bytes.
#[tokio::test]
async fn a_match_is_kept_whatever_the_form_of_its_upload() {
    for store in stores().await {
        for mode in Mode::BOTH {
            let room = store.room("quarantine").await;
            let payloads: Vec<Payload> = [1, 65_537, (5 << 20) + 1].map(|size| Payload::random(size, size)).to_vec();
            let (builder, identity) = keeping(&store, &room).await;
            let gate = builder.list("sample", payloads.iter().map(Payload::md5)).mode(mode).start().await;
            let mut cases = Vec::new();
            for form in Form::ALL {
                for payload in &payloads {
                    let what = format!("{} {mode:?} {form:?} {}", store.name, payload.len());
                    let target = format!("/{room}/{form:?}-{}", payload.len());
                    let direct = store.client().put(form, &format!("{target}-direct"), payload).await.expect(&what);
                    let answer = gate.client().put(form, &target, payload).await.expect(&what);
                    if direct.status != 200 {
                        // A form that this store does not take: its own refusal, or ours.
                        assert!(answer.status >= 400, "{what}: {answer:?}, but directly {direct:?}");
                        let kept = gate.audit().into_iter().filter(|line| line["outcome"] == "quarantined");
                        cases = kept.filter_map(|line| Some(line["case"].as_str()?.to_owned())).collect();
                        continue;
                    }
                    assert_refused(&answer);
                    assert_absent(&store, &target).await;
                    let case = case_of(&gate, &mut cases).await;
                    let (manifest, opened) = open(&store, &room, &case, &identity).await;
                    assert!(opened == payload.bytes(), "{what}");
                    assert_eq!(manifest.digests.sha256, payload.sha256(), "{what}");
                    assert_eq!(manifest.target.key, Some(target.split_once(&room.bucket).unwrap().1[1..].to_owned()));
                    assert_eq!((manifest.size, manifest.matches[0].list.as_str()), (payload.len(), "sample"));
                }
            }
            assert!(cases.len() >= 9, "{}: only {} forms", store.name, cases.len());
            nothing_is_left(&gate).await;
            gate.stop().await;
        }
    }
}

/// Once the bucket has every case, nothing of a payload is here any more.
async fn nothing_is_left(gate: &Gate) {
    for folder in ["spool", "parts"] {
        let folder = gate.dir().join("state/quarantine").join(folder);
        eventually("an empty folder", async || files(&folder).is_empty().then_some(())).await;
    }
    assert!(files(&gate.dir().join("state/quarantine/cases")).iter().all(|file| file.extension().unwrap() == "case"));
}

/// A whole that is listed: its parts are the evidence, in order; those of a clean whole and of an aborted one are forgotten.
#[tokio::test]
async fn the_parts_of_a_listed_whole_are_kept() {
    for store in stores().await {
        let room = store.room("quarantine").await;
        let (parts, whole) = object(3);
        let (builder, identity) = keeping(&store, &room).await;
        let gate = builder.list("sample", [whole.sha256()]).start().await;
        let client = gate.client();
        let target = format!("/{room}/whole");
        let describing = [("content-type", "image/x-test"), ("x-amz-meta-kind", "test")];
        let upload = Upload::describe(&client, &target, &describing).await;
        let mut etags = Vec::new();
        for number in [2, 1, 3] {
            etags.push(upload.put(number, &parts[number - 1]).await);
        }
        // Another body, and then the right one again: the last one counts.
        upload.put(3, &Payload::random(9, 2000)).await;
        etags[2] = upload.put(3, &parts[2]).await;
        assert_refused(&upload.complete(&etags).await);
        assert_absent(&store, &target).await;
        let case = case_of(&gate, &mut Vec::new()).await;
        let (manifest, opened) = open(&store, &room, &case, &identity).await;
        assert!(opened == whole.bytes(), "{}", store.name);
        assert_eq!((manifest.payload.pieces.len(), manifest.digests.sha256), (3, whole.sha256()));
        assert_eq!(manifest.media_type.as_deref(), Some("image/x-test"));
        assert_eq!(manifest.headers, describing.map(|(name, value)| (name.to_owned(), value.to_owned())));

        let clean = Upload::create(&client, &format!("/{room}/clean")).await;
        let aborted = Upload::create(&client, &format!("/{room}/aborted")).await;
        aborted.put(1, &parts[0]).await;
        let etags = [clean.put(1, &parts[0]).await, clean.put(2, &parts[2]).await];
        assert_eq!(clean.complete(&etags).await.status, 200, "{}", store.name);
        aborted.abort().await;
        nothing_is_left(&gate).await;
        gate.stop().await;
    }
}

/// The gate is killed between the parts of a listed whole, and before its Complete: the parts are evidence all the same.
#[tokio::test]
async fn the_parts_of_a_listed_whole_are_kept_over_a_restart() {
    for store in stores().await {
        let room = store.room("quarantine").await;
        let (parts, whole) = object(2);
        let (builder, identity) = keeping(&store, &room).await;
        let gate = builder.list("sample", [whole.sha256()]).start().await;
        let target = format!("/{room}/whole");
        let describing = [("content-type", "image/x-test")];
        let mut upload = Upload::describe(&gate.client(), &target, &describing).await;
        let mut etags = vec![upload.put(1, &parts[0]).await];
        let gate = gate.restart().await;
        upload.client = gate.client();
        etags.push(upload.put(2, &parts[1]).await);
        // One that is forgotten leaves nothing, although an earlier run has written it down.
        let mut aborted = Upload::create(&gate.client(), &format!("/{room}/aborted")).await;
        aborted.put(1, &parts[0]).await;
        let gate = gate.restart().await;
        (upload.client, aborted.client) = (gate.client(), gate.client());
        assert_refused(&upload.complete(&etags).await);
        assert_absent(&store, &target).await;
        let case = case_of(&gate, &mut Vec::new()).await;
        let (manifest, opened) = open(&store, &room, &case, &identity).await;
        assert!(opened == whole.bytes(), "{}", store.name);
        assert_eq!(manifest.media_type.as_deref(), Some("image/x-test"), "{}", store.name);
        aborted.abort().await;
        nothing_is_left(&gate).await;
        gate.stop().await;
    }
}

/// A client leaves at any moment around the store's answer to its part: a whole that the gate knows then has all of its
/// evidence, and one of which it does not is not completed.
#[tokio::test]
async fn a_client_that_leaves_while_its_part_is_kept() {
    for store in stores().await {
        let room = store.room("quarantine").await;
        let (parts, whole) = object(2);
        let (builder, identity) = keeping(&store, &room).await;
        let gate = builder.list("sample", [whole.sha256()]).start().await;
        let mut cases = Vec::new();
        for step in 0..24 {
            let target = format!("/{room}/left-{step}");
            let upload = Upload::create(&gate.client(), &target).await;
            let first = upload.put(1, &parts[0]).await;
            let left = upload.put_and_leave(2, &parts[1], Duration::from_micros(250 * step)).await;
            gate.quiet().await;
            if let Some(etag) = left {
                let answer = upload.complete(&[first.clone(), (2, etag)]).await;
                match answer.status {
                    403 => {
                        let case = case_of(&gate, &mut cases).await;
                        assert!(
                            open(&store, &room, &case, &identity).await.1 == whole.bytes(),
                            "{} {step}",
                            store.name
                        );
                        continue;
                    }
                    status => assert!([400, 501].contains(&status), "{} {step}: {answer:?}", store.name),
                }
            }
            // Sent again, as its client would.
            let second = upload.put(2, &parts[1]).await;
            assert_refused(&upload.complete(&[first, second]).await);
            let case = case_of(&gate, &mut cases).await;
            assert!(open(&store, &room, &case, &identity).await.1 == whole.bytes(), "{} {step}", store.name);
        }
        assert_eq!(cases.len(), 24);
        nothing_is_left(&gate).await;
        gate.stop().await;
    }
}

/// A part that the store copied is evidence as well: the gate has read its source.
#[tokio::test]
async fn a_copied_part_of_a_listed_whole_is_kept() {
    // SeaweedFS does not say what it copied.
    for store in stores().await.into_iter().filter(|store| store.name != "seaweedfs") {
        let room = store.room("quarantine").await;
        let (parts, whole) = object(2);
        let source = format!("/{room}/source");
        let direct = store.client().put(Form::RawSigned, &source, &parts[0]).await.expect("an answer");
        assert_eq!(direct.status, 200, "{direct:?}");
        let (builder, identity) = keeping(&store, &room).await;
        let gate = builder.list("sample", [whole.sha256()]).start().await;
        let upload = Upload::create(&gate.client(), &format!("/{room}/whole")).await;
        let etags = [upload.copy(1, &source).await, upload.put(2, &parts[1]).await];
        assert_refused(&upload.complete(&etags).await);
        let (_, opened) = open(&store, &room, &case_of(&gate, &mut Vec::new()).await, &identity).await;
        assert!(opened == whole.bytes(), "{}", store.name);
        nothing_is_left(&gate).await;
        gate.stop().await;
    }
}

/// A copy whose source is listed by now: what was read of it is kept.
#[tokio::test]
async fn the_source_of_a_listed_copy_is_kept() {
    for store in stores().await {
        let room = store.room("quarantine").await;
        let payload = Payload::random(11, 100_000);
        let direct =
            store.client().put(Form::RawSigned, &format!("/{room}/source"), &payload).await.expect("an answer");
        assert_eq!(direct.status, 200, "{direct:?}");
        let (builder, identity) = keeping(&store, &room).await;
        let gate = builder.list("sample", [payload.sha1()]).start().await;
        let (target, source) = (format!("/{room}/copy"), format!("/{room}/source"));
        assert_refused(&gate.client().request("PUT", &target, &[("x-amz-copy-source", &source)], b"").await);
        assert_absent(&store, &target).await;
        let (_, opened) = open(&store, &room, &case_of(&gate, &mut Vec::new()).await, &identity).await;
        assert!(opened == payload.bytes());
        gate.stop().await;
    }
}

/// The store is away, the gate is killed and started again: the case waits, and is there once.
#[tokio::test]
async fn a_case_waits_for_its_bucket_over_a_restart() {
    for store in stores().await {
        let room = store.room("quarantine").await;
        let (bad, good) = (Payload::random(12, 300_000), Payload::random(13, 300_000));
        let (builder, identity) = keeping(&store, &room).await;
        let elsewhere = "quarantine: { endpoint: 'http://127.0.0.1:9', region: us-east-1, credentials: { access_key: a, secret_key: s } }";
        let gate = builder.list("sample", [bad.sha256()]).yaml(elsewhere).start().await;
        let (client, target) = (gate.client(), format!("/{room}/bad"));
        assert_refused(&client.put(Form::SignedChunks, &target, &bad).await.expect("an answer"));
        let case = case_of(&gate, &mut Vec::new()).await;
        // Nobody else is held up by that.
        assert_eq!(client.put(Form::RawSigned, &format!("/{room}/good"), &good).await.expect("an answer").status, 200);
        let config = gate.dir().join("hashgate.yaml");
        let back = fs::read_to_string(&config)
            .unwrap()
            .replace("http://127.0.0.1:9\n", &format!("http://{}\n", store.address));
        let back = back.replace("access_key: a\n", &format!("access_key: {}\n", store.access_key));
        let back = back.replace("secret_key: s\n", &format!("secret_key: {}\n", store.secret_key));
        // What a killed gate leaves of payloads without a verdict is noise, and goes.
        fs::write(gate.dir().join("state/quarantine/spool/0123.body"), b"noise").unwrap();
        fs::write(config, back.replace("region: us-east-1", &format!("region: {}", store.region))).unwrap();
        let gate = gate.restart().await;
        let (_, opened) = open(&store, &room, &case, &identity).await;
        assert!(opened == bad.bytes());
        nothing_is_left(&gate).await;
        gate.stop().await;
    }
}

/// What finds no room in the spool is refused all the same, and its case says that the payload is not kept.
#[tokio::test]
async fn a_payload_without_room_is_refused_and_has_a_case() {
    let origin = FakeOrigin::accepting().await;
    let store = Store::fake(origin.address);
    let room = Room { bucket: "bucket".into(), prefix: "p".into(), versioned: false };
    let (builder, _) = keeping(&store, &room).await;
    let (large, small) = (Payload::random(14, 3 << 20), Payload::random(15, 3 << 20));
    let gate = builder.list("sample", [large.md5()]).yaml("quarantine: { spool: 1MiB }").start().await;
    assert_refused(&gate.client().put(Form::RawUnsigned, "/bucket/key", &large).await.expect("an answer"));
    let line = gate.audit_line("the case", |line| line["outcome"] == "quarantined").await;
    assert_eq!(line["payload_kept"], false, "{line}");
    let clean = gate.client().put(Form::RawUnsigned, "/bucket/key", &small).await.expect("an answer");
    assert_eq!(clean.status, 200, "who is on no list needs no room");
    gate.stop().await;
}

/// `answer: accept`: the client sees what a real upload would have given it, and the object is not there. Only in a bucket
/// without versions; elsewhere it is refused.
#[tokio::test]
async fn who_is_told_that_all_went_well() {
    for store in stores().await {
        let room = store.room("quarantine").await;
        let plain = crate::support::unique("plain");
        store.client().create_bucket(&plain).await;
        let bad = Payload::random(16, 70_000);
        let (parts, whole) = object(2);
        let (builder, identity) = keeping(&store, &room).await;
        let rule = |bucket: &str| format!("{{ bucket: {bucket}, action: quarantine, answer: accept }}");
        let rules = format!("policy: {{ rules: [ {}, {} ] }}", rule(&plain), rule(&room.bucket));
        let gate = builder.list("sample", [bad.md5(), whole.md5()]).mode(Mode::Verify).yaml(&rules).start().await;
        let client = gate.client();
        let target = format!("/{plain}/bad");
        let real = store.client().put(Form::RawSigned, &format!("/{plain}/real"), &bad).await.expect("an answer");
        let answer = client.put(Form::RawSigned, &target, &bad).await.expect("an answer");
        assert_eq!((answer.status, answer.header("etag")), (200, real.header("etag")), "{}: {answer:?}", store.name);
        assert_absent(&store, &target).await;
        let mut cases = Vec::new();
        let (_, opened) = open(&store, &room, &case_of(&gate, &mut cases).await, &identity).await;
        assert!(opened == bad.bytes());

        let (through, direct) = (
            Upload::create(&client, &format!("/{plain}/whole")).await,
            Upload::create(&store.client(), &format!("/{plain}/direct")).await,
        );
        let (mut etags, mut real) = (Vec::new(), Vec::new());
        for (n, part) in parts.iter().enumerate() {
            etags.push(through.put(n + 1, part).await);
            real.push(direct.put(n + 1, part).await);
        }
        let answer = through.complete(&etags).await;
        assert_eq!(direct.complete(&real).await.status, 200);
        let real = store.client().head(&format!("/{plain}/direct")).await;
        assert_eq!(answer.status, 200, "{}: {answer:?}", store.name);
        let etag = answer.element("ETag").expect("an ETag").replace("&#34;", "\"");
        assert_eq!(Some(etag.as_str()), real.header("etag"), "{}", store.name);
        assert_absent(&store, &format!("/{plain}/whole")).await;

        if room.versioned {
            assert_refused(&client.put(Form::RawSigned, &format!("/{room}/bad"), &bad).await.expect("an answer"));
        }
        gate.stop().await;
    }
}
