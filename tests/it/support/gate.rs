//! The gate under test, with a folder of its own. `HASHGATE_TEST_LOG=1` shows what it logs.

use super::client::{Client, Response};
use super::store::Store;
use hashgate::serve::Running;
use serde_yaml::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// How the gate knows its callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    PassThrough,
    Verify,
}

impl Mode {
    pub(crate) const BOTH: [Mode; 2] = [Mode::PassThrough, Mode::Verify];
}

/// A gate in front of `store`, not yet started.
pub(crate) fn gate(store: &Store) -> Builder {
    Builder { store: store.clone(), lists: Vec::new(), mode: Mode::PassThrough, yaml: Vec::new(), files: Vec::new() }
}

pub(crate) struct Builder {
    store: Store,
    lists: Vec<(String, String)>,
    mode: Mode,
    yaml: Vec<String>,
    files: Vec<(String, Vec<u8>)>,
}

impl Builder {
    /// Adds a list with these digests.
    pub(crate) fn list<S: AsRef<str>>(mut self, name: &str, digests: impl IntoIterator<Item = S>) -> Builder {
        let mut lines = String::new();
        for digest in digests {
            writeln!(lines, "{}", digest.as_ref()).expect("a String takes every write");
        }
        self.lists.push((name.into(), lines));
        self
    }

    pub(crate) fn mode(mut self, mode: Mode) -> Builder {
        self.mode = mode;
        self
    }

    /// Merges YAML into the configuration; later keys win. `{dir}` is the gate's folder.
    pub(crate) fn yaml(mut self, yaml: &str) -> Builder {
        self.yaml.push(yaml.into());
        self
    }

    pub(crate) async fn start(self) -> Gate {
        if std::env::var_os("HASHGATE_TEST_LOG").is_some() {
            // Only the first gate of the process can set it.
            tracing_subscriber::fmt().with_test_writer().try_init().ok();
        }
        let store = self.store.clone();
        let (folder, _) = self.write();
        Gate::run(store, Evidence(folder)).await
    }

    /// Writes lists and configuration into a folder of their own; the path is that of the configuration.
    pub(crate) fn write(mut self) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let dir = folder.path().to_owned();
        if self.lists.is_empty() {
            // A gate without an entry to look for does not start.
            self = self.list("sample", ["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"]);
        }
        let store = &self.store;
        let mut yaml = format!(
            "listen: {{ address: 127.0.0.1:0 }}\n\
             admin: {{ address: 127.0.0.1:0 }}\n\
             state: {{ dir: {} }}\n\
             limits: {{ refusal_grid: 5ms }}\n\
             origin: {{ endpoint: 'http://{}', kind: {}, region: {}, plain_chunked: false }}\n\
             lists:\n",
            dir.join("state").display(),
            store.address,
            store.kind(),
            store.region,
        );
        for (name, lines) in &self.lists {
            let path = dir.join(format!("{name}.txt"));
            std::fs::write(&path, lines).expect("writable");
            writeln!(yaml, "  - {{ name: {name}, source: {}, category: 'house:test' }}", path.display())
                .expect("a String takes every write");
        }
        for (name, bytes) in &self.files {
            std::fs::write(dir.join(name), bytes).expect("writable");
        }
        let mut config: Value = serde_yaml::from_str(&yaml).expect("YAML");
        if self.mode == Mode::Verify {
            let users = format!(
                "authentication: {{ mode: verify, users: [ {{ access_key: {}, secret_key: {}, tenant: acme }} ] }}",
                store.access_key, store.secret_key
            );
            merge(&mut config, serde_yaml::from_str(&users).expect("YAML"));
        }
        for extra in &self.yaml {
            let extra = extra.replace("{dir}", &dir.display().to_string());
            merge(&mut config, serde_yaml::from_str(&extra).unwrap_or_else(|e| panic!("{e} in {extra}")));
        }
        let path = dir.join("hashgate.yaml");
        std::fs::write(&path, serde_yaml::to_string(&config).expect("YAML")).expect("writable");
        (folder, path)
    }
}

