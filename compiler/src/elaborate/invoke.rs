//! Statements that name a layer or a block: arguments are matched with attributes, then the layer is made.

use super::attributes::Attributes;
use super::names::Site;
use super::report::{Reported, quoted};
use super::schema::{self, LayerSchema};
use super::value::Value;
use super::{BlockDefinition, Elaborator, Named, Place, limits};
use crate::diagnostic::{Diagnostic, Span};
use crate::graph::{LayerId, LayerKind, NodeId, Op, Shape};
use crate::syntax::ast::*;

impl<'a> Elaborator<'a> {
    /// A layer or a call of a block.
    pub fn invoke(
        &mut self,
        name: &'a Name,
        arguments: &'a [Argument],
        label: Option<&'a Reference>,
        span: Span,
    ) -> Result<(), Reported> {
        if let Some(layer) = schema::find(&name.text) {
            let site = self.site(layer.word, span, label)?;
            let made = self.make_layer(layer, &site, arguments);
            return self.finish_layer(site, made);
        }
        match self.blocks.get(name.text.as_str()).copied() {
            Some(block) => self.call_block(name, block, arguments, label, span),
            None => Err(self.unknown_layer(&name.text, name.at.0)),
        }
    }

    /// Reports a word that names no layer and no block.
    pub fn unknown_layer(&mut self, word: &str, span: Span) -> Reported {
        if self.scopes.find(word).is_some_and(|v| v.value.is_none()) {
            return self.reports.reported();
        }
        let near = schema::likely_layer(word, self.blocks.keys().copied());
        let error = Diagnostic::error("E0202", format!("unknown layer or block `{word}`"))
            .at(span, "not a layer of the language, not a block of this spec")
            .suggest_if(near.map(|n| format!("did you mean `{n}`?")));
        self.reports.report(error)
    }

    /// Reports an attribute that a layer does not have.
    pub fn unknown_attribute(&mut self, layer: &LayerSchema, name: &str, span: Span) -> Reported {
        let near = layer.likely_attribute(name).map(|n| format!("did you mean `{n}`?"));
        let mut error = Diagnostic::error("E0203", format!("`{}` has no attribute `{name}`", layer.word))
            .at(span, "unknown attribute");
        error = match layer.attributes().next() {
            Some(_) => error.note(format!("its attributes are {}", quoted(layer.attributes()))),
            None => error.note("it has no attributes"),
        };
        self.reports.report(error.suggest_if(near))
    }

    fn make_layer(
        &mut self,
        layer: &'static LayerSchema,
        site: &Site<'a>,
        arguments: &'a [Argument],
    ) -> Result<NodeId, Reported> {
        let attributes = self.attributes(layer, arguments, site.span);
        match layer.kind {
            LayerKind::Conv => self.conv(&attributes?, site),
            LayerKind::DepthwiseConv => self.depthwise(&attributes?, site),
            LayerKind::SepConv => self.sepconv(&attributes?, site),
            LayerKind::Dense => self.dense(&attributes?, site),
            _ => self.simple_layer(layer, &attributes?, site),
        }
    }

