//! A drawn network: a tree of layers and joins with every choice that a spec or a file makes
//! about it.
//!
//! Each layer keeps its own choices, so that a part can be cut out and the rest stays as it was.

use std::collections::HashMap;

use xcc_compiler::graph::Activation;

use super::Dice;

/// A network.
#[derive(Clone, Debug)]
pub struct Drawing {
    /// The input's shape.
    pub input: Shape,
    /// What follows the input.
    pub parts: Vec<Part>,
    /// The choices that concern all layers.
    pub style: Style,
}

/// Choices that concern all layers of a network.
#[derive(Clone, Debug)]
pub struct Style {
    /// Which layers have names, on which side.
    pub naming: Naming,
    /// True if the spec says `names: keras`.
    pub counted: bool,
    /// Layers of each class that the process in Keras made before.
    pub made_before: usize,
    /// Percentage of layers that are frozen in Keras.
    pub frozen: usize,
    /// True if models that are a chain of layers are `Sequential`.
    pub sequential: bool,
}

/// Which layers have names, on which side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Naming {
    /// None.
    Automatic,
    /// All, alike on both sides.
    All,
    /// About half of them, alike on both sides.
    Half,
    /// Convolutions, alike on both sides; batch normalisations have none.
    Convolutions,
    /// Some alike, some on one side only, some differently on each side.
    Apart,
    /// All by a word and a number that each side counts in its own order: `bn_2`.
    Counters,
    /// Layers of nested models, by their place in it: several layers of the file have one name.
    Repeated,
}

impl Naming {
    /// Every way to name layers.
    pub const ALL: [Naming; 7] = [
        Naming::Automatic,
        Naming::All,
        Naming::Half,
        Naming::Convolutions,
        Naming::Apart,
        Naming::Counters,
        Naming::Repeated,
    ];
}

/// The names of a layer on both sides.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// The spec's.
    pub spec: Option<String>,
    /// The file's.
    pub file: Option<String>,
}

/// A part of a path.
#[derive(Clone, Debug)]
pub enum Part {
    /// A layer of the spec.
    Layer(Layer),
    /// Paths from one value that meet again.
    Join(Join),
    /// Parts that are a model of their own in Keras, used as a layer.
    Nested(Nested),
    /// Remembers the value here under a number.
    Mark(usize),
    /// Joins the value here with one remembered before in the same list of parts.
    Recall(Recall),
}

/// A join with a value that was remembered.
#[derive(Clone, Debug)]
pub struct Recall {
    /// The value's number.
    pub mark: usize,
    /// True for a concatenation, false for a sum.
    pub concat: bool,
    /// Choices of the layer.
    pub own: Own,
}

/// A layer of the spec; in Keras it may be several.
#[derive(Clone, Debug)]
pub struct Layer {
    /// What it computes.
    pub op: Op,
    /// Its choices.
    pub own: Own,
}

/// Paths from one value that meet again.
#[derive(Clone, Debug)]
pub struct Join {
    /// How they meet.
    pub kind: JoinKind,
    /// The paths; an empty one is the identity.
    pub paths: Vec<Vec<Part>>,
    /// Choices of the layer in which they meet.
    pub own: Own,
}

/// How paths meet, and how the spec says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinKind {
    /// `residual { } shortcut { }` of two paths.
    Residual,
    /// `add { branch { } branch { } }`.
    Add,
    /// `concat { branch { } branch { } }`.
    Concat,
}

/// Parts that are a model of their own in Keras.
#[derive(Clone, Debug)]
pub struct Nested {
    /// Its parts, at least one.
    pub parts: Vec<Part>,
    /// Choices of the layer that it is.
    pub own: Own,
}

/// The choices of a layer: everything random about it follows from `seed`.
#[derive(Clone, Debug)]
pub struct Own {
    /// Number of the layer in its drawing.
    pub id: usize,
    /// Seed of its choices.
    pub seed: u64,
}

/// What a choice of a layer is for.
#[derive(Clone, Copy, Debug)]
pub enum Purpose {
    /// The numbers of its weights.
    Weights,
    /// Its place in the creation order.
    Creation,
    /// The order of a sum's operands.
    Operands,
    /// Its names.
    Names,
    /// Whether it is frozen.
    Frozen,
    /// Which of several classes of Keras it is.
    Class,
}

