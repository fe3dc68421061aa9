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
    /// For each step, and within it for each thread of the run: how many units of the thread's
    /// share have been taken, by whichever thread. All 0 when the run begins.
    pub taken: *const Taken,
    /// Called by every thread at the end of each step, with `waiter`, the thread and the step;
    /// returns when all threads have called it.
    pub wait: extern "C" fn(waiter: *const std::ffi::c_void, thread: u64, step: u64),
    /// Passed to `wait`.
    pub waiter: *const std::ffi::c_void,
}

/// How many units of a share have been taken: a cache line of its own, since one thread takes most
/// of them.
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

/// The signature of a driver: thread, threads, where the addresses of its operands lie, by
/// [`Operand::index`], and where [`Taken`] of the first thread lies.
pub fn driver_signature(mut empty: Signature) -> Signature {
    empty.params.extend((0..4).map(|_| AbiParam::new(types::I64)));
    empty
}

/// The signature of the entry point: context, thread, threads.
pub fn entry_signature(mut empty: Signature) -> Signature {
    empty.params.extend((0..3).map(|_| AbiParam::new(types::I64)));
    empty
}

/// A kernel as a driver calls it.
pub struct Callee<'a> {
    /// The kernel, imported into the driver.
    pub function: FuncRef,
    /// Which of its pointers it uses; others need not point anywhere.
    pub used: &'a [bool],
}

