//! What is known of a case: the manifest that lies beside its payload, and how far it has got.

use super::payload::NotKept;
use crate::decide::{Label, Why};
use crate::digest::Digests;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::serde::rfc3339;

/// The version of the manifest's form.
const FORM: u32 = 1;

/// Everything that must be known of a match later, and can only be known now. It names digests and persons: outside the
/// gate's own sealed journal it is only ever written sealed for the recipients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of this form.
    pub manifest_version: u32,
    /// The case: our id for the request.
    pub case: String,
    /// The gate that saw it.
    pub gate: GateInfo,
    /// When the request's head came.
    #[serde(with = "rfc3339")]
    pub received: OffsetDateTime,
    /// When it was decided.
    #[serde(with = "rfc3339")]
    pub decided: OffsetDateTime,
    /// Nothing of the case is removed before.
    #[serde(with = "rfc3339")]
    pub retain_until: OffsetDateTime,
    /// `listed`, or why nobody could tell.
    pub reason: String,
    /// What it matched; every match is an exact one.
    pub matches: Vec<Match>,
    /// The index of the rule in `policy.rules` that had it kept; none where `on_match`, `on_unavailable` or a flood did.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rule: Option<usize>,
    /// Of the payload, or of the whole that its parts make; lower-case hexadecimal.
    pub digests: HexDigests,
    /// Of the payload, in bytes.
    pub size: u64,
    /// As the request said.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub media_type: Option<String>,
    /// Where it was meant to go.
    pub target: TargetInfo,
    /// Who sent it.
    pub caller: CallerInfo,
    /// The S3 operation, and how its body was framed.
    pub upload: UploadInfo,
    /// Headers and form fields that describe the object (type, encoding, metadata, tags, lock, storage class), in order.
    pub headers: Vec<(String, String)>,
    /// What is kept of the payload.
    pub payload: PayloadInfo,
}

/// The gate that saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateInfo {
    /// Its version.
    pub version: String,
    /// The public key of its signature.
    pub key: String,
    /// Tells its policy from others: a digest over what `policy` says.
    pub policy: String,
}

/// One (list, category) that it matched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Match {
    /// The list's configured name.
    pub list: String,
    /// `scheme:value`.
    pub category: String,
    /// When the version of the list in use was read; none for a service.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub list_version: Option<String>,
    /// Tells entries apart, and says nothing else.
    pub mark: String,
}

/// Digests in lower-case hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HexDigests {
    /// MD5, where it was computed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub md5: Option<String>,
    /// SHA-1, where it was computed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sha1: Option<String>,
    /// SHA-256.
    pub sha256: String,
}

impl From<&Digests> for HexDigests {
    fn from(digests: &Digests) -> HexDigests {
        HexDigests {
            md5: digests.md5.map(hex::encode),
            sha1: digests.sha1.map(hex::encode),
            sha256: hex::encode(digests.sha256),
        }
    }
}

/// Where it was meant to go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetInfo {
    /// The bucket.
    pub bucket: Option<String>,
    /// The key.
    pub key: Option<String>,
    /// The Host that the client sent.
    pub host: String,
    /// The raw path.
    pub path: String,
}

/// Who sent it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallerInfo {
    /// `verified`, `claimed` or `anonymous`.
    pub confidence: String,
    /// The access key.
    pub access_key: Option<String>,
    /// The configured tenant.
    pub tenant: Option<String>,
    /// The address that connected.
    pub address: String,
    /// Its port.
    pub port: u16,
    /// As the request said.
    pub user_agent: Option<String>,
}

/// How it came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadInfo {
    /// The S3 operation.
    pub operation: String,
    /// How the body was framed.
    pub framing: String,
}

/// What is kept of the payload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PayloadInfo {
    /// Why nothing of it is kept; none where it is.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub payload_not_kept: Option<String>,
    /// Age files whose contents, in this order, are the payload.
    pub pieces: Vec<PieceInfo>,
}

/// One age file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PieceInfo {
    /// Its key, behind the prefix and the case.
    pub object: String,
    /// Of what is in it, in bytes.
    pub size: u64,
}

impl Manifest {
    /// The version that [`Manifest::manifest_version`] has now.
    pub const VERSION: u32 = FORM;
}

/// The word for why it is kept.
pub(super) fn reason(why: &Why) -> &'static str {
    match why {
        Why::Listed(_) | Why::Permitted(_) => "listed",
        Why::Undecided(_) => "undecided",
        Why::Unlisted => "unlisted",
        Why::Canary => "canary",
    }
}

