//! How the windows of a map are cut into blocks of rows, runs of rows with the same taps, and
//! tiles of pixels.

use std::ops::Range;

use crate::graph::{Window, even_parts};
use crate::kernels::Clip;

/// Equal tiles next to each other in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TileRun {
    /// First pixel of the first tile.
    pub first: u32,
    /// Number of tiles.
    pub count: u32,
    /// Pixels of each tile, and the taps that each has.
    pub clip: Clip,
}

impl TileRun {
    /// Pixels of each tile.
    pub fn pixels(&self) -> u32 {
        self.clip.pixels() as u32
    }
}

/// Cuts `pixels` into as few tiles of at most `limit` pixels as possible, as evenly as possible,
/// larger ones first: the sizes of tiles, and how many there are of each.
pub fn even_tiles(pixels: u32, limit: u32) -> impl Iterator<Item = (u32, u32)> {
    even_parts(pixels, pixels.div_ceil(limit.max(1)))
}

/// How many parts of `size` windows next to each other, the first of which begins with window
/// `first`, have all taps: those in `whole`, but at most `count`.
fn whole_parts(whole: &Range<u32>, first: u32, (size, count): (u32, u32)) -> u32 {
    if first < whole.start { 0 } else { (whole.end.saturating_sub(first) / size).min(count) }
}

/// The tiles of a row of `ow` pixels with at most `limit` pixels each, for windows over an input
/// row of `w` pixels.
pub fn tile_runs(window: &Window, w: u32, ow: u32, limit: u32) -> Vec<TileRun> {
    let whole = window.whole(1, w);
    let mut runs: Vec<TileRun> = Vec::new();
    let mut first = 0;
    for (pixels, mut left) in even_tiles(ow, limit) {
        while left > 0 {
            let clip = Clip((first..first + pixels).map(|x| window.valid_taps(1, x, w)).collect());
            let count = whole_parts(&whole, first, (pixels, left)).max(1);
            match runs.last_mut() {
                Some(run) if run.clip == clip => run.count += count,
                _ => runs.push(TileRun { first, count, clip }),
            }
            first += pixels * count;
            left -= count;
        }
    }
    runs
}

/// Rows next to each other whose windows have the same rows of taps inside the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowRun {
    /// First row, counted from the start of its block.
    pub first: u32,
    /// Number of rows.
    pub count: u32,
    /// The rows of taps inside the image.
    pub taps: Range<u32>,
}

/// The rows `rows` of the output as runs, for windows over an input of `h` rows.
pub fn row_runs(window: &Window, h: u32, rows: Range<u32>) -> Vec<RowRun> {
    let whole = window.whole(0, h);
    let mut runs: Vec<RowRun> = Vec::new();
    let mut row = rows.start;
    while row < rows.end {
        let taps = window.valid_taps(0, row, h);
        let count = whole_parts(&whole, row, (1, rows.end - row)).max(1);
        match runs.last_mut() {
            Some(run) if run.taps == taps => run.count += count,
            _ => runs.push(RowRun { first: row - rows.start, count, taps }),
        }
        row += count;
    }
    runs
}

/// Blocks of rows next to each other that do the same work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockRun {
    /// The blocks.
    pub blocks: Range<u32>,
    /// First row of the first block.
    pub first_row: u32,
    /// Rows of each block.
    pub rows: u32,
    /// Those rows, by their taps.
    pub runs: Vec<RowRun>,
}

impl BlockRun {
    /// The block in parts of at most `most` rows, each with the same taps in all its rows. Rows
    /// and parts count from the start of the block.
    pub fn parts(&self, most: u32) -> Vec<Self> {
        let mut found: Vec<Self> = Vec::new();
        let mut part = 0;
        for run in &self.runs {
            let mut first_row = run.first;
            for (rows, count) in even_tiles(run.count, most) {
                let runs = vec![RowRun { first: 0, count: rows, taps: run.taps.clone() }];
                found.push(Self { blocks: part..part + count, first_row, rows, runs });
                part += count;
                first_row += rows * count;
            }
        }
        found
    }
}

/// Cuts the `oh` rows of an output into `blocks` blocks as evenly as possible, for windows over an
/// input of `h` rows.
pub fn block_runs(window: &Window, h: u32, oh: u32, blocks: u32) -> Vec<BlockRun> {
    let whole = window.whole(0, h);
    let mut found: Vec<BlockRun> = Vec::new();
    let (mut first_row, mut block) = (0, 0);
    for (rows, mut left) in even_parts(oh, blocks) {
        while left > 0 {
            let runs = row_runs(window, h, first_row..first_row + rows);
            let count = whole_parts(&whole, first_row, (rows, left)).max(1);
            match found.last_mut() {
                Some(last) if last.runs == runs => last.blocks.end += count,
                _ => found.push(BlockRun { blocks: block..block + count, first_row, rows, runs }),
            }
            first_row += rows * count;
            block += count;
            left -= count;
        }
    }
    found
}

/// Units of work that a step should have for each thread. The last ones to be done are what
/// threads wait for.
const UNITS_OF_THREAD: u32 = 8;

/// How many units of work a step should at least have if it is as much as `smallest` units of the
/// least size.
pub fn fewest_units(threads: u32, smallest: u64) -> u32 {
    let most = if threads <= 1 { 1 } else { threads.saturating_mul(UNITS_OF_THREAD) };
    u32::try_from(smallest).unwrap_or(u32::MAX).clamp(threads.max(1), most)
}

