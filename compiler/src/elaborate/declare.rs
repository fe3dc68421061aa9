//! The model, its input, and what is checked when all statements ran.

use super::attributes::Attributes;
use super::names::Style;
use super::outline::{Extent, Outline};
use super::report::{Reported, quoted};
use super::suggest::is_alike;
use super::value::Value;
use super::{Elaborated, Elaborator, Named, Operand, limits};
use crate::diagnostic::{Diagnostic, Span};
use crate::graph::verify::{annotate, verify};
use crate::graph::{ChannelOrder, Graph, ImageSpec, Layer, LayerKind, NodeId};
use crate::syntax::ast::*;

const INPUT_ATTRIBUTES: &[&str] = &["range", "channels", "mean", "labels"];

impl<'a> Elaborator<'a> {
    /// Checks that there is one `model` statement and that it comes first.
    pub fn check_model(&mut self, statements: &'a [Statement]) {
        for (n, statement) in statements.iter().enumerate() {
            let StatementKind::Model { name, arguments } = &statement.kind else { continue };
            if let Some((_, first)) = self.model {
                let error = Diagnostic::error("E0401", "a spec describes one model")
                    .at(statement.at.0, "a second one")
                    .also(first, "the first one");
                self.reports.report(error);
                continue;
            }
            if n > 0 {
                let error = Diagnostic::error("E0401", "`model` must be the first statement")
                    .at(statement.at.0, "move it to the top");
                self.reports.report(error);
            }
            self.model = Some((name.text.clone(), statement.at.0));
            self.model_arguments(arguments, statement.at.0);
        }
        if self.model.is_none() && !self.may_be_model(statements.first()) {
            let error = Diagnostic::error("E0401", "the spec does not name its model")
                .suggest("start with a line like `model xception`");
            self.reports.report(error);
        }
    }

    /// Whether a mistake keeps `model` from being seen.
    fn may_be_model(&self, first: Option<&Statement>) -> bool {
        let is_like = match first.map(|statement| &statement.kind) {
            Some(StatementKind::Bad { .. }) => true,
            Some(StatementKind::Invoke { name, .. }) => is_alike(&name.text, "model"),
            _ => false,
        };
        is_like || self.lost.may_be_model
    }

    fn model_arguments(&mut self, arguments: &'a [Argument], site: Span) {
        let attributes = self.declaration_attributes("model", &["names"], arguments, site);
        let styles = [("keras", Style::Keras), ("path", Style::Path)];
        if let Ok(style) = attributes.choice(&mut self.reports, "names", &styles, Style::Path) {
            self.naming.style = style;
        }
    }

