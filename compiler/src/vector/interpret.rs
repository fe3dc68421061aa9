//! The interpreter: runs a kernel on checked memory, one instruction at a time.
//!
//! It is the oracle for the lowerings. Every access is checked against the buffer that its pointer
//! came from, so a generator that reads or writes out of bounds is caught here with the numbers.

use super::tiles::tile_count;
use super::verify::{pointers, slots};
use super::{Address, BinaryOp, Inst, Kernel, Pointer, Slot, TILE_LANES, TILE_ROWS, Tile, Times, bf16};

/// The memory that a kernel may touch: numbered buffers of f32 values.
pub type Memory = Vec<Vec<f32>>;

/// A place in [`Memory`], and the bytes around it that may be accessed through it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// The buffer.
    pub buffer: usize,
    /// Bytes from its start; may lie outside as long as nothing is accessed there.
    pub offset: i64,
    /// First byte that may be accessed, and one past the last.
    pub bounds: (i64, i64),
}

impl Location {
    /// The start of a buffer, all of which may be accessed.
    pub fn start_of(buffer: usize) -> Self {
        Self { buffer, offset: 0, bounds: (0, i64::MAX) }
    }
}

/// An access outside its buffer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "kernel {kernel} accesses {lanes} values at byte {offset} of buffer {buffer}, outside {}..{}",
    bounds.0,
    bounds.1
)]
pub struct OutOfBounds {
    /// The kernel.
    pub kernel: String,
    /// The buffer.
    pub buffer: usize,
    /// First byte of the access.
    pub offset: i64,
    /// Values accessed.
    pub lanes: u32,
    /// Bytes of the buffer that may be accessed.
    pub bounds: (i64, i64),
}

/// Runs `kernel` with pointer parameters `arguments` and, if it has one, the count `rows`.
///
/// With `fused` set, multiply-adds round once. The kernel must have passed [`super::verify`].
pub fn run(
    kernel: &Kernel,
    arguments: &[Location],
    rows: u32,
    fused: bool,
    memory: &mut Memory,
) -> Result<(), OutOfBounds> {
    let nowhere = Location { buffer: usize::MAX, offset: 0, bounds: (0, 0) };
    let mut pointers = vec![nowhere; pointers(kernel)];
    pointers[..arguments.len()].copy_from_slice(arguments);
    let slots = vec![vec![0.0; kernel.lanes as usize]; slots(kernel)];
    let tiles = vec![[[0; TILE_LANES as usize]; TILE_ROWS as usize]; tile_count(kernel)];
    Machine { kernel, pointers, slots, tiles, rows, fused, memory }.body(&kernel.body)
}

/// The rows of a tile in words of four bytes.
type TileValue = [[u32; TILE_LANES as usize]; TILE_ROWS as usize];

struct Machine<'a> {
    kernel: &'a Kernel,
    pointers: Vec<Location>,
    slots: Vec<Vec<f32>>,
    tiles: Vec<TileValue>,
    rows: u32,
    fused: bool,
    memory: &'a mut Memory,
}

