//! The text of a drawn network's spec.

use std::collections::HashMap;
use std::fmt::Write;

use super::drawing::{
    Activated, Drawing, Join, JoinKind, Layer, NameBook, Naming, Op, Own, Padding, Part, Recall, Style,
    Window,
};

/// A spec, and the drawn layers with weights in the order in which it declares them.
pub struct Spec {
    /// Its text.
    pub text: String,
    /// Numbers of the drawn layers with weights.
    pub weighted: Vec<usize>,
}

impl Spec {
    /// The spec of a drawing.
    pub fn of(drawing: &Drawing) -> Self {
        let names = if drawing.style.counted { ", names: keras" } else { "" };
        let side = drawing.input.side.unwrap_or(1);
        let channels = drawing.input.channels;
        let text = format!("model drawn{names}\ninput image {side} x {side} x {channels}\n");
        let spec = Spec { text, weighted: Vec::new() };
        let mut writer =
            Writer { spec, style: &drawing.style, names: NameBook::of(drawing), counts: HashMap::new() };
        writer.parts(&drawing.parts, 0);
        writer.spec
    }
}

struct Writer<'a> {
    spec: Spec,
    style: &'a Style,
    names: NameBook,
    counts: HashMap<&'static str, usize>,
}

impl Writer<'_> {
    fn line(&mut self, depth: usize, text: &str) {
        let _ = writeln!(self.spec.text, "{:width$}{text}", "", width = 4 * depth);
    }

    fn parts(&mut self, parts: &[Part], depth: usize) {
        let mut marks = HashMap::new();
        for part in parts {
            match part {
                Part::Mark(mark) => {
                    marks.insert(*mark, self.name_of_value(*mark));
                }
                Part::Recall(recall) => self.recall(recall, &marks[&recall.mark], depth),
                Part::Layer(layer) => self.layer(layer, depth),
                Part::Nested(nested) => self.parts(&nested.parts, depth),
                Part::Join(join) => self.join(join, depth),
            }
        }
    }

    fn layer(&mut self, layer: &Layer, depth: usize) {
        if let Op::Dropout { in_spec: false } = layer.op {
            return;
        }
        let name = self.name(&layer.own, layer.op.word());
        self.line(depth, &format!("{}{name}", statement(&layer.op)));
        if let Some(Activated { function, spec_attribute: false, .. }) = layer.op.activation() {
            self.line(depth, function.word());
        }
        if has_weights(&layer.op) {
            self.spec.weighted.push(layer.own.id);
        }
    }

    /// The name of the value of the last line, which gets one if it has none.
    fn name_of_value(&mut self, mark: usize) -> String {
        let line = self.spec.text.trim_end().rsplit('\n').next().unwrap_or_default();
        if let Some((_, name)) = line.rsplit_once(" as ") {
            return name.trim_matches('"').to_owned();
        }
        if line.starts_with("input") {
            return "image".to_owned();
        }
        let name = format!("kept{mark}");
        self.spec.text.truncate(self.spec.text.trim_end().len());
        let _ = writeln!(self.spec.text, " as \"{name}\"");
        name
    }

    fn recall(&mut self, recall: &Recall, value: &str, depth: usize) {
        self.line(depth, if recall.concat { "concat {" } else { "add {" });
        self.line(depth + 1, "branch {");
        self.line(depth + 1, "}");
        self.line(depth + 1, "branch {");
        self.line(depth + 2, &format!("from \"{value}\""));
        self.line(depth + 1, "}");
        let word = if recall.concat { "concat" } else { "add" };
        let name = self.name(&recall.own, word);
        self.line(depth, &format!("}}{name}"));
    }

    fn join(&mut self, join: &Join, depth: usize) {
        match join.kind {
            JoinKind::Residual => {
                self.line(depth, "residual {");
                self.parts(&join.paths[0], depth + 1);
                if !join.paths[1].is_empty() {
                    self.line(depth, "} shortcut {");
                    self.parts(&join.paths[1], depth + 1);
                }
            }
            JoinKind::Add | JoinKind::Concat => {
                self.line(depth, if join.kind == JoinKind::Add { "add {" } else { "concat {" });
                for path in &join.paths {
                    self.line(depth + 1, "branch {");
                    self.parts(path, depth + 2);
                    self.line(depth + 1, "}");
                }
            }
        }
        let name = self.name(&join.own, join.kind.word());
        self.line(depth, &format!("}}{name}"));
    }

    /// ` as "name"`, or nothing.
    fn name(&mut self, own: &Own, word: &'static str) -> String {
        let name = match self.style.naming {
            Naming::Counters => {
                let count = self.counts.entry(word).or_default();
                *count += 1;
                Some(format!("{word}_{count}"))
            }
            _ => self.names.names(own, word).spec,
        };
        name.map_or(String::new(), |name| format!(" as \"{name}\""))
    }
}

fn has_weights(op: &Op) -> bool {
    matches!(
        op,
        Op::Conv { .. }
            | Op::Depthwise { .. }
            | Op::Separable { .. }
            | Op::BatchNorm { .. }
            | Op::Dense { .. }
    )
}

fn statement(op: &Op) -> String {
    match op {
        Op::Conv { filters, window, bias, activation } => {
            format!("conv {filters}, {}{}", windowed(*window), rest(*bias, *activation))
        }
        Op::Depthwise { window, bias, activation } => {
            format!("depthwise {}{}", windowed(*window), rest(*bias, *activation))
        }
        Op::Separable { filters, window, bias, activation } => {
            format!("sepconv {filters}, {}{}", windowed(*window), rest(*bias, *activation))
        }
        Op::BatchNorm { epsilon, scale, center } => {
            format!("bn epsilon: {epsilon:?}, scale: {}, center: {}", truth(*scale), truth(*center))
        }
        Op::Activation(function) => function.word().to_owned(),
        Op::Pool { max, window: Window { size, stride, .. } } => {
            let word = if *max { "maxpool" } else { "avgpool" };
            format!("{word} {size}x{size}, strides: {stride}, padding: same")
        }
        Op::Dropout { .. } => "dropout 0.5".to_owned(),
        Op::GlobalPool { max } => if *max { "globalmaxpool" } else { "globalavgpool" }.to_owned(),
        Op::Flatten => "flatten".to_owned(),
        Op::Dense { units, bias, activation } => format!("dense {units}{}", rest(*bias, *activation)),
    }
}

fn windowed(window: Window) -> String {
    let Window { size, stride, dilation, padding } = window;
    let padding = match padding {
        Padding::Same | Padding::SameOrValid => "same".to_owned(),
        Padding::Valid => "valid".to_owned(),
        Padding::Explicit(pixels) => pixels.to_string(),
    };
    format!("{size}x{size}, strides: {stride}, dilation: {dilation}, padding: {padding}")
}

fn rest(bias: bool, activation: Option<Activated>) -> String {
    let activation = match activation {
        Some(Activated { function, spec_attribute: true, .. }) => {
            format!(", activation: {}", function.word())
        }
        _ => String::new(),
    };
    format!(", bias: {}{activation}", truth(bias))
}

fn truth(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}
