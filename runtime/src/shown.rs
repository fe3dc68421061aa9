//! Text from files and arguments, made fit for a terminal: control characters are shown, not
//! obeyed.

use std::fmt::{self, Display, Write};
use std::path::Path;

use xcc_compiler::diagnostic::is_terminal_control;

/// Prints what it holds with control characters and marks of writing direction as escapes, such as
/// `\u{1b}`.
///
/// The output is one line: line breaks print as `\n` and `\r`. Other text is unchanged.
pub struct Shown<T>(pub T);

impl<T: Display> Display for Shown<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{}", self.0)
    }
}

/// A path, fit to be shown.
pub fn path(path: &Path) -> Shown<std::path::Display<'_>> {
    Shown(path.display())
}

/// Writes to a formatter and escapes on the way.
struct Escaping<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.find(is_unsafe) {
            let (plain, tail) = rest.split_at(at);
            self.0.write_str(plain)?;
            let mut characters = tail.chars();
            characters.next().iter().try_for_each(|c| write!(self.0, "{}", c.escape_default()))?;
            rest = characters.as_str();
        }
        self.0.write_str(rest)
    }
}

/// True for characters that command a terminal or break the line.
fn is_unsafe(character: char) -> bool {
    matches!(character, '\t' | '\n') || is_terminal_control(character)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn controls_are_escaped_and_other_text_is_unchanged() {
        for (text, shown) in [
            ("block2/kernel", "block2/kernel"),
            ("Größe ⊕ 重み", "Größe ⊕ 重み"),
            ("\u{1b}[31mred\u{7}", "\\u{1b}[31mred\\u{7}"),
            ("a\nb\r\tc", "a\\nb\\r\\tc"),
            ("x\u{9b}2J\u{202e}y\u{7f}", "x\\u{9b}2J\\u{202e}y\\u{7f}"),
            ("it's \"quoted\" \\", "it's \"quoted\" \\"),
        ] {
            assert_eq!(Shown(text).to_string(), shown);
        }
    }

    proptest! {
        #[test]
        fn output_has_no_control_character(text in any::<String>()) {
            prop_assert!(!Shown(&text).to_string().chars().any(is_unsafe));
        }
    }
}
