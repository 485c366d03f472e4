//! Bringing a new version of a list in: from a file, a folder, an https address or an object, into a sealed index.
//!
//! What comes is compiled as it is read: on disk there are only marks that nobody can read without the key.

use super::feed::{Fed, feed};
use super::index::compile::{CompileError, Compiler, Options};
use super::index::{IndexError, Kind, Versions, is_sealed, put_private, starts_sealed};
use super::shelf::{File, Seen, Shelf};
use super::source;
use super::{Reaching, Why};
use crate::authenticate::sign;
use crate::config::settings::{ListSource, Login, Source};
use crate::web::{Download, Web, WebError, authorization};
use bytes::Bytes;
use http::header::{AUTHORIZATION, ETAG, HOST, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, USER_AGENT};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::Full;
use minisign_verify::{PublicKey, Signature, StreamVerifier};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};
use time::OffsetDateTime;

/// For the head of an answer, and for each further byte.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Signatures are a few hundred bytes.
const SIGNATURE_MAX: u64 = 64 << 10;

const BUFFER: usize = 256 << 10;

/// Of a stream, for finding its format out.
const HEAD: u64 = 64 << 10;

/// A page has a thousand entries; an address that leads to itself would never end.
const PAGES_MAX: u64 = 1_000_000;

/// What the hash of no bytes is, for requests without a body.
const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// What came of looking at a source.
pub(super) enum Brought {
    /// It is as it was.
    Unchanged,
    /// A version in the making stands on the shelf; this is what the source looked like.
    New(Seen),
}

/// Looks at a source, and compiles it where it does not look like `last`. It blocks.
pub(super) fn bring(
    list: &ListSource,
    shelf: &Shelf,
    reaching: Option<&Reaching>,
    last: Option<&Seen>,
) -> Result<Brought, Why> {
    match &list.source {
        Source::Path(path) => bring_files(list, path, shelf, last),
        Source::Web { url, login, ca_file } => {
            let request = request(url, login.as_ref());
            let remote = Remote::new(reaching, ca_file.as_deref())?;
            if list.paged {
                bring_pages(list, shelf, &remote, request, last)
            } else {
                bring_web(list, shelf, &remote, request, last)
            }
        }
        Source::S3 { url, region, credentials, ca_file } => {
            let request = |url: &str| {
                let mut parts = bare(url)?;
                let host = parts.uri.authority().map(ToString::to_string).unwrap_or_default();
                parts.headers.insert(HOST, host.parse().map_err(|_| bad_address(url))?);
                let path = parts.uri.path_and_query().cloned().ok_or_else(|| bad_address(url))?;
                let whole = std::mem::replace(&mut parts.uri, path.into());
                sign(&mut parts, EMPTY_SHA256, credentials, region, OffsetDateTime::now_utc());
                parts.uri = whole;
                Ok(parts)
            };
            let remote = Remote::new(reaching, ca_file.as_deref())?;
            let url = url.clone();
            bring_web(list, shelf, &remote, (url, Box::new(request)), last)
        }
    }
}

/// An address, and how a request to it, or to its signature beside it, is made.
type Requests<'a> = (String, Box<dyn Fn(&str) -> Result<http::request::Parts, Why> + 'a>);

fn request<'a>(url: &str, login: Option<&'a Login>) -> Requests<'a> {
    let make = move |url: &str| {
        let mut parts = bare(url)?;
        if let Some(login) = login {
            parts.headers.insert(AUTHORIZATION, authorization(login)?);
        }
        Ok(parts)
    };
    (url.to_owned(), Box::new(make))
}

fn bare(url: &str) -> Result<http::request::Parts, Why> {
    let request = Request::get(url).header(USER_AGENT, concat!("hashgate/", env!("CARGO_PKG_VERSION"))).body(());
    Ok(request.map_err(|_| bad_address(url))?.into_parts().0)
}

