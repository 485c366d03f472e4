//! Every format by its fixture in `tests/data/lists`, whose digests are those of `hashgate sample N`; and the traps.

use super::*;
use std::path::Path;
use time::macros::datetime;

fn options(kind: Option<Kind>) -> Options {
    Options { format: None, kind, columns: None, now: datetime!(2026-01-01 00:00:00 UTC) }
}

fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/lists").join(name);
    std::fs::read(path).unwrap()
}

fn read_bytes(name: &str, bytes: &[u8], options: &Options) -> io::Result<(Vec<String>, Fed)> {
    let mut items = Vec::new();
    let fed = read(bytes, name, options, &mut |_, item| {
        items.push(show(&item));
        Ok(())
    })?;
    Ok((items, fed))
}

/// An item in one line: which sample's digests, and what else is known.
fn show(item: &Item) -> String {
    let entry = match item {
        Item::Removed(id) => return format!("-{id}"),
        Item::Entry(entry) => entry,
    };
    let sample = |digest: &Digest| {
        (0..10).find(|n| {
            let digests = crate::digest::Digests::of(format!("hashgate sample {n}").as_bytes());
            digests.get(digest.algorithm()) == Some(*digest)
        })
    };
    let digests: Vec<String> = entry
        .digests
        .iter()
        .map(|digest| format!("{}{}", digest.algorithm().tag(), sample(digest).map_or("?".into(), |n| n.to_string())))
        .collect();
    let or_dash = |text: &Option<String>| text.clone().unwrap_or("-".into());
    let size = entry.size.map_or("-".to_owned(), |size| size.to_string());
    format!("{} {} {} {size}", digests.join("+"), or_dash(&entry.category), or_dash(&entry.id))
}

