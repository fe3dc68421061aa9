//! Reads graphs.

use std::collections::{BTreeMap, HashMap};
use std::str::FromStr;

use super::write::channel_order;
use crate::diagnostic::Span;
use crate::graph::{
    Activation, BatchNorm, ChannelOrder, Conv, Fusion, Graph, ImageSpec, Labels, Layer, LayerId, LayerKind,
    LinearPart, Node, NodeId, Op, Pads, Partition, Pool, PoolKind, Post, Role, Separable, Shape,
    UnknownActivation, Weight, WeightId, Window,
};

/// Ids of nodes, layers and weights are below this, and there are no more segments in a text, so
/// that a few bytes of it cannot ask for gigabytes.
const LIMIT: usize = 1 << 20;

/// What is wrong with a text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct TextError {
    /// The line, from 1.
    pub line: usize,
    /// What was expected, and what was found.
    pub message: String,
}

type Result<T> = std::result::Result<T, TextError>;

/// Reads the text form of a graph, see [`super`].
///
/// Only the form is checked; whether the graph makes sense is for [`crate::graph::verify`] to say.
pub fn parse(text: &str) -> Result<Graph> {
    let mut draft = Draft::default();
    let mut segments_left = LIMIT;
    for (index, content) in text.lines().enumerate() {
        let line = index + 1;
        let mut cursor = Cursor { line, tokens: tokenize(line, content)?, at: 0, segments_left };
        if cursor.peek().is_some() {
            draft.read_line(&mut cursor)?;
            cursor.end()?;
        }
        segments_left = cursor.segments_left;
    }
    draft.finish(text.lines().count().max(1))
}

/// The tables of a graph while lines are read.
#[derive(Default)]
struct Draft {
    name: Option<String>,
    image: ImageSpec,
    order: Vec<NodeId>,
    nodes: BTreeMap<usize, Node>,
    layers: BTreeMap<usize, Layer>,
    weights: BTreeMap<usize, Weight>,
    outputs: Vec<NodeId>,
}

impl Draft {
    fn read_line(&mut self, cursor: &mut Cursor<'_>) -> Result<()> {
        match cursor.word("a line's first word")? {
            "model" => self.name = Some(cursor.string()?),
            "image" => self.image = cursor.image()?,
            "output" => self.outputs.push(cursor.node_id()?),
            "layer" => {
                let id = cursor.layer_id()?.index();
                let layer = cursor.layer()?;
                cursor.unique(self.layers.insert(id, layer).is_none(), "layer", id)?;
            }
            "weight" => {
                let id = cursor.weight_id()?.index();
                let weight = cursor.weight()?;
                cursor.unique(self.weights.insert(id, weight).is_none(), "weight", id)?;
            }
            word => {
                let id = cursor.id(word, 'v')?;
                cursor.mark('=')?;
                let node = cursor.node()?;
                cursor.unique(self.nodes.insert(id, node).is_none(), "node", id)?;
                self.order.push(NodeId::new(id));
            }
        }
        Ok(())
    }

    fn finish(self, last_line: usize) -> Result<Graph> {
        let error = |message: &str| TextError { line: last_line, message: message.to_owned() };
        let name = self.name.ok_or_else(|| error("the text has no line `model \"name\"`"))?;
        let is_input =
            |id: &&NodeId| matches!(self.nodes.get(&id.index()), Some(node) if node.op == Op::Input);
        let input = *self.order.iter().find(is_input).ok_or_else(|| error("no node is the input"))?;
        let last_of_layer = last_of_layer(&self.nodes, &self.order);
        Ok(Graph {
            name,
            image: self.image,
            layers: dense(self.layers).map_err(|i| error(&format!("layer l{i} is missing")))?,
            weights: dense(self.weights).map_err(|i| error(&format!("weight w{i} is missing")))?,
            input,
            outputs: self.outputs,
            nodes: with_dead_nodes(self.nodes),
            order: self.order,
            last_of_layer,
        })
    }
}

