//! What an index costs: compiling, opening, and one lookup beside what else one could do.
//!
//!     HASHGATE_BENCH_ENTRIES=100000000 cargo bench --bench index
//!
//! The entries are synthetic; a million of them unless the environment says otherwise. `HASHGATE_BENCH_DIR` is where the
//! index and its temporary files go. What is printed of lookups is the median latency of single calls, in random order,
//! over a map that is in memory. Each contender has a map of its own: the tables by which a processor finds a page of a map
//! are megabytes themselves, and whoever shares them with a binary search finds them in the cache.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock and has no requests to stop")]

use hashgate::digest::Digest;
use hashgate::list::entry::{Entry, Item};
use hashgate::list::feed::{Fed, Place};
use hashgate::list::index::compile::{Compiler, Options, SIZE_MIN};
use hashgate::list::index::map::Bytes;
use hashgate::list::index::seal::Key;
use hashgate::list::index::{Access, Hit, Index, Kind};
use std::collections::HashSet;
use std::fs::File;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Lookups of each kind.
const LOOKUPS: usize = 400_000;

/// Lookups of one kind until the next has its turn.
const TURN: usize = 20_000;

const PAGE: usize = 4096;
const ROW: usize = 19;
const ROWS_PER_PAGE: usize = PAGE / ROW;

fn main() {
    let entries = std::env::var("HASHGATE_BENCH_ENTRIES").map_or(1_000_000, |text| text.parse().expect("a number"));
    let folder = std::env::var_os("HASHGATE_BENCH_DIR").map_or_else(std::env::temp_dir, Into::into);
    let dir = tempfile::tempdir_in(folder).expect("a temporary folder");
    let (place, key) = (dir.path().join("index"), Key::random().expect("a key"));
    compile(&place, &key, entries);
    let started = Instant::now();
    let index = Index::open(&place, &key, Access::Map).expect("the index opens");
    println!("opening                    {:>9.1} ms", started.elapsed().as_secs_f64() * 1e3);
    println!("bytes per entry            {:>9.2}", index.file_len() as f64 / entries as f64);
    let started = Instant::now();
    assert_eq!(index.scrub(Duration::ZERO, &|| false), 0);
    println!("verifying every page       {:>9.2} s", started.elapsed().as_secs_f64());
    let another = Index::open(&place, &key, Access::Map).expect("the index opens");
    assert_eq!(another.scrub(Duration::ZERO, &|| false), 0);
    lookups([&index, &another], &place, entries);
}

fn compile(place: &Path, key: &Key, entries: u64) {
    let options =
        Options { name: "bench".into(), kind: Kind::KnownBad, category: Some("test:bench".into()), size_min: SIZE_MIN };
    let peak = Peak::start();
    let started = Instant::now();
    let mut compiler = Compiler::new(place, key, options, Vec::new()).expect("a compiler");
    compiler
        .source("synthetic", |sink| {
            for number in 0..entries {
                let entry = Entry { digests: vec![digest(number)], size: Some(10_000), ..Entry::default() };
                sink(Place::Line(number + 1), Item::Entry(entry))?;
            }
            Ok(Fed { format: "synthetic".into(), ..Fed::default() })
        })
        .expect("the source is read");
    let read = started.elapsed();
    compiler.finish(key).expect("the index is written");
    println!("entries                    {entries:>9}");
    println!(
        "compiling                  {:>9.1} s ({:.1} of it reading)",
        started.elapsed().as_secs_f64(),
        read.as_secs_f64()
    );
    println!("peak anonymous memory      {:>9} MiB", peak.stop() >> 20);
}

/// A map of the file, every page of which was touched.
fn map(place: &Path) -> Bytes {
    let map = Bytes::map(&File::open(place).expect("the index")).expect("a map");
    for byte in map.iter().step_by(PAGE) {
        black_box(*byte);
    }
    map
}

/// The same index twice: for hits, and for misses.
fn lookups([index, another]: [&Index; 2], place: &Path, entries: u64) {
    let maps = [map(place), map(place), map(place)];
    let [read, searched_map, searched_in_vain_map] = &maps;
    let rows = index.rows() as usize;
    let mut numbers = Numbers(7);
    // Each contender has digests of its own: none profits from what the one before it brought into the cache.
    let mut hits = || -> Vec<Digest> { (0..LOOKUPS).map(|_| digest(numbers.next() % entries)).collect() };
    let marks = |digests: Vec<Digest>| -> Vec<[u8; 16]> { digests.iter().map(|d| index.seal().mark(d)).collect() };
    let (hashed, hit_marks, searched) = (hits(), marks(hits()), marks(hits()));
    let (stored, filtered, filtered_too) = (marks(hits()), marks(hits()), marks(hits()));
    let mut misses = || marks((0..LOOKUPS).map(|_| digest(entries + numbers.next() % (1 << 40))).collect());
    let (miss_marks, searched_in_vain) = (misses(), misses());
    let (not_stored, not_filtered, not_filtered_too) = (misses(), misses(), misses());
    let places: Vec<usize> = (0..LOOKUPS).map(|_| numbers.next() as usize % read.len()).collect();

    let look_up = |index: &Index, mark: &[u8; 16], listed: bool| {
        assert_eq!(index.look_up_mark(mark, None) != Ok(Hit::None), listed);
        u64::from(listed)
    };
    let search = |map: &Bytes, mark: &[u8; 16]| u64::from(binary_search(map, rows, mark));
    race(&[
        ("random read of the map", &|at| u64::from(read[places[at]])),
        ("keyed hash", &|at| u64::from(index.seal().mark(&hashed[at])[0])),
        ("index, hit", &|at| look_up(index, &hit_marks[at], true)),
        ("index, miss", &|at| look_up(another, &miss_marks[at], false)),
        ("binary search, hit", &|at| search(searched_map, &searched[at])),
        ("binary search, miss", &|at| search(searched_in_vain_map, &searched_in_vain[at])),
    ]);
    let all_marks = || (0..entries).map(|number| index.seal().mark(&digest(number)));
    let bloom = Bloom::of(all_marks(), entries);
    let set: HashSet<[u8; 16]> = all_marks().collect();
    let then_index = |mark: &[u8; 16]| bloom.may_hold(mark) && index.look_up_mark(mark, None) != Ok(Hit::None);
    let then_set = |mark: &[u8; 16]| bloom.may_hold(mark) && set.contains(mark);
    race(&[
        ("random read of the map", &|at| u64::from(read[places[at]])),
        ("Bloom, then index, hit", &|at| u64::from(then_index(&filtered[at]))),
        ("Bloom, then index, miss", &|at| u64::from(then_index(&not_filtered[at]))),
        ("hash set, hit", &|at| u64::from(set.contains(&stored[at]))),
        ("hash set, miss", &|at| u64::from(set.contains(&not_stored[at]))),
        ("Bloom, then set, hit", &|at| u64::from(then_set(&filtered_too[at]))),
        ("Bloom, then set, miss", &|at| u64::from(then_set(&not_filtered_too[at]))),
    ]);
}

