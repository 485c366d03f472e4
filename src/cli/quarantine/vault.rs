//! Cases straight from the quarantine bucket, opened with the recipient's key. Nothing of them touches a disk here.

use crate::act::quarantine::{MANIFEST, Manifest, Store, read_manifest};
use crate::config;
use crate::record::Metrics;
use crate::web::Download;
use age::x25519::Identity;
use anyhow::{Context as _, ensure};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;
use tokio::runtime::Handle;

/// Of a manifest, opened: headers and metadata have bounds of their own.
const MANIFEST_MAX: u64 = 4 << 20;

const READ_SIZE: usize = 64 << 10;

/// The bucket, and what opens its cases.
pub(super) struct Vault {
    pub(super) settings: config::Vault,
    store: Store,
    identities: Vec<Identity>,
    /// Public keys of gates; none believes a manifest whatever its signature.
    keys: Vec<String>,
    idle_max: Duration,
    runtime: Handle,
}

impl Vault {
    pub(super) fn open(config: &Path, identity: &Path, keys: Vec<String>, runtime: Handle) -> anyhow::Result<Vault> {
        let settings = config::vault(config)?;
        let metrics = Metrics::new(prometheus::Registry::new())?;
        let store = Store::new(&settings.quarantine, &settings.limits, metrics)?;
        let idle_max = settings.limits.origin_timeout;
        let identities = identities(identity).with_context(|| identity.display().to_string())?;
        Ok(Vault { settings, store, identities, keys, idle_max, runtime })
    }

    /// The cases in the bucket. It blocks.
    pub(super) fn cases(&self) -> anyhow::Result<Vec<String>> {
        Ok(self.runtime.block_on(self.store.cases())?)
    }

    /// The manifest of a case, which a gate that we know has signed. It blocks.
    pub(super) fn manifest(&self, case: &str) -> anyhow::Result<Manifest> {
        let mut envelope = Vec::new();
        self.opened(case, MANIFEST)?.take(MANIFEST_MAX).read_to_end(&mut envelope)?;
        let mut tried = self.keys.iter().map(|key| read_manifest(&envelope, Some(key)));
        let manifest = match tried.find(Result::is_ok) {
            Some(manifest) => manifest?,
            // Says what is wrong with it, where it is more than its signature.
            None => read_manifest(&envelope, self.keys.first().map(String::as_str))?,
        };
        ensure!(manifest.case == case, "its manifest is that of case {}", manifest.case);
        Ok(manifest)
    }

    /// Opens the payload, and hands it on in pieces; the last one only once size and digest are what the manifest says.
    /// It blocks.
    pub(super) fn payload(
        &self,
        manifest: &Manifest,
        mut take: impl FnMut(Bytes) -> io::Result<()>,
    ) -> anyhow::Result<()> {
        let (mut sha256, mut size, mut held) = (Sha256::new(), 0, None);
        for piece in &manifest.payload.pieces {
            let mut reader = self.opened(&manifest.case, &piece.object)?;
            let mut of_piece = 0;
            loop {
                let mut buffer = vec![0; READ_SIZE];
                let read = reader.read(&mut buffer).with_context(|| piece.object.clone())?;
                if read == 0 {
                    break;
                }
                buffer.truncate(read);
                sha256.update(&buffer);
                of_piece += read as u64;
                if let Some(before) = held.replace(Bytes::from(buffer)) {
                    take(before)?;
                }
            }
            ensure!(of_piece == piece.size, "{} holds {of_piece} bytes and not {}", piece.object, piece.size);
            size += of_piece;
        }
        ensure!(size == manifest.size, "its payload has {size} bytes and not {}", manifest.size);
        ensure!(hex::encode(sha256.finalize()) == manifest.digests.sha256, "its payload has another SHA-256");
        held.map(take).transpose()?;
        Ok(())
    }

    fn opened(&self, case: &str, object: &str) -> anyhow::Result<impl Read> {
        let answer = self.runtime.block_on(self.store.get(&self.store.key(case, object)));
        let body = answer.with_context(|| object.to_owned())?.into_body();
        let sealed = Download::new(self.runtime.clone(), body, self.idle_max);
        let open = || {
            let identities = self.identities.iter().map(|identity| identity as &dyn age::Identity);
            age::Decryptor::new(sealed)?.decrypt(identities)
        };
        open().with_context(|| format!("{object} cannot be opened with this key"))
    }
}

/// Those of a file as age-keygen writes it.
fn identities(path: &Path) -> anyhow::Result<Vec<Identity>> {
    let text = fs::read_to_string(path)?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let identities = lines.map(|line| {
        line.parse::<Identity>().map_err(|_| anyhow::anyhow!("a line is no age identity (AGE-SECRET-KEY-1...)"))
    });
    let identities = identities.collect::<anyhow::Result<Vec<_>>>()?;
    ensure!(!identities.is_empty(), "holds no age identity; age-keygen makes one");
    Ok(identities)
}
