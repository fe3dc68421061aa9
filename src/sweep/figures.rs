//! The figures that follow from samples: medians, speeds, and bounds by the roofline model.

use super::results::{Point, Results, Roof, Sampling, Step, Timing};
use crate::measure::samples::quantile;
use crate::measure::steps::{Roofs, gflops};

/// Computes all figures anew from the samples that there are.
pub fn update(results: &mut Results) {
    let Results { machine, sampling, points, .. } = results;
    for roof in &mut machine.roofs {
        roof.peak_gflops = quantile(&sampling.peak_samples_gflops, 0.5) * f64::from(roof.threads);
    }
    for point in points {
        if let Some(roof) = machine.roofs.iter().find(|roof| roof.threads == point.threads) {
            update_point(point, &roofs(roof, sampling));
        }
    }
}

fn roofs(roof: &Roof, sampling: &Sampling) -> Roofs {
    Roofs {
        peaks: sampling.peak_samples_gflops.clone(),
        threads: roof.threads,
        bandwidth: roof.bandwidth_gbs * 1e9,
    }
}

fn update_point(point: &mut Point, roofs: &Roofs) {
    let Point { precision, batch, cost, timing, steps, .. } = point;
    // The peak is that of f32 arithmetic; other instructions have others.
    let roofs = (precision == "f32").then_some(roofs);
    steps.iter_mut().for_each(|step| update_step(step, roofs));
    let macs = cost.map_or(0, |cost| cost.macs.saturating_mul(u64::from(*batch)));
    if let Some(timing) = timing {
        update_timing(timing, steps, macs);
    }
}

fn update_step(step: &mut Step, roofs: Option<&Roofs>) {
    step.ms = quantile(&step.samples_ms, 0.5);
    step.gflops = gflops(step.macs, step.ms);
    let bound = roofs.map(|roofs| roofs.bound(step.ms, step.macs, step.bytes));
    step.bound = bound.map(|(bound, _)| bound.name().to_owned());
    step.bound_ms = bound.map(|(_, ms)| ms);
}

fn update_timing(timing: &mut Timing, steps: &[Step], macs: u64) {
    let [p5, median, p95] = [0.05, 0.5, 0.95].map(|share| quantile(&timing.samples_ms, share));
    (timing.p5_ms, timing.median_ms, timing.p95_ms) = (p5, median, p95);
    timing.gflops = gflops(macs, median).unwrap_or(0.0);
    timing.bound_ms = steps.iter().map(|step| step.bound_ms).sum();
    timing.bound_share = timing.bound_ms.map(|bound| bound / median.max(1e-6));
}
