//! What is known of one multipart upload: the digest states behind its first parts, and the parts that came too early.
//!
//! Pure. Parts may come in any order, at the same time and more than once; the last one that the store took counts. The
//! chain holds the state behind part 1, behind part 2, and so on without a gap; a part whose predecessor is not there
//! waits, with its bytes, until it is. What happened to a part at the store is told in two steps, [`Chain::releasing`]
//! and [`Chain::stored`], so that a part which may be there or not is never taken for known.

use crate::digest::Digests;
use crate::s3::complete::NamedPart;
use std::collections::BTreeMap;

/// A payload as far as two of them have to be told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Body {
    /// Its SHA-256.
    pub sha256: [u8; 32],
    /// Its length in bytes.
    pub length: u64,
}

impl From<&Digests> for Body {
    fn from(digests: &Digests) -> Body {
        Body { sha256: digests.sha256, length: digests.length }
    }
}

/// A part in its place in the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    /// The ETag that the store gave it, without quotes.
    pub(super) etag: String,
    /// Its payload.
    pub(super) body: Body,
    /// The digest state behind it, as [`Hashing::save`](crate::digest::Hashing::save) gives it.
    pub(super) state: Vec<u8>,
    /// Whether it begins as nothing compressed does. Of the first part this is so of the whole.
    pub(super) is_plain: bool,
    /// Tells this link from one that took its place.
    id: u64,
}

/// A part that waits for its predecessor. `S` holds its bytes.
#[derive(Debug)]
pub(super) struct Waiting<S> {
    /// The ETag that the store gave it, without quotes.
    pub(super) etag: String,
    /// Its payload.
    pub(super) body: Body,
    /// Its bytes.
    pub(super) bytes: S,
}

/// Where the digest state of a part's predecessor stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Base {
    number: u16,
    id: u64,
}

/// What a part brings along when it was stored.
#[derive(Debug)]
pub(super) enum Fed<S> {
    /// It was hashed on from its predecessor's state: the state behind it, and whether it begins as nothing compressed
    /// does.
    Chained(Base, Vec<u8>, bool),
    /// It came early: its bytes.
    Spooled(S),
    /// Neither: its place in the chain cannot be known.
    Nothing,
}

/// One upload. The number of links is that of the last part in the chain.
#[derive(Debug)]
pub(super) struct Chain<S> {
    links: Vec<Link>,
    waiting: BTreeMap<u16, Waiting<S>>,
    /// The part that is being hashed into the chain at the moment.
    taken: Option<(u16, String, Body)>,
    releasing: BTreeMap<u16, Releasing>,
    /// Whether it is known from its beginning: every part that the store has was told here.
    all_seen: bool,
    sent: Sent,
    /// Those that were sent more than once. A store may have given the same bytes another ETag, which was not heard.
    sent_again: Sent,
    ids: u64,
}

/// The numbers of parts of which the store may have the end, one bit each.
#[derive(Debug, Default)]
struct Sent(Vec<u64>);

impl Sent {
    fn add(&mut self, number: u16) {
        let word = usize::from(number / 64);
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (number % 64);
    }

    fn has(&self, number: u16) -> bool {
        self.0.get(usize::from(number / 64)).is_some_and(|word| word >> (number % 64) & 1 == 1)
    }
}

/// Requests for one part whose end the store may have.
#[derive(Debug)]
struct Releasing {
    count: usize,
    body: Body,
    /// Different bodies at once: nobody knows which of them stays.
    contested: bool,
}

/// What changed in the chain, for whoever keeps it elsewhere, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// The link of this part is new, behind the last.
    Link(u16),
    /// The link of this part has another ETag.
    ETag(u16),
    /// The links from this part on are gone.
    Cut(u16),
}

/// What a Complete names, as the chain knows it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Cover {
    /// All of it: the state behind the parts that are chained, and the numbers of those that wait, in order.
    Whole(Vec<u8>, Vec<u16>),
    /// The store does not have one of them, or has it under another ETag.
    Absent,
    /// Not all of it.
    Unknown,
}

impl<S> Default for Chain<S> {
    fn default() -> Chain<S> {
        Chain {
            links: Vec::new(),
            waiting: BTreeMap::new(),
            taken: None,
            releasing: BTreeMap::new(),
            all_seen: false,
            sent: Sent::default(),
            sent_again: Sent::default(),
            ids: 0,
        }
    }
}

impl<S> Chain<S> {
    /// Of an upload that has no part yet.
    pub(super) fn of_new_upload() -> Chain<S> {
        Chain { all_seen: true, ..Chain::default() }
    }

