//! What a sweep found: the versioned schema of its JSON, which `docs/sweep.md` describes.
//!
//! A file of results says what was swept completely (the spec's text is in it), so that a sweep
//! can be continued, and a report made, from the file alone. Times are in milliseconds, sizes in
//! bytes. Costs are those of a run, of all images of the batch.

use std::collections::BTreeMap;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use xcc_compiler::plan::Precision;
use xcc_runtime::machine;

/// The version of the schema. It changes when a reader of the old one would misread the new one;
/// fields that are added do not change it.
pub const SCHEMA: u32 = 1;

/// Everything a sweep found, finished or not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// [`SCHEMA`]
    pub schema: u32,
    /// The version of xcc that measured.
    pub xcc: String,
    /// When the sweep began: ISO 8601, UTC.
    pub date: String,
    /// What is swept. Files with the same value here are of the same sweep.
    pub sweep: Sweep,
    /// Where it ran.
    pub machine: Machine,
    /// How it was measured.
    pub sampling: Sampling,
    /// The settings, in the order of the axes.
    pub points: Vec<Point>,
}

impl Results {
    /// Nothing is known yet but the points.
    pub fn new(sweep: Sweep, points: Vec<Point>, date: String) -> Self {
        let roof = |&threads: &u32| Roof { threads, ..Roof::default() };
        let machine = Machine {
            processor: machine::processor(),
            features: machine::features().into_iter().map(str::to_owned).collect(),
            cores: machine::cores(),
            roofs: sweep.threads.iter().map(roof).collect(),
        };
        let sampling = Sampling { rounds: 0, warmup_ms: 0.0, peak_samples_gflops: Vec::new() };
        let xcc = env!("CARGO_PKG_VERSION").to_owned();
        Self { schema: SCHEMA, xcc, date, sweep, machine, sampling, points }
    }
}

/// What is swept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sweep {
    /// A name: the plan's, or one made of the model and the parameters.
    pub name: String,
    /// What the sweep is to answer, if the plan says it.
    pub question: Option<String>,
    /// The network.
    pub spec: Spec,
    /// The parameters that vary, the slowest first.
    pub axes: Vec<Axis>,
    /// How the axes make points.
    pub combine: Combine,
    /// Parameters set to one value at all points, as text in the syntax of the language.
    pub fixed: BTreeMap<String, String>,
    /// The budget that a parameter is solved for.
    pub hold: Option<Hold>,
    /// What products are computed in: each point is measured in each of them.
    pub precisions: Vec<String>,
    /// Numbers of threads: each point is measured with each of them.
    pub threads: Vec<u32>,
    /// Images in a run: each point is measured with each of them.
    pub batches: Vec<u32>,
    /// The instruction set that code is made for.
    pub target: String,
    /// The times of instructions by which kernels are chosen; `None` for those that are built in.
    #[serde(default)]
    pub constants: Option<Constants>,
    /// The seed of weights and inputs.
    pub seed: u64,
}

/// Times of instructions that were measured by `xcc calibrate`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Constants {
    /// Where they were read from.
    pub path: String,
    /// FNV-1a (64 bits) of those for the sweep's target, as JSON, in hexadecimal.
    pub digest: String,
}

/// A spec and its text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    /// Where it was read from; `None` for standard input.
    pub path: Option<String>,
    /// The model's name.
    pub model: String,
    /// FNV-1a (64 bits) of the text, in hexadecimal.
    pub digest: String,
    /// The text.
    pub source: String,
}

/// A parameter and its values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Axis {
    /// The parameter's name.
    pub parameter: String,
    /// Its values, in the order of points.
    pub values: Vec<AxisValue>,
}

/// A value of an axis.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AxisValue {
    /// As `--set` takes it.
    pub text: String,
    /// Where it lies on a numeric axis: a number is itself, `full` the channels of most layers
    /// that the parameter cuts in segments; `None` for words.
    pub number: Option<f64>,
}

/// How axes make points.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Combine {
    /// Every value of each with every value of the others.
    #[default]
    Product,
    /// The first values of all, then the second ones, and so on.
    Zip,
    /// One axis at a time, the others at their defaults.
    Each,
}

/// A budget, and the parameter that is solved for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hold {
    /// What is held.
    pub quantity: Quantity,
    /// The most of it: a number of parameters or of MACs of one image, or milliseconds.
    pub value: f64,
    /// The parameter: at each point it is the largest whole number within the budget.
    pub by: String,
}

/// What a budget limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Quantity {
    /// Parameters, stored statistics included.
    Params,
    /// Multiply-adds of one image.
    Macs,
    /// Milliseconds of a run.
    Latency,
}

/// Where a sweep ran.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor.
    pub processor: String,
    /// Its vector extensions.
    pub features: Vec<String>,
    /// Cores that the process may use.
    pub cores: u32,
    /// What so many threads reach at most, for each number of threads of the sweep.
    pub roofs: Vec<Roof>,
}

