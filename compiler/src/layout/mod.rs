//! Where each value of the graph is kept: buffers, strides, and views into the buffers of
//! concatenations.

pub mod arena;

use std::collections::HashMap;

use arena::Lifetime;

use crate::graph::{Graph, Node, NodeId, Op, Shape};
use crate::schedule::fusion::FusedGroups;
use crate::schedule::options::{PlanError, PlanOptions, check_memory};
use crate::target::Target;

/// A value in the arena. Distances are in bytes; a row follows the previous one without a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// The first channel of the first pixel of the first image.
    pub offset: u64,
    /// Between pixels.
    pub pixel: u64,
    /// Between images.
    pub image: u64,
    /// Extents.
    pub shape: Shape,
}

impl View {
    /// Bytes between rows.
    pub fn row(&self) -> u64 {
        u64::from(self.shape.w()) * self.pixel
    }

    /// Whether the pixels of all images lie behind each other.
    pub fn is_one_run(&self) -> bool {
        self.image == self.shape.pixels() * self.pixel
    }

    /// A copy of the map whose images lie behind each other without a gap.
    pub fn without_gaps(self) -> Self {
        Self { image: self.shape.pixels() * self.pixel, ..self }
    }

    /// The index, in f32 values from the start of the arena, of a pixel's first channel.
    pub fn index(&self, image: u64, pixel: u64) -> usize {
        ((self.offset + image * self.image + pixel * self.pixel) / 4) as usize
    }
}

/// The view of every live value, and the size of the arena in bytes.
pub struct Layout {
    /// By node. Values within fused groups have views as if their maps began where scratch memory
    /// does.
    pub views: HashMap<NodeId, View>,
    /// Concatenation operands that their producers write in place, with where that is.
    pub in_place: HashMap<NodeId, ConcatPlace>,
    /// Size of the arena.
    pub arena_bytes: u64,
}

impl Layout {
    /// The first input of a node, as its kernels see it: a dense layer reads a map as a single
    /// column, since pixels lie behind each other.
    pub fn input_of(&self, graph: &Graph, id: NodeId) -> View {
        let node = graph.node(id);
        let input = self.views[&node.inputs[0]];
        let shape = match node.op {
            Op::Dense(_) => Shape::map(input.shape.pixels() as u32, 1, input.shape.c()),
            _ => input.shape,
        };
        View { shape, ..input }
    }

    /// Whether `node` is only another view of its operand's memory.
    pub fn is_view_of_operand(&self, graph: &Graph, node: NodeId) -> bool {
        match graph.node(node).inputs[..] {
            [operand] if graph.node(node).op == Op::Flatten => {
                self.views[&operand].offset == self.views[&node].offset
            }
            _ => false,
        }
    }
}

/// A place in a concatenation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConcatPlace {
    /// The concatenation.
    pub concat: NodeId,
    /// Its channel that is the operand's first.
    pub channel: u32,
}

/// A buffer and the part of it that a value takes.
#[derive(Clone, Copy)]
struct Home {
    buffer: usize,
    view: View,
}

struct Builder<'a> {
    graph: &'a Graph,
    fused_groups: &'a FusedGroups,
    target: Target,
    batch: u64,
    in_place: HashMap<NodeId, ConcatPlace>,
    homes: HashMap<NodeId, Home>,
    buffers: Vec<Lifetime>,
}

/// Lays out all live values of `graph` but those within fused groups. Fails if there is no such
/// memory.
pub fn lay_out(
    graph: &Graph,
    fused_groups: &FusedGroups,
    target: Target,
    options: &PlanOptions,
) -> Result<Layout, PlanError> {
    let mut layout = Builder {
        graph,
        fused_groups,
        target,
        batch: u64::from(options.batch),
        in_place: in_place_operands(graph, target),
        homes: HashMap::new(),
        buffers: Vec::new(),
    };
    let (within, others): (Vec<NodeId>, Vec<NodeId>) =
        graph.order().iter().partition(|&&node| fused_groups.after(node).is_some());
    for &node in others.iter().rev() {
        layout.settle(node);
    }
    layout.lifetimes(options.keep_all);
    let (offsets, arena_bytes) = arena::place(&layout.buffers);
    let resolve = |(&node, home): (&NodeId, &Home)| {
        (node, View { offset: home.view.offset + offsets[home.buffer], ..home.view })
    };
    let mut views: HashMap<NodeId, View> = layout.homes.iter().map(resolve).collect();
    views.extend(within.into_iter().map(|node| (node, scratch_view(graph, node, target))));
    check_memory(arena_bytes, *options)?;
    Ok(Layout { views, in_place: layout.in_place, arena_bytes })
}

/// Whether kernels for this node read their first input by whole vectors rather than value by
/// value.
fn reads_vectors(node: &Node) -> bool {
    match &node.op {
        Op::Conv(conv) => conv.partition.is_one_to_one(),
        Op::Separable(parts) => parts.spatial.partition.is_one_to_one(),
        Op::Dense(_) => false,
        _ => true,
    }
}

/// A value of which only strips of rows exist at a time.
fn scratch_view(graph: &Graph, node: NodeId, target: Target) -> View {
    View { offset: 0, pixel: padded_pixel(graph, node, target), image: 0, shape: graph.node(node).shape }
}

/// Bytes between pixels of a value of whole vectors.
fn padded_pixel(graph: &Graph, node: NodeId, target: Target) -> u64 {
    let channels = graph.node(node).shape.c();
    // Operands of a concatenation may lie within it.
    let is_concat = graph.node(node).op == Op::Concat;
    let operands = graph.node(node).inputs.iter().filter(|_| is_concat);
    match operands.chain([&node]).any(|&value| is_depthwise(graph, value)) {
        true => target.depthwise_pixel_bytes(channels),
        false => target.pixel_bytes(channels),
    }
}

