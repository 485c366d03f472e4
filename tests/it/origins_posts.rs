//! Form uploads, as browsers send them with a signed policy.

use crate::support::client::{Client, Head, Response};
use crate::support::gate::{Mode, assert_absent, assert_refused, assert_stored_exactly, gate};
use crate::support::payload::Payload;
use crate::support::store::{Store, stores};
use aws_sigv4::sign::v4::{calculate_signature, generate_signing_key};
use base64::prelude::{BASE64_STANDARD, Engine};
use std::io::Read as _;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

const BOUNDARY: &str = "----WebKitFormBoundary7MA4YWxkTrZu0gW";
const TYPE: &str = "multipart/form-data; boundary=----WebKitFormBoundary7MA4YWxkTrZu0gW";

/// A form that may be spoilt before it is sent.
struct Form {
    bucket: String,
    fields: Vec<(String, String)>,
    /// The header lines of the part with the payload, and what stands behind it.
    file: String,
    end: String,
    payload: Vec<u8>,
    content_type: String,
}

impl Form {
    /// A good one, signed for half an hour.
    fn new(client: &Client, bucket: &str, key: &str, payload: &[u8], more: &[(&str, &str)]) -> Form {
        let now = OffsetDateTime::from(client.now());
        let day = time::macros::format_description!("[year][month][day]");
        let stamp = time::macros::format_description!("[year][month][day]T[hour][minute][second]Z");
        let (day, stamp) = (now.format(&day).expect("a day"), now.format(&stamp).expect("a time"));
        let credential = format!("{}/{day}/{}/s3/aws4_request", client.access_key, client.region);
        let mut fields: Vec<(String, String)> = [
            ("key", key),
            ("x-amz-algorithm", "AWS4-HMAC-SHA256"),
            ("x-amz-credential", &credential),
            ("x-amz-date", &stamp),
        ]
        .into_iter()
        .chain(more.iter().copied())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
        let mut conditions = vec![serde_json::json!({ "bucket": bucket })];
        conditions.extend(fields.iter().map(|(name, value)| serde_json::json!(["eq", format!("${name}"), value])));
        conditions.push(serde_json::json!(["content-length-range", 0, 10 << 20]));
        let expiration = (now + time::Duration::minutes(30)).replace_nanosecond(0).expect("a time");
        let policy =
            serde_json::json!({ "expiration": expiration.format(&Rfc3339).expect("a time"), "conditions": conditions });
        let policy = BASE64_STANDARD.encode(policy.to_string());
        let signing_key = generate_signing_key(&client.secret_key, client.now(), &client.region, "s3");
        let signature = calculate_signature(signing_key, policy.as_bytes());
        fields.extend([("policy".to_owned(), policy), ("x-amz-signature".to_owned(), signature)]);
        Form {
            bucket: bucket.into(),
            fields,
            file: "Content-Disposition: form-data; name=\"file\"; filename=\"a.bin\"\r\nContent-Type: application/octet-stream".into(),
            end: format!("\r\n--{BOUNDARY}--\r\n"),
            payload: payload.to_vec(),
            content_type: TYPE.into(),
        }
    }

    fn body(&self) -> Vec<u8> {
        let mut body = Vec::new();
        for (name, value) in &self.fields {
            let part = format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
            body.extend_from_slice(part.as_bytes());
        }
        body.extend_from_slice(format!("--{BOUNDARY}\r\n{}\r\n\r\n", self.file).as_bytes());
        body.extend_from_slice(&self.payload);
        body.extend_from_slice(self.end.as_bytes());
        body
    }

