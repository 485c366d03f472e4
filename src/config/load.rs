//! From the file to the settings.

use super::evidence;
use super::read::{Problems, Section};
use super::settings::{
    Admin, Authentication, Credentials, Encodings, Flood, HostHeader, Limits, ListSource, Listen, Log, Login, Mode,
    Multipart, Origin, Protocol, Secret, Service, Settings, Source, TenantHits, Tls, Trailers, UnknownCopy,
    Unverifiable, User,
};
use super::{ConfigError, Problem};
use crate::decide::{Action, OnUnavailable, Policy, Reply, Rule};
use crate::digest::{Algorithm, Algorithms};
use crate::list::index::Kind;
use crate::list::index::compile::SIZE_MIN;
use crate::list::source::Format;
use crate::s3::target::{OriginKind, encode_path};
use http::Uri;
use serde_yaml::Value;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// How often files and folders of lists are looked at.
const REFRESH_FILE: Duration = Duration::from_secs(60);

/// How often lists are asked for over the network.
const REFRESH_WEB: Duration = Duration::from_secs(3600);

const ACTIONS: &[(&str, Action)] =
    &[("reject", Action::Reject), ("quarantine", Action::Quarantine), ("observe", Action::Observe)];

/// Reads a configuration file. Relative paths in it are relative to its folder, `${NAME}` is taken from the environment.
///
/// # Errors
/// Every problem at once, each with its key path.
pub fn load(path: &Path) -> Result<Settings, ConfigError> {
    read(path, settings)
}

/// Reads what `take` takes of a configuration file.
pub(super) fn read<T>(path: &Path, take: impl FnOnce(Section, &Path) -> Option<T>) -> Result<T, ConfigError> {
    let whole = |message: String| ConfigError { problems: vec![Problem { path: String::new(), message }] };
    let text = fs::read_to_string(path).map_err(|error| whole(format!("{}: {error}", path.display())))?;
    let document: Value =
        serde_yaml::from_str(&text).map_err(|error| whole(format!("{}: not valid YAML: {error}", path.display())))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let problems = Problems::default();
    let settings = take(Section::root(document, folder, problems.clone()), folder);
    let problems = problems.take();
    match settings {
        Some(settings) if problems.is_empty() => Ok(settings),
        _ => Err(ConfigError { problems }),
    }
}

/// `None` only where a problem was noted.
fn settings(mut root: Section, folder: &Path) -> Option<Settings> {
    let listen = listen(root.section("listen"));
    let admin = root.optional_section("admin").and_then(admin);
    let mut state = root.section("state");
    let state_dir = state.path("dir").unwrap_or_else(|| folder.join("state"));
    state.end();
    let origin = origin(root.section("origin"));
    let authentication = authentication(root.section("authentication"));
    let list_key = root.path("list_key");
    let services = services(&mut root);
    let lists = lists(&mut root, &services);
    let (policy, flood, tenant_hits) = policy(root.section("policy"), &lists, &services);
    let encodings = encodings(root.section("encodings"));
    let snowball_inspected = root.word("snowball", &[("refuse", false), ("inspect", true)]).unwrap_or(false);
    let multipart = multipart(root.section("multipart"));
    let mut section = root.section("copies");
    let words = [("allow", UnknownCopy::Allow), ("refuse", UnknownCopy::Refuse)];
    let copies = section.word("unknown", &words).unwrap_or(UnknownCopy::Allow);
    section.end();
    let limits = limits(root.section("limits"));
    let log = log(root.section("log"));
    let (quarantine, audit) = (root.optional_section("quarantine"), evidence::audit(root.section("audit")));
    let (webhooks, canary) =
        (evidence::webhooks(&mut root), root.optional_section("canary").and_then(evidence::canary));
    let quarantine_configured = quarantine.is_some();
    let quarantine = quarantine.and_then(|section| evidence::quarantine(section, origin.as_ref()));
    let (origin, authentication) = (origin?, authentication);
    evidence::check_together(&root, quarantine_configured, &policy, canary.is_some(), &origin, authentication.mode);
    check_together(&root, &origin, &authentication);
    if multipart.unverifiable == Unverifiable::ReadBack && origin.credentials.is_none() {
        root.complain("origin.credentials", "are needed for multipart.unverifiable: read-back");
    }
    if policy.on_unavailable == OnUnavailable::AllowAndRecheck && origin.credentials.is_none() {
        root.complain("origin.credentials", "are needed for policy.on_unavailable: allow-and-recheck");
    }
    root.end();
    Some(Settings {
        listen: listen?,
        admin,
        state_dir,
        origin,
        authentication,
        list_key,
        lists,
        services,
        policy,
        flood,
        encodings,
        snowball_inspected,
        multipart,
        copies,
        quarantine,
        audit,
        webhooks,
        canary,
        tenant_hits,
        limits,
        log,
    })
}

