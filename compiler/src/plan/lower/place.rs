//! Surfaces: maps in memory as loops see them, and the walk of windows over them.

use std::ops::Range;

use super::argument;
use crate::graph::Window;
use crate::kernels::{Clip, TileSteps};
use crate::layout::View;
use crate::plan::nest::{Argument, Index, KernelId, NestBuilder, Offset, Operand};
use crate::schedule::tiling::{BlockRun, RowRun, TileRun, tile_runs};

/// A map in an operand. Distances are in bytes.
#[derive(Clone, Debug)]
pub(super) struct Surface {
    pub operand: Operand,
    /// The first channel of the first pixel of the rows that are looked at.
    pub origin: Offset,
    pub pixel: i64,
    pub row: i64,
}

impl Surface {
    /// A whole value.
    pub fn of(operand: Operand, view: View) -> Self {
        Self { operand, origin: Offset::default(), pixel: view.pixel as i64, row: view.row() as i64 }
    }

    /// Moved to an image.
    pub fn image(&self, image: Index, bytes: u64) -> Self {
        Self { origin: self.origin.clone().along(image, bytes as i64), ..self.clone() }
    }

    /// Moved to the first row of a block of output rows, in a map that has `stride` rows for each
    /// of them.
    pub fn block(&self, run: &BlockRun, block: Index, stride: u32) -> Self {
        let row = self.row * i64::from(stride);
        let start = i64::from(run.first_row) - i64::from(run.blocks.start) * i64::from(run.rows);
        let origin = self.origin.clone().plus(start * row).along(block, i64::from(run.rows) * row);
        Self { origin, ..self.clone() }
    }

    /// Moved to a channel.
    pub fn channel(&self, channel: i64) -> Self {
        Self { origin: self.origin.clone().plus(channel * 4), ..self.clone() }
    }

    /// An argument at an offset from the origin.
    pub fn at(&self, offset: impl FnOnce(Offset) -> Offset) -> Argument {
        argument(self.operand, offset(self.origin.clone()))
    }
}

/// The three maps that windowed kernels walk over, all moved to the block of rows that is computed.
#[derive(Clone, Debug)]
pub(super) struct Surfaces {
    pub input: Surface,
    pub out: Surface,
    pub add: Surface,
}

impl Surfaces {
    /// Moved to an image; `bytes` are the distances of images in input, result and added operand.
    pub fn image(&self, image: Index, bytes: [u64; 3]) -> Self {
        Self {
            input: self.input.image(image, bytes[0]),
            out: self.out.image(image, bytes[1]),
            add: self.add.image(image, bytes[2]),
        }
    }

    /// Moved to a block of output rows.
    pub fn block(&self, run: &BlockRun, block: Index, stride: u32) -> Self {
        Self {
            input: self.input.block(run, block, stride),
            out: self.out.block(run, block, 1),
            add: self.add.block(run, block, 1),
        }
    }

    /// Where the input, result and added operand of a tile begin, one of those of a run in one of
    /// some rows.
    fn tile(
        &self,
        window: &Window,
        (rows, row): (&RowRun, Index),
        (run, tile): (&TileRun, Index),
    ) -> [Argument; 3] {
        let [stride_rows, stride_pixels] = window.strides.map(i64::from);
        let first_tap = i64::from(rows.first) * stride_rows - i64::from(window.pads.top)
            + i64::from(rows.taps.start) * i64::from(window.dilation[0]);
        let first_column = i64::from(run.first) * stride_pixels - i64::from(window.pads.left);
        let pixels = i64::from(run.pixels());
        let at = |surface: &Surface, [first_row, first_pixel]: [i64; 2], [rows, pixels]: [i64; 2]| {
            surface.at(|origin| {
                let start = origin.plus(first_row * surface.row + first_pixel * surface.pixel);
                start.along(row, rows * surface.row).along(tile, pixels * surface.pixel)
            })
        };
        let same = |surface| at(surface, [rows.first, run.first].map(i64::from), [1, pixels]);
        let windows = [stride_rows, pixels * stride_pixels];
        [at(&self.input, [first_tap, first_column], windows), same(&self.out), same(&self.add)]
    }