/// Writes a driver into `function`, whose signature is set. `kernels` imports a kernel into the
/// function.
pub fn translate_driver<'k>(
    nest: &[Nest],
    kernels: &dyn Fn(&mut Function, KernelId) -> Callee<'k>,
    function: &mut Function,
    context: &mut FunctionBuilderContext,
    config: TargetFrontendConfig,
) {
    let mut builder = FunctionBuilder::new(function, context);
    let parameters: [Value; 4] = start(&mut builder);
    let words = Word::COUNT + variable_count(nest) as u32;
    let frame = StackSlotData::new(StackSlotKind::ExplicitSlot, WORD * words, WORD.trailing_zeros() as u8);
    let frame = builder.create_sized_stack_slot(frame);
    let mut translator = DriverTranslator { builder, kernels, frame };
    for (word, value) in Word::PARAMETERS.into_iter().zip(parameters) {
        translator.set(word, value);
    }
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

/// Bytes of a word of a driver's frame.
const WORD: u32 = 8;

/// What a driver keeps in its frame.
#[derive(Clone, Copy)]
enum Word {
    Thread,
    Threads,
    /// Where the operands' addresses lie.
    Operands,
    /// [`Taken`] of the first thread.
    Taken,
    /// The thread whose units are taken.
    Owner,
    /// How many threads' units are left, the owner's included.
    SharesLeft,
    /// The first unit of the owner's share, and the one after its last.
    First,
    End,
    /// [`Taken`] of the owner.
    OwnersTaken,
    /// The unit at hand, within its image.
    Unit,
    /// A loop variable.
    Counter(Var),
}

impl Word {
    /// The parameters, in order.
    const PARAMETERS: [Word; 4] = [Word::Thread, Word::Threads, Word::Operands, Word::Taken];
    /// Words before the loop variables.
    const COUNT: u32 = 10;

    /// Bytes from the start of the frame.
    fn offset(self) -> i32 {
        let index = match self {
            Word::Thread => 0,
            Word::Threads => 1,
            Word::Operands => 2,
            Word::Taken => 3,
            Word::Owner => 4,
            Word::SharesLeft => 5,
            Word::First => 6,
            Word::End => 7,
            Word::OwnersTaken => 8,
            Word::Unit => 9,
            Word::Counter(var) => Self::COUNT + var.index() as u32,
        };
        (WORD * index) as i32
    }
}

/// Writes loops and calls. The code is not optimised after this: whatever can be computed once, or
/// folded into a constant, is so here. Nothing lives in a register across calls: all that lasts
/// longer is in the frame, so that registers are allocated in no time, and what is read from there
/// is read once for a call of a kernel.
struct DriverTranslator<'a, 'k> {
    builder: FunctionBuilder<'a>,
    kernels: &'a dyn Fn(&mut Function, KernelId) -> Callee<'k>,
    /// The [`Word`]s.
    frame: StackSlot,
}

impl DriverTranslator<'_, '_> {
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

    fn get(&mut self, word: Word) -> Value {
        self.builder.ins().stack_load(types::I64, types::I64, self.frame, word.offset())
    }

    fn set(&mut self, word: Word, value: Value) {
        self.builder.ins().stack_store(types::I64, value, self.frame, word.offset());
    }

    fn constant(&mut self, value: u32) -> Value {
        self.builder.ins().iconst(types::I64, i64::from(value))
    }

    /// Opens `block`, to which no more jumps are written.
    fn open(&mut self, block: Block) {
        self.builder.seal_block(block);
        self.builder.switch_to_block(block);
    }

    /// Takes units from the thread's own share and then from each other one in turn, and runs the
    /// body for each.
    fn divide(&mut self, images: Option<(Var, u32)>, units: u32, body: &[Nest]) {
        let [share, exit] = [0; 2].map(|_| self.builder.create_block());
        let [thread, threads] = [Word::Thread, Word::Threads].map(|word| self.get(word));
        // Where each thread has one unit, the others have begun theirs by now, too.
        let all = self.constant(units);
        let one = self.constant(1);
        let are_few = match images {
            None => self.builder.ins().icmp(IntCC::UnsignedLessThanOrEqual, all, threads),
            Some(_) => self.constant(0),
        };
        let shares = self.builder.ins().select(are_few, one, threads);
        self.set(Word::Owner, thread);
        self.set(Word::SharesLeft, shares);
        self.builder.ins().jump(share, &[]);
        self.builder.switch_to_block(share);
        self.units_of_owner((images, units), body);
        let [owner, threads, shares_left] =
            [Word::Owner, Word::Threads, Word::SharesLeft].map(|word| self.get(word));
        let next = self.builder.ins().iadd_imm_s(owner, 1);
        let is_last = self.builder.ins().icmp(IntCC::Equal, next, threads);
        let first = self.constant(0);
        let next = self.builder.ins().select(is_last, first, next);
        self.set(Word::Owner, next);
        let shares_left = self.builder.ins().iadd_imm_s(shares_left, -1);
        self.set(Word::SharesLeft, shares_left);
        self.builder.ins().brif(shares_left, share, &[], exit, &[]);
        self.builder.seal_block(share);
        self.open(exit);
    }

    /// Runs the body for every unit of the owner's share that nobody has taken yet.
    fn units_of_owner(&mut self, (images, units): (Option<(Var, u32)>, u32), body: &[Nest]) {
        let [take, inside, exit] = [0; 3].map(|_| self.builder.create_block());
        self.begin_share(i64::from(units) * images.map_or(1, |(_, count)| i64::from(count)));
        self.builder.ins().jump(take, &[]);
        self.builder.switch_to_block(take);
        let [taken, first, end] = [Word::OwnersTaken, Word::First, Word::End].map(|word| self.get(word));
        let one = self.constant(1);
        let before =
            self.builder.ins().atomic_rmw(types::I64, MemFlagsData::trusted(), AtomicRmwOp::Add, taken, one);
        let unit = self.builder.ins().iadd(first, before);
        let is_left = self.builder.ins().icmp(IntCC::UnsignedLessThan, unit, end);
        self.builder.ins().brif(is_left, inside, &[], exit, &[]);
        self.open(inside);
        let in_image = match images {
            Some((var, _)) => {
                let [image, in_image] = self.divided(unit, units);
                self.set(Word::Counter(var), image);
                in_image
            }
            None => unit,
        };
        self.set(Word::Unit, in_image);
        self.body(body);
        self.builder.ins().jump(take, &[]);
        self.builder.seal_block(take);
        self.open(exit);
    }

    /// Sets the first and the last unit of the owner's share of `units`, as
    /// [`crate::plan::nest::share`] defines it, and where it is counted how many are taken.
    fn begin_share(&mut self, units: i64) {
        let [owner, threads, taken] = [Word::Owner, Word::Threads, Word::Taken].map(|word| self.get(word));
        let next = self.builder.ins().iadd_imm_s(owner, 1);
        for (word, thread) in [(Word::First, owner), (Word::End, next)] {
            let product = self.builder.ins().imul_imm_s(thread, units);
            let unit = self.builder.ins().udiv(product, threads);
            self.set(word, unit);
        }
        let distance = self.builder.ins().imul_imm_s(owner, size_of::<Taken>() as i64);
        let taken = self.builder.ins().iadd(taken, distance);
        self.set(Word::OwnersTaken, taken);
    }

    /// Runs the body if the unit at hand is one of `units`.
    fn unit(&mut self, units: &Range<u32>, [block, part]: [Option<(Var, u32)>; 2], body: &[Nest]) {
        let [inside, exit] = [0; 2].map(|_| self.builder.create_block());
        let unit = self.get(Word::Unit);
        let within = self.builder.ins().iadd_imm_s(unit, -i64::from(units.start));
        let is_one = self.builder.ins().icmp_imm_u(IntCC::UnsignedLessThan, within, units.len() as i64);
        self.builder.ins().brif(is_one, inside, &[], exit, &[]);
        self.open(inside);
        let mut number = within;
        if let Some((var, parts)) = part {
            let [block, in_block] = self.divided(within, parts);
            self.set(Word::Counter(var), in_block);
            number = block;
        }
        if let Some((var, first)) = block {
            let block = self.builder.ins().iadd_imm_s(number, i64::from(first));
            self.set(Word::Counter(var), block);
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
        let first = self.constant(range.start);
        self.set(Word::Counter(var), first);
        self.builder.ins().jump(inside, &[]);
        self.builder.switch_to_block(inside);
        self.body(body);
        let counter = self.get(Word::Counter(var));
        let next = self.builder.ins().iadd_imm_s(counter, 1);
        self.set(Word::Counter(var), next);
        let more = self.builder.ins().icmp_imm_u(IntCC::UnsignedLessThan, next, i64::from(range.end));
        self.builder.ins().brif(more, inside, &[], exit, &[]);
        self.builder.seal_block(inside);
        self.open(exit);
    }

    fn call(&mut self, kernel: KernelId, arguments: &[Argument], rows: Option<u32>) {
        let callee = (self.kernels)(self.builder.func, kernel);
        let operands = self.get(Word::Operands);
        let mut known = Known { distances: Vec::new(), arguments: Vec::new() };
        let mut values: Vec<Value> = Vec::with_capacity(arguments.len() + 1);
        for (argument, &used) in arguments.iter().zip(callee.used) {
            values.push(if used { self.argument(argument, operands, &mut known) } else { operands });
        }
        values.extend(rows.map(|rows| self.constant(rows)));
        self.builder.ins().call(callee.function, &values);
    }

    /// The address of an argument.
    fn argument<'n>(&mut self, argument: &'n Argument, operands: Value, known: &mut Known<'n>) -> Value {
        if let Some((_, value)) = known.arguments.iter().find(|(known, _)| *known == argument) {
            return *value;
        }
        let Argument { operand, offset } = argument;
        let place = WORD as i32 * operand.index() as i32;
        let base = self.builder.ins().load(types::I64, MemFlagsData::trusted(), operands, place);
        let moved = match self.distance(&offset.terms, known) {
            Some(distance) => self.builder.ins().iadd(base, distance),
            None => base,
        };
        let address = match offset.bytes {
            0 => moved,
            bytes => self.builder.ins().iadd_imm_s(moved, bytes),
        };
        known.arguments.push((argument, address));
        address
    }

    /// The sum of the terms, if there are any.
    fn distance<'n>(&mut self, terms: &'n [(Var, i64)], known: &mut Known<'n>) -> Option<Value> {
        if let Some((_, value)) = known.distances.iter().find(|(known, _)| *known == terms) {
            return Some(*value);
        }
        let mut sum = None;
        for &(var, stride) in terms {
            let counter = self.get(Word::Counter(var));
            let bytes = self.builder.ins().imul_imm_s(counter, stride);
            sum = Some(sum.map_or(bytes, |sum| self.builder.ins().iadd(sum, bytes)));
        }
        known.distances.extend(sum.map(|sum| (terms, sum)));
        sum
    }
}

/// What has been computed for a call already: operands often move together.
struct Known<'n> {
    distances: Vec<(&'n [(Var, i64)], Value)>,
    arguments: Vec<(&'n Argument, Value)>,
}

/// What the entry point needs beside the steps.
pub struct Frame {
    /// Bytes of scratch memory of each thread.
    pub scratch_bytes: u64,
    /// What to call first and last where kernels use tile registers: functions that configure and
    /// release those of the calling thread.
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