/// How many blocks to cut `rows` into so that a block fills at most `cache_bytes`, there are at
/// least `fewest` blocks where there are rows enough, and no block is empty.
pub fn block_count(rows: u32, row_bytes: u64, cache_bytes: u32, fewest: u32) -> u32 {
    let fitting = u64::from(cache_bytes) / row_bytes.max(1);
    let wanted = u64::from(rows).div_ceil(fitting.max(1));
    wanted.max(u64::from(fewest)).clamp(1, u64::from(rows.max(1))) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Pads;
    use proptest::prelude::*;

    fn window() -> impl Strategy<Value = Window> {
        ([1u32..5, 1u32..5], [1u32..4, 1u32..4], [1u32..4, 1u32..4], [0u32..4, 0..4, 0..4, 0..4]).prop_map(
            |(kernel, strides, dilation, pads)| {
                let mut window = Window { kernel, strides, dilation, ..Window::POINT };
                let [vertical, horizontal] = window.extent().map(|extent| extent - 1);
                window.pads = Pads {
                    top: pads[0].min(vertical),
                    bottom: pads[1].min(vertical),
                    left: pads[2].min(horizontal),
                    right: pads[3].min(horizontal),
                };
                window
            },
        )
    }

    proptest! {
        #[test]
        fn tiles_cover_a_row_once_with_the_taps_of_each_pixel(
            window in window(), w in 1u32..40, limit in 1u32..15,
        ) {
            let Some(ow) = window.output(1, w) else { return Ok(()) };
            let mut next = 0;
            for run in tile_runs(&window, w, ow, limit) {
                prop_assert_eq!(run.first, next);
                prop_assert!(run.pixels() >= 1 && run.pixels() <= limit);
                for _ in 0..run.count {
                    for taps in &run.clip.0 {
                        prop_assert_eq!(taps.clone(), window.valid_taps(1, next, w));
                        next += 1;
                    }
                }
            }
            prop_assert_eq!(next, ow);
        }

        #[test]
        fn blocks_cover_all_rows_once_with_the_taps_of_each(window in window(), h in 1u32..40, blocks in 1u32..9) {
            let Some(oh) = window.output(0, h) else { return Ok(()) };
            let mut next = 0;
            for block in block_runs(&window, h, oh, blocks.min(oh)) {
                for number in 0..block.blocks.len() as u32 {
                    prop_assert_eq!(block.first_row + number * block.rows, next);
                    for run in &block.runs {
                        prop_assert_eq!(block.first_row + number * block.rows + run.first, next);
                        for _ in 0..run.count {
                            prop_assert_eq!(run.taps.clone(), window.valid_taps(0, next, h));
                            next += 1;
                        }
                    }
                }
            }
            prop_assert_eq!(next, oh);
        }

        #[test]
        fn parts_of_a_block_are_its_rows_with_their_taps(window in window(), h in 1u32..40, most in 1u32..6) {
            let Some(oh) = window.output(0, h) else { return Ok(()) };
            let block = block_runs(&window, h, oh, 1).remove(0);
            let (mut next, mut number) = (0, 0);
            for part in block.parts(most) {
                prop_assert!(part.rows <= most);
                prop_assert_eq!(part.blocks.start, number);
                number = part.blocks.end;
                for run in part.blocks.clone().flat_map(|_| &part.runs) {
                    prop_assert_eq!((run.first, run.count), (0, part.rows));
                    for _ in 0..run.count {
                        prop_assert_eq!(run.taps.clone(), window.valid_taps(0, next, h));
                        next += 1;
                    }
                }
                prop_assert_eq!(part.first_row + part.blocks.len() as u32 * part.rows, next);
            }
            prop_assert_eq!(next, oh);
        }
    }

    /// What a network of two thousand million pixels is planned by.
    #[test]
    fn long_maps_are_cut_at_once() {
        let pads = Pads { top: 1, bottom: 1, left: 1, right: 1 };
        let window = Window { kernel: [3, 3], pads, ..Window::POINT };
        let long = 2_000_000_000;
        let tiles: u32 = tile_runs(&window, long, long, 9).iter().map(|run| run.pixels() * run.count).sum();
        assert_eq!(tiles, long);
        assert_eq!(row_runs(&window, long, 0..long).len(), 3);
        assert_eq!(block_runs(&window, long, long, long).len(), 3);
        assert_eq!(block_runs(&window, long, long, 7).iter().map(|run| run.blocks.len()).sum::<usize>(), 7);
    }

    #[test]
    fn units_are_neither_few_nor_tiny() {
        assert_eq!([0, 4, 1 << 40].map(|smallest| fewest_units(2, smallest)), [2, 4, 16]);
        assert_eq!([0, 1 << 40].map(|smallest| fewest_units(1, smallest)), [1, 1]);
    }

    #[test]
    fn blocks_fit_the_cache_and_are_enough() {
        assert_eq!(block_count(147, 75_264, 1 << 20, 1), 12);
        assert_eq!(block_count(147, 75_264, 1 << 20, 16), 16);
        assert_eq!(block_count(19, 53_248, 1 << 20, 1), 1);
        assert_eq!(block_count(3, 10, 1 << 20, 8), 3);
        assert_eq!(block_count(5, 1 << 30, 1 << 20, 2), 5);
    }
}
