//! About where a mark stands among sorted ones, told from its first bits.
//!
//! The prefix table of a hundred million rows has half a mebibyte: there is no room for it in a core's own cache, beside the
//! rows that pass through it, and each lookup would wait for it before it waits for the row. Marks are uniform, so the
//! table runs nearly straight; what is kept of it here are points far apart, and for those between them how far they are
//! off the straight line, in one byte each. The guess is a few rows off anyway, so it costs nothing that the byte is not
//! exact.

/// Steps between two exact points, as a power of two.
const BLOCK_BITS: u32 = 6;

/// The prefix table in little.
pub(super) struct Guide {
    /// Bits of a mark that choose a step.
    bits: u32,
    block_bits: u32,
    rows: u32,
    /// The first row of each block, and the number of rows.
    points: Vec<u32>,
    /// For each step, and for the end: rows off the straight line through its block, `>> shift`.
    offsets: Vec<i8>,
    shift: u32,
}

impl Guide {
    /// Of a prefix table: for each of 2^`bits` prefixes the first row with it or a later one, and the number of rows.
    pub(super) fn new(starts: &[u32], bits: u32) -> Guide {
        let block_bits = BLOCK_BITS.min(bits);
        let (steps, block) = (1_usize << bits, 1_usize << block_bits);
        let points: Vec<u32> = (0..=steps / block).map(|number| starts[number * block]).collect();
        let off = |step: usize| {
            let (number, inside) = (step / block, (step % block) as i64);
            let Some(&next) = points.get(number + 1) else { return 0 };
            let point = i64::from(points[number]);
            i64::from(starts[step]) - point - (((i64::from(next) - point) * inside) >> block_bits)
        };
        let most = (0..=steps).map(|step| off(step).unsigned_abs()).max().unwrap_or_default();
        let shift = (0..63).find(|shift| most >> shift <= 127).unwrap_or_default();
        // Rounded: what is only cut off would lead all guesses astray to the same side.
        let half = (1_i64 << shift) >> 1;
        let offsets = (0..=steps).map(|step| ((off(step) + half) >> shift).clamp(-128, 127) as i8).collect();
        let rows = *points.last().unwrap_or(&0);
        Guide { bits, block_bits, rows, points, offsets, shift }
    }

    /// About where a mark would stand: the number of a row.
    pub(super) fn guess(&self, mark: u128) -> u32 {
        // In two steps, since a shift by all 128 bits is none.
        let step = (((mark >> 96) as u64) >> (32 - self.bits)) as usize;
        let inside = i64::from((mark << self.bits >> 96) as u32);
        let block = step >> self.block_bits;
        let (point, next) = (i64::from(self.points[block]), i64::from(self.points[block + 1]));
        let along = ((step as i64 & ((1 << self.block_bits) - 1)) << 32) + inside;
        // Two products that do not overflow: rows have 32 bits, and a way through a block 38.
        let straight = point + (((next - point) * (along >> 8)) >> (self.block_bits + 24));
        let (before, after) = (i64::from(self.offsets[step]), i64::from(self.offsets[step + 1]));
        // In one shift: with one after the other, what is between two steps of a byte would be cut off, always downwards.
        let off = ((before << 32) + (after - before) * inside) >> (32 - self.shift);
        (straight + off).clamp(0, i64::from(self.rows.saturating_sub(1))) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A table that is bent is far off the straight lines through its blocks, and a byte then stands for 16 rows.
    #[test]
    fn guesses_lean_to_no_side() {
        let bits = 10;
        let starts: Vec<u32> = (0..=1_u32 << bits).map(|step| step * step).collect();
        let guide = Guide::new(&starts, bits);
        assert_eq!(guide.shift, 4);
        let mut off = 0.0;
        for step in 0..1 << bits {
            for part in 0..16 {
                let between = f64::from(starts[step + 1] - starts[step]) * f64::from(part) / 16.0;
                let mark = ((step as u128) << 4 | part as u128) << (124 - bits);
                off += f64::from(guide.guess(mark)) - (f64::from(starts[step]) + between);
            }
        }
        let mean = off / f64::from(16 << bits);
        assert!(mean.abs() < 2.0, "{mean}");
    }

    proptest! {
        #[test]
        fn guesses_are_near(seed: u64, rows in 1_usize..60_000, bits in 0_u32..9) {
            let mut state = seed;
            let mut marks: Vec<u128> = (0..rows)
                .map(|_| {
                    let mut next = || {
                        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                        u128::from(state >> 32)
                    };
                    next() << 96 | next() << 64 | next() << 32 | next()
                })
                .collect();
            marks.sort_unstable();
            let starts: Vec<u32> = (0..=1_u32 << bits)
                .map(|prefix| {
                    let before = |mark: &u128| ((mark >> 96) as u64 >> (32 - bits)) < u64::from(prefix);
                    marks.partition_point(before) as u32
                })
                .collect();
            let guide = Guide::new(&starts, bits);
            // Eight times what is to be expected of a step of uniform rows, and a few rows for the rounding.
            let bound = 8.0 * (rows as f64 / f64::from(1 << bits)).sqrt() + 8.0;
            for (number, mark) in marks.iter().enumerate() {
                let guess = guide.guess(*mark);
                prop_assert!((guess as usize) < rows);
                prop_assert!((f64::from(guess) - number as f64).abs() <= bound, "{number} {guess} {bound}");
            }
        }
    }
}
