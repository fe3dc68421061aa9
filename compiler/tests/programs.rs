//! The verifier of programs: what lowering makes verifies, and seeded faults are found and told.

mod common;

use std::path::Path;

use xcc_compiler::elaborate;
use xcc_compiler::graph::Graph;
use xcc_compiler::passes::{PassOptions, optimize};
use xcc_compiler::plan::nest::{Nest, Operand};
use xcc_compiler::plan::verify::{Annotated, verify};
use xcc_compiler::plan::{PlanOptions, Precision, Program, Region, plan};
use xcc_compiler::target::{Isa, Target};

fn graph(spec: &str) -> Graph {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../specs/{spec}.xc"));
    let elaborated = elaborate::read(&std::fs::read_to_string(path).unwrap(), &[]);
    let mut graph = elaborated.graph.unwrap();
    optimize(&mut graph, &PassOptions::default());
    graph
}

fn program(spec: &str, isa: Isa, precision: Precision, threads: u32) -> Program {
    let options = PlanOptions { threads, precision, batch: 1, ..PlanOptions::default() };
    plan(&graph(spec), Target::of(isa), options).unwrap()
}

/// Programs with every family of kernels.
fn programs() -> Vec<Program> {
    let cases = [
        ("mini_xception", Isa::Avx2, Precision::F32, 1),
        ("mini_xception", Isa::Avx512, Precision::F32, 2),
        ("digits", Isa::Baseline, Precision::F32, 3),
        ("xception", Isa::Avx512, Precision::F32, 2),
        ("xception", Isa::Amx, Precision::Bf16, 2),
        ("inception_module", Isa::Amx, Precision::Split, 1),
    ];
    cases.into_iter().map(|(spec, isa, precision, threads)| program(spec, isa, precision, threads)).collect()
}

/// Every operand but those that no kernel touches is needed whole.
#[test]
fn operands_that_are_too_small_are_found() {
    for program in programs() {
        assert_eq!(verify(&program), Ok(()));
        for number in 0..program.steps.len() {
            for operand in [Operand::In, Operand::Out, Operand::Weights] {
                let mut broken = program.clone();
                let Some(place) = &mut broken.steps[number].operands[operand.index()] else { continue };
                place.bytes = 0;
                let violation = verify(&broken).unwrap_err();
                assert_eq!(violation.step, number, "{violation}");
                assert!(violation.what.contains(&format!("of {operand} exceed its 0")), "{violation}");
            }
        }
    }
}

#[test]
fn regions_that_are_too_small_are_found() {
    for program in programs() {
        let with = |change: &dyn Fn(&mut Program)| {
            let mut broken = program.clone();
            change(&mut broken);
            verify(&broken).unwrap_err().what
        };
        assert!(with(&|program| program.arena_bytes = 64).contains("behind its region of 64 bytes"));
        assert!(with(&|program| program.constant_bytes -= 64).contains("constants["));
        assert!(with(&|program| program.scratch_bytes = 0).contains("scratch["));
    }
}

/// Applies `change` to the first call of the first driver.
fn with_first_call(program: &Program, change: &dyn Fn(&mut Nest)) -> Program {
    fn first(nests: &mut [Nest]) -> &mut Nest {
        match &mut nests[0] {
            Nest::Call { .. } => &mut nests[0],
            Nest::Divide { .. } | Nest::Unit { .. } | Nest::Loop { .. } => {
                let (Nest::Divide { body, .. } | Nest::Unit { body, .. } | Nest::Loop { body, .. }) =
                    &mut nests[0]
                else {
                    unreachable!("calls were matched")
                };
                first(body)
            }
        }
    }
    let mut broken = program.clone();
    let driver = broken.steps[0].driver;
    change(first(&mut broken.drivers[driver.index()].nest));
    broken
}

#[test]
fn calls_that_do_not_fit_their_kernels_are_found() {
    let program = program("mini_xception", Isa::Avx512, Precision::F32, 2);
    let changed = |change: &dyn Fn(&mut Nest)| verify(&with_first_call(&program, change)).unwrap_err().what;
    let fewer = changed(&|call| {
        if let Nest::Call { arguments, .. } = call {
            arguments.pop();
        }
    });
    assert!(fewer.contains("pointers, not"), "{fewer}");
    let counted = changed(&|call| {
        if let Nest::Call { rows, .. } = call {
            *rows = if rows.is_some() { None } else { Some(1) };
        }
    });
    assert!(counted.contains("count of rows"), "{counted}");
    let far = changed(&|call| {
        if let Nest::Call { arguments, .. } = call {
            arguments[0].offset.bytes += 1 << 40;
        }
    });
    assert!(far.contains("of in exceed its"), "{far}");
    let before = changed(&|call| {
        if let Nest::Call { arguments, .. } = call {
            arguments[0].offset.bytes -= 1 << 20;
        }
    });
    assert!(before.contains("bytes -"), "{before}");
}

#[test]
fn written_constants_and_units_with_gaps_are_found() {
    let program = program("mini_xception", Isa::Avx512, Precision::F32, 2);
    let mut broken = program.clone();
    if let Some(place) = &mut broken.steps[0].operands[Operand::Out.index()] {
        (place.region, place.offset, place.bytes) = (Region::Constants, 0, program.constant_bytes);
    }
    assert!(verify(&broken).unwrap_err().what.contains("constants are written"));
    let mut broken = program.clone();
    let driver = broken.steps[0].driver;
    if let Nest::Divide { units, .. } = &mut broken.drivers[driver.index()].nest[0] {
        *units += 1;
    }
    assert!(verify(&broken).unwrap_err().what.contains("are divided"));
}

/// The error stands behind its step.
#[test]
fn violations_are_told_within_the_listing() {
    let mut program = program("digits", Isa::Avx2, Precision::F32, 1);
    if let Some(place) = &mut program.steps[1].operands[Operand::In.index()] {
        place.bytes = 0;
    }
    let violation = verify(&program).unwrap_err();
    let text = Annotated { program: &program, violation: &violation }.to_string();
    let lines: Vec<&str> = text.lines().collect();
    let error = lines.iter().position(|line| line.starts_with("^ error: ")).unwrap();
    let first_step = lines.len() - 1 - program.steps.len();
    assert_eq!(error, first_step + 2, "{text}");
}
