//! Name maps: YAML files that say what other tools call the tensors of a network.
//!
//! ```yaml
//! notes:                       # printed when the map is used
//!   - batch norm has epsilon 1e-5 here
//! prefix: module.              # taken off names of the file that begin so, first of all
//! flatten: channels first      # how the file counts a flattened map; a rule may say it, too
//! ignore:                      # tensors to be left out; `*` stands for any text
//!   - "*.num_batches_tracked"
//! rules:                       # the first that fits a tensor's name decides
//!   - from: block{n=2..12}.rep.{k=1,4,7}.conv1.weight
//!     to: block{n+1}_sepconv{k/3+1}/depthwise_kernel
//!     transpose: [2, 3, 0, 1]  # axis i of ours is axis transpose[i] of theirs, as in numpy
//!   - from: head.weight
//!     to: head/pointwise_kernel
//!     transpose: [new, new, 1, 0]  # `new` is an axis of extent 1 that they lack
//! ```
//!
//! `{n=2..12}` and `{k=1,4,7}` stand for one of these whole numbers, `{name=*}` for a run of
//! characters without `.` and `/`. In `to`, `{n}` repeats what was found, and a number may be
//! followed by `+`, `-`, `*`, `/` and whole numbers, computed from left to right, `/` rounding
//! down. A tensor that no rule fits keeps its name.

mod axis;
mod pattern;

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::shown::Shown;
pub use axis::Axis;
use pattern::{Glob, Pattern, Template};

/// Translates the tensor names of another tool to those of a network.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NameMap {
    #[serde(default)]
    notes: Vec<String>,
    #[serde(default)]
    prefix: String,
    flatten: Option<FlattenOrder>,
    #[serde(default)]
    ignore: Vec<Glob>,
    #[serde(default)]
    rules: Vec<Rule>,
}

/// A name map that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("name map: {}{}", Shown(message), at(*.line))]
pub struct NameMapError {
    /// Line of the map, from 1; unknown for a few mistakes of YAML itself.
    pub line: Option<usize>,
    /// What is wrong.
    pub message: String,
}

/// What a map makes of a tensor of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Translation<'a> {
    /// The tensor is to be left out.
    Ignored,
    /// No rule fits: it keeps its name.
    Unchanged,
    /// It has another name.
    Renamed {
        /// The name in the network.
        name: String,
        /// What the rule says of its layout, if a rule fits.
        layout: Option<&'a RuleLayout>,
    },
}

/// The order in which a file counts the elements of a flattened map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum FlattenOrder {
    /// Channel by channel: PyTorch, ONNX.
    #[serde(rename = "channels first")]
    ChannelsFirst,
    /// Pixel by pixel: Keras.
    #[serde(rename = "channels last")]
    ChannelsLast,
}

/// What a rule says of a tensor's layout.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleLayout {
    /// The order of axes, if it is another one or if the network has more of them.
    pub transpose: Option<Vec<Axis>>,
    /// The order of elements behind a flatten.
    pub flatten: Option<FlattenOrder>,
}

#[derive(Clone, Debug)]
struct Rule {
    from: Pattern,
    to: Template,
    layout: RuleLayout,
}

/// A rule as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleText {
    from: String,
    to: String,
    transpose: Option<Vec<Axis>>,
    flatten: Option<FlattenOrder>,
}

impl TryFrom<RuleText> for Rule {
    type Error = String;

    fn try_from(text: RuleText) -> Result<Self, String> {
        let from = Pattern::parse(&text.from)?;
        let to = Template::parse(&text.to, &from)?;
        text.transpose.as_deref().map_or(Ok(()), axis::check)?;
        Ok(Rule { from, to, layout: RuleLayout { transpose: text.transpose, flatten: text.flatten } })
    }
}

impl<'de> Deserialize<'de> for Rule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(RuleVisitor)
    }
}

/// Reads a rule. Mistakes are found inside the visit of the mapping, which gives them its line.
struct RuleVisitor;

impl<'de> Visitor<'de> for RuleVisitor {
    type Value = Rule;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a rule with `from` and `to`")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Rule, A::Error> {
        let text = RuleText::deserialize(MapAccessDeserializer::new(map))?;
        Rule::try_from(text).map_err(A::Error::custom)
    }
}

impl NameMap {
    /// Reads a map from YAML. The error gives the line of the rule at fault.
    pub fn from_yaml(text: &str) -> Result<NameMap, NameMapError> {
        serde_yaml::from_str(text).map_err(|error| {
            let line = error.location().map(|location| location.line());
            // The position is kept apart; YAML's own errors also write it into their text.
            let message = error.to_string();
            let message = message.split(" at line ").next().unwrap_or(&message).to_owned();
            NameMapError { line, message }
        })
    }

