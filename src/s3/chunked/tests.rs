use super::*;
use proptest::prelude::*;

const SIGNATURE: &str = "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648";

/// How a framer is set up, so that a test can do it again.
#[derive(Clone, Copy, Debug)]
struct Setup {
    signing: Signing,
    declared: u64,
    trailers: Option<&'static [&'static str]>,
}

const UNSIGNED: Setup = Setup { signing: Signing::Unsigned, declared: 0, trailers: Some(&["x-amz-checksum-crc32c"]) };
const SIGNED: Setup = Setup { signing: Signing::V4, declared: 0, trailers: None };

impl Setup {
    fn declaring(self, declared: u64) -> Setup {
        Setup { declared, ..self }
    }

    fn announcing(self, trailers: &'static [&'static str]) -> Setup {
        Setup { trailers: Some(trailers), ..self }
    }

    /// The segments of a whole body that comes in `pieces`.
    fn read<'a>(self, pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Segment>, FramingError> {
        let names = |names: &[&str]| names.iter().map(|name| name.to_string()).collect();
        let mut framer = Framer::chunked(self.signing, self.declared, self.trailers.map(names));
        let mut segments = Vec::new();
        for piece in pieces {
            framer.push(Bytes::copy_from_slice(piece), &mut segments)?;
        }
        framer.finish(&mut Vec::new())?;
        Ok(segments)
    }

    /// Reads `body` whole and byte by byte, which must come to the same.
    fn outcome(self, body: &str) -> Result<Vec<Segment>, FramingError> {
        let whole = self.read([body.as_bytes()]);
        let bytes = self.read(body.as_bytes().chunks(1));
        assert_eq!(whole.clone().map(joined), bytes.map(joined), "{body:?}");
        whole
    }
}

/// Neighbouring pieces of payload joined: what no split may change.
fn joined(segments: Vec<Segment>) -> Vec<Segment> {
    let mut out: Vec<Segment> = Vec::new();
    for segment in segments {
        match (out.last_mut(), segment) {
            (Some(Segment::Payload(before)), Segment::Payload(more)) => {
                *before = [&before[..], &more[..]].concat().into();
            }
            (_, segment) => out.push(segment),
        }
    }
    out
}

fn payload(segments: &[Segment]) -> String {
    let bytes: Vec<u8> = segments
        .iter()
        .filter_map(|segment| match segment {
            Segment::Payload(bytes) => Some(bytes.to_vec()),
            Segment::Frame(..) => None,
        })
        .flatten()
        .collect();
    String::from_utf8(bytes).unwrap()
}

fn trailers(segments: &[Segment]) -> &Trailers {
    match segments.last() {
        Some(Segment::Frame(_, Mark::End(trailers))) => trailers,
        other => panic!("{other:?}"),
    }
}

fn small_body() -> String {
    format!(
        "6;chunk-signature={SIGNATURE}\r\nhello \r\nA;chunk-signature={SIGNATURE}\r\n0123456789\r\n\
         0;chunk-signature={SIGNATURE}\r\nx-amz-checksum-crc32c:AAAAAA==\r\nx-amz-trailer-signature:{SIGNATURE}\r\n\r\n"
    )
}

fn small_setup() -> Setup {
    SIGNED.declaring(16).announcing(&["x-amz-checksum-crc32c"])
}

#[test]
fn segments_put_together_are_the_wire_bytes() {
    let body = small_body();
    let segments = small_setup().outcome(&body).unwrap();
    let wire: Vec<u8> = segments.iter().flat_map(|segment| segment.wire().to_vec()).collect();
    assert_eq!(wire, body.as_bytes());
    assert_eq!(payload(&segments), "hello 0123456789");
    assert_eq!(
        *trailers(&segments),
        Trailers {
            fields: vec![("x-amz-checksum-crc32c".to_owned(), "AAAAAA==".to_owned())],
            signature: Some(SIGNATURE.to_owned()),
        }
    );
    assert!(matches!(&segments[0], Segment::Frame(_, Mark::ChunkStart { size: 6, signature: Some(_) })));
    assert!(matches!(&segments[2], Segment::Frame(_, Mark::ChunkEnd)));
}

