//! Tiles and bf16 values in kernels: building instructions, and which tiles and steps an
//! instruction names.

use super::{Address, Builder, Inst, Kernel, Pointer, Slot, Tile, for_each_inst};

impl Builder {
    /// A tile not used before.
    pub fn tile(&mut self) -> Tile {
        self.next_tile += 1;
        Tile::new(self.next_tile - 1)
    }

    /// `count` tiles not used before.
    pub fn tiles(&mut self, count: usize) -> Vec<Tile> {
        (0..count).map(|_| self.tile()).collect()
    }

    /// Rounds each lane to the nearest bf16 value, which stays an f32.
    pub fn round_bf16(&mut self, dst: Slot, src: Slot) {
        self.push(Inst::RoundBf16 { dst, src });
    }

    /// Writes all lanes as bf16 values.
    pub fn store_bf16(&mut self, src: Slot, base: Pointer, offset: i32) {
        self.push(Inst::StoreBf16 { src, to: Address { base, offset } });
    }

    /// acc = products of pairs + acc
    pub fn dot(&mut self, acc: Slot, a: Slot, b: Slot) {
        self.push(Inst::Dot { acc, a, b });
    }

    /// acc = products of pairs + acc, with one pair of memory for every lane
    pub fn dot_broadcast(&mut self, acc: Slot, a: Slot, base: Pointer, offset: i32) {
        self.push(Inst::DotBroadcast { acc, a, from: Address { base, offset } });
    }

    /// Fills a tile with zeros.
    pub fn tile_zero(&mut self, dst: Tile) {
        self.push(Inst::TileZero { dst });
    }

    /// Reads a tile whose rows are `step` bytes apart.
    pub fn tile_load(&mut self, dst: Tile, base: Pointer, offset: i32, step: i32) {
        self.push(Inst::TileLoad { dst, from: Address { base, offset }, step });
    }

    /// Writes a tile to rows that are `step` bytes apart.
    pub fn tile_store(&mut self, src: Tile, base: Pointer, offset: i32, step: i32) {
        self.push(Inst::TileStore { src, to: Address { base, offset }, step });
    }

    /// acc = a * b + acc
    pub fn tile_dot(&mut self, acc: Tile, a: Tile, b: Tile) {
        self.push(Inst::TileDot { acc, a, b });
    }
}

impl Inst {
    /// The tiles that the instruction reads.
    pub fn tiles_read(&self) -> Vec<Tile> {
        match *self {
            Inst::TileStore { src, .. } => vec![src],
            Inst::TileDot { acc, a, b } => vec![acc, a, b],
            _ => Vec::new(),
        }
    }

    /// The tile that the instruction writes.
    pub fn tile_written(&self) -> Option<Tile> {
        match *self {
            Inst::TileZero { dst } | Inst::TileLoad { dst, .. } => Some(dst),
            Inst::TileDot { acc, .. } => Some(acc),
            _ => None,
        }
    }

    /// Bytes between the rows of the tile in memory.
    fn tile_step(&self) -> Option<i32> {
        match *self {
            Inst::TileLoad { step, .. } | Inst::TileStore { step, .. } => Some(step),
            _ => None,
        }
    }

    /// Whether only targets that multiply bf16 values have the instruction.
    pub fn needs_bf16(&self) -> bool {
        let is_of_vectors = matches!(
            self,
            Inst::RoundBf16 { .. } | Inst::StoreBf16 { .. } | Inst::Dot { .. } | Inst::DotBroadcast { .. }
        );
        is_of_vectors || self.names_tiles()
    }

    fn names_tiles(&self) -> bool {
        self.tile_written().is_some() || !self.tiles_read().is_empty()
    }
}

fn any(kernel: &Kernel, holds: impl Fn(&Inst) -> bool) -> bool {
    let mut found = false;
    for_each_inst(&kernel.body, &mut |inst| found |= holds(inst));
    found
}

/// Whether only targets that multiply bf16 values have all instructions of a kernel.
pub fn needs_bf16(kernel: &Kernel) -> bool {
    any(kernel, Inst::needs_bf16)
}

/// Whether a kernel has instructions with tile registers, so that these must be configured before
/// it runs.
pub fn uses_tiles(kernel: &Kernel) -> bool {
    any(kernel, Inst::names_tiles)
}

/// One more than the highest tile that is mentioned.
pub fn tile_count(kernel: &Kernel) -> usize {
    let mut bound = 0;
    for_each_inst(&kernel.body, &mut |inst| {
        let mentioned = inst.tiles_read().into_iter().chain(inst.tile_written());
        bound = mentioned.map(|tile| tile.index() + 1).fold(bound, usize::max);
    });
    bound
}

/// The different distances between rows of tiles in memory.
pub fn tile_steps(kernel: &Kernel) -> Vec<i32> {
    let mut steps = Vec::new();
    for_each_inst(&kernel.body, &mut |inst| {
        if let Some(step) = inst.tile_step().filter(|step| !steps.contains(step)) {
            steps.push(step);
        }
    });
    steps
}
