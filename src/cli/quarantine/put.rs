//! `hashgate quarantine release CASE --permission ...`: puts the object of a case where it was meant to go, on the machine
//! of the officer who has the recipient's key. Its bytes pass through memory, piece by piece, and nowhere else.

use super::vault::Vault;
use crate::act::quarantine::Manifest;
use crate::act::quarantine::permits::{HEADER, Permission};
use crate::authenticate;
use crate::cli::Exit;
use crate::config::settings::{Credentials, Origin as Address, Secret};
use crate::forward::{Origin, Piece, RequestBody, buffered};
use crate::record::Metrics;
use crate::s3::target::encode_path;
use anyhow::{Context as _, anyhow, bail, ensure};
use base64::prelude::{BASE64_STANDARD as BASE64, Engine as _};
use clap::Args;
use http::header::{CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, StatusCode, Uri};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use time::OffsetDateTime;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};

/// What S3 stores take at once.
const PUT_MAX: u64 = 5 << 30;

#[derive(Args)]
pub(super) struct Arguments {
    /// Put the object through the gate, with what the second officer was told
    #[arg(long, value_name = "PERMISSION", requires_all = ["identity", "endpoint", "gate_key"])]
    pub(super) permission: Option<String>,
    /// The recipient's key, as age-keygen has made it
    #[arg(long, value_name = "KEYFILE", requires = "permission")]
    identity: Option<PathBuf>,
    /// The public key that must have signed the case (`hashgate quarantine key`)
    #[arg(long, value_name = "KEY", requires = "permission")]
    gate_key: Option<String>,
    /// The gate, as clients reach it
    #[arg(long, value_name = "URL", requires = "permission")]
    endpoint: Option<String>,
    /// Sign with this access key; without it with origin.credentials
    #[arg(long, value_name = "KEY", requires = "secret_key_file")]
    access_key: Option<String>,
    /// Its secret key
    #[arg(long, value_name = "FILE", requires = "access_key")]
    secret_key_file: Option<PathBuf>,
}

pub(super) fn run(case: &str, arguments: &Arguments, config: &Path) -> anyhow::Result<Exit> {
    let Arguments { permission: Some(permission), identity: Some(identity), endpoint: Some(endpoint), .. } = arguments
    else {
        return Ok(Exit::Usage);
    };
    let permission = Permission::parse(permission).context("--permission: expected CASE.TOKEN")?;
    ensure!(permission.case() == case, "--permission: it is for case {}", permission.case());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let keys = arguments.gate_key.iter().cloned().collect();
    let vault = Vault::open(config, identity, keys, runtime.handle().clone())?;
    let gate = vault
        .settings
        .origin
        .at(endpoint)
        .context("--endpoint: expected an address such as https://s3.example.test")?;
    let credentials = arguments.credentials(&vault)?;
    let manifest = vault.manifest(case).with_context(|| format!("case {case}"))?;
    let target = check(&manifest)?;
    let answer = runtime.block_on(put(vault, manifest, target.clone(), gate, &credentials, &permission))?;
    if answer.is_success() {
        println!("{case}: put to {target}");
        return Ok(Exit::Done);
    }
    let hint = match answer {
        StatusCode::FORBIDDEN => {
            "; the permission is used, expired or for another object, or the access key may not write there"
        }
        _ => "",
    };
    bail!("the gate answers {answer}{hint}")
}

impl Arguments {
    fn credentials(&self, vault: &Vault) -> anyhow::Result<Credentials> {
        if let (Some(access_key), Some(file)) = (&self.access_key, &self.secret_key_file) {
            let secret = fs::read_to_string(file).with_context(|| file.display().to_string())?;
            return Ok(Credentials { access_key: access_key.clone(), secret_key: Secret::new(secret.trim()) });
        }
        let own = vault.settings.origin.credentials.clone();
        own.context("give --access-key and --secret-key-file, or origin.credentials in the configuration")
    }
}

