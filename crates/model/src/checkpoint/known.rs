//! Known answers: edits whose tokens and pixels a bundle tells in advance.
//!
//! Made natively when a bundle is written, and asked again wherever it is loaded, so that a broken
//! shader, a wrong constant or another arithmetic shows before a visitor's picture does. Start at
//! [`KnownAnswer::of`] and [`KnownAnswer::check`].

use super::bundle::hex_sha256;
use crate::editor::{EditEvent, EditOutcome, EditRequest, Editor, Mode};
use crate::error::ModelError;
use crate::files::{decode, encode_png};
use crate::ids::{Seed, TokenId};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::RgbImage;
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;

/// Log-probability of the unlikeliest token, in nats, from which other arithmetic must choose alike.
const SURE: f64 = -0.05;

/// One edit and what comes out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KnownAnswer {
    /// The sentence.
    pub instruction: String,
    /// How much of the picture is written.
    pub mode: Mode,
    /// Seed of the draws.
    pub seed: Seed,
    /// 0 is greedy.
    pub temperature: f32,
    /// The picture as PNG, in base64.
    pub picture: String,
    /// The program's ids.
    pub program: Vec<TokenId>,
    /// SHA-256 of the edited picture's RGB bytes, hex.
    pub sha256: String,
    /// The bits of the program's log-probability (float64), hex.
    pub log_prob: String,
    /// By how much the logits would have to differ at each token for another; none where there was no
    /// choice. A device tells by them how far its numbers are off.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub margins: Vec<Option<f32>>,
    /// Greedy, and so certain at every token that a device with other last bits chooses the same.
    pub sure: bool,
}

/// How an edit agrees with its known answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Agreement {
    /// The same tokens.
    pub tokens: bool,
    /// The same pixels.
    pub pixels: bool,
    /// The same log-probability to its last bit: the same weights, by the same arithmetic.
    pub exact: bool,
    /// Largest difference of a margin; `None` for other tokens, or if the bundle tells no margins.
    pub off_by: Option<f64>,
}

impl KnownAnswer {
    /// What `editor` answers.
    ///
    /// # Errors
    /// As [`Editor::edit`].
    pub async fn of(
        editor: &Editor,
        picture: &RgbImage,
        request: &EditRequest,
    ) -> Result<Self, ModelError> {
        let (mut least, mut margins) = (0.0f64, Vec::new());
        let watch = &mut |event: &EditEvent| {
            least = least.min(event.log_prob);
            margins.push(told(event));
            ControlFlow::Continue(())
        };
        let outcome = editor.edit(picture, request, watch).await?;
        Ok(Self {
            instruction: request.instruction.clone(),
            mode: request.mode,
            seed: request.seed,
            temperature: request.temperature,
            picture: STANDARD.encode(encode_png(picture, None)?),
            sha256: hash(&outcome),
            log_prob: bits(&outcome),
            program: outcome.program,
            margins,
            sure: request.temperature == 0.0 && least > SURE,
        })
    }

    /// Asks `editor` again.
    ///
    /// # Errors
    /// [`ModelError::Format`] for a picture that is none; otherwise as [`Editor::edit`].
    pub async fn check(&self, editor: &Editor) -> Result<Agreement, ModelError> {
        let broken = |problem: String| ModelError::Format { what: "known answer".into(), problem };
        let png = STANDARD.decode(&self.picture).map_err(|error| broken(error.to_string()))?;
        let request = EditRequest {
            instruction: self.instruction.clone(),
            mode: self.mode,
            seed: self.seed,
            temperature: self.temperature,
            ..EditRequest::default()
        };
        let picture = decode(&png)?.picture;
        let mut margins = Vec::new();
        let watch = &mut |event: &EditEvent| {
            margins.push(told(event));
            ControlFlow::Continue(())
        };
        let outcome = editor.edit(&picture, &request, watch).await?;
        let tokens = outcome.program == self.program;
        let known = tokens && self.margins.len() == margins.len();
        let apart = self
            .margins
            .iter()
            .zip(&margins)
            .filter_map(|(own, other)| Some(f64::from((*own)?) - f64::from((*other)?)));
        Ok(Agreement {
            tokens,
            pixels: hash(&outcome) == self.sha256,
            exact: bits(&outcome) == self.log_prob,
            off_by: known.then(|| apart.map(f64::abs).fold(0.0, f64::max)),
        })
    }
}

fn told(event: &EditEvent) -> Option<f32> {
    event.margin.is_finite().then_some(event.margin as f32)
}

fn bits(outcome: &EditOutcome) -> String {
    format!("{:016x}", outcome.log_prob.to_bits())
}

fn hash(outcome: &EditOutcome) -> String {
    hex_sha256(outcome.image.as_raw())
}
