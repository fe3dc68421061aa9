//! The instruction set architecture that functions are compiled for.

use cranelift::codegen::isa::OwnedTargetIsa;
use cranelift::prelude::*;

use super::CodegenError;
use crate::target::{Isa, Target};

/// The machine that runs this program. Without fused multiply-add in `target`, none is used.
///
/// Nothing is optimised: the order of a kernel's instructions must stay, and loops and calls are
/// written as they are to be. Optimising these takes twice as long and makes runs no faster.
/// Registers are allocated in a single pass where kernels do without: in loops and calls nothing
/// stays in a register for long.
pub fn native_isa(target: Target) -> Result<OwnedTargetIsa, CodegenError> {
    let unsupported = |reason: String| CodegenError::Machine { reason };
    let mut flags = settings::builder();
    let allocation = if target.isa > Isa::Baseline { "single_pass" } else { "backtracking" };
    let switches = [
        ("opt_level", "none"),
        ("regalloc_algorithm", allocation),
        ("enable_verifier", if cfg!(debug_assertions) { "true" } else { "false" }),
        ("use_colocated_libcalls", "false"),
        ("is_pic", "false"),
        ("enable_probestack", "false"),
    ];
    for (name, value) in switches {
        flags.set(name, value).map_err(|e| unsupported(e.to_string()))?;
    }
    let mut builder = cranelift::native::builder().map_err(|e| unsupported(e.to_owned()))?;
    if !target.fused && cfg!(target_arch = "x86_64") {
        builder.set("has_fma", "false").map_err(|e| unsupported(e.to_string()))?;
    }
    builder.finish(settings::Flags::new(flags)).map_err(|e| unsupported(e.to_string()))
}
