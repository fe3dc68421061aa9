//! Canonical text of a tree: one statement a line, four spaces a level, no comments.
//!
//! Parsing the text gives the same tree again.

use std::fmt::{self, Display, Formatter, Write};

use super::ast::*;

const INDENT: &str = "    ";

impl Display for File {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write_statements(f, &self.statements, 0)
    }
}

fn write_statements(f: &mut Formatter<'_>, statements: &[Statement], level: usize) -> fmt::Result {
    for statement in statements {
        write_indent(f, level)?;
        write_statement(f, &statement.kind, level)?;
        f.write_char('\n')?;
    }
    Ok(())
}

fn write_indent(f: &mut Formatter<'_>, level: usize) -> fmt::Result {
    (0..level).try_for_each(|_| f.write_str(INDENT))
}

fn write_block(f: &mut Formatter<'_>, body: &[Statement], level: usize) -> fmt::Result {
    if body.is_empty() {
        return f.write_str(" {}");
    }
    f.write_str(" {\n")?;
    write_statements(f, body, level + 1)?;
    write_indent(f, level)?;
    f.write_char('}')
}

fn write_statement(f: &mut Formatter<'_>, statement: &StatementKind, level: usize) -> fmt::Result {
    match statement {
        StatementKind::Model { name, arguments } => {
            write!(f, "model {name}")?;
            write_tail(f, arguments)
        }
        StatementKind::Param { name, default, domain } => {
            write!(f, "param {name} = {default}")?;
            write_optional(f, " in ", domain.as_ref())
        }
        StatementKind::Input { name, extents, arguments } => {
            let [rows, columns, channels] = extents.each_ref().map(Extent);
            write!(f, "input {name} {rows} x {columns} x {channels}")?;
            write_tail(f, arguments)
        }
        StatementKind::Default { layers, arguments } => {
            write!(f, "default {} {{ {} }}", Commas(layers), Commas(arguments))
        }
        StatementKind::Block { name, parameters, body } => {
            write!(f, "block {name}({})", Commas(parameters))?;
            write_block(f, body, level)
        }
        StatementKind::Flow { name, repeat, body } => {
            write!(f, "flow {name}")?;
            write_optional(f, " ", repeat.as_ref())?;
            write_block(f, body, level)
        }
        StatementKind::Repeat { repeat, body } => {
            write!(f, "{repeat}")?;
            write_block(f, body, level)
        }
        StatementKind::For { variable, values, body } => {
            write!(f, "for {variable} in {values}")?;
            write_block(f, body, level)
        }
        StatementKind::Let { name, value } => write!(f, "let {name} = {value}"),
        StatementKind::Branch { body } => {
            f.write_str("branch")?;
            write_block(f, body, level)
        }
        StatementKind::From { value } => write!(f, "from {value}"),
        StatementKind::Bad { body, .. } => {
            f.write_char(super::brackets::BLANK as char)?;
            write_block(f, body, level)
        }
        _ => write_compound(f, statement, level),
    }
}

fn write_compound(f: &mut Formatter<'_>, statement: &StatementKind, level: usize) -> fmt::Result {
    match statement {
        StatementKind::If { arms, otherwise } => {
            for (n, (condition, body)) in arms.iter().enumerate() {
                write!(f, "{}if {condition}", if n == 0 { "" } else { " else " })?;
                write_block(f, body, level)?;
            }
            write_optional_block(f, " else", otherwise.as_deref(), level)
        }
        StatementKind::Residual { condition, body, shortcut, label } => {
            f.write_str("residual")?;
            write_optional(f, " if ", condition.as_ref())?;
            write_block(f, body, level)?;
            write_optional_block(f, " shortcut", shortcut.as_deref(), level)?;
            write_optional(f, " as ", label.as_ref())
        }
        StatementKind::Join { kind, operands, label } => {
            f.write_str(kind.word())?;
            match operands {
                Operands::Branches(body) => write_block(f, body, level)?,
                Operands::Values(values) => write!(f, " {}", Commas(values))?,
            }
            write_optional(f, " as ", label.as_ref())
        }
        StatementKind::Invoke { name, arguments, call, label } => {
            match (call, arguments.is_empty()) {
                (true, _) => write!(f, "{name}({})", Commas(arguments))?,
                (false, true) => write!(f, "{name}")?,
                (false, false) => write!(f, "{name} {}", Commas(arguments))?,
            }
            write_optional(f, " as ", label.as_ref())
        }
        // `write_statement` has written all others.
        _ => Ok(()),
    }
}

fn write_tail(f: &mut Formatter<'_>, arguments: &[Argument]) -> fmt::Result {
    if arguments.is_empty() { Ok(()) } else { write!(f, ", {}", Commas(arguments)) }
}