/// The roofline model's roofs (Williams, Waterman and Patterson, *Roofline*, CACM 2009), measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Roof {
    /// Threads of a run.
    pub threads: u32,
    /// 10^9 operations in a second, of f32 multiply-adds in registers: the median for one core,
    /// times the threads that have a core.
    pub peak_gflops: f64,
    /// 10^9 operations in a second, of bf16 products of tiles (while all threads work) or of pairs
    /// in registers: the median for one thread, times the threads that have a core. `None` where
    /// no point has such products.
    #[serde(default)]
    pub bf16_gflops: Option<f64>,
    /// Every measurement of it, for one thread, in order.
    #[serde(default)]
    pub bf16_samples_gflops: Vec<f64>,
    /// 10^9 bytes in a second that all threads read from beyond their level-2 caches: the most
    /// that was measured.
    pub bandwidth_gbs: f64,
}

impl Roof {
    /// 10^9 operations in a second of multiply-adds in a precision, in f32 those in vectors;
    /// `None` where it was not measured.
    pub fn peak(&self, precision: Precision) -> Option<f64> {
        match precision {
            Precision::F32 => Some(self.peak_gflops).filter(|peak| *peak > 0.0),
            Precision::Bf16 | Precision::Split => self.tiles(precision),
        }
    }

    /// 10^9 operations in a second of multiply-adds of bf16 values in a precision; `None` where it
    /// was not measured.
    pub fn tiles(&self, precision: Precision) -> Option<f64> {
        Some(self.bf16_gflops? / f64::from(precision.products()))
    }
}

/// How points were measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// Rounds over the points that a finished point has been in.
    pub rounds: u32,
    /// Milliseconds that each point is run for before its first sample.
    pub warmup_ms: f64,
    /// Every measurement of one core's peak in 10^9 operations in a second, in order: before,
    /// between and after rounds.
    pub peak_samples_gflops: Vec<f64>,
}

/// A setting of the parameters, and what was found there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// What to call it: the values that vary, such as `segments=28` or `segments=28 bf16`.
    pub label: String,
    /// The values of the axes' parameters, by name. With the sweep's `fixed` ones and `held`, they
    /// are all that is set.
    pub settings: BTreeMap<String, String>,
    /// The value found for the parameter that is solved for.
    pub held: Option<Held>,
    /// What products are computed in.
    pub precision: String,
    /// Threads of a run.
    pub threads: u32,
    /// Images in a run.
    pub batch: u32,
    /// How far it has come.
    pub status: Status,
    /// Why it is skipped or failed.
    pub message: Option<String>,
    /// What is known without a run; `None` when the point is illegal.
    pub cost: Option<Cost>,
    /// Layers with multiply-adds as they are written in the spec, in order.
    pub layers: Vec<Layer>,
    /// The time of a run as the sum of times that kernels took elsewhere: at the other points, or
    /// in the sweep that wrote the table of `--predict`. `None` where there are no such times.
    pub predicted: Option<Predicted>,
    /// What was measured; `None` before the first round.
    pub timing: Option<Timing>,
    /// The steps of a run: layers with what was fused into them, in order. Empty before the first
    /// round.
    pub steps: Vec<Step>,
}

impl Point {
    /// Whether it has f32 products by tiles.
    pub fn is_f32_by_tiles(&self) -> bool {
        let has_tiles = || self.steps.iter().any(|step| step.tile_macs.is_some_and(|macs| macs > 0));
        self.precision == Precision::F32.to_string() && has_tiles()
    }
}

/// How far a point has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Rounds are missing; it may have samples.
    Pending,
    /// It was in all rounds.
    Measured,
    /// It is illegal, and such points are to be skipped.
    Skipped,
    /// It could not be compiled or run.
    Failed,
}

impl Status {
    /// As files and tables say it.
    pub fn name(self) -> &'static str {
        match self {
            Status::Pending => "pending",
            Status::Measured => "measured",
            Status::Skipped => "skipped",
            Status::Failed => "failed",
        }
    }
}

/// The parameter that was solved for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Held {
    /// Its value.
    pub value: u64,
    /// How much of the budget's quantity there is with it.
    pub reached: f64,
}

/// What a point costs, as far as that is known without a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Parameters, stored statistics included.
    pub parameters: u64,
    /// Multiply-adds of windows of several taps, or in several segments, of one image.
    pub spatial_macs: u64,
    /// Multiply-adds of 1x1 convolutions and dense layers, of one image.
    pub pointwise_macs: u64,
    /// Both, of one image.
    pub macs: u64,
    /// Bytes of all parameters as 32-bit floats.
    pub weight_bytes: u64,
    /// Bytes of the results of all layers of the spec, of a run.
    pub activation_bytes: u64,
    /// Bytes of the results of all steps after fusion, of a run.
    pub fused_activation_bytes: u64,
    /// Bytes that the steps read and write at least: inputs, results and packed weights, each once
    /// a step.
    pub moved_bytes: u64,
    /// Operations (two a multiply-add) for each of those bytes.
    pub intensity: f64,
    /// Bytes of packed weights.
    pub packed_bytes: u64,
    /// Bytes of the values of a run, which share memory by lifetime, of threads' scratch memory,
    /// and of the inputs and outputs of all images as they are given and returned.
    pub arena_bytes: u64,
    /// Peak memory of a run: packed weights and the arena.
    pub memory_bytes: u64,
}