impl Machine<'_> {
    fn body(&mut self, body: &[Inst]) -> Result<(), OutOfBounds> {
        body.iter().try_for_each(|inst| self.inst(inst))
    }

    fn inst(&mut self, inst: &Inst) -> Result<(), OutOfBounds> {
        match *inst {
            Inst::Load { dst, from, lanes } => {
                let values = self.span(from, lanes)?.to_vec();
                self.set(dst, |lane| values.get(lane).copied().unwrap_or(0.0));
            }
            Inst::Broadcast { dst, from, values } => {
                let values = self.span(from, values)?.to_vec();
                self.set(dst, |lane| values[lane % values.len()]);
            }
            Inst::Constant { dst, value } => self.set(dst, |_| value),
            Inst::Store { src, to, lanes } => {
                let values = self.slots[src.index()][..lanes as usize].to_vec();
                self.span(to, lanes)?.copy_from_slice(&values);
            }
            Inst::Fma { acc, a, b } => {
                let b = self.slots[b.index()].clone();
                self.accumulate(acc, a, &b, self.multiply_add());
            }
            Inst::FmaBroadcast { acc, a, from } => {
                let b = self.broadcast(from)?;
                self.accumulate(acc, a, &b, self.multiply_add());
            }
            Inst::Dot { acc, a, b } => {
                let b = self.slots[b.index()].clone();
                self.accumulate(acc, a, &b, add_pair);
            }
            Inst::DotBroadcast { acc, a, from } => {
                let b = self.broadcast(from)?;
                self.accumulate(acc, a, &b, add_pair);
            }
            Inst::Binary { op, dst, a, b } => {
                let (a, b) = (self.slots[a.index()].clone(), self.slots[b.index()].clone());
                self.set(dst, |lane| binary(op, a[lane], b[lane]));
            }
            Inst::Pattern { dst, ref lanes } => self.set(dst, |lane| f32::from_bits(lanes[lane])),
            Inst::Permute { dst, src, pattern } => {
                let (src, pattern) = (self.slots[src.index()].clone(), self.slots[pattern.index()].clone());
                self.set(dst, |lane| src[pattern[lane].to_bits() as usize]);
            }
            Inst::ShiftLeft { dst, src, bits } => {
                let src = self.slots[src.index()].clone();
                self.set(dst, |lane| f32::from_bits(src[lane].to_bits() << bits));
            }
            Inst::RoundBf16 { dst, src } => {
                let src = self.slots[src.index()].clone();
                self.set(dst, |lane| bf16::widen(bf16::round(src[lane])));
            }
            Inst::StoreBf16 { src, to } => self.store_bf16(src, to)?,
            Inst::TileZero { dst } => self.tiles[dst.index()] = Default::default(),
            Inst::TileLoad { dst, from, step } => self.tile_load(dst, from, step)?,
            Inst::TileStore { src, to, step } => self.tile_store(src, to, step)?,
            Inst::TileDot { acc, a, b } => self.tile_dot(acc, a, b),
            Inst::Point { dst, base, offset } => self.point(dst, base, offset),
            Inst::Prefetch { .. } => {}
            Inst::Loop { times, ref body } => {
                let count = match times {
                    Times::Exactly(count) => count,
                    Times::Rows => self.rows,
                };
                (0..count).try_for_each(|_| self.body(body))?;
            }
        }
        Ok(())
    }

    fn set(&mut self, slot: Slot, value: impl Fn(usize) -> f32) {
        for (lane, element) in self.slots[slot.index()].iter_mut().enumerate() {
            *element = value(lane);
        }
    }

    /// acc = operation(a, b, acc), lane by lane.
    fn accumulate(&mut self, acc: Slot, a: Slot, b: &[f32], operation: fn(f32, f32, f32) -> f32) {
        let (a, sum) = (self.slots[a.index()].clone(), self.slots[acc.index()].clone());
        self.set(acc, |lane| operation(a[lane], b[lane], sum[lane]));
    }

    /// a * b + sum, as the target rounds it.
    fn multiply_add(&self) -> fn(f32, f32, f32) -> f32 {
        if self.fused { f32::mul_add } else { |a, b, sum| a * b + sum }
    }

    /// One value of memory in every lane.
    fn broadcast(&mut self, from: Address) -> Result<Vec<f32>, OutOfBounds> {
        let value = self.span(from, 1)?[0];
        Ok(vec![value; self.kernel.lanes as usize])
    }

    /// Two values fill the bits of one f32 of memory.
    fn store_bf16(&mut self, src: Slot, to: Address) -> Result<(), OutOfBounds> {
        let src = self.slots[src.index()].clone();
        let words = self.span(to, src.len() as u32 / 2)?;
        for (word, pair) in words.iter_mut().zip(src.chunks_exact(2)) {
            let [low, high] = [pair[0], pair[1]].map(|value| u32::from(bf16::round(value)));
            *word = f32::from_bits(low | high << 16);
        }
        Ok(())
    }

    /// The words of a row of a tile in memory.
    fn tile_row(&mut self, at: Address, step: i32, row: usize) -> Result<&mut [f32], OutOfBounds> {
        let distance = i64::from(step) * row as i64;
        self.span_behind(at, distance, TILE_LANES)
    }

    fn tile_load(&mut self, dst: Tile, from: Address, step: i32) -> Result<(), OutOfBounds> {
        let mut tile = TileValue::default();
        for (number, row) in tile.iter_mut().enumerate() {
            for (word, value) in row.iter_mut().zip(self.tile_row(from, step, number)?) {
                *word = value.to_bits();
            }
        }
        self.tiles[dst.index()] = tile;
        Ok(())
    }

    fn tile_store(&mut self, src: Tile, to: Address, step: i32) -> Result<(), OutOfBounds> {
        let tile = self.tiles[src.index()];
        for (number, row) in tile.iter().enumerate() {
            for (value, word) in self.tile_row(to, step, number)?.iter_mut().zip(row) {
                *value = f32::from_bits(*word);
            }
        }
        Ok(())
    }

    fn tile_dot(&mut self, acc: Tile, a: Tile, b: Tile) {
        let [a, b] = [a, b].map(|tile| self.tiles[tile.index()]);
        for (sums, pairs) in self.tiles[acc.index()].iter_mut().zip(&a) {
            for (column, sum) in sums.iter_mut().enumerate() {
                let products = pairs.iter().zip(&b).map(|(&a, row)| (a, row[column]));
                *sum = bf16::dot(f32::from_bits(*sum), products).to_bits();
            }
        }
    }

    fn point(&mut self, dst: Pointer, base: Pointer, offset: i32) {
        let base = self.pointers[base.index()];
        self.pointers[dst.index()] = Location { offset: base.offset + i64::from(offset), ..base };
    }

    /// The `lanes` values at `address`.
    fn span(&mut self, address: Address, lanes: u32) -> Result<&mut [f32], OutOfBounds> {
        self.span_behind(address, 0, lanes)
    }

    /// The `lanes` values that begin `distance` bytes behind `address`.
    fn span_behind(
        &mut self,
        address: Address,
        distance: i64,
        lanes: u32,
    ) -> Result<&mut [f32], OutOfBounds> {
        let Location { buffer, offset, bounds } = self.pointers[address.base.index()];
        let offset = offset + i64::from(address.offset) + distance;
        let values = self.memory.get_mut(buffer).map(Vec::as_mut_slice).unwrap_or_default();
        let bounds = (bounds.0, bounds.1.min(size_of_val(values) as i64));
        let inside = offset >= bounds.0 && offset + i64::from(lanes) * 4 <= bounds.1 && offset % 4 == 0;
        let first = usize::try_from(offset).ok().filter(|_| inside).map(|offset| offset / 4);
        let span = first.and_then(|first| values.get_mut(first..first + lanes as usize));
        span.ok_or_else(|| OutOfBounds { kernel: self.kernel.name.clone(), buffer, offset, lanes, bounds })
    }
}

