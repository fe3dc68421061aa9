//! Equal segments by the algorithm that was chosen for them.

use super::job::Job;
use super::panels::{PanelRun, Start, of_constants};
use crate::kernels::sliding::Beside;
use crate::plan::nest::Index;
use crate::schedule::segments::{self, Panels, PlaneProducts, SegmentAlgorithm, SegmentRun, Taps};
use crate::schedule::units::PanelShape;
use crate::schedule::winograd::PlaneSegments;

/// Equal segments, or the panels of one width in each of them.
pub(super) enum Run {
    Packed(PackedRun),
    Panels(PanelRun),
    /// Over whole maps, see `winograd.rs`.
    Winograd(WinogradRun),
}

/// Equal segments that are packed side by side.
pub(super) struct PackedRun {
    /// Segments.
    pub count: u32,
    /// Of them in a vector.
    pub packed: u32,
    /// Input and output channels of each.
    pub channels: (u32, u32),
    /// Where they begin.
    pub at: Start,
}

impl PackedRun {
    /// Segments that begin at some place, `packed` of them in a vector.
    pub fn new(run: &SegmentRun, packed: u32, at: Start) -> Self {
        Self { count: run.blocks, packed, channels: (run.ic, run.oc), at }
    }
}

/// Equal segments that are computed by Winograd's method.
pub(super) struct WinogradRun {
    pub planes: PlaneSegments,
    /// Lanes that each stores of its last vector of outputs.
    pub last_lanes: u32,
    pub at: Start,
}

impl WinogradRun {
    /// Segments that begin at some place; `is_only` tells that there are no others beside them.
    pub fn new(
        run: &SegmentRun,
        (products, lanes): (PlaneProducts, u32),
        (at, is_only): (Start, bool),
    ) -> Self {
        let planes = PlaneSegments::of(run, products);
        let last_lanes = if is_only { lanes } else { (planes.oc - 1) % lanes + 1 };
        Self { planes, last_lanes, at }
    }
}

impl Job<'_> {
    /// Segments in the order in which [`Pack::Panels`](crate::plan::pack::Pack::Panels) writes
    /// them.
    pub(super) fn runs(&self, runs: &[SegmentRun], lanes: u32) -> Vec<Run> {
        let mut at = Start::default();
        let mut found = Vec::new();
        for run in runs {
            match run.algorithm {
                SegmentAlgorithm::SideBySide { packed } => {
                    found.push(Run::Packed(PackedRun::new(run, packed, at)))
                }
                SegmentAlgorithm::InputsSideBySide { shares } => {
                    found.extend(self.runs_beside(run, Beside::Inputs(shares), at, lanes));
                }
                SegmentAlgorithm::PixelsSideBySide { pixels } => {
                    found.extend(self.runs_beside(run, Beside::Pixels(pixels), at, lanes));
                }
                SegmentAlgorithm::Panels(panels) => {
                    found.extend(self.panel_runs((run, panels), at, lanes).into_iter().map(Run::Panels));
                }
                SegmentAlgorithm::Winograd(products) => {
                    let is_only = self.direct.conv.partition.segments() == 1;
                    found.push(Run::Winograd(WinogradRun::new(run, (products, lanes), (at, is_only))));
                }
            }
            let inputs: usize = run.segments.iter().map(|(inputs, _)| inputs.len()).sum();
            at.input += inputs as i64;
            at.output += i64::from(run.blocks * run.oc);
            let [weights, biases] = run.constants(&self.direct.conv.window, lanes);
            at.weights += weights as i64;
            at.bias += biases as i64;
        }
        found
    }

    /// All segments by the algorithms chosen for them.
    pub(super) fn all_runs(&self, lanes: u32) -> Vec<Run> {
        self.runs(&segments::all_runs(self.direct.conv, &self.algorithms, lanes), lanes)
    }

    /// The panel of a segment whose outputs have several lanes.
    fn runs_beside(
        &self,
        run: &SegmentRun,
        beside: Beside,
        at: Start,
        lanes: u32,
    ) -> impl Iterator<Item = Run> + use<> {
        let panels = Panels { merged: 1, vectors: 1, taps: Taps::Together };
        let runs = self.panel_runs((run, panels), at, lanes).into_iter();
        runs.map(move |run| Run::Panels(PanelRun { beside, ..run }))
    }

    /// The panels of equal segments.
    fn panel_runs(
        &self,
        (run, Panels { vectors, taps, .. }): (&SegmentRun, Panels),
        at: Start,
        lanes: u32,
    ) -> Vec<PanelRun> {
        let (ic, oc) = (run.ic, run.oc);
        let (padded, products) =
            (i64::from(oc.next_multiple_of(lanes)), i64::from(ic) * self.direct.conv.window.taps() as i64);
        let mut start = 0;
        let shapes = run.panel_shapes(self.direct.conv, vectors, lanes).into_iter();
        let runs = shapes.map(|PanelShape { panels, vectors, last_lanes }| {
            let panel = i64::from(vectors * lanes);
            let first = start;
            start += i64::from(panels) * panel;
            PanelRun {
                blocks: run.blocks,
                panels,
                vectors,
                last_lanes,
                ic,
                beside: Beside::Outputs,
                taps,
                input: (at.input, i64::from(ic)),
                output: (at.output + first, i64::from(oc), panel),
                weights: (at.weights + first * products, padded * products, panel * products),
                bias: of_constants((at.bias, first, panel), (padded, taps)),
                around: (Index::Constant(0), [0; 2]),
            }
        });
        runs.collect()
    }
}