    async fn send(&self, client: &Client) -> Response {
        let body = self.body();
        let mut head = Head::new("POST", &format!("/{}", self.bucket));
        head.push("Host", &client.host);
        head.push("Content-Type", &self.content_type);
        head.push("Content-Length", &body.len().to_string());
        client.raw(&[&head.bytes()[..], &body].concat(), false).await.expect("an answer")
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    flate2::read::GzEncoder::new(bytes, flate2::Compression::fast()).read_to_end(&mut out).expect("memory");
    out
}

/// Whether the store takes forms at all: the embedded one does not.
async fn takes_forms(store: &Store, bucket: &str, key: &str) -> bool {
    let direct = Form::new(&store.client(), bucket, key, b"direct", &[]).send(&store.client()).await;
    println!("{}: a form, directly: {} {}", store.name, direct.status, direct.code());
    direct.status < 300
}

#[tokio::test]
async fn a_form_is_stored_or_refused_like_any_upload() {
    for store in stores().await {
        let room = store.room("form").await;
        let takes = takes_forms(&store, &room.bucket, &format!("{}/direct", room.prefix)).await;
        for mode in Mode::BOTH {
            let (small, large) = (Payload::random(1, 1000), Payload::random(2, 300_000));
            let gate = gate(&store).list("sample", [small.md5(), large.sha256()]).mode(mode).start().await;
            let client = gate.client();
            for listed in [&small, &large] {
                let bytes = listed.bytes();
                for (n, payload) in [bytes.to_vec(), gzip(&bytes)].into_iter().enumerate() {
                    let key = format!("{}/{mode:?}-bad-{}-{n}", room.prefix, bytes.len());
                    assert_refused(&Form::new(&client, &room.bucket, &key, &payload, &[]).send(&client).await);
                    assert_absent(&store, &format!("/{}/{key}", room.bucket)).await;
                }
                let key = format!("{}/{mode:?}-enc-{}", room.prefix, bytes.len());
                let encoded = Form::new(&client, &room.bucket, &key, &gzip(&bytes), &[("Content-Encoding", "gzip")]);
                assert_refused(&encoded.send(&client).await);
            }
            for size in [0, 1, 65_536, 65_537, 1 << 20] {
                let payload = Payload::random(3, size).bytes();
                let key = format!("{}/{mode:?} good {size}", room.prefix);
                let answer = Form::new(&client, &room.bucket, &key, &payload, &[]).send(&client).await;
                if takes {
                    assert!(answer.status < 300, "{} {mode:?} {size}: {answer:?}", store.name);
                    let target = format!("/{}/{}", room.bucket, key.replace(' ', "%20"));
                    assert_stored_exactly(&store, &target, &payload, None).await;
                } else {
                    assert!(answer.status >= 400, "{}: {answer:?}", store.name);
                }
            }
            gate.audit_line("a form's key", |line| line["operation"] == "PostObject" && line["outcome"] == "rejected")
                .await;
            gate.stop().await;
        }
    }
}

/// A form names the page to which its sender is led when all is done: that is no way past the gate.
#[tokio::test]
async fn a_form_leads_to_where_it_says() {
    for store in stores().await {
        let room = store.room("form-redirect").await;
        for mode in Mode::BOTH {
            let gate = gate(&store).mode(mode).start().await;
            let page = [("success_action_redirect", "http://www.example.test/done?a=b")];
            let mut answers = Vec::new();
            for client in [store.client(), gate.client()] {
                let key = format!("{}/{mode:?}", room.prefix);
                let answer = Form::new(&client, &room.bucket, &key, b"clean", &page).send(&client).await;
                answers.push((answer.status, answer.header("location").map(str::to_owned)));
            }
            println!("{}: {:?}", store.name, answers[0]);
            assert_eq!(answers[0], answers[1], "{} {mode:?}", store.name);
            gate.stop().await;
        }
    }
}

type Spoil = fn(&mut Form);

/// What parsers of forms read in different ways, each with a listed and with a clean payload.
const SPOILT: &[(&str, Spoil)] = &[
    ("a decoy before the file", |form| form.fields.push(("File".into(), "decoy".into()))),
    ("a field twice", |form| form.fields.push(("KEY".into(), "other".into()))),
    ("a second file", |form| {
        form.end =
            format!("\r\n--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nclean{}", form.end);
    }),
    ("a field behind the file", |form| {
        form.end =
            format!("\r\n--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"acl\"\r\n\r\nprivate{}", form.end);
    }),
    ("bytes behind the end", |form| form.end += "padding"),
    ("no end", |form| form.end = "\r\n".into()),
    ("half an end", |form| form.end = format!("\r\n--{BOUNDARY}")),
    ("quoted-printable", |form| form.file += "\r\nContent-Transfer-Encoding: quoted-printable"),
    ("base64", |form| form.file += "\r\nContent-Transfer-Encoding: base64"),
    ("filename*", |form| form.file = form.file.replace("filename=", "filename*=UTF-8''x; filename=")),
    ("a form in the form", |form| {
        form.file = form.file.replace("application/octet-stream", "multipart/mixed; boundary=x")
    }),
    ("two names", |form| form.file = form.file.replace("name=\"file\"", "name=\"acl\"; name=\"file\"")),
    ("a folded line", |form| form.file = form.file.replace("; filename", ";\r\n filename")),
    ("two boundaries", |form| form.content_type += "; boundary=x"),
    ("another type", |form| form.content_type = form.content_type.replace("form-data", "mixed")),
    ("fan-out", |form| form.fields.push(("x-minio-fanout-list".into(), "[{\"key\":\"a\"}]".into()))),
    ("snowball", |form| form.fields.push(("x-amz-meta-snowball-auto-extract".into(), "true".into()))),
    ("a chunked payload", |form| {
        form.fields.push(("x-amz-content-sha256".into(), "STREAMING-UNSIGNED-PAYLOAD-TRAILER".into()));
    }),
];

#[tokio::test]
async fn what_parsers_of_forms_read_differently_is_refused() {
    for store in stores().await {
        let room = store.room("form-spoilt").await;
        let bad = Payload::random(4, 70_000);
        for mode in Mode::BOTH {
            let gate = gate(&store).list("sample", [bad.sha256()]).mode(mode).start().await;
            let client = gate.client();
            for (name, spoil) in SPOILT {
                let mut answers = Vec::new();
                for payload in [Payload::random(5, 70_000), bad.clone()] {
                    let key = format!("{}/spoilt", room.prefix);
                    let mut form = Form::new(&client, &room.bucket, &key, &payload.bytes(), &[]);
                    spoil(&mut form);
                    let answer = form.send(&client).await;
                    assert!((400..=501).contains(&answer.status), "{} {name}: {answer:?}", store.name);
                    answers.push((answer.status, answer.code()));
                }
                assert_eq!(answers[0], answers[1], "{name}: the answer tells what is listed");
                assert_eq!(store.contents(&room).await, Vec::<String>::new(), "{} {name}", store.name);
            }
            gate.stop().await;
        }
    }
}