/// A layer as it is written in the spec.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Layer {
    /// Its name.
    pub name: String,
    /// The class in Keras that does the same.
    pub class: String,
    /// Flows, repeats and blocks around it, outermost first.
    pub path: Vec<String>,
    /// Height, width and channels of the result, or elements of a vector.
    pub output_shape: Vec<u32>,
    /// Rows and columns of the window; `None` for dense layers.
    pub kernel: Option<[u32; 2]>,
    /// Rows and columns between two windows; `None` for dense layers.
    pub strides: Option<[u32; 2]>,
    /// Segments of the spatial part; `None` for dense layers.
    pub segments: Option<u32>,
    /// Input channels of each segment, runs of equal ones as `28x26` or `2x243,1x242`; `None` for
    /// dense layers.
    pub cut: Option<String>,
    /// Parameters.
    pub parameters: u64,
    /// Spatial multiply-adds of one image.
    pub spatial_macs: u64,
    /// Pointwise multiply-adds of one image.
    pub pointwise_macs: u64,
}

/// What was measured of whole runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// Passes, plan and machine code.
    pub compile_ms: f64,
    /// Rounds that the samples are from.
    pub rounds: u32,
    /// 10^9 bytes of weights in a second that all threads read, where these are so many that their
    /// bandwidth is not that of the roof.
    #[serde(default)]
    pub weights_gbs: Option<f64>,
    /// Every run that counts, in order.
    pub samples_ms: Vec<f64>,
    /// Half of the samples are below.
    pub median_ms: f64,
    /// 5 % of the samples are below.
    pub p5_ms: f64,
    /// 95 % of the samples are below.
    pub p95_ms: f64,
    /// 10^9 operations (two a multiply-add) in a second.
    pub gflops: f64,
    /// The least time by the roofline model: the sum of the steps' bounds. `None` where one of
    /// these is.
    pub bound_ms: Option<f64>,
    /// `bound_ms / median_ms`
    pub bound_share: Option<f64>,
}

impl Timing {
    /// No samples yet.
    pub fn new(compile_ms: f64) -> Self {
        Self {
            compile_ms,
            rounds: 0,
            weights_gbs: None,
            samples_ms: Vec::new(),
            median_ms: 0.0,
            p5_ms: 0.0,
            p95_ms: 0.0,
            gflops: 0.0,
            bound_ms: None,
            bound_share: None,
        }
    }
}

/// A time that was summed from the times of kernels.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Predicted {
    /// The sum.
    pub ms: f64,
    /// The share of the point's vector instructions that are in kernels which were measured there.
    pub covered: f64,
    /// The share of those in other kernels, of a kind of which there are some: they are taken to
    /// be as fast as the one of these that executes about as many. What is left is taken to be as
    /// fast as any kernel.
    #[serde(default)]
    pub similar: f64,
}

/// What was measured of a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The layers that it computes, with ` + ` between them, and which part of them where it is
    /// not all.
    pub layer: String,
    /// The class in Keras of that layer.
    pub class: String,
    /// Its multiply-adds, of all images of a run.
    pub macs: u64,
    /// Those of them that are products of bf16 values, in the precision of the point; the others
    /// are f32 in vectors. `None` where that is not known.
    #[serde(default)]
    pub tile_macs: Option<u64>,
    /// Those of them that are not computed, since Winograd's method and fast inner products do
    /// with fewer.
    #[serde(default)]
    pub saved_macs: u64,
    /// Bytes that it reads and writes at least.
    pub bytes: u64,
    /// Those of them that are packed weights.
    #[serde(default)]
    pub weight_bytes: u64,
    /// The step of each run that counts, in the order of the point's samples.
    pub samples_ms: Vec<f64>,
    /// The median of these.
    pub ms: f64,
    /// 10^9 operations in a second; `None` without multiply-adds.
    pub gflops: Option<f64>,
    /// The least time by the roofline model; `None` where a peak or [`Step::tile_macs`] is not
    /// known.
    pub bound_ms: Option<f64>,
    /// What bounds it: `compute`, `memory`, or `overhead` where it takes more than twice the least
    /// time.
    pub bound: Option<String>,
    /// The kernels that it calls, the one that executes most instructions first.
    pub kernels: Vec<Kernel>,
}

/// A kernel that a step calls.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kernel {
    /// Its descriptor's name.
    pub name: String,
    /// Calls in a run, those of all threads together.
    pub calls: u64,
    /// Vector instructions that these calls execute; one of tiles counts as 16.
    pub instructions: u64,
}