fn write_optional<T: Display>(f: &mut Formatter<'_>, before: &str, value: Option<&T>) -> fmt::Result {
    value.map_or(Ok(()), |v| write!(f, "{before}{v}"))
}

fn write_optional_block(
    f: &mut Formatter<'_>,
    before: &str,
    body: Option<&[Statement]>,
    level: usize,
) -> fmt::Result {
    let Some(body) = body else { return Ok(()) };
    f.write_str(before)?;
    write_block(f, body, level)
}

/// Items with commas between.
struct Commas<'a, T>(&'a [T]);

impl<T: Display> Display for Commas<'_, T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (n, item) in self.0.iter().enumerate() {
            write!(f, "{}{item}", if n == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// An extent of the input: in parentheses unless it is a number or a name.
struct Extent<'a>(&'a Expression);

impl Display for Extent<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0.kind {
            ExpressionKind::Integer(_) | ExpressionKind::Name(_) => write!(f, "{}", self.0),
            _ => write!(f, "({})", self.0),
        }
    }
}

impl Display for Name {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Display for Parameter {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)?;
        write_optional(f, " = ", self.default.as_ref())
    }
}

impl Display for Repetition {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "repeat {}", self.count)?;
        write_optional(f, " as ", self.index.as_ref())
    }
}

impl Display for Argument {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.name {
            write!(f, "{name}: ")?;
        }
        write!(f, "{}", self.value)
    }
}

/// Without quotation marks when the name is an identifier.
impl Display for Reference {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.pieces[..] {
            [Piece::Text(text)] if !self.is_quoted && super::is_identifier(text) => f.write_str(text),
            pieces => write_string(f, pieces),
        }
    }
}

fn write_string(f: &mut Formatter<'_>, pieces: &[Piece]) -> fmt::Result {
    f.write_char('"')?;
    for piece in pieces {
        match piece {
            Piece::Text(text) => write_escaped(f, text)?,
            Piece::Hole(value) => write!(f, "{{{value}}}")?,
        }
    }
    f.write_char('"')
}

fn write_escaped(f: &mut Formatter<'_>, text: &str) -> fmt::Result {
    for c in text.chars() {
        match c {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '{' => f.write_str("{{")?,
            '}' => f.write_str("}}")?,
            c => f.write_char(c)?,
        }
    }
    Ok(())
}

impl Display for Expression {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ExpressionKind::Integer(n) => write!(f, "{n}"),
            ExpressionKind::Float(x) => write!(f, "{x:?}"),
            ExpressionKind::Boolean(b) => f.write_str(if *b { "yes" } else { "no" }),
            ExpressionKind::Full => f.write_str("full"),
            ExpressionKind::Text(pieces) => write_string(f, pieces),
            ExpressionKind::Name(name) => f.write_str(name),
            ExpressionKind::Window([rows, columns]) => write!(f, "{rows}x{columns}"),
            ExpressionKind::List(items) => write!(f, "[{}]", Commas(items)),
            ExpressionKind::Range(low, high) => write!(f, "{low}..{high}"),
            ExpressionKind::Unary(Unary::Not, x) => write!(f, "not {}", Operand(x, 3)),
            ExpressionKind::Unary(Unary::Negate, x) => write!(f, "-{}", Operand(x, 7)),
            ExpressionKind::Binary(operator, x, y) => {
                let precedence = operator.precedence();
                let (x, y) = (Operand(x, precedence), Operand(y, precedence + 1));
                write!(f, "{x} {} {y}", operator.sign())
            }
            ExpressionKind::Call(name, arguments) => write!(f, "{name}({})", Commas(arguments)),
            ExpressionKind::Conditional { arms, otherwise } => {
                for (condition, value) in arms {
                    write!(f, "if {} then {} else ", Operand(condition, 1), Operand(value, 1))?;
                }
                write!(f, "{}", Operand(otherwise, 1))
            }
            ExpressionKind::Bad => f.write_char(super::brackets::BLANK as char),
        }
    }
}

/// An operand: in parentheses if it binds less tightly than its place asks for.
struct Operand<'a>(&'a Expression, u8);

impl Display for Operand<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let precedence = match &self.0.kind {
            ExpressionKind::Conditional { .. } | ExpressionKind::Range(..) => 0,
            ExpressionKind::Unary(Unary::Not, _) => 3,
            ExpressionKind::Binary(operator, ..) => operator.precedence(),
            ExpressionKind::Unary(Unary::Negate, _) => 7,
            _ => 8,
        };
        if precedence < self.1 { write!(f, "({})", self.0) } else { write!(f, "{}", self.0) }
    }
}
