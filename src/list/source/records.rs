//! Formats in JSON.

use super::super::entry::Entry;
use super::super::feed::Place;
use super::json::{Json, TOKEN_MAX};
use super::{Format, Reading, add};
use crate::digest::{Algorithm, Digest};
use serde_json::{Map, Value};
use std::io::{self, BufRead};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A record's fields that somebody asked for, names in lower case.
type Fields = Map<String, Value>;

/// Reads a whole source.
pub(super) fn read(
    source: impl BufRead,
    format: Format,
    now: OffsetDateTime,
    reading: &mut Reading<'_>,
) -> io::Result<()> {
    let mut json = Json::new(source)?;
    match format {
        Format::VicsJson | Format::CaidJson => vics(&mut json, format, reading)?,
        Format::StopNciiJson => named_arrays(&mut json, &["hashrecords"], reading, stop_ncii)?,
        Format::TatJson => named_arrays(&mut json, &["results"], reading, tat)?,
        Format::ThreatExchangeJson => return descriptors(&mut json, reading),
        Format::Stix => named_arrays(&mut json, &["objects"], reading, |json, reading| stix(json, now, reading))?,
        Format::MispEvent => misp_event(&mut json, reading)?,
        Format::MispWarninglist => named_arrays(&mut json, &["list"], reading, warning)?,
        _ => return Err(json.malformed("it is no format in JSON")),
    }
    json.end()
}

/// The names in the outermost object, and what says of which kind it is, wherever it stands.
pub(super) fn outline(source: impl BufRead) -> io::Result<String> {
    let mut outline = String::new();
    Json::new(source)?.object(|json, key| {
        let telling = ["type", "@odata.context", "odata.metadata"].contains(&key.to_ascii_lowercase().as_str());
        let value = if telling { json.value()? } else { json.skip().map(|()| Value::Null)? };
        if outline.len() + key.len() < TOKEN_MAX {
            outline.push_str(&format!("{}:{value},", Value::from(key)));
        }
        Ok(())
    })?;
    Ok(outline)
}