    /// The state that part `number` is to be hashed on from, where its predecessor is in the chain. `start` is the state
    /// before the first byte.
    pub(super) fn base(&self, number: u16, start: &dyn Fn() -> Vec<u8>) -> Option<(Base, Vec<u8>)> {
        if number == 1 {
            return Some((Base { number: 0, id: 0 }, start()));
        }
        let link = self.link(number.checked_sub(1)?)?;
        Some((Base { number: number - 1, id: link.id }, link.state.clone()))
    }

    /// The store is about to get the end of this body as part `number`.
    pub(super) fn releasing(&mut self, number: u16, body: Body) -> Option<Change> {
        if self.sent.has(number) {
            self.sent_again.add(number);
        }
        self.sent.add(number);
        let entry = self.releasing.entry(number).or_insert(Releasing { count: 0, body, contested: false });
        entry.count += 1;
        entry.contested |= entry.body != body;
        self.known_body(number).filter(|known| *known != body).and_then(|_| self.cut(number))
    }

    /// The store took the part; `fed` is what it brought along.
    pub(super) fn stored(&mut self, number: u16, etag: &str, body: Body, fed: Fed<S>) -> Option<Change> {
        if self.released(number) {
            return self.cut(number);
        }
        if self.known_body(number) == Some(body) {
            // The same bytes again. Some stores give them another ETag.
            if let Some(link) = self.link_mut(number) {
                let changed = link.etag != etag;
                etag.clone_into(&mut link.etag);
                return changed.then_some(Change::ETag(number));
            }
            if let Some(waiting) = self.waiting.get_mut(&number) {
                etag.clone_into(&mut waiting.etag);
            } else if let Some((_, taken, _)) = &mut self.taken {
                etag.clone_into(taken);
            }
            return None;
        }
        // Nothing is chained behind a part that is not: its own release has cut that off.
        self.cut(number);
        match fed {
            Fed::Chained(base, state, is_plain) => self.push(number, base, etag.to_owned(), body, state, is_plain),
            Fed::Spooled(bytes) => {
                self.waiting.insert(number, Waiting { etag: etag.to_owned(), body, bytes });
                None
            }
            Fed::Nothing => None,
        }
    }

    /// Nobody knows whether the store took this body as part `number`.
    pub(super) fn lost(&mut self, number: u16, body: Body) -> Option<Change> {
        let gone = self.released(number) || self.known_body(number) != Some(body);
        if gone { self.cut(number) } else { None }
    }

    /// The next part that waits for nothing any more, with the state that it is to be hashed on from. Give the result to
    /// [`Chain::hashed`] before the next is taken.
    pub(super) fn take_next(&mut self, start: &dyn Fn() -> Vec<u8>) -> Option<(u16, Base, Vec<u8>, Waiting<S>)> {
        let number = u16::try_from(self.links.len() + 1).ok()?;
        let waiting = self.waiting.remove(&number)?;
        let (base, state) = self.base(number, start)?;
        self.taken = Some((number, waiting.etag.clone(), waiting.body));
        Some((number, base, state, waiting))
    }

    /// The part that was taken has been hashed. `None` where it has been replaced meanwhile.
    pub(super) fn hashed(&mut self, number: u16, base: Base, state: Vec<u8>) -> Option<Change> {
        match self.taken.take() {
            Some((taken, etag, body)) if taken == number => self.push(number, base, etag, body, state, false),
            _ => None,
        }
    }

    /// Whether exactly these parts are known. `start` as for [`Chain::base`].
    pub(super) fn cover(&self, named: &[NamedPart], start: &dyn Fn() -> Vec<u8>) -> Cover {
        let chained = named
            .iter()
            .enumerate()
            .take_while(|(at, part)| {
                usize::from(part.number) == at + 1 && self.link(part.number).is_some_and(|link| link.etag == part.etag)
            })
            .count();
        let state = match chained.checked_sub(1) {
            None => start(),
            Some(last) => self.links[last].state.clone(),
        };
        let rest = &named[chained..];
        let waits = |part: &NamedPart| self.waiting.get(&part.number).is_some_and(|w| w.etag == part.etag);
        if rest.iter().all(waits) {
            Cover::Whole(state, rest.iter().map(|part| part.number).collect())
        } else if named.iter().any(|part| self.is_absent(part)) {
            Cover::Absent
        } else {
            Cover::Unknown
        }
    }