impl Own {
    /// The choices for one purpose.
    pub fn dice(&self, purpose: Purpose) -> Dice {
        Dice::new(self.seed ^ (purpose as u64 + 1).wrapping_mul(0xd6e8_feb8_6659_fd93))
    }

    /// The names of a layer called `word` in a network of this naming; none for
    /// [`Naming::Counters`].
    pub fn names(&self, naming: Naming, word: &str) -> Names {
        let mut dice = self.dice(Purpose::Names);
        let name = Some(format!("block{}_{word}", self.id));
        let both = |given: bool| if given { (name.clone(), name.clone()) } else { (None, None) };
        let (spec, file) = match naming {
            Naming::Automatic | Naming::Counters | Naming::Repeated => (None, None),
            Naming::All => both(true),
            Naming::Half => both(dice.chance(50)),
            Naming::Convolutions => both(["conv", "dw", "sepconv", "fc"].contains(&word)),
            Naming::Apart => match dice.below(5) {
                0 => (None, None),
                1 => (name.clone(), None),
                2 => (None, name.clone()),
                3 => (name.clone(), Some(format!("{word}{}_of_trunk", self.id))),
                _ => both(true),
            },
        };
        Names { spec, file }
    }
}

/// The shape of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Rows, and columns; nothing for a vector.
    pub side: Option<usize>,
    /// Channels, or elements of a vector.
    pub channels: usize,
}

/// An activation function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// Of each element.
    Elementwise(Activation),
    Softmax,
}

impl Function {
    pub const RELU: Function = Function::Elementwise(Activation::Relu);
    pub const RELU6: Function = Function::Elementwise(Activation::Relu6);
    pub const ELU: Function = Function::Elementwise(Activation::Elu);
    pub const SIGMOID: Function = Function::Elementwise(Activation::Sigmoid);

    /// The word of the spec.
    pub fn word(self) -> &'static str {
        match self {
            Function::Elementwise(function) => function.traits().word,
            Function::Softmax => "softmax",
        }
    }

    /// Keras' name.
    pub fn keras(self) -> &'static str {
        match self {
            Function::Elementwise(function) => function.traits().keras[0],
            Function::Softmax => "softmax",
        }
    }
}

/// An activation behind a linear layer, and where each side says it.
#[derive(Clone, Copy, Debug)]
pub struct Activated {
    /// The function.
    pub function: Function,
    /// True if the spec has an attribute for it, false for a layer.
    pub spec_attribute: bool,
    /// True if the file has an attribute for it, false for a layer.
    pub file_attribute: bool,
}

/// How a window moves over a map.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Rows, and columns.
    pub size: usize,
    /// Stride.
    pub stride: usize,
    /// Dilation.
    pub dilation: usize,
    /// Padding.
    pub padding: Padding,
}

/// Padding of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// `same` on both sides.
    Same,
    /// `valid` on both sides.
    Valid,
    /// `same` in the spec and `valid` in Keras, for a window of one pixel.
    SameOrValid,
    /// A number in the spec, `ZeroPadding2D` in Keras.
    Explicit(usize),
}

impl Window {
    /// The side of the result; nothing if the window does not fit.
    pub fn result(self, side: usize) -> Option<usize> {
        let extent = (self.size - 1) * self.dilation + 1;
        let padded = match self.padding {
            Padding::Same => return Some(side.div_ceil(self.stride)),
            Padding::Valid | Padding::SameOrValid => side,
            Padding::Explicit(pixels) => side + 2 * pixels,
        };
        Some((padded.checked_sub(extent)?) / self.stride + 1)
    }
}

/// What a layer computes.
#[derive(Clone, Debug)]
pub enum Op {
    Conv { filters: usize, window: Window, bias: bool, activation: Option<Activated> },
    Depthwise { window: Window, bias: bool, activation: Option<Activated> },
    Separable { filters: usize, window: Window, bias: bool, activation: Option<Activated> },
    BatchNorm { epsilon: f64, scale: bool, center: bool },
    Activation(Function),
    Pool { max: bool, window: Window },
    Dropout { in_spec: bool },
    GlobalPool { max: bool },
    Flatten,
    Dense { units: usize, bias: bool, activation: Option<Activated> },
}

