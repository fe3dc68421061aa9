//! How parameters become the constants that kernels read: normalisations folded in, panels in
//! reading order.

mod fast_inner;
mod planes;

use std::borrow::Cow;
use std::ops::Range;

use super::multiversion::{Work, widest};
use crate::graph::{BatchNorm, Conv, KernelBlock, LinearPart, WeightError, WeightId, WeightSource};
use crate::kernels::matmul;
use crate::kernels::sliding::Beside;
use crate::schedule::matrix::{chunks, gathered, row_chunks, segment_sizes, tile_words};
use crate::schedule::segments::{
    Panels, Segment, SegmentAlgorithm, SegmentRun, Taps, all_runs, panel_widths,
};
use crate::vector::{TILE_LANES, bf16};

/// A recipe for the packed constants of one step: `weights` (or scales) and `bias` (or shifts).
#[derive(Clone, Debug, PartialEq)]
pub enum Pack {
    /// Segments of a convolution, equal ones by the algorithm chosen for them. Panels: block by
    /// block, panel by panel ([`panel_widths`]); in each panel tap by tap, input by input, its
    /// vectors of outputs; zeros where there is no output, or none that reads the input. Inputs by
    /// the fast inner product are in an [order](crate::kernels::fast_inner::order) of their own,
    /// and before the biases of a panel lie two other constants of each output. Side by side:
    /// vector by vector, then tap by tap, then the weights from each place in a segment, or in a
    /// share of its inputs, to all outputs. By Winograd's method: segment by segment, plane by
    /// plane, panels of transformed weights, which for products of pairs are those of
    /// [`Pack::Tiles`]; biases in one plane, zeros in the others.
    Panels {
        /// The convolution.
        conv: Conv,
        /// f32 values in a vector.
        lanes: u32,
        /// The algorithm of each run of equal segments, in order.
        algorithms: Vec<SegmentAlgorithm>,
    },
    /// A depthwise convolution: vector of channels by vector, then tap by tap.
    Depthwise {
        /// The convolution.
        conv: Conv,
        /// f32 values in a vector.
        lanes: u32,
    },
    /// A convolution of equal segments for tiles (see [`matmul`]), segment by segment: panel by
    /// panel of 32 outputs or what is left, row of the matrix by row that a sum is over
    /// ([`gathered`]), chunk by chunk of 32 inputs, plane by plane, tile by tile. A tile holds 16
    /// rows; row `r` holds inputs `2r` and `2r + 1` of each of 16 outputs, two bf16 values in a
    /// word. Inputs are the taps of a row of the matrix by channels, these padded to whole
    /// vectors; zeros where there is no input or output.
    Tiles {
        /// The convolution.
        conv: Conv,
        /// Parts that a weight is taken as, a plane each.
        parts: u32,
    },
    /// A normalisation by itself: scales and shifts.
    Affine {
        /// The normalisation.
        norm: BatchNorm,
        /// Channels.
        channels: u32,
    },
}

/// What a linear operation's output channel is multiplied by and then shifted by.
struct Folded {
    scale: Vec<f64>,
    shift: Vec<f64>,
}

impl Pack {
    /// f32 values of weights and of biases.
    pub fn sizes(&self) -> (u64, u64) {
        match self {
            Pack::Panels { conv, lanes, algorithms } => {
                let runs = all_runs(conv, algorithms, *lanes);
                let constants = runs.iter().map(|run| run.constants(&conv.window, *lanes));
                constants.fold((0, 0), |sum, [weights, biases]| (sum.0 + weights, sum.1 + biases))
            }
            Pack::Depthwise { conv, lanes } => {
                let channels = u64::from(conv.partition.oc().next_multiple_of(*lanes));
                (channels * conv.window.taps(), channels)
            }
            Pack::Tiles { conv, parts } => {
                let segments = conv.partition.segments() as u64;
                let [weights, biases] = tile_words(conv, *parts);
                (segments * weights, segments * biases)
            }
            Pack::Affine { channels, .. } => (u64::from(*channels), u64::from(*channels)),
        }
    }

