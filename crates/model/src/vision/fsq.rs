//! The `fsq` tokenizer: one cell of the canvas ↔ one code, and codes drawn in layers.
//!
//! The encoder sees a cell and the picture's background colour; it learns to name what stands in
//! front, whatever lies behind. The decoder answers with a [`Layer`]: premultiplied colour and
//! coverage, which composition puts over any background. So a code outside an edit never changes,
//! an object has the same codes on every background, and a new background needs no redrawing.
//!
//! Trained in `trainer tok`. Start at [`FsqTokenizer::encode`] and [`FsqTokenizer::layers`].

use super::quantizer::{Quantizer, SQUASH};
use crate::config::FsqConfig;
use crate::error::ModelError;
use crate::ids::{CodeGrid, CodeId};
use crate::image::{background_colour, cell_bytes};
use burn::module::{Module, Param};
use burn::tensor::activation::{relu, sigmoid};
use burn::tensor::{Device, Int, Tensor, TensorData};
use image::RgbImage;

/// What a code shows: `patch²` pixels of premultiplied colour and of coverage, each in `0..=1`.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Premultiplied RGB, pixel by pixel.
    pub colour: Vec<f32>,
    /// Coverage: 1 hides the background, 0 shows it.
    pub alpha: Vec<f32>,
}

impl Layer {
    /// RGB bytes of the layer over a flat background.
    #[must_use]
    pub fn over(&self, background: [u8; 3]) -> Vec<u8> {
        let channels = self.colour.iter().enumerate().map(|(at, colour)| {
            let behind = f32::from(background[at % 3]);
            let value = colour * 255.0 + (1.0 - self.alpha[at / 3]) * behind;
            value.round().clamp(0.0, 255.0) as u8
        });
        channels.collect()
    }

    /// Mean colour of the layer where it stands over `background`.
    #[must_use]
    pub fn mean_over(&self, background: [u8; 3]) -> [u8; 3] {
        let bytes = self.over(background);
        let pixels = (bytes.len() / 3).max(1) as u32;
        std::array::from_fn(|channel| {
            let sum: u32 = bytes.iter().skip(channel).step_by(3).map(|&b| u32::from(b)).sum();
            ((sum + pixels / 2) / pixels) as u8
        })
    }
}

/// A dense layer with bias.
#[derive(Module, Debug)]
pub struct Dense {
    /// `[inputs, outputs]`.
    pub weight: Param<Tensor<2>>,
    /// `[outputs]`.
    pub bias: Param<Tensor<1>>,
}

impl Dense {
    fn zeros(inputs: usize, outputs: usize, device: &Device) -> Self {
        Self {
            weight: Param::from_tensor(Tensor::zeros([inputs, outputs], device)),
            bias: Param::from_tensor(Tensor::zeros([outputs], device)),
        }
    }

    /// `[n, inputs]` → `[n, outputs]`.
    #[must_use]
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        x.matmul(self.weight.val()) + self.bias.val().unsqueeze()
    }
}

/// The tokenizer's tensors.
#[derive(Module, Debug)]
pub struct FsqTokenizer {
    /// Encoder: patch and background → hidden → hidden → latent numbers.
    pub encoder: Vec<Dense>,
    /// Mean of each latent number over the training cells.
    pub latent_mean: Param<Tensor<1>>,
    /// Standard deviation of each latent number.
    pub latent_std: Param<Tensor<1>>,
    /// Free embedding of each code.
    pub codes: Param<Tensor<2>>,
    /// Decoder: code embedding and digits → hidden → hidden → colour and coverage.
    pub decoder: Vec<Dense>,
    #[module(skip)]
    config: FsqConfig,
}

impl FsqTokenizer {
    /// A tokenizer of zeros, to be filled by `checkpoint::apply`.
    #[must_use]
    pub fn zeros(config: &FsqConfig, device: &Device) -> Self {
        let pixels = config.patch * config.patch;
        let latents = config.levels.len();
        let dense = |sizes: [usize; 4]| {
            sizes.windows(2).map(|pair| Dense::zeros(pair[0], pair[1], device)).collect()
        };
        let (enc, dec) = (config.encoder_hidden, config.decoder_hidden);
        Self {
            encoder: dense([pixels * 3 + 3, enc, enc, latents]),
            latent_mean: Param::from_tensor(Tensor::zeros([latents], device)),
            latent_std: Param::from_tensor(Tensor::ones([latents], device)),
            codes: Param::from_tensor(Tensor::zeros([config.codebook_size(), config.code_dim], device)),
            decoder: dense([config.code_dim + latents, dec, dec, pixels * 4]),
            config: config.clone(),
        }
    }

    /// The configuration it was made with.
    #[must_use]
    pub fn config(&self) -> &FsqConfig {
        &self.config
    }

    /// Raw latent numbers of cells.
    ///
    /// # Shapes
    /// - `patches`: `[n, patch² · 3]`, RGB in `0..=1`
    /// - `backgrounds`: `[n, 3]`, the colour behind, in `0..=1`
    /// - returns: `[n, levels]`
    #[must_use]
    pub fn latents(&self, patches: Tensor<2>, backgrounds: Tensor<2>) -> Tensor<2> {
        let pixels = self.config.patch * self.config.patch;
        let behind = backgrounds.clone().repeat_dim(1, pixels); // [n, patch² · 3]
        let input = Tensor::cat(vec![(patches - behind).mul_scalar(2.0), backgrounds.mul_scalar(2.0) - 1.0], 1);
        mlp(&self.encoder, input)
    }

