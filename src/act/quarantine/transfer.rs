//! Brings cases to the quarantine bucket, again and again until they are there, also over restarts.
//!
//! One case is one set of objects under its id, however often it was begun: each object is looked at before it is sent, and
//! the manifest, which says that the case is complete, comes last.

use super::case::{Case, LocalPiece, State};
use super::manifest;
use super::payload::NotKept;
use super::store::{Content, StoreError};
use super::{MANIFEST, Quarantine};
use crate::gate::Gate;
use crate::record::Alarm;
use base64::prelude::{BASE64_STANDARD as BASE64, Engine as _};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::watch;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::timeout;

/// How often cases are looked for that nobody has spoken of, and the shortest time between two tries.
const EVERY: Duration = Duration::from_secs(1);

/// The longest time between two tries: a backlog is not to wait for long once the store is back.
const EVERY_MAX: Duration = Duration::from_secs(10);

/// Cases on their way at once.
const AT_ONCE: usize = 4;

/// Goes on until the gate ends.
pub async fn run(gate: Arc<Gate>, mut stop: watch::Receiver<bool>) {
    let Some(quarantine) = gate.quarantine.clone() else { return };
    let mut pause = EVERY;
    loop {
        tokio::select! {
            // A new case is a reason to look, but none to hurry a store that is away.
            _ = timeout(pause, quarantine.new_case.notified()), if pause == EVERY => {}
            () = tokio::time::sleep(pause), if pause > EVERY => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        let transferred = tokio::select! {
            transferred = round(&gate, &quarantine) => transferred,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        pause = match transferred {
            Ok(()) => EVERY,
            Err(error) => {
                tracing::error!(
                    backlog = quarantine.journal.backlog(),
                    "cases wait for the quarantine bucket: {error}"
                );
                (pause * 2).min(EVERY_MAX)
            }
        };
    }
}

/// Looks after the quarantine, however long a transfer takes, until the gate ends.
pub async fn watch(gate: Arc<Gate>, mut stop: watch::Receiver<bool>) {
    let Some(quarantine) = gate.quarantine.clone() else { return };
    loop {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        quarantine.look_after(&gate).await;
    }
}

/// Every case once. A store that is away ends it; one that refuses a case may take the next.
async fn round(gate: &Arc<Gate>, quarantine: &Arc<Quarantine>) -> Result<(), StoreError> {
    let mut waiting = quarantine.journal.kept().into_iter();
    let mut under_way = JoinSet::new();
    let mut failed = Ok(());
    loop {
        while under_way.len() < AT_ONCE
            && !matches!(failed, Err(StoreError::Away(_)))
            && let Some(id) = waiting.next()
        {
            let (gate, quarantine) = (gate.clone(), quarantine.clone());
            under_way.spawn(async move { transfer(&gate, &quarantine, &id).await });
        }
        match under_way.join_next().await {
            None => break,
            Some(Ok(Ok(()))) => quarantine.is_away(None),
            Some(Ok(Err(error))) if !matches!(failed, Err(StoreError::Away(_))) => {
                quarantine.is_away(Some(&error));
                failed = Err(error);
            }
            Some(Ok(Err(_))) => {}
            Some(Err(error)) => failed = Err(StoreError::Local(io::Error::other(error))),
        }
    }
    failed
}

/// Brings one case there.
async fn transfer(gate: &Arc<Gate>, quarantine: &Arc<Quarantine>, id: &str) -> Result<(), StoreError> {
    let reading = quarantine.clone();
    let read_id = id.to_owned();
    let case = spawn_blocking(move || reading.journal.read(&read_id)).await.map_err(io::Error::other)??;
    let Some(Case { mut manifest, state: State::Kept { mut pieces }, .. }) = case else { return Ok(()) };
    let there = |piece: &LocalPiece| quarantine.spool.path_of(&piece.file).try_exists();
    let there = pieces.iter().map(there).collect::<io::Result<Vec<bool>>>()?;
    if there.contains(&false) {
        let detail = format!("a part of the payload of case {id} is gone from the state folder");
        gate.sinks.alarms.raise(Alarm::CaseLost, &detail);
        let kept = |at: &mut usize| {
            *at += 1;
            there[*at - 1]
        };
        let (mut local, mut named) = (0, 0);
        pieces.retain(|_| kept(&mut local));
        manifest.payload.pieces.retain(|_| kept(&mut named));
        manifest.payload.payload_not_kept = Some(NotKept::Disk.word().to_owned());
        let (changing, changed, case) = (quarantine.clone(), manifest.payload.clone(), id.to_owned());
        let change = move || {
            changing.journal.change(&case, |case| {
                case.manifest.payload = changed;
                Ok::<_, ()>(())
            })
        };
        spawn_blocking(change).await.map_err(io::Error::other)??;
    }
    for (local, piece) in pieces.iter().zip(&manifest.payload.pieces) {
        let head = BASE64.decode(&local.header).map_err(io::Error::other)?;
        let content = Content { head, file: Some(quarantine.spool.path_of(&local.file)) };
        let key = quarantine.store.key(id, &piece.object);
        quarantine.store.put(&key, content, Some(manifest.retain_until)).await?;
    }
    let sealed = manifest::seal(&manifest, &quarantine.signing, quarantine.spool.recipients())?;
    // Its bytes are other ones each time it is sealed: whether it is there is told by its key alone.
    let key = quarantine.store.key(id, MANIFEST);
    if quarantine.store.head(&key).await?.is_none() {
        quarantine.store.put(&key, Content { head: sealed, file: None }, Some(manifest.retain_until)).await?;
    }
    let (stored, stored_id) = (quarantine.clone(), id.to_owned());
    let changed = spawn_blocking(move || stored.stored(&stored_id)).await.map_err(io::Error::other)?;
    changed?;
    quarantine.tell(gate, "stored", manifest).await;
    Ok(())
}

impl Quarantine {
    /// The bucket has a case: its payload is no longer needed here. It blocks.
    fn stored(&self, id: &str) -> io::Result<()> {
        let at = OffsetDateTime::now_utc().format(&Rfc3339).map_err(io::Error::other)?;
        let changed = self
            .journal
            .change(id, |case| Ok::<_, ()>(std::mem::replace(&mut case.state, State::Stored { at: at.clone() })))?;
        if let Some(Ok(State::Kept { pieces })) = changed {
            for piece in pieces {
                self.drop_piece(&piece.file);
            }
        }
        Ok(())
    }
}