    /// The tensors that it is made of.
    pub fn sources(&self) -> Vec<WeightId> {
        match self {
            Pack::Panels { conv, .. } | Pack::Depthwise { conv, .. } | Pack::Tiles { conv, .. } => {
                conv.parts.iter().flat_map(LinearPart::weights).collect()
            }
            Pack::Affine { norm, .. } => norm.weights(),
        }
    }

    /// Writes the packed constants; `weights` and `bias` have the lengths of [`Pack::sizes`] and
    /// are zero.
    ///
    /// After an error, which is one of `source`, they hold anything.
    pub fn write(
        &self,
        source: &dyn WeightSource,
        weights: &mut [f32],
        bias: &mut [f32],
    ) -> Result<(), WeightError> {
        match self {
            Pack::Panels { conv, lanes, algorithms } => {
                let elements = Elements::new(conv, source)?;
                let mut packer = Packer { elements, conv, lanes: *lanes as usize, weights, bias };
                all_runs(conv, algorithms, *lanes).iter().for_each(|run| packer.run(run));
            }
            Pack::Depthwise { conv, lanes } => {
                depthwise(&Elements::new(conv, source)?, conv, *lanes as usize, weights, bias);
            }
            Pack::Tiles { conv, parts } => tiles(&Elements::new(conv, source)?, conv, *parts, weights, bias),
            Pack::Affine { norm, channels } => {
                let folded = fold(std::slice::from_ref(norm), None, *channels as usize, source)?;
                copy(&folded.scale, weights);
                copy(&folded.shift, bias);
            }
        }
        Ok(())
    }
}

fn copy(from: &[f64], to: &mut [f32]) {
    for (to, &from) in to.iter_mut().zip(from) {
        *to = from as f32;
    }
}

/// Joins a bias and the normalisations after it into one scale and one shift a channel.
fn fold(
    norms: &[BatchNorm],
    bias: Option<&[f32]>,
    channels: usize,
    source: &dyn WeightSource,
) -> Result<Folded, WeightError> {
    let mut folded = Folded { scale: vec![1.0; channels], shift: vec![0.0; channels] };
    if let Some(bias) = bias {
        folded.shift = bias.iter().map(|&b| f64::from(b)).collect();
    }
    for norm in norms {
        let [mean, variance] = [source.tensor(norm.mean)?, source.tensor(norm.variance)?];
        let optional = |id: Option<WeightId>| id.map(|id| source.tensor(id)).transpose();
        let [gamma, beta] = [optional(norm.gamma)?, optional(norm.beta)?];
        for c in 0..channels {
            let gamma = gamma.as_ref().map_or(1.0, |gamma| f64::from(gamma[c]));
            let beta = beta.as_ref().map_or(0.0, |beta| f64::from(beta[c]));
            let factor = gamma / (f64::from(variance[c]) + norm.epsilon).sqrt();
            folded.scale[c] *= factor;
            folded.shift[c] = (folded.shift[c] - f64::from(mean[c])) * factor + beta;
        }
    }
    Ok(folded)
}

/// The scale and shift of every output channel of a convolution.
fn fold_parts(parts: &[LinearPart], source: &dyn WeightSource) -> Result<Folded, WeightError> {
    let mut all = Folded { scale: Vec::new(), shift: Vec::new() };
    for part in parts {
        let bias = part.bias.map(|id| source.tensor(id)).transpose()?;
        let folded = fold(&part.norms, bias.as_deref(), part.outputs as usize, source)?;
        all.scale.extend(folded.scale);
        all.shift.extend(folded.shift);
    }
    Ok(all)
}

/// The kernel elements and folded scales of a convolution, by tap and channel.
struct Elements<'a> {
    folded: Folded,
    blocks: Vec<KernelBlock>,
    kernels: Vec<Cow<'a, [f32]>>,
}

impl<'a> Elements<'a> {
    fn new(conv: &Conv, source: &'a dyn WeightSource) -> Result<Self, WeightError> {
        Ok(Self {
            folded: fold_parts(&conv.parts, source)?,
            kernels: conv.parts.iter().map(|part| source.tensor(part.kernel)).collect::<Result<_, _>>()?,
            blocks: conv.kernel_blocks(),
        })
    }

