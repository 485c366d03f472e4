//! What the origin has been given, and when: never the last payload byte before the verdict, never half a trailer, nothing
//! at all of what is small.

use crate::support::client::{CHUNK, Client, Form, Upload};
use crate::support::fake_origin::{End, Exchange, FakeOrigin, answer};
use crate::support::gate::{Mode, assert_refused, field, gate};
use crate::support::payload::Payload;
use crate::support::store::Store;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// The position behind the last payload byte in a body as it goes over the wire, with the framing of HTTP taken off.
fn payload_end(upload: &Upload, form: Form, len: u64) -> usize {
    if !form.is_chunked() {
        return len as usize;
    }
    let pieces: Vec<_> = upload.body_pieces().collect();
    // Size line, data, CRLF for each chunk; then the end in one piece.
    let data = pieces.len() - 3;
    match form {
        // In HTTP chunks there is one of them more, with nothing in it.
        Form::UnsignedTrailerChunked => {
            let plain: Vec<u8> = plain(upload);
            plain.windows(5).rposition(|w| w == b"\r\n0\r\n").expect("a last chunk")
        }
        _ => pieces[..=data].iter().map(|piece| piece.len()).sum(),
    }
}

/// A body with the framing of HTTP taken off.
fn plain(upload: &Upload) -> Vec<u8> {
    Exchange { head: upload.head.bytes(), body: upload.body_bytes(), complete: true }.content()
}

/// The requests that brought a body or meant to: not the questions whether the origin would take one.
fn uploads(origin: &FakeOrigin) -> Vec<(Exchange, End)> {
    let connections = origin.connections().into_iter();
    connections
        .flat_map(|c| c.exchanges.into_iter().map(move |e| (e, c.end)))
        .filter(|(e, _)| e.headers("expect").is_empty())
        .collect()
}

/// A listed upload never reaches the origin whole: not its last payload byte, not a byte behind it, and its connection
/// ends in a reset.
#[tokio::test]
async fn the_last_payload_byte_of_a_listed_upload_never_arrives() {
    for mode in Mode::BOTH {
        for form in Form::ALL {
            let len = 200_000;
            let payload = Payload::random(1, len);
            let origin = FakeOrigin::accepting().await;
            let gate = gate(&Store::fake(origin.address)).list("sample", [payload.sha256()]).mode(mode).start().await;
            let upload = gate.client().upload(form, "/bucket/key", &payload);
            let (wire, end) = (plain(&upload), payload_end(&upload, form, len));
            assert_refused(&gate.client().send(upload).await.expect("an answer"));
            origin
                .wait("every connection of the upload at its end", |all| all.iter().all(|c| c.end != End::Open))
                .await;
            for connection in origin.connections() {
                assert_eq!(connection.end, End::Reset, "{mode:?} {form:?}");
                assert_eq!(connection.exchanges.len(), 1, "{mode:?} {form:?}: the connection was used again");
                let exchange = &connection.exchanges[0];
                let arrived = exchange.content();
                assert!(wire.starts_with(&arrived), "{mode:?} {form:?}: other bytes than were sent");
                assert!(arrived.len() < end, "{mode:?} {form:?}: {} of {end} bytes arrived", arrived.len());
                assert!(!exchange.complete, "{mode:?} {form:?}");
            }
            gate.stop().await;
        }
    }
}

/// While the end of a body is still to come, the origin has neither the last payload byte nor anything behind it, though
/// the client has sent them.
#[tokio::test]
async fn what_follows_the_payload_is_collected_before_any_of_it_is_sent() {
    for form in [Form::SignedChunks, Form::SignedChunksTrailer, Form::UnsignedTrailer] {
        let len = 200_000;
        let payload = Payload::random(2, len);
        let origin = FakeOrigin::accepting().await;
        let gate = gate(&Store::fake(origin.address)).start().await;
        let upload = gate.client().upload(form, "/bucket/key", &payload);
        let (wire, end) = (upload.body_bytes(), payload_end(&upload, form, len));
        for cut in [end, end + 2, end + 3, wire.len() - 3, wire.len() - 1] {
            let mut client = gate.client().connect().await.expect("the gate listens");
            client.write(&upload.head.bytes()).await.expect("taken");
            client.write(&wire[..cut]).await.expect("taken");
            origin.wait("most of the body", |all| arrived(all) > end / 2).await;
            client.reset();
            let all = origin.wait("the end of the connection", |all| all.iter().all(|c| c.end != End::Open)).await;
            let last = all.last().expect("one connection");
            assert_eq!(last.end, End::Reset, "{form:?} {cut}");
            assert!(last.exchanges[0].body.len() < end, "{form:?} {cut}: {} of {end}", last.exchanges[0].body.len());
        }
        gate.quiet().await;
        gate.stop().await;
    }
}

