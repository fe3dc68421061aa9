//! The most that is read of a source.

/// Bytes.
pub const MAX_SOURCE: usize = 1 << 18;

/// How deep brackets and braces may be nested.
pub const MAX_NESTING: usize = 32;

/// How many operators an expression may have between two brackets.
pub const MAX_OPERATORS: usize = 32;

/// How many arguments a statement, and how many parameters a block may have.
pub const MAX_ARGUMENTS: usize = 64;

/// Bytes of a name: of a parameter, variable, block, layer or attribute.
pub const MAX_NAME: usize = 200;

/// How many syntax errors are reported.
pub const MAX_ERRORS: usize = 100;
