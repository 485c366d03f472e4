//! Webhooks: who is told what has happened, at least once.
//!
//! An event is a file for each webhook that wants it, in the state folder, before anybody is told: neither a restart nor
//! a receiver that is away loses one. It is delivered as Standard Webhooks 1.0.0 has it, signed with the gate's key, and
//! tried again at growing intervals until the receiver says 2xx. What an alarm or the quarantine has to say is kept in
//! memory while the disk takes no file. It carries no digest, no object's key and nothing about a person.

use crate::config::settings::{Event, Webhook};
use crate::forward::RootsError;
use crate::record::Metrics;
use crate::signing::Signing;
use crate::web::Web;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{Method, Request, Uri};
use http_body_util::Full;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

const FOLDER: &str = "events";

/// Events that wait for one webhook before the oldest matches are dropped.
const WAITING_MAX: usize = 10_000;

/// Events that are kept in memory for one webhook while the disk takes none.
const IN_MEMORY_MAX: usize = 1000;

/// For a receiver to answer; Standard Webhooks asks for 15 to 30 seconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// After the first failure of an event; twice as long after each further one.
const RETRY_FIRST: Duration = Duration::from_secs(1);

/// The longest wait between two tries.
const RETRY_LAST: Duration = Duration::from_secs(300);

/// Why events cannot be kept or sent.
#[derive(Debug, thiserror::Error)]
pub enum EventsError {
    /// The folder.
    #[error("{0}: {1}")]
    Folder(PathBuf, io::Error),
    /// The certificates to trust.
    #[error("webhooks: {0}")]
    Roots(#[from] RootsError),
}

/// The webhooks, and what waits for them.
pub struct Events {
    dir: PathBuf,
    hooks: Vec<Hook>,
    signing: Arc<Signing>,
    metrics: Metrics,
    /// Tells events of one microsecond apart.
    count: AtomicU64,
}

struct Hook {
    settings: Webhook,
    /// What the names of its files begin with: it stays when the order of the configuration changes.
    tag: String,
    /// What the log calls it: whoever knows the rest of a URL may be able to post to it.
    name: String,
    web: Web,
    queue: Mutex<Queue>,
    /// There is something new.
    news: Notify,
}

/// What waits, by id: ids are in the order of time.
#[derive(Default)]
struct Queue {
    waiting: BTreeMap<String, Waiting>,
    /// The last try failed, and nothing is tried before this.
    paused: Option<Instant>,
}

struct Waiting {
    event: Event,
    failures: u32,
    due: Instant,
    /// Where the disk did not take it.
    body: Option<Bytes>,
}

impl Waiting {
    fn new(event: Event, body: Option<Bytes>) -> Waiting {
        Waiting { event, failures: 0, due: Instant::now(), body }
    }
}

impl Events {
    /// Opens the folder below the state folder; without a webhook there is none.
    ///
    /// # Errors
    /// It cannot be used; the certificates of a webhook cannot be read.
    pub fn open(
        webhooks: &[Webhook],
        state_dir: &Path,
        signing: Arc<Signing>,
        metrics: Metrics,
    ) -> Result<Events, EventsError> {
        let dir = state_dir.join(FOLDER);
        let hook = |settings: &Webhook| {
            let web = Web::new(settings.ca_file.as_deref())?;
            let tag = blake3::hash(settings.url.as_bytes()).to_hex()[..16].to_owned();
            Ok::<_, EventsError>(Hook {
                settings: settings.clone(),
                name: name(&settings.url, &tag),
                tag,
                web,
                queue: Mutex::default(),
                news: Notify::new(),
            })
        };
        let hooks = webhooks.iter().map(hook).collect::<Result<Vec<_>, _>>()?;
        let events = Events { dir, hooks, signing, metrics, count: AtomicU64::new(0) };
        if !events.hooks.is_empty() {
            events.take_up().map_err(|error| EventsError::Folder(events.dir.clone(), error))?;
            tracing::info!(key = events.signing.webhook_public(), "webhooks are signed; receivers check with this key");
        }
        Ok(events)
    }

    /// Events that wait, for all webhooks together.
    pub fn waiting(&self) -> usize {
        self.hooks.iter().map(|hook| hook.queue().waiting.len()).sum()
    }

