//! Runs statements: flows, loops, conditions, variables.

use super::eval::{CURRENT, FUNCTIONS, WORDS};
use super::report::Reported;
use super::scope::{LayerDefault, Variable};
use super::value::Value;
use super::{BlockDefinition, Current, Elaborator, Place, limits, schema};
use crate::diagnostic::{Diagnostic, Span};
use crate::syntax::ast::*;

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

    fn run(&mut self, statement: &'a Statement, place: Place) {
        let span = statement.at.0;
        if self.spend(1, span).is_err() || self.too_deep(span) || self.misplaced(&statement.kind, place, span)
        {
            self.current = Current::Unknown;
            return;
        }
        let result = match &statement.kind {
            StatementKind::Model { .. } | StatementKind::Block { .. } => Ok(()),
            StatementKind::Param { name, default, domain } => {
                self.declare_param(name, default, domain.as_ref())
            }
            StatementKind::Input { name, extents, arguments } => {
                self.declare_input(name, extents, arguments, span)
            }
            StatementKind::Default { layers, arguments } => self.set_defaults(layers, arguments),
            StatementKind::Let { name, value } => self.run_let(name, value),
            StatementKind::If { arms, otherwise } => self.run_if(arms, otherwise.as_ref(), place),
            StatementKind::For { variable, values, body } => self.run_for(variable, values, body, place),
            StatementKind::Repeat { repeat, body } => self.run_repeat(repeat, body, place),
            StatementKind::Flow { name, repeat, body } => self.run_flow(name, repeat.as_ref(), body),
            StatementKind::Branch { body } => self.run_branch(body, span),
            StatementKind::From { value } => self.run_from(value),
            StatementKind::Residual { condition, body, shortcut, label } => {
                let paths = super::join::Residual { body, shortcut: shortcut.as_deref(), span };
                self.run_residual(condition.as_ref(), paths, label.as_ref())
            }
            StatementKind::Join { kind, operands, label } => {
                self.run_join(*kind, operands, label.as_ref(), span)
            }
            StatementKind::Invoke { name, arguments, label, .. } => {
                self.invoke(name, arguments, label.as_ref(), span)
            }
            StatementKind::Bad { declares, body } => {
                self.note_bad(declares.as_ref(), span);
                self.run_block(body, Place::Body);
                Err(self.reports.reported())
            }
        };
        if result.is_err() && self.current != Current::Nothing {
            self.current = Current::Unknown;
        }
    }

    fn too_deep(&mut self, span: Span) -> bool {
        if self.depth > limits::DEPTH {
            let message = format!("more than {} levels of flows, loops, branches and calls", limits::DEPTH);
            self.reports.report(Diagnostic::error("E0605", message).at(span, "reached here"));
        }
        self.depth > limits::DEPTH
    }

    /// Whether a statement may not stand where it does.
    fn misplaced(&mut self, statement: &StatementKind, place: Place, span: Span) -> bool {
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
            _ => return false,
        };
        if top_only && place != Place::Top {
            let error = Diagnostic::error("E0405", format!("`{word}` inside of braces"))
                .at(span, "belongs outside of all braces");
            self.reports.report(error);
            return true;
        }
        if makes_layers && place == Place::Branches {
            let error = Diagnostic::error("E0407", format!("`{word}` between the branches of a join"))
                .at(span, "belongs into a branch")
                .suggest(format!("write `branch {{ {word} ... }}`"));
            self.reports.report(error);
            return true;
        }
        false
    }

    /// Notes what a statement with a syntax error would have declared.
    fn note_bad(&mut self, declares: Option<&'a Name>, span: Span) {
        self.incomplete = true;
        if let Some(name) = declares {
            self.later_params.remove(name.text.as_str());
            let _ = self.scopes.define(&name.text, Variable { value: None, span });
        }
        if self.current == Current::Nothing {
            self.current = Current::Unknown;
        }
    }

    /// Notes a block, so that it may be called before its definition.
    pub fn survey_block(&mut self, name: &'a Name, parameters: &'a [Parameter], body: &'a Block) {
        let definition = BlockDefinition { parameters, body, span: name.at.0 };
        if let Some(old) = self.blocks.get(name.text.as_str()) {
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

    /// Defines a variable; an error when the name is taken in the same braces or belongs to the language.
    pub fn define(&mut self, name: &'a Name, value: Option<Value>) -> Result<(), Reported> {
        let (text, span) = (name.text.as_str(), name.at.0);
        if WORDS.contains(&text) || CURRENT.contains(&text) || FUNCTIONS.contains(&text) {
            let error = Diagnostic::error("E0208", format!("`{text}` is a word of the language"))
                .at(span, "choose another name");
            return Err(self.reports.report(error));
        }
        self.scopes.define(text, Variable { value, span }).map_err(|old| {
            let error = Diagnostic::error("E0207", format!("`{text}` is defined twice in the same braces"))
                .at(span, "again here")
                .also(old, "first here");
            self.reports.report(error)
        })
    }

    fn run_let(&mut self, name: &'a Name, value: &'a Expression) -> Result<(), Reported> {
        let value = self.evaluate(value).ok();
        // A mistake in a value does not make the current tensor unknown; whoever uses the variable knows.
        let _ = self.define(name, value);
        Ok(())
    }

    fn set_defaults(&mut self, layers: &'a [Name], arguments: &'a [Argument]) -> Result<(), Reported> {
        for layer in layers {
            let Some(layer) = schema::find(&layer.text) else {
                self.unknown_layer(&layer.text, layer.at.0);
                continue;
            };
            for argument in arguments {
                if let Some(attribute) = self.attribute_of(layer, argument) {
                    let value = &argument.value;
                    self.scopes.set_default(LayerDefault { layer: layer.word, attribute, value });
                }
            }
        }
        Ok(())
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

    fn run_if(
        &mut self,
        arms: &'a [(Expression, Block)],
        otherwise: Option<&'a Block>,
        place: Place,
    ) -> Result<(), Reported> {
        for (condition, body) in arms {
            if self.condition(condition)? {
                self.run_block(body, inner(place));
                return Ok(());
            }
        }
        if let Some(body) = otherwise {
            self.run_block(body, inner(place));
        }
        Ok(())
    }

    fn run_for(
        &mut self,
        variable: &'a Name,
        values: &'a Expression,
        body: &'a Block,
        place: Place,
    ) -> Result<(), Reported> {
        let found = self.evaluate(values);
        let Ok(found) = found else { return self.unknown_turn(Some(variable), body, place) };
        match found {
            Value::List(items) => {
                for item in items.iter() {
                    self.turn(Some(variable), Some(item.clone()), body, place)?;
                }
                Ok(())
            }
            Value::Range(ends) => {
                let (Value::Integer(low), Value::Integer(high)) = (&ends.0, &ends.1) else {
                    let error =
                        Diagnostic::error("E0310", "a loop needs whole numbers at both ends of its range")
                            .at(values.at.0, format!("this is {}..{}", ends.0, ends.1));
                    return Err(self.reports.report(error));
                };
                for n in *low..=*high {
                    self.turn(Some(variable), Some(Value::Integer(n)), body, place)?;
                }
                Ok(())
            }
            other => {
                let error = Diagnostic::error("E0310", "`for` goes through a list or a range")
                    .at(values.at.0, format!("this is {}", other.describe()))
                    .suggest(format!("write `[{other}]` or `1..{other}`"));
                Err(self.reports.report(error))
            }
        }
    }

    fn run_repeat(&mut self, repeat: &'a Repetition, body: &'a Block, place: Place) -> Result<(), Reported> {
        let Ok(count) = self.repeat_count(&repeat.count) else {
            return self.unknown_turn(repeat.index.as_ref(), body, place);
        };
        for n in 1..=count {
            self.naming.path.push(n.to_string());
            let result = self.turn(repeat.index.as_ref(), Some(Value::Integer(n)), body, place);
            self.naming.path.pop();
            result?;
        }
        Ok(())
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

    /// Checks the body of a loop whose turns are not known.
    fn unknown_turn(
        &mut self,
        variable: Option<&'a Name>,
        body: &'a Block,
        place: Place,
    ) -> Result<(), Reported> {
        self.current = Current::Unknown;
        self.turn(variable, None, body, place)?;
        Err(self.reports.reported())
    }

    /// One turn of a loop; the value is absent after a mistake in it.
    fn turn(
        &mut self,
        variable: Option<&'a Name>,
        value: Option<Value>,
        body: &'a Block,
        place: Place,
    ) -> Result<(), Reported> {
        self.spend(1, variable.map_or(Span::default(), |v| v.at.0))?;
        self.scopes.push();
        if let Some(variable) = variable {
            let shown = value.as_ref().map_or("?".to_owned(), Value::to_string);
            self.reports.turns.push(format!("{} = {shown}", variable.text));
            let _ = self.define(variable, value);
        }
        self.run_block(body, inner(place));
        if variable.is_some() {
            self.reports.turns.pop();
        }
        self.scopes.pop();
        Ok(())
    }

    fn run_flow(
        &mut self,
        name: &'a Name,
        repeat: Option<&'a Repetition>,
        body: &'a Block,
    ) -> Result<(), Reported> {
        self.naming.path.push(name.text.clone());
        let result = match repeat {
            Some(repeat) => self.run_repeat(repeat, body, Place::Body),
            None => {
                self.run_block(body, Place::Body);
                Ok(())
            }
        };
        self.naming.path.pop();
        result
    }

    fn run_from(&mut self, value: &'a Reference) -> Result<(), Reported> {
        self.current = self.named_value(value)?;
        Ok(())
    }
}

/// Where the statements of a loop or condition stand that stands at `place`.
fn inner(place: Place) -> Place {
    if place == Place::Branches { Place::Branches } else { Place::Body }
}
