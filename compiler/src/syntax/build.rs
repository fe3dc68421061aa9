//! From the pairs of the grammar to the tree.

use pest::Parser;
use pest::iterators::{Pair, Pairs};
use pest::pratt_parser::{Assoc, Op, PrattParser};
use std::ops::Range;
use std::sync::LazyLock;

use super::ast::*;
use super::limits::{MAX_ARGUMENTS, MAX_ERRORS, MAX_NAME, MAX_OPERATORS};
use super::{Grammar, Rule, brackets, recover};
use crate::diagnostic::{Diagnostic, Span};

static PRATT: LazyLock<PrattParser<Rule>> = LazyLock::new(|| {
    let left = |rule| Op::infix(rule, Assoc::Left);
    PrattParser::new()
        .op(left(Rule::or))
        .op(left(Rule::and))
        .op(Op::prefix(Rule::not))
        .op(left(Rule::eq)
            | left(Rule::ne)
            | left(Rule::le)
            | left(Rule::ge)
            | left(Rule::lt)
            | left(Rule::gt))
        .op(left(Rule::add) | left(Rule::subtract))
        .op(left(Rule::multiply) | left(Rule::divide) | left(Rule::remainder))
        .op(Op::prefix(Rule::minus))
});

/// Builds the tree of `text`, which stands at byte `base` of the source.
pub struct Builder<'a> {
    text: &'a str,
    /// The same text as the user wrote it, nothing blanked out.
    written: &'a str,
    base: usize,
    /// Mistakes found so far.
    pub diagnostics: Vec<Diagnostic>,
}

