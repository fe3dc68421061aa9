//! The tree of a spec, as written: names unresolved, loops not unrolled.

use crate::diagnostic::Span;

/// Where a part of the tree was written.
///
/// Two trees are the same wherever they were written, so all places are equal.
#[derive(Clone, Copy, Debug, Default)]
pub struct At(pub Span);

impl PartialEq for At {
    fn eq(&self, _: &At) -> bool {
        true
    }
}

/// A whole spec.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct File {
    /// Statements outside of any braces.
    pub statements: Block,
}

/// Statements between braces.
pub type Block = Vec<Statement>;

/// A statement and where it was written; for a statement with a block, the part before the block.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// What it says.
    pub kind: StatementKind,
    /// Where its head is.
    pub at: At,
}

/// An identifier.
#[derive(Clone, Debug, PartialEq)]
pub struct Name {
    /// The identifier.
    pub text: String,
    /// Where it was written.
    pub at: At,
}

/// What a statement says.
#[derive(Clone, Debug, PartialEq)]
pub enum StatementKind {
    /// `model xception, names: keras`
    Model {
        /// Name of the model.
        name: Name,
        /// Settings of the whole model.
        arguments: Vec<Argument>,
    },
    /// `param size = 299 in 71..2048`
    Param {
        /// Name of the parameter.
        name: Name,
        /// Value unless set otherwise.
        default: Expression,
        /// A range or a list of the values allowed.
        domain: Option<Expression>,
    },
    /// `input image size x size x 3, range: -1..1`
    Input {
        /// Name of the input.
        name: Name,
        /// Rows, columns and channels.
        extents: Box<[Expression; 3]>,
        /// How images become this input.
        arguments: Vec<Argument>,
    },
    /// `default conv, sepconv { bias: no }`
    Default {
        /// Layers whose defaults change.
        layers: Vec<Name>,
        /// The new defaults.
        arguments: Vec<Argument>,
    },
    /// `block unit(width, seg = full) { ... }`
    Block {
        /// Name of the block.
        name: Name,
        /// What a call passes.
        parameters: Vec<Parameter>,
        /// What a call does.
        body: Block,
    },
    /// `flow middle repeat 8 as i { ... }`
    Flow {
        /// Name of the flow.
        name: Name,
        /// How often it runs; once when absent.
        repeat: Option<Repetition>,
        /// What it does.
        body: Block,
    },
    /// `repeat 8 as i { ... }`
    Repeat {
        /// How often.
        repeat: Repetition,
        /// What is repeated.
        body: Block,
    },
    /// `for width in [128, 256, 728] { ... }`
    For {
        /// Takes each value in turn.
        variable: Name,
        /// A list or a range.
        values: Expression,
        /// What is done for each value.
        body: Block,
    },
    /// `if cond { ... } else if cond { ... } else { ... }`
    If {
        /// Conditions and what is done when they hold; the first that holds is taken.
        arms: Vec<(Expression, Block)>,
        /// What is done when none holds.
        otherwise: Option<Block>,
    },
    /// `let width = 2 * channels`
    Let {
        /// Name of the variable.
        name: Name,
        /// Its value.
        value: Expression,
    },
    /// `residual if cond { ... } shortcut { ... } as add_1`
    Residual {
        /// Without it, or when it holds, there is a shortcut; otherwise the body stands alone.
        condition: Option<Expression>,
        /// The main path.
        body: Block,
        /// The other path; the identity when absent.
        shortcut: Option<Block>,
        /// Name of the sum.
        label: Option<Reference>,
    },
    /// `concat { branch { ... } branch { ... } }` or `add a, b`
    Join {
        /// What happens to the operands.
        kind: JoinKind,
        /// What is joined.
        operands: Operands,
        /// Name of the result.
        label: Option<Reference>,
    },
    /// `branch { ... }`, inside of a join only.
    Branch {
        /// What the branch does with the value before the join.
        body: Block,
    },
    /// `from image`
    From {
        /// The value to go on with.
        value: Reference,
    },
    /// `conv 32, 3x3, strides: 2 as conv1`: a layer, or a call of a block.
    Invoke {
        /// Layer or block.
        name: Name,
        /// What is passed, in the order written.
        arguments: Vec<Argument>,
        /// Whether the arguments are in parentheses.
        call: bool,
        /// Name of the layer.
        label: Option<Reference>,
    },
    /// A statement with a syntax error, and the blocks behind it.
    Bad {
        /// What it probably declares: a parameter, variable or block.
        declares: Option<Name>,
        /// The text that could not be read.
        text: String,
        /// What could be read of the block behind it.
        body: Block,
    },
}

