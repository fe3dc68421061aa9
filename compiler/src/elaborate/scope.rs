//! Which variables and layer defaults are visible where.
//!
//! Scopes are a stack. A call of a block hides the scopes of its caller: its body sees the
//! statements outside of all braces and its own, so that a block means the same wherever it is
//! called. A lookup takes the same time however deep scopes are nested.

use std::collections::HashMap;
use std::hash::Hash;

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
    /// Whether it is only a word of a statement that cannot be read, which may have defined it.
    pub is_guess: bool,
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

/// Something defined, and the scope that it belongs to.
struct Defined<V> {
    scope: usize,
    value: V,
}

/// What is defined under each key, the innermost last.
struct Layers<K, V> {
    values: HashMap<K, Vec<Defined<V>>>,
    /// Keys in the order of their definitions.
    order: Vec<K>,
    /// How many of them each scope found, outermost first.
    starts: Vec<usize>,
}

impl<K: Copy + Eq + Hash, V> Layers<K, V> {
    fn new() -> Self {
        Self { values: HashMap::new(), order: Vec::new(), starts: vec![0] }
    }

    fn push(&mut self) {
        self.starts.push(self.order.len());
    }

    fn pop(&mut self) {
        let start = self.starts.pop().unwrap_or_default();
        for key in self.order.drain(start..) {
            if let Some(values) = self.values.get_mut(&key) {
                values.pop();
            }
        }
    }

    /// What the innermost scope defines under `key`.
    fn innermost(&mut self, key: K) -> Option<&mut V> {
        let scope = self.starts.len() - 1;
        let last = self.values.get_mut(&key)?.last_mut()?;
        (last.scope == scope).then_some(&mut last.value)
    }

    /// Defines a key that the innermost scope does not define.
    fn define(&mut self, key: K, value: V) {
        let scope = self.starts.len() - 1;
        self.values.entry(key).or_default().push(Defined { scope, value });
        self.order.push(key);
    }
}

/// The innermost of `values` that is visible between the scopes `frame` and `end`, or in scope 0.
fn visible<V>(values: &[Defined<V>], frame: usize, end: usize) -> Option<&Defined<V>> {
    let before = values.partition_point(|defined| defined.scope < end);
    let last = values[..before].last()?;
    if last.scope >= frame { Some(last) } else { values.first().filter(|first| first.scope == 0) }
}

/// The stack of scopes; scope 0 belongs to the statements outside of all braces.
pub struct Scopes<'a> {
    variables: Layers<&'a str, Variable>,
    /// By layer and attribute; a later default replaces an earlier one.
    defaults: Layers<(&'static str, &'static str), LayerDefault<'a>>,
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

/// A default that applies, and the scope that it stands in.
pub struct Applied<'a> {
    /// The scope.
    pub scope: usize,
    /// The default.
    pub default: LayerDefault<'a>,
}

impl<'a> Scopes<'a> {
    /// The scope outside of all braces alone.
    pub fn new() -> Self {
        Self { variables: Layers::new(), defaults: Layers::new(), frame: 0, end: usize::MAX }
    }

    /// Opens a scope.
    pub fn push(&mut self) {
        self.variables.push();
        self.defaults.push();
    }

    /// Closes the innermost scope.
    pub fn pop(&mut self) {
        self.variables.pop();
        self.defaults.pop();
    }

    /// Hides the caller's scopes. Follow with [`Scopes::push`].
    pub fn enter_call(&mut self) -> Mark {
        let mark = Mark { frame: self.frame, end: self.end };
        (self.frame, self.end) = (self.variables.starts.len(), usize::MAX);
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

    /// Defines a variable in the innermost scope; gives back where it was defined if it is already
    /// there.
    pub fn define(&mut self, name: &'a str, variable: Variable) -> Result<(), Span> {
        match self.variables.innermost(name) {
            Some(old) => Err(old.span),
            None => {
                self.variables.define(name, variable);
                Ok(())
            }
        }
    }

    /// Adds a default to the innermost scope.
    pub fn set_default(&mut self, default: LayerDefault<'a>) {
        let key = (default.layer, default.attribute);
        match self.defaults.innermost(key) {
            Some(old) => *old = default,
            None => self.defaults.define(key, default),
        }
    }

    fn found(&self, name: &str) -> Option<&Defined<Variable>> {
        visible(self.variables.values.get(name)?, self.frame, self.end)
    }

    /// The innermost visible variable of a name.
    pub fn find(&self, name: &str) -> Option<&Variable> {
        self.found(name).map(|defined| &defined.value)
    }

    /// The visible variable that the one of the innermost scope hides.
    pub fn shadowed(&self, name: &str) -> Option<&Variable> {
        let values = self.variables.values.get(name)?;
        let outer = &values[..values.len().checked_sub(1)?];
        visible(outer, self.frame, self.end).map(|defined| &defined.value)
    }

    /// Whether a name is that of a variable outside of all braces.
    pub fn is_outermost(&self, name: &str) -> bool {
        self.found(name).is_some_and(|defined| defined.scope == 0)
    }

    /// The innermost visible default for an attribute.
    pub fn default_of(&self, layer: &'static str, attribute: &'static str) -> Option<Applied<'a>> {
        let values = self.defaults.values.get(&(layer, attribute))?;
        let found = visible(values, self.frame, self.end)?;
        Some(Applied { scope: found.scope, default: found.value })
    }

    /// Names of all visible variables, in no order.
    pub fn names(&self) -> Vec<&'a str> {
        self.variables.values.keys().copied().filter(|name| self.found(name).is_some()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(n: i64) -> Variable {
        Variable { value: Some(Value::Integer(n)), span: Span::default(), is_guess: false }
    }

    fn value(scopes: &Scopes<'_>, name: &str) -> Option<Value> {
        scopes.find(name)?.value.clone()
    }

    #[test]
    fn calls_see_their_own_scopes_and_the_outermost() {
        let mut scopes = Scopes::new();
        assert_eq!(scopes.define("a", variable(0)), Ok(()));
        scopes.push();
        assert_eq!(scopes.define("a", variable(1)), Ok(()));
        assert_eq!(scopes.define("b", variable(2)), Ok(()));
        assert!(scopes.define("b", variable(3)).is_err());
        let mark = scopes.enter_call();
        scopes.push();
        assert_eq!((value(&scopes, "a"), value(&scopes, "b")), (Some(Value::Integer(0)), None));
        assert_eq!(scopes.names(), ["a"]);
        assert_eq!(scopes.define("b", variable(4)), Ok(()));
        assert_eq!(value(&scopes, "b"), Some(Value::Integer(4)));
        let inner = scopes.restrict_to(0);
        assert_eq!(value(&scopes, "b"), None);
        scopes.restore(inner);
        scopes.pop();
        scopes.restore(mark);
        assert_eq!(value(&scopes, "a"), Some(Value::Integer(1)));
        assert_eq!(value(&scopes, "b"), Some(Value::Integer(2)));
        assert!(!scopes.is_outermost("a"));
        scopes.pop();
        assert_eq!((value(&scopes, "a"), value(&scopes, "b")), (Some(Value::Integer(0)), None));
        assert!(scopes.is_outermost("a"));
    }
}
