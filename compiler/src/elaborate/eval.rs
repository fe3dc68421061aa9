//! Evaluates expressions. Integer arithmetic is checked; work and sizes are bounded.

use std::cmp::Ordering;
use std::rc::Rc;

use super::foreign;
use super::report::{Reported, quoted};
use super::value::Value;
use super::{Elaborator, limits};
use crate::diagnostic::{Diagnostic, Span};
use crate::graph::Activation;
use crate::syntax::ast::*;

/// Words that attributes understand, besides activation functions.
const WORDS: &[&str] = &[
    "none",
    "softmax",
    "same",
    "valid",
    "rgb",
    "bgr",
    "gray",
    "spatial_first",
    "pointwise_first",
    "keras",
    "path",
];
/// Names that speak of the value that the next layer reads.
pub const CURRENT: &[&str] = &["channels", "rows", "columns"];
/// Attributes that take fractions.
const FRACTIONAL: &[&str] = &["rate", "epsilon", "slope", "mean", "range"];
/// Functions.
pub const FUNCTIONS: &[&str] = &["min", "max"];

/// Words that attributes understand.
fn words() -> impl Iterator<Item = &'static str> {
    WORDS.iter().copied().chain(Activation::ALL.into_iter().flat_map(Activation::words))
}

/// True for a word that an attribute understands.
pub fn is_word(name: &str) -> bool {
    words().any(|word| word == name)
}

