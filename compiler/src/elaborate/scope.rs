//! Which variables and layer defaults are visible where.
//!
//! Scopes are a stack. A call of a block hides the scopes of its caller: its body sees the statements outside
//! of all braces and its own, so that a block means the same wherever it is called.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::value::Value;
use crate::diagnostic::Span;
use crate::syntax::ast::Expression;

/// A variable.
#[derive(Clone, Debug)]
pub struct Variable {
    /// Its value; `None` when the mistake in it was reported.
    pub value: Option<Value>,
    /// Where it was defined.
    pub span: Span,
}

/// A default for an attribute of a layer.
#[derive(Clone, Copy)]
pub struct LayerDefault<'a> {
    /// The layer's word.
    pub layer: &'static str,
    /// The attribute's name.
    pub attribute: &'static str,
    /// Evaluated anew for each layer, since it may speak of the layer's channels.
    pub value: &'a Expression,
}

#[derive(Default)]
struct Scope<'a> {
    variables: HashMap<&'a str, Variable>,
    /// By layer and attribute; a later default replaces an earlier one.
    defaults: HashMap<(&'static str, &'static str), LayerDefault<'a>>,
}

/// The stack of scopes; scope 0 belongs to the statements outside of all braces.
pub struct Scopes<'a> {
    scopes: Vec<Scope<'a>>,
    /// First scope of the innermost call.
    frame: usize,
    /// Scopes from here on are hidden, while a default is evaluated.
    end: usize,
}

/// What to restore when a call or the evaluation of a default ends.
pub struct Mark {
    frame: usize,
    end: usize,
}

impl<'a> Scopes<'a> {
    /// The scope outside of all braces alone.
    pub fn new() -> Self {
        Self { scopes: vec![Scope::default()], frame: 0, end: usize::MAX }
    }

    /// Opens a scope.
    pub fn push(&mut self) {
        self.scopes.push(Scope::default());
    }

    /// Closes the innermost scope.
    pub fn pop(&mut self) {
        self.scopes.pop();
    }

    /// Hides the caller's scopes. Follow with [`Scopes::push`].
    pub fn enter_call(&mut self) -> Mark {
        let mark = Mark { frame: self.frame, end: self.end };
        (self.frame, self.end) = (self.scopes.len(), usize::MAX);
        mark
    }

    /// Hides every scope that is further in than `scope`.
    pub fn restrict_to(&mut self, scope: usize) -> Mark {
        let mark = Mark { frame: self.frame, end: self.end };
        self.end = scope + 1;
        mark
    }

    /// Ends what `mark` came from.
    pub fn restore(&mut self, mark: Mark) {
        (self.frame, self.end) = (mark.frame, mark.end);
    }

    /// Defines a variable in the innermost scope; gives back where it was defined if it is already there.
    pub fn define(&mut self, name: &'a str, variable: Variable) -> Result<(), Span> {
        let Some(scope) = self.scopes.last_mut() else { return Ok(()) };
        match scope.variables.entry(name) {
            Entry::Occupied(old) => Err(old.get().span),
            Entry::Vacant(entry) => {
                entry.insert(variable);
                Ok(())
            }
        }
    }

    /// Adds a default to the innermost scope.
    pub fn set_default(&mut self, default: LayerDefault<'a>) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.defaults.insert((default.layer, default.attribute), default);
        }
    }

    /// The innermost visible variable of a name.
    pub fn find(&self, name: &str) -> Option<&Variable> {
        self.visible().find_map(|scope| self.scopes[scope].variables.get(name))
    }

    /// The innermost visible default for an attribute, and its scope.
    pub fn default_of(
        &self,
        layer: &'static str,
        attribute: &'static str,
    ) -> Option<(usize, LayerDefault<'a>)> {
        self.visible().find_map(|s| Some((s, *self.scopes[s].defaults.get(&(layer, attribute))?)))
    }

    /// Names of all visible variables.
    pub fn names(&self) -> Vec<&'a str> {
        self.visible().flat_map(|s| self.scopes[s].variables.keys().copied()).collect()
    }

    /// Visible scopes, innermost first.
    fn visible(&self) -> impl Iterator<Item = usize> + '_ {
        let end = self.end.min(self.scopes.len());
        (self.frame.max(1)..end).rev().chain(std::iter::once(0))
    }
}
