//! What every kernel must obey before it is lowered.
//!
//! - **Slots**: at most as many as the target has vector registers.
//! - **Definition**: a slot or pointer is written before it is read on every path; what a loop that may run
//!   zero times
//!   writes does not count as written after it.
//! - **Lanes**: loads and stores move from 1 to `lanes` lanes; shifts are less than 32 bits.
//! - **Patterns**: they have a lane number for each lane; their slots are written by nothing else and read as patterns
//!   only, and permutations read no other slots as patterns.
//! - **Tiles**: at most [`TILES`], with 16 lanes only; written before they are read, as slots are.
//! - **Loops**: constant loops run at least once; the count is read only if there is one, and never in nested
//!   loops.

use super::tiles::tile_count;
use super::{Address, Inst, Kernel, Pointer, Slot, TILE_LANES, TILES, Tile, Times, for_each_inst};

/// An invariant that a kernel breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KernelError {
    /// The target has fewer vector registers.
    #[error("kernel {kernel} needs {needed} vector slots, the target has {available}")]
    Slots {
        /// The kernel.
        kernel: String,
        /// Slots used.
        needed: usize,
        /// Registers there are.
        available: usize,
    },
    /// Something is read before it was written.
    #[error("kernel {kernel} reads {what} before it is written")]
    Undefined {
        /// The kernel.
        kernel: String,
        /// The slot or pointer.
        what: String,
    },
    /// A lane count, shift or loop count is out of range.
    #[error("kernel {kernel}: {what}")]
    Range {
        /// The kernel.
        kernel: String,
        /// What is out of range.
        what: String,
    },
}

/// Checks all invariants of the module's description for a target with `registers` vector
/// registers.
pub fn verify(kernel: &Kernel, registers: usize) -> Result<(), KernelError> {
    let needed = slots(kernel);
    if needed > registers {
        return Err(KernelError::Slots { kernel: kernel.name.clone(), needed, available: registers });
    }
    let mut patterns = vec![false; needed];
    for_each_inst(&kernel.body, &mut |inst| {
        if let Inst::Pattern { dst, .. } = inst {
            patterns[dst.index()] = true;
        }
    });
    let tiles = tile_count(kernel);
    if tiles > TILES {
        let what = format!("{tiles} tiles of {TILES}");
        return Err(KernelError::Range { kernel: kernel.name.clone(), what });
    }
    let mut state = State {
        kernel,
        patterns,
        slots: vec![false; needed],
        tiles: vec![false; tiles],
        pointers: vec![false; pointers(kernel)],
        inside_rows: false,
    };
    state.pointers[..kernel.pointers.len()].fill(true);
    state.body(&kernel.body)
}

/// One more than the highest slot that is mentioned.
pub fn slots(kernel: &Kernel) -> usize {
    let mut bound = 0;
    for_each_inst(&kernel.body, &mut |inst| {
        let mentioned = inst.reads().chain(inst.writes());
        bound = mentioned.map(|s| s.index() + 1).fold(bound, usize::max);
    });
    bound
}

/// One more than the highest pointer that is mentioned, parameters included.
pub fn pointers(kernel: &Kernel) -> usize {
    let mut bound = kernel.pointers.len();
    for_each_inst(&kernel.body, &mut |inst| {
        let pointer = match *inst {
            Inst::Point { dst, base, .. } => Some(dst.max(base)),
            _ => inst.address().map(|address| address.base),
        };
        bound = pointer.map_or(bound, |pointer| bound.max(pointer.index() + 1));
    });
    bound
}

/// Which of the pointer parameters are mentioned; the others need not point anywhere.
pub fn used_parameters(kernel: &Kernel) -> Vec<bool> {
    let mut used = vec![false; kernel.pointers.len()];
    for_each_inst(&kernel.body, &mut |inst| {
        let pointers = match *inst {
            Inst::Point { dst, base, .. } => [Some(dst), Some(base)],
            _ => [inst.address().map(|address| address.base), None],
        };
        for pointer in pointers.into_iter().flatten() {
            if let Some(used) = used.get_mut(pointer.index()) {
                *used = true;
            }
        }
    });
    used
}

#[derive(Clone)]
struct State<'a> {
    kernel: &'a Kernel,
    /// The slots that hold patterns.
    patterns: Vec<bool>,
    slots: Vec<bool>,
    tiles: Vec<bool>,
    pointers: Vec<bool>,
    inside_rows: bool,
}

