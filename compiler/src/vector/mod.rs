//! The vector kernel IR: what a leaf kernel does, one vector instruction at a time.
//!
//! A kernel is a straight program over numbered **slots** (vector registers of `lanes` f32
//! values), **pointers** (byte addresses) and counted loops. Slots and pointers are mutable, so
//! there is no register allocation: a generator chooses its slots when it chooses its tile, and a
//! kernel that needs more slots than the target has is refused by the [`verify`](fn@verify)
//! function rather than spilled.
//!
//! The same kernel has three executions that keep each other honest: the interpreter
//! ([`interpret`]), which is the oracle, the lowering to CLIF with four lanes, and wide lowerings
//! to machine code.
//!
//! Arithmetic is IEEE f32. [`Inst::Fma`] rounds once on targets with fused multiply-add and twice
//! on others; [`BinaryOp::Max`] and [`BinaryOp::Min`] give the second operand when the operands
//! are unordered, as x86's `maxps` does.
//!
//! Kernels for targets with matrix registers also have **tiles** of [`TILE_ROWS`] rows by
//! [`TILE_BYTES`] bytes: [`Inst::TileDot`] multiplies matrices of bf16 values (see [`mod@bf16`])
//! and sums in f32. Targets with bf16 values in vectors have [`Inst::Dot`], which multiplies pairs
//! of them. Both need slots of 16 lanes: a row of a tile is a slot's worth of values.

pub mod bf16;
pub mod extent;
pub mod interpret;
mod text;
mod tiles;
mod verify;

pub use tiles::{needs_bf16, tile_count, tile_steps, uses_tiles};
pub use verify::{KernelError, pointers as pointer_count, slots as slot_count, used_parameters, verify};

use crate::graph::entity;

entity!(
    /// A vector register; prints as `x7`.
    Slot, "x"
);
entity!(
    /// A pointer register; the first ones are the kernel's pointer parameters. Prints as `p7`.
    Pointer, "p"
);
entity!(
    /// A tile register; prints as `t7`.
    Tile, "t"
);

/// Tile registers that there are.
pub const TILES: usize = 8;
/// Rows of a tile.
pub const TILE_ROWS: u32 = 16;
/// Bytes in a row of a tile: 16 f32 values or 32 bf16 values.
pub const TILE_BYTES: i32 = 64;
/// The kernel lanes that tiles and bf16 values go with.
pub const TILE_LANES: u32 = 16;

/// A leaf kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct Kernel {
    /// The descriptor's name.
    pub name: String,
    /// f32 values in a slot.
    pub lanes: u32,
    /// What the pointer parameters mean, for dumps; parameter `i` arrives in [`Pointer`] `i`.
    pub pointers: Vec<&'static str>,
    /// Whether one more parameter follows the pointers: a number of rows, read by [`Times::Rows`].
    pub counted: bool,
    /// The instructions.
    pub body: Vec<Inst>,
}

/// A memory operand: `offset` bytes from where `base` points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The pointer.
    pub base: Pointer,
    /// Bytes.
    pub offset: i32,
}

/// A cache that a line is brought into, and with it into those behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheLevel {
    /// The smallest and fastest: for what is used within a microsecond.
    First,
    /// The next one.
    Second,
}

/// How often a loop runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// A constant, at least one.
    Exactly(u32),
    /// The kernel's count parameter, which may be zero.
    Rows,
}

/// Lane-wise operations with two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BinaryOp {
    /// a + b
    Add,
    /// a - b
    Sub,
    /// a * b
    Mul,
    /// a / b
    Div,
    /// a where a > b, else b
    Max,
    /// a where a < b, else b
    Min,
}

