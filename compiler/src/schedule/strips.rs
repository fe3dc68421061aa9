//! Fused groups of windowed layers by strips of rows: which rows of every layer a strip adds, and
//! which it keeps of the strip before.
//!
//! A strip is some rows of the last layer's result. The rows that it needs of the layers before
//! lie in buffers, one for each layer but the last: first those that the strip before has left and
//! that are needed again, then those that the strip adds. Sections are what threads share: each
//! begins with empty buffers, so the rows at a cut between two are computed twice.

use std::ops::Range;

use super::tiling::{RowRun, row_runs};
use crate::graph::{Partition, Window};

/// How a layer of a fused group moves over rows.
#[derive(Clone, Copy, Debug)]
pub struct LayerRows {
    /// Its window.
    pub window: Window,
    /// Rows of the map that it reads.
    pub input: u32,
    /// What a row of its result costs, in multiply-adds.
    pub macs: u64,
}

impl LayerRows {
    /// The rows of the input that some rows of the result need, from the first to the last.
    fn needed(&self, rows: &Range<u32>) -> Range<u32> {
        if rows.is_empty() {
            return 0..0;
        }
        let row = |at: u32| u64::from(at) * u64::from(self.window.strides[0]);
        let above = u64::from(self.window.pads.top);
        let end = row(rows.end - 1) + u64::from(self.window.extent()[0]);
        let inside = |at: u64| at.saturating_sub(above).min(u64::from(self.input)) as u32;
        inside(row(rows.start))..inside(end)
    }
}

/// What a strip does to one layer's rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StripRows {
    /// The first row that is computed, counted from the top of the map.
    pub first: u32,
    /// How many are computed.
    pub count: u32,
    /// Those rows, by their taps.
    pub runs: Vec<RowRun>,
    /// Rows before the first one that the strip before has left: they are to lie at the start of
    /// the buffer.
    pub kept: u32,
    /// Where they lie in the buffer as it was left, in rows.
    pub kept_at: u32,
    /// The row of the buffer of the layer before on which the first window would stand if nothing
    /// were padded; 0 for the first layer, which reads a whole map.
    pub input: i64,
}

impl StripRows {
    /// Whether both are the same but for where they are in their maps.
    fn is_like(&self, other: &Self) -> bool {
        Self { first: other.first, ..self.clone() } == *other
    }
}

/// Strips behind each other that do the same work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StripRun {
    /// Number of strips.
    pub count: u32,
    /// What the first of them does to each layer.
    pub layers: Vec<StripRows>,
    /// Rows from one strip to the next, for each layer.
    pub advance: Vec<u32>,
}

/// Sections next to each other that do the same work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SectionRun {
    /// The sections.
    pub sections: Range<u32>,
    /// The strips of the first of them.
    pub strips: Vec<StripRun>,
    /// Rows from one section to the next, for each layer.
    pub advance: Vec<u32>,
}

/// The rows from each layer's first row in `from` to that in `to`, if both strips are alike
/// otherwise.
fn distance(from: &[StripRows], to: &[StripRows]) -> Option<Vec<u32>> {
    let pairs = from.iter().zip(to);
    pairs.map(|(a, b)| b.first.checked_sub(a.first).filter(|_| a.is_like(b))).collect()
}

/// How far apart the members of a run of `count` are if another one, `distance` from the first,
/// continues it: the second member tells.
fn continued(advance: &[u32], count: u32, distance: Vec<u32>) -> Option<Vec<u32>> {
    if count == 1 {
        return Some(distance);
    }
    let next: Vec<u32> = advance.iter().map(|rows| rows * count).collect();
    (next == distance).then(|| advance.to_vec())
}

/// What a strip that needs `needed` rows of a layer does to its buffer, which holds the rows
/// `held`.
fn extend(held: &mut Range<u32>, needed: Range<u32>) -> StripRows {
    let (kept, kept_at, first) = match () {
        () if needed.is_empty() => (held.len() as u32, 0, held.end),
        () if needed.start >= held.end => (0, 0, needed.start),
        () => (held.end - needed.start, needed.start - held.start, held.end),
    };
    let count = needed.end.saturating_sub(first);
    *held = first - kept..first + count;
    StripRows { first, count, runs: Vec::new(), kept, kept_at, input: 0 }
}

