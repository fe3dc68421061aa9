//! Makes a schedule: node by node, each decision with its limits checked, so that lowering cannot fail.

use std::collections::{BTreeMap, HashMap};

use super::candidates::{Choosing, CostModel, Question, timed};
use super::direct::{DirectConv, tile_shape};
use super::fusion::{self, FusedGroup, FusedGroups, Windowed};
use super::options::{MEMORY_LIMIT, PlanError, PlanOptions, Precision, STEP_LIMIT};
use super::precisions::LayerPrecisions;
use super::reasons::Reason;
use super::rules::{CLASS_LIMIT, CLASSES_OF_RUNS_LIMIT, LARGEST_TILE, Rules, TAP_LIMIT};
use super::segments::{
    Candidate, Choice, PlaneProducts, Segment, SegmentAlgorithm, all_runs, equal_segments, sizes,
};
use super::tiling::{block_count, fewest_units};
use super::units::{UnitGroup, unit_groups};
use super::winograd::{PlaneSegments, plane_bytes};
use super::{
    Algorithm, ConvSchedule, Division, InputActivation, NodeSchedule, Schedule, SeparableSchedule, Stages,
    matrix, strips,
};
use crate::cost::macs;
use crate::graph::{
    Activation, Conv, Graph, LinearPart, Node, NodeId, Op, Pool, Post, Separable, Shape, Window,
};
use crate::kernels::fast_inner;
use crate::kernels::matmul::BLOCK;
use crate::kernels::winograd::{PLANES, patches};
use crate::layout::{Layout, View};
use crate::target::{Isa, Target};
use crate::vector::{F32, TILE_ROWS};

/// Loads of a value that cost more than to activate the value beforehand: each takes two instructions more than a
/// multiply-add that reads memory, or one more where none does, a pass takes three for a vector of values and the way to
/// memory and back.
const LOADS_OF_PASS: u64 = 8;

/// The smallest units of work of each thread for which stages are steps of their own: some 20 times what it takes threads
/// to meet once more.
const FEWEST_SMALLEST_UNITS: u64 = 4;

/// Fewest pixels for which threads read all pointwise weights again, each from the cache that they share: six tiles.
/// A thread that has pixels to itself finds more of them in its own cache (benches/LOG.md).
const PIXELS_OF_BLOCK: u32 = 84;

/// Pointwise weights that stay in the level-1 cache while a few rows pass through it: half of the smallest one that there is.
const NEAR_WEIGHTS: u64 = 4096;
/// Bytes of the rows between the stages that stay there, too: some hundreds of nanoseconds of work.
const BYTES_OF_ROWS: u32 = 2048;

/// Fewest pixels of a block that make it worth while to read all weights for them, where there is a choice.
const FULL_BLOCK: u32 = 8 * BLOCK;

/// Weights that are this many times a matrix take longer to read than the matrix does from another core's cache.
const HEAVY: u64 = 4;

/// Rows behind a matrix that threads share: panels read whole tiles, and the last block may end with a tile that reaches
/// behind its pixels in another place than one for the whole matrix would.
pub const BEHIND: u32 = TILE_ROWS;

/// What a schedule is made from.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// The network.
    pub graph: &'a Graph,
    /// What it is for.
    pub target: Target,
    /// What was asked for.
    pub options: PlanOptions,
    /// Where values lie.
    pub layout: &'a Layout,
}

/// Whether kernels should ask for cache lines of results before they write them: a network's values are more than a cache
/// holds. Kernels of four lanes cannot.
pub fn prefetches_results(Facts { target, layout, .. }: Facts<'_>) -> bool {
    target.isa != Isa::Baseline && layout.arena_bytes > u64::from(target.cache_bytes)
}

/// Makes the decisions for all nodes that `is_wanted`; `choose` picks one of several algorithms of segments.
///
/// Fails at the first node that is too large; [`Scheduler::nodes_that_fit`] leaves such nodes out.
pub fn build(
    facts: Facts<'_>,
    precisions: LayerPrecisions,
    fused_groups: FusedGroups,
    costs: &dyn CostModel,
    choose: &dyn Fn(&[Candidate]) -> usize,
) -> Result<Schedule, PlanError> {
    let mut scheduler = Scheduler::new(facts, precisions, fused_groups, costs, choose);
    for &id in facts.graph.order() {
        scheduler.add(id)?;
    }
    Ok(scheduler.schedule)
}

/// The decisions for the nodes that are not too large, each by itself.
pub fn build_what_fits(
    facts: Facts<'_>,
    precisions: LayerPrecisions,
    costs: &dyn CostModel,
    choose: &dyn Fn(&[Candidate]) -> usize,
) -> Schedule {
    let mut scheduler = Scheduler::new(facts, precisions, FusedGroups::default(), costs, choose);
    for &id in facts.graph.order() {
        // What the error says is said when the network is planned.
        _ = scheduler.add(id);
    }
    scheduler.schedule
}

/// A schedule under construction.
struct Scheduler<'a> {
    graph: &'a Graph,
    target: Target,
    options: PlanOptions,
    layout: &'a Layout,
    costs: &'a dyn CostModel,
    choose: &'a dyn Fn(&[Candidate]) -> usize,
    /// Candidates whose costs are known.
    known: HashMap<Question, Vec<Candidate>>,
    /// Multiply-adds, or values, of all images that the node at hand has to compute.
    work: u64,
    schedule: Schedule,
}