/// Whether a depthwise convolution makes or reads a value.
fn is_depthwise(graph: &Graph, value: NodeId) -> bool {
    let reads = |user: NodeId| match &graph.node(user).op {
        Op::Conv(conv) => conv.partition.is_one_to_one(),
        Op::Separable(parts) => parts.spatial.partition.is_one_to_one(),
        _ => false,
    };
    let is_made = matches!(&graph.node(value).op, Op::Conv(conv) if conv.partition.is_one_to_one());
    is_made || graph.users(value).into_iter().any(reads)
}

/// The operands of concatenations that can be written where the concatenation wants them: those
/// whose channels start at a whole vector and end at one, or at the end of the concatenation. Each
/// value goes to one place only.
fn in_place_operands(graph: &Graph, target: Target) -> HashMap<NodeId, ConcatPlace> {
    let mut places = HashMap::new();
    for &concat in graph.order() {
        if graph.node(concat).op != Op::Concat {
            continue;
        }
        let mut channel = 0;
        for &operand in &graph.node(concat).inputs {
            let shape = graph.node(operand).shape;
            let end = channel + shape.c();
            let aligned = channel.is_multiple_of(target.lanes)
                && (end.is_multiple_of(target.lanes) || end == graph.node(concat).shape.c());
            let movable = !matches!(graph.node(operand).op, Op::Input | Op::Flatten);
            if aligned && movable && !places.contains_key(&operand) {
                places.insert(operand, ConcatPlace { concat, channel });
            }
            channel = end;
        }
    }
    places
}

impl Builder<'_> {
    /// Gives `node` a home. Concatenations come before their operands, and flattened maps before
    /// flattening, since nodes are visited from the last to the first.
    fn settle(&mut self, node: NodeId) {
        if let Some(&place) = self.in_place.get(&node) {
            let home = self.slice(node, place);
            self.homes.insert(node, home);
            return;
        }
        let pixel = self.pixel_bytes(node);
        let home = self.flattened_home(node, pixel).unwrap_or_else(|| self.fresh(node, pixel));
        self.homes.insert(node, home);
    }

    /// The home of a map that a flatten reads, when both can be one: its pixels must lie without
    /// padding between them.
    fn flattened_home(&self, node: NodeId, pixel: u64) -> Option<Home> {
        let shape = self.graph.node(node).shape;
        let flattens =
            |&&user: &&NodeId| self.graph.node(user).op == Op::Flatten && !self.in_place.contains_key(&user);
        let users = self.graph.users(node);
        let flatten = *users.iter().find(flattens)?;
        if pixel != u64::from(shape.c()) * 4 {
            return None;
        }
        let home = self.homes[&flatten];
        Some(Home { view: View { pixel, shape, ..home.view }, ..home })
    }

    fn pixel_bytes(&self, node: NodeId) -> u64 {
        let c = self.graph.node(node).shape.c();
        let compact = self.graph.node(node).op == Op::Input
            && !self.graph.is_output(node)
            && self.graph.users(node).into_iter().all(|user| self.broadcasts(user, node));
        if compact { u64::from(c) * 4 } else { padded_pixel(self.graph, node, self.target) }
    }

    /// Whether `user` reads `node` value by value only.
    fn broadcasts(&self, user: NodeId, node: NodeId) -> bool {
        let inputs = &self.graph.node(user).inputs;
        inputs[0] == node && !inputs[1..].contains(&node) && !reads_vectors(self.graph.node(user))
    }

    fn fresh(&mut self, node: NodeId, pixel: u64) -> Home {
        let shape = self.graph.node(node).shape;
        let image = shape.pixels() * pixel;
        // Capped so that sums over all buffers can be counted; a plan this large is refused.
        let bytes = self.batch.saturating_mul(image).min(1 << 48) + u64::from(self.target.vector_bytes());
        self.buffers.push(Lifetime { bytes, steps: 0..=0 });
        Home { buffer: self.buffers.len() - 1, view: View { offset: 0, pixel, image, shape } }
    }

    /// The part of a concatenation's home that an operand takes.
    fn slice(&self, node: NodeId, place: ConcatPlace) -> Home {
        let home = self.homes[&place.concat];
        let shape = self.graph.node(node).shape;
        let offset = home.view.offset + u64::from(place.channel) * 4;
        Home { view: View { offset, shape, ..home.view }, ..home }
    }

    /// A buffer lives from the first node that writes it to the last that reads it. The layers of
    /// a fused group run when its last one does.
    fn lifetimes(&mut self, keep_all: bool) {
        let last = self.graph.order().len();
        let steps: HashMap<NodeId, usize> = self.graph.order().iter().copied().zip(0..).collect();
        let mut spans: Vec<Option<(usize, usize)>> = vec![None; self.buffers.len()];
        let mut touch = |buffer: usize, step: usize| {
            let (first, end) = spans[buffer].unwrap_or((step, step));
            spans[buffer] = Some((first.min(step), end.max(step)));
        };
        for &node in self.graph.order() {
            let step = steps[&self.fused_groups.after(node).unwrap_or(node)];
            for value in self.graph.node(node).inputs.iter().chain([&node]) {
                if let Some(home) = self.homes.get(value) {
                    touch(home.buffer, step);
                }
            }
            if self.graph.is_output(node) {
                touch(self.homes[&node].buffer, last);
            }
        }
        for (buffer, span) in self.buffers.iter_mut().zip(spans) {
            let (first, end) = span.unwrap_or((0, 0));
            buffer.steps = if keep_all { 0..=last } else { first..=end };
        }
    }
}
