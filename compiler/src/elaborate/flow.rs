//! Runs statements: flows, loops, conditions, variables.

use super::eval::{CURRENT, FUNCTIONS, is_word};
use super::report::{Reported, Turn};
use super::scope::{LayerDefault, Variable};
use super::value::Value;
use super::{BlockDefinition, Elaborator, Operand, Place, limits, schema};
use crate::diagnostic::{Diagnostic, Span};
use crate::syntax::ast::*;

/// The value of a default whose attribute has a wrong name.
static UNREADABLE: Expression = Expression { kind: ExpressionKind::Bad, at: At(Span { start: 0, end: 0 }) };

/// A loop, but for what it goes through.
#[derive(Clone, Copy)]
struct Loop<'a> {
    variable: Option<&'a Name>,
    body: &'a Block,
    place: Place,
    span: Span,
}

impl<'a> Elaborator<'a> {
    /// Runs the statements outside of all braces.
    pub fn run_file(&mut self, file: &'a File) {
        self.check_model(&file.statements);
        for statement in &file.statements {
            self.run(statement, Place::Top);
        }
    }

    /// Runs the statements between braces.
    pub fn run_block(&mut self, body: &'a [Statement], place: Place) {
        self.depth += 1;
        self.scopes.push();
        for statement in body {
            self.run(statement, place);
        }
        self.scopes.pop();
        self.depth -= 1;
    }

    /// Runs one statement.
    pub fn run(&mut self, statement: &'a Statement, place: Place) {
        let span = statement.at.0;
        if self.spend(1, span).is_err() || self.too_deep(span) {
            self.forget();
            return;
        }
        self.check_place(&statement.kind, place, span);
        match &statement.kind {
            StatementKind::Model { .. } => {}
            StatementKind::Block { name, parameters, body } => {
                if place != Place::Top {
                    self.survey_block(name, parameters, body);
                }
            }
            StatementKind::Param { name, default, domain } => {
                self.declare_param(name, default, domain.as_ref());
            }
            StatementKind::Input { name, extents, arguments } => {
                self.declare_input(name, extents, arguments, span);
            }
            StatementKind::Default { layers, arguments } => self.set_defaults(layers, arguments),
            StatementKind::Let { name, value } => self.run_let(name, value),
            StatementKind::If { arms, otherwise } => self.run_if(arms, otherwise.as_ref(), place),
            StatementKind::For { variable, values, body } => {
                let turns = Loop { variable: Some(variable), body, place, span };
                self.run_for(values, turns);
            }
            StatementKind::Repeat { repeat, body } => {
                let turns = Loop { variable: repeat.index.as_ref(), body, place, span };
                self.run_repeat(&repeat.count, turns);
            }
            StatementKind::Flow { name, repeat, body } => self.run_flow(name, repeat.as_ref(), body, span),
            StatementKind::Branch { body } => self.run_branch(body, place, span),
            StatementKind::From { value } => self.current = Some(self.named_value(value)),
            StatementKind::Residual { condition, body, shortcut, label } => {
                let paths = super::join::Residual { body, shortcut: shortcut.as_deref(), span };
                self.run_residual(condition.as_ref(), paths, label.as_ref());
            }
            StatementKind::Join { kind, operands, label } => {
                self.run_join(*kind, operands, label.as_ref(), span);
            }
            StatementKind::Invoke { name, arguments, label, .. } => {
                self.invoke(name, arguments, label.as_ref(), span);
            }
            StatementKind::Bad { declares, text, body } => {
                self.doubt_branches_of(place);
                self.run_bad(declares.as_ref(), text, body, span);
            }
        }
    }

    fn too_deep(&mut self, span: Span) -> bool {
        if self.depth > limits::DEPTH && !self.hypothetical {
            let message = format!("more than {} levels of flows, loops, branches and calls", limits::DEPTH);
            self.reports.report(Diagnostic::error("E0605", message).at(span, "reached here"));
        }
        self.depth > limits::DEPTH
    }

