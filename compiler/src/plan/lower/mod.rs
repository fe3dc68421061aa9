//! From a schedule to steps, one file a family of nodes: carries out what was decided, and decides
//! nothing.

mod channelwise;
mod conv;
mod cost;
mod depthwise;
mod fast_inner;
mod job;
mod maps;
mod matmul;
mod panels;
mod place;
mod runs;
mod segments;
mod separable;
mod strips;
mod winograd;

use std::collections::HashMap;

use super::emit::{Emitter, Operands};
use super::nest::{Argument, NestBuilder, Offset, Operand};
use super::{Part, Place, PlanError, Program, Region, Scheduled, check_memory};
use crate::graph::{Graph, Node, NodeId, Op, Post};
use crate::layout::{Layout, View};
use crate::schedule::{NodeSchedule, Schedule};
use crate::target::Target;

pub use cost::{Costs, layer_times};

/// Lowers all nodes. Fails only if the program needs more memory than there can be.
pub fn lower(graph: &Graph, scheduled: &Scheduled) -> Result<Program, PlanError> {
    let mut lowering = Lowering::new(graph, scheduled);
    for &node in graph.order() {
        lowering.node(node);
    }
    lowering.finish()
}

/// A graph with its schedule and layout, and the program that they become.
struct Lowering<'a> {
    graph: &'a Graph,
    layout: &'a Layout,
    schedule: &'a Schedule,
    target: Target,
    /// Images that run together.
    batch: u32,
    emit: Emitter,
}

impl<'a> Lowering<'a> {
    fn new(graph: &'a Graph, Scheduled { schedule, layout }: &'a Scheduled) -> Self {
        let (target, batch) = (schedule.target, schedule.options.batch);
        let emit = Emitter::new(target, batch, schedule.prefetches_results, layout.arena_bytes);
        Self { graph, layout, schedule, target, batch, emit }
    }

    fn finish(self) -> Result<Program, PlanError> {
        let Self { graph, layout, schedule, emit, .. } = self;
        let largest = emit.constant_bytes.max(emit.scratch_bytes).max(emit.arena_bytes);
        check_memory(largest, schedule.options)?;
        let whole = layout.views.iter().filter(|(node, _)| schedule.fused_groups.after(**node).is_none());
        let values: HashMap<NodeId, View> = whole.map(|(&node, &view)| (node, view)).collect();
        Ok(Program {
            target: schedule.target,
            options: schedule.options,
            shards: 1,
            kernels: emit.kernels,
            drivers: emit.drivers,
            steps: emit.steps,
            constants: emit.constants,
            saved_macs: schedule.saved_macs(graph),
            schedule: schedule.clone(),
            constant_bytes: emit.constant_bytes,
            arena_bytes: emit.arena_bytes,
            scratch_bytes: emit.scratch_bytes,
            input: layout.views[&graph.input],
            outputs: graph.outputs.iter().map(|output| layout.views[output]).collect(),
            values,
        })
    }

    /// Lowers a node that is not computed with a later one; a node without a schedule is left out.
    fn node(&mut self, id: NodeId) {
        let schedule = self.schedule;
        if schedule.fused_groups.after(id).is_some() {
            return;
        }
        let Some(decided) = schedule.node(id) else { return };
        match schedule.fused_groups.ending_with(id) {
            Some(group) => self.strips(id, group),
            None => self.operation(id, self.graph.node(id), decided),
        }
        self.rest_of_epilogue(id);
    }

    fn operation(&mut self, id: NodeId, node: &'a Node, schedule: &'a NodeSchedule) {
        match (&node.op, schedule) {
            (Op::Conv(conv), NodeSchedule::Conv(schedule)) => self.conv(id, conv, schedule),
            (Op::Dense(part), NodeSchedule::Conv(schedule)) => self.dense(id, part, schedule),
            (Op::Separable(parts), NodeSchedule::Separable(schedule)) => {
                self.separable(id, parts, schedule);
            }
            (Op::Pool(pool), NodeSchedule::Pool(division)) => self.pool(id, pool, division.blocks()),
            (Op::GlobalPool(kind), _) => self.global_pool(id, *kind),
            (Op::BatchNorm(norm), _) => self.affine(id, norm),
            (Op::Activation(function), _) => self.activation(id, *function),
            (Op::Softmax, _) => self.softmax(id),
            (Op::Add, _) => self.add(id),
            (Op::Concat, _) => self.concat(id),
            (Op::Dropout { .. }, _) => self.copy_of_operand(id),
            (Op::Flatten, _) => self.flatten(id),
            (Op::Input | Op::Conv(_) | Op::Dense(_) | Op::Separable(_) | Op::Pool(_), _) => {}
        }
    }

    fn view(&self, node: NodeId) -> View {
        self.layout.views[&node]
    }

    /// Appends a step that computes a node.
    fn step(&mut self, node: NodeId, nest: NestBuilder, operands: Operands) {
        self.step_of(node, Part::Whole, nest, operands);
    }

    /// Appends a step that computes a part of a node.
    fn step_of(&mut self, node: NodeId, part: Part, nest: NestBuilder, operands: Operands) {
        let layer = &self.graph.layer(self.graph.node(node).layer).name;
        self.emit.step(node, layer, part, nest, operands);
    }

    /// The place of a whole value, vectors that start in it included.
    fn value_place(&self, node: NodeId) -> Place {
        let view = self.view(node);
        let slack = u64::from(self.target.vector_bytes());
        let used = u64::from(self.batch - 1) * view.image
            + (view.shape.pixels() - 1) * view.pixel
            + u64::from(view.shape.c()) * 4;
        let bytes = used.next_multiple_of(slack).min(self.layout.arena_bytes - view.offset);
        Place { region: Region::Arena, offset: view.offset, bytes }
    }

    /// Operands with the first input, the result, and the added input of a node where it has one.
    /// Nodes that add nothing get the result in its place, which their kernels never read.
    fn operands(&self, node: NodeId, added: Option<NodeId>) -> Operands {
        let mut operands = Operands::default();
        operands[Operand::In.index()] = Some(self.value_place(self.graph.node(node).inputs[0]));
        operands[Operand::Out.index()] = Some(self.value_place(node));
        operands[Operand::Add.index()] = Some(self.value_place(added.unwrap_or(node)));
        operands
    }

    /// The operands of the first of two steps of a layer, which leaves what it computes in
    /// `memory`.
    fn operands_of_first(&self, id: NodeId, memory: Place) -> Operands {
        let mut operands = self.operands(id, None);
        operands[Operand::Out.index()] = Some(memory);
        operands[Operand::Add.index()] = Some(memory);
        operands
    }

    /// The part of a node's epilogue that its kernels run.
    fn post(&self, id: NodeId) -> &'a [Post] {
        self.graph.node(id).kernel_post()
    }

    /// The operand that [`Lowering::post`] adds.
    fn added(&self, id: NodeId) -> Option<NodeId> {
        self.graph.node(id).added()
    }
}

/// Shorthand for an argument.
fn argument(operand: Operand, offset: Offset) -> Argument {
    Argument { operand, offset }
}