    /// Latents, standardised and squashed to `0..1`, ready to be cut into levels.
    #[must_use]
    pub fn squash(latents: Tensor<2>, mean: Tensor<1>, std: Tensor<1>) -> Tensor<2> {
        sigmoid((latents - mean.unsqueeze()).div(std.unsqueeze()).mul_scalar(SQUASH))
    }

    /// Colour and coverage of codes.
    ///
    /// # Shapes
    /// - `codes`: `[n]`
    /// - `centres`: `[n, levels]`, the middle of each digit's level, in `-1..1`
    /// - returns: `[n, patch² · 4]`: premultiplied RGB (`patch² · 3`), then coverage (`patch²`)
    #[must_use]
    pub fn decode_codes(&self, codes: Tensor<1, Int>, centres: Tensor<2>) -> Tensor<2> {
        let input = Tensor::cat(vec![self.codes.val().select(0, codes), centres], 1);
        sigmoid(mlp(&self.decoder, input))
    }

    /// The codes of a picture of the canvas's size.
    ///
    /// # Errors
    /// [`ModelError::Picture`] for another size, [`ModelError::Device`] if the device fails.
    pub async fn encode(&self, picture: &RgbImage) -> Result<CodeGrid, ModelError> {
        let (grid, patch) = (self.config.grid, self.config.patch);
        if picture.dimensions() != (self.config.canvas() as u32, self.config.canvas() as u32) {
            let (width, height) = picture.dimensions();
            return Err(ModelError::Picture {
                problem: format!("is {width}×{height}, the canvas is {0}×{0}", self.config.canvas()),
            });
        }
        let behind = background_colour(picture, patch).map(|channel| f32::from(channel) / 255.0);
        let cells = grid * grid;
        let patches: Vec<f32> = (0..cells)
            .flat_map(|cell| cell_bytes(picture, patch, cell / grid, cell % grid))
            .map(|byte| f32::from(byte) / 255.0)
            .collect();
        let codes = self.encode_patches(patches, &behind.repeat(cells)).await?;
        Ok(CodeGrid { height: grid, width: grid, codes })
    }

    /// The codes of cells given as RGB in `0..=1` and the colours behind them.
    ///
    /// # Errors
    /// [`ModelError::Device`] if the device fails.
    pub async fn encode_patches(
        &self,
        patches: Vec<f32>,
        backgrounds: &[f32],
    ) -> Result<Vec<CodeId>, ModelError> {
        let device = self.codes.val().device();
        let cells = backgrounds.len() / 3;
        let pixels = self.config.patch * self.config.patch * 3;
        let patches = Tensor::from_data(TensorData::new(patches, [cells, pixels]), &device);
        let behind = Tensor::from_data(TensorData::new(backgrounds.to_vec(), [cells, 3]), &device);
        let latents = self.latents(patches, behind);
        let squashed = Self::squash(latents, self.latent_mean.val(), self.latent_std.val());
        let values = to_host(squashed).await?;
        let quantizer = Quantizer::new(&self.config.levels);
        Ok(values.chunks_exact(self.config.levels.len()).map(|row| quantizer.code(row)).collect())
    }

    /// The layers codes stand for, in their order.
    ///
    /// # Errors
    /// [`ModelError::Device`] if the device fails.
    pub async fn layers(&self, codes: &[CodeId]) -> Result<Vec<Layer>, ModelError> {
        if codes.is_empty() {
            return Ok(Vec::new());
        }
        let device = self.codes.val().device();
        let quantizer = Quantizer::new(&self.config.levels);
        let centres: Vec<f32> = codes.iter().flat_map(|&code| quantizer.centres(code)).collect();
        let centres = TensorData::new(centres, [codes.len(), self.config.levels.len()]);
        let ids: Vec<i32> = codes.iter().map(|code| code.0 as i32).collect();
        let ids = Tensor::<1, Int>::from_data(TensorData::new(ids, [codes.len()]), &device);
        let values = to_host(self.decode_codes(ids, Tensor::from_data(centres, &device))).await?;
        let pixels = self.config.patch * self.config.patch;
        let layer = |row: &[f32]| Layer {
            colour: row[..pixels * 3].to_vec(),
            alpha: row[pixels * 3..].to_vec(),
        };
        Ok(values.chunks_exact(pixels * 4).map(layer).collect())
    }
}

fn mlp(layers: &[Dense], input: Tensor<2>) -> Tensor<2> {
    let last = layers.len() - 1;
    layers.iter().enumerate().fold(input, |x, (at, layer)| {
        let y = layer.forward(x);
        if at == last { y } else { relu(y) }
    })
}

/// Reads a float tensor back to the host.
///
/// # Errors
/// [`ModelError::Device`] if the device fails.
pub(crate) async fn to_host<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>, ModelError> {
    let data = tensor.into_data_async().await.map_err(|error| ModelError::Device(format!("{error:?}")))?;
    data.try_to_vec().map_err(|error| ModelError::Device(format!("{error:?}")))
}