    /// Matches arguments with the attributes of a layer and adds defaults.
    fn attributes(
        &mut self,
        layer: &'static LayerSchema,
        arguments: &'a [Argument],
        site: Span,
    ) -> Result<Attributes, Reported> {
        let mut given: Vec<(&'static str, Option<Value>, Span)> = Vec::new();
        let mut problem = None;
        for (n, argument) in arguments.iter().enumerate() {
            let value = self.evaluate(&argument.value).ok();
            match self.attribute_for(layer, arguments, n) {
                Ok(name) if given.iter().any(|(other, ..)| *other == name) => {
                    let error =
                        Diagnostic::error("E0413", format!("`{name}` of `{}` is given twice", layer.word));
                    problem = Some(self.reports.report(error.at(argument.value.at.0, "again here")));
                }
                Ok(name) => given.push((name, value, argument.value.at.0)),
                Err(reported) => problem = Some(reported),
            }
        }
        self.add_defaults(layer, &mut given);
        let missing = layer.required.iter().filter(|r| given.iter().all(|(name, ..)| name != *r));
        let missing: Vec<_> = missing.copied().collect();
        if problem.is_none() && !missing.is_empty() {
            let message = format!("`{}` needs {}", layer.word, quoted(missing.iter().copied()));
            let error = Diagnostic::error("E0412", message).at(site, "not given").suggest(example(layer));
            problem = Some(self.reports.report(error));
        }
        match problem {
            Some(reported) => Err(reported),
            None => Ok(Attributes { owner: layer.word, site, given }),
        }
    }

    fn attribute_for(
        &mut self,
        layer: &'static LayerSchema,
        arguments: &'a [Argument],
        n: usize,
    ) -> Result<&'static str, Reported> {
        let argument = &arguments[n];
        let span = argument.value.at.0;
        if let Some(name) = &argument.name {
            let found = layer.attribute(&name.text);
            return found.ok_or_else(|| self.unknown_attribute(layer, &name.text, name.at.0));
        }
        if arguments[..n].iter().any(|a| a.name.is_some()) {
            let error = Diagnostic::error("E0412", "an argument without name after one with name")
                .at(span, "expected `name: value`");
            return Err(self.reports.report(error));
        }
        if n > layer.required.len() {
            // The first argument that is one too many was reported.
            return Err(self.reports.reported());
        }
        layer.required.get(n).copied().ok_or_else(|| {
            let takes = match layer.required {
                [] => "no arguments without name".to_owned(),
                names => format!("{} without name: {}", names.len(), quoted(names.iter().copied())),
            };
            let error =
                Diagnostic::error("E0412", format!("`{}` takes {takes}", layer.word))
                    .at(span, "one too many")
                    .suggest_if(layer.optional.first().map(|_| {
                        format!("give it a name: one of {}", quoted(layer.optional.iter().copied()))
                    }));
            self.reports.report(error)
        })
    }

