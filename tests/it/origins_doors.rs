//! Doors that the README's table names and that no other test opens: what a setting lets through is looked up all the same,
//! and the rest is answered as directly.

use crate::support::client::{Client, Form, Head, Response, http_chunks};
use crate::support::gate::{assert_absent, gate};
use crate::support::payload::Payload;
use crate::support::store::stores;
use base64::prelude::{BASE64_STANDARD, Engine};
use sha1::{Digest, Sha1};

/// A way of sending a payload to a target.
type Send = fn(&Client, &str, &Payload) -> Vec<u8>;

/// The setting that opens the door, and an upload through it.
const DOORS: &[(&str, &str, Send)] = &[
    ("Transfer-Encoding: chunked without a length", "origin: { plain_chunked: true }", |client, target, payload| {
        let mut head = client.upload(Form::RawUnsigned, target, payload).head;
        head.remove("content-length");
        head.push("Transfer-Encoding", "chunked");
        [head.bytes(), http_chunks(std::iter::once(payload.bytes())).flatten().collect()].concat()
    }),
    ("version 2 in the header", "authentication: { signature_v2: true }", |client, target, payload| {
        let mut head = plain(client, target, payload);
        let date = time::OffsetDateTime::from(client.now());
        let rfc7231 = time::macros::format_description!(
            "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
        );
        let date = date.format(&rfc7231).expect("a date");
        let signature = hmac_sha1(client.secret_key.as_bytes(), format!("PUT\n\n\n{date}\n{target}").as_bytes());
        head.push("Date", &date);
        head.push("Authorization", &format!("AWS {}:{}", client.access_key, BASE64_STANDARD.encode(signature)));
        [head.bytes(), payload.bytes().to_vec()].concat()
    }),
    ("presigned with version 2", "{}", |client, target, payload| {
        let expires = time::OffsetDateTime::from(client.now()).unix_timestamp() + 600;
        let signature = hmac_sha1(client.secret_key.as_bytes(), format!("PUT\n\n\n{expires}\n{target}").as_bytes());
        let signature = BASE64_STANDARD.encode(signature).replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
        let query = format!("AWSAccessKeyId={}&Expires={expires}&Signature={signature}", client.access_key);
        let head = plain(client, &format!("{target}?{query}"), payload);
        [head.bytes(), payload.bytes().to_vec()].concat()
    }),
    ("SigV4A chunks", "{}", |client, target, payload| {
        let mut head = plain(client, target, payload);
        let signature = format!("{:*<144}", "30");
        let body = [
            format!("{:x};chunk-signature={signature}\r\n", payload.len()).as_bytes(),
            &payload.bytes(),
            format!("\r\n0;chunk-signature={signature}\r\n\r\n").as_bytes(),
        ]
        .concat();
        head.set("content-length", &body.len().to_string());
        head.push("x-amz-content-sha256", "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD");
        head.push("x-amz-decoded-content-length", &payload.len().to_string());
        head.push("x-amz-region-set", "*");
        let credential = format!("{}/20260101/s3/aws4_request", client.access_key);
        head.push(
            "Authorization",
            &format!(
                "AWS4-ECDSA-P256-SHA256 Credential={credential}, SignedHeaders=host;x-amz-content-sha256, Signature=30"
            ),
        );
        [head.bytes(), body].concat()
    }),
    ("MinIO's index of a zip file", "{}", |client, target, payload| {
        let upload = client.upload_with(Form::RawSigned, target, payload, &[("x-minio-extract", "true")]);
        [upload.head.bytes(), payload.bytes().to_vec()].concat()
    }),
];

/// An upload that nothing signs yet.
fn plain(client: &Client, target: &str, payload: &Payload) -> Head {
    let mut head = Head::new("PUT", target);
    head.push("Host", &client.host);
    head.push("Content-Length", &payload.len().to_string());
    head
}

