//! Keeps listed digests out of names that are written down.

use crate::digest::Digest;
use base64::prelude::{
    BASE64_STANDARD_NO_PAD as STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD as URL_SAFE_NO_PAD, Engine as _,
};

/// `text` with every run of hexadecimal digits that is a digest and `secret` put out of sight.
///
/// Content-addressed stores name objects after their digests, so only those that are secret go.
pub fn mask(text: &str, secret: impl Fn(&Digest) -> bool) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let run = rest.bytes().take_while(u8::is_ascii_hexdigit).count();
        if run == 0 {
            let plain = rest.find(|c: char| c.is_ascii_hexdigit()).unwrap_or(rest.len());
            masked.push_str(&rest[..plain]);
            rest = &rest[plain..];
        } else {
            mask_run(&rest[..run], &secret, &mut masked);
            rest = &rest[run..];
        }
    }
    masked
}

/// A name of what has these digests, with them and every listed one put out of sight, in whichever way it spells them.
pub fn mask_name(text: &str, own: &[Digest], is_listed: impl Fn(&Digest) -> bool) -> String {
    let masked = mask(text, |digest| own.contains(digest) || is_listed(digest));
    mask_base64(&masked, own.iter().copied())
}

/// A digest may stand inside a longer run: behind a shard prefix, say.
fn mask_run(run: &str, secret: &impl Fn(&Digest) -> bool, masked: &mut String) {
    let mut at = 0;
    while at < run.len() {
        let found = [64, 40, 32]
            .into_iter()
            .find(|len| run.get(at..at + len).and_then(Digest::from_hex).is_some_and(|digest| secret(&digest)));
        match found {
            Some(len) => {
                masked.push_str("[digest]");
                at += len;
            }
            None => {
                masked.push_str(&run[at..=at]);
                at += 1;
            }
        }
    }
}

/// `text` with these digests put out of sight where they are written in base64, of either alphabet.
pub fn mask_base64(text: &str, digests: impl Iterator<Item = Digest>) -> String {
    digests.fold(text.to_owned(), |masked, digest| {
        let bytes = digest.as_bytes();
        let forms = [STANDARD_NO_PAD.encode(bytes), URL_SAFE_NO_PAD.encode(bytes)];
        forms.iter().fold(masked, |masked, form| masked.replace(form, "[digest]"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_both_alphabets_goes() {
        let digest = Digest::from_bytes(&[0xfb; 16]).unwrap();
        let mask = |text: &str| mask_base64(text, [digest].into_iter());
        assert_eq!(mask("a/+/v7+/v7+/v7+/v7+/v7+w==.jpg"), "a/[digest]==.jpg");
        assert_eq!(mask("-_v7-_v7-_v7-_v7-_v7-w"), "[digest]");
        assert_eq!(mask("a/b"), "a/b");
    }

    #[test]
    fn only_secret_digests_go() {
        let secret = Digest::from_hex("900150983cd24fb0d6963f7d28e17f72").unwrap();
        let mask = |text: &str| mask(text, |digest| *digest == secret);
        assert_eq!(mask("a/900150983CD24FB0D6963F7D28E17F72.jpg"), "a/[digest].jpg");
        assert_eq!(mask("ab900150983cd24fb0d6963f7d28e17f72cd"), "ab[digest]cd");
        assert_eq!(mask("a/00015098-café/é"), "a/00015098-café/é");
        assert_eq!(mask("a/900150983cd24fb0d6963f7d28e17f73"), "a/900150983cd24fb0d6963f7d28e17f73");
        assert_eq!(mask(""), "");
    }
}