/// The path of the object, where this case can be put at once.
fn check(manifest: &Manifest) -> anyhow::Result<String> {
    if let Some(why) = &manifest.payload.payload_not_kept {
        bail!("its payload was not kept ({why}): its client has to send it again");
    }
    ensure!(
        manifest.size <= PUT_MAX,
        "it has more than 5 GiB, which no store takes at once: its client has to send it again"
    );
    let (Some(bucket), Some(key)) = (&manifest.target.bucket, &manifest.target.key) else {
        bail!("it was meant for no key");
    };
    Ok(format!("/{bucket}/{}", encode_path(key)))
}

async fn put(
    vault: Vault,
    manifest: Manifest,
    target: String,
    gate: Address,
    credentials: &Credentials,
    permission: &Permission,
) -> anyhow::Result<StatusCode> {
    let region = gate.region.clone().unwrap_or_else(|| "us-east-1".to_owned());
    let origin = Origin::new(&gate, &vault.settings.limits, Metrics::new(prometheus::Registry::new())?)?;
    let mut request = Request::new(());
    *request.method_mut() = Method::PUT;
    *request.uri_mut() = target.parse::<Uri>()?;
    *request.headers_mut() = headers(&manifest);
    request.headers_mut().insert(HOST, HeaderValue::try_from(&gate.authority)?);
    let (mut parts, ()) = request.into_parts();
    authenticate::sign(&mut parts, &manifest.digests.sha256, credentials, &region, OffsetDateTime::now_utc());
    // Not signed: the gate takes it out, and the signature has to hold at the store.
    let mut secret = HeaderValue::try_from(permission.expose())?;
    secret.set_sensitive(true);
    parts.headers.insert(HEADER, secret);
    let (pieces, body) = mpsc::channel(4);
    let sending = send(vault, manifest, pieces);
    let answer = origin.send(Request::from_parts(parts, RequestBody::Held(body))).await;
    // What could not be opened says more than the answer to what was cut short by that.
    let sent = sending.await?;
    match (answer, sent) {
        (Ok(answer), sent) => {
            let status = answer.status();
            buffered(answer).await?;
            if status.is_success() {
                sent?;
            }
            Ok(status)
        }
        (Err(_), Err(error)) if !is_gone(&error) => Err(error),
        (Err(error), _) => Err(anyhow!(error).context("the gate")),
    }
}

/// Opens the payload on a thread of its own.
fn send(vault: Vault, manifest: Manifest, pieces: mpsc::Sender<Piece>) -> JoinHandle<anyhow::Result<()>> {
    spawn_blocking(move || {
        let gone = |_| io::Error::new(GONE, "the gate took no more of it");
        vault.payload(&manifest, |bytes| pieces.blocking_send(Piece::Wire(bytes)).map_err(gone))?;
        // Whoever has as many bytes as were announced waits for no end.
        pieces.blocking_send(Piece::End).ok();
        Ok(())
    })
}

const GONE: io::ErrorKind = io::ErrorKind::ConnectionAborted;

fn is_gone(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == GONE)
}

/// What described the object, but for how its body was framed.
fn headers(manifest: &Manifest) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in &manifest.headers {
        let value = if name == "content-encoding" { unframed(value) } else { value.clone() };
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value))
            && !value.is_empty()
        {
            headers.append(name, value);
        }
    }
    headers.insert(CONTENT_LENGTH, manifest.size.into());
    // Stores want it with an object lock.
    if let Some(md5) = manifest.digests.md5.as_deref().and_then(|md5| hex::decode(md5).ok())
        && let Ok(value) = HeaderValue::try_from(BASE64.encode(md5))
    {
        headers.insert("content-md5", value);
    }
    headers
}

fn unframed(codings: &str) -> String {
    let codings = codings.split(',').map(str::trim).filter(|coding| !coding.eq_ignore_ascii_case("aws-chunked"));
    codings.collect::<Vec<_>>().join(",")
}
