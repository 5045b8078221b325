//! An edit with a published model in one call: `full`, `think`, or `local` with a region that is given.
//!
//! ```text
//! picture ─smart_resize─▶ codes ─prompt─▶ [reasoning] codes ─▶ picture
//! ```
//! Published models were not trained to write boxes. In `local` the caller's region stands in their
//! place: codes outside it are the source's own, forced, and so are the pixels. Start at
//! [`FullEditor::edit`].

use super::sequence::{REASONING_OPENS, inference_prompt, parse_codes};
use super::{
    Drafted, Emu3Config, Emu3Ids, Emu3Lm, Emu3Text, Emu3Vq, FreeIds, Limits, Request, Sampling,
    Step, generate, generate_drafted, pixels, write_freely,
};
use crate::checkpoint::bundle::Bundle;
use crate::editor::Mode;
use crate::error::ModelError;
use crate::ids::{CodeGrid, CodeId, Seed, TokenId};
use crate::region::{Region, keep_outside};
use burn::tensor::{Device, FloatDType};
use image::RgbImage;
use serde::{Deserialize, Serialize};

/// Tier of a bundle that holds a published model.
pub const TIER: &str = "full";
/// Name of the text tokenizer's file in a bundle.
pub const RANKS_FILE: &str = "qwen.tiktoken";
/// Codes drawn among when sampling, as in Emu3's own example.
const TOP_K: usize = 2048;
/// Ids of reasoning before the image is opened for the model.
pub const LONGEST_REASONING: usize = 512;
/// Pixels an edit may have.
pub const AREAS: std::ops::RangeInclusive<u64> = 256..=1 << 20;

/// What to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FullRequest {
    /// What a person typed: control tokens in it are plain text.
    pub instruction: String,
    /// How much of the picture the model writes; `local` needs a region.
    pub mode: Mode,
    /// The pixels that may change, in mode `local`.
    pub region: Option<Region>,
    /// About how many pixels the edit has; EARL was trained at 65,536.
    pub area: u64,
    /// Seed of every random draw.
    pub seed: Seed,
    /// 0 takes the likeliest code.
    pub temperature: f32,
    /// Draw among this many of the likeliest codes, at a temperature above 0; None is 2,048, as in Emu3's own
    /// example.
    #[serde(default)]
    pub top_k: Option<usize>,
    /// The source's codes read ahead as a draft; 0 reads none.
    pub ahead: usize,
}

/// How far an edit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Another id of reasoning was written.
    Thought,
    /// The id at `place` of `places` of the image is written.
    Code {
        /// From 0.
        place: usize,
        /// Ids of the image block.
        places: usize,
    },
}

/// The result of an edit.
#[derive(Clone, Debug)]
pub struct FullOutcome {
    /// The edited picture.
    pub picture: RgbImage,
    /// The source in the edit's size.
    pub fitted: RgbImage,
    /// Codes of the source.
    pub source: CodeGrid,
    /// Codes of the result.
    pub codes: CodeGrid,
    /// What the model said first, in mode `think`.
    pub reasoning: Option<String>,
    /// What drafts saved.
    pub drafted: Option<Drafted>,
}

/// Both models and the text tokenizer, ready to edit.
pub struct FullEditor {
    /// Language model.
    pub lm: Emu3Lm,
    /// Image tokenizer.
    pub vq: Emu3Vq,
    /// Text tokenizer.
    pub text: Emu3Text,
}

/// What a model wrote.
struct Written {
    reasoning: Option<String>,
    codes: CodeGrid,
    drafted: Option<Drafted>,
}

impl FullEditor {
    /// Loads a bundle; see [`Emu3Lm::from_bundle`].
    ///
    /// # Errors
    /// [`ModelError::Config`] for another vocabulary, [`ModelError::Format`] for a bundle without one
    /// of its parts; otherwise as [`Emu3Lm::from_bundle`].
    pub fn from_bundle(
        bundle: &Bundle,
        matrices: FloatDType,
        device: &Device,
    ) -> Result<Self, ModelError> {
        let missing = |part: &str| ModelError::Format {
            what: "bundle".into(),
            problem: format!("it holds no {part}"),
        };
        let config = Emu3Config::parse(bundle.manifest().model.config.to_string().as_bytes())?;
        let lm = config.lm.as_ref().ok_or_else(|| missing("language model"))?;
        let vq = config.vq.as_ref().ok_or_else(|| missing("image tokenizer"))?;
        check_published(lm.vocab_size, vq.codebook_size)?;
        let ranks = bundle.file(RANKS_FILE)?.ok_or_else(|| missing("text tokenizer"))?;
        Ok(Self {
            lm: Emu3Lm::from_bundle(lm, bundle, matrices, device)?,
            vq: Emu3Vq::from_bundle(vq, bundle, device)?,
            text: Emu3Text::new(&ranks)?,
        })
    }

