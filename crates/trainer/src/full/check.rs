//! How much a bundle's next-code distributions differ from those of the weights it was made from.
//!
//! Both models read the same rows of codes, drawn by a seed; at every place the bundle's softmax over
//! the codes is held against the float model's. Start at [`compare`].

use super::{Directories, open_bundle};
use crate::host::values;
use anyhow::{Context, Result};
use burn::tensor::{Device, FloatDType};
use earl_model::TokenId;
use earl_model::emu3::lm::left_padded;
use earl_model::emu3::{Emu3Ids, Emu3Lm};
use earl_model::sample::rng::{Key, uniform};
use serde_json::{Value, json};
use std::path::Path;

/// Rows read, and places a row.
const ROWS: usize = 4;
const PLACES: usize = 96;
/// Keeps these draws apart from others.
const PURPOSE: u64 = 0x0063_6865_636b;

/// KL divergence (nats, of the bundle from the float model) and agreement of the likeliest codes.
///
/// # Errors
/// If either model can't be loaded; the float one takes four bytes a weight.
pub(crate) fn compare(directories: &Directories, bundle: &Path, seed: u64) -> Result<Value> {
    let device = Device::flex();
    let config = directories.config();
    let lm = config.lm.as_ref().context("there is no language model to check")?;
    let published = Emu3Ids::PUBLISHED.codebook_size as usize;
    let codes = config.vq.as_ref().map_or(published, |vq| vq.codebook_size).min(lm.vocab_size);
    let first = lm.vocab_size - codes;
    let rows: Vec<Vec<TokenId>> = (0..ROWS).map(|row| draw(seed, row, first, codes)).collect();
    let scores = |lm: &Emu3Lm| {
        let read = |row: &Vec<TokenId>| {
            let chunk = left_padded(std::slice::from_ref(row), TokenId(0));
            values(lm.logits_of(lm.forward(&chunk, &mut lm.cache()), first, codes))
        };
        rows.iter().map(read).collect::<Result<Vec<_>>>()
    };
    let float = Emu3Lm::load(lm, &directories.model.shards, FloatDType::F32, &device)?;
    let float = scores(&float)?;
    let stored = Emu3Lm::from_bundle(lm, &open_bundle(bundle)?, FloatDType::F32, &device)?;
    let stored = scores(&stored)?;
    let (mut sum, mut largest, mut agree) = (0.0, 0.0f64, 0);
    for (float, stored) in float.iter().zip(&stored) {
        for (float, stored) in float.chunks_exact(codes).zip(stored.chunks_exact(codes)) {
            let divergence = divergence(float, stored);
            sum += divergence;
            largest = largest.max(divergence);
            agree += usize::from(likeliest(float) == likeliest(stored));
        }
    }
    let places = (ROWS * PLACES) as f64;
    Ok(json!({
        "places": ROWS * PLACES, "seed": seed, "kl_mean_nats": sum / places,
        "kl_max_nats": largest, "code_agreement": agree as f64 / places,
    }))
}

fn draw(seed: u64, row: usize, first: usize, codes: usize) -> Vec<TokenId> {
    let code = |place: usize| {
        let (index, position) = (row as u64, place as u64);
        let key = Key { seed, purpose: PURPOSE, index, position, token: 0 };
        TokenId((first + (uniform(key) * codes as f64) as usize % codes) as u32)
    };
    (0..PLACES).map(code).collect()
}

/// Σ p · (ln p − ln q) of the softmax of two lists of logits.
fn divergence(p: &[f32], q: &[f32]) -> f64 {
    let log_sum = |logits: &[f32]| {
        let largest = logits.iter().fold(f64::NEG_INFINITY, |most, &l| most.max(f64::from(l)));
        let sum: f64 = logits.iter().map(|&logit| (f64::from(logit) - largest).exp()).sum();
        largest + sum.ln()
    };
    let (of_p, of_q) = (log_sum(p), log_sum(q));
    let term = |(&p, &q): (&f32, &f32)| {
        let (p, q) = (f64::from(p) - of_p, f64::from(q) - of_q);
        p.exp() * (p - q)
    };
    p.iter().zip(q).map(term).sum()
}

fn likeliest(logits: &[f32]) -> Option<usize> {
    (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b]).then(b.cmp(a)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn divergence_worked_by_hand() {
        // p = (1/2, 1/2), q = (1/4, 3/4): ½ ln 2 + ½ ln ⅔ = ½ ln 4/3.
        let found = divergence(&[0.0, 0.0], &[0.0, 3f32.ln()]);
        assert!((found - 0.5 * (4f64 / 3.0).ln()).abs() < 1e-7, "{found}");
        assert_eq!(likeliest(&[1.0, 3.0, 3.0]), Some(1));
    }
}