/// Puts `extra` over `base`, mapping by mapping.
fn merge(base: &mut Value, extra: Value) {
    match (base, extra) {
        (Value::Mapping(base), Value::Mapping(extra)) => {
            for (key, value) in extra {
                match base.get_mut(&key) {
                    Some(old) => merge(old, value),
                    None => {
                        base.insert(key, value);
                    }
                }
            }
        }
        (base, extra) => *base = extra,
    }
}

/// A running gate.
pub(crate) struct Gate {
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) running: Running,
    pub(crate) store: Store,
    folder: Evidence,
}

/// The gate's folder; a test that fails shows what the gate wrote down.
pub(crate) struct Evidence(tempfile::TempDir);

impl Evidence {
    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Gate {
    async fn run(store: Store, folder: Evidence) -> Gate {
        let path = folder.0.path().join("hashgate.yaml");
        let settings = hashgate::config::load(&path).unwrap_or_else(|e| panic!("the configuration is refused: {e:?}"));
        let running =
            hashgate::serve::start(settings).await.unwrap_or_else(|e| panic!("the gate does not start: {e:?}"));
        Gate {
            address: running.address(),
            admin: running.admin_address().expect("an admin address is configured"),
            running,
            store,
            folder,
        }
    }

    /// Ends it and starts it anew on the same folder; its addresses change.
    pub(crate) async fn restart(self) -> Gate {
        let Gate { running, store, folder, .. } = self;
        running.stop().await;
        Gate::run(store, folder).await
    }

    /// A client of the store's user that goes through the gate.
    pub(crate) fn client(&self) -> Client {
        Client::new(&self.store, self.address)
    }

    /// The gate's folder.
    pub(crate) fn dir(&self) -> &Path {
        self.folder.0.path()
    }

    /// What `/metrics` says now.
    pub(crate) async fn metrics(&self) -> Metrics {
        let text = self.metrics_text().await;
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        Metrics(
            lines
                .map(|line| {
                    let (name, value) = line.rsplit_once(' ').expect("a sample has a value");
                    (name.to_owned(), value.parse().expect("a sample's value is a number"))
                })
                .collect(),
        )
    }

    pub(crate) async fn metrics_text(&self) -> String {
        let client = Client { address: self.admin, ..self.client() };
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.admin);
        let answer = client.raw(request.as_bytes(), false).await.expect("metrics");
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.text()
    }

    /// Status and text of `/readyz`.
    pub(crate) async fn ready(&self) -> (u16, String) {
        let client = Client { address: self.admin, ..self.client() };
        let request = format!("GET /readyz HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.admin);
        let answer = client.raw(request.as_bytes(), false).await.expect("an answer");
        (answer.status, answer.text())
    }

    /// The gauge of an alarm.
    pub(crate) async fn alarm(&self, alarm: &str) -> bool {
        self.metrics().await.0[&format!("hashgate_alarm{{alarm=\"{alarm}\"}}")] == 1.0
    }

    /// Waits until no client connection is open and no upload in flight.
    pub(crate) async fn quiet(&self) {
        super::eventually("gauges back at nought", async || {
            let metrics = self.metrics().await;
            let busy = metrics.sum("hashgate_connections_open") + metrics.sum("hashgate_uploads_in_flight");
            (busy == 0.0).then_some(())
        })
        .await;
    }

    /// The audit lines about requests that were written so far.
    pub(crate) fn audit(&self) -> Vec<serde_json::Value> {
        self.audit_of_all().into_iter().filter(|line| line.get("request").is_some()).collect()
    }

    /// All audit lines, also those about the gate itself.
    pub(crate) fn audit_of_all(&self) -> Vec<serde_json::Value> {
        let lines = self.audit_text();
        let complete = lines.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        complete.map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("audit line {line:?}: {e}"))).collect()
    }

    pub(crate) fn audit_text(&self) -> String {
        audit_text(self.dir())
    }

    /// Waits for the audit line that `wanted` picks.
    pub(crate) async fn audit_line(
        &self,
        what: &str,
        wanted: impl Fn(&serde_json::Value) -> bool,
    ) -> serde_json::Value {
        super::eventually(&format!("an audit line: {what}"), async || self.audit_of_all().into_iter().find(&wanted))
            .await
    }

    pub(crate) async fn stop(self) {
        self.running.stop().await;
    }

    /// The same, for who looks into its folder afterwards.
    pub(crate) async fn stop_and_keep(self) -> Evidence {
        let Gate { running, folder, .. } = self;
        running.stop().await;
        folder
    }
}