    /// The arguments of a declaration, all of which have names.
    fn declaration_attributes(
        &mut self,
        owner: &'static str,
        known: &[&'static str],
        arguments: &'a [Argument],
        site: Span,
    ) -> Attributes {
        let mut given: Vec<(&'static str, Option<Value>, Span)> = Vec::new();
        for argument in arguments {
            let span = argument.value.at.0;
            let name = argument.name.as_ref().map_or("", |n| n.text.as_str());
            let Some(attribute) = known.iter().find(|k| **k == name) else {
                let place = argument.name.as_ref().map_or(span, |n| n.at.0);
                let near = self.reports.nearest(name, known.iter().copied());
                let near = near.map(|n| format!("did you mean `{n}`?"));
                let message = match name {
                    "" => format!("`{owner}` takes its attributes by name"),
                    _ => format!("`{owner}` has no attribute `{name}`"),
                };
                let error = Diagnostic::error("E0203", message)
                    .at(place, "unknown attribute")
                    .note(format!("its attributes are {}", quoted(known.iter().copied())))
                    .suggest_if(near);
                self.reports.report(error);
                continue;
            };
            if given.iter().any(|(n, ..)| n == attribute) {
                let error = Diagnostic::error("E0413", format!("`{attribute}` is given twice"));
                self.reports.report(error.at(span, "again here"));
                continue;
            }
            given.push((*attribute, self.evaluate_for(attribute, &argument.value).ok(), span));
        }
        Attributes { owner, site, given }
    }

    /// Makes the graph with its input, the first value of the model.
    pub fn declare_input(
        &mut self,
        name: &'a Name,
        extents: &'a [Expression; 3],
        arguments: &'a [Argument],
        span: Span,
    ) {
        if self.hypothetical {
            // There is nothing in an input that is not reached.
            return;
        }
        if let Some(first) = self.input {
            let error = Diagnostic::error("E0403", "a model has one input")
                .at(span, "a second one")
                .also(first, "the first one");
            self.reports.report(error);
            return;
        }
        self.input = Some(span);
        let [h, w, c] =
            extents.each_ref().map(|extent| self.extent(extent).map_or(Extent::UNKNOWN, Extent::exact));
        let outline = Outline::map([h, w], c);
        let attributes = self.declaration_attributes("input", INPUT_ATTRIBUTES, arguments, span);
        let image = self.image(&attributes, c);
        let operand = match self.check_input_size(&outline, span) {
            Ok(()) => self.start_graph(name, image, outline, span),
            Err(_) => self.outlined(Outline { is_vector: Some(false), ..Outline::UNKNOWN }, Some(span)),
        };
        self.current = Some(operand);
        self.values.insert(name.text.clone(), Named { operand, span });
    }

    fn check_input_size(&mut self, outline: &Outline, span: Span) -> Result<(), Reported> {
        let (elements, channels) = (outline.elements(), outline.channels.low());
        let message = match () {
            () if channels > limits::CHANNELS => format!("an input of {outline} has {channels} channels"),
            () if elements > limits::ELEMENTS => format!("an input of {outline} has {elements} elements"),
            () => return Ok(()),
        };
        let error = Diagnostic::error("E0602", message);
        let error = self.size_limit(error, span);
        Err(self.reports.report(error))
    }

    /// The input as a value; there is a graph when all is well with it.
    fn start_graph(
        &mut self,
        name: &'a Name,
        image: Result<ImageSpec, Reported>,
        outline: Outline,
        span: Span,
    ) -> Operand {
        let (Ok(image), Some(shape)) = (image, outline.shape()) else {
            return self.outlined(outline, Some(span));
        };
        let model = self.model.as_ref().map_or("", |(name, _)| name);
        let layer = Layer { name: name.text.clone(), kind: LayerKind::Input, path: Vec::new(), span };
        let graph = Graph::new(model, image, layer, shape);
        let node = Ok(graph.input);
        self.graph = Some(graph);
        Operand { node, outline, span: Some(span) }
    }

    fn extent(&mut self, extent: &'a Expression) -> Result<u32, Reported> {
        let value = self.evaluate(extent)?;
        match value {
            Value::Integer(n) if (1..=i64::from(u32::MAX)).contains(&n) => Ok(n as u32),
            _ => {
                let error =
                    Diagnostic::error("E0304", "the input needs rows, columns and channels of 1 or more")
                        .at(extent.at.0, format!("this is {}", value.describe()));
                Err(self.reports.report(error))
            }
        }
    }

    /// How images become the input.
    fn image(&mut self, attributes: &Attributes, channels: Extent) -> Result<ImageSpec, Reported> {
        let orders = [("rgb", ChannelOrder::Rgb), ("bgr", ChannelOrder::Bgr), ("gray", ChannelOrder::Gray)];
        let usual = if channels.value() == Some(1) { ChannelOrder::Gray } else { ChannelOrder::Rgb };
        let range = attributes.interval(&mut self.reports, "range", [0.0, 1.0]);
        let order = attributes.choice(&mut self.reports, "channels", &orders, usual);
        let order = order.and_then(|order| self.check_order(attributes, order, channels));
        let mean = attributes.numbers(&mut self.reports, "mean");
        let mean = mean.and_then(|mean| self.check_mean(attributes, mean, channels));
        let labels = self.labels(attributes);
        let (range, channels, mean, labels) = (range?, order?, mean?, labels?);
        Ok(ImageSpec { range: range.map(|x| x as f32), channels, mean, labels })
    }

    fn check_order(
        &mut self,
        attributes: &Attributes,
        order: ChannelOrder,
        channels: Extent,
    ) -> Result<ChannelOrder, Reported> {
        let samples = if order == ChannelOrder::Gray { 1 } else { 3 };
        let differs = channels.differs(Extent::exact(samples));
        let Some(span) = attributes.span_of("channels").filter(|_| differs) else { return Ok(order) };
        let message = format!("pixels of {samples} samples for an input whose pixels have {channels}");
        let error = Diagnostic::error("E0513", message)
            .at(span, format!("has {samples}"))
            .note("`rgb` and `bgr` have 3 samples a pixel, `gray` has 1");
        Err(self.reports.report(error))
    }

    fn check_mean(
        &mut self,
        attributes: &Attributes,
        mean: Vec<f64>,
        channels: Extent,
    ) -> Result<Vec<f32>, Reported> {
        let differs = channels.differs(Extent::exact(u32::try_from(mean.len()).unwrap_or(u32::MAX)));
        let Some(span) = attributes.span_of("mean").filter(|_| differs) else {
            return Ok(mean.iter().map(|m| *m as f32).collect());
        };
        let message = format!("{} means for {channels} channels", mean.len());
        Err(self.reports.report(Diagnostic::error("E0512", message).at(span, "one for each channel")))
    }

    /// What was found out, in the order of the source.
    pub fn finish(mut self) -> Elaborated {
        let complete = !self.lost.is_incomplete;
        if self.current.is_none() && !self.lost.may_be_input {
            let error = Diagnostic::error("E0402", "the spec declares no input")
                .suggest("add a line like `input image 299 x 299 x 3`");
            self.reports.report(error);
        }
        if let Some(result) = self.current {
            self.check_labels(result);
            if let (Ok(output), true) = (result.node, complete) {
                self.finish_graph(output);
            }
        }
        if !self.reports.has_errors() {
            self.warn_unused();
        }
        let (label_file, work) = (self.label_file(), self.work());
        let graph = self.graph.take().filter(|_| !self.reports.has_errors() && complete);
        if cfg!(debug_assertions) {
            graph.iter().for_each(assert_sound);
        }
        let mut diagnostics = self.reports.diagnostics;
        diagnostics.sort_by_key(Diagnostic::position);
        Elaborated { graph, params: self.params, diagnostics, label_file, work }
    }

    fn finish_graph(&mut self, output: NodeId) {
        let Some(graph) = &mut self.graph else { return };
        if output == graph.input && graph.order().len() == 1 {
            if self.reports.has_errors() {
                return;
            }
            let span = graph.layers[0].span;
            let error = Diagnostic::error("E0409", "the model has no layers");
            self.reports.report(error.at(span, "the input is all there is"));
            return;
        }
        graph.outputs = vec![output];
        if !self.reports.has_errors() {
            self.report_unread(output);
        }
    }

    /// Reports layers whose result nothing reads: a `from` walked away from them.
    fn report_unread(&mut self, output: NodeId) {
        let Some(graph) = &self.graph else { return };
        let mut read = vec![false; graph.id_bound()];
        read[output.index()] = true;
        for &id in graph.order() {
            for input in &graph.node(id).inputs {
                read[input.index()] = true;
            }
        }
        let unread = graph.order().iter().filter(|id| !read[id.index()]);
        let layers: Vec<_> = unread.map(|id| graph.layer(graph.node(*id).layer)).collect();
        let errors: Vec<_> = layers
            .iter()
            .map(|layer| {
                Diagnostic::error("E0410", format!("nothing reads the result of `{}`", layer.name))
                    .at(layer.span, "computed in vain")
                    .suggest("remove it, or join it with `concat` or `add`")
            })
            .collect();
        for error in errors {
            self.reports.report(error);
        }
    }

    /// Warns of parameters and blocks that the spec never names.
    fn warn_unused(&mut self) {
        let unused = self.param_spans.iter().filter(|(name, _)| self.unused.contains(name));
        let mut warnings: Vec<_> = unused
            .map(|(name, span)| {
                Diagnostic::warning("W0001", format!("parameter `{name}` is never used"))
                    .at(*span, "setting it changes nothing")
            })
            .collect();
        let unused = self.blocks.iter().filter(|(name, _)| !self.used.contains(*name));
        warnings.extend(unused.map(|(name, block)| {
            Diagnostic::warning("W0002", format!("block `{name}` is never used"))
                .at(block.span, "defined here")
        }));
        for warning in warnings {
            self.reports.report(warning);
        }
    }
}

/// Panics, in builds with assertions, when a spec without mistakes made a graph that breaks an
/// invariant.
fn assert_sound(graph: &Graph) {
    if let Err(violations) = verify(graph) {
        panic!("elaboration made an unsound graph\n{}", annotate(graph, &violations));
    }
}