impl Op {
    /// The shape of the result; nothing if the operand does not fit.
    pub fn result(&self, operand: Shape) -> Option<Shape> {
        let windowed =
            |window: &Window, channels| Some(Shape { side: Some(window.result(operand.side?)?), channels });
        match self {
            Op::Conv { filters, window, .. } | Op::Separable { filters, window, .. } => {
                windowed(window, *filters)
            }
            Op::Depthwise { window, .. } | Op::Pool { window, .. } => windowed(window, operand.channels),
            Op::BatchNorm { .. } | Op::Activation(_) | Op::Dropout { .. } => Some(operand),
            Op::GlobalPool { .. } => operand.side.map(|_| Shape { side: None, ..operand }),
            Op::Flatten => {
                operand.side.map(|side| Shape { side: None, channels: side * side * operand.channels })
            }
            Op::Dense { units, .. } => match operand.side {
                None => Some(Shape { side: None, channels: *units }),
                Some(_) => None,
            },
        }
    }

    /// Stem of the names that people give to such layers.
    pub fn word(&self) -> &'static str {
        match self {
            Op::Conv { .. } => "conv",
            Op::Depthwise { .. } => "dw",
            Op::Separable { .. } => "sepconv",
            Op::BatchNorm { .. } => "bn",
            Op::Activation(_) => "act",
            Op::Pool { .. } | Op::GlobalPool { .. } => "pool",
            Op::Dropout { .. } => "drop",
            Op::Flatten => "flat",
            Op::Dense { .. } => "fc",
        }
    }

    /// Applies `change` to the activation functions of the layer.
    pub fn exchange(&mut self, change: &dyn Fn(Function) -> Function) {
        match self {
            Op::Activation(function) => *function = change(*function),
            Op::Conv { activation, .. }
            | Op::Depthwise { activation, .. }
            | Op::Separable { activation, .. }
            | Op::Dense { activation, .. } => {
                activation.iter_mut().for_each(|activated| activated.function = change(activated.function));
            }
            Op::BatchNorm { .. }
            | Op::Pool { .. }
            | Op::Dropout { .. }
            | Op::GlobalPool { .. }
            | Op::Flatten => {}
        }
    }

    /// The activation behind a linear layer.
    pub fn activation(&self) -> Option<Activated> {
        match self {
            Op::Conv { activation, .. }
            | Op::Depthwise { activation, .. }
            | Op::Separable { activation, .. }
            | Op::Dense { activation, .. } => *activation,
            _ => None,
        }
    }
}

impl JoinKind {
    /// Stem of the names that people give to such layers.
    pub fn word(self) -> &'static str {
        match self {
            JoinKind::Residual | JoinKind::Add => "add",
            JoinKind::Concat => "concat",
        }
    }
}

/// The shape behind `parts`; nothing if they do not fit each other.
pub fn result(parts: &[Part], operand: Shape) -> Option<Shape> {
    let mut marks = HashMap::new();
    parts.iter().try_fold(operand, |shape, part| result_of(part, shape, &mut marks))
}

/// The shape behind one part; remembers and recalls shapes.
pub fn result_of(part: &Part, operand: Shape, marks: &mut HashMap<usize, Shape>) -> Option<Shape> {
    match part {
        Part::Layer(layer) => layer.op.result(operand),
        Part::Nested(nested) if !nested.parts.iter().any(Part::is_in_file) => None,
        Part::Nested(nested) => result(&nested.parts, operand),
        Part::Join(join) => join.result(operand),
        Part::Mark(mark) => {
            marks.insert(*mark, operand);
            Some(operand)
        }
        Part::Recall(recall) => {
            let other = *marks.get(&recall.mark)?;
            let channels = if recall.concat { operand.channels + other.channels } else { operand.channels };
            let fits = operand.side.is_some() && operand.side == other.side;
            (fits && (recall.concat || operand == other)).then_some(Shape { channels, ..operand })
        }
    }
}

