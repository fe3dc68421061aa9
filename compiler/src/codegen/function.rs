//! Single functions, from what they are made of to bytes. Nothing here changes a module, so that
//! functions of one module can be compiled side by side.

use std::cell::RefCell;
use std::collections::HashMap;

use cranelift::codegen::Context as CompileContext;
use cranelift::codegen::control::ControlPlane;
use cranelift::codegen::ir::{ExtFuncData, ExternalName, FuncRef, Function, UserExternalName, UserFuncName};
use cranelift::codegen::isa::{CallConv, OwnedTargetIsa};
use cranelift::prelude::*;
use cranelift_module::{FuncId, ModuleReloc};

use super::driver::{self, Callee};
use super::{CodegenError, clif, x86};
use crate::plan::nest::KernelId;
use crate::plan::{Driver, DriverId, Program};
use crate::target::{Isa, Target};
use crate::vector::{self, Kernel, KernelError};

/// Alignment of functions in bytes.
const CACHE_LINE: u64 = 64;

/// A compiled function that is not in a module yet.
pub(super) struct Code {
    /// Instructions, constants behind them.
    pub bytes: Vec<u8>,
    /// What its first byte must be aligned to.
    pub alignment: u64,
    /// The functions that it refers to, and where.
    pub relocations: Vec<ModuleReloc>,
    /// Its CLIF, if it was asked for and there is one.
    pub clif: Option<String>,
}

impl Code {
    /// Code that refers to nothing.
    pub fn of_bytes(bytes: Vec<u8>) -> Self {
        Self { bytes, alignment: CACHE_LINE, relocations: Vec::new(), clif: None }
    }
}

/// A kernel that drivers call.
pub(super) struct DeclaredKernel {
    pub id: FuncId,
    pub signature: Signature,
    /// Which of its pointers it uses.
    pub used: Vec<bool>,
}

/// A function of a program, before it is compiled.
pub(super) struct Source<'p> {
    pub id: FuncId,
    pub name: String,
    pub kind: Kind<'p>,
}

/// What a function is made of.
pub(super) enum Kind<'p> {
    Kernel(&'p Kernel),
    /// Code that configures the tile registers of a thread.
    ConfigureTiles,
    /// Code that releases the tile registers of a thread.
    ReleaseTiles,
    Driver(&'p Driver),
    /// The entry point.
    Entry,
}

/// What functions of a program know of each other.
#[derive(Default)]
pub(super) struct Declared {
    /// By [`KernelId`].
    pub kernels: Vec<DeclaredKernel>,
    /// By [`DriverId`].
    pub drivers: Vec<FuncId>,
    /// The functions that configure and release tile registers, where kernels use these.
    pub tiles: Option<[FuncId; 2]>,
}

/// All functions of a program, in the order in which they are defined.
#[derive(Default)]
pub(super) struct Functions<'p> {
    pub sources: Vec<Source<'p>>,
    pub declared: Declared,
}

/// Compiles functions.
pub(super) struct FunctionCompiler {
    pub isa: OwnedTargetIsa,
    pub target: Target,
    /// Whether each kernel that uses tile registers configures and releases them itself.
    pub configure: bool,
    /// Whether CLIF is kept as text.
    pub list: bool,
}

impl FunctionCompiler {
    fn empty_signature(&self) -> Signature {
        Signature::new(CallConv::triple_default(self.isa.triple()))
    }

    /// The signature of a kernel.
    pub fn kernel_signature(&self, kernel: &Kernel) -> Signature {
        let wide = self.target.isa > Isa::Baseline;
        let empty = if wide { Signature::new(CallConv::SystemV) } else { self.empty_signature() };
        clif::signature(kernel, empty)
    }

    /// The signature of a driver.
    pub fn driver_signature(&self) -> Signature {
        driver::driver_signature(self.empty_signature())
    }

    /// The signature of the entry point.
    pub fn entry_signature(&self) -> Signature {
        driver::entry_signature(self.empty_signature())
    }

    /// Compiles a function of a program.
    pub fn compile(
        &self,
        source: &Source<'_>,
        program: &Program,
        declared: &Declared,
    ) -> Result<Code, CodegenError> {
        let failed = |reason| CodegenError::Function { function: source.name.clone(), reason };
        match source.kind {
            Kind::Kernel(kernel) => self.kernel(source.id, kernel),
            Kind::ConfigureTiles => x86::configure_tiles(self.target).map(Code::of_bytes).map_err(failed),
            Kind::ReleaseTiles => x86::release_tiles(self.target).map(Code::of_bytes).map_err(failed),
            Kind::Driver(driver) => self.driver(source, driver, &declared.kernels),
            Kind::Entry => self.entry(source, program, declared),
        }
    }

