//! Layers that are not linear: normalisation, activations, pools, dropout, flatten.

use super::attributes::Attributes;
use super::linear::WindowAttributes;
use super::names::Site;
use super::report::Reported;
use super::schema::LayerSchema;
use super::{Elaborator, limits};
use crate::diagnostic::Diagnostic;
use crate::graph::{Activation, BatchNorm, LayerKind, NodeId, Op, Pool, PoolKind, Role, Shape, WeightId};

impl<'a> Elaborator<'a> {
    /// A layer of one node.
    pub fn simple_layer(
        &mut self,
        layer: &LayerSchema,
        attributes: &Attributes,
        site: &Site<'a>,
    ) -> Result<NodeId, Reported> {
        match layer.kind {
            LayerKind::BatchNorm => self.batch_norm(attributes, site),
            LayerKind::MaxPool => self.pool(PoolKind::Max, layer.kind, attributes, site),
            LayerKind::AveragePool => self.pool(PoolKind::Average, layer.kind, attributes, site),
            LayerKind::GlobalAveragePool => self.global_pool(PoolKind::Average, layer.kind, site),
            LayerKind::GlobalMaxPool => self.global_pool(PoolKind::Max, layer.kind, site),
            LayerKind::Flatten => self.flatten(site),
            LayerKind::Softmax => self.keep_shape(Op::Softmax, layer.kind, site),
            LayerKind::Dropout => {
                let rate = attributes.fraction(&mut self.reports, "rate", [0.0, 1.0], 0.0)?;
                self.keep_shape(Op::Dropout { rate }, layer.kind, site)
            }
            _ => self.keep_shape(Op::Activation(activation(layer.word)), layer.kind, site),
        }
    }

    /// A layer whose result has the shape of its input.
    fn keep_shape(&mut self, op: Op, kind: LayerKind, site: &Site<'a>) -> Result<NodeId, Reported> {
        let input = self.current_node(site.span)?;
        let shape = self.shape(input)?;
        let layer = self.layer(site, kind)?;
        self.push(op, vec![input], shape, layer, site.span)
    }

    fn batch_norm(&mut self, attributes: &Attributes, site: &Site<'a>) -> Result<NodeId, Reported> {
        // Without an epsilon a channel that never varies would be divided by zero.
        let epsilon = attributes.fraction(&mut self.reports, "epsilon", [1e-12, 1.0], 1e-3);
        let scale = attributes.boolean(&mut self.reports, "scale", true);
        let center = attributes.boolean(&mut self.reports, "center", true);
        let (epsilon, scale, center) = (epsilon?, scale?, center?);
        let input = self.current_node(site.span)?;
        let shape = self.shape(input)?;
        let layer = self.layer(site, LayerKind::BatchNorm)?;
        let mut weight = |role| self.weight(layer, role, vec![shape.c()], 1, site.span);
        let gamma: Option<WeightId> = scale.then(|| weight(Role::Gamma)).transpose()?;
        let beta = center.then(|| weight(Role::Beta)).transpose()?;
        let (mean, variance) = (weight(Role::MovingMean)?, weight(Role::MovingVariance)?);
        let norm = BatchNorm { epsilon, gamma, beta, mean, variance };
        self.push(Op::BatchNorm(norm), vec![input], shape, layer, site.span)
    }

    fn pool(
        &mut self,
        kind: PoolKind,
        layer_kind: LayerKind,
        attributes: &Attributes,
        site: &Site<'a>,
    ) -> Result<NodeId, Reported> {
        let wanted: WindowAttributes = self.window_attributes(attributes, "window")?;
        let (input, shape) = self.input_map(site)?;
        let (window, [h, w]) = self.place_window(&wanted, input, shape)?;
        let layer = self.layer(site, layer_kind)?;
        let shape = Shape::map(h, w, shape.c());
        self.push(Op::Pool(Pool { kind, window }), vec![input], shape, layer, site.span)
    }

    fn global_pool(
        &mut self,
        kind: PoolKind,
        layer_kind: LayerKind,
        site: &Site<'a>,
    ) -> Result<NodeId, Reported> {
        let (input, shape) = self.input_map(site)?;
        let layer = self.layer(site, layer_kind)?;
        self.push(Op::GlobalPool(kind), vec![input], Shape::vector(shape.c()), layer, site.span)
    }

    fn flatten(&mut self, site: &Site<'a>) -> Result<NodeId, Reported> {
        let (input, shape) = self.input_map(site)?;
        let Some(n) = u32::try_from(shape.elements()).ok().filter(|n| u64::from(*n) <= limits::ELEMENTS)
        else {
            let error = Diagnostic::error("E0602", format!("a vector of {} elements", shape.elements()));
            return Err(self.reports.report(self.size_limit(error, site.span)));
        };
        let layer = self.layer(site, LayerKind::Flatten)?;
        self.push(Op::Flatten, vec![input], Shape::vector(n), layer, site.span)
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