/// Bytes of the newest connection's body.
fn arrived(all: &[crate::support::fake_origin::Connection]) -> usize {
    all.last().and_then(|c| c.exchanges.last()).map_or(0, |e| e.body.len())
}

/// Of an upload that fits into the window the origin hears only once it was decided.
#[tokio::test]
async fn a_small_upload_opens_no_connection_before_its_verdict() {
    for form in Form::ALL.into_iter().filter(|form| *form != Form::Expect100) {
        for len in [1, 1000, CHUNK as u64] {
            let payload = Payload::random(3, len);
            let origin = FakeOrigin::accepting().await;
            let gate = gate(&Store::fake(origin.address)).start().await;
            let upload = gate.client().upload(form, "/bucket/key", &payload);
            let wire = upload.bytes();
            let mut client = gate.client().connect().await.expect("the gate listens");
            client.write(&wire[..wire.len() - 1]).await.expect("taken");
            client.reset();
            gate.audit_line("the upload that was cut short", |line| field(line, "operation").is_some()).await;
            gate.quiet().await;
            assert!(origin.connections().is_empty(), "{form:?} {len}: {:?}", origin.connections());
            let answer = gate.client().put(form, "/bucket/key", &payload).await.expect("an answer");
            assert_eq!(answer.status, 200, "{answer:?}");
            let (exchange, _) = uploads(&origin).pop().expect("one upload");
            assert_eq!(
                exchange.content(),
                plain(&gate.client().upload(form, "/bucket/key", &payload)).to_vec(),
                "{form:?}"
            );
            gate.stop().await;
        }
    }
}

/// A listed upload of one byte is decided before the origin is asked at all; a stranger's is asked about by a head alone.
#[tokio::test]
async fn a_listed_upload_of_one_byte_never_reaches_the_origin() {
    for (mode, kind, asks) in [
        (Mode::Verify, "other", false),
        (Mode::PassThrough, "other", true),
        (Mode::PassThrough, "minio", true),
        (Mode::PassThrough, "seaweedfs", false),
    ] {
        for form in Form::ALL {
            let payload = Payload::from("x");
            let origin = FakeOrigin::accepting().await;
            let gate = gate(&Store::fake(origin.address))
                .list("sample", [payload.sha256()])
                .mode(mode)
                .yaml(&format!("origin: {{ kind: {kind} }}"))
                .start()
                .await;
            assert_refused(&gate.client().put(form, "/bucket/key", &payload).await.expect("an answer"));
            origin.wait("every connection at its end", |all| all.iter().all(|c| c.end != End::Open)).await;
            let seen = origin.exchanges();
            assert_eq!(seen.len(), usize::from(asks), "{mode:?} {kind} {form:?}: {seen:?}");
            for question in seen {
                assert_eq!(question.headers("expect"), ["100-continue"], "{mode:?} {kind} {form:?}");
                assert!(question.body.is_empty(), "{mode:?} {kind} {form:?}");
            }
            gate.stop().await;
        }
    }
}

/// Where the origin refuses a stranger's head, the stranger hears that, and not what we know of the payload.
#[tokio::test]
async fn a_stranger_learns_nothing_from_a_listed_payload() {
    let payload = Payload::random(4, 1000);
    let denial = b"<Error><Code>SignatureDoesNotMatch</Code><Message>no</Message></Error>";
    let origin =
        FakeOrigin::start(|_, _| vec![answer("403 Forbidden", &[("x-amz-request-id", "theirs")], denial)]).await;
    let gate = gate(&Store::fake(origin.address)).list("sample", [payload.sha256()]).start().await;
    let stranger = gate.client().keys("nobody", "nothing");
    let bad = stranger.put(Form::RawSigned, "/bucket/key", &payload).await.expect("an answer");
    let good = stranger.put(Form::RawSigned, "/bucket/key", &Payload::random(5, 1000)).await.expect("an answer");
    assert_eq!(bad.code(), "SignatureDoesNotMatch", "{bad:?}");
    assert_eq!((bad.status, &bad.body), (good.status, &good.body));
    let names = |headers: &[(String, String)]| headers.iter().map(|(n, _)| n.to_ascii_lowercase()).collect::<Vec<_>>();
    assert_eq!(names(&bad.headers), names(&good.headers));
    gate.stop().await;
}

