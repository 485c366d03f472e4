//! The configuration as it is meant: no options are left open, every default is filled in, every rule holds.

use crate::decide::Policy;
use crate::digest::Algorithms;
use crate::list::index::Kind;
use crate::list::index::compile::SIZE_MIN;
use crate::list::source::Format;
use crate::s3::target::OriginKind;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;

/// Everything that `serve` needs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Towards clients.
    pub listen: Listen,
    /// Towards operators; `None` starts no admin listener.
    pub admin: Option<Admin>,
    /// The folder for the audit log; one process per folder.
    pub state_dir: PathBuf,
    /// The object store behind us.
    pub origin: Origin,
    /// Who may send.
    pub authentication: Authentication,
    /// The key file of sealed indexes.
    pub list_key: Option<PathBuf>,
    /// The lists, in the order of the file; never empty where there is no service.
    pub lists: Vec<ListSource>,
    /// Services that are asked about digests.
    pub services: Vec<Service>,
    /// What is done about a match.
    pub policy: Policy,
    /// When an entry hits so much that it may be a mistake.
    pub flood: Flood,
    /// Payloads that are compressed.
    pub encodings: Encodings,
    /// Whether archives that MinIO unpacks are let through when no member is listed.
    pub snowball_inspected: bool,
    /// Objects that come in parts.
    pub multipart: Multipart,
    /// What happens to the copy of a whole object that the gate could not read.
    pub copies: UnknownCopy,
    /// Where matches are kept; `None` keeps none.
    pub quarantine: Option<Quarantine>,
    /// The audit log.
    pub audit: Audit,
    /// Who is told about matches and alarms.
    pub webhooks: Vec<Webhook>,
    /// The upload by which the gate tests itself; `None` makes none.
    pub canary: Option<Canary>,
    /// When one tenant's matches raise an alarm.
    pub tenant_hits: TenantHits,
    /// Every bound.
    pub limits: Limits,
    /// How log lines look.
    pub log: Log,
}

impl Settings {
    /// Whether an object in parts that its readers decode, and that is not decoded as it comes, is read when it is there.
    pub fn encoded_read_back(&self) -> bool {
        self.multipart.unverifiable == Unverifiable::ReadBack && self.encodings.unseen_refused()
    }
}

/// `listen:`
#[derive(Clone, Debug)]
pub struct Listen {
    /// Where clients connect.
    pub address: SocketAddr,
    /// Certificate and key; `None` serves plain HTTP.
    pub tls: Option<Tls>,
    /// Domains below which the first labels name a bucket, in lower case, longest first.
    pub base_domains: Vec<String>,
    /// Whether every connection begins with a PROXY protocol header (v1 or v2).
    pub proxy_protocol: bool,
}

/// `listen.tls:`
#[derive(Clone, Debug)]
pub struct Tls {
    /// PEM file with the certificate chain.
    pub certificate: PathBuf,
    /// PEM file with the private key.
    pub key: PathBuf,
}

/// `admin:`
#[derive(Clone, Debug)]
pub struct Admin {
    /// Where operators connect.
    pub address: SocketAddr,
    /// The bearer token that `/metrics` asks for; `None` asks for none.
    pub token: Option<Secret>,
    /// Who may use the rest of it.
    pub operators: Vec<Operator>,
}

/// One of `admin.tokens:`
#[derive(Clone, Debug)]
pub struct Operator {
    /// The name that the audit log has for them.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// Their bearer token.
    pub token: Secret,
    /// When it ends.
    pub expires: OffsetDateTime,
}

/// `admin.tokens[].role:`
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Sees cases and reports.
    Viewer,
    /// Releases and purges as well, together with another officer.
    Officer,
}

/// `quarantine:`
#[derive(Clone, Debug)]
pub struct Quarantine {
    /// The bucket that sealed payloads and manifests go to.
    pub bucket: String,
    /// What their keys begin with.
    pub prefix: String,
    /// The store of the bucket: the origin's own settings unless it lies elsewhere.
    pub store: Origin,
    /// What the store is reached with.
    pub credentials: Credentials,
    /// The age recipients (`age1...`) that can open what is kept, and nobody else.
    pub recipients: Vec<String>,
    /// How long a case is kept.
    pub retention: Duration,
    /// Whether the store itself keeps the objects that long.
    pub object_lock: Option<ObjectLock>,
    /// Room on disk for payloads whose verdict is not known yet, and for cases that the store does not have yet, in bytes.
    pub spool: u64,
    /// Room on disk that is set aside for cases, in bytes.
    pub reserve: u64,
}

/// `quarantine.object_lock:`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectLock {
    /// Whoever has the right to may end it.
    Governance,
    /// Nobody may.
    Compliance,
}