/// Name, format, kind that was said, items, bad places, records passed over.
type Row = (&'static str, Format, Option<Kind>, &'static [&'static str], u64, u64);

const GOOD: Option<Kind> = Some(Kind::KnownGood);

const FIXTURES: &[Row] = &[
    ("icse.csv", Format::IcseCsv, None, &["MD50+SHA10 icse:baseline 1001 -", "MD51 icse:other 1002 -"], 0, 0),
    (
        "vics-2.0.json",
        Format::VicsJson,
        None,
        &["MD51+SHA11 vics:1 1 1001", "MD52+SHA12 vics:2 2 1002", "-3", "-4", "MD56 vics:1 6 -"],
        0,
        3,
    ),
    ("vics-1.3.json", Format::VicsJson, None, &["MD51+SHA11 vics:1 1 1001"], 0, 0),
    ("vics-case.json", Format::VicsJson, None, &["MD51+SHA11 vics:1 1/1 1001", "-1/3"], 0, 1),
    ("caid.json", Format::CaidJson, GOOD, &["MD51+SHA11 caid:0 1 2048"], 0, 0),
    (
        "ncmec.xml",
        Format::NcmecXml,
        None,
        &["MD51+SHA11 ncmec:A1 42/img1 -", "-42/img2", "-43/img4", "MD52 ncmec:B2 42/v1 -"],
        0,
        1,
    ),
    ("threatexchange.txt", Format::ThreatExchangeFile, None, &["MD51 - - -", "SHA2562 - - -"], 0, 1),
    ("threatexchange.json", Format::ThreatExchangeJson, None, &["MD51 - 1 -"], 0, 2),
    ("tat.json", Format::TatJson, None, &["SHA11 tat:synthetic 1 -", "-2"], 0, 1),
    ("signatures.hdb", Format::ClamAv, None, &["MD51 - - 17387", "MD52 - - -"], 1, 0),
    ("signatures.hsb", Format::ClamAv, None, &["SHA11 - - 20", "SHA2562 - - -"], 0, 0),
    (
        "stix.json",
        Format::Stix,
        None,
        &[
            "MD51+SHA11+SHA2561 - file--1 19",
            "SHA2562 - indicator--2/1 -",
            "MD53 - indicator--2/2 -",
            "-indicator--3/1",
            "-indicator--3",
            "-indicator--4/1",
            "-indicator--4",
        ],
        1,
        1,
    ),
    ("misp-event.json", Format::MispEvent, None, &["SHA2561 - a1 -", "MD52 - a2 -", "-a4", "SHA15 - a5 -"], 0, 1),
    ("misp-warninglist.json", Format::MispWarninglist, None, &["MD51 - - -"], 0, 2),
    ("nsrl.csv", Format::NsrlCsv, GOOD, &["SHA11+MD51 - - 19"], 0, 0),
];

#[test]
fn every_fixture_is_found_out_and_read() {
    for (name, format, kind, items, bad, passed_over) in FIXTURES {
        let bytes = fixture(name);
        assert_eq!(Format::detect(name, &bytes[..bytes.len().min(4096)]), Some(*format), "{name}");
        for format in [None, Some(*format)] {
            let options = Options { format, ..options(*kind) };
            let (read, fed) = read_bytes(name, &bytes, &options).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(read, *items, "{name}");
            assert_eq!((fed.bad_lines, fed.passed_over), (*bad, *passed_over), "{name}: {fed:?}");
        }
        // CRLF for LF changes nothing but lines of text; a byte order mark never does.
        let marked = [b"\xef\xbb\xbf", bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes)].concat();
        assert_eq!(read_bytes(name, &marked, &options(*kind)).unwrap().0, *items, "{name} with a mark");
    }
    let (_, fed) = read_bytes("ncmec.xml", &fixture("ncmec.xml"), &options(None)).unwrap();
    assert_eq!(fed.next.as_deref(), Some("/v2/entries?from=a&start=2001"));
    assert_eq!(fed.newest.as_deref(), Some("2024-01-02T03:04:05Z"));
    // Every digest of a StopNCII record is its id, so it is looked at apart.
    let (items, fed) = read_bytes("stopncii.json", &fixture("stopncii.json"), &options(None)).unwrap();
    assert!(items[0].starts_with("MD51 - ") && items[1].starts_with('-') && items.len() == 2, "{items:?}");
    assert_eq!(fed.passed_over, 1);
}

/// NSRL RDS 3: found out by its first bytes, read in place, and from a stream not at all.
#[test]
fn a_database_of_harmless_files() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/lists/nsrl.db");
    let mut items = Vec::new();
    let fed = read_file(&path, &options(GOOD), &mut |_, item| {
        items.push(show(&item));
        Ok(())
    })
    .unwrap();
    assert_eq!(items, ["SHA2561+SHA11+MD51 - - 19", "SHA12+MD52 - - 19"]);
    assert_eq!((fed.format.as_str(), fed.bad_lines), ("nsrl-sqlite", 1));
    let error = read_bytes("nsrl.db", &fixture("nsrl.db"), &options(GOOD)).unwrap_err();
    assert!(error.to_string().contains("in place"), "{error}");
}

#[test]
fn a_house_format_by_its_columns() {
    let columns = "md5=HASH_md5, sha256=hash_sha256,category=severity,id=id";
    let options = Options { columns: Some(columns.into()), ..options(None) };
    let (items, fed) = read_bytes("house.csv", &fixture("house.csv"), &options).unwrap();
    assert_eq!(items, ["MD50+SHA2560 csv:A 1 -", "MD51 house:B 2 -"]);
    assert_eq!(fed.bad_lines, 2);
    assert!(fed.first_bad.iter().all(|(_, why)| !why.contains("nonsense")));
    for (columns, what) in
        [("md5", "not what=column"), ("name=x", "none of"), ("size=x", "which column"), ("md5=absent", "no column")]
    {
        let options = Options { columns: Some(columns.into()), ..options.clone() };
        let error = read_bytes("house.csv", &fixture("house.csv"), &options).unwrap_err();
        assert!(error.to_string().contains(what), "{columns}: {error}");
    }
}

