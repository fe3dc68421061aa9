//! What is measured, where.

use std::collections::BTreeMap;

use serde::Serialize;
use xcc_compiler::elaborate::Param;
use xcc_runtime::machine;

use crate::cli::{Backend, Loaded};
use crate::network::{JobArgs, Origin};
use crate::numbers::counted;
use crate::table::wrap;

/// What is measured, where.
#[derive(Serialize)]
pub struct Settings {
    /// Name of the model.
    model: String,
    /// The spec's parameters, in the syntax of the language.
    parameters: BTreeMap<String, String>,
    /// What ran it.
    backend: Backend,
    /// Images in a run.
    pub batch: u32,
    /// Threads of compiled code.
    pub threads: u32,
    /// Where the weights are from.
    #[serde(flatten)]
    pub origin: Origin,
    /// The instruction set that code is made for.
    target: String,
    /// What products are computed in.
    precision: String,
    /// The processor.
    processor: String,
    /// Its vector extensions.
    features: Vec<&'static str>,
}

impl Settings {
    /// Those of a job, on this machine.
    pub fn new(loaded: &Loaded, job: &JobArgs, backend: Backend, origin: Origin) -> Self {
        Self {
            model: loaded.graph.name.clone(),
            parameters: parameters(&loaded.parameters),
            backend,
            batch: job.network.batch.get(),
            threads: job.network.threads(),
            origin,
            target: job.network.target.to_string(),
            precision: job.network.precision.to_string(),
            processor: machine::processor(),
            features: machine::features(),
        }
    }

    /// The first lines of a report of so many columns, and an empty one behind them.
    pub fn head(&self, width: usize) -> String {
        let Settings { model, backend, batch, threads, target, precision, processor, features, .. } = self;
        let backend = match backend {
            Backend::Cpu => format!("compiled for {target} in {precision}"),
            Backend::Reference => "reference evaluator".to_owned(),
        };
        let threads = counted(*threads as usize, "thread");
        let features = if features.is_empty() { String::new() } else { format!(" ({})", features.join(" ")) };
        let machine = wrap(&format!("{processor}{features}"), width).join("\n");
        format!("{model}: {backend}, batch {batch}, {threads}\n{machine}\n\n")
    }
}

/// The values of a spec's parameters.
fn parameters(parameters: &[Param]) -> BTreeMap<String, String> {
    let pair = |param: &Param| Some((param.name.clone(), param.value.as_ref()?.to_string()));
    parameters.iter().filter_map(pair).collect()
}