/// Looks into the arrays of these names (lower case) of the outermost object.
fn named_arrays<R: BufRead>(
    json: &mut Json<R>,
    names: &[&str],
    reading: &mut Reading<'_>,
    mut each: impl FnMut(&mut Json<R>, &mut Reading<'_>) -> io::Result<()>,
) -> io::Result<()> {
    json.object(|json, key| match names.contains(&key.to_ascii_lowercase().as_str()) {
        true => json.array(|json| each(json, reading)),
        false => json.skip(),
    })
}

/// Takes the fields of these names (lower case) of an object; the others may be of any size.
fn fields<R: BufRead>(json: &mut Json<R>, names: &[&str]) -> io::Result<Fields> {
    let mut fields = Fields::new();
    json.object(|json, key| {
        let key = key.to_ascii_lowercase();
        match names.contains(&key.as_str()) {
            true => {
                let value = json.value()?;
                fields.insert(key, value);
                Ok(())
            }
            false => json.skip(),
        }
    })?;
    Ok(fields)
}

/// A field as text, whether it is a string or a number.
fn text(fields: &Fields, name: &str) -> Option<String> {
    match fields.get(name)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A field as a boolean, which some write as a string or a number.
fn flag(fields: &Fields, name: &str) -> Option<bool> {
    match fields.get(name)? {
        Value::Bool(flag) => Some(*flag),
        Value::Number(number) => Some(number.as_f64() != Some(0.0)),
        Value::String(text) => Some(text.eq_ignore_ascii_case("true") || text.trim() == "1"),
        _ => None,
    }
}

fn finish(place: Place, entry: Entry, problem: Option<&'static str>, reading: &mut Reading<'_>) -> io::Result<()> {
    match problem {
        Some(why) => reading.bad(place, why),
        // Only a perceptual hash, say.
        None if entry.digests.is_empty() => reading.passed_over(),
        None => return reading.entry(place, entry),
    }
    Ok(())
}

const MEDIA: &[&str] =
    &["mediaid", "category", "md5", "sha1", "sha256", "mediasize", "hashes", "hashname", "hashvalue"];

/// Project VIC and CAID: `value[]` of media, or of cases with `Media[]`.
fn vics<R: BufRead>(json: &mut Json<R>, format: Format, reading: &mut Reading<'_>) -> io::Result<()> {
    let mut cases = 0_u64;
    named_arrays(json, &["value"], reading, |json, reading| {
        let place = Place::Byte(json.offset());
        let mut own = Fields::new();
        let mut is_case = false;
        json.object(|json, key| {
            let key = key.to_ascii_lowercase();
            if key == "media" && json.is_array()? {
                is_case = true;
                cases += 1;
                return json.array(|json| {
                    let place = Place::Byte(json.offset());
                    let mut media = fields(json, MEDIA)?;
                    // Each case counts its media anew, and its own name may stand behind them.
                    if let Some(id) = text(&media, "mediaid") {
                        media.insert("mediaid".into(), format!("{cases}/{id}").into());
                    }
                    medium(place, &media, format, reading)
                });
            }
            match MEDIA.contains(&key.as_str()) {
                true => {
                    let value = json.value()?;
                    own.insert(key, value);
                    Ok(())
                }
                false => json.skip(),
            }
        })?;
        if is_case { Ok(()) } else { medium(place, &own, format, reading) }
    })
}

fn medium(place: Place, media: &Fields, format: Format, reading: &mut Reading<'_>) -> io::Result<()> {
    let mut category = text(media, "category").map(|text| text.trim().to_owned());
    if format == Format::VicsJson {
        // Numbers come as 0, 0.0 and "0".
        let number = category.as_deref().filter(|text| !text.is_empty()).map(|text| text.parse::<f64>());
        category = match number {
            // 0 is known and not illegal, 5 is not categorised: never entries, whatever the list is for.
            None | Some(Ok(0.0 | 5.0)) => {
                reading.passed_over();
                // Nor is what it was before.
                return text(media, "mediaid").map_or(Ok(()), |id| reading.removed(place, id));
            }
            Some(Ok(number)) if number > 0.0 && number.fract() == 0.0 => Some(number.to_string()),
            Some(_) => {
                reading.bad(place, "its category is no number of the data model");
                return Ok(());
            }
        };
    }
    let scheme = if format == Format::VicsJson { "vics" } else { "caid" };
    let mut entry = Entry {
        size: text(media, "mediasize").and_then(|size| size.trim().parse().ok()),
        category: category.filter(|value| !value.is_empty()).map(|value| format!("{scheme}:{value}")),
        id: text(media, "mediaid"),
        ..Entry::default()
    };
    let mut problem = None;
    for (name, algorithm) in [("md5", Algorithm::Md5), ("sha1", Algorithm::Sha1), ("sha256", Algorithm::Sha256)] {
        if let Some(digest) = text(media, name) {
            problem = add(&mut entry, algorithm, &digest).err().or(problem);
        }
    }
    // An older form has its digests in an array of names and values.
    for hash in media.get("hashes").and_then(Value::as_array).into_iter().flatten() {
        let word = |wanted: &str| {
            let fields = hash.as_object()?;
            fields.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted))?.1.as_str()
        };
        let algorithm = match word("hashname").unwrap_or_default().to_ascii_uppercase().as_str() {
            "MD5" => Algorithm::Md5,
            "SHA1" | "SHA-1" => Algorithm::Sha1,
            "SHA256" | "SHA-256" => Algorithm::Sha256,
            _ => continue,
        };
        problem = add(&mut entry, algorithm, word("hashvalue").unwrap_or_default()).err().or(problem);
    }
    finish(place, entry, problem, reading)
}

