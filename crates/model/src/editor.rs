//! The whole edit in one call: picture and sentence in, edited picture and its plan out.
//!
//! ```text
//! fit → encode → read source → read words → write the program, token by token → compose
//! ```
//! Asynchronous because a browser's GPU can only be read so; natively any `block_on` serves.
//! The result is a function of picture, sentence, mode, temperature, seed and weights.

use crate::checkpoint::bundle::Bundle;
use crate::checkpoint::{TensorMap, apply};
use crate::compose::{self, Composed};
use crate::config::ModelConfig;
use crate::error::ModelError;
use crate::ids::{CodeGrid, Seed, TokenId};
use crate::image::{background_colour, fit};
use crate::lm::{LanguageModel, SeeingHead};
use crate::plan::forced_tokens;
use crate::sequence::{self, Step, Vocabulary};
use crate::session::{Given, Session};
use crate::sight::Sight;
use crate::verifier::{Thoughts, Verifier};
use crate::vision::LayeredVq;
use crate::within::Within;
use burn::tensor::{Device, Tensor};
use image::RgbImage;
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;
use std::sync::{Mutex, MutexGuard, PoisonError};

pub use crate::plan::PlanStep;

/// How much of the picture the model writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// A plan whose boxes alone are drawn; everything else stays the source's own.
    #[default]
    Local,
    /// Every code of the target, no plan (EARL's contract).
    Full,
    /// A plan, then every code of the target.
    Think,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EditRequest {
    /// One short sentence.
    pub instruction: String,
    /// How much of the picture the model writes.
    pub mode: Mode,
    /// Seed of every random draw.
    pub seed: Seed,
    /// 0 takes the likeliest token; 1 samples from the model.
    pub temperature: f32,
    /// The plan to carry out (modes `local` and `think`): the model writes the codes alone. None lets
    /// it plan for itself.
    #[serde(default)]
    pub plan: Option<Vec<PlanStep>>,
    /// Cells of the canvas that may change, row by row: elsewhere the codes are the source's, and boxes are
    /// drawn there. None lets all change.
    #[serde(default)]
    pub within: Option<Vec<bool>>,
    /// Only this many of the likeliest tokens are drawn from, at a temperature above 0. None draws from all.
    #[serde(default)]
    pub top_k: Option<usize>,
    /// Most codes of the source that are read ahead of being chosen (modes `full` and `think`): fewer
    /// passes, the same tokens on the CPU. 0 reads none.
    #[serde(default = "default_ahead")]
    pub ahead: usize,
}

/// Codes read ahead unless an edit says otherwise.
pub const AHEAD: usize = 32;

fn default_ahead() -> usize {
    AHEAD
}

impl Default for EditRequest {
    /// No instruction, greedy, seed 0, with drafts.
    fn default() -> Self {
        Self {
            instruction: String::new(),
            mode: Mode::default(),
            seed: Seed(0),
            temperature: 0.0,
            plan: None,
            within: None,
            top_k: None,
            ahead: AHEAD,
        }
    }
}

/// One generated token.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EditEvent {
    /// Its index in the program, from 0.
    pub index: usize,
    /// The token.
    pub id: TokenId,
    /// The source's code at the token's cell, if the token is a code.
    pub source: Option<TokenId>,
    /// Log-probability at temperature 1 under the grammar's mask, in nats; 0 if there was no choice.
    pub log_prob: f64,
    /// Entropy of what it was chosen from, in nats; 0 if there was no choice.
    pub entropy: f64,
    /// By how much the logits would have to differ for another token; infinite if there was no choice.
    /// A device with other last bits than the CPU's chooses alike where it is large.
    #[serde(skip)]
    pub margin: f64,
    /// Not chosen here: the only token the grammar allowed, or one decided before.
    pub forced: bool,
    /// The token as people read it.
    pub label: String,
    /// A code that was read ahead of being chosen, as the source's own, and was right.
    pub accepted: bool,
    /// Row and column, if it stands on the canvas.
    pub cell: Option<(usize, usize)>,
    /// Cells this token completed, decoded for a preview.
    pub previews: Vec<CellPreview>,
}

/// A decoded cell.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CellPreview {
    /// Row on the canvas.
    pub row: usize,
    /// Column on the canvas.
    pub col: usize,
    /// `patch² · 3` RGB bytes.
    pub rgb: Vec<u8>,
}