fn bad_address(url: &str) -> Why {
    Why::Web(WebError::Answer(format!("{url} is no address")))
}

/// A service, and the runtime that speaks to it.
struct Remote {
    web: Web,
    runtime: tokio::runtime::Handle,
}

impl Remote {
    fn new(reaching: Option<&Reaching>, ca_file: Option<&Path>) -> Result<Remote, Why> {
        let Some(Reaching(runtime)) = reaching else { return Err(Why::NotReached) };
        Ok(Remote { web: Web::new(ca_file).map_err(Why::Roots)?, runtime: runtime.clone() })
    }

    fn get(&self, parts: http::request::Parts) -> Result<(http::response::Parts, Download), Why> {
        let request = Request::from_parts(parts, Full::new(Bytes::new()));
        let answer = self.runtime.block_on(self.web.send(request, ANSWER_TIMEOUT)).map_err(Why::Web)?;
        let (head, body) = answer.into_parts();
        Ok((head, Download::new(self.runtime.clone(), body, ANSWER_TIMEOUT)))
    }
}

fn bring_web(
    list: &ListSource,
    shelf: &Shelf,
    remote: &Remote,
    (url, request): Requests<'_>,
    last: Option<&Seen>,
) -> Result<Brought, Why> {
    let mut parts = request(&url)?;
    if let Some(last) = last {
        // The time only where there is no tag: it has whole seconds, and not every store lets the tag win (RFC 9110,
        // section 13.2.2).
        let tag = last.etag.as_ref().map(|tag| (IF_NONE_MATCH, tag));
        let condition = tag.or(last.last_modified.as_ref().map(|time| (IF_MODIFIED_SINCE, time)));
        if let Some((name, Ok(value))) = condition.map(|(name, value)| (name, value.parse())) {
            parts.headers.insert(name, value);
        }
    }
    let (head, body) = remote.get(parts)?;
    match head.status {
        StatusCode::NOT_MODIFIED if last.is_some() => return Ok(Brought::Unchanged),
        StatusCode::OK => {}
        status => return Err(Why::Web(WebError::Status { status: status.as_u16() })),
    }
    let seen = seen_in(&head.headers);
    let signature = list.signed_by.as_ref().map(|_| {
        let (head, body) = remote.get(request(&format!("{url}.minisig"))?)?;
        if head.status != StatusCode::OK {
            return Err(Why::Unsigned(format!("{url}.minisig: {}", WebError::Status { status: head.status.as_u16() })));
        }
        read_signature(body)
    });
    let name = url.rsplit('/').next().unwrap_or_default().to_owned();
    let mut making = Making::new(list, shelf)?;
    making.take(&name, body, signature.transpose()?)?;
    making.finish()?;
    Ok(Brought::New(seen))
}

fn seen_in(headers: &HeaderMap) -> Seen {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    Seen { etag: text(ETAG), last_modified: text(LAST_MODIFIED), ..Seen::default() }
}

/// Pages of entries, at first of all, later of what has changed since the checkpoint, on top of the version in use. The
/// checkpoint moves when the last page was read: entries do not come in the order of their times.
fn bring_pages(
    list: &ListSource,
    shelf: &Shelf,
    remote: &Remote,
    (url, request): Requests<'_>,
    last: Option<&Seen>,
) -> Result<Brought, Why> {
    let base = Versions::open(&shelf.path(&list.name, File::Versions), shelf.key()).ok();
    let since = last.and_then(|last| last.checkpoint.clone()).filter(|_| base.is_some());
    let mut making = Making::of_entries(list, shelf, base.filter(|_| since.is_some()).as_ref())?;
    let separator = if url.contains('?') { '&' } else { '?' };
    let encode = |time: &String| utf8_percent_encode(time, NON_ALPHANUMERIC).to_string();
    let first = since.as_ref().map_or(url.clone(), |since| format!("{url}{separator}from={}", encode(since)));
    let (mut page, mut newest) = (Some(first), since.clone());
    let mut pages = 0;
    while let Some(address) = page.take() {
        let (head, body) = remote.get(request(&address)?)?;
        if head.status != StatusCode::OK {
            return Err(Why::Web(WebError::Status { status: head.status.as_u16() }));
        }
        let fed = making.take(&list.name, body, None)?;
        newest = newest.max(fed.newest);
        page = fed.next.as_deref().map(|next| on_same_host(&url, next)).transpose()?;
        pages += 1;
        if pages > PAGES_MAX {
            return Err(Why::Web(WebError::Answer(format!("it has more than {PAGES_MAX} pages"))));
        }
    }
    if since.is_some() && making.items == 0 {
        return Ok(Brought::Unchanged);
    }
    making.finish()?;
    Ok(Brought::New(Seen { checkpoint: newest, ..Seen::default() }))
}

