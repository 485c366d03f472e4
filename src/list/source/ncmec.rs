//! NCMEC hash sharing, version 2 (XML).

use super::super::entry::Entry;
use super::super::feed::Place;
use super::json::{DEPTH_MAX, TOKEN_MAX};
use super::{Reading, add};
use crate::digest::Algorithm;
use quick_xml::Reader;
use quick_xml::events::Event;
use std::io::{self, BufRead, Read};

/// One `image`, `video`, or what is left of a deleted one.
#[derive(Default)]
struct Record {
    deleted: bool,
    member: Option<String>,
    id: Option<String>,
    classification: Option<String>,
    entry: Entry,
    problem: Option<&'static str>,
    in_fingerprints: bool,
}

/// Entities are not expanded, and a document type is refused: it could make more of a file than stands in it.
pub(super) fn read(source: impl BufRead, reading: &mut Reading<'_>) -> io::Result<()> {
    let mut reader = Reader::from_reader(Bounded { reader: source, left: TOKEN_MAX });
    reader.config_mut().trim_text(true);
    // `<member id="42"/>` is what `<member id="42"></member>` is.
    reader.config_mut().expand_empty_elements = true;
    let mut buffer = Vec::new();
    let (mut record, mut element, mut depth): (Option<Record>, String, usize) = (None, String::new(), 0);
    loop {
        reader.get_mut().left = TOKEN_MAX;
        let offset = reader.buffer_position();
        let place = Place::Byte(offset);
        let malformed = |what: String| io::Error::new(io::ErrorKind::InvalidData, format!("byte {offset}: {what}"));
        buffer.clear();
        let event = reader.read_event_into(&mut buffer).map_err(|error| malformed(error.to_string()))?;
        match event {
            Event::Eof if record.is_none() => return Ok(()),
            Event::Eof => return Err(malformed("it ends inside a record".into())),
            Event::DocType(_) => return Err(malformed("a document type is not taken".into())),
            Event::Start(start) => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return Err(malformed("nested too deep".into()));
                }
                let name = start.local_name().as_ref().to_owned();
                match name.as_str() {
                    "image" | "video" | "deletedImage" | "deletedVideo" => {
                        record = Some(Record { deleted: name.starts_with("deleted"), ..Record::default() });
                    }
                    "images" | "videos" => {
                        let newest = start.try_get_attribute("maxTimestamp").ok().flatten();
                        let newest = newest.map(|time| time.value.as_ref().to_owned());
                        reading.fed.newest = reading.fed.newest.take().max(newest);
                    }
                    "next" => reading.fed.next = Some(String::new()),
                    "member" => {
                        let id = start.try_get_attribute("id").ok().flatten();
                        let id = id.map(|id| id.value.as_ref().to_owned());
                        if let Some(record) = &mut record {
                            record.member = id;
                        }
                    }
                    "fingerprints" => {
                        if let Some(record) = &mut record {
                            record.in_fingerprints = true;
                        }
                    }
                    _ => {}
                }
                element = name;
            }
            Event::Text(text) => {
                if let Some(record) = &mut record {
                    record.text(&element, text.as_ref());
                } else if element == "next"
                    && let Some(next) = &mut reading.fed.next
                {
                    next.push_str(text.as_ref());
                }
            }
            Event::CData(text) => {
                if let Some(record) = &mut record {
                    record.text(&element, text.as_ref().trim());
                }
            }
            Event::End(end) => {
                depth -= 1;
                match end.local_name().as_ref() {
                    "fingerprints" => {
                        if let Some(record) = &mut record {
                            record.in_fingerprints = false;
                        }
                    }
                    "image" | "video" | "deletedImage" | "deletedVideo" => {
                        if let Some(record) = record.take() {
                            record.finish(place, reading)?;
                        }
                    }
                    _ => {}
                }
                element.clear();
            }
            // Of all entities only this one stands in addresses.
            Event::GeneralRef(entity) if element == "next" && entity.as_ref() == "amp" => {
                if let Some(next) = &mut reading.fed.next {
                    next.push('&');
                }
            }
            _ => {}
        }
    }
}

/// Refuses what is longer than anything sensible while it is read, so that no file can exhaust memory.
struct Bounded<R> {
    reader: R,
    /// Bytes that the next token may have.
    left: usize,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer)
    }
}

impl<R: BufRead> BufRead for Bounded<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let filled = self.reader.fill_buf()?;
        if self.left == 0 && !filled.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a tag or text is longer than 1 MiB"));
        }
        Ok(&filled[..filled.len().min(self.left)])
    }

    fn consume(&mut self, amount: usize) {
        self.left -= amount;
        self.reader.consume(amount);
    }
}

impl Record {
    fn text(&mut self, element: &str, text: &str) {
        let mut digest = |algorithm| {
            if let Err(why) = add(&mut self.entry, algorithm, text) {
                self.problem = Some(why);
            }
        };
        match element {
            "md5" if self.in_fingerprints => digest(Algorithm::Md5),
            "sha1" if self.in_fingerprints => digest(Algorithm::Sha1),
            "sha256" if self.in_fingerprints => digest(Algorithm::Sha256),
            "id" if !self.in_fingerprints => self.id = Some(text.to_owned()),
            "classification" => self.classification = Some(text.to_owned()),
            _ => {}
        }
    }

    /// An id is only one together with its member's.
    fn finish(mut self, place: Place, reading: &mut Reading<'_>) -> io::Result<()> {
        let id = self.member.zip(self.id).map(|(member, id)| format!("{member}/{id}"));
        match (self.deleted, id, self.problem) {
            (true, Some(id), _) => reading.removed(place, id),
            (true, None, _) => {
                reading.bad(place, "a deleted entry without a member or an id");
                Ok(())
            }
            (false, _, Some(why)) => {
                reading.bad(place, why);
                Ok(())
            }
            // Only a perceptual hash.
            (false, id, None) if self.entry.digests.is_empty() => {
                reading.passed_over();
                // What it had before, it has no more.
                id.map_or(Ok(()), |id| reading.removed(place, id))
            }
            (false, id, None) => {
                self.entry.id = id;
                self.entry.category = self.classification.map(|value| format!("ncmec:{value}"));
                reading.entry(place, self.entry)
            }
        }
    }
}
