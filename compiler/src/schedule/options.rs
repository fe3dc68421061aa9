//! How a network is to be planned, the limits of plans, and why a graph cannot be planned.

use std::fmt;
use std::str::FromStr;

use crate::graph::{Graph, Node};
use crate::target::{Bf16Unit, Isa, Target};

/// The least exact products that a network may have: a layer has f32 products wherever these take
/// no more time ([`precisions`](super::precisions)). Sums, biases, activations and all values
/// between layers are f32 in every case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// f32 factors. Where there are matrix instructions, large layers take each factor as the sum
    /// of three bf16 values, which hold all of its 24 bits, and six of the nine products of these:
    /// what is left out is at most about 2^-24 of a product, as much as its rounding to f32 loses.
    /// Parts of values below 1e-33 are lost, and infinities yield NaN there.
    #[default]
    F32,
    /// Factors rounded to bf16, 8 bits of mantissa, by matrix instructions or products of pairs.
    /// Where these are of planes of Winograd's method, the factors are sums of inputs and of
    /// weights, and infinities yield NaN.
    Bf16,
    /// Each factor as the sum of two bf16 values, and three of the four products of these: about
    /// 16 bits of mantissa, by matrix instructions.
    Split,
}

impl Precision {
    /// All of them, the most exact first.
    pub const ALL: [Precision; 3] = [Precision::F32, Precision::Split, Precision::Bf16];

    /// bf16 values that a factor is taken as where tiles multiply, see
    /// [`bf16::limbs`](crate::vector::bf16::limbs).
    pub fn limbs(self) -> u32 {
        match self {
            Precision::F32 => 3,
            Precision::Split => 2,
            Precision::Bf16 => 1,
        }
    }

    /// Products of tiles that a multiply-add takes: those of parts that together reach as far as
    /// the last part.
    pub fn products(self) -> u32 {
        self.limbs() * (self.limbs() + 1) / 2
    }

    /// The first instruction set that has it. Products of pairs are twice as fast as those of f32
    /// values, so only with tiles are several for a multiply-add worth while.
    pub fn needs(self) -> Isa {
        match self {
            Precision::F32 => Isa::Baseline,
            Precision::Bf16 => Isa::Avx512Bf16,
            Precision::Split => Isa::Amx,
        }
    }

    /// Whether `target` has the instructions.
    pub fn is_for(self, target: Target) -> bool {
        target.isa >= self.needs()
    }

    /// Whether `target` takes factors of large layers as bf16 values.
    pub fn is_by_bf16(self, target: Target) -> bool {
        match target.bf16_unit() {
            Some(Bf16Unit::Tiles) => true,
            Some(Bf16Unit::Pairs) => self == Precision::Bf16,
            None => false,
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Precision::F32 => "f32",
            Precision::Bf16 => "bf16",
            Precision::Split => "split",
        })
    }
}

/// There is no such precision.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no precision `{name}`; there are f32, bf16 and split")]
pub struct UnknownPrecision {
    /// The name.
    name: String,
}

impl FromStr for Precision {
    type Err = UnknownPrecision;

    fn from_str(name: &str) -> Result<Self, UnknownPrecision> {
        let known = Self::ALL.into_iter().find(|precision| precision.to_string() == name);
        known.ok_or_else(|| UnknownPrecision { name: name.to_owned() })
    }
}

/// How a plan is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanOptions {
    /// Images in a run, at least one.
    pub batch: u32,
    /// Threads that work is divided for; any number can run the program.
    pub threads: u32,
    /// Whether every value that is in memory whole stays there to the end of a run, to be looked
    /// at.
    pub keep_all: bool,
    /// What products are computed in.
    pub precision: Precision,
}

impl Default for PlanOptions {
    fn default() -> Self {
        Self { batch: 1, threads: 1, keep_all: false, precision: Precision::F32 }
    }
}

impl PlanOptions {
    /// How many shards of whole images a batch is divided into: one for each image where there are
    /// as many for every thread, since threads that run images of their own need not meet between
    /// steps, and values of a single image are sooner in a cache than those of all. Otherwise the
    /// batch is one shard, which all threads run together; and where a network has more weights
    /// that an image uses once than values, since these weights are then read once for all images.
    ///
    /// Plans that keep all values are for a look at one shard.
    pub fn shards(self, graph: &Graph) -> u32 {
        let apart = self.batch.is_multiple_of(self.threads) && !self.keep_all && !reads_weights_once(graph);
        if apart { self.batch } else { 1 }
    }