/// What a label stands for; `version` gives the time of the list's version in use.
pub(super) fn matches(labels: &[Label], version: impl Fn(&str) -> Option<String>) -> Vec<Match> {
    let of = |label: &Label| Match {
        list: label.list.clone(),
        category: label.category.clone(),
        list_version: version(&label.list),
        mark: label.payload.to_string(),
    };
    labels.iter().map(of).collect()
}

/// How far a case has got.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// Its payload is here: these pieces, each a file of the spool behind its age header (base64).
    Kept {
        /// In the payload's order.
        pieces: Vec<LocalPiece>,
    },
    /// The quarantine bucket has it.
    Stored {
        /// Since when (RFC 3339).
        at: String,
    },
    /// It was removed from the quarantine bucket.
    Purged {
        /// When (RFC 3339).
        at: String,
    },
}

/// A piece of the payload that is not in the bucket yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalPiece {
    /// The file's name in the spool.
    pub file: String,
    /// Its age header and nonce, base64.
    pub header: String,
}

impl State {
    /// Its word.
    pub fn word(&self) -> &'static str {
        match self {
            State::Kept { .. } => "kept",
            State::Stored { .. } => "stored",
            State::Purged { .. } => "purged",
        }
    }
}

/// A case as the journal has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// What is known of it.
    pub manifest: Manifest,
    /// How far it has got.
    #[serde(flatten)]
    pub state: State,
    /// No purge as long as it is set.
    #[serde(default)]
    pub legal_hold: bool,
    /// What officers have done about it, oldest first.
    #[serde(default)]
    pub acts: Vec<Act>,
}

/// What an officer did about a case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Act {
    /// When (RFC 3339).
    pub at: String,
    /// Who: a name of `admin.tokens`.
    pub by: String,
    /// What: `approve_release`, `released`, `approve_purge`, `purged`, `hold`, `unhold`, ...
    pub what: String,
    /// The reason that they gave.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
}

/// Why a payload is not kept, as the manifest has it.
pub(super) fn not_kept(why: NotKept) -> PayloadInfo {
    PayloadInfo { payload_not_kept: Some(why.word().to_owned()), pieces: Vec::new() }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::decide::Mark;

    /// A synthetic case.
    pub(in super::super) fn case(id: &str) -> Case {
        let label =
            Label { list: "sample".into(), category: "house:a".into(), on_probation: false, payload: Mark([7; 16]) };
        let manifest = Manifest {
            manifest_version: Manifest::VERSION,
            case: id.to_owned(),
            gate: GateInfo { version: "0".into(), key: "key".into(), policy: "policy".into() },
            received: OffsetDateTime::UNIX_EPOCH,
            decided: OffsetDateTime::UNIX_EPOCH,
            retain_until: OffsetDateTime::UNIX_EPOCH,
            reason: "listed".into(),
            matches: matches(&[label], |list| Some(format!("{list}'s version"))),
            rule: Some(1),
            digests: (&Digests::of(id.as_bytes())).into(),
            size: id.len() as u64,
            media_type: None,
            target: TargetInfo {
                bucket: Some("b".into()),
                key: Some("k".into()),
                host: "h".into(),
                path: "/b/k".into(),
            },
            caller: CallerInfo {
                confidence: "verified".into(),
                access_key: Some("a".into()),
                tenant: None,
                address: "192.0.2.1".into(),
                port: 1,
                user_agent: None,
            },
            upload: UploadInfo { operation: "PutObject".into(), framing: "raw".into() },
            headers: vec![("content-type".into(), "image/png".into())],
            payload: not_kept(NotKept::NoRoom),
        };
        Case { manifest, state: State::Kept { pieces: Vec::new() }, legal_hold: false, acts: Vec::new() }
    }

    #[test]
    fn a_manifest_says_what_was_matched_and_why_nothing_is_kept() {
        let value = serde_json::to_value(case("AA")).unwrap();
        assert_eq!(value["manifest"]["payload"]["payload_not_kept"], "no_room");
        assert_eq!(value["manifest"]["matches"][0]["list_version"], "sample's version");
        assert_eq!(
            (value["state"].as_str(), value["manifest"]["received"].as_str()),
            (Some("kept"), Some("1970-01-01T00:00:00Z"))
        );
        assert_eq!(serde_json::from_value::<Case>(value).unwrap(), case("AA"));
    }
}
