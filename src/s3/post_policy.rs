//! The policy of a form upload: what whoever signed it allows to be uploaded.
//!
//! Source: Amazon S3 API Reference, "Creating a POST policy".

use super::form::Fields;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Fields that no condition has to name.
const FREE: [&str; 5] = ["file", "policy", "signature", "awsaccesskeyid", "x-amz-signature"];

/// What a policy does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Not base64 of a JSON object with `expiration` and `conditions`, or a condition of an unknown kind.
    #[error("Invalid Policy: it is malformed.")]
    Malformed,
    /// Its time is over.
    #[error("Invalid according to Policy: Policy expired.")]
    Expired,
    /// A field that is not as a condition says.
    #[error("Invalid according to Policy: Policy Condition failed.")]
    Condition,
    /// A field that no condition names.
    #[error("Invalid according to Policy: Extra input fields.")]
    ExtraField,
}

/// How long the payload may be, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LengthRange {
    /// At least.
    pub min: u64,
    /// At most.
    pub max: u64,
}

impl LengthRange {
    /// Any length.
    pub const ANY: LengthRange = LengthRange { min: 0, max: u64::MAX };
}

/// Checks `fields` of a form for `bucket` against `policy`, in base64. `now` is the time at which the form came.
pub fn check(policy: &str, fields: &Fields, bucket: &str, now: OffsetDateTime) -> Result<LengthRange, PolicyError> {
    use base64::prelude::{BASE64_STANDARD, Engine as _};
    let json = BASE64_STANDARD.decode(policy.trim()).map_err(|_| PolicyError::Malformed)?;
    let policy: Value = serde_json::from_slice(&json).map_err(|_| PolicyError::Malformed)?;
    let expiration = policy.get("expiration").and_then(Value::as_str).ok_or(PolicyError::Malformed)?;
    let expiration = OffsetDateTime::parse(expiration, &Rfc3339).map_err(|_| PolicyError::Malformed)?;
    if expiration <= now {
        return Err(PolicyError::Expired);
    }
    let conditions = policy.get("conditions").and_then(Value::as_array).ok_or(PolicyError::Malformed)?;
    let mut checking = Checking { fields, bucket, named: Vec::new(), range: LengthRange::ANY };
    for condition in conditions {
        checking.condition(condition)?;
    }
    let covered =
        |name: &String| FREE.contains(&name.as_str()) || name.starts_with("x-ignore-") || checking.named.contains(name);
    if fields.fields.iter().all(|(name, _)| covered(name)) { Ok(checking.range) } else { Err(PolicyError::ExtraField) }
}

struct Checking<'a> {
    fields: &'a Fields,
    bucket: &'a str,
    /// Fields that a condition names, in lower case.
    named: Vec<String>,
    range: LengthRange,
}

