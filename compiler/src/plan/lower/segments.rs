//! Narrow segments, packed side by side into vectors.

use super::argument;
use super::job::Job;
use super::place::{Surfaces, Tile, Widths, call_tile, walk};
use super::runs::PackedRun;
use crate::graph::Post;
use crate::kernels::Descriptor;
use crate::kernels::segments::SegmentsTile;
use crate::plan::emit::Emitter;
use crate::plan::nest::{NestBuilder, Offset};
use crate::schedule::packed_pixels;
use crate::schedule::tiling::BlockRun;

impl Job<'_> {
    /// The tiles of packed segments in a block of rows.
    pub(super) fn packed_run(
        &self,
        emit: &mut Emitter,
        b: &mut NestBuilder,
        run: &PackedRun,
        place: (Widths, &BlockRun, &Surfaces),
    ) {
        let (vectors, rest) = (run.count / run.packed, run.count % run.packed);
        let pieces = [(0, vectors, run.packed), (vectors, 1, rest)];
        for (first, vectors, packed) in pieces.into_iter().filter(|piece| piece.1 > 0 && piece.2 > 0) {
            self.packed_vectors(emit, b, run, (first, vectors, packed), place);
        }
    }

    /// `vectors` vectors of `packed` segments each, behind the `first` whole vectors.
    fn packed_vectors(
        &self,
        emit: &mut Emitter,
        b: &mut NestBuilder,
        run: &PackedRun,
        (first, vectors, packed): (u32, u32, u32),
        (widths, block, surfaces): (Widths, &BlockRun, &Surfaces),
    ) {
        let (window, lanes) = (&self.direct.conv.window, emit.target.lanes);
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
        let target = emit.target;
        let tile = packed_pixels(target, window, self.direct.shape.row, self.direct.load, self.direct.post)
            .unwrap_or(1);
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
                steps: surfaces.steps(window, self.direct.post.contains(&Post::Add)),
                clip: tile.clip.clone(),
                load: self.direct.load,
                post: self.direct.post.to_vec(),
            };
            let kernel = emit.kernel(Descriptor::Segments(descriptor));
            let constants =
                vec![argument(self.weights, Offset::bytes((weights + skipped) * 4)), bias.clone()];
            let rows = tile.taps.len() as u32;
            call_tile(b, kernel, tile, constants, Some(rows), None);
        });
    }
}
