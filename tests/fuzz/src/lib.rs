//! The bodies of the fuzz targets, as plain functions: libFuzzer calls them through `fuzz_targets/`, and the test below
//! replays the corpus through them on a stable compiler.

use bytes::Bytes;
use hashgate::config::settings::Encodings;
use hashgate::digest::Algorithms;
use hashgate::inspect::Decoding;
use hashgate::list::entry::Item;
use hashgate::list::index::Kind;
use hashgate::list::source::{self, Format, Options};
use hashgate::s3::authorization::{Authorization, Presented, canonical_request, canonical_uris, presented};
use hashgate::s3::chunked::{Framer, FramingError, Segment, Signing};
use hashgate::s3::form::{Form, FormError};
use hashgate::s3::head::Head;
use http::{HeaderMap, HeaderValue, Method};

/// `input` is an `Authorization` header, a query and a path, a line each; an empty first line leaves the header out.
/// Nothing panics, and what was parsed is of the grammar.
pub fn authorization(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let mut lines = text.splitn(3, '\n');
    let mut line = || lines.next().unwrap_or("");
    let (header, query, path) = (line(), line(), line());
    let mut headers = HeaderMap::new();
    headers.insert("host", HeaderValue::from_static("h"));
    if let (false, Ok(value)) = (header.is_empty(), HeaderValue::from_bytes(header.as_bytes())) {
        headers.insert("authorization", value);
    }
    let head = Head { method: &Method::PUT, path, query, headers: &headers };
    let Ok(found) = presented(head) else { return };
    let carries = !header.is_empty() || !query.is_empty();
    assert!(carries || found == Presented::Anonymous, "out of nothing: {found:?}");
    match &found {
        Presented::HeaderV4(authorization) => check(head, authorization),
        Presented::PresignedV4(presigned) => check(head, &presigned.authorization),
        _ => {}
    }
}

fn check(head: Head<'_>, authorization: &Authorization) {
    let Authorization { access_key, signed_headers, signature, .. } = authorization;
    assert!(!access_key.is_empty() && signature.len() == 64);
    assert!(signed_headers.is_sorted_by(|a, b| a < b) && signed_headers.iter().any(|name| name == "host"));
    for uri in canonical_uris(head.path) {
        // A name without its header is an error; that nothing panics is all there is to see.
        let _ = canonical_request(head, &uri, signed_headers, "UNSIGNED-PAYLOAD");
    }
}

/// The first three bytes of `input` choose the mode, the declared length and the splits; the rest is the body. Segments
/// put together are a prefix of the body, there is never more payload than declared, and no split changes the result.
pub fn chunked(input: &[u8]) {
    let [mode, declared, split, body @ ..] = input else { return };
    let whole = read(*mode, *declared, [body]);
    // Pieces of a few lengths in turn, among them 1, and a whole.
    let lengths = [1 + usize::from(split % 7), 1 + usize::from(split / 7), 1];
    let mut pieces = Vec::new();
    let mut rest = body;
    for length in lengths.into_iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, more) = rest.split_at(length.min(rest.len()));
        pieces.push(piece);
        rest = more;
    }
    let split = read(*mode, *declared, pieces);
    assert_eq!(whole.outcome, split.outcome);
    if whole.outcome.is_ok() {
        assert_eq!(joined(&whole.segments), joined(&split.segments));
        assert_eq!(payload_len(&whole.segments), u64::from(*declared));
        assert_eq!(wire(&whole.segments), body);
    }
    for reading in [&whole, &split] {
        assert!(body.starts_with(&wire(&reading.segments)));
        assert!(payload_len(&reading.segments) <= u64::from(*declared));
    }
}

struct Reading {
    segments: Vec<Segment>,
    outcome: Result<(), FramingError>,
}

fn read<'a>(mode: u8, declared: u8, pieces: impl IntoIterator<Item = &'a [u8]>) -> Reading {
    let announced = || vec!["x-amz-checksum-crc32c".to_owned()];
    let declared = u64::from(declared);
    let mut framer = match mode % 6 {
        0 => Framer::raw(Some(declared)),
        1 => Framer::chunked(Signing::Unsigned, declared, Some(announced())),
        2 => Framer::chunked(Signing::V4, declared, None),
        3 => Framer::chunked(Signing::V4, declared, Some(announced())),
        4 => Framer::chunked(Signing::V4a, declared, None),
        _ => Framer::chunked(Signing::V4a, declared, Some(announced())),
    };
    let mut segments = Vec::new();
    let mut push = |piece: &[u8]| framer.push(Bytes::copy_from_slice(piece), &mut segments);
    let outcome = pieces.into_iter().try_for_each(&mut push);
    let outcome = outcome.and_then(|()| framer.finish(&mut segments));
    Reading { segments, outcome }
}

/// Neighbouring pieces of payload joined: what no split may change.
fn joined(segments: &[Segment]) -> Vec<Segment> {
    let mut out: Vec<Segment> = Vec::new();
    for segment in segments {
        match (out.last_mut(), segment) {
            (Some(Segment::Payload(before)), Segment::Payload(more)) => {
                *before = [&before[..], &more[..]].concat().into();
            }
            (_, segment) => out.push(segment.clone()),
        }
    }
    out
}

fn wire(segments: &[Segment]) -> Vec<u8> {
    segments.iter().flat_map(|segment| segment.wire().to_vec()).collect()
}

fn payload_len(segments: &[Segment]) -> u64 {
    let payloads = segments.iter().filter(|segment| matches!(segment, Segment::Payload(_)));
    payloads.map(|segment| segment.wire().len() as u64).sum()
}

