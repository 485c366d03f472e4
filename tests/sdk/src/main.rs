//! `hashgate-sdk-day ENDPOINT BUCKET CLEAN LISTED`: uploads, lists, copies, downloads, presigns and deletes through the
//! endpoint with the AWS SDK for Rust; CLEAN must arrive, LISTED must be refused. Keys and region are in the environment.

use aws_sdk_s3::config::{BehaviorVersion, Builder};
use aws_sdk_s3::error::ProvideErrorMetadata as _;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use std::time::Duration;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [endpoint, bucket, clean, listed] = arguments.as_slice() else { panic!("ENDPOINT BUCKET CLEAN LISTED") };
    let shared = aws_config::defaults(BehaviorVersion::latest()).endpoint_url(endpoint).load().await;
    let client = aws_sdk_s3::Client::from_conf(Builder::from(&shared).force_path_style(true).build());
    let bytes = std::fs::read(clean).expect("readable");
    let file = async |path: &str| ByteStream::from_path(path).await.expect("readable");

    client.put_object().bucket(bucket).key("sdk/a b").body(file(clean).await).send().await.expect("put");
    let got = client.get_object().bucket(bucket).key("sdk/a b").send().await.expect("get");
    assert!(got.body.collect().await.expect("a body").into_bytes() == bytes, "other bytes than were sent");

    let upload = client.create_multipart_upload().bucket(bucket).key("sdk/parts").send().await.expect("create");
    let id = upload.upload_id().expect("an id");
    let mut parts = Vec::new();
    for (number, bytes) in [(1, vec![1; 5 << 20]), (2, vec![2; 1000])] {
        let part = client.upload_part().bucket(bucket).key("sdk/parts").upload_id(id).part_number(number);
        let part = part.body(bytes.into()).send().await.expect("part");
        parts.push(
            CompletedPart::builder()
                .part_number(number)
                .set_e_tag(part.e_tag().map(str::to_owned))
                .set_checksum_crc32(part.checksum_crc32().map(str::to_owned))
                .build(),
        );
    }
    let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
    let complete = client.complete_multipart_upload().bucket(bucket).key("sdk/parts").upload_id(id);
    complete.multipart_upload(parts).send().await.expect("complete");

    let refused = client.put_object().bucket(bucket).key("sdk/listed").body(file(listed).await).send().await;
    let refused = refused.expect_err("a listed payload was taken");
    assert_eq!(refused.code(), Some("AccessDenied"), "{refused:?}");

    let presigned = client.get_object().bucket(bucket).key("sdk/a b");
    let presigned = presigned.presigned(PresigningConfig::expires_in(Duration::from_secs(60)).expect("a minute"));
    println!("{}", presigned.await.expect("presigned").uri());

    let list = client.list_objects_v2().bucket(bucket).prefix("sdk/").send().await.expect("list");
    let keys: Vec<&str> = list.contents().iter().filter_map(|object| object.key()).collect();
    assert_eq!(keys, ["sdk/a b", "sdk/parts"]);
    for key in keys {
        client.delete_object().bucket(bucket).key(key).send().await.expect("delete");
    }
}
