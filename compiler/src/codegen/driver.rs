//! Loop nests and the entry point as CLIF: the control code around the kernels.

use std::ops::Range;
use std::sync::atomic::AtomicU64;

use cranelift::codegen::ir::{AtomicRmwOp, FuncRef, Function, SigRef, StackSlot};
use cranelift::codegen::isa::TargetFrontendConfig;
use cranelift::prelude::*;

use crate::plan::nest::{Argument, KernelId, Nest, Operand, Var, variable_count};
use crate::plan::{DriverId, Region, Step};

/// What the entry point reads from its first argument; the runtime fills it in for each run.
///
/// The fields' order and sizes are the contract between generated code and runtime.
#[repr(C)]
#[derive(Debug)]
pub struct Context {
    /// Start of the arena, aligned to a cache line.
    pub arena: *mut f32,
    /// Start of the packed constants, aligned to a cache line.
    pub constants: *const f32,
    /// Start of thread 0's scratch memory, aligned to a cache line.
    pub scratch: *mut f32,
    /// For each step, and within it for each thread of the run: how many units of the thread's share have been taken,
    /// by whichever thread. All 0 when the run begins.
    pub taken: *const Taken,
    /// Called by every thread at the end of each step, with `waiter`, the thread and the step; returns when
    /// all threads have called it.
    pub wait: extern "C" fn(waiter: *const std::ffi::c_void, thread: u64, step: u64),
    /// Passed to `wait`.
    pub waiter: *const std::ffi::c_void,
}

/// How many units of a share have been taken: a cache line of its own, since one thread takes most of them.
#[repr(align(64))]
#[derive(Debug, Default)]
pub struct Taken(pub AtomicU64);

/// Byte offsets of the fields of [`Context`].
const ARENA: i32 = std::mem::offset_of!(Context, arena) as i32;
const CONSTANTS: i32 = std::mem::offset_of!(Context, constants) as i32;
const SCRATCH: i32 = std::mem::offset_of!(Context, scratch) as i32;
const TAKEN: i32 = std::mem::offset_of!(Context, taken) as i32;
const WAIT: i32 = std::mem::offset_of!(Context, wait) as i32;
const WAITER: i32 = std::mem::offset_of!(Context, waiter) as i32;

/// The signature of a driver: thread, threads, where the addresses of its operands lie, by [`Operand::index`], and
/// where [`Taken`] of the first thread lies.
pub fn driver_signature(mut empty: Signature) -> Signature {
    empty.params.extend((0..4).map(|_| AbiParam::new(types::I64)));
    empty
}

/// The signature of the entry point: context, thread, threads.
pub fn entry_signature(mut empty: Signature) -> Signature {
    empty.params.extend((0..3).map(|_| AbiParam::new(types::I64)));
    empty
}

/// Writes a driver into `function`, whose signature is set. `kernels` are references by kernel, imported into
/// the function.
pub fn translate_driver(
    nest: &[Nest],
    kernels: &dyn Fn(&mut Function, KernelId) -> FuncRef,
    function: &mut Function,
    context: &mut FunctionBuilderContext,
    config: TargetFrontendConfig,
) {
    let mut builder = FunctionBuilder::new(function, context);
    let [thread, threads, operands, taken] = start(&mut builder);
    let counters = vec![thread; variable_count(nest)];
    let mut translator =
        DriverTranslator { builder, kernels, thread, threads, operands, taken, unit: thread, counters };
    translator.body(nest);
    translator.builder.ins().return_(&[]);
    translator.builder.finalize(config);
}

/// Opens the first block and returns the function's parameters.
fn start<const N: usize>(builder: &mut FunctionBuilder<'_>) -> [Value; N] {
    let entry = builder.create_block();
    let parameters = [0; N].map(|_| builder.append_block_param(entry, types::I64));
    builder.switch_to_block(entry);
    builder.seal_block(entry);
    parameters
}