fn listen(mut section: Section) -> Option<Listen> {
    let address = address(&mut section);
    let tls = section.optional_section("tls").and_then(|mut tls| {
        let (certificate, key) = (tls.required_path("certificate"), tls.required_path("key"));
        tls.end();
        Some(Tls { certificate: certificate?, key: key? })
    });
    let mut base_domains = section.texts("base_domains");
    base_domains.iter_mut().for_each(|domain| *domain = domain.trim_matches('.').to_ascii_lowercase());
    // The longest suffix of a Host counts.
    base_domains.sort_by_key(|domain| std::cmp::Reverse(domain.len()));
    let proxy_protocol = section.flag("proxy_protocol", false);
    section.end();
    Some(Listen { address: address?, tls, base_domains, proxy_protocol })
}

pub(super) fn address(section: &mut Section) -> Option<SocketAddr> {
    let text = section.required("address")?;
    let address = text.parse().ok();
    if address.is_none() {
        section.complain("address", format!("`{text}` is no address with a port, such as 127.0.0.1:9000 or [::]:9000"));
    }
    address
}

fn admin(mut section: Section) -> Option<Admin> {
    let address = address(&mut section);
    let token = secret_file(&mut section, "token_file");
    let operators = evidence::operators(&mut section);
    section.end();
    Some(Admin { address: address?, token, operators })
}

pub(super) fn origin(mut section: Section) -> Option<Origin> {
    let endpoint = section.required("endpoint").and_then(|text| {
        let endpoint = parse_endpoint(&text);
        if endpoint.is_none() {
            section.complain("endpoint", format!("`{text}` is no address such as http://127.0.0.1:9001 (no path)"));
        }
        endpoint
    });
    let kinds = [
        ("minio", OriginKind::Minio),
        ("rgw", OriginKind::Rgw),
        ("seaweedfs", OriginKind::Seaweedfs),
        ("garage", OriginKind::Garage),
        ("aws", OriginKind::Aws),
        ("other", OriginKind::Other),
    ];
    let kind = section.word("kind", &kinds).unwrap_or(OriginKind::Other);
    let region = section.text("region");
    let credentials = section.optional_section("credentials").and_then(credentials);
    let ca_file = section.path("ca_file");
    let hosts = [("preserve", HostHeader::Preserve), ("endpoint", HostHeader::Endpoint)];
    let host_header = section.word("host", &hosts).unwrap_or(HostHeader::Preserve);
    let trailers = [("unsigned", Trailers::Unsigned), ("none", Trailers::None)];
    let trailers = section.word("trailers", &trailers).unwrap_or(Trailers::None);
    let plain_chunked = section.flag("plain_chunked", false);
    if ca_file.is_some() && endpoint.as_ref().is_some_and(|endpoint| !endpoint.tls) {
        section.complain("ca_file", "has no use with an http:// endpoint; remove it, or use https://");
    }
    section.end();
    let Endpoint { tls, authority, host, port } = endpoint?;
    Some(Origin {
        tls,
        authority,
        host,
        port,
        ca_file,
        kind,
        region,
        credentials,
        host_header,
        trailers,
        plain_chunked,
    })
}

