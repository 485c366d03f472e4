//! Who sent a form upload: its authorization is a signed policy among its fields.
//!
//! Source: Amazon S3 API Reference, "Browser-Based Uploads Using POST (AWS Signature Version 4)".

use super::{AuthError, Authenticator, Caller, Confidence, verify};
use crate::config::settings::Mode;
use crate::s3::authorization::{ALGORITHM_V4, parse_credential, parse_timestamp};
use crate::s3::form::Fields;
use crate::s3::post_policy::{self, LengthRange};
use aws_sigv4::sign::v4::{calculate_signature, generate_signing_key};
use time::OffsetDateTime;

impl Authenticator {
    /// The caller of a form for `bucket`, and how long its payload may be. `now` is the time at which the form came.
    pub fn authenticate_form(
        &self,
        fields: &Fields,
        bucket: &str,
        now: OffsetDateTime,
    ) -> Result<(Caller, LengthRange), AuthError> {
        let credential = fields.get("x-amz-credential").and_then(|text| parse_credential(text).ok());
        if self.mode == Mode::PassThrough {
            let access_key = credential.map(|(key, _)| key).or(fields.get("awsaccesskeyid").map(str::to_owned));
            return Ok((self.claimed_as(access_key), LengthRange::ANY));
        }
        if fields.get("awsaccesskeyid").is_some() || fields.get("signature").is_some() {
            return Err(AuthError::Version);
        }
        let signed = ["policy", "x-amz-credential", "x-amz-signature", "x-amz-algorithm", "x-amz-date"];
        if signed.iter().all(|name| fields.get(name).is_none()) {
            return Ok((Caller::anonymous(), LengthRange::ANY));
        }
        let field = |name| fields.get(name).ok_or(AuthError::FormIncomplete);
        let (policy, signature) = (field("policy")?, field("x-amz-signature")?);
        if field("x-amz-algorithm")? != ALGORITHM_V4 {
            return Err(AuthError::Version);
        }
        field("x-amz-credential")?;
        let (access_key, scope) = credential.ok_or(AuthError::FormIncomplete)?;
        let signed_at = parse_timestamp(field("x-amz-date")?).ok_or(AuthError::FormIncomplete)?;
        let user = self.users.get(&access_key).ok_or(AuthError::UnknownAccessKey)?;
        let secret = user.secret_key.as_ref().ok_or(AuthError::UnknownAccessKey)?;
        verify::check_scope(&scope, signed_at, self.region.as_deref(), crate::s3::authorization::Place::Form)?;
        let key = generate_signing_key(secret.expose(), signed_at.into(), &scope.region, &scope.service);
        if !bool::from(verify::same(&calculate_signature(&key, policy.as_bytes()), signature)) {
            return Err(AuthError::Signature);
        }
        if user.origin_credentials.is_some() {
            return Err(AuthError::FormResigned);
        }
        let range = post_policy::check(policy, fields, bucket, now)?;
        let caller = Caller {
            access_key: Some(access_key),
            tenant: user.tenant.clone(),
            confidence: Confidence::Verified,
            chunks: None,
            origin_credentials: None,
        };
        Ok((caller, range))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::{self, Secret, User};
    use time::macros::datetime;

    /// Amazon S3 API Reference, "Example: Browser-Based Upload using HTTP POST (Using AWS Signature Version 4)".
    const POLICY: &str = "eyAiZXhwaXJhdGlvbiI6ICIyMDE1LTEyLTMwVDEyOjAwOjAwLjAwMFoiLA0KICAiY29uZGl0aW9ucyI6IFsNCiAgICB7ImJ1Y2tldCI6ICJzaWd2NGV4YW1wbGVidWNrZXQifSwNCiAgICBbInN0YXJ0cy13aXRoIiwgIiRrZXkiLCAidXNlci91c2VyMS8iXSwNCiAgICB7ImFjbCI6ICJwdWJsaWMtcmVhZCJ9LA0KICAgIHsic3VjY2Vzc19hY3Rpb25fcmVkaXJlY3QiOiAiaHR0cDovL3NpZ3Y0ZXhhbXBsZWJ1Y2tldC5zMy5hbWF6b25hd3MuY29tL3N1Y2Nlc3NmdWxfdXBsb2FkLmh0bWwifSwNCiAgICBbInN0YXJ0cy13aXRoIiwgIiRDb250ZW50LVR5cGUiLCAiaW1hZ2UvIl0sDQogICAgeyJ4LWFtei1tZXRhLXV1aWQiOiAiMTQzNjUxMjM2NTEyNzQifSwNCiAgICB7IngtYW16LXNlcnZlci1zaWRlLWVuY3J5cHRpb24iOiAiQUVTMjU2In0sDQogICAgWyJzdGFydHMtd2l0aCIsICIkeC1hbXotbWV0YS10YWciLCAiIl0sDQoNCiAgICB7IngtYW16LWNyZWRlbnRpYWwiOiAiQUtJQUlPU0ZPRE5ON0VYQU1QTEUvMjAxNTEyMjkvdXMtZWFzdC0xL3MzL2F3czRfcmVxdWVzdCJ9LA0KICAgIHsieC1hbXotYWxnb3JpdGhtIjogIkFXUzQtSE1BQy1TSEEyNTYifSwNCiAgICB7IngtYW16LWRhdGUiOiAiMjAxNTEyMjlUMDAwMDAwWiIgfQ0KICBdDQp9";
    const SIGNATURE: &str = "8afdbf4008c03f22c2cd3cdb72e4afbb1f6a588f3255ac628749a66d7f09699e";

    fn example() -> Vec<(&'static str, &'static str)> {
        vec![
            ("key", "user/user1/${filename}"),
            ("acl", "public-read"),
            ("success_action_redirect", "http://sigv4examplebucket.s3.amazonaws.com/successful_upload.html"),
            ("content-type", "image/jpeg"),
            ("x-amz-meta-uuid", "14365123651274"),
            ("x-amz-server-side-encryption", "AES256"),
            ("x-amz-credential", "AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/s3/aws4_request"),
            ("x-amz-algorithm", "AWS4-HMAC-SHA256"),
            ("x-amz-date", "20151229T000000Z"),
            ("x-amz-meta-tag", ""),
            ("policy", POLICY),
            ("x-amz-signature", SIGNATURE),
        ]
    }

    fn run(fields: Vec<(&str, &str)>, mode: Mode, now: OffsetDateTime) -> Result<Caller, AuthError> {
        let user = User {
            access_key: "AKIAIOSFODNN7EXAMPLE".into(),
            secret_key: Some(Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")),
            tenant: Some("acme".into()),
            origin_credentials: None,
        };
        let settings = settings::Authentication { mode, users: vec![user], signature_v2: false };
        let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let fields = Fields { fields, filename: None };
        let authenticator = Authenticator::new(&settings, Some("us-east-1"));
        authenticator.authenticate_form(&fields, "sigv4examplebucket", now).map(|(caller, _)| caller)
    }

    const NOW: OffsetDateTime = datetime!(2015-12-29 01:00:00 UTC);

    #[test]
    fn the_published_example() {
        let caller = run(example(), Mode::Verify, NOW).unwrap();
        assert_eq!((caller.tenant.as_deref(), caller.confidence), (Some("acme"), Confidence::Verified));
        assert_eq!(
            run(example(), Mode::Verify, datetime!(2015-12-30 12:00:01 UTC)).unwrap_err(),
            AuthError::Policy(post_policy::PolicyError::Expired)
        );
    }

    #[test]
    fn a_form_that_is_not_theirs() {
        let with = |name: &str, value: &'static str| {
            let mut fields = example();
            fields.iter_mut().find(|(n, _)| *n == name).unwrap().1 = value;
            run(fields, Mode::Verify, NOW).unwrap_err()
        };
        let without = |name: &str| {
            let fields = example().into_iter().filter(|(n, _)| *n != name).collect();
            run(fields, Mode::Verify, NOW).unwrap_err()
        };
        assert_eq!(with("x-amz-signature", "8afdbf4008c03f22"), AuthError::Signature);
        assert_eq!(with("policy", "e30="), AuthError::Signature);
        assert_eq!(with("key", "user/user2/x"), AuthError::Policy(post_policy::PolicyError::Condition));
        assert_eq!(with("x-amz-algorithm", "AWS4-ECDSA-P256-SHA256"), AuthError::Version);
        assert_eq!(with("x-amz-credential", "other/20151229/us-east-1/s3/aws4_request"), AuthError::UnknownAccessKey);
        assert_eq!(with("x-amz-date", "yesterday"), AuthError::FormIncomplete);
        for name in ["policy", "x-amz-signature", "x-amz-credential", "x-amz-date", "x-amz-algorithm"] {
            assert_eq!(without(name), AuthError::FormIncomplete, "{name}");
        }
        let v2 = vec![("key", "k"), ("awsaccesskeyid", "a"), ("signature", "s"), ("policy", "p")];
        assert_eq!(run(v2.clone(), Mode::Verify, NOW).unwrap_err(), AuthError::Version);
        assert_eq!(run(v2, Mode::PassThrough, NOW).unwrap().access_key.as_deref(), Some("a"));
        assert_eq!(run(vec![("key", "k")], Mode::Verify, NOW).unwrap().confidence, Confidence::Anonymous);
    }
}