#[test]
fn good_size_lines() {
    for (line, size) in [("5", 5), ("a", 10), ("A", 10), ("1F", 31), ("10", 16), ("00000005", 0)] {
        let body = format!("{line}\r\n{}\r\n0\r\nx-amz-checksum-crc32c:A\r\n\r\n", "x".repeat(size));
        let outcome = UNSIGNED.declaring(size as u64).outcome(&body);
        match size {
            0 => assert_eq!(outcome, Err(FramingError::SizeLine), "a leading zero"),
            _ => assert_eq!(payload(&outcome.unwrap()).len(), size),
        }
    }
    let empty = UNSIGNED.outcome("0\r\nx-amz-checksum-crc32c:A\r\n\r\n").unwrap();
    assert_eq!(payload(&empty), "");
}

/// What `strtoull`, an eight-digit reader and a lenient line reader would each take for some number.
#[test]
fn bad_size_lines() {
    for line in [
        "",
        " 5",
        "5 ",
        "+5",
        "-5",
        "0x5",
        "05",
        "00",
        "000000005",
        "100000000",
        "5zz",
        "5;",
        "5;a=b",
        "5\t",
        "5\r",
        "\u{0665}",
        "5;chunk-signature=",
        "FFFFFFFFFFFFFFFFF",
        ";",
        "\0",
        "5,5",
        "5_0",
    ] {
        let body = format!("{line}\r\nhello\r\n0\r\nx-amz-checksum-crc32c:A\r\n\r\n");
        assert_eq!(UNSIGNED.declaring(5).outcome(&body), Err(FramingError::SizeLine), "{line:?}");
    }
    for line in ["5\n", "5\n\r\n", "\r\n5\r\n"] {
        assert_eq!(UNSIGNED.declaring(5).outcome(&format!("{line}hello")), Err(FramingError::SizeLine), "{line:?}");
    }
}

#[test]
fn bad_signed_size_lines() {
    let upper = SIGNATURE.to_uppercase();
    for line in [
        "5".to_owned(),
        "5;".to_owned(),
        "5;chunk-signature=".to_owned(),
        format!("5;chunk-signature={}", &SIGNATURE[1..]),
        format!("5;chunk-signature={SIGNATURE}0"),
        format!("5;chunk-signature={upper}"),
        format!("5; chunk-signature={SIGNATURE}"),
        format!("5;chunk-signature= {SIGNATURE}"),
        format!("5;Chunk-Signature={SIGNATURE}"),
        format!("5;chunk-signature={SIGNATURE};x=y"),
        format!("5;x=y;chunk-signature={SIGNATURE}"),
        format!("5;chunk-signature={SIGNATURE} "),
        format!("05;chunk-signature={SIGNATURE}"),
        format!(";chunk-signature={SIGNATURE}"),
        format!("5;chunk-signature={}", "*".repeat(64)),
    ] {
        let body = format!("{line}\r\nhello\r\n");
        assert_eq!(SIGNED.declaring(5).outcome(&body), Err(FramingError::SizeLine), "{line:?}");
    }
}

/// A size line that never ends is not collected.
#[test]
fn a_size_line_is_bounded() {
    for len in [SIZE_LINE_MAX, SIZE_LINE_MAX + 1, 1 << 20] {
        assert_eq!(SIGNED.declaring(5).read([&vec![b'1'; len][..]]), Err(FramingError::SizeLine));
        assert_eq!(SIGNED.declaring(5).read(vec![b'1'; len].chunks(1)), Err(FramingError::SizeLine));
    }
}

/// SigV4A signatures are of any even length up to 144 digits, filled up with asterisks.
#[test]
fn sigv4a_signatures() {
    let setup = Setup { signing: Signing::V4a, ..SIGNED };
    let line = |signature: &str| format!("0;chunk-signature={signature}\r\n\r\n");
    for digits in [138, 140, 142, 144] {
        let signature = format!("{:*<144}", "3a".repeat(digits / 2));
        assert!(setup.outcome(&line(&signature)).is_ok(), "{digits}");
    }
    let full = "3a".repeat(72);
    for signature in [
        SIGNATURE.to_owned(),
        full[1..].to_owned(),
        format!("{full}*"),
        format!("*{}", &full[1..]),
        format!("3*{}", &full[2..]),
        full.to_uppercase(),
        "*".repeat(144),
    ] {
        assert_eq!(setup.outcome(&line(&signature)), Err(FramingError::SizeLine), "{signature}");
    }
}