    /// The blocks that hold some of `outputs`, with those of them that each holds. Blocks are in
    /// the order of their outputs.
    fn blocks_of(&self, outputs: Range<usize>) -> Vec<(&KernelBlock, Range<usize>)> {
        let first = self.blocks.partition_point(|block| block.outputs.end as usize <= outputs.start);
        let held = |block: &KernelBlock| {
            outputs.start.max(block.outputs.start as usize)..outputs.end.min(block.outputs.end as usize)
        };
        let blocks = self.blocks[first..].iter().map(|block| (block, held(block)));
        blocks.take_while(|(_, outputs)| !outputs.is_empty()).collect()
    }

    /// Writes the scaled weights of a tap and the `input`-th input channel of the segment for some
    /// of a block's outputs.
    #[inline(always)]
    fn write(
        &self,
        block: &KernelBlock,
        (tap, input): (usize, usize),
        outputs: Range<usize>,
        to: &mut [f32],
    ) {
        let column = outputs.start - block.outputs.start as usize;
        let at = block.offset + tap * block.tap_stride + input * block.input_stride + column;
        let weights = &self.kernels[block.part][at..at + outputs.len()];
        for ((to, &weight), &scale) in to.iter_mut().zip(weights).zip(&self.folded.scale[outputs]) {
            *to = (f64::from(weight) * scale) as f32;
        }
    }
}

impl Elements<'_> {
    /// Writes the scaled weights of a tap and an input channel of the convolution for some
    /// outputs, where they read it.
    fn write_input(&self, (tap, input): (usize, u32), outputs: Range<usize>, to: &mut [f32]) {
        for (block, held) in self.blocks_of(outputs.clone()) {
            if block.inputs.contains(&input) {
                let lanes = held.start - outputs.start..held.end - outputs.start;
                let input = (input - block.inputs.start) as usize;
                self.write(block, (tap, input), held, &mut to[lanes]);
            }
        }
    }
}

/// Weights of a block for a panel: those of a tap from some inputs to some outputs.
struct Rows<'a> {
    elements: &'a Elements<'a>,
    block: &'a KernelBlock,
    tap: usize,
    inputs: Range<usize>,
    outputs: Range<usize>,
    /// Rows of the panel before that of the tap's first input.
    above: usize,
}

/// Weights of some neighbouring outputs.
trait WeightPanel {
    /// The outputs that it has columns for.
    fn outputs(&self) -> Range<usize>;

    /// Writes some rows.
    fn write(&mut self, rows: Rows<'_>);
}

/// Rows that are written to a panel.
struct Write<'a, P>(&'a mut P, Rows<'a>);

impl<P: WeightPanel> Work for Write<'_, P> {
    #[inline(always)]
    fn run(self) {
        self.0.write(self.1);
    }
}

/// Rows that are written to one panel before the next one: rows of a kernel that stay in the cache
/// meanwhile.
const ROWS: usize = 16;

/// Writes neighbouring panels side by side, some rows of each in turn, so that a kernel is read
/// from front to back: its rows are longer than those of a panel, and jumping between them waits
/// for memory. `above` gives the rows of a panel before that of a block's first input, for a tap.
fn write_panels<P: WeightPanel>(
    elements: &Elements<'_>,
    panels: &mut [P],
    taps: usize,
    above: impl Fn(&KernelBlock, usize) -> usize,
) {
    let (Some(first), Some(last)) = (panels.first(), panels.last()) else { return };
    for (block, held) in elements.blocks_of(first.outputs().start..last.outputs().end) {
        for (tap, first) in rows_in_turn(taps, block.inputs.len()) {
            let inputs = first..block.inputs.len().min(first + ROWS);
            for panel in panels.iter_mut() {
                let of_panel = panel.outputs();
                let outputs = held.start.max(of_panel.start)..held.end.min(of_panel.end);
                if !outputs.is_empty() {
                    let above = above(block, tap);
                    widest(Write(
                        panel,
                        Rows { elements, block, tap, inputs: inputs.clone(), outputs, above },
                    ));
                }
            }
        }
    }
}

