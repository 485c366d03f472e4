//! What a case is reported with: the XARF v4 report of type csam, and the fields that NCMEC's CyberTipline asks of a file.
//!
//! Sources: xarf/xarf-spec, schemas/v4 (xarf-core, content-base, content-csam); the CyberTipline Reporting API's
//! fileDetails. The payload itself is in neither.

use super::case::{Case, Manifest};
use super::rules::text;
use serde_json::{Map, Value, json};

/// Who reports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reporter {
    /// The organisation.
    pub org: String,
    /// Its address for questions.
    pub contact: String,
    /// Its domain.
    pub domain: String,
}

/// Why there is nothing to report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NothingToReport {
    /// Nobody could tell.
    #[error("nobody knows whether it is listed: it was kept because that could not be decided")]
    Undecided,
}

/// Classes of material that both forms know.
const CLASSES: [&str; 5] = ["baseline", "A1", "A2", "B1", "B2"];

/// Both documents, under `xarf` and `ncmec`. `scheme` is that of the address under which clients reach the gate.
///
/// # Errors
/// It was no match.
pub fn report(case: &Case, reporter: &Reporter, scheme: &str) -> Result<Value, NothingToReport> {
    let manifest = &case.manifest;
    if manifest.matches.is_empty() {
        return Err(NothingToReport::Undecided);
    }
    Ok(json!({ "xarf": xarf(manifest, reporter, scheme), "ncmec": ncmec(manifest) }))
}

fn xarf(manifest: &Manifest, reporter: &Reporter, scheme: &str) -> Value {
    let Reporter { org, contact, domain } = reporter;
    let us = json!({ "org": org, "contact": contact, "domain": domain });
    let lists: Vec<&str> = manifest.matches.iter().map(|found| &*found.list).collect();
    let mut xarf = json!({
        "xarf_version": "4.0.0",
        "report_id": uuid(&manifest.case, manifest.received.unix_timestamp()),
        "timestamp": text(manifest.received),
        "reporter": us,
        "sender": us,
        "source_identifier": manifest.caller.address,
        "source_port": manifest.caller.port,
        "category": "content",
        "type": "csam",
        "evidence_source": "automated_scan",
        // Where it would have been: it never was.
        "url": format!("{scheme}://{}{}", manifest.target.host, manifest.target.path),
        "detection_method": "hash_match",
        "hash_values": hash_values(manifest),
        "content_removed": true,
        "description": format!(
            "An upload was stopped before it was stored: its digest is on {}. Case {}.", lists.join(", "), manifest.case
        ),
    });
    put(&mut xarf, "classification", class(manifest));
    put(&mut xarf, "media_type", media(manifest));
    xarf
}

fn ncmec(manifest: &Manifest) -> Value {
    let hash = |kind: &str, value: &str| json!({ "hashType": kind, "value": value });
    let digests = &manifest.digests;
    let hashes: Vec<Value> = [
        digests.md5.as_deref().map(|md5| hash("MD5", md5)),
        digests.sha1.as_deref().map(|sha1| hash("SHA1", sha1)),
        Some(hash("SHA256", &digests.sha256)),
    ]
    .into_iter()
    .flatten()
    .collect();
    let key = manifest.target.key.as_deref().unwrap_or_default();
    let caller = &manifest.caller;
    let mut details = json!({
        "originalFileName": key.rsplit('/').next().unwrap_or(key),
        "originalFileHash": hashes,
        "ipCaptureEvent": {
            "ipAddress": caller.address,
            "port": caller.port,
            "eventName": "Upload",
            "dateTime": text(manifest.received),
        },
        // Only digests were compared.
        "fileViewedByEsp": false,
        "exifViewedByEsp": false,
        // It was stopped before it was stored.
        "publiclyAvailable": false,
        // Nobody has looked, so nothing can be said of what it shows.
        "fileAnnotations": {},
    });
    put(&mut details, "industryClassification", class(manifest).filter(|class| *class != "baseline"));
    json!({
        "incidentDateTime": text(manifest.received),
        "fileDetails": details,
        "personOrUserReported": {
            "espIdentifier": caller.access_key,
            "accountIdentification": caller.confidence,
            "tenant": caller.tenant,
        },
    })
}

fn put(object: &mut Value, name: &str, value: Option<&str>) {
    if let Some(value) = value {
        object[name] = json!(value);
    }
}

fn hash_values(manifest: &Manifest) -> Value {
    let digests = &manifest.digests;
    let all = [("md5", digests.md5.clone()), ("sha1", digests.sha1.clone()), ("sha256", Some(digests.sha256.clone()))];
    let known = all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), json!(value?))));
    Value::Object(known.collect::<Map<_, _>>())
}

/// The class that a category names (`ncmec:A1`, `icse:baseline`); none where no match has one: whoever reports has to say.
fn class(manifest: &Manifest) -> Option<&'static str> {
    let values = manifest.matches.iter().filter_map(|found| found.category.rsplit_once(':').map(|(_, value)| value));
    let mut classes = values.filter_map(|value| CLASSES.into_iter().find(|class| class.eq_ignore_ascii_case(value)));
    // A named class says more than `baseline` does.
    let first = classes.next()?;
    Some(if first == "baseline" { classes.find(|class| *class != "baseline").unwrap_or(first) } else { first })
}

fn media(manifest: &Manifest) -> Option<&'static str> {
    let family = manifest.media_type.as_deref()?.split('/').next()?;
    ["image", "video", "audio", "text"].into_iter().find(|media| media.eq_ignore_ascii_case(family))
}

/// The same for the same case, so that whoever gets it twice can tell.
fn uuid(case: &str, received: i64) -> String {
    let digest = blake3::derive_key("hashgate report id v1", format!("{case} {received}").as_bytes());
    let mut bytes: [u8; 16] = std::array::from_fn(|at| digest[at]);
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = hex::encode(bytes);
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use super::super::case::tests::case;
    use super::*;

    fn with_categories(categories: &[&str]) -> Case {
        let mut case = case("0123456789ABCDEF");
        let found = case.manifest.matches.remove(0);
        case.manifest.matches =
            categories.iter().map(|c| super::super::Match { category: (*c).into(), ..found.clone() }).collect();
        case
    }

    #[test]
    fn a_class_is_only_named_where_a_category_names_it() {
        let cases = [
            (&["ncmec:A1"][..], Some("A1"), Some("A1")),
            (&["icse:baseline", "ncmec:b2"], Some("B2"), Some("B2")),
            (&["icse:baseline"], Some("baseline"), None),
            (&["vics:1", "house:test"], None, None),
        ];
        for (categories, class, industry) in cases {
            let report = report(&with_categories(categories), &Reporter::default(), "https").unwrap();
            assert_eq!(report["xarf"]["classification"].as_str(), class, "{categories:?}");
            assert_eq!(report["ncmec"]["fileDetails"]["industryClassification"].as_str(), industry, "{categories:?}");
        }
        let nothing = report(&with_categories(&[]), &Reporter::default(), "https");
        assert_eq!(nothing, Err(NothingToReport::Undecided));
    }

    #[test]
    fn a_report_has_one_id() {
        let id = |case: &Case| report(case, &Reporter::default(), "https").unwrap()["xarf"]["report_id"].clone();
        let (case, other) = (case("0123456789ABCDEF"), case("FEDCBA9876543210"));
        assert_eq!(id(&case), id(&case));
        assert_ne!(id(&case), id(&other));
        let text = id(&case).as_str().unwrap().to_owned();
        assert!(text.len() == 36 && &text[14..15] == "4" && "89ab".contains(&text[19..20]), "{text}");
    }
}
