//! Fused groups of layers: each strip of rows of the last one's result is computed from the input
//! on, with the rows between layers in scratch memory.

use super::job::Job;
use super::maps::{Maps, one_row, set};
use super::matmul::{MatrixParts, Product};
use super::place::{Surface, Surfaces};
use super::separable::Parts;
use super::{Lowering, Operands};
use crate::graph::{NodeId, Op, Pool, Post};
use crate::kernels::Descriptor;
use crate::kernels::elementwise::ElementwiseRun;
use crate::kernels::epilogue::Format;
use crate::layout::arena;
use crate::plan::Place;
use crate::plan::nest::{Index, NestBuilder, Offset, Operand};
use crate::schedule::direct::DirectConv;
use crate::schedule::fusion::{self, FusedGroup, Windowed};
use crate::schedule::strips::{self, SectionRun, StripRows, StripRun};
use crate::schedule::tiling::BlockRun;
use crate::schedule::{Algorithm, NodeSchedule, between};

/// What computes some rows of a layer.
enum Body<'a> {
    Conv(Job<'a>),
    Separable(Parts<'a>),
    Tiles(Product<'a>),
    TilesSeparable(MatrixParts<'a>),
    Pool(&'a Pool),
}

/// Weights and biases of the first and the second convolution of a fused group: those of the
/// spatial part or of the whole, and those of the pointwise part.
const CONSTANTS: [[[Operand; 2]; 2]; 2] = [
    [[Operand::Weights, Operand::Bias], [Operand::PointwiseWeights, Operand::PointwiseBias]],
    [[Operand::NextWeights, Operand::NextBias], [Operand::NextPointwiseWeights, Operand::NextPointwiseBias]],
];

impl Body<'_> {
    /// Sets where weights and biases are found.
    fn read_constants(&mut self, [first, second]: [[Operand; 2]; 2]) {
        let set = |job: &mut Job<'_>, names: [Operand; 2]| [job.weights, job.bias] = names;
        match self {
            Body::Conv(job) => set(job, first),
            Body::Separable(parts) => {
                set(&mut parts.spatial, first);
                set(&mut parts.pointwise, second);
                parts.spatial.ready.iter_mut().for_each(|factors| factors.operand = second[1]);
            }
            Body::Tiles(product) => product.weights = first,
            Body::TilesSeparable(parts) => {
                set(&mut parts.spatial, first);
                parts.product.weights = second;
            }
            Body::Pool(_) => {}
        }
    }
}

/// A layer of a fused group.
struct Link<'a> {
    id: NodeId,
    body: Body<'a>,
    maps: Maps,
    /// The names of its constants.
    constants: [[Operand; 2]; 2],
    /// Rows of input for each row of the result.
    stride: u32,
    /// The buffer of its rows; for the last layer, its result.
    rows: Surface,
}

/// Where in its map a strip stands: the strips before it in the run, and the sections before its
/// own.
#[derive(Clone, Copy)]
struct Standing<'a> {
    image: Index,
    section: Index,
    run: &'a SectionRun,
    strip: Index,
    strips: &'a StripRun,
}

impl Standing<'_> {
    /// A whole map of layer `layer`, moved to the first row of the strip, or to the row of its
    /// input.
    fn moved(&self, map: &Surface, image_bytes: u64, layer: usize, stride: u32) -> Surface {
        let row = map.row * i64::from(stride);
        let by_section = i64::from(self.run.advance[layer]) * row;
        let start = i64::from(self.strips.layers[layer].first) * row
            - i64::from(self.run.sections.start) * by_section;
        let moved = map.image(self.image, image_bytes);
        let origin = moved.origin.plus(start).along(self.section, by_section);
        Surface { origin: origin.along(self.strip, i64::from(self.strips.advance[layer]) * row), ..moved }
    }
}

/// `surface` from row `row` on.
fn from_row(surface: &Surface, row: i64) -> Surface {
    Surface { origin: surface.origin.clone().plus(row * surface.row), ..surface.clone() }
}