/// A panel that is being written.
struct Panel<'a> {
    /// The outputs that it has columns for.
    outputs: Range<usize>,
    /// Columns, padding included.
    width: usize,
    /// A row for each tap and input.
    values: &'a mut [f32],
    /// Rows of constants of its outputs, the last one of biases.
    constants: &'a mut [f32],
}

impl WeightPanel for Panel<'_> {
    fn outputs(&self) -> Range<usize> {
        self.outputs.clone()
    }

    #[inline(always)]
    fn write(&mut self, Rows { elements, block, tap, inputs, outputs, above }: Rows<'_>) {
        let first = outputs.start - self.outputs.start;
        let rows = self.values.chunks_exact_mut(self.width).skip(above + inputs.start);
        for (input, row) in inputs.zip(rows) {
            elements.write(block, (tap, input), outputs.clone(), &mut row[first..first + outputs.len()]);
        }
    }
}

/// The first of each [`ROWS`] inputs, tap by tap.
fn rows_in_turn(taps: usize, inputs: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..taps).flat_map(move |tap| (0..inputs).step_by(ROWS).map(move |first| (tap, first)))
}

/// Writes the constants of a convolution from front to back.
struct Packer<'a> {
    elements: Elements<'a>,
    conv: &'a Conv,
    lanes: usize,
    /// What is not written yet.
    weights: &'a mut [f32],
    bias: &'a mut [f32],
}

impl<'a> Packer<'a> {
    /// The next `weights` weights and `biases` biases.
    fn take(&mut self, weights: usize, biases: usize) -> (&'a mut [f32], &'a mut [f32]) {
        let (taken, rest) = std::mem::take(&mut self.weights).split_at_mut(weights);
        let (shifts, rest_of_bias) = std::mem::take(&mut self.bias).split_at_mut(biases);
        (self.weights, self.bias) = (rest, rest_of_bias);
        (taken, shifts)
    }

    /// All segments of a run.
    fn run(&mut self, run: &SegmentRun) {
        match run.algorithm {
            SegmentAlgorithm::SideBySide { packed } => self.side_by_side(&run.segments, packed as usize),
            SegmentAlgorithm::InputsSideBySide { shares } => {
                let beside = Beside::Inputs(shares);
                run.segments.iter().for_each(|segment| self.several_lanes(segment, beside));
            }
            SegmentAlgorithm::PixelsSideBySide { pixels } => {
                let beside = Beside::Pixels(pixels);
                run.segments.iter().for_each(|segment| self.several_lanes(segment, beside));
            }
            SegmentAlgorithm::Panels(panels) => {
                let blocks = run.segments.chunks(panels.merged as usize);
                blocks.for_each(|block| self.panels(block, panels));
            }
            SegmentAlgorithm::Winograd(products) => {
                run.segments.iter().for_each(|segment| self.planes(segment, products));
            }
        }
    }

    /// The panels of neighbouring segments that are one dense block.
    fn panels(&mut self, segments: &[Segment], Panels { vectors, taps, .. }: Panels) {
        let (first, last) = (&segments[0], &segments[segments.len() - 1]);
        let inputs = first.0.start as usize..last.0.end as usize;
        let outputs = first.1.start as usize..last.1.end as usize;
        let mut panels = self.take_panels(inputs.len(), outputs, (vectors, taps));
        let above =
            |block: &KernelBlock, tap| tap * inputs.len() + block.inputs.start as usize - inputs.start;
        write_panels(&self.elements, &mut panels, self.conv.window.taps() as usize, above);
        if taps == Taps::Prescaled {
            let (_, factors) = self.take(0, inputs.len().next_multiple_of(self.lanes));
            let panels = panels.into_iter().map(|panel| (panel.values, panel.constants)).collect();
            fast_inner::pair_weights(panels, factors, self.lanes);
        }
    }

