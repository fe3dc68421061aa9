//! Draws networks in which layers are easily mistaken for each other: few numbers of channels,
//! square windows, paths that are copies of each other but for an attribute.

use xcc_compiler::graph::Activation;

use super::Dice;
use super::drawing::{
    Activated, Drawing, Function, Join, JoinKind, Layer, Naming, Nested, Op, Own, Padding, Part, Recall,
    Shape, Style, Window,
};

/// The habits of a network's author.
struct Habits {
    /// Numbers of channels.
    channels: Vec<usize>,
    /// Sides of windows.
    windows: Vec<usize>,
    /// Percentage of layers with a bias.
    bias: usize,
    /// Percentage of linear layers that a batch normalisation follows.
    norm: usize,
    /// Activations.
    functions: Vec<Function>,
    /// Percentage of activations that are an attribute, on each side.
    attributes: [usize; 2],
    /// Percentage of paths that are models of their own in Keras.
    nested: usize,
    /// Percentage of windows with padding of their own.
    explicit: usize,
}

struct Draw {
    dice: Dice,
    habits: Habits,
    made: usize,
}

/// Where a path leads.
#[derive(Clone, Copy)]
struct Goal {
    /// Channels before it.
    from: usize,
    /// Channels behind it.
    channels: usize,
    /// The stride over all.
    stride: usize,
    /// Joins within joins that are still allowed.
    depth: usize,
}

impl Goal {
    fn keeps_shape(self) -> bool {
        self.from == self.channels && self.stride == 1
    }
}

impl Drawing {
    /// A network of at most `size` blocks between stem and head; equal arguments give equal
    /// networks.
    pub fn new(seed: u64, size: usize) -> Self {
        let mut dice = Dice::new(seed);
        let input = Shape { side: Some(dice.pick(&[5, 6, 8])), channels: dice.pick(&[3, 4]) };
        let style = style(&mut dice);
        let habits = habits(&mut dice, style.naming);
        let mut draw = Draw { dice, habits, made: 0 };
        let mut parts = draw.network(input, size);
        if matches!(seed % 4, 1 | 2) {
            exchange_functions(&mut parts, &mut Dice::new(!seed));
        }
        let drawing = Drawing { input, parts, style };
        assert!(drawing.is_valid(), "seed {seed}, size {size}: {drawing:?}");
        drawing
    }
}

/// Replaces the four functions that are drawn by four of all that there are: each by the same one
/// everywhere. Seeds of networks that were loaded wrong once keep theirs.
fn exchange_functions(parts: &mut [Part], dice: &mut Dice) {
    let drawn = [Function::RELU, Function::RELU6, Function::ELU, Function::SIGMOID];
    // Keras 2 has another function of this name.
    let others = Activation::ALL.into_iter().filter(|function| *function != Activation::HardSigmoid);
    let others = others.filter(|function| *function != Activation::Linear);
    let others = dice.shuffled(others.map(Function::Elementwise).collect());
    let change = |function| match drawn.iter().position(|known| *known == function) {
        Some(place) => others[place],
        None => function,
    };
    parts.iter_mut().for_each(|part| part.exchange(&change));
}

fn style(dice: &mut Dice) -> Style {
    Style {
        naming: dice.pick(&Naming::ALL),
        counted: dice.chance(50),
        made_before: dice.pick(&[0, 0, 1, 8, 97]),
        frozen: dice.pick(&[0, 0, 50, 100]),
        sequential: dice.chance(40),
    }
}

