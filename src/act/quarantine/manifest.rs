//! The manifest as it lies in the quarantine bucket: signed by the gate, and sealed for the recipients.

use super::case::Manifest;
use crate::signing::{Signing, is_signed};
use age::x25519::Recipient;
use base64::prelude::{BASE64_STANDARD as BASE64, Engine as _};
use serde::{Deserialize, Serialize};
use std::io::{self, Write as _};

/// What is signed, in the words of DSSE.
const PAYLOAD_TYPE: &str = "application/vnd.hashgate.manifest+json";

/// A DSSE envelope (github.com/secure-systems-lab/dsse, version 1).
#[derive(Debug, Serialize, Deserialize)]
struct Envelope {
    #[serde(rename = "payloadType")]
    payload_type: String,
    /// The manifest, base64 of its JSON.
    payload: String,
    signatures: Vec<Signature>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Signature {
    /// The gate's public key.
    keyid: String,
    sig: String,
}

/// Why a manifest cannot be trusted.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not of the form.
    #[error("it is no manifest: {0}")]
    Malformed(String),
    /// Nobody whom we know signed it.
    #[error("its signature is not that of the gate")]
    Signature,
}

/// Signs a manifest and seals it.
///
/// # Errors
/// It does not fail for a manifest and recipients that were read before.
pub(super) fn seal(manifest: &Manifest, signing: &Signing, recipients: &[Recipient]) -> io::Result<Vec<u8>> {
    let text = serde_json::to_vec(manifest)?;
    let signature = Signature { keyid: signing.public(), sig: signing.sign(PAYLOAD_TYPE, &text) };
    let envelope =
        Envelope { payload_type: PAYLOAD_TYPE.to_owned(), payload: BASE64.encode(&text), signatures: vec![signature] };
    let recipients = recipients.iter().map(|recipient| recipient as &dyn age::Recipient);
    let encryptor = age::Encryptor::with_recipients(recipients).map_err(io::Error::other)?;
    let mut sealed = Vec::new();
    let mut writer = encryptor.wrap_output(&mut sealed)?;
    writer.write_all(&serde_json::to_vec(&envelope)?)?;
    writer.finish()?;
    Ok(sealed)
}

/// Reads an envelope, once it was unsealed. `key` is the public key that must have signed it; `None` takes the one that it
/// names.
///
/// # Errors
/// It is malformed, or not signed so.
pub fn read(envelope: &[u8], key: Option<&str>) -> Result<Manifest, ManifestError> {
    let malformed = |error: &dyn std::fmt::Display| ManifestError::Malformed(error.to_string());
    let envelope: Envelope = serde_json::from_slice(envelope).map_err(|error| malformed(&error))?;
    let text = BASE64.decode(&envelope.payload).map_err(|error| malformed(&error))?;
    let good = |signature: &Signature| {
        key.is_none_or(|key| key == signature.keyid)
            && envelope.payload_type == PAYLOAD_TYPE
            && is_signed(&signature.keyid, PAYLOAD_TYPE, &text, &signature.sig)
    };
    if !envelope.signatures.iter().any(good) {
        return Err(ManifestError::Signature);
    }
    serde_json::from_slice(&text).map_err(|error| malformed(&error))
}

#[cfg(test)]
mod tests {
    use super::super::case::tests::case;
    use super::*;
    use age::x25519::Identity;

    #[test]
    fn only_what_the_gate_has_signed_is_a_manifest() {
        let dir = tempfile::tempdir().unwrap();
        let (signing, identity) = (Signing::open(dir.path()).unwrap(), Identity::generate());
        let manifest = case("AA").manifest;
        let sealed = seal(&manifest, &signing, &[identity.to_public()]).unwrap();
        let digest = manifest.digests.sha256.as_bytes();
        assert!(!sealed.windows(digest.len()).any(|window| window == digest), "it is sealed");
        let envelope = age::decrypt(&identity, &sealed).unwrap();
        for key in [None, Some(signing.public())] {
            assert_eq!(read(&envelope, key.as_deref()).unwrap(), manifest);
        }
        let other = Signing::open(tempfile::tempdir().unwrap().path()).unwrap();
        assert!(matches!(read(&envelope, Some(&other.public())), Err(ManifestError::Signature)));
        let mut changed: Envelope = serde_json::from_slice(&envelope).unwrap();
        let text = serde_json::to_vec(&Manifest { size: 7, ..manifest }).unwrap();
        changed.payload = BASE64.encode(text);
        let changed = serde_json::to_vec(&changed).unwrap();
        assert!(matches!(read(&changed, None), Err(ManifestError::Signature)));
        assert!(matches!(read(b"{}", None), Err(ManifestError::Malformed(_))));
    }
}