/// The next strip: `rows` of the last layer.
fn strip(layers: &[LayerRows], buffers: &mut [Range<u32>], rows: Range<u32>) -> Vec<StripRows> {
    let mut needed = rows;
    let mut found = Vec::with_capacity(layers.len());
    for (layer, held) in layers.iter().zip(buffers).rev() {
        let mut added = extend(held, needed);
        let new = added.first..added.first + added.count;
        added.runs = row_runs(&layer.window, layer.input, new.clone());
        needed = layer.needed(&new);
        found.push(added);
    }
    found.reverse();
    for at in 1..found.len() {
        let held = i64::from(found[at - 1].first - found[at - 1].kept);
        found[at].input = i64::from(found[at].first) * i64::from(layers[at].window.strides[0]) - held;
    }
    found
}

/// The strips of the section `rows` of the last layer's result, `height` rows each but for the
/// last one.
pub fn strip_runs(layers: &[LayerRows], rows: Range<u32>, height: u32) -> Vec<StripRun> {
    let mut buffers = vec![0..0; layers.len()];
    let mut runs: Vec<StripRun> = Vec::new();
    for first in rows.clone().step_by(height.max(1) as usize) {
        let end = rows.end.min(first.saturating_add(height.max(1)));
        let next = strip(layers, &mut buffers, first..end);
        match runs.last_mut().and_then(|run| Some((run.advance_to(&next)?, run))) {
            Some((advance, run)) => (run.advance, run.count) = (advance, run.count + 1),
            None => runs.push(StripRun { count: 1, advance: vec![0; next.len()], layers: next }),
        }
    }
    runs
}

impl StripRun {
    /// How far apart strips are, if `next` continues this run.
    fn advance_to(&self, next: &[StripRows]) -> Option<Vec<u32>> {
        continued(&self.advance, self.count, distance(&self.layers, next)?)
    }

    /// The rows from this run's layers to those of `other`, if both are alike otherwise.
    fn distance(&self, other: &Self) -> Option<Vec<u32>> {
        let alike = (self.count, &self.advance) == (other.count, &other.advance);
        distance(&self.layers, &other.layers).filter(|_| alike)
    }
}

/// The sections `cuts`, in strips of `height` rows.
pub fn section_runs(layers: &[LayerRows], cuts: &[Range<u32>], height: u32) -> Vec<SectionRun> {
    let mut runs: Vec<SectionRun> = Vec::new();
    for (section, rows) in (0..).zip(cuts) {
        let strips = strip_runs(layers, rows.clone(), height);
        match runs.last_mut().and_then(|run| Some((run.advance_to(&strips)?, run))) {
            Some((advance, run)) => (run.advance, run.sections.end) = (advance, section + 1),
            None => runs.push(SectionRun {
                sections: section..section + 1,
                strips,
                advance: vec![0; layers.len()],
            }),
        }
    }
    runs
}

impl SectionRun {
    /// How far apart sections are, if one of these strips continues this run.
    fn advance_to(&self, strips: &[StripRun]) -> Option<Vec<u32>> {
        let mut distances = self.strips.iter().zip(strips).map(|(a, b)| a.distance(b));
        let first = distances.next()??;
        let alike =
            self.strips.len() == strips.len() && distances.all(|other| other.as_ref() == Some(&first));
        continued(&self.advance, self.sections.len() as u32, first).filter(|_| alike)
    }
}

/// Rows that the buffer of each layer must hold.
pub fn buffer_rows(runs: &[SectionRun], layers: usize) -> Vec<u32> {
    let mut most = vec![0; layers];
    for strip in runs.iter().flat_map(|run| &run.strips) {
        for (most, rows) in most.iter_mut().zip(&strip.layers) {
            *most = rows.count.saturating_add(rows.kept).max(*most);
        }
    }
    most
}