impl Part {
    /// Applies `change` to the activation functions of all layers.
    pub fn exchange(&mut self, change: &dyn Fn(Function) -> Function) {
        match self {
            Part::Layer(layer) => layer.op.exchange(change),
            Part::Join(join) => {
                join.paths.iter_mut().flatten().for_each(|part| part.exchange(change));
            }
            Part::Nested(nested) => nested.parts.iter_mut().for_each(|part| part.exchange(change)),
            Part::Mark(_) | Part::Recall(_) => {}
        }
    }

    /// True if Keras has a layer for it.
    pub fn is_in_file(&self) -> bool {
        !matches!(self, Part::Mark(_))
    }
}

/// True if the parts follow each other and nothing else reads them.
pub fn is_chain(parts: &[Part]) -> bool {
    parts.iter().all(|part| matches!(part, Part::Layer(_) | Part::Nested(_)))
}

/// The names of all layers of a drawing.
pub struct NameBook {
    naming: Naming,
    /// For layers of nested models: the number of the outermost one, and of the layer in it.
    places: HashMap<usize, (usize, usize)>,
}

impl NameBook {
    /// The names of a drawing's layers.
    pub fn of(drawing: &Drawing) -> Self {
        let mut places = HashMap::new();
        let mut models = 0;
        note_places(&drawing.parts, None, &mut models, &mut places);
        NameBook { naming: drawing.style.naming, places }
    }

    /// The names of a layer called `word`; none for [`Naming::Counters`].
    pub fn names(&self, own: &Own, word: &str) -> Names {
        match self.places.get(&own.id) {
            Some((model, place)) if self.naming == Naming::Repeated => {
                let name = format!("stage{place}_{word}");
                let spec = if *model == 1 { name.clone() } else { format!("copy{model}_{name}") };
                Names { spec: Some(spec), file: Some(name) }
            }
            _ => own.names(self.naming, word),
        }
    }
}

/// Numbers the layers of nested models; `within` is the number of the model around `parts`.
fn note_places(
    parts: &[Part],
    within: Option<usize>,
    models: &mut usize,
    places: &mut HashMap<usize, (usize, usize)>,
) {
    let note = |own: &Own, places: &mut HashMap<usize, (usize, usize)>| {
        if let Some(model) = within {
            let before = places.values().filter(|(other, _)| *other == model).count();
            places.insert(own.id, (model, before + 1));
        }
    };
    for part in parts {
        match part {
            Part::Layer(layer) => note(&layer.own, places),
            Part::Recall(recall) => note(&recall.own, places),
            Part::Mark(_) => {}
            Part::Join(join) => {
                join.paths.iter().for_each(|path| note_places(path, within, models, places));
                note(&join.own, places);
            }
            Part::Nested(nested) => {
                if within.is_none() {
                    *models += 1;
                }
                note_places(&nested.parts, within.or(Some(*models)), models, places);
            }
        }
    }
}

impl Join {
    /// The shape in which the paths meet; nothing if they do not.
    fn result(&self, operand: Shape) -> Option<Shape> {
        let identities = self.paths.iter().filter(|path| path.is_empty()).count();
        if self.paths.len() < 2
            || identities > 1
            || self.kind == JoinKind::Residual && self.paths[0].is_empty()
        {
            return None;
        }
        let shapes: Vec<Shape> =
            self.paths.iter().map(|path| result(path, operand)).collect::<Option<_>>()?;
        let first = shapes[0];
        first.side?;
        let alike = |shape: &Shape| match self.kind {
            JoinKind::Concat => shape.side == first.side,
            _ => *shape == first,
        };
        let channels = match self.kind {
            JoinKind::Concat => shapes.iter().map(|shape| shape.channels).sum(),
            _ => first.channels,
        };
        shapes.iter().all(alike).then_some(Shape { channels, ..first })
    }
}

impl Drawing {
    /// True if all parts fit each other and something follows the input.
    pub fn is_valid(&self) -> bool {
        let adjacent = |pair: &[Part]| matches!(pair, [Part::Mark(_), Part::Recall(_)]);
        !self.parts.windows(2).any(adjacent)
            && self.parts.iter().any(Part::is_in_file)
            && result(&self.parts, self.input).is_some()
    }
}
