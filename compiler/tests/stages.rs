//! Every stage after the passes as text: a small spec's plan, its kernels in the vector kernel IR,
//! and their CLIF.
//!
//! Each `stages/*.xc` says in its first lines which texts there are and what they are made for:
//!
//! ```text
//! # test: plan vir --threads 2
//! # test: bf16.plan --target amx --precision bf16 --tuning small_tiles
//! ```
//!
//! The words before the flags name files: of `tiles.xc`, `bf16.plan` is `tiles.bf16.plan`. The
//! last part of a word is the stage. `--target`, `--threads`, `--batch` and `--precision` mean
//! what they mean to `xcc emit`, and default to baseline, 1, 1 and f32; `--cache` is the bytes of
//! the level-2 cache that a block of work may fill, `--tuning` rules of [`tuned`].
//!
//! No target depends on the machine, so texts are the same on every one. `SNAPSHOTS=overwrite`
//! blesses them.

mod common;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

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
use xcc_compiler::target::{ExactTiles, FastInnerProducts, Isa, Target};

/// A target by whose rules small layers take what large ones do.
fn tuned(target: Target, tuning: &str) -> Target {
    match tuning {
        "small_tiles" => with_small_tiles(target),
        "small_fast_inner_products" => with_small_fast_inner_products(target),
        "fast_pairs" => with_fast_pairs(target),
        _ => panic!("there is no tuning {tuning}"),
    }
}

/// Matrices of tiles for 16 outputs and 32 to 64 inputs.
fn with_small_tiles(target: Target) -> Target {
    let exact_tiles = ExactTiles {
        fewest_outputs: 16,
        fewest_inputs: 32,
        most_inputs: 64,
        most_inputs_by_rows: 64,
        fewest_pixels: 1,
    };
    Target { exact_tiles, ..target }
}

/// In vectors of four lanes, of which a group has twelve channels.
fn with_small_fast_inner_products(target: Target) -> Target {
    let rule = FastInnerProducts {
        fewest_channels: 1,
        fewest_products: 1,
        fewest_pixels: 1,
        most_bytes: u64::MAX,
        vectors: 1,
        pixels: 2,
    };
    Target { fast_inner_products: Some(rule), ..target }
}

/// The texts that a line of a spec's header asks for.
struct Request {
    /// What names the files: `plan`, `bf16.plan`.
    texts: Vec<String>,
    target: Target,
    options: PlanOptions,
}

impl Request {
    /// Reads what follows `# test:`.
    fn parse(line: &str) -> Self {
        let mut words = line.split_whitespace().peekable();
        let texts = std::iter::from_fn(|| words.next_if(|word| !word.starts_with("--")));
        let texts = texts.map(str::to_owned).collect();
        let mut request = Self { texts, target: target(Isa::Baseline), options: OPTIONS };
        while let Some(flag) = words.next() {
            let value = words.next().unwrap_or_else(|| panic!("{flag} has no value: {line}"));
            request.set(flag, value);
        }
        request
    }

    /// Takes a flag; the order counts, as `--tuning` changes the target before it.
    fn set(&mut self, flag: &str, value: &str) {
        let number = || value.parse().unwrap_or_else(|error| panic!("{flag} {value}: {error}"));
        match flag {
            "--target" => self.target = target(isa(value)),
            "--threads" => self.options.threads = number(),
            "--batch" => self.options.batch = number(),
            "--precision" => self.options.precision = value.parse().unwrap(),
            "--cache" => self.target.cache_bytes = number(),
            "--tuning" => self.target = tuned(self.target, value),
            _ => panic!("there is no flag {flag}"),
        }
    }

    /// The text called `text`, whose last part is the stage.
    fn make(&self, spec: &Path, text: &str) -> String {
        let program = program(spec, self.target, self.options);
        match text.rsplit('.').next() {
            Some("plan") => program.to_string(),
            Some("vir") => vir(&program),
            Some("clif") => clif(&program),
            _ => panic!("{}: `{text}` is no plan, vir or clif", spec.display()),
        }
    }
}