impl Lowering<'_> {
    /// The layers of a fused group that ends with `id`.
    pub(super) fn strips(&mut self, id: NodeId, group: &FusedGroup) {
        let rows = fusion::layer_rows(self.graph, &group.nodes).unwrap_or_default();
        let runs = strips::section_runs(&rows, &group.sections, group.height);
        let betweens: Vec<Vec<Post>> = group.nodes.iter().map(|&id| self.between(id)).collect();
        let (links, scratch) = self.links(group, &runs, &betweens);
        let mut b = NestBuilder::new();
        b.divide(self.batch, |b, image| {
            for run in &runs {
                b.units(run.sections.clone(), 1, |b, [section, _]| {
                    for strips in &run.strips {
                        b.repeat(0..strips.count, |b, strip| {
                            self.strip(b, &links, Standing { image, section, run, strip, strips });
                        });
                    }
                });
            }
        });
        let mut operands = self.operands(id, self.added(id));
        operands[Operand::In.index()] = Some(self.value_place(self.graph.node(group.nodes[0]).inputs[0]));
        operands[Operand::Scratch.index()] = Some(scratch);
        links.iter().for_each(|link| self.constants(link, &mut operands));
        self.step(id, b, operands);
        if let Some(step) = self.emit.steps.last_mut() {
            step.before = group.nodes[..group.nodes.len() - 1].to_vec();
        }
    }

    /// What stands between the two parts of a separable layer.
    fn between(&self, id: NodeId) -> Vec<Post> {
        match &self.graph.node(id).op {
            Op::Separable(parts) => between(parts),
            _ => Vec::new(),
        }
    }

    /// The layers of a fused group, and their scratch memory: what the layers use themselves, one
    /// after the other, and behind that the buffers between them.
    fn links<'p>(
        &mut self,
        group: &FusedGroup,
        runs: &[SectionRun],
        betweens: &'p [Vec<Post>],
    ) -> (Vec<Link<'p>>, Place)
    where
        Self: 'p,
    {
        let capacities = strips::buffer_rows(runs, group.nodes.len());
        let mut links = Vec::with_capacity(group.nodes.len());
        let (mut own, mut convolutions) = (0, CONSTANTS.into_iter());
        for ((&id, between), &rows) in group.nodes.iter().zip(betweens).zip(&capacities) {
            let Some(layer) = Windowed::of(&self.graph.node(id).op) else { continue };
            let Some((mut body, bytes)) = self.body(id, layer, between, rows) else { continue };
            own = bytes.max(own);
            let is_pool = matches!(layer, Windowed::Pool(_));
            let constants = if is_pool { CONSTANTS[0] } else { convolutions.next().unwrap_or(CONSTANTS[0]) };
            body.read_constants(constants);
            let maps = self.maps(id);
            let (stride, rows) = (layer.window().strides[0], maps.surfaces().out);
            links.push(Link { id, body, maps, constants, stride, rows });
        }
        let slack = u64::from(self.target.vector_bytes());
        let mut end = (own + slack).next_multiple_of(arena::ALIGNMENT);
        let buffers = links.len().saturating_sub(1);
        for (link, &rows) in links.iter_mut().zip(&capacities).take(buffers) {
            link.rows.operand = Operand::Scratch;
            link.rows.origin = Offset::bytes(end as i64);
            end += (u64::from(rows) * link.maps.out.row() + slack).next_multiple_of(arena::ALIGNMENT);
        }
        (links, self.emit.scratch(end))
    }

    /// What computes up to `rows` rows of a layer at a time, and the scratch memory that this
    /// takes.
    fn body<'p>(
        &self,
        id: NodeId,
        layer: Windowed<'p>,
        between: &'p [Post],
        rows: u32,
    ) -> Option<(Body<'p>, u64)>
    where
        Self: 'p,
    {
        let (node, width) = (self.graph.node(id), self.view(id).shape.w());
        let body = match (layer, self.schedule.node(id)?) {
            (Windowed::Pool(pool), _) => (Body::Pool(pool), 0),
            (Windowed::Conv(conv), NodeSchedule::Conv(schedule)) => match &schedule.algorithm {
                Algorithm::Matmul => {
                    let product = self.product_of_rows(id, conv, rows);
                    let bytes = product.matrix.end();
                    (Body::Tiles(product), bytes)
                }
                algorithm => {
                    let row = if conv.window.is_point() { u32::MAX } else { width };
                    let post = node.kernel_post();
                    let direct = DirectConv::new(self.target, conv, node.fusion.load, post, row);
                    (Body::Conv(Job::new(direct, algorithm, self.target.lanes)), 0)
                }
            },
            (Windowed::Separable(parts), NodeSchedule::Separable(schedule)) => match schedule.pointwise {
                Algorithm::Matmul => {
                    let parts = self.matrix_parts(id, parts, between, (&schedule.spatial, rows));
                    let bytes = parts.scratch_bytes;
                    (Body::TilesSeparable(parts), bytes)
                }
                _ => {
                    let parts = self.parts(id, parts, between, schedule);
                    let bytes = u64::from(rows) * parts.scratch.row as u64;
                    (Body::Separable(parts), bytes)
                }
            },
            _ => return None,
        };
        Some(body)
    }

    /// Packs the constants of a layer.
    fn constants(&mut self, link: &Link<'_>, operands: &mut Operands) {
        let [spatial, pointwise] = match &link.body {
            Body::Pool(_) => [None, None],
            Body::Conv(job) => [Some(job.pack(self.target)), None],
            Body::Tiles(product) => [Some(product.constants_pack()), None],
            Body::Separable(parts) => parts.packs(self.target).map(Some),
            Body::TilesSeparable(MatrixParts { spatial, product, .. }) => {
                [Some(spatial.pack(self.target)), Some(product.constants_pack())]
            }
        };
        for (names, pack) in link.constants.into_iter().zip([spatial, pointwise]) {
            if let Some(pack) = pack {
                set(operands, names, self.emit.pack(pack));
            }
        }
    }

    /// One strip of all layers.
    fn strip(&mut self, b: &mut NestBuilder, links: &[Link<'_>], at: Standing<'_>) {
        for (number, (link, rows)) in links.iter().zip(&at.strips.layers).enumerate() {
            let is_last = number + 1 == links.len();
            let add = at.moved(&link.maps.surfaces().add, link.maps.add.image, number, 1);
            let out = match is_last {
                true => at.moved(&link.rows, link.maps.out.image, number, 1),
                false => from_row(&link.rows, i64::from(rows.kept)),
            };
            let input = match number.checked_sub(1) {
                None => at.moved(&link.maps.surfaces().input, link.maps.input.image, number, link.stride),
                Some(before) => from_row(&links[before].rows, rows.input),
            };
            if !is_last {
                self.keep(b, &link.rows, rows);
            }
            let add = if is_last { add } else { out.clone() };
            self.rows(b, link, rows, &Surfaces { input, out, add });
        }
    }

    /// Moves rows that the strip before has left to the start of their buffer.
    fn keep(&mut self, b: &mut NestBuilder, buffer: &Surface, rows: &StripRows) {
        if rows.kept == 0 || rows.kept_at == 0 {
            return;
        }
        let row = buffer.row as i32;
        let descriptor = ElementwiseRun {
            lanes: self.target.lanes,
            channels: row as u32 / 4,
            in_step: row,
            out_step: row,
            add_step: 0,
            affine: false,
            post: Vec::new(),
        };
        let kernel = self.emit.kernel(Descriptor::Elementwise(descriptor));
        let to = buffer.at(|origin| origin);
        let from = from_row(buffer, i64::from(rows.kept_at)).at(|origin| origin);
        b.call(kernel, vec![from, to.clone(), to.clone(), to.clone(), to], Some(rows.kept));
    }

    /// Some rows of one layer, which `surfaces` are moved to.
    fn rows(&mut self, b: &mut NestBuilder, link: &Link<'_>, rows: &StripRows, surfaces: &Surfaces) {
        if rows.count == 0 {
            return;
        }
        let widths = (link.maps.input.shape.w(), link.maps.out.shape.w());
        let pixels = rows.count * widths.1;
        let block = BlockRun { blocks: 0..1, first_row: 0, rows: rows.count, runs: rows.runs.clone() };
        match &link.body {
            Body::Pool(pool) => self.pool_rows(b, link.id, pool, &block, surfaces),
            Body::Conv(job)
                if job.direct.conv.window.is_point() && !job.direct.conv.partition.is_one_to_one() =>
            {
                let (widths, row) = one_row(pixels);
                job.block(&mut self.emit, b, (widths, &row, surfaces));
            }
            Body::Conv(job) => self.emit.spatial_rows(b, job, (widths, Format::F32), &block, surfaces),
            Body::Separable(parts) => self.emit.parts_of_rows(b, parts, widths, &block, surfaces),
            Body::Tiles(product) => {
                self.emit.segments(b, product, (widths, &block), surfaces);
            }
            Body::TilesSeparable(MatrixParts { spatial, product, .. }) => {
                self.emit.spatial_matrix(b, spatial, product, (link.maps, &block, surfaces));
                self.emit.panels(b, product, pixels, surfaces);
            }
        }
    }
}
