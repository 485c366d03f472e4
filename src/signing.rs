//! The gate's own signature: what it says in audit checkpoints, manifests and events can be checked by anybody who has
//! the public half of its key, and made by nobody else.
//!
//! Ed25519 (RFC 8032). Each use signs under a purpose of its own, so that what was signed for one can never be shown as
//! another. The key is made at the first start, in the state folder.

use crate::list::index::seal::{Key, KeyError};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::prelude::{BASE64_STANDARD as BASE64, Engine as _};
use std::path::Path;

const KEY_FILE: &str = "signing.key";

/// What everything begins with that is signed under a purpose.
const PREAMBLE: &str = "DSSEv1";

/// The key pair of one gate.
pub struct Signing(Ed25519KeyPair);

impl Signing {
    /// Reads the key file in the state folder; makes it where it is not there.
    ///
    /// # Errors
    /// It cannot be read, made, or is open to others.
    pub fn open(state_dir: &Path) -> Result<Signing, KeyError> {
        let path = state_dir.join(KEY_FILE);
        let (key, _) = Key::read_or_make(&path, &[])?;
        let pair = Ed25519KeyPair::from_seed_unchecked(&key.derive_key("signing"));
        pair.map(Signing).map_err(|_| KeyError::Malformed(path))
    }

    /// The public key, base64 of its 32 bytes.
    pub fn public(&self) -> String {
        BASE64.encode(self.0.public_key())
    }

    /// The signature over `message` under `purpose`, base64 of its 64 bytes.
    pub fn sign(&self, purpose: &str, message: &[u8]) -> String {
        BASE64.encode(self.0.sign(&signed(purpose, message)))
    }

    /// The value of `webhook-signature` for an event, as receivers of Standard Webhooks 1.0.0 check it: over id, time in
    /// Unix seconds and body, with dots between them. There is no purpose in it; none is needed, since no id begins like
    /// what [`Signing::sign`] signs.
    pub fn sign_webhook(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        debug_assert!(!id.starts_with(PREAMBLE));
        let mut message = format!("{id}.{timestamp}.").into_bytes();
        message.extend_from_slice(body);
        format!("v1a,{}", BASE64.encode(self.0.sign(&message)))
    }

    /// The public key as receivers of Standard Webhooks take it.
    pub fn webhook_public(&self) -> String {
        format!("whpk_{}", self.public())
    }
}

impl std::fmt::Debug for Signing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Signing").field(&self.public()).finish()
    }
}

/// Whether `signature` is that of the owner of `public` over `message` under `purpose`; both in base64.
pub fn is_signed(public: &str, purpose: &str, message: &[u8], signature: &str) -> bool {
    let (Ok(public), Ok(signature)) = (BASE64.decode(public), BASE64.decode(signature)) else { return false };
    UnparsedPublicKey::new(&ED25519, public).verify(&signed(purpose, message), &signature).is_ok()
}

/// What is really signed: the pre-authentication encoding of DSSE version 1 (github.com/secure-systems-lab/dsse), with the
/// purpose as the payload's type.
fn signed(purpose: &str, message: &[u8]) -> Vec<u8> {
    let mut text = format!("{PREAMBLE} {} {purpose} {} ", purpose.len(), message.len()).into_bytes();
    text.extend_from_slice(message);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_of_this_key_purpose_and_message_only() {
        let dir = tempfile::tempdir().unwrap();
        let signing = Signing::open(dir.path()).unwrap();
        let signature = signing.sign("audit", b"a message");
        assert_eq!(signing.public(), Signing::open(dir.path()).unwrap().public(), "the key stays");
        assert!(is_signed(&signing.public(), "audit", b"a message", &signature));
        let other = Signing::open(tempfile::tempdir().unwrap().path()).unwrap();
        for (public, purpose, message) in [
            (signing.public(), "audit", &b"a message!"[..]),
            (signing.public(), "manifest", b"a message"),
            (other.public(), "audit", b"a message"),
            ("no base64".into(), "audit", b"a message"),
        ] {
            assert!(!is_signed(&public, purpose, message, &signature));
        }
    }

    /// What a receiver does with the three headers and the public key.
    #[test]
    fn webhooks_are_signed_over_id_time_and_body() {
        let signing = Signing::open(tempfile::tempdir().unwrap().path()).unwrap();
        let signature = signing.sign_webhook("evt_1", 1_700_000_000, b"{\"type\":\"alarm\"}");
        let public = BASE64.decode(signing.webhook_public().strip_prefix("whpk_").unwrap()).unwrap();
        let signature = BASE64.decode(signature.strip_prefix("v1a,").unwrap()).unwrap();
        let verifies =
            |message: &str| UnparsedPublicKey::new(&ED25519, &public).verify(message.as_bytes(), &signature).is_ok();
        assert!(verifies("evt_1.1700000000.{\"type\":\"alarm\"}"));
        assert!(!verifies("evt_1.1700000001.{\"type\":\"alarm\"}"));
        assert!(!is_signed(&signing.public(), "audit", b"x", &BASE64.encode(&signature)));
    }

    /// RFC 8032, section 7.1, test 2: the primitive itself, without a purpose.
    #[test]
    fn the_published_example() {
        let seed = hex::decode("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb").unwrap();
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
        let expected = "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00";
        assert_eq!(hex::encode(pair.sign(&[0x72])), expected);
    }
}
