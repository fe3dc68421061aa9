//! Which algorithm computes the segments of a convolution in vectors.

use super::Scheduler;
use crate::graph::{NodeId, Shape};
use crate::kernels::winograd::patches;
use crate::schedule::Algorithm;
use crate::schedule::candidates::{Choosing, timed};
use crate::schedule::direct::{DirectConv, tile_shape};
use crate::schedule::options::{Precision, STEP_LIMIT};
use crate::schedule::rules::{LARGEST_TILE, Rules};
use crate::schedule::segments::{
    Candidate, Choice, PlaneProducts, Segment, SegmentAlgorithm, equal_segments, sizes,
};
use crate::schedule::units::unit_groups;
use crate::schedule::winograd::PlaneSegments;

impl Scheduler<'_> {
    /// Whether kernels can reach the next row of each map that a node reads or writes.
    pub(super) fn rows_are_near(&self, id: NodeId) -> bool {
        let values = self.node(id).inputs.iter().chain([&id]);
        values.copied().all(|value| self.view(value).row() <= STEP_LIMIT)
    }

    /// Whether planes of pairs of bf16 values take the place of a layer's windows.
    pub(super) fn takes_planes_of_pairs(&self, id: NodeId) -> bool {
        self.rules(id).takes_planes_of_pairs(self.node(id)) && self.rows_are_near(id)
    }

    /// Chooses the algorithm of each run of equal segments of a convolution; Winograd's method
    /// needs whole maps.
    pub(super) fn choose_algorithms(
        &mut self,
        id: NodeId,
        direct: DirectConv<'_>,
        shapes: [Shape; 2],
        has_whole_maps: bool,
    ) -> Algorithm {
        let input_pixel = self.view(self.node(id).inputs[0]).pixel;
        let pairs = has_whole_maps && self.takes_planes_of_pairs(id);
        let suits_winograd = has_whole_maps
            && self.rows_are_near(id)
            && self.rules(id).suits_winograd(direct.conv, shapes[1], pairs);
        let choosing = Choosing { direct, shapes, input_pixel, target: self.target };
        let mut algorithms = Vec::new();
        for segments in equal_segments(&direct.conv.partition) {
            let winograd = suits_winograd.then(|| self.plane_products(pairs, sizes(&segments), shapes[1]));
            let algorithm = self.choose_algorithm(id, &choosing, &segments, winograd);
            *self.schedule.planes_ms.entry(id).or_default() +=
                self.planes_ms(algorithm, &segments, shapes[1]);
            algorithms.push(algorithm);
        }
        let units = unit_groups(direct.conv, &algorithms, self.target.lanes);
        Algorithm::Segments { algorithms, units }
    }

    /// Chooses the algorithm of equal segments. Where products are those of pairs, there is one.
    pub(super) fn choose_algorithm(
        &mut self,
        id: NodeId,
        choosing: &Choosing<'_>,
        segments: &[Segment],
        winograd: Option<PlaneProducts>,
    ) -> SegmentAlgorithm {
        let candidates = self.candidates(choosing, segments, winograd);
        if candidates.len() == 1 && winograd != Some(PlaneProducts::Pairs) {
            return candidates[0].algorithm;
        }
        let chosen = (self.choose)(&candidates).min(candidates.len() - 1);
        let algorithm = candidates[chosen].algorithm;
        let ((ic, oc), count) = (sizes(segments), segments.len() as u32);
        self.schedule.choices.push(Choice { node: id, segments: count, ic, oc, candidates, chosen });
        algorithm
    }

    /// The algorithms of equal segments with their times.
    pub(super) fn candidates(
        &mut self,
        choosing: &Choosing<'_>,
        segments: &[Segment],
        winograd: Option<PlaneProducts>,
    ) -> Vec<Candidate> {
        let question = choosing.question(segments, winograd);
        if let Some(known) = self.known.get(&question) {
            return known.clone();
        }
        let is_of_pairs = winograd == Some(PlaneProducts::Pairs);
        let mut algorithms = if is_of_pairs { Vec::new() } else { choosing.algorithms(segments) };
        algorithms.extend(winograd.map(SegmentAlgorithm::Winograd));
        let is_told = algorithms.len() > 1 || is_of_pairs;
        let candidates = timed(algorithms, is_told, |algorithm| {
            let instructions = self.costs.segments_ms(&choosing.candidate(segments, algorithm));
            instructions + self.planes_ms(algorithm, segments, choosing.shapes[1])
        });
        self.known.insert(question, candidates.clone());
        candidates
    }

    /// How the planes of Winograd's method would be multiplied, for segments of `channels` inputs
    /// and outputs.
    pub(super) fn plane_products(&self, pairs: bool, channels: (u32, u32), out: Shape) -> PlaneProducts {
        let [rows, columns] = patches([out.h(), out.w()]).map(u64::from);
        match Rules::new(Precision::F32, self.target).fast_inner_of(channels, rows * columns) {
            _ if pairs => PlaneProducts::Pairs,
            Some(vectors) => PlaneProducts::FastInner(vectors),
            None => {
                let shape = tile_shape(self.target, channels.1, LARGEST_TILE as u32);
                PlaneProducts::Vectors(shape.vectors)
            }
        }
    }

    /// Milliseconds that planes take beyond the instructions of kernels.
    pub(super) fn planes_ms(&self, algorithm: SegmentAlgorithm, segments: &[Segment], out: Shape) -> f64 {
        let SegmentAlgorithm::Winograd(products) = algorithm else { return 0.0 };
        let (ic, oc) = sizes(segments);
        let planes = PlaneSegments { segments: segments.len() as u32, ic, oc, products };
        planes.planes_ms(self.target, [out.h(), out.w()])
    }
}