pub(super) struct Endpoint {
    pub(super) tls: bool,
    pub(super) authority: String,
    pub(super) host: String,
    pub(super) port: u16,
}

pub(super) fn parse_endpoint(text: &str) -> Option<Endpoint> {
    let uri: Uri = text.parse().ok()?;
    let tls = match uri.scheme_str()? {
        "http" => false,
        "https" => true,
        _ => return None,
    };
    let authority = uri.authority()?;
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() || authority.as_str().contains('@') {
        return None;
    }
    let host = authority.host().trim_matches(['[', ']']).to_owned();
    let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
    Some(Endpoint { tls, authority: authority.as_str().to_owned(), host, port })
}

pub(super) fn credentials(mut section: Section) -> Option<Credentials> {
    let access_key = section.required("access_key");
    let secret_key = secret(&mut section);
    if secret_key.is_none() {
        section.complain("secret_key", "is needed, or secret_key_file");
    }
    section.end();
    Some(Credentials { access_key: access_key?, secret_key: secret_key? })
}

/// `secret_key`, or the content of `secret_key_file`.
fn secret(section: &mut Section) -> Option<Secret> {
    let written = section.text("secret_key").map(|text| Secret::new(&text));
    let in_file = secret_file(section, "secret_key_file");
    if written.is_some() && in_file.is_some() {
        section.complain("secret_key_file", "is given together with secret_key; keep one of them");
    }
    written.or(in_file)
}

pub(super) fn secret_file(section: &mut Section, key: &'static str) -> Option<Secret> {
    let path = section.path(key)?;
    match fs::read_to_string(&path) {
        Ok(text) if !text.trim().is_empty() => {
            if is_open_to_others(&path) {
                let path = path.display();
                section.complain(key, format!("{path} can be read by everybody; run: chmod o-rwx {path}"));
            }
            Some(Secret::new(text.trim()))
        }
        Ok(_) => {
            section.complain(key, format!("{} is empty", path.display()));
            None
        }
        Err(error) => {
            section.complain(key, format!("{}: {error}", path.display()));
            None
        }
    }
}

fn is_open_to_others(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o007 != 0)
}

fn authentication(mut section: Section) -> Authentication {
    let modes = [("pass-through", Mode::PassThrough), ("verify", Mode::Verify)];
    let mode = section.word("mode", &modes).unwrap_or(Mode::PassThrough);
    let signature_v2 = section.flag("signature_v2", false);
    if signature_v2 && mode == Mode::Verify {
        section.complain("signature_v2", "only version 4 is verified; remove it, or use mode: pass-through");
    }
    let mut users: Vec<User> = Vec::new();
    for user in section.sections("users").unwrap_or_default() {
        if let Some(user) = self::user(user, mode, &users) {
            users.push(user);
        }
    }
    if mode == Mode::Verify && users.is_empty() {
        section.complain("users", "mode: verify needs at least one user");
    }
    section.end();
    Authentication { mode, users, signature_v2 }
}

fn user(mut section: Section, mode: Mode, others: &[User]) -> Option<User> {
    let access_key = section.required("access_key");
    if others.iter().any(|other| Some(&other.access_key) == access_key.as_ref()) {
        section.complain("access_key", "is given to two users");
    }
    let secret_key = secret(&mut section);
    if mode == Mode::Verify && secret_key.is_none() {
        section.complain("secret_key", "is needed in mode: verify (or secret_key_file)");
    }
    let tenant = section.text("tenant");
    let origin_credentials = section.optional_section("origin_credentials").and_then(credentials);
    if mode == Mode::PassThrough && origin_credentials.is_some() {
        section.complain("origin_credentials", "only mode: verify can sign anew");
    }
    section.end();
    Some(User { access_key: access_key?, secret_key, tenant, origin_credentials })
}

