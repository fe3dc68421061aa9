//! `xcc emit`: the network as text, after any stage of the compiler.

use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use xcc_compiler::codegen::jit::NativeProgram;
use xcc_compiler::codegen::{CompiledFunction, asm};
use xcc_compiler::graph::text;
use xcc_compiler::passes::{PassOptions, optimize};
use xcc_compiler::plan::{PlanOptions, Precision, Program, plan};
use xcc_compiler::target::Target;

use crate::cli::{self, Failure, SpecArgs};
use crate::terminal::with_progress;

/// Print a network as text, after any stage of the compiler
#[derive(Args)]
#[command(after_help = "\
Examples:
  xcc emit --stage fused specs/xception.xc
  xcc emit --stage schedule --threads 2 specs/xception.xc
  xcc emit --stage asm --kernel softmax specs/mini_xception.xc")]
pub struct Arguments {
    #[command(flatten)]
    spec: SpecArgs,
    /// The stage to print
    #[arg(long, value_enum)]
    stage: Stage,
    /// Only kernels and functions with this in their names (vir, clif, asm)
    #[arg(long, value_name = "NAME-PART")]
    kernel: Option<String>,
    /// Threads to plan for (schedule and later) [default: 1]
    #[arg(long, value_name = "N", value_parser = cli::thread_count)]
    threads: Option<NonZeroU32>,
    /// Images in a run to plan for (schedule and later) [default: 1]
    #[arg(long, value_name = "N", value_parser = cli::batch_size)]
    batch: Option<NonZeroU32>,
    /// Code for an instruction set (schedule and later): baseline, avx2, avx512, avx512bf16, amx or native [default: native]
    #[arg(long, value_name = "NAME", value_parser = str::parse::<Target>)]
    target: Option<Target>,
    /// Choose kernels by the times of instructions in this file (schedule and later), as `xcc calibrate` writes them
    #[arg(long, value_name = "FILE")]
    constants: Option<PathBuf>,
    /// Precision to plan for (schedule and later): f32, bf16 or split [default: f32]
    #[arg(long, value_name = "PRECISION")]
    precision: Option<Precision>,
}

/// What the compiler makes of a spec, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Stage {
    /// The spec's tree, in canonical form
    Ast,
    /// The tensor graph
    Graph,
    /// The graph after all rewrites
    Fused,
    /// The algorithm of each layer, how its work is cut, and why
    Schedule,
    /// Kernels, loops and memory
    Plan,
    /// Kernels in the vector kernel IR
    Vir,
    /// All functions in Cranelift's IR
    Clif,
    /// All functions as instructions of this machine
    Asm,
}

/// Prints the stage.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    check_options(arguments)?;
    let text = match arguments.stage {
        Stage::Ast => cli::load_tree(&arguments.spec.spec)?.to_string(),
        Stage::Graph => text::write(&cli::load_graph(&arguments.spec)?.graph),
        _ => with_progress("compiling", || later_stage(arguments))?,
    };
    cli::print(&text)
}

/// Refuses options that would do nothing.
fn check_options(arguments: &Arguments) -> Result<(), Failure> {
    let Arguments { stage, kernel, threads, batch, target, constants, precision, spec } = arguments;
    let planned = threads.is_some() || batch.is_some() || target.is_some() || precision.is_some();
    let planned = planned || constants.is_some();
    if kernel.is_some() && *stage < Stage::Vir {
        Err(Failure::input("--kernel goes with --stage vir, clif or asm"))
    } else if planned && *stage < Stage::Schedule {
        let options = "--threads, --batch, --target, --constants and --precision";
        Err(Failure::input(format!("{options} go with --stage schedule, plan, vir, clif or asm")))
    } else if !spec.set.is_empty() && *stage == Stage::Ast {
        Err(Failure::input("--set goes with stages after ast, the tree has no values yet"))
    } else {
        Ok(())
    }
}

fn later_stage(arguments: &Arguments) -> Result<String, Failure> {
    let mut graph = cli::load_graph(&arguments.spec)?.graph;
    optimize(&mut graph, &PassOptions::default());
    if arguments.stage == Stage::Fused {
        return Ok(text::write(&graph));
    }
    let count = |option: Option<NonZeroU32>| option.map_or(1, NonZeroU32::get);
    let options = PlanOptions {
        batch: count(arguments.batch),
        threads: count(arguments.threads),
        precision: arguments.precision.unwrap_or_default(),
        ..PlanOptions::default()
    };
    let target = arguments.target.unwrap_or_else(Target::native);
    let target = cli::with_constants(target, arguments.constants.as_deref())?;
    let program = plan(&graph, target, options).map_err(Failure::input)?;
    let filter = Filter { part: arguments.kernel.as_deref().unwrap_or_default() };
    match arguments.stage {
        Stage::Schedule => Ok(program.schedule.listing(&graph).to_string()),
        Stage::Plan => Ok(program.to_string()),
        Stage::Vir => vir(&program, &filter),
        stage => functions(&program, &filter, stage),
    }
}

/// Chooses functions by a part of their names.
struct Filter<'a> {
    part: &'a str,
}

impl Filter<'_> {
    fn admits(&self, name: &str) -> bool {
        name.contains(self.part)
    }

    /// Fails when no name is admitted.
    fn check<'n>(&self, names: impl Iterator<Item = &'n str> + Clone) -> Result<(), Failure> {
        if names.clone().any(|name| self.admits(name)) {
            return Ok(());
        }
        let message = format!("no kernel has `{}` in its name; there are:", self.part);
        Err(Failure::input(names.fold(message, |text, name| text + "\n  " + name)))
    }
}

fn vir(program: &Program, filter: &Filter<'_>) -> Result<String, Failure> {
    let names: Vec<String> = program.kernels.iter().map(ToString::to_string).collect();
    filter.check(names.iter().map(String::as_str))?;
    let kernels = program.kernels.iter().zip(&names).filter(|(_, name)| filter.admits(name));
    let texts: Vec<String> = kernels.map(|(kernel, _)| kernel.generate().to_string()).collect();
    Ok(texts.join("\n"))
}

fn functions(program: &Program, filter: &Filter<'_>, stage: Stage) -> Result<String, Failure> {
    let native = NativeProgram::compile(program, true).map_err(Failure::input)?;
    let functions = native.listing();
    filter.check(functions.iter().map(|function| function.name.as_str()))?;
    if stage == Stage::Asm {
        return asm::disassemble(functions, |name| filter.admits(name)).map_err(Failure::input);
    }
    let clif = |function: &CompiledFunction| {
        let text =
            function.clif.as_deref().unwrap_or("; machine code from the start, see --stage vir and asm\n");
        format!("; {}\n{text}", function.name)
    };
    let texts: Vec<String> = functions.iter().filter(|f| filter.admits(&f.name)).map(clif).collect();
    Ok(texts.join("\n"))
}