fn habits(dice: &mut Dice, naming: Naming) -> Habits {
    let nested = if naming == Naming::Repeated { 40 } else { dice.pick(&[0, 0, 0, 25]) };
    Habits {
        channels: dice.pick(&[vec![4], vec![4, 8], vec![4, 4, 6], vec![3, 4]]),
        windows: dice.pick(&[vec![1], vec![3], vec![1, 3], vec![1, 1, 3]]),
        bias: dice.pick(&[0, 0, 100, 50]),
        norm: dice.pick(&[0, 50, 90, 100]),
        functions: dice.pick(&[
            vec![Function::RELU],
            vec![Function::RELU, Function::ELU],
            vec![Function::RELU6, Function::RELU, Function::SIGMOID],
        ]),
        attributes: dice.pick(&[[0, 0], [100, 100], [0, 100], [100, 0], [30, 30]]),
        nested,
        explicit: dice.pick(&[0, 0, 40]),
    }
}

impl Draw {
    fn own(&mut self) -> Own {
        self.made += 1;
        Own { id: self.made, seed: self.dice.bits() }
    }

    fn layer(&mut self, op: Op) -> Part {
        Part::Layer(Layer { op, own: self.own() })
    }

    fn network(&mut self, input: Shape, size: usize) -> Vec<Part> {
        let mut side = input.side.unwrap_or(1);
        let skips = self.dice.chance(35);
        let mut channels = self.channels();
        let mut parts = self.unit(Goal { from: input.channels, channels, stride: 1, depth: 0 });
        let mut marked = Vec::new();
        for number in 0..1 + self.dice.below(size) {
            if skips {
                parts.push(Part::Mark(number));
                marked.push(number);
            }
            let stride = if side > 3 && self.dice.chance(30) { 2 } else { 1 };
            let goal = Goal { from: channels, channels: self.channels(), stride, depth: 1 };
            parts.extend(self.block(goal));
            if skips && self.dice.chance(60) {
                let mark = self.dice.pick(&marked);
                self.recall(mark, input, &mut parts);
            }
            side = side.div_ceil(stride);
            channels = super::drawing::result(&parts, input).map_or(1, |shape| shape.channels);
        }
        if self.habits.nested > 0 && self.dice.chance(50) {
            parts = vec![Part::Nested(Nested { parts, own: self.own() })];
        }
        parts.extend(self.head(channels));
        parts
    }

    fn channels(&mut self) -> usize {
        self.dice.pick(&self.habits.channels)
    }

    /// Joins the value behind `parts` with one remembered in them, if shapes allow it.
    fn recall(&mut self, mark: usize, input: Shape, parts: &mut Vec<Part>) {
        for concat in [self.dice.chance(30), true] {
            let own = self.own();
            parts.push(Part::Recall(Recall { mark, concat, own }));
            if super::drawing::result(parts, input).is_some() {
                return;
            }
            parts.pop();
        }
    }

    /// A block of a network's body.
    fn block(&mut self, goal: Goal) -> Vec<Part> {
        match self.dice.below(10) {
            0 | 1 => self.unit(goal),
            2..=6 => vec![self.residual(goal)],
            7 | 8 => vec![self.sum(goal)],
            _ => self.concat(goal),
        }
    }

    fn head(&mut self, channels: usize) -> Vec<Part> {
        let mut parts = Vec::new();
        if self.dice.chance(15) {
            let op = Op::Conv { filters: channels, window: self.window(1, 1), bias: true, activation: None };
            parts.push(self.layer(op));
        }
        let max = self.dice.chance(20);
        parts.push(self.layer(Op::GlobalPool { max }));
        for _ in 0..self.dice.below(3) {
            let bias = self.dice.chance(70);
            let activation = self.activated(40);
            parts.push(self.layer(Op::Dense { units: channels, bias, activation }));
            if self.dice.chance(30) {
                parts.push(self.norm());
            }
            if self.dice.chance(20) {
                let in_spec = self.dice.chance(50);
                parts.push(self.layer(Op::Dropout { in_spec }));
            }
        }
        if self.dice.chance(50) {
            parts.push(self.layer(Op::Activation(Function::Softmax)));
        }
        parts
    }

