//! Loop nests and the entry point as CLIF: the control code around the kernels.

use std::collections::BTreeMap;
use std::ops::Range;

use cranelift::codegen::ir::{BlockArg, FuncRef, Function, SigRef, StackSlot};
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
    /// Called by every thread at the end of each step, with `waiter`, the thread and the step; returns when
    /// all threads have called it.
    pub wait: extern "C" fn(waiter: *const std::ffi::c_void, thread: u64, step: u64),
    /// Passed to `wait`.
    pub waiter: *const std::ffi::c_void,
}

/// Byte offsets of the fields of [`Context`].
const ARENA: i32 = std::mem::offset_of!(Context, arena) as i32;
const CONSTANTS: i32 = std::mem::offset_of!(Context, constants) as i32;
const SCRATCH: i32 = std::mem::offset_of!(Context, scratch) as i32;
const WAIT: i32 = std::mem::offset_of!(Context, wait) as i32;
const WAITER: i32 = std::mem::offset_of!(Context, waiter) as i32;

/// The signature of a driver: thread, threads, and where the addresses of its operands lie, by
/// [`Operand::index`].
pub fn driver_signature(mut empty: Signature) -> Signature {
    empty.params.extend((0..3).map(|_| AbiParam::new(types::I64)));
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
    let [thread, threads, operands] = start(&mut builder);
    let shares = BTreeMap::new();
    let counters = vec![Counter::Known(0); variable_count(nest)];
    let mut translator = DriverTranslator { builder, kernels, thread, threads, operands, shares, counters };
    translator.divide(nest);
    translator.body(nest);
    translator.builder.ins().return_(&[]);
    translator.builder.finalize(config);
}

/// Opens the first block and returns the function's three parameters.
fn start(builder: &mut FunctionBuilder<'_>) -> [Value; 3] {
    let entry = builder.create_block();
    let parameters = [0; 3].map(|_| builder.append_block_param(entry, types::I64));
    builder.switch_to_block(entry);
    builder.seal_block(entry);
    parameters
}

/// What a loop variable is in the body of its loop.
#[derive(Clone, Copy)]
enum Counter {
    /// The only value of a loop of one iteration.
    Known(u32),
    /// The value at hand.
    Running(Value),
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
    /// First and end of the thread's share, by number of units.
    shares: BTreeMap<u32, [Value; 2]>,
    /// By loop variable.
    counters: Vec<Counter>,
}

impl DriverTranslator<'_> {
    /// Computes the thread's share of every number of units that loops divide.
    fn divide(&mut self, nests: &[Nest]) {
        for nest in nests {
            let Nest::Loop { units, body, .. } = nest else { continue };
            if let Some(units) = units.filter(|units| !self.shares.contains_key(units)) {
                let share = self.share(units);
                self.shares.insert(units, share);
            }
            self.divide(body);
        }
    }

    /// First and end of the thread's share of `units`, as [`crate::plan::nest::share`] defines it.
    fn share(&mut self, units: u32) -> [Value; 2] {
        let next = self.builder.ins().iadd_imm_s(self.thread, 1);
        [self.thread, next].map(|thread| {
            let product = self.builder.ins().imul_imm_s(thread, i64::from(units));
            self.builder.ins().udiv(product, self.threads)
        })
    }

    fn body(&mut self, nests: &[Nest]) {
        for nest in nests {
            match nest {
                Nest::Loop { range, .. } if range.is_empty() => {}
                Nest::Loop { var, range, units, body } => {
                    let cut = units.map(|units| self.cut(range, units));
                    self.repeat(*var, range, cut, body);
                }
                Nest::Call { kernel, arguments, rows } => self.call(*kernel, arguments, *rows),
            }
        }
    }

    fn constant(&mut self, value: u32) -> Value {
        self.builder.ins().iconst(types::I64, i64::from(value))
    }

    /// First value and end of a loop over `units` of work, cut to the thread's share.
    fn cut(&mut self, range: &Range<u32>, units: u32) -> [Value; 2] {
        let [first, end] = self.shares[&units];
        let [low, high] = [range.start, range.end].map(|bound| self.constant(bound));
        [self.builder.ins().umax(low, first), self.builder.ins().umin(high, end)]
    }

    /// Runs the body for each value of a range that is not empty, or of what `cut` left of it.
    fn repeat(&mut self, var: Var, range: &Range<u32>, cut: Option<[Value; 2]>, body: &[Nest]) {
        let [inside, exit] = [0; 2].map(|_| self.builder.create_block());
        let counter = (range.len() > 1).then(|| self.builder.append_block_param(inside, types::I64));
        let low = cut.map_or_else(|| self.constant(range.start), |[low, _]| low);
        let first = Vec::from_iter(counter.map(|_| BlockArg::from(low)));
        match cut {
            None => self.builder.ins().jump(inside, &first),
            Some([low, high]) => {
                let some = self.builder.ins().icmp(IntCC::UnsignedLessThan, low, high);
                self.builder.ins().brif(some, inside, &first, exit, &[])
            }
        };
        self.builder.switch_to_block(inside);
        self.counters[var.index()] = counter.map_or(Counter::Known(range.start), Counter::Running);
        self.body(body);
        match counter {
            None => self.builder.ins().jump(exit, &[]),
            Some(counter) => {
                let next = self.builder.ins().iadd_imm_s(counter, 1);
                let high = cut.map_or_else(|| self.constant(range.end), |[_, high]| high);
                let more = self.builder.ins().icmp(IntCC::UnsignedLessThan, next, high);
                self.builder.ins().brif(more, inside, &[next.into()], exit, &[])
            }
        };
        self.builder.seal_block(inside);
        self.builder.seal_block(exit);
        self.builder.switch_to_block(exit);
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
        match offset.bytes + self.known(&offset.terms) {
            0 => address,
            bytes => self.builder.ins().iadd_imm_s(address, bytes),
        }
    }

    /// The sum of the terms with running variables, if there are any.
    fn distance(&mut self, terms: &[(Var, i64)]) -> Option<Value> {
        let mut sum = None;
        for &(var, stride) in terms {
            let Counter::Running(value) = self.counters[var.index()] else { continue };
            let bytes = self.builder.ins().imul_imm_s(value, stride);
            sum = Some(sum.map_or(bytes, |sum| self.builder.ins().iadd(sum, bytes)));
        }
        sum
    }

    /// The sum of the terms whose variables have only one value.
    fn known(&self, terms: &[(Var, i64)]) -> i64 {
        let known = terms.iter().map(|&(var, stride)| match self.counters[var.index()] {
            Counter::Known(value) => i64::from(value) * stride,
            Counter::Running(_) => 0,
        });
        known.sum()
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
        translator.step(step, driver);
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
    fn step(&mut self, step: &Step, driver: FuncRef) {
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
        self.builder.ins().call(driver, &[self.thread, self.threads, operands]);
    }

    /// Meets the other threads after step `number`.
    fn wait(&mut self, number: usize) {
        let [wait, waiter] = [WAIT, WAITER].map(|offset| self.field(offset));
        let number = self.builder.ins().iconst(types::I64, number as i64);
        self.builder.ins().call_indirect(self.wait, wait, &[waiter, self.thread, number]);
    }
}
