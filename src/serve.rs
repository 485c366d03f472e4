//! Starting a gate, reloading it, stopping it.

use crate::act::events::EventsError;
use crate::act::{
    Canary, Events, ObserveAll, Quarantine, ReadBacks, Rechecks, canary, events, quarantine, read_back, recheck,
};
use crate::admin;
use crate::ask::Services;
use crate::config::settings::{Event, Settings};
use crate::forward::{Origin, RootsError};
use crate::gate::{Gate, Opened};
use crate::list::index::seal::KeyError;
use crate::list::{Decisions, Keeping, ListError, Lists};
use crate::listen::{self, TlsError, TlsIdentity};
use crate::multipart::{self, Multipart};
use crate::record::{Alarm, Alarms, Audit, AuditError, Checkpoint, Heard, Metrics, Run, Sinks};
use prometheus::Registry;
use serde_json::{Value, json};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};

/// Why a gate did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Lists that cannot be used.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Lists(Vec<ListError>),
    /// The state folder.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// What is known of uploads in parts.
    #[error("state.dir: {0}")]
    State(#[from] io::Error),
    /// The certificate for clients.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The certificates of the origin.
    #[error("origin: {0}")]
    Roots(#[from] RootsError),
    /// The key of operators' decisions.
    #[error("state.dir: {0}")]
    Decisions(KeyError),
    /// Webhooks.
    #[error(transparent)]
    Events(#[from] EventsError),
    /// The certificates of a service.
    #[error("services: {0}")]
    ServiceRoots(RootsError),
    /// What is kept.
    #[error(transparent)]
    Quarantine(#[from] quarantine::OpenError),
    /// A socket.
    #[error("{0}: cannot listen on {1}: {2}")]
    Bind(&'static str, SocketAddr, io::Error),
    /// The metrics.
    #[error(transparent)]
    Metrics(#[from] prometheus::Error),
}

/// A gate that runs. Dropped, it goes on; [`Running::stop`] ends it.
pub struct Running {
    gate: Arc<Gate>,
    tls: Option<Arc<TlsIdentity>>,
    address: SocketAddr,
    admin_address: Option<SocketAddr>,
    stopping: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

/// Starts a gate: everything that can be wrong is found before the first client is accepted.
pub async fn start(settings: Settings) -> Result<Running, StartError> {
    let metrics = Metrics::new(Registry::new())?;
    // First of all: it locks the state folder.
    let audit = Arc::new(Audit::open(&settings.state_dir, settings.audit.rotate)?);
    let (sources, keeping) = (settings.lists.clone(), Keeping::of(&settings));
    let lists = spawn_blocking(move || Lists::load(&sources, keeping)).await.map_err(io::Error::other)?;
    let lists = Arc::new(lists.map_err(StartError::Lists)?);
    let opened = open(&settings, &audit, &metrics)?;
    let events =
        Arc::new(Events::open(&settings.webhooks, &settings.state_dir, audit.signing().clone(), metrics.clone())?);
    let alarms = Arc::new(Alarms::new(metrics.clone(), audit.clone(), events.clone()));
    let tls = settings.listen.tls.as_ref().map(TlsIdentity::load).transpose()?.map(Arc::new);
    let bind = async |key, address| {
        let listener = listen::bind(address).await.map_err(|error| StartError::Bind(key, address, error))?;
        let address = listener.local_addr().map_err(|error| StartError::Bind(key, address, error))?;
        Ok::<_, StartError>((listener, address))
    };
    let (listener, address) = bind("listen.address", settings.listen.address).await?;
    let admin_settings = settings.admin.clone();
    let sinks = Sinks { metrics, audit, lists, alarms, events: events.clone() };
    let (heard, checkpoint) = begin_audit(&settings, &sinks)?;
    let gate = Arc::new(Gate::new(settings, opened, sinks));
    tokio::spawn(hand_on(gate.clone(), checkpoint));
    // What an officer has ordered, and what is wrong already.
    watch_once(&gate);

    // Before the first client: keys whose object nobody has looked up are shut.
    read_back::resume(&gate)?;

    let (stopping, stop) = watch::channel(false);
    let mut tasks = Vec::new();
    let mut admin_address = None;
    if let Some(admin) = admin_settings {
        let (listener, address) = bind("admin.address", admin.address).await?;
        admin_address = Some(address);
        let serving = admin::serve(gate.clone(), listener, admin.token, stop.clone());
        tasks.push(tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!("the admin address is no longer served: {error}");
            }
        }));
    }
    tasks.push(tokio::spawn(listen::serve(gate.clone(), listener, tls.clone(), stop.clone())));
    tasks.push(tokio::spawn(expire(gate.clone(), stop.clone())));
    tasks.push(tokio::spawn(refresh(gate.clone(), heard, stop.clone())));
    tasks.push(tokio::spawn(checkpoints(gate.clone(), stop.clone())));
    tasks.push(tokio::spawn(recheck::run(gate.clone(), stop.clone())));
    tasks.push(tokio::spawn(quarantine::run(gate.clone(), stop.clone())));
    tasks.push(tokio::spawn(quarantine::watch(gate.clone(), stop.clone())));
    tasks.push(tokio::spawn(events::run(events, stop.clone())));
    tasks.push(tokio::spawn(canary::run(gate.clone(), stop.clone())));
    tasks.push(tokio::spawn(watch(gate.clone(), stop.clone())));
    tasks.push(tokio::spawn(scrub(gate.clone(), stop)));
    Ok(Running { gate, tls, address, admin_address, stopping, tasks })
}

impl Running {
    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where operators connect.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin_address
    }

    /// Whether clients must speak TLS.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Reads lists and certificates again. What cannot be read stays as it was, and the log says so; everything else in
    /// the configuration needs a restart.
    pub async fn reload(&self) {
        let gate = self.gate.clone();
        let reloaded = spawn_blocking(move || gate.sinks.lists.reload()).await.unwrap_or_default();
        self.gate.sinks.put_down_lists(&self.gate.settings.lists, &reloaded);
        for (name, result) in reloaded {
            match result {
                Ok(loaded) => tracing::info!(list = name, entries = loaded.entries, "list reloaded"),
                Err(error) => tracing::error!(list = name, "list not reloaded, the last good one is in use: {error}"),
            }
        }
        let certificate = self.tls.as_ref().map(|tls| match tls.reload() {
            Ok(()) => {
                tracing::info!("certificate reloaded");
                "loaded"
            }
            Err(error) => {
                tracing::error!("certificate not reloaded, the last good one is in use: {error}");
                "refused"
            }
        });
        self.gate.sinks.put_down(json!({ "operation": "Reload", "certificate": certificate.unwrap_or("none") }));
        tracing::info!("reloaded lists and certificates; any other change of the configuration needs a restart");
    }

    /// Accepts no more, waits for the requests in flight, at most `limits.drain_timeout`, and ends.
    pub async fn stop(self) {
        self.stopping.send_replace(true);
        self.gate.read_backs.stop();
        for task in self.tasks {
            if let Err(error) = task.await {
                tracing::error!("a task ended badly: {error}");
            }
        }
        let gate = self.gate.clone();
        if let Err(error) = spawn_blocking(move || gate.sinks.alarms.settle()).await {
            tracing::error!("an alarm may be in no audit line: {error}");
        }
        // The last word: nothing comes after it.
        sign_audit(&self.gate).await;
    }
}

/// The first lines of this process: what it is, which lists it has, and what operators decided while none was running.
fn begin_audit(settings: &Settings, sinks: &Sinks) -> io::Result<(Heard, Checkpoint)> {
    let checkpoint = sinks.audit.begin(&Run::of(settings, sinks.lists.key_id()))?;
    sinks.put_down_lists(&settings.lists, &sinks.lists.news_of_start());
    let heard = Heard::open(&settings.state_dir);
    heard.listen(&sinks.audit)?;
    Ok((heard, checkpoint))
}

/// Signs the audit log every now and then, and when much was written.
async fn checkpoints(gate: Arc<Gate>, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(gate.settings.audit.checkpoint) => {}
            () = gate.sinks.audit.checkpoint_due() => {}
            // The last one is made when everything else has ended.
            _ = stop.wait_for(|stop| *stop) => return,
        }
        sign_audit(&gate).await;
    }
}

