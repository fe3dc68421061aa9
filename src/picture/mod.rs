//! Pictures of networks: a graph, as it was elaborated, becomes a tree of rows and paths (`tree`,
//! `fold`), that gets places (`layout`) and becomes a drawing (`drawing`), written as SVG (`svg`).
//! DOT text (`dot`) has every layer and leaves places to Graphviz.

mod dot;
mod drawing;
mod fold;
mod layout;
mod svg;
mod tree;

use xcc_compiler::graph::Graph;

pub use dot::write as dot;

/// The network as one SVG element, in the manner of the Xception paper's figure 5: flows as
/// columns, what repeats drawn once, shortcuts at the side. Groups of layers have their names as
/// `data-layer`.
pub fn svg(graph: &Graph) -> String {
    let mut tree = tree::Tree::new(graph);
    fold::fold(graph, &mut tree);
    svg::write(&layout::place(graph, &tree))
}

#[cfg(test)]
mod tests {
    use xcc_compiler::elaborate::read;

    use super::drawing::{Area, Shape};
    use super::*;

    fn drawing(spec: &str) -> drawing::Drawing {
        let source = std::fs::read_to_string(spec).unwrap();
        let graph = read(&source, &[]).graph.unwrap();
        let mut tree = tree::Tree::new(&graph);
        fold::fold(&graph, &mut tree);
        layout::place(&graph, &tree)
    }

    fn specs() -> Vec<String> {
        let files = std::fs::read_dir("specs").unwrap().map(|entry| entry.unwrap().path());
        let specs = files.filter(|path| path.extension().is_some_and(|extension| extension == "xc"));
        specs.map(|path| path.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn boxes_lie_within_the_drawing_and_never_on_each_other() {
        for spec in specs() {
            let drawing = drawing(&spec);
            let areas: Vec<Area> = drawing
                .shapes
                .iter()
                .filter_map(|shape| if let Shape::Layer(layer) = shape { Some(layer.area) } else { None })
                .collect();
            for (number, a) in areas.iter().enumerate() {
                assert!(a.x >= 0.0 && a.x + a.width <= drawing.width, "{spec}: {a:?}");
                assert!(a.y >= 0.0 && a.y + a.height <= drawing.height, "{spec}: {a:?}");
                let apart = |b: &Area| {
                    a.x + a.width <= b.x
                        || b.x + b.width <= a.x
                        || a.y + a.height <= b.y
                        || b.y + b.height <= a.y
                };
                assert!(areas[..number].iter().all(apart), "{spec}: {a:?}");
            }
        }
    }

    /// No line crosses a box: each begins and ends at edges, or has no layer in its way.
    #[test]
    fn lines_go_around_boxes() {
        for spec in specs() {
            let drawing = drawing(&spec);
            let boxes = || {
                let layers = drawing.shapes.iter();
                layers.filter_map(|shape| if let Shape::Layer(layer) = shape { Some(layer) } else { None })
            };
            for shape in &drawing.shapes {
                let Shape::Line { points, .. } = shape else { continue };
                for pair in points.windows(2) {
                    let [low, high] = [f64::min, f64::max]
                        .map(|pick| (pick(pair[0].0, pair[1].0), pick(pair[0].1, pair[1].1)));
                    let crossed = boxes().find(|layer| {
                        let Area { x, y, width, height } = layer.area;
                        let inside = 0.01;
                        high.0 > x + inside
                            && low.0 < x + width - inside
                            && high.1 > y + inside
                            && low.1 < y + height - inside
                    });
                    assert!(crossed.is_none(), "{spec}: {pair:?} crosses {crossed:?}");
                }
            }
        }
    }
}