impl State<'_> {
    fn body(&mut self, body: &[Inst]) -> Result<(), KernelError> {
        body.iter().try_for_each(|inst| self.inst(inst))
    }

    fn inst(&mut self, inst: &Inst) -> Result<(), KernelError> {
        for slot in inst.reads() {
            self.read_slot(slot)?;
        }
        self.use_of_patterns(inst)?;
        for tile in inst.tiles_read() {
            self.read_tile(tile)?;
        }
        if inst.needs_bf16() && self.kernel.lanes != TILE_LANES {
            return self.range(format!("tiles and bf16 values with {} lanes", self.kernel.lanes));
        }
        match inst {
            Inst::Load { from, lanes, .. } => self.memory(*from, *lanes)?,
            Inst::Store { to, lanes, .. } => self.memory(*to, *lanes)?,
            Inst::FmaBroadcast { .. } if self.kernel.lanes != 16 => {
                return self.range(format!("a multiply-add of memory with {} lanes", self.kernel.lanes));
            }
            Inst::Broadcast { from, values, .. } => {
                self.memory(*from, *values)?;
                if !values.is_power_of_two() || *values >= self.kernel.lanes {
                    return self.range(format!("{values} values repeated in {} lanes", self.kernel.lanes));
                }
            }
            Inst::FmaBroadcast { from, .. } | Inst::DotBroadcast { from, .. } => self.memory(*from, 1)?,
            Inst::StoreBf16 { to: at, .. }
            | Inst::Prefetch { at, .. }
            | Inst::TileLoad { from: at, .. }
            | Inst::TileStore { to: at, .. } => self.read_pointer(at.base)?,
            Inst::ShiftLeft { bits, .. } if *bits >= 32 => {
                return self.range(format!("shift by {bits} bits"));
            }
            Inst::Point { dst, base, .. } => {
                self.read_pointer(*base)?;
                self.pointers[dst.index()] = true;
            }
            Inst::Loop { times, body } => self.repeat(*times, body)?,
            _ => {}
        }
        if let Some(slot) = inst.writes() {
            self.slots[slot.index()] = true;
        }
        if let Some(tile) = inst.tile_written() {
            self.tiles[tile.index()] = true;
        }
        Ok(())
    }

    fn use_of_patterns(&self, inst: &Inst) -> Result<(), KernelError> {
        let lanes = self.kernel.lanes;
        let is_pattern = |slot: Slot| self.patterns[slot.index()];
        let allowed = match inst {
            Inst::Pattern { lanes: from, .. } => {
                from.len() == lanes as usize && from.iter().all(|&l| l < lanes)
            }
            Inst::Permute { dst, src, pattern } => {
                is_pattern(*pattern) && !is_pattern(*src) && !is_pattern(*dst)
            }
            inst => !inst.reads().chain(inst.writes()).any(is_pattern),
        };
        if allowed { Ok(()) } else { self.range(format!("a pattern in {inst:?}")) }
    }

    fn repeat(&mut self, times: Times, body: &[Inst]) -> Result<(), KernelError> {
        match times {
            Times::Exactly(0) => self.range("a loop that runs zero times".into()),
            Times::Exactly(_) => self.body(body),
            Times::Rows if !self.kernel.counted => self.range("a loop over rows without a count".into()),
            Times::Rows if self.inside_rows => self.range("nested loops over rows".into()),
            Times::Rows => {
                let mut inside = State { inside_rows: true, ..self.clone() };
                inside.body(body)
            }
        }
    }

    fn memory(&self, address: Address, lanes: u32) -> Result<(), KernelError> {
        self.read_pointer(address.base)?;
        if lanes == 0 || lanes > self.kernel.lanes {
            return self.range(format!("{lanes} lanes of {}", self.kernel.lanes));
        }
        Ok(())
    }

    fn read_slot(&self, slot: Slot) -> Result<(), KernelError> {
        if self.slots[slot.index()] { Ok(()) } else { self.undefined(slot.to_string()) }
    }

    fn read_tile(&self, tile: Tile) -> Result<(), KernelError> {
        if self.tiles[tile.index()] { Ok(()) } else { self.undefined(tile.to_string()) }
    }

    fn read_pointer(&self, pointer: Pointer) -> Result<(), KernelError> {
        if self.pointers[pointer.index()] { Ok(()) } else { self.undefined(pointer.to_string()) }
    }

    fn undefined(&self, what: String) -> Result<(), KernelError> {
        Err(KernelError::Undefined { kernel: self.kernel.name.clone(), what })
    }

    fn range(&self, what: String) -> Result<(), KernelError> {
        Err(KernelError::Range { kernel: self.kernel.name.clone(), what })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Builder, F32};
    use super::*;

    fn check(counted: bool, build: impl FnOnce(&mut Builder)) -> String {
        check_lanes(4, counted, build)
    }

    fn check_lanes(lanes: u32, counted: bool, build: impl FnOnce(&mut Builder)) -> String {
        let mut b = Builder::new(lanes, &["a"], counted);
        build(&mut b);
        match verify(&b.finish("k".into()), 4) {
            Ok(()) => "ok".into(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_slot_must_be_written_before_it_is_read() {
        let text = check(false, |b| {
            let (x, a) = (b.slot(), b.parameter("a"));
            b.store_lanes(x, a, 0, 4);
        });
        assert_eq!(text, "kernel k reads x0 before it is written");
    }

    #[test]
    fn a_loop_that_may_not_run_defines_nothing() {
        let build = |times| {
            move |b: &mut Builder| {
                let (x, a) = (b.slot(), b.parameter("a"));
                b.repeat(times, |b| b.load(x, a, 0));
                b.store_lanes(x, a, 0, 4);
            }
        };
        assert_eq!(check(true, build(Times::Rows)), "kernel k reads x0 before it is written");
        assert_eq!(check(true, build(Times::Exactly(2))), "ok");
    }

    #[test]
    fn too_many_slots_are_refused() {
        let text = check(false, |b| {
            for slot in b.slots(5) {
                b.constant(slot, 0.0);
            }
        });
        assert_eq!(text, "kernel k needs 5 vector slots, the target has 4");
    }

    #[test]
    fn rows_need_a_count_and_do_not_nest() {
        let text = check(false, |b| b.repeat(Times::Rows, |b| b.advance(Pointer::new(0), F32)));
        assert_eq!(text, "kernel k: a loop over rows without a count");
        let text = check(true, |b| {
            b.repeat(Times::Rows, |b| b.repeat(Times::Rows, |b| b.advance(Pointer::new(0), F32)));
        });
        assert_eq!(text, "kernel k: nested loops over rows");
    }

    #[test]
    fn lanes_and_shifts_are_bounded() {
        let text = check(false, |b| {
            let (x, a) = (b.slot(), b.parameter("a"));
            b.load_lanes(x, a, 0, 5);
        });
        assert_eq!(text, "kernel k: 5 lanes of 4");
        let text = check(false, |b| {
            let x = b.slot();
            b.constant(x, 1.0);
            b.shift_left(x, x, 32);
        });
        assert_eq!(text, "kernel k: shift by 32 bits");
    }

    #[test]
    fn patterns_are_kept_apart() {
        let of = |lanes: Vec<u32>, as_value: bool| {
            check(false, |b| {
                let ([p, x], a) = ([b.slot(), b.slot()], b.parameter("a"));
                b.pattern(p, lanes);
                b.load(x, a, 0);
                b.permute(x, x, p);
                b.store_lanes(if as_value { p } else { x }, a, 0, 4);
            })
        };
        assert_eq!(of(vec![3, 2, 1, 0], false), "ok");
        assert!(of(vec![3, 2, 1, 0], true).starts_with("kernel k: a pattern in Store"));
        assert!(of(vec![3, 2, 1, 4], false).starts_with("kernel k: a pattern in Pattern"));
        assert!(of(vec![3, 2, 1], false).starts_with("kernel k: a pattern in Pattern"));
        let text = check(false, |b| {
            let (x, a) = (b.slot(), b.parameter("a"));
            b.load(x, a, 0);
            b.permute(x, x, x);
        });
        assert!(text.starts_with("kernel k: a pattern in Permute"), "{text}");
    }

    #[test]
    fn a_fresh_pointer_must_be_pointed_first() {
        let text = check(false, |b| {
            let (x, p) = (b.slot(), b.pointer());
            b.load(x, p, 0);
        });
        assert_eq!(text, "kernel k reads p1 before it is written");
    }

    #[test]
    fn parameters_are_used_by_what_reads_writes_or_moves_them() {
        let mut b = Builder::new(4, &["read", "passed", "written", "moved", "copied"], true);
        let (x, p) = (b.slot(), b.pointer());
        b.load(x, b.parameter("read"), 4);
        b.repeat(Times::Rows, |b| {
            b.store_lanes(x, b.parameter("written"), 0, 4);
            b.advance(b.parameter("moved"), F32);
        });
        b.point(p, b.parameter("copied"), 8);
        assert_eq!(used_parameters(&b.finish("k".to_owned())), [true, false, true, true, true]);
    }

    #[test]
    fn tiles_are_bounded_and_written_before_they_are_read() {
        let text = check_lanes(16, false, |b| {
            let (acc, a) = (b.tile(), b.tile());
            b.tile_zero(acc);
            b.tile_dot(acc, acc, a);
        });
        assert_eq!(text, "kernel k reads t1 before it is written");
        let zeros = |b: &mut Builder| b.tiles(9).into_iter().for_each(|tile| b.tile_zero(tile));
        assert_eq!(check_lanes(16, false, zeros), "kernel k: 9 tiles of 8");
        let zero = |b: &mut Builder| {
            let tile = b.tile();
            b.tile_zero(tile);
        };
        assert_eq!(check_lanes(4, false, zero), "kernel k: tiles and bf16 values with 4 lanes");
        assert_eq!(check_lanes(16, false, zero), "ok");
    }
}
