//! The instruction set architectures that functions are compiled for.

use std::sync::Arc;

use cranelift::codegen::isa::OwnedTargetIsa;
use cranelift::prelude::*;

use super::CodegenError;
use crate::target::Target;

/// Two views of one machine: functions of the two can call each other.
#[derive(Clone)]
pub struct Isas {
    /// For vector kernels, whose instruction order must stay: no mid-end optimisations.
    pub kernels: OwnedTargetIsa,
    /// For drivers and the entry point: optimised for speed.
    pub control: OwnedTargetIsa,
}

impl Isas {
    /// The machine that runs this program. Without fused multiply-add in `target`, none is used.
    pub fn native(target: Target) -> Result<Self, CodegenError> {
        Ok(Self { kernels: isa("none", target)?, control: isa("speed", target)? })
    }
}

fn isa(opt_level: &str, target: Target) -> Result<Arc<dyn isa::TargetIsa>, CodegenError> {
    let unsupported = |reason: String| CodegenError::Machine { reason };
    let mut flags = settings::builder();
    let switches = [
        ("opt_level", opt_level),
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