    /// Edits a picture of any size; `watch` sees each step and returns whether to go on.
    ///
    /// # Errors
    /// [`ModelError`] for a picture, sentence or option that can't be used, a broken model, or when
    /// `watch` ends the edit.
    pub async fn edit(
        &self,
        picture: &RgbImage,
        request: &FullRequest,
        watch: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<FullOutcome, ModelError> {
        request.check()?;
        let size = picture.dimensions();
        let factor = self.vq.config().factor() as u32;
        let (height, width) =
            pixels::smart_resize(size.1, size.0, factor, request.area, request.area)?;
        let fitted = pixels::bicubic(picture, height, width)?;
        let source = self.encode(&fitted).await?;
        let open = request.region.map(|region| region.cells_of_grid(size, &source)).transpose()?;
        let written = self.write(request, &source, open.as_deref(), watch).await?;
        let Written { reasoning, codes, drafted } = written;
        let mut picture = self.decode(&codes).await?;
        if let Some(open) = &open {
            keep_outside(&mut picture, &fitted, open, source.width, factor);
        }
        Ok(FullOutcome { picture, fitted, source, codes, reasoning, drafted })
    }

    async fn encode(&self, picture: &RgbImage) -> Result<CodeGrid, ModelError> {
        let pixels = pixels::to_pixels(std::slice::from_ref(picture), &self.lm.device())?;
        let none = || ModelError::Picture { problem: "gave no codes".into() };
        self.vq.encode(pixels).await?.pop().ok_or_else(none)
    }

    async fn decode(&self, codes: &CodeGrid) -> Result<RgbImage, ModelError> {
        let pixels = self.vq.decode(std::slice::from_ref(codes))?;
        let none = || ModelError::Picture { problem: "was not made of the codes".into() };
        pixels::to_pictures(pixels).await?.pop().ok_or_else(none)
    }

    /// Reasoning if asked for, then the codes.
    async fn write(
        &self,
        asked: &FullRequest,
        source: &CodeGrid,
        open: Option<&[bool]>,
        watch: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<Written, ModelError> {
        let ids = Emu3Ids::PUBLISHED;
        let sampling = Sampling {
            temperature: asked.temperature,
            top_k: (asked.temperature > 0.0).then_some(asked.top_k.unwrap_or(TOP_K)),
            top_p: 1.0,
            seed: asked.seed,
        };
        let words = self.text.encode(&asked.instruction)?;
        let think = asked.mode == Mode::Think;
        let mut prompt = inference_prompt(&self.text, source, &words, think)?;
        let (mut reasoning, mut size) = (None, (source.height, source.width));
        if think {
            let (said, rest, opened) = self.think(&prompt, &sampling, watch).await?;
            prompt.extend(rest);
            (reasoning, size) = (Some(said), opened);
        } else {
            prompt.push(TokenId(ids.img));
        }
        let lock = |(code, open): (&CodeId, &bool)| if *open { None } else { Some(*code) };
        let locked = open.map(|open| source.codes.iter().zip(open).map(lock).collect());
        let (height, width) = size;
        let request = Request { prompt, height, width, locked: locked.unwrap_or_default() };
        let mut watch =
            |step: &Step<'_>| watch(Progress::Code { place: step.place, places: step.places });
        let drafts = asked.ahead > 0 && size == (source.height, source.width);
        let (written, drafted) = if drafts {
            let (lm, draft) = (&self.lm, &source.codes);
            let drafted =
                generate_drafted(lm, &ids, &request, draft, asked.ahead, &sampling, &mut watch)
                    .await?;
            (drafted.written.clone(), Some(drafted))
        } else {
            let requests = [request];
            let written = generate(&self.lm, &ids, &requests, None, &sampling, &mut watch).await?;
            (written.into_iter().next().unwrap_or_default(), None)
        };
        Ok(Written { reasoning, codes: parse_codes(&ids, size, &written)?, drafted })
    }

    /// The reasoning as text, everything up to IMG, and the size of the image it opens.
    async fn think(
        &self,
        prompt: &[TokenId],
        sampling: &Sampling,
        watch: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<(String, Vec<TokenId>, (usize, usize)), ModelError> {
        let with = FreeIds::published(&self.text)?;
        let limits = Limits { text: LONGEST_REASONING, side: 128 };
        let mut thought = |_| watch(Progress::Thought);
        let opened = write_freely(&self.lm, &with, prompt, limits, sampling, &mut thought).await?;
        let said = self.text.decode(&opened.written[..opened.text])?;
        let said = format!("{}{said}", REASONING_OPENS.trim_start());
        Ok((said, opened.written, (opened.height, opened.width)))
    }
}

impl FullRequest {
    /// The first broken rule, if any.
    fn check(&self) -> Result<(), ModelError> {
        let refuse = |name, problem: String| Err(ModelError::Option { name, problem });
        if self.instruction.trim().is_empty() {
            return Err(ModelError::Instruction { problem: "is empty".into() });
        }
        if !AREAS.contains(&self.area) {
            return refuse("area", format!("{} is not in {AREAS:?}", self.area));
        }
        match (self.mode, self.region) {
            (Mode::Local, None) => {
                refuse("region", "mode `local` needs the pixels that may change".into())
            }
            (Mode::Full | Mode::Think, Some(_)) => {
                refuse("region", "goes with mode `local`".into())
            }
            _ => Ok(()),
        }
    }
}

/// Do the sizes fit the published vocabulary, which the text tokenizer and the prompts use?
///
/// # Errors
/// [`ModelError::Config`] with both.
pub fn check_published(vocab_size: usize, codebook_size: usize) -> Result<(), ModelError> {
    let ids = Emu3Ids::PUBLISHED;
    if vocab_size == ids.vocab_size() && codebook_size == ids.codebook_size as usize {
        return Ok(());
    }
    let found = format!("{vocab_size} ids and {codebook_size} codes");
    let (words, codes) = (ids.vocab_size(), ids.codebook_size);
    Err(ModelError::Config {
        key: "vocab_size",
        problem: format!(
            "the model has {found}; the published tokenizers have {words} and {codes}"
        ),
    })
}