impl Elaborator<'_> {
    /// The value of an expression.
    pub fn evaluate(&mut self, expression: &Expression) -> Result<Value, Reported> {
        let span = expression.at.0;
        self.spend(1, span)?;
        match &expression.kind {
            ExpressionKind::Integer(n) => Ok(Value::Integer(*n)),
            ExpressionKind::Float(x) => Ok(Value::Float(*x)),
            ExpressionKind::Boolean(b) => Ok(Value::Boolean(*b)),
            ExpressionKind::Full => Ok(Value::Full),
            ExpressionKind::Window(sides) => Ok(Value::Window(*sides)),
            ExpressionKind::Text(pieces) => Ok(Value::Text(self.text(pieces, span)?.into())),
            ExpressionKind::Name(name) => self.lookup(name, span),
            ExpressionKind::List(items) => self.list(items),
            ExpressionKind::Range(low, high) => self.range(low, high),
            ExpressionKind::Unary(operator, x) => self.unary(*operator, x),
            ExpressionKind::Binary(operator, x, y) => self.binary(*operator, x, y, span),
            ExpressionKind::Call(name, arguments) => self.call(name, arguments, span),
            ExpressionKind::Conditional { arms, otherwise } => self.conditional(arms, otherwise),
            ExpressionKind::Bad => Err(self.reports.reported()),
        }
    }

    fn conditional(
        &mut self,
        arms: &[(Expression, Expression)],
        otherwise: &Expression,
    ) -> Result<Value, Reported> {
        for (n, (condition, value)) in arms.iter().enumerate() {
            match self.condition(condition) {
                Ok(true) if !self.hypothetical => return self.evaluate(value),
                Ok(_) if !self.hypothetical => {}
                _ => return Err(self.either(&arms[n..], otherwise)),
            }
        }
        self.evaluate(otherwise)
    }

    /// Looks for mistakes in all values of a conditional whose first condition was evaluated, but
    /// is not known.
    fn either(&mut self, arms: &[(Expression, Expression)], otherwise: &Expression) -> Reported {
        let known = std::mem::replace(&mut self.hypothetical, true);
        for (n, (condition, value)) in arms.iter().enumerate() {
            if n > 0 {
                let _ = self.condition(condition);
            }
            let _ = self.evaluate(value);
        }
        let _ = self.evaluate(otherwise);
        self.hypothetical = known;
        self.reports.reported()
    }

    /// The value of a condition.
    pub fn condition(&mut self, expression: &Expression) -> Result<bool, Reported> {
        match self.evaluate(expression)? {
            Value::Boolean(b) => Ok(b),
            other => {
                let error = Diagnostic::error("E0309", "a condition must be `yes` or `no`");
                Err(self.reports.report(error.at(expression.at.0, format!("this is {}", other.describe()))))
            }
        }
    }

    /// The text of a template.
    pub fn text(&mut self, pieces: &[Piece], span: Span) -> Result<String, Reported> {
        self.spend(pieces.len() as u64, span)?;
        let fixed =
            pieces.iter().map(|piece| if let Piece::Text(text) = piece { text.len() } else { 0 }).sum();
        self.check_length(fixed, span)?;
        let pieces: Vec<_> = pieces.iter().map(|piece| self.piece(piece)).collect();
        let mut text = String::new();
        for piece in pieces {
            text.push_str(&piece?);
            self.check_length(text.len(), span)?;
        }
        self.spend(text.len() as u64 / 16, span)?;
        Ok(text)
    }

    fn check_length(&mut self, length: usize, span: Span) -> Result<(), Reported> {
        if length <= limits::TEXT {
            return Ok(());
        }
        let message = format!("a string of more than {} bytes", limits::TEXT);
        Err(self.reports.report(Diagnostic::error("E0608", message).at(span, "too long")))
    }

    fn piece(&mut self, piece: &Piece) -> Result<Rc<str>, Reported> {
        let hole = match piece {
            Piece::Text(text) => return Ok(text.as_str().into()),
            Piece::Hole(hole) => hole,
        };
        match self.evaluate(hole)? {
            Value::Text(text) => Ok(text),
            Value::List(_) | Value::Range(_) => {
                let error = Diagnostic::error("E0301", "a list cannot be put into a name");
                Err(self.reports.report(error.at(hole.at.0, "not a number, word or string")))
            }
            value => Ok(value.to_string().into()),
        }
    }

    /// The value of an expression; where `is_word`, a name that nobody knows, nor a variable is
    /// like, is a word.
    pub fn word_or_value(&mut self, expression: &Expression, is_word: bool) -> Result<Value, Reported> {
        match &expression.kind {
            ExpressionKind::Name(word) if is_word && self.is_unknown(word) => Ok(Value::word(word)),
            _ => self.evaluate(expression),
        }
    }

    /// Whether nobody knows a name, nor one that may have been meant.
    fn is_unknown(&self, name: &str) -> bool {
        let is_known = CURRENT.contains(&name) || is_word(name) || self.choices.contains(name);
        let is_declared = self.scopes.find(name).is_some() || self.later_params.contains_key(name);
        !is_known && !is_declared && self.reports.nearest(name, self.scopes.names()).is_none()
    }

    fn lookup(&mut self, name: &str, span: Span) -> Result<Value, Reported> {
        if CURRENT.contains(&name) {
            return self.current_extent(name, span);
        }
        if let Some(variable) = self.scopes.find(name) {
            if self.scopes.is_outermost(name) {
                self.unused.remove(name);
            }
            let value = variable.value.as_ref().filter(|_| !self.hypothetical);
            return value.cloned().ok_or_else(|| self.reports.reported());
        }
        if is_word(name) || self.choices.contains(name) {
            return Ok(Value::word(name));
        }
        let near = self.meant_by(name).map(|n| format!("did you mean `{n}`?"));
        let mut error = Diagnostic::error("E0201", format!("unknown name `{name}`"))
            .at(span, "not a parameter, variable or word")
            .suggest_if(near);
        if let Some(instead) = foreign::absent(name).filter(|_| foreign::is_absent_function(name)) {
            error = error.note(format!("`{name}` is not available; {instead}"));
        }
        if let Some(later) = self.later_params.get(name) {
            error = error
                .at(span, "not known yet")
                .also(*later, "declared here, after its use")
                .suggest("move the declaration up");
            error.code = "E0210";
            error.message = format!("`{name}` is used before it is declared");
        }
        Err(self.reports.report(error))
    }

    /// The variable or word that may have been meant by a name that nobody knows.
    fn meant_by(&self, name: &str) -> Option<&str> {
        let mut candidates: Vec<&str> = self.scopes.names();
        if !foreign::is_absent_word(name) {
            let known = words().chain(CURRENT.iter().copied()).chain(["yes", "no", "full"]);
            known.for_each(|word| candidates.push(word));
        }
        let foreign = foreign_value(name).or_else(|| foreign::function(name));
        foreign.or_else(|| self.reports.nearest(name, candidates))
    }

    fn current_extent(&mut self, name: &str, span: Span) -> Result<Value, Reported> {
        let outline = self.operand(span).outline;
        let extent = match name {
            "channels" => outline.channels,
            _ if outline.is_vector == Some(true) && !self.hypothetical => {
                let error = Diagnostic::error("E0508", format!("`{name}` of a vector of {outline} elements"));
                return Err(self.reports.report(error.at(span, "only maps have rows and columns")));
            }
            "rows" => outline.rows,
            _ => outline.columns,
        };
        let known = extent.value().filter(|_| !self.hypothetical);
        known.map(|n| Value::Integer(n.into())).ok_or_else(|| self.reports.reported())
    }

    fn list(&mut self, items: &[Expression]) -> Result<Value, Reported> {
        let values: Vec<_> = items.iter().map(|item| (self.evaluate(item), item.at.0)).collect();
        let mut list = Vec::with_capacity(values.len());
        for (value, span) in values {
            match value? {
                Value::List(_) | Value::Range(_) => {
                    let error = Diagnostic::error("E0301", "a list cannot hold lists");
                    return Err(self.reports.report(error.at(span, "a list")));
                }
                value => list.push(value),
            }
        }
        Ok(Value::List(list.into()))
    }

    fn range(&mut self, low: &Expression, high: &Expression) -> Result<Value, Reported> {
        let ends = (self.evaluate(low), self.evaluate(high));
        let ends = (ends.0?, ends.1?);
        for (value, at) in [(&ends.0, low.at.0), (&ends.1, high.at.0)] {
            if value.compare(&Value::Full).is_none() {
                let error = Diagnostic::error("E0301", "the ends of a range must be numbers");
                return Err(self.reports.report(error.at(at, format!("this is {}", value.describe()))));
            }
        }
        if ends.0.compare(&ends.1) == Some(Ordering::Greater) {
            let error = Diagnostic::error("E0310", format!("the range {}..{} is empty", ends.0, ends.1))
                .at(low.at.0.to(high.at.0), "starts above its end")
                .note("both ends of a range are included");
            return Err(self.reports.report(error));
        }
        Ok(Value::Range(Rc::new(ends)))
    }

    fn unary(&mut self, operator: Unary, operand: &Expression) -> Result<Value, Reported> {
        if operator == Unary::Not {
            return Ok(Value::Boolean(!self.condition(operand)?));
        }
        match self.evaluate(operand)? {
            Value::Integer(n) => match n.checked_neg() {
                Some(n) => Ok(Value::Integer(n)),
                None => Err(self.overflow(format!("-({n})"), operand.at.0)),
            },
            Value::Float(x) => Ok(Value::Float(-x)),
            other => Err(self.not_a_number("-", &other, operand.at.0)),
        }
    }

    fn binary(&mut self, op: Binary, x: &Expression, y: &Expression, span: Span) -> Result<Value, Reported> {
        match op {
            Binary::And | Binary::Or => return self.logic(op, x, y),
            _ => {}
        }
        let (a, b) = (self.evaluate(x), self.evaluate(y));
        let (a, b) = (a?, b?);
        self.spend(a.weight().min(b.weight()), span)?;
        match op {
            Binary::Equal | Binary::Unequal => match a.same(&b) {
                Some(same) => Ok(Value::Boolean(same == (op == Binary::Equal))),
                None => Err(self.incomparable(&a, &b, span)),
            },
            Binary::AtMost | Binary::AtLeast | Binary::Less | Binary::Greater => match a.compare(&b) {
                Some(order) => Ok(Value::Boolean(holds(op, order))),
                None => Err(self.incomparable(&a, &b, span)),
            },
            _ => self.arithmetic(op, (a, x.at.0), (b, y.at.0), span),
        }
    }

    /// `and` and `or`, which evaluate their second operand only where the first leaves the result
    /// open.
    fn logic(&mut self, op: Binary, x: &Expression, y: &Expression) -> Result<Value, Reported> {
        let decided = op == Binary::Or;
        match self.condition(x) {
            Ok(x) if x == decided && !self.hypothetical => Ok(Value::Boolean(x)),
            Ok(_) => Ok(Value::Boolean(self.condition(y)?)),
            Err(reported) => {
                let known = std::mem::replace(&mut self.hypothetical, true);
                let _ = self.condition(y);
                self.hypothetical = known;
                Err(reported)
            }
        }
    }

    fn arithmetic(
        &mut self,
        op: Binary,
        (a, a_at): (Value, Span),
        (b, b_at): (Value, Span),
        span: Span,
    ) -> Result<Value, Reported> {
        let zero = b.number() == Some(0.0);
        if zero && matches!(op, Binary::Divide | Binary::Remainder) && a.number().is_some() {
            let error = Diagnostic::error("E0303", format!("{a} {} 0: division by zero", op.sign()));
            return Err(self.reports.report(error.at(b_at, "this is 0")));
        }
        if let (Value::Integer(m), Value::Integer(n)) = (&a, &b) {
            if self.is_fractional && op == Binary::Divide && m.checked_rem(*n).is_some_and(|rest| rest != 0) {
                return Err(self.cut_off(*m, *n, span));
            }
            return match integer_arithmetic(op, *m, *n) {
                Some(result) => Ok(Value::Integer(result)),
                None => Err(self.overflow(format!("{m} {} {n}", op.sign()), span)),
            };
        }
        match (a.number(), b.number()) {
            (Some(m), Some(n)) => match Some(float_arithmetic(op, m, n)).filter(|x| x.is_finite()) {
                Some(result) => Ok(Value::Float(result)),
                None => Err(self.overflow(format!("{a} {} {b}", op.sign()), span)),
            },
            (None, _) => Err(self.not_a_number(op.sign(), &a, a_at)),
            _ => Err(self.not_a_number(op.sign(), &b, b_at)),
        }
    }

    fn call(&mut self, name: &Name, arguments: &[Expression], span: Span) -> Result<Value, Reported> {
        let wanted = match name.text.as_str() {
            "min" => Ordering::Less,
            "max" => Ordering::Greater,
            other => {
                let near = self.reports.nearest(other, FUNCTIONS.iter().copied());
                let error = Diagnostic::error("E0204", format!("unknown function `{other}`"))
                    .at(name.at.0, "not a function")
                    .suggest_if(near.map(|f| format!("did you mean `{f}`?")))
                    .note(format!("there are {}", quoted(FUNCTIONS.iter().copied())));
                return Err(self.reports.report(error));
            }
        };
        let values: Vec<_> = arguments.iter().map(|argument| self.evaluate(argument)).collect();
        let mut best: Option<Value> = None;
        for (value, argument) in values.into_iter().zip(arguments) {
            let value = value?;
            if value.compare(&Value::Full).is_none() {
                return Err(self.not_a_number(&name.text, &value, argument.at.0));
            }
            if best.as_ref().is_none_or(|b| value.compare(b) == Some(wanted)) {
                best = Some(value);
            }
        }
        best.ok_or_else(|| {
            let error = Diagnostic::error("E0412", format!("`{}` of nothing", name.text));
            self.reports.report(error.at(span, "expected one or more numbers"))
        })
    }

    /// Evaluates the value of an attribute: a division of integers in one that takes fractions
    /// must be exact.
    pub fn evaluate_for(&mut self, attribute: &str, expression: &Expression) -> Result<Value, Reported> {
        let outer = std::mem::replace(&mut self.is_fractional, FRACTIONAL.contains(&attribute));
        let value = self.evaluate(expression);
        self.is_fractional = outer;
        value
    }

    fn cut_off(&mut self, m: i64, n: i64, span: Span) -> Reported {
        let error = Diagnostic::error("E0312", format!("{m} / {n} is {} between whole numbers", m / n))
            .at(span, "loses its fraction")
            .suggest(format!("write `{m}.0 / {n}`"));
        self.reports.report(error)
    }

    fn overflow(&mut self, what: String, span: Span) -> Reported {
        let error = Diagnostic::error("E0302", format!("{what} is too large"));
        self.reports.report(error.at(span, "overflows").note("integers go up to 9223372036854775807"))
    }

    fn not_a_number(&mut self, operator: &str, value: &Value, span: Span) -> Reported {
        let mut error =
            Diagnostic::error("E0301", format!("`{operator}` needs numbers, not {}", value.describe()))
                .at(span, "not a number");
        if *value == Value::Full {
            error.code = "E0307";
            error = error
                .note(
                    "`full` means as many as there are channels; `min`, `max` and comparisons understand it",
                )
                .suggest("write `min(..., channels)` to get a number");
        }
        self.reports.report(error)
    }

    fn incomparable(&mut self, a: &Value, b: &Value, span: Span) -> Reported {
        let message = format!("{} and {} cannot be compared", a.describe(), b.describe());
        self.reports.report(Diagnostic::error("E0308", message).at(span, "values of different types"))
    }
}

fn holds(op: Binary, order: Ordering) -> bool {
    match op {
        Binary::AtMost => order != Ordering::Greater,
        Binary::AtLeast => order != Ordering::Less,
        Binary::Less => order == Ordering::Less,
        _ => order == Ordering::Greater,
    }
}

fn integer_arithmetic(op: Binary, m: i64, n: i64) -> Option<i64> {
    match op {
        Binary::Add => m.checked_add(n),
        Binary::Subtract => m.checked_sub(n),
        Binary::Multiply => m.checked_mul(n),
        Binary::Divide => m.checked_div(n),
        _ => m.checked_rem(n),
    }
}

fn float_arithmetic(op: Binary, m: f64, n: f64) -> f64 {
    match op {
        Binary::Add => m + n,
        Binary::Subtract => m - n,
        Binary::Multiply => m * n,
        Binary::Divide => m / n,
        _ => m % n,
    }
}

/// What values of other languages are called here.
pub fn foreign_value(name: &str) -> Option<&'static str> {
    Some(match name.to_lowercase().as_str() {
        "true" | "on" => "yes",
        "false" | "off" => "no",
        "null" | "nil" => "none",
        "grayscale" | "grey" => "gray",
        _ => return None,
    })
}
