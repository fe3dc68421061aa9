//! The library in fifty lines: reads a spec and its weights, compiles, classifies one image.
//!
//!     cargo run --release --example classify -- examples/digits/3_013.png

use std::error::Error;
use std::path::Path;

use xcc_compiler::passes::{PassOptions, optimize};
use xcc_compiler::plan::PlanOptions;
use xcc_compiler::target::Target;
use xcc_compiler::{diagnostic, elaborate};
use xcc_runtime::{Model, image, weights};

fn main() -> Result<(), Box<dyn Error>> {
    let picture = std::env::args().nth(1).unwrap_or_else(|| "examples/digits/3_013.png".to_owned());

    let source = std::fs::read_to_string("specs/digits.xc")?;
    let elaborated = elaborate::read(&source, &[]);
    let Some(mut graph) = elaborated.graph else {
        return Err(diagnostic::render("digits.xc", &source, &elaborated.diagnostics, false).into());
    };

    // Files are bound to the graph as it was written, before passes rewrite it.
    let weights = weights::load(&graph, Path::new("specs/digits.safetensors"), None)?;
    let report = optimize(&mut graph, &PassOptions::default());
    let model = Model::compile(&graph, &weights, Target::native(), PlanOptions::default())?;

    let shape = graph.node(graph.input).shape;
    let input = image::load(Path::new(&picture), &graph.image, shape)?;
    let probabilities = model.run(&input)?.swap_remove(0);
    println!("{} rewrites, {} steps", report.applied(), model.program().steps.len());
    for (digit, probability) in probabilities.iter().enumerate() {
        println!("{digit}  {probability:.4}");
    }
    Ok(())
}
