//! Patterns of a name map. Matching takes linear time: nothing ever backs up further than to the
//! last `*`.

use serde::Deserialize;

/// Text in which `*` stands for any run of characters.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "String")]
pub(super) struct Glob {
    /// What lies between the asterisks, in order.
    pieces: Vec<String>,
}

impl From<String> for Glob {
    fn from(text: String) -> Self {
        Glob { pieces: text.split('*').map(str::to_owned).collect() }
    }
}

impl Glob {
    /// Whether the whole of `name` fits.
    pub fn matches(&self, name: &str) -> bool {
        let Some((first, rest)) = self.pieces.split_first() else { return false };
        let Some((last, middle)) = rest.split_last() else { return name == first };
        let inner = name.strip_prefix(first.as_str()).and_then(|name| name.strip_suffix(last.as_str()));
        let Some(mut inner) = inner else { return false };
        for piece in middle {
            match inner.find(piece.as_str()) {
                Some(at) => inner = &inner[at + piece.len()..],
                None => return false,
            }
        }
        true
    }
}

/// Text with holes that stand for numbers or for a component of a name.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    source: String,
    pieces: Vec<Piece<Hole>>,
}

/// A part of a pattern or template.
#[derive(Clone, Debug)]
enum Piece<H> {
    Text(String),
    Hole(H),
}

/// A named part of a pattern.
#[derive(Clone, Debug)]
struct Hole {
    name: String,
    legal: Legal,
}

/// What a hole stands for.
#[derive(Clone, Debug)]
enum Legal {
    /// A number in this range, without leading zeros.
    Range(u32, u32),
    /// One of these numbers, without leading zeros.
    OneOf(Vec<u32>),
    /// As many characters as there are before the next `.` or `/`, at least one.
    Component,
}

/// What a hole stood for.
#[derive(Clone, Debug)]
pub(super) enum Capture {
    Number(u32),
    Text(String),
}

impl Pattern {
    /// Reads a pattern such as `block{n=2..12}.rep.{k=1,4,7}.weight`.
    pub fn parse(source: &str) -> Result<Self, String> {
        let pieces = split(source)?.into_iter().map(parse_hole).collect::<Result<Vec<_>, _>>()?;
        for (at, piece) in pieces.iter().enumerate() {
            let Piece::Hole(hole) = piece else { continue };
            check_end(hole, pieces.get(at + 1))?;
            let same = |piece: &&Piece<Hole>| matches!(piece, Piece::Hole(other) if other.name == hole.name);
            if pieces.iter().filter(same).count() > 1 {
                return Err(format!("`{}` is there twice", hole.name));
            }
        }
        Ok(Pattern { source: source.to_owned(), pieces })
    }

    /// What each hole stands for when the whole of `name` fits.
    pub fn captures(&self, mut name: &str) -> Option<Vec<Capture>> {
        let mut captures = Vec::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => name = name.strip_prefix(text.as_str())?,
                Piece::Hole(hole) => {
                    let (capture, rest) = hole.legal.take(name)?;
                    captures.push(capture);
                    name = rest;
                }
            }
        }
        name.is_empty().then_some(captures)
    }

    fn holes(&self) -> impl Iterator<Item = &Hole> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Hole(hole) => Some(hole),
            Piece::Text(_) => None,
        })
    }
}

impl Legal {
    /// Takes the longest run of fitting characters off `name`.
    fn take<'a>(&self, name: &'a str) -> Option<(Capture, &'a str)> {
        let inside = |c: char| match self {
            Legal::Component => c != '.' && c != '/',
            _ => c.is_ascii_digit(),
        };
        let (run, rest) = name.split_at(name.find(|c| !inside(c)).unwrap_or(name.len()));
        let number = || run.parse().ok().filter(|number: &u32| number.to_string() == run);
        let capture = match self {
            Legal::Component => (!run.is_empty()).then(|| Capture::Text(run.to_owned())),
            Legal::Range(low, high) => number().filter(|n| (low..=high).contains(&n)).map(Capture::Number),
            Legal::OneOf(list) => number().filter(|n| list.contains(n)).map(Capture::Number),
        };
        Some((capture?, rest))
    }
}

/// Text with holes to be filled by what a pattern found.
#[derive(Clone, Debug)]
pub(super) struct Template {
    pieces: Vec<Piece<Expression>>,
}

/// A capture, and what is computed from it.
#[derive(Clone, Debug)]
struct Expression {
    /// Which hole of the pattern.
    capture: usize,
    /// Operators with their right operands, first to last.
    steps: Vec<(char, i64)>,
}

impl Template {
    /// Reads a template such as `block{n+1}_sepconv{k/3+1}/kernel` for what `pattern` finds.
    pub fn parse(source: &str, pattern: &Pattern) -> Result<Self, String> {
        let pieces = split(source)?.into_iter().map(|piece| {
            Ok(match piece {
                Piece::Text(text) => Piece::Text(text),
                Piece::Hole(inner) => Piece::Hole(Expression::parse(&inner, pattern)?),
            })
        });
        Ok(Template { pieces: pieces.collect::<Result<_, String>>()? })
    }

