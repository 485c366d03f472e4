//! The body of CompleteMultipartUpload (Amazon S3 API Reference).

use quick_xml::Reader;
use quick_xml::events::Event;

/// An XML body that is malformed, or that two parsers could read differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the XML is malformed")]
pub struct XmlError;

/// How many parts it names. Every element called `Part` counts, in any letter case, namespace and depth: a store may be
/// less strict than the schema.
///
/// # Errors
/// What is not well-formed UTF-8 XML, and any document type: entities could make elements that we do not see.
pub fn count_parts(xml: &[u8]) -> Result<usize, XmlError> {
    let text = std::str::from_utf8(xml).map_err(|_| XmlError)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader::from_str(text);
    reader.config_mut().check_end_names = true;
    let (mut parts, mut depth) = (0, 0_usize);
    loop {
        match reader.read_event().map_err(|_| XmlError)? {
            Event::Start(element) => {
                parts += usize::from(element.local_name().as_ref().eq_ignore_ascii_case("part"));
                depth += 1;
            }
            Event::Empty(element) => parts += usize::from(element.local_name().as_ref().eq_ignore_ascii_case("part")),
            Event::End(_) => depth = depth.checked_sub(1).ok_or(XmlError)?,
            Event::DocType(_) | Event::PI(_) => return Err(XmlError),
            Event::Decl(decl) => {
                let encoding = decl.encoding().transpose().map_err(|_| XmlError)?;
                if encoding.is_some_and(|name| !name.eq_ignore_ascii_case("utf-8")) {
                    return Err(XmlError);
                }
            }
            Event::Eof if depth == 0 => return Ok(parts),
            Event::Eof => return Err(XmlError),
            Event::Text(_) | Event::CData(_) | Event::Comment(_) | Event::GeneralRef(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_counted_however_they_are_written() {
        for (xml, parts) in [
            ("<CompleteMultipartUpload></CompleteMultipartUpload>", 0),
            ("<?xml version=\"1.0\" encoding=\"UTF-8\"?><C><Part><PartNumber>1</PartNumber></Part></C>", 1),
            ("<C><Part/><s:Part xmlns:s=\"x\"></s:Part></C>", 2),
            ("<C><part/><x><PART/></x></C>", 2),
            ("<C><!-- <Part/> --><![CDATA[<Part/>]]>&lt;Part/&gt;<Part/></C>", 1),
            ("\u{feff}<C><Part/></C>", 1),
        ] {
            assert_eq!(count_parts(xml.as_bytes()), Ok(parts), "{xml}");
        }
    }

    #[test]
    fn what_hides_parts_is_refused() {
        for xml in [
            "<!DOCTYPE c [<!ENTITY p \"<Part/>\">]><C>&p;</C>",
            "<?xml version=\"1.0\" encoding=\"UTF-16\"?><C/>",
            "<C><Part></C>",
            "<C>",
            "</C>",
            "<?x y?><C/>",
        ] {
            assert_eq!(count_parts(xml.as_bytes()), Err(XmlError), "{xml}");
        }
        assert_eq!(count_parts(b"\xff\xfe<\0C\0/\0>\0"), Err(XmlError));
    }
}