async fn sign_audit(gate: &Arc<Gate>) {
    let audit = gate.sinks.audit.clone();
    match spawn_blocking(move || audit.checkpoint()).await {
        Ok(Ok(checkpoint)) => hand_on(gate.clone(), checkpoint).await,
        Ok(Err(error)) => tracing::error!("the audit log is not signed: {error}"),
        Err(error) => tracing::error!("the audit log is not signed: {error}"),
    }
}

/// What a checkpoint says is safe from whoever has this machine once somebody else has it, too.
async fn hand_on(gate: Arc<Gate>, checkpoint: Checkpoint) {
    let (events, told) = (gate.sinks.events.clone(), checkpoint.json().clone());
    // It does not fail: what could not be kept is in the log.
    spawn_blocking(move || events.publish(Event::Checkpoint, told)).await.ok();
    let Some(quarantine) = &gate.quarantine else { return };
    let day = checkpoint.time().split('T').next().unwrap_or_default();
    let text = Value::Object(checkpoint.json().clone()).to_string();
    if let Err(error) = quarantine.anchor(day, text.into_bytes()).await {
        tracing::warn!(
            line = checkpoint.line.seq,
            "a checkpoint of the audit log did not reach the quarantine bucket: {error}"
        );
    }
}

/// Opens what the gate works with.
fn open(settings: &Settings, audit: &Audit, metrics: &Metrics) -> Result<Opened, StartError> {
    let dir = &settings.state_dir;
    Ok(Opened {
        multipart: Multipart::open(&settings.multipart, &settings.encodings, dir, metrics.clone())?,
        read_backs: ReadBacks::open(dir)?,
        rechecks: Rechecks::open(dir)?,
        quarantine: open_quarantine(settings, audit, metrics)?,
        decisions: Decisions::open(dir).map_err(StartError::Decisions)?,
        observe: ObserveAll::open(dir)?,
        canary: Canary::new(settings)?,
        services: Services::new(&settings.services, metrics).map_err(StartError::ServiceRoots)?,
        origin: Origin::new(&settings.origin, &settings.limits, metrics.clone())?,
    })
}