/// RFC 2104, for signatures of version 2.
fn hmac_sha1(key: &[u8], message: &[u8]) -> [u8; 20] {
    assert!(key.len() <= 64, "a longer key would be hashed first");
    let padded = |pad: u8| -> Vec<u8> { (0..64).map(|at| key.get(at).copied().unwrap_or(0) ^ pad).collect() };
    let inner = Sha1::digest([&padded(0x36)[..], message].concat());
    Sha1::digest([&padded(0x5c)[..], &inner].concat()).into()
}

/// A clean upload gets the store's own answer, and is stored where it directly is; a listed one is not stored.
#[tokio::test]
async fn what_passes_a_door_is_looked_up() {
    for store in stores().await {
        let room = store.room("doors").await;
        // Shorter and longer than what is read before the store hears of an upload.
        let listed = [Payload::random(1, 3000), Payload::random(2, 100_000)];
        for (name, yaml, send) in DOORS {
            let gate = gate(&store).list("sample", listed.iter().map(Payload::sha256)).yaml(yaml).start().await;
            let word = name.replace(|c: char| !c.is_ascii_alphanumeric(), "");
            for (n, bad) in listed.iter().enumerate() {
                let clean = Payload::random(10, bad.len());
                let at = |what: &str| format!("/{room}/{word}-{n}-{what}.zip");
                let [direct, through, refused] =
                    [(store.client(), "direct", &clean), (gate.client(), "clean", &clean), (gate.client(), "bad", bad)];
                let [direct, through, refused] = [
                    answer(send, direct, &at).await,
                    answer(send, through, &at).await,
                    answer(send, refused, &at).await,
                ];
                println!("{} {name}: {} directly", store.name, direct.status);
                assert_eq!((direct.status, direct.code()), (through.status, through.code()), "{} {name}", store.name);
                assert!(refused.status >= 400, "{} {name}: {refused:?}", store.name);
                assert_absent(&store, &at("bad")).await;
                let stored = [store.client().get(&at("direct")).await, store.client().get(&at("clean")).await];
                assert_eq!(stored[0].status, stored[1].status, "{} {name}", store.name);
                assert!(stored[0].body == stored[1].body || stored[0].status != 200, "{} {name}", store.name);
            }
            gate.stop().await;
        }
    }
}

async fn answer(
    send: &Send,
    (client, what, payload): (Client, &str, &Payload),
    at: &dyn Fn(&str) -> String,
) -> Response {
    client.raw(&send(&client, &at(what), payload), false).await.expect("an answer")
}

/// Calls that carry no object, or make the store do something by itself, are answered as directly.
#[tokio::test]
async fn other_doors_are_answered_by_the_store() {
    for store in stores().await {
        let room = store.room("doors").await;
        let gate = gate(&store).start().await;
        store.client().put(Form::RawSigned, &format!("/{room}/k"), &Payload::from("content")).await.expect("an answer");
        let source = format!("/{room}/k");
        let restore = b"<RestoreRequest><Days>1</Days></RestoreRequest>";
        for (method, query, headers, body) in [
            ("PUT", "renameObject", &[("x-amz-rename-source", source.as_str())][..], &b""[..]),
            ("POST", "restore", &[], restore),
            ("POST", "select&select-type=2", &[], b"<SelectObjectContentRequest/>"),
            ("GET", "torrent", &[], b""),
        ] {
            if store.name == "rgw" && query.starts_with("select") {
                // Ceph RGW 16 begins its answer without a status line, also directly.
                continue;
            }
            let mut answers = Vec::new();
            for client in [store.client(), gate.client()] {
                let answer = client.request(method, &format!("/{room}/k?{query}"), headers, body).await;
                answers.push((answer.status, answer.code()));
            }
            println!("{} {method} {query}: {:?}", store.name, answers[0]);
            assert_eq!(answers[0], answers[1], "{} {method} {query}", store.name);
        }
        gate.stop().await;
    }
}
