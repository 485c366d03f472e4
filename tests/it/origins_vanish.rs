//! A client that vanishes, wherever it does, leaves nothing behind: no object at the store, no connection at the gate.

use crate::support::client::{CHUNK, Form, Upload};
use crate::support::eventually;
use crate::support::gate::{Mode, gate};
use crate::support::payload::Payload;
use crate::support::store::{Store, stores};

/// How the client goes.
#[derive(Clone, Copy, Debug)]
enum Way {
    Fin,
    Reset,
}

/// The places of a body at which a parser may be in another state: each byte around size lines and of the end.
fn cuts(upload: &Upload) -> Vec<usize> {
    let mut cuts = Vec::new();
    let mut at = 0;
    let pieces: Vec<_> = upload.body_pieces().collect();
    for piece in &pieces {
        let len = piece.len();
        if len < 256 {
            cuts.extend(at..at + len);
        } else {
            // A payload piece: its first bytes, its middle, its last ones.
            cuts.extend([at, at + 1, at + len / 2, at + len - 2, at + len - 1]);
        }
        at += len;
    }
    cuts.dedup();
    cuts
}

/// Vanishing at every interesting byte of a chunked body with a trailer, in pass-through.
#[tokio::test]
async fn a_client_that_vanishes_leaves_nothing_in_pass_through() {
    vanish(Mode::PassThrough).await;
}

/// The same where the gate verifies signatures.
#[tokio::test]
async fn a_client_that_vanishes_leaves_nothing_in_verify() {
    vanish(Mode::Verify).await;
}

async fn vanish(mode: Mode) {
    for store in stores().await {
        let watch = Memory::watch(&store);
        let gate = gate(&store).mode(mode).start().await;
        let client = gate.client();
        let room = store.room("vanish").await;
        for form in [Form::UnsignedTrailer, Form::SignedChunksTrailer, Form::UnsignedTrailerChunked, Form::RawSigned] {
            // One that the origin hears of only at its end, and one that it has heard of.
            for size in [100, CHUNK as u64 + 300] {
                for way in [Way::Fin, Way::Reset] {
                    let payload = Payload::random(7, size);
                    let upload = client.upload(form, &format!("/{room}/key"), &payload);
                    let (head, body) = (upload.head.bytes(), upload.body_bytes());
                    for cut in cuts(&upload) {
                        let mut wire = client.connect().await.expect("the gate listens");
                        // A gate that refuses early may have closed by now, which is as well.
                        wire.write(&head).await.ok();
                        wire.write(&body[..cut]).await.ok();
                        match way {
                            Way::Fin => drop(wire),
                            Way::Reset => wire.reset(),
                        }
                    }
                    gate.quiet().await;
                    let left = store.contents(&room).await;
                    assert!(left.is_empty(), "{} {mode:?} {form:?} {size} {way:?}: {left:?}", store.name);
                }
            }
        }
        // The same bytes, sent to their end, are an object: the cuts were what mattered.
        let answer = client.put(Form::RawSigned, &format!("/{room}/key"), &Payload::random(7, 100)).await;
        assert_eq!(answer.expect("an answer").status, 200, "{}", store.name);
        gate.stop().await;
        watch.check().await;
    }
}

/// The resident memory of a store that allocates without end when it is handed half a trailer. It is named by
/// `HASHGATE_MINIO_PID`, and ended before it takes the machine with it.
struct Memory(Option<(u32, u64, tokio::task::JoinHandle<u64>)>);

const GROWTH_MAX: u64 = 100 << 20;
const GROWTH_FATAL: u64 = 2 << 30;

impl Memory {
    fn watch(store: &Store) -> Memory {
        let pid = std::env::var("HASHGATE_MINIO_PID").ok().and_then(|pid| pid.parse().ok());
        let Some(pid) = pid.filter(|_| store.name == "minio") else { return Memory(None) };
        let before = resident(pid).expect("HASHGATE_MINIO_PID runs");
        let watcher = tokio::spawn(async move {
            let mut most = before;
            while let Some(now) = resident(pid) {
                most = most.max(now);
                if now > before + GROWTH_FATAL {
                    std::process::Command::new("kill").args(["-KILL", &pid.to_string()]).status().ok();
                }
                if most > before + GROWTH_FATAL {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            most
        });
        Memory(Some((pid, before, watcher)))
    }

    async fn check(self) {
        let Some((pid, before, watcher)) = self.0 else { return };
        // What it allocates without end it does on: a little while more shows it, and it may come back to what it was.
        let settled = eventually("the store's memory back near to what it was", async || {
            resident(pid).filter(|now| *now < before + GROWTH_MAX)
        });
        let now = settled.await;
        watcher.abort();
        println!("minio: {} MiB resident before, {} MiB after", before >> 20, now >> 20);
    }
}

/// Resident bytes of a process; `None` once it is gone.
fn resident(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? << 10)
}
