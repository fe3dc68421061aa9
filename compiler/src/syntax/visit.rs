//! Walks over a tree.

use super::ast::*;

/// Calls `f` with each name that the statements use: variables, words, layers and blocks.
pub fn names<'a>(statements: &'a [Statement], f: &mut dyn FnMut(&'a str)) {
    for statement in statements {
        if let StatementKind::Invoke { name, .. } = &statement.kind {
            f(&name.text);
        }
        expressions(&statement.kind).into_iter().for_each(|e| in_expression(e, f));
        references(&statement.kind).into_iter().for_each(|r| in_pieces(&r.pieces, f));
        blocks(&statement.kind).into_iter().for_each(|body| names(body, f));
    }
}

/// Calls `f` with each name that the statements give to a layer or result.
pub fn labels<'a>(statements: &'a [Statement], f: &mut dyn FnMut(&'a Reference)) {
    use StatementKind::{Invoke, Join, Residual};
    for statement in statements {
        if let Join { label: Some(label), .. }
        | Residual { label: Some(label), .. }
        | Invoke { label: Some(label), .. } = &statement.kind
        {
            f(label);
        }
        blocks(&statement.kind).into_iter().for_each(|body| labels(body, f));
    }
}

/// Calls `f` with the text of each statement that could not be read.
pub fn broken<'a>(statements: &'a [Statement], f: &mut dyn FnMut(&'a str)) {
    for statement in statements {
        if let StatementKind::Bad { text, .. } = &statement.kind {
            f(text);
        }
        blocks(&statement.kind).into_iter().for_each(|body| broken(body, f));
    }
}

/// The blocks right within a statement.
fn blocks(statement: &StatementKind) -> Vec<&Block> {
    use StatementKind::*;
    match statement {
        Block { body, .. }
        | Flow { body, .. }
        | Repeat { body, .. }
        | For { body, .. }
        | Branch { body }
        | Bad { body, .. }
        | Join { operands: Operands::Branches(body), .. } => vec![body],
        If { arms, otherwise } => arms.iter().map(|(_, body)| body).chain(otherwise).collect(),
        Residual { body, shortcut, .. } => std::iter::once(body).chain(shortcut).collect(),
        _ => Vec::new(),
    }
}

/// The expressions right within a statement.
fn expressions(statement: &StatementKind) -> Vec<&Expression> {
    use StatementKind::*;
    let values = |arguments| -> Vec<&Expression> {
        let arguments: &Vec<Argument> = arguments;
        arguments.iter().map(|a| &a.value).collect()
    };
    match statement {
        Model { arguments, .. } | Default { arguments, .. } | Invoke { arguments, .. } => values(arguments),
        Input { extents, arguments, .. } => extents.iter().chain(values(arguments)).collect(),
        Param { default, domain, .. } => std::iter::once(default).chain(domain).collect(),
        Block { parameters, .. } => parameters.iter().filter_map(|p| p.default.as_ref()).collect(),
        Flow { repeat, .. } => repeat.iter().map(|r| &r.count).collect(),
        Repeat { repeat, .. } => vec![&repeat.count],
        For { values, .. } => vec![values],
        Let { value, .. } => vec![value],
        If { arms, .. } => arms.iter().map(|(condition, _)| condition).collect(),
        Residual { condition, .. } => condition.iter().collect(),
        Join { .. } | Branch { .. } | From { .. } | Bad { .. } => Vec::new(),
    }
}

/// The names of layers and values right within a statement.
fn references(statement: &StatementKind) -> Vec<&Reference> {
    use StatementKind::*;
    match statement {
        From { value } => vec![value],
        Join { operands: Operands::Values(values), label, .. } => values.iter().chain(label).collect(),
        Join { label, .. } | Residual { label, .. } | Invoke { label, .. } => label.iter().collect(),
        _ => Vec::new(),
    }
}

/// Calls `f` with each name that an expression uses.
pub fn names_in<'a>(expression: &'a Expression, f: &mut dyn FnMut(&'a str)) {
    in_expression(expression, f);
}

fn in_pieces<'a>(pieces: &'a [Piece], f: &mut dyn FnMut(&'a str)) {
    for piece in pieces {
        if let Piece::Hole(value) = piece {
            in_expression(value, f);
        }
    }
}

fn in_expression<'a>(expression: &'a Expression, f: &mut dyn FnMut(&'a str)) {
    match &expression.kind {
        ExpressionKind::Name(name) => f(name),
        ExpressionKind::Text(pieces) => in_pieces(pieces, f),
        ExpressionKind::List(items) | ExpressionKind::Call(_, items) => {
            items.iter().for_each(|item| in_expression(item, f));
        }
        ExpressionKind::Range(x, y) | ExpressionKind::Binary(_, x, y) => {
            in_expression(x, f);
            in_expression(y, f);
        }
        ExpressionKind::Unary(_, x) => in_expression(x, f),
        ExpressionKind::Conditional { arms, otherwise } => {
            for (condition, value) in arms {
                in_expression(condition, f);
                in_expression(value, f);
            }
            in_expression(otherwise, f);
        }
        ExpressionKind::Integer(_)
        | ExpressionKind::Float(_)
        | ExpressionKind::Boolean(_)
        | ExpressionKind::Full
        | ExpressionKind::Window(_)
        | ExpressionKind::Bad => {}
    }
}
