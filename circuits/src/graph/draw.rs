//! The graph as a drawing: in Graphviz' language, and as an SVG of its own.

use std::fmt::Write as _;

use super::{
    Graph, Node, TensorId,
    describe::{printable, shape_words, short},
};

/// Size of a box, and the room between two.
const BOX: (usize, usize) = (230, 58);
const GAP: (usize, usize) = (26, 44);

/// One box of the drawing.
struct Shape {
    title: String,
    lines: [String; 2],
    /// How many boxes above it, at least.
    depth: usize,
    kind: &'static str,
}

/// What is drawn: inputs, nodes and outputs, and lines from one to another. Constants are named in the boxes that read them.
struct Drawing {
    shapes: Vec<Shape>,
    lines: Vec<(usize, usize)>,
}

impl Graph {
    fn drawing(&self) -> Drawing {
        let ids = self.ids();
        // By tensor: the box that gives it.
        let mut from = vec![None; self.tensors.len()];
        let mut drawing = Drawing { shapes: Vec::new(), lines: Vec::new() };
        let bounds = |id: TensorId| {
            let tensor = &self.tensors[id as usize];
            format!("{}  {}..{}", shape_words(&tensor.shape), tensor.low, tensor.high)
        };
        for (at, &id) in self.inputs.iter().enumerate() {
            from[id as usize] = Some(drawing.shapes.len());
            let lines = [bounds(id), String::new()];
            drawing.shapes.push(Shape { title: format!("input {at}"), lines, depth: 0, kind: "input" });
        }
        for node in &self.nodes {
            let here = drawing.shapes.len();
            let mut sources: Vec<usize> = node.inputs.iter().filter_map(|&id| from[id as usize]).collect();
            sources.sort_unstable();
            sources.dedup();
            let depth = sources.iter().map(|&source| drawing.shapes[source].depth + 1).max().unwrap_or(0);
            drawing.lines.extend(sources.into_iter().map(|source| (source, here)));
            from[node.output as usize] = Some(here);
            let shape = Shape {
                title: short(&printable(&node.name), 32),
                lines: [short(&self.words_with_constants(node, &from, &ids), 38), bounds(node.output)],
                depth,
                kind: "node",
            };
            drawing.shapes.push(shape);
        }
        for (at, &id) in self.outputs.iter().enumerate() {
            let source = from[id as usize];
            let depth = source.map_or(0, |source| drawing.shapes[source].depth + 1);
            drawing.lines.extend(source.map(|source| (source, drawing.shapes.len())));
            let lines = [bounds(id), String::new()];
            drawing.shapes.push(Shape { title: format!("output {at}"), lines, depth, kind: "output" });
        }
        drawing
    }

    fn words_with_constants(&self, node: &Node, from: &[Option<usize>], ids: &[String]) -> String {
        let constants = node.inputs.iter().filter(|&&id| from[id as usize].is_none());
        let names: Vec<&str> = constants.map(|&id| &*ids[id as usize]).collect();
        let words = self.op_words(node);
        if names.is_empty() { words } else { format!("{words} ({})", names.join(" ")) }
    }

    /// The graph in Graphviz' language: `dot -Tsvg`.
    pub fn to_dot(&self) -> String {
        let quote = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
        let drawing = self.drawing();
        let mut dot = "digraph model {\n  node [shape=box, fontname=\"sans-serif\", fontsize=10];\n".to_owned();
        for (at, shape) in drawing.shapes.iter().enumerate() {
            let lines = [&shape.title, &shape.lines[0], &shape.lines[1]].map(|line| quote(line));
            let label = lines.join("\\n");
            let style = if shape.kind == "node" { "" } else { ", style=rounded" };
            dot += &format!("  n{at} [label=\"{}\"{style}];\n", label.trim_end_matches("\\n"));
        }
        for (from, to) in &drawing.lines {
            dot += &format!("  n{from} -> n{to};\n");
        }
        dot + "}\n"
    }

