//! The report as a picture: a bar a layer, longer where less is lost.

use std::fmt::Write;

use super::{LayerReport, Report};

const ROW: f64 = 22.0;
const TOP: f64 = 78.0;
const LABEL: f64 = 250.0;
const PLOT: f64 = 440.0;
const WIDTH: f64 = LABEL + PLOT + 150.0;

/// Decibels at the right end.
const END: f64 = 100.0;

/// Under this a layer loses what a person would see; under the next it deserves a look.
const POOR: f64 = 20.0;
const FAIR: f64 = 35.0;

fn colour(sqnr: f64) -> &'static str {
    match sqnr {
        poor if poor < POOR => "#c0392b",
        fair if fair < FAIR => "#d68910",
        _ => "#2471a3",
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            letter if letter.is_control() => out.push(' '),
            letter => out.push(letter),
        }
    }
    out
}

fn label(layer: &LayerReport) -> String {
    let name: String = layer.name.chars().take(30).collect();
    let cut = if layer.name.chars().count() > 30 { "…" } else { "" };
    format!("{}{cut}", escaped(&name))
}

/// One line of the chart, `y` at its top.
fn bar(svg: &mut String, layer: &LayerReport, y: f64) {
    let length = (layer.sqnr_db.clamp(0.0, END) / END * PLOT).max(1.0);
    let (text, base) = (label(layer), y + ROW * 0.68);
    let exact = layer.sqnr_db >= 200.0;
    let value = if exact { "exact".to_owned() } else { format!("{:.1} dB", layer.sqnr_db) };
    let detail = format!(
        "{} ({}): {} bits, scale {:.4e}, {:.0} % of the range used, {} of {} saturated, {} bits of headroom",
        escaped(&layer.name),
        escaped(&layer.step),
        layer.bits,
        layer.scale,
        100.0 * layer.range_used,
        layer.saturated,
        layer.values,
        layer.headroom_bits
    );
    let _ = writeln!(
        svg,
        "<g><title>{detail}</title>\
         <text x=\"{:.0}\" y=\"{base:.1}\" text-anchor=\"end\">{text}</text>\
         <rect x=\"{LABEL}\" y=\"{:.1}\" width=\"{length:.1}\" height=\"{:.1}\" rx=\"2\" fill=\"{}\"/>\
         <text x=\"{:.1}\" y=\"{base:.1}\" class=\"quiet\">{value} · {} bits</text></g>",
        LABEL - 8.0,
        y + 3.0,
        ROW - 6.0,
        colour(layer.sqnr_db),
        LABEL + length + 6.0,
        layer.bits
    );
}

/// A whole SVG document.
pub(super) fn draw(report: &Report) -> String {
    let bottom = TOP + ROW * report.layers.len() as f64;
    let height = bottom + 34.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"12\" fill=\"#1c2833\">\n\
         <style>.quiet{{fill:#5d6d7e}}</style>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"16\" y=\"26\" font-size=\"16\" font-weight=\"600\">Signal to quantisation noise, layer by layer</text>\n\
         <text x=\"16\" y=\"46\" class=\"quiet\">{} samples · {} bits, ranges by {} · top-1 agreement {:.2} % · cosine {:.6} · \
         largest error {:.3e}</text>\n",
        report.samples,
        escaped(&report.precision),
        escaped(&report.method),
        100.0 * report.top1_agreement,
        report.cosine,
        report.max_error
    );
    for tick in 0..=5 {
        let decibels = END / 5.0 * f64::from(tick);
        let x = LABEL + decibels / END * PLOT;
        let _ = writeln!(
            svg,
            "<line x1=\"{x:.1}\" y1=\"{:.1}\" x2=\"{x:.1}\" y2=\"{bottom:.1}\" stroke=\"#e5e8e8\"/>\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" class=\"quiet\">{decibels:.0} dB</text>",
            TOP - 6.0,
            bottom + 18.0
        );
    }
    for (at, layer) in report.layers.iter().enumerate() {
        bar(&mut svg, layer, TOP + ROW * at as f64);
    }
    svg.push_str("</svg>\n");
    svg
}
