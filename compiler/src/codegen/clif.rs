//! Vector kernels as CLIF, with four lanes: the lowering that every Cranelift target can run.
//!
//! The instruction order of the kernel is kept, so the ISA must compile these functions with
//! `opt_level = none`: the optimising mid-end moves loads up and multiply-adds down, and the
//! registers no longer suffice.

use cranelift::codegen::ir::{Endianness, Function};
use cranelift::codegen::isa::TargetFrontendConfig;
use cranelift::prelude::*;

use crate::vector::{self, BinaryOp, Inst, Kernel, Times};

const VECTOR: Type = types::F32X4;
const BITS: Type = types::I32X4;
const BYTES: Type = types::I8X16;
/// f32 values in a vector of this lowering.
pub const LANES: u32 = 4;

/// The signature of a kernel: its pointers, then its count.
pub fn signature(kernel: &Kernel, mut empty: Signature) -> Signature {
    let parameters = kernel.pointers.len() + usize::from(kernel.counted);
    empty.params.extend((0..parameters).map(|_| AbiParam::new(types::I64)));
    empty
}

/// Writes `kernel`, which has passed the verifier and has [`LANES`] lanes, into `function`, whose
/// signature is set.
pub fn translate(
    kernel: &Kernel,
    fused: bool,
    function: &mut Function,
    context: &mut FunctionBuilderContext,
    config: TargetFrontendConfig,
) {
    let mut builder = FunctionBuilder::new(function, context);
    let entry = builder.create_block();
    builder.append_block_params_for_function_params(entry);
    builder.switch_to_block(entry);
    builder.seal_block(entry);
    let parameters = builder.block_params(entry).to_vec();
    let slots = (0..vector::slot_count(kernel)).map(|_| builder.declare_var(VECTOR)).collect();
    let pointers: Vec<Variable> =
        (0..vector::pointer_count(kernel)).map(|_| builder.declare_var(types::I64)).collect();
    for (&pointer, &value) in pointers.iter().zip(&parameters[..kernel.pointers.len()]) {
        builder.def_var(pointer, value);
    }
    let rows = if kernel.counted { parameters.last().copied() } else { None };
    let pending = vec![None; vector::slot_count(kernel)];
    let mut translator = Translator { builder, slots, pending, pointers, rows, fused };
    translator.body(&kernel.body);
    translator.builder.ins().return_(&[]);
    translator.builder.finalize(config);
}

struct Translator<'a> {
    builder: FunctionBuilder<'a>,
    slots: Vec<Variable>,
    /// For each slot, the address it is to be broadcast from, while nothing but multiply-adds has
    /// used it.
    ///
    /// x64 multiplies in place: a factor's register becomes the sum's. A factor that is broadcast
    /// anew for every multiply-add can be that factor, where one that is used again would first be
    /// copied, and only a load with a single use is fused with its broadcast.
    pending: Vec<Option<(Value, i32)>>,
    pointers: Vec<Variable>,
    rows: Option<Value>,
    fused: bool,
}

/// Accesses do not trap, since plans keep them inside their operands; alignment is not promised.
fn memory_flags() -> MemFlagsData {
    MemFlagsData::new().with_notrap()
}