/// The address of a next page, which may be only a path. It never leads to another host: credentials go with it.
fn on_same_host(url: &str, next: &str) -> Result<String, Why> {
    let own: http::Uri = url.parse().map_err(|_| bad_address(url))?;
    let next: http::Uri = next.trim().parse().map_err(|_| bad_address(next))?;
    let (Some(scheme), Some(authority), Some(path)) = (own.scheme_str(), own.authority(), next.path_and_query()) else {
        return Err(bad_address(url));
    };
    if next.authority().is_some_and(|other| other != authority) {
        return Err(Why::Web(WebError::Answer("its next page is at another host".into())));
    }
    Ok(format!("{scheme}://{authority}{path}"))
}

fn bring_files(list: &ListSource, path: &Path, shelf: &Shelf, last: Option<&Seen>) -> Result<Brought, Why> {
    let (files, seen) = look(path)?;
    if last == Some(&seen) {
        return Ok(Brought::Unchanged);
    }
    if let [file] = files.as_slice()
        && list.signed_by.is_none()
        && is_sealed(file)?
    {
        check_key(shelf)?;
        shelf.remove(&list.name, File::New)?;
        shelf.copy(&std::path::absolute(file)?, &list.name)?;
        return Ok(Brought::New(seen));
    }
    let mut making = Making::new(list, shelf)?;
    for file in &files {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let signature = list.signed_by.as_ref().map(|_| {
            let mut beside = file.clone().into_os_string();
            beside.push(".minisig");
            let beside = PathBuf::from(beside);
            let unsigned = |error| Why::Unsigned(format!("{}: {error}", beside.display()));
            read_signature(fs::File::open(&beside).map_err(unsigned)?)
        });
        making.take_file(file, &name, signature.transpose()?)?;
    }
    // Whoever writes while we read gives us half of what will be there.
    if look(path)?.1 != seen {
        return Err(Why::Changed);
    }
    making.finish()?;
    Ok(Brought::New(seen))
}

/// The files of a source, in the order of their names, and what they look like.
fn look(path: &Path) -> io::Result<(Vec<PathBuf>, Seen)> {
    let files = if path.is_dir() {
        let is_part = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            path.is_file() && !name.starts_with('.') && !name.ends_with(".minisig")
        };
        let entries: io::Result<Vec<PathBuf>> = fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect();
        let mut files: Vec<PathBuf> = entries?.into_iter().filter(is_part).collect();
        files.sort();
        files
    } else {
        vec![path.to_owned()]
    };
    let mut hasher = blake3::Hasher::new();
    for file in &files {
        let meta = fs::metadata(file)?;
        let modified = meta.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
        let name = file.to_string_lossy();
        hasher.update(format!("{}:{name} {} {}\n", name.len(), modified.as_nanos(), meta.len()).as_bytes());
    }
    Ok((files, Seen { files: Some(hasher.finalize().to_hex().to_string()), ..Seen::default() }))
}

fn check_key(shelf: &Shelf) -> Result<(), Why> {
    if shelf.key_configured { Ok(()) } else { Err(Why::NoKey) }
}

