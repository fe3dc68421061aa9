//! Measures what instructions cost on this machine, by which plans choose between kernels: layers
//! in many widths of segments run in every form that there is for them, and the times of
//! instructions are fitted to their times.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use xcc_compiler::elaborate;
use xcc_compiler::graph::Graph;
use xcc_compiler::instruction_times::{InstructionTimes, Sample, errors, fit};
use xcc_compiler::passes::{PassOptions, optimize};
use xcc_compiler::plan::{PlanOptions, plan_with};
use xcc_compiler::target::{Isa, Target};

use crate::bounded::read_at_most;
use crate::machine::processor;
use crate::peak::{self, Unit};
use crate::replace::replace;
use crate::weights::Weights;
use crate::{Model, ModelError};

/// Largest file of constants that is read, in bytes: hundreds of times what is written.
const LARGEST_FILE: u64 = 16 << 20;

/// Times of instructions, and what they were measured on.
///
/// As JSON: `processor`, `date`, `command` and `targets`, by whose names there are `times`
/// (picoseconds of each kind of instruction), `mean_error` and `worst_error` (relative, of the
/// fit) and `samples` (`name`, `counts` of instructions, and `ms`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// The processor's name.
    pub processor: String,
    /// The day in UTC, as in 2026-11-22.
    pub date: String,
    /// What measures it again.
    pub command: String,
    /// By the name of the target. That for AVX-512 is for AVX512-BF16 and AMX, too, whose f32 code
    /// in vectors is the same.
    pub targets: BTreeMap<String, Fitted>,
}

/// Times of the instructions of a target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fitted {
    /// The times.
    pub times: InstructionTimes,
    /// The root of the mean square of the relative errors.
    pub mean_error: f64,
    /// The largest relative error.
    pub worst_error: f64,
    /// What was measured.
    pub samples: Vec<Sample>,
}