#[test]
fn chunks_end_where_they_say() {
    for body in ["5\r\nhello0\r\n", "5\r\nhello\n0\r\n", "5\r\nhello\r0\r\n", "5\r\nhelloo\r\n", "4\r\nhello\r\n"] {
        assert_eq!(UNSIGNED.declaring(5).outcome(body), Err(FramingError::ChunkEnd), "{body:?}");
    }
}

/// The sum of the chunks is the declared length, and it is noticed before the first byte too many.
#[test]
fn the_declared_length_holds() {
    let body = "5\r\nhello\r\n5\r\nworld\r\n0\r\nx-amz-checksum-crc32c:A\r\n\r\n";
    assert!(UNSIGNED.declaring(10).outcome(body).is_ok());
    assert_eq!(UNSIGNED.declaring(9).outcome(body), Err(FramingError::TooLong));
    assert_eq!(UNSIGNED.declaring(5).outcome(body), Err(FramingError::TooLong));
    assert_eq!(UNSIGNED.declaring(11).outcome(body), Err(FramingError::TooShort));
    assert_eq!(UNSIGNED.declaring(u64::MAX).outcome(body), Err(FramingError::TooShort));

    let mut framer = Framer::chunked(Signing::Unsigned, 9, None);
    let mut segments = Vec::new();
    framer.push(Bytes::from(body), &mut segments).unwrap_err();
    assert_eq!(payload(&segments), "hello", "nothing of the chunk that is too long");
}

#[test]
fn truncated_anywhere() {
    let body = small_body();
    for len in 0..body.len() {
        assert_eq!(small_setup().outcome(&body[..len]), Err(FramingError::Truncated), "{len} bytes");
    }
}

#[test]
fn bytes_behind_the_end() {
    for more in ["\r\n", "x", "0\r\n\r\n", "\0"] {
        assert_eq!(small_setup().outcome(&(small_body() + more)), Err(FramingError::AfterEnd), "{more:?}");
    }
}

fn with_end(end: &str) -> Result<Vec<Segment>, FramingError> {
    UNSIGNED.outcome(&format!("0\r\n{end}"))
}

#[test]
fn good_trailers() {
    for (end, value) in [
        ("x-amz-checksum-crc32c:AAAAAA==\r\n\r\n", "AAAAAA=="),
        ("X-Amz-Checksum-CRC32C:  AAAAAA== \r\n\r\n", "AAAAAA=="),
        // Some clients leave a line feed behind the value.
        ("x-amz-checksum-crc32c:AAAAAA==\n\r\n\r\n", "AAAAAA=="),
        ("x-amz-checksum-crc32c:a:b\r\n\r\n", "a:b"),
        ("x-amz-checksum-crc32c:\r\n\r\n", ""),
    ] {
        let segments = with_end(end).unwrap();
        assert_eq!(trailers(&segments).fields, [("x-amz-checksum-crc32c".to_owned(), value.to_owned())]);
    }
    let two = UNSIGNED.announcing(&["a", "b"]).outcome("0\r\nb:1\r\na:2\r\n\r\n").unwrap();
    assert_eq!(trailers(&two).fields.len(), 2);
    assert_eq!(
        *trailers(&SIGNED.outcome(&format!("0;chunk-signature={SIGNATURE}\r\n\r\n")).unwrap()),
        Trailers::default()
    );
}