/// One instruction.
#[derive(Clone, Debug, PartialEq)]
pub enum Inst {
    /// Reads the first `lanes` lanes from consecutive f32 values; the others become zero.
    Load {
        /// Written.
        dst: Slot,
        /// First value.
        from: Address,
        /// Lanes read, from 1 to the kernel's `lanes`.
        lanes: u32,
    },
    /// Reads one or some consecutive f32 values and repeats them in all lanes.
    Broadcast {
        /// Written.
        dst: Slot,
        /// First value.
        from: Address,
        /// Values: a power of two, fewer than the kernel's `lanes`.
        values: u32,
    },
    /// Puts a constant into every lane.
    Constant {
        /// Written.
        dst: Slot,
        /// The constant.
        value: f32,
    },
    /// Writes the first `lanes` lanes to consecutive f32 values.
    Store {
        /// Read.
        src: Slot,
        /// First value.
        to: Address,
        /// Lanes written, from 1 to the kernel's `lanes`.
        lanes: u32,
    },
    /// acc = a * b + acc
    Fma {
        /// Read and written.
        acc: Slot,
        /// Factor; the one that comes from a vector load, where there is one.
        a: Slot,
        /// Factor.
        b: Slot,
    },
    /// acc = a * value + acc, with one f32 of memory as the value of every lane. Only with sixteen
    /// lanes: no narrower target has such an instruction.
    FmaBroadcast {
        /// Read and written.
        acc: Slot,
        /// Factor.
        a: Slot,
        /// The other factor.
        from: Address,
    },
    /// acc = products of the pairs of bf16 values in `a` and `b` + acc, lane by lane: see
    /// [`bf16::add_pair`].
    Dot {
        /// Read and written.
        acc: Slot,
        /// Factor: a pair in each lane.
        a: Slot,
        /// Factor.
        b: Slot,
    },
    /// The same, with one pair of memory as the factor of every lane.
    DotBroadcast {
        /// Read and written.
        acc: Slot,
        /// Factor: a pair in each lane.
        a: Slot,
        /// The other factor.
        from: Address,
    },
    /// dst = a op b
    Binary {
        /// The operation.
        op: BinaryOp,
        /// Written.
        dst: Slot,
        /// First operand.
        a: Slot,
        /// Second operand.
        b: Slot,
    },
    /// Sets a slot to lane numbers, for [`Inst::Permute`] alone to read. No other instruction
    /// writes the slot.
    Pattern {
        /// Written.
        dst: Slot,
        /// A lane number for each lane.
        lanes: Vec<u32>,
    },
    /// Gives every lane the value of the lane that a pattern says.
    Permute {
        /// Written.
        dst: Slot,
        /// Read.
        src: Slot,
        /// The pattern.
        pattern: Slot,
    },
    /// Shifts the bit pattern of each lane to the left.
    ShiftLeft {
        /// Written.
        dst: Slot,
        /// Read.
        src: Slot,
        /// Distance, less than 32.
        bits: u32,
    },
    /// Rounds each lane to the nearest bf16 value, which stays an f32; see [`bf16::round`].
    RoundBf16 {
        /// Written.
        dst: Slot,
        /// Read.
        src: Slot,
    },
    /// Rounds each lane to the nearest bf16 value and writes these as two bytes each, behind each
    /// other.
    StoreBf16 {
        /// Read.
        src: Slot,
        /// First value.
        to: Address,
    },
    /// Fills a tile with zeros.
    TileZero {
        /// Written.
        dst: Tile,
    },
    /// Reads a tile row by row.
    TileLoad {
        /// Written.
        dst: Tile,
        /// First byte of the first row.
        from: Address,
        /// Bytes between rows.
        step: i32,
    },
    /// Writes a tile row by row.
    TileStore {
        /// Read.
        src: Tile,
        /// First byte of the first row.
        to: Address,
        /// Bytes between rows.
        step: i32,
    },
    /// acc = a * b + acc, for a matrix `acc` of f32 values, and matrices `a` and `b` of bf16
    /// values: row `r` of `a` holds 32 values, row `k` of `b` holds values `2k` and `2k + 1` of
    /// each of 16 columns behind each other.
    TileDot {
        /// Read and written.
        acc: Tile,
        /// Factor.
        a: Tile,
        /// Factor.
        b: Tile,
    },
    /// dst = base + offset bytes; moves a pointer when `dst` is `base`.
    Point {
        /// Written.
        dst: Pointer,
        /// Read.
        base: Pointer,
        /// Bytes.
        offset: i32,
    },
    /// Asks for the cache line of an address to be brought near. Any address will do: what cannot
    /// be read is not brought.
    Prefetch {
        /// Where.
        at: Address,
        /// How near.
        level: CacheLevel,
    },
    /// Runs `body` several times.
    Loop {
        /// How often.
        times: Times,
        /// What.
        body: Vec<Inst>,
    },
}

/// Bytes of an f32.
pub const F32: i32 = 4;

