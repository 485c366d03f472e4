use super::*;
use proptest::prelude::*;

const TYPE: &str = "multipart/form-data; boundary=b-1";
const KEY: &str = "--b-1\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nk/${filename}\r\n";
const FILE: &str = "--b-1\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.png\"\r\n\r\n";
const END: &str = "\r\n--b-1--\r\n";

fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Segment>, FormError> {
    let mut form = Form::new(TYPE).unwrap();
    let mut segments = Vec::new();
    for piece in pieces {
        form.push(Bytes::copy_from_slice(piece), &mut segments)?;
    }
    form.finish(&mut segments)?;
    Ok(segments)
}

/// Frames, payload and all wire bytes.
type Summary = (Vec<Mark>, Vec<u8>, Vec<u8>);

fn summary(segments: Vec<Segment>) -> Summary {
    let (mut marks, mut payload, mut wire) = (Vec::new(), Vec::new(), Vec::new());
    for segment in segments {
        match segment {
            Segment::Payload(bytes) => {
                payload.extend_from_slice(&bytes);
                wire.extend_from_slice(&bytes);
            }
            Segment::Frame(bytes, mark) => {
                wire.extend_from_slice(&bytes);
                marks.push(mark);
            }
        }
    }
    (marks, payload, wire)
}

/// Reads `body` whole, byte by byte and cut in two everywhere, which must come to the same.
fn outcome(body: &[u8]) -> Result<Summary, FormError> {
    let whole = read([body]).map(summary);
    assert_eq!(whole, read(body.chunks(1)).map(summary), "{}", body.escape_ascii());
    for at in 0..body.len() {
        let (before, behind) = body.split_at(at);
        assert_eq!(whole, read([before, behind]).map(summary), "cut at {at}");
    }
    whole
}

fn refused(body: &str) -> FormError {
    outcome(body.as_bytes()).unwrap_err()
}

#[test]
fn a_form_is_split_into_fields_payload_and_end() {
    for payload in ["", "x", "\r\n", "\r", "--b-", "\r\n--b-", "a--b-1 is no line", "-----b-1-"] {
        for end in [END, "\r\n--b-1--"] {
            let body = format!("{KEY}{FILE}{payload}{end}");
            let (marks, read, wire) = outcome(body.as_bytes()).unwrap();
            assert_eq!((read, wire), (payload.as_bytes().to_vec(), body.into_bytes()));
            let [Mark::Fields(fields), Mark::End(_)] = &marks[..] else { panic!("{marks:?}") };
            assert_eq!((fields.get("key"), fields.filename.as_deref()), (Some("k/${filename}"), Some("a.png")));
        }
    }
}

#[test]
fn what_parsers_read_differently_is_refused() {
    let part = |headers: &str| refused(&format!("--b-1\r\n{headers}\r\n\r\nx{END}"));
    let decoy = FILE.replace("\"file\"", "\"File\"");
    use FormError::*;
    assert_eq!(refused(&format!("{decoy}x\r\n{FILE}y{END}")), Duplicate, "a decoy");
    assert_eq!(refused(&format!("{FILE}x\r\n{FILE}y{END}")), PartAfterFile, "file twice");
    assert_eq!(refused(&format!("{FILE}x\r\n{KEY}--b-1--\r\n")), PartAfterFile, "text behind the file");
    assert_eq!(refused(&format!("{KEY}{KEY}{FILE}x{END}")), Duplicate, "a field twice");
    assert_eq!(refused(&format!("{KEY}--b-1--\r\n")), NoFile);
    assert_eq!(refused(&format!("preamble\r\n{FILE}x{END}")), Delimiter);
    assert_eq!(refused(&format!("{FILE}x{END}padding")), AfterEnd);
    assert_eq!(refused(&format!("{FILE}x")), Truncated);
    assert_eq!(refused(&format!("{FILE}x\r\n--b-1-")), Truncated);
    for like in ["--b-1--", "x\n--b-1--", "x\r--b-1--", "x\r\n--b-1 \r\n", "x\r\n--b-12"] {
        assert_eq!(refused(&format!("{FILE}{like}{END}")), Delimiter, "{like:?}");
    }
    let file = "Content-Disposition: form-data; name=\"file\"";
    for headers in [
        &format!("{file}\r\nContent-Transfer-Encoding: quoted-printable"),
        &format!("{file}\r\nContent-Transfer-Encoding: base64"),
        &format!("{file}\r\nContent-Type: multipart/mixed; boundary=c"),
        &format!("{file}; filename*=UTF-8''a"),
        &format!("{file}; name=\"key\""),
        &format!("{file}; filename=\"a\\\"b\""),
        &format!("{file};\r\n filename=\"a\""),
        &format!("{file}\nX: y"),
        &format!("{file}\r\n{file}"),
        &format!("{file}\r\nX y: z"),
        "Content-Disposition: form-data; name=\"key\"; filename=\"a\"",
        "Content-Type: text/plain",
    ] {
        assert_eq!(part(headers), PartHeaders, "{headers:?}");
    }
}

#[test]
fn fields_and_part_headers_are_bounded() {
    let field = |size| KEY.replace("k/${filename}", &"x".repeat(size));
    let once = |body: String| read([body.as_bytes()]).map(|_| ());
    assert_eq!(once(format!("{}{FILE}x{END}", field(FIELDS_MAX - 3))), Ok(()));
    assert_eq!(once(format!("{}{FILE}x{END}", field(FIELDS_MAX - 2))), Err(FormError::Fields));
    assert_eq!(once(field(HEAD_MAX)), Err(FormError::Fields));
    assert_eq!(once(format!("--b-1\r\n{}", "x".repeat(PART_HEADERS_MAX + 1))), Err(FormError::PartHeaders));
}

#[test]
fn a_content_type_has_one_plain_boundary() {
    let longest = "x".repeat(BOUNDARY_MAX);
    for good in ["x", "\"a b\"", longest.as_str()] {
        Form::new(&format!("Multipart/Form-Data; boundary={good}")).unwrap();
    }
    for bad in
        ["", "\"\"", "\"a \"", "a; boundary=b", "a; Boundary=a", "\"a\\b\"", "a@b", "a b", &format!("{longest}x")]
    {
        let found = Form::new(&format!("multipart/form-data; boundary={bad}"));
        assert_eq!(found.unwrap_err(), FormError::ContentType, "{bad:?}");
    }
    assert_eq!(Form::new("multipart/mixed; boundary=a").unwrap_err(), FormError::ContentType);
}

proptest! {
    /// Bytes that look like boundaries come often; no split changes what is read.
    #[test]
    fn no_split_changes_the_result(words in prop::collection::vec("[\r\n-]{0,3}|--b-1|\r\n--b-1|[a-b1]{0,3}", 0..8)) {
        let body = format!("{KEY}{FILE}{}{END}", words.concat());
        if let Ok((_, _, wire)) = outcome(body.as_bytes()) {
            prop_assert_eq!(wire, body.into_bytes());
        }
    }
}