fn lists(root: &mut Section, services: &[Service]) -> Vec<ListSource> {
    let Some(sections) = root.sections("lists").filter(|sections| !sections.is_empty()) else {
        if services.is_empty() {
            root.complain("lists", "at least one list is needed, or one of services");
        }
        return Vec::new();
    };
    let mut lists: Vec<ListSource> = Vec::new();
    for section in sections {
        let taken: Vec<&str> =
            lists.iter().map(|list| &*list.name).chain(services.iter().map(|service| &*service.name)).collect();
        if let Some(list) = list(section, &taken) {
            lists.push(list);
        }
    }
    lists
}

fn list(mut section: Section, taken: &[&str]) -> Option<ListSource> {
    let name = name(&mut section, taken);
    let source = list_source(&mut section);
    let formats: Vec<(&str, Option<Format>)> = std::iter::once(("auto", None))
        .chain(Format::ALL.iter().map(|format| (format.name(), Some(*format))))
        .collect();
    let format = section.word("format", &formats).flatten();
    let kinds = [Kind::KnownBad, Kind::KnownGood].map(|kind| (kind.word(), kind));
    let kind = section.word("kind", &kinds);
    let columns = section.text("columns");
    let signed_by = section.text("signed_by");
    if signed_by.as_ref().is_some_and(|key| minisign_verify::PublicKey::from_base64(key).is_err()) {
        section.complain("signed_by", "is no minisign public key, such as the second line of minisign.pub");
    }
    let paged = section.flag("paged", false);
    let is_web = matches!(source, Some(Source::Web { .. }));
    if paged && !(is_web && format == Some(Format::NcmecXml) && signed_by.is_none()) {
        section.complain("paged", "needs an https:// source and format: ncmec-xml, without signed_by");
    }
    let size_min = section.size_or_none("size_min").unwrap_or(SIZE_MIN);
    let category = category(&mut section);
    // A file costs a look; a service is asked, and may count how often.
    let every = if matches!(source, Some(Source::Path(_))) { REFRESH_FILE } else { REFRESH_WEB };
    let refresh = section.duration("refresh").unwrap_or(every);
    let max_age = section.duration("max_age");
    let shrink_max_percent = percent(&mut section, "shrink_max", 100);
    let growth_max_percent = percent(&mut section, "growth_max", u32::MAX);
    section.end();
    Some(ListSource {
        name: name?,
        source: source?,
        format,
        kind,
        category,
        columns,
        size_min,
        signed_by,
        paged,
        refresh,
        max_age,
        shrink_max_percent,
        growth_max_percent,
    })
}

/// A name for rules, records, metrics and files.
pub(super) fn name(section: &mut Section, taken: &[&str]) -> Option<String> {
    let name = section.required("name")?;
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) {
        section.complain("name", "may hold letters, digits, `.`, `_` and `-` only");
    }
    if taken.contains(&name.as_str()) {
        section.complain("name", "is given to two lists or services");
    }
    Some(name)
}

fn category(section: &mut Section) -> String {
    let category = section.text("category").unwrap_or_else(|| "house:unspecified".to_owned());
    let shaped = category.split_once(':').is_some_and(|(scheme, value)| !scheme.is_empty() && !value.is_empty());
    if category.starts_with("hashgate:") {
        section.complain("category", "`hashgate:` is for the gate's own use");
    }
    if !shaped {
        section.complain("category", format!("`{category}` is not of the form scheme:value, such as house:baseline"));
    }
    category
}

fn services(root: &mut Section) -> Vec<Service> {
    let mut services: Vec<Service> = Vec::new();
    for section in root.sections("services").unwrap_or_default() {
        let taken: Vec<&str> = services.iter().map(|service| &*service.name).collect();
        if let Some(service) = service(section, &taken) {
            services.push(service);
        }
    }
    services
}