fn isa(name: &str) -> Isa {
    let named = Isa::ALL.into_iter().find(|isa| isa.to_string() == name);
    named.unwrap_or_else(|| panic!("there is no target {name}"))
}

/// A target as on machines with fused multiply-add.
fn target(isa: Isa) -> Target {
    Target { fused: true, ..Target::of(isa) }
}

const OPTIONS: PlanOptions = PlanOptions { batch: 1, threads: 1, keep_all: false, precision: Precision::F32 };

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stages")
}

/// A spec of the folder, planned for two threads.
fn program_for(name: &str, target: Target) -> Program {
    program(&folder().join(name), target, PlanOptions { threads: 2, ..OPTIONS })
}

fn program(spec: &Path, target: Target, options: PlanOptions) -> Program {
    let elaborated = elaborate::read(&std::fs::read_to_string(spec).unwrap(), &[]);
    let mut graph =
        elaborated.graph.unwrap_or_else(|| panic!("{}: {:?}", spec.display(), elaborated.diagnostics));
    optimize(&mut graph, &PassOptions::default());
    plan(&graph, target, options).unwrap()
}

fn vir(program: &Program) -> String {
    program.kernels.iter().map(|descriptor| descriptor.generate().to_string()).collect()
}

fn clif(program: &Program) -> String {
    let mut text = String::new();
    let config = codegen::native_isa(program.target).unwrap().frontend_config();
    for descriptor in &program.kernels {
        let kernel = descriptor.generate();
        let mut function = Function::new();
        function.signature = clif::signature(&kernel, Signature::new(CallConv::SystemV));
        let mut context = FunctionBuilderContext::new();
        clif::translate(&kernel, program.target.fused, &mut function, &mut context, config);
        let _ = writeln!(text, "; {descriptor}\n{}", function.display());
    }
    text
}

/// Files of the folder whose endings `is_wanted` takes.
fn files(is_wanted: impl Fn(&str) -> bool) -> BTreeSet<PathBuf> {
    let entries = folder().read_dir().unwrap().map(|entry| entry.unwrap().path());
    entries
        .filter(|path| path.extension().and_then(|ending| ending.to_str()).is_some_and(&is_wanted))
        .collect()
}

/// What the header of a spec asks for.
fn requests(spec: &Path) -> Vec<Request> {
    let source = std::fs::read_to_string(spec).unwrap();
    source.lines().map_while(|line| line.strip_prefix("# test:")).map(Request::parse).collect()
}

fn check(path: &Path, text: String) {
    let expected = Data::read_from(path, Some(DataFormat::Text)).raw();
    Assert::new().action_env("SNAPSHOTS").eq(text, expected);
}

/// All texts are as blessed, and the folder has no others.
#[test]
fn texts_are_as_blessed() {
    let mut checked = BTreeSet::new();
    for spec in files(|ending| ending == "xc") {
        let requests = requests(&spec);
        assert!(!requests.is_empty(), "{} does not begin with `# test:`", spec.display());
        for request in &requests {
            for text in &request.texts {
                let path = spec.with_extension(text);
                check(&path, request.make(&spec, text));
                assert!(checked.insert(path), "{} has two texts called {text}", spec.display());
            }
        }
    }
    assert_eq!(files(|ending| ending != "xc"), checked);
}

#[test]
fn f32_layers_that_are_small_have_the_same_code_for_amx_as_for_avx512() {
    let text = |isa| program_for("separable.xc", Target::of(isa)).to_string();
    assert_eq!(text(Isa::Amx).replacen("for amx", "for avx512", 1), text(Isa::Avx512));
}

#[test]
fn precisions_that_a_target_lacks_are_refused() {
    let source = std::fs::read_to_string(folder().join("tiles.xc")).unwrap();
    let graph = elaborate::read(&source, &[]).graph.unwrap();
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
        let program = program_for("branches.xc", target);
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
