//! From planned kernels and loops to machine code.
//!
//! A [`Compiler`] fills any Cranelift module: [`jit`] makes one that runs here and now. Kernels
//! become leaf functions, drivers and the entry point call them; all are local functions of one
//! module.

pub mod asm;
pub mod clif;
pub mod driver;
mod function;
mod isa;
pub mod jit;
pub mod x86;

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use cranelift::codegen::binemit::Reloc;
use cranelift::codegen::isa::OwnedTargetIsa;
use cranelift::prelude::Signature;
use cranelift_module::{FuncId, Linkage, Module, ModuleDeclarations, ModuleReloc, ModuleRelocTarget};

use crate::plan::Program;
use crate::target::Target;
use crate::vector::{self, Kernel};
pub use driver::{Context, Taken};
use function::{Code, DeclaredKernel, FunctionCompiler, Functions, Kind, Source, tile_signature};
pub use isa::native_isa;

/// Why no code could be made.
#[derive(Debug, thiserror::Error)]
pub enum CodegenError {
    /// Cranelift does not know this machine.
    #[error("no code can be generated for this machine: {reason}")]
    Machine {
        /// Cranelift's reason.
        reason: String,
    },
    /// Machine code of this machine cannot be printed.
    #[error("machine code can be printed for x86-64, but not for {architecture}")]
    Disassembler {
        /// This machine's architecture.
        architecture: &'static str,
    },
    /// A kernel does not fit the target.
    #[error(transparent)]
    Kernel(#[from] vector::KernelError),
    /// A function could not be compiled.
    #[error("cannot compile {function}: {reason}")]
    Function {
        /// The function.
        function: String,
        /// Cranelift's reason.
        reason: String,
    },
}

/// The machine code of one function, for dumps.
#[derive(Clone, Debug)]
pub struct CompiledFunction {
    /// Its name.
    pub name: String,
    /// Its CLIF; none for wide kernels, which are machine code from the start.
    pub clif: Option<String>,
    /// Its bytes, constants included; where functions are referred to, their addresses are missing.
    pub code: Vec<u8>,
    /// What it refers to.
    pub references: Vec<Reference>,
}

/// A place in machine code that holds the address of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The first byte of the place.
    pub offset: u32,
    /// How the address is written there.
    pub form: Form,
    /// The function.
    pub name: String,
    /// To be added to the function's address.
    pub addend: i64,
}

/// How an address is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Four bytes: the distance from the place itself.
    Relative4,
    /// Eight bytes: the address.
    Absolute8,
    /// As only other architectures than x86-64 do it.
    Other,
}

/// Calls a function for every number below a count, in any order and on any threads: who compiles
/// lends the threads.
pub type ForEach<'a> = &'a dyn Fn(usize, &(dyn Fn(usize) + Sync));

/// A [`ForEach`] without threads.
pub fn in_turn(count: usize, call: &(dyn Fn(usize) + Sync)) {
    (0..count).for_each(call);
}

/// What `make` gives for every number below `count`, in the order of the numbers.
fn collect<T: Send + Sync>(for_each: ForEach<'_>, count: usize, make: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let made: Vec<OnceLock<T>> = (0..count).map(|_| OnceLock::new()).collect();
    for_each(count, &|number| {
        made[number].get_or_init(|| make(number));
    });
    let made = made.into_iter().enumerate();
    made.map(|(number, made)| made.into_inner().unwrap_or_else(|| make(number))).collect()
}

/// Puts a program's functions into a module.
pub struct Compiler<'m, M: Module> {
    module: &'m mut M,
    functions: FunctionCompiler,
    /// Functions in the order in which they were defined, with the bytes of their code.
    defined: Vec<(FuncId, usize)>,
    /// The same functions as text, kept only when asked for.
    listing: Vec<CompiledFunction>,
    kernel_time: Duration,
}

impl<'m, M: Module> Compiler<'m, M> {
    /// A compiler for `target` that fills `module`; with `list` set, every function's text is kept.
    pub fn new(module: &'m mut M, isa: OwnedTargetIsa, target: Target, list: bool) -> Self {
        let functions = FunctionCompiler { isa, target, configure: false, list };
        Self { module, functions, defined: Vec::new(), listing: Vec::new(), kernel_time: Duration::ZERO }
    }

    /// Has each kernel that uses tile registers configure and release them itself, so that it runs
    /// by itself.
    pub fn configure_in_kernels(&mut self) {
        self.functions.configure = true;
    }

    /// The functions defined so far, with the bytes of their code.
    pub fn defined(&self) -> &[(FuncId, usize)] {
        &self.defined
    }

    /// The time that writing a program's kernels in the vector kernel IR took.
    pub fn kernel_time(&self) -> Duration {
        self.kernel_time
    }