fn service(mut section: Section, taken: &[&str]) -> Option<Service> {
    let name = name(&mut section, taken);
    let there = section.has("protocol");
    let protocol = section.word("protocol", &[("hashcheckserver", Protocol::HashCheckServer)]);
    if !there {
        section.complain("protocol", "is needed: hashcheckserver");
    }
    let endpoint = section.required("endpoint");
    if let Some(endpoint) = &endpoint {
        check_url(&section, "endpoint", endpoint);
    }
    let login = section.optional_section("credentials").and_then(login);
    let ca_file = section.path("ca_file");
    let mut algorithms = Algorithms::NONE;
    for text in section.texts("algorithms") {
        match text.as_str() {
            "md5" => algorithms = algorithms.with(Algorithm::Md5),
            "sha1" => algorithms = algorithms.with(Algorithm::Sha1),
            _ => section.complain("algorithms", format!("`{text}` is none of md5, sha1")),
        }
    }
    if algorithms == Algorithms::NONE {
        algorithms = algorithms.with(Algorithm::Md5).with(Algorithm::Sha1);
    }
    let category = category(&mut section);
    let timeout = section.duration("timeout").unwrap_or(Duration::from_secs(3));
    let cache_time = section.duration("cache_time").unwrap_or(Duration::from_secs(600));
    let cache_entries = section.number("cache_entries").unwrap_or(100_000) as usize;
    section.end();
    Some(Service {
        name: name?,
        protocol: protocol?,
        endpoint: endpoint?,
        login,
        ca_file,
        algorithms,
        category,
        timeout,
        cache_time,
        cache_entries,
    })
}

/// What is listed must not travel in the clear.
pub(super) fn check_url(section: &Section, key: &str, text: &str) {
    let uri = text.parse::<Uri>().ok().filter(|uri| uri.host().is_some());
    match uri.as_ref().and_then(|uri| Some((uri.scheme_str()?, uri.host()?))) {
        Some(("https", _) | ("http", "127.0.0.1" | "localhost" | "[::1]")) => {}
        Some(("http", _)) => section.complain(key, "what is listed must not travel in the clear: use https://"),
        _ => section.complain(key, format!("`{text}` is no https:// address")),
    }
}

fn percent(section: &mut Section, key: &'static str, max: u32) -> Option<u32> {
    let text = section.text(key)?;
    let percent = text.strip_suffix('%').and_then(|number| number.trim().parse().ok()).filter(|share| *share <= max);
    if percent.is_none() {
        section.complain(key, format!("`{text}` is no share such as 20%"));
    }
    percent
}

/// `source`, and what it needs: `credentials`, `endpoint`, `region`, `ca_file`.
fn list_source(section: &mut Section) -> Option<Source> {
    let text = section.required("source")?;
    let Some((scheme, rest)) = text.split_once("://") else { return Some(Source::Path(section.in_folder(&text))) };
    let ca_file = section.path("ca_file");
    match scheme {
        "s3" => {
            let named = rest.split_once('/').filter(|(bucket, key)| !bucket.is_empty() && !key.is_empty());
            if named.is_none() {
                section.complain("source", format!("`{text}` is not of the form s3://bucket/key"));
            }
            let region = section.text("region").unwrap_or_else(|| "us-east-1".to_owned());
            let endpoint = section.required("endpoint");
            if endpoint.as_ref().is_some_and(|endpoint| parse_endpoint(endpoint).is_none()) {
                section.complain("endpoint", "is no address such as https://s3.example.test (no path)");
            }
            let credentials = section.optional_section("credentials").and_then(credentials);
            if credentials.is_none() {
                section.complain("credentials", "are needed: access_key and secret_key (or secret_key_file)");
            }
            let (bucket, key) = named?;
            let url = format!("{}/{bucket}/{}", endpoint?.trim_end_matches('/'), encode_path(key));
            Some(Source::S3 { url, region, credentials: credentials?, ca_file })
        }
        "https" | "http" => {
            check_url(section, "source", &text);
            let login = section.optional_section("credentials").and_then(login);
            Some(Source::Web { url: text, login, ca_file })
        }
        _ => {
            section.complain("source", format!("`{scheme}://` is not read; give a path, https:// or s3://bucket/key"));
            None
        }
    }
}