/// The last node of each layer; none where numbers of nodes are missing, which may have been those
/// of last nodes.
fn last_of_layer(nodes: &BTreeMap<usize, Node>, order: &[NodeId]) -> HashMap<LayerId, NodeId> {
    let is_whole = nodes.keys().enumerate().all(|(at, &id)| at == id);
    let named = |id: &NodeId| Some((nodes.get(&id.index())?.layer, *id));
    if is_whole { order.iter().filter_map(named).collect() } else { HashMap::new() }
}

/// The rows of a table without gaps, or the first gap.
fn dense<T>(rows: BTreeMap<usize, T>) -> std::result::Result<Vec<T>, usize> {
    match rows.keys().enumerate().find(|(at, id)| at != *id) {
        Some((gap, _)) => Err(gap),
        None => Ok(rows.into_values().collect()),
    }
}

/// The node table, gaps filled with nodes that are not in the order.
fn with_dead_nodes(mut nodes: BTreeMap<usize, Node>) -> Vec<Node> {
    let length = nodes.last_key_value().map_or(0, |(id, _)| id + 1);
    let dead = || Node {
        op: Op::Input,
        inputs: Vec::new(),
        shape: Shape::vector(0),
        layer: LayerId::new(0),
        fusion: Fusion::default(),
    };
    (0..length).map(|id| nodes.remove(&id).unwrap_or_else(dead)).collect()
}

#[derive(Clone, Debug, PartialEq)]
enum Token<'a> {
    Word(&'a str),
    Text(String),
    Mark(char),
}

const MARKS: &str = "=:{}()[],";

fn tokenize(line: usize, content: &str) -> Result<Vec<Token<'_>>> {
    let mut tokens = Vec::new();
    let mut rest = content.trim_start();
    while let Some(first) = rest.chars().next().filter(|&c| c != ';') {
        let length = if first == '"' {
            let length = string_length(rest);
            let text = serde_json::from_str(&rest[..length])
                .map_err(|_| TextError { line, message: format!("{} is not a string", &rest[..length]) })?;
            tokens.push(Token::Text(text));
            length
        } else if MARKS.contains(first) {
            tokens.push(Token::Mark(first));
            first.len_utf8()
        } else {
            let ends = |c: char| c.is_whitespace() || c == '"' || c == ';' || MARKS.contains(c);
            let length = rest.find(ends).unwrap_or(rest.len());
            tokens.push(Token::Word(&rest[..length]));
            length
        };
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

/// Bytes of the string that `rest` starts with, quotes included, or all when it does not end.
fn string_length(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            '"' if !escaped => return at + 1,
            _ => escaped = c == '\\' && !escaped,
        }
    }
    rest.len()
}

/// The tokens of a line.
struct Cursor<'a> {
    line: usize,
    tokens: Vec<Token<'a>>,
    at: usize,
    segments_left: usize,
}

/// Single tokens.
impl<'a> Cursor<'a> {
    fn error<T>(&self, message: String) -> Result<T> {
        Err(TextError { line: self.line, message })
    }