/// Prints the median time of each, beside that of the first. They take turns, in another order each time, so that what
/// else the machine does, and what a contender leaves to the next, meets all of them. Each call is timed by itself: reading the clock waits for the loads before it, so that no call
/// overlaps with the next. What the clock itself takes is taken off.
fn race(contenders: &[(&str, &dyn Fn(usize) -> u64)]) {
    let all: Vec<&dyn Fn(usize) -> u64> =
        [&(|_| 0u64) as &dyn Fn(usize) -> u64].into_iter().chain(contenders.iter().map(|c| c.1)).collect();
    let mut times: Vec<Vec<u64>> = vec![Vec::with_capacity(LOOKUPS); all.len()];
    let (mut order, mut numbers): (Vec<usize>, Numbers) = ((0..all.len()).collect(), Numbers(11));
    for turn in 0..LOOKUPS / TURN {
        for last in (1..order.len()).rev() {
            order.swap(last, numbers.next() as usize % (last + 1));
        }
        for &next in &order {
            for at in turn * TURN..(turn + 1) * TURN {
                let started = Instant::now();
                black_box(all[next](at));
                times[next].push(started.elapsed().as_nanos() as u64);
            }
        }
    }
    let medians: Vec<u64> = times
        .into_iter()
        .map(|mut times| {
            times.sort_unstable();
            times[times.len() / 2]
        })
        .collect();
    let beside = medians[1].saturating_sub(medians[0]).max(1) as f64;
    for ((name, _), median) in contenders.iter().zip(&medians[1..]) {
        let own = median.saturating_sub(medians[0]) as f64;
        println!("{name:<26} {own:>9.0} ns  {:>5.2} random reads", own / beside);
    }
}

fn binary_search(map: &Bytes, rows: usize, mark: &[u8]) -> bool {
    let row = |number: usize| {
        let at = PAGE * (1 + number / ROWS_PER_PAGE) + number % ROWS_PER_PAGE * ROW;
        &map[at..at + 16]
    };
    let (mut low, mut high) = (0, rows);
    while low < high {
        let middle = low + (high - low) / 2;
        match row(middle).cmp(mark) {
            std::cmp::Ordering::Less => low = middle + 1,
            std::cmp::Ordering::Equal => return true,
            std::cmp::Ordering::Greater => high = middle,
        }
    }
    false
}

/// One wrong yes in a thousand: 14.4 bits and 10 probes for each entry.
struct Bloom(Vec<u64>);

impl Bloom {
    fn of(marks: impl Iterator<Item = [u8; 16]>, entries: u64) -> Bloom {
        let mut bloom = Bloom(vec![0; (entries as f64 * 14.4 / 64.0) as usize + 1]);
        for mark in marks {
            for bit in bloom.bits(&mark) {
                bloom.0[bit / 64] |= 1 << (bit % 64);
            }
        }
        bloom
    }

    fn may_hold(&self, mark: &[u8; 16]) -> bool {
        self.bits(mark).all(|bit| self.0[bit / 64] & 1 << (bit % 64) != 0)
    }

    fn bits(&self, mark: &[u8; 16]) -> impl Iterator<Item = usize> + use<> {
        let half = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| mark[at + byte]));
        let (first, second, bits) = (half(0), half(8) | 1, self.0.len() as u64 * 64);
        (0..10)
            .map(move |n| ((u128::from(first.wrapping_add(second.wrapping_mul(n))) * u128::from(bits)) >> 64) as usize)
    }
}

/// A digest that no file has.
fn digest(number: u64) -> Digest {
    let mut numbers = Numbers(number ^ 0x5eed);
    let mut bytes = [0; 32];
    for part in bytes.chunks_exact_mut(8) {
        part.copy_from_slice(&numbers.next().to_le_bytes());
    }
    Digest::Sha256(bytes)
}

/// SplitMix64: uniform enough, and the same in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// Watches this process's anonymous memory.
struct Peak {
    most: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Peak {
    fn start() -> Peak {
        let (most, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (seen, stopped) = (most.clone(), stop.clone());
        std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                seen.fetch_max(anonymous_bytes(), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        Peak { most, stop }
    }

    fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.most.load(Ordering::Relaxed)
    }
}

fn anonymous_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok()).unwrap_or_default() << 10
}