fn read_signature(source: impl Read) -> Result<Signature, Why> {
    let mut text = String::new();
    let unsigned = |error: &dyn std::fmt::Display| Why::Unsigned(error.to_string());
    source.take(SIGNATURE_MAX).read_to_string(&mut text).map_err(|error| unsigned(&error))?;
    Signature::decode(&text).map_err(|error| unsigned(&error))
}

/// A version in the making, of one source or several.
struct Making<'a> {
    list: &'a ListSource,
    shelf: &'a Shelf,
    place: PathBuf,
    public_key: Option<PublicKey>,
    compiler: Option<Compiler>,
    /// Whether what came was an index, and stands in its place.
    sealed: bool,
    /// What came so far: entries, and what removes them.
    items: u64,
}

impl<'a> Making<'a> {
    fn new(list: &'a ListSource, shelf: &'a Shelf) -> Result<Making<'a>, Why> {
        shelf.remove(&list.name, File::New)?;
        let public_key = list.signed_by.as_ref().map(|key| PublicKey::from_base64(key));
        let public_key = public_key.transpose().map_err(|error| Why::Unsigned(error.to_string()))?;
        let place = shelf.path(&list.name, File::New);
        Ok(Making { list, shelf, place, public_key, compiler: None, sealed: false, items: 0 })
    }

    /// One whose entries can be changed later, on top of those of an earlier version.
    fn of_entries(list: &'a ListSource, shelf: &'a Shelf, base: Option<&Versions>) -> Result<Making<'a>, Why> {
        let mut making = Making::new(list, shelf)?;
        shelf.remove(&list.name, File::NewVersions)?;
        let compiler = match base {
            Some(base) => Compiler::on_top_of(base, &making.place, making.options()),
            None => Compiler::new(&making.place, shelf.key(), making.options(), Vec::new()),
        };
        let place = shelf.path(&list.name, File::NewVersions);
        making.compiler = Some(compiler.map_err(why)?.keeping_versions(&place));
        Ok(making)
    }

    /// Takes a source from a stream.
    fn take(&mut self, name: &str, source: impl Read, signature: Option<Signature>) -> Result<Fed, Why> {
        let public_key = self.public_key.clone();
        let verifier = match (&public_key, &signature) {
            (Some(key), Some(signature)) => {
                Some(key.verify_stream(signature).map_err(|error| Why::Unsigned(error.to_string()))?)
            }
            _ => None,
        };
        let mut verified = Verified { source, verifier };
        // Its beginning tells what it is, and a network may give that a few bytes at a time.
        let mut head = Vec::new();
        verified.by_ref().take(HEAD).read_to_end(&mut head)?;
        let mut source = BufReader::with_capacity(BUFFER, head.as_slice().chain(&mut verified));
        let mut fed = Fed::default();
        if starts_sealed(source.fill_buf()?) {
            check_key(self.shelf)?;
            put_private(&mut source, &self.place)?;
            self.sealed = true;
        } else {
            let (how, mut items) = (self.how(), 0);
            fed = self.compiler()?.source(name, |sink| {
                source::read(&mut source, name, &how, &mut |place, item| {
                    items += 1;
                    sink(place, item)
                })
            })?;
            self.items += items;
            self.complain(name, &fed);
            // What a reader leaves behind its end is signed, too.
            io::copy(&mut source, &mut io::sink())?;
        }
        match verified.verifier.map(|mut verifier| verifier.finalize()) {
            Some(Err(error)) => Err(Why::Unsigned(error.to_string())),
            Some(Ok(())) | None => Ok(fed),
        }
    }

    /// Takes a source from a file, which some formats need as one.
    fn take_file(&mut self, file: &Path, name: &str, signature: Option<Signature>) -> Result<(), Why> {
        if signature.is_some() {
            return self.take(name, fs::File::open(file)?, signature).map(drop);
        }
        if is_sealed(file)? {
            return Err(Why::IndexAmongSources(name.to_owned()));
        }
        let how = self.how();
        let fed = self.compiler()?.source(name, |sink| feed(file, &how, sink))?;
        self.complain(name, &fed);
        Ok(())
    }

    fn how(&self) -> source::Options {
        let ListSource { format, kind, columns, .. } = self.list;
        source::Options { format: *format, kind: *kind, columns: columns.clone(), now: OffsetDateTime::now_utc() }
    }

    fn options(&self) -> Options {
        let kind = self.list.kind.unwrap_or(Kind::KnownBad);
        Options { name: self.list.name.clone(), kind, category: None, size_min: self.list.size_min }
    }

    fn compiler(&mut self) -> Result<&mut Compiler, Why> {
        let compiler = match self.compiler.take() {
            Some(compiler) => compiler,
            None => Compiler::new(&self.place, self.shelf.key(), self.options(), Vec::new()).map_err(why)?,
        };
        Ok(self.compiler.insert(compiler))
    }

    fn complain(&self, name: &str, fed: &Fed) {
        for (place, reason) in &fed.first_bad {
            tracing::warn!(list = self.list.name, "{name}:{place}: skipped: {reason}");
        }
    }

    fn finish(self) -> Result<(), Why> {
        match self.compiler {
            Some(compiler) => compiler.finish(self.shelf.key()).map(drop).map_err(why),
            None if self.sealed => Ok(()),
            None => Err(Why::Empty { bad_lines: 0, vetoed: 0 }),
        }
    }
}