/// The shape of a list does not say whether it is good or bad, or says it once and for all.
#[test]
fn good_and_bad_are_not_mixed_up() {
    for (name, kind) in [("caid.json", None), ("nsrl.csv", None), ("nsrl.csv", Some(Kind::KnownBad))] {
        let error = read_bytes(name, &fixture(name), &options(kind)).unwrap_err();
        assert!(error.to_string().contains("--kind"), "{name}: {error}");
    }
    let signatures = fixture("signatures.hdb");
    assert!(read_bytes("x.fp", &signatures, &options(None)).is_err());
    assert!(read_bytes("x.fp", &signatures, &options(GOOD)).is_ok());
    for name in ["x.mdb", "x.MSB", "x.imp"] {
        let error = read_bytes(name, &signatures, &options(GOOD)).unwrap_err();
        assert!(error.to_string().contains("not of whole files"), "{error}");
    }
}

#[test]
fn traps() {
    // Entities make nothing, and a bomb of them is refused.
    let bomb = b"<!DOCTYPE x [<!ENTITY a \"aaaaaaaa\"><!ENTITY b \"&a;&a;\">]><queryResult>&b;</queryResult>";
    assert!(read_bytes("x.xml", bomb, &options(None)).unwrap_err().to_string().contains("document type"));
    for (name, bytes) in
        [("x.xml", &b"<queryResult><images><image>"[..]), ("stix.json", b"{\"type\":\"bundle\",\"objects\":[{")]
    {
        assert!(read_bytes(name, bytes, &options(None)).is_err(), "{name}");
    }
    // Base32, as Project Arachnid writes SHA-1.
    let digest = crate::digest::Digests::of(b"hashgate sample 1").sha1.unwrap();
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let bits: String = digest.iter().map(|byte| format!("{byte:08b}")).collect();
    let text: String =
        (0..32).map(|n| alphabet[usize::from_str_radix(&bits[n * 5..n * 5 + 5], 2).unwrap()] as char).collect();
    let csv = format!("h\n{text}\n{}\nnull\n", text.replace('A', "1"));
    let options = Options { columns: Some("sha1=h".into()), ..options(None) };
    let (items, _) = read_bytes("x.csv", csv.as_bytes(), &options).unwrap();
    assert_eq!(items[0], "SHA11 - - -");
    // A line that never ends.
    let long = [b"h\n", &vec![b'a'; 3 << 20][..]].concat();
    assert!(read_bytes("x.csv", &long, &options).unwrap_err().to_string().contains("longer than 1 MiB"));
}

/// A token ends, or reading does: whatever a reader would keep of an endless one would end the machine's memory.
#[test]
fn what_never_ends_is_refused() {
    for (format, begin, forever) in [
        (Format::Csv, "md5\n\"", "x"),
        (Format::Csv, "md5\n\"", "x\n"),
        (Format::IcseCsv, "md5;sha1;baseline\n\"", "x\n"),
        (Format::NsrlCsv, "\"SHA-1\",\"MD5\",\"FileSize\"\n", "x"),
        (Format::ThreatExchangeFile, "md5 ", "x"),
        (Format::ClamAv, "", "0"),
        (Format::NcmecXml, "<queryResult><images><image><id>", "x"),
        (Format::NcmecXml, "<queryResult><images><image a=\"", "x"),
        (Format::NcmecXml, "<queryResult><!-- ", "x"),
        (Format::NcmecXml, "", "<image>"),
        (Format::VicsJson, "{\"value\":[{\"MD5\":\"", "x"),
        (Format::VicsJson, "{\"value\":[{\"", "x"),
        (Format::VicsJson, "{\"value\":", "["),
        (Format::VicsJson, "{\"value\":[{\"Exifs\":", "{\"a\":"),
        (
            Format::MispEvent,
            "{\"Event\":{\"Object\":[{\"Attribute\":[",
            "{\"type\":\"md5\",\"value\":\"xxxxxxxxxxxxxx\"},",
        ),
    ] {
        let mut forever = forever.bytes().cycle();
        let forever = std::iter::repeat_with(move || forever.next().unwrap_or_default());
        let source = io::BufReader::new(io::Read::chain(begin.as_bytes(), Bytes(forever)));
        let options = Options { format: Some(format), columns: Some("md5=md5".into()), ..options(GOOD) };
        let error = read(source, "x", &options, &mut |_, _| Ok(())).unwrap_err().to_string();
        assert!(error.contains("longer than 1 MiB") || error.contains("too deep"), "{format:?} {begin}: {error}");
    }
}

