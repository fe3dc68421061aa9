//! Measures the points of a sweep: all are compiled first, then run in turn, round after round, so
//! that a machine whose speed drifts favours none of them.
//!
//! Points that do not fit into memory together are measured in groups. Neighbours on an axis are
//! put into different groups, so that a machine that changes between two groups makes no step in
//! the curve.

use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use xcc_compiler::graph::Graph;
use xcc_compiler::passes::{PassOptions, optimize};
use xcc_compiler::plan::Precision;
use xcc_compiler::target::Target;
use xcc_runtime::peak::Unit;
use xcc_runtime::weights::Weights;
use xcc_runtime::{Model, machine};

use super::figures;
use super::point::{self, Illegal};
use super::results::{Point, Results, Roof, Status, Step, Sweep, Timing};
use crate::cli::{self, Failure};
use crate::inputs::Inputs;
use crate::measure::peaks::{Peak, Peaks};
use crate::measure::reading::{self, Reading};
use crate::measure::work::{self, StepWork};
use crate::measure::{milliseconds, timed};
use crate::network;
use crate::terminal;

/// How long each point is run before its first sample.
pub const WARMUP: Duration = Duration::from_millis(300);
/// Runs before the first sample, at least.
const WARMUP_RUNS: u32 = 2;
/// How long a point is run in a round, after a run that does not count: caches and threads are
/// those of another point then.
const VISIT: Duration = Duration::from_millis(20);
/// Samples of a point in a round, at most.
const VISIT_RUNS: usize = 8;
/// The share of available memory that compiled points may take.
const MEMORY_SHARE: f64 = 0.6;
/// Memory for compiled points where the system does not tell what is available.
const MEMORY: u64 = 1 << 30;
/// Within a round, results are kept after so much time, and after so many times the time that it
/// took to keep them.
const KEEP_AFTER: Duration = Duration::from_secs(2);
const KEEP_SELDOM: u32 = 20;

/// Measures every point that is not finished up to `rounds` rounds; those that failed are tried
/// again. `keep` is called after each round, and within rounds that take long.
pub fn measure(
    results: &mut Results,
    target: Target,
    rounds: u32,
    keep: &mut dyn FnMut(&Results) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let unfinished = unfinished(&results.points, rounds);
    if unfinished.is_empty() {
        return Ok(());
    }
    (results.sampling.rounds, results.sampling.warmup_ms) = (rounds, milliseconds(WARMUP));
    for &at in &unfinished {
        (results.points[at].status, results.points[at].message) = (Status::Pending, None);
    }
    let memory: Vec<u64> = unfinished.iter().map(|&at| memory(&results.points[at])).collect();
    let available = machine::available_memory().map_or(MEMORY, |bytes| (bytes as f64 * MEMORY_SHARE) as u64);
    let mut session = Session {
        target,
        rounds,
        peaks: Peaks::begin(target, peaks(results))?,
        bar: terminal::progress(visits(results, &unfinished, rounds)),
        results,
        keep,
        keep_next: Instant::now() + KEEP_AFTER,
    };
    session.measure_bandwidth()?;
    for group in groups(&memory, available) {
        let points: Vec<usize> = group.into_iter().map(|number| unfinished[number]).collect();
        session.measure_group(&points)?;
    }
    session.measure_bandwidth()?;
    session.keep()?;
    session.bar.finish_and_clear();
    Ok(())
}

/// The peaks that bound the points of a sweep, with the samples that there are: that of vectors of
/// one core, and that of bf16 values for each number of threads where points have products of
/// them.
fn peaks(results: &Results) -> Vec<Peak> {
    let unit =
        |precision: &String| Some(Unit::of(precision.parse().ok()?, results.sweep.target.parse().ok()?));
    let bf16_unit = results.sweep.precisions.iter().filter_map(unit).find(|unit| *unit != Unit::Vectors);
    let samples = results.sampling.peak_samples_gflops.clone();
    let vectors = Peak { gflops: samples, ..Peak::new(Precision::F32, Unit::Vectors, 1) };
    let bf16 = |(roof, unit): (&Roof, Unit)| Peak {
        gflops: roof.bf16_samples_gflops.clone(),
        ..Peak::new(Precision::Bf16, unit, roof.threads)
    };
    let roofs = results.machine.roofs.iter().filter_map(|roof| Some((roof, bf16_unit?)));
    std::iter::once(vectors).chain(roofs.map(bf16)).collect()
}

