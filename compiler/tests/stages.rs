//! Every stage after the passes as text: a small spec's plan, its kernels in the vector kernel IR, and their
//! CLIF.
//!
//! The target is fixed, so the texts are the same on every machine. `SNAPSHOTS=overwrite` blesses them.

mod common;

use std::fmt::Write;
use std::path::Path;

use common::with_fast_pairs;
use cranelift::codegen::ir::Function;
use cranelift::codegen::isa::CallConv;
use cranelift::prelude::{FunctionBuilderContext, Signature};
use snapbox::data::DataFormat;
use snapbox::{Assert, Data};
use xcc_compiler::codegen::jit::NativeProgram;
use xcc_compiler::codegen::{self, CompiledFunction, clif};
use xcc_compiler::elaborate;
use xcc_compiler::passes::{PassOptions, optimize};
use xcc_compiler::plan::{PlanOptions, Precision, Program, plan};
use xcc_compiler::target::{CrossedProducts, ExactTiles, Isa, Target};

/// The baseline as on machines with fused multiply-add.
fn target() -> Target {
    Target { fused: true, ..Target::of(Isa::Baseline) }
}

const OPTIONS: PlanOptions = PlanOptions { batch: 1, threads: 2, keep_all: false, precision: Precision::F32 };

fn program(name: &str) -> Program {
    program_for(name, target(), OPTIONS)
}

fn program_for(name: &str, target: Target, options: PlanOptions) -> Program {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/stages/{name}.xc"));
    let elaborated = elaborate::read(&std::fs::read_to_string(path).unwrap(), &[]);
    let mut graph = elaborated.graph.unwrap_or_else(|| panic!("{name}: {:?}", elaborated.diagnostics));
    optimize(&mut graph, &PassOptions::default());
    plan(&graph, target, options).unwrap()
}

fn vir(program: &Program) -> String {
    program.kernels.iter().map(|descriptor| descriptor.generate().to_string()).collect()
}

fn clif(program: &Program) -> String {
    let mut text = String::new();
    let config = codegen::native_isa(target()).unwrap().frontend_config();
    for descriptor in &program.kernels {
        let kernel = descriptor.generate();
        let mut function = Function::new();
        function.signature = clif::signature(&kernel, Signature::new(CallConv::SystemV));
        let mut context = FunctionBuilderContext::new();
        clif::translate(&kernel, target().fused, &mut function, &mut context, config);
        let _ = writeln!(text, "; {descriptor}\n{}", function.display());
    }
    text
}

fn check(name: &str, extension: &str, text: String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/stages/{name}.{extension}"));
    let expected = Data::read_from(&path, Some(DataFormat::Text)).raw();
    Assert::new().action_env("SNAPSHOTS").eq(text, expected);
}

#[test]
fn plans() {
    for name in ["pointwise", "separable", "segments", "pools", "branches"] {
        check(name, "plan", program(name).to_string());
    }
}

#[test]
fn kernels_in_the_vector_kernel_ir() {
    for name in ["pointwise", "separable", "segments", "pools", "branches"] {
        check(name, "vir", vir(&program(name)));
    }
}

#[test]
fn kernels_as_clif() {
    for name in ["pointwise", "separable", "pools"] {
        check(name, "clif", clif(&program(name)));
    }
}

#[test]
fn plans_and_kernels_of_planes() {
    let of_threads = |threads| program_for("planes", target(), PlanOptions { threads, ..OPTIONS });
    check("planes", "plan", of_threads(1).to_string());
    check("planes", "vir", vir(&of_threads(1)));
    let options = PlanOptions { threads: 1, precision: Precision::Bf16, ..OPTIONS };
    let program = program_for("planes", with_fast_pairs(Target::of(Isa::Avx512Bf16)), options);
    check("planes", "pairs.plan", program.to_string());
    check("planes", "pairs.vir", vir(&program));
}

/// In vectors of four lanes, of which a group has twelve channels.
#[test]
fn plans_and_kernels_of_crossed_products() {
    let rule = CrossedProducts {
        fewest_channels: 1,
        fewest_products: 1,
        fewest_pixels: 1,
        most_bytes: u64::MAX,
        vectors: 1,
        pixels: 2,
    };
    let target = Target { crossed_products: Some(rule), ..target() };
    let program = program_for("crossed", target, PlanOptions { threads: 1, ..OPTIONS });
    check("crossed", "plan", program.to_string());
    check("crossed", "vir", vir(&program));
}

#[test]
fn plans_of_bands_of_rows() {
    let small_cache = Target { cache_bytes: 2 << 10, ..target() };
    check("bands", "plan", program_for("bands", small_cache, OPTIONS).to_string());
}

#[test]
fn plans_and_kernels_with_tiles() {
    let exact_tiles = ExactTiles {
        fewest_outputs: 16,
        fewest_inputs: 32,
        most_inputs: 64,
        most_inputs_by_rows: 64,
        fewest_pixels: 1,
    };
    let target = Target { exact_tiles, ..Target::of(Isa::Amx) };
    for precision in Precision::ALL {
        let program = program_for("tiles", target, PlanOptions { precision, ..OPTIONS });
        check("tiles", &format!("{precision}.plan"), program.to_string());
        if precision == Precision::Bf16 {
            check("tiles", "vir", vir(&program));
        }
    }
}

#[test]
fn kernels_of_pairs() {
    let options = PlanOptions { precision: Precision::Bf16, ..OPTIONS };
    let program = program_for("tiles", with_fast_pairs(Target::of(Isa::Avx512Bf16)), options);
    check("tiles", "pairs.vir", vir(&program));
}

#[test]
fn f32_layers_that_are_small_have_the_same_code_for_amx_as_for_avx512() {
    let text = |isa| program_for("separable", Target::of(isa), OPTIONS).to_string();
    assert_eq!(text(Isa::Amx).replacen("for amx", "for avx512", 1), text(Isa::Avx512));
}

#[test]
fn precisions_that_a_target_lacks_are_refused() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stages/tiles.xc");
    let graph = elaborate::read(&std::fs::read_to_string(path).unwrap(), &[]).graph.unwrap();
    let options = PlanOptions { precision: Precision::Split, ..OPTIONS };
    let error = plan(&graph, Target::of(Isa::Avx512), options).unwrap_err().to_string();
    assert!(error.starts_with("precision split needs amx, which "), "{error}");
    assert!(error.ends_with(" lacks; run with --precision f32"), "{error}");
}

/// All numbers below `count`, the last one first, each on a thread of its own.
fn on_threads(count: usize, call: &(dyn Fn(usize) + Sync)) {
    std::thread::scope(|scope| {
        (0..count).rev().for_each(|number| {
            scope.spawn(move || call(number));
        });
    });
}

#[test]
fn code_is_the_same_whoever_compiles_it() {
    for target in Target::available() {
        let program = program_for("branches", target, OPTIONS);
        let code = |for_each| {
            let native = NativeProgram::compile_with(&program, true, for_each).unwrap();
            let function = |f: &CompiledFunction| (f.name.clone(), f.code.clone(), f.references.clone());
            let first = native.symbols()[0].address;
            let places: Vec<usize> = native.symbols().iter().map(|symbol| symbol.address - first).collect();
            (native.listing().iter().map(function).collect::<Vec<_>>(), places)
        };
        // One that compiles nothing leaves it to the compiler.
        let nothing = |_: usize, _: &(dyn Fn(usize) + Sync)| {};
        assert_eq!(code(&on_threads), code(&codegen::in_turn), "{target}");
        assert_eq!(code(&nothing), code(&codegen::in_turn), "{target}");
    }
}