    /// Whether the store surely has no such part under this ETag, as long as none is being released.
    fn is_absent(&self, part: &NamedPart) -> bool {
        let link = self.link(part.number).map(|link| &link.etag);
        match link.or_else(|| self.waiting.get(&part.number).map(|waiting| &waiting.etag)) {
            Some(etag) => self.all_seen && *etag != part.etag && !self.sent_again.has(part.number),
            None => self.all_seen && !self.sent.has(part.number),
        }
    }

    /// Whether nothing is known of any part.
    pub(super) fn is_empty(&self) -> bool {
        self.links.is_empty() && self.waiting.is_empty()
    }

    /// Bytes of the object before part `number`, whose predecessor is in the chain; `None` where the object begins as
    /// nothing compressed does, or the predecessor is not there.
    pub(super) fn compressed_before(&self, number: u16) -> Option<u64> {
        let before = self.links.get(..usize::from(number.checked_sub(1)?))?;
        let is_plain = before.first().is_some_and(|first| first.is_plain);
        (!is_plain).then(|| before.iter().map(|link| link.body.length).sum())
    }

    /// A part that waits.
    pub(super) fn waiting(&self, number: u16) -> Option<&Waiting<S>> {
        self.waiting.get(&number)
    }

    /// Forgets the bytes of parts that wait: they are no longer known.
    pub(super) fn drop_waiting(&mut self) {
        self.waiting.clear();
    }

    /// The links, from part 1.
    pub(super) fn links(&self) -> &[Link] {
        &self.links
    }

    /// Puts back a link that was kept elsewhere; each behind the last.
    pub(super) fn restore(&mut self, etag: String, body: Body, state: Vec<u8>, is_plain: bool) {
        self.ids += 1;
        self.links.push(Link { etag, body, state, is_plain, id: self.ids });
    }

    /// Gives a link another ETag; `None` where there is no such link.
    pub(super) fn rename(&mut self, number: u16, etag: String) -> Option<()> {
        self.link_mut(number)?.etag = etag;
        Some(())
    }

    /// Drops what is known of part `number`, and of those chained behind it: their bytes are gone.
    pub(super) fn cut(&mut self, number: u16) -> Option<Change> {
        self.sent.add(number);
        self.waiting.remove(&number);
        if self.taken.as_ref().is_some_and(|(taken, ..)| *taken == number) {
            self.taken = None;
        }
        let keep = usize::from(number).saturating_sub(1);
        let shorter = self.links.len() > keep;
        self.links.truncate(keep);
        shorter.then_some(Change::Cut(number))
    }

    fn push(
        &mut self,
        number: u16,
        base: Base,
        etag: String,
        body: Body,
        state: Vec<u8>,
        is_plain: bool,
    ) -> Option<Change> {
        let still = self.base(number, &Vec::new).is_some_and(|(now, _)| now == base);
        if !still || self.links.len() + 1 != usize::from(number) {
            return None;
        }
        self.restore(etag, body, state, is_plain);
        Some(Change::Link(number))
    }

    /// One request less that releases this part. True where it was contested.
    fn released(&mut self, number: u16) -> bool {
        let Some(entry) = self.releasing.get_mut(&number) else { return false };
        entry.count -= 1;
        let contested = entry.contested;
        if entry.count == 0 {
            self.releasing.remove(&number);
        }
        contested
    }

    fn known_body(&self, number: u16) -> Option<Body> {
        let taken = self.taken.as_ref().filter(|(taken, ..)| *taken == number).map(|(_, _, body)| *body);
        self.link(number)
            .map(|link| link.body)
            .or_else(|| self.waiting.get(&number).map(|waiting| waiting.body))
            .or(taken)
    }

    fn link(&self, number: u16) -> Option<&Link> {
        self.links.get(usize::from(number).checked_sub(1)?)
    }