/// The result of an edit.
#[derive(Clone, Debug)]
pub struct EditOutcome {
    /// The edited picture, canvas size.
    pub image: RgbImage,
    /// The source as it was fitted to the canvas.
    pub source: RgbImage,
    /// What was done to the source's size, if anything.
    pub fitted: Option<String>,
    /// The steps the model took.
    pub plan: Vec<PlanStep>,
    /// Pixels outside the edit's boxes.
    pub outside_pixels: usize,
    /// Those of them that changed.
    pub outside_changed: usize,
    /// Was something put back that lay outside the cells that may change?
    pub put_back: bool,
    /// Tokens generated, the forced first one included.
    pub tokens: usize,
    /// Forward passes, prompt included.
    pub forwards: usize,
    /// Log-probability of the program at temperature 1 under the grammar's mask, in nats; with a plan
    /// given, of the codes alone.
    pub log_prob: f64,
    /// What the plan speaks of and the picture does not seem to show, one sentence; empty without
    /// doubt, in `full` (which has no plan) and in models without a seeing head.
    pub doubt: String,
    /// Codes of the result.
    pub codes: CodeGrid,
    /// Codes of the source.
    pub source_codes: CodeGrid,
    /// The program's ids.
    pub program: Vec<TokenId>,
}

/// A loaded model, ready to edit.
pub struct Editor {
    config: ModelConfig,
    vocabulary: Vocabulary,
    tokenizer: LayeredVq,
    lm: LanguageModel,
    seeing: Option<SeeingHead>,
    verifier: Option<Verifier>,
    /// What the last verdict was given after.
    thoughts: Mutex<Option<Thoughts>>,
}

/// Prefix of the decoder's tensors in a checkpoint.
pub const LM_PREFIX: &str = "lm.";
/// Prefix of the seeing head's tensors, if a model has them.
pub const SEEING_PREFIX: &str = "seeing.";
/// Prefix of the verifier's tensors, if a model has them.
pub const VERIFIER_PREFIX: &str = "verifier.";
/// Prefix of the picture tokenizer's tensors.
pub const VISION_PREFIX: &str = "vision.";
/// Highest temperature accepted.
const MAX_TEMPERATURE: f32 = 5.0;

impl Editor {
    /// Loads a bundle onto a device. On the CPU and on GPUs through wgpu it computes in integers, on the CPU
    /// with the same tokens on every machine (see [`LanguageModel::pack`]).
    ///
    /// # Errors
    /// [`ModelError::Config`] or [`ModelError::Tensors`] if the bundle is no model of this kind.
    pub fn load(bundle: &Bundle, device: &Device) -> Result<Self, ModelError> {
        let tensors = bundle.tensors()?;
        Ok(Self::from_tensors(bundle.config()?, &tensors, device)?.pack(&tensors))
    }

    /// The same model for inference, from its tensors on the host: see [`LanguageModel::pack`].
    #[must_use]
    pub fn pack(self, tensors: &TensorMap) -> Self {
        if !earl_kernels::quant_linear::packs_on(&self.lm.device()) {
            return self;
        }
        Self {
            lm: self.lm.pack(tensors, LM_PREFIX),
            seeing: self.seeing.map(|seeing| seeing.pack(tensors, SEEING_PREFIX)),
            ..self
        }
    }

    /// A model from its configuration and named tensors.
    ///
    /// # Errors
    /// As [`Editor::load`].
    pub fn from_tensors(
        config: ModelConfig,
        tensors: &TensorMap,
        device: &Device,
    ) -> Result<Self, ModelError> {
        config.check()?;
        let tokenizer = LayeredVq::from_tensors(&config.vision, tensors)?;
        let lm = apply(LanguageModel::zeros(&config, device), LM_PREFIX, tensors)?;
        let has = |prefix| tensors.keys().any(|name| name.starts_with(prefix));
        let seeing = has(SEEING_PREFIX)
            .then(|| apply(SeeingHead::zeros(&config, device), SEEING_PREFIX, tensors))
            .transpose()?;
        let verifier = has(VERIFIER_PREFIX).then(|| Verifier::from_tensors(tensors)).transpose()?;
        let (vocabulary, thoughts) = (Vocabulary::new(&config), Mutex::default());
        Ok(Self { config, vocabulary, tokenizer, lm, seeing, verifier, thoughts })
    }