/// What a section costs, in multiply-adds.
pub fn section_macs(layers: &[LayerRows], rows: &Range<u32>) -> u64 {
    let mut needed = rows.clone();
    let mut macs = 0u64;
    for layer in layers.iter().rev() {
        macs = macs.saturating_add(layer.macs.saturating_mul(needed.len() as u64));
        needed = layer.needed(&needed);
    }
    macs
}

/// Cuts the `rows` of the last layer's result into `sections`, so that the one that costs most
/// costs as little as can be with sizes that differ by one at most: windows that hang over the
/// edges decide whether larger ones come first or last.
pub fn cut_evenly(layers: &[LayerRows], rows: u32, sections: u32) -> Vec<Range<u32>> {
    let sizes = Partition::even(rows, sections.clamp(1, rows.max(1))).unwrap_or_default();
    let ranges = |sizes: Vec<u32>| -> Vec<Range<u32>> {
        let mut end = 0;
        let cut = |size| {
            end += size;
            end - size..end
        };
        sizes.into_iter().map(cut).collect()
    };
    let larger_last = ranges(sizes.iter().rev().copied().collect());
    let most = |cuts: &Vec<Range<u32>>| cuts.iter().map(|rows| section_macs(layers, rows)).max();
    let [first, last] = [ranges(sizes), larger_last];
    if most(&last) < most(&first) { last } else { first }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Pads;
    use proptest::prelude::*;

    fn window() -> impl Strategy<Value = Window> {
        (1u32..5, 1u32..5, 1u32..4, 0u32..8, 0u32..8).prop_map(|(taps, stride, dilation, top, bottom)| {
            let window =
                Window { kernel: [taps, 1], strides: [stride, 1], dilation: [dilation, 1], ..Window::POINT };
            let most = window.extent()[0] - 1;
            Window {
                pads: Pads { top: top.min(most), bottom: bottom.min(most), left: 0, right: 0 },
                ..window
            }
        })
    }

    /// Layers behind each other over a map of `h` rows, as many as fit, and the rows of the last
    /// result.
    fn chain(windows: &[Window], mut h: u32) -> (Vec<LayerRows>, u32) {
        let mut layers = Vec::new();
        for &window in windows {
            let Some(output) = window.output(0, h) else { break };
            layers.push(LayerRows { window, input: h, macs: 1 });
            h = output;
        }
        (layers, h)
    }

    /// Every strip of a section, as it is run.
    fn expanded(run: &SectionRun, section: u32) -> Vec<Vec<StripRows>> {
        let mut strips = Vec::new();
        for strip_run in &run.strips {
            for strip in 0..strip_run.count {
                let moved = |(layer, rows): (usize, &StripRows)| {
                    let by_section = section * run.advance[layer];
                    let first = rows.first + by_section + strip * strip_run.advance[layer];
                    StripRows { first, ..rows.clone() }
                };
                strips.push(strip_run.layers.iter().enumerate().map(moved).collect());
            }
        }
        strips
    }

    /// Checks that a row's taps are the rows of the input that they should be: `input` tells which
    /// row of the map lies in a row of the layer's input.
    fn check_row(layer: &LayerRows, row: u32, taps: &Range<u32>, input: impl Fn(u32) -> Option<u32>) {
        assert_eq!(*taps, layer.window.valid_taps(0, row, layer.input));
        for tap in taps.clone() {
            let wanted =
                row * layer.window.strides[0] + tap * layer.window.dilation[0] - layer.window.pads.top;
            assert_eq!(input(tap), Some(wanted), "row {row}, tap {tap}");
        }
    }

    /// Runs a section on buffers that hold the numbers of rows, and returns the rows of the result.
    fn simulate(layers: &[LayerRows], strips: &[Vec<StripRows>], capacities: &[u32]) -> Vec<u32> {
        let mut buffers: Vec<Vec<Option<u32>>> =
            capacities.iter().map(|&rows| vec![None; rows as usize]).collect();
        let mut result = Vec::new();
        for strip in strips {
            for (at, (layer, rows)) in layers.iter().zip(strip).enumerate() {
                let kept = rows.kept_at as usize..(rows.kept_at + rows.kept) as usize;
                buffers[at].copy_within(kept, 0);
                for run in &rows.runs {
                    for row in run.first..run.first + run.count {
                        check_row(layer, rows.first + row, &run.taps, |tap| {
                            let Window { strides, dilation, pads, .. } = layer.window;
                            let offset =
                                i64::from(row * strides[0] + tap * dilation[0]) - i64::from(pads.top);
                            match at.checked_sub(1) {
                                None => Some((i64::from(rows.first * strides[0]) + offset) as u32),
                                Some(before) => buffers[before][(rows.input + offset) as usize],
                            }
                        });
                        buffers[at][(rows.kept + row) as usize] = Some(rows.first + row);
                    }
                }
            }
            result.extend(strip.last().into_iter().flat_map(|rows| rows.first..rows.first + rows.count));
        }
        result
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn bands_find_every_row_in_its_buffer_and_yield_each_result_once(
            windows in proptest::collection::vec(window(), 1..5),
            h in 1u32..60,
            (height, sections) in (1u32..9, 1u32..6),
        ) {
            let (layers, rows) = chain(&windows, h);
            prop_assume!(!layers.is_empty());
            let cuts = cut_evenly(&layers, rows, sections);
            let runs = section_runs(&layers, &cuts, height);
            let capacities = buffer_rows(&runs, layers.len());
            let mut result = Vec::new();
            for run in &runs {
                for section in 0..run.sections.len() as u32 {
                    result.extend(simulate(&layers, &expanded(run, section), &capacities));
                }
            }
            prop_assert_eq!(result, (0..rows).collect::<Vec<_>>());
        }

        #[test]
        fn a_single_section_computes_no_row_twice(
            windows in proptest::collection::vec(window(), 1..5),
            h in 1u32..60,
            height in 1u32..9,
        ) {
            let (layers, rows) = chain(&windows, h);
            prop_assume!(!layers.is_empty());
            let mut next = vec![0; layers.len()];
            for run in strip_runs(&layers, 0..rows, height) {
                for strip in 0..run.count {
                    for (layer, next) in next.iter_mut().enumerate() {
                        let first = run.layers[layer].first + strip * run.advance[layer];
                        prop_assert!(first >= *next);
                        *next = first + run.layers[layer].count;
                    }
                }
            }
        }
    }

    /// The pool of Xception's second block. The first strip has no row above it, so the second
    /// finds the kept one at another place.
    #[test]
    fn most_bands_of_a_tall_map_are_one_run() {
        let pool = Window { kernel: [3, 3], strides: [2, 2], ..Window::POINT };
        let pool = Window { pads: Pads { top: 1, bottom: 1, left: 1, right: 1 }, ..pool };
        let (layers, rows) = chain(&[Window::POINT, pool], 147);
        let runs = strip_runs(&layers, 0..rows, 3);
        assert_eq!(runs.iter().map(|run| run.count).collect::<Vec<_>>(), [1, 1, 22, 1]);
        let StripRun { layers, advance, .. } = &runs[2];
        assert_eq!((layers[0].first, layers[0].count, layers[0].kept, layers[0].kept_at), (12, 6, 1, 6));
        assert_eq!(*advance, [6, 3]);
    }

    #[test]
    fn sections_cost_as_little_as_can_be() {
        let pool = Window { kernel: [3, 3], strides: [2, 2], ..Window::POINT };
        let pool = Window { pads: Pads { bottom: 1, ..Pads::default() }, ..pool };
        let (layers, rows) = chain(&[Window::POINT, pool], 74);
        let layers = [layers[0], LayerRows { macs: 0, ..layers[1] }];
        let cuts = cut_evenly(&layers, rows, 2);
        assert_eq!(cuts, [0..18, 18..37]);
        let macs: Vec<u64> = cuts.iter().map(|rows| section_macs(&layers, rows)).collect();
        assert_eq!(macs, [37, 38]);
    }
}