    /// Keeps an event for every webhook that wants its kind. It is in a file when this returns, and that of an alarm or of
    /// the quarantine is synced, or in memory where the disk takes none. It blocks for that long.
    pub fn publish(&self, event: Event, data: Map<String, Value>) {
        let wanted = |hook: &&Hook| hook.settings.events.contains(&event);
        if !self.hooks.iter().any(|hook| wanted(&hook)) {
            return;
        }
        let now = OffsetDateTime::now_utc();
        let id = self.id(now);
        let time = now.format(&Rfc3339).unwrap_or_default();
        let body = Bytes::from(json!({ "type": word(event), "timestamp": time, "data": data }).to_string());
        for hook in self.hooks.iter().filter(wanted) {
            if !self.make_room(hook, event) {
                self.metrics.event("dropped");
                continue;
            }
            let file = self.file(hook, &id, event);
            let written = write(&file, &body, is_weighty(event));
            let mut queue = hook.queue();
            let in_memory = written.is_err().then(|| body.clone());
            if let Err(error) = written {
                if !is_weighty(event) || queue.in_memory().count() >= IN_MEMORY_MAX {
                    tracing::error!(webhook = hook.name, "{}: an event is lost: {error}", file.display());
                    self.metrics.event("lost");
                    continue;
                }
                tracing::error!(webhook = hook.name, "{}: an event is in memory only: {error}", file.display());
            }
            queue.waiting.insert(id.clone(), Waiting::new(event, in_memory));
            hook.news.notify_one();
        }
        self.metrics.events_waiting(self.waiting());
    }

    /// Writes to the disk what it did not take before. It blocks.
    pub fn settle(&self) {
        for hook in &self.hooks {
            let in_memory: Vec<_> = hook.queue().in_memory().collect();
            for (id, event, body) in in_memory {
                let file = self.file(hook, &id, event);
                if write(&file, &body, is_weighty(event)).is_err() {
                    // Nor will it take the others.
                    break;
                }
                let still_waits = hook.queue().waiting.get_mut(&id).map(|waiting| waiting.body = None).is_some();
                if !still_waits {
                    // Delivered meanwhile.
                    self.remove(hook, &id, event);
                }
            }
        }
    }

    /// Takes up what an earlier process has left.
    fn take_up(&self) -> io::Result<()> {
        fs::create_dir_all(&self.dir)?;
        let mut nobodys = 0;
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.extension().is_some_and(|end| end == "new") {
                // Its writer did not come to its end, so nobody relied on it.
                fs::remove_file(&path)?;
                continue;
            }
            let Some((tag, id, event)) = parse(name) else { continue };
            match self.hooks.iter().find(|hook| hook.tag == tag) {
                Some(hook) => {
                    hook.queue().waiting.insert(id.to_owned(), Waiting::new(event, None));
                }
                None => nobodys += 1,
            }
        }
        if nobodys > 0 {
            tracing::warn!(
                "{}: {nobodys} events wait for webhooks that are configured no more; remove them, or bring those back",
                self.dir.display()
            );
        }
        self.metrics.events_waiting(self.waiting());
        Ok(())
    }

    /// Drops the oldest of what may be dropped while too much waits. False where it is `event` itself that must go.
    fn make_room(&self, hook: &Hook, event: Event) -> bool {
        let mut queue = hook.queue();
        while queue.waiting.len() >= WAITING_MAX {
            let oldest = |event| queue.waiting.iter().find(|(_, waiting)| waiting.event == event);
            // A later checkpoint says all that an earlier one did.
            let Some((id, waiting)) = oldest(Event::Match).or_else(|| oldest(Event::Checkpoint)) else {
                return is_weighty(event);
            };
            let (id, kind) = (id.clone(), waiting.event);
            queue.waiting.remove(&id);
            self.remove(hook, &id, kind);
            self.metrics.event("dropped");
        }
        true
    }