/// Puts all samples of a peak into its place.
fn keep_peak(results: &mut Results, peak: &Peak) {
    let place = match peak.unit {
        Unit::Vectors => Some(&mut results.sampling.peak_samples_gflops),
        Unit::Pairs | Unit::Tiles => {
            let roof = results.machine.roofs.iter_mut().find(|roof| roof.threads == peak.threads);
            roof.map(|roof| &mut roof.bf16_samples_gflops)
        }
    };
    if let Some(place) = place {
        place.clone_from(&peak.gflops);
    }
}

/// The places of points that have not been in so many rounds.
fn unfinished(points: &[Point], rounds: u32) -> Vec<usize> {
    let is_unfinished = |point: &Point| {
        point.cost.is_some() && point.timing.as_ref().is_none_or(|timing| timing.rounds < rounds)
    };
    (0..points.len()).filter(|&at| is_unfinished(&points[at])).collect()
}

/// Rounds that are missing, of all points together.
fn visits(results: &Results, unfinished: &[usize], rounds: u32) -> u64 {
    let done = |&at: &usize| results.points[at].timing.as_ref().map_or(0, |timing| timing.rounds);
    unfinished.iter().map(|at| u64::from(rounds.saturating_sub(done(at)))).sum()
}

/// Bytes that a thread is counted as: the most that its stack takes, and a share of how many
/// threads a system admits.
const THREAD_BYTES: u64 = 8 << 20;

/// Bytes that a compiled point takes, with the threads that wait for its runs.
fn memory(point: &Point) -> u64 {
    let threads = u64::from(point.threads.saturating_sub(1)) * THREAD_BYTES;
    point.cost.map_or(0, |cost| cost.memory_bytes) + threads
}

/// Numbers from 0 in groups: what does not fit into `available` alone has one of its own; the
/// others are cut into as few as keep the sums of their memory within it, neighbours in different
/// groups.
fn groups(memory: &[u64], available: u64) -> Vec<Vec<usize>> {
    let (alone, together): (Vec<usize>, Vec<usize>) =
        (0..memory.len()).partition(|&number| memory[number] > available);
    let cut = |count: usize| -> Vec<Vec<usize>> {
        let group = |first: usize| together.iter().copied().skip(first).step_by(count).collect();
        (0..count).map(group).collect()
    };
    let fits = |group: &Vec<usize>| group.iter().map(|&number| memory[number]).sum::<u64>() <= available;
    let cuts = (1..=together.len()).map(cut).find(|groups| groups.iter().all(fits));
    cuts.unwrap_or_default().into_iter().chain(alone.into_iter().map(|number| vec![number])).collect()
}

/// One execution of a sweep, perhaps not the first.
struct Session<'a> {
    results: &'a mut Results,
    target: Target,
    rounds: u32,
    peaks: Peaks,
    bar: ProgressBar,
    keep: &'a mut dyn FnMut(&Results) -> Result<(), Failure>,
    /// When results are kept before the end of a round.
    keep_next: Instant,
}

/// A compiled point.
struct Subject {
    /// Its place among the points.
    at: usize,
    model: Model,
    input: Vec<f32>,
    /// What its first sample is added to; `None` once it has one.
    fresh: Option<(Timing, Vec<Step>)>,
}

