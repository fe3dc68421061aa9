//! Fuses activations into the operation before or behind them.
//!
//! The epilogue of the producer is the better place: the function is applied once to each element,
//! in a register. Where the raw value is needed, too (Xception's blocks start with an activation,
//! their shortcuts without), it must be in memory, and the activated one need not be: the users
//! apply the function while they load. A convolution loads an element once for each tap and block
//! of output channels, so only functions that cost one or two instructions go there; an
//! exponential stays a node of its own. Where even those would be applied too often, the plan
//! applies them in a step of the layer.

use super::{Report, absorb, elide, shared};
use crate::graph::{Activation, Graph, NodeId, Op, Post};

pub(super) fn run(graph: &mut Graph, report: &mut Report) {
    for id in graph.order().to_vec() {
        match graph.node(id).op {
            Op::Activation(Activation::Linear) => elide(graph, report, id),
            Op::Activation(activation) => fuse(graph, report, id, activation),
            _ => {}
        }
    }
}

fn fuse(graph: &mut Graph, report: &mut Report, id: NodeId, activation: Activation) {
    let producer = graph.node(id).inputs[0];
    let Some(not_behind) = obstacle_to_epilogue(graph, producer, id) else {
        let what = format!("in the epilogue of {} {producer}", graph.node(producer).op.noun());
        return report.apply(graph, id, what, |graph| {
            absorb(graph, producer, id);
            graph.node_mut(id).fusion.post.push(Post::Activation(activation));
        });
    };
    if let Some(not_before) = obstacle_to_load(graph, id, activation) {
        return report.refuse(graph, id, format!("{not_behind}; {not_before}"));
    }
    let users = graph.users(id);
    let names: Vec<String> = users.iter().map(NodeId::to_string).collect();
    let what = format!("on load by {}, since {not_behind}", names.join(", "));
    report.apply(graph, id, what, |graph| {
        for user in users {
            graph.node_mut(user).fusion.load = activation;
        }
        graph.replace_uses(id, producer);
        graph.remove(id);
    });
}

fn obstacle_to_epilogue(graph: &Graph, producer: NodeId, id: NodeId) -> Option<String> {
    let op = &graph.node(producer).op;
    if !op.has_epilogue() {
        return Some(format!("{} {producer} has no epilogue", op.noun()));
    }
    shared(graph, producer, id)
}

fn obstacle_to_load(graph: &Graph, id: NodeId, activation: Activation) -> Option<String> {
    if graph.is_output(id) {
        return Some(format!("{id} is an output of the network"));
    }
    if !activation.traits().is_cheap {
        return Some(format!("{activation} is too costly to be applied for each tap"));
    }
    graph.users(id).into_iter().find_map(|user| {
        let node = graph.node(user);
        if !node.op.can_load() {
            return Some(format!("{} {user} cannot apply it on load", node.op.noun()));
        }
        if node.fusion.load != Activation::Linear {
            return Some(format!("{user} applies {} on load already", node.fusion.load));
        }
        node.inputs[1..].contains(&id).then(|| format!("{user} adds it"))
    })
}
