//! From planned kernels and loops to machine code.
//!
//! A [`Compiler`] fills any Cranelift module: [`jit`] makes one that runs here and now. Kernels become leaf
//! functions, drivers and the entry point call them; all are local functions of one module.

pub mod asm;
pub mod clif;
pub mod driver;
mod isa;
pub mod jit;
pub mod x86;

use cranelift::codegen::Context as CompileContext;
use cranelift::codegen::binemit::Reloc;
use cranelift::codegen::control::ControlPlane;
use cranelift::codegen::ir::{Function, UserFuncName};
use cranelift::codegen::isa::{CallConv, OwnedTargetIsa};
use cranelift::prelude::*;
use cranelift_module::{FuncId, Linkage, Module, ModuleDeclarations, ModuleReloc, ModuleRelocTarget};

use crate::plan::Program;
use crate::target::{Isa, Target};
use crate::vector::{self, Kernel};
pub use driver::{Context, Taken};
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

/// Alignment of functions in bytes.
const CACHE_LINE: u64 = 64;

/// Puts a program's functions into a module.
pub struct Compiler<'m, M: Module> {
    module: &'m mut M,
    isa: OwnedTargetIsa,
    target: Target,
    context: FunctionBuilderContext,
    /// Whether each kernel that uses tile registers configures and releases them itself.
    configure: bool,
    /// Functions in the order in which they were defined, with the bytes of their code.
    defined: Vec<(FuncId, usize)>,
    /// The same functions as text, kept only when asked for.
    listing: Option<Vec<CompiledFunction>>,
}

impl<'m, M: Module> Compiler<'m, M> {
    /// A compiler for `target` that fills `module`; with `list` set, every function's text is kept.
    pub fn new(module: &'m mut M, isa: OwnedTargetIsa, target: Target, list: bool) -> Self {
        let context = FunctionBuilderContext::new();
        let listing = list.then(Vec::new);
        Self { module, isa, target, context, configure: false, defined: Vec::new(), listing }
    }

    /// Has each kernel that uses tile registers configure and release them itself, so that it runs by itself.
    pub fn configure_in_kernels(&mut self) {
        self.configure = true;
    }

    /// The functions defined so far, with the bytes of their code.
    pub fn defined(&self) -> &[(FuncId, usize)] {
        &self.defined
    }

    /// The functions defined so far, if they were kept.
    pub fn into_listing(self) -> Vec<CompiledFunction> {
        self.listing.unwrap_or_default()
    }

    fn signature(&self) -> Signature {
        Signature::new(CallConv::triple_default(self.isa.triple()))
    }

    /// Defines all functions of a program and returns its entry point.
    pub fn program(&mut self, program: &Program) -> Result<FuncId, CodegenError> {
        let generated: Vec<Kernel> = program.kernels.iter().map(|descriptor| descriptor.generate()).collect();
        let mut kernels = Vec::with_capacity(generated.len());
        for kernel in &generated {
            kernels.push(self.kernel(kernel)?);
        }
        let tiles = self.tile_functions(&generated)?;
        let mut drivers = Vec::with_capacity(program.drivers.len());
        for (number, driver) in program.drivers.iter().enumerate() {
            drivers.push(self.driver(&format!("driver_{number}"), driver, &kernels)?);
        }
        self.entry(program, &drivers, tiles)
    }

    /// Defines one kernel.
    pub fn kernel(&mut self, kernel: &Kernel) -> Result<FuncId, CodegenError> {
        vector::verify(kernel, self.target.registers)?;
        if kernel.lanes != self.target.lanes {
            let what = format!("{} lanes, the target has {}", kernel.lanes, self.target.lanes);
            return Err(vector::KernelError::Range { kernel: kernel.name.clone(), what }.into());
        }
        if vector::needs_tiles(kernel) && self.target.isa < Isa::Amx {
            let what = format!("needs target amx, not {}", self.target);
            return Err(vector::KernelError::Range { kernel: kernel.name.clone(), what }.into());
        }
        if self.target.isa > Isa::Baseline {
            let code = x86::assemble(kernel, self.target, self.configure);
            return self.bytes(
                &kernel.name,
                code,
                clif::signature(kernel, Signature::new(CallConv::SystemV)),
            );
        }
        let mut function = Function::new();
        function.signature = clif::signature(kernel, self.signature());
        let config = self.isa.frontend_config();
        clif::translate(kernel, self.target.fused, &mut function, &mut self.context, config);
        self.define(&kernel.name, function)
    }

