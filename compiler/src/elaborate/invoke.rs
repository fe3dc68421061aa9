//! Statements that name a layer or a block: arguments are matched with attributes, then the layer
//! is made.

use std::collections::HashSet;

use super::attributes::{Attributes, CHOICES};
use super::foreign;
use super::names::{Made, Site};
use super::outline::Outline;
use super::report::{Reported, Turn, quoted};
use super::schema::{self, LayerSchema, Makes};
use super::scope::Applied;
use super::value::Value;
use super::{BlockDefinition, Elaborator, Place, limits};
use crate::diagnostic::{Diagnostic, Span};
use crate::graph::{LayerId, NodeId, Op, Shape};
use crate::syntax::ast::*;
use crate::syntax::visit;

/// What a call passes for a parameter: nothing, so that the default counts, or a value, unless
/// there is a mistake in it.
pub type Passed = Option<Result<Value, Reported>>;

impl<'a> Elaborator<'a> {
    /// A layer or a call of a block.
    pub fn invoke(
        &mut self,
        name: &'a Name,
        arguments: &'a [Argument],
        label: Option<&'a Reference>,
        span: Span,
    ) {
        let layer = schema::find(&name.text);
        let block = self.blocks.get(name.text.as_str()).copied();
        if let (None, Some(block)) = (layer, block) {
            return self.call_block(name, block, arguments, label, span);
        }
        if layer.is_none() && self.misspelt_statement(name, arguments) {
            if let Some(label) = label {
                let name = self.reference(label);
                self.name_result(name, label);
            }
            return;
        }
        let site = self.site(layer.map_or(&name.text, |layer| layer.word), span, label);
        let made = match layer {
            Some(layer) => self.make_layer(layer, &site, arguments),
            None => self.guess_layer(name, &site, arguments),
        };
        self.finish_layer(site, made);
    }

    /// Reports a misspelt `model`, `from` or `concat`, whose arguments are no values.
    fn misspelt_statement(&mut self, name: &'a Name, arguments: &'a [Argument]) -> bool {
        let near = self.likely_layer(&name.text, arguments);
        let are_names = arguments.iter().all(|a| matches!(a.value.kind, ExpressionKind::Name(_)));
        if !matches!(near, Some("model" | "from" | "concat")) || arguments.is_empty() || !are_names {
            return false;
        }
        self.unknown_layer(name, arguments, near);
        if near != Some("model") {
            self.forget();
        }
        true
    }

    /// Reports a word that names no layer and goes on as if it were the layer that is suggested:
    /// with all checks when other tools call that layer so, otherwise with what may be as well
    /// when it is another one.
    fn guess_layer(&mut self, name: &'a Name, site: &Site<'a>, arguments: &'a [Argument]) -> Made {
        let input = self.operand(site.span).outline;
        let near = self.likely_layer(&name.text, arguments);
        self.lost.add_word(&name.text);
        let guess = match self.unknown_layer(name, arguments, near) {
            true => near.and_then(schema::find),
            false => None,
        };
        let by_position = arguments.iter().filter(|argument| argument.name.is_none()).count();
        let fits = |layer: &&LayerSchema| by_position <= layer.required.len();
        if let Some(layer) = guess.filter(fits).filter(|_| foreign::layer(&name.text).is_some()) {
            return self.make_layer(layer, site, arguments);
        }
        for argument in arguments {
            let _ = self.evaluate(&argument.value);
        }
        let after = input.after_unknown_layer();
        let Some(layer) = guess else { return Err(after) };
        let guessed = self.follow_guess(layer, site, if fits(&layer) { arguments } else { &[] });
        Err(match guessed.is_vector {
            Some(true) => guessed,
            _ => Outline { rows: after.rows, columns: after.columns, ..guessed },
        })
    }

    /// What the result of a layer would be.
    fn follow_guess(
        &mut self,
        layer: &'static LayerSchema,
        site: &Site<'a>,
        arguments: &'a [Argument],
    ) -> Outline {
        let muted = std::mem::replace(&mut self.reports.muted, true);
        let made = self.make_layer(layer, site, arguments);
        self.reports.muted = muted;
        made.map_or_else(|outline| outline, |node| self.node_operand(node, site.span).outline)
    }