/// Bytes as they come out of an iterator.
struct Bytes<I>(I);

impl<I: Iterator<Item = u8>> io::Read for Bytes<I> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(buffer.iter_mut().zip(&mut self.0).map(|(to, byte)| *to = byte).count())
    }
}

/// Digests of sample 1 and 2, in hexadecimal.
fn md5(sample: u8) -> String {
    crate::digest::Digests::of(format!("hashgate sample {sample}").as_bytes()).get(Algorithm::Md5).unwrap().to_hex()
}

fn items(format: Format, text: &str) -> (Vec<String>, Fed) {
    let options = Options { format: Some(format), ..options(None) };
    read_bytes("x", text.as_bytes(), &options).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// 0 is known and harmless, 5 is not categorised, however they are written; and what becomes one is no entry any more.
#[test]
fn vics_categories_that_are_never_bad() {
    let medium =
        |category: &str| format!("{{\"value\":[{{\"MediaID\":7,\"Category\":{category},\"MD5\":\"{}\"}}]}}", md5(1));
    for category in ["0", "5", "0.0", "5.0", "5e0", "-0", "\"0\"", "\" 5 \"", "\"00\"", "\"\"", "null", "[1]", "true"] {
        let (items, fed) = items(Format::VicsJson, &medium(category));
        assert_eq!((items, fed.passed_over, fed.bad_lines), (vec!["-7".to_owned()], 1, 0), "{category}");
    }
    for category in ["-1", "1.5", "\"NaN\"", "\"inf\"", "\"baseline\""] {
        let (items, fed) = items(Format::VicsJson, &medium(category));
        assert_eq!((items.len(), fed.bad_lines), (0, 1), "{category}");
    }
    for category in ["2", "2.0", "\"02\"", "\" 2\""] {
        assert_eq!(items(Format::VicsJson, &medium(category)).0, ["MD51 vics:2 7 -"], "{category}");
    }
    assert_eq!(items(Format::VicsJson, &medium("1").replace("\"Category\":1,", "")).0, ["-7"]);
}

/// What says how a value is to be read may stand behind it.
#[test]
fn what_governs_may_come_last() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("list.json");
    let many = format!("{{\"MediaID\":1,\"Category\":1,\"MD5\":\"{}\"}},", md5(1)).repeat(10_000);
    let write = |context: &str| {
        let value = many.trim_end_matches(',');
        std::fs::write(&path, format!("{{\"value\":[{value}],\"odata.metadata\":\"{context}#Media\"}}")).unwrap();
    };
    let mut count = 0;
    let mut read = |kind| {
        read_file(&path, &options(kind), &mut |_, _| {
            count += 1;
            Ok(())
        })
    };
    write("http://github.com/ICMEC/ProjectVic/DataModels/1.3.xml");
    assert_eq!(read(None).unwrap().format, "vics-json");
    write("http://github.com/ICMEC/ProjectVic/DataModels/1.2.xml");
    assert!(read(None).unwrap_err().to_string().contains("say --kind"), "good or bad: the shape does not say");
    assert_eq!(read(GOOD).unwrap().format, "caid-json");
    write("http://example.test/1.0.xml");
    assert!(read(GOOD).unwrap_err().to_string().contains("name the format"));
    assert_eq!(count, 20_000);
    // A stream cannot be read twice.
    let bytes = std::fs::read(&path).unwrap();
    assert!(read_bytes("list.json", &bytes, &options(GOOD)).unwrap_err().to_string().contains("name the format"));

    let attribute =
        |id: &str| format!("{{\"uuid\":\"{id}\",\"to_ids\":\"1\",\"value\":\"{}\",\"type\":\"md5\"}}", md5(1));
    let object = |deleted: &str| format!("{{\"Attribute\":[{}],\"deleted\":{deleted}}}", attribute("a"));
    let event = format!(
        "{{\"response\":[{{\"Event\":{{\"Object\":[{},{}],\"Attribute\":[{}]}}}}]}}",
        object("true"),
        object("\"0\""),
        attribute("b")
    );
    assert_eq!(items(Format::MispEvent, &event).0, ["-a", "MD51 - a -", "MD51 - b -"]);
}