    /// The next panels, those of a block of `inputs` channels, with their biases written.
    fn take_panels(
        &mut self,
        inputs: usize,
        outputs: Range<usize>,
        (vectors, taps): (u32, Taps),
    ) -> Vec<Panel<'a>> {
        let (mut start, end) = (outputs.start, outputs.end);
        let rows = self.conv.window.taps() as usize * inputs;
        let widths = panel_widths((end - start).div_ceil(self.lanes) as u32, vectors);
        let panels = widths.into_iter().map(|width| {
            let width = width as usize * self.lanes;
            let outputs = start..end.min(start + width);
            start += width;
            let (values, constants) = self.take(rows * width, taps.constants_of_output() as usize * width);
            let biases = constants.len() - width;
            copy(&self.elements.folded.shift[outputs.clone()], &mut constants[biases..]);
            Panel { outputs, width, values, constants }
        });
        panels.collect()
    }

    /// A segment whose outputs have several lanes next to each other: one for each of the shares
    /// that neighbouring inputs are of, the first with the bias, or the same for each pixel.
    fn several_lanes(&mut self, (inputs, outputs): &Segment, beside: Beside) {
        let (lanes, shares) = (beside.lanes() as usize, beside.shares() as usize);
        let (places, outputs) = (inputs.len() / shares, outputs.start as usize..outputs.end as usize);
        let taps = self.conv.window.taps() as usize;
        let (weights, shifts) = self.take(taps * places * self.lanes, self.lanes);
        let spread = |from: &[f32], share: usize, to: &mut [f32]| {
            for lane in (share..lanes).step_by(shares) {
                to[lane..].iter_mut().step_by(lanes).zip(from).for_each(|(to, &from)| *to = from);
            }
        };
        let mut of_outputs = vec![0.0; outputs.len()];
        copy(&self.elements.folded.shift[outputs.clone()], &mut of_outputs);
        spread(&of_outputs, 0, shifts);
        for (row, values) in weights.chunks_exact_mut(self.lanes).enumerate() {
            let (tap, place) = (row / places, row % places);
            for share in 0..shares {
                let input = inputs.start + (place * shares + share) as u32;
                of_outputs.fill(0.0);
                self.elements.write_input((tap, input), outputs.clone(), &mut of_outputs);
                spread(&of_outputs, share, values);
            }
        }
    }

    /// Equal segments, `packed` of them in each vector.
    fn side_by_side(&mut self, segments: &[Segment], packed: usize) {
        let inputs = segments[0].0.len();
        for vector in segments.chunks(packed) {
            let (first, last) = (&vector[0], &vector[vector.len() - 1]);
            let outputs = first.1.start as usize..last.1.end as usize;
            let (weights, shifts) =
                self.take(self.conv.window.taps() as usize * inputs * self.lanes, self.lanes);
            copy(&self.elements.folded.shift[outputs.clone()], shifts);
            for (block, held) in self.elements.blocks_of(outputs.clone()) {
                let lanes = held.start - outputs.start..held.end - outputs.start;
                for (row, values) in weights.chunks_exact_mut(self.lanes).enumerate() {
                    let place = (row / inputs, row % inputs);
                    self.elements.write(block, place, held.clone(), &mut values[lanes.clone()]);
                }
            }
        }
    }
}

fn depthwise(elements: &Elements<'_>, conv: &Conv, lanes: usize, weights: &mut [f32], bias: &mut [f32]) {
    let (channels, taps) = (conv.partition.oc() as usize, conv.window.taps() as usize);
    copy(&elements.folded.shift, bias);
    for (vector, values) in weights.chunks_exact_mut(taps * lanes).enumerate() {
        let first = vector * lanes;
        for (block, held) in elements.blocks_of(first..channels.min(first + lanes)) {
            let lane = held.start - first;
            for (tap, values) in values.chunks_exact_mut(lanes).enumerate() {
                elements.write(block, (tap, 0), held.clone(), &mut values[lane..lane + held.len()]);
            }
        }
    }
}

/// Columns of a tile.
const LANES: usize = TILE_LANES as usize;

/// The weights of some outputs for tiles.
struct TilePanel<'a> {
    outputs: Range<usize>,
    /// Tiles beside each other.
    tiles: usize,
    /// Parts of a weight.
    planes: usize,
    values: &'a mut [f32],
}

