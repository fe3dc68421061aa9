//! Depthwise convolutions in vectors: tiles of some pixels of a row and all channels, over blocks of rows.

use super::maps::{Fusion, Maps};
use super::place::{Surfaces, Tile, Widths, call_tile, walk};
use super::{Planner, argument};
use crate::graph::{Activation, Conv, Post};
use crate::kernels::Descriptor;
use crate::kernels::depthwise::{self, DepthwiseTile};
use crate::kernels::epilogue::Format;
use crate::plan::nest::{NestBuilder, Offset, Operand};
use crate::plan::windows::{BlockRun, block_count, block_runs};
use crate::target::Target;

/// Most pixels of a tile.
const MOST_PIXELS: u32 = 20;
/// Bytes that a tile may touch so that the next row of its column finds most of them in a level-1 cache of 48 KB.
const NEAR_BYTES: u64 = 44 << 10;
/// Fewest pixels of a tile that is narrowed for that: neighbouring tiles load the same columns (benches/LOG.md).
const FEWEST_PIXELS: u32 = 3;

impl Planner<'_> {
    /// A depthwise convolution over blocks of rows of all images.
    pub(super) fn depthwise_blocks(
        &mut self,
        b: &mut NestBuilder,
        conv: &Conv,
        load: Activation,
        post: &[Post],
        maps: Maps,
    ) {
        let window = &conv.window;
        let (input, out) = (maps.input.shape, maps.out.shape);
        let row = maps.input.row() * u64::from(window.strides[0]);
        let Target { cache_bytes, .. } = self.program.target;
        let fewest = self.fewest_units(self.program.options.batch);
        let blocks = block_count(out.h(), row, cache_bytes, fewest);
        b.divide(self.program.options.batch, |b, image| {
            let surfaces = maps.surfaces().image(image, maps.images());
            for run in block_runs(window, input.h(), out.h(), blocks) {
                b.units(run.blocks.clone(), 1, |b, [block, _]| {
                    let surfaces = surfaces.block(&run, block, window.strides[0]);
                    let fusion = Fusion {
                        load,
                        post,
                        format: Format::F32,
                        constants: [Operand::Weights, Operand::Bias],
                    };
                    self.depthwise_rows(b, conv, fusion, (input.w(), out.w()), &run, &surfaces);
                });
            }
        });
    }

    /// The tiles of a depthwise convolution in a block of rows.
    pub(super) fn depthwise_rows(
        &mut self,
        b: &mut NestBuilder,
        conv: &Conv,
        fusion: Fusion<'_>,
        (w, ow): (u32, u32),
        block: &BlockRun,
        surfaces: &Surfaces,
    ) {
        let target = self.program.target;
        let window = &conv.window;
        let [kh, kw] = window.kernel;
        let Fusion { load, post, format, constants: [weights, bias] } = fusion;
        let (tile, resident) = tile_pixels(target, conv, fusion, ow);
        let last_lanes = match format {
            Format::F32 => target.lanes,
            _ => (conv.partition.oc() - 1) % target.lanes + 1,
        };
        walk(b, window, Widths { input: w, output: ow, tile }, block, surfaces, |b, tile: Tile<'_>| {
            let skipped = i64::from(tile.taps.start) * i64::from(kw * target.vector_bytes());
            let descriptor = DepthwiseTile {
                lanes: target.lanes,
                vectors: conv.partition.oc().div_ceil(target.lanes),
                kh,
                kw,
                resident,
                steps: surfaces.steps(window, post.contains(&Post::Add)),
                clip: tile.clip.clone(),
                load,
                post: post.to_vec(),
                format,
                last_lanes,
            };
            let kernel = self.kernel(Descriptor::Depthwise(descriptor));
            let constants =
                vec![argument(weights, Offset::bytes(skipped)), argument(bias, Offset::default())];
            let rows = Some(tile.taps.len() as u32);
            call_tile(b, kernel, tile, constants, rows, None);
        });
    }
}

/// The most pixels of a tile in rows of `ow`, and whether the weights of a row of taps stay in registers.
fn tile_pixels(
    target: Target,
    conv: &Conv,
    Fusion { load, post, format, .. }: Fusion<'_>,
    ow: u32,
) -> (u32, bool) {
    let kw = conv.window.kernel[1];
    let fits_with = |weights: u32, pixels: u32| {
        depthwise::slots(pixels, weights, load, (post, format)) < target.registers
    };
    // With fewer than four pixels a tile it does not pay to keep weights in registers.
    let resident = fits_with(kw, ow.min(4));
    let fits = |pixels: &u32| fits_with(if resident { kw } else { 1 }, *pixels);
    let largest = (1..=ow.min(MOST_PIXELS)).take_while(fits).last().unwrap_or(1);
    let is_near = |pixels: &u32| tile_bytes(target, conv, *pixels) <= NEAR_BYTES;
    let pixels = (FEWEST_PIXELS..=largest).rev().find(is_near).unwrap_or(largest);
    (pixels, resident)
}

/// Bytes that a tile of so many pixels touches: their windows and results, all weights and biases.
fn tile_bytes(target: Target, conv: &Conv, pixels: u32) -> u64 {
    let window = &conv.window;
    let pixels = u64::from(pixels);
    let [taps_of_column, taps_of_row] = window.kernel.map(u64::from);
    let columns = (pixels - 1) * u64::from(window.strides[1]) + u64::from(window.extent()[1]);
    let windows = taps_of_column.saturating_mul(columns);
    let values = windows.saturating_add(pixels + taps_of_column * taps_of_row + 1);
    values.saturating_mul(u64::from(target.padded(conv.partition.oc())) * 4)
}
