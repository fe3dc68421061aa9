//! What vector registers are known to hold while code is written, so that it is neither read nor
//! made again.

use crate::vector::{Address, Inst, Slot};

/// What a register holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// These bits in all lanes.
    Constant(u32),
    /// The whole vector that lies at an address.
    Memory(Address),
}

/// What each slot of a kernel holds, where that is known.
pub struct Known(Vec<Option<Value>>);

impl Known {
    /// Nothing is known of so many slots.
    pub fn nothing(slots: usize) -> Self {
        Self(vec![None; slots])
    }

    /// Slots that the kernel uses.
    pub fn slots(&self) -> u32 {
        self.0.len() as u32
    }

    /// A slot with this value.
    pub fn slot_with(&self, value: Value) -> Option<Slot> {
        self.0.iter().position(|known| *known == Some(value)).map(Slot::new)
    }

    /// Forgets what an instruction will change; gives what the slot known that it writes.
    pub fn change(&mut self, inst: &Inst) -> Option<Value> {
        match *inst {
            // It may be any memory.
            Inst::Store { .. } | Inst::StoreBf16 { .. } | Inst::TileStore { .. } => {
                self.forget_if(|value| matches!(value, Value::Memory(_)));
            }
            Inst::Point { dst, .. } => {
                self.forget_if(|value| matches!(value, Value::Memory(address) if address.base == dst));
            }
            _ => {}
        }
        inst.writes().and_then(|slot| self.0[slot.index()].take())
    }

    pub fn set(&mut self, slot: Slot, value: Value) {
        self.0[slot.index()] = Some(value);
    }

    /// Control flow joins here.
    pub fn forget(&mut self) {
        self.0.fill(None);
    }

    fn forget_if(&mut self, is_stale: impl Fn(Value) -> bool) {
        self.0.iter_mut().for_each(|known| *known = known.filter(|value| !is_stale(*value)));
    }
}

#[cfg(test)]
mod tests {
    use iced_x86::{Decoder, DecoderOptions, Instruction, OpKind};

    use crate::codegen::x86::assemble;
    use crate::target::{Isa, Target};
    use crate::vector::{Builder, Times};

    /// Whether each vector that a kernel puts into a register comes from memory.
    fn reads(write: impl FnOnce(&mut Builder), isa: Isa) -> Vec<bool> {
        let target = Target::of(isa);
        let mut b = Builder::new(target.lanes, &["in", "out"], true);
        write(&mut b);
        let bytes = assemble(&b.finish("test".to_owned()), target, false).unwrap();
        let is_move = |inst: &Instruction| {
            format!("{:?}", inst.mnemonic()) == "Vmovups" && inst.op0_kind() == OpKind::Register
        };
        let code = Decoder::new(64, &bytes, DecoderOptions::NONE).into_iter();
        code.filter(is_move).map(|inst| inst.op1_kind() == OpKind::Memory).collect()
    }

    #[test]
    fn what_a_register_holds_is_not_read_again() {
        for isa in [Isa::Avx2, Isa::Avx512] {
            let found = reads(
                |b| {
                    let (input, slots) = (b.parameter("in"), b.slots(4));
                    b.load(slots[0], input, 0);
                    b.load(slots[1], input, 64);
                    b.load(slots[2], input, 0);
                    b.load(slots[3], input, 64);
                    b.load(slots[3], input, 64);
                },
                isa,
            );
            assert_eq!(found, [true, true, false, false], "{isa}");
        }
    }

    #[test]
    fn what_may_have_changed_is_read_again() {
        let found = reads(
            |b| {
                let ([input, out], slots) = (["in", "out"].map(|name| b.parameter(name)), b.slots(3));
                let load = |b: &mut Builder, slot: usize| b.load(slots[slot], input, 0);
                load(b, 0);
                // The register that known it, memory, the pointer, what a loop goes round with.
                b.binary(crate::vector::BinaryOp::Add, slots[0], slots[0], slots[0]);
                load(b, 0);
                b.store_lanes(slots[0], out, 0, 16);
                load(b, 1);
                b.advance(input, 64);
                load(b, 1);
                b.repeat(Times::Rows, |b| {
                    load(b, 2);
                    b.advance(out, 64);
                });
                load(b, 0);
            },
            Isa::Avx512,
        );
        assert_eq!(found, [true; 6]);
    }
}
