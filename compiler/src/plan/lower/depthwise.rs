//! Depthwise convolutions in vectors: tiles of some pixels of a row and some vectors of channels,
//! over blocks of rows.

use std::ops::Range;

use super::argument;
use super::maps::{Fusion, Maps};
use super::place::{Surface, Surfaces, Tile, Widths, call_tile, walk};
use crate::graph::{Activation, Conv, Post, Window};
use crate::kernels::depthwise::{self, DepthwiseTile};
use crate::kernels::epilogue::Format;
use crate::kernels::{Clip, Descriptor, TileSteps};
use crate::plan::emit::Emitter;
use crate::plan::nest::{Index, NestBuilder, Offset, Operand};
use crate::schedule::tiling::{BlockRun, block_runs};
use crate::target::Target;

/// Most pixels of a tile.
const MOST_PIXELS: u32 = 20;
/// Bytes that a tile may touch so that the next row of its column finds most of them in a level-1
/// cache of 48 KB.
const NEAR_BYTES: u64 = 44 << 10;
/// Fewest pixels of a tile that is narrowed for that; its channels are cut where more would have
/// to go (benches/LOG.md).
const FEWEST_PIXELS: u32 = 12;

impl Emitter {
    /// A depthwise convolution over blocks of rows of all images.
    pub(super) fn depthwise_blocks(
        &mut self,
        b: &mut NestBuilder,
        conv: &Conv,
        (load, post): (Activation, &[Post]),
        (blocks, maps): (u32, Maps),
    ) {
        let window = &conv.window;
        let (input, out) = (maps.input.shape, maps.out.shape);
        b.divide(self.batch, |b, image| {
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
        let target = self.target;
        let tiling = Tiling::of(target, conv, fusion, ow);
        let widths = Widths { input: w, output: ow, tile: tiling.pixels };
        let of_bias = i64::from(target.vector_bytes());
        let row_of_taps = i64::from(conv.window.kernel[1]) * of_bias;
        let of_weights = i64::from(conv.window.kernel[0]) * row_of_taps;
        for (vectors, numbers, first) in tiling.groups(conv.partition.oc().div_ceil(target.lanes)) {
            b.repeat(numbers, |b, number| {
                let group = Group { first, vectors, number };
                let surfaces = group.surfaces(target, fusion.format, surfaces);
                walk(b, &conv.window, widths, block, &surfaces, |b, tile: Tile<'_>| {
                    let steps = surfaces.steps(&conv.window, fusion.post.contains(&Post::Add));
                    let descriptor = tiling.tile((target, conv, fusion), &group, (steps, tile.clip));
                    let kernel = self.kernel(Descriptor::Depthwise(descriptor));
                    let skipped = Offset::bytes(i64::from(tile.taps.start) * row_of_taps);
                    let [weights, bias] = fusion.constants;
                    let constants = vec![
                        argument(weights, group.along(skipped, of_weights)),
                        argument(bias, group.along(Offset::default(), of_bias)),
                    ];
                    let rows = Some(tile.taps.len() as u32);
                    call_tile(b, kernel, tile, constants, rows, None);
                });
            });
        }
    }
}

/// Some vectors of channels, one of several groups of as many behind each other.
struct Group {
    /// The first vector of the first group.
    first: u32,
    vectors: u32,
    number: Index,
}

impl Group {
    /// An offset moved to the group, where a vector takes so many bytes.
    fn along(&self, offset: Offset, bytes: i64) -> Offset {
        offset.plus(i64::from(self.first) * bytes).along(self.number, i64::from(self.vectors) * bytes)
    }

