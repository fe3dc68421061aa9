//! Layers that are not linear: normalisation, activations, pools, dropout, flatten.

use super::attributes::Attributes;
use super::names::{Made, Site};
use super::outline::{Extent, Outline};
use super::report::Reported;
use super::{Elaborator, limits};
use crate::diagnostic::Diagnostic;
use crate::graph::{Activation, BatchNorm, LayerKind, Op, Pool, PoolKind, Role, Slope, WeightId};

impl<'a> Elaborator<'a> {
    /// An activation function as a layer.
    pub fn function(&mut self, function: Activation, attributes: &Attributes, site: &Site<'a>) -> Made {
        let function = match function.slope() {
            None => Ok(function),
            Some(default) => self.slope(default, attributes).map(|slope| function.with_slope(slope)),
        };
        self.keep_shape(function.map(Op::Activation), LayerKind::Activation, site)
    }

    fn slope(&mut self, default: Slope, attributes: &Attributes) -> Result<Slope, Reported> {
        let slope = attributes.fraction(&mut self.reports, "slope", [0.0, 1.0], default.value().into())?;
        // A number below 1 may round to 1, which is a slope.
        Ok(Slope::new(slope as f32).unwrap_or(default))
    }

    /// Softmax as a layer.
    pub fn softmax(&mut self, site: &Site<'a>) -> Made {
        self.keep_shape(Ok(Op::Softmax), LayerKind::Softmax, site)
    }

    /// A dropout.
    pub fn dropout(&mut self, attributes: &Attributes, site: &Site<'a>) -> Made {
        let rate = attributes.fraction(&mut self.reports, "rate", [0.0, 1.0], 0.0);
        self.keep_shape(rate.map(|rate| Op::Dropout { rate }), LayerKind::Dropout, site)
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

    /// A batch normalisation.
    pub fn batch_norm(&mut self, attributes: &Attributes, site: &Site<'a>) -> Made {
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

    /// A pool over windows.
    pub fn pool(&mut self, kind: PoolKind, attributes: &Attributes, site: &Site<'a>) -> Made {
        let layer_kind = match kind {
            PoolKind::Max => LayerKind::MaxPool,
            PoolKind::Average => LayerKind::AveragePool,
        };
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

    /// A pool over all pixels.
    pub fn global_pool(&mut self, kind: PoolKind, site: &Site<'a>) -> Made {
        let layer_kind = match kind {
            PoolKind::Max => LayerKind::GlobalMaxPool,
            PoolKind::Average => LayerKind::GlobalAveragePool,
        };
        let input = self.input_map(site);
        let outline = Outline::vector(input.outline.channels);
        self.attempt(site, outline, |this| {
            let (node, shape) = (input.node?, this.known(&outline)?);
            let layer = this.layer(site, layer_kind)?;
            this.push(Op::GlobalPool(kind), vec![node], shape, layer, site.span)
        })
    }

    /// A map as a vector.
    pub fn flatten(&mut self, site: &Site<'a>) -> Made {
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