/// The products of two pairs of bf16 values, which the bits of `a` and `b` are, added to a sum.
fn add_pair(a: f32, b: f32, sum: f32) -> f32 {
    bf16::add_pair(sum, a.to_bits(), b.to_bits())
}

fn binary(op: BinaryOp, a: f32, b: f32) -> f32 {
    match op {
        BinaryOp::Add => a + b,
        BinaryOp::Sub => a - b,
        BinaryOp::Mul => a * b,
        BinaryOp::Div => a / b,
        BinaryOp::Max if a > b => a,
        BinaryOp::Min if a < b => a,
        BinaryOp::Max | BinaryOp::Min => b,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Builder, F32};
    use super::*;

    /// Sums `rows` vectors of `a`, doubles the sum and stores three lanes of it to `out`.
    fn sum_and_double() -> Kernel {
        let mut b = Builder::new(4, &["a", "out"], true);
        let (sum, x, a, out) = (b.slot(), b.slot(), b.parameter("a"), b.parameter("out"));
        b.constant(sum, 0.0);
        b.repeat(Times::Rows, |b| {
            b.load(x, a, 0);
            b.binary(BinaryOp::Add, sum, sum, x);
            b.advance(a, 4 * F32);
        });
        b.binary(BinaryOp::Add, sum, sum, sum);
        b.store_lanes(sum, out, F32, 3);
        b.finish("sum_and_double".into())
    }

    #[test]
    fn loops_move_pointers_and_stores_keep_other_lanes() {
        let mut memory = vec![(0..8).map(|v| v as f32).collect(), vec![-1.0; 5]];
        run(&sum_and_double(), &[Location::start_of(0), Location::start_of(1)], 2, true, &mut memory)
            .unwrap();
        assert_eq!(memory[1], [-1.0, 8.0, 12.0, 16.0, -1.0]);
        run(&sum_and_double(), &[Location::start_of(0), Location::start_of(1)], 0, true, &mut memory)
            .unwrap();
        assert_eq!(memory[1], [-1.0, 0.0, 0.0, 0.0, -1.0]);
    }

    #[test]
    fn an_access_out_of_bounds_says_where() {
        let mut memory = vec![vec![0.0; 7], vec![0.0; 5]];
        let error =
            run(&sum_and_double(), &[Location::start_of(0), Location::start_of(1)], 2, true, &mut memory)
                .unwrap_err();
        assert_eq!(
            error.to_string(),
            "kernel sum_and_double accesses 4 values at byte 16 of buffer 0, outside 0..28"
        );
    }

    #[test]
    fn the_text_form_reads_like_the_program() {
        snapbox::assert_data_eq!(
            sum_and_double().to_string(),
            snapbox::str![[r#"
kernel sum_and_double(a, out, rows: count) lanes 4 {
  x0 = 0.0
  loop rows {
    x1 = load [a]
    x0 = x0 + x1
    a += 16
  }
  x0 = x0 + x0
  store [out + 4] = x0 lanes 3
}

"#]]
        );
    }

    #[test]
    fn maximum_of_unordered_operands_is_the_second() {
        assert_eq!(binary(BinaryOp::Max, f32::NAN, 1.0), 1.0);
        assert!(binary(BinaryOp::Max, 1.0, f32::NAN).is_nan());
    }
}
