//! What is said about text that the grammar does not match.

use pest::Parser;
use pest::error::{Error, ErrorVariant, InputLocation};

use super::limits::{MAX_ARGUMENTS, MAX_NAME, MAX_OPERATORS};
use super::{Grammar, Rule};
use crate::diagnostic::{Diagnostic, Span, shorten};

/// A statement that cannot be read: `head` is its text before any `{`, `whole` the same with the
/// block behind it, and `base` where both start.
pub fn explain(head: &str, whole: &str, base: usize) -> Diagnostic {
    let word = first_word(head);
    let (rule, text) = match word {
        "model" => (Rule::only_model, head),
        "param" => (Rule::only_param, head),
        "input" => (Rule::only_input, head),
        "default" if whole.contains('{') => (Rule::only_default, whole),
        "default" => (Rule::default_head, head),
        "block" => (Rule::only_block, head),
        "flow" => (Rule::only_flow, head),
        "repeat" => (Rule::only_repeat, head),
        "for" => (Rule::only_for, head),
        "if" => (Rule::only_if, head),
        "let" => (Rule::only_let, head),
        "residual" => (Rule::only_residual, head),
        "concat" | "add" => (Rule::only_join, head),
        "branch" => (Rule::only_branch, head),
        "from" => (Rule::only_from, head),
        "else" | "shortcut" => return misplaced(word, base),
        _ => (Rule::only_invoke, head),
    };
    match Grammar::parse(rule, text) {
        Err(error) => expected(text, base, &error, word),
        Ok(_) => missing_block(head, base, word),
    }
}

/// A value that cannot be read.
pub fn explain_value(text: &str, base: usize, error: &Error<Rule>) -> Diagnostic {
    expected(text, base, error, "")
}

/// A statement that starts at `start` of `text` on the line of the one before it, with which
/// `text` begins.
pub fn run_on(text: &str, base: usize, start: usize) -> Diagnostic {
    let found = token(&text[start..]);
    if found == "as" {
        return bad_name(text, base, start + found.len());
    }
    let head = text.split('{').next().unwrap_or_default();
    if found == "(" && first_word(text).len() == text[..start].trim_end().len() {
        // Parentheses right behind a word hold arguments: what is wrong stands between them.
        if let Err(error) = Grammar::parse(Rule::only_invoke, head) {
            return expected(head, base, &error, "");
        }
    }
    let message = format!("expected the end of the statement, found `{}`", shorten(found));
    let error = Diagnostic::error("E0111", message).at(
        Span::new(base + start, base + start + found.len()),
        "does not belong to the statement before it",
    );
    match sign_hint(found, "") {
        Some(hint) => error.suggest(hint),
        None => {
            error.suggest("separate statements by a new line or `;`, and the values of a layer by commas")
        }
    }
}

/// What stands behind an `as`, which ends before `at`, instead of a name.
fn bad_name(text: &str, base: usize, at: usize) -> Diagnostic {
    let at = at + text[at..].len() - text[at..].trim_start_matches([' ', '\t']).len();
    let word = text[at..].split(['\n', ' ', '\t', ';', '{', '}', '#', ',', '(']).next().unwrap_or_default();
    let span = Span::new(base + at, base + at + word.len());
    if is_keyword(word) {
        return Diagnostic::error("E0208", format!("`{word}` is a word of the language"))
            .at(span, "choose another name")
            .suggest(format!("in quotation marks it is a name: `\"{word}\"`"));
    }
    let found =
        if word.is_empty() { "the end of the line".to_owned() } else { format!("`{}`", shorten(word)) };
    Diagnostic::error("E0101", format!("expected a name after `as`, found {found}"))
        .at(span, "expected a name")
        .suggest("names are letters from a to z, digits and `_`")
}

/// Braces without a word before them.
pub fn bare_block(brace: Span) -> Diagnostic {
    Diagnostic::error("E0101", "these braces belong to no statement")
        .at(brace, "expected a word such as `residual`, `branch` or `repeat 2` before")
}

/// An expression with more operators than are read.
pub fn too_many_operators(span: Span, operators: usize) -> Diagnostic {
    Diagnostic::error(
        "E0110",
        format!("{operators} operators in one expression; at most {MAX_OPERATORS} are read"),
    )
    .at(span, "too long")
    .suggest("name parts of it with `let`")
}

/// A statement with more arguments, or a block with more parameters, than are read.
pub fn too_many_arguments(span: Span, count: usize) -> Diagnostic {
    let message = format!("{count} arguments in one statement; at most {MAX_ARGUMENTS} are read");
    Diagnostic::error("E0112", message).at(span, "starts here")
}