/// Writes the constants of a convolution by tiles.
fn tiles(elements: &Elements<'_>, conv: &Conv, parts: u32, weights: &mut [f32], bias: &mut [f32]) {
    let [ic, oc] = segment_sizes(conv);
    let biases = bias.chunks_exact_mut(tile_words(conv, parts)[1] as usize);
    elements.folded.shift.chunks(oc as usize).zip(biases).for_each(|(shift, bias)| copy(shift, bias));
    let (taps, padded) = (conv.window.taps() as usize, ic.next_multiple_of(TILE_LANES) as usize);
    let (in_row, row) =
        (gathered(conv).0.taps() as usize, row_chunks(conv) as usize * matmul::CHUNK as usize);
    let mut panels = tile_panels(conv, parts, weights);
    write_panels(elements, &mut panels, taps, |_, tap| tap / in_row * row + tap % in_row * padded);
}

fn tile_panels<'a>(conv: &Conv, parts: u32, mut weights: &'a mut [f32]) -> Vec<TilePanel<'a>> {
    let outputs = segment_sizes(conv)[1] as usize;
    let panel = |held: Range<usize>| {
        let tiles = held.len().div_ceil(LANES);
        let bytes = matmul::panel_bytes(chunks(conv), tiles as u64, u64::from(parts));
        let (values, rest) = std::mem::take(&mut weights).split_at_mut(bytes as usize / 4);
        weights = rest;
        TilePanel { outputs: held, tiles, planes: parts as usize, values }
    };
    let block = matmul::BLOCK as usize;
    let of_segment = |segment: usize| {
        let (first, end) = (segment * outputs, (segment + 1) * outputs);
        (first..end).step_by(block).map(move |first| first..end.min(first + block))
    };
    (0..conv.partition.segments()).flat_map(of_segment).map(panel).collect()
}

impl WeightPanel for TilePanel<'_> {
    fn outputs(&self) -> Range<usize> {
        self.outputs.clone()
    }

    /// Inputs begin with an even one.
    #[inline(always)]
    fn write(&mut self, Rows { elements, block, tap, inputs, outputs, above }: Rows<'_>) {
        let columns = outputs.start - self.outputs.start..outputs.end - self.outputs.start;
        for input in inputs.clone().step_by(2) {
            let mut pair = [[0.0; matmul::BLOCK as usize]; 2];
            for (input, row) in (input..inputs.end).zip(&mut pair) {
                elements.write(block, (tap, input), outputs.clone(), &mut row[columns.clone()]);
            }
            let [even, odd] = pair.each_ref().map(|row| row.as_chunks().0);
            for (tile, (even, odd)) in even.iter().zip(odd).enumerate().take(self.tiles) {
                let held = columns.start.max(tile * LANES)..columns.end.min((tile + 1) * LANES);
                if !held.is_empty() {
                    self.write_pair(above + input, (tile, held), [even, odd]);
                }
            }
        }
    }
}

impl TilePanel<'_> {
    /// Writes the weights of an even row and of the one after it for some columns of a tile, part
    /// by part.
    #[inline(always)]
    fn write_pair(
        &mut self,
        row: usize,
        (tile, columns): (usize, Range<usize>),
        [even, odd]: [&[f32; LANES]; 2],
    ) {
        let (chunk, within) = (row / matmul::CHUNK as usize, row % matmul::CHUNK as usize);
        let lanes = columns.start - tile * LANES..columns.end - tile * LANES;
        for (plane, words) in pair_parts(even, odd).iter().enumerate().take(self.planes) {
            let tile = (chunk * self.planes + plane) * self.tiles + tile;
            let start = tile * matmul::TILE_SIZE as usize / 4 + within / 2 * LANES;
            let to = &mut self.values[start..start + LANES];
            match lanes.len() {
                LANES => to.copy_from_slice(words),
                _ => to[lanes.clone()].copy_from_slice(&words[lanes.clone()]),
            }
        }
    }
}

/// The parts of pairs of weights, as words of two bf16 values.
#[inline(always)]
fn pair_parts(even: &[f32; LANES], odd: &[f32; LANES]) -> [[f32; LANES]; 3] {
    let mut words = [[0.0; LANES]; 3];
    for lane in 0..LANES {
        let (even, odd) = (bf16::limbs(even[lane]), bf16::limbs(odd[lane]));
        for (plane, words) in words.iter_mut().enumerate() {
            words[lane] = f32::from_bits(even[plane] >> 16 | odd[plane]);
        }
    }
    words
}