    /// Tells one receiver about one event. `Err` says why it must be tried again.
    async fn deliver(&self, hook: &Hook, id: &str, event: Event) -> Result<(), String> {
        let Some(body) = self.body(hook, id, event)? else { return Ok(()) };
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let request = Request::builder()
            .method(Method::POST)
            .uri(&hook.settings.url)
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("hashgate/", env!("CARGO_PKG_VERSION")))
            .header("webhook-id", id)
            .header("webhook-timestamp", now)
            .header("webhook-signature", self.signing.sign_webhook(id, now, &body))
            .body(Full::new(body))
            .map_err(|error| error.to_string())?;
        let answer = hook.web.send(request, ANSWER_TIMEOUT).await.map_err(|error| error.to_string())?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            status => Err(format!("it answers {}", status.as_u16())),
        }
    }

    /// What is to be told; `None` where it was dropped.
    fn body(&self, hook: &Hook, id: &str, event: Event) -> Result<Option<Bytes>, String> {
        match hook.queue().waiting.get(id).map(|waiting| waiting.body.clone()) {
            Some(Some(in_memory)) => return Ok(Some(in_memory)),
            Some(None) => {}
            None => return Ok(None),
        }
        let file = self.file(hook, id, event);
        match fs::read(&file) {
            Ok(body) => Ok(Some(body.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("{}: {error}", file.display())),
        }
    }

    fn delivered(&self, hook: &Hook, id: &str, event: Event) {
        self.metrics.event("delivered");
        // Taken out first: whoever writes it down now finds that it waits no more, and removes the file.
        let was = hook.queue().waiting.remove(id);
        if was.is_some_and(|waiting| waiting.body.is_none()) {
            self.remove(hook, id, event);
        }
        let mut queue = hook.queue();
        if queue.paused.take().is_some() {
            tracing::info!(webhook = hook.name, "it takes events again");
            // What waits for a receiver that was away need not wait longer.
            let now = Instant::now();
            queue.waiting.values_mut().for_each(|waiting| waiting.due = now);
        }
    }

    fn has_failed(&self, hook: &Hook, id: &str, why: &str) {
        self.metrics.event("failed");
        let now = Instant::now();
        let mut queue = hook.queue();
        if queue.paused.replace(now + jittered(RETRY_FIRST)).is_none() {
            tracing::warn!(webhook = hook.name, "it does not take events: {why}");
        }
        if let Some(waiting) = queue.waiting.get_mut(id) {
            let wait = RETRY_FIRST * (1 << waiting.failures.min(16));
            waiting.due = now + jittered(wait.min(RETRY_LAST));
            waiting.failures += 1;
        }
    }

    fn remove(&self, hook: &Hook, id: &str, event: Event) {
        let file = self.file(hook, id, event);
        match fs::remove_file(&file) {
            // Dropped while it was being delivered.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::error!("{}: {error}", file.display()),
            Ok(()) => {}
        }
    }

    fn file(&self, hook: &Hook, id: &str, event: Event) -> PathBuf {
        self.dir.join(format!("{}.{id}.{}", hook.tag, word(event)))
    }

    /// In the order of time, and never given twice: a receiver tells by it what it has had already.
    fn id(&self, now: OffsetDateTime) -> String {
        let mut random = [0; 4];
        // Without randomness the time and the count still are those of one process.
        getrandom::fill(&mut random).ok();
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let micros = now.unix_timestamp_nanos() / 1000;
        format!("evt_{micros:016x}{:04x}{}", count & 0xffff, hex::encode(random))
    }
}

impl Queue {
    /// What the disk did not take, in order.
    fn in_memory(&self) -> impl Iterator<Item = (String, Event, Bytes)> {
        self.waiting.iter().filter_map(|(id, waiting)| Some((id.clone(), waiting.event, waiting.body.clone()?)))
    }
}

impl Hook {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is tried next: of what is due, that which has failed least, so that one event which its receiver never takes
    /// keeps no other back. `Err` says when something will be due.
    fn next(&self) -> Result<(String, Event), Option<Instant>> {
        let (queue, now) = (self.queue(), Instant::now());
        if let Some(paused) = queue.paused.filter(|paused| *paused > now && !queue.waiting.is_empty()) {
            return Err(Some(paused));
        }
        let due = queue.waiting.iter().filter(|(_, waiting)| waiting.due <= now);
        match due.min_by_key(|(_, waiting)| waiting.failures) {
            Some((id, waiting)) => Ok((id.clone(), waiting.event)),
            None => Err(queue.waiting.values().map(|waiting| waiting.due).min()),
        }
    }
}

/// Delivers to every webhook, until the gate ends.
pub async fn run(events: Arc<Events>, stop: watch::Receiver<bool>) {
    let each = (0..events.hooks.len()).map(|at| tokio::spawn(run_one(events.clone(), at, stop.clone())));
    for task in each.collect::<Vec<_>>() {
        if let Err(error) = task.await {
            tracing::error!("a webhook is no longer told: {error}");
        }
    }
}