    /// Compiles a kernel.
    pub fn kernel(&self, id: FuncId, kernel: &Kernel) -> Result<Code, CodegenError> {
        self.check(kernel)?;
        if self.target.isa > Isa::Baseline {
            let code = x86::assemble(kernel, self.target, self.configure);
            let failed = |reason| CodegenError::Function { function: kernel.name.clone(), reason };
            return code.map(Code::of_bytes).map_err(failed);
        }
        let mut function = self.function(id, self.kernel_signature(kernel));
        let (fused, config) = (self.target.fused, self.isa.frontend_config());
        clif::translate(kernel, fused, &mut function, &mut FunctionBuilderContext::new(), config);
        self.finish(id, &kernel.name, function)
    }

    /// Checks that the target can run a kernel.
    fn check(&self, kernel: &Kernel) -> Result<(), CodegenError> {
        vector::verify(kernel, self.target.registers)?;
        let range = |what| Err(KernelError::Range { kernel: kernel.name.clone(), what }.into());
        if kernel.lanes != self.target.lanes {
            return range(format!("{} lanes, the target has {}", kernel.lanes, self.target.lanes));
        }
        let needed = match kernel {
            kernel if vector::uses_tiles(kernel) => Isa::Amx,
            kernel if vector::needs_bf16(kernel) => Isa::Avx512Bf16,
            _ => Isa::Baseline,
        };
        if self.target.isa < needed {
            return range(format!("needs target {needed}, not {}", self.target));
        }
        Ok(())
    }

    fn driver(
        &self,
        source: &Source<'_>,
        driver: &Driver,
        kernels: &[DeclaredKernel],
    ) -> Result<Code, CodegenError> {
        let mut function = self.function(source.id, self.driver_signature());
        let imports = Imports::default();
        let import = |function: &mut Function, kernel: KernelId| {
            let DeclaredKernel { id, signature, used } = &kernels[kernel.index()];
            Callee { function: imports.import(*id, signature, function), used }
        };
        let (mut context, config) = (FunctionBuilderContext::new(), self.isa.frontend_config());
        driver::translate_driver(&driver.nest, &import, &mut function, &mut context, config);
        self.finish(source.id, &source.name, function)
    }

    fn entry(
        &self,
        source: &Source<'_>,
        program: &Program,
        declared: &Declared,
    ) -> Result<Code, CodegenError> {
        let mut function = self.function(source.id, self.entry_signature());
        let (imports, signature) = (Imports::default(), self.driver_signature());
        let import = |function: &mut Function, driver: DriverId| {
            imports.import(declared.drivers[driver.index()], &signature, function)
        };
        let of_tiles = tile_signature();
        let import_tiles = |id| imports.import(id, &of_tiles, &mut function);
        let tiles = declared.tiles.map(|tiles| tiles.map(import_tiles));
        let frame = driver::Frame { scratch_bytes: program.scratch_bytes, tiles };
        let (mut context, config) = (FunctionBuilderContext::new(), self.isa.frontend_config());
        driver::translate_entry(&program.steps, &frame, &import, &mut function, &mut context, config);
        self.finish(source.id, &source.name, function)
    }

    fn function(&self, id: FuncId, signature: Signature) -> Function {
        Function::with_name_signature(UserFuncName::user(0, id.as_u32()), signature)
    }

    /// Compiles a function that is written.
    fn finish(&self, id: FuncId, name: &str, function: Function) -> Result<Code, CodegenError> {
        let failed = |reason: String| CodegenError::Function { function: name.to_owned(), reason };
        let mut context = CompileContext::for_function(function);
        if let Err(error) = context.compile(self.isa.as_ref(), &mut ControlPlane::default()) {
            return Err(failed(format!("{:?}", error.inner)));
        }
        let Some(compiled) = context.compiled_code() else {
            return Err(failed("no code was made".to_owned()));
        };
        let relocation = |reloc| ModuleReloc::from_mach_reloc(reloc, &context.func, id);
        Ok(Code {
            bytes: compiled.code_buffer().to_vec(),
            alignment: u64::from(compiled.buffer.alignment).max(CACHE_LINE),
            relocations: compiled.buffer.relocs().iter().map(relocation).collect(),
            clif: self.list.then(|| context.func.display().to_string()),
        })
    }
}

/// The signature of the functions that configure and release tile registers.
pub(super) fn tile_signature() -> Signature {
    Signature::new(CallConv::SystemV)
}

/// Imports functions of the module into a function under construction, each once.
#[derive(Default)]
struct Imports {
    imported: RefCell<HashMap<FuncId, FuncRef>>,
}

impl Imports {
    fn import(&self, id: FuncId, signature: &Signature, function: &mut Function) -> FuncRef {
        *self.imported.borrow_mut().entry(id).or_insert_with(|| {
            let name = UserExternalName { namespace: 0, index: id.as_u32() };
            let name = ExternalName::user(function.declare_imported_user_function(name));
            let signature = function.import_signature(signature.clone());
            // All functions lie in the same arena, so that calls reach them directly.
            function.import_function(ExtFuncData { name, signature, colocated: true, patchable: false })
        })
    }
}