    /// The layer, block or statement that was probably meant by a word that is none.
    fn likely_layer(&self, word: &str, arguments: &'a [Argument]) -> Option<&'a str> {
        if self.is_lost_word(word) {
            return None;
        }
        match function_of(word, arguments) {
            Some(function) if foreign::is_absent_function(function) => None,
            Some(function) if foreign::function(function).is_some() => foreign::function(function),
            _ => foreign::likely_layer(word, self.blocks.keys().copied(), &self.reports.suggestions),
        }
    }

    /// Whether a mistake before keeps a word from being known.
    fn is_lost_word(&self, word: &str) -> bool {
        self.scopes.find(word).is_some_and(|variable| variable.value.is_none())
    }

    /// Reports a word that names no layer and no block, unless that follows from a mistake before.
    fn unknown_layer(&mut self, name: &Name, arguments: &[Argument], near: Option<&str>) -> bool {
        let (word, span) = (name.text.as_str(), name.at.0);
        if self.is_lost_word(word) {
            // No turn of a loop will do better.
            self.reports.mistakes += 1;
            return false;
        }
        let known = function_of(word, arguments).filter(|function| foreign::is_absent_function(function));
        let known = known.unwrap_or(word);
        if let Some(instead) = foreign::absent(known).filter(|_| near.is_none()) {
            let error = Diagnostic::error("E0202", format!("`{known}` is not available"));
            self.reports.report(error.at(span, "no layer or block of that kind").suggest(instead));
            return true;
        }
        let error = Diagnostic::error("E0202", format!("unknown layer or block `{word}`"))
            .at(span, "not a layer of the language, not a block of this spec");
        self.reports.report(match near {
            Some(near) => meant(error, near),
            None => error
                .note(format!("the layers are {}", quoted(schema::layers().iter().map(|layer| layer.word)))),
        });
        true
    }

    /// The layer of that word; reports a word that names none.
    pub fn layer_named(&mut self, name: &'a Name) -> Option<&'static LayerSchema> {
        schema::find(&name.text).or_else(|| {
            let near = self.likely_layer(&name.text, &[]);
            self.unknown_layer(name, &[], near);
            None
        })
    }

    /// Reports an attribute that a layer does not have.
    pub fn unknown_attribute(&mut self, layer: &LayerSchema, name: &str, span: Span) {
        let near = layer.likely_attribute(name, &self.reports.suggestions);
        let near = near.map(|n| format!("did you mean `{n}`?"));
        let mut error = Diagnostic::error("E0203", format!("`{}` has no attribute `{name}`", layer.word))
            .at(span, "unknown attribute");
        error = match layer.attributes().next() {
            Some(_) => error.note(format!("its attributes are {}", quoted(layer.attributes()))),
            None => error.note("it has no attributes"),
        };
        self.reports.report(error.suggest_if(near));
    }

    fn make_layer(
        &mut self,
        layer: &'static LayerSchema,
        site: &Site<'a>,
        arguments: &'a [Argument],
    ) -> Made {
        let attributes = self.attributes(layer, arguments, site.span);
        match layer.makes {
            Makes::Conv => self.conv(&attributes, site),
            Makes::Depthwise => self.depthwise(&attributes, site),
            Makes::SepConv => self.sepconv(&attributes, site),
            Makes::Dense => self.dense(&attributes, site),
            Makes::BatchNorm => self.batch_norm(&attributes, site),
            Makes::Activation(function) => self.function(function, &attributes, site),
            Makes::Softmax => self.softmax(site),
            Makes::Pool(kind) => self.pool(kind, &attributes, site),
            Makes::GlobalPool(kind) => self.global_pool(kind, site),
            Makes::Dropout => self.dropout(&attributes, site),
            Makes::Flatten => self.flatten(site),
        }
    }

    /// Matches arguments with the attributes of a layer and adds defaults. An attribute that a
    /// mistake may have been meant to give has no value.
    fn attributes(
        &mut self,
        layer: &'static LayerSchema,
        arguments: &'a [Argument],
        site: Span,
    ) -> Attributes {
        let mut given: Vec<(&'static str, Option<Value>, Span)> = Vec::new();
        let mut meant = Vec::new();
        for (n, argument) in arguments.iter().enumerate() {
            let by_position = layer.required.get(n).copied().unwrap_or_default();
            let (value, span) = (self.argument(argument, by_position).ok(), argument.value.at.0);
            let value = self.weighed(value, span);
            match self.attribute_for(layer, arguments, n) {
                Ok(name) => match given.iter_mut().find(|(other, ..)| *other == name) {
                    Some((_, first, place)) => {
                        *first = None;
                        let message = format!("`{name}` of `{}` is given twice", layer.word);
                        let error = Diagnostic::error("E0413", message).at(span, "again here");
                        self.reports.report(error.also(*place, "first here"));
                    }
                    None => given.push((name, value, span)),
                },
                Err(names) => meant.extend(names.iter().map(|name| (*name, None, span))),
            }
        }
        for attribute in meant {
            if given.iter().all(|(other, ..)| *other != attribute.0) {
                given.push(attribute);
            }
        }
        self.add_defaults(layer, &mut given);
        self.require(layer, &mut given, site);
        Attributes { owner: layer.word, site, given }
    }

    /// The value of an attribute, if there are steps left for what reads it.
    fn weighed(&mut self, value: Option<Value>, span: Span) -> Option<Value> {
        let value = value?;
        self.spend(value.weight(), span).ok().map(|()| value)
    }

    /// The value of a layer's argument. A word that nobody knows is one still where only some
    /// words can be: what reads it says which.
    fn argument(&mut self, argument: &Argument, by_position: &str) -> Result<Value, Reported> {
        let attribute = argument.name.as_ref().map_or(by_position, |name| name.text.as_str());
        match CHOICES.contains(&attribute) {
            true => self.word_or_value(&argument.value, true),
            false => self.evaluate_for(attribute, &argument.value),
        }
    }

    /// Reports the attributes that a layer needs and was not given.
    fn require(
        &mut self,
        layer: &LayerSchema,
        given: &mut Vec<(&'static str, Option<Value>, Span)>,
        site: Span,
    ) {
        let is_missing = |name: &&'static str| given.iter().all(|(other, ..)| other != name);
        let missing: Vec<_> = layer.required.iter().copied().filter(is_missing).collect();
        if missing.is_empty() {
            return;
        }
        given.extend(missing.iter().map(|name| (*name, None, site)));
        if self.lost.mention("default") {
            // A statement that could not be read may give them.
            return;
        }
        let message = format!("`{}` needs {}", layer.word, quoted(missing));
        let error = Diagnostic::error("E0412", message).at(site, "not given").suggest(example(layer));
        self.reports.report(error);
    }

    /// The attribute that the `n`th argument gives; after a mistake, those that it may have been
    /// meant to give.
    fn attribute_for(
        &mut self,
        layer: &'static LayerSchema,
        arguments: &'a [Argument],
        n: usize,
    ) -> Result<&'static str, Vec<&'static str>> {
        let argument = &arguments[n];
        let span = argument.value.at.0;
        if let Some(name) = &argument.name {
            return layer.attribute(&name.text).ok_or_else(|| {
                self.unknown_attribute(layer, &name.text, name.at.0);
                let likely = layer.likely_attribute(&name.text, &self.reports.suggestions);
                likely.map_or_else(|| layer.shaping().collect(), |likely| vec![likely])
            });
        }
        if arguments[..n].iter().any(|a| a.name.is_some()) {
            let error = Diagnostic::error("E0412", "an argument without name after one with name")
                .at(span, "expected `name: value`");
            self.reports.report(error);
            return Err(layer.shaping().collect());
        }
        layer.required.get(n).copied().ok_or_else(|| {
            // Only the first argument that is one too many is reported.
            if n == layer.required.len() {
                self.surplus_argument(layer, span);
            }
            layer.shaping().collect()
        })
    }

    fn surplus_argument(&mut self, layer: &LayerSchema, span: Span) {
        let takes = match layer.required {
            [] => "no arguments without name".to_owned(),
            names => format!("{} without name: {}", names.len(), quoted(names.iter().copied())),
        };
        let named = layer.optional.first();
        let way_out =
            named.map(|_| format!("give it a name: one of {}", quoted(layer.optional.iter().copied())));
        let error = Diagnostic::error("E0412", format!("`{}` takes {takes}", layer.word))
            .at(span, "one too many")
            .suggest_if(way_out);
        self.reports.report(error);
    }

    fn add_defaults(
        &mut self,
        layer: &'static LayerSchema,
        given: &mut Vec<(&'static str, Option<Value>, Span)>,
    ) {
        for name in layer.attributes() {
            // `groups` and `segments` are two words for one attribute: either overrides a default,
            // which is always kept as one for `segments`.
            let twin = |other: &str| matches!((name, other), ("groups", "segments") | ("segments", "groups"));
            if given.iter().any(|(other, ..)| *other == name || twin(other)) {
                continue;
            }
            if let Some(Applied { scope, default }) = self.scopes.default_of(layer.word, name) {
                let mark = self.scopes.restrict_to(scope);
                let (value, span) = (self.evaluate_for(name, default.value).ok(), default.value.at.0);
                self.scopes.restore(mark);
                given.push((name, self.weighed(value, span), span));
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
    ) {
        let label = label.map(|label| (self.reference(label), label));
        let values = self.block_arguments(name, block, arguments, span);
        if self.active.contains(&name.text.as_str()) {
            self.report_recursion(name, block, span);
            self.forget();
        } else {
            self.run_call(name, block, values, span);
        }
        if let Some((name, label)) = label {
            self.name_result(name, label);
        }
    }

    fn report_recursion(&mut self, name: &'a Name, block: BlockDefinition<'a>, span: Span) {
        // The second run through the statements may close the same circle elsewhere.
        if self.hypothetical && self.reports.has("E0209") {
            return;
        }
        let again = [name.text.as_str()];
        let chain = self.active.iter().chain(&again).map(|n| format!("`{n}`"));
        let error = Diagnostic::error("E0209", format!("block `{}` calls itself", name.text))
            .at(span, "called again here")
            .also(block.span, "defined here")
            .note(format!("the calls are {}", chain.collect::<Vec<_>>().join(", ")))
            .suggest("use `repeat` or `for`");
        self.reports.report(error);
    }

    fn run_call(&mut self, name: &'a Name, block: BlockDefinition<'a>, values: Vec<Passed>, span: Span) {
        if self.hypothetical {
            self.forget();
            if !self.visited.insert(&name.text) {
                return;
            }
        }
        self.reports.calls.push(span);
        self.active.push(&name.text);
        self.run_body(block.parameters, values, block.body);
        self.active.pop();
        self.reports.calls.pop();
        if self.hypothetical {
            self.forget();
        }
    }

    /// Runs the body of a block, which does not see the variables around its call.
    pub fn run_body(&mut self, parameters: &'a [Parameter], values: Vec<Passed>, body: &'a Block) {
        let mark = self.scopes.enter_call();
        let turns = std::mem::take(&mut self.reports.turns);
        self.scopes.push();
        self.bind(parameters, values);
        self.run_block(body, Place::Body);
        self.reports.turns = turns;
        self.scopes.pop();
        self.scopes.restore(mark);
    }

    /// Defines the parameters of a block in the innermost scope.
    fn bind(&mut self, parameters: &'a [Parameter], values: Vec<Passed>) {
        for (n, (parameter, value)) in parameters.iter().zip(values).enumerate() {
            let value = match (value, &parameter.default) {
                (Some(value), _) => value.ok(),
                (None, Some(default)) => self.parameter_default(default, &parameters[n..]),
                (None, None) => None,
            };
            let name = parameter.name.text.as_str();
            self.reports.turns.extend(value.iter().map(|value| Turn { name, value: value.clone() }));
            let _ = self.define(&parameter.name, value);
        }
    }

    /// The default of a parameter; an error when it speaks of one that gets its value later,
    /// `later` or its own.
    fn parameter_default(&mut self, default: &Expression, later: &[Parameter]) -> Option<Value> {
        let mut used = HashSet::new();
        visit::names_in(default, &mut |name| {
            used.insert(name);
        });
        if let Some(parameter) = later.iter().find(|parameter| used.contains(parameter.name.text.as_str())) {
            let name = &parameter.name.text;
            let error = Diagnostic::error("E0210", format!("`{name}` is used before it has its value"))
                .at(default.at.0, "a default may use earlier parameters")
                .also(parameter.name.at.0, "has its value from here on");
            self.reports.report(error);
            return None;
        }
        self.evaluate(default).ok()
    }

    /// The values passed to a block, in the order of its parameters.
    fn block_arguments(
        &mut self,
        name: &Name,
        block: BlockDefinition<'a>,
        arguments: &'a [Argument],
        span: Span,
    ) -> Vec<Passed> {
        let mut values: Vec<Passed> = vec![None; block.parameters.len()];
        let (mut problem, mut is_behind_name) = (None, false);
        for (n, argument) in arguments.iter().enumerate() {
            let value = self.evaluate(&argument.value);
            is_behind_name |= argument.name.is_some();
            match free_parameter(block.parameters, &values, argument, n, is_behind_name) {
                Ok(position) => values[position] = Some(value),
                Err(fault) => {
                    let message = format!("wrong arguments for block `{}`", name.text);
                    let free = block.parameters.iter().zip(&values).filter(|(_, value)| value.is_none());
                    let free = free.map(|(parameter, _)| parameter.name.text.as_str());
                    let misspelt = argument.name.as_ref().filter(|_| fault == NO_PARAMETER);
                    let near = misspelt.and_then(|name| self.reports.nearest(&name.text, free));
                    let error = bad_call(message, argument.value.at.0, fault, name, block)
                        .suggest_if(near.map(|n| format!("did you mean `{n}`?")));
                    problem = Some(self.reports.report(error));
                }
            }
        }
        let missing =
            block.parameters.iter().zip(&values).filter(|(p, v)| v.is_none() && p.default.is_none());
        let missing: Vec<_> = missing.map(|(p, _)| p.name.text.as_str()).collect();
        if problem.is_none() && !missing.is_empty() {
            let message = format!("block `{}` needs {}", name.text, quoted(missing));
            problem = Some(self.reports.report(bad_call(message, span, "not given", name, block)));
        }
        // After a mistake nobody knows which parameters were meant to have their defaults.
        values.into_iter().map(|value| value.or(problem.map(Err))).collect()
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
        self.check_size(&shape.into(), span)?;
        Ok(self.graph()?.push(op, inputs, shape, layer))
    }

    /// Reports a tensor that is too large whatever its shape is within the outline.
    pub fn check_size(&mut self, outline: &Outline, span: Span) -> Result<(), Reported> {
        let (elements, channels) = (outline.elements(), outline.channels.low());
        let least = if outline.shape().is_some() { "" } else { "at least " };
        let message = match () {
            () if outline.is_vector == Some(false) && channels > limits::CHANNELS => {
                format!("a tensor of {outline} has {least}{channels} channels")
            }
            () if elements > limits::ELEMENTS => {
                format!("a tensor of {outline} has {least}{elements} elements")
            }
            () => return Ok(()),
        };
        let error = self.size_limit(Diagnostic::error("E0602", message), span);
        Err(self.reports.report(error))
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

/// The function that an `activation` of other tools is given, as in `Activation("elu")` or
/// `activation elu`.
fn function_of<'t>(word: &str, arguments: &'t [Argument]) -> Option<&'t str> {
    let first = arguments.first().filter(|_| foreign::is_activation(word))?;
    match &first.value.kind {
        ExpressionKind::Name(function) => Some(function),
        ExpressionKind::Text(pieces) => match &pieces[..] {
            [Piece::Text(function)] => Some(function),
            _ => None,
        },
        _ => None,
    }
}

/// The error with the layer or block that was probably meant. Other tools have other slopes.
fn meant(error: Diagnostic, near: &str) -> Diagnostic {
    let error = error.suggest(format!("did you mean `{near}`?"));
    let slope = schema::find(near).and_then(|layer| match layer.makes {
        Makes::Activation(function) => function.slope(),
        _ => None,
    });
    match slope {
        Some(slope) => error.note(format!("its slope is {slope} unless `slope:` says another")),
        None => error,
    }
}

fn bad_call(message: String, span: Span, fault: &str, name: &Name, block: BlockDefinition<'_>) -> Diagnostic {
    let signature = format!("`{}` is defined here with {}", name.text, parameter_list(block.parameters));
    Diagnostic::error("E0414", message).at(span, fault).also(block.span, signature)
}

/// What is wrong with an argument that no parameter is called after.
const NO_PARAMETER: &str = "no parameter for this";

/// The position of the parameter that the `n`th argument gives a value to, or what is wrong with
/// it.
fn free_parameter(
    parameters: &[Parameter],
    values: &[Passed],
    argument: &Argument,
    n: usize,
    is_behind_name: bool,
) -> Result<usize, &'static str> {
    let position = match &argument.name {
        Some(name) => parameters.iter().position(|p| p.name.text == name.text),
        None if is_behind_name => return Err("has no name, but stands behind one that has"),
        None => Some(n),
    };
    match position.and_then(|p| Some((p, values.get(p)?))) {
        None => Err(NO_PARAMETER),
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
