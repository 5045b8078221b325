//! The tokenizer's ceiling: how many true edits survive a way through codes and back.

use anyhow::Result;
use earl_model::compose;
use earl_model::vision::LayeredVq;
use earl_scenes::{Split, example, judge, render};
use image::RgbImage;
use rayon::prelude::*;
use serde::Serialize;
use std::collections::BTreeSet;

/// Figures over held-out true edits.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RoundTrip {
    /// Edits.
    pub n: u64,
    /// Of these, accepted by the oracle after the round trip.
    pub accepted: u64,
    /// Mean peak signal-to-noise ratio of targets, dB.
    pub psnr: f64,
    /// Distinct codes in sources and targets.
    pub codes_used: usize,
}

/// Sends `n` true edits of a split through the tokenizer.
///
/// # Errors
/// If a picture is not of the tokenizer's size.
pub(crate) fn measure(tokenizer: &LayeredVq, split: Split, n: u64) -> Result<RoundTrip> {
    let one = |index: u64| -> Result<(bool, f64, Vec<u32>)> {
        let example = example(0, index, split, None);
        let source = render(&example.scene, example.style);
        let target = render(&example.target, example.style);
        let (before, after) = (tokenizer.encode(&source)?, tokenizer.encode(&target)?);
        let (back, reference) =
            (compose::paint(tokenizer, &after), compose::paint(tokenizer, &before));
        let score =
            judge(&source, &back, Some(&reference), &example.scene, &example.check, example.style);
        let codes = before.codes.iter().chain(&after.codes).map(|code| code.0).collect();
        Ok((score.success, psnr(&target, &back), codes))
    };
    let found: Vec<_> = (0..n).into_par_iter().map(one).collect::<Result<_>>()?;
    let codes: BTreeSet<u32> =
        found.iter().flat_map(|(_, _, codes)| codes.iter().copied()).collect();
    Ok(RoundTrip {
        n,
        accepted: found.iter().filter(|(accepted, ..)| *accepted).count() as u64,
        psnr: found.iter().map(|(_, db, _)| db).sum::<f64>() / found.len().max(1) as f64,
        codes_used: codes.len(),
    })
}

/// Peak signal-to-noise ratio of equally large pictures, dB; 99 for equal ones.
#[must_use]
pub(crate) fn psnr(a: &RgbImage, b: &RgbImage) -> f64 {
    let square = |(x, y): (&u8, &u8)| (f64::from(*x) - f64::from(*y)).powi(2);
    let sum: f64 = a.as_raw().iter().zip(b.as_raw()).map(square).sum();
    let mean = sum / a.as_raw().len().max(1) as f64;
    if mean == 0.0 { 99.0 } else { (10.0 * (255.0 * 255.0 / mean).log10()).min(99.0) }
}