    /// The graph as an SVG: data flows down, each box below all that it reads.
    pub fn to_svg(&self) -> String {
        let drawing = self.drawing();
        let layers = drawing.shapes.iter().map(|shape| shape.depth + 1).max().unwrap_or(0);
        let mut filled = vec![0usize; layers];
        let columns: Vec<usize> = drawing
            .shapes
            .iter()
            .map(|shape| {
                filled[shape.depth] += 1;
                filled[shape.depth] - 1
            })
            .collect();
        let widest = filled.iter().copied().max().unwrap_or(0);
        let (step_x, step_y) = (BOX.0 + GAP.0, BOX.1 + GAP.1);
        let (width, height) = (widest * step_x + GAP.0, layers * step_y + GAP.1);
        // Each layer in the middle of the widest.
        let place = |at: usize| {
            let depth = drawing.shapes[at].depth;
            let left = (widest - filled[depth]) * step_x / 2;
            (GAP.0 + left + columns[at] * step_x, GAP.1 / 2 + depth * step_y)
        };
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
             font-family=\"sans-serif\" font-size=\"11\">\n<style>rect{{fill:#f6f8fa;stroke:#57606a}}\
             .input rect,.output rect{{fill:#ddf4ff;stroke:#0969da}}path{{fill:none;stroke:#8c959f}}\
             text{{fill:#1f2328}}.title{{font-weight:bold}}</style>\n"
        );
        for &(from, to) in &drawing.lines {
            let ((x1, y1), (x2, y2)) = (place(from), place(to));
            let (x1, y1, x2) = (x1 + BOX.0 / 2, y1 + BOX.1, x2 + BOX.0 / 2);
            let bend = GAP.1 / 2;
            svg += &format!("<path d=\"M{x1} {y1}C{x1} {} {x2} {} {x2} {y2}\"/>\n", y1 + bend, y2.saturating_sub(bend));
        }
        for (at, shape) in drawing.shapes.iter().enumerate() {
            let (x, y) = place(at);
            let (w, h) = BOX;
            let _ = write!(
                svg,
                "<g class=\"{}\"><rect x=\"{x}\" y=\"{y}\" width=\"{w}\" height=\"{h}\" rx=\"5\"/>",
                shape.kind
            );
            let texts = [&shape.title, &shape.lines[0], &shape.lines[1]];
            for (line, text) in texts.into_iter().enumerate() {
                let class = if line == 0 { " class=\"title\"" } else { "" };
                let _ =
                    write!(svg, "<text{class} x=\"{}\" y=\"{}\">{}</text>", x + 8, y + 18 + 16 * line, escape(text));
            }
            svg += "</g>\n";
        }
        svg + "</svg>\n"
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use crate::{graph::sample, relation::Relations};

    #[test]
    fn every_sample_is_told_and_drawn_with_each_of_its_nodes() {
        for seed in 0..60 {
            let mut graph = sample::random(seed, 8).graph;
            graph.nodes[0].name = "a \"name\" <b>\u{1b}[31m\n".into();
            let relations = Relations::of(&graph).unwrap();
            let told = graph.show(&relations);
            assert_eq!(told.lines().count(), 3 + graph.inputs.len() + graph.constants.len() + graph.nodes.len());
            assert!(told.contains("a \"name\" <b>?[31m?"), "{told}");
            assert!(told.lines().all(|line| !line.chars().any(char::is_control)));
            let dot = graph.to_dot();
            assert!(dot.contains("a \\\"name\\\" <b>?[31m?"), "{dot}");
            let boxes = graph.inputs.len() + graph.nodes.len() + graph.outputs.len();
            assert_eq!(dot.matches("label=").count(), boxes);
            let svg = graph.to_svg();
            assert_eq!(svg.matches("<rect").count(), boxes);
            assert!(svg.contains("a &quot;name&quot; &lt;b&gt;?[31m?"));
            let described = serde_json::to_value(graph.describe(&relations)).unwrap();
            assert_eq!(described["nodes"].as_array().unwrap().len(), graph.nodes.len());
            assert!(described["nodes"][0]["cost"]["committed"].is_u64());
        }
    }

    #[test]
    fn counts_stay_short() {
        let counts = [0, 9999, 10_000, 100_352, 999_499, 999_500, 1_500_000, u64::MAX];
        let told = ["0", "9999", "10k", "100k", "999k", "1.0M", "1.5M", "18E"];
        assert_eq!(counts.map(crate::graph::describe::count), told);
    }
}