/// `audit:`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Audit {
    /// A file that is longer, in bytes, is put aside and a new one begun.
    pub rotate: u64,
    /// How often the chain is signed.
    pub checkpoint: Duration,
}

impl Default for Audit {
    fn default() -> Audit {
        Audit { rotate: 256 << 20, checkpoint: Duration::from_secs(60) }
    }
}

/// One of `webhooks:`
#[derive(Clone, Debug)]
pub struct Webhook {
    /// Where events are posted to.
    pub url: String,
    /// PEM file with the certificates that its own may be signed by; `None` takes the system's.
    pub ca_file: Option<PathBuf>,
    /// Which events it gets.
    pub events: Vec<Event>,
}

/// One of `webhooks[].events:`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A listed payload was seen.
    Match,
    /// A case changed: kept, stored, released, purged.
    Quarantine,
    /// An alarm was raised or has ended.
    Alarm,
    /// A signed checkpoint of the audit log.
    Checkpoint,
}

impl Event {
    /// Every kind, with its word.
    pub const ALL: [(&'static str, Event); 4] = [
        ("match", Event::Match),
        ("quarantine", Event::Quarantine),
        ("alarm", Event::Alarm),
        ("checkpoint", Event::Checkpoint),
    ];
}

/// `canary:`
#[derive(Clone, Debug)]
pub struct Canary {
    /// The bucket that it is sent to.
    pub bucket: String,
    /// How often.
    pub every: Duration,
}

/// `policy.tenant_hits:`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TenantHits {
    /// Matches of one verified tenant within the window.
    pub hits: u64,
    /// How long they count.
    pub window: Duration,
}

impl Default for TenantHits {
    fn default() -> TenantHits {
        TenantHits { hits: 10, window: Duration::from_secs(3600) }
    }
}

/// `origin:`
#[derive(Clone, Debug)]
pub struct Origin {
    /// Whether to speak TLS to it.
    pub tls: bool,
    /// Host and port to connect to, as written in the endpoint (`127.0.0.1:9001`, `s3.example.test:443`).
    pub authority: String,
    /// Host name alone, without port and brackets: for the certificate.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// PEM file with the certificates that the origin's may be signed by; `None` takes the system's.
    pub ca_file: Option<PathBuf>,
    /// Which store it is.
    pub kind: OriginKind,
    /// The region that signatures must name; `None` takes any.
    pub region: Option<String>,
    /// The gate's own credentials.
    pub credentials: Option<Credentials>,
    /// Which Host the origin sees.
    pub host_header: HostHeader,
    /// What the store takes where we sign anew.
    pub trailers: Trailers,
    /// Whether a PutObject with `Transfer-Encoding: chunked` and no declared length is let through.
    pub plain_chunked: bool,
}

/// `origin.host:`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostHeader {
    /// The client's, byte for byte.
    Preserve,
    /// The endpoint's own; needs every request to be signed anew.
    Endpoint,
}

/// `origin.trailers:`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trailers {
    /// The store takes `STREAMING-UNSIGNED-PAYLOAD-TRAILER`.
    Unsigned,
    /// It takes plain bodies only; a trailing checksum is verified here and never reaches it.
    None,
}

/// An access key with its secret.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The access key id.
    pub access_key: String,
    /// The secret access key.
    pub secret_key: Secret,
}

/// `authentication:`
#[derive(Clone, Debug)]
pub struct Authentication {
    /// Whether the gate checks signatures itself.
    pub mode: Mode,
    /// The users, by access key. In pass-through they only name tenants, and need no secret.
    pub users: Vec<User>,
    /// Whether uploads with a signature of version 2 in their header are passed on (never in `verify`).
    pub signature_v2: bool,
}

/// `authentication.mode:`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The origin judges the signature.
    PassThrough,
    /// The gate does, and then the origin.
    Verify,
}

/// One of `authentication.users:`
#[derive(Clone, Debug)]
pub struct User {
    /// The access key id.
    pub access_key: String,
    /// The secret; always there in `verify`.
    pub secret_key: Option<Secret>,
    /// The tenant that policy rules and records name.
    pub tenant: Option<String>,
    /// Where set, the user's requests are signed anew with these.
    pub origin_credentials: Option<Credentials>,
}

/// One of `lists:`
#[derive(Clone, Debug)]
pub struct ListSource {
    /// Its name in rules, records and metrics.
    pub name: String,
    /// Where it comes from.
    pub source: Source,
    /// How it is written; `None` finds it out.
    pub format: Option<Format>,
    /// Whether its entries are refused, or let through what other lists have; `None` where nothing was said.
    pub kind: Option<Kind>,
    /// The category of its entries, `scheme:value`.
    pub category: String,
    /// Which columns of a CSV file hold what.
    pub columns: Option<String>,
    /// Entries of files that are smaller, in bytes, are left out.
    pub size_min: u64,
    /// The minisign public key that its versions must be signed with, as in the second line of its file.
    pub signed_by: Option<String>,
    /// Whether it is asked page by page, and after the first time for what has changed.
    pub paged: bool,
    /// How often the source is looked at for a change.
    pub refresh: Duration,
    /// The age of the last good read after which no lookup is decided by this list; `None` for no bound.
    pub max_age: Option<Duration>,
    /// A new version that has lost more of its entries than this, in percent, is not taken; `None` for no bound.
    pub shrink_max_percent: Option<u32>,
    /// What is new in a version that has grown by more than this, in percent, is only observed; `None` for no bound.
    pub growth_max_percent: Option<u32>,
}