    fn surfaces(&self, target: Target, format: Format, Surfaces { input, out, add }: &Surfaces) -> Surfaces {
        let of_values = i64::from(target.vector_bytes());
        let moved = |surface: &Surface, bytes| Surface {
            origin: self.along(surface.origin.clone(), bytes),
            ..surface.clone()
        };
        Surfaces {
            input: moved(input, of_values),
            out: moved(out, i64::from(target.lanes) * i64::from(format.bytes())),
            add: moved(add, of_values),
        }
    }
}

/// What the tiles of a depthwise convolution are made of.
struct Tiling {
    /// Most pixels of a tile.
    pixels: u32,
    /// Vectors of channels of a tile; those that come last may have fewer.
    vectors: u32,
    /// Whether the weights of a row of taps stay in registers.
    resident: bool,
}

impl Tiling {
    /// Tiles of rows of `ow` pixels, of as many vectors of channels as a level-1 cache holds of
    /// what they touch.
    fn of(target: Target, conv: &Conv, Fusion { load, post, format, .. }: Fusion<'_>, ow: u32) -> Self {
        let kw = conv.window.kernel[1];
        let all = conv.partition.oc().div_ceil(target.lanes);
        let fits_with = |weights: u32, pixels: u32| {
            depthwise::slots(pixels, weights, load, (post, format)) < target.registers
        };
        // With fewer than four pixels a tile it does not pay to keep weights in registers.
        let resident = fits_with(kw, ow.min(4));
        let fits = |pixels: &u32| fits_with(if resident { kw } else { 1 }, *pixels);
        let largest = (1..=ow.min(MOST_PIXELS)).take_while(fits).last().unwrap_or(1);
        let near = |pixels: u32| {
            u32::try_from(NEAR_BYTES / vector_bytes(target, &conv.window, pixels)).unwrap_or(u32::MAX)
        };
        let narrowed = (FEWEST_PIXELS..=largest).rev().find(|&pixels| near(pixels) >= all);
        // Rows are cut evenly.
        let pixels = ow.div_ceil(ow.div_ceil(narrowed.unwrap_or(largest)));
        // A single vector of neighbouring pixels is too little of each line's neighbourhood.
        let parts = if near(pixels) < 2 { 1 } else { all.div_ceil(near(pixels)) };
        let unit = if format == Format::F32 { 1 } else { 2 };
        let vectors = all.div_ceil(parts).next_multiple_of(unit).min(all);
        Self { pixels, vectors, resident }
    }

    /// The groups of so many vectors: vectors of each, numbers of the groups, and the first one's
    /// first vector. The last group of all is by itself.
    fn groups(&self, all: u32) -> [(u32, Range<u32>, u32); 2] {
        let before_last = (all - 1) / self.vectors;
        let first = before_last * self.vectors;
        [(self.vectors, 0..before_last, 0), (all - first, 0..1, first)]
    }

    fn tile(
        &self,
        (target, conv, Fusion { load, post, format, .. }): (Target, &Conv, Fusion<'_>),
        group: &Group,
        (steps, clip): (TileSteps, &Clip),
    ) -> DepthwiseTile {
        let (oc, lanes, vectors) = (conv.partition.oc(), target.lanes, group.vectors);
        let is_last = group.first + vectors == oc.div_ceil(lanes);
        let last_lanes = match format {
            Format::Bf16(_) if is_last => (oc - 1) % lanes + 1,
            _ => lanes,
        };
        let ([kh, kw], resident) = (conv.window.kernel, self.resident);
        let (clip, post) = (clip.clone(), post.to_vec());
        DepthwiseTile { lanes, vectors, kh, kw, resident, steps, clip, load, post, format, last_lanes }
    }
}

/// Bytes that a tile of so many pixels touches for each vector of channels: their windows and
/// results, weights and biases.
fn vector_bytes(target: Target, window: &Window, pixels: u32) -> u64 {
    let pixels = u64::from(pixels);
    let [taps_of_column, taps_of_row] = window.kernel.map(u64::from);
    let columns = (pixels - 1) * u64::from(window.strides[1]) + u64::from(window.extent()[1]);
    let windows = taps_of_column.saturating_mul(columns);
    let values = windows.saturating_add(pixels + taps_of_column * taps_of_row + 1);
    values.saturating_mul(u64::from(target.vector_bytes()))
}