    /// The model's configuration.
    #[must_use]
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }
    /// The model's ids.
    #[must_use]
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }
    /// The picture tokenizer.
    #[must_use]
    pub fn tokenizer(&self) -> &LayeredVq {
        &self.tokenizer
    }
    /// The decoder.
    #[must_use]
    pub fn lm(&self) -> &LanguageModel {
        &self.lm
    }
    /// What tells right edits from wrong ones, where the model has it.
    #[must_use]
    pub fn verifier(&self) -> Option<&Verifier> {
        self.verifier.as_ref()
    }

    /// What the last verdict was given after.
    pub(crate) fn thoughts(&self) -> MutexGuard<'_, Option<Thoughts>> {
        self.thoughts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Edits a picture of any size; `on_event` sees every token and may stop the edit.
    ///
    /// # Errors
    /// [`ModelError`] for an instruction that is not understood, a bad option, plan or picture, a failing
    /// device, or when `on_event` breaks.
    pub async fn edit(
        &self,
        source: &RgbImage,
        request: &EditRequest,
        on_event: &mut dyn FnMut(&EditEvent) -> ControlFlow<()>,
    ) -> Result<EditOutcome, ModelError> {
        self.edit_after(source, request, &[], &mut async |event: &EditEvent| on_event(event)).await
    }

    /// [`Editor::edit`] after the first tokens were `decided` by an edit of the same picture and
    /// request that was stopped. They are read one by one as they were written, so that the rest
    /// follows as if nothing had happened. `on_event` may wait: a browser hears its user meanwhile.
    ///
    /// # Errors
    /// As [`Editor::edit`]; [`ModelError::Format`] if `decided` is not the start of a program.
    pub async fn edit_after(
        &self,
        source: &RgbImage,
        request: &EditRequest,
        decided: &[TokenId],
        on_event: &mut impl AsyncFnMut(&EditEvent) -> ControlFlow<()>,
    ) -> Result<EditOutcome, ModelError> {
        if !(0.0..=MAX_TEMPERATURE).contains(&request.temperature) {
            let problem = format!("{} is not in 0..={MAX_TEMPERATURE}", request.temperature);
            return Err(ModelError::Option { name: "temperature", problem });
        }
        if request.top_k == Some(0) {
            let problem = "0 leaves nothing to draw from".into();
            return Err(ModelError::Option { name: "top_k", problem });
        }
        let within = request.within.as_deref();
        let within = within.map(|cells| Within::new(cells, self.config.vision.grid)).transpose()?;
        let words = self.vocabulary.text().encode(&request.instruction)?;
        let plan = request.plan.as_ref();
        let forced =
            plan.map(|plan| forced_tokens(&self.vocabulary, request.mode, plan)).transpose()?;
        let fitted = fit(source, self.config.vision.canvas())?;
        let source_codes = self.tokenizer.encode(&fitted.picture)?;

        let mut session = Session::open(self, &source_codes, &words);
        let behind = background_colour(&fitted.picture, self.config.vision.patch);
        let given = Given { planned: forced.unwrap_or_default().into_iter(), decided, within };
        let program = session.write(request, given, behind, on_event).await?;
        let (forwards, log_prob) = (session.forwards, session.log_prob);
        let seen = session.seen;

        let (steps, mut composed) =
            self.compose(&fitted.picture, &source_codes, request.mode, &program)?;
        let patch = self.config.vision.patch;
        let put_back = within.is_some_and(|within| {
            within.restore(&fitted.picture, &source_codes, patch, &mut composed)
        });
        let Composed { picture, codes, outside_pixels, outside_changed } = composed;
        let doubt = self.doubt(seen, &steps).await?;
        Ok(EditOutcome {
            image: picture,
            source: fitted.picture,
            fitted: fitted.note,
            plan: steps.iter().map(|step| PlanStep::of(&self.vocabulary, step)).collect(),
            outside_pixels,
            outside_changed,
            put_back,
            tokens: program.len(),
            forwards,
            log_prob,
            doubt,
            codes,
            source_codes,
            program,
        })
    }

    /// The picture a program makes of a source of canvas size, and the program's steps.
    ///
    /// # Errors
    /// [`ModelError::Format`] if the grammar does not accept the program.
    pub fn compose(
        &self,
        source: &RgbImage,
        source_codes: &CodeGrid,
        mode: Mode,
        program: &[TokenId],
    ) -> Result<(Vec<Step>, Composed), ModelError> {
        let (steps, picture) = sequence::parse(&self.vocabulary, mode, program)?;
        let composed = match mode {
            Mode::Local => compose::local(&self.tokenizer, source, source_codes, &steps),
            Mode::Full | Mode::Think => {
                let codes = CodeGrid { codes: picture, ..source_codes.clone() };
                compose::whole(&self.tokenizer, source_codes, codes, &steps)
            }
        };
        Ok((steps, composed))
    }

    /// What the plan speaks of and the picture does not seem to show, as a sentence.
    async fn doubt(&self, seen: Tensor<3>, steps: &[Step]) -> Result<String, ModelError> {
        let looks = |step: &Step| matches!(step, Step::See(_) | Step::Erase(_));
        let Some(head) = self.seeing.as_ref().filter(|_| steps.iter().any(looks)) else {
            return Ok(String::new());
        };
        let sight = Sight::read(head, &self.lm, &self.vocabulary, seen).await?;
        let list = |names: Vec<TokenId>| {
            let names: Vec<String> = names.iter().map(|&id| self.vocabulary.label(id)).collect();
            names.join(", ")
        };
        let doubted = list(sight.doubted(steps));
        if doubted.is_empty() {
            return Ok(doubted);
        }
        let things = list(sight.things(&self.vocabulary));
        let things = if things.is_empty() { "nothing known".to_owned() } else { things };
        Ok(format!("the picture does not seem to show: {doubted}; seen: {things}"))
    }
}
