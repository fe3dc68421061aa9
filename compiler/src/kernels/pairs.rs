//! A panel of a matrix multiplication by vectors of pairs of bf16 values, where there are no tiles.
//!
//! Sums of some pixels by all columns of the panel are in registers. A vector of weights holds a
//! pair of inputs for each of 16 columns; it is multiplied by the same pair of each pixel's
//! inputs, in every lane. Weights lie as tiles read them: in a chunk of 32 inputs, all pairs of 16
//! columns, then those of the next 16.

use super::conv::{FarResults, finish_panel, repeat_asking, start_from_bias};
use super::matmul::{LINE, MatmulPanel, TILE_SIZE};
use super::{TileSteps, epilogue};
use crate::vector::{Builder, CacheLevel, F32, Pointer, Slot, TILE_BYTES, TILE_ROWS, Times};

/// Vector registers.
const REGISTERS: usize = 32;
/// Pairs of a pixel's inputs that one trip of the inner loop covers. Longer loops do not fit into
/// the memory for decoded instructions.
const UNROLL: u32 = 4;

/// Registers of a tile of pixels.
struct Registers {
    /// `sums[pixel][vector]`
    sums: Vec<Vec<Slot>>,
    weights: Vec<Slot>,
    pair: Slot,
    /// What epilogues take beside weights and pair.
    spare: Vec<Slot>,
    /// Where the current chunk of the first pixel is read; between tiles, where the tile begins.
    chunk: Pointer,
    /// Where the current chunk of weights is read; between tiles, the first one.
    panel: Pointer,
    /// The next lines of weights to ask for.
    ahead: Pointer,
}

/// Writes the body of the kernel of `panel`.
pub(super) fn write(panel: &MatmulPanel, b: &mut Builder) {
    let registers = registers(panel, b);
    b.point(registers.ahead, registers.panel, panel.bytes());
    let most = registers.sums.len() as u32;
    let tiles = panel.pixels.div_ceil(most);
    // Tiles of nearly equal size: some have a pixel more.
    let (pixels, larger) = (panel.pixels / tiles, panel.pixels % tiles);
    let sizes = [(pixels + 1, larger), (pixels, tiles - larger)];
    for (pixels, times) in sizes.into_iter().filter(|(_, times)| *times > 0) {
        let tile = Tile { panel, registers: &registers, pixels, tiles };
        b.repeat(Times::Exactly(times), |b| tile.write(b));
    }
}

fn registers(panel: &MatmulPanel, b: &mut Builder) -> Registers {
    let vectors = panel.tiles() as usize;
    let spare = epilogue::slots(&panel.post).saturating_sub(vectors + 1);
    let pixels = ((REGISTERS - (vectors + 1) - spare) / vectors).min(panel.pixels as usize);
    Registers {
        sums: (0..pixels).map(|_| b.slots(vectors)).collect(),
        weights: b.slots(vectors),
        pair: b.slot(),
        spare: b.slots(spare),
        chunk: b.parameter("in"),
        panel: b.parameter("weights"),
        ahead: b.pointer(),
    }
}

/// Some pixels by all columns of a panel.
struct Tile<'a> {
    panel: &'a MatmulPanel,
    registers: &'a Registers,
    pixels: u32,
    /// Tiles of the panel.
    tiles: u32,
}

impl Tile<'_> {
    /// Writes the tile; leaves the pointers at the next one.
    fn write(&self, b: &mut Builder) {
        let (panel, r) = (self.panel, self.registers);
        let steps = TileSteps { pixel: panel.step, tap: 0, row: 0, out: panel.out, add: panel.add };
        let sums = &r.sums[..self.pixels as usize];
        start_from_bias(b, sums);
        b.repeat(Times::Exactly(panel.taps.count - 1), |b| {
            b.repeat(Times::Exactly(panel.chunks), |b| self.chunk(b));
            b.advance(r.chunk, panel.taps.distance - panel.row_bytes());
        });
        let far = FarResults::new(b, &panel.post, &steps, (sums.len(), sums[0].len()));
        repeat_asking(b, panel.chunks, Some(far), |b| self.chunk(b));
        let inner = r.weights.iter().chain([&r.pair]).chain(&r.spare).copied().collect();
        let last_lanes = panel.columns - (panel.tiles() - 1) * b.lanes();
        finish_panel(b, (&panel.post, last_lanes, &steps), sums, inner);
        let pixels = self.pixels as i32;
        let steps = [
            (r.chunk, pixels * panel.step - panel.input_bytes()),
            (r.panel, -panel.bytes()),
            (b.parameter("out"), pixels * panel.out),
            (b.parameter("add"), pixels * panel.add),
        ];
        steps.into_iter().for_each(|(pointer, bytes)| b.advance(pointer, bytes));
    }

    /// The products of a chunk; leaves the pointers at the next one.
    fn chunk(&self, b: &mut Builder) {
        let (panel, r) = (self.panel, self.registers);
        b.repeat(Times::Exactly(TILE_ROWS / UNROLL), |b| {
            for pair in 0..UNROLL as i32 {
                for (vector, &weights) in r.weights.iter().enumerate() {
                    b.load(weights, r.panel, vector as i32 * TILE_SIZE + pair * TILE_BYTES);
                }
                (0..self.pixels)
                    .for_each(|pixel| self.pixel(b, pixel, pixel as i32 * panel.step + pair * F32));
            }
            b.advance(r.chunk, UNROLL as i32 * F32);
            b.advance(r.panel, UNROLL as i32 * TILE_BYTES);
        });
        self.ask_for_weights(b);
        b.advance(r.panel, panel.chunk_bytes() - TILE_SIZE);
    }

    /// The products of a pair of a pixel.
    fn pixel(&self, b: &mut Builder, pixel: u32, offset: i32) {
        let r = self.registers;
        let products = r.sums[pixel as usize].iter().zip(&r.weights);
        if self.is_direct(pixel) {
            products.for_each(|(&sum, &weights)| b.dot_broadcast(sum, weights, r.chunk, offset));
        } else {
            b.broadcast(r.pair, r.chunk, offset);
            products.for_each(|(&sum, &weights)| b.dot(sum, weights, r.pair));
        }
    }

    /// Whether products read a pixel's pair from memory themselves. A single vector loads each
    /// once in any case; of two, so many pixels leave loads and instructions in balance
    /// (benches/LOG.md).
    fn is_direct(&self, pixel: u32) -> bool {
        let direct = match self.registers.weights.len() {
            1 => self.pixels,
            _ if self.panel.direct => self.pixels * 5 / 7,
            _ => 0,
        };
        let before = |pixel: u32| pixel * direct / self.pixels;
        before(pixel + 1) > before(pixel)
    }

    /// A chunk's share of the lines of the next panel, which each tile asks for some of: one at
    /// least.
    fn ask_for_weights(&self, b: &mut Builder) {
        let (panel, ahead) = (self.panel, self.registers.ahead);
        let chunks = self.tiles * panel.taps.count * panel.chunks;
        let lines = ((panel.bytes() / LINE) as u32).div_ceil(chunks) as i32;
        (0..lines).for_each(|line| b.prefetch(CacheLevel::Second, ahead, line * LINE));
        b.advance(ahead, lines * LINE);
    }
}