/// Writes loops and calls. The code is not optimised after this: whatever can be computed once, or folded into a
/// constant, is so here. What lives across calls is little, so that registers suffice: base addresses are
/// loaded for each call.
struct DriverTranslator<'a> {
    builder: FunctionBuilder<'a>,
    kernels: &'a dyn Fn(&mut Function, KernelId) -> FuncRef,
    thread: Value,
    threads: Value,
    /// Where the operands' addresses lie.
    operands: Value,
    /// [`Taken`] of the first thread.
    taken: Value,
    /// The unit at hand, within its image.
    unit: Value,
    /// By loop variable.
    counters: Vec<Value>,
}

impl DriverTranslator<'_> {
    fn body(&mut self, nests: &[Nest]) {
        for nest in nests {
            match nest {
                Nest::Divide { images, units, body } => self.divide(*images, *units, body),
                Nest::Unit { units, block, part, body } => self.unit(units, [*block, *part], body),
                Nest::Loop { range, .. } if range.is_empty() => {}
                Nest::Loop { var, range, body } => self.repeat(*var, range, body),
                Nest::Call { kernel, arguments, rows } => self.call(*kernel, arguments, *rows),
            }
        }
    }

    fn constant(&mut self, value: u32) -> Value {
        self.builder.ins().iconst(types::I64, i64::from(value))
    }

    /// Opens `block`, to which no more jumps are written.
    fn open(&mut self, block: Block) {
        self.builder.seal_block(block);
        self.builder.switch_to_block(block);
    }

    /// Takes units from the thread's own share and then from each other one in turn, and runs the body for each.
    fn divide(&mut self, images: Option<(Var, u32)>, units: u32, body: &[Nest]) {
        let [share, exit] = [0; 2].map(|_| self.builder.create_block());
        let [owner, shares_left] = [0; 2].map(|_| self.builder.append_block_param(share, types::I64));
        // Where each thread has one unit, the others have begun theirs by now, too.
        let all = self.constant(units);
        let one = self.constant(1);
        let are_few = match images {
            None => self.builder.ins().icmp(IntCC::UnsignedLessThanOrEqual, all, self.threads),
            Some(_) => self.constant(0),
        };
        let shares = self.builder.ins().select(are_few, one, self.threads);
        self.builder.ins().jump(share, &[self.thread.into(), shares.into()]);
        self.builder.switch_to_block(share);
        self.units_of(owner, (images, units), body);
        let shares_left = self.builder.ins().iadd_imm_s(shares_left, -1);
        let next = self.builder.ins().iadd_imm_s(owner, 1);
        let is_last = self.builder.ins().icmp(IntCC::Equal, next, self.threads);
        let first = self.constant(0);
        let next = self.builder.ins().select(is_last, first, next);
        self.builder.ins().brif(shares_left, share, &[next.into(), shares_left.into()], exit, &[]);
        self.builder.seal_block(share);
        self.open(exit);
    }

    /// Runs the body for every unit of the share of thread `owner` that nobody has taken yet.
    fn units_of(&mut self, owner: Value, (images, units): (Option<(Var, u32)>, u32), body: &[Nest]) {
        let [take, inside, exit] = [0; 3].map(|_| self.builder.create_block());
        let all = i64::from(units) * images.map_or(1, |(_, count)| i64::from(count));
        let [first, end] = self.share(all, owner);
        let distance = self.builder.ins().imul_imm_s(owner, size_of::<Taken>() as i64);
        let taken = self.builder.ins().iadd(self.taken, distance);
        self.builder.ins().jump(take, &[]);
        self.builder.switch_to_block(take);
        let one = self.constant(1);
        let before =
            self.builder.ins().atomic_rmw(types::I64, MemFlagsData::trusted(), AtomicRmwOp::Add, taken, one);
        let unit = self.builder.ins().iadd(first, before);
        let is_left = self.builder.ins().icmp(IntCC::UnsignedLessThan, unit, end);
        self.builder.ins().brif(is_left, inside, &[], exit, &[]);
        self.open(inside);
        self.unit = unit;
        if let Some((var, _)) = images {
            [self.counters[var.index()], self.unit] = self.divided(unit, units);
        }
        self.body(body);
        self.builder.ins().jump(take, &[]);
        self.builder.seal_block(take);
        self.open(exit);
    }

    /// First and end of a thread's share of `units`, as [`crate::plan::nest::share`] defines it.
    fn share(&mut self, units: i64, thread: Value) -> [Value; 2] {
        let next = self.builder.ins().iadd_imm_s(thread, 1);
        [thread, next].map(|thread| {
            let product = self.builder.ins().imul_imm_s(thread, units);
            self.builder.ins().udiv(product, self.threads)
        })
    }

    /// Runs the body if the unit at hand is one of `units`.
    fn unit(&mut self, units: &Range<u32>, [block, part]: [Option<(Var, u32)>; 2], body: &[Nest]) {
        let [inside, exit] = [0; 2].map(|_| self.builder.create_block());
        let within = self.builder.ins().iadd_imm_s(self.unit, -i64::from(units.start));
        let is_one = self.builder.ins().icmp_imm_u(IntCC::UnsignedLessThan, within, units.len() as i64);
        self.builder.ins().brif(is_one, inside, &[], exit, &[]);
        self.open(inside);
        let [number, in_block] = match part {
            Some((_, parts)) => self.divided(within, parts),
            None => [within; 2],
        };
        if let Some((var, _)) = part {
            self.counters[var.index()] = in_block;
        }
        if let Some((var, first)) = block {
            self.counters[var.index()] = self.builder.ins().iadd_imm_s(number, i64::from(first));
        }
        self.body(body);
        self.builder.ins().jump(exit, &[]);
        self.open(exit);
    }

    /// The quotient and the rest.
    fn divided(&mut self, value: Value, by: u32) -> [Value; 2] {
        let by = self.constant(by);
        let quotient = self.builder.ins().udiv(value, by);
        let product = self.builder.ins().imul(quotient, by);
        [quotient, self.builder.ins().isub(value, product)]
    }

    /// Runs the body for each value of a range that is not empty.
    fn repeat(&mut self, var: Var, range: &Range<u32>, body: &[Nest]) {
        let [inside, exit] = [0; 2].map(|_| self.builder.create_block());
        let counter = self.builder.append_block_param(inside, types::I64);
        let first = self.constant(range.start);
        self.builder.ins().jump(inside, &[first.into()]);
        self.builder.switch_to_block(inside);
        self.counters[var.index()] = counter;
        self.body(body);
        let next = self.builder.ins().iadd_imm_s(counter, 1);
        let more = self.builder.ins().icmp_imm_u(IntCC::UnsignedLessThan, next, i64::from(range.end));
        self.builder.ins().brif(more, inside, &[next.into()], exit, &[]);
        self.builder.seal_block(inside);
        self.open(exit);
    }

    fn call(&mut self, kernel: KernelId, arguments: &[Argument], rows: Option<u32>) {
        let mut distances = Vec::new();
        let mut values: Vec<Value> = arguments.iter().map(|a| self.argument(a, &mut distances)).collect();
        values.extend(rows.map(|rows| self.constant(rows)));
        let callee = (self.kernels)(self.builder.func, kernel);
        self.builder.ins().call(callee, &values);
    }

    /// The address of an argument. `distances` are sums of terms that the call has computed already: operands often
    /// move together.
    fn argument<'n>(
        &mut self,
        argument: &'n Argument,
        distances: &mut Vec<(&'n [(Var, i64)], Value)>,
    ) -> Value {
        let Argument { operand, offset } = argument;
        let place = 8 * operand.index() as i32;
        let base = self.builder.ins().load(types::I64, MemFlagsData::trusted(), self.operands, place);
        let known = distances.iter().find(|(terms, _)| *terms == offset.terms).map(|(_, value)| *value);
        let distance = known.or_else(|| {
            let distance = self.distance(&offset.terms)?;
            distances.push((&offset.terms, distance));
            Some(distance)
        });
        let address = distance.map_or(base, |distance| self.builder.ins().iadd(base, distance));
        match offset.bytes {
            0 => address,
            bytes => self.builder.ins().iadd_imm_s(address, bytes),
        }
    }

    /// The sum of the terms, if there are any.
    fn distance(&mut self, terms: &[(Var, i64)]) -> Option<Value> {
        let mut sum = None;
        for &(var, stride) in terms {
            let bytes = self.builder.ins().imul_imm_s(self.counters[var.index()], stride);
            sum = Some(sum.map_or(bytes, |sum| self.builder.ins().iadd(sum, bytes)));
        }
        sum
    }
}