/// What a join does with its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinKind {
    /// Puts them behind each other along the channels.
    Concat,
    /// Adds them element by element.
    Add,
}

impl JoinKind {
    /// The word of the language.
    pub fn word(self) -> &'static str {
        match self {
            JoinKind::Concat => "concat",
            JoinKind::Add => "add",
        }
    }
}

/// What a join joins.
#[derive(Clone, Debug, PartialEq)]
pub enum Operands {
    /// Branches that start at the value before the join.
    Branches(Block),
    /// Named values.
    Values(Vec<Reference>),
}

/// A parameter of a block.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Its name in the body.
    pub name: Name,
    /// Its value when a call does not pass one.
    pub default: Option<Expression>,
}

/// How often something runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Repetition {
    /// A count.
    pub count: Expression,
    /// Counts the turns from 1.
    pub index: Option<Name>,
}

/// What is passed to a layer, block or declaration.
#[derive(Clone, Debug, PartialEq)]
pub struct Argument {
    /// The attribute; by position when absent.
    pub name: Option<Name>,
    /// The value.
    pub value: Expression,
}

/// A name of a layer or value; a template may have holes.
#[derive(Clone, Debug, PartialEq)]
pub struct Reference {
    /// The pieces that make the name.
    pub pieces: Vec<Piece>,
    /// Whether it stands in quotation marks; a bare name is a single text.
    pub is_quoted: bool,
    /// Where it was written.
    pub at: At,
}

/// A piece of a string.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    /// Stands for itself.
    Text(String),
    /// `{5 + i}`: replaced by a value.
    Hole(Expression),
}

/// An expression and where it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Expression {
    /// What it says.
    pub kind: ExpressionKind,
    /// Where it was written.
    pub at: At,
}

/// What an expression says.
#[derive(Clone, Debug, PartialEq)]
pub enum ExpressionKind {
    /// `32`; never negative.
    Integer(i64),
    /// `1e-3`; finite and never negative.
    Float(f64),
    /// `yes` or `no`
    Boolean(bool),
    /// `full`
    Full,
    /// `"block{i}_sepconv1"`
    Text(Vec<Piece>),
    /// A variable or a word such as `same`.
    Name(String),
    /// `3x3`: rows and columns.
    Window([u32; 2]),
    /// `[1, 2, 3]`
    List(Vec<Expression>),
    /// `1..4`, both ends included.
    Range(Box<Expression>, Box<Expression>),
    /// `-x` or `not x`
    Unary(Unary, Box<Expression>),
    /// `x + y`
    Binary(Binary, Box<Expression>, Box<Expression>),
    /// `min(x, y)`
    Call(Name, Vec<Expression>),
    /// `if c then x else if d then y else z`
    Conditional {
        /// Conditions and their values; the first condition that holds is taken.
        arms: Vec<(Expression, Expression)>,
        /// The value when none holds.
        otherwise: Box<Expression>,
    },
    /// Something with a syntax error.
    Bad,
}

/// Operators with one operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unary {
    /// `not`
    Not,
    /// `-`
    Negate,
}

/// Operators with two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    /// `or`
    Or,
    /// `and`
    And,
    /// `==`
    Equal,
    /// `!=`
    Unequal,
    /// `<=`
    AtMost,
    /// `>=`
    AtLeast,
    /// `<`
    Less,
    /// `>`
    Greater,
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`, rounded towards zero between integers
    Divide,
    /// `%`
    Remainder,
}

impl Binary {
    /// The sign in the language.
    pub fn sign(self) -> &'static str {
        match self {
            Binary::Or => "or",
            Binary::And => "and",
            Binary::Equal => "==",
            Binary::Unequal => "!=",
            Binary::AtMost => "<=",
            Binary::AtLeast => ">=",
            Binary::Less => "<",
            Binary::Greater => ">",
            Binary::Add => "+",
            Binary::Subtract => "-",
            Binary::Multiply => "*",
            Binary::Divide => "/",
            Binary::Remainder => "%",
        }
    }

    /// How tightly it binds; larger binds tighter.
    pub fn precedence(self) -> u8 {
        match self {
            Binary::Or => 1,
            Binary::And => 2,
            Binary::Equal
            | Binary::Unequal
            | Binary::AtMost
            | Binary::AtLeast
            | Binary::Less
            | Binary::Greater => 4,
            Binary::Add | Binary::Subtract => 5,
            Binary::Multiply | Binary::Divide | Binary::Remainder => 6,
        }
    }
}