    /// A linear layer with what stands around it.
    fn unit(&mut self, goal: Goal) -> Vec<Part> {
        let mut parts = Vec::new();
        if self.dice.chance(20) {
            parts.push(self.activation());
        }
        parts.push(self.linear(goal));
        if self.dice.chance(self.habits.norm) {
            parts.push(self.norm());
        }
        if self.dice.chance(40) {
            parts.push(self.activation());
        }
        parts
    }

    fn linear(&mut self, goal: Goal) -> Part {
        let size = self.dice.pick(&self.habits.windows);
        let window = self.window(size, goal.stride);
        let bias = self.dice.chance(self.habits.bias);
        let activation = self.activated(20);
        let op = match self.dice.below(5) {
            0 if goal.from == goal.channels => Op::Depthwise { window, bias, activation },
            1 => Op::Separable { filters: goal.channels, window, bias, activation },
            _ => Op::Conv { filters: goal.channels, window, bias, activation },
        };
        self.layer(op)
    }

    /// A window whose result has as many rows as with padding `same`.
    fn window(&mut self, size: usize, stride: usize) -> Window {
        let dilation = if size > 1 && stride == 1 && self.dice.chance(10) { 2 } else { 1 };
        let padding = match size {
            1 => self.dice.pick(&[Padding::Same, Padding::Valid, Padding::SameOrValid]),
            _ if self.dice.chance(self.habits.explicit) => Padding::Explicit(size / 2 * dilation),
            _ => Padding::Same,
        };
        Window { size, stride, dilation, padding }
    }

    fn norm(&mut self) -> Part {
        let op = Op::BatchNorm {
            epsilon: self.dice.pick(&[1e-3, 1e-3, 1e-5]),
            scale: self.dice.chance(85),
            center: self.dice.chance(90),
        };
        self.layer(op)
    }

    fn activation(&mut self) -> Part {
        let function = self.dice.pick(&self.habits.functions);
        self.layer(Op::Activation(function))
    }

    fn activated(&mut self, percent: usize) -> Option<Activated> {
        let [spec, file] = self.habits.attributes;
        self.dice.chance(percent).then(|| Activated {
            function: self.dice.pick(&self.habits.functions),
            spec_attribute: self.dice.chance(spec),
            file_attribute: self.dice.chance(file),
        })
    }

    /// Units and joins, at least one unit.
    fn path(&mut self, goal: Goal) -> Vec<Part> {
        let units = self.dice.pick(&[1, 1, 2, 2, 3]);
        let pooled = goal.stride > 1 && self.dice.chance(30);
        let strided = self.dice.below(units);
        let mut parts = Vec::new();
        let mut from = goal.from;
        for unit in 0..units {
            let stride = if unit == strided && !pooled { goal.stride } else { 1 };
            let goal = Goal { from, channels: goal.channels, stride, ..goal };
            parts.extend(self.unit(goal));
            from = goal.channels;
            if goal.depth > 0 && self.dice.chance(15) {
                let depth = goal.depth - 1;
                parts.push(self.residual(Goal { from, channels: from, stride: 1, depth }));
            }
        }
        if pooled || self.dice.chance(8) {
            let stride = if pooled { goal.stride } else { 1 };
            let window = Window { size: 3, stride, dilation: 1, padding: Padding::Same };
            let max = self.dice.chance(70);
            parts.push(self.layer(Op::Pool { max, window }));
        }
        self.perhaps_nested(parts)
    }

    fn perhaps_nested(&mut self, parts: Vec<Part>) -> Vec<Part> {
        match self.dice.chance(self.habits.nested) {
            true => vec![Part::Nested(Nested { parts, own: self.own() })],
            false => parts,
        }
    }

    fn residual(&mut self, goal: Goal) -> Part {
        let main = self.path(goal);
        let shortcut = match self.dice.below(10) {
            0..=4 if goal.keeps_shape() => Vec::new(),
            0..=6 => self.projection(goal),
            _ => self.twin(&main),
        };
        Part::Join(Join { kind: JoinKind::Residual, paths: vec![main, shortcut], own: self.own() })
    }