/// What the entry point needs beside the steps.
pub struct Frame {
    /// Bytes of scratch memory of each thread.
    pub scratch_bytes: u64,
    /// What to call first and last where kernels use tile registers: functions that configure and release
    /// those of the calling thread.
    pub tiles: Option<[FuncRef; 2]>,
}

/// Writes the entry point: every step's driver, and a wait for all threads after each.
pub fn translate_entry(
    steps: &[Step],
    frame: &Frame,
    drivers: &dyn Fn(&mut Function, DriverId) -> FuncRef,
    function: &mut Function,
    context: &mut FunctionBuilderContext,
    config: TargetFrontendConfig,
) {
    let mut translator = EntryTranslator::new(frame, function, context);
    if let Some([configure, _]) = frame.tiles {
        translator.builder.ins().call(configure, &[]);
    }
    for (number, step) in steps.iter().enumerate() {
        let driver = drivers(translator.builder.func, step.driver);
        translator.step((number, step), driver);
        translator.wait(number);
    }
    if let Some([_, release]) = frame.tiles {
        translator.builder.ins().call(release, &[]);
    }
    translator.builder.ins().return_(&[]);
    translator.builder.finalize(config);
}

struct EntryTranslator<'a> {
    builder: FunctionBuilder<'a>,
    /// The [`Context`].
    run: Value,
    thread: Value,
    threads: Value,
    /// The thread's scratch memory.
    scratch: Value,
    /// Addresses of the operands of the step at hand, by [`Operand::index`].
    operands: StackSlot,
    /// The signature of [`Context::wait`].
    wait: SigRef,
}