#[test]
fn bad_trailers() {
    let signed = format!("x-amz-checksum-crc32c:A\r\nx-amz-trailer-signature:{SIGNATURE}\r\n\r\n");
    for end in [
        "\r\n",
        "x-amz-checksum-crc32:A\r\n\r\n",
        "x-amz-checksum-crc32c:A\r\nx-amz-checksum-crc32c:A\r\n\r\n",
        "x-amz-checksum-crc32c:A\r\nother:B\r\n\r\n",
        "x-amz-checksum-crc32c\r\n\r\n",
        "x-amz-checksum-crc32c :A\r\n\r\n",
        " x-amz-checksum-crc32c:A\r\n\r\n",
        ":A\r\n\r\n",
        "x_amz_checksum_crc32c:A\r\n\r\n",
        "x-amz-checksum-crc32c:A\n\n\r\n\r\n",
        "x-amz-checksum-crc32c:A\nB\r\n\r\n",
        "x-amz-checksum-crc32c:A\rB\r\n\r\n",
        "x-amz-checksum-crc32c:A\0\r\n\r\n",
        "x-amz-checksum-crc32c:\u{e9}\r\n\r\n",
        "x-amz-checksum-crc32c:A\r\n folded\r\n\r\n",
        signed.as_str(),
    ] {
        assert_eq!(with_end(end), Err(FramingError::Trailer), "{end:?}");
    }
    // Without its last line, or with line feeds alone, it has not ended yet.
    for end in ["x-amz-checksum-crc32c:A\r\n", "x-amz-checksum-crc32c:A\n\n", "\n"] {
        assert_eq!(with_end(end), Err(FramingError::Truncated), "{end:?}");
    }
}

#[test]
fn signed_trailers_end_with_their_signature() {
    let setup = SIGNED.announcing(&["a"]);
    let read = |trailers: &str| setup.outcome(&format!("0;chunk-signature={SIGNATURE}\r\n{trailers}\r\n"));
    let signature = format!("x-amz-trailer-signature:{SIGNATURE}\r\n");
    assert!(read(&format!("a:1\r\n{signature}")).is_ok());
    for trailers in [
        "a:1\r\n".to_owned(),
        signature.clone(),
        format!("{signature}a:1\r\n"),
        format!("a:1\r\n{signature}{signature}"),
        format!("a:1\r\n{}", signature.to_uppercase()),
        "a:1\r\nx-amz-trailer-signature:abc\r\n".to_owned(),
    ] {
        assert_eq!(read(&trailers), Err(FramingError::Trailer), "{trailers:?}");
    }
}

/// Modes without a trailer end with CRLF and nothing else.
#[test]
fn trailers_that_nobody_announced() {
    let body = format!("0;chunk-signature={SIGNATURE}\r\na:1\r\n\r\n");
    assert_eq!(SIGNED.outcome(&body), Err(FramingError::Trailer));
}

#[test]
fn trailers_are_bounded() {
    let long = format!("x-amz-checksum-crc32c:{}\r\n\r\n", "A".repeat(TRAILERS_MAX));
    assert_eq!(with_end(&long), Err(FramingError::Trailer));
    let endless = "A".repeat(TRAILERS_MAX + 1);
    assert_eq!(with_end(&endless), Err(FramingError::Trailer));
}

#[test]
fn a_raw_body_keeps_its_length() {
    let read = |length: Option<u64>, pieces: &[&'static str]| {
        let mut framer = Framer::raw(length);
        let mut segments = Vec::new();
        for piece in pieces {
            framer.push(Bytes::from_static(piece.as_bytes()), &mut segments)?;
        }
        framer.finish(&mut Vec::new()).map(|()| payload(&segments))
    };
    assert_eq!(read(Some(5), &["he", "", "llo"]).as_deref(), Ok("hello"));
    assert_eq!(read(None, &["he", "llo"]).as_deref(), Ok("hello"));
    assert_eq!(read(Some(0), &[]).as_deref(), Ok(""));
    assert_eq!(read(Some(6), &["hello"]), Err(FramingError::TooShort));
    assert_eq!(read(Some(4), &["he", "llo"]), Err(FramingError::TooLong));
}

proptest! {
    #[test]
    fn any_split_gives_the_same_segments(cuts in proptest::collection::vec(0..400_usize, 0..12)) {
        let body = small_body();
        let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut < body.len()).chain([0, body.len()]).collect();
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|pair| &body.as_bytes()[pair[0]..pair[1]]);
        let whole = small_setup().read([body.as_bytes()]).map(joined);
        prop_assert_eq!(small_setup().read(pieces).map(joined), whole);
    }
}