fn why(error: CompileError) -> Why {
    match error {
        CompileError::Io(error) => Why::Read(error),
        CompileError::Index(error) => Why::Index(error),
        CompileError::Occupied(path) => Why::Index(IndexError::NoIndex(path)),
        CompileError::Empty { vetoed, bad_lines } => Why::Empty { vetoed, bad_lines },
    }
}

/// Shows a signature's verifier what is read.
struct Verified<'a, R> {
    source: R,
    verifier: Option<StreamVerifier<'a>>,
}

impl<R: Read> Read for Verified<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        if let Some(verifier) = &mut self.verifier {
            verifier.update(&buffer[..read]);
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Keeping;
    use super::*;

    /// Bytes that come one at a time.
    struct Trickle(io::Cursor<Vec<u8>>);

    impl Read for Trickle {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let most = buffer.len().min(1);
            self.0.read(&mut buffer[..most])
        }
    }

    /// Of which format a stream is does not depend on how much of it the network gives at first; and an index is one.
    #[test]
    fn a_trickle_is_what_a_file_is() {
        let dir = tempfile::tempdir().unwrap();
        let key_file = dir.path().join("key");
        super::super::index::seal::Key::make(&key_file).unwrap();
        let keeping =
            Keeping { key_file: Some(key_file), state_dir: Some(dir.path().to_owned()), ..Keeping::default() };
        let shelf = Shelf::open(&keeping).unwrap();
        let list = ListSource::from_path("sample", Path::new("unused"), "house:test");
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/lists");
        for (name, format) in [("icse.csv", "icse-csv"), ("vics-2.0.json", "vics-json"), ("ncmec.xml", "ncmec-xml")] {
            let mut making = Making::new(&list, &shelf).unwrap();
            let trickle = || Trickle(io::Cursor::new(fs::read(fixtures.join(name)).unwrap()));
            assert_eq!(making.take("list", trickle(), None).unwrap().format, format);
            making.finish().unwrap();
        }
        let index = fs::read(shelf.path("sample", File::New)).unwrap();
        let mut making = Making::new(&list, &shelf).unwrap();
        making.take("list", Trickle(io::Cursor::new(index.clone())), None).unwrap();
        assert!(making.sealed);
        assert_eq!(fs::read(shelf.path("sample", File::New)).unwrap(), index);
    }
}