impl ListSource {
    /// A list from a file or folder, with every default.
    pub fn from_path(name: &str, path: &Path, category: &str) -> ListSource {
        ListSource {
            name: name.to_owned(),
            source: Source::Path(path.to_owned()),
            format: None,
            kind: None,
            category: category.to_owned(),
            columns: None,
            size_min: SIZE_MIN,
            signed_by: None,
            paged: false,
            refresh: Duration::from_secs(60),
            max_age: None,
            shrink_max_percent: None,
            growth_max_percent: None,
        }
    }
}

/// `lists[].source:` and what is needed to read it.
#[derive(Clone, Debug)]
pub enum Source {
    /// A file, or a folder whose files are one list together.
    Path(PathBuf),
    /// An https:// address.
    Web {
        /// The address.
        url: String,
        /// What it asks for.
        login: Option<Login>,
        /// PEM file with the certificates that its own may be signed by; `None` takes the system's.
        ca_file: Option<PathBuf>,
    },
    /// An object, addressed in path style.
    S3 {
        /// The address of the bucket and key: `https://host/bucket/key`.
        url: String,
        /// The region that the signature names.
        region: String,
        /// Who reads it.
        credentials: Credentials,
        /// As for [`Source::Web`].
        ca_file: Option<PathBuf>,
    },
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Path(path) => write!(f, "{}", path.display()),
            Source::Web { url, .. } | Source::S3 { url, .. } => f.write_str(url),
        }
    }
}

/// What a service asks for.
#[derive(Clone, Debug)]
pub enum Login {
    /// RFC 7617.
    Basic {
        /// The user.
        username: String,
        /// Their password.
        password: Secret,
    },
    /// RFC 6750.
    Bearer(Secret),
}

/// `policy.flood:`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flood {
    /// Verified tenants that one entry may hit within the window.
    pub tenants: usize,
    /// Uploads that it may hit within the window.
    pub uploads: u64,
    /// How long hits count.
    pub window: Duration,
}

impl Default for Flood {
    fn default() -> Flood {
        // Few files are with ten customers that have nothing to do with each other, but for pictures that everybody has.
        Flood { tenants: 10, uploads: 1000, window: Duration::from_secs(3600) }
    }
}

/// One of `services:`
#[derive(Clone, Debug)]
pub struct Service {
    /// Its name in rules, records and metrics.
    pub name: String,
    /// What is spoken with it.
    pub protocol: Protocol,
    /// Its address, to which the protocol adds.
    pub endpoint: String,
    /// What it asks for.
    pub login: Option<Login>,
    /// PEM file with the certificates that its own may be signed by; `None` takes the system's.
    pub ca_file: Option<PathBuf>,
    /// Which digests it is asked about.
    pub algorithms: Algorithms,
    /// The category of what it says yes to, where it does not name one.
    pub category: String,
    /// For all that is asked about one payload.
    pub timeout: Duration,
    /// How long an answer counts.
    pub cache_time: Duration,
    /// How many answers are kept.
    pub cache_entries: usize,
}

/// `services[].protocol:`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// EOKM's.
    HashCheckServer,
}

/// `multipart:`
#[derive(Clone, Debug)]
pub struct Multipart {
    /// What happens to an upload whose whole object nobody hashed.
    pub unverifiable: Unverifiable,
    /// Room in memory for parts that come before their predecessors, of all uploads together, in bytes.
    pub spool_memory: u64,
    /// The same in files of the state folder; used when there is none in memory.
    pub spool_disk: u64,
    /// Memory for decoding objects in parts that are compressed, of all uploads together, in bytes.
    pub decoder_memory: u64,
    /// How long a part waits for room, or for its predecessors, before it is answered 503 SlowDown.
    pub spool_wait: Duration,
    /// How long parts wait for their predecessors when nothing of their upload comes any more.
    pub spool_idle: Duration,
    /// How long an upload is remembered after its last part.
    pub expire: Duration,
    /// Uploads that are remembered at once.
    pub uploads: usize,
    /// Parts of all uploads that are remembered at once; each costs about half a kilobyte.
    pub parts: usize,
}