/// An empty upload cannot be listed: the digest of nothing is no entry, whatever a list says.
#[tokio::test]
async fn an_empty_upload_is_forwarded_though_a_list_names_its_digest() {
    let nothing = Payload::from("");
    let other = Payload::from("other");
    let origin = FakeOrigin::accepting().await;
    let gate = gate(&Store::fake(origin.address))
        .list("sample", [nothing.sha256(), nothing.md5(), nothing.sha1(), other.sha256()])
        .start()
        .await;
    for form in Form::ALL {
        let answer = gate.client().put(form, "/bucket/key", &nothing).await.expect("an answer");
        assert_eq!(answer.status, 200, "{form:?}: {answer:?}");
    }
    assert_eq!(uploads(&origin).len(), Form::ALL.len() - 1);
    gate.stop().await;
}

/// However the client's bytes come in, the origin gets the same ones.
#[test]
fn any_split_of_an_upload_gives_the_same_bytes_at_the_origin() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let origin = runtime.block_on(FakeOrigin::accepting());
    let store = Store::fake(origin.address);
    let listed = Payload::random(8, 150_000);
    let gate = runtime.block_on(gate(&store).list("sample", [listed.sha256()]).start());
    let forms = prop::sample::select(Form::ALL.into_iter().filter(|f| *f != Form::Expect100).collect::<Vec<_>>());
    let sizes = prop_oneof![0..300_u64, 65_000..66_500_u64, Just(150_000_u64)];
    let splits = prop::collection::vec(any::<prop::sample::Index>(), 0..12);
    let mut runner = TestRunner::new(Config { cases: 48, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&(forms, sizes, splits, any::<bool>()), |(form, size, splits, bad)| {
        runtime.block_on(async {
            let payload = if bad { listed.clone() } else { Payload::random(9, size) };
            let client: Client = gate.client();
            let target = format!("/bucket/a%2Fkey{}", origin.exchanges().len());
            let upload = client.upload(form, &target, &payload);
            let wire = upload.bytes();
            let mut at: Vec<usize> = splits.iter().map(|split| split.index(wire.len())).collect();
            at.push(wire.len());
            at.sort_unstable();
            let mut connection = client.connect().await.expect("the gate listens");
            let before = uploads(&origin).len();
            let mut from = 0;
            for to in at {
                // Reading between the pieces keeps them apart: the gate has had its turn.
                connection.write(&wire[from..to]).await.expect("taken");
                for _ in 0..3 {
                    tokio::task::yield_now().await;
                }
                from = to;
            }
            let answer = connection.read_response(false).await.expect("an answer");
            if bad {
                prop_assert_eq!(answer.status, 403);
                prop_assert_eq!(answer.code(), "AccessDenied");
                return Ok(());
            }
            prop_assert_eq!(answer.status, 200, "{:?}", answer);
            let seen = uploads(&origin);
            prop_assert_eq!(seen.len(), before + 1);
            let request_line = format!("PUT {} HTTP/1.1", upload.head.target);
            let exchange = seen.into_iter().map(|(e, _)| e).find(|e| e.line() == request_line);
            prop_assert!(exchange.is_some(), "{:?} {}: {} is not at the origin", form, size, request_line);
            let exchange = exchange.expect("just seen");
            prop_assert!(
                exchange.complete && exchange.content() == plain(&upload),
                "{:?} {}: another body",
                form,
                size
            );
            // The head is the client's, with our own word on where it came from.
            let head = exchange.head_text();
            for (name, value) in &upload.head.headers {
                let line = format!("\r\n{name}: {value}\r\n");
                prop_assert!(head.contains(&line), "{:?} is not in {:?}", line, head);
            }
            Ok(())
        })
    });
    outcome.unwrap_or_else(|e| panic!("{e}"));
    runtime.block_on(gate.stop());
}