    fn peek(&self) -> Option<&Token<'a>> {
        self.tokens.get(self.at)
    }

    fn expected<T>(&self, what: &str) -> Result<T> {
        let found = match self.peek() {
            None => "the end of the line".to_owned(),
            Some(Token::Word(word)) => format!("`{word}`"),
            Some(Token::Text(text)) => format!("{text:?}"),
            Some(Token::Mark(mark)) => format!("`{mark}`"),
        };
        self.error(format!("expected {what}, found {found}"))
    }

    fn end(&self) -> Result<()> {
        if self.peek().is_none() { Ok(()) } else { self.expected("the end of the line") }
    }

    fn next_word(&mut self) -> Option<&'a str> {
        let Some(&Token::Word(word)) = self.peek() else { return None };
        self.at += 1;
        Some(word)
    }

    fn word(&mut self, what: &str) -> Result<&'a str> {
        match self.next_word() {
            Some(word) => Ok(word),
            None => self.expected(what),
        }
    }

    fn string(&mut self) -> Result<String> {
        match self.next_string() {
            Some(text) => Ok(text),
            None => self.expected("a string"),
        }
    }

    fn next_string(&mut self) -> Option<String> {
        let Some(Token::Text(text)) = self.peek() else { return None };
        let text = text.clone();
        self.at += 1;
        Some(text)
    }

    fn strings(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.next_string()).collect()
    }

    fn eat(&mut self, token: Token<'_>) -> bool {
        let found = self.peek() == Some(&token);
        self.at += usize::from(found);
        found
    }

    fn eat_word(&mut self, word: &str) -> bool {
        self.eat(Token::Word(word))
    }

    fn keyword(&mut self, word: &str) -> Result<()> {
        if self.eat_word(word) { Ok(()) } else { self.expected(&format!("`{word}`")) }
    }

    fn mark(&mut self, mark: char) -> Result<()> {
        if self.eat(Token::Mark(mark)) { Ok(()) } else { self.expected(&format!("`{mark}`")) }
    }

    fn parsed<T: FromStr>(&mut self, what: &str) -> Result<T> {
        let parsed = match self.peek() {
            Some(Token::Word(word)) => word.parse().ok(),
            _ => None,
        };
        match parsed {
            Some(value) => {
                self.at += 1;
                Ok(value)
            }
            None => self.expected(what),
        }
    }

    fn number(&mut self) -> Result<u32> {
        self.parsed("a number")
    }

    /// The value among `all` that prints as the next word.
    fn one_of<T: Copy>(&mut self, what: &str, all: &[T], name: impl Fn(T) -> String) -> Result<T> {
        let found = match self.peek() {
            Some(Token::Word(word)) => all.iter().find(|v| name(**v) == *word),
            _ => None,
        };
        match found {
            Some(value) => {
                self.at += 1;
                Ok(*value)
            }
            None => self.expected(what),
        }
    }

    fn unique(&self, inserted: bool, table: &str, id: usize) -> Result<()> {
        if inserted { Ok(()) } else { self.error(format!("there is a {table} {id} already")) }
    }

    fn id(&self, word: &str, prefix: char) -> Result<usize> {
        match word.strip_prefix(prefix).and_then(|digits| digits.parse::<usize>().ok()) {
            Some(index) if index < LIMIT => Ok(index),
            Some(index) => self.error(format!("{prefix}{index} is too large: ids are below {LIMIT}")),
            None => self.error(format!("expected an id such as {prefix}7, found `{word}`")),
        }
    }

    fn node_id(&mut self) -> Result<NodeId> {
        let word = self.word("a node such as v7")?;
        Ok(NodeId::new(self.id(word, 'v')?))
    }

    fn layer_id(&mut self) -> Result<LayerId> {
        let word = self.word("a layer such as l7")?;
        Ok(LayerId::new(self.id(word, 'l')?))
    }

    fn weight_id(&mut self) -> Result<WeightId> {
        let word = self.word("a weight such as w7")?;
        Ok(WeightId::new(self.id(word, 'w')?))
    }

    /// Numbers joined by `separator` in one word, as in `3x3`.
    fn numbers(&self, word: &str, separator: &str) -> Result<Vec<u32>> {
        let numbers: Option<Vec<u32>> = word.split(separator).map(|n| n.parse().ok()).collect();
        match numbers {
            Some(numbers) => Ok(numbers),
            None => self.error(format!("expected numbers joined by `{separator}`, found `{word}`")),
        }
    }

    fn pair(&mut self) -> Result<[u32; 2]> {
        let word = self.word("two numbers joined by x")?;
        match self.numbers(word, "x")?[..] {
            [vertical, horizontal] => Ok([vertical, horizontal]),
            _ => self.error(format!("expected two numbers joined by x, found `{word}`")),
        }
    }
}

