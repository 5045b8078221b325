//! Emu3's image tokenizer for stills: pixels → codes, codes → pixels. Always float32.
//!
//! ```text
//! encode: pixels ─Encoder─▶ z ─nearest codebook row─▶ codes
//! decode: codes ─codebook─▶ z, zq ─Decoder (spatial norms read zq)─▶ pixels
//! ```
//! The published model is one for videos. A still is four equal frames, so its convolutions over
//! time are summed to two-dimensional ones when the weights are loaded, and its batch norms become
//! a scale and a shift: nothing here knows about time or training. Frozen: no parameter, no gradient.
//!
//! Source: the published `modeling_emu3visionvq.py`. Start at [`Emu3Vq::encode`].

mod blocks;
mod decoder;
mod encoder;

use super::config::{Emu3VqConfig, LATENT};
use super::load::Loader;
use super::names::Part;
use super::shards::Shards;
use super::wanted::vq_tensors;
use crate::checkpoint::bundle::Bundle;
use crate::error::ModelError;
use crate::ids::{CodeGrid, CodeId};
use crate::lm::to_host;
use burn::tensor::{Device, Tensor, TensorData};
use decoder::Decoder;
use encoder::Encoder;

/// Sees intermediate results by name, as the fixtures name them; `&mut |_, _| {}` sees none.
pub type Watch<'a> = &'a mut dyn FnMut(&str, &Tensor<4>);

/// The image tokenizer's tensors.
#[derive(Debug)]
pub struct Emu3Vq {
    encoder: Encoder,
    decoder: Decoder,
    /// `[codebook, LATENT]` on the host: codes are chosen there, the same on every device.
    codebook: Vec<[f32; LATENT]>,
    config: Emu3VqConfig,
    device: Device,
}

impl Emu3Vq {
    /// Loads the tokenizer from checked shards of either layout.
    ///
    /// # Errors
    /// [`ModelError::Config`]; [`ModelError::Checkpoint`] lists every tensor that does not fit;
    /// [`ModelError::Format`] and [`ModelError::Read`] for values that are no numbers or can't be read.
    pub fn load(
        config: &Emu3VqConfig,
        shards: &Shards,
        device: &Device,
    ) -> Result<Self, ModelError> {
        config.check()?;
        Self::from_loader(
            config,
            &Loader::new(shards, Part::Vq, &vq_tensors(config), device)?,
            device,
        )
    }

    /// Loads the tokenizer from a bundle.
    ///
    /// # Errors
    /// As [`Emu3Vq::load`].
    pub fn from_bundle(
        config: &Emu3VqConfig,
        bundle: &Bundle,
        device: &Device,
    ) -> Result<Self, ModelError> {
        config.check()?;
        let loader = Loader::from_bundle(bundle, &vq_tensors(config), device)?;
        Self::from_loader(config, &loader, device)
    }

    fn from_loader(
        config: &Emu3VqConfig,
        loader: &Loader<'_>,
        device: &Device,
    ) -> Result<Self, ModelError> {
        let rows = loader.host("quantize.embedding.weight")?;
        let codebook = rows.data.chunks_exact(LATENT).map(|row| [row[0], row[1], row[2], row[3]]);
        Ok(Self {
            encoder: Encoder::load(loader, config)?,
            decoder: Decoder::load(loader, config)?,
            codebook: codebook.collect(),
            config: config.clone(),
            device: device.clone(),
        })
    }

    /// The configuration it was loaded with.
    #[must_use]
    pub fn config(&self) -> &Emu3VqConfig {
        &self.config
    }

    /// Codes of pictures; sizes need not be multiples of the factor.
    ///
    /// # Shapes
    /// - `pixels`: `[batch, 3, height, width]` in `-1..=1`
    /// - returns: `batch` grids of `height / factor` × `width / factor`, rounded down
    ///
    /// # Errors
    /// [`ModelError::Picture`] for pictures that are no RGB or smaller than one code;
    /// [`ModelError::Device`] if the device does not give the latent back or it is no number.
    pub async fn encode(&self, pixels: Tensor<4>) -> Result<Vec<CodeGrid>, ModelError> {
        self.encode_watched(pixels, &mut |_, _| {}).await
    }