impl Session<'_> {
    /// Compiles points, then measures them in rounds.
    fn measure_group(&mut self, points: &[usize]) -> Result<(), Failure> {
        let mut subjects = Vec::new();
        for &at in points {
            self.bar.set_message(format!("compiling {}", self.results.points[at].label));
            match self.prepare(at) {
                Ok(subject) => subjects.push(subject),
                Err(failure) => self.fail(at, failure),
            }
        }
        for round in 0..self.rounds {
            self.round(&mut subjects, round)?;
        }
        Ok(())
    }

    /// Compiles a point and runs it until caches, threads and the processor's clock are those of
    /// later runs.
    fn prepare(&mut self, at: usize) -> Result<Subject, Failure> {
        let point = &self.results.points[at];
        let compiled = compile(&self.results.sweep, point, self.target)?;
        let Compiled { model, input, compile, work } = compiled;
        let began = Instant::now();
        let mut runs = 0;
        while runs < WARMUP_RUNS || began.elapsed() < WARMUP {
            run(&model, &input)?;
            runs += 1;
        }
        let fresh = begin(&mut self.results.points[at], compile, work);
        Ok(Subject { at, model, input, fresh })
    }

    /// Measures each point that has not been in this round, in turns of the order, and keeps what
    /// was found.
    fn round(&mut self, subjects: &mut Vec<Subject>, round: u32) -> Result<(), Failure> {
        let rounds_of = |subject: &Subject| {
            self.results.points[subject.at].timing.as_ref().map_or(0, |timing| timing.rounds)
        };
        let mut order: Vec<usize> =
            (0..subjects.len()).filter(|&number| rounds_of(&subjects[number]) <= round).collect();
        if order.is_empty() {
            return Ok(());
        }
        if round % 2 == 1 {
            order.reverse();
        }
        let mut failed = Vec::new();
        for number in order {
            self.peaks.between()?;
            let subject = &mut subjects[number];
            let point = &mut self.results.points[subject.at];
            self.bar.set_message(point.label.clone());
            match visit(subject, point, round) {
                Ok(()) if round + 1 == self.rounds => point.status = Status::Measured,
                Ok(()) => {}
                Err(failure) => {
                    failed.push(subject.at);
                    self.fail(subject.at, failure);
                }
            }
            self.bar.inc(1);
            if Instant::now() >= self.keep_next {
                self.keep()?;
            }
        }
        subjects.retain(|subject| !failed.contains(&subject.at));
        self.keep()
    }

    /// Reports a point that failed; the others go on.
    fn fail(&mut self, at: usize, failure: Failure) {
        let point = &mut self.results.points[at];
        let message = failure.message().unwrap_or_default();
        self.bar.suspend(|| cli::note(format!("{} failed: {message}", point.label)));
        (point.status, point.message) = (Status::Failed, Some(message));
        if point.timing.as_ref().is_some_and(|timing| timing.samples_ms.is_empty()) {
            (point.timing, point.steps) = (None, Vec::new());
        }
    }

    /// Keeps what was found so far.
    fn keep(&mut self) -> Result<(), Failure> {
        for peak in self.peaks.samples() {
            keep_peak(self.results, peak);
        }
        let began = Instant::now();
        figures::update(self.results);
        (self.keep)(self.results)?;
        self.keep_next = Instant::now() + KEEP_AFTER.max(began.elapsed() * KEEP_SELDOM);
        Ok(())
    }

    /// Measures the bandwidth for each number of threads; the largest counts.
    fn measure_bandwidth(&mut self) -> Result<(), Failure> {
        for roof in &mut self.results.machine.roofs {
            let found = reading::values(self.target, roof.threads)?;
            roof.bandwidth_gbs = roof.bandwidth_gbs.max(found / 1e9);
        }
        Ok(())
    }
}

/// Readies a point for samples: with those that it has of the same steps, or else with none.
fn begin(point: &mut Point, compile: Duration, work: Vec<StepWork>) -> Option<(Timing, Vec<Step>)> {
    let compile_ms = rounded(milliseconds(compile));
    let steps: Vec<Step> = work.into_iter().map(point::step).collect();
    let same = point.steps.len() == steps.len()
        && point.steps.iter().zip(&steps).all(|(old, new)| old.kernels == new.kernels);
    if let Some(timing) = point.timing.as_mut().filter(|_| same) {
        timing.compile_ms = compile_ms;
        point.steps.iter_mut().zip(&steps).for_each(|(old, new)| old.tile_macs = new.tile_macs);
        return None;
    }
    (point.timing, point.steps) = (None, Vec::new());
    Some((Timing::new(compile_ms), steps))
}