impl Default for Multipart {
    fn default() -> Multipart {
        Multipart {
            unverifiable: Unverifiable::Refuse,
            // Eight parts of the size that most clients begin with.
            spool_memory: 64 << 20,
            spool_disk: 10 << 30,
            // A thousand of gzip, or 14 of zstd.
            decoder_memory: 128 << 20,
            // Below the silence that clients and stores bear.
            spool_wait: Duration::from_secs(20),
            spool_idle: Duration::from_secs(3600),
            expire: Duration::from_secs(7 * 24 * 3600),
            uploads: 10_000,
            parts: 100_000,
        }
    }
}

/// `encodings:`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encodings {
    /// Whether encoded payloads are decoded and looked up as their readers get them, too.
    pub decode: bool,
    /// Whether a payload that a header declares as encoded, and that could not be decoded within the bounds, is refused.
    pub undecodable_refused: bool,
    /// Layers that are undone.
    pub layers: usize,
    /// Decoded bytes for each encoded one, beyond the first mebibyte.
    pub ratio: u64,
    /// Decoded bytes of one payload.
    pub size: u64,
    /// Time of a processor for one payload.
    pub time: Duration,
}

impl Encodings {
    /// Whether an encoding is refused where no payload comes with it that could be looked up decoded.
    pub fn unseen_refused(&self) -> bool {
        self.decode && self.undecodable_refused
    }
}

impl Default for Encodings {
    fn default() -> Encodings {
        Encodings {
            decode: true,
            undecodable_refused: true,
            layers: 2,
            // Text packs by 10 to 30; a bomb by 1,000.
            ratio: 200,
            size: 100 << 30,
            time: Duration::from_secs(600),
        }
    }
}

/// `copies.unknown:`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownCopy {
    /// Let through: those bytes were at the store before.
    Allow,
    /// Refused.
    Refuse,
}

/// `multipart.unverifiable:`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unverifiable {
    /// Refused.
    Refuse,
    /// Let through, read at once with the gate's own credentials, and removed where it is listed. Until the verdict every
    /// request on its key is told to come again.
    ReadBack,
    /// Let through, and counted: an evasion by splitting is open.
    Allow,
}

/// `limits:`, every bound with its default.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Client connections at once; further ones wait to be accepted.
    pub connections: usize,
    /// For the head of a request, and for TLS and PROXY handshakes.
    pub header_timeout: Duration,
    /// Longest silence inside a request body, or of a client that does not take its answer.
    pub idle_timeout: Duration,
    /// Slowest average rate of a request body in bytes a second, looked at after `idle_timeout`.
    pub body_rate_min: u64,
    /// Longest time that a request body may take.
    pub upload_timeout: Duration,
    /// Largest XML body of CompleteMultipartUpload and DeleteObjects, in bytes.
    pub list_body: u64,
    /// Largest body of any other call that is not an upload, in bytes.
    pub control_body: u64,
    /// What is read and thrown away of a refused body before the connection is closed, in bytes.
    pub drain: u64,
    /// For connecting to the origin, TLS included.
    pub connect_timeout: Duration,
    /// Longest time that the origin takes no byte of a body, or sends none of an answer.
    pub origin_timeout: Duration,
    /// How long an unused connection to the origin is kept.
    pub origin_idle: Duration,
    /// Policy refusals a minute from one address before its uploads are answered 503 SlowDown (pass-through only).
    pub refusals_per_minute: u32,
    /// For requests in flight when the gate is told to stop.
    pub drain_timeout: Duration,
    /// Refusals leave on multiples of this after their request came.
    pub refusal_grid: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 10_000,
            header_timeout: Duration::from_secs(30),
            // Below MinIO's own 30 seconds, so that a silent client gets our answer and not a broken connection.
            idle_timeout: Duration::from_secs(25),
            body_rate_min: 1024,
            upload_timeout: Duration::from_secs(24 * 3600),
            list_body: 8 << 20,
            control_body: 1 << 20,
            drain: 1 << 20,
            connect_timeout: Duration::from_secs(5),
            // Stores that join large uploads at the end take minutes to answer.
            origin_timeout: Duration::from_secs(300),
            // Shorter than the idle time-outs of the stores, so that a connection is not closed as it is taken.
            origin_idle: Duration::from_secs(10),
            refusals_per_minute: 10_000,
            drain_timeout: Duration::from_secs(30),
            // Longer than a lookup and a synced write of a small payload take.
            refusal_grid: Duration::from_millis(250),
        }
    }
}

/// `log:`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// JSON lines, or lines for a terminal.
    pub json: bool,
    /// The least level that is written.
    pub level: tracing::Level,
}

/// A secret: masked in `Debug`, never serialised, compared in constant time where that matters.
#[derive(Clone)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Wraps a secret text.
    pub fn new(text: &str) -> Secret {
        Secret(text.into())
    }

    /// The text itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}