/// A name of more bytes than are read.
pub fn long_name(span: Span, length: usize) -> Diagnostic {
    Diagnostic::error("E0113", format!("a name of {length} bytes; at most {MAX_NAME} are read"))
        .at(Span { end: span.start + 1, ..span }, "starts here")
}

/// A number that no variable can hold.
pub fn large_number(span: Span) -> Diagnostic {
    Diagnostic::error("E0108", "this number is too large")
        .at(span, "cannot be represented")
        .note("integers go up to 9223372036854775807, sides of a window up to 4096, floats up to 1.8e308")
}

/// A backslash in a string before something that it cannot stand before.
pub fn bad_escape(start: usize, found: Option<char>) -> Diagnostic {
    let found = found.map(String::from).unwrap_or_default();
    Diagnostic::error("E0109", format!("unknown escape `\\{found}` in a string"))
        .at(Span::new(start, start + 1 + found.len()), "not an escape")
        .suggest("write `\\\\` for a backslash, `\\\"` for a quotation mark, `\\n` for a new line")
}

/// A `{` in a string that no `}` ends.
pub fn open_hole(start: usize) -> Diagnostic {
    Diagnostic::error("E0109", "this `{` in a string has no `}`")
        .at(Span::new(start, start + 1), "starts a value to be filled in")
        .suggest("write `{{` for a brace")
}

/// A `}` in a string that ends nothing.
pub fn lone_brace(start: usize) -> Diagnostic {
    Diagnostic::error("E0109", "this `}` in a string ends nothing")
        .at(Span::new(start, start + 1), "no `{` before it")
        .suggest("write `}}` for a brace")
}

fn misplaced(word: &str, base: usize) -> Diagnostic {
    let owner = if word == "else" { "if" } else { "residual" };
    Diagnostic::error("E0101", format!("`{word}` without `{owner}`"))
        .at(Span::new(base, base + word.len()), format!("expected right behind the braces of `{owner}`"))
}

fn missing_block(head: &str, base: usize, word: &str) -> Diagnostic {
    let end = base + head.trim_end().len();
    Diagnostic::error("E0101", format!("expected `{{` after `{word}`, found the end of the line"))
        .at(Span::new(end, end), "expected `{` here")
}

fn expected(text: &str, base: usize, error: &Error<Rule>, word: &str) -> Diagnostic {
    let at = match error.location {
        InputLocation::Pos(at) | InputLocation::Span((at, _)) => at.min(text.len()),
    };
    let at = at + text[at..].len() - text[at..].trim_start_matches([' ', '\t']).len();
    let found = token(&text[at..]);
    let shown = match found {
        "" => "the end of the line".to_owned(),
        found => format!("`{}`", shorten(found)),
    };
    let wanted = wanted(error);
    let mut message = format!("expected {wanted}, found {shown}");
    if wanted.is_empty() {
        message = format!("unexpected {}", shown.as_str());
    }
    Diagnostic::error("E0101", message)
        .at(
            Span::new(base + at, base + at + found.len()),
            if wanted.is_empty() { String::new() } else { format!("expected {wanted}") },
        )
        .suggest_if(argument_hint(text, at, word).or_else(|| hint(found, word, &wanted)))
}

/// What could stand at the place of an error, in words.
fn wanted(error: &Error<Rule>) -> String {
    let ErrorVariant::ParsingError { positives, .. } = &error.variant else { return String::new() };
    let mut words: Vec<&str> = positives.iter().filter_map(|rule| describe(*rule)).collect();
    words.sort_unstable();
    words.dedup();
    if words.len() > 1 {
        words.retain(|w| *w != "an operator");
    }
    match words.split_last() {
        None => String::new(),
        Some((only, [])) => (*only).to_owned(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
    }
}

fn describe(rule: Rule) -> Option<&'static str> {
    use Rule::*;
    Some(match rule {
        identifier | argument_name => "a name",
        value | expression | operation | conditional | list | call | window | float | number | string
        | yes | no | full | argument | not | minus => "a value",
        extent | integer => "a size",
        or | and | eq | ne | le | ge | lt | gt | add | subtract | multiply | divide | remainder => {
            "an operator"
        }
        equals => "`=`",
        colon => "`:`",
        comma => "`,`",
        cross => "`x`",
        kw_in => "`in`",
        kw_as | label => "`as`",
        kw_then => "`then`",
        kw_else => "`else`",
        kw_if => "`if`",
        kw_repeat | repetition => "`repeat`",
        parameters | call_arguments => "`(`",
        reference | values => "a name",
        EOI => "the end of the statement",
        _ => return None,
    })
}

