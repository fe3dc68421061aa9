//! Properties of the reader of specs: trees survive being printed, and no text makes it panic or
//! hang.

use std::path::Path;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::sample::{Index, select};
use xcc_compiler::diagnostic::{Span, render};
use xcc_compiler::elaborate::read;
use xcc_compiler::syntax::ast::*;
use xcc_compiler::syntax::{MAX_OPERATORS, MAX_SOURCE, parse, parse_value};

fn specs() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../specs");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut specs: Vec<_> = files
        .filter(|p| p.extension().is_some_and(|e| e == "xc"))
        .map(|p| (p.display().to_string(), std::fs::read_to_string(p).unwrap()))
        .collect();
    specs.sort();
    specs
}

#[test]
fn shipped_specs_survive_printing() {
    for (name, source) in specs() {
        let (file, errors) = parse(&source);
        assert!(errors.is_empty(), "{name}");
        let printed = file.to_string();
        let (again, errors) = parse(&printed);
        assert!(errors.is_empty(), "{name}\n{}", render(&name, &printed, &errors, false));
        assert_eq!(file, again, "{name}");
        assert_eq!(printed, again.to_string(), "{name}");
        let graph = |source: &str| read(source, &[]).graph.unwrap();
        assert_eq!(graph(&source).weights, graph(&printed).weights, "{name}");
    }
}

fn at() -> At {
    At(Span::default())
}

fn expression(kind: ExpressionKind) -> Expression {
    Expression { kind, at: at() }
}

fn any_word() -> impl Strategy<Value = String> {
    select(vec!["width", "i", "same", "x", "x3", "relu", "_", "inner", "channels", "yesterday"])
        .prop_map(String::from)
}

fn any_name() -> impl Strategy<Value = Name> {
    any_word().prop_map(|text| Name { text, at: at() })
}

fn any_text(holes: BoxedStrategy<Expression>) -> impl Strategy<Value = Vec<Piece>> {
    let text = prop::collection::vec(select(vec!['a', '"', '\\', '{', '}', '#', ' ', 'ß', '\n', '(']), 1..6);
    let text = text.prop_map(|chars| Piece::Text(chars.into_iter().collect()));
    // Two texts next to each other are read as one.
    (text, prop::option::of(holes)).prop_map(|(text, hole)| {
        let hole = hole.map(Piece::Hole);
        std::iter::once(text).chain(hole).collect()
    })
}

fn any_leaf() -> impl Strategy<Value = Expression> {
    prop_oneof![
        (0..=i64::MAX).prop_map(ExpressionKind::Integer),
        (0.0..1e300_f64).prop_map(ExpressionKind::Float),
        (0.0..1e-3_f64).prop_map(ExpressionKind::Float),
        any::<bool>().prop_map(ExpressionKind::Boolean),
        Just(ExpressionKind::Full),
        any_word().prop_map(ExpressionKind::Name),
        any::<[u32; 2]>().prop_map(ExpressionKind::Window),
        any_text(any_word().prop_map(|w| expression(ExpressionKind::Name(w))).boxed())
            .prop_map(ExpressionKind::Text),
    ]
    .prop_map(expression)
}

fn any_expression() -> impl Strategy<Value = Expression> {
    use Binary::*;
    let operators = vec![
        Or, And, Equal, Unequal, AtMost, AtLeast, Less, Greater, Add, Subtract, Multiply, Divide, Remainder,
    ];
    any_leaf().prop_recursive(4, 24, 4, move |inner| {
        let one = inner.clone().prop_map(Box::new);
        let several = prop::collection::vec(inner.clone(), 0..4);
        prop_oneof![
            several.clone().prop_map(ExpressionKind::List),
            (any_name(), several).prop_map(|(name, list)| ExpressionKind::Call(name, list)),
            (select(vec![Unary::Not, Unary::Negate]), one.clone())
                .prop_map(|(operator, x)| ExpressionKind::Unary(operator, x)),
            (select(operators.clone()), one.clone(), one.clone())
                .prop_map(|(operator, x, y)| ExpressionKind::Binary(operator, x, y)),
            (prop::collection::vec((inner.clone(), inner.clone()), 1..3), one)
                .prop_map(|(arms, otherwise)| ExpressionKind::Conditional { arms, otherwise }),
        ]
        .prop_map(expression)
    })
}

fn any_value() -> impl Strategy<Value = Expression> {
    let range = (any_expression(), any_expression())
        .prop_map(|(low, high)| expression(ExpressionKind::Range(Box::new(low), Box::new(high))));
    prop_oneof![4 => any_expression(), 1 => range]
}

