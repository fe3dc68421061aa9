//! How a tensor of a file becomes one of the network: axes in another order, axes of extent 1 that
//! one side lacks, and the order in which pixels behind a flatten count.

use std::collections::HashMap;

use xcc_compiler::graph::{Graph, Op, Role, Shape, Weight, WeightId};

use super::bind::fits;
use super::error::{Extents, Mismatch};
use super::name_map::{Axis, FlattenOrder, NameMap, RuleLayout};
use super::stored::{Data, Stored};

/// A transposition: the file's numbers as an array of `shape`, axis `i` of the result being its
/// axis `axes[i]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    /// Extents, of which one axis of the file may take several.
    pub shape: Vec<u64>,
    /// A permutation of the axes of `shape`.
    pub axes: Vec<usize>,
}

/// What a name map says of a tensor's layout.
pub(super) struct Said<'a> {
    /// The order of axes.
    pub transpose: Option<&'a [Axis]>,
    /// The order of pixels and channels behind a flatten, said in the rule.
    pub flatten: Option<FlattenOrder>,
    /// That order, said for all tensors.
    pub flatten_of_all: Option<FlattenOrder>,
    /// True if any rule changes the order of axes.
    pub map_transposes: bool,
}

impl<'a> Said<'a> {
    /// What `map` says of a tensor for which its rule says `layout`.
    pub fn of(map: Option<&NameMap>, layout: Option<&'a RuleLayout>) -> Said<'a> {
        Said {
            transpose: layout.and_then(|layout| layout.transpose.as_deref()),
            flatten: layout.and_then(|layout| layout.flatten),
            flatten_of_all: map.and_then(NameMap::flatten),
            map_transposes: map.is_some_and(NameMap::transposes),
        }
    }
}

/// The order of the elements of a vector behind a flatten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counted {
    /// Those of this map: rows, columns, channels.
    Map([u64; 3]),
    /// Those of several vectors, one behind the other.
    Joined,
}

/// Tensors whose first axis counts the elements of a flattened map.
pub(super) struct Flattened(HashMap<WeightId, Counted>);

impl Flattened {
    /// Finds dense kernels and batch normalisations whose operand is a flatten, perhaps behind
    /// layers that keep the order of elements. Takes time linear in the graph.
    pub fn of(graph: &Graph) -> Self {
        let mut values: Vec<Option<Counted>> = vec![None; graph.id_bound()];
        let mut tensors = HashMap::new();
        for &id in graph.order() {
            let node = graph.node(id);
            let first = node.inputs.first().map(|&operand| (operand, values[operand.index()]));
            let operand = first.and_then(|(_, counted)| counted);
            values[id.index()] = match (&node.op, first) {
                (Op::Flatten, Some((map, _))) => match graph.node(map).shape {
                    Shape::Map { h, w, c } => Some(Counted::Map([h, w, c].map(u64::from))),
                    Shape::Vector { .. } => operand,
                },
                (Op::Activation(_) | Op::Dropout { .. } | Op::BatchNorm(_) | Op::Softmax, _) => operand,
                (Op::Add, _) => node.inputs.iter().find_map(|input| values[input.index()]),
                (Op::Concat, _) if node.inputs.iter().any(|input| values[input.index()].is_some()) => {
                    Some(Counted::Joined)
                }
                (
                    Op::Input
                    | Op::Conv(_)
                    | Op::Separable(_)
                    | Op::Pool(_)
                    | Op::GlobalPool(_)
                    | Op::Dense(_)
                    | Op::Concat
                    | Op::Flatten,
                    _,
                ) => None,
            };
            if let (Op::Dense(_) | Op::BatchNorm(_), Some(counted)) = (&node.op, operand) {
                let counts = |weight: &WeightId| graph.weight(*weight).role != Role::Bias;
                tensors.extend(node.op.weights().into_iter().filter(counts).map(|weight| (weight, counted)));
            }
        }
        Self(tensors)
    }
}

