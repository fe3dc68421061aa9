//! A panel of a matrix multiplication by tiles.
//!
//! A block of tiles is 32 rows by 32 columns in four tiles of sums, or less where less is left.
//! The sums of a block go to a small memory; bias and epilogue of a block are woven between the
//! products of the next one, since vector and tile units work side by side. Lines of the next
//! panel of weights are asked for on the way, so that they are near when their turn comes.

use super::epilogue::{self, Format};
use super::matmul::{BLOCK, LINE, MatmulPanel, TILE_SIZE};
use crate::vector::{
    BinaryOp, Builder, CacheLevel, Pointer, Slot, TILE_BYTES, TILE_LANES, TILE_ROWS, Tile, Times,
};

/// Chunks in one trip of the loop over them. What is left, and sums of fewer than two trips, are
/// written out.
const TRIP: u32 = 2;
/// Pixels whose epilogues use different slots, so that one need not wait for the other.
const IN_FLIGHT: usize = 4;

/// Registers of a panel under construction.
struct Registers {
    /// `sums[row of tiles][column of tiles]`
    sums: Vec<Vec<Tile>>,
    rows: Vec<Tile>,
    columns: Vec<Tile>,
    bias: Vec<Slot>,
    /// The values of a pixel, in turn.
    values: Vec<Vec<Slot>>,
    temporaries: Vec<Slot>,
    /// Where the current chunk of the first row is read; between blocks, where the block begins.
    chunk: Pointer,
    /// Where the current chunk of weights is read; between blocks, the first one.
    weights: Pointer,
    /// The next lines of weights to ask for.
    ahead: Pointer,
    /// The sums of the next pixel to finish.
    finished: Pointer,
}

/// Some chunks of inputs of a block, and what is woven between their products.
#[derive(Clone, Copy)]
struct Stretch {
    /// Rows of tiles of the block.
    rows: usize,
    /// Chunks, from where `chunk` and `weights` point.
    chunks: u32,
    then: Then,
    woven: Woven,
}

/// What comes after some chunks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    /// The next chunk.
    Chunk,
    /// The next row of taps.
    Taps,
    /// The next block.
    Block,
}

/// What is woven between products.
#[derive(Clone, Copy)]
struct Woven {
    /// Pixels of the block before, whose sums are in memory.
    pixels: u32,
    /// Lines of the next panel to ask for.
    lines: u32,
}

impl Woven {
    /// What a part of the chunks takes of it.
    fn part(self, chunks: u32, all: u32) -> Self {
        Self { pixels: self.pixels * chunks / all, lines: self.lines * chunks / all }
    }

    /// What so many parts leave.
    fn without(self, part: Self, times: u32) -> Self {
        Self { pixels: self.pixels - times * part.pixels, lines: self.lines - times * part.lines }
    }
}

impl MatmulPanel {
    /// Writes the body of the kernel by tiles.
    pub(super) fn by_tiles(&self, b: &mut Builder) {
        let r = self.registers(b);
        for (tile, &slot) in r.bias.iter().enumerate() {
            b.load(slot, b.parameter("bias"), tile as i32 * b.vector_bytes());
        }
        b.point(r.ahead, r.weights, self.bytes());
        let (blocks, rest) = (self.pixels / BLOCK, self.pixels % BLOCK);
        let lines = ((self.bytes() / LINE) as u32).checked_div(blocks).unwrap_or(0);
        let mut pending = 0;
        if blocks > 0 {
            self.products(b, &r, 2, Woven { pixels: 0, lines });
            pending = BLOCK;
            b.repeat(Times::Exactly(blocks - 1), |b| {
                b.advance(r.chunk, BLOCK as i32 * self.step);
                self.products(b, &r, 2, Woven { pixels: BLOCK, lines });
            });
        }
        if rest > 0 {
            b.advance(r.chunk, pending as i32 * self.step);
            self.products(b, &r, rest.div_ceil(TILE_ROWS), Woven { pixels: pending, lines: 0 });
            pending = rest;
        }
        b.point(r.finished, b.parameter("sums"), 0);
        (0..pending).for_each(|pixel| self.finish(b, &r, pixel));
    }

    fn registers(&self, b: &mut Builder) -> Registers {
        let tiles = self.tiles() as usize;
        let temporaries = epilogue::slots(&self.post);
        Registers {
            sums: (0..2).map(|_| b.tiles(tiles)).collect(),
            rows: b.tiles(2),
            columns: b.tiles(tiles),
            bias: b.slots(tiles),
            values: (0..IN_FLIGHT).map(|_| b.slots(tiles)).collect(),
            temporaries: b.slots(temporaries),
            chunk: b.parameter("in"),
            weights: b.parameter("weights"),
            ahead: b.pointer(),
            // Biases are read at the beginning only.
            finished: b.parameter("bias"),
        }
    }

