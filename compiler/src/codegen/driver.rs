//! Loop nests and the entry point as CLIF: the control code around the kernels.

use cranelift::codegen::ir::{FuncRef, Function};
use cranelift::codegen::isa::TargetFrontendConfig;
use cranelift::prelude::*;

use crate::plan::nest::{Argument, Nest, Offset, Operand, variable_count};
use crate::plan::{Region, Step};

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

/// The signature of a driver: thread, threads, and a pointer for each operand.
pub fn driver_signature(mut empty: Signature) -> Signature {
    empty.params.extend((0..2 + Operand::ALL.len()).map(|_| AbiParam::new(types::I64)));
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
    kernels: &dyn Fn(&mut Function, crate::plan::nest::KernelId) -> FuncRef,
    function: &mut Function,
    context: &mut FunctionBuilderContext,
    config: TargetFrontendConfig,
) {
    let mut builder = FunctionBuilder::new(function, context);
    let parameters = start(&mut builder);
    let variables = (0..variable_count(nest)).map(|_| builder.declare_var(types::I64)).collect();
    let mut translator = DriverTranslator {
        builder,
        kernels,
        thread: parameters[0],
        threads: parameters[1],
        operands: parameters[2..].to_vec(),
        variables,
    };
    translator.body(nest);
    translator.builder.ins().return_(&[]);
    translator.builder.finalize(config);
}

/// Opens the first block and returns the function's parameters.
fn start(builder: &mut FunctionBuilder<'_>) -> Vec<Value> {
    let entry = builder.create_block();
    builder.append_block_params_for_function_params(entry);
    builder.switch_to_block(entry);
    builder.seal_block(entry);
    builder.block_params(entry).to_vec()
}

struct DriverTranslator<'a> {
    builder: FunctionBuilder<'a>,
    kernels: &'a dyn Fn(&mut Function, crate::plan::nest::KernelId) -> FuncRef,
    thread: Value,
    threads: Value,
    operands: Vec<Value>,
    variables: Vec<Variable>,
}

impl DriverTranslator<'_> {
    fn body(&mut self, nests: &[Nest]) {
        for nest in nests {
            match nest {
                Nest::Loop { var, range, units, body } => {
                    let [low, high] = self.bounds(range, *units);
                    self.repeat(self.variables[var.index()], low, high, body);
                }
                Nest::Call { kernel, arguments, rows } => {
                    let mut values: Vec<Value> = arguments.iter().map(|a| self.argument(a)).collect();
                    if let Some(rows) = rows {
                        values.push(self.builder.ins().iconst(types::I64, i64::from(*rows)));
                    }
                    let callee = (self.kernels)(self.builder.func, *kernel);
                    self.builder.ins().call(callee, &values);
                }
            }
        }
    }

    /// First value and end of a loop, cut to the thread's share when the loop is over units of work.
    fn bounds(&mut self, range: &std::ops::Range<u32>, units: Option<u32>) -> [Value; 2] {
        let constant = |this: &mut Self, value: u32| this.builder.ins().iconst(types::I64, i64::from(value));
        let [low, high] = [constant(self, range.start), constant(self, range.end)];
        let Some(units) = units else { return [low, high] };
        let next = self.builder.ins().iadd_imm_s(self.thread, 1);
        let [first, end] = [self.thread, next].map(|thread| {
            let product = self.builder.ins().imul_imm_s(thread, i64::from(units));
            self.builder.ins().udiv(product, self.threads)
        });
        [self.builder.ins().umax(low, first), self.builder.ins().umin(high, end)]
    }

    /// Runs the body while the variable, from `low` on, is below `high`.
    fn repeat(&mut self, variable: Variable, low: Value, high: Value, body: &[Nest]) {
        let [head, inside, exit] = [0; 3].map(|_| self.builder.create_block());
        self.builder.def_var(variable, low);
        self.builder.ins().jump(head, &[]);
        self.builder.switch_to_block(head);
        let value = self.builder.use_var(variable);
        let below = self.builder.ins().icmp(IntCC::UnsignedLessThan, value, high);
        self.builder.ins().brif(below, inside, &[], exit, &[]);
        self.builder.seal_block(inside);
        self.builder.switch_to_block(inside);
        self.body(body);
        let value = self.builder.use_var(variable);
        let next = self.builder.ins().iadd_imm_s(value, 1);
        self.builder.def_var(variable, next);
        self.builder.ins().jump(head, &[]);
        self.builder.seal_block(head);
        self.builder.seal_block(exit);
        self.builder.switch_to_block(exit);
    }

    fn argument(&mut self, argument: &Argument) -> Value {
        let base = self.operands[argument.operand.index()];
        self.offset(base, &argument.offset)
    }

    fn offset(&mut self, base: Value, offset: &Offset) -> Value {
        let mut address = base;
        for &(var, stride) in &offset.terms {
            let value = self.builder.use_var(self.variables[var.index()]);
            let bytes = self.builder.ins().imul_imm_s(value, stride);
            address = self.builder.ins().iadd(address, bytes);
        }
        self.builder.ins().iadd_imm_s(address, offset.bytes)
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
    drivers: &dyn Fn(&mut Function, crate::plan::DriverId) -> FuncRef,
    function: &mut Function,
    context: &mut FunctionBuilderContext,
    config: TargetFrontendConfig,
) {
    let call = function.signature.call_conv;
    let mut builder = FunctionBuilder::new(function, context);
    let parameters = start(&mut builder);
    let [run, thread, threads] = parameters[..] else { return };
    let flags = MemFlagsData::trusted();
    let mut field = |offset| builder.ins().load(types::I64, flags, run, offset);
    let [arena, constants, scratch, wait, waiter] = [ARENA, CONSTANTS, SCRATCH, WAIT, WAITER].map(&mut field);
    let own = builder.ins().imul_imm_s(thread, frame.scratch_bytes as i64);
    let scratch = builder.ins().iadd(scratch, own);
    let mut signature = Signature::new(call);
    signature.params.extend((0..3).map(|_| AbiParam::new(types::I64)));
    let signature = builder.import_signature(signature);
    if let Some([configure, _]) = frame.tiles {
        builder.ins().call(configure, &[]);
    }
    for (number, step) in steps.iter().enumerate() {
        let mut values = vec![thread, threads];
        for place in &step.operands {
            let value = match place {
                None => builder.ins().iconst(types::I64, 0),
                Some(place) => {
                    let base = match place.region {
                        Region::Arena => arena,
                        Region::Constants => constants,
                        Region::Scratch => scratch,
                    };
                    builder.ins().iadd_imm_s(base, place.offset as i64)
                }
            };
            values.push(value);
        }
        let driver = drivers(builder.func, step.driver);
        builder.ins().call(driver, &values);
        let number = builder.ins().iconst(types::I64, number as i64);
        builder.ins().call_indirect(signature, wait, &[waiter, thread, number]);
    }
    if let Some([_, release]) = frame.tiles {
        builder.ins().call(release, &[]);
    }
    builder.ins().return_(&[]);
    builder.finalize(config);
}
