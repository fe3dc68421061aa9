//! Names of the classes: read from the spec and compared with its result.

use std::fmt::Display;

use super::attributes::Attributes;
use super::report::Reported;
use super::value::Value;
use super::{Elaborator, Operand};
use crate::diagnostic::{Diagnostic, Span};
use crate::graph::Labels;

/// A file of labels that a spec names. The compiler does not read files; whoever does makes the
/// diagnostics here of what is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelFile {
    /// Its path as written, which starts at the spec's folder.
    pub path: String,
    /// Where it is written.
    pub span: Span,
    /// Elements of the network's result: as many labels must be in the file. `None` after a
    /// mistake that keeps them from being known.
    pub classes: Option<u64>,
}

impl LabelFile {
    /// The file cannot be read.
    pub fn unreadable(&self, reason: impl Display) -> Diagnostic {
        Diagnostic::error("E0514", format!("cannot read {reason}"))
            .at(self.span, "no list of labels")
            .note("the path starts at the folder of the spec; the file has one label a line")
    }

    /// The file holds `found` labels, which are not as many as there are classes.
    pub fn miscounted(&self, found: u64, classes: u64) -> Diagnostic {
        let message = format!("{found} labels for an output of {classes} elements");
        Diagnostic::error("E0511", message).at(self.span, format!("{found} labels"))
    }
}

impl<'a> Elaborator<'a> {
    /// The labels of the input declaration.
    pub fn labels(&mut self, attributes: &Attributes) -> Result<Labels, Reported> {
        let text = |value: &Value| match value {
            Value::Text(text) | Value::Word(text) => Some(text.to_string()),
            _ => None,
        };
        let labels = match attributes.other(&mut self.reports, "labels")? {
            None => Some(Labels::None),
            Some(Value::Text(path)) => Some(Labels::File(path.to_string())),
            Some(Value::List(items)) => items.iter().map(text).collect::<Option<_>>().map(Labels::Inline),
            Some(_) => None,
        };
        let labels = labels.ok_or_else(|| {
            attributes.reject(&mut self.reports, "labels", "a file name or a list of strings")
        })?;
        self.labels = attributes.span_of("labels").map(|span| (labels.clone(), span));
        Ok(labels)
    }

    /// Compares the labels in the spec with the result of the network.
    pub fn check_labels(&mut self, result: Operand) {
        let Some((Labels::Inline(labels), span)) = &self.labels else { return };
        let Some(shape) = result.outline.shape() else { return };
        let found = labels.len();
        if found as u64 == shape.elements() {
            return;
        }
        let message = format!("{found} labels for an output of {shape} elements");
        let mut error = Diagnostic::error("E0511", message).at(*span, format!("{found} labels"));
        if let Some(span) = result.span {
            error = error.also(span, format!("yields {shape} elements"));
        }
        self.reports.report(error);
    }

    /// The file of labels, for those who can read it.
    pub fn label_file(&self) -> Option<LabelFile> {
        let (Labels::File(path), span) = self.labels.as_ref()? else { return None };
        let classes = self.current.and_then(|result| result.outline.shape()).map(|shape| shape.elements());
        Some(LabelFile { path: path.clone(), span: *span, classes })
    }
}