/// Tables.
impl Cursor<'_> {
    fn image(&mut self) -> Result<ImageSpec> {
        self.keyword("range")?;
        let range = [self.parsed("a number")?, self.parsed("a number")?];
        self.keyword("channels")?;
        let orders = [ChannelOrder::Rgb, ChannelOrder::Bgr, ChannelOrder::Gray];
        let channels = self.one_of("rgb, bgr or gray", &orders, |o| channel_order(o).to_owned())?;
        let mut mean = Vec::new();
        if self.eat_word("mean") {
            mean.push(self.parsed("a number")?);
            while let Ok(value) = self.parsed("a number") {
                mean.push(value);
            }
        }
        let labels = if self.eat_word("labels-file") {
            Labels::File(self.string()?)
        } else if self.eat_word("labels") {
            Labels::Inline(self.strings())
        } else {
            Labels::None
        };
        Ok(ImageSpec { range, channels, mean, labels })
    }

    fn layer(&mut self) -> Result<Layer> {
        let kind = self.one_of("a layer's class, as Keras names it", &LayerKind::ALL, |k| k.to_string())?;
        let name = self.string()?;
        self.keyword("at")?;
        let word = self.word("a span such as 12..34")?;
        let span = match word.split_once("..").map(|(start, end)| (start.parse(), end.parse())) {
            Some((Ok(start), Ok(end))) => Span { start, end },
            _ => return self.error(format!("expected a span such as 12..34, found `{word}`")),
        };
        let path = if self.eat_word("path") { self.strings() } else { Vec::new() };
        Ok(Layer { name, kind, path, span })
    }

    fn weight(&mut self) -> Result<Weight> {
        let role = self.one_of("what the weight is, such as kernel", &Role::ALL, |r| r.to_string())?;
        let shape = match self.word("a shape")? {
            "scalar" => Vec::new(),
            word => self.numbers(word, "x")?,
        };
        self.keyword("fan-in")?;
        let fan_in = self.number()?;
        self.keyword("of")?;
        Ok(Weight { role, shape, fan_in, layer: self.layer_id()?, name: self.string()? })
    }
}

