//! An evaluation as a page that opens offline: tables, bars, and the best, the worst and some random edits.

use super::compare::Difference;
use super::measured::Measured;
use super::report::{Report, share};
use super::stats::{Mean, mean};
use crate::page::chart::{Bar, Bars, bars};
use crate::page::{escape, head, picture_tag, table};
use anyhow::Result;
use earl_model::sample::rng::{Key, uniform};
use image::{Rgb, RgbImage};

/// Edits on a sheet.
const ON_SHEET: usize = 12;
/// Purpose of the random sheet's draws.
const SHEET: u64 = 32;

/// One edit on a sheet.
pub(crate) struct Card {
    /// What was asked for.
    pub instruction: String,
    /// What is to be said of the result.
    pub note: String,
    /// 0–10; nothing without a verdict.
    pub overall: Option<f64>,
    /// The original.
    pub source: RgbImage,
    /// The edit.
    pub edit: RgbImage,
    /// The true edit.
    pub truth: Option<RgbImage>,
}

impl Card {
    fn of(measured: &Measured) -> Self {
        let [source, edit, truth] = measured.row.pictures.clone();
        let faults = measured.row.score.faults.join("; ");
        let note = measured.row.failed.clone().unwrap_or(faults);
        let instruction = measured.row.instruction.clone();
        Self { instruction, note, overall: measured.overall(), source, edit, truth: Some(truth) }
    }
}

/// The page of scene evaluations, each a model on a split, with its rows.
///
/// # Errors
/// If a chart or picture can't be drawn.
pub(crate) fn scenes(
    reports: &[(&Report, &[Measured])],
    differences: &[Difference],
) -> Result<String> {
    let mut page = head("EARL evaluation");
    page += "<h2>Models and splits</h2>";
    page += &splits_table(reports);
    page += &baselines_table(reports);
    page += &differences_table(differences);
    let mut splits: Vec<&str> = Vec::new();
    for (report, _) in reports {
        if !splits.contains(&report.split.as_str()) {
            splits.push(&report.split);
        }
    }
    for split in splits {
        let of_split: Vec<_> =
            reports.iter().filter(|(report, _)| report.split == split).copied().collect();
        page += &ops_chart(split, &of_split)?;
    }
    for (report, rows) in reports {
        page += &format!("<h2>{} on {}</h2>", escape(&report.model), escape(&report.split));
        let cards: Vec<Card> = rows.iter().map(Card::of).collect();
        page += &sheets(&cards)?;
    }
    Ok(page)
}

/// `96.6 (95.0–98.0)`, in percent.
#[must_use]
pub(crate) fn percent(value: Mean) -> String {
    format!("{:.1} ({:.1}–{:.1})", 100.0 * value.mean, 100.0 * value.lo, 100.0 * value.hi)
}

fn splits_table(reports: &[(&Report, &[Measured])]) -> String {
    let heads = [
        "model",
        "split",
        "edits",
        "right, %",
        "overall",
        "failed",
        "pixels changed outside",
        "codes kept, %",
        "PSNR outside, dB",
        "SSIM inside",
        "SSIM outside",
        "judge",
    ];
    let row = |report: &Report| {
        let ssim = |place: &str| {
            report
                .similarity
                .get(place)
                .map_or("–".to_owned(), |found| format!("{:.3}", found.ssim))
        };
        let Mean { mean, lo, hi } = report.overall;
        vec![
            report.model.clone(),
            report.split.clone(),
            report.n.to_string(),
            percent(report.success),
            format!("{mean:.2} ({lo:.2}–{hi:.2})"),
            report.failed.to_string(),
            format!("{:.2}", report.outside_changed_pixels.mean),
            format!("{:.2}", 100.0 * report.codes_kept),
            format!("{:.1}", report.psnr_outside),
            ssim("inside"),
            ssim("outside"),
            report.judge.clone(),
        ]
    };
    let rows: Vec<Vec<String>> = reports.iter().map(|(report, _)| row(report)).collect();
    table(&heads, &rows)
}

fn baselines_table(reports: &[(&Report, &[Measured])]) -> String {
    let rows = reports.iter().flat_map(|(report, _)| {
        report.baselines.iter().map(|(name, baseline)| {
            vec![
                name.replace('_', " "),
                report.split.clone(),
                report.model.clone(),
                format!("{:.1}", 100.0 * baseline.success),
                format!("{:.2}", baseline.overall),
            ]
        })
    });
    let rows: Vec<Vec<String>> = rows.collect();
    "<h2>Baselines</h2>".to_owned()
        + &table(&["baseline", "split", "beside", "right, %", "overall"], &rows)
}

/// Paired differences, whole and by kind of edit; nothing for one model.
#[must_use]
pub(crate) fn differences_table(differences: &[Difference]) -> String {
    if differences.is_empty() {
        return String::new();
    }
    let signed = |value: Mean, scale: f64| {
        let [mean, lo, hi] = [value.mean, value.lo, value.hi].map(|v| scale * v);
        format!("{mean:+.2} ({lo:+.2} … {hi:+.2})")
    };
    let mut rows = Vec::new();
    for found in differences {
        let pair = format!("{} − {}", found.model, found.against);
        let mut row = |op: &str, n: usize, success: Mean, overall: Mean| {
            let (success, overall) = (signed(success, 100.0), signed(overall, 1.0));
            let split = found.split.clone();
            rows.push(vec![pair.clone(), split, op.to_owned(), n.to_string(), success, overall]);
        };
        row("all", found.n, found.success, found.overall);
        for (op, by) in &found.by_op {
            row(op, by.n, by.success, by.overall);
        }
    }
    "<h2>Differences on the same examples, with paired 95 % intervals</h2>".to_owned()
        + &table(&["models", "split", "edit", "examples", "right, points", "overall"], &rows)
}