/// `username` and `password`, or `token`; each secret may be in a file.
fn login(mut section: Section) -> Option<Login> {
    let username = section.text("username");
    let password = section.text("password").map(|text| Secret::new(&text));
    let password = password.or(secret_file(&mut section, "password_file"));
    let token = section.text("token").map(|text| Secret::new(&text)).or(secret_file(&mut section, "token_file"));
    let login = match (username, password, token) {
        (Some(username), Some(password), None) => Some(Login::Basic { username, password }),
        (None, None, Some(token)) => Some(Login::Bearer(token)),
        _ => {
            section.complain("", "are either username and password (or password_file), or token (or token_file)");
            None
        }
    };
    section.end();
    login
}

fn policy(mut section: Section, lists: &[ListSource], services: &[Service]) -> (Policy, Flood, TenantHits) {
    let on_match = section.word("on_match", ACTIONS).unwrap_or(Action::Reject);
    let words = [
        ("refuse", OnUnavailable::Refuse),
        ("quarantine", OnUnavailable::Quarantine),
        ("allow-and-recheck", OnUnavailable::AllowAndRecheck),
    ];
    let on_unavailable = section.word("on_unavailable", &words).unwrap_or(OnUnavailable::Refuse);
    let mut rules = Vec::new();
    for mut rule in section.sections("rules").unwrap_or_default() {
        let mut pattern = |key| rule.text(key).unwrap_or_else(|| "*".to_owned());
        let (list, category, bucket, tenant) =
            (pattern("list"), pattern("category"), pattern("bucket"), pattern("tenant"));
        let mut known = lists.iter().map(|list| &list.name).chain(services.iter().map(|service| &service.name));
        if !list.contains('*') && known.all(|known| *known != list) {
            rule.complain("list", format!("there is no list or service `{list}`"));
        }
        let there = rule.has("action");
        let action = rule.word("action", ACTIONS);
        if !there {
            rule.complain("action", "is needed: reject, quarantine or observe");
        }
        let answer = rule.word("answer", &[("refuse", Reply::Refuse), ("accept", Reply::Accept)]);
        let answer = answer.unwrap_or(Reply::Refuse);
        if answer == Reply::Accept && (bucket.contains('*') || action == Some(Action::Observe)) {
            rule.complain("answer", "`accept` needs action reject or quarantine, and one bucket by its whole name");
        }
        rule.end();
        rules.extend(action.map(|action| Rule { list, category, bucket, tenant, action, answer }));
    }
    let default = Flood::default();
    let mut bounds = section.section("flood");
    let flood = Flood {
        tenants: bounds.number("tenants").map_or(default.tenants, |number| number as usize),
        uploads: bounds.number("uploads").map_or(default.uploads, u64::from),
        window: bounds.duration("window").unwrap_or(default.window),
    };
    bounds.end();
    let default = TenantHits::default();
    let mut bounds = section.section("tenant_hits");
    let tenant_hits = TenantHits {
        hits: bounds.number("hits").map_or(default.hits, u64::from),
        window: bounds.duration("window").unwrap_or(default.window),
    };
    bounds.end();
    section.end();
    (Policy { rules, on_match, on_unavailable }, flood, tenant_hits)
}

fn encodings(mut section: Section) -> Encodings {
    let default = Encodings::default();
    let words = [("refuse", true), ("allow", false)];
    let encodings = Encodings {
        decode: section.flag("decode", default.decode),
        undecodable_refused: section.word("undecodable", &words).unwrap_or(default.undecodable_refused),
        layers: section.number("layers").map_or(default.layers, |number| number as usize),
        ratio: section.number("ratio").map_or(default.ratio, u64::from),
        size: section.size("size").unwrap_or(default.size),
        time: section.duration("time").unwrap_or(default.time),
    };
    section.end();
    encodings
}