fn any_reference() -> impl Strategy<Value = Reference> {
    let name = (any_word(), any::<bool>()).prop_map(|(word, is_quoted)| (vec![Piece::Text(word)], is_quoted));
    let template = any_text(
        any_leaf()
            .prop_filter("no strings within strings", |e| !matches!(e.kind, ExpressionKind::Text(_)))
            .boxed(),
    );
    let template = template.prop_map(|pieces| (pieces, true));
    prop_oneof![name, template].prop_map(|(pieces, is_quoted)| Reference { pieces, is_quoted, at: at() })
}

fn any_argument() -> impl Strategy<Value = Argument> {
    (prop::option::of(any_name()), any_value()).prop_map(|(name, value)| Argument { name, value })
}

fn any_arguments() -> impl Strategy<Value = Vec<Argument>> {
    prop::collection::vec(any_argument(), 0..4)
}

fn any_repetition() -> impl Strategy<Value = Repetition> {
    (any_expression(), prop::option::of(any_name())).prop_map(|(count, index)| Repetition { count, index })
}

fn any_simple_statement() -> impl Strategy<Value = StatementKind> {
    let extents = || [any_expression(), any_expression(), any_expression()].prop_map(Box::new);
    let layers = prop::collection::vec(any_name(), 1..3);
    let values = prop::collection::vec(any_reference(), 1..3);
    let kind = || select(vec![JoinKind::Add, JoinKind::Concat]);
    prop_oneof![
        (any_name(), any_arguments()).prop_map(|(name, arguments)| StatementKind::Model { name, arguments }),
        (any_name(), any_expression(), prop::option::of(any_value()))
            .prop_map(|(name, default, domain)| StatementKind::Param { name, default, domain }),
        (any_name(), extents(), any_arguments())
            .prop_map(|(name, extents, arguments)| StatementKind::Input { name, extents, arguments }),
        (layers, any_arguments())
            .prop_map(|(layers, arguments)| StatementKind::Default { layers, arguments }),
        (any_name(), any_value()).prop_map(|(name, value)| StatementKind::Let { name, value }),
        any_reference().prop_map(|value| StatementKind::From { value }),
        (kind(), values, prop::option::of(any_reference())).prop_map(|(kind, values, label)| {
            StatementKind::Join { kind, operands: Operands::Values(values), label }
        }),
        (any_name(), any_arguments(), any::<bool>(), prop::option::of(any_reference())).prop_map(
            |(name, arguments, call, label)| StatementKind::Invoke { name, arguments, call, label }
        ),
    ]
}

fn any_parameter() -> impl Strategy<Value = Parameter> {
    (any_name(), prop::option::of(any_expression())).prop_map(|(name, default)| Parameter { name, default })
}

fn any_statement() -> impl Strategy<Value = Statement> {
    let simple = any_simple_statement().prop_map(|kind| Statement { kind, at: at() });
    simple.prop_recursive(3, 12, 3, |inner| {
        let body = prop::collection::vec(inner, 0..3);
        let maybe = prop::option::of(body.clone());
        let label = prop::option::of(any_reference()).boxed();
        let parameters = prop::collection::vec(any_parameter(), 0..3);
        prop_oneof![
            (any_name(), parameters, body.clone())
                .prop_map(|(name, parameters, body)| StatementKind::Block { name, parameters, body }),
            (any_name(), prop::option::of(any_repetition()), body.clone())
                .prop_map(|(name, repeat, body)| StatementKind::Flow { name, repeat, body }),
            (any_repetition(), body.clone())
                .prop_map(|(repeat, body)| StatementKind::Repeat { repeat, body }),
            (any_name(), any_value(), body.clone()).prop_map(|(variable, values, body)| StatementKind::For {
                variable,
                values,
                body
            }),
            (prop::collection::vec((any_expression(), body.clone()), 1..3), maybe.clone())
                .prop_map(|(arms, otherwise)| StatementKind::If { arms, otherwise }),
            (prop::option::of(any_expression()), body.clone(), maybe, label.clone()).prop_map(
                |(condition, body, shortcut, label)| StatementKind::Residual {
                    condition,
                    body,
                    shortcut,
                    label
                }
            ),
            (body.clone(), label).prop_map(|(body, label)| StatementKind::Join {
                kind: JoinKind::Concat,
                operands: Operands::Branches(body),
                label
            }),
            body.prop_map(|body| StatementKind::Branch { body }),
        ]
        .prop_map(|kind| Statement { kind, at: at() })
    })
}