fn ops_chart(split: &str, reports: &[(&Report, &[Measured])]) -> Result<String> {
    let mut ops: Vec<String> = reports
        .iter()
        .flat_map(|(report, _)| report.by_op.keys().map(|op| (*op).to_owned()))
        .collect();
    ops.sort_unstable();
    ops.dedup();
    let bar = |rows: &[Measured], op: &str| {
        let values: Vec<f64> = rows
            .iter()
            .filter(|measured| measured.row.op.name() == op)
            .filter_map(|measured| measured.success().map(share))
            .collect();
        let found = mean(&values);
        (!values.is_empty()).then_some(Bar { value: found.mean, interval: (found.lo, found.hi) })
    };
    let groups: Vec<Bars> = reports
        .iter()
        .map(|(report, rows)| Bars {
            name: report.model.clone(),
            bars: ops.iter().map(|op| bar(rows, op)).collect(),
        })
        .collect();
    Ok(format!(
        "<figure><figcaption>Share of right edits on {}, by kind</figcaption>{}</figure>\n",
        escape(split),
        bars(&ops, &groups, 1.0)?
    ))
}

/// The worst, the best and some random edits: source, edit, true edit, difference of the two.
///
/// # Errors
/// If a picture can't be encoded.
pub(crate) fn sheets(cards: &[Card]) -> Result<String> {
    let mut ranked: Vec<&Card> = cards.iter().filter(|card| card.overall.is_some()).collect();
    ranked.sort_by(|a, b| a.overall.unwrap_or(0.0).total_cmp(&b.overall.unwrap_or(0.0)));
    let draw = |at: u64| {
        let key = Key { seed: 1, purpose: SHEET, index: at, position: 0, token: 0 };
        ((uniform(key) * cards.len() as f64) as usize).min(cards.len().saturating_sub(1))
    };
    let mut drawn: Vec<usize> = (0..ON_SHEET as u64).map(draw).collect();
    drawn.sort_unstable();
    drawn.dedup();
    let mut page = String::from(
        "<p>Source, edit, true edit, and where edit and true edit differ (black: equal). Several answers may be right.",
    );
    for (name, chosen) in [
        ("Worst", ranked.iter().take(ON_SHEET).copied().collect::<Vec<&Card>>()),
        ("Best", ranked.iter().rev().take(ON_SHEET).copied().collect()),
        ("Random", drawn.iter().filter_map(|at| cards.get(*at)).collect()),
    ] {
        page += &format!("<h3>{name}</h3><div class=cards>\n");
        for card in chosen {
            page += &card_html(card)?;
        }
        page += "</div>\n";
    }
    Ok(page)
}

fn card_html(card: &Card) -> Result<String> {
    let mut pictures = picture_tag(&card.source, "source")? + &picture_tag(&card.edit, "edit")?;
    if let Some(truth) = &card.truth {
        pictures += &picture_tag(truth, "true edit")?;
        pictures += &picture_tag(&heat(&card.edit, truth), "difference")?;
    }
    let overall = card.overall.map_or("–".to_owned(), |overall| format!("{overall:.2}"));
    Ok(format!(
        "<div class=card>{pictures}<p>{} · <b>{overall}</b><p>{}</div>\n",
        escape(&card.instruction),
        escape(&card.note)
    ))
}

/// The mean difference of each pixel, from black over red and yellow to white; black if the sizes differ.
fn heat(a: &RgbImage, b: &RgbImage) -> RgbImage {
    let ramp = |value: f32| {
        let part = |from: f32| (((value - from) * 3.0).clamp(0.0, 1.0) * 255.0).round();
        Rgb([part(0.0) as u8, part(1.0 / 3.0) as u8, part(2.0 / 3.0) as u8])
    };
    RgbImage::from_fn(a.width(), a.height(), |x, y| {
        let sum = b.get_pixel_checked(x, y).map_or(0, |other| {
            let pairs = a.get_pixel(x, y).0.into_iter().zip(other.0);
            pairs.map(|(a, b)| u32::from(a.abs_diff(b))).sum()
        });
        // Small differences matter too: the root spreads them.
        ramp((sum as f32 / (3.0 * 255.0)).sqrt())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sheets_rank_by_score_and_show_differences() {
        let card = |overall: Option<f64>| Card {
            instruction: format!("edit <{overall:?}>"),
            note: String::new(),
            overall,
            source: RgbImage::new(2, 2),
            edit: RgbImage::new(2, 2),
            truth: Some(RgbImage::from_pixel(2, 2, Rgb([255; 3]))),
        };
        let cards: Vec<Card> =
            (0..40).map(|at| card(Some(f64::from(at) / 4.0))).chain([card(None)]).collect();
        let page = sheets(&cards).unwrap();
        let (worst, rest) = page.split_once("<h3>Best</h3>").unwrap();
        assert!(worst.contains("edit &lt;Some(0.0)&gt;") && !worst.contains("Some(9.75)"));
        assert!(rest.split("<h3>Random").next().unwrap().contains("Some(9.75)"));
        assert!(sheets(&[]).unwrap().contains("Random"), "an empty evaluation has empty sheets");
        assert_eq!(
            heat(&cards[0].edit, cards[0].truth.as_ref().unwrap()).get_pixel(0, 0).0,
            [255; 3]
        );
        assert_eq!(heat(&cards[0].edit, &cards[0].edit).get_pixel(1, 1).0, [0; 3]);
    }
}
