//! Layers that are not linear: normalisation, activations, pools, dropout, flatten.

use super::attributes::Attributes;
use super::names::{Made, Site};
use super::outline::{Extent, Outline};
use super::report::Reported;
use super::schema::LayerSchema;
use super::{Elaborator, limits};
use crate::diagnostic::Diagnostic;
use crate::graph::{Activation, BatchNorm, LayerKind, Op, Pool, PoolKind, Role, WeightId};

impl<'a> Elaborator<'a> {
    /// A layer of one node.
    pub fn simple_layer(&mut self, layer: &LayerSchema, attributes: &Attributes, site: &Site<'a>) -> Made {
        match layer.kind {
            LayerKind::BatchNorm => self.batch_norm(attributes, site),
            LayerKind::MaxPool => self.pool(PoolKind::Max, layer.kind, attributes, site),
            LayerKind::AveragePool => self.pool(PoolKind::Average, layer.kind, attributes, site),
            LayerKind::GlobalAveragePool => self.global_pool(PoolKind::Average, layer.kind, site),
            LayerKind::GlobalMaxPool => self.global_pool(PoolKind::Max, layer.kind, site),
            LayerKind::Flatten => self.flatten(site),
            LayerKind::Softmax => self.keep_shape(Ok(Op::Softmax), layer.kind, site),
            LayerKind::Dropout => {
                let rate = attributes.fraction(&mut self.reports, "rate", [0.0, 1.0], 0.0);
                self.keep_shape(rate.map(|rate| Op::Dropout { rate }), layer.kind, site)
            }
            _ => self.keep_shape(Ok(Op::Activation(activation(layer.word))), layer.kind, site),
        }
    }

    /// A layer whose result has the shape of its input.
    fn keep_shape(&mut self, op: Result<Op, Reported>, kind: LayerKind, site: &Site<'a>) -> Made {
        let input = self.operand(site.span);
        self.attempt(site, input.outline, |this| {
            let (op, node) = (op?, input.node?);
            let shape = this.shape(node)?;
            let layer = this.layer(site, kind)?;
            this.push(op, vec![node], shape, layer, site.span)
        })
    }

    fn batch_norm(&mut self, attributes: &Attributes, site: &Site<'a>) -> Made {
        // Without an epsilon a channel that never varies would be divided by zero.
        let epsilon = attributes.fraction(&mut self.reports, "epsilon", [1e-12, 1.0], 1e-3);
        let scale = attributes.boolean(&mut self.reports, "scale", true);
        let center = attributes.boolean(&mut self.reports, "center", true);
        let input = self.operand(site.span);
        self.attempt(site, input.outline, |this| {
            let (epsilon, scale, center, node) = (epsilon?, scale?, center?, input.node?);
            let shape = this.shape(node)?;
            let layer = this.layer(site, LayerKind::BatchNorm)?;
            let mut weight = |role| this.weight(layer, role, vec![shape.c()], 1, site.span);
            let gamma: Option<WeightId> = scale.then(|| weight(Role::Gamma)).transpose()?;
            let beta = center.then(|| weight(Role::Beta)).transpose()?;
            let (mean, variance) = (weight(Role::MovingMean)?, weight(Role::MovingVariance)?);
            let norm = BatchNorm { epsilon, gamma, beta, mean, variance };
            this.push(Op::BatchNorm(norm), vec![node], shape, layer, site.span)
        })
    }

    fn pool(
        &mut self,
        kind: PoolKind,
        layer_kind: LayerKind,
        attributes: &Attributes,
        site: &Site<'a>,
    ) -> Made {
        let wanted = self.window_attributes(attributes, "window");
        let input = self.input_map(site);
        let placed = self.place_window(&wanted, &input);
        let outline = Outline::map(placed.sides, input.outline.channels);
        self.attempt(site, outline, |this| {
            let (window, node, shape) = (placed.window?, input.node?, this.known(&outline)?);
            let layer = this.layer(site, layer_kind)?;
            this.push(Op::Pool(Pool { kind, window }), vec![node], shape, layer, site.span)
        })
    }

    fn global_pool(&mut self, kind: PoolKind, layer_kind: LayerKind, site: &Site<'a>) -> Made {
        let input = self.input_map(site);
        let outline = Outline::vector(input.outline.channels);
        self.attempt(site, outline, |this| {
            let (node, shape) = (input.node?, this.known(&outline)?);
            let layer = this.layer(site, layer_kind)?;
            this.push(Op::GlobalPool(kind), vec![node], shape, layer, site.span)
        })
    }

    fn flatten(&mut self, site: &Site<'a>) -> Made {
        let input = self.input_map(site);
        let elements = input.outline.elements();
        if elements > limits::ELEMENTS {
            let error = Diagnostic::error("E0602", format!("a vector of {elements} elements"));
            let error = self.size_limit(error, site.span);
            self.reports.report(error);
            return Err(Outline::vector(Extent::UNKNOWN));
        }
        let [rows, columns] = input.outline.sides();
        let outline = Outline::vector(rows.times(columns).times(input.outline.channels));
        self.attempt(site, outline, |this| {
            let (node, shape) = (input.node?, this.known(&outline)?);
            let layer = this.layer(site, LayerKind::Flatten)?;
            this.push(Op::Flatten, vec![node], shape, layer, site.span)
        })
    }
}

fn activation(word: &str) -> Activation {
    match word {
        "relu6" => Activation::Relu6,
        "elu" => Activation::Elu,
        "sigmoid" => Activation::Sigmoid,
        _ => Activation::Relu,
    }
}