fn stop_ncii<R: BufRead>(json: &mut Json<R>, reading: &mut Reading<'_>) -> io::Result<()> {
    let place = Place::Byte(json.offset());
    let record = fields(json, &["signaltype", "hashvalue", "hashstatus"])?;
    let Some(value) = text(&record, "hashvalue") else {
        reading.bad(place, "a record without a hash value");
        return Ok(());
    };
    let kind = text(&record, "signaltype").unwrap_or_default().to_ascii_lowercase();
    if !kind.ends_with("md5") {
        reading.passed_over();
        return Ok(());
    }
    // The value is all that a record has to be told by.
    match text(&record, "hashstatus").unwrap_or_default().to_ascii_lowercase().as_str() {
        "withdrawn" | "deleted" => reading.removed(place, value.to_ascii_lowercase()),
        _ => {
            let mut entry = Entry { id: Some(value.to_ascii_lowercase()), ..Entry::default() };
            let problem = add(&mut entry, Algorithm::Md5, &value).err();
            finish(place, entry, problem, reading)
        }
    }
}

fn tat<R: BufRead>(json: &mut Json<R>, reading: &mut Reading<'_>) -> io::Result<()> {
    let place = Place::Byte(json.offset());
    let record = fields(json, &["hash_digest", "algorithm", "ideology", "deleted", "id"])?;
    let id = text(&record, "id");
    if flag(&record, "deleted") == Some(true) {
        return match id {
            Some(id) => reading.removed(place, id),
            None => {
                reading.bad(place, "a deleted record without an id");
                Ok(())
            }
        };
    }
    let algorithm = match text(&record, "algorithm").unwrap_or_default().to_ascii_uppercase().as_str() {
        "MD5" => Algorithm::Md5,
        "SHA1" | "SHA-1" => Algorithm::Sha1,
        "SHA256" | "SHA-256" => Algorithm::Sha256,
        _ => {
            reading.passed_over();
            return Ok(());
        }
    };
    let category = text(&record, "ideology").filter(|value| !value.is_empty()).map(|value| format!("tat:{value}"));
    let mut entry = Entry { id, category, ..Entry::default() };
    let problem = add(&mut entry, algorithm, &text(&record, "hash_digest").unwrap_or_default()).err();
    finish(place, entry, problem, reading)
}

/// ThreatExchange: `data[]` of a page, an array, or one descriptor a line.
fn descriptors<R: BufRead>(json: &mut Json<R>, reading: &mut Reading<'_>) -> io::Result<()> {
    const NAMES: &[&str] = &["id", "raw_indicator", "type", "status"];
    while json.follows()? {
        if json.is_array()? {
            json.array(|json| {
                let place = Place::Byte(json.offset());
                let one = fields(json, NAMES)?;
                descriptor(place, &one, reading)
            })?;
            continue;
        }
        let place = Place::Byte(json.offset());
        let (mut own, mut is_page) = (Fields::new(), false);
        json.object(|json, key| {
            if key == "data" && json.is_array()? {
                is_page = true;
                return json.array(|json| {
                    let place = Place::Byte(json.offset());
                    let one = fields(json, NAMES)?;
                    descriptor(place, &one, reading)
                });
            }
            match NAMES.contains(&key) {
                true => {
                    let value = json.value()?;
                    own.insert(key.to_owned(), value);
                    Ok(())
                }
                false => json.skip(),
            }
        })?;
        if !is_page {
            descriptor(place, &own, reading)?;
        }
    }
    Ok(())
}