    /// The options of a shard, of which a batch has `shards`.
    pub fn of_shard(self, shards: u32) -> Self {
        match shards {
            1 => self,
            _ => Self { batch: self.batch / shards, threads: 1, ..self },
        }
    }
}

/// Whether a network has more weights that each image uses once than values: those of results of a
/// single pixel.
fn reads_weights_once(graph: &Graph) -> bool {
    let sum = |count: &dyn Fn(&Node) -> u64| {
        graph.order().iter().map(|&id| count(graph.node(id))).fold(0, u64::saturating_add)
    };
    let weights = |node: &Node| match node.shape.pixels() {
        1 => node.op.weights().iter().map(|&id| graph.weight(id).elements()).fold(0, u64::saturating_add),
        _ => 0,
    };
    sum(&weights) > sum(&|node: &Node| node.shape.elements())
}

/// Largest distance in bytes that a kernel moves at once.
pub const STEP_LIMIT: u64 = 1 << 27;

/// Largest arena, constants or scratch, in bytes: more than machines have, far below what 64-bit
/// addresses span.
pub const MEMORY_LIMIT: u64 = 1 << 38;

/// Most threads that a plan is for: more than machines have cores.
pub const THREADS_LIMIT: u32 = 1024;

/// Most images of a run: plans count units of work in 32 bits, and this many images leave room for
/// rows and channels.
pub const BATCH_LIMIT: u32 = 4096;

/// Why a graph cannot be planned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The graph breaks an invariant, see [`verify`](fn@crate::graph::verify::verify).
    #[error("the graph is broken: {violation}")]
    Graph {
        /// The first broken invariant.
        violation: String,
    },
    /// The plan would be for more threads or images than plans can be.
    #[error("the plan is to be for {found} {what}; the limit is {limit}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there would be.
        found: u32,
        /// The most.
        limit: u32,
    },
    /// A layer needs larger distances in memory, or more code, than kernels can have.
    #[error(
        "{layer} is too large to be compiled: {what} is {size}, the limit is {limit}; `--backend reference` has none"
    )]
    TooLarge {
        /// The layer.
        layer: String,
        /// What is too large; distances are in bytes.
        what: String,
        /// Its size.
        size: u64,
        /// The largest possible size.
        limit: u64,
    },
    /// The target lacks the instructions of the precision.
    #[error("precision {precision} needs {}, which {} lacks; run with --precision f32", .precision.needs(), lacking(*.precision, *.isa))]
    Precision {
        /// The precision.
        precision: Precision,
        /// The instruction set of the target.
        isa: Isa,
    },
    /// All values together need more memory than can be addressed.
    #[error("the network needs {bytes} bytes for its values at batch {batch}, the limit is {limit}")]
    Memory {
        /// Bytes needed.
        bytes: u64,
        /// Images that these are the values of.
        batch: u32,
        /// The largest possible size.
        limit: u64,
    },
}

/// The machine where that is what lacks something, else the target.
fn lacking(precision: Precision, isa: Isa) -> String {
    match precision.needs().missing() {
        missing if missing.is_empty() => format!("target {isa}"),
        missing => format!("this machine (no {})", missing.join(", ")),
    }
}

/// Options with at least one image and thread, unless there are too many.
pub fn checked(options: PlanOptions) -> Result<PlanOptions, PlanError> {
    let limits = [("threads", options.threads, THREADS_LIMIT), ("images", options.batch, BATCH_LIMIT)];
    match limits.into_iter().find(|(_, found, limit)| found > limit) {
        Some((what, found, limit)) => Err(PlanError::TooMany { what, found, limit }),
        None => Ok(PlanOptions { batch: options.batch.max(1), threads: options.threads.max(1), ..options }),
    }
}

/// Refuses a plan before anything is enumerated that grows with its memory.
pub fn check_memory(bytes: u64, options: PlanOptions) -> Result<(), PlanError> {
    if bytes <= MEMORY_LIMIT {
        return Ok(());
    }
    Err(PlanError::Memory { bytes, batch: options.batch, limit: MEMORY_LIMIT })
}