    /// What somebody who uses the map should know: differences in arithmetic, for instance.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// True if the map translates names, rather than only leaving tensors out.
    pub fn has_rules(&self) -> bool {
        !self.rules.is_empty() || !self.prefix.is_empty()
    }

    /// True if the tensor `name` of a file is to be left out.
    pub fn ignores(&self, name: &str) -> bool {
        let short = name.strip_prefix(self.prefix.as_str()).unwrap_or(name);
        self.ignore.iter().any(|glob| glob.matches(short) || glob.matches(name))
    }

    /// How the file counts flattened maps, where no rule says otherwise.
    pub fn flatten(&self) -> Option<FlattenOrder> {
        self.flatten
    }

    /// True if a rule changes the order of axes, as maps for PyTorch's files do.
    pub fn transposes(&self) -> bool {
        let turns = |axes: &Vec<Axis>| !axes.iter().filter_map(|axis| axis.of_file()).is_sorted();
        self.rules.iter().any(|rule| rule.layout.transpose.as_ref().is_some_and(turns))
    }

    /// What becomes of the tensor `name` of a file.
    pub fn translate(&self, name: &str) -> Translation<'_> {
        let short = name.strip_prefix(self.prefix.as_str()).unwrap_or(name);
        if self.ignores(name) {
            return Translation::Ignored;
        }
        let fitting = self.rules.iter().find_map(|rule| Some((rule, rule.from.captures(short)?)));
        match fitting {
            None if short == name => Translation::Unchanged,
            None => Translation::Renamed { name: short.to_owned(), layout: None },
            Some((rule, captures)) => {
                Translation::Renamed { name: rule.to.fill(&captures), layout: Some(&rule.layout) }
            }
        }
    }
}

