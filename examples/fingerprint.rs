//! Prints hashes of the programs that the compiler makes of the specs: a change of the compiler
//! that should change no program prints the same lines before and after.
//!
//!     cargo xtask fingerprint [PART]
//!
//! takes the specs in `specs/` with PART in their names. Each line is a spec, target, precision,
//! number of threads and batch, and hashes
//!
//! - `code`: of the machine code of all functions and what it refers to. Functions are numbered,
//!   so that their names do not count;
//! - `steps`: of the steps' nodes, drivers and operands, and the sizes of all memory;
//! - `constants`: of the packed constants, with random weights.
//!
//! Hashes depend neither on the machine nor on the release of Rust, but for code of the baseline:
//! it is of the machine's architecture, and fused where the machine multiplies and adds at once.

use std::collections::HashMap;
use std::error::Error;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use xcc_compiler::codegen::jit::NativeProgram;
use xcc_compiler::elaborate;
use xcc_compiler::graph::Graph;
use xcc_compiler::passes::{PassOptions, optimize};
use xcc_compiler::plan::{Packed, PlanOptions, Precision, Program, Step, plan};
use xcc_compiler::target::{Isa, Target};
use xcc_runtime::weights::Weights;

/// Every target and its precisions.
const TARGETS: [(Isa, &[Precision]); 5] = [
    (Isa::Baseline, &[Precision::F32]),
    (Isa::Avx2, &[Precision::F32]),
    (Isa::Avx512, &[Precision::F32]),
    (Isa::Avx512Bf16, &[Precision::F32, Precision::Bf16]),
    (Isa::Amx, &[Precision::F32, Precision::Split, Precision::Bf16]),
];

/// Threads and images: a thread alone, threads that share an image, and those that share a batch.
const RUNS: [(u32, u32); 3] = [(1, 1), (2, 1), (2, 3)];

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let part = std::env::args().nth(1).unwrap_or_default();
    let specs = specs(&part)?;
    if specs.is_empty() {
        return Err(format!("no spec in specs/ has `{part}` in its name").into());
    }
    specs.iter().try_for_each(|spec| print_lines(spec))
}

/// The specs with `part` in their names, in order.
fn specs(part: &str) -> Outcome<Vec<PathBuf>> {
    let entries: Result<Vec<_>, _> = fs::read_dir("specs")?.collect();
    let mut specs: Vec<PathBuf> = entries?.iter().map(|entry| entry.path()).collect();
    specs.retain(|path| path.extension().is_some_and(|ending| ending == "xc") && stem(path).contains(part));
    specs.sort();
    Ok(specs)
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

fn print_lines(spec: &Path) -> Outcome<()> {
    let elaborated = elaborate::read(&fs::read_to_string(spec)?, &[]);
    let mut graph = elaborated.graph.ok_or_else(|| format!("{} has errors", spec.display()))?;
    let weights = Weights::random(&graph, 1);
    optimize(&mut graph, &PassOptions::default());
    let mut constants = Constants { weights, known: HashMap::new() };
    for (isa, precisions) in TARGETS {
        for &precision in precisions {
            for (threads, batch) in RUNS {
                let options = PlanOptions { threads, batch, precision, ..PlanOptions::default() };
                let hashes = hashes(&graph, Target::of(isa), options, &mut constants)?;
                let [isa, precision] = [isa.to_string(), precision.to_string()];
                writeln!(
                    io::stdout(),
                    "{:16} {isa:10} {precision:5} {threads} {batch}  {hashes}",
                    stem(spec)
                )?;
            }
        }
    }
    Ok(())
}

fn hashes(graph: &Graph, target: Target, options: PlanOptions, constants: &mut Constants) -> Outcome<String> {
    let program = plan(graph, target, options)?;
    let (code, steps) = (code(&program)?, steps(&program));
    let constants = constants.hash(&program.constants)?;
    Ok(format!("code {code:016x} steps {steps:016x} constants {constants:016x}"))
}

/// The hash FNV-1a of 64 bits: the standard library's may change with each release.
struct Fnv(u64);

impl Fnv {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
    }

    fn number(&mut self, number: u64) {
        self.bytes(&number.to_le_bytes());
    }
}

fn code(program: &Program) -> Outcome<u64> {
    let native = NativeProgram::compile(program, true)?;
    let mut hash = Fnv::new();
    let mut numbers = HashMap::new();
    let mut number = |name: &str| {
        let next = numbers.len() as u64;
        *numbers.entry(name.to_owned()).or_insert(next)
    };
    for function in native.listing() {
        hash.number(number(&function.name));
        hash.number(function.code.len() as u64);
        hash.bytes(&function.code);
        for reference in &function.references {
            hash.number(u64::from(reference.offset));
            hash.number(reference.addend.cast_unsigned());
            hash.number(number(&reference.name));
        }
    }
    Ok(hash.0)
}

fn steps(program: &Program) -> u64 {
    let mut hash = Fnv::new();
    for Step { node, driver, operands, .. } in &program.steps {
        hash.number(node.index() as u64);
        hash.number(driver.index() as u64);
        for operand in operands {
            let place = operand.map(|place| [place.region as u64 + 1, place.offset, place.bytes]);
            place.unwrap_or_default().into_iter().for_each(|number| hash.number(number));
        }
    }
    let sizes = [program.arena_bytes, program.scratch_bytes, program.constant_bytes];
    sizes.into_iter().for_each(|bytes| hash.number(bytes));
    hash.number(u64::from(program.shards));
    hash.0
}

/// Hashes of packed constants. Many programs of a spec have the same.
struct Constants {
    weights: Weights,
    /// By the constants' description.
    known: HashMap<String, u64>,
}

impl Constants {
    fn hash(&mut self, constants: &[Packed]) -> Outcome<u64> {
        let description = format!("{constants:?}");
        if let Some(&hash) = self.known.get(&description) {
            return Ok(hash);
        }
        let mut hash = Fnv::new();
        constants.iter().try_for_each(|packed| hash_constants(&mut hash, packed, &self.weights))?;
        self.known.insert(description, hash.0);
        Ok(hash.0)
    }
}

fn hash_constants(hash: &mut Fnv, packed: &Packed, weights: &Weights) -> Outcome<()> {
    let (weight_count, bias_count) = packed.pack.sizes();
    let [mut values, mut biases] = [weight_count, bias_count].map(|count| vec![0f32; count as usize]);
    packed.pack.write(weights, &mut values, &mut biases)?;
    for value in values.iter().chain(&biases) {
        hash.bytes(&value.to_bits().to_le_bytes());
    }
    hash.number(packed.weights);
    hash.number(packed.bias);
    Ok(())
}