fn audit_text(dir: &Path) -> String {
    let mut text = String::new();
    for path in files(&dir.join("state")) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with("audit") && name.ends_with(".log") {
            text += &String::from_utf8_lossy(&std::fs::read(&path).expect("readable"));
        }
    }
    text
}

/// The program itself with a configuration, and where it listens, for clients and for operators: what it logs goes to a pipe,
/// and its clients do not log there.
pub(crate) fn spawn(config: &Path) -> (Child, SocketAddr, SocketAddr) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_hashgate"))
        .args(["serve", "--config"])
        .arg(config)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().expect("piped")).read_line(&mut line).expect("a line");
    let mut addresses = line.split("http://").skip(1).map(|rest| {
        let end = rest.find([',', '\n', '/']).unwrap_or(rest.len());
        rest[..end].parse().unwrap_or_else(|e| panic!("{e} in {line}"))
    });
    let (address, admin) = (addresses.next().expect("one"), addresses.next().expect("two"));
    (child, address, admin)
}

/// SIGTERM: it ends in order, and this is what it logged.
pub(crate) fn end_in_order(mut child: Child) -> String {
    let ended = Command::new("kill").arg(child.id().to_string()).status().expect("kill is there");
    assert!(ended.success() && child.wait().expect("its end").success());
    let mut log = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut log).expect("text");
    log
}

/// Every file below a folder.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// Samples by name and labels as they stand in the text.
pub(crate) struct Metrics(pub(crate) BTreeMap<String, f64>);

impl Metrics {
    /// The sum over all labels of a metric; 0 where it has no sample.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        let samples = self.0.iter().filter(|(key, _)| key.split('{').next() == Some(name));
        samples.map(|(_, value)| value).sum()
    }
}

/// The value of a field anywhere in an audit line.
pub(crate) fn field<'a>(line: &'a serde_json::Value, name: &str) -> Option<&'a serde_json::Value> {
    match line {
        serde_json::Value::Object(map) => map.get(name).or_else(|| map.values().find_map(|value| field(value, name))),
        serde_json::Value::Array(items) => items.iter().find_map(|item| field(item, name)),
        _ => None,
    }
}

/// Refused because of a list: 403 AccessDenied in XML, and nothing that says why.
#[track_caller]
pub(crate) fn assert_refused(response: &Response) {
    assert_eq!(response.status, 403, "{response:?}");
    assert_eq!(response.code(), "AccessDenied", "{response:?}");
    let message = response.element("Message").unwrap_or_default();
    assert_eq!(message.trim_end_matches('.'), "Access Denied", "{response:?}");
}

/// The store has exactly these bytes under `target`, with this ETag.
pub(crate) async fn assert_stored_exactly(store: &Store, target: &str, bytes: &[u8], etag: Option<&str>) {
    let got = store.client().get(target).await;
    assert_eq!(got.status, 200, "{target} at {}: {got:?}", store.name);
    assert!(got.body == bytes, "{target} at {}: other bytes ({} of {})", store.name, got.body.len(), bytes.len());
    if let Some(etag) = etag {
        assert_eq!(got.header("etag"), Some(etag), "{target} at {}", store.name);
    }
}

/// The store has nothing under `target`.
pub(crate) async fn assert_absent(store: &Store, target: &str) {
    let head = store.client().head(target).await;
    assert_eq!(head.status, 404, "{target} at {}: {head:?}", store.name);
}

impl Drop for Evidence {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let audit = audit_text(self.0.path());
            let last: Vec<&str> = audit.lines().rev().take(5).collect();
            println!("the last audit lines, newest first:\n{}", last.join("\n"));
        }
    }
}