/// Builds a kernel: hands out slots and pointers, and appends instructions.
#[derive(Debug)]
pub struct Builder {
    lanes: u32,
    pointers: Vec<&'static str>,
    counted: bool,
    next_slot: usize,
    next_pointer: usize,
    next_tile: usize,
    /// The bodies under construction, the innermost loop's last.
    bodies: Vec<Vec<Inst>>,
}

impl Builder {
    /// A kernel with the given pointer parameters, and a count after them if `counted`.
    pub fn new(lanes: u32, pointers: &[&'static str], counted: bool) -> Self {
        Self {
            lanes,
            pointers: pointers.to_vec(),
            counted,
            next_slot: 0,
            next_pointer: pointers.len(),
            next_tile: 0,
            bodies: vec![Vec::new()],
        }
    }

    /// f32 values in a slot.
    pub fn lanes(&self) -> u32 {
        self.lanes
    }

    /// Bytes of a slot.
    pub fn vector_bytes(&self) -> i32 {
        self.lanes as i32 * F32
    }

    /// The pointer parameter with this name.
    pub fn parameter(&self, name: &str) -> Pointer {
        let index = self.pointers.iter().position(|p| *p == name);
        Pointer::new(index.expect("generators ask for parameters that they declared"))
    }

    /// A slot not used before.
    pub fn slot(&mut self) -> Slot {
        self.next_slot += 1;
        Slot::new(self.next_slot - 1)
    }

    /// `count` slots not used before.
    pub fn slots(&mut self, count: usize) -> Vec<Slot> {
        (0..count).map(|_| self.slot()).collect()
    }

    /// A pointer not used before.
    pub fn pointer(&mut self) -> Pointer {
        self.next_pointer += 1;
        Pointer::new(self.next_pointer - 1)
    }

    fn push(&mut self, inst: Inst) {
        self.bodies.last_mut().expect("the outermost body stays until the kernel is finished").push(inst);
    }

    /// Reads a whole slot.
    pub fn load(&mut self, dst: Slot, base: Pointer, offset: i32) {
        self.load_lanes(dst, base, offset, self.lanes);
    }

    /// Reads the first `lanes` lanes; the others become zero.
    pub fn load_lanes(&mut self, dst: Slot, base: Pointer, offset: i32, lanes: u32) {
        self.push(Inst::Load { dst, from: Address { base, offset }, lanes });
    }

    /// Reads one value into every lane.
    pub fn broadcast(&mut self, dst: Slot, base: Pointer, offset: i32) {
        self.push(Inst::Broadcast { dst, from: Address { base, offset }, values: 1 });
    }

    /// Reads as many consecutive values as repeated fill the lanes: a power of two, up to all
    /// lanes.
    pub fn load_repeated(&mut self, dst: Slot, base: Pointer, offset: i32, values: u32) {
        if values == self.lanes {
            return self.load(dst, base, offset);
        }
        self.push(Inst::Broadcast { dst, from: Address { base, offset }, values });
    }

    /// Puts a constant into every lane.
    pub fn constant(&mut self, dst: Slot, value: f32) {
        self.push(Inst::Constant { dst, value });
    }

    /// Writes the first `lanes` lanes.
    pub fn store_lanes(&mut self, src: Slot, base: Pointer, offset: i32, lanes: u32) {
        self.push(Inst::Store { src, to: Address { base, offset }, lanes });
    }

    /// acc = a * b + acc
    pub fn fma(&mut self, acc: Slot, a: Slot, b: Slot) {
        self.push(Inst::Fma { acc, a, b });
    }

    /// acc = a * value + acc, with one value of memory for every lane
    pub fn fma_broadcast(&mut self, acc: Slot, a: Slot, base: Pointer, offset: i32) {
        self.push(Inst::FmaBroadcast { acc, a, from: Address { base, offset } });
    }

    /// dst = a op b
    pub fn binary(&mut self, op: BinaryOp, dst: Slot, a: Slot, b: Slot) {
        self.push(Inst::Binary { op, dst, a, b });
    }

    /// Sets a slot to lane numbers.
    pub fn pattern(&mut self, dst: Slot, lanes: Vec<u32>) {
        self.push(Inst::Pattern { dst, lanes });
    }

    /// Gives every lane the value of the lane that a pattern says.
    pub fn permute(&mut self, dst: Slot, src: Slot, pattern: Slot) {
        self.push(Inst::Permute { dst, src, pattern });
    }

    /// Shifts the bit pattern of each lane to the left.
    pub fn shift_left(&mut self, dst: Slot, src: Slot, bits: u32) {
        self.push(Inst::ShiftLeft { dst, src, bits });
    }

    /// dst = base + offset bytes
    pub fn point(&mut self, dst: Pointer, base: Pointer, offset: i32) {
        self.push(Inst::Point { dst, base, offset });
    }

    /// Moves a pointer by `offset` bytes.
    pub fn advance(&mut self, pointer: Pointer, offset: i32) {
        if offset != 0 {
            self.point(pointer, pointer, offset);
        }
    }

    /// Asks for a cache line to be brought near.
    pub fn prefetch(&mut self, level: CacheLevel, base: Pointer, offset: i32) {
        self.push(Inst::Prefetch { at: Address { base, offset }, level });
    }

    /// Appends `body` as a loop; a loop that runs exactly once leaves no loop behind.
    pub fn repeat(&mut self, times: Times, body: impl FnOnce(&mut Self)) {
        self.bodies.push(Vec::new());
        body(self);
        let body = self.bodies.pop().expect("pushed above");
        match times {
            Times::Exactly(0) => {}
            Times::Exactly(1) => self.bodies.last_mut().expect("the outermost body stays").extend(body),
            times => self.push(Inst::Loop { times, body }),
        }
    }

    /// The finished kernel.
    pub fn finish(mut self, name: String) -> Kernel {
        let body = self.bodies.pop().expect("the outermost body stays until here");
        Kernel { name, lanes: self.lanes, pointers: self.pointers, counted: self.counted, body }
    }
}

/// Calls `visit` on every instruction, loops before their bodies.
pub fn for_each_inst(body: &[Inst], visit: &mut impl FnMut(&Inst)) {
    for inst in body {
        visit(inst);
        if let Inst::Loop { body, .. } = inst {
            for_each_inst(body, visit);
        }
    }
}

impl Inst {
    /// The slots that the instruction itself reads.
    pub fn reads(&self) -> impl Iterator<Item = Slot> + use<> {
        let slots = match *self {
            Inst::Store { src, .. }
            | Inst::ShiftLeft { src, .. }
            | Inst::RoundBf16 { src, .. }
            | Inst::StoreBf16 { src, .. } => [Some(src), None, None],
            Inst::Fma { acc, a, b } | Inst::Dot { acc, a, b } => [Some(acc), Some(a), Some(b)],
            Inst::FmaBroadcast { acc, a, .. } | Inst::DotBroadcast { acc, a, .. } => {
                [Some(acc), Some(a), None]
            }
            Inst::Binary { a, b, .. } => [Some(a), Some(b), None],
            Inst::Permute { src, pattern, .. } => [Some(src), Some(pattern), None],
            _ => [None; 3],
        };
        slots.into_iter().flatten()
    }

