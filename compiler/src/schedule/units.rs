//! Units of work: how threads share the segments of a convolution in vectors.

use super::segments::{Panels, SegmentAlgorithm, SegmentRun, all_runs, panel_widths};
use crate::graph::Conv;

/// The most groups that have units of their own: threads look for theirs among all of a step.
const MOST_GROUPS: usize = 32;

/// Panels of equal width in each of some equal blocks of segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PanelShape {
    /// Panels behind each other in a block.
    pub panels: u32,
    /// Vectors of each.
    pub vectors: u32,
    /// Lanes that are stored of the last vector.
    pub last_lanes: u32,
}

impl SegmentRun {
    /// The panels of a block, in panels of `vectors` vectors where possible.
    ///
    /// The only block may write whole vectors, since every value has room for them behind its
    /// channels; one of several must not touch the next one's channels.
    pub fn panel_shapes(&self, conv: &Conv, vectors: u32, lanes: u32) -> Vec<PanelShape> {
        let is_only = self.segments.len() == conv.partition.segments() && self.blocks == 1;
        let mut widths = panel_widths(self.oc.div_ceil(lanes), vectors);
        let partial = if is_only || self.oc.is_multiple_of(lanes) { None } else { widths.pop() };
        let whole = widths.chunk_by(|a, b| a == b);
        let whole = whole.map(|w| PanelShape { panels: w.len() as u32, vectors: w[0], last_lanes: lanes });
        let partial = partial.map(|vectors| PanelShape { panels: 1, vectors, last_lanes: self.oc % lanes });
        whole.chain(partial).collect()
    }

    /// The parts that kernels compute one by one.
    fn pieces(&self, run: usize, conv: &Conv, lanes: u32) -> Vec<Piece> {
        let panels = |vectors| {
            let of_shape = |shape: PanelShape| Piece {
                run,
                blocks: self.blocks,
                panels: shape.panels,
                multiply_adds: u64::from(self.blocks * shape.panels) * u64::from(shape.vectors * self.ic),
                kind: Kind::Panels,
            };
            self.panel_shapes(conv, vectors, lanes).into_iter().map(of_shape).collect()
        };
        let single = |kind, vectors: u32| {
            let multiply_adds = u64::from(vectors * self.ic);
            vec![Piece { run, blocks: 1, panels: 1, multiply_adds, kind }]
        };
        match self.algorithm {
            SegmentAlgorithm::SideBySide { packed } => single(Kind::Packed, self.blocks.div_ceil(packed)),
            SegmentAlgorithm::InputsSideBySide { .. } | SegmentAlgorithm::PixelsSideBySide { .. } => {
                panels(1)
            }
            SegmentAlgorithm::Panels(Panels { vectors, .. }) => panels(vectors),
            SegmentAlgorithm::Winograd(_) => single(Kind::Planes, 0),
        }
    }
}

/// What a piece of a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Packed,
    Panels,
    /// Its units are those of its patches.
    Planes,
}

/// A part of a run that kernels compute by itself.
#[derive(Clone, Copy, Debug)]
struct Piece {
    run: usize,
    blocks: u32,
    panels: u32,
    /// Of vectors, for a tap of a pixel.
    multiply_adds: u64,
    kind: Kind,
}

impl Piece {
    /// True if both are panels of the same segments, of which there are several.
    fn has_segments_of(&self, other: &Self) -> bool {
        self.kind == Kind::Panels && other.kind == Kind::Panels && self.blocks > 1 && self.run == other.run
    }

    /// The units of a block of rows.
    fn parts(&self) -> u32 {
        match self.kind {
            Kind::Panels if self.blocks == 1 => self.panels,
            Kind::Panels => self.blocks,
            Kind::Packed | Kind::Planes => 1,
        }
    }
}

/// Pieces that units are made of: a unit does a part of each of them, or all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitGroup {
    /// The pieces, by position: vectors of packed segments, or panels of equal width, run by run.
    pub pieces: Vec<usize>,
    /// Units of a block of rows, each a panel or a segment of the pieces; none where one unit does
    /// all.
    pub parts: Option<u32>,
}

/// The units of a convolution's segments: all panels of equal segments together; or, where these
/// are many, as many neighbours as make 32 groups of about equal work.
pub fn unit_groups(conv: &Conv, algorithms: &[SegmentAlgorithm], lanes: u32) -> Vec<UnitGroup> {
    let runs = all_runs(conv, algorithms, lanes);
    let pieces: Vec<Piece> =
        runs.iter().enumerate().flat_map(|(number, run)| run.pieces(number, conv, lanes)).collect();
    let groups = groups_of_equal(&pieces);
    if groups.len() <= MOST_GROUPS {
        let whole = |group: Vec<usize>| UnitGroup { parts: Some(pieces[group[0]].parts()), pieces: group };
        return groups.into_iter().map(whole).collect();
    }
    merged(&pieces, groups)
}

/// Pieces by the segments that they are of.
fn groups_of_equal(pieces: &[Piece]) -> Vec<Vec<usize>> {
    let mut found: Vec<Vec<usize>> = Vec::new();
    for (number, piece) in pieces.iter().enumerate().filter(|(_, piece)| piece.kind != Kind::Planes) {
        match found.last_mut() {
            Some(group) if group.last().is_some_and(|&last| pieces[last].has_segments_of(piece)) => {
                group.push(number);
            }
            _ => found.push(vec![number]),
        }
    }
    found
}

/// Neighbouring groups together, so that there are [`MOST_GROUPS`] of about equal work.
fn merged(pieces: &[Piece], groups: Vec<Vec<usize>>) -> Vec<UnitGroup> {
    let work = |group: &[usize]| group.iter().map(|&piece| pieces[piece].multiply_adds).sum::<u64>();
    let all = groups.iter().map(|group| work(group)).sum::<u64>().max(1);
    let mut found: Vec<UnitGroup> = Vec::new();
    let (mut done, mut last) = (0, None);
    for group in groups {
        let place = u128::from(done) * MOST_GROUPS as u128 / u128::from(all);
        done += work(&group);
        match found.last_mut().filter(|_| last == Some(place)) {
            Some(before) => before.pieces.extend(group),
            None => found.push(UnitGroup { pieces: group, parts: None }),
        }
        last = Some(place);
    }
    found
}
