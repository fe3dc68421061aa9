//! Rows of layers that repeat are drawn once.

use std::collections::HashMap;

use xcc_compiler::graph::{Graph, LayerId};

use super::tree::{Flow, Item, Tree, last_layer};

/// Longest run of items that is recognised as repeated.
const LONGEST: usize = 64;
/// A run of fewer layers than this is drawn as often as it is there: a frame around it would say
/// no less.
const FEWEST: usize = 2;

/// Folds the rows of every flow.
pub fn fold(graph: &Graph, tree: &mut Tree) {
    let mut likeness = Likeness::default();
    let mut flows = std::mem::take(&mut tree.flows);
    for flow in &mut flows {
        let classes: Vec<usize> = flow.items.iter().map(|item| likeness.class(tree, item)).collect();
        flow.items = by_turns(graph, flow, &classes).unwrap_or_else(|| by_likeness(flow, &classes));
    }
    tree.flows = flows;
}

/// One repetition of all turns of a flow, if they are alike.
fn by_turns(graph: &Graph, flow: &Flow, classes: &[usize]) -> Option<Vec<Item>> {
    let turn = |item: &Item| graph.layer(last_layer(item)?).path.get(1).cloned();
    let turns: Vec<Option<String>> = flow.items.iter().map(turn).collect();
    turns.first()?.as_ref()?;
    let length = turns.iter().take_while(|turn| **turn == turns[0]).count();
    let times = classes.len() / length;
    let is_alike = times > 1
        && classes.len().is_multiple_of(length)
        && turns.chunks(length).all(|turn| turn.iter().all(|name| *name == turn[0]))
        && classes.chunks(length).all(|turn| *turn == classes[..length]);
    is_alike.then(|| vec![Item::Repeat { times, body: flow.items[..length].to_vec() }])
}

/// The row with each run of repeated items as one. Where a run can begin at several items it
/// begins at the last, so that an activation stays with the layers before it.
fn by_likeness(flow: &Flow, classes: &[usize]) -> Vec<Item> {
    let (mut items, mut at) = (Vec::new(), 0);
    let find = |at: usize| repetition(flow.items.get(at..)?, classes.get(at..)?);
    let covered = |found: Option<(usize, usize)>| found.map_or(0, |(length, times)| length * times);
    while let Some(item) = flow.items.get(at) {
        let found = find(at);
        match found.filter(|_| covered(found) > covered(find(at + 1))) {
            Some((length, times)) => {
                items.push(Item::Repeat { times, body: flow.items[at..at + length].to_vec() });
                at += length * times;
            }
            None => {
                items.push(item.clone());
                at += 1;
            }
        }
    }
    items
}

/// How many of the first items repeat, and how often they are there: those that cover most, of
/// several the shortest.
fn repetition(items: &[Item], classes: &[usize]) -> Option<(usize, usize)> {
    let times =
        |length: usize| classes.chunks_exact(length).take_while(|chunk| *chunk == &classes[..length]).count();
    let is_worth_it = |length: usize| layers(&items[..length]) >= FEWEST;
    let lengths = (1..=LONGEST.min(classes.len() / 2)).filter(|&length| is_worth_it(length));
    let found = lengths.map(|length| (length, times(length))).filter(|(_, times)| *times > 1);
    found.max_by_key(|&(length, times)| (length * times, std::cmp::Reverse(length)))
}

/// Layers that are drawn for a row.
fn layers(items: &[Item]) -> usize {
    let item = |item: &Item| match item {
        Item::Layer { .. } => 1,
        Item::Fork(fork) => 1 + fork.paths.iter().map(|path| layers(path)).sum::<usize>(),
        Item::Listing(listed) => listed.len(),
        Item::Repeat { body, .. } => layers(body),
    };
    items.iter().map(item).sum()
}

/// Classes of items that are alike up to names.
#[derive(Default)]
struct Likeness {
    classes: HashMap<String, usize>,
}

impl Likeness {
    fn class(&mut self, tree: &Tree, item: &Item) -> usize {
        let next = self.classes.len();
        *self.classes.entry(text(tree, item)).or_insert(next)
    }
}

/// What an item is, without names.
fn text(tree: &Tree, item: &Item) -> String {
    let row = |items: &[Item]| items.iter().map(|item| text(tree, item)).collect::<Vec<_>>().join(" ");
    match item {
        Item::Layer { layer, is_normalised } => format!("{}{is_normalised}", layer_text(tree, *layer)),
        Item::Fork(fork) => {
            let paths: Vec<String> = fork.paths.iter().map(|path| row(path)).collect();
            format!("[{}]{}", paths.join("|"), layer_text(tree, fork.join))
        }
        // Names matter here: they say what is read.
        Item::Listing(listed) => format!("{listed:?}"),
        Item::Repeat { times, body } => format!("{times}({})", row(body)),
    }
}

fn layer_text(tree: &Tree, layer: LayerId) -> String {
    let described = tree.describe(layer).map(|layer| {
        let cut = layer.partition.as_ref().map_or_else(String::new, ToString::to_string);
        format!("{} {cut} {} {}", layer.title, layer.remarks.join(","), layer.shape)
    });
    described.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use xcc_compiler::elaborate::read;

    use super::*;

    /// For each flow, what is repeated how often: (layers drawn, times).
    fn repeats(spec: &str, settings: &[(&str, &str)]) -> Vec<(String, usize, usize)> {
        let source = std::fs::read_to_string(spec).unwrap();
        let settings: Vec<(String, String)> =
            settings.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let graph = read(&source, &settings).graph.unwrap();
        let mut tree = Tree::new(&graph);
        fold(&graph, &mut tree);
        let flow = |flow: &Flow| {
            let name = flow.name.clone().unwrap_or_default();
            let found = flow.items.iter().filter_map(|item| match item {
                Item::Repeat { times, body } => Some((layers(body), *times)),
                _ => None,
            });
            found.map(|(drawn, times)| (name.clone(), drawn, times)).collect::<Vec<_>>()
        };
        tree.flows.iter().flat_map(flow).collect()
    }

    #[test]
    fn the_middle_flow_is_drawn_once_as_in_the_paper() {
        let spec = "specs/xception.xc";
        // Three activations, three convolutions and a sum; without residuals there is no sum.
        assert_eq!(repeats(spec, &[]), [("middle".to_owned(), 7, 8)]);
        assert_eq!(repeats(spec, &[("residuals", "no"), ("repeats", "5")]), [("middle".to_owned(), 6, 5)]);
        assert_eq!(repeats(spec, &[("repeats", "1")]), []);
    }

    #[test]
    fn identical_blocks_are_folded_and_different_ones_are_not() {
        let blocks: Vec<usize> = repeats("specs/resnet50.xc", &[]).iter().map(|repeat| repeat.2).collect();
        assert_eq!(blocks, [2, 3, 5, 2]);
        assert_eq!(repeats("specs/mini_xception.xc", &[]), []);
    }
}