    /// The slot that the instruction itself writes.
    pub fn writes(&self) -> Option<Slot> {
        match *self {
            Inst::Load { dst, .. }
            | Inst::Broadcast { dst, .. }
            | Inst::Constant { dst, .. }
            | Inst::Binary { dst, .. }
            | Inst::Pattern { dst, .. }
            | Inst::Permute { dst, .. }
            | Inst::ShiftLeft { dst, .. }
            | Inst::RoundBf16 { dst, .. } => Some(dst),
            Inst::Fma { acc, .. }
            | Inst::FmaBroadcast { acc, .. }
            | Inst::Dot { acc, .. }
            | Inst::DotBroadcast { acc, .. } => Some(acc),
            _ => None,
        }
    }

    /// The memory operand.
    pub fn address(&self) -> Option<Address> {
        match *self {
            Inst::Load { from, .. }
            | Inst::Broadcast { from, .. }
            | Inst::FmaBroadcast { from, .. }
            | Inst::DotBroadcast { from, .. }
            | Inst::TileLoad { from, .. } => Some(from),
            Inst::Store { to, .. } | Inst::StoreBf16 { to, .. } | Inst::TileStore { to, .. } => Some(to),
            Inst::Prefetch { at, .. } => Some(at),
            _ => None,
        }
    }
}