fn descriptor(place: Place, one: &Fields, reading: &mut Reading<'_>) -> io::Result<()> {
    let algorithm = match text(one, "type").unwrap_or_default().to_ascii_uppercase().as_str() {
        "HASH_MD5" => Algorithm::Md5,
        "HASH_SHA1" => Algorithm::Sha1,
        "HASH_SHA256" => Algorithm::Sha256,
        _ => {
            reading.passed_over();
            return Ok(());
        }
    };
    // What somebody found harmless, or nobody has looked at, is no entry.
    if !text(one, "status").unwrap_or_default().eq_ignore_ascii_case("malicious") {
        reading.passed_over();
        return Ok(());
    }
    let mut entry = Entry { id: text(one, "id"), ..Entry::default() };
    let problem = add(&mut entry, algorithm, &text(one, "raw_indicator").unwrap_or_default()).err();
    finish(place, entry, problem, reading)
}

fn stix<R: BufRead>(json: &mut Json<R>, now: OffsetDateTime, reading: &mut Reading<'_>) -> io::Result<()> {
    const NAMES: &[&str] = &["type", "id", "hashes", "size", "pattern", "pattern_type", "revoked", "valid_until"];
    let place = Place::Byte(json.offset());
    let object = fields(json, NAMES)?;
    let kind = text(&object, "type").unwrap_or_default();
    if kind != "file" && kind != "indicator" {
        return Ok(());
    }
    let id = text(&object, "id");
    let digests = pattern(&text(&object, "pattern").unwrap_or_default());
    let is_over = match text(&object, "valid_until").map(|until| OffsetDateTime::parse(&until, &Rfc3339)) {
        Some(Ok(until)) => until <= now,
        Some(Err(_)) => {
            reading.bad(place, "nobody can read until when it is valid");
            return Ok(());
        }
        None => false,
    };
    if is_over {
        reading.passed_over();
    }
    if is_over || flag(&object, "revoked") == Some(true) {
        // An earlier version of it may stand before it.
        let Some(id) = id else { return Ok(()) };
        for number in 1..=digests.map_or(0, |digests| digests.len()) {
            reading.removed(place, format!("{id}/{number}"))?;
        }
        return reading.removed(place, id);
    }
    if kind == "file" {
        let size = text(&object, "size").and_then(|size| size.parse().ok());
        let mut entry = Entry { id, size, ..Entry::default() };
        let mut problem = None;
        for (name, value) in object.get("hashes").and_then(Value::as_object).into_iter().flatten() {
            if let (Some(algorithm), Some(value)) = (stix_algorithm(name), value.as_str()) {
                problem = add(&mut entry, algorithm, value).err().or(problem);
            }
        }
        return finish(place, entry, problem, reading);
    }
    if text(&object, "pattern_type").is_some_and(|kind| kind != "stix") {
        reading.passed_over();
        return Ok(());
    }
    let Some(digests) = digests else {
        reading.bad(place, "its pattern is more than file digests joined by OR");
        return Ok(());
    };
    // Each digest may be of another file.
    (1..).zip(digests).try_for_each(|(number, digest)| {
        let id = id.as_ref().map(|id| format!("{id}/{number}"));
        reading.entry(place, Entry { digests: vec![digest], id, ..Entry::default() })
    })
}

fn stix_algorithm(name: &str) -> Option<Algorithm> {
    match name.to_ascii_uppercase().as_str() {
        "MD5" => Some(Algorithm::Md5),
        "SHA-1" | "SHA1" => Some(Algorithm::Sha1),
        "SHA-256" | "SHA256" => Some(Algorithm::Sha256),
        _ => None,
    }
}

/// The digests of `[file:hashes.'SHA-256' = '...' OR ...]`. `None`: it says more than that.
fn pattern(text: &str) -> Option<Vec<Digest>> {
    let mut digests = Vec::new();
    for observation in text.split("] OR [") {
        let observation = observation.trim().trim_start_matches('[').trim_end_matches(']');
        for comparison in observation.split(" OR ") {
            let (path, value) = comparison.split_once('=')?;
            let name = path.trim().strip_prefix("file:hashes.")?.trim_matches(['\'', '"']);
            let value = value.trim().strip_prefix('\'')?.strip_suffix('\'')?;
            let digest = Digest::from_hex(value)?;
            if stix_algorithm(name)? != digest.algorithm() {
                return None;
            }
            digests.push(digest);
        }
    }
    Some(digests)
}

