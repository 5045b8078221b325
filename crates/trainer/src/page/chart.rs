//! Charts as SVG, drawn with `plotters`: lines over steps, and bars with intervals.

use anyhow::{Result, anyhow};
use plotters::prelude::*;

/// A line of a chart.
pub(crate) struct Series {
    /// Its name in the legend.
    pub name: String,
    /// (step, value), in order.
    pub points: Vec<(f64, f64)>,
}

/// A bar with its interval.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bar {
    /// Its height.
    pub value: f64,
    /// Lower and upper end of the interval; equal to the value for none.
    pub interval: (f64, f64),
}

/// Bars of one colour, one a label.
pub(crate) struct Bars {
    /// Their name in the legend.
    pub name: String,
    /// By label; `None` leaves the place free.
    pub bars: Vec<Option<Bar>>,
}

const COLOURS: [RGBColor; 6] = [
    RGBColor(31, 105, 214),
    RGBColor(214, 69, 31),
    RGBColor(30, 140, 90),
    RGBColor(140, 60, 180),
    RGBColor(190, 140, 0),
    RGBColor(90, 90, 90),
];

fn failed(error: &dyn std::fmt::Display) -> anyhow::Error {
    anyhow!("drawing a chart: {error}")
}

/// Draws series into one SVG of 480×260 pixels.
///
/// # Errors
/// If the drawing library refuses the ranges.
#[allow(clippy::too_many_lines, reason = "one drawing call after the other")]
pub(crate) fn chart(series: &[Series]) -> Result<String> {
    let points = || series.iter().flat_map(|series| &series.points);
    let range = |value: &dyn Fn(&(f64, f64)) -> f64| {
        let values = points().map(value);
        let (low, high) =
            values.fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(v), high.max(v)));
        if low < high { low..high } else { low - 0.5..low + 0.5 }
    };
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

/// Draws groups of bars, one a label, from 0 to `top`, into one SVG 260 pixels high.
///
/// # Errors
/// If the drawing library refuses the ranges.
#[allow(clippy::too_many_lines, reason = "one drawing call after the other")]
pub(crate) fn bars(labels: &[String], groups: &[Bars], top: f64) -> Result<String> {
    let width = (90 + 78 * labels.len() as u32).clamp(320, 1_100);
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (width, 260)).into_drawing_area();
        root.fill(&WHITE).map_err(|e| failed(&e))?;
        let mut chart = ChartBuilder::on(&root)
            .margin(8)
            .x_label_area_size(26)
            .y_label_area_size(44)
            .build_cartesian_2d(-0.5..labels.len() as f64 - 0.5, 0.0..top)
            .map_err(|e| failed(&e))?;
        let name = |at: &f64| {
            let whole = (at - at.round()).abs() < 1e-6 && at.round() >= 0.0;
            let label = whole.then(|| labels.get(at.round() as usize)).flatten();
            label.cloned().unwrap_or_default()
        };
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(WHITE)
            .x_labels(labels.len().max(2))
            .x_label_formatter(&name)
            .draw()
            .map_err(|e| failed(&e))?;
        let thick = 0.8 / groups.len().max(1) as f64;
        for (at, (group, colour)) in groups.iter().zip(COLOURS.iter().cycle()).enumerate() {
            let colour = *colour;
            let left = |label: usize| label as f64 - 0.4 + thick * at as f64;
            let shown = || group.bars.iter().enumerate().filter_map(|(l, bar)| Some((l, (*bar)?)));
            let body = shown().map(|(label, bar)| {
                let x = left(label);
                Rectangle::new([(x, 0.0), (x + 0.92 * thick, bar.value)], colour.mix(0.75).filled())
            });
            chart.draw_series(body).map_err(|e| failed(&e))?.label(&group.name).legend(
                move |(x, y)| Rectangle::new([(x, y - 4), (x + 12, y + 4)], colour.filled()),
            );
            let whiskers = shown().filter(|(_, bar)| bar.interval.0 < bar.interval.1);
            let whiskers = whiskers.map(|(label, bar)| {
                let x = left(label) + 0.46 * thick;
                PathElement::new([(x, bar.interval.0), (x, bar.interval.1)], BLACK)
            });
            chart.draw_series(whiskers).map_err(|e| failed(&e))?;
        }
        if groups.len() > 1 {
            let labels = &mut chart.configure_series_labels();
            labels.border_style(BLACK).background_style(WHITE).draw().map_err(|e| failed(&e))?;
        }
        root.present().map_err(|e| failed(&e))?;
    }
    Ok(svg)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_high_as_its_value() {
        let bar = |value: f64| Some(Bar { value, interval: (value - 0.1, value + 0.1) });
        let group = |name: &str, bars| Bars { name: name.into(), bars };
        let labels = ["add".to_owned(), "swap".to_owned()];
        let groups = [group("a<b", vec![bar(0.5), bar(1.0)]), group("c", vec![bar(0.25), None])];
        let svg = bars(&labels, &groups, 1.0).unwrap();
        let heights: Vec<f64> = svg
            .split("<rect ")
            .filter(|tag| tag.contains("opacity=\"0.75\""))
            .map(|tag| tag.split("height=\"").nth(1).unwrap().split('"').next().unwrap())
            .map(|height| height.parse().unwrap())
            .collect();
        assert_eq!(heights.len(), 3, "{svg}");
        let full = heights[1];
        assert!((heights[0] / full - 0.5).abs() < 0.01 && (heights[2] / full - 0.25).abs() < 0.01);
        assert!(svg.contains("swap") && svg.contains("a&lt;b"), "{svg}");
    }
}