    /// The functions defined so far, if they were kept.
    pub fn into_listing(self) -> Vec<CompiledFunction> {
        self.listing
    }

    /// Defines all functions of a program and returns its entry point. The module is the same
    /// whatever `for_each` does side by side.
    pub fn program(&mut self, program: &Program, for_each: ForEach<'_>) -> Result<FuncId, CodegenError> {
        let descriptors = &program.kernels;
        let start = Instant::now();
        let kernels = collect(for_each, descriptors.len(), |number| descriptors[number].generate());
        self.kernel_time = start.elapsed();
        let mut functions = Functions::default();
        let entry = self.declare_program(program, &kernels, &mut functions)?;
        let Functions { sources, declared } = functions;
        let compile = |number: usize| self.functions.compile(&sources[number], program, &declared);
        for (source, code) in sources.iter().zip(collect(for_each, sources.len(), compile)) {
            self.define(source.id, &source.name, code?)?;
        }
        Ok(entry)
    }

    /// Declares all functions of a program, whose kernels are given, and returns its entry point.
    fn declare_program<'p>(
        &mut self,
        program: &'p Program,
        kernels: &'p [Kernel],
        functions: &mut Functions<'p>,
    ) -> Result<FuncId, CodegenError> {
        for kernel in kernels {
            let signature = self.functions.kernel_signature(kernel);
            let id = self.source(&kernel.name, &signature, Kind::Kernel(kernel), functions)?;
            let used = vector::used_parameters(kernel);
            functions.declared.kernels.push(DeclaredKernel { id, signature, used });
        }
        if kernels.iter().any(vector::uses_tiles) {
            let signature = tile_signature();
            let configure = self.source("configure_tiles", &signature, Kind::ConfigureTiles, functions)?;
            let release = self.source("release_tiles", &signature, Kind::ReleaseTiles, functions)?;
            functions.declared.tiles = Some([configure, release]);
        }
        let signature = self.functions.driver_signature();
        for (number, driver) in program.drivers.iter().enumerate() {
            let name = format!("driver_{number}");
            let id = self.source(&name, &signature, Kind::Driver(driver), functions)?;
            functions.declared.drivers.push(id);
        }
        self.source("run", &self.functions.entry_signature(), Kind::Entry, functions)
    }

    /// Declares a function and notes what it is compiled from.
    fn source<'p>(
        &mut self,
        name: &str,
        signature: &Signature,
        kind: Kind<'p>,
        functions: &mut Functions<'p>,
    ) -> Result<FuncId, CodegenError> {
        let id = self.declare(name, signature)?;
        functions.sources.push(Source { id, name: name.to_owned(), kind });
        Ok(id)
    }

    /// Defines one kernel.
    pub fn kernel(&mut self, kernel: &Kernel) -> Result<FuncId, CodegenError> {
        let id = self.declare(&kernel.name, &self.functions.kernel_signature(kernel))?;
        let code = self.functions.kernel(id, kernel)?;
        self.define(id, &kernel.name, code)?;
        Ok(id)
    }

    fn declare(&mut self, name: &str, signature: &Signature) -> Result<FuncId, CodegenError> {
        let declared = self.module.declare_function(name, Linkage::Local, signature);
        declared.map_err(|error| function_error(name, error))
    }

    /// Puts a function's code into the module.
    fn define(&mut self, id: FuncId, name: &str, code: Code) -> Result<(), CodegenError> {
        let Code { bytes, alignment, relocations, clif } = code;
        let defined = self.module.define_function_bytes(id, alignment, &bytes, &relocations);
        defined.map_err(|error| function_error(name, error))?;
        self.defined.push((id, bytes.len()));
        if self.functions.list {
            let declarations = self.module.declarations();
            let references = relocations.iter().map(|reloc| reference(reloc, declarations)).collect();
            self.listing.push(CompiledFunction { name: name.to_owned(), clif, code: bytes, references });
        }
        Ok(())
    }
}

fn function_error(name: &str, error: impl ToString) -> CodegenError {
    CodegenError::Function { function: name.to_owned(), reason: error.to_string() }
}

/// A relocation with the name of its target.
fn reference(reloc: &ModuleReloc, declarations: &ModuleDeclarations) -> Reference {
    let form = match reloc.kind {
        Reloc::X86PCRel4 | Reloc::X86CallPCRel4 | Reloc::X86CallPLTRel4 => Form::Relative4,
        Reloc::Abs8 => Form::Absolute8,
        _ => Form::Other,
    };
    let name = match reloc.name {
        ModuleRelocTarget::User { namespace: 0, index } => {
            let id = FuncId::from_u32(index);
            declarations.get_function_decl(id).linkage_name(id).into_owned()
        }
        ref other => other.to_string(),
    };
    Reference { offset: reloc.offset, form, name, addend: reloc.addend }
}