/// Why times cannot be read from a file.
#[derive(Debug, thiserror::Error)]
pub enum CalibrationError {
    /// The file cannot be read.
    #[error("{0}")]
    File(#[from] io::Error),
    /// It is no such file.
    #[error("it is no file that `xcc calibrate --output` has written: {0}")]
    Format(#[from] serde_json::Error),
    /// It has no times for the target.
    #[error("it has no times for {target}, only for {}; `xcc calibrate --target {target}` measures them", known.join(", "))]
    Missing {
        /// The target.
        target: String,
        /// The targets that it has times for.
        known: Vec<String>,
    },
}

/// The name of a target in files.
fn name(target: Target) -> String {
    target.isa.min(Isa::Avx512).to_string()
}

impl Calibration {
    /// Measures each of some targets, some ten seconds each. Layers run in vectors of f32;
    /// products of bf16 values are measured by themselves, where this machine has them, for
    /// targets with AVX-512 or more.
    pub fn measure(targets: &[Target]) -> Result<Self, ModelError> {
        let in_vectors = |target: Target| Target { isa: target.isa.min(Isa::Avx512), ..target };
        let fitted = targets.iter().map(|&target| {
            let fitted = Fitted::measure(in_vectors(target))?;
            let times = with_bf16(fitted.times, in_vectors(target))?;
            Ok((name(target), Fitted { times, ..fitted }))
        });
        Ok(Self {
            processor: processor(),
            date: date(SystemTime::now()),
            command: "xcc calibrate --output FILE".to_owned(),
            targets: fitted.collect::<Result<_, ModelError>>()?,
        })
    }

    /// Writes a file for [`Calibration::read`].
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let text = serde_json::to_string(self)?;
        // A line for each sample, so that files can be read and compared.
        let lines = text.replace("{\"name\"", "\n{\"name\"");
        replace(path, |file| writeln!(file, "{lines}"))
    }

    /// Reads a file that [`Calibration::write`] has written.
    pub fn read(path: &Path) -> Result<Self, CalibrationError> {
        Ok(serde_json::from_slice(&read_at_most(path, LARGEST_FILE)?)?)
    }

    /// `target` with the times that were measured for it; those of bf16 products remain where a
    /// file has none.
    pub fn target(&self, target: Target) -> Result<Target, CalibrationError> {
        let missing = || CalibrationError::Missing {
            target: name(target),
            known: self.targets.keys().cloned().collect(),
        };
        let fitted = self.targets.get(&name(target)).ok_or_else(missing)?;
        let has_bf16 = fitted.times.pair > 0 || fitted.times.tile > 0;
        let InstructionTimes { pair, tile, tile_move, .. } =
            if has_bf16 { fitted.times } else { target.times };
        Ok(Target { times: InstructionTimes { pair, tile, tile_move, ..fitted.times }, ..target })
    }
}

/// How long each loop of products is measured.
const PRODUCTS_TIME: Duration = Duration::from_millis(100);

/// Time of a tile that is read or written, relative to that of a product of tiles, in kernels
/// (benches/LOG.md).
const MOVE_OF_TILE: f64 = 0.83;

/// `times` with those of bf16 products that this machine has: a loop of them beside one of
/// multiply-adds says how many multiply-adds each takes the time of.
fn with_bf16(times: InstructionTimes, in_vectors: Target) -> Result<InstructionTimes, ModelError> {
    if in_vectors.isa < Isa::Avx512 {
        return Ok(times);
    }
    let speed = |isa, unit| peak::measure(Target { isa, ..in_vectors }, unit, 1, PRODUCTS_TIME);
    let multiply_adds =
        speed(in_vectors.isa, Unit::Vectors)? / peak::operations_of(Unit::Vectors, in_vectors);
    let time = |isa: Isa, unit| -> Result<u32, ModelError> {
        if !isa.missing().is_empty() {
            return Ok(0);
        }
        let products = speed(isa, unit)? / peak::operations_of(unit, in_vectors);
        Ok((f64::from(times.multiply_add) * multiply_adds / products).round() as u32)
    };
    let tile = time(Isa::Amx, Unit::Tiles)?;
    let tile_move = (f64::from(tile) * MOVE_OF_TILE).round() as u32;
    Ok(InstructionTimes { pair: time(Isa::Avx512Bf16, Unit::Pairs)?, tile, tile_move, ..times })
}

/// The day of a time in UTC.
fn date(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (mut days, mut year) = (seconds / 86400, 1970);
    let is_leap = |year: u64| year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    let length = |year| if is_leap(year) { 366 } else { 365 };
    while days >= length(year) {
        days -= length(year);
        year += 1;
    }
    let months = [31, if is_leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while days >= months[month] {
        days -= months[month];
        month += 1;
    }
    format!("{year}-{:02}-{:02}", month + 1, days + 1)
}

/// Segments of a layer: input and output channels of each, and how many there are.
type Segments = (u32, u32, u32);

/// Layers that are measured, 3x3 on a small map: from depthwise with several outputs to regular,
/// near and far from whole vectors. About as many channels each.
const LAYERS: [Segments; 22] = [
    (1, 2, 96),
    (1, 5, 48),
    (2, 2, 96),
    (3, 3, 64),
    (4, 4, 48),
    (5, 3, 40),
    (6, 6, 32),
    (7, 7, 28),
    (8, 8, 24),
    (10, 10, 20),
    (12, 12, 16),
    (14, 14, 14),
    (16, 16, 12),
    (20, 20, 10),
    (26, 26, 8),
    (28, 28, 7),
    (32, 32, 6),
    (40, 24, 5),
    (52, 52, 4),
    (64, 64, 3),
    (96, 96, 2),
    (160, 160, 1),
];

/// What else a layer is made of.
#[derive(Clone, Copy)]
struct Setting {
    /// Taps in a row and in a column.
    kernel: u32,
    /// Pixels in a row and in a column.
    size: u32,
    /// Whether ReLU comes before the convolution rather than after it.
    relu_first: bool,
}

/// Each layer in these settings.
const SETTINGS: [Setting; 4] = [
    Setting { kernel: 3, size: 19, relu_first: false },
    Setting { kernel: 3, size: 19, relu_first: true },
    Setting { kernel: 3, size: 7, relu_first: false },
    Setting { kernel: 1, size: 19, relu_first: false },
];

/// Rounds, in each of which every layer runs.
const ROUNDS: u32 = 16;
/// Runs of a layer in a round.
const RUNS: u32 = 3;

impl Fitted {
    fn measure(target: Target) -> Result<Self, ModelError> {
        let mut candidates = Vec::new();
        for (segments, setting) in
            LAYERS.into_iter().flat_map(|layer| SETTINGS.map(|setting| (layer, setting)))
        {
            candidates.extend(Candidate::all(target, segments, setting)?);
        }
        for _ in 0..ROUNDS {
            for candidate in &mut candidates {
                candidate.run()?;
            }
        }
        let samples: Vec<Sample> = candidates.into_iter().map(Candidate::sample).collect();
        let times = fit(&samples);
        let [mean_error, worst_error] = errors(&times, &samples);
        Ok(Self { times, mean_error, worst_error, samples })
    }
}

/// A layer by one of its algorithms.
struct Candidate {
    name: String,
    model: Model,
    input: Vec<f32>,
    fastest: Duration,
}

impl Candidate {
    /// A layer by all its algorithms.
    fn all(target: Target, segments: Segments, setting: Setting) -> Result<Vec<Self>, ModelError> {
        let graph = layer(segments, setting);
        let weights = Weights::random(&graph, 0);
        let mut all = Vec::new();
        for algorithm in 0.. {
            let program = plan_with(&graph, target, PlanOptions::default(), &|_| algorithm)?;
            let algorithms = program.schedule.choices.first().map_or(1, |choice| choice.candidates.len());
            if algorithm >= algorithms {
                break;
            }
            let only = || "the only algorithm".to_owned();
            let algorithm =
                program.schedule.choices.first().map_or_else(only, |choice| choice.algorithm().to_string());
            let ((ic, oc, count), Setting { kernel, size, relu_first }) = (segments, setting);
            let first = if relu_first { "relu and " } else { "" };
            let name = format!(
                "{first}{kernel}x{kernel} on {size}x{size}, {count} segments {ic}->{oc}, {algorithm}"
            );
            let input = vec![0.5; graph.node(graph.input).shape.elements() as usize];
            let model = Model::of_program(program, &weights)?;
            all.push(Self { name, model, input, fastest: Duration::MAX });
        }
        Ok(all)
    }

    fn run(&mut self) -> Result<(), ModelError> {
        for _ in 0..RUNS {
            let (_, steps) = self.model.run_timed(&self.input)?;
            self.fastest = self.fastest.min(steps.iter().sum());
        }
        Ok(())
    }

    /// The fastest run: whatever else the machine does only slows it down.
    fn sample(self) -> Sample {
        let counts = self.model.program().counts();
        Sample { name: self.name, counts, ms: self.fastest.as_secs_f64() * 1e3 }
    }
}

/// A convolution with ReLU.
fn layer((ic, oc, count): Segments, Setting { kernel, size, relu_first }: Setting) -> Graph {
    let (inputs, outputs) = (ic * count, oc * count);
    let conv = format!("conv {outputs}, {kernel}x{kernel}, padding: same, segments: {count}");
    let layers = if relu_first { ["relu", &conv] } else { [&conv, "relu"] }.join("\n");
    let text = format!("model layer\ninput map {size} x {size} x {inputs}\n{layers}\n");
    let mut graph = elaborate::read(&text, &[]).graph.expect("the spec above has no mistakes");
    optimize(&mut graph, &PassOptions::default());
    graph
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_dates() {
        let of = |days: u64| date(UNIX_EPOCH + Duration::from_secs(days * 86400 + 5));
        assert_eq!([0, 59, 11_016, 20_779].map(of), ["1970-01-01", "1970-03-01", "2000-02-29", "2026-11-22"]);
    }

    #[test]
    fn layers_have_several_forms() {
        let algorithms = |segments| Candidate::all(Target::baseline(), segments, SETTINGS[2]).unwrap().len();
        let narrow = LAYERS.into_iter().filter(|&(ic, oc, _)| ic.max(oc) <= 2);
        assert!(narrow.map(algorithms).all(|algorithms| algorithms > 2));
    }

    #[test]
    fn products_of_bf16_values_are_measured_where_there_are_any() {
        let times = InstructionTimes { multiply_add: 1000, ..InstructionTimes::default() };
        assert_eq!(with_bf16(times, Target::baseline()).unwrap(), times);
        if !Isa::Avx512Bf16.missing().is_empty() {
            eprintln!("skipped: times of bf16 products, since this machine has none");
            return;
        }
        let measured = with_bf16(times, Target::of(Isa::Avx512)).unwrap();
        // From as fast as a multiply-add to a few times as slow.
        assert!((500..20_000).contains(&measured.pair), "{measured:?}");
        assert_eq!(measured.tile > 0, Isa::Amx.missing().is_empty());
    }

    #[test]
    fn a_file_gives_back_what_was_written() {
        let sample = Sample { name: "a".to_owned(), counts: Default::default(), ms: 0.1 };
        let times = InstructionTimes { call: 7, ..InstructionTimes::default() };
        let fitted = Fitted { times, mean_error: 0.25, worst_error: 0.5, samples: vec![sample] };
        let calibration = Calibration {
            processor: "p".to_owned(),
            date: "2026-11-22".to_owned(),
            command: "c".to_owned(),
            targets: BTreeMap::from([("avx512".to_owned(), fitted)]),
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("times.json");
        calibration.write(&path).unwrap();
        let read = Calibration::read(&path).unwrap();
        assert_eq!(read, calibration);
        let target = read.target(Target::of(Isa::Amx)).unwrap();
        assert_eq!(target.times.call, 7);
        let built_in = Target::of(Isa::Amx).times;
        assert_eq!(
            (target.times.pair, target.times.tile),
            (built_in.pair, built_in.tile),
            "none in the file"
        );
        let error = read.target(Target::baseline()).unwrap_err().to_string();
        assert!(error.starts_with("it has no times for baseline, only for avx512; "), "{error}");
    }
}