fn hint(found: &str, word: &str, wanted: &str) -> Option<String> {
    if let Some(hint) = sign_hint(found, word) {
        return Some(hint);
    }
    if wanted.contains("a name") && is_keyword(found) {
        return Some(format!("`{found}` is a word of the language; choose another name"));
    }
    if wanted == "`else`" {
        return Some("write it like `if order == spatial_first then channels else width`".to_owned());
    }
    let example = match word {
        "model" => "model xception",
        "param" => "param size = 299 in 71..2048",
        "input" => "input image 299 x 299 x 3, range: -1..1",
        "default" => "default conv, sepconv { bias: no, padding: same }",
        "block" => "block unit(width, seg = full) { ... }",
        "flow" => "flow middle repeat 8 as i { ... }",
        "repeat" => "repeat 8 as i { ... }",
        "for" => "for width in [128, 256, 728] { ... }",
        "if" => "if residuals { ... } else { ... }",
        "let" => "let width = 2 * channels",
        "residual" => "residual { ... } shortcut { ... } as add_1",
        "concat" => "concat { branch { ... } branch { ... } }",
        "add" => "add a, b as sum",
        "from" => "from image",
        _ => return None,
    };
    Some(format!("write it like `{example}`"))
}

/// How to write a keyword argument or a pair of Python's, found at `at`.
fn argument_hint(text: &str, at: usize, word: &str) -> Option<String> {
    let (before, behind) = text.split_at_checked(at)?;
    if behind.starts_with('=') && !behind.starts_with("==") {
        return assigned_hint(before, &behind[1..], word);
    }
    let inner = &before[before.rfind('(')? + 1..];
    let second = behind.strip_prefix(',')?.split(')').next()?.trim();
    let is_side = |side: &str| !side.is_empty() && side.bytes().all(|b| b.is_ascii_digit());
    let first = inner.trim();
    (is_side(first) && is_side(second))
        .then(|| format!("a pair is written `{first}x{second}` or `[{first}, {second}]`"))
}

/// `epsilon: 1e-5` for `epsilon=1e-5`.
fn assigned_hint(before: &str, behind: &str, word: &str) -> Option<String> {
    if matches!(word, "if" | "residual" | "let" | "param" | "for") {
        return None;
    }
    let name = before.trim_end();
    let name = &name[name.rfind(|c: char| !c.is_ascii_alphanumeric() && c != '_').map_or(0, |n| n + 1)..];
    let value = behind.split([',', ')', '\n', ';', '}', '#']).next()?.trim();
    let is_plain = !name.is_empty() && !value.is_empty() && !value.contains(['(', '[', '"', '=']);
    let is_short = name.len() + value.len() < 60;
    (is_plain && is_short).then(|| format!("attributes are written `{name}: {value}`"))
}

/// Signs of other languages.
fn sign_hint(found: &str, word: &str) -> Option<String> {
    let hint = match found {
        "=" if matches!(word, "if" | "residual") => "`==` compares two values",
        "=" if !matches!(word, "let" | "param" | "for") => "attributes are written `name: value`",
        "&&" | "&" => "write `and`",
        "||" | "|" => "write `or`",
        "!" => "write `not`",
        "//" | "/*" => "comments start with `#`",
        "'" => "strings are written in double quotation marks",
        _ => return None,
    };
    Some(hint.to_owned())
}

fn is_keyword(word: &str) -> bool {
    !word.is_empty() && matches!(Grammar::parse(Rule::keyword, word), Ok(pairs) if pairs.as_str() == word)
}

/// What a statement that cannot be read was meant to declare.
pub fn declared_name(head: &str) -> Option<&str> {
    let word = first_word(head);
    let rest = head.trim_start().strip_prefix(word)?;
    let name = first_word(rest);
    (matches!(word, "param" | "let" | "block") && !name.is_empty()).then_some(name)
}

/// The name that `width = 3` or `parm width = 3` declares; `rest` starts with the sign.
pub fn assigned_name<'a>(head: &'a str, rest: &str) -> Option<&'a str> {
    let is_assigned = rest.starts_with('=') && !rest.starts_with("==");
    let words = head.split_whitespace().count();
    let name = head.split_whitespace().next_back()?;
    (is_assigned && words <= 2 && first_word(name) == name).then_some(name)
}

fn first_word(text: &str) -> &str {
    let text = text.trim_start();
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

/// The token that `text` starts with: a word, a sign, or one character; nothing at the end of a
/// line.
fn token(text: &str) -> &str {
    let word = first_word(text);
    if !word.is_empty() && text.starts_with(word) {
        return word;
    }
    let first = text.chars().next().filter(|c| *c != '\n').map_or(0, char::len_utf8);
    let signs = ["&&", "||", "//", "/*", "==", "!=", "<=", ">=", "..", "**", "->"];
    signs.into_iter().find(|s| text.starts_with(s)).unwrap_or(&text[..first])
}