fn multipart(mut section: Section) -> Multipart {
    let default = Multipart::default();
    let words =
        [("refuse", Unverifiable::Refuse), ("read-back", Unverifiable::ReadBack), ("allow", Unverifiable::Allow)];
    let multipart = Multipart {
        unverifiable: section.word("unverifiable", &words).unwrap_or(default.unverifiable),
        spool_memory: section.size_or_none("spool_memory").unwrap_or(default.spool_memory),
        spool_disk: section.size_or_none("spool_disk").unwrap_or(default.spool_disk),
        decoder_memory: section.size("decoder_memory").unwrap_or(default.decoder_memory),
        spool_wait: section.duration("spool_wait").unwrap_or(default.spool_wait),
        spool_idle: section.duration("spool_idle").unwrap_or(default.spool_idle),
        expire: section.duration("expire").unwrap_or(default.expire),
        uploads: section.number("uploads").map_or(default.uploads, |number| number as usize),
        parts: section.number("parts").map_or(default.parts, |number| number as usize),
    };
    section.end();
    multipart
}

pub(super) fn limits(mut section: Section) -> Limits {
    let default = Limits::default();
    let limits = Limits {
        connections: section.number("connections").map_or(default.connections, |number| number as usize),
        header_timeout: section.duration("header_timeout").unwrap_or(default.header_timeout),
        idle_timeout: section.duration("idle_timeout").unwrap_or(default.idle_timeout),
        body_rate_min: section.size("body_rate_min").unwrap_or(default.body_rate_min),
        upload_timeout: section.duration("upload_timeout").unwrap_or(default.upload_timeout),
        list_body: section.size("list_body").unwrap_or(default.list_body),
        control_body: section.size("control_body").unwrap_or(default.control_body),
        drain: section.size("drain").unwrap_or(default.drain),
        connect_timeout: section.duration("connect_timeout").unwrap_or(default.connect_timeout),
        origin_timeout: section.duration("origin_timeout").unwrap_or(default.origin_timeout),
        origin_idle: section.duration("origin_idle").unwrap_or(default.origin_idle),
        refusals_per_minute: section.number("refusals_per_minute").unwrap_or(default.refusals_per_minute),
        drain_timeout: section.duration("drain_timeout").unwrap_or(default.drain_timeout),
        refusal_grid: section.duration("refusal_grid").unwrap_or(default.refusal_grid),
    };
    section.end();
    limits
}

fn log(mut section: Section) -> Log {
    let json = section.word("format", &[("json", true), ("text", false)]).unwrap_or(true);
    let levels = [
        ("error", tracing::Level::ERROR),
        ("warn", tracing::Level::WARN),
        ("info", tracing::Level::INFO),
        ("debug", tracing::Level::DEBUG),
        ("trace", tracing::Level::TRACE),
    ];
    let level = section.word("level", &levels).unwrap_or(tracing::Level::INFO);
    section.end();
    Log { json, level }
}

/// What only two sections together can get wrong.
fn check_together(root: &Section, origin: &Origin, authentication: &Authentication) {
    let signs_all = authentication.mode == Mode::Verify
        && authentication.users.iter().all(|user| user.origin_credentials.is_some());
    if origin.host_header == HostHeader::Endpoint && !signs_all {
        root.complain(
            "origin.host",
            "`endpoint` changes what clients have signed: it needs authentication.mode: verify, and origin_credentials for every user",
        );
    }
    let signs_any = authentication.users.iter().any(|user| user.origin_credentials.is_some());
    if origin.region.is_none() && signs_any {
        root.complain("origin.region", "is needed to sign with origin_credentials");
    }
}
