//! `xcc emit`: the network as text, after any stage of the compiler.

mod times;

use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use xcc_compiler::codegen::jit::NativeProgram;
use xcc_compiler::codegen::{CompiledFunction, asm};
use xcc_compiler::graph::{Graph, text};
use xcc_compiler::passes::{PassOptions, optimize};
use xcc_compiler::plan::{PlanOptions, Precision, Program, plan};
use xcc_compiler::target::Target;
use xcc_compiler::vector::Kernel;

use crate::cli::{self, Failure, SpecArgs};
use crate::terminal::with_progress;
use times::Times;

/// Print a network as text, after any stage of the compiler
///
/// With `--times`, a table on standard error has the milliseconds of each stage that ran, and of
/// each rewrite of the graph; to print text is no part of them. Code is made by a single thread.
#[derive(Args)]
#[command(after_help = "\
Examples:
  xcc emit --stage fused specs/xception.xc
  xcc emit --stage schedule --threads 2 specs/xception.xc
  xcc emit --stage asm --kernel softmax specs/mini_xception.xc
  xcc emit --stage asm --times specs/xception.xc > xception.asm")]
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
    /// Code for an instruction set (schedule and later): baseline, avx2, avx512, avx512bf16, amx
    /// or native [default: native]
    #[arg(long, value_name = "NAME", value_parser = str::parse::<Target>)]
    target: Option<Target>,
    /// Choose kernels by the times of instructions in this file (schedule and later), as `xcc
    /// calibrate` writes them
    #[arg(long, value_name = "FILE")]
    constants: Option<PathBuf>,
    /// Precision to plan for (schedule and later): f32, bf16 or split [default: f32]
    #[arg(long, value_name = "PRECISION")]
    precision: Option<Precision>,
    /// Print the time of each stage and rewrite on standard error, behind the text
    #[arg(short = 'T', long)]
    times: bool,
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
    let mut times = Times::default();
    let text = match arguments.stage {
        Stage::Ast => tree(arguments, &mut times)?,
        Stage::Graph => text::write(&graph(arguments, &mut times)?),
        _ => with_progress("compiling", || later_stage(arguments, &mut times))?,
    };
    cli::print(&text)?;
    if arguments.times {
        cli::tell(&times.table());
    }
    Ok(())
}

/// Refuses options that would do nothing.
fn check_options(arguments: &Arguments) -> Result<(), Failure> {
    let Arguments { stage, kernel, threads, batch, target, constants, precision, spec, times: _ } = arguments;
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

fn tree(arguments: &Arguments, times: &mut Times) -> Result<String, Failure> {
    let (tree, parsing) = cli::load_tree_timed(&arguments.spec.spec)?;
    times.stage("parse", parsing);
    Ok(tree.to_string())
}

fn graph(arguments: &Arguments, times: &mut Times) -> Result<Graph, Failure> {
    let (loaded, [parsing, elaboration]) = cli::load_graph_timed(&arguments.spec)?;
    times.stage("parse", parsing);
    times.stage("elaborate", elaboration);
    Ok(loaded.graph)
}

fn later_stage(arguments: &Arguments, times: &mut Times) -> Result<String, Failure> {
    let mut graph = graph(arguments, times)?;
    let report = times.measure("passes", || optimize(&mut graph, &PassOptions::default()));
    report.times.iter().for_each(|&(pass, time)| times.part(pass, time));
    if arguments.stage == Stage::Fused {
        return Ok(text::write(&graph));
    }
    let program = program(arguments, &graph, times)?;
    let filter = Filter { part: arguments.kernel.as_deref().unwrap_or_default() };
    match arguments.stage {
        Stage::Schedule => Ok(schedule(&program, &graph)),
        Stage::Plan => Ok(program.to_string()),
        Stage::Vir => vir(&program, &filter, times),
        stage => functions(&program, &filter, stage, times),
    }
}

/// The schedule; of a batch in shards that of each shard, which a thread runs by itself.
fn schedule(program: &Program, graph: &Graph) -> String {
    let text = program.schedule.listing(graph).to_string();
    let PlanOptions { batch, threads, .. } = program.options;
    match program.shards {
        1 => text,
        shards => format!("batch {batch} threads {threads} in {shards} shards, each:\n{text}"),
    }
}

fn program(arguments: &Arguments, graph: &Graph, times: &mut Times) -> Result<Program, Failure> {
    let count = |option: Option<NonZeroU32>| option.map_or(1, NonZeroU32::get);
    let options = PlanOptions {
        batch: count(arguments.batch),
        threads: count(arguments.threads),
        precision: arguments.precision.unwrap_or_default(),
        ..PlanOptions::default()
    };
    let target = arguments.target.unwrap_or_else(Target::native);
    let target = cli::with_constants(target, arguments.constants.as_deref())?;
    times.measure("plan", || plan(graph, target, options)).map_err(Failure::input)
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

fn vir(program: &Program, filter: &Filter<'_>, times: &mut Times) -> Result<String, Failure> {
    let names: Vec<String> = program.kernels.iter().map(ToString::to_string).collect();
    filter.check(names.iter().map(String::as_str))?;
    let chosen = program.kernels.iter().zip(&names).filter(|(_, name)| filter.admits(name));
    let kernels: Vec<Kernel> =
        times.measure("kernels", || chosen.map(|(kernel, _)| kernel.generate()).collect());
    let texts: Vec<String> = kernels.iter().map(ToString::to_string).collect();
    Ok(texts.join("\n"))
}

fn functions(
    program: &Program,
    filter: &Filter<'_>,
    stage: Stage,
    times: &mut Times,
) -> Result<String, Failure> {
    let (time, native) = cli::timed(|| NativeProgram::compile(program, true));
    let native = native.map_err(Failure::input)?;
    times.stage("kernels", native.kernel_time());
    times.stage("code", time.saturating_sub(native.kernel_time()));
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
