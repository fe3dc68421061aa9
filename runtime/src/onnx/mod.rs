//! Networks for other tools: ONNX, with weights.
//!
//! The input has the shape that xcc's has, (images, rows, columns, channels), and so have maps
//! among the outputs; between them maps are (images, channels, rows, columns), as the operators
//! want them, with the transpositions that this needs. The number of images is free. Values are
//! called after the layers that yield them.

mod export;
mod message;

use prost::Message;
use xcc_compiler::graph::{Graph, WeightError, WeightSource};

use crate::memory::{OutOfMemory, reserved};

use crate::checked::{WrongLength, lengths, violation};

/// The version of the operators.
const OPSET: i64 = 17;
/// The version of the messages that came with it.
const IR_VERSION: i64 = 8;
/// Lengths within a file are signed 32-bit numbers to most readers.
const LARGEST: u64 = i32::MAX as u64;

/// Why a network cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum OnnxError {
    /// There are too many weights.
    #[error(
        "the network would take {bytes} bytes, but ONNX files have at most {LARGEST} (2 GiB): fewer units in dense \
         layers or more segments take less"
    )]
    TooLarge {
        /// What the file would have.
        bytes: u64,
    },
    /// The graph breaks an invariant.
    #[error("the graph is broken: {0}")]
    Graph(String),
    /// A parameter tensor has a wrong number of elements.
    #[error(transparent)]
    Weight(#[from] WrongLength),
    /// The numbers of a tensor cannot be had.
    #[error(transparent)]
    Unreadable(#[from] WeightError),
    /// There is no memory for the file.
    #[error(transparent)]
    Memory(#[from] OutOfMemory),
    /// The graph holds what only passes make.
    #[error("layer {layer}: {what} cannot be exported; export the graph as it was elaborated")]
    Fused {
        /// The layer.
        layer: String,
        /// What it is.
        what: &'static str,
    },
}

/// The file of a graph, as it was elaborated, with its weights.
pub fn bytes(graph: &Graph, weights: &dyn WeightSource) -> Result<Vec<u8>, OnnxError> {
    violation(graph).map_or(Ok(()), |violation| Err(OnnxError::Graph(violation)))?;
    let elements = graph.weights.iter().fold(0_u64, |sum, weight| sum.saturating_add(weight.elements()));
    check_size(elements.saturating_mul(size_of::<f32>() as u64))?;
    lengths(graph, weights)?;
    let model = message::Model {
        ir_version: IR_VERSION,
        producer_name: "xcc".to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        graph: Some(export::graph(graph, weights)?),
        opset_import: vec![message::OperatorSet { domain: String::new(), version: OPSET }],
        metadata_props: export::facts(graph),
    };
    let length = model.encoded_len();
    check_size(length as u64)?;
    let mut bytes = reserved(length)?;
    model.encode(&mut bytes).map_err(|_| OutOfMemory { bytes: length as u64 })?;
    Ok(bytes)
}

fn check_size(bytes: u64) -> Result<(), OnnxError> {
    if bytes > LARGEST { Err(OnnxError::TooLarge { bytes }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::collections::HashSet;

    use xcc_compiler::elaborate;
    use xcc_compiler::graph::WeightId;

    use super::*;
    use crate::weights::Weights;

    fn graph(source: &str) -> Graph {
        elaborate::read(source, &[]).graph.unwrap()
    }

    fn exported(graph: &Graph) -> message::Graph {
        let bytes = bytes(graph, &Weights::random(graph, 1)).unwrap();
        message::Model::decode(&bytes[..]).unwrap().graph.unwrap()
    }

    /// Every name is defined once, before it is read; every constant is read, and has the elements
    /// its extents say.
    #[test]
    fn names_are_defined_once_and_before_use() {
        for entry in std::fs::read_dir("../specs").unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "xc") {
                continue;
            }
            let spec = path.display();
            let source = std::fs::read_to_string(&path).unwrap();
            let graph = graph(&source);
            let exported = exported(&graph);
            let mut known: HashSet<&str> = exported.input.iter().map(|input| input.name.as_str()).collect();
            for tensor in &exported.initializer {
                assert!(known.insert(&tensor.name), "{spec}: {} twice", tensor.name);
                let bytes = if tensor.data_type == message::FLOAT { 4 } else { 8 };
                assert_eq!(tensor.raw_data.len() as i64, tensor.dims.iter().product::<i64>() * bytes);
            }
            let mut read: HashSet<&str> = HashSet::new();
            for node in &exported.node {
                read.extend(node.input.iter().map(String::as_str));
                assert!(node.input.iter().all(|name| known.contains(name.as_str())), "{spec}: {node:?}");
                assert!(node.output.iter().all(|name| known.insert(name)), "{spec}: {node:?}");
            }
            assert!(exported.output.iter().all(|output| known.contains(output.name.as_str())), "{spec}");
            let unread = exported.initializer.iter().find(|tensor| !read.contains(tensor.name.as_str()));
            assert!(unread.is_none(), "{spec}: {unread:?}");
        }
    }

    #[test]
    fn uneven_segments_are_split_into_runs_of_equal_ones() {
        let graph = graph("model m\ninput image 4 x 4 x 8\ndepthwise 3x3, segments: 3");
        let exported = exported(&graph);
        let operators: Vec<&str> = exported.node.iter().map(|node| node.op_type.as_str()).collect();
        assert_eq!(operators, ["Transpose", "Split", "Conv", "Conv", "Concat", "Transpose"]);
        let group = |node: &message::Node| node.attribute.iter().find(|a| a.name == "group").unwrap().i;
        assert_eq!([2, 3].map(|node: usize| group(&exported.node[node])), [Some(2), Some(1)]);
    }

    #[test]
    fn networks_of_more_than_2_gib_are_refused_with_the_numbers() {
        let graph = graph("model m\ninput image 128 x 128 x 3\nflatten\ndense 11000");
        struct None;
        impl WeightSource for None {
            fn tensor(&self, _: WeightId) -> Result<Cow<'_, [f32]>, WeightError> {
                Ok(Cow::default())
            }

            fn length(&self, _: WeightId) -> u64 {
                0
            }
        }
        let error = bytes(&graph, &None).unwrap_err().to_string();
        assert!(
            error.starts_with(
                "the network would take 2162732000 bytes, but ONNX files have at most 2147483647"
            ),
            "{error}"
        );
    }
}
