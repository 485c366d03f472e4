//! The corpus of evasions in `tests/data/evasions`, replayed at every store in both modes.

use crate::encodings::named_gzip;
use crate::support::client::{Client, Form, Head, Response};
use crate::support::gate::{Mode, gate};
use crate::support::payload::Payload;
use crate::support::store::{Room, stores};
use flate2::Compression;
use flate2::read::{GzEncoder, ZlibEncoder};
use std::path::Path;

/// One file of the corpus.
struct Evasion {
    name: String,
    sign: String,
    head: Vec<String>,
    unsigned: Vec<String>,
    body: String,
}

fn corpus() -> Vec<Evasion> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/evasions");
    let files = std::fs::read_dir(folder).expect("the corpus").map(|entry| entry.expect("readable").path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|e| e == "txt")).collect();
    files.sort();
    files.iter().map(|path| read(path)).collect()
}

fn read(path: &Path) -> Evasion {
    let text = std::fs::read_to_string(path).expect("readable");
    let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
    let mut sections = text.split("--- ");
    let about = sections.next().expect("what it is about");
    assert!(about.starts_with("row: "), "{name}: says what it tries");
    let sign = about.lines().find_map(|line| line.strip_prefix("sign: ")).expect("how it is signed").to_owned();
    let mut evasion = Evasion { name, sign, head: Vec::new(), unsigned: Vec::new(), body: String::new() };
    for section in sections {
        let (title, lines) = section.split_once('\n').expect("a title");
        let lines: Vec<String> = lines.lines().map(str::to_owned).collect();
        match title {
            "head" => evasion.head = lines,
            "unsigned" => evasion.unsigned = lines,
            "body" => evasion.body = lines.concat(),
            other => panic!("{}: a section {other}", evasion.name),
        }
    }
    evasion
}

fn compressed(mut encoder: impl std::io::Read) -> Vec<u8> {
    let mut out = Vec::new();
    encoder.read_to_end(&mut out).expect("memory");
    out
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    compressed(GzEncoder::new(bytes, Compression::fast()))
}

impl Evasion {
    /// The request with this payload, as bytes.
    fn request(&self, client: &Client, room: &Room, payload: &Payload) -> Vec<u8> {
        let bytes = payload.bytes();
        let wire = client.upload(Form::UnsignedTrailer, "/x/y", payload).body_bytes();
        let crc = String::from_utf8_lossy(&wire[wire.len() - 12..wire.len() - 4]).into_owned();
        let words = |text: &str| {
            text.replace("{target}", &format!("/{room}/key"))
                .replace("{bucket}", &format!("/{}", room.bucket))
                .replace("{room}", &format!("/{room}"))
                .replace("{key}", &format!("{}/key", room.prefix))
                .replace("{len}", &bytes.len().to_string())
                .replace("{hex}", &format!("{:x}", bytes.len()))
                .replace("{crc}", &crc)
        };
        let mut body = Vec::new();
        let mut rest = &*words(&self.body).replace("\\r", "\r").replace("\\n", "\n");
        while let Some(at) = rest.find('{') {
            body.extend_from_slice(&rest.as_bytes()[..at]);
            let (word, behind) = rest[at + 1..].split_once('}').expect("a closed brace");
            match word {
                "payload" => body.extend_from_slice(&bytes),
                "gzip" => body.extend(gzip(&bytes)),
                "gzipnamed" => body.extend(named_gzip(&bytes)),
                "gzip2" => body.extend(gzip(&gzip(&bytes))),
                "deflate" => body.extend(compressed(ZlibEncoder::new(&bytes[..], Compression::fast()))),
                "skipped" => body.extend(b"\x5a\x2a\x4d\x18\x02\0\0\0ab"),
                "zstd" => body.extend(zstd::encode_all(&bytes[..], 1).expect("memory")),
                // Braces of JSON.
                _ => body.extend_from_slice(format!("{{{word}}}").as_bytes()),
            }
            rest = behind;
        }
        body.extend_from_slice(rest.as_bytes());

        let mut line = self.head[0].split(' ');
        let (method, target) = (line.next().expect("a method"), words(line.next().expect("a target")));
        let version = line.next().expect("a version");
        let mut head = Head::new(method, &target);
        head.push("Host", &client.host);
        let header = |line: &String| {
            let (name, value) = line.split_once(": ").expect("a header");
            (name.to_owned(), words(value))
        };
        for (name, value) in self.head[1..].iter().map(header) {
            head.push(&name, &value);
        }
        match head.header("content-length") {
            None => head.push("Content-Length", &body.len().to_string()),
            Some("-") => head.remove("content-length"),
            Some(_) => {}
        }
        let origin_form =
            head.target.strip_prefix("http://").map(|rest| rest[rest.find('/').unwrap_or(0)..].to_owned());
        let sent = head.target.clone();
        if let Some(path) = origin_form {
            head.target = path;
        }
        match self.sign.as_str() {
            "none" => {}
            "presigned" => client.presign(&mut head, 600),
            "payload" => drop(client.sign(&mut head, &payload.sha256())),
            other => drop(client.sign(&mut head, other)),
        }
        if sent.starts_with("http://") {
            head.target = sent;
        }
        for (name, value) in self.unsigned.iter().map(header) {
            head.push(&name, &value);
        }
        let head = String::from_utf8(head.bytes()).expect("text").replacen("HTTP/1.1", version, 1);
        [head.as_bytes(), &body].concat()
    }
}

/// What tells one answer from another; a connection that is closed without any is an answer, too.
async fn send(client: &Client, request: &[u8]) -> (u16, String) {
    match client.raw(request, false).await {
        Ok(Response { status, body, .. }) => {
            let text = String::from_utf8_lossy(&body).into_owned();
            let code = text.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>"));
            (status, code.map(|(code, _)| code.to_owned()).unwrap_or_default())
        }
        Err(_) => (0, String::new()),
    }
}

#[tokio::test]
async fn no_evasion_brings_a_listed_file_in() {
    let corpus = corpus();
    assert!(corpus.len() > 50, "the corpus is not there");
    for store in stores().await {
        let room = store.room("evasion").await;
        // Longer than the first window, and as long as each other: nothing but the list tells them apart.
        let (clean, bad) = (Payload::random(31, 70_001), Payload::random(32, 70_001));
        for mode in Mode::BOTH {
            let gate = gate(&store).list("sample", [bad.sha256()]).mode(mode).start().await;
            let client = gate.client();
            for evasion in &corpus {
                let what = format!("{} at {} in {mode:?}", evasion.name, store.name);
                let refused_bad = send(&client, &evasion.request(&client, &room, &bad)).await;
                assert_eq!(store.contents(&room).await, Vec::<String>::new(), "{what}: {refused_bad:?}");
                let answer = send(&client, &evasion.request(&client, &room, &clean)).await;
                if answer.0 == 0 || answer.0 >= 400 {
                    let own_words = refused_bad == (403, "AccessDenied".to_owned());
                    assert!(
                        refused_bad == answer || own_words,
                        "{what}: {refused_bad:?}, and {answer:?} for a clean one"
                    );
                } else {
                    assert_eq!(refused_bad, (403, "AccessDenied".to_owned()), "{what}: the clean one got {answer:?}");
                }
                for key in store.contents(&room).await {
                    store.client().delete(&format!("/{}/{key}", room.bucket)).await;
                }
            }
            gate.quiet().await;
            gate.stop().await;
        }
    }
}
