//! The body of CompleteMultipartUpload (Amazon S3 API Reference).

use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::Event;

/// A part as a Complete names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedPart {
    /// From 1 to 10,000.
    pub number: u16,
    /// Without quotes.
    pub etag: String,
}

/// Why the parts of a Complete cannot be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompleteError {
    /// Malformed, or readable in two ways: a doubled field, a part that is not where the schema has it.
    #[error("the XML is malformed")]
    Malformed,
    /// Numbers that do not rise.
    #[error("the parts are not in ascending order")]
    Order,
}

/// The parts that it names, in rising order; at least one.
///
/// A store may be less strict than the schema, so every element called `Part` in any letter case, namespace and depth has
/// to be one that the schema has there, with one `PartNumber` and one `ETag`.
///
/// # Errors
/// What is not well-formed UTF-8 XML, and any document type: entities could make elements that we do not see.
pub fn parts(xml: &[u8]) -> Result<Vec<NamedPart>, CompleteError> {
    let text = std::str::from_utf8(xml).map_err(|_| CompleteError::Malformed)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader::from_str(text);
    reader.config_mut().check_end_names = true;
    let mut reading = Reading::default();
    loop {
        match reader.read_event().map_err(|_| CompleteError::Malformed)? {
            Event::Start(element) => reading.open(element.local_name().as_ref())?,
            Event::Empty(element) => {
                reading.open(element.local_name().as_ref())?;
                reading.close()?;
            }
            Event::End(_) => reading.close()?,
            Event::Text(text) => reading.text(text.as_ref())?,
            Event::GeneralRef(reference) => {
                let named = resolve_predefined_entity(reference.as_ref()).map(str::to_owned);
                let character = reference.resolve_char_ref().map_err(|_| CompleteError::Malformed)?;
                let text = named.or(character.map(String::from)).ok_or(CompleteError::Malformed)?;
                reading.text(&text)?;
            }
            // Inside a field, stores differ on what is left of these.
            Event::CData(_) | Event::Comment(_) if reading.field.is_some() => return Err(CompleteError::Malformed),
            Event::CData(_) | Event::Comment(_) => {}
            Event::DocType(_) | Event::PI(_) => return Err(CompleteError::Malformed),
            Event::Decl(decl) => {
                let encoding = decl.encoding().transpose().map_err(|_| CompleteError::Malformed)?;
                if encoding.is_some_and(|name| !name.eq_ignore_ascii_case("utf-8")) {
                    return Err(CompleteError::Malformed);
                }
            }
            Event::Eof if reading.depth == 0 => return reading.finish(),
            Event::Eof => return Err(CompleteError::Malformed),
        }
    }
}

/// An ETag as it is compared: without quotes and the blanks around it.
pub fn plain_etag(etag: &str) -> &str {
    let etag = etag.trim();
    etag.strip_prefix('"').and_then(|etag| etag.strip_suffix('"')).unwrap_or(etag)
}

#[derive(Default)]
struct Reading {
    depth: usize,
    parts: Vec<NamedPart>,
    /// The part that is open.
    part: Option<(Option<String>, Option<String>)>,
    /// The field that is open, and its text so far.
    field: Option<(Field, String)>,
}

#[derive(Clone, Copy, PartialEq)]
enum Field {
    Number,
    ETag,
}

