//! The figures that follow from samples: medians, speeds, and bounds by the roofline model.

use xcc_compiler::plan::Precision;

use super::results::{Point, Results, Roof, Step, Timing};
use crate::measure::samples::quantile;
use crate::measure::steps::{Bound, Roofs, gflops};

/// Computes all figures anew from the samples that there are.
pub fn update(results: &mut Results) {
    let Results { machine, sampling, points, .. } = results;
    for roof in &mut machine.roofs {
        // More threads than cores share these.
        let busy = roof.threads.min(machine.cores);
        let of_threads = |samples: &[f64]| quantile(samples, 0.5) * f64::from(busy);
        roof.peak_gflops = of_threads(&sampling.peak_samples_gflops);
        let bf16 = &roof.bf16_samples_gflops;
        roof.bf16_gflops = (!bf16.is_empty()).then(|| of_threads(bf16));
    }
    for point in points {
        if let Some(roof) = machine.roofs.iter().find(|roof| roof.threads == point.threads) {
            let roofs = point.precision.parse().ok().and_then(|precision| roofs(roof, precision));
            update_point(point, roofs);
        }
    }
}

/// What bounds points of a precision; `None` where its peak was not measured.
fn roofs(roof: &Roof, precision: Precision) -> Option<Roofs> {
    let tiles = match precision {
        Precision::F32 => roof.tiles(precision),
        _ => Some(roof.peak(precision)?),
    };
    let bandwidth = roof.bandwidth_gbs * 1e9;
    Some(Roofs { vectors: roof.peak_gflops, tiles, bandwidth, weights_bandwidth: bandwidth })
}

fn update_point(point: &mut Point, roofs: Option<Roofs>) {
    let Point { batch, cost, timing, steps, .. } = point;
    let weights_gbs = timing.as_ref().and_then(|timing| timing.weights_gbs);
    let roofs = roofs.map(|roofs| with_weights(roofs, weights_gbs));
    steps.iter_mut().for_each(|step| update_step(step, roofs));
    let macs = cost.map_or(0, |cost| cost.macs.saturating_mul(u64::from(*batch)));
    if let Some(timing) = timing {
        update_timing(timing, steps, macs);
    }
}

/// With the bandwidth of a point's weights, where they have one of their own.
fn with_weights(roofs: Roofs, weights_gbs: Option<f64>) -> Roofs {
    Roofs { weights_bandwidth: weights_gbs.map_or(roofs.bandwidth, |gbs| gbs * 1e9), ..roofs }
}

fn update_step(step: &mut Step, roofs: Option<Roofs>) {
    step.ms = quantile(&step.samples_ms, 0.5);
    step.gflops = gflops(step.macs, step.ms);
    let bound = roofs.and_then(|roofs| {
        let tile_macs = if roofs.tiles.is_some() { step.tile_macs? } else { 0 };
        let compute = roofs.compute_ms(step.macs.saturating_sub(step.saved_macs), tile_macs);
        Some(Bound::of(step.ms, compute, roofs.memory_ms(step.bytes, step.weight_bytes)))
    });
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

#[cfg(test)]
mod tests {
    use super::*;

    fn step(macs: u64, tile_macs: Option<u64>) -> Step {
        Step {
            layer: "a".to_owned(),
            class: "Conv2D".to_owned(),
            macs,
            tile_macs,
            saved_macs: 0,
            bytes: 0,
            weight_bytes: 0,
            samples_ms: vec![8.0],
            ms: 0.0,
            gflops: None,
            bound_ms: None,
            bound: None,
            kernels: Vec::new(),
        }
    }

    #[test]
    fn weights_are_bounded_by_their_own_bandwidth() {
        let roof = Roof { peak_gflops: 100.0, bandwidth_gbs: 10.0, ..Roof::default() };
        let mut step = Step { bytes: 30_000_000, weight_bytes: 20_000_000, ..step(0, None) };
        let mut bound = |weights_gbs| {
            update_step(
                &mut step,
                roofs(&roof, Precision::F32).map(|roofs| with_weights(roofs, weights_gbs)),
            );
            step.bound_ms
        };
        assert_eq!([bound(None), bound(Some(5.0))], [Some(3.0), Some(5.0)]);
    }

    #[test]
    fn steps_are_bounded_by_the_peak_of_the_point_s_precision() {
        let roof =
            Roof { peak_gflops: 100.0, bf16_gflops: Some(1500.0), bandwidth_gbs: 10.0, ..Roof::default() };
        let bound = |roof: &Roof, precision, step: &Step| {
            let mut step = step.clone();
            update_step(&mut step, roofs(roof, precision));
            step.bound_ms
        };
        let [macs, tile_macs] = [1_600_000_000, 1_500_000_000];
        let both = step(macs, Some(tile_macs));
        let vectors = Roof { bf16_gflops: None, ..roof.clone() };
        assert_eq!(bound(&vectors, Precision::F32, &both), Some(32.0));
        assert_eq!(bound(&roof, Precision::F32, &both), Some(12.0));
        assert_eq!(bound(&roof, Precision::Bf16, &both), Some(2.0));
        assert_eq!(bound(&roof, Precision::Split, &both), Some(6.0));
        // What is not known leads to no figure.
        assert_eq!(bound(&roof, Precision::Bf16, &step(macs, None)), None);
        assert_eq!(bound(&Roof { bf16_gflops: None, ..roof }, Precision::Split, &both), None);
    }
}
