//! Inputs of a network: images, an array, or random numbers.

use std::ops::Range;
use std::path::{Path, PathBuf};

use clap::Args;
use xcc_compiler::graph::{Graph, ImageSpec, Shape};
use xcc_runtime::{image, memory, npy, shown};

use crate::cli::{self, Failure};
use crate::numbers::bytes;

/// What a network is given.
#[derive(Args, Clone, Debug)]
pub struct InputArgs {
    /// Images, PNG or JPEG; they are resized and scaled as the spec says
    #[arg(value_name = "IMAGE")]
    pub images: Vec<PathBuf>,
    /// Inputs as an array of f4, f8 or u1, (images, rows, columns, channels) or one without the
    /// first axis; taken as they are
    #[arg(long, value_name = "X.npy", conflicts_with = "images")]
    pub input: Option<PathBuf>,
}

/// Inputs that are there, or can be read.
pub struct Inputs {
    spec: ImageSpec,
    shape: Shape,
    source: Source,
    note: Option<String>,
}

enum Source {
    Images(Vec<PathBuf>),
    Values(Vec<f32>),
}

impl InputArgs {
    /// The inputs given, if any.
    pub fn inputs(&self, graph: &Graph) -> Result<Option<Inputs>, Failure> {
        let (spec, shape) = (graph.image.clone(), graph.node(graph.input).shape);
        let mut note = None;
        let source = match &self.input {
            Some(path) => {
                let array = npy::read_inputs(path, shape).map_err(Failure::input)?;
                note = note_on_bytes(&array, &spec, path);
                Source::Values(array.values)
            }
            None if self.images.is_empty() => return Ok(None),
            None => Source::Images(self.images.clone()),
        };
        Ok(Some(Inputs { spec, shape, source, note }))
    }
}

/// What to say about bytes, which stay 0 to 255, where the spec scales samples to another range.
fn note_on_bytes(array: &npy::Inputs, spec: &ImageSpec, path: &Path) -> Option<String> {
    let [low, high] = spec.range;
    let other = array.are_bytes && spec.range != [0.0, 255.0];
    other.then(|| {
        format!(
            "{} holds bytes, which are taken as 0 to 255; images are scaled to {low} to {high}, arrays are not",
            shown::path(path)
        )
    })
}

impl Inputs {
    /// `count` inputs of random numbers in the range of the spec's images, the same on every
    /// machine.
    pub fn random(graph: &Graph, count: u32, seed: u64) -> Result<Self, Failure> {
        let (spec, shape) = (graph.image.clone(), graph.node(graph.input).shape);
        let elements = u64::from(count).saturating_mul(shape.elements());
        let mut values = reserved(elements)?;
        let [low, high] = spec.range.map(f64::from);
        values.extend((0..elements).map(|index| (low + (high - low) * uniform(seed, index)) as f32));
        Ok(Self { spec, shape, source: Source::Values(values), note: None })
    }

    /// A note on standard error about what is unusual in them.
    pub fn tell(&self) {
        self.note.iter().for_each(cli::note);
    }

    /// How many there are, at least one.
    pub fn count(&self) -> usize {
        match &self.source {
            Source::Images(paths) => paths.len(),
            Source::Values(values) => values.len() / self.elements(),
        }
    }

    /// What to call an input: the file of an image, or its number from 0.
    pub fn name(&self, index: usize) -> String {
        match &self.source {
            Source::Images(paths) => paths[index].display().to_string(),
            Source::Values(_) => index.to_string(),
        }
    }

    /// Whether they are images.
    pub fn are_images(&self) -> bool {
        matches!(self.source, Source::Images(_))
    }

    /// Some of the inputs, one behind the other in NHWC order, and zeros behind them if they are
    /// fewer than `fill`.
    pub fn read(&self, range: Range<usize>, fill: usize) -> Result<Vec<f32>, Failure> {
        let length = fill.max(range.len()) as u64 * self.elements() as u64;
        let mut values = reserved(length)?;
        match &self.source {
            Source::Images(paths) => {
                let images = image::load_all(&paths[range], &self.spec, self.shape);
                values.extend(images.map_err(|errors| all(&errors))?.into_iter().flatten());
            }
            Source::Values(all) => {
                values.extend_from_slice(&all[range.start * self.elements()..range.end * self.elements()]);
            }
        }
        values.resize(length as usize, 0.0);
        Ok(values)
    }

    /// Numbers of one input. The elaborator bounds them far below what a machine can address.
    fn elements(&self) -> usize {
        self.shape.elements() as usize
    }
}

/// Room for `length` numbers.
fn reserved(length: u64) -> Result<Vec<f32>, Failure> {
    memory::reserved(usize::try_from(length).unwrap_or(usize::MAX)).map_err(|_| {
        let size = length.saturating_mul(size_of::<f32>() as u64);
        Failure::input(format!(
            "cannot allocate {size} bytes of input: {} are too much; fewer images in a run (`--batch`) take less",
            bytes(size)
        ))
    })
}

/// One failure that tells of all errors, a line each.
fn all(errors: &[image::ImageError]) -> Failure {
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    Failure::input(lines.join("\n  and: "))
}

/// Number `index` of the stream `seed`, from 0 up to 1: SplitMix64 (Steele, Lea and Flood, OOPSLA
/// 2014).
fn uniform(seed: u64, index: u64) -> f64 {
    let mut z = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}