    fn link_mut(&mut self, number: u16) -> Option<&mut Link> {
        self.links.get_mut(usize::from(number).checked_sub(1)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::{Algorithms, Hashing};

    fn start() -> Vec<u8> {
        Hashing::new(Algorithms::NONE).save()
    }

    fn hash_on<'a>(state: &[u8], bytes: impl Iterator<Item = &'a [u8]>) -> Option<Hashing> {
        let mut hashing = Hashing::restore(state)?;
        bytes.for_each(|bytes| hashing.update(bytes));
        Some(hashing)
    }

    /// A chain whose waiting parts keep their bytes, and what the store behind it has.
    #[derive(Default)]
    struct Model {
        chain: Chain<Vec<u8>>,
        store: BTreeMap<u16, Vec<u8>>,
    }

    fn body(bytes: &[u8]) -> Body {
        Body::from(&Digests::of(bytes))
    }

    fn etag(bytes: &[u8]) -> String {
        hex::encode(&body(bytes).sha256[..8])
    }

    /// What a part brings along that begins now.
    fn begin(chain: &Chain<Vec<u8>>, number: u16, bytes: &[u8]) -> Fed<Vec<u8>> {
        match chain.base(number, &start) {
            Some((base, state)) => Fed::Chained(base, hash_on(&state, std::iter::once(bytes)).unwrap().save(), true),
            None => Fed::Spooled(bytes.to_vec()),
        }
    }

    fn advance(chain: &mut Chain<Vec<u8>>) {
        while let Some((number, base, state, waiting)) = chain.take_next(&start) {
            let state = hash_on(&state, std::iter::once(&waiting.bytes[..])).unwrap().save();
            chain.hashed(number, base, state);
        }
    }

    impl Model {
        fn put(&mut self, number: u16, bytes: &[u8]) {
            let fed = begin(&self.chain, number, bytes);
            self.chain.releasing(number, body(bytes));
            self.store.insert(number, bytes.to_vec());
            self.chain.stored(number, &etag(bytes), body(bytes), fed);
            advance(&mut self.chain);
        }

        /// The digest that the chain gives for these parts, checked against what the store would put together.
        fn complete(&self, numbers: &[u16]) -> Option<[u8; 32]> {
            let named: Vec<NamedPart> = numbers
                .iter()
                .map(|number| NamedPart {
                    number: *number,
                    etag: self.store.get(number).map_or("none".into(), |b| etag(b)),
                })
                .collect();
            let Cover::Whole(state, rest) = self.chain.cover(&named, &start) else { return None };
            let rest = rest.iter().map(|number| &self.chain.waiting(*number).unwrap().bytes[..]);
            let digests = hash_on(&state, rest).unwrap().finish();
            let whole: Vec<u8> = numbers.iter().flat_map(|number| self.store[number].clone()).collect();
            assert_eq!(digests.sha256, Digests::of(&whole).sha256, "a digest of other bytes than are stored");
            assert_eq!(digests.length, whole.len() as u64);
            Some(digests.sha256)
        }
    }

    fn permutations(n: u16) -> Vec<Vec<u16>> {
        if n == 0 {
            return vec![Vec::new()];
        }
        let shorter = permutations(n - 1);
        (0..n as usize)
            .flat_map(|at| {
                shorter.iter().map(move |p| {
                    let mut p = p.clone();
                    p.insert(at, n);
                    p
                })
            })
            .collect()
    }

    #[test]
    fn every_order_of_up_to_six_parts_gives_the_digest_of_the_whole() {
        for n in 1..=6 {
            for order in permutations(n) {
                let mut model = Model::default();
                for number in &order {
                    assert_eq!(model.complete(&(1..=n).collect::<Vec<_>>()), None, "{order:?}: too early");
                    model.put(*number, format!("part {number}").as_bytes());
                }
                assert!(model.complete(&(1..=n).collect::<Vec<_>>()).is_some(), "{order:?}");
                assert_eq!(model.chain.links().len(), usize::from(n));
                // Fewer parts, from the first on.
                for fewer in 1..n {
                    assert!(model.complete(&(1..=fewer).collect::<Vec<_>>()).is_some(), "{order:?} {fewer}");
                }
            }
        }
    }

    #[test]
    fn numbers_with_gaps_are_covered_as_long_as_their_bytes_are_there() {
        let mut model = Model::default();
        for number in [7, 1, 3] {
            model.put(number, &[number as u8; 100]);
        }
        assert!(model.complete(&[1, 3, 7]).is_some());
        assert!(model.complete(&[3, 7]).is_some());
        assert!(model.complete(&[7]).is_some());
        model.put(2, b"two");
        assert!(model.complete(&[1, 2, 3, 7]).is_some());
        // Part 3 is chained behind 2 now; without it nobody can say.
        assert!(model.complete(&[1, 3, 7]).is_none());
        model.chain.drop_waiting();
        assert!(model.complete(&[1, 2, 3, 7]).is_none() && model.complete(&[1, 2, 3]).is_some());
    }

    #[test]
    fn a_part_that_is_sent_again() {
        let mut model = Model::default();
        for number in 1..=4 {
            model.put(number, &[number as u8; 10]);
        }
        model.put(2, &[2; 10]);
        assert!(model.complete(&[1, 2, 3, 4]).is_some(), "the same bytes keep the chain");
        model.put(2, b"other");
        assert!(model.complete(&[1, 2]).is_some(), "the chain goes on with the new bytes");
        assert!(model.complete(&[1, 2, 3, 4]).is_none(), "what followed has to come again");
        model.put(4, &[4; 10]);
        model.put(3, &[3; 10]);
        assert!(model.complete(&[1, 2, 3, 4]).is_some());
        // One that waits.
        model.put(9, b"nine");
        model.put(9, b"neun");
        assert!(model.complete(&[1, 2, 3, 4, 9]).is_some());
    }

    #[test]
    fn two_bodies_for_one_part_at_once_break_the_chain() {
        for second_first in [false, true] {
            let mut model = Model::default();
            model.put(1, b"one");
            let (a, b) = (b"a".as_slice(), b"b".as_slice());
            let (fed_a, fed_b) = (begin(&model.chain, 2, a), begin(&model.chain, 2, b));
            model.chain.releasing(2, body(a));
            model.chain.releasing(2, body(b));
            model.store.insert(2, a.to_vec());
            let mut ends = vec![(a, fed_a), (b, fed_b)];
            if second_first {
                ends.reverse();
            }
            for (bytes, fed) in ends {
                model.chain.stored(2, &etag(bytes), body(bytes), fed);
            }
            assert_eq!(model.complete(&[1, 2]), None);
            model.put(2, b"c");
            assert!(model.complete(&[1, 2]).is_some(), "one more, alone, is known again");
        }
        // The same body twice is one body.
        let mut model = Model::default();
        let fed = [begin(&model.chain, 1, b"x"), begin(&model.chain, 1, b"x")];
        model.chain.releasing(1, body(b"x"));
        model.chain.releasing(1, body(b"x"));
        model.store.insert(1, b"x".to_vec());
        for fed in fed {
            model.chain.stored(1, &etag(b"x"), body(b"x"), fed);
        }
        assert!(model.complete(&[1]).is_some());
    }

    #[test]
    fn a_part_that_may_be_there_or_not_is_not_known() {
        let mut model = Model::default();
        model.put(1, b"one");
        model.put(2, b"two");
        // Other bytes, whose answer never came: the store may have either.
        model.chain.releasing(1, body(b"eins"));
        assert_eq!(model.chain.lost(1, body(b"eins")), None, "the release had cut it off already");
        assert_eq!(model.complete(&[1, 2]), None);
        assert_eq!(model.complete(&[1]), None);
        // The same bytes, lost: whichever the store has, it is these.
        let mut model = Model::default();
        model.put(1, b"one");
        model.chain.releasing(1, body(b"one"));
        model.chain.lost(1, body(b"one"));
        assert!(model.complete(&[1]).is_some());
    }

    #[test]
    fn a_part_that_is_replaced_while_it_is_hashed_is_not_chained() {
        let mut model = Model::default();
        model.put(2, b"two");
        let fed = begin(&model.chain, 1, b"one");
        model.chain.releasing(1, body(b"one"));
        model.store.insert(1, b"one".to_vec());
        model.chain.stored(1, &etag(b"one"), body(b"one"), fed);
        let (number, base, state, waiting) = model.chain.take_next(&start).unwrap();
        let state = hash_on(&state, std::iter::once(&waiting.bytes[..])).unwrap().save();
        // Meanwhile part 2 is sent again, as something else.
        model.put(2, b"zwei");
        assert_eq!(model.chain.hashed(number, base, state), None);
        assert!(model.complete(&[1, 2]).is_some());
    }

    #[test]
    fn a_state_of_a_predecessor_that_changed_is_no_base() {
        let mut model = Model::default();
        model.put(1, b"one");
        let fed = begin(&model.chain, 2, b"two");
        model.put(1, b"eins");
        model.chain.releasing(2, body(b"two"));
        model.store.insert(2, b"two".to_vec());
        assert_eq!(model.chain.stored(2, &etag(b"two"), body(b"two"), fed), None);
        assert_eq!(model.complete(&[1, 2]), None);
        assert!(model.complete(&[1]).is_some());
    }

    #[test]
    fn an_etag_that_is_not_the_stores_is_not_covered() {
        let mut model = Model::default();
        model.put(1, b"one");
        let named = |etag: &str| vec![NamedPart { number: 1, etag: etag.into() }];
        assert_eq!(model.chain.cover(&named("other"), &start), Cover::Unknown);
        assert!(matches!(model.chain.cover(&named(&etag(b"one")), &start), Cover::Whole(..)));
        // The store gave the same bytes another ETag.
        model.chain.releasing(1, body(b"one"));
        assert_eq!(model.chain.stored(1, "new", body(b"one"), Fed::Nothing), Some(Change::ETag(1)));
        assert!(matches!(model.chain.cover(&named("new"), &start), Cover::Whole(..)));
    }
}