    /// The distances that a tile's descriptor holds; `adds` says whether the added operand matters.
    pub fn steps(&self, window: &Window, adds: bool) -> TileSteps {
        let [dilation_rows, dilation_pixels] = window.dilation.map(i64::from);
        TileSteps {
            pixel: (self.input.pixel * i64::from(window.strides[1])) as i32,
            tap: if window.kernel[1] > 1 { (self.input.pixel * dilation_pixels) as i32 } else { 0 },
            row: if window.kernel[0] > 1 { (self.input.row * dilation_rows) as i32 } else { 0 },
            out: self.out.pixel as i32,
            add: if adds { self.add.pixel as i32 } else { 0 },
        }
    }
}

/// A tile within a walk: its pixels, the rows of taps it has, and where its input, result and
/// added operand begin.
pub(super) struct Tile<'a> {
    pub clip: &'a Clip,
    pub taps: &'a Range<u32>,
    pub input: Argument,
    pub out: Argument,
    pub add: Argument,
    /// Which tile of the block it is.
    pub number: TileNumber,
}

/// The number of a tile in its block, counted row by row, whatever the order of a walk.
pub(super) struct TileNumber {
    first: u32,
    row: (Index, u32),
    tile: Index,
}

impl TileNumber {
    /// `offset` moved by `stride` bytes for each tile before this one.
    pub fn along(&self, offset: Offset, stride: i64) -> Offset {
        let (row, tiles) = self.row;
        let first = offset.plus(i64::from(self.first) * stride);
        first.along(row, i64::from(tiles) * stride).along(self.tile, stride)
    }
}

/// How many tiles a block has.
pub(super) fn tile_count(window: &Window, widths: Widths, block: &BlockRun) -> u32 {
    let tiles: u32 =
        tile_runs(window, widths.input, widths.output, widths.tile).iter().map(|run| run.count).sum();
    tiles * block.runs.iter().map(|rows| rows.count).sum::<u32>()
}

/// How wide things are for a walk: the input row, the output row, and the most pixels in a tile.
#[derive(Clone, Copy, Debug)]
pub(super) struct Widths {
    pub input: u32,
    pub output: u32,
    pub tile: u32,
}

/// Calls `call` for every class of equal tiles in a block of rows, inside the loops that enumerate
/// them: a column of tiles after the other, so that the rows of windows that tiles share are still
/// in the nearest cache where tiles are narrow.
pub(super) fn walk(
    b: &mut NestBuilder,
    window: &Window,
    widths: Widths,
    block: &BlockRun,
    surfaces: &Surfaces,
    mut call: impl FnMut(&mut NestBuilder, Tile<'_>),
) {
    let tiles = tile_runs(window, widths.input, widths.output, widths.tile);
    let in_row: u32 = tiles.iter().map(|run| run.count).sum();
    for rows in &block.runs {
        let mut before = rows.first * in_row;
        for run in &tiles {
            b.repeat(0..run.count, |b, tile| {
                b.repeat(0..rows.count, |b, row| {
                    let [input, out, add] = surfaces.tile(window, (rows, row), (run, tile));
                    let number = TileNumber { first: before, row: (row, in_row), tile };
                    call(b, Tile { clip: &run.clip, taps: &rows.taps, input, out, add, number });
                });
            });
            before += run.count;
        }
    }
}

/// A kernel call whose pointers are the tile's input, then `constants`, then its result and added
/// operand.
pub(super) fn call_tile(
    b: &mut NestBuilder,
    kernel: KernelId,
    tile: Tile<'_>,
    constants: Vec<Argument>,
    rows: Option<u32>,
    ahead: Option<Argument>,
) {
    let mut arguments = vec![tile.input];
    arguments.extend(constants);
    arguments.extend([tile.out, tile.add]);
    arguments.extend(ahead);
    b.call(kernel, arguments, rows);
}