/// How `stored` becomes the tensor `id` of the network: a transposition if its numbers are not in
/// order yet.
pub(super) fn fit(
    graph: &Graph,
    flattened: &Flattened,
    id: WeightId,
    stored: &Stored,
    said: &Said,
) -> Result<Option<Turn>, Mismatch> {
    let weight = graph.weight(id);
    if let Data::Unreadable(found) = &stored.data {
        return Err(Mismatch::Element { stored: stored.name.clone(), found: found.clone() });
    }
    let axes = file_axes(stored, said.transpose)?;
    check_shape(weight, stored, said.transpose)?;
    let order = flatten_order(flattened.0.get(&id), weight, stored, said)?;
    let turn = Turn { shape: stored.shape.clone(), axes };
    let turn = match order {
        Some(map) => turn.channels_first(map),
        None => turn,
    };
    Ok((!turn.axes.is_sorted()).then_some(turn))
}

/// The axes of the file in our order, those that it lacks left out.
fn file_axes(stored: &Stored, transpose: Option<&[Axis]>) -> Result<Vec<usize>, Mismatch> {
    let rank = stored.shape.len();
    let Some(axes) = transpose else { return Ok((0..rank).collect()) };
    let old: Vec<usize> = axes.iter().filter_map(|axis| axis.of_file()).collect();
    match old.len() == rank {
        true => Ok(old),
        false => Err(Mismatch::Transpose {
            stored: stored.name.clone(),
            shape: stored.extents(),
            permutation: axes.to_vec(),
        }),
    }
}

/// The extents after a transposition, which fits the file's rank.
fn moved(shape: &[u64], axes: &[Axis]) -> Vec<u64> {
    axes.iter().map(|axis| axis.of_file().map_or(1, |axis| shape[axis])).collect()
}

/// Refuses shapes that are not the weight's, and those that are only if axes are in one of several
/// orders.
fn check_shape(weight: &Weight, stored: &Stored, transpose: Option<&[Axis]>) -> Result<(), Mismatch> {
    let found = transpose.map_or_else(|| stored.shape.clone(), |axes| moved(&stored.shape, axes));
    if fits(weight, &found) || (transpose.is_some() && fits_but_for_ones(weight, &found)) {
        return Ok(());
    }
    let (tensor, name) = (weight.name.clone(), stored.name.clone());
    let expected = Extents::from(&weight.shape[..]);
    // Without a word on axes, a tensor of another rank fits if its extents can be in one order
    // only.
    if transpose.is_none() && found.len() != weight.shape.len() && fits_but_for_ones(weight, &found) {
        if all_differ(&found) {
            return Ok(());
        }
        let example = with_new_axes(weight, &found, &(0..found.len()).collect::<Vec<_>>());
        return Err(Mismatch::AnyOrder { tensor, stored: name, expected, found: Extents(found), example });
    }
    let permutation = if transpose.is_none() { fitting_order(weight, &found) } else { None };
    Err(Mismatch::Shape { tensor, stored: name, expected, found: Extents(found), permutation })
}

/// True if the shapes are the same but for axes of extent 1.
fn fits_but_for_ones(weight: &Weight, shape: &[u64]) -> bool {
    let without_ones = |extents: &mut dyn Iterator<Item = u64>| -> Vec<u64> {
        extents.filter(|&extent| extent != 1).collect()
    };
    let expected = without_ones(&mut weight.shape.iter().map(|&extent| u64::from(extent)));
    // A depthwise kernel of three axes has channels times multiplier as the last one.
    let as_grouped = || matches!(shape, &[h, w, outputs] if fits(weight, &[h, w, 1, outputs]));
    expected == without_ones(&mut shape.iter().copied()) || as_grouped()
}

/// True if no two extents but ones are equal.
fn all_differ(shape: &[u64]) -> bool {
    let mut extents: Vec<u64> = shape.iter().copied().filter(|&extent| extent != 1).collect();
    extents.sort_unstable();
    extents.windows(2).all(|pair| pair[0] != pair[1])
}

