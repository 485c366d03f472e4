//! Lists that come over the network.

use crate::cli::run;
use crate::support::eventually;
use crate::support::fake_origin::{Exchange, FakeOrigin, Step, answer};
use crate::support::gate::{Gate, gate};
use crate::support::store::Store;
use crate::tls::{acceptor, certificate};
use hashgate::digest::Digests;
use std::sync::{Arc, Mutex};

fn hex(payload: &[u8]) -> String {
    hex::encode(Digests::of(payload).sha256)
}

/// A list server: what it says next, whatever it is asked.
#[derive(Clone)]
struct Says(Arc<Mutex<Vec<Step>>>);

impl Says {
    fn new() -> Says {
        Says(Arc::new(Mutex::new(vec![Step::Close])))
    }

    fn henceforth(&self, steps: Vec<Step>) {
        *self.0.lock().expect("no panic while locked") = steps;
    }

    fn now(&self, request: &Exchange) -> Vec<Step> {
        let steps = self.0.lock().expect("no panic while locked").clone();
        let asked = request.headers("if-none-match");
        let is_same = |step: &Step| {
            matches!(step, Step::Send(bytes) if asked.first().is_some_and(|tag| {
                String::from_utf8_lossy(bytes).contains(&format!("ETag: {tag}\r\n"))
            }))
        };
        if steps.iter().any(is_same) { vec![answer("304 Not Modified", &[], b"")] } else { steps }
    }
}

async fn put(gate: &Gate, payload: &[u8]) -> u16 {
    gate.client().request("PUT", "/b/k", &[], payload).await.status
}

/// Waits until the lists were looked at again, and says whether that failed.
async fn failed(gate: &Gate) -> bool {
    gate.running.reload().await;
    gate.metrics().await.0["hashgate_list_failed{list=\"remote\"}"] == 1.0
}

/// A list over https, with a certificate of its own and a password: fetched, asked for with its ETag, exchanged; and
/// whatever its server does, the last good version goes on, also over a restart.
#[tokio::test]
async fn a_list_over_https_is_fetched_and_its_last_good_version_kept() {
    let (certificate, says) = (certificate(), Says::new());
    let heard = says.clone();
    let server = FakeOrigin::start_tls(Some(acceptor(&certificate)), move |_, request| heard.now(request)).await;
    let dir = tempfile::tempdir().expect("a temporary folder");
    let ca = dir.path().join("ca.pem");
    std::fs::write(&ca, certificate.cert.pem()).expect("writable");
    let list = |etag: &str, payload: &[u8]| vec![answer("200 OK", &[("ETag", etag)], hex(payload).as_bytes())];
    says.henceforth(list("\"1\"", b"one"));
    let origin = FakeOrigin::accepting().await;
    let port = server.address.port();
    let gate = gate(&Store::fake(origin.address))
        .yaml(&format!(
            "lists: [ {{ name: remote, source: 'https://localhost:{port}/list.txt', ca_file: {}, refresh: 1d, \
             credentials: {{ username: gate, password: secret }} }} ]",
            ca.display()
        ))
        .start()
        .await;
    assert_eq!((put(&gate, b"one").await, put(&gate, b"two").await), (403, 200));
    let request = server.exchanges().remove(0);
    assert_eq!(request.line(), "GET /list.txt HTTP/1.1");
    assert_eq!(request.headers("authorization"), ["Basic Z2F0ZTpzZWNyZXQ="]);

    assert!(!failed(&gate).await, "304 is as good as read");
    assert_eq!(server.exchanges().last().expect("asked again").headers("if-none-match"), ["\"1\""]);
    says.henceforth(list("\"2\"", b"two"));
    assert!(!failed(&gate).await);
    assert_eq!((put(&gate, b"one").await, put(&gate, b"two").await), (200, 403));

    let cut_off = format!("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{}\n", hex(b"one")).into_bytes();
    for bad in [
        vec![Step::Close],
        vec![Step::Send(cut_off), Step::Close],
        vec![answer("200 OK", &[], b"")],
        vec![answer("200 OK", &[], b"<html>Please log in</html>")],
        vec![answer("302 Found", &[("Location", "https://localhost/elsewhere")], b"")],
        vec![answer("401 Unauthorized", &[], b"")],
        vec![answer("503 Service Unavailable", &[], b"")],
    ] {
        says.henceforth(bad.clone());
        assert!(failed(&gate).await, "{bad:?}");
        assert_eq!((put(&gate, b"one").await, put(&gate, b"two").await), (200, 403), "{bad:?}");
    }
    let gate = gate.restart().await;
    assert_eq!((put(&gate, b"one").await, put(&gate, b"two").await), (200, 403), "from the state folder");
    assert_eq!(gate.metrics().await.0["hashgate_list_failed{list=\"remote\"}"], 1.0);
    says.henceforth(list("\"2\"", b"two"));
    assert!(!failed(&gate).await);
    says.henceforth(list("\"3\"", b"one"));
    let gate = gate.restart().await;
    assert_eq!((put(&gate, b"one").await, put(&gate, b"two").await), (403, 200), "a start asks for what is new");
    gate.stop().await;
}

