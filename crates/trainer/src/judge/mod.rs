//! A served multimodal model as judge: source, edit and instruction in, `VIEScore` out.
//!
//! ```text
//! pictures → two questions (SC, PQ) → cache, or the endpoint → two pairs of numbers → overall
//! ```
//! A judge that fails gives an error, never a 0. Every answer that could be read is kept, word for word,
//! under the hash of prompt version, model and everything asked, so that it is paid for once and can be
//! replayed. Source: EARL `rl/reward.py`, `rl/viescore.py`. Start at [`Judge::score`].

pub(crate) mod answer;
pub(crate) mod client;
pub(crate) mod config;
pub(crate) mod prompt;

use crate::hint;
use crate::run_dir::write_file;
use anyhow::{Context, Result};
use client::{Away, Client};
use config::JudgeConfig;
use earl_model::checkpoint::bundle::hex_sha256;
use earl_model::files::encode_png;
use image::RgbImage;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// What the judge says of an edit; all 0–10.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Verdict {
    /// Was the instruction carried out?
    pub success: f64,
    /// 10 = nothing else was changed.
    pub overediting: f64,
    /// Does the edit look natural?
    pub naturalness: f64,
    /// 10 = no artifact.
    pub artifacts: f64,
    /// √(min(success, overediting) · min(naturalness, artifacts)).
    pub overall: f64,
}

impl Verdict {
    fn new([success, overediting]: [f64; 2], [naturalness, artifacts]: [f64; 2]) -> Self {
        let overall = (success.min(overediting) * naturalness.min(artifacts)).sqrt();
        Self { success, overediting, naturalness, artifacts, overall }
    }
}

/// An edit to be judged.
pub(crate) struct Question<'a> {
    /// The original.
    pub source: &'a RgbImage,
    /// Its edited version.
    pub edit: &'a RgbImage,
    /// What was asked for.
    pub instruction: &'a str,
}

/// A cached answer, with what was asked for people to read.
#[derive(Serialize, Deserialize)]
struct Kept {
    prompt: String,
    version: String,
    model: String,
    answer: String,
}

/// Asks one endpoint; shared by threads.
pub(crate) struct Judge {
    client: Client,
    model: String,
    concurrency: usize,
    cache: Option<PathBuf>,
}

impl Judge {
    /// A judge that has spent `used` requests and tokens of its budgets; its cache folder is made.
    ///
    /// # Errors
    /// If the configuration is broken or the folder can't be made.
    pub(crate) fn new(config: &JudgeConfig, used: [u64; 2]) -> Result<Self> {
        config.check().map_err(|rule| hint::error(format!("{rule:#}"), hint::KEYS))?;
        if let Some(folder) = &config.cache {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("making `{}`", folder.display()))?;
        }
        Ok(Self {
            client: Client::new(config.clone(), used),
            model: config.model.clone(),
            concurrency: config.concurrency,
            cache: config.cache.clone(),
        })
    }

    /// Requests sent and tokens used.
    #[must_use]
    pub(crate) fn used(&self) -> [u64; 2] {
        self.client.used()
    }

    /// Judges one edit.
    ///
    /// # Errors
    /// If the endpoint gives no answer that can be read, or a budget is spent.
    pub(crate) fn score(&self, question: &Question<'_>) -> Result<Verdict> {
        let source = encode_png(question.source, None)?;
        let edit = encode_png(question.edit, None)?;
        let consistency =
            self.pair(&prompt::consistency(question.instruction), &[&source, &edit])?;
        let quality = self.pair(&prompt::quality(), &[&edit])?;
        Ok(Verdict::new(consistency, quality))
    }

    /// Judges many, several at once; each has its own verdict or failure, in order. `done` hears of each.
    /// Once the server could not be reached, the rest is not asked.
    pub(crate) fn score_all(
        &self,
        questions: &[Question<'_>],
        done: &(dyn Fn() + Sync),
    ) -> Vec<Result<Verdict>> {
        let (next, gone) = (AtomicUsize::new(0), AtomicBool::new(false));
        let found: Vec<Mutex<Option<Result<Verdict>>>> =
            questions.iter().map(|_| Mutex::new(None)).collect();
        std::thread::scope(|scope| {
            for _ in 0..self.concurrency.min(questions.len()) {
                scope.spawn(|| {
                    loop {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        let Some(question) = questions.get(at) else { return };
                        let verdict = if gone.load(Ordering::Relaxed) {
                            Err(Away::unasked().into())
                        } else {
                            self.score(question)
                        };
                        let away = verdict.as_ref().err().and_then(Away::of);
                        if away.is_some_and(|away| !away.reached) {
                            gone.store(true, Ordering::Relaxed);
                        }
                        if let Ok(mut slot) = found[at].lock() {
                            *slot = Some(verdict);
                        }
                        done();
                    }
                });
            }
        });
        let failed = || Err(anyhow::anyhow!("the judge's thread died"));
        let taken = |slot: Mutex<Option<Result<Verdict>>>| slot.into_inner().ok().flatten();
        found.into_iter().map(|slot| taken(slot).unwrap_or_else(failed)).collect()
    }

    fn pair(&self, text: &str, pictures: &[&[u8]]) -> Result<[f64; 2]> {
        let file = self.cache.as_ref().map(|folder| {
            let mut asked = format!("{}\0{}\0{text}\0", prompt::VERSION, self.model).into_bytes();
            for png in pictures {
                asked.extend(hex_sha256(png).into_bytes());
            }
            folder.join(format!("{}.json", hex_sha256(&asked)))
        });
        if let Some(pair) = file.as_ref().and_then(|file| {
            let kept: Kept = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
            answer::read(&kept.answer)
        }) {
            return Ok(pair);
        }
        let (pair, answer) = self.client.ask(text, prompt::AGAIN, pictures, answer::read)?;
        if let Some(file) = file {
            let kept = Kept {
                prompt: text.to_owned(),
                version: prompt::VERSION.to_owned(),
                model: self.model.clone(),
                answer,
            };
            write_file(&file, &serde_json::to_vec_pretty(&kept)?)?;
        }
        Ok(pair)
    }
}
