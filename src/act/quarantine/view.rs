//! A case as operators see it: without a digest, wherever one may be written (object keys and metadata often spell them).

use super::case::{Case, HexDigests};
use super::rules::text;
use crate::digest::Digest;
use crate::record::{mask, mask_base64};
use serde_json::{Value, json};

/// One line of a list of cases: what it is about, and no person. `is_listed` tells digests that must not be shown.
pub fn summary(case: &Case, is_listed: impl Fn(&Digest) -> bool) -> Value {
    let manifest = &case.manifest;
    let matches: Vec<Value> =
        manifest.matches.iter().map(|m| json!({ "list": m.list, "category": m.category, "mark": m.mark })).collect();
    let summary = json!({
        "case": manifest.case,
        "received": text(manifest.received),
        "state": case.state.word(),
        "legal_hold": case.legal_hold,
        "reason": manifest.reason,
        "matches": matches,
        "bucket": manifest.target.bucket,
        "tenant": manifest.caller.tenant,
        "operation": manifest.upload.operation,
        "size": manifest.size,
        "payload_kept": manifest.payload.payload_not_kept.is_none(),
        "retain_until": text(manifest.retain_until),
    });
    without_digests(summary, case, &is_listed)
}

/// Everything that is known of a case but its digests, and what was done about it.
pub fn detail(case: &Case, is_listed: impl Fn(&Digest) -> bool) -> Value {
    let mut detail = serde_json::to_value(case).unwrap_or_default();
    if let Some(manifest) = detail.get_mut("manifest").and_then(Value::as_object_mut) {
        manifest.remove("digests");
    }
    if let Some(detail) = detail.as_object_mut() {
        // Where it lies in the state folder is nobody's business.
        detail.remove("pieces");
    }
    without_digests(detail, case, &is_listed)
}

fn without_digests(mut value: Value, case: &Case, is_listed: &impl Fn(&Digest) -> bool) -> Value {
    let own = own(&case.manifest.digests);
    veil(&mut value, &|text| {
        mask_base64(&mask(text, |digest| own.contains(digest) || is_listed(digest)), own.iter().copied())
    });
    value
}

fn own(digests: &HexDigests) -> Vec<Digest> {
    let hex = [digests.md5.as_deref(), digests.sha1.as_deref(), Some(&*digests.sha256)];
    hex.into_iter().flatten().filter_map(Digest::from_hex).collect()
}

fn veil(value: &mut Value, mask: &impl Fn(&str) -> String) {
    match value {
        Value::String(text) => *text = mask(text),
        Value::Array(items) => items.iter_mut().for_each(|item| veil(item, mask)),
        Value::Object(fields) => fields.values_mut().for_each(|field| veil(field, mask)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::case::tests::case;
    use super::super::case::{LocalPiece, State};
    use super::*;
    use base64::prelude::{BASE64_STANDARD, Engine as _};

    #[test]
    fn no_digest_is_shown_however_it_is_written() {
        let (mut case, listed) = (case("0123456789ABCDEF"), "ef".repeat(20));
        let own = own(&case.manifest.digests);
        let hex: Vec<String> = own.iter().map(Digest::to_hex).collect();
        let base64: Vec<String> = own.iter().map(|digest| BASE64_STANDARD.encode(digest.as_bytes())).collect();
        case.manifest.target.key = Some(format!("photos/{}.png", hex[0].to_uppercase()));
        case.manifest.headers = hex.iter().chain(&base64).map(|sum| ("x-amz-meta-sum".into(), sum.clone())).collect();
        case.manifest.caller.user_agent = Some(format!("tool {listed}"));
        let header = "c2VjcmV0".to_owned();
        case.state = State::Kept { pieces: vec![LocalPiece { file: "0.body".into(), header: header.clone() }] };
        let is_listed = |digest: &Digest| digest.to_hex() == listed;
        let shown = detail(&case, is_listed);
        for text in [shown.to_string(), summary(&case, is_listed).to_string()] {
            for secret in hex.iter().chain(&base64).chain([&listed, &header]) {
                let secret = secret.trim_end_matches('=').to_lowercase();
                assert!(!text.to_lowercase().contains(&secret), "{secret} in {text}");
            }
        }
        assert_eq!(shown["manifest"]["target"]["key"], "photos/[digest].png");
        assert_eq!(shown["manifest"]["caller"]["address"], "192.0.2.1");
        assert_eq!((&shown["state"], &shown["acts"]), (&json!("kept"), &json!([])));
    }
}
