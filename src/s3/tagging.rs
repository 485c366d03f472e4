//! The tags of an object (Amazon S3 API Reference, "Tagging"): XML in the field of a form, a query in a header.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use quick_xml::escape::unescape;

/// The value of `x-amz-tagging` that says what this document does; `None` where it is none.
pub fn header_value(xml: &str) -> Option<String> {
    let (_, tags) = xml.split_once("<TagSet>")?;
    let (tags, _) = tags.split_once("</TagSet>")?;
    let encoded = |tag: &str, name: &str| {
        let (_, rest) = tag.split_once(&format!("<{name}>"))?;
        let text = unescape(rest.split_once(&format!("</{name}>"))?.0).ok()?;
        Some(utf8_percent_encode(&text, NON_ALPHANUMERIC).to_string())
    };
    let pair = |tag: &str| Some(format!("{}={}", encoded(tag, "Key")?, encoded(tag, "Value")?));
    let pairs: Option<Vec<String>> = tags.split("<Tag>").skip(1).map(pair).collect();
    Some(pairs?.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tags_of_a_form_as_a_header() {
        let tag = |key: &str, value: &str| format!("<Tag><Key>{key}</Key><Value>{value}</Value></Tag>\n");
        let tags = |tags: &[String]| format!("<Tagging><TagSet>{}</TagSet></Tagging>", tags.concat());
        let two = tags(&[tag("a b", "1&amp;2"), tag("\u{fc}", "")]);
        assert_eq!(header_value(&two).as_deref(), Some("a%20b=1%262&%C3%BC="));
        assert_eq!(header_value(&tags(&[])).as_deref(), Some(""));
        for none in ["", "a=b", "<Tagging/>", "<TagSet><Tag><Key>a</Key></Tag></TagSet>"] {
            assert_eq!(header_value(none), None, "{none}");
        }
    }
}