/// Takes samples of a point.
fn visit(subject: &mut Subject, point: &mut Point, round: u32) -> Result<(), Failure> {
    run(&subject.model, &subject.input)?;
    if let Some((mut timing, steps)) = subject.fresh.take() {
        let of_weights =
            Reading::of(&subject.model, subject.model.program().target, point.threads).weights()?;
        timing.weights_gbs = of_weights.map(|bytes| bytes / 1e9);
        (point.timing, point.steps) = (Some(timing), steps);
    }
    let Some(timing) = &mut point.timing else { return Ok(()) };
    let began = Instant::now();
    let mut taken = 0;
    while taken == 0 || (taken < VISIT_RUNS && began.elapsed() < VISIT) {
        let (steps, whole) = timed(|| run(&subject.model, &subject.input))?;
        timing.samples_ms.push(rounded(milliseconds(whole)));
        for (step, time) in point.steps.iter_mut().zip(steps) {
            step.samples_ms.push(rounded(milliseconds(time)));
        }
        taken += 1;
    }
    timing.rounds = round + 1;
    Ok(())
}

/// Runs once and gives the time of each step.
fn run(model: &Model, input: &[f32]) -> Result<Vec<Duration>, Failure> {
    let ran = model.run_timed(input).map(|(_, steps)| steps);
    ran.map_err(|error| network::failure(error, model.program().options.batch))
}

/// To nanoseconds: clocks are no finer, and files no longer than they must be.
fn rounded(ms: f64) -> f64 {
    (ms * 1e6).round() / 1e6
}

/// A point's machine code, and what it runs on.
pub struct Compiled {
    /// The code.
    pub model: Model,
    /// The images of a run.
    pub input: Vec<f32>,
    /// Passes, plan and machine code.
    compile: Duration,
    work: Vec<StepWork>,
}

/// Compiles a point, with random weights and input.
pub fn compile(sweep: &Sweep, point: &Point, target: Target) -> Result<Compiled, Failure> {
    let refused = |illegal: Illegal| Failure::input(illegal.message);
    let graph = point::network(sweep, point).map_err(refused)?;
    let options = point::options(point).map_err(refused)?;
    let input = Inputs::random(&graph, point.batch, sweep.seed)?;
    let input = input.read(0..input.count(), point.batch as usize)?;
    let weights = Weights::random(&graph, sweep.seed);
    let build = || network::compile(graph.clone(), &weights, target, options);
    let (model, build) = timed(build)?;
    let compile = build.saturating_sub(model.pack_time());
    let work = work::of_steps(model.program(), &fused(&graph));
    Ok(Compiled { model, input, compile, work })
}

/// The graph that a plan is made for.
fn fused(graph: &Graph) -> Graph {
    let mut graph = graph.clone();
    optimize(&mut graph, &PassOptions::default());
    graph
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Whether no two neighbours, of the points that fit alone, are in the group.
    fn are_apart(group: &[usize], memory: &[u64], most: u64) -> bool {
        let fits = |&at: &usize| memory[at] <= most;
        let next = |at: usize| (at + 1..memory.len()).find(fits);
        group.windows(2).all(|pair| next(pair[0]) != Some(pair[1]))
    }

    proptest! {
        /// Every point is in one group, groups of several fit, and where there are more, none has
        /// neighbours.
        #[test]
        fn groups_cover_all_points_and_fit(memory in proptest::collection::vec(1..100_u64, 0..40), most in 1..300_u64) {
            let groups = groups(&memory, most);
            let mut all: Vec<usize> = groups.concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..memory.len()).collect::<Vec<_>>());
            let alone = memory.iter().filter(|&&bytes| bytes > most).count();
            for group in &groups {
                let sum: u64 = group.iter().map(|&number| memory[number]).sum();
                prop_assert!(group.len() == 1 || sum <= most);
                prop_assert!(groups.len() - alone <= 1 || are_apart(group, &memory, most));
            }
        }
    }

    #[test]
    fn points_that_fit_are_one_group() {
        assert_eq!(groups(&[1, 2, 3], 6), [[0, 1, 2]]);
        assert_eq!(groups(&[9, 2, 2, 2, 2], 6), [vec![1, 3], vec![2, 4], vec![0]]);
    }
}