fn at(line: Option<usize>) -> String {
    line.map(|line| format!(" (line {line})")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: &str = "\
notes: [epsilon differs]
ignore: ['*.num_batches_tracked', 'aux.*']
rules:
  - from: block{n=2..12}.rep.{k=1,4,7}.conv1.weight
    to: block{n+1}_sepconv{k/3+1}/depthwise_kernel
    transpose: [2, 3, 0, 1]
  - from: '{layer=*}.weight'
    to: '{layer}/kernel'
";

    fn renamed(name: &str) -> Option<(String, Option<Vec<Axis>>)> {
        match NameMap::from_yaml(MAP).unwrap().translate(name) {
            Translation::Renamed { name, layout } => {
                Some((name, layout.and_then(|layout| layout.transpose.clone())))
            }
            _ => None,
        }
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let axes = Some([2, 3, 0, 1].map(Axis::OfFile).to_vec());
        assert_eq!(
            renamed("block2.rep.1.conv1.weight"),
            Some(("block3_sepconv1/depthwise_kernel".into(), axes.clone()))
        );
        assert_eq!(
            renamed("block12.rep.7.conv1.weight"),
            Some(("block13_sepconv3/depthwise_kernel".into(), axes))
        );
        assert_eq!(renamed("stem.weight"), Some(("stem/kernel".into(), None)));
        for other in [
            "block1.rep.1.conv1.weight",
            "block2.rep.2.conv1.weight",
            "block02.rep.1.conv1.weight",
            "a.b.weight",
        ] {
            assert_eq!(renamed(other), None, "{other}");
        }
    }

    #[test]
    fn ignored_names_never_reach_a_rule() {
        let map = NameMap::from_yaml(MAP).unwrap();
        assert_eq!(map.translate("bn1.num_batches_tracked"), Translation::Ignored);
        assert_eq!(map.translate("aux.weight"), Translation::Ignored);
        assert_eq!(map.translate("bn1.num_batches_tracked_"), Translation::Unchanged);
        assert_eq!(map.notes(), ["epsilon differs"]);
    }

    #[test]
    fn a_prefix_is_taken_off_before_anything_else() {
        let map = "prefix: module.\nignore: [aux.*]\nrules: [{from: fc.weight, to: fc/kernel, transpose: [new, 1, 0], \
                   flatten: channels first}]";
        let map = NameMap::from_yaml(map).unwrap();
        let layout = RuleLayout {
            transpose: Some(vec![Axis::New, Axis::OfFile(1), Axis::OfFile(0)]),
            flatten: Some(FlattenOrder::ChannelsFirst),
        };
        let fc = Translation::Renamed { name: "fc/kernel".into(), layout: Some(&layout) };
        assert_eq!(map.translate("module.fc.weight"), fc);
        assert_eq!(map.translate("fc.weight"), fc);
        assert_eq!(map.translate("module.aux.weight"), Translation::Ignored);
        assert_eq!(map.translate("module.x"), Translation::Renamed { name: "x".into(), layout: None });
        assert_eq!(
            map.translate("module.module.x"),
            Translation::Renamed { name: "module.x".into(), layout: None }
        );
        assert_eq!(map.translate("x"), Translation::Unchanged);
        assert!(map.transposes());
        assert!(
            !NameMap::from_yaml("rules: [{from: a, to: b, transpose: [new, 0, 1]}]").unwrap().transposes()
        );
    }

    fn error(rule: &str) -> String {
        NameMap::from_yaml(&format!("rules:\n  - from: a\n    to: b\n{rule}")).unwrap_err().to_string()
    }

    #[test]
    fn mistakes_are_reported_with_their_line() {
        for (rule, expected) in [
            ("  - {from: 'a{n=1..3', to: b}", "`a{n=1..3`: `{` is never closed (line 4)"),
            ("  - {from: 'a{n=5..3}', to: b}", "`5..3` is empty: write the smaller number first (line 4)"),
            (
                "  - {from: 'a{n=x}', to: b}",
                "`n=x`: after `=` come whole numbers, as in `1..4` or `1,3`, or `*` (line 4)",
            ),
            (
                "  - {from: 'a{n}', to: b}",
                "`{n}` needs to say what it stands for, as in `{n=1..4}` or `{n=*}` (line 4)",
            ),
            ("  - {from: 'a{n=1,2}', to: 'b{m}'}", "`{m}` is not in `a{n=1,2}`, which has n (line 4)"),
            ("  - {from: 'a', to: 'b{m}'}", "`{m}` is not in `a`, which has nothing to repeat (line 4)"),
            ("  - {from: 'a{n=1,2}', to: 'b{n+}'}", "`{n+}`: `+` needs a whole number after it (line 4)"),
            ("  - {from: 'a{n=1,2}', to: 'b{n/0}'}", "`{n/0}` divides by zero (line 4)"),
            ("  - {from: 'a{n=*}', to: 'b{n+1}'}", "`{n+1}` computes with text: `n` stands for `*` (line 4)"),
            ("  - {from: '{a=*}{b=*}', to: 'b'}", "`{a=*}` must be followed by `.`, `/` or the end (line 4)"),
            ("  - {from: '{n=1,2}{n=1,2}', to: 'b'}", "`n` is there twice (line 4)"),
            (
                "  - {from: a, to: b, transpose: [1, 1]}",
                "`transpose: [1, 1]` must hold each of [0, 1] once (line 4)",
            ),
            (
                "  - {from: a, to: b, transpose: [new, 2, 0]}",
                "`transpose: [new, 2, 0]` must hold each of [0, 1] once (line 4)",
            ),
        ] {
            let text = error(rule);
            assert!(text.ends_with(expected), "{rule}\n  gives    {text}\n  expected {expected}");
        }
        assert!(error("  - {fro: a, to: b}").contains("unknown field `fro`"));
        for (rule, expected) in [
            ("  - {from: a, to: b, transpose: [0, old]}", "an axis of the file, from 0, or `new`"),
            ("  - {from: a, to: b, transpose: [-1, 0]}", "an axis of the file, from 0, or `new`"),
            ("  - {from: a, to: b, flatten: CHW}", "expected `channels first` or `channels last`"),
        ] {
            assert!(error(rule).contains(expected), "{}", error(rule));
        }
        let text = error("  - {from: \"a{n=\\e[2J}\", to: b}");
        assert!(text.contains("`n=\\u{1b}[2J`: after"), "{text}");
        assert!(error("  - {from: a}").contains("missing field `to`"));
        assert!(error("  - {from: [").contains("(line "), "{}", error("  - {from: ["));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,80}", name in "\\PC{0,20}") {
            for yaml in [text.clone(), format!("rules: [{{from: '{text}', to: '{name}'}}]")] {
                if let Ok(map) = NameMap::from_yaml(&yaml) {
                    map.translate(&name);
                }
            }
        }

        #[test]
        fn globs_agree_with_their_definition(glob in "[ab*]{0,8}", name in "[ab]{0,8}") {
            fn fits(glob: &[u8], name: &[u8]) -> bool {
                match (glob.first(), name.first()) {
                    (None, None) => true,
                    (Some(b'*'), _) => fits(&glob[1..], name) || (!name.is_empty() && fits(glob, &name[1..])),
                    (Some(a), Some(b)) => a == b && fits(&glob[1..], &name[1..]),
                    _ => false,
                }
            }
            let expected = fits(glob.as_bytes(), name.as_bytes());
            proptest::prop_assert_eq!(Glob::from(glob).matches(&name), expected);
        }
    }
}
