//! The object as its readers get it, where it is compressed: decoded part after part, as its chain goes on.
//!
//! A decoder can neither be saved nor go back. So it is offered every byte with its place in the object, and takes those that
//! it has not had: a part that is sent again goes on where the first try broke off. What it was given may then be
//! something else than what the store has; its SHA-256 tells at the end. Where it fell behind, the whole is lost to it.

use super::Busy;
use super::chain::Body;
use super::spool::Room;
use crate::config::settings;
use crate::digest::{Algorithms, Digests, Hashing};
use crate::inspect::{Decoded, Decoding};
use std::mem;
use std::sync::Arc;

/// What came of decoding a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AsRead {
    /// What its readers get; `None` where that is what was sent.
    Known(Option<Decoded>),
    /// It is compressed, and was not decoded as it came.
    Lost {
        /// Because the gate was started anew since it began.
        by_restart: bool,
    },
}

/// One upload that begins as something compressed does.
pub(super) struct Reading {
    state: State,
    encodings: settings::Encodings,
    room: Arc<Room>,
}

enum State {
    New,
    Running(Box<Running>),
    /// It ended with this payload. Its Complete may come again.
    Ended(Body, Option<Decoded>),
    Lost {
        by_restart: bool,
    },
}

const LOST: State = State::Lost { by_restart: false };

struct Running {
    decoding: Decoding,
    given: Hashing,
    reserved: Reserved,
}

/// Memory that is set aside; dropped, it is free again.
struct Reserved {
    room: Arc<Room>,
    bytes: u64,
}

impl Reserved {
    /// One that needs more than there is at all gets all of it.
    fn resize(&mut self, bytes: u64) -> Result<(), Busy> {
        let bytes = bytes.min(self.room.max());
        if !self.room.reserve(bytes.saturating_sub(self.bytes)) {
            return Err(Busy::Decoder);
        }
        self.room.free(self.bytes.saturating_sub(bytes));
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.room.free(self.bytes);
    }
}

impl Reading {
    /// Of an upload that begins. `room` is for the decoders of all uploads.
    pub(super) fn new(encodings: &settings::Encodings, room: &Arc<Room>) -> Reading {
        Reading { state: State::New, encodings: encodings.clone(), room: room.clone() }
    }

    /// Of one that began in an earlier run.
    pub(super) fn of_earlier_run(encodings: &settings::Encodings, room: &Arc<Room>) -> Reading {
        Reading { state: State::Lost { by_restart: true }, ..Reading::new(encodings, room) }
    }

    /// Takes what is new in `bytes`, which stand `at` so many bytes from the object's beginning. `wanted` are the
    /// algorithms that the lists need.
    ///
    /// # Errors
    /// There is no room for one more decoder. Where the object has just begun, it can be begun again.
    pub(super) fn feed(&mut self, at: u64, bytes: &[u8], wanted: Algorithms) -> Result<(), Busy> {
        if at == 0 && matches!(self.state, State::New | State::Lost { by_restart: false }) {
            let decoding = Decoding::unsaid(&self.encodings, wanted);
            let reserved = Reserved { room: self.room.clone(), bytes: 0 };
            self.state =
                State::Running(Box::new(Running { decoding, given: Hashing::new(Algorithms::NONE), reserved }));
        }
        // Put back behind the decoder: where that panics, the whole is lost to it.
        let mut running = match mem::replace(&mut self.state, LOST) {
            State::Running(running) => running,
            State::New => return Ok(()),
            // One that has ended is looked at when its Complete comes again.
            over @ (State::Ended(..) | State::Lost { .. }) => {
                self.state = over;
                return Ok(());
            }
        };
        let Some(had) = running.given.length().checked_sub(at) else { return Ok(()) };
        let new = usize::try_from(had).ok().and_then(|had| bytes.get(had..)).unwrap_or_default();
        running.given.update(new);
        running.decoding.update(new);
        let fits = running.reserved.resize(running.decoding.memory());
        self.state = if fits.is_ok() { State::Running(running) } else { State::New };
        fits
    }

    /// The chain has lost its first part: what an earlier run knew is gone, too.
    pub(super) fn first_is_gone(&mut self) {
        if let State::Lost { .. } = self.state {
            self.state = LOST;
        }
    }

    /// What came of `whole`, all of which was offered.
    pub(super) fn end(&mut self, whole: &Digests) -> AsRead {
        let whole = Body::from(whole);
        if let State::Running(running) = &self.state
            && Body::from(&running.given.clone().finish()) == whole
            && let State::Running(running) = mem::replace(&mut self.state, LOST)
        {
            self.state = State::Ended(whole, running.decoding.finish());
        }
        match &self.state {
            State::Ended(body, decoded) if *body == whole => AsRead::Known(decoded.clone()),
            State::Lost { by_restart } => AsRead::Lost { by_restart: *by_restart },
            State::New | State::Running(_) | State::Ended(..) => AsRead::Lost { by_restart: false },
        }
    }

