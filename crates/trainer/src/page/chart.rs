//! One line chart as SVG, drawn with `plotters`.

use anyhow::{Result, anyhow};
use plotters::prelude::*;

/// A line of a chart.
pub(super) struct Series {
    /// Its name in the legend.
    pub name: String,
    /// (step, value), in order.
    pub points: Vec<(f64, f64)>,
}

const COLOURS: [RGBColor; 6] = [
    RGBColor(31, 105, 214),
    RGBColor(214, 69, 31),
    RGBColor(30, 140, 90),
    RGBColor(140, 60, 180),
    RGBColor(190, 140, 0),
    RGBColor(90, 90, 90),
];

/// Draws series into one SVG of 480×260 pixels.
///
/// # Errors
/// If the drawing library refuses the ranges.
#[allow(clippy::too_many_lines, reason = "one drawing call after the other")]
pub(super) fn chart(series: &[Series]) -> Result<String> {
    let points = || series.iter().flat_map(|series| &series.points);
    let range = |value: &dyn Fn(&(f64, f64)) -> f64| {
        let values = points().map(value);
        let (low, high) =
            values.fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(v), high.max(v)));
        if low < high { low..high } else { low - 0.5..low + 0.5 }
    };
    let failed = |error: &dyn std::fmt::Display| anyhow!("drawing a chart: {error}");
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (480, 260)).into_drawing_area();
        root.fill(&WHITE).map_err(|e| failed(&e))?;
        let mut chart = ChartBuilder::on(&root)
            .margin(8)
            .x_label_area_size(26)
            .y_label_area_size(52)
            .build_cartesian_2d(range(&|at| at.0), range(&|at| at.1))
            .map_err(|e| failed(&e))?;
        chart.configure_mesh().light_line_style(WHITE).draw().map_err(|e| failed(&e))?;
        for (series, colour) in series.iter().zip(COLOURS.iter().cycle()) {
            let colour = *colour;
            chart
                .draw_series(LineSeries::new(series.points.iter().copied(), colour.stroke_width(2)))
                .map_err(|e| failed(&e))?
                .label(&series.name)
                .legend(move |(x, y)| {
                    PathElement::new([(x, y), (x + 14, y)], colour.stroke_width(2))
                });
        }
        if series.len() > 1 {
            let labels = &mut chart.configure_series_labels();
            labels.border_style(BLACK).background_style(WHITE).draw().map_err(|e| failed(&e))?;
        }
        root.present().map_err(|e| failed(&e))?;
    }
    Ok(svg)
}