    /// The text for what the pattern found.
    pub fn fill(&self, captures: &[Capture]) -> String {
        let text = |piece: &Piece<Expression>| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Hole(expression) => expression.fill(captures),
        };
        self.pieces.iter().map(text).collect()
    }
}

impl Expression {
    fn parse(inner: &str, pattern: &Pattern) -> Result<Self, String> {
        let is_operator = |c: char| "+-*/".contains(c);
        let (name, operations) = inner.split_at(inner.find(is_operator).unwrap_or(inner.len()));
        let known: Vec<&str> = pattern.holes().map(|hole| hole.name.as_str()).collect();
        let capture = known.iter().position(|known| *known == name.trim()).ok_or_else(|| {
            let known = if known.is_empty() { "nothing to repeat".to_owned() } else { known.join(", ") };
            format!("`{{{}}}` is not in `{}`, which has {known}", name.trim(), pattern.source)
        })?;
        let textual = pattern.holes().nth(capture).is_some_and(|hole| matches!(hole.legal, Legal::Component));
        if textual && !operations.is_empty() {
            return Err(format!("`{{{inner}}}` computes with text: `{}` stands for `*`", name.trim()));
        }
        Ok(Expression { capture, steps: parse_steps(inner, operations)? })
    }

    fn fill(&self, captures: &[Capture]) -> String {
        match captures.get(self.capture) {
            Some(Capture::Number(number)) => self
                .steps
                .iter()
                .fold(i64::from(*number), |value, &(op, by)| apply(op, value, by))
                .to_string(),
            Some(Capture::Text(text)) => text.clone(),
            None => String::new(),
        }
    }
}

fn apply(operator: char, value: i64, by: i64) -> i64 {
    match operator {
        '+' => value.saturating_add(by),
        '-' => value.saturating_sub(by),
        '*' => value.saturating_mul(by),
        // Zero is refused when the template is read.
        _ => value.div_euclid(by.max(1)),
    }
}

/// Operators and operands of `operations`, which starts with an operator unless it is empty.
fn parse_steps(inner: &str, mut operations: &str) -> Result<Vec<(char, i64)>, String> {
    let mut steps = Vec::new();
    while let Some(operator) = operations.chars().next() {
        let rest = &operations[operator.len_utf8()..];
        let (operand, rest) = rest.split_at(rest.find(|c| "+-*/".contains(c)).unwrap_or(rest.len()));
        let by: u32 = operand
            .trim()
            .parse()
            .map_err(|_| format!("`{{{inner}}}`: `{operator}` needs a whole number after it"))?;
        if operator == '/' && by == 0 {
            return Err(format!("`{{{inner}}}` divides by zero"));
        }
        steps.push((operator, i64::from(by)));
        operations = rest;
    }
    Ok(steps)
}

/// Cuts `source` at its braces; holes keep what is between them.
fn split(source: &str) -> Result<Vec<Piece<String>>, String> {
    let mut pieces = Vec::new();
    let mut rest = source;
    while let Some((text, after)) = rest.split_once('{') {
        let Some((inner, tail)) = after.split_once('}') else {
            return Err(format!("`{source}`: `{{` is never closed"));
        };
        pieces.push(Piece::Text(text.to_owned()));
        pieces.push(Piece::Hole(inner.to_owned()));
        rest = tail;
    }
    pieces.push(Piece::Text(rest.to_owned()));
    pieces.retain(|piece| !matches!(piece, Piece::Text(text) if text.is_empty()));
    Ok(pieces)
}

fn parse_hole(piece: Piece<String>) -> Result<Piece<Hole>, String> {
    let inner = match piece {
        Piece::Text(text) => return Ok(Piece::Text(text)),
        Piece::Hole(inner) => inner,
    };
    let Some((name, legal)) = inner.split_once('=') else {
        return Err(format!(
            "`{{{inner}}}` needs to say what it stands for, as in `{{{inner}=1..4}}` or `{{{inner}=*}}`"
        ));
    };
    Ok(Piece::Hole(Hole { name: name.trim().to_owned(), legal: parse_legal(&inner, legal.trim())? }))
}

fn parse_legal(inner: &str, legal: &str) -> Result<Legal, String> {
    let number = |text: &str| {
        text.trim()
            .parse::<u32>()
            .map_err(|_| format!("`{inner}`: after `=` come whole numbers, as in `1..4` or `1,3`, or `*`"))
    };
    if legal == "*" {
        return Ok(Legal::Component);
    }
    let Some((low, high)) = legal.split_once("..") else {
        return Ok(Legal::OneOf(legal.split(',').map(number).collect::<Result<_, _>>()?));
    };
    match (number(low)?, number(high)?) {
        (low, high) if low > high => Err(format!("`{legal}` is empty: write the smaller number first")),
        (low, high) => Ok(Legal::Range(low, high)),
    }
}

/// A run of text ends at `.` or `/`, so nothing else may follow it.
fn check_end(hole: &Hole, next: Option<&Piece<Hole>>) -> Result<(), String> {
    let ends = match next {
        None => true,
        Some(Piece::Text(text)) => text.starts_with(['.', '/']),
        Some(Piece::Hole(_)) => false,
    };
    if ends || !matches!(hole.legal, Legal::Component) {
        return Ok(());
    }
    Err(format!("`{{{}=*}}` must be followed by `.`, `/` or the end", hole.name))
}