/// The first byte of `input` chooses the splits, the rest is a form with the boundary `b`. What is given out is a prefix of
/// the body, the whole of it where it is taken, and no split changes the result.
pub fn form(input: &[u8]) {
    let [split, body @ ..] = input else { return };
    let whole = read_form([body]);
    let split = read_form(body.chunks(1 + usize::from(split % 9)));
    assert_eq!(whole.1, split.1);
    for (segments, outcome) in [&whole, &split] {
        let wire: Vec<u8> = segments.iter().flat_map(|segment| form_wire(segment).to_vec()).collect();
        assert!(body.starts_with(&wire));
        assert!(outcome.is_err() || wire == body);
    }
    if whole.1.is_ok() {
        assert_eq!(form_payload(&whole.0), form_payload(&split.0));
    }
}

fn read_form<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Segment>, Result<(), FormError>) {
    let mut form = Form::new("multipart/form-data; boundary=b").expect("a plain boundary");
    let mut segments = Vec::new();
    let mut push = |piece: &[u8]| form.push(Bytes::copy_from_slice(piece), &mut segments);
    let outcome = pieces.into_iter().try_for_each(&mut push);
    let outcome = outcome.and_then(|()| form.finish(&mut segments));
    (segments, outcome)
}

fn form_wire(segment: &Segment) -> &Bytes {
    match segment {
        Segment::Payload(wire) | Segment::Frame(wire, _) => wire,
    }
}

fn form_payload(segments: &[Segment]) -> Vec<u8> {
    let payloads = segments.iter().filter(|segment| matches!(segment, Segment::Payload(_)));
    payloads.flat_map(|segment| form_wire(segment).to_vec()).collect()
}

/// The first byte of `input` chooses the format, the rest is a list of it. Reading ends, and what is told of bad places
/// holds nothing of the list.
pub fn sources(input: &[u8]) {
    let Some((choice, list)) = input.split_first() else { return };
    let format = Format::ALL[usize::from(*choice) % Format::ALL.len()];
    let columns = (format == Format::Csv).then(|| "md5=a,size=b".to_owned());
    let now = time::OffsetDateTime::UNIX_EPOCH;
    let options = Options { format: Some(format), kind: Some(Kind::KnownGood), columns, now };
    let mut digests = Vec::new();
    let mut sink = |_, item| {
        if let Item::Entry(entry) = item {
            assert!(!entry.digests.is_empty(), "an entry without a digest");
            digests.extend(entry.digests.iter().map(|digest| digest.to_hex()));
        }
        Ok(())
    };
    let read = if format == Format::NsrlSqlite {
        // A database is read where it is.
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), list).expect("writable");
        source::read_file(file.path(), &options, &mut sink)
    } else {
        source::read(list, "fuzz", &options, &mut sink)
    };
    let told = match read {
        Ok(fed) => format!("{:?}", fed.first_bad),
        Err(error) => error.to_string(),
    };
    assert!(!digests.iter().any(|digest| told.contains(digest)), "a digest was told");
}

/// The first byte of `input` chooses the splits, the rest is a payload that the store would unpack, maybe encoded: no
/// split changes what is found in it.
pub fn archive(input: &[u8]) {
    let Some((choice, payload)) = input.split_first() else { return };
    let read = |size: usize| {
        let bounds = Encodings::default();
        let mut decoding = Decoding::new("", &bounds, Algorithms::NONE).unpacking();
        payload.chunks(size).for_each(|piece| decoding.update(piece));
        let decoded = decoding.finish().expect("an archive is looked for");
        // Where a stream is broken, how much of it was given out before depends on the pieces.
        decoded.archive.is_some_and(|archive| archive.is_ok()).then_some(decoded.layers)
    };
    assert_eq!(read(payload.len().max(1)), read(1 + usize::from(choice % 13)));
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// Mutations of each file; enough to reach every branch, and done in a second.
    const MUTATIONS: u32 = 2_000;

    #[test]
    fn authorization_corpus() {
        replay("authorization", super::authorization);
    }

    #[test]
    fn chunked_corpus() {
        replay("chunked", super::chunked);
    }

    #[test]
    fn form_corpus() {
        replay("form", super::form);
    }

    #[test]
    fn sources_corpus() {
        replay("sources", super::sources);
    }

    #[test]
    fn archive_corpus() {
        replay("archive", super::archive);
    }

    fn replay(target: &str, run: fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
        let mut files: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        assert!(!files.is_empty(), "{} is empty", folder.display());
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        for file in files {
            let input = std::fs::read(&file).unwrap();
            run(&input);
            for _ in 0..MUTATIONS {
                run(&mutated(&input, &mut random));
            }
        }
    }

    /// One to four changes: a byte replaced, removed or doubled, a stretch cut out or repeated.
    fn mutated(input: &[u8], random: &mut Random) -> Vec<u8> {
        const TELLING: &[u8] = b"\r\n\0;:=,&%+/ -*09afAFxX\xff";
        let mut bytes = input.to_vec();
        for _ in 0..=random.below(4) {
            let at = random.below(bytes.len().max(1));
            let end = (at + random.below(32)).min(bytes.len());
            match random.below(5) {
                _ if bytes.is_empty() => bytes.push(TELLING[random.below(TELLING.len())]),
                0 => bytes[at] = TELLING[random.below(TELLING.len())],
                1 => bytes[at] ^= 1 << random.below(8),
                2 => bytes.insert(at, TELLING[random.below(TELLING.len())]),
                3 => drop(bytes.drain(at..end)),
                _ => drop(bytes.splice(at..at, input[at.min(input.len())..end.min(input.len())].to_vec())),
            }
        }
        bytes
    }

    /// Xorshift (Marsaglia, 2003): the same numbers on every run.
    struct Random(u64);

    impl Random {
        fn below(&mut self, bound: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 % bound as u64) as usize
        }
    }
}