    /// Reports a statement that may not stand where it does.
    fn check_place(&mut self, statement: &StatementKind, place: Place, span: Span) {
        use StatementKind::*;
        let (word, top_only, makes_layers) = match statement {
            Model { .. } => ("model", true, false),
            Param { .. } => ("param", true, false),
            Input { .. } => ("input", true, false),
            Block { .. } => ("block", true, false),
            Flow { .. } => ("flow", true, true),
            Residual { .. } => ("residual", false, true),
            Join { kind, .. } => (kind.word(), false, true),
            From { .. } => ("from", false, true),
            Invoke { name, .. } => (name.text.as_str(), false, true),
            _ => return,
        };
        if top_only && place != Place::Top {
            let error = Diagnostic::error("E0405", format!("`{word}` inside of braces"))
                .at(span, "belongs outside of all braces");
            self.reports.report(error);
        } else if makes_layers && place == Place::Branches {
            self.doubt_branches_of(place);
            let error = Diagnostic::error("E0407", format!("`{word}` between the branches of a join"))
                .at(span, "belongs into a branch")
                .suggest(format!("write `branch {{ {word} ... }}`"));
            self.reports.report(error);
        }
    }

    /// Does what is certain of a statement that could not be read: declares its name and runs the
    /// block behind it, in which each word of the statement may be a variable.
    fn run_bad(&mut self, declares: Option<&'a Name>, text: &'a str, body: &'a Block, span: Span) {
        // Syntax has told it: a loop that meets it ends its turns as after any other mistake.
        self.reports.mistakes += 1;
        if self.spend(text.len() as u64 / 8, span).is_err() {
            return self.forget();
        }
        if let Some(name) = declares {
            self.later_params.remove(name.text.as_str());
            let _ = self.scopes.define(&name.text, Variable { value: None, span, is_guess: true });
        }
        let word = text.split_whitespace().next().unwrap_or_default();
        let is_declaration = declares.is_some() || ["model", "default"].contains(&word);
        let before = self.current;
        if before.is_some() || self.lost.may_be_input {
            self.current = Some(self.unknown());
        }
        self.scopes.push();
        for word in text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            let _ = self.scopes.define(word, Variable { value: None, span, is_guess: true });
        }
        self.run_stray(body);
        self.scopes.pop();
        match is_declaration {
            true => self.current = before.or(self.current),
            false => self.forget(),
        }
    }

    /// Notes a block, so that it may be called before its definition.
    pub fn survey_block(&mut self, name: &'a Name, parameters: &'a [Parameter], body: &'a Block) {
        let definition = BlockDefinition { parameters, body, span: name.at.0 };
        if let Some(old) = self.blocks.get(name.text.as_str()) {
            if old.span == name.at.0 {
                // A block inside of braces, which run more than once.
                return;
            }
            let error = Diagnostic::error("E0207", format!("block `{}` is defined twice", name.text))
                .at(name.at.0, "again here")
                .also(old.span, "first here");
            self.reports.report(error);
            return;
        }
        if schema::find(&name.text).is_some() {
            let error = Diagnostic::error("E0208", format!("`{}` is a layer of the language", name.text))
                .at(name.at.0, "choose another name for the block");
            self.reports.report(error);
            return;
        }
        self.blocks.insert(&name.text, definition);
        for (n, parameter) in parameters.iter().enumerate() {
            if parameters[..n].iter().any(|p| p.name.text == parameter.name.text) {
                let message = format!("block `{}` has two parameters `{}`", name.text, parameter.name.text);
                self.reports
                    .report(Diagnostic::error("E0207", message).at(parameter.name.at.0, "again here"));
            }
        }
    }

    /// Defines a variable; an error when the name is taken in the same braces or belongs to the
    /// language.
    pub fn define(&mut self, name: &'a Name, value: Option<Value>) -> Result<(), Reported> {
        let (text, span) = (name.text.as_str(), name.at.0);
        if is_word(text) || CURRENT.contains(&text) || FUNCTIONS.contains(&text) {
            let error = Diagnostic::error("E0208", format!("`{text}` is a word of the language"))
                .at(span, "choose another name");
            return Err(self.reports.report(error));
        }
        self.scopes.define(text, Variable { value, span, is_guess: false }).map_err(|old| {
            let error = Diagnostic::error("E0207", format!("`{text}` is defined twice in the same braces"))
                .at(span, "again here")
                .also(old, "first here");
            self.reports.report(error)
        })
    }

    fn run_let(&mut self, name: &'a Name, value: &'a Expression) {
        let value = self.evaluate(value).ok();
        if let Ok(()) = self.define(name, value) {
            self.check_shadow(name);
        }
    }

    /// Reports a `let` that looks like the assignment of a variable outside of its braces, and is
    /// none.
    fn check_shadow(&mut self, name: &'a Name) {
        let Some(outer) = self.scopes.shadowed(&name.text).filter(|outer| !outer.is_guess) else { return };
        let message = format!("`{}` is a variable outside of these braces, too", name.text);
        let error = Diagnostic::error("E0207", message)
            .at(name.at.0, "another variable, which ends with these braces")
            .also(outer.span, "keeps its value")
            .suggest("choose another name; `if c then a else b` chooses between values");
        self.reports.report(error);
    }

    fn set_defaults(&mut self, layers: &'a [Name], arguments: &'a [Argument]) {
        for layer in layers {
            let Some(layer) = self.layer_named(layer) else { continue };
            let mut given: Vec<(&'static str, Span)> = Vec::new();
            for argument in arguments {
                let attribute = self.attribute_of(layer, argument).map(one_word);
                self.check_given_once(layer, attribute, argument.value.at.0, &mut given);
                let value = attribute.map_or(&UNREADABLE, |_| &argument.value);
                // An attribute with a wrong name is no longer what it is without the default.
                let likely = |name: &Name| layer.likely_attribute(&name.text, &self.reports.suggestions);
                let attribute = attribute.or_else(|| argument.name.as_ref().and_then(likely).map(one_word));
                if let Some(attribute) = attribute {
                    self.scopes.set_default(LayerDefault { layer: layer.word, attribute, value });
                }
            }
        }
    }

    /// Reports an attribute that a statement gives twice.
    fn check_given_once(
        &mut self,
        layer: &schema::LayerSchema,
        attribute: Option<&'static str>,
        span: Span,
        given: &mut Vec<(&'static str, Span)>,
    ) {
        let Some(attribute) = attribute else { return };
        if let Some((_, first)) = given.iter().find(|(other, _)| *other == attribute) {
            let message = format!("`{attribute}` of `{}` is given twice", layer.word);
            let error = Diagnostic::error("E0413", message).at(span, "again here").also(*first, "first here");
            self.reports.report(error);
        }
        given.push((attribute, span));
    }

    fn attribute_of(
        &mut self,
        layer: &'static schema::LayerSchema,
        argument: &Argument,
    ) -> Option<&'static str> {
        match &argument.name {
            Some(name) => layer.attribute(&name.text).or_else(|| {
                self.unknown_attribute(layer, &name.text, name.at.0);
                None
            }),
            None => {
                let error = Diagnostic::error("E0412", "a default without the name of its attribute")
                    .at(argument.value.at.0, "expected `name: value`");
                self.reports.report(error);
                None
            }
        }
    }

    fn run_if(&mut self, arms: &'a [(Expression, Block)], otherwise: Option<&'a Block>, place: Place) {
        for (n, (condition, body)) in arms.iter().enumerate() {
            match self.condition(condition) {
                Ok(true) if !self.hypothetical => return self.run_block(body, inner(place)),
                Ok(_) if !self.hypothetical => {}
                _ => return self.run_either(&arms[n..], otherwise, place),
            }
        }
        if let Some(body) = otherwise {
            self.run_block(body, inner(place));
        }
    }

    /// Looks for mistakes in all parts of an `if` whose first condition was evaluated, but is not
    /// known.
    fn run_either(&mut self, arms: &'a [(Expression, Block)], otherwise: Option<&'a Block>, place: Place) {
        self.doubt_branches_of(place);
        let start = self.current;
        let mut end = start.filter(|_| otherwise.is_none()).map(|start| start.outline);
        let known = std::mem::replace(&mut self.hypothetical, true);
        let bodies = arms.iter().map(|(_, body)| body).chain(otherwise);
        for (n, body) in bodies.enumerate() {
            self.current = start;
            if let Some((condition, _)) = arms.get(n).filter(|_| n > 0) {
                let _ = self.condition(condition);
            }
            if !known {
                self.lose_names(body);
            }
            // The condition may be what keeps the shape before from being a mistake in here.
            self.forget();
            self.run_block(body, inner(place));
            end = self.current.map(|c| end.map_or(c.outline, |end| end.or(&c.outline)));
        }
        self.hypothetical = known;
        self.current = end.map(|outline| self.outlined(outline, None));
    }

    fn run_for(&mut self, values: &'a Expression, turns: Loop<'a>) {
        let found = self.evaluate(values);
        let Ok(found) = found else { return self.unknown_turn(turns) };
        match found {
            _ if self.hypothetical => self.unknown_turn(turns),
            Value::List(items) => {
                let values = items.iter().cloned();
                self.run_turns(turns, items.len() as u64, values.map(|value| (None, value)));
            }
            Value::Range(ends) => {
                let (Value::Integer(low), Value::Integer(high)) = (&ends.0, &ends.1) else {
                    let error =
                        Diagnostic::error("E0310", "a loop needs whole numbers at both ends of its range")
                            .at(values.at.0, format!("this is {}..{}", ends.0, ends.1));
                    self.reports.report(error);
                    return self.unknown_turn(turns);
                };
                let count = high.abs_diff(*low).saturating_add(1);
                self.run_turns(turns, count, (*low..=*high).map(|n| (None, Value::Integer(n))));
            }
            other => {
                let error = Diagnostic::error("E0310", "`for` goes through a list or a range")
                    .at(values.at.0, format!("this is {}", other.describe()))
                    .suggest(format!("write `[{other}]` or `1..{other}`"));
                self.reports.report(error);
                self.unknown_turn(turns);
            }
        }
    }

    fn run_repeat(&mut self, count: &'a Expression, turns: Loop<'a>) {
        match self.repeat_count(count) {
            Ok(count) if !self.hypothetical => {
                let values = (1..=count).map(|n| (Some(n.to_string()), Value::Integer(n)));
                self.run_turns(turns, count.unsigned_abs(), values);
            }
            _ => self.unknown_turn(turns),
        }
    }

    fn repeat_count(&mut self, count: &'a Expression) -> Result<i64, Reported> {
        match self.evaluate(count)? {
            Value::Integer(n) if n >= 0 => Ok(n),
            other => {
                let error = Diagnostic::error("E0304", "`repeat` needs a count that is not negative")
                    .at(count.at.0, format!("this is {}", other.describe()));
                Err(self.reports.report(error))
            }
        }
    }

    /// The turns of a loop: what each adds to the path of names, and the value of the variable.
    fn run_turns(
        &mut self,
        turns: Loop<'a>,
        count: u64,
        values: impl Iterator<Item = (Option<String>, Value)>,
    ) {
        let start = self.current;
        self.loops.push((turns.span, count));
        for ((step, value), number) in values.zip(1..) {
            let (depth, mistakes) = (self.naming.path.len(), self.reports.mistakes);
            self.naming.path.extend(step);
            self.turn(turns, Some(value));
            self.naming.path.truncate(depth);
            if self.stopped || number < count && self.reports.mistakes > mistakes {
                self.give_up_turns(turns, start);
                break;
            }
        }
        self.loops.pop();
    }

    /// Leaves out the turns of a loop that come after one with a mistake, which would be in them,
    /// too.
    fn give_up_turns(&mut self, turns: Loop<'a>, start: Option<Operand>) {
        self.doubt_branches_of(turns.place);
        self.lose_names(turns.body);
        self.end_early(start);
    }

    /// Runs the body of a loop once whose turns are not known.
    fn unknown_turn(&mut self, turns: Loop<'a>) {
        self.doubt_branches_of(turns.place);
        let start = self.current;
        if self.hypothetical {
            self.forget();
        }
        self.turn(turns, None);
        self.end_early(start);
    }

    /// Goes on after a loop of which only one turn is known.
    fn end_early(&mut self, start: Option<Operand>) {
        let Some((start, end)) = start.zip(self.current) else { return };
        self.current = Some(self.outlined(start.outline.repeated(&end.outline), end.span));
    }

    /// One turn of a loop; the value is absent when it is not known.
    fn turn(&mut self, turns: Loop<'a>, value: Option<Value>) {
        if self.spend(1, turns.span).is_err() {
            return self.forget();
        }
        self.scopes.push();
        let known = self.reports.turns.len();
        if let Some(variable) = turns.variable {
            let name = variable.text.as_str();
            self.reports.turns.extend(value.iter().map(|value| Turn { name, value: value.clone() }));
            let _ = self.define(variable, value);
        }
        self.run_block(turns.body, inner(turns.place));
        self.reports.turns.truncate(known);
        self.scopes.pop();
    }

    fn run_flow(&mut self, name: &'a Name, repeat: Option<&'a Repetition>, body: &'a Block, span: Span) {
        self.naming.path.push(name.text.clone());
        match repeat {
            Some(repeat) => {
                let turns = Loop { variable: repeat.index.as_ref(), body, place: Place::Body, span };
                self.run_repeat(&repeat.count, turns);
            }
            None => self.run_block(body, Place::Body),
        }
        self.naming.path.pop();
    }
}

/// The word that a default is kept under: `groups` is another one for `segments`.
fn one_word(attribute: &'static str) -> &'static str {
    if attribute == "groups" { "segments" } else { attribute }
}

/// Where the statements of a loop or condition stand that stands at `place`.
fn inner(place: Place) -> Place {
    if place == Place::Branches { Place::Branches } else { Place::Body }
}
