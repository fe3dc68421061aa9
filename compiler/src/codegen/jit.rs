//! Programs as executable memory of this process.

use std::time::Duration;

use cranelift::codegen::isa::OwnedTargetIsa;
use cranelift_jit::{ArenaMemoryProvider, JITBuilder, JITModule};
use cranelift_module::{FuncId, Module};

use super::{CodegenError, CompiledFunction, Compiler, Context, ForEach, in_turn, isa};
use crate::plan::Program;
use crate::target::Target;
use crate::vector::Kernel;

/// Address space for code, more than any network has: calls between functions reach 2 GiB. Where
/// the system refuses as much to the process, less serves most networks.
const CODE_BYTES: [usize; 2] = [256 << 20, 16 << 20];

/// Address space for a single kernel.
const KERNEL_BYTES: [usize; 2] = [16 << 20, 1 << 20];

/// A module whose memory is given back when it is dropped.
struct OwnedModule(Option<JITModule>);

impl Drop for OwnedModule {
    fn drop(&mut self) {
        if let Some(module) = self.0.take() {
            // SAFETY: function pointers into the module live only in `NativeProgram` and
            // `NativeKernel` values, which own it and call it through borrows of themselves, so
            // none is in use.
            unsafe { module.free_memory() };
        }
    }
}

fn code_memory([most, least]: [usize; 2]) -> Result<ArenaMemoryProvider, CodegenError> {
    let reserve = ArenaMemoryProvider::new_with_size;
    let memory = reserve(most).or_else(|_| reserve(least));
    let reason = |error| format!("memory is exhausted: there are no {least} bytes for code ({error})");
    memory.map_err(|error| CodegenError::Machine { reason: reason(error) })
}

fn new_module(isa: OwnedTargetIsa, bytes: [usize; 2]) -> Result<JITModule, CodegenError> {
    let mut builder = JITBuilder::with_isa(isa, cranelift_module::default_libcall_names());
    builder.memory_provider(Box::new(code_memory(bytes)?));
    Ok(JITModule::new(builder))
}

/// A program that can be run.
pub struct NativeProgram {
    entry: unsafe extern "C" fn(*const Context, u64, u64),
    listing: Vec<CompiledFunction>,
    symbols: Vec<Symbol>,
    kernel_time: Duration,
    _module: OwnedModule,
}

/// Where a function lies in the memory of this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// Its name; kernels have their descriptor's.
    pub name: String,
    /// Its first byte.
    pub address: usize,
    /// Bytes of its code.
    pub bytes: usize,
}

// SAFETY: the code is read-only once it is finalized, and the entry point keeps all its state in
// the context, the stack and registers.
unsafe impl Send for NativeProgram {}
// SAFETY: as above.
unsafe impl Sync for NativeProgram {}

impl NativeProgram {
    /// Compiles `program` on the calling thread; with `list` set, the functions' texts are kept for
    /// [`NativeProgram::listing`].
    pub fn compile(program: &Program, list: bool) -> Result<Self, CodegenError> {
        Self::compile_with(program, list, &in_turn)
    }

    /// Compiles `program` as [`NativeProgram::compile`] does, functions side by side as `for_each`
    /// has it. The code is the same.
    pub fn compile_with(program: &Program, list: bool, for_each: ForEach<'_>) -> Result<Self, CodegenError> {
        let define = |compiler: &mut Compiler<'_, JITModule>| compiler.program(program, for_each);
        let Finalized { module, address, symbols, listing, kernel_time } =
            finalize(program.target, (list, CODE_BYTES), define)?;
        // SAFETY: the function was declared with the entry signature: three integer arguments,
        // nothing returned.
        let entry = unsafe {
            std::mem::transmute::<*const u8, unsafe extern "C" fn(*const Context, u64, u64)>(address)
        };
        Ok(Self { entry, listing, symbols, kernel_time, _module: module })
    }

    /// Every function's CLIF and code, if they were kept.
    pub fn listing(&self) -> &[CompiledFunction] {
        &self.listing
    }

    /// Where every function lies, in the order of addresses.
    pub fn symbols(&self) -> &[Symbol] {
        &self.symbols
    }

    /// The time that writing kernels in the vector kernel IR took, which is part of compiling.
    pub fn kernel_time(&self) -> Duration {
        self.kernel_time
    }