    /// Gives up its memory: nothing came for long.
    pub(super) fn give_up(&mut self) {
        if let State::Running(_) = self.state {
            self.state = LOST;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    const ROOM: u64 = 200 << 10;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// Bytes that do not pack.
    fn payload() -> Vec<u8> {
        let mut bytes = vec![0; 50_000];
        blake3::Hasher::new().update(b"payload").finalize_xof().fill(&mut bytes);
        bytes
    }

    fn room() -> Arc<Room> {
        Arc::new(Room::new(ROOM))
    }

    fn reading(room: &Arc<Room>) -> Reading {
        Reading::new(&settings::Encodings::default(), room)
    }

    fn feed(reading: &mut Reading, at: usize, bytes: &[u8]) {
        reading.feed(at as u64, bytes, Algorithms::NONE).unwrap();
    }

    fn is_decoded(as_read: &AsRead, bytes: &[u8]) -> bool {
        match as_read {
            AsRead::Known(Some(decoded)) => decoded.layers[0].sha256 == Digests::of(bytes).sha256,
            _ => false,
        }
    }

    const LOST: AsRead = AsRead::Lost { by_restart: false };

    #[test]
    fn bytes_that_come_again_are_passed_over() {
        let (payload, room) = (payload(), room());
        let whole = gzip(&payload);
        let mut reading = reading(&room);
        feed(&mut reading, 0, &whole[..1000]);
        // The first part again: all of what was there, and more of it in pieces.
        feed(&mut reading, 0, &whole[..500]);
        feed(&mut reading, 500, &whole[500..2000]);
        assert_eq!(reading.end(&Digests::of(&whole)), LOST, "not all of it was there");
        feed(&mut reading, 2000, &whole[2000..]);
        feed(&mut reading, 1000, &whole[1000..2000]);
        for _ in 0..2 {
            assert!(is_decoded(&reading.end(&Digests::of(&whole)), &payload));
        }
        assert_eq!(reading.end(&Digests::of(&whole[..2000])), LOST, "another whole");
    }

    /// Whoever sends something harmless first, and then another thing in its place.
    #[test]
    fn what_was_not_given_is_not_known() {
        let (payload, room) = (payload(), room());
        let whole = gzip(&payload);
        let mut other = whole.clone();
        other[3000] ^= 1;
        let mut reading = reading(&room);
        feed(&mut reading, 0, &other[..5000]);
        feed(&mut reading, 0, &whole);
        assert_eq!(reading.end(&Digests::of(&whole)), LOST);
        // It has begun, so it cannot begin again; nor does it go on behind a gap.
        feed(&mut reading, 0, &whole);
        assert_eq!(reading.end(&Digests::of(&whole)), LOST);
        drop(reading);
        let mut reading = super::Reading::new(&settings::Encodings::default(), &room);
        feed(&mut reading, 0, &whole[..1000]);
        feed(&mut reading, 1001, &whole[1001..]);
        assert_eq!(reading.end(&Digests::of(&whole)), LOST);
        feed(&mut reading, 0, &whole);
        assert!(is_decoded(&reading.end(&Digests::of(&whole)), &payload), "from its beginning on, all is new");
    }

    #[test]
    fn an_earlier_run_is_told_from_what_was_lost() {
        let room = room();
        let whole = gzip(&payload());
        let mut reading = Reading::of_earlier_run(&settings::Encodings::default(), &room);
        feed(&mut reading, 1000, &whole[1000..]);
        assert_eq!(reading.end(&Digests::of(&whole)), AsRead::Lost { by_restart: true });
        // The first part again, whose answer the restart has cut off.
        feed(&mut reading, 0, &whole[..1000]);
        assert_eq!(reading.end(&Digests::of(&whole)), AsRead::Lost { by_restart: true });
        // Another first part: all of it comes again.
        reading.first_is_gone();
        feed(&mut reading, 0, &whole[..1000]);
        assert_eq!(reading.end(&Digests::of(&whole)), LOST);
        feed(&mut reading, 1000, &whole[1000..]);
        assert!(is_decoded(&reading.end(&Digests::of(&whole)), &payload()));
    }

    #[test]
    fn decoders_take_no_more_memory_than_there_is() {
        let room = room();
        let whole = gzip(&payload());
        let (mut one, mut two) = (reading(&room), reading(&room));
        feed(&mut one, 0, &whole[..1000]);
        assert_eq!(two.feed(0, &whole, Algorithms::NONE), Err(Busy::Decoder));
        one.give_up();
        assert_eq!(room.used(), 0);
        feed(&mut two, 0, &whole);
        assert!(is_decoded(&two.end(&Digests::of(&whole)), &payload()));
        assert_eq!(room.used(), 0, "one that has ended keeps nothing");
        let bomb = gzip(&vec![0; 20 << 20]);
        let mut stopped = reading(&room);
        feed(&mut stopped, 0, &bomb);
        assert_eq!(room.used(), 0, "nor does one that has stopped");
        feed(&mut one, 1000, &whole[1000..]);
        assert_eq!(one.end(&Digests::of(&whole)), LOST);
    }
}