/// Where matches are kept. Its reserve serves the audit lines about them, too.
fn open_quarantine(
    settings: &Settings,
    audit: &Audit,
    metrics: &Metrics,
) -> Result<Option<Arc<Quarantine>>, StartError> {
    let Some(kept) = &settings.quarantine else { return Ok(None) };
    let (limits, dir, signing) = (&settings.limits, &settings.state_dir, audit.signing().clone());
    let quarantine = Arc::new(Quarantine::open(kept, limits, dir, signing, metrics.clone())?);
    let reserve = quarantine.reserve().clone();
    audit.set_reserve(move || reserve.make_room());
    Ok(Some(quarantine))
}

/// Heeds what officers order, and looks for what alarms are about.
async fn watch(gate: Arc<Gate>, mut stop: watch::Receiver<bool>) {
    // An order is heeded within a second.
    const EVERY: Duration = Duration::from_millis(500);
    loop {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        let watching = gate.clone();
        if let Err(error) = spawn_blocking(move || watch_once(&watching)).await {
            tracing::error!("alarms are no longer looked for: {error}");
        }
    }
}

fn watch_once(gate: &Gate) {
    let alarms = &gate.sinks.alarms;
    gate.observe.refresh(&gate.sinks);
    gate.tenant_hits.refresh(alarms);
    if gate.floods.flooding(&gate.decisions) == 0 {
        alarms.clear(Alarm::Flood);
    }
    for list in gate.sinks.lists.status() {
        if list.is_stale {
            let detail = format!("list {} is too old, or could not be refreshed for long", list.name);
            alarms.raise_about(Alarm::ListStale, &list.name, &detail);
        } else {
            alarms.clear_about(Alarm::ListStale, &list.name);
        }
    }
    if gate.sinks.audit.is_broken() {
        alarms.raise(Alarm::AuditBroken, "the audit log takes no line: uploads are refused");
    } else {
        alarms.clear(Alarm::AuditBroken);
    }
    // What a full disk has not taken.
    alarms.settle();
    gate.sinks.events.settle();
}

/// Forgets uploads in parts that nobody came back for.
async fn expire(gate: Arc<Gate>, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(multipart::EXPIRE_EVERY) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        if let Some(quarantine) = &gate.quarantine {
            let settings = &gate.settings.multipart;
            // As long as their upload is remembered; where room is wanted, as long as other early parts are.
            quarantine.parts().expire(if quarantine.is_full() { settings.spool_idle } else { settings.expire });
        }
        let multipart = gate.multipart.clone();
        if let Err(error) = spawn_blocking(move || multipart.expire()).await {
            tracing::error!("uploads in parts are no longer looked through: {error}");
        }
    }
}

/// Verifies the pages of all indexes, the first time soon after the start: it also brings them into memory.
async fn scrub(gate: Arc<Gate>, mut stop: watch::Receiver<bool>) {
    const EVERY: Duration = Duration::from_secs(3600);
    // After each mebibyte: about a tenth of one core at most, and a hundred million entries take half a minute.
    const PAUSE: Duration = Duration::from_millis(10);
    loop {
        let scrubbing = gate.clone();
        let stopped = stop.clone();
        let scrubbed = spawn_blocking(move || scrubbing.sinks.lists.scrub(PAUSE, &|| *stopped.borrow())).await;
        for (name, bad) in scrubbed.unwrap_or_default() {
            tracing::error!(
                list = name,
                "{bad} pages of the index are damaged, lookups that need them are refused; reload, or compile it again"
            );
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// Looks at the lists whose time has come.
async fn refresh(gate: Arc<Gate>, heard: Heard, mut stop: watch::Receiver<bool>) {
    // An operator's word is heard as fast.
    const EVERY: Duration = Duration::from_secs(1);
    let heard = Arc::new(heard);
    loop {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        let (refreshing, heard) = (gate.clone(), heard.clone());
        let refreshed = spawn_blocking(move || {
            refreshing.decisions.refresh();
            if let Err(error) = heard.listen(&refreshing.sinks.audit) {
                tracing::error!("what operators decided is not on record yet: {error}");
                refreshing.sinks.metrics.audit_failure();
            }
            let news = refreshing.sinks.lists.refresh();
            refreshing.sinks.put_down_lists(&refreshing.settings.lists, &news);
            news
        })
        .await;
        for (name, result) in refreshed.unwrap_or_default() {
            match result {
                Ok(loaded) => tracing::info!(list = name, entries = loaded.entries, "list refreshed"),
                Err(error) => tracing::error!(list = name, "list not refreshed, the last good one is in use: {error}"),
            }
        }
    }
}