    /// A pointwise convolution, perhaps with batch normalisation.
    fn projection(&mut self, goal: Goal) -> Vec<Part> {
        let bias = self.dice.chance(self.habits.bias);
        let window = self.window(1, goal.stride);
        let mut parts = vec![self.layer(Op::Conv { filters: goal.channels, window, bias, activation: None })];
        if self.dice.chance(self.habits.norm) {
            parts.push(self.norm());
        }
        parts
    }

    fn sum(&mut self, goal: Goal) -> Part {
        let mut paths = vec![self.path(goal)];
        for _ in 0..1 + self.dice.below(2) {
            let path = match self.dice.below(3) {
                0 => self.twin(&paths[0]),
                _ => self.path(goal),
            };
            paths.push(path);
        }
        if goal.keeps_shape() && self.dice.chance(30) {
            paths.push(Vec::new());
        }
        Part::Join(Join { kind: JoinKind::Add, paths, own: self.own() })
    }

    /// Branches behind each other, often with a layer that mixes them.
    fn concat(&mut self, goal: Goal) -> Vec<Part> {
        let mut paths: Vec<Vec<Part>> = Vec::new();
        for _ in 0..2 + self.dice.below(2) {
            let channels = self.channels();
            let path = match self.dice.below(3) {
                0 if !paths.is_empty() => self.twin(&paths[0]),
                _ => self.path(Goal { channels, ..goal }),
            };
            paths.push(path);
        }
        let mut parts = vec![Part::Join(Join { kind: JoinKind::Concat, paths, own: self.own() })];
        if self.dice.chance(60) {
            let op = Op::Conv {
                filters: goal.channels,
                window: self.window(1, 1),
                bias: self.dice.chance(self.habits.bias),
                activation: None,
            };
            parts.push(self.layer(op));
        }
        parts
    }

    /// The same layers with weights of their own; some differ in an attribute that no weight
    /// shows.
    fn twin(&mut self, parts: &[Part]) -> Vec<Part> {
        let differs = self.dice.chance(60);
        parts.iter().map(|part| self.twin_of(part, differs)).collect()
    }

    fn twin_of(&mut self, part: &Part, differs: bool) -> Part {
        let own = self.own();
        match part {
            Part::Layer(layer) => {
                let mut op = layer.op.clone();
                if differs && self.dice.chance(30) {
                    self.vary(&mut op);
                }
                Part::Layer(Layer { op, own })
            }
            Part::Nested(nested) => {
                let parts = nested.parts.iter().map(|part| self.twin_of(part, differs)).collect();
                Part::Nested(Nested { parts, own })
            }
            // Paths have neither.
            Part::Mark(_) | Part::Recall(_) => part.clone(),
            Part::Join(join) => {
                let mut twin =
                    |path: &Vec<Part>| path.iter().map(|part| self.twin_of(part, differs)).collect();
                Part::Join(Join { kind: join.kind, paths: join.paths.iter().map(&mut twin).collect(), own })
            }
        }
    }

    /// Changes an attribute that changes neither shapes nor weights.
    fn vary(&mut self, op: &mut Op) {
        match op {
            Op::Activation(function) if *function != Function::Softmax => {
                *function = self.dice.pick(&[Function::RELU, Function::ELU, Function::SIGMOID]);
            }
            Op::Pool { max, .. } => *max = !*max,
            Op::BatchNorm { epsilon, .. } => *epsilon = 1e-2,
            Op::Conv { window, activation, .. }
            | Op::Depthwise { window, activation, .. }
            | Op::Separable { window, activation, .. } => match window.padding {
                Padding::Same if window.size > 1 && window.stride == 1 && self.dice.chance(50) => {
                    window.dilation = 3 - window.dilation;
                }
                _ => {
                    *activation = match activation {
                        Some(_) => None,
                        None => self.activated(100),
                    }
                }
            },
            _ => {}
        }
    }
}
