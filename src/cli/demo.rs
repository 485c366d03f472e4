//! `hashgate demo`: a store in this process, a sample list, the gate before it, and what to try.

use super::{Exit, start_log};
use crate::config::{self, settings::Log};
use crate::digest::Digests;
use crate::serve::{self, Running};
use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use time::OffsetDateTime;
use tokio::net::{TcpListener, TcpStream};

const ACCESS_KEY: &str = "demo-access-key";
const SECRET_KEY: &str = "demo-secret-key";

/// What the sample list holds: nothing but this sentence is listed.
const LISTED: &[u8] = b"This synthetic file stands for a listed one.\n";
const CLEAN: &[u8] = b"This file is on no list.\n";

pub(super) fn run(once: bool) -> anyhow::Result<Exit> {
    start_log(Log { json: false, level: if once { tracing::Level::ERROR } else { tracing::Level::INFO } });
    let folder = tempfile::Builder::new().prefix("hashgate-demo-").tempdir()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let store = start_store(&folder.path().join("store")).await?;
        let running = start_gate(folder.path(), store).await?;
        let done = if once { scenario(&running, store).await } else { wait(&running, store, folder.path()).await };
        running.stop().await;
        done
    })
}

/// The embedded store, with one bucket, on a free port.
async fn start_store(root: &Path) -> anyhow::Result<SocketAddr> {
    fs::create_dir_all(root.join("demo"))?;
    let files = s3s_fs::FileSystem::new(root).map_err(|error| anyhow::anyhow!("the embedded store: {error:?}"))?;
    let mut service = S3ServiceBuilder::new(files);
    service.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
    let service = service.build();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = TowerToHyperService::new(service.clone());
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    Ok(address)
}

async fn start_gate(folder: &Path, store: SocketAddr) -> anyhow::Result<Running> {
    fs::write(folder.join("sample.sha256"), hex::encode(Digests::of(LISTED).sha256) + "  listed.txt\n")?;
    fs::write(folder.join("listed.txt"), LISTED)?;
    fs::write(folder.join("clean.txt"), CLEAN)?;
    let file = folder.join("hashgate.yaml");
    fs::write(
        &file,
        format!(
            "listen: {{ address: '127.0.0.1:0' }}\nadmin: {{ address: '127.0.0.1:0' }}\norigin: {{ endpoint: 'http://{store}', region: us-east-1 }}\nlists: [ {{ name: sample, source: sample.sha256, category: 'house:demo' }} ]\n"
        ),
    )?;
    Ok(serve::start(config::load(&file)?).await?)
}

/// Uploads a clean file and a listed one, and checks what became of each at the store itself.
async fn scenario(running: &Running, store: SocketAddr) -> anyhow::Result<Exit> {
    let gate = running.address();
    let admin = running.admin_address().context("the demo has an admin address")?;

    let (status, body) = call(gate, Method::PUT, "/demo/clean.txt", CLEAN).await?;
    ensure!(status == StatusCode::OK, "the clean upload got {status}: {body}");
    let (status, stored) = call(store, Method::GET, "/demo/clean.txt", b"").await?;
    ensure!(status == StatusCode::OK && stored.as_bytes() == CLEAN, "the clean file is not in the store: {status}");
    println!("clean.txt   uploaded through the gate, and stored byte for byte");

    let (status, body) = call(gate, Method::PUT, "/demo/listed.txt", LISTED).await?;
    ensure!(
        status == StatusCode::FORBIDDEN && body.contains("<Code>AccessDenied</Code>"),
        "the listed upload got {status}: {body}"
    );
    let (status, _) = call(store, Method::GET, "/demo/listed.txt", b"").await?;
    ensure!(status == StatusCode::NOT_FOUND, "the store has the listed file: {status}");
    println!("listed.txt  refused with 403 AccessDenied, and not in the store");

    let (status, metrics) = call(admin, Method::GET, "/metrics", b"").await?;
    ensure!(status == StatusCode::OK, "the metrics got {status}");
    for outcome in ["forwarded", "rejected"] {
        let counter = format!("hashgate_requests_total{{operation=\"PutObject\",outcome=\"{outcome}\"}} 1");
        ensure!(metrics.lines().any(|line| line == counter), "the metrics do not hold: {counter}");
        println!("{counter}");
    }
    println!("All held.");
    Ok(Exit::Done)
}

async fn wait(running: &Running, store: SocketAddr, folder: &Path) -> anyhow::Result<Exit> {
    let (gate, folder) = (running.address(), folder.display());
    let admin = running.admin_address().context("the demo has an admin address")?;
    println!(
        "The gate listens on http://{gate}, before a store on http://{store}.

Upload a clean file, then one that is on the sample list (boto3's aws, or any S3 client):

  export AWS_ACCESS_KEY_ID={ACCESS_KEY} AWS_SECRET_ACCESS_KEY={SECRET_KEY} AWS_DEFAULT_REGION=us-east-1
  aws --endpoint-url http://{gate} s3 cp {folder}/clean.txt  s3://demo/
  aws --endpoint-url http://{gate} s3 cp {folder}/listed.txt s3://demo/

or with curl:

  curl --user {ACCESS_KEY}:{SECRET_KEY} --aws-sigv4 aws:amz:us-east-1:s3 -H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' \\
       --upload-file {folder}/listed.txt http://{gate}/demo/listed.txt

See what happened:

  curl -s http://{admin}/metrics | grep hashgate_requests
  cat {folder}/state/audit.log

Stop it with Ctrl-C; the folder goes with it."
    );
    tokio::signal::ctrl_c().await?;
    Ok(Exit::Done)
}

/// One signed call, answered whole.
async fn call(
    address: SocketAddr,
    method: Method,
    path: &str,
    body: &'static [u8],
) -> anyhow::Result<(StatusCode, String)> {
    let (mut parts, ()) =
        Request::builder().method(method).uri(path).header("host", address.to_string()).body(())?.into_parts();
    let credentials = config::settings::Credentials {
        access_key: ACCESS_KEY.to_owned(),
        secret_key: config::settings::Secret::new(SECRET_KEY),
    };
    let payload = hex::encode(Digests::of(body).sha256);
    crate::authenticate::sign(&mut parts, &payload, &credentials, "us-east-1", OffsetDateTime::now_utc());
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let answer = sender.send_request(Request::from_parts(parts, Full::new(Bytes::from_static(body)))).await?;
    let status = answer.status();
    #[allow(clippy::disallowed_methods, reason = "the demo's answers are short, and its own")]
    let body = answer.into_body().collect().await?.to_bytes();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}
