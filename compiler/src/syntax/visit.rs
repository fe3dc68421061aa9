//! Walks over a tree.

use super::ast::*;

/// Calls `f` with each name that the statements use: variables, words, layers and blocks.
pub fn names<'a>(statements: &'a [Statement], f: &mut dyn FnMut(&'a str)) {
    for statement in statements {
        in_statement(&statement.kind, f);
    }
}

fn in_statement<'a>(statement: &'a StatementKind, f: &mut dyn FnMut(&'a str)) {
    use StatementKind::*;
    match statement {
        Model { arguments, .. } | Default { arguments, .. } => in_arguments(arguments, f),
        Param { default, domain, .. } => {
            in_expression(default, f);
            domain.iter().for_each(|d| in_expression(d, f));
        }
        Input { extents, arguments, .. } => {
            extents.iter().for_each(|e| in_expression(e, f));
            in_arguments(arguments, f);
        }
        Block { parameters, body, .. } => {
            parameters.iter().filter_map(|p| p.default.as_ref()).for_each(|d| in_expression(d, f));
            names(body, f);
        }
        Flow { repeat, body, .. } => {
            repeat.iter().for_each(|r| in_expression(&r.count, f));
            names(body, f);
        }
        Repeat { repeat, body } => {
            in_expression(&repeat.count, f);
            names(body, f);
        }
        For { values, body, .. } => {
            in_expression(values, f);
            names(body, f);
        }
        Let { value, .. } => in_expression(value, f),
        Branch { body } | Bad { body, .. } => names(body, f),
        From { value } => in_pieces(&value.pieces, f),
        If { arms, otherwise } => {
            for (condition, body) in arms {
                in_expression(condition, f);
                names(body, f);
            }
            otherwise.iter().for_each(|body| names(body, f));
        }
        Residual { condition, body, shortcut, label } => {
            condition.iter().for_each(|c| in_expression(c, f));
            names(body, f);
            shortcut.iter().for_each(|body| names(body, f));
            label.iter().for_each(|l| in_pieces(&l.pieces, f));
        }
        Join { operands, label, .. } => {
            match operands {
                Operands::Branches(body) => names(body, f),
                Operands::Values(values) => values.iter().for_each(|v| in_pieces(&v.pieces, f)),
            }
            label.iter().for_each(|l| in_pieces(&l.pieces, f));
        }
        Invoke { name, arguments, label, .. } => {
            f(&name.text);
            in_arguments(arguments, f);
            label.iter().for_each(|l| in_pieces(&l.pieces, f));
        }
    }
}

fn in_arguments<'a>(arguments: &'a [Argument], f: &mut dyn FnMut(&'a str)) {
    arguments.iter().for_each(|a| in_expression(&a.value, f));
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