impl<'a> EntryTranslator<'a> {
    fn new(frame: &Frame, function: &'a mut Function, context: &'a mut FunctionBuilderContext) -> Self {
        let mut signature = Signature::new(function.signature.call_conv);
        signature.params.extend((0..3).map(|_| AbiParam::new(types::I64)));
        let mut builder = FunctionBuilder::new(function, context);
        let [run, thread, threads] = start(&mut builder);
        let wait = builder.import_signature(signature);
        let bytes = 8 * Operand::ALL.len() as u32;
        let slot = StackSlotData::new(StackSlotKind::ExplicitSlot, bytes, 3);
        let operands = builder.create_sized_stack_slot(slot);
        let mut translator = Self { builder, run, thread, threads, scratch: run, operands, wait };
        let own = translator.builder.ins().imul_imm_s(thread, frame.scratch_bytes as i64);
        let all = translator.field(SCRATCH);
        translator.scratch = translator.builder.ins().iadd(all, own);
        translator
    }

    /// A field of the context.
    fn field(&mut self, offset: i32) -> Value {
        self.builder.ins().load(types::I64, MemFlagsData::trusted(), self.run, offset)
    }

    /// Puts the addresses of the step's operands where its driver looks for them, and calls it.
    fn step(&mut self, (number, step): (usize, &Step), driver: FuncRef) {
        for (index, place) in step.operands.iter().enumerate() {
            let Some(place) = place else { continue };
            let base = match place.region {
                Region::Arena => self.field(ARENA),
                Region::Constants => self.field(CONSTANTS),
                Region::Scratch => self.scratch,
            };
            let address = self.builder.ins().iadd_imm_s(base, place.offset as i64);
            self.builder.ins().stack_store(types::I64, address, self.operands, 8 * index as i32);
        }
        let operands = self.builder.ins().stack_addr(types::I64, self.operands, 0);
        let before = self.builder.ins().imul_imm_s(self.threads, (number * size_of::<Taken>()) as i64);
        let taken = self.field(TAKEN);
        let taken = self.builder.ins().iadd(taken, before);
        self.builder.ins().call(driver, &[self.thread, self.threads, operands, taken]);
    }

    /// Meets the other threads after step `number`.
    fn wait(&mut self, number: usize) {
        let [wait, waiter] = [WAIT, WAITER].map(|offset| self.field(offset));
        let number = self.builder.ins().iconst(types::I64, number as i64);
        self.builder.ins().call_indirect(self.wait, wait, &[waiter, self.thread, number]);
    }
}
