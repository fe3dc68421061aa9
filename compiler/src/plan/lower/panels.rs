//! Panels: the outputs of some equal segments, as wide as tiles are, and where their channels and
//! constants lie.

use super::place::{Surface, Surfaces};
use crate::kernels::sliding::Beside;
use crate::kernels::winograd::PLANES;
use crate::plan::nest::{Index, Offset};
use crate::schedule::direct::TilePanel;
use crate::schedule::segments::{Taps, panel_widths};

/// Where equal segments begin, in channels of input and output and in values of packed weights and
/// biases.
#[derive(Clone, Copy, Default)]
pub(super) struct Start {
    pub input: i64,
    pub output: i64,
    pub weights: i64,
    pub bias: i64,
}

/// Panels of equal width: in each of some equal blocks of segments, one behind the other.
pub(super) struct PanelRun {
    pub blocks: u32,
    pub panels: u32,
    pub vectors: u32,
    pub last_lanes: u32,
    /// Input channels, of each share of them.
    pub ic: u32,
    /// What lies side by side in a vector.
    pub beside: Beside,
    pub taps: Taps,
    /// First input channel, and channels between blocks.
    pub input: (i64, i64),
    /// First output channel, channels between blocks, and between panels.
    pub output: (i64, i64, i64),
    /// First packed weight, values between blocks, and between panels.
    pub weights: (i64, i64, i64),
    /// First packed bias, values between blocks, and between panels.
    pub bias: (i64, i64, i64),
    /// A loop around all blocks, and the weights and biases by which they move with it.
    pub around: (Index, [i64; 2]),
}

/// The byte offset of a first value, so many values on for each segment and each panel.
fn along((start, by_segment, by_panel): (i64, i64, i64), (segment, panel): (Index, Index)) -> Offset {
    Offset::bytes(start * 4).along(segment, by_segment * 4).along(panel, by_panel * 4)
}

/// Where constants of outputs begin: behind `start`, those of a panel `first` outputs from there,
/// of others `panel` outputs further, and of other blocks so many words.
pub(super) fn of_constants(
    (start, first, panel): (i64, i64, i64),
    (block, taps): (i64, Taps),
) -> (i64, i64, i64) {
    let each = i64::from(taps.constants_of_output());
    (start + each * first, block, each * panel)
}

impl PanelRun {
    /// The panel as its tiles see it.
    pub fn tile_panel(&self) -> TilePanel {
        TilePanel { vectors: self.vectors, beside: self.beside, taps: self.taps }
    }

    /// The maps, moved to the channels of a panel.
    pub fn surfaces(&self, surfaces: &Surfaces, (segment, panel): (Index, Index)) -> Surfaces {
        let shift = |surface: &Surface, (start, by_segment, by_panel): (i64, i64, i64)| {
            let moved = surface.channel(start);
            let origin = moved.origin.along(segment, by_segment * 4).along(panel, by_panel * 4);
            Surface { origin, ..moved }
        };
        Surfaces {
            input: shift(&surfaces.input, (self.input.0, self.input.1, 0)),
            out: shift(&surfaces.out, self.output),
            add: shift(&surfaces.add, self.output),
        }
    }

    /// Where the weights and the biases of a panel begin.
    pub fn constants(&self, at: (Index, Index)) -> [Offset; 2] {
        let (index, [weights, biases]) = self.around;
        [along(self.weights, at).along(index, weights * 4), along(self.bias, at).along(index, biases * 4)]
    }

    /// The panels of products of planes, a block each: `distances` are those of planes of inputs
    /// and of results, in values; a plane has `of_plane` words of constants.
    pub fn of_planes(
        (ic, oc): (u32, u32),
        (vectors, lanes): (u32, u32),
        (at, around): (Start, (Index, [i64; 2])),
        (distances, taps, of_plane): ([i64; 2], Taps, i64),
    ) -> Vec<Self> {
        let padded = i64::from(oc.next_multiple_of(lanes));
        let mut start = 0;
        let widths = panel_widths(oc.div_ceil(lanes), vectors);
        let equal = widths.chunk_by(|a, b| a == b).map(|widths| {
            let (panels, vectors) = (widths.len() as u32, widths[0]);
            let panel = i64::from(vectors * lanes);
            let first = start;
            start += i64::from(panels) * panel;
            Self {
                blocks: PLANES,
                panels,
                vectors,
                last_lanes: lanes,
                ic,
                beside: Beside::Outputs,
                taps,
                input: (at.input, distances[0]),
                output: (at.output + first, distances[1], panel),
                weights: (at.weights + first * i64::from(ic), padded * i64::from(ic), panel * i64::from(ic)),
                bias: of_constants((at.bias, first, panel), (of_plane, taps)),
                around,
            }
        });
        equal.collect()
    }
}