/// Nodes.
impl Cursor<'_> {
    fn node(&mut self) -> Result<Node> {
        let word = self.word("an operation")?;
        let mut inputs = Vec::new();
        while matches!(self.peek(), Some(Token::Word(word)) if is_node(word)) {
            inputs.push(self.node_id()?);
        }
        let load = if self.eat_word("load") { self.activation()? } else { Activation::Linear };
        let op = self.op(word)?;
        let post = if self.eat_word("post") { self.post(&mut inputs)? } else { Vec::new() };
        self.mark(':')?;
        let shape = self.shape()?;
        self.keyword("in")?;
        Ok(Node { op, inputs, shape, layer: self.layer_id()?, fusion: Fusion { load, post } })
    }

    fn op(&mut self, word: &str) -> Result<Op> {
        Ok(match word {
            "input" => Op::Input,
            "conv" => Op::Conv(self.conv()?),
            "separable" => Op::Separable(Box::new(self.separable()?)),
            "batch-norm" => Op::BatchNorm(self.norm()?),
            "pool" => Op::Pool(Pool { kind: self.pool_kind()?, window: self.window()? }),
            "global-pool" => Op::GlobalPool(self.pool_kind()?),
            "dense" => Op::Dense(self.part()?),
            "softmax" => Op::Softmax,
            "add" => Op::Add,
            "concat" => Op::Concat,
            "flatten" => Op::Flatten,
            "dropout" => {
                self.keyword("rate")?;
                Op::Dropout { rate: self.parsed("a rate")? }
            }
            word => match word.parse() {
                Ok(activation) => Op::Activation(activation),
                Err(UnknownActivation) => return self.error(format!("there is no operation `{word}`")),
            },
        })
    }

    fn activation(&mut self) -> Result<Activation> {
        self.parsed("an activation function")
    }

    fn pool_kind(&mut self) -> Result<PoolKind> {
        self.one_of("max or average", &[PoolKind::Max, PoolKind::Average], |k| k.to_string())
    }

    fn post(&mut self, inputs: &mut Vec<NodeId>) -> Result<Vec<Post>> {
        let mut post = Vec::new();
        self.mark('[')?;
        loop {
            if self.eat_word("add") {
                inputs.push(self.node_id()?);
                post.push(Post::Add);
            } else {
                post.push(Post::Activation(self.activation()?));
            }
            if !self.eat(Token::Mark(',')) {
                self.mark(']')?;
                return Ok(post);
            }
        }
    }

    fn shape(&mut self) -> Result<Shape> {
        if self.eat_word("vector") {
            return Ok(Shape::vector(self.number()?));
        }
        let word = self.word("a shape")?;
        match self.numbers(word, "x")?[..] {
            [h, w, c] => Ok(Shape::map(h, w, c)),
            _ => self.error(format!("expected a shape such as 19x19x728 or vector 1000, found `{word}`")),
        }
    }

    fn window(&mut self) -> Result<Window> {
        let mut window = Window { kernel: self.pair()?, ..Window::POINT };
        if self.eat_word("stride") {
            window.strides = self.pair()?;
        }
        if self.eat_word("dilate") {
            window.dilation = self.pair()?;
        }
        if self.eat_word("pads") {
            window.pads = self.pads()?;
        }
        Ok(window)
    }

    fn pads(&mut self) -> Result<Pads> {
        let top = self.number()?;
        self.mark(',')?;
        let bottom = self.number()?;
        self.mark(',')?;
        let left = self.number()?;
        self.mark(',')?;
        Ok(Pads { top, bottom, left, right: self.number()? })
    }

    fn conv(&mut self) -> Result<Conv> {
        let window = self.window()?;
        self.keyword("segments")?;
        let partition = self.partition()?;
        let mut parts = Vec::new();
        while self.peek() == Some(&Token::Mark('{')) {
            parts.push(self.part()?);
        }
        Ok(Conv { window, partition, parts })
    }

    fn partition(&mut self) -> Result<Partition> {
        let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
        loop {
            let word = self.word("segments such as 28x26->26")?;
            let Some((count, ic, oc)) = segment_run(word) else {
                return self.error(format!("expected segments such as 28x26->26, found `{word}`"));
            };
            match self.segments_left.checked_sub(count) {
                Some(left) => self.segments_left = left,
                None => return self.error(format!("the text has more than {LIMIT} segments")),
            }
            inputs.extend(std::iter::repeat_n(ic, count));
            outputs.extend(std::iter::repeat_n(oc, count));
            if !self.eat(Token::Mark(',')) {
                return Ok(Partition::new(inputs, outputs));
            }
        }
    }

    fn part(&mut self) -> Result<LinearPart> {
        self.mark('{')?;
        let outputs = self.number()?;
        self.keyword("kernel")?;
        let kernel = self.weight_id()?;
        let bias = if self.eat_word("bias") { Some(self.weight_id()?) } else { None };
        let mut norms = Vec::new();
        while !self.eat(Token::Mark('}')) {
            norms.push(self.norm()?);
        }
        Ok(LinearPart { outputs, kernel, bias, norms })
    }

    fn norm(&mut self) -> Result<BatchNorm> {
        self.keyword("norm")?;
        self.mark('(')?;
        self.keyword("mean")?;
        let mean = self.weight_id()?;
        self.keyword("variance")?;
        let variance = self.weight_id()?;
        let gamma = if self.eat_word("gamma") { Some(self.weight_id()?) } else { None };
        let beta = if self.eat_word("beta") { Some(self.weight_id()?) } else { None };
        self.keyword("eps")?;
        let epsilon = self.parsed("a number")?;
        self.mark(')')?;
        Ok(BatchNorm { epsilon, gamma, beta, mean, variance })
    }

    fn separable(&mut self) -> Result<Separable> {
        self.keyword("spatial")?;
        let spatial = self.conv()?;
        self.keyword("between")?;
        let between = self.activation()?;
        self.keyword("pointwise")?;
        Ok(Separable { spatial, between, pointwise: self.conv()? })
    }
}

/// Whether a word is the id of a node, as opposed to an attribute that follows the operands.
fn is_node(word: &str) -> bool {
    word.strip_prefix('v').is_some_and(|digits| digits.starts_with(|c: char| c.is_ascii_digit()))
}

/// Count, inputs and outputs of a run such as `28x26->26`; the count is at least one.
fn segment_run(word: &str) -> Option<(usize, u32, u32)> {
    let (count, sizes) = word.split_once('x')?;
    let (ic, oc) = sizes.split_once("->")?;
    let count = count.parse().ok().filter(|n| (1..=LIMIT).contains(n))?;
    Some((count, ic.parse().ok()?, oc.parse().ok()?))
}