impl Translator<'_> {
    fn body(&mut self, body: &[Inst]) {
        body.iter().for_each(|inst| self.inst(inst));
    }

    fn inst(&mut self, inst: &Inst) {
        match *inst {
            Inst::Load { dst, from, lanes } => {
                let value = self.load(from, lanes);
                self.set(dst, value);
            }
            Inst::Broadcast { dst, from, values: 1 } => {
                let base = self.builder.use_var(self.pointers[from.base.index()]);
                self.pending[dst.index()] = Some((base, from.offset));
            }
            // Fewer values than the four lanes.
            Inst::Broadcast { dst, from, .. } => {
                let base = self.builder.use_var(self.pointers[from.base.index()]);
                let pair = self.builder.ins().load(types::F64, memory_flags(), base, from.offset);
                let pairs = self.builder.ins().splat(types::F64X2, pair);
                let value = self.cast(VECTOR, pairs);
                self.set(dst, value);
            }
            Inst::Constant { dst, value } => {
                let value = self.builder.ins().f32const(value);
                let value = self.builder.ins().splat(VECTOR, value);
                self.set(dst, value);
            }
            Inst::Store { src, to, lanes } => self.store(src, to, lanes),
            Inst::Fma { acc, a, b } => {
                let value = self.multiply_add(acc, a, b);
                self.set(acc, value);
            }
            Inst::Binary { op, dst, a, b } => {
                let value = self.binary(op, a, b);
                self.set(dst, value);
            }
            Inst::Pattern { dst, ref lanes } => {
                let value = self.pattern(lanes);
                self.set(dst, value);
            }
            Inst::Permute { dst, src, pattern } => {
                let [src, pattern] = [src, pattern].map(|slot| self.get(slot));
                let [src, pattern] = [src, pattern].map(|value| self.cast(BYTES, value));
                let permuted = self.builder.ins().swizzle(src, pattern);
                let value = self.cast(VECTOR, permuted);
                self.set(dst, value);
            }
            Inst::ShiftLeft { dst, src, bits } => {
                let src = self.get(src);
                let src = self.cast(BITS, src);
                let distance = self.builder.ins().iconst(types::I32, i64::from(bits));
                let shifted = self.builder.ins().ishl(src, distance);
                let value = self.cast(VECTOR, shifted);
                self.set(dst, value);
            }
            Inst::Point { dst, base, offset } => {
                let base = self.builder.use_var(self.pointers[base.index()]);
                let value = self.builder.ins().iadd_imm_s(base, i64::from(offset));
                self.builder.def_var(self.pointers[dst.index()], value);
            }
            // Cranelift has no such instruction, and results do not depend on it.
            Inst::Prefetch { .. } => {}
            Inst::FmaBroadcast { .. }
            | Inst::Dot { .. }
            | Inst::DotBroadcast { .. }
            | Inst::RoundBf16 { .. }
            | Inst::StoreBf16 { .. }
            | Inst::TileZero { .. }
            | Inst::TileLoad { .. }
            | Inst::TileStore { .. }
            | Inst::TileDot { .. } => {
                unreachable!("kernels of sixteen lanes are compiled for targets that have them")
            }
            Inst::Loop { times, ref body } => self.repeat(times, body),
        }
    }

    fn get(&mut self, slot: vector::Slot) -> Value {
        self.settle(slot.index());
        self.builder.use_var(self.slots[slot.index()])
    }

    fn set(&mut self, slot: vector::Slot, value: Value) {
        self.pending[slot.index()] = None;
        self.builder.def_var(self.slots[slot.index()], value);
    }

    fn broadcast(&mut self, (base, offset): (Value, i32)) -> Value {
        let value = self.builder.ins().load(types::F32, memory_flags(), base, offset);
        self.builder.ins().splat(VECTOR, value)
    }

    /// Puts a broadcast that is pending into its slot.
    fn settle(&mut self, slot: usize) {
        if let Some(source) = self.pending[slot].take() {
            let value = self.broadcast(source);
            self.builder.def_var(self.slots[slot], value);
        }
    }

    /// Settles all slots, where memory may change or control flow splits.
    fn settle_all(&mut self) {
        (0..self.pending.len()).for_each(|slot| self.settle(slot));
    }

    /// A pattern of lanes as the pattern of their bytes, which is what Cranelift permutes.
    fn pattern(&mut self, lanes: &[u32]) -> Value {
        let bytes: Vec<u8> =
            lanes.iter().flat_map(|&lane| (0..4).map(move |byte| lane as u8 * 4 + byte)).collect();
        let constant = self.builder.func.dfg.constants.insert(bytes.into());
        let value = self.builder.ins().vconst(BYTES, constant);
        self.cast(VECTOR, value)
    }

    fn multiply_add(&mut self, acc: vector::Slot, a: vector::Slot, b: vector::Slot) -> Value {
        let [sum, a] = [acc, a].map(|slot| self.get(slot));
        let [x, y] = match self.pending[b.index()] {
            Some(source) => [self.broadcast(source), a],
            None => [a, self.get(b)],
        };
        if self.fused {
            return self.builder.ins().fma(x, y, sum);
        }
        let product = self.builder.ins().fmul(x, y);
        self.builder.ins().fadd(product, sum)
    }

    fn cast(&mut self, ty: Type, value: Value) -> Value {
        let flags = MemFlagsData::new().with_endianness(Endianness::Little);
        self.builder.ins().bitcast(ty, flags, value)
    }

    fn load_scalar(&mut self, from: vector::Address, lane: i32) -> Value {
        let base = self.builder.use_var(self.pointers[from.base.index()]);
        self.builder.ins().load(types::F32, memory_flags(), base, from.offset + lane * vector::F32)
    }

    fn load(&mut self, from: vector::Address, lanes: u32) -> Value {
        if lanes == LANES {
            let base = self.builder.use_var(self.pointers[from.base.index()]);
            return self.builder.ins().load(VECTOR, memory_flags(), base, from.offset);
        }
        let zero = self.builder.ins().f32const(0.0);
        let mut value = self.builder.ins().splat(VECTOR, zero);
        for lane in 0..lanes as u8 {
            let element = self.load_scalar(from, i32::from(lane));
            value = self.builder.ins().insertlane(value, element, lane);
        }
        value
    }

    fn store(&mut self, src: vector::Slot, to: vector::Address, lanes: u32) {
        self.settle_all();
        let value = self.get(src);
        let base = self.builder.use_var(self.pointers[to.base.index()]);
        if lanes == LANES {
            self.builder.ins().store(memory_flags(), value, base, to.offset);
            return;
        }
        for lane in 0..lanes as u8 {
            let element = self.builder.ins().extractlane(value, lane);
            let offset = to.offset + i32::from(lane) * vector::F32;
            self.builder.ins().store(memory_flags(), element, base, offset);
        }
    }

    fn binary(&mut self, op: BinaryOp, a: vector::Slot, b: vector::Slot) -> Value {
        let [a, b] = [a, b].map(|slot| self.get(slot));
        match op {
            BinaryOp::Add => self.builder.ins().fadd(a, b),
            BinaryOp::Sub => self.builder.ins().fsub(a, b),
            BinaryOp::Mul => self.builder.ins().fmul(a, b),
            BinaryOp::Div => self.builder.ins().fdiv(a, b),
            BinaryOp::Max => self.select(FloatCC::LessThan, b, a, [a, b]),
            BinaryOp::Min => self.select(FloatCC::LessThan, a, b, [a, b]),
        }
    }

    /// `yes` where `x cc y`, else `no`: the form that x64 turns into one `maxps` or `minps`.
    fn select(&mut self, cc: FloatCC, x: Value, y: Value, [yes, no]: [Value; 2]) -> Value {
        let mask = self.builder.ins().fcmp(cc, x, y);
        let mask = self.cast(VECTOR, mask);
        self.builder.ins().bitselect(mask, yes, no)
    }

    fn repeat(&mut self, times: Times, body: &[Inst]) {
        self.settle_all();
        let count = match times {
            Times::Exactly(count) => self.builder.ins().iconst(types::I64, i64::from(count)),
            Times::Rows => self.rows.expect("the verifier admits loops over rows only with a count"),
        };
        let counter = self.builder.declare_var(types::I64);
        self.builder.def_var(counter, count);
        let [head, inside, exit] = [0; 3].map(|_| self.builder.create_block());
        self.builder.ins().jump(head, &[]);
        self.builder.switch_to_block(head);
        // The test comes first, so that a sum is used once where the body ends. Cranelift fuses a
        // load into its user only when every value that is made of it is used once.
        let left = self.builder.use_var(counter);
        self.builder.ins().brif(left, inside, &[], exit, &[]);
        self.builder.seal_block(inside);
        self.builder.switch_to_block(inside);
        self.body(body);
        self.settle_all();
        let left = self.builder.use_var(counter);
        let left = self.builder.ins().iadd_imm_s(left, -1);
        self.builder.def_var(counter, left);
        self.builder.ins().jump(head, &[]);
        self.builder.seal_block(head);
        self.builder.seal_block(exit);
        self.builder.switch_to_block(exit);
    }
}