/// The maps of a layer: views of input and result.
#[derive(Clone, Copy)]
struct Maps {
    input: View,
    out: View,
    add: View,
}

impl Maps {
    /// Whether the pixels of all images lie behind each other in every map.
    fn is_one_run(&self) -> bool {
        [self.input, self.out, self.add].iter().all(View::is_one_run)
    }

    /// Rows and columns of the result.
    fn extents(&self) -> [u32; 2] {
        [self.out.shape.h(), self.out.shape.w()]
    }
}

impl<'a> Scheduler<'a> {
    fn new(
        facts: Facts<'a>,
        precisions: LayerPrecisions,
        fused_groups: FusedGroups,
        costs: &'a dyn CostModel,
        choose: &'a dyn Fn(&[Candidate]) -> usize,
    ) -> Self {
        let Facts { graph, target, options, layout } = facts;
        let schedule = Schedule {
            target,
            options,
            precisions,
            fused_groups,
            prefetches_results: prefetches_results(facts),
            choices: Vec::new(),
            reasons: BTreeMap::new(),
            nodes: BTreeMap::new(),
            planes_ms: BTreeMap::new(),
        };
        let known = HashMap::new();
        Self { graph, target, options, layout, costs, choose, known, work: 0, schedule }
    }

    /// Decides about a node; about the layers of a fused group when its last one comes.
    fn add(&mut self, id: NodeId) -> Result<(), PlanError> {
        self.check_steps(id)?;
        self.work = self.work(id);
        if self.schedule.fused_groups.after(id).is_some() {
            return Ok(());
        }
        if let Some(group) = self.schedule.fused_groups.ending_with(id).cloned() {
            return self.chain(&group);
        }
        let graph = self.graph;
        let schedule = match &graph.node(id).op {
            Op::Conv(conv) => NodeSchedule::Conv(self.conv(id, conv)?),
            Op::Dense(part) => NodeSchedule::Conv(self.dense(id, part)?),
            Op::Separable(parts) => NodeSchedule::Separable(self.separable(id, parts)?),
            Op::Pool(pool) => NodeSchedule::Pool(self.pool(id, pool)),
            Op::Input
            | Op::BatchNorm(_)
            | Op::Activation(_)
            | Op::GlobalPool(_)
            | Op::Softmax
            | Op::Add
            | Op::Concat
            | Op::Dropout { .. }
            | Op::Flatten => NodeSchedule::Other,
        };
        self.schedule.nodes.insert(id, schedule);
        Ok(())
    }

    fn view(&self, node: NodeId) -> View {
        self.layout.views[&node]
    }

    fn maps(&self, id: NodeId) -> Maps {
        let out = self.view(id);
        let add = self.graph.node(id).added().map_or(out, |added| self.view(added));
        Maps { input: self.layout.input_of(self.graph, id), out, add }
    }

    fn rules(&self, id: NodeId) -> Rules {
        Rules::new(self.precision(id), self.target)
    }

    fn precision(&self, id: NodeId) -> Precision {
        self.schedule.precisions.of(id)
    }

