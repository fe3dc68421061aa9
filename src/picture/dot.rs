//! A network as text in the language DOT of Graphviz: a node for each layer, a cluster for each
//! flow.

use std::fmt::Write;

use xcc_compiler::graph::{Graph, LayerId};

use crate::layers::{Description, Form, describe, nodes_of_layers};

/// The DOT text of a graph as it was elaborated.
pub fn write(graph: &Graph) -> String {
    let nodes = nodes_of_layers(graph);
    let layers: Vec<(LayerId, Description)> = (0..graph.layers.len())
        .map(LayerId::new)
        .filter_map(|layer| Some((layer, describe(graph, layer, &nodes[layer.index()])?)))
        .collect();
    let mut text = format!("digraph {} {{\n", quoted(&graph.name));
    text.push_str("  node [shape=box, style=filled, fontname=\"Helvetica\", fontsize=10];\n");
    let flow = |layer: LayerId| graph.layer(layer).path.first();
    for (number, flow_layers) in layers.chunk_by(|a, b| flow(a.0) == flow(b.0)).enumerate() {
        let name = flow_layers.first().and_then(|(layer, _)| flow(*layer));
        if let Some(name) = name {
            line(&mut text, format_args!("  subgraph cluster_{number} {{ label={};", quoted(name)));
        }
        for (layer, description) in flow_layers {
            line(&mut text, format_args!("  {}", node(*layer, description)));
        }
        if name.is_some() {
            text.push_str("  }\n");
        }
    }
    for (layer, ids) in nodes.iter().enumerate().map(|(layer, ids)| (LayerId::new(layer), ids)) {
        let operands = ids.iter().flat_map(|&id| &graph.node(id).inputs);
        let others = operands.map(|&id| graph.node(id)).filter(|node| node.layer != layer);
        for operand in others {
            let shape = quoted(&operand.shape.to_string());
            line(&mut text, format_args!("  {} -> {layer} [label={shape}, fontsize=8];", operand.layer));
        }
    }
    text.push_str("}\n");
    text
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a string never fails.
    let _ = writeln!(text, "{line}");
}

fn node(layer: LayerId, description: &Description) -> String {
    let facts = description.segments().into_iter().chain(description.remarks.iter().cloned());
    let lines: Vec<String> =
        [description.title.clone(), description.name.clone()].into_iter().chain(facts).collect();
    format!("{layer} [label={}, fillcolor=\"{}\"];", quoted(&lines.join("\n")), color(description.form))
}

/// The tints of the drawings.
fn color(form: Form) -> &'static str {
    super::svg::colors(form).0
}

/// A string of the language: only quotes, backslashes and ends of lines have to be escaped.
fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use xcc_compiler::elaborate::read;

    use super::*;

    #[test]
    fn layers_stand_in_clusters_and_edges_have_shapes() {
        let source = "model m\ninput image 8 x 8 x 4\nflow f { residual { sepconv 4, 3x3, padding: same, segments: 2 as a } as s }";
        let graph = read(source, &[]).graph.unwrap();
        let expected = r##"digraph "m" {
  node [shape=box, style=filled, fontname="Helvetica", fontsize=10];
  l0 [label="Input\nimage", fillcolor="#ffffff"];
  subgraph cluster_1 { label="f";
  l1 [label="SeparableConv 4, 3x3\na\n2 segments of 2", fillcolor="#fdeccb"];
  l2 [label="Add\ns", fillcolor="#ffffff"];
  }
  l0 -> l1 [label="8x8x4", fontsize=8];
  l1 -> l2 [label="8x8x4", fontsize=8];
  l0 -> l2 [label="8x8x4", fontsize=8];
}
"##;
        assert_eq!(write(&graph), expected);
    }

    #[test]
    fn quotes_and_ends_of_lines_are_escaped() {
        assert_eq!(quoted("a \"b\"\\\nc"), r#""a \"b\"\\\nc""#);
    }
}