    fn add_defaults(
        &mut self,
        layer: &'static LayerSchema,
        given: &mut Vec<(&'static str, Option<Value>, Span)>,
    ) {
        for name in layer.attributes() {
            // `groups` and `segments` are two words for one attribute: either overrides a default for the
            // other.
            let twin = |other: &str| matches!((name, other), ("groups", "segments") | ("segments", "groups"));
            if given.iter().any(|(other, ..)| *other == name || twin(other)) {
                continue;
            }
            if let Some((scope, default)) = self.scopes.default_of(layer.word, name) {
                let mark = self.scopes.restrict_to(scope);
                let value = self.evaluate(default.value).ok();
                self.scopes.restore(mark);
                given.push((name, value, default.value.at.0));
            }
        }
    }

    fn call_block(
        &mut self,
        name: &'a Name,
        block: BlockDefinition<'a>,
        arguments: &'a [Argument],
        label: Option<&'a Reference>,
        span: Span,
    ) -> Result<(), Reported> {
        if self.active.contains(&name.text.as_str()) {
            let again = [name.text.as_str()];
            let chain = self.active.iter().chain(&again).map(|n| format!("`{n}`"));
            let error = Diagnostic::error("E0209", format!("block `{}` calls itself", name.text))
                .at(span, "called again here")
                .also(block.span, "defined here")
                .note(format!("the calls are {}", chain.collect::<Vec<_>>().join(", ")))
                .suggest("use `repeat` or `for`");
            return Err(self.reports.report(error));
        }
        let values = self.block_arguments(name, block, arguments, span)?;
        let name_of_result = label.map(|label| self.reference(label)).transpose();
        let mark = self.scopes.enter_call();
        let turns = std::mem::take(&mut self.reports.turns);
        self.scopes.push();
        self.bind(block, values);
        self.reports.calls.push(span);
        self.active.push(&name.text);
        self.run_block(block.body, Place::Body);
        self.active.pop();
        self.reports.calls.pop();
        self.reports.turns = turns;
        self.scopes.pop();
        self.scopes.restore(mark);
        if let Some((result, at)) = name_of_result? {
            self.values.entry(result).or_insert(Named { current: self.current, span: at });
        }
        Ok(())
    }

    /// Defines the parameters of a block in the innermost scope.
    fn bind(&mut self, block: BlockDefinition<'a>, values: Vec<Option<Value>>) {
        for (parameter, value) in block.parameters.iter().zip(values) {
            let value = match (value, &parameter.default) {
                (Some(value), _) => Some(value),
                (None, Some(default)) => self.evaluate(default).ok(),
                (None, None) => None,
            };
            let shown = value.as_ref().map_or("?".to_owned(), Value::to_string);
            self.reports.turns.push(format!("{} = {shown}", parameter.name.text));
            let _ = self.define(&parameter.name, value);
        }
    }

    /// The values passed to a block, in the order of its parameters; `None` where the default counts.
    fn block_arguments(
        &mut self,
        name: &Name,
        block: BlockDefinition<'a>,
        arguments: &'a [Argument],
        span: Span,
    ) -> Result<Vec<Option<Value>>, Reported> {
        let mut values: Vec<Option<Value>> = vec![None; block.parameters.len()];
        let mut problem = None;
        for (n, argument) in arguments.iter().enumerate() {
            let value = self.evaluate(&argument.value);
            match (free_parameter(block.parameters, &values, argument, n), value) {
                (Err(fault), _) => {
                    let message = format!("wrong arguments for block `{}`", name.text);
                    problem = Some(self.bad_call(message, argument.value.at.0, fault, name, block));
                }
                (Ok(position), Ok(value)) => values[position] = Some(value),
                (Ok(_), Err(reported)) => problem = Some(reported),
            }
        }
        let missing =
            block.parameters.iter().zip(&values).filter(|(p, v)| v.is_none() && p.default.is_none());
        let missing: Vec<_> = missing.map(|(p, _)| p.name.text.as_str()).collect();
        if problem.is_none() && !missing.is_empty() {
            let message = format!("block `{}` needs {}", name.text, quoted(missing));
            problem = Some(self.bad_call(message, span, "not given", name, block));
        }
        problem.map_or(Ok(values), Err)
    }

    fn bad_call(
        &mut self,
        message: String,
        span: Span,
        fault: &str,
        name: &Name,
        block: BlockDefinition<'a>,
    ) -> Reported {
        let signature = format!("`{}` is defined here with {}", name.text, parameter_list(block.parameters));
        self.reports.report(Diagnostic::error("E0414", message).at(span, fault).also(block.span, signature))
    }

    /// Adds a node, if its value is not too large.
    pub fn push(
        &mut self,
        op: Op,
        inputs: Vec<NodeId>,
        shape: Shape,
        layer: LayerId,
        span: Span,
    ) -> Result<NodeId, Reported> {
        let too_wide = matches!(shape, Shape::Map { c, .. } if c > limits::CHANNELS);
        if shape.elements() > limits::ELEMENTS || too_wide {
            let message = format!("a tensor of {shape} has {} elements", shape.elements());
            let error = self.size_limit(Diagnostic::error("E0602", message), span);
            return Err(self.reports.report(error));
        }
        Ok(self.graph()?.push(op, inputs, shape, layer))
    }

    /// Adds the limits of tensors to an error.
    pub fn size_limit(&self, error: Diagnostic, span: Span) -> Diagnostic {
        error.at(span, "too large").note(format!(
            "a tensor has at most {} elements, a map at most {} channels",
            limits::ELEMENTS,
            limits::CHANNELS
        ))
    }
}

/// The position of the parameter that the `n`th argument gives a value to, or what is wrong with it.
fn free_parameter(
    parameters: &[Parameter],
    values: &[Option<Value>],
    argument: &Argument,
    n: usize,
) -> Result<usize, &'static str> {
    let position = match &argument.name {
        Some(name) => parameters.iter().position(|p| p.name.text == name.text),
        None => Some(n),
    };
    match position.and_then(|p| Some((p, values.get(p)?))) {
        None => Err("no parameter for this"),
        Some((_, Some(_))) => Err("given twice"),
        Some((position, None)) => Ok(position),
    }
}

fn parameter_list(parameters: &[Parameter]) -> String {
    match parameters {
        [] => "no parameters".to_owned(),
        parameters => quoted(parameters.iter().map(|p| p.name.text.as_str())),
    }
}

/// How a layer is written.
fn example(layer: &LayerSchema) -> String {
    let arguments = layer.required.iter().map(|name| match *name {
        "filters" => "32",
        "units" => "1000",
        "rate" => "0.5",
        "window" => "2x2",
        _ => "3x3",
    });
    format!("write it like `{} {}`", layer.word, arguments.collect::<Vec<_>>().join(", "))
}