impl Checking<'_> {
    fn condition(&mut self, condition: &Value) -> Result<(), PolicyError> {
        match condition {
            Value::Object(exact) => exact.iter().try_for_each(|(name, value)| {
                let value = text(value).ok_or(PolicyError::Malformed)?;
                self.matches(name, |given| given == value)
            }),
            Value::Array(parts) => match parts.as_slice() {
                [Value::String(kind), min, max] if kind.eq_ignore_ascii_case("content-length-range") => {
                    let number = |value: &Value| text(value)?.parse::<u64>().ok();
                    let (min, max) =
                        number(min).zip(number(max)).filter(|(min, max)| min <= max).ok_or(PolicyError::Malformed)?;
                    // Several ranges: all of them hold.
                    self.range = LengthRange { min: self.range.min.max(min), max: self.range.max.min(max) };
                    Ok(())
                }
                [Value::String(kind), Value::String(name), value] => {
                    let name = name.strip_prefix('$').ok_or(PolicyError::Malformed)?;
                    let value = text(value).ok_or(PolicyError::Malformed)?;
                    match kind.to_ascii_lowercase().as_str() {
                        "eq" => self.matches(name, |given| given == value),
                        "starts-with" => self.matches(name, |given| given.starts_with(&value)),
                        _ => Err(PolicyError::Malformed),
                    }
                }
                _ => Err(PolicyError::Malformed),
            },
            _ => Err(PolicyError::Malformed),
        }
    }

    fn matches(&mut self, name: &str, fits: impl Fn(&str) -> bool) -> Result<(), PolicyError> {
        let name = name.to_ascii_lowercase();
        // The bucket is in the target; a field of that name is only another way to say it.
        let given = if name == "bucket" { Some(self.bucket) } else { self.fields.get(&name) };
        let fits = given.is_some_and(fits);
        self.named.push(name);
        if fits { Ok(()) } else { Err(PolicyError::Condition) }
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::prelude::{BASE64_STANDARD, Engine as _};
    use time::macros::datetime;

    fn run(conditions: &str, fields: &[(&str, &str)]) -> Result<LengthRange, PolicyError> {
        let json = format!("{{\"expiration\":\"2026-01-01T00:00:00.000Z\",\"conditions\":[{conditions}]}}");
        let fields = Fields {
            fields: fields.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
            filename: None,
        };
        check(&BASE64_STANDARD.encode(json), &fields, "b", datetime!(2025-12-31 23:59:59 UTC))
    }

    #[test]
    fn conditions_hold_or_not() {
        let key = ("key", "user/eric/x");
        let any = Ok(LengthRange::ANY);
        for (conditions, fields, outcome) in [
            (r#"["starts-with","$key","user/"],{"bucket":"b"}"#, vec![key], any),
            (
                r#"["Eq","$Key","user/eric/x"]"#,
                vec![key, ("policy", "p"), ("x-amz-signature", "s"), ("x-ignore-a", "")],
                any,
            ),
            (
                r#"{"key":"user/eric/x"},["content-length-range",1,"10"]"#,
                vec![key],
                Ok(LengthRange { min: 1, max: 10 }),
            ),
            (
                r#"["starts-with","$key",""],["content-length-range",5,9],["content-length-range",1,7]"#,
                vec![key],
                Ok(LengthRange { min: 5, max: 7 }),
            ),
            (r#"["starts-with","$key","other/"]"#, vec![key], Err(PolicyError::Condition)),
            (r#"{"key":"user/eric/x"},{"bucket":"c"}"#, vec![key], Err(PolicyError::Condition)),
            (r#"{"key":"user/eric/x"},{"acl":"private"}"#, vec![key], Err(PolicyError::Condition)),
            (r#"{"key":"user/eric/x"}"#, vec![key, ("acl", "public-read")], Err(PolicyError::ExtraField)),
            (r#"["ends-with","$key","x"]"#, vec![key], Err(PolicyError::Malformed)),
            (r#"["eq","key","x"]"#, vec![key], Err(PolicyError::Malformed)),
            (r#"["content-length-range",9,5]"#, vec![], Err(PolicyError::Malformed)),
            ("7", vec![], Err(PolicyError::Malformed)),
        ] {
            assert_eq!(run(conditions, &fields), outcome, "{conditions}");
        }
    }

    #[test]
    fn a_policy_that_is_over_or_none() {
        let fields = Fields::default();
        let policy = BASE64_STANDARD.encode(r#"{"expiration":"2026-01-01T00:00:00Z","conditions":[]}"#);
        let at = |now| check(&policy, &fields, "b", now);
        assert_eq!(at(datetime!(2025-12-31 23:59:59 UTC)), Ok(LengthRange::ANY));
        assert_eq!(at(datetime!(2026-01-01 00:00:00 UTC)), Err(PolicyError::Expired));
        for policy in ["?", "e30=", "W10=", ""] {
            assert_eq!(check(policy, &fields, "b", datetime!(2025-01-01 00:00:00 UTC)), Err(PolicyError::Malformed));
        }
    }
}
