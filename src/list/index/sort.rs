//! Sorting more records than fit in memory: sorted runs in temporary files, merged as they are read.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

/// Bytes of one run: what a sorter holds in memory at most.
pub(super) const RUN_BYTES: usize = 96 << 20;

/// Read ahead of each run while they are merged.
const READ_BYTES: usize = 256 << 10;

/// Runs that are merged at once; more are merged in rounds. It bounds open files and what is read ahead.
const RUNS_MAX: usize = 128;

/// Sorts records of `N` bytes, as bytes.
pub(super) struct Sorter<const N: usize> {
    folder: PathBuf,
    held: Vec<[u8; N]>,
    run_records: usize,
    runs: Vec<File>,
    records: u64,
}

impl<const N: usize> Sorter<N> {
    /// One that keeps its runs in nameless files in `folder`.
    pub(super) fn new(folder: &Path, run_bytes: usize) -> Sorter<N> {
        let run_records = (run_bytes / N).max(2);
        Sorter { folder: folder.to_owned(), held: Vec::new(), run_records, runs: Vec::new(), records: 0 }
    }

    pub(super) fn push(&mut self, record: [u8; N]) -> io::Result<()> {
        if self.held.len() == self.run_records {
            self.spill()?;
        }
        self.held.push(record);
        self.records += 1;
        Ok(())
    }

    /// Records that were pushed.
    pub(super) fn records(&self) -> u64 {
        self.records
    }

    fn spill(&mut self) -> io::Result<()> {
        self.held.sort_unstable();
        let mut out = BufWriter::with_capacity(READ_BYTES, tempfile::tempfile_in(&self.folder)?);
        for record in &self.held {
            out.write_all(record)?;
        }
        self.held.clear();
        self.add(out)
    }

    fn add(&mut self, out: BufWriter<File>) -> io::Result<()> {
        let mut file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.rewind()?;
        self.runs.push(file);
        Ok(())
    }

    /// All records in order, with repeats.
    pub(super) fn sorted(mut self) -> io::Result<Sorted<N>> {
        if self.runs.is_empty() {
            self.held.sort_unstable();
            return Ok(Sorted::Held(self.held.into_iter()));
        }
        if !self.held.is_empty() {
            self.spill()?;
        }
        // The memory of the runs is needed no more, and whoever takes the records needs some.
        self.held = Vec::new();
        while self.runs.len() > RUNS_MAX {
            let mut merged = Merge::<N>::new(self.runs.drain(..RUNS_MAX))?;
            let mut out = BufWriter::with_capacity(READ_BYTES, tempfile::tempfile_in(&self.folder)?);
            while let Some(record) = merged.next()? {
                out.write_all(&record)?;
            }
            self.add(out)?;
        }
        Ok(Sorted::Merged(Merge::new(self.runs)?))
    }
}

/// Sorted records.
pub(super) enum Sorted<const N: usize> {
    Held(std::vec::IntoIter<[u8; N]>),
    Merged(Merge<N>),
}

impl<const N: usize> Sorted<N> {
    pub(super) fn next(&mut self) -> io::Result<Option<[u8; N]>> {
        match self {
            Sorted::Held(records) => Ok(records.next()),
            Sorted::Merged(merge) => merge.next(),
        }
    }
}

pub(super) struct Merge<const N: usize> {
    runs: Vec<BufReader<File>>,
    /// The first record of each run that is not used up, least first.
    heads: BinaryHeap<Reverse<([u8; N], usize)>>,
}

impl<const N: usize> Merge<N> {
    fn new(runs: impl IntoIterator<Item = File>) -> io::Result<Merge<N>> {
        let mut runs: Vec<_> = runs.into_iter().map(|run| BufReader::with_capacity(READ_BYTES, run)).collect();
        let mut heads = BinaryHeap::new();
        for (at, run) in runs.iter_mut().enumerate() {
            heads.extend(read_record(run)?.map(|record| Reverse((record, at))));
        }
        Ok(Merge { runs, heads })
    }

    fn next(&mut self) -> io::Result<Option<[u8; N]>> {
        let Some(mut head) = self.heads.peek_mut() else { return Ok(None) };
        let Reverse((record, at)) = *head;
        // Exchanged in place: half the work of a pop and a push.
        match read_record(&mut self.runs[at])? {
            Some(next) => *head = Reverse((next, at)),
            None => {
                PeekMut::pop(head);
            }
        }
        Ok(Some(record))
    }
}

fn read_record<const N: usize>(run: &mut BufReader<File>) -> io::Result<Option<[u8; N]>> {
    let mut record = [0; N];
    match run.read_exact(&mut record) {
        Ok(()) => Ok(Some(record)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn runs_merge_into_what_one_sort_gives(
            records in proptest::collection::vec(any::<[u8; 3]>(), 0..2000), run_bytes in 1usize..600,
        ) {
            let dir = tempfile::tempdir().unwrap();
            let mut sorter = Sorter::<3>::new(dir.path(), run_bytes);
            for record in &records {
                sorter.push(*record).unwrap();
            }
            prop_assert_eq!(sorter.records(), records.len() as u64);
            let mut sorted = sorter.sorted().unwrap();
            let mut seen = Vec::new();
            while let Some(record) = sorted.next().unwrap() {
                seen.push(record);
            }
            let mut expected = records;
            expected.sort_unstable();
            prop_assert_eq!(seen, expected);
        }
    }
}