/// A server whose certificate nobody vouches for is not asked.
#[tokio::test]
async fn a_list_server_must_be_who_it_says() {
    let (certificate, says) = (certificate(), Says::new());
    says.henceforth(vec![answer("200 OK", &[], hex(b"one").as_bytes())]);
    let server = FakeOrigin::start_tls(Some(acceptor(&certificate)), move |_, request| says.now(request)).await;
    let origin = FakeOrigin::accepting().await;
    let source = format!("lists: [ {{ name: remote, source: 'https://localhost:{}/l' }} ]", server.address.port());
    let (folder, config) = gate(&Store::fake(origin.address)).yaml(&source).write();
    let settings = hashgate::config::load(&config).expect("a good configuration");
    let error = hashgate::serve::start(settings).await.err().expect("it does not start").to_string();
    assert!(error.contains("list remote") && error.contains("certificate"), "{error}");
    assert!(server.exchanges().is_empty());
    // Not 78: what is away may be there in a minute, and a service manager should try again.
    let serve = move || run(&["serve", "--config", config.to_str().expect("a text")], "");
    let (code, _, err) = tokio::task::spawn_blocking(serve).await.expect("no panic");
    assert!(code == Some(1) && err.contains("certificate"), "{code:?} {err}");
    drop(folder);
}

/// A category that is new is observed, and said so, until `list accept` is heard by the running gate.
#[tokio::test]
async fn a_new_category_waits_for_an_operator() {
    let origin = FakeOrigin::accepting().await;
    let gate = gate(&Store::fake(origin.address))
        .list("sample", [format!("MD5,K\n{},a", hex::encode(Digests::of(b"one").sha256))])
        .yaml("lists: [ { name: sample, source: '{dir}/sample.txt', columns: 'sha256=MD5,category=K' } ]")
        .start()
        .await;
    let list = gate.dir().join("sample.txt");
    std::fs::write(&list, format!("MD5,K\n{},a\n{},b\n", hex(b"one"), hex(b"two"))).expect("writable");
    gate.running.reload().await;
    assert_eq!((put(&gate, b"one").await, put(&gate, b"two").await), (403, 200));
    let metrics = gate.metrics().await;
    assert_eq!(metrics.0["hashgate_list_on_probation{list=\"sample\"}"], 1.0);
    assert_eq!(metrics.0["hashgate_waived_total{setting=\"probation\"}"], 1.0);
    gate.audit_line("observed", |line| line["matched"][0]["on_probation"] == true && line["released"] == true).await;

    let config = gate.dir().join("hashgate.yaml");
    let accept = |name: &str| run(&["list", "accept", name, "--config", config.to_str().expect("a text")], "");
    assert_eq!(accept("other").0, Some(3));
    assert_eq!(accept("sample").0, Some(0));
    eventually("the operator's word is heard", async || (put(&gate, b"two").await == 403).then_some(())).await;
    assert_eq!(gate.metrics().await.0["hashgate_list_on_probation{list=\"sample\"}"], 0.0);
    gate.stop().await;
}

/// An entry's id, its payload and classification; `None` for a deleted one.
type Listing<'a> = (&'a str, Option<(&'a [u8], &'a str)>);

/// What a server gives for a target.
type Served = Vec<(String, Vec<Step>)>;