proptest! {
    #[test]
    fn trees_survive_printing(statements in prop::collection::vec(any_statement(), 0..4)) {
        let file = File { statements };
        let printed = file.to_string();
        let (again, errors) = parse(&printed);
        prop_assert!(errors.is_empty(), "{}\n{}", printed, render("printed", &printed, &errors, false));
        prop_assert_eq!(&again, &file, "{}", printed);
    }

    #[test]
    fn values_survive_printing(value in any_value()) {
        let printed = value.to_string();
        prop_assert_eq!(parse_value(&printed).unwrap(), value, "{}", printed);
    }

    /// Texts near to real specs: whatever is said about them is rendered, and it does not take
    /// long.
    #[test]
    fn mutated_specs_are_read_or_refused(
        spec in any::<Index>(),
        edits in prop::collection::vec((any::<Index>(), any::<Index>(), 0..6_u8), 1..8),
    ) {
        let specs = specs();
        let (name, source) = &specs[spec.index(specs.len())];
        let mut tokens = tokens(source);
        for (from, to, edit) in edits {
            let (from, to) = (from.index(tokens.len()), to.index(tokens.len()));
            match edit {
                0 => { tokens.remove(from); }
                1 => tokens.insert(to, tokens[from].clone()),
                2 => tokens.swap(from, to),
                3 => tokens[from] = tokens[to].clone(),
                4 => tokens[from] = "9223372036854775807".to_owned(),
                _ => { tokens[from].pop(); }
            }
            if tokens.is_empty() { tokens.push(String::new()); }
        }
        read_or_refuse(name, &tokens.concat());
    }

    #[test]
    fn random_text_is_read_or_refused(text in "[ -~\n]{0,300}") {
        read_or_refuse("random", &text);
        read_or_refuse("random", &format!("model m\ninput image 8 x 8 x 3\n{text}"));
    }
}

/// Words, runs of blanks and single signs: pieces whose concatenation is the source.
fn tokens(source: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    for c in source.chars() {
        match tokens.last_mut() {
            Some(last) if is_word(c) && last.chars().all(is_word) => last.push(c),
            _ => tokens.push(c.to_string()),
        }
    }
    tokens
}

fn read_or_refuse(name: &str, source: &str) {
    let start = Instant::now();
    let elaborated = read(source, &[]);
    let errors = elaborated.diagnostics.iter().any(|d| d.is_error());
    assert_eq!(elaborated.graph.is_none(), errors, "{source}");
    let text = render(name, source, &elaborated.diagnostics, false);
    assert_eq!(text.is_empty(), elaborated.diagnostics.is_empty());
    assert!(start.elapsed() < Duration::from_secs(10), "{:?} for\n{source}", start.elapsed());
}

/// Texts that are built to take long or to recurse deeply.
#[test]
fn hostile_texts_are_refused() {
    let head = "model m\ninput image 8 x 8 x 3\n";
    let repeated = |piece: &str| piece.repeat(MAX_SOURCE / 4 / piece.len());
    let chain = |operator: &str| vec!["1"; MAX_OPERATORS + 1].join(operator);
    let nested =
        (0..31).fold("1".to_owned(), |inner, _| format!("({inner}{})", " + 1".repeat(MAX_OPERATORS)));
    let mut texts: Vec<String> =
        ["(", "[", "{", "-", "not ", "\"", "\"{", "a{", "if ", "a(", "x as ", "1 x "]
            .into_iter()
            .flat_map(|piece| [repeated(piece), format!("let a = {}", repeated(piece))])
            .collect();
    texts.extend([
        format!("let a = {}\nrelu", chain(" + ")),
        format!("let a = {nested}\nrelu"),
        format!("let a = {}\nrelu", repeated("1 + ")),
        format!("if no {{ }} {} relu", repeated("else if no { }\n")),
        format!("let a = [{}]\nrepeat 1000000 {{ let b = [a == a] }}", repeated("1, ")),
        repeated("relu\n"),
        repeated("relu as x\n"),
        repeated("let a = 1;"),
        repeated("block a() { a() }\n"),
        repeated("param a = 1\n"),
        "repeat 1000000000000000000 { repeat 1000000000000000000 { } }".to_owned(),
        "for i in 1..9223372036854775807 { }".to_owned(),
        "repeat 9999 { depthwise 1x1, multiplier: 2 }".to_owned(),
        "conv 65536, 4096x4096, padding: same, dilation: 4096, strides: 65536".to_owned(),
        "maxpool 1x1, padding: 4000000".to_owned(),
        "conv 4, 3x3, segments: [4294967295, 4294967295, 2]".to_owned(),
    ]);
    for text in texts {
        read_or_refuse("hostile", &format!("{head}{text}"));
    }
}