    fn node(&self, id: NodeId) -> &'a Node {
        self.graph.node(id)
    }

    /// Notes why the node is computed as it is.
    fn note(&mut self, id: NodeId, reason: Reason) {
        self.schedule.reasons.entry(id).or_default().push(reason);
    }

    // Limits.

    /// Checks that the distances of a node's operands and result fit into kernels, and that its code does not
    /// grow with its window beyond measure.
    fn check_steps(&self, id: NodeId) -> Result<(), PlanError> {
        let node = self.node(id);
        for &value in node.inputs.iter().chain([&id]) {
            let View { pixel, shape, .. } = self.view(value);
            self.limit(id, "the distance of pixels", pixel, STEP_LIMIT)?;
            // Kernels may ask for lines of as many pixels again as a tile has.
            let tiles = 2 * shape.pixels().min(LARGEST_TILE) * pixel;
            self.limit(id, "a tile's row of pixels", tiles, i32::MAX as u64)?;
        }
        let Some(window) = node.op.window() else { return Ok(()) };
        self.check_window(id, window)?;
        let (rows, columns) = (2 * u64::from(window.kernel[0]), 2 * u64::from(window.kernel[1]));
        let runs = match &node.op {
            Op::Conv(conv) => equal_segments(&conv.partition).len(),
            Op::Separable(parts) => equal_segments(&parts.spatial.partition).len(),
            _ => 1,
        } as u64;
        let classes = rows.min(u64::from(node.shape.h())) * columns.min(u64::from(node.shape.w()));
        self.limit(id, "the number of different tiles", classes, CLASS_LIMIT)?;
        let all = classes.saturating_mul(runs);
        self.limit(id, "the number of different tiles of all segments", all, CLASSES_OF_RUNS_LIMIT)?;
        self.limit(id, "the number of taps in a row", u64::from(window.kernel[1]), TAP_LIMIT)
    }

    /// Checks the distances between the taps of a window and between windows.
    fn check_window(&self, id: NodeId, window: &Window) -> Result<(), PlanError> {
        let input = self.view(self.node(id).inputs[0]);
        let [kh, kw] = window.kernel.map(u64::from);
        let step = input.pixel * u64::from(window.strides[1]);
        let tap = if kw > 1 { input.pixel * u64::from(window.dilation[1]) } else { 0 };
        let row = if kh > 1 { input.row() * u64::from(window.dilation[0]) } else { 0 };
        self.limit(id, "the distance of rows of taps", row, STEP_LIMIT)?;
        self.limit(id, "the distance of taps", tap, STEP_LIMIT)?;
        self.limit(id, "the distance of windows", step, STEP_LIMIT)?;
        self.limit(id, "a tile's row of windows", LARGEST_TILE * step + kw * tap, i32::MAX as u64)
    }

    fn limit(&self, id: NodeId, what: &str, size: u64, limit: u64) -> Result<(), PlanError> {
        if size <= limit {
            return Ok(());
        }
        let layer = self.graph.layer(self.node(id).layer).name.clone();
        Err(PlanError::TooLarge { layer, what: what.to_owned(), size, limit })
    }

    /// Checks a matrix of `pixels` pixels, and returns the bytes of a plane of it.
    fn matrix_plane(&self, id: NodeId, conv: &Conv, pixels: u32) -> Result<u64, PlanError> {
        let plane = matrix::plane_bytes(conv, pixels, self.view(id).shape.w());
        self.limit(id, "a matrix of bf16 values", plane, STEP_LIMIT)?;
        Ok(plane)
    }

    /// A convolution in vectors in rows of `row` pixels, with its panels checked.
    fn direct<'c>(
        &self,
        id: NodeId,
        conv: &'c Conv,
        load: Activation,
        post: &'c [Post],
        row: u32,
    ) -> Result<DirectConv<'c>, PlanError> {
        let direct = DirectConv::new(self.target, conv, load, post, row);
        self.limit(id, "a panel of weights", direct.panel_bytes(self.target), STEP_LIMIT)?;
        Ok(direct)
    }

    // How work is cut.

    /// What a node has to do for all images, in multiply-adds or values, whichever are more.
    fn work(&self, id: NodeId) -> u64 {
        let inputs = self.node(id).inputs.first();
        let values = inputs.map_or(0, |&input| self.graph.node(input).shape.elements());
        let image = macs(self.graph, id).total().max(values);
        image.saturating_mul(u64::from(self.options.batch))
    }

    /// How many units of work a step of the node at hand should at least make of each of some images.
    fn fewest_units(&self, images: u32) -> u32 {
        let smallest = self.work / self.target.unit_macs.max(1);
        fewest_units(self.options.threads, smallest).div_ceil(images.max(1))
    }

    /// How many blocks each of some images should at least be cut into, of which `units` are made: enough units,
    /// and blocks for every thread where all weights stay in its cache, so that it reads only its part of the input.
    fn fewest_blocks(&self, conv: &Conv, units: &[UnitGroup], images: u32) -> u32 {
        let of_block: u32 = units.iter().map(|group| group.parts.unwrap_or(1)).sum();
        let enough = self.fewest_units(images).div_ceil(of_block.max(1));
        let weights = conv.partition.products().saturating_mul(conv.window.taps() * 4);
        let stay = weights <= u64::from(self.target.cache_bytes) / 2;
        let threads = self.options.threads.div_ceil(images);
        let for_all = enough.checked_next_multiple_of(threads).filter(|_| stay);
        for_all.unwrap_or(enough)
    }

    /// How many blocks the rows of each of some maps are cut into, whose matrix has `row_bytes` for each of them.
    fn matrix_blocks(&self, out: Shape, images: u32, row_bytes: u64) -> u32 {
        let full = u32::try_from(out.pixels() / u64::from(FULL_BLOCK)).unwrap_or(u32::MAX);
        let threads = self.options.threads.div_ceil(images);
        let fewest = full.clamp(1, self.fewest_units(images));
        let fewest = fewest.checked_next_multiple_of(threads).unwrap_or(fewest);
        block_count(out.h(), row_bytes, self.target.cache_bytes, fewest)
    }

    /// Blocks of the rows of each image of a convolution in vectors, and of its patches.
    fn direct_rows(
        &self,
        conv: &Conv,
        algorithms: &[SegmentAlgorithm],
        units: &[UnitGroup],
        maps: Maps,
    ) -> Division {
        let row = maps.input.row() * u64::from(conv.window.strides[0]);
        let (cache_bytes, batch) = (self.target.cache_bytes, self.options.batch);
        let fewest = self.fewest_blocks(conv, units, batch);
        let blocks = block_count(maps.out.shape.h(), row, cache_bytes / 2, fewest);
        let patches = self.plane_runs(conv, algorithms).into_iter().map(|run| self.patch_blocks(&run, maps));
        Division::Rows { blocks, patches: patches.collect() }
    }

    /// The runs by Winograd's method.
    fn plane_runs(&self, conv: &Conv, algorithms: &[SegmentAlgorithm]) -> Vec<PlaneSegments> {
        let runs = all_runs(conv, algorithms, self.target.lanes);
        let planes = runs.iter().filter_map(|run| match run.algorithm {
            SegmentAlgorithm::Winograd(products) => Some(PlaneSegments::of(run, products)),
            _ => None,
        });
        planes.collect()
    }

    fn patch_blocks(&self, run: &PlaneSegments, maps: Maps) -> u32 {
        let (threads, images) = (self.options.threads, self.options.batch);
        run.blocks(self.target, maps.extents(), self.fewest_units(images), threads.div_ceil(images))
    }

    /// The division of a convolution whose only run is by Winograd's method, if threads should share its planes:
    /// if each thread had patches of its own, all would read the same weights, which takes longer than to pass planes on.
    fn shared_planes(
        &mut self,
        id: NodeId,
        conv: &Conv,
        algorithms: &[SegmentAlgorithm],
        maps: Maps,
    ) -> Option<Division> {
        let is_only = all_runs(conv, algorithms, self.target.lanes).len() == 1;
        let run = self.plane_runs(conv, algorithms).pop().filter(|_| is_only)?;
        let [rows, columns] = patches(maps.extents());
        let planes = run.patch_bytes(self.target).map(|patch| plane_bytes(patch, rows, columns));
        let passed = u64::from(PLANES) * planes.iter().sum::<u64>();
        let blocks = self.patch_blocks(&run, maps);
        let read_again = run.constants(self.target.lanes)[0] as u64 * 4 * u64::from(blocks - 1);
        let is_shared = self.options.threads > 1
            && self.options.batch == 1
            && passed * u64::from(run.segments) <= STEP_LIMIT
            && read_again > 2 * passed;
        if !is_shared {
            return None;
        }
        self.note(id, Reason::SharesPlanes { weights: read_again, planes: passed });
        Some(Division::SharedPlanes { blocks: self.fewest_units(1).div_ceil(run.segments).min(rows) })
    }

    /// The pixels of all images, if a convolution can take them as if they were one row.
    fn flat_pixels(&self, conv: &Conv, maps: Maps) -> Option<u32> {
        let pixels = maps.out.shape.pixels() * u64::from(self.options.batch);
        u32::try_from(pixels).ok().filter(|_| conv.window.is_point() && maps.is_one_run())
    }

    /// How a convolution in vectors of whole maps is cut.
    fn direct_division(&self, conv: &Conv, algorithm: &Algorithm, maps: Maps) -> Division {
        let (algorithms, units) = (algorithm.segments(), algorithm.units());
        if let Some(pixels) = self.flat_pixels(conv, maps) {
            let fewest = self.fewest_blocks(conv, units, 1);
            let blocks = block_count(pixels, maps.input.pixel, self.target.cache_bytes / 2, fewest);
            return Division::Pixels { blocks };
        }
        self.direct_rows(conv, algorithms, units, maps)
    }

    // Algorithms.

    /// Whether kernels can reach the next row of each map that a node reads or writes.
    fn rows_are_near(&self, id: NodeId) -> bool {
        let values = self.node(id).inputs.iter().chain([&id]);
        values.copied().all(|value| self.view(value).row() <= STEP_LIMIT)
    }

    /// Whether planes of pairs of bf16 values take the place of a layer's windows.
    fn takes_planes_of_pairs(&self, id: NodeId) -> bool {
        self.rules(id).takes_planes_of_pairs(self.node(id)) && self.rows_are_near(id)
    }

    /// Chooses the algorithm of each run of equal segments of a convolution; Winograd's method needs whole maps.
    fn choose_algorithms(
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
    fn choose_algorithm(
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
    fn candidates(
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

    /// How the planes of Winograd's method would be multiplied, for segments of `channels` inputs and outputs.
    fn plane_products(&self, pairs: bool, channels: (u32, u32), out: Shape) -> PlaneProducts {
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
    fn planes_ms(&self, algorithm: SegmentAlgorithm, segments: &[Segment], out: Shape) -> f64 {
        let SegmentAlgorithm::Winograd(products) = algorithm else { return 0.0 };
        let (ic, oc) = sizes(segments);
        let planes = PlaneSegments { segments: segments.len() as u32, ic, oc, products };
        planes.planes_ms(self.target, [out.h(), out.w()])
    }

    // Layers.

    fn dense(&mut self, id: NodeId, part: &LinearPart) -> Result<ConvSchedule, PlanError> {
        let input = self.view(self.node(id).inputs[0]).shape;
        self.conv(id, &Conv::of_dense(input, part))
    }

    /// A convolution that runs by itself.
    fn conv(&mut self, id: NodeId, conv: &Conv) -> Result<ConvSchedule, PlanError> {
        let of_pairs = self.takes_planes_of_pairs(id);
        if self.rules(id).takes_matmul(self.node(id), conv) && !of_pairs {
            let division = self.matmul_division(id, conv)?;
            return Ok(ConvSchedule {
                algorithm: Algorithm::Matmul,
                activation: InputActivation::OnLoad,
                division,
            });
        }
        self.note_matrix_limit(id, conv);
        let maps = self.maps(id);
        if let Some(vectors) = self.rules(id).fast_inner_layer(conv, maps.out.shape) {
            return self.fast_inner_product(id, conv, vectors);
        }
        let load = self.node(id).fusion.load;
        let is_apart = load != Activation::Linear && !of_pairs && self.loads_often(id, conv, maps);
        let (activation, load, maps) = match is_apart {
            true => {
                let input = maps.input.without_gaps();
                (InputActivation::Apart, Activation::Linear, Maps { input, ..maps })
            }
            false => (InputActivation::OnLoad, load, maps),
        };
        if conv.partition.is_one_to_one() {
            let division = Division::rows(self.blocks_of_windows(&conv.window, maps));
            return Ok(ConvSchedule { algorithm: Algorithm::Depthwise, activation, division });
        }
        let row = self.flat_pixels(conv, maps).unwrap_or(maps.out.shape.w());
        let direct = self.direct(id, conv, load, self.node(id).kernel_post(), row)?;
        let algorithm = self.choose_algorithms(id, direct, [maps.input.shape, maps.out.shape], true);
        let shared = self.shared_planes(id, conv, algorithm.segments(), maps);
        let division = shared.unwrap_or_else(|| self.direct_division(conv, &algorithm, maps));
        Ok(ConvSchedule { algorithm, activation, division })
    }

    /// Notes why a convolution has no matrices although the target has them in the layer's precision.
    fn note_matrix_limit(&mut self, id: NodeId, conv: &Conv) {
        if self.precision(id).is_by_bf16(self.target)
            && let Some(limit) = self.rules(id).matrix_limit(self.node(id), conv)
        {
            self.note(id, Reason::NoMatrix(limit));
        }
    }

    /// Whether panels would load, and activate, each value of the input so often that a pass over the map costs less.
    fn loads_often(&mut self, id: NodeId, conv: &Conv, maps: Maps) -> bool {
        let widest = conv.partition.outputs().iter().max().copied().unwrap_or(1);
        let panel = tile_shape(self.target, widest, 2).vectors * self.target.lanes;
        let panels = u64::from(widest.div_ceil(panel.max(1)));
        let [from, to] = [maps.input, maps.out].map(|view| view.shape.pixels());
        let loads = to.saturating_mul(panels).saturating_mul(conv.window.taps());
        let is_often = !conv.partition.is_one_to_one() && loads >= from.saturating_mul(LOADS_OF_PASS);
        if is_often {
            self.note(id, Reason::LoadedOften { loads, values: from });
        }
        is_often
    }

    /// Blocks of rows of each image of a depthwise convolution or a pool.
    fn blocks_of_windows(&self, window: &Window, maps: Maps) -> u32 {
        let row = maps.input.row() * u64::from(window.strides[0]);
        let fewest = self.fewest_units(self.options.batch);
        block_count(maps.out.shape.h(), row, self.target.cache_bytes, fewest)
    }

    fn pool(&self, id: NodeId, pool: &Pool) -> Division {
        Division::rows(self.blocks_of_windows(&pool.window, self.maps(id)))
    }

    /// A pointwise convolution by the fast inner product: its inputs are prescaled by a step of their own.
    fn fast_inner_product(&self, id: NodeId, conv: &Conv, vectors: u32) -> Result<ConvSchedule, PlanError> {
        self.direct(id, conv, Activation::Linear, self.node(id).kernel_post(), u32::MAX)?;
        let maps = self.maps(id);
        let shape = Shape::map(maps.out.shape.h(), maps.out.shape.w(), conv.partition.ic());
        let pixel = self.target.pixel_bytes(fast_inner::room(shape.c(), self.target.lanes));
        let input = View { offset: 0, pixel, image: shape.pixels() * pixel, shape };
        // Of the pixels that are read, and no others.
        let conv = Conv { window: Window::POINT, ..conv.clone() };
        let units = unit_groups(&conv, &[SegmentAlgorithm::fast_inner_product(vectors)], self.target.lanes);
        let algorithms = vec![SegmentAlgorithm::fast_inner_product(vectors)];
        let division =
            self.direct_division(&conv, &Algorithm::Segments { algorithms, units }, Maps { input, ..maps });
        let algorithm = Algorithm::FastInnerProduct { vectors };
        Ok(ConvSchedule { algorithm, activation: InputActivation::OnLoad, division })
    }

    // Matrices.

    /// How a convolution by matrices is cut: blocks of rows, or panels that threads share where they would have too few
    /// rows.
    fn matmul_division(&mut self, id: NodeId, conv: &Conv) -> Result<Division, PlanError> {
        let maps = self.maps(id);
        let flat = self.flat_pixels(conv, maps);
        let out = match flat {
            Some(pixels) => Shape::map(pixels, 1, maps.out.shape.c()),
            None => maps.out.shape,
        };
        let images = if flat.is_some() { 1 } else { self.options.batch };
        let planes = self.precision(id).limbs();
        let bytes = matrix::bytes(conv, out.w(), planes).saturating_mul(u64::from(out.h()));
        if images == 1 && self.multiplies_apart(id, conv, out, bytes) {
            let plane = self.matrix_plane(id, conv, out.pixels() as u32 + BEHIND)?;
            self.note(id, Reason::SharesPanels { matrix: bytes, caches: self.caches() });
            let rows = out.h() + matrix::gathered(conv).1 - 1;
            let gathered = self.fewest_units(1).min(rows);
            let blocks = self.shared_panel_blocks(conv, planes, plane, out);
            return Ok(Division::SharedPanels { gathered, is_flat: flat.is_some(), blocks });
        }
        let blocks = self.checked_matrix_blocks(id, conv, out, images)?;
        Ok(if flat.is_some() { Division::Pixels { blocks } } else { Division::rows(blocks) })
    }

    /// Blocks of rows of each of some images, whose matrix is checked.
    fn checked_matrix_blocks(
        &self,
        id: NodeId,
        conv: &Conv,
        out: Shape,
        images: u32,
    ) -> Result<u32, PlanError> {
        let row_bytes = matrix::bytes(conv, out.w(), self.precision(id).limbs());
        let blocks = self.matrix_blocks(out, images, row_bytes);
        self.matrix_plane(id, conv, out.h().div_ceil(blocks).saturating_mul(out.w()))?;
        Ok(blocks)
    }

    /// Whether threads share panels of weights rather than rows of a result: there are few of these, and the whole
    /// matrix of `bytes` stays in their caches.
    fn multiplies_apart(&self, id: NodeId, conv: &Conv, out: Shape, bytes: u64) -> bool {
        let threads = u64::from(self.options.threads);
        let are_few = out.pixels() < u64::from(2 * BLOCK) * threads;
        let panels = u64::from(conv.partition.oc().div_ceil(BLOCK));
        threads > 1
            && conv.partition.segments() == 1
            && bytes <= self.caches()
            && panels >= threads
            && (are_few || matrix::weigh_more(conv, self.precision(id).limbs(), bytes))
    }

    /// Blocks of pixels of a matrix that threads share, of planes of `plane` bytes: one, or one for each thread if the
    /// matrix leaves too little of a cache, and weights are not so many that reading all costs more.
    fn shared_panel_blocks(&self, conv: &Conv, planes: u32, plane: u64, out: Shape) -> u32 {
        let (matrix, fits) = (u64::from(planes) * plane, u64::from(self.target.cache_bytes) / 4 * 3);
        let reads_weights = matrix::weigh_more(conv, planes, HEAVY.saturating_mul(matrix));
        let is_cut = matrix > if reads_weights { 2 * fits } else { fits };
        let most = if is_cut { self.options.threads } else { 1 };
        (out.pixels() as u32 / BLOCK).clamp(1, most)
    }

    // Separable layers.

    /// A fused separable convolution that runs by itself.
    fn separable(&mut self, id: NodeId, parts: &Separable) -> Result<SeparableSchedule, PlanError> {
        let (node, rules) = (self.node(id), self.rules(id));
        if rules.takes_matmul_twice(node) {
            return self.matmul_twice(id, parts);
        }
        if rules.pointwise_takes_matmul(node, parts) {
            return self.matmul_pointwise(id, parts);
        }
        self.note_matrix_limit(id, &parts.pointwise);
        let maps = self.maps(id);
        let of_maps = u32::try_from(maps.out.shape.pixels()).is_ok();
        let (pointwise, pixel) = self.pointwise_in_vectors(id, parts)?;
        let spatial = self.spatial(id, parts, of_maps)?;
        let row = u64::from(maps.out.shape.w()) * pixel;
        let bytes = row * u64::from(maps.out.shape.h());
        let needs_maps =
            spatial.segments().iter().any(|algorithm| matches!(algorithm, SegmentAlgorithm::Winograd(_)));
        let verdict = if needs_maps { None } else { self.stages_apart(parts, maps, bytes) };
        verdict.into_iter().for_each(|reason| self.note(id, reason));
        let stages = match needs_maps || verdict.is_some_and(Reason::is_apart) {
            true => Stages::Apart {
                spatial: self.spatial_division(id, &parts.spatial, &spatial, maps),
                pointwise: self.pointwise_division(maps, pixel),
            },
            false => Stages::Together(Division::rows(self.blocks_together(parts, &pointwise, maps, row))),
        };
        Ok(SeparableSchedule { spatial, pointwise, stages })
    }

    /// The pointwise part in vectors, and the bytes between pixels of the map that it reads.
    fn pointwise_in_vectors(&self, id: NodeId, parts: &Separable) -> Result<(Algorithm, u64), PlanError> {
        let (target, out) = (self.target, self.view(id).shape);
        let fast = self.rules(id).fast_inner(&parts.pointwise, out);
        let pixel = pixel_between(target, parts, fast.is_some());
        self.limit(id, "a row of the intermediate map", u64::from(out.w()) * pixel, STEP_LIMIT)?;
        let post = self.node(id).kernel_post();
        let direct = self.direct(id, &parts.pointwise, Activation::Linear, post, u32::MAX)?;
        Ok((pointwise_algorithm(target, &direct, fast), pixel))
    }

    /// Blocks of rows that both parts of a separable layer compute together.
    fn blocks_together(&self, parts: &Separable, pointwise: &Algorithm, maps: Maps, row: u64) -> u32 {
        let bytes = match pointwise {
            _ if parts.pointwise.partition.products() <= NEAR_WEIGHTS => BYTES_OF_ROWS,
            Algorithm::FastInnerProduct { .. } => self.target.cache_bytes / 2,
            _ => self.target.cache_bytes,
        };
        block_count(maps.out.shape.h(), row, bytes, self.fewest_units(self.options.batch))
    }

    /// The spatial part.
    fn spatial(&mut self, id: NodeId, parts: &Separable, of_maps: bool) -> Result<Algorithm, PlanError> {
        let node = self.node(id);
        let [input, out] = [node.inputs[0], id].map(|node| self.view(node).shape);
        let between = between(parts);
        let direct = self.direct(id, &parts.spatial, node.fusion.load, &between, out.w())?;
        if parts.spatial.partition.is_one_to_one() {
            return Ok(Algorithm::Depthwise);
        }
        Ok(self.choose_algorithms(id, direct, [input, out], of_maps))
    }

    /// How a spatial part in vectors is cut that is a step of its own.
    fn spatial_division(&mut self, id: NodeId, conv: &Conv, algorithm: &Algorithm, maps: Maps) -> Division {
        if *algorithm == Algorithm::Depthwise {
            return Division::rows(maps.out.shape.h());
        }
        let shared = self.shared_planes(id, conv, algorithm.segments(), maps);
        shared.unwrap_or_else(|| self.direct_rows(conv, algorithm.segments(), algorithm.units(), maps))
    }

    /// How a pointwise part in vectors is cut that is a step of its own, with `pixel` bytes between pixels of its input.
    fn pointwise_division(&self, maps: Maps, pixel: u64) -> Division {
        let pixels = maps.out.shape.pixels() as u32;
        let fewest = (pixels / PIXELS_OF_BLOCK).clamp(1, self.options.threads.saturating_mul(2));
        Division::Pixels { blocks: block_count(pixels, pixel, self.target.cache_bytes, fewest) }
    }

    /// Whether both stages are steps of their own, because `bytes` of the map between them stay in the caches of the
    /// threads for all images, and threads share panels of weights more evenly than rows. None for a single thread.
    fn stages_apart(&self, parts: &Separable, maps: Maps, bytes: u64) -> Option<Reason> {
        let PlanOptions { threads, batch, .. } = self.options;
        let macs = parts.pointwise.partition.products().saturating_mul(maps.out.shape.pixels());
        let fewest = (FEWEST_SMALLEST_UNITS * u64::from(threads)).saturating_mul(self.target.unit_macs);
        let (bytes, caches) = (bytes.saturating_mul(u64::from(batch)), self.caches());
        match () {
            () if threads == 1 => None,
            () if macs < fewest => Some(Reason::LittleWork { macs, fewest }),
            () if bytes > caches => Some(Reason::LeavesCaches { bytes, caches }),
            () => Some(Reason::FitsCaches { bytes, caches }),
        }
    }

    /// Bytes of the level-2 caches of all threads.
    fn caches(&self) -> u64 {
        u64::from(self.target.cache_bytes) * u64::from(self.options.threads)
    }

    /// A separable convolution of which both parts run by matrices, as steps of their own.
    fn matmul_twice(&mut self, id: NodeId, parts: &Separable) -> Result<SeparableSchedule, PlanError> {
        let (maps, batch) = (self.maps(id), self.options.batch);
        let out = maps.out.shape;
        let image = out.pixels().saturating_mul(self.target.pixel_bytes(parts.spatial.partition.oc()));
        let bytes = image.saturating_mul(u64::from(batch));
        self.limit(id, "the map between the two parts", bytes, MEMORY_LIMIT)?;
        let (spatial, division) = match self.takes_planes_of_pairs(id) {
            true => {
                let spatial = self.spatial(id, parts, true)?;
                let division = self.spatial_division(id, &parts.spatial, &spatial, maps);
                (spatial, division)
            }
            false => {
                let blocks = self.checked_matrix_blocks(id, &parts.spatial, out, batch)?;
                (Algorithm::Matmul, Division::rows(blocks))
            }
        };
        let pointwise = Division::rows(self.checked_matrix_blocks(id, &parts.pointwise, out, batch)?);
        let stages = Stages::Apart { spatial: division, pointwise };
        Ok(SeparableSchedule { spatial, pointwise: Algorithm::Matmul, stages })
    }

    /// A separable convolution whose pointwise part runs by matrices.
    fn matmul_pointwise(&mut self, id: NodeId, parts: &Separable) -> Result<SeparableSchedule, PlanError> {
        let (maps, batch, conv) = (self.maps(id), self.options.batch, &parts.pointwise);
        let (out, planes) = (maps.out.shape, self.precision(id).limbs());
        let row = matrix::bytes(conv, out.w(), planes);
        let with_between = row.saturating_add(bytes_between(self.target, parts, out));
        self.limit(id, "a row of the intermediate map", with_between, STEP_LIMIT)?;
        let matrix_bytes = row.saturating_mul(u64::from(out.h()));
        let is_depthwise = parts.spatial.partition.is_one_to_one();
        let may_be_apart = matrix::weigh_more(conv, planes, matrix_bytes) && batch == 1 && is_depthwise;
        let verdict = self.stages_apart(parts, maps, matrix_bytes).filter(|_| may_be_apart);
        verdict.into_iter().for_each(|reason| self.note(id, reason));
        let is_apart = verdict.is_some_and(Reason::is_apart);
        let stages = match is_apart {
            true => {
                let plane = self.matrix_plane(id, conv, out.pixels() as u32 + BEHIND)?;
                let blocks = self.shared_panel_blocks(conv, planes, plane, out);
                let spatial = Division::rows(out.h());
                let pointwise = Division::SharedPanels { gathered: out.h(), is_flat: false, blocks };
                Stages::Apart { spatial, pointwise }
            }
            false => Stages::Together(Division::rows(self.checked_matrix_blocks(id, conv, out, batch)?)),
        };
        let spatial = self.spatial(id, parts, false)?;
        Ok(SeparableSchedule { spatial, pointwise: Algorithm::Matmul, stages })
    }

    // Layers that run together, strip by strip.

    fn chain(&mut self, group: &FusedGroup) -> Result<(), PlanError> {
        let rows = fusion::layer_rows(self.graph, &group.nodes).unwrap_or_default();
        let runs = strips::section_runs(&rows, &group.sections, group.height);
        let capacities = strips::buffer_rows(&runs, group.nodes.len());
        for (&id, &rows) in group.nodes.iter().zip(&capacities) {
            let schedule = match Windowed::of(&self.node(id).op) {
                Some(Windowed::Pool(_)) => NodeSchedule::Pool(Division::Strips),
                Some(Windowed::Conv(conv)) => NodeSchedule::Conv(self.conv_in_strips(id, conv, rows)?),
                Some(Windowed::Separable(parts)) => {
                    NodeSchedule::Separable(self.separable_in_strips(id, parts, rows)?)
                }
                None => NodeSchedule::Other,
            };
            self.schedule.nodes.insert(id, schedule);
        }
        Ok(())
    }

    fn conv_in_strips(&mut self, id: NodeId, conv: &Conv, rows: u32) -> Result<ConvSchedule, PlanError> {
        let (activation, division) = (InputActivation::OnLoad, Division::Strips);
        let width = self.view(id).shape.w();
        if self.rules(id).takes_matmul(self.node(id), conv) {
            self.matrix_plane(id, conv, rows.saturating_mul(width))?;
            return Ok(ConvSchedule { algorithm: Algorithm::Matmul, activation, division });
        }
        let row = if conv.window.is_point() { u32::MAX } else { width };
        let node = self.node(id);
        let direct = self.direct(id, conv, node.fusion.load, node.kernel_post(), row)?;
        let algorithm = match conv.partition.is_one_to_one() {
            true => Algorithm::Depthwise,
            false => {
                let maps = self.maps(id);
                self.choose_algorithms(id, direct, [maps.input.shape, maps.out.shape], false)
            }
        };
        Ok(ConvSchedule { algorithm, activation, division })
    }

    fn separable_in_strips(
        &mut self,
        id: NodeId,
        parts: &Separable,
        rows: u32,
    ) -> Result<SeparableSchedule, PlanError> {
        let stages = Stages::Together(Division::Strips);
        if self.rules(id).pointwise_takes_matmul(self.node(id), parts) {
            let pixels = rows.saturating_mul(self.view(id).shape.w());
            self.matrix_plane(id, &parts.pointwise, pixels)?;
            let spatial = self.spatial(id, parts, false)?;
            return Ok(SeparableSchedule { spatial, pointwise: Algorithm::Matmul, stages });
        }
        let (pointwise, _) = self.pointwise_in_vectors(id, parts)?;
        let spatial = self.spatial(id, parts, false)?;
        Ok(SeparableSchedule { spatial, pointwise, stages })
    }
}

/// The algorithm of a pointwise part in vectors: panels, or the fast inner product in panels of `fast` vectors.
fn pointwise_algorithm(target: Target, direct: &DirectConv<'_>, fast: Option<u32>) -> Algorithm {
    match fast {
        Some(vectors) => Algorithm::FastInnerProduct { vectors },
        None => {
            let runs = equal_segments(&direct.conv.partition).len();
            let algorithms = vec![SegmentAlgorithm::plain(direct.shape.vectors); runs];
            let units = unit_groups(direct.conv, &algorithms, target.lanes);
            Algorithm::Segments { algorithms, units }
        }
    }
}

/// What follows the spatial part of a separable layer before the pointwise part.
pub fn between(parts: &Separable) -> Vec<Post> {
    match parts.between {
        Activation::Linear => Vec::new(),
        function => vec![Post::Activation(function)],
    }
}

/// Bytes between pixels of the map between the parts of a separable layer in vectors.
pub fn pixel_between(target: Target, parts: &Separable, is_prescaled: bool) -> u64 {
    let partition = &parts.spatial.partition;
    let channels = match is_prescaled {
        true => fast_inner::room(partition.oc(), target.lanes),
        false => partition.oc(),
    };
    match partition.is_one_to_one() {
        true => target.depthwise_pixel_bytes(channels),
        false => target.pixel_bytes(channels),
    }
}

/// Bytes of f32 values that other spatial parts than depthwise ones leave for a row, before they become bf16.
pub fn bytes_between(target: Target, parts: &Separable, out: Shape) -> u64 {
    let channels = target.padded(parts.spatial.partition.oc());
    let row = u64::from(channels) * u64::from(out.w()) * F32 as u64;
    if parts.spatial.partition.is_one_to_one() { 0 } else { row }
}