/// A page of NCMEC's service.
fn page(newest: &str, entries: &[Listing], next: Option<&str>) -> Vec<Step> {
    let entries = entries.iter().map(|(id, entry)| {
        let member = format!("<member id=\"42\">Example</member><id>{id}</id>");
        match entry {
            None => format!("<deletedImage>{member}</deletedImage>"),
            Some((payload, class)) => format!(
                "<image>{member}<classification>{class}</classification><fingerprints><sha1>{}</sha1></fingerprints></image>",
                Digests::of(payload).get(hashgate::digest::Algorithm::Sha1).expect("computed").to_hex()
            ),
        }
    });
    let next = next.map(|next| format!("<paging><next>{}</next></paging>", next.replace('&', "&amp;")));
    let xml = format!(
        "<?xml version=\"1.0\"?><queryResult xmlns=\"https://hashsharing.ncmec.org/hashsharing/v2\">\
         <images count=\"1\" maxTimestamp=\"{newest}\">{}</images>{}</queryResult>",
        entries.collect::<String>(),
        next.unwrap_or_default()
    );
    vec![answer("200 OK", &[("Content-Type", "text/xml")], xml.as_bytes())]
}

/// Pages at first of everything, then of what has changed: replaced, removed, added. The checkpoint moves with the last
/// page only, and nothing of half a change is used.
#[tokio::test]
async fn changes_come_on_top_of_what_was_there() {
    let pages: Arc<Mutex<Served>> = Arc::default();
    let served = pages.clone();
    let server = FakeOrigin::start(move |_, request| {
        let pages = served.lock().expect("no panic while locked");
        let found = pages.iter().find(|(target, _)| request.line() == format!("GET {target} HTTP/1.1"));
        found.map_or_else(|| vec![answer("404 Not Found", &[], b"")], |(_, steps)| steps.clone())
    })
    .await;
    let serve = |new: Vec<(&str, Vec<Step>)>| {
        *pages.lock().expect("no panic while locked") =
            new.into_iter().map(|(target, steps)| (target.to_owned(), steps)).collect();
    };
    let (one, two, three, four) = (b"one".as_slice(), b"two".as_slice(), b"three".as_slice(), b"four".as_slice());
    serve(vec![
        (
            "/v2/entries",
            page(
                "2026-01-02T00:00:00Z",
                &[("1", Some((one, "A1"))), ("2", Some((two, "A1")))],
                Some("/v2/entries?p=2&x=1"),
            ),
        ),
        ("/v2/entries?p=2&x=1", page("2026-01-01T00:00:00Z", &[("3", Some((two, "B2")))], None)),
    ]);
    let origin = FakeOrigin::accepting().await;
    let gate = gate(&Store::fake(origin.address))
        .yaml(&format!(
            "lists: [ {{ name: remote, source: 'http://{}/v2/entries', format: ncmec-xml, paged: true, refresh: 1d }} ]",
            server.address
        ))
        .start()
        .await;
    let state = async || {
        let mut statuses = [0; 4];
        for (status, payload) in statuses.iter_mut().zip([one, two, three, four]) {
            *status = put(&gate, payload).await;
        }
        statuses
    };
    assert_eq!(state().await, [403, 403, 200, 200]);
    let since = "/v2/entries?from=2026%2D01%2D02T00%3A00%3A00Z";
    serve(vec![(since, page("2026-01-02T00:00:00Z", &[], None))]);
    assert!(!failed(&gate).await, "nothing has changed");

    let changes = |next| page("2026-02-01T00:00:00Z", &[("1", None), ("2", Some((three, "A1")))], next);
    serve(vec![(since, changes(Some("/v2/entries?p=9")))]);
    assert!(failed(&gate).await, "the second page is not there");
    assert_eq!(state().await, [403, 403, 200, 200], "half a change is none");
    serve(vec![(since, changes(Some("http://127.0.0.1:1/v2/entries?p=9")))]);
    assert!(failed(&gate).await, "credentials go to no other host");
    serve(vec![(since, changes(None))]);
    assert!(!failed(&gate).await);
    assert_eq!(state().await, [200, 403, 403, 200], "one is gone, two is still an entry of another id, three came");

    let gate_line = gate.audit().into_iter().rfind(|line| line["matched"].is_array()).expect("a match");
    assert_eq!(gate_line["matched"][0]["category"], "ncmec:A1");
    let since = "/v2/entries?from=2026%2D02%2D01T00%3A00%3A00Z";
    serve(vec![(since, page("2026-03-01T00:00:00Z", &[("3", None), ("4", Some((four, "A1")))], None))]);
    let gate = gate.restart().await;
    for (payload, expected) in [(one, 200), (two, 200), (three, 403), (four, 403)] {
        assert_eq!(put(&gate, payload).await, expected, "{}", String::from_utf8_lossy(payload));
    }
    gate.stop().await;
}