/// MISP: `Event.Attribute[]`, and those of `Event.Object[]`; also without the `Event` around, and several in a `response`.
fn misp_event<R: BufRead>(json: &mut Json<R>, reading: &mut Reading<'_>) -> io::Result<()> {
    json.object(|json, key| match key {
        "response" => json.array(|json| misp_event(json, reading)),
        "Event" => json.object(|json, key| misp_member(json, key, reading)),
        key => misp_member(json, key, reading),
    })
}

fn misp_member<R: BufRead>(json: &mut Json<R>, key: &str, reading: &mut Reading<'_>) -> io::Result<()> {
    match key {
        "Attribute" => json.array(|json| {
            let place = Place::Byte(json.offset());
            let fields = fields(json, ATTRIBUTE)?;
            attribute(place, &fields, reading)
        }),
        "Object" => json.array(|json| misp_object(json, reading)),
        _ => json.skip(),
    }
}

/// An object's attributes wait for its end: that it is deleted may stand behind them.
fn misp_object<R: BufRead>(json: &mut Json<R>, reading: &mut Reading<'_>) -> io::Result<()> {
    let (mut waiting, mut length, mut own) = (Vec::new(), 0, Fields::new());
    json.object(|json, key| match key {
        "Attribute" => json.array(|json| {
            let place = Place::Byte(json.offset());
            let attribute = fields(json, ATTRIBUTE)?;
            if misp_algorithm(&attribute).is_some() {
                length += attribute.values().map(|value| value.to_string().len()).sum::<usize>();
                waiting.push((place, attribute));
            }
            if length > TOKEN_MAX {
                Err(json.malformed("the digests of an object are longer than 1 MiB"))
            } else {
                Ok(())
            }
        }),
        "deleted" => {
            let deleted = json.value()?;
            own.insert("deleted".into(), deleted);
            Ok(())
        }
        _ => json.skip(),
    })?;
    let deleted = flag(&own, "deleted") == Some(true);
    waiting.into_iter().try_for_each(|(place, mut fields)| {
        if deleted {
            fields.insert("deleted".into(), true.into());
        }
        attribute(place, &fields, reading)
    })
}

const ATTRIBUTE: &[&str] = &["type", "value", "to_ids", "deleted", "uuid"];

/// The last part of a type such as `filename|md5`.
fn misp_algorithm(attribute: &Fields) -> Option<Algorithm> {
    stix_algorithm(text(attribute, "type")?.rsplit('|').next()?)
}

fn attribute(place: Place, attribute: &Fields, reading: &mut Reading<'_>) -> io::Result<()> {
    let id = text(attribute, "uuid");
    let Some(algorithm) = misp_algorithm(attribute) else { return Ok(()) };
    if flag(attribute, "deleted") == Some(true) {
        return id.map_or(Ok(()), |id| reading.removed(place, id));
    }
    if flag(attribute, "to_ids") != Some(true) {
        reading.passed_over();
        return Ok(());
    }
    let value = text(attribute, "value").unwrap_or_default();
    let value = value.rsplit('|').next().unwrap_or_default();
    let mut entry = Entry { id, ..Entry::default() };
    let problem = add(&mut entry, algorithm, value).err();
    finish(place, entry, problem, reading)
}

/// A warninglist is of many things; only digests are ours.
fn warning<R: BufRead>(json: &mut Json<R>, reading: &mut Reading<'_>) -> io::Result<()> {
    let place = Place::Byte(json.offset());
    let value = json.value()?;
    match value.as_str().and_then(Digest::from_hex) {
        Some(digest) => reading.entry(place, Entry { digests: vec![digest], ..Entry::default() }),
        None => {
            reading.passed_over();
            Ok(())
        }
    }
}