/// The pairs within a pair that carry meaning.
fn children(pair: Pair<'_, Rule>) -> impl Iterator<Item = Pair<'_, Rule>> {
    pair.into_inner().filter(|p| !is_mark(p.as_rule()))
}

/// Whether a rule matches a keyword or punctuation.
fn is_mark(rule: Rule) -> bool {
    use Rule::*;
    matches!(rule, equals | colon | comma | cross | close | EOI) || is_keyword(rule)
}

fn is_keyword(rule: Rule) -> bool {
    use Rule::*;
    matches!(
        rule,
        kw_model
            | kw_param
            | kw_input
            | kw_default
            | kw_block
            | kw_flow
            | kw_repeat
            | kw_for
            | kw_in
            | kw_if
            | kw_then
            | kw_else
            | kw_let
            | kw_residual
            | kw_shortcut
            | kw_branch
            | kw_from
            | kw_as
    )
}

impl<'a> Builder<'a> {
    /// A builder that goes on with a list of mistakes.
    pub fn new(text: &'a str, written: &'a str, base: usize, diagnostics: Vec<Diagnostic>) -> Self {
        Self { text, written, base, diagnostics }
    }

    /// Adds a mistake, unless brackets and statements have had as many as are shown.
    fn tell(&mut self, mistake: impl FnOnce(&Self) -> Diagnostic) {
        if self.diagnostics.len() < 2 * MAX_ERRORS {
            self.diagnostics.push(mistake(self));
        }
    }

    /// The whole spec.
    pub fn file(&mut self, pair: Pair<'_, Rule>) -> File {
        File { statements: self.block(pair) }
    }

    /// The whole text as one value; [`ExpressionKind::Bad`] and a diagnostic when it is not one.
    pub fn whole_value(&mut self) -> Expression {
        let at = At(Span::new(self.base, self.base + self.text.len()));
        match Grammar::parse(Rule::only_value, self.text) {
            Ok(pairs) => match pairs.flatten().find(|p| p.as_rule() == Rule::value) {
                Some(value) => self.value(value),
                None => Expression { kind: ExpressionKind::Bad, at },
            },
            Err(error) => {
                self.tell(|this| recover::explain_value(this.text, this.base, &error));
                Expression { kind: ExpressionKind::Bad, at }
            }
        }
    }

    fn at(&self, pair: &Pair<'_, Rule>) -> At {
        let span = pair.as_span();
        let length = span.as_str().trim_end().len();
        At(Span::new(self.base + span.start(), self.base + span.start() + length))
    }

    /// What the user wrote where `pair` is.
    fn written(&self, pair: &Pair<'_, Rule>) -> String {
        let span = pair.as_span();
        self.written.get(span.start()..span.end()).unwrap_or_default().to_owned()
    }

    fn block(&mut self, pair: Pair<'_, Rule>) -> Block {
        let mut statements = Vec::new();
        let (mut last_start, mut last_end) = (None, None);
        for element in children(pair) {
            let (start, end) = (element.as_span().start(), element.as_span().end());
            let next_branch = element.as_rule() == Rule::branch;
            let joined = last_end.is_some_and(|last| self.runs_on(last, start))
                && !(next_branch && self.text[..start].trim_end().ends_with('}'));
            last_end = Some(end);
            if joined {
                let from = last_start.unwrap_or(start);
                self.tell(|this| recover::run_on(&this.text[from..end], this.base + from, start - from));
                self.spoil(statements.last_mut(), start);
            }
            last_start = Some(start);
            let is_rest = match element.as_rule() {
                Rule::bad_statement => true,
                // Words behind a statement that was given up look like a layer, whatever they were
                // meant to be.
                Rule::invoke => matches!(statements.last(), Some(s) if is_bad(s)),
                _ => false,
            };
            if joined && is_rest {
                self.go_on_bad(&mut statements, element);
                continue;
            }
            let span = element.as_span();
            let statement = self.statement(element);
            statements.extend(statement.map(|s| self.limit_arguments(s, span.start()..span.end())));
        }
        statements
    }

    /// Whether nothing separates a statement that ends at `last` from one that starts at `start`.
    fn runs_on(&self, last: usize, start: usize) -> bool {
        !self.text[last.min(start)..start].contains(['\n', ';']) && !self.text[..last].ends_with(['\n', ';'])
    }

    /// The statements of all blocks in a pair.
    fn blocks_of(&mut self, pair: Pair<'_, Rule>) -> Block {
        children(pair).filter(|p| p.as_rule() == Rule::block).flat_map(|p| self.block(p)).collect()
    }

    /// Adds what cannot be read to the statement before it, which was given up.
    fn go_on_bad(&mut self, statements: &mut Block, pair: Pair<'_, Rule>) {
        // Words in the block behind it are statements of their own.
        let head = children(pair.clone()).next().unwrap_or_else(|| pair.clone());
        let (more, behind) = (self.written(&head), self.blocks_of(pair));
        if let Some(Statement { kind: StatementKind::Bad { text, body, .. }, .. }) = statements.last_mut() {
            text.push(' ');
            text.push_str(&more);
            body.extend(behind);
            return;
        }
        let kind = StatementKind::Bad { declares: None, text: more, body: behind };
        statements.push(Statement { kind, at: At::default() });
    }

    /// Gives up a statement that should end before `next`, unless it is a block.
    fn spoil(&self, statement: Option<&mut Statement>, next: usize) {
        let Some(Statement { kind, at: At(span) }) = statement else { return };
        let [start, end] = [span.start, span.end].map(|at| (at as usize).saturating_sub(self.base));
        let text = self.written.get(start..end).unwrap_or_default().to_owned();
        let declares = match kind {
            StatementKind::Param { name, .. } | StatementKind::Let { name, .. } => Some(name.clone()),
            StatementKind::Invoke { .. } => recover::assigned_name(&text, &self.text[next..]).map(named),
            StatementKind::Model { .. } | StatementKind::Input { .. } | StatementKind::From { .. } => None,
            _ => return,
        };
        *kind = StatementKind::Bad { declares, text, body: Vec::new() };
    }

    fn statement(&mut self, pair: Pair<'_, Rule>) -> Option<Statement> {
        let at = self.at(&pair);
        let kind = match pair.as_rule() {
            Rule::bad_statement => self.bad_statement(pair),
            Rule::bare_block => {
                let at = Span::new(at.0.start as usize, at.0.start as usize + 1);
                self.tell(|_| recover::bare_block(at));
                StatementKind::Bad { declares: None, text: String::new(), body: self.blocks_of(pair) }
            }
            Rule::stray => return None,
            _ => return Some(self.good_statement(pair)),
        };
        Some(Statement { kind, at })
    }

    /// Gives up a statement with too many arguments.
    fn limit_arguments(&mut self, mut statement: Statement, range: Range<usize>) -> Statement {
        let count = match &mut statement.kind {
            StatementKind::Block { parameters, .. } => truncate(parameters),
            StatementKind::Model { arguments, .. }
            | StatementKind::Input { arguments, .. }
            | StatementKind::Default { arguments, .. }
            | StatementKind::Invoke { arguments, .. } => truncate(arguments),
            _ => 0,
        };
        if count > MAX_ARGUMENTS {
            let start = self.base + range.start;
            self.tell(|_| recover::too_many_arguments(Span::new(start, start + 1), count));
            let text = self.written.get(range).unwrap_or_default().to_owned();
            statement.kind = StatementKind::Bad { declares: declared(&text), text, body: Vec::new() };
        }
        statement
    }

    fn bad_statement(&mut self, pair: Pair<'_, Rule>) -> StatementKind {
        let span = pair.as_span();
        let first_of = |text: &str| text.as_bytes().get(span.start()).copied();
        if first_of(self.text) == Some(brackets::BLANK) && first_of(self.written) != Some(brackets::BLANK) {
            // brackets.rs has said what is wrong.
            let text = children(pair.clone()).next().map(|head| self.written(&head)).unwrap_or_default();
            return StatementKind::Bad { declares: declared(&text), text, body: self.blocks_of(pair) };
        }
        let head = children(pair.clone()).next().map_or("", |p| p.as_str());
        self.tell(|this| recover::explain(head, span.as_str(), this.base + span.start()));
        let is_default = head.split_whitespace().next() == Some("default");
        let text = if is_default { self.written(&pair) } else { head.to_owned() };
        let body = if is_default { Vec::new() } else { self.blocks_of(pair) };
        StatementKind::Bad { declares: declared(head), text, body }
    }

    fn good_statement(&mut self, pair: Pair<'_, Rule>) -> Statement {
        let rule = pair.as_rule();
        let mut parts = children(pair);
        // Each statement starts with its head.
        let Some(head) = parts.next() else {
            let kind = StatementKind::Bad { declares: None, text: String::new(), body: Vec::new() };
            return Statement { kind, at: At::default() };
        };
        let at = self.at(&head);
        let kind = match rule {
            Rule::conditional_statement => self.conditional_statement(head, parts),
            Rule::residual => self.residual(head, parts),
            Rule::join => self.join(head, parts),
            Rule::default => self.default(head, parts),
            _ => self.simple_statement(head, parts),
        };
        Statement { kind, at }
    }

    /// A statement that is a head and perhaps one block.
    fn simple_statement<'p>(
        &mut self,
        head: Pair<'p, Rule>,
        mut rest: impl Iterator<Item = Pair<'p, Rule>>,
    ) -> StatementKind {
        let rule = head.as_rule();
        let mut head = Parts { builder: self, pairs: children(head).collect::<Vec<_>>().into_iter() };
        match rule {
            Rule::model_head => StatementKind::Model { name: head.name(), arguments: head.arguments() },
            Rule::param_head => StatementKind::Param {
                name: head.name(),
                default: head.expression(),
                domain: head.optional_value(),
            },
            Rule::input_head => {
                let name = head.name();
                let extents = Box::new([head.extent(), head.extent(), head.extent()]);
                StatementKind::Input { name, extents, arguments: head.arguments() }
            }
            Rule::let_head => StatementKind::Let { name: head.name(), value: head.value() },
            Rule::from_head => StatementKind::From { value: head.reference() },
            Rule::invoke_head => head.invoke(),
            Rule::block_head => {
                let (name, parameters) = (head.name(), head.parameters());
                StatementKind::Block { name, parameters, body: self.next_block(&mut rest) }
            }
            Rule::flow_head => {
                let (name, repeat) = (head.name(), head.optional_repetition());
                StatementKind::Flow { name, repeat, body: self.next_block(&mut rest) }
            }
            Rule::repeat_head => {
                let repeat = head.repetition();
                StatementKind::Repeat { repeat, body: self.next_block(&mut rest) }
            }
            Rule::for_head => {
                let (variable, values) = (head.name(), head.value());
                StatementKind::For { variable, values, body: self.next_block(&mut rest) }
            }
            _ => StatementKind::Branch { body: self.next_block(&mut rest) },
        }
    }

    fn next_block<'p>(&mut self, parts: &mut impl Iterator<Item = Pair<'p, Rule>>) -> Block {
        parts.next().map(|block| self.block(block)).unwrap_or_default()
    }

    fn default<'p>(
        &mut self,
        head: Pair<'p, Rule>,
        rest: impl Iterator<Item = Pair<'p, Rule>>,
    ) -> StatementKind {
        let layers = children(head).map(|name| self.name(&name)).collect();
        StatementKind::Default { layers, arguments: rest.map(|argument| self.argument(argument)).collect() }
    }

    fn conditional_statement<'p>(
        &mut self,
        head: Pair<'p, Rule>,
        mut parts: impl Iterator<Item = Pair<'p, Rule>>,
    ) -> StatementKind {
        let mut arms = Vec::new();
        let mut otherwise = None;
        let mut next = Some(head);
        while let Some(part) = next {
            match part.as_rule() {
                Rule::if_head => {
                    let condition = self.first_expression(part);
                    arms.push((condition, self.next_block(&mut parts)));
                }
                _ => otherwise = Some(self.blocks_of(part)),
            }
            next = parts.next();
        }
        StatementKind::If { arms, otherwise }
    }

    fn residual<'p>(
        &mut self,
        head: Pair<'p, Rule>,
        parts: impl Iterator<Item = Pair<'p, Rule>>,
    ) -> StatementKind {
        let condition = children(head).next().map(|pair| self.expression(pair));
        let (mut blocks, mut label) = (Vec::new(), None);
        for part in parts {
            match part.as_rule() {
                Rule::block => blocks.push(self.block(part)),
                _ => label = children(part).next().map(|p| self.reference(p)),
            }
        }
        let mut blocks = blocks.into_iter();
        StatementKind::Residual {
            condition,
            body: blocks.next().unwrap_or_default(),
            shortcut: blocks.next(),
            label,
        }
    }

    fn join<'p>(
        &mut self,
        head: Pair<'p, Rule>,
        parts: impl Iterator<Item = Pair<'p, Rule>>,
    ) -> StatementKind {
        let kind = if head.as_str().trim() == "add" { JoinKind::Add } else { JoinKind::Concat };
        let (mut operands, mut label) = (Operands::Values(Vec::new()), None);
        for part in parts {
            match part.as_rule() {
                Rule::block => operands = Operands::Branches(self.block(part)),
                Rule::values => {
                    operands = Operands::Values(children(part).map(|p| self.reference(p)).collect());
                }
                _ => label = children(part).next().map(|p| self.reference(p)),
            }
        }
        StatementKind::Join { kind, operands, label }
    }

    fn first_expression(&mut self, pair: Pair<'_, Rule>) -> Expression {
        let at = self.at(&pair);
        match children(pair).next() {
            Some(inner) => self.expression(inner),
            None => Expression { kind: ExpressionKind::Bad, at },
        }
    }

    /// An extent of the input: a number, a name or something in parentheses.
    fn extent(&mut self, pair: Pair<'_, Rule>) -> Expression {
        match children(pair.clone()).next() {
            Some(inner) => self.expression(inner),
            None => Expression { kind: self.number(&pair), at: self.at(&pair) },
        }
    }

    /// A name; the rest of one that is too long is cut off.
    fn name(&mut self, pair: &Pair<'_, Rule>) -> Name {
        let (text, at) = (pair.as_str(), self.at(pair));
        // Names are ASCII, so none is cut within a character.
        Name { text: text[..self.check_name(text, at)].to_owned(), at }
    }

    /// The length of a name, cut to the limit.
    fn check_name(&mut self, text: &str, at: At) -> usize {
        if text.len() > MAX_NAME {
            self.tell(|_| recover::long_name(at.0, text.len()));
        }
        text.len().min(MAX_NAME)
    }

    fn argument(&mut self, pair: Pair<'_, Rule>) -> Argument {
        let at = self.at(&pair);
        let mut name = None;
        let mut value = Expression { kind: ExpressionKind::Bad, at };
        for part in children(pair) {
            match part.as_rule() {
                Rule::argument_name => name = Some(self.name(&part)),
                _ => value = self.value(part),
            }
        }
        Argument { name, value }
    }

    fn reference(&mut self, pair: Pair<'_, Rule>) -> Reference {
        let pair = match pair.as_rule() {
            Rule::reference => match children(pair.clone()).next() {
                Some(inner) => inner,
                None => pair,
            },
            _ => pair,
        };
        let at = self.at(&pair);
        let is_quoted = pair.as_rule() == Rule::string;
        let pieces = match is_quoted {
            true => self.string(&pair),
            false => vec![Piece::Text(self.name(&pair).text)],
        };
        Reference { pieces, is_quoted, at }
    }

    fn value(&mut self, pair: Pair<'_, Rule>) -> Expression {
        let at = self.at(&pair);
        let mut parts: Vec<_> = children(pair).map(|p| self.expression(p)).collect();
        match (parts.pop(), parts.pop()) {
            (Some(high), Some(low)) => {
                Expression { kind: ExpressionKind::Range(Box::new(low), Box::new(high)), at }
            }
            (Some(value), None) => value,
            _ => Expression { kind: ExpressionKind::Bad, at },
        }
    }

    fn expression(&mut self, pair: Pair<'_, Rule>) -> Expression {
        let at = self.at(&pair);
        match pair.as_rule() {
            Rule::expression => self.first_expression(pair),
            Rule::conditional => self.conditional(pair),
            Rule::operation => self.operation(pair),
            _ => Expression { kind: self.primary(pair), at },
        }
    }

    fn conditional(&mut self, pair: Pair<'_, Rule>) -> Expression {
        let at = self.at(&pair);
        let mut parts = children(pair).map(|p| self.expression(p)).collect::<Vec<_>>();
        let otherwise = parts.pop().unwrap_or(Expression { kind: ExpressionKind::Bad, at });
        let mut arms = Vec::new();
        let mut parts = parts.into_iter();
        while let (Some(condition), Some(value)) = (parts.next(), parts.next()) {
            arms.push((condition, value));
        }
        Expression { kind: ExpressionKind::Conditional { arms, otherwise: Box::new(otherwise) }, at }
    }

    fn operation(&mut self, pair: Pair<'_, Rule>) -> Expression {
        let at = self.at(&pair);
        let parts = pair.into_inner();
        let operators = parts.clone().filter(|p| is_operator(p.as_rule())).count();
        if operators > MAX_OPERATORS {
            self.tell(|_| recover::too_many_operators(at.0, operators));
            return Expression { kind: ExpressionKind::Bad, at };
        }
        self.climb(parts)
    }

    fn climb(&mut self, parts: Pairs<'_, Rule>) -> Expression {
        let base = self.base;
        PRATT
            .map_primary(|p| self.expression(p))
            .map_prefix(|operator, x| {
                let start = base + operator.as_span().start();
                let at = At(Span::new(start, start).to(x.at.0));
                let unary = if operator.as_rule() == Rule::not { Unary::Not } else { Unary::Negate };
                Expression { kind: ExpressionKind::Unary(unary, Box::new(x)), at }
            })
            .map_infix(|x, operator, y| {
                let at = At(x.at.0.to(y.at.0));
                let kind = ExpressionKind::Binary(binary(operator.as_rule()), Box::new(x), Box::new(y));
                Expression { kind, at }
            })
            .parse(parts)
    }

    fn primary(&mut self, pair: Pair<'_, Rule>) -> ExpressionKind {
        match pair.as_rule() {
            Rule::yes => ExpressionKind::Boolean(true),
            Rule::no => ExpressionKind::Boolean(false),
            Rule::full => ExpressionKind::Full,
            Rule::identifier => ExpressionKind::Name(self.name(&pair).text),
            Rule::string => ExpressionKind::Text(self.string(&pair)),
            Rule::list => ExpressionKind::List(children(pair).map(|p| self.expression(p)).collect()),
            Rule::call => {
                let mut parts = children(pair);
                match parts.next() {
                    Some(name) => {
                        ExpressionKind::Call(self.name(&name), parts.map(|p| self.expression(p)).collect())
                    }
                    None => ExpressionKind::Bad,
                }
            }
            _ => self.number(&pair),
        }
    }

    fn number(&mut self, pair: &Pair<'_, Rule>) -> ExpressionKind {
        let text = pair.as_str();
        let number = match pair.as_rule() {
            Rule::window => text.split_once('x').and_then(|(rows, columns)| {
                Some(ExpressionKind::Window([rows.parse().ok()?, columns.parse().ok()?]))
            }),
            Rule::float => text.parse().ok().filter(|x: &f64| x.is_finite()).map(ExpressionKind::Float),
            _ => text.parse().ok().map(ExpressionKind::Integer),
        };
        number.unwrap_or_else(|| {
            self.tell(|this| recover::large_number(this.at(pair).0));
            ExpressionKind::Bad
        })
    }

    /// The pieces of a string in quotation marks.
    fn string(&mut self, pair: &Pair<'_, Rule>) -> Vec<Piece> {
        let raw = pair.as_str();
        let start = self.base + pair.as_span().start() + 1;
        let inner = raw.get(1..raw.len().saturating_sub(1)).unwrap_or("");
        let mut pieces = Vec::new();
        let mut text = String::new();
        let mut chars = inner.char_indices().peekable();
        while let Some((offset, c)) = chars.next() {
            let twin = chars.peek().is_some_and(|(_, next)| *next == c);
            match c {
                '\\' => match chars.next() {
                    Some((_, 'n')) => text.push('\n'),
                    Some((_, c @ ('"' | '\\'))) => text.push(c),
                    other => self.tell(|_| recover::bad_escape(start + offset, other.map(|(_, c)| c))),
                },
                '{' | '}' if twin => {
                    chars.next();
                    text.push(c);
                }
                '{' => {
                    let hole = &inner[offset + 1..];
                    let length = hole.find('}').unwrap_or(hole.len());
                    if length == hole.len() {
                        self.tell(|_| recover::open_hole(start + offset));
                        break;
                    }
                    flush(&mut text, &mut pieces);
                    pieces.push(Piece::Hole(self.hole(&hole[..length], start + offset + 1)));
                    while chars.next_if(|(at, _)| *at <= offset + 1 + length).is_some() {}
                }
                '}' => self.tell(|_| recover::lone_brace(start + offset)),
                c => text.push(c),
            }
        }
        flush(&mut text, &mut pieces);
        pieces
    }

    fn hole(&mut self, text: &str, base: usize) -> Expression {
        let mut inner = Builder::new(text, text, base, std::mem::take(&mut self.diagnostics));
        let value = inner.whole_value();
        self.diagnostics = inner.diagnostics;
        value
    }
}