    /// [`Emu3Vq::encode`]; `watch` sees `enc.down.I`, `enc.mid`, `enc.conv_out`, `enc.latent`, `enc.z`.
    ///
    /// # Errors
    /// As [`Emu3Vq::encode`].
    pub async fn encode_watched(
        &self,
        pixels: Tensor<4>,
        watch: Watch<'_>,
    ) -> Result<Vec<CodeGrid>, ModelError> {
        let [_, channels, height, width] = pixels.dims();
        let factor = self.config.factor();
        if channels != 3 || height < factor || width < factor {
            let problem = format!(
                "of {width}×{height} pixels, {channels} channels, gives no {factor}-pixel code"
            );
            return Err(ModelError::Picture { problem });
        }
        let z = self.encoder.forward(pixels, watch);
        watch("enc.z", &z);
        let [_, _, rows, columns] = z.dims();
        let z = to_host(z.permute([0, 2, 3, 1])).await?; // [batch, rows, columns, LATENT]
        let codes = z
            .chunks_exact(LATENT)
            .map(|z| self.nearest([z[0], z[1], z[2], z[3]]))
            .collect::<Result<Vec<_>, _>>()?;
        let grid =
            |codes: &[CodeId]| CodeGrid { height: rows, width: columns, codes: codes.to_vec() };
        Ok(codes.chunks_exact(rows * columns).map(grid).collect())
    }

    /// The codebook row with the smallest squared distance to `z`; the lowest index on a tie.
    ///
    /// Differences are squared, not expanded to `‖z‖² + ‖e‖² − 2z·e`, which cancels near ties.
    fn nearest(&self, z: [f32; LATENT]) -> Result<CodeId, ModelError> {
        let mut best = (f32::INFINITY, None);
        for (code, row) in self.codebook.iter().enumerate() {
            let distance: f32 = row.iter().zip(z).map(|(e, z)| (z - e) * (z - e)).sum();
            if distance < best.0 {
                best = (distance, Some(code));
            }
        }
        let no_number = || ModelError::Device(format!("the picture's latent is {z:?}"));
        best.1.map(|code| CodeId(code as u32)).ok_or_else(no_number)
    }

    /// Pictures of codes.
    ///
    /// # Shapes
    /// - `grids`: of one size, not empty
    /// - returns: `[grids, 3, height · factor, width · factor]`, about `-1..=1`
    ///
    /// # Errors
    /// [`ModelError::Option`] for grids of different or no size, or a code outside the codebook.
    pub fn decode(&self, grids: &[CodeGrid]) -> Result<Tensor<4>, ModelError> {
        self.decode_watched(grids, &mut |_, _| {})
    }

    /// [`Emu3Vq::decode`]; `watch` sees `dec.post_quant`, `dec.time_res`, `dec.mid`, `dec.up.I`.
    ///
    /// # Errors
    /// As [`Emu3Vq::decode`].
    pub fn decode_watched(
        &self,
        grids: &[CodeGrid],
        watch: Watch<'_>,
    ) -> Result<Tensor<4>, ModelError> {
        let rows = self.codebook_rows(grids)?;
        Ok(self.decoder.forward(rows, watch))
    }

    /// `[grids, LATENT, height, width]`.
    fn codebook_rows(&self, grids: &[CodeGrid]) -> Result<Tensor<4>, ModelError> {
        let refuse = |problem: String| ModelError::Option { name: "codes", problem };
        let Some(CodeGrid { height, width, .. }) = grids.first() else {
            return Err(refuse("no grid".into()));
        };
        let places = height * width;
        let mut rows: Vec<f32> = Vec::with_capacity(grids.len() * places * LATENT);
        for grid in grids {
            if (grid.height, grid.width, grid.codes.len()) != (*height, *width, places)
                || places == 0
            {
                let found = format!("{}×{}, {} codes", grid.height, grid.width, grid.codes.len());
                return Err(refuse(format!("{found} beside {height}×{width}")));
            }
            for code in &grid.codes {
                let size = self.codebook.len();
                let row = self.codebook.get(code.0 as usize);
                rows.extend(row.ok_or_else(|| refuse(format!("{} of {size}", code.0)))?);
            }
        }
        let shape = [grids.len(), *height, *width, LATENT];
        let rows = Tensor::<4>::from_data(TensorData::new(rows, shape), &self.device);
        Ok(rows.permute([0, 3, 1, 2]))
    }
}