    /// Defines a function that is machine code already.
    fn bytes(
        &mut self,
        name: &str,
        code: Result<Vec<u8>, String>,
        signature: Signature,
    ) -> Result<FuncId, CodegenError> {
        let failed = |reason: String| CodegenError::Function { function: name.to_owned(), reason };
        let code = code.map_err(failed)?;
        let declared = self.module.declare_function(name, Linkage::Local, &signature);
        let id = declared.map_err(|e| failed(e.to_string()))?;
        let defined = self.module.define_function_bytes(id, CACHE_LINE, &code, &[]);
        defined.map_err(|e| failed(e.to_string()))?;
        self.defined.push((id, code.len()));
        if let Some(listing) = &mut self.listing {
            let (name, clif) = (name.to_owned(), None);
            listing.push(CompiledFunction { name, clif, code, references: Vec::new() });
        }
        Ok(id)
    }

    /// The functions that configure and release the tile registers of a thread, where kernels use them.
    fn tile_functions(&mut self, kernels: &[Kernel]) -> Result<Option<[FuncId; 2]>, CodegenError> {
        if !kernels.iter().any(vector::uses_tiles) {
            return Ok(None);
        }
        let signature = || Signature::new(CallConv::SystemV);
        let configure = self.bytes("configure_tiles", x86::configure_tiles(self.target), signature())?;
        let release = self.bytes("release_tiles", x86::release_tiles(self.target), signature())?;
        Ok(Some([configure, release]))
    }

    fn driver(
        &mut self,
        name: &str,
        driver: &crate::plan::Driver,
        kernels: &[FuncId],
    ) -> Result<FuncId, CodegenError> {
        let mut function = Function::new();
        function.signature = driver::driver_signature(self.signature());
        let config = self.isa.frontend_config();
        let module = std::cell::RefCell::new(References::new(&mut *self.module));
        let import = |function: &mut Function, kernel: crate::plan::nest::KernelId| {
            module.borrow_mut().import(kernels[kernel.index()], function)
        };
        driver::translate_driver(&driver.nest, &import, &mut function, &mut self.context, config);
        self.define(name, function)
    }

    fn entry(
        &mut self,
        program: &Program,
        drivers: &[FuncId],
        tiles: Option<[FuncId; 2]>,
    ) -> Result<FuncId, CodegenError> {
        let mut function = Function::new();
        function.signature = driver::entry_signature(self.signature());
        let config = self.isa.frontend_config();
        let module = std::cell::RefCell::new(References::new(&mut *self.module));
        let import = |function: &mut Function, driver: crate::plan::DriverId| {
            module.borrow_mut().import(drivers[driver.index()], function)
        };
        let tiles = tiles.map(|tiles| tiles.map(|id| module.borrow_mut().import(id, &mut function)));
        let frame = driver::Frame { scratch_bytes: program.scratch_bytes, tiles };
        driver::translate_entry(&program.steps, &frame, &import, &mut function, &mut self.context, config);
        self.define("run", function)
    }

    /// Compiles a function and puts its bytes into the module.
    fn define(&mut self, name: &str, function: Function) -> Result<FuncId, CodegenError> {
        let failed = |reason: String| CodegenError::Function { function: name.to_owned(), reason };
        let declared = self.module.declare_function(name, Linkage::Local, &function.signature);
        let id = declared.map_err(|e| failed(e.to_string()))?;
        let mut context = CompileContext::for_function(function);
        context.func.name = UserFuncName::user(0, id.as_u32());
        if let Err(error) = context.compile(self.isa.as_ref(), &mut ControlPlane::default()) {
            return Err(failed(format!("{:?}", error.inner)));
        }
        let Some(compiled) = context.compiled_code() else {
            return Err(failed("no code was made".to_owned()));
        };
        let code = compiled.code_buffer().to_vec();
        let alignment = u64::from(compiled.buffer.alignment).max(CACHE_LINE);
        let relocations: Vec<ModuleReloc> = compiled
            .buffer
            .relocs()
            .iter()
            .map(|reloc| ModuleReloc::from_mach_reloc(reloc, &context.func, id))
            .collect();
        let defined = self.module.define_function_bytes(id, alignment, &code, &relocations);
        defined.map_err(|e| failed(e.to_string()))?;
        self.defined.push((id, code.len()));
        if let Some(listing) = &mut self.listing {
            let clif = Some(context.func.display().to_string());
            let references =
                relocations.iter().map(|reloc| reference(reloc, self.module.declarations())).collect();
            listing.push(CompiledFunction { name: name.to_owned(), clif, code, references });
        }
        Ok(id)
    }
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

/// Imports functions of a module into a function under construction, each once.
struct References<'m, M: Module> {
    module: &'m mut M,
    imported: std::collections::HashMap<FuncId, codegen::ir::FuncRef>,
}

impl<'m, M: Module> References<'m, M> {
    fn new(module: &'m mut M) -> Self {
        Self { module, imported: std::collections::HashMap::new() }
    }

    fn import(&mut self, id: FuncId, function: &mut Function) -> codegen::ir::FuncRef {
        *self.imported.entry(id).or_insert_with(|| self.module.declare_func_in_func(id, function))
    }
}