/// The order of axes that turns `shape` into the weight's, the usual ones of other tools first.
pub(super) fn fitting_order(weight: &Weight, shape: &[u64]) -> Option<Vec<Axis>> {
    // Kernels as output x input x rows x columns (PyTorch, ONNX), depthwise ones, dense ones.
    const USUAL: [&[usize]; 5] = [&[2, 3, 1, 0], &[2, 3, 0, 1], &[3, 2, 1, 0], &[1, 2, 0], &[1, 0]];
    let turned = |axes: &[usize]| -> Vec<u64> { axes.iter().map(|&axis| shape[axis]).collect() };
    let of_rank = USUAL.into_iter().filter(|axes| axes.len() == shape.len());
    let same_rank = |axes: &&[usize]| fits(weight, &turned(axes));
    let other_rank =
        |axes: &&[usize]| shape.len() != weight.shape.len() && fits_but_for_ones(weight, &turned(axes));
    let axes = of_rank.clone().find(same_rank).or_else(|| of_rank.clone().find(other_rank))?;
    Some(with_new_axes(weight, &turned(axes), axes))
}

/// Axes as a map lists them: `axes`, whose extents are `turned`, and `new` where the weight has a
/// 1 more.
fn with_new_axes(weight: &Weight, turned: &[u64], axes: &[usize]) -> Vec<Axis> {
    let mut missing = weight.shape.len().saturating_sub(turned.len());
    let mut rest = turned.iter().zip(axes).peekable();
    let mut list = Vec::new();
    for &extent in &weight.shape {
        let next = rest.peek().map(|(found, _)| **found);
        if missing > 0 && extent == 1 && next != Some(1) {
            missing -= 1;
            list.push(Axis::New);
        } else if let Some((_, &axis)) = rest.next() {
            list.push(Axis::OfFile(axis));
        }
    }
    list.extend(rest.map(|(_, &axis)| Axis::OfFile(axis)));
    list
}

/// The map whose channels come first in the file, if there is one: its rows, columns and channels.
fn flatten_order(
    counted: Option<&Counted>,
    weight: &Weight,
    stored: &Stored,
    said: &Said,
) -> Result<Option<[u64; 3]>, Mismatch> {
    let (tensor, name) = (weight.name.clone(), stored.name.clone());
    let Some(counted) = counted else {
        return match said.flatten {
            Some(_) => Err(Mismatch::NoFlatten { tensor, stored: name }),
            None => Ok(None),
        };
    };
    match (counted, said.flatten.or(said.flatten_of_all)) {
        (_, Some(FlattenOrder::ChannelsLast)) => Ok(None),
        // With one pixel or one channel, both orders are the same.
        (Counted::Map([h, w, c]), _) if h * w == 1 || *c == 1 => Ok(None),
        (Counted::Map(map), Some(FlattenOrder::ChannelsFirst)) => Ok(Some(*map)),
        (Counted::Joined, Some(FlattenOrder::ChannelsFirst)) => {
            Err(Mismatch::FlattenJoined { tensor, stored: name })
        }
        (_, None) if !said.map_transposes => Ok(None),
        (Counted::Map(map), None) => {
            Err(Mismatch::FlattenOrder { tensor, stored: name, map: Some(Extents(map.to_vec())) })
        }
        (Counted::Joined, None) => Err(Mismatch::FlattenOrder { tensor, stored: name, map: None }),
    }
}

impl Turn {
    /// The transposition with the elements of our first axis, which count channels, rows and
    /// columns in the file, in the order of rows, columns and channels.
    fn channels_first(self, [h, w, c]: [u64; 3]) -> Turn {
        let elements = h * w * c;
        let Some(split) = self.axes.iter().copied().find(|&axis| self.shape[axis] == elements) else {
            return self;
        };
        let mut shape = self.shape;
        shape.splice(split..=split, [c, h, w]);
        let place = |axis: usize| match axis {
            _ if axis < split => vec![axis],
            _ if axis == split => vec![split + 1, split + 2, split],
            _ => vec![axis + 2],
        };
        Turn { shape, axes: self.axes.into_iter().flat_map(place).collect() }
    }
}