    /// The planes of row and weight that are multiplied, in an order in which neighbours share a
    /// factor. Those that are left out are below what the last plane holds.
    fn products_of_planes(&self) -> &'static [(u32, u32)] {
        match self.planes.count {
            1 => &[(0, 0)],
            2 => &[(0, 1), (0, 0), (1, 0)],
            _ => &[(0, 2), (0, 0), (0, 1), (1, 1), (1, 0), (2, 0)],
        }
    }

    /// All products of a block of `rows` rows of tiles; its sums go to memory.
    fn products(&self, b: &mut Builder, r: &Registers, rows: u32, woven: Woven) {
        let rows = rows as usize;
        r.sums[..rows].iter().flatten().for_each(|&sum| b.tile_zero(sum));
        b.point(r.finished, b.parameter("sums"), 0);
        let before = self.taps.count - 1;
        let all = self.taps.count * self.chunks;
        let part = woven.part(TRIP, all);
        let rest = woven.part(self.rest(), all);
        let row = Stretch { rows, chunks: self.rest(), then: Then::Taps, woven: rest };
        b.repeat(Times::Exactly(before), |b| {
            self.row_of_taps(b, r, part, &row);
            b.advance(r.chunk, self.taps.distance - self.row_bytes());
        });
        let woven = woven.without(part, self.taps.count * self.trips()).without(rest, before);
        self.row_of_taps(b, r, part, &Stretch { then: Then::Block, woven, ..row });
        b.advance(r.chunk, -self.input_bytes());
        b.advance(r.weights, -self.bytes());
        self.store_sums(b, r, rows);
    }

    /// Trips of the loop over the chunks of a row.
    fn trips(&self) -> u32 {
        if self.chunks < 2 * TRIP { 0 } else { (self.chunks - 1) / TRIP }
    }

    /// Chunks that the loop leaves.
    fn rest(&self) -> u32 {
        self.chunks - self.trips() * TRIP
    }

    /// All chunks of a row, in a loop that weaves `part` in each trip, and the `rest`.
    fn row_of_taps(&self, b: &mut Builder, r: &Registers, part: Woven, rest: &Stretch) {
        let trip = Stretch { chunks: TRIP, then: Then::Chunk, woven: part, ..*rest };
        b.repeat(Times::Exactly(self.trips()), |b| self.stretch(b, r, &trip));
        self.stretch(b, r, rest);
    }

    /// The products of some chunks; leaves the pointers behind them.
    fn stretch(&self, b: &mut Builder, r: &Registers, stretch: &Stretch) {
        let dots = stretch.chunks * self.dots(stretch.rows);
        let mut weaver = Weaver { panel: self, registers: r, woven: stretch.woven, dots, done: 0 };
        for number in 0..stretch.chunks {
            self.chunk(b, r, (stretch, number), &mut |b| weaver.after_dot(b));
        }
        let Woven { pixels, lines } = stretch.woven;
        let steps = [
            (r.chunk, stretch.chunks as i32 * TILE_BYTES),
            (r.weights, stretch.chunks as i32 * self.chunk_bytes()),
            (r.ahead, lines as i32 * LINE),
            (r.finished, pixels as i32 * self.pixel_bytes()),
            (b.parameter("out"), pixels as i32 * self.out),
            (b.parameter("add"), pixels as i32 * self.add),
        ];
        steps.into_iter().for_each(|(pointer, bytes)| b.advance(pointer, bytes));
    }

    /// Products of a chunk of so many rows of tiles.
    fn dots(&self, rows: usize) -> u32 {
        rows as u32 * self.tiles() * self.products_of_planes().len() as u32
    }

    /// Bytes of the sums of a pixel.
    fn pixel_bytes(&self) -> i32 {
        self.tiles() as i32 * TILE_BYTES
    }

    /// The products of one chunk; `after_dot` is called after each. Between products, lines of the
    /// chunk after it are asked for. That saves the wait for the level-2 cache; and where another
    /// thread shares the core, tiles that are loaded and products that follow each other without
    /// anything between hinder each other, which other instructions prevent.
    fn chunk(
        &self,
        b: &mut Builder,
        r: &Registers,
        (stretch, number): (&Stretch, u32),
        after_dot: &mut dyn FnMut(&mut Builder),
    ) {
        let lines = self.lines_after(r, stretch, number);
        let after_each = lines.len().div_ceil(self.dots(stretch.rows) as usize);
        let mut lines = lines.into_iter();
        let mut loaded = [u32::MAX; 2];
        for &(row_plane, column_plane) in self.products_of_planes() {
            if loaded[0] != row_plane {
                (0..stretch.rows).for_each(|row| self.load_row(b, r, (row, row_plane), number));
            }
            if loaded[1] != column_plane {
                self.load_columns(b, r, column_plane, number);
            }
            for row in 0..stretch.rows {
                for (column, &weights) in r.columns.iter().enumerate() {
                    b.tile_dot(r.sums[row][column], r.rows[row], weights);
                    after_dot(b);
                    for (base, offset) in lines.by_ref().take(after_each) {
                        b.prefetch(CacheLevel::First, base, offset);
                    }
                }
            }
            loaded = [row_plane, column_plane];
        }
    }

    /// The cache lines of the chunk after one: of its rows, then of its weights. After the last
    /// one of a block comes the first one of the next block.
    fn lines_after(&self, r: &Registers, stretch: &Stretch, number: u32) -> Vec<(Pointer, i32)> {
        let step = i64::from(self.step);
        let then = if number + 1 == stretch.chunks { stretch.then } else { Then::Chunk };
        let [row, input, weights] = [self.row_bytes(), self.input_bytes(), self.bytes()].map(i64::from);
        let start = i64::from(number + 1) * i64::from(TILE_BYTES)
            + match then {
                Then::Chunk => 0,
                Then::Taps => i64::from(self.taps.distance) - row,
                Then::Block => i64::from(BLOCK) * step - input,
            };
        let mut lines = Vec::new();
        for plane in 0..i64::from(self.planes.count) {
            let first = plane * i64::from(self.planes.distance) + start;
            let rows = 0..stretch.rows as i64 * i64::from(TILE_ROWS);
            lines.extend(rows.map(|row| (r.chunk, first + row * step)));
        }
        let bytes = i64::from(self.chunk_bytes());
        let first = i64::from(number + 1) * bytes - if then == Then::Block { weights } else { 0 };
        lines.extend((first..first + bytes).step_by(LINE as usize).map(|line| (r.weights, line)));
        lines.into_iter().filter_map(|(base, at)| Some((base, i32::try_from(at).ok()?))).collect()
    }

    fn load_columns(&self, b: &mut Builder, r: &Registers, plane: u32, chunk: u32) {
        for (column, &weights) in r.columns.iter().enumerate() {
            let tile = (chunk * self.planes.count + plane) * self.tiles() + column as u32;
            b.tile_load(weights, r.weights, tile as i32 * TILE_SIZE, TILE_BYTES);
        }
    }

    fn load_row(&self, b: &mut Builder, r: &Registers, (row, plane): (usize, u32), chunk: u32) {
        let plane = plane as i32 * self.planes.distance;
        let offset = plane + row as i32 * TILE_ROWS as i32 * self.step + chunk as i32 * TILE_BYTES;
        b.tile_load(r.rows[row], r.chunk, offset, self.step);
    }

    /// Writes the sums pixel by pixel.
    fn store_sums(&self, b: &mut Builder, r: &Registers, rows: usize) {
        for (row, sums) in r.sums[..rows].iter().enumerate() {
            for (column, &sum) in sums.iter().enumerate() {
                let offset = row as i32 * TILE_ROWS as i32 * self.pixel_bytes() + column as i32 * TILE_BYTES;
                b.tile_store(sum, b.parameter("sums"), offset, self.pixel_bytes());
            }
        }
    }

    /// Asks for the memory of a pixel's results, which cannot be written before it is near.
    fn ask_for_results(&self, b: &mut Builder, pixel: u32) {
        for column in 0..self.tiles() as i32 {
            let channel = column * b.vector_bytes();
            b.prefetch(CacheLevel::Second, b.parameter("out"), pixel as i32 * self.out + channel);
            if self.add != 0 {
                b.prefetch(CacheLevel::Second, b.parameter("add"), pixel as i32 * self.add + channel);
            }
        }
    }

    /// Bias and epilogue of a pixel, counted from the first one that is not finished, whose sums
    /// are in memory.
    fn finish(&self, b: &mut Builder, r: &Registers, pixel: u32) {
        let values = &r.values[pixel as usize % IN_FLIGHT];
        let mut results = Vec::new();
        for (column, (&value, &bias)) in values.iter().zip(&r.bias).enumerate() {
            let offset = pixel as i32 * self.pixel_bytes() + column as i32 * TILE_BYTES;
            b.load(value, r.finished, offset);
            b.binary(BinaryOp::Add, value, value, bias);
            let channel = column as i32 * b.vector_bytes();
            let [out, add] = [self.out, self.add].map(|step| pixel as i32 * step + channel);
            let lanes = (self.columns - column as u32 * TILE_LANES).min(TILE_LANES);
            results.push(epilogue::Result { value, out, add, lanes });
        }
        let pointers = [b.parameter("out"), b.parameter("add")];
        epilogue::finish(b, (&self.post, Format::F32), &results, pointers, &r.temporaries);
    }
}

/// Spreads what is woven evenly over a number of products.
struct Weaver<'a> {
    panel: &'a MatmulPanel,
    registers: &'a Registers,
    woven: Woven,
    dots: u32,
    done: u32,
}

impl Weaver<'_> {
    fn after_dot(&mut self, b: &mut Builder) {
        let due = |all: u32, dot: u32| all * dot / self.dots;
        for line in due(self.woven.lines, self.done)..due(self.woven.lines, self.done + 1) {
            b.prefetch(CacheLevel::Second, self.registers.ahead, line as i32 * LINE);
        }
        for pixel in due(self.woven.pixels, self.done)..due(self.woven.pixels, self.done + 1) {
            self.panel.finish(b, self.registers, pixel);
            self.panel.ask_for_results(b, BLOCK + pixel);
        }
        self.done += 1;
    }
}