async fn run_one(events: Arc<Events>, at: usize, mut stop: watch::Receiver<bool>) {
    let hook = &events.hooks[at];
    loop {
        let (id, event) = match hook.next() {
            Ok(next) => next,
            Err(due) => {
                let due = async {
                    match due {
                        Some(due) => sleep_until(due).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    () = due => {}
                    () = hook.news.notified() => {}
                    _ = stop.wait_for(|stop| *stop) => return,
                }
                continue;
            }
        };
        // Cut off by the end of the gate it may have been delivered, and will be again: at least once.
        let delivered = tokio::select! {
            delivered = events.deliver(hook, &id, event) => delivered,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        match delivered {
            Ok(()) => events.delivered(hook, &id, event),
            Err(why) => events.has_failed(hook, &id, &why),
        }
        events.metrics.events_waiting(events.waiting());
    }
}

/// Writes a file that is there whole or not at all.
fn write(file: &Path, body: &[u8], synced: bool) -> io::Result<()> {
    let mut new = file.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let write_new = || {
        let mut written = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        written.write_all(body)?;
        if synced {
            written.sync_all()?;
        }
        fs::rename(&new, file)
    };
    write_new().inspect_err(|_| {
        // A full disk does not keep halves; where this fails, too, the next start removes it.
        fs::remove_file(&new).ok();
    })?;
    match file.parent().filter(|_| synced) {
        // Without it the name may be gone after a crash.
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// What is never dropped while the disk is full, or a receiver away.
fn is_weighty(event: Event) -> bool {
    matches!(event, Event::Alarm | Event::Quarantine)
}

/// What a URL is called in the log. User, path and query may be all that a receiver asks for.
fn name(url: &str, tag: &str) -> String {
    let url = url.parse::<Uri>().unwrap_or_default();
    let port = url.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
    let (scheme, host) = (url.scheme_str().unwrap_or_default(), url.host().unwrap_or_default());
    format!("{scheme}://{host}{port} ({})", &tag[..8])
}

/// Tag, id and kind, from the name of a file.
fn parse(name: &str) -> Option<(&str, &str, Event)> {
    let (tag, rest) = name.split_once('.')?;
    let (id, kind) = rest.split_once('.')?;
    let (_, event) = Event::ALL.into_iter().find(|(word, _)| *word == kind)?;
    Some((tag, id, event))
}

fn word(event: Event) -> &'static str {
    Event::ALL.into_iter().find(|(_, known)| *known == event).map_or("", |(word, _)| word)
}

/// Up to half less, so that many gates do not come back to one receiver at the same moment.
fn jittered(wait: Duration) -> Duration {
    let mut random = [0; 2];
    // Without randomness there is no jitter.
    let share = getrandom::fill(&mut random).map_or(1.0, |()| f64::from(u16::from_le_bytes(random)) / 65536.0);
    wait.mul_f64(0.5 + 0.5 * share)
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::Registry;

    fn open(dir: &Path, url: &str) -> Events {
        let metrics = Metrics::new(Registry::new()).unwrap();
        let webhook =
            Webhook { url: url.to_owned(), ca_file: None, events: vec![Event::Match, Event::Alarm, Event::Quarantine] };
        Events::open(&[webhook], dir, Arc::new(Signing::open(dir).unwrap()), metrics).unwrap()
    }

    fn number(n: usize) -> Map<String, Value> {
        json!({ "n": n }).as_object().cloned().unwrap()
    }

    fn kinds(events: &Events) -> Vec<Event> {
        events.hooks[0].queue().waiting.values().map(|waiting| waiting.event).collect()
    }

    #[test]
    fn too_many_matches_are_dropped_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let events = open(dir.path(), "http://127.0.0.1:1/");
        events.publish(Event::Alarm, number(0));
        for n in 0..WAITING_MAX + 2 {
            events.publish(Event::Match, number(n));
        }
        events.publish(Event::Checkpoint, number(0));
        events.publish(Event::Quarantine, number(0));
        assert_eq!(events.waiting(), WAITING_MAX);
        let kinds = kinds(&events);
        assert_eq!((kinds[0], kinds[1], kinds[WAITING_MAX - 1]), (Event::Alarm, Event::Match, Event::Quarantine));
        assert!(events.metrics.render().unwrap().contains("hashgate_events_total{result=\"dropped\"} 4"));
        assert_eq!(fs::read_dir(dir.path().join(FOLDER)).unwrap().count(), WAITING_MAX);
    }

    /// What waits is there after a restart, in its order; what was half written is not, and what another webhook waits for
    /// is left alone.
    #[test]
    fn a_restart_takes_up_what_waits() {
        let dir = tempfile::tempdir().unwrap();
        let events = open(dir.path(), "http://127.0.0.1:1/");
        for event in [Event::Quarantine, Event::Match, Event::Alarm] {
            events.publish(event, number(1));
        }
        let half = events.file(&events.hooks[0], "evt_0", Event::Match).display().to_string() + ".new";
        fs::write(&half, "{").unwrap();
        let other = open(dir.path(), "http://127.0.0.1:2/");
        assert_eq!((other.waiting(), Path::new(&half).exists()), (0, false));
        let again = open(dir.path(), "http://127.0.0.1:1/");
        assert_eq!(kinds(&again), [Event::Quarantine, Event::Match, Event::Alarm]);
    }

    /// A new event does not wait behind one that its receiver never takes, and a receiver that is away is not asked without
    /// rest.
    #[tokio::test(start_paused = true)]
    async fn what_fails_waits_longer_each_time_and_holds_nothing_up() {
        let dir = tempfile::tempdir().unwrap();
        let events = open(dir.path(), "http://127.0.0.1:1/");
        let hook = &events.hooks[0];
        events.publish(Event::Match, number(1));
        let (bad, _) = hook.next().unwrap();
        let mut waits = Vec::new();
        for _ in 0..12 {
            events.has_failed(hook, &bad, "a reason");
            waits.push(hook.queue().waiting[&bad].due - Instant::now());
            tokio::time::advance(RETRY_LAST).await;
        }
        assert!(waits[0] <= RETRY_FIRST && waits[11] >= RETRY_LAST / 2 && waits[11] <= RETRY_LAST, "{waits:?}");
        events.publish(Event::Alarm, number(2));
        let (next, event) = hook.next().unwrap();
        assert_eq!(event, Event::Alarm, "though the other is due, too");
        events.has_failed(hook, &next, "a reason");
        assert!(hook.next().is_err(), "a rest after each failure");
        tokio::time::advance(RETRY_FIRST).await;
        events.delivered(hook, &next, event);
        assert_eq!(hook.next(), Ok((bad, Event::Match)), "it takes events again: nothing waits longer");
    }

    /// A disk that takes nothing: what an alarm and the quarantine say is kept in memory, told from there, and written
    /// down when it can be.
    #[tokio::test]
    async fn a_full_disk_keeps_no_alarm_back() {
        let dir = tempfile::tempdir().unwrap();
        let events = open(dir.path(), "http://127.0.0.1:1/");
        let (hook, folder) = (&events.hooks[0], dir.path().join(FOLDER));
        fs::remove_dir(&folder).unwrap();
        fs::write(&folder, "a file is in the way").unwrap();
        events.publish(Event::Match, number(0));
        events.publish(Event::Alarm, number(1));
        events.publish(Event::Quarantine, number(2));
        assert_eq!(kinds(&events), [Event::Alarm, Event::Quarantine]);
        events.settle();
        let (id, event) = hook.next().unwrap();
        let body = events.body(hook, &id, event).unwrap().expect("from memory");
        assert!(String::from_utf8_lossy(&body).contains("{\"n\":1}"));
        events.delivered(hook, &id, event);

        fs::remove_file(&folder).unwrap();
        fs::create_dir(&folder).unwrap();
        events.settle();
        assert_eq!((hook.queue().in_memory().count(), fs::read_dir(&folder).unwrap().count()), (0, 1));
        let again = open(dir.path(), "http://127.0.0.1:1/");
        assert_eq!(kinds(&again), [Event::Quarantine]);
        let (id, event) = hook.next().unwrap();
        assert!(events.body(hook, &id, event).unwrap().is_some(), "from the file");
        events.delivered(hook, &id, event);
        assert_eq!((events.waiting(), fs::read_dir(&folder).unwrap().count()), (0, 0));
    }

    #[test]
    fn memory_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let events = open(dir.path(), "http://127.0.0.1:1/");
        fs::remove_dir(dir.path().join(FOLDER)).unwrap();
        for n in 0..=IN_MEMORY_MAX {
            events.publish(Event::Alarm, number(n));
        }
        assert_eq!(events.waiting(), IN_MEMORY_MAX);
        assert!(events.metrics.render().unwrap().contains("hashgate_events_total{result=\"lost\"} 1"));
    }

    #[test]
    fn the_log_names_no_secret_of_a_url() {
        let named =
            name("https://user:pass@hooks.example.test:8443/services/T0/B0/secret?token=secret", "0123456789abcdef");
        assert_eq!(named, "https://hooks.example.test:8443 (01234567)");
    }
}