impl Reading {
    fn open(&mut self, name: &str) -> Result<(), CompleteError> {
        self.depth += 1;
        if name.eq_ignore_ascii_case("part") {
            if name != "Part" || self.depth != 2 {
                return Err(CompleteError::Malformed);
            }
            self.part = Some((None, None));
            return Ok(());
        }
        let field = match name {
            "PartNumber" => Field::Number,
            "ETag" => Field::ETag,
            other if other.eq_ignore_ascii_case("partnumber") || other.eq_ignore_ascii_case("etag") => {
                return Err(CompleteError::Malformed);
            }
            _ if self.field.is_some() => return Err(CompleteError::Malformed),
            _ => return Ok(()),
        };
        if self.depth != 3 || self.part.is_none() {
            return Err(CompleteError::Malformed);
        }
        self.field = Some((field, String::new()));
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<(), CompleteError> {
        match &mut self.field {
            Some((_, value)) => value.push_str(text),
            // Text beside elements is nothing that the schema has.
            None if self.depth < 3 && !text.trim().is_empty() => return Err(CompleteError::Malformed),
            None => {}
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), CompleteError> {
        self.depth = self.depth.checked_sub(1).ok_or(CompleteError::Malformed)?;
        if let Some((field, value)) = self.field.take() {
            let Some((number, etag)) = &mut self.part else { return Err(CompleteError::Malformed) };
            let place = if field == Field::Number { number } else { etag };
            return if place.replace(value).is_none() { Ok(()) } else { Err(CompleteError::Malformed) };
        }
        if self.depth == 1
            && let Some(part) = self.part.take()
        {
            let (Some(number), Some(etag)) = part else { return Err(CompleteError::Malformed) };
            let number = part_number(number.trim()).ok_or(CompleteError::Malformed)?;
            if self.parts.last().is_some_and(|last| last.number >= number) {
                return Err(CompleteError::Order);
            }
            self.parts.push(NamedPart { number, etag: plain_etag(&etag).to_owned() });
        }
        Ok(())
    }

    fn finish(self) -> Result<Vec<NamedPart>, CompleteError> {
        if self.parts.is_empty() { Err(CompleteError::Malformed) } else { Ok(self.parts) }
    }
}

/// S3 numbers parts from 1 to 10,000; `01`, `+1` and ` 1` are one at some stores and an error at others.
pub fn part_number(text: &str) -> Option<u16> {
    let number = text.parse::<u16>().ok().filter(|number| (1..=10_000).contains(number))?;
    (number.to_string() == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(xml: &str) -> Result<Vec<(u16, String)>, CompleteError> {
        Ok(parts(xml.as_bytes())?.into_iter().map(|part| (part.number, part.etag)).collect())
    }

    fn part(number: &str, etag: &str) -> String {
        format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>")
    }

    #[test]
    fn parts_are_read_as_clients_write_them() {
        for xml in [
            format!("<C>{}{}</C>", part("1", "&quot;a&quot;"), part("3", "\"b-1\"")),
            format!(
                "\u{feff}<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<s:C xmlns:s=\"x\">\n {}\n <s:Part><s:ETag>b-1</s:ETag><ChecksumCRC32>AAAA</ChecksumCRC32><s:PartNumber> 3 </s:PartNumber></s:Part></s:C>",
                part("1", "&#34;a&#x22;")
            ),
            format!("<C><!-- two -->{}{}</C>", part("1", "a"), part("3", "b-1")),
        ] {
            assert_eq!(numbers(&xml), Ok(vec![(1, "a".into()), (3, "b-1".into())]), "{xml}");
        }
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        let one = part("1", "a");
        for xml in [
            "<C></C>".to_owned(),
            format!("<C><part>{one}</part></C>"),
            format!("<C><x>{one}</x></C>"),
            format!("<C>{}</C>", one.replace("Part>", "PART>")),
            "<C><Part/></C>".into(),
            "<C><Part><PartNumber>1</PartNumber></Part></C>".into(),
            format!("<C>{}</C>", one.replace("</Part>", "<PartNumber>2</PartNumber></Part>")),
            format!("<C>{}</C>", one.replace("</Part>", "<etag>b</etag></Part>")),
            "<C><Part><PartNumber>1<!-- -->2</PartNumber><ETag>a</ETag></Part></C>".into(),
            "<C><Part><PartNumber><![CDATA[1]]></PartNumber><ETag>a</ETag></Part></C>".into(),
            "<C><Part><PartNumber>1<x/></PartNumber><ETag>a</ETag></Part></C>".into(),
            "<C><Part><x><PartNumber>1</PartNumber></x><ETag>a</ETag></Part></C>".into(),
            format!("<C>text{one}</C>"),
            format!("<C>{}</C>", part("01", "a")),
            format!("<C>{}</C>", part("0", "a")),
            format!("<C>{}</C>", part("10001", "a")),
            format!("<C>{}</C>", part("&x;", "a")),
            "<!DOCTYPE c [<!ENTITY p \"<Part/>\">]><C>&p;</C>".into(),
            "<?xml version=\"1.0\" encoding=\"UTF-16\"?><C/>".into(),
            "<C><Part></C>".into(),
            "<C>".into(),
            "</C>".into(),
            "<?x y?><C/>".into(),
        ] {
            assert_eq!(numbers(&xml), Err(CompleteError::Malformed), "{xml}");
        }
        assert_eq!(parts(b"\xff\xfe<\0C\0/\0>\0"), Err(CompleteError::Malformed));
        for order in [["1", "1"], ["2", "1"]] {
            let xml = format!("<C>{}{}</C>", part(order[0], "a"), part(order[1], "b"));
            assert_eq!(numbers(&xml), Err(CompleteError::Order));
        }
    }
}
