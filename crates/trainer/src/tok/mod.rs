//! Making the `layered_vq` codebook: drawings in, a picture tokenizer out.
//!
//! Three kinds of code: flat colours (the ten named ones and a lattice over all), every distinct cell
//! of the training drawings, and for the rest the k-means centres of a second style's cells, so that
//! drawings never seen come out recognisable. Lloyd's iterations from seeded starts; the result is a
//! function of the configuration. Start at [`codebook`].

mod cells;
mod kmeans;

pub(crate) use cells::{CellTable, PIXELS};

use anyhow::{Result, bail};
use earl_model::config::VqConfig;
use earl_model::vision::{Layer, LayeredVq};
use earl_scenes::{Background, Style};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Settings of the tokenizer, as `configs/*.toml` hold them under `[tok]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TokConfig {
    /// Seed of the k-means starts.
    pub seed: u64,
    /// Steps of the colour lattice along each channel.
    pub colour_steps: usize,
    /// Lloyd iterations for the second style's cells.
    pub iterations: u64,
}

impl Default for TokConfig {
    fn default() -> Self {
        Self { seed: 1, colour_steps: 6, iterations: 10 }
    }
}

impl TokConfig {
    /// The first broken rule, if any.
    ///
    /// # Errors
    /// Names the key and the value found.
    pub(crate) fn check(&self) -> Result<()> {
        if !(2..=16).contains(&self.colour_steps) {
            bail!("`tok.colour_steps` is {}; it must lie in 2..=16", self.colour_steps);
        }
        Ok(())
    }
}

/// A codebook and where its codes come from.
pub(crate) struct Codebook {
    /// The layers, code by code.
    pub layers: Vec<Layer>,
    /// Codes of flat colours, of training cells, of the second style.
    pub counts: [usize; 3],
}

/// A picture tokenizer with a new codebook.
///
/// # Errors
/// As [`codebook`].
pub(crate) fn tokenizer(config: &TokConfig, vision: &VqConfig) -> Result<LayeredVq> {
    let book = codebook(config, vision.codebook_size, |_, _| ())?;
    Ok(LayeredVq::new(vision, book.layers)?)
}

/// Makes a codebook of `size` codes; `on_iteration` hears of every k-means iteration's mean squared
/// error.
///
/// # Errors
/// If the training cells alone do not fit.
pub(crate) fn codebook(
    config: &TokConfig,
    size: usize,
    mut on_iteration: impl FnMut(u64, f64),
) -> Result<Codebook> {
    let mut layers = flat_layers(config.colour_steps);
    let flats = layers.len();
    let cells = CellTable::new(Style::Fluent3d);
    let mut seen = BTreeSet::new();
    for index in 0..cells.parts.len() {
        let row = cells.row(index);
        let bytes: Vec<u8> = row.iter().map(|value| (value * 255.0).round() as u8).collect();
        if seen.insert(bytes) {
            layers.push(layer(row));
        }
    }
    let drawn = layers.len() - flats;
    let Some(rest) = size.checked_sub(layers.len()) else {
        bail!(
            "{} flat and drawn cells do not fit into {size} codes; raise `model.codebook_size`",
            layers.len()
        );
    };
    let second = CellTable::new(Style::FluentFlat);
    let rows: Vec<&[f32]> = (0..second.parts.len()).map(|index| second.row(index)).collect();
    let centres = kmeans::centres(&rows, rest, config.iterations, config.seed, &mut on_iteration);
    layers.extend(centres.iter().map(|row| layer(row)));
    Ok(Codebook { layers, counts: [flats, drawn, rest] })
}

fn layer(row: &[f32]) -> Layer {
    let (colour, alpha) = row.split_at(PIXELS * 3);
    Layer { colour: colour.to_vec(), alpha: alpha.to_vec() }
}

fn flat_layers(steps: usize) -> Vec<Layer> {
    let named = Background::ALL.map(|background| background.rgb().map(|c| f32::from(c) / 255.0));
    let step = |at: usize| at as f32 / (steps - 1) as f32;
    let lattice = (0..steps * steps * steps)
        .map(|at| [step(at / steps / steps), step(at / steps % steps), step(at % steps)]);
    let flat = |rgb: [f32; 3]| Layer { colour: rgb.repeat(PIXELS), alpha: vec![1.0; PIXELS] };
    named.into_iter().chain(lattice).map(flat).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_codebook_that_is_too_small_is_refused() {
        let error = codebook(&TokConfig::default(), 1_000, |_, _| ()).err().unwrap();
        assert!(error.to_string().contains("do not fit into 1000 codes"), "{error}");
    }
}