fn is_bad(statement: &Statement) -> bool {
    matches!(statement.kind, StatementKind::Bad { .. })
}

/// What a statement that cannot be read was meant to declare.
fn declared(head: &str) -> Option<Name> {
    recover::declared_name(head).map(named)
}

fn named(text: &str) -> Name {
    Name { text: text.to_owned(), at: At::default() }
}

/// Cuts off what is too much and returns how long the list was.
fn truncate<T>(list: &mut Vec<T>) -> usize {
    let count = list.len();
    list.truncate(MAX_ARGUMENTS);
    count
}

fn flush(text: &mut String, pieces: &mut Vec<Piece>) {
    if !text.is_empty() {
        pieces.push(Piece::Text(std::mem::take(text)));
    }
}

/// Takes the parts of a head in order.
struct Parts<'b, 'a, 'p> {
    builder: &'b mut Builder<'a>,
    pairs: std::vec::IntoIter<Pair<'p, Rule>>,
}

impl Parts<'_, '_, '_> {
    fn next_is(&self, rule: Rule) -> bool {
        self.pairs.as_slice().first().is_some_and(|p| p.as_rule() == rule)
    }

    fn name(&mut self) -> Name {
        match self.pairs.next() {
            Some(pair) => self.builder.name(&pair),
            None => Name { text: String::new(), at: At::default() },
        }
    }

    fn expression(&mut self) -> Expression {
        match self.pairs.next() {
            Some(pair) => self.builder.expression(pair),
            None => Expression { kind: ExpressionKind::Bad, at: At::default() },
        }
    }

    fn value(&mut self) -> Expression {
        self.optional_value().unwrap_or(Expression { kind: ExpressionKind::Bad, at: At::default() })
    }

    fn optional_value(&mut self) -> Option<Expression> {
        self.pairs.next().map(|pair| self.builder.value(pair))
    }

    fn extent(&mut self) -> Expression {
        match self.pairs.next() {
            Some(pair) => self.builder.extent(pair),
            None => Expression { kind: ExpressionKind::Bad, at: At::default() },
        }
    }

    fn arguments(&mut self) -> Vec<Argument> {
        let mut arguments = Vec::new();
        while self.next_is(Rule::argument) {
            arguments.extend(self.pairs.next().map(|pair| self.builder.argument(pair)));
        }
        arguments
    }

    fn reference(&mut self) -> Reference {
        match self.pairs.next() {
            Some(pair) => self.builder.reference(pair),
            None => Reference { pieces: Vec::new(), is_quoted: false, at: At::default() },
        }
    }

    fn parameters(&mut self) -> Vec<Parameter> {
        let Some(list) = self.pairs.next() else { return Vec::new() };
        children(list).map(|pair| self.parameter(pair)).collect()
    }

    fn parameter(&mut self, pair: Pair<'_, Rule>) -> Parameter {
        let mut inner =
            Parts { builder: self.builder, pairs: children(pair).collect::<Vec<_>>().into_iter() };
        let name = inner.name();
        let default = inner.pairs.next().map(|p| inner.builder.expression(p));
        Parameter { name, default }
    }

    fn optional_repetition(&mut self) -> Option<Repetition> {
        self.next_is(Rule::repetition).then(|| self.repetition())
    }

    fn repetition(&mut self) -> Repetition {
        let pairs = self.pairs.next().map(|p| children(p).collect::<Vec<_>>()).unwrap_or_default();
        let mut inner = Parts { builder: self.builder, pairs: pairs.into_iter() };
        let count = inner.expression();
        let index = inner.pairs.next().map(|p| inner.builder.name(&p));
        Repetition { count, index }
    }

    fn invoke(&mut self) -> StatementKind {
        let name = self.name();
        let (mut arguments, mut call, mut label) = (Vec::new(), false, None);
        while let Some(part) = self.pairs.next() {
            match part.as_rule() {
                Rule::label => label = children(part).next().map(|p| self.builder.reference(p)),
                rule => {
                    call = rule == Rule::call_arguments;
                    arguments = children(part).map(|p| self.builder.argument(p)).collect();
                }
            }
        }
        StatementKind::Invoke { name, arguments, call, label }
    }
}

fn is_operator(rule: Rule) -> bool {
    use Rule::*;
    matches!(
        rule,
        not | minus | or | and | eq | ne | le | ge | lt | gt | add | subtract | multiply | divide | remainder
    )
}

fn binary(rule: Rule) -> Binary {
    match rule {
        Rule::or => Binary::Or,
        Rule::and => Binary::And,
        Rule::eq => Binary::Equal,
        Rule::ne => Binary::Unequal,
        Rule::le => Binary::AtMost,
        Rule::ge => Binary::AtLeast,
        Rule::lt => Binary::Less,
        Rule::gt => Binary::Greater,
        Rule::add => Binary::Add,
        Rule::subtract => Binary::Subtract,
        Rule::multiply => Binary::Multiply,
        Rule::divide => Binary::Divide,
        _ => Binary::Remainder,
    }
}
