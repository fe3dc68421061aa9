//! Narrow segments, packed side by side into vectors.

use super::job::Job;
use super::place::{Surfaces, Tile, Widths, call_tile, walk};
use super::runs::PackedRun;
use super::{Planner, argument};
use crate::graph::{Activation, Post, Window};
use crate::kernels::segments::{self, SegmentsTile};
use crate::kernels::{Clip, Descriptor, TileSteps};
use crate::plan::nest::{NestBuilder, Offset};
use crate::plan::windows::BlockRun;
use crate::target::{Isa, Target};

/// The most pixels of a tile; with more, rows are cut less evenly.
const MOST_PIXELS: u32 = 12;

/// The most pixels of a tile in rows of `row` pixels, or none when not even two pixels (or all) fit into the
/// registers.
pub(super) fn tile_pixels(
    target: Target,
    window: &Window,
    row: u32,
    (load, post): (Activation, &[Post]),
) -> Option<u32> {
    let available = target.registers - usize::from(target.isa == Isa::Baseline);
    let kw = window.kernel[1];
    // Only which columns are the same matters here, so distances count pixels.
    let [pixel, tap] = [window.strides[1], window.dilation[1]].map(|step| step.min(1 << 16) as i32);
    let steps = TileSteps { pixel, tap, row: 0, out: 0, add: 0 };
    let fits = |&pixels: &u32| {
        let slots = segments::slots(&Clip::none(pixels, kw), kw, &steps, load, post);
        slots.is_some_and(|slots| slots <= available)
    };
    let most = (1..=row.min(MOST_PIXELS)).take_while(fits).last()?;
    Some(most).filter(|&most| most >= row.min(2))
}

impl Job<'_> {
    /// The tiles of packed segments in a block of rows.
    pub(super) fn packed_run(
        &self,
        planner: &mut Planner<'_>,
        b: &mut NestBuilder,
        run: &PackedRun,
        place: (Widths, &BlockRun, &Surfaces),
    ) {
        let (vectors, rest) = (run.count / run.packed, run.count % run.packed);
        let pieces = [(0, vectors, run.packed), (vectors, 1, rest)];
        for (first, vectors, packed) in pieces.into_iter().filter(|piece| piece.1 > 0 && piece.2 > 0) {
            self.packed_vectors(planner, b, run, (first, vectors, packed), place);
        }
    }

    /// `vectors` vectors of `packed` segments each, behind the `first` whole vectors.
    fn packed_vectors(
        &self,
        planner: &mut Planner<'_>,
        b: &mut NestBuilder,
        run: &PackedRun,
        (first, vectors, packed): (u32, u32, u32),
        (widths, block, surfaces): (Widths, &BlockRun, &Surfaces),
    ) {
        let (window, lanes) = (&self.conv.window, planner.program.target.lanes);
        let (ic, oc) = run.channels;
        let [input, output] = [(run.at.input, ic), (run.at.output, oc)]
            .map(|(start, channels)| start + i64::from(first * run.packed * channels));
        let surfaces = Surfaces {
            input: surfaces.input.channel(input),
            out: surfaces.out.channel(output),
            add: surfaces.add.channel(output),
        };
        let [kh, kw] = window.kernel;
        let row_of_taps = i64::from(kw * ic * lanes);
        let weights = run.at.weights + i64::from(first) * i64::from(kh) * row_of_taps;
        let bias = argument(self.bias, Offset::bytes((run.at.bias + i64::from(first * lanes)) * 4));
        let target = planner.program.target;
        let tile = tile_pixels(target, window, self.shape.row, (self.load, self.post)).unwrap_or(1);
        let widths = Widths { tile, ..widths };
        walk(b, window, widths, block, &surfaces, |b, tile: Tile<'_>| {
            let skipped = i64::from(tile.taps.start) * row_of_taps;
            let descriptor = SegmentsTile {
                lanes,
                ic,
                oc,
                packed,
                vectors,
                kh,
                kw,
                steps: surfaces.steps(window, self.post.contains(&Post::Add)),
                clip: tile.clip.clone(),
                load: self.load,
                post: self.post.to_vec(),
            };
            let kernel = planner.kernel(Descriptor::Segments(descriptor));
            let constants =
                vec![argument(self.weights, Offset::bytes((weights + skipped) * 4)), bias.clone()];
            let rows = tile.taps.len() as u32;
            call_tile(b, kernel, tile, constants, Some(rows), None);
        });
    }
}
