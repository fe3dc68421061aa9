//! What candidates cost: lowered by themselves, into a program that is thrown away, and weighed by
//! the target's times.

use std::collections::HashMap;

use super::Lowering;
use super::job::Job;
use super::place::{Surface, Surfaces, Widths};
use super::runs::Run;
use super::winograd::Patches;
use crate::graph::Graph;
use crate::layout::lay_out;
use crate::plan::emit::Emitter;
use crate::plan::nest::{NestBuilder, Offset, Operand};
use crate::plan::{PlanOptions, Precision, Scheduled, counts_of};
use crate::schedule::fusion::FusedGroups;
use crate::schedule::precisions::{LayerPrecisions, LayerTimes};
use crate::schedule::segments::{cheapest, segment_runs};
use crate::schedule::tiling::block_runs;
use crate::schedule::{Algorithm, CostModel, Facts, SegmentCandidate, build_what_fits, prefetches_results};
use crate::target::Target;

/// The costs of candidates on a target.
pub struct Costs {
    target: Target,
    prefetches_results: bool,
}

impl Costs {
    /// Those of candidates for a network.
    pub fn new(facts: Facts<'_>) -> Self {
        Self { target: facts.target, prefetches_results: prefetches_results(facts) }
    }
}

impl CostModel for Costs {
    fn segments_ms(&self, candidate: &SegmentCandidate<'_>) -> f64 {
        let SegmentCandidate { direct, segments, algorithm, input, out, .. } = *candidate;
        let lanes = self.target.lanes;
        let mut emit = Emitter::new(self.target, 1, self.prefetches_results, 0);
        let mut b = NestBuilder::new();
        let widths = Widths { input: input.w(), output: out.w(), tile: out.w() };
        let surfaces = surfaces(self.target, candidate);
        let (algorithms, units) = (vec![algorithm], Vec::new());
        let job = Job::new(*direct, &Algorithm::Segments { algorithms, units }, lanes);
        for run in job.runs(&segment_runs(segments, algorithm, lanes), lanes) {
            if let Run::Winograd(run) = &run {
                let sizes = [input, out].map(|shape| [shape.h(), shape.w()]);
                let blocks = run.planes.fewest_blocks(self.target, sizes[1]);
                let patches = Patches::new(self.target, &job, run, sizes, blocks);
                emit.winograd_units(&mut b, (&job, run), &patches, &surfaces);
            }
            for rows in block_runs(&direct.conv.window, input.h(), out.h(), 1) {
                job.run(&mut emit, &mut b, &run, (widths, &rows, &surfaces));
            }
        }
        let counts = counts_of(&emit.kernels, &b.finish(), &mut HashMap::new());
        self.target.times.ms(&counts)
    }
}

/// The maps of a candidate by themselves.
fn surfaces(target: Target, candidate: &SegmentCandidate<'_>) -> Surfaces {
    let surface = |operand: Operand, width: u32, pixel: u64| {
        let pixel = pixel as i64;
        Surface { operand, origin: Offset::default(), pixel, row: i64::from(width) * pixel }
    };
    let (out, result) = (candidate.out, target.pixel_bytes(candidate.out.c()));
    Surfaces {
        input: surface(Operand::In, candidate.input.w(), candidate.input_pixel),
        out: surface(Operand::Out, out.w(), result),
        add: surface(Operand::Add, out.w(), result),
    }
}

/// The times of all layers in a precision: each by itself, of one image, by one thread. None if
/// the values of all layers have no place in memory.
pub fn layer_times(graph: &Graph, target: Target, precision: Precision) -> Option<LayerTimes> {
    let options = PlanOptions { precision, ..PlanOptions::default() };
    let layout = lay_out(graph, &FusedGroups::default(), target, &options).ok()?;
    let facts = Facts { graph, target, options, layout: &layout };
    let precisions = LayerPrecisions::all(precision);
    let schedule = build_what_fits(facts, precisions, &Costs::new(facts), &cheapest);
    let scheduled = Scheduled { schedule, layout };
    let mut lowering = Lowering::new(graph, &scheduled);
    let mut weights = LayerTimes::new();
    for &node in graph.order().iter().filter(|&&node| scheduled.schedule.node(node).is_some()) {
        let before = lowering.emit.constant_bytes;
        lowering.node(node);
        weights.insert(node, weights_ms(target, lowering.emit.constant_bytes - before));
    }
    Some(lowering.times(&weights))
}

impl Lowering<'_> {
    /// The times of the layers that were lowered, whose weights take the times `weights`.
    fn times(&self, weights: &LayerTimes) -> LayerTimes {
        let planes_ms = |&id| (id, self.schedule.planes_ms_of(id));
        let mut times: LayerTimes = weights.keys().map(planes_ms).collect();
        let mut known = HashMap::new();
        for step in &self.emit.steps {
            let nest = &self.emit.drivers[step.driver.index()].nest;
            let counts = counts_of(&self.emit.kernels, nest, &mut known);
            if let Some(ms) = times.get_mut(&step.node) {
                *ms += self.target.times.ms(&counts);
            }
        }
        times.iter_mut().for_each(|(id, ms)| *ms = ms.max(weights[id]));
        times
    }
}

/// Bytes of weights that a thread reads from memory in a nanosecond, about (benches/LOG.md).
const BYTES_OF_NANOSECOND: f64 = 10.0;

/// Milliseconds that weights take to be read from memory; those that stay in a core's cache take
/// none.
fn weights_ms(target: Target, bytes: u64) -> f64 {
    if bytes <= u64::from(target.cache_bytes) { 0.0 } else { bytes as f64 / BYTES_OF_NANOSECOND * 1e-6 }
}