    /// Runs the part of thread `thread` of `threads`. All threads of a run must call this with the
    /// same context.
    ///
    /// # Safety
    ///
    /// The context's memory must have the sizes that the program states (scratch once for each
    /// thread), be aligned to a cache line, and not be used by anything else; `taken` must point
    /// at a 0 for each step and thread; `wait` must return only when all threads of the run have
    /// called it. `thread` must be less than `threads`, and each number be used once in a run. If
    /// kernels use tile registers, the system must have permitted these to the process.
    pub unsafe fn run(&self, context: &Context, thread: u64, threads: u64) {
        // SAFETY: what the entry point asks for is what the caller has promised.
        unsafe { (self.entry)(context, thread, threads) };
    }
}

/// A module that can be executed.
struct Finalized {
    module: OwnedModule,
    /// The function that was asked for.
    address: *const u8,
    symbols: Vec<Symbol>,
    listing: Vec<CompiledFunction>,
    kernel_time: Duration,
}

fn finalize(
    target: Target,
    (list, bytes): (bool, [usize; 2]),
    define: impl FnOnce(&mut Compiler<'_, JITModule>) -> Result<FuncId, CodegenError>,
) -> Result<Finalized, CodegenError> {
    let isa = isa::native_isa(target)?;
    let mut owned = OwnedModule(Some(new_module(isa.clone(), bytes)?));
    let module = owned.0.as_mut().expect("filled above");
    let mut compiler = Compiler::new(module, isa, target, list);
    let function = define(&mut compiler)?;
    let defined = compiler.defined().to_vec();
    let kernel_time = compiler.kernel_time();
    let listing = compiler.into_listing();
    let finished = module.finalize_definitions();
    finished.map_err(|e| CodegenError::Machine { reason: format!("code cannot be made executable: {e}") })?;
    let address = module.get_finalized_function(function);
    let symbols = symbols(module, &defined);
    Ok(Finalized { module: owned, address, symbols, listing, kernel_time })
}

/// The finalized functions by address.
fn symbols(module: &JITModule, defined: &[(FuncId, usize)]) -> Vec<Symbol> {
    let symbol = |&(id, bytes): &(FuncId, usize)| {
        let name = module.declarations().get_function_decl(id).linkage_name(id).into_owned();
        Symbol { name, address: module.get_finalized_function(id).addr(), bytes }
    };
    let mut symbols: Vec<Symbol> = defined.iter().map(symbol).collect();
    symbols.sort_by_key(|symbol| symbol.address);
    symbols
}

/// A single kernel that can be called: what differential tests and kernel benches use.
pub struct NativeKernel {
    address: *const u8,
    pointers: usize,
    counted: bool,
    _module: OwnedModule,
}

impl NativeKernel {
    /// Compiles `kernel` for `target`.
    pub fn compile(kernel: &Kernel, target: Target) -> Result<Self, CodegenError> {
        let Finalized { module, address, .. } = finalize(target, (false, KERNEL_BYTES), |compiler| {
            compiler.configure_in_kernels();
            compiler.kernel(kernel)
        })?;
        let (pointers, counted) = (kernel.pointers.len(), kernel.counted);
        Ok(Self { address, pointers, counted, _module: module })
    }

    /// Calls the kernel.
    ///
    /// # Safety
    ///
    /// The kernel's accesses relative to `pointers` must be inside memory that may be read or
    /// written so. If it uses tile registers, the system must have permitted these to the process.
    ///
    /// # Panics
    ///
    /// When the number of pointers is not the kernel's.
    pub unsafe fn call(&self, pointers: &[*mut u8], rows: u64) {
        assert_eq!(pointers.len(), self.pointers, "a kernel is called with all its pointers");
        let mut arguments: Vec<u64> = pointers.iter().map(|p| *p as u64).collect();
        if self.counted {
            arguments.push(rows);
        }
        // SAFETY: the function was declared with as many integer arguments as are passed; the
        // accesses are the caller's promise.
        unsafe { call_integers(self.address, &arguments) };
    }
}

/// Calls a function of up to six integer arguments.
///
/// # Safety
///
/// `address` must be a function with this many arguments.
unsafe fn call_integers(address: *const u8, arguments: &[u64]) {
    macro_rules! call {
        ($($index:literal),*) => {{
            // SAFETY: the caller promises a function of this signature.
            let function = unsafe {
                std::mem::transmute::<*const u8, extern "C" fn($(call!(@type $index)),*)>(address)
            };
            function($(arguments[$index]),*)
        }};
        (@type $index:literal) => { u64 };
    }
    match arguments.len() {
        1 => call!(0),
        2 => call!(0, 1),
        3 => call!(0, 1, 2),
        4 => call!(0, 1, 2, 3),
        5 => call!(0, 1, 2, 3, 4),
        6 => call!(0, 1, 2, 3, 4, 5),
        count => unreachable!("kernels take one to six arguments, not {count}"),
    }
}