/// Media of two cases have the same numbers and are not the same.
#[test]
fn cases_count_their_media_anew() {
    let case = |sample| {
        format!("{{\"Media\":[{{\"MediaID\":1,\"Category\":1,\"MD5\":\"{}\"}}],\"CaseID\":\"c\"}}", md5(sample))
    };
    let text = format!("{{\"value\":[{},{}]}}", case(1), case(2));
    assert_eq!(items(Format::VicsJson, &text).0, ["MD51 vics:1 1/1 -", "MD52 vics:1 2/1 -"]);
}

/// A later version of an indicator takes back what an earlier one said.
#[test]
fn indicators_are_taken_back() {
    let indicator = |more: &str| {
        format!("{{\"type\":\"indicator\",\"id\":\"i\",{more}\"pattern\":\"[file:hashes.MD5 = '{}']\"}}", md5(1))
    };
    let bundle = |more: &str| format!("{{\"type\":\"bundle\",\"objects\":[{},{}]}}", indicator(""), indicator(more));
    for more in ["\"revoked\":true,", "\"valid_until\":\"2025-12-31T23:59:59.5+01:00\","] {
        let (items, _) = items(Format::Stix, &bundle(more));
        assert_eq!(items, ["MD51 - i/1 -", "-i/1", "-i"], "{more}");
    }
    let (items, fed) = items(Format::Stix, &bundle("\"valid_until\":\"tomorrow\","));
    assert_eq!((items.len(), fed.bad_lines), (1, 1));
}

#[test]
fn xml_in_other_words() {
    let record = |text: &str| {
        format!(
            "<queryResult><images><image><member id='42'/><id>a</id><fingerprints>{text}</fingerprints></image></images></queryResult>"
        )
    };
    let digest = md5(1);
    for text in [format!("<md5>{digest}</md5><sha1/>"), format!("<n:md5 xmlns:n='x'><![CDATA[ {digest} ]]></n:md5>")] {
        assert_eq!(items(Format::NcmecXml, &record(&text)).0, ["MD51 - 42/a -"], "{text}");
    }
    // Neither a digest in pieces nor one with an entity in it is put together.
    for text in [format!("<md5>{}<!-- -->{}</md5>", &digest[..9], &digest[9..]), format!("<md5>&x;{digest}0</md5>")] {
        assert_eq!(items(Format::NcmecXml, &record(&text)).1.bad_lines, 1, "{text}");
    }
}

#[test]
fn what_a_policy_needs_must_be_there() {
    let error = read_bytes("x.csv", b"MD5;SHA1;PhotoDNA\n", &options(None)).unwrap_err();
    assert!(error.to_string().contains("no column `Baseline`"), "{error}");
    let long = format!("h,c\n{},{}\n{},a\n", md5(1), "c".repeat(300), md5(2));
    let options = Options { columns: Some("md5=h,category=c".into()), ..options(None) };
    let (items, fed) = read_bytes("x.csv", long.as_bytes(), &options).unwrap();
    assert_eq!((items, fed.bad_lines), (vec!["MD52 csv:a - -".to_owned()], 1));
}

/// Whatever the bytes, reading them ends, without a panic.
#[test]
fn damaged_fixtures_are_read_without_a_panic() {
    for (name, format, kind, ..) in FIXTURES {
        let bytes = fixture(name);
        for at in (0..bytes.len()).step_by(11) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x15;
            for damaged in [&damaged[..], &bytes[..at]] {
                let options = Options { format: Some(*format), ..options(*kind) };
                if let Err(error) = read_bytes(name, damaged, &options) {
                    assert!(!error.to_string().is_empty());
                }
            }
        }
    }
}
