//! `trainer bench full --synthetic`: the published language model's size without its weights.
//!
//! Made-up weights are streamed into a bundle, mapped, and read as an edit reads them: a prompt at
//! once, codes one by one, and a few places a pass as drafts and locked codes take them. What an
//! edit of 256² takes is projected from these; a draft's acceptance needs real weights, so only its
//! ends are given.

use crate::full::export::{Part, Source, export};
use crate::full::open_bundle;
use crate::memory::peak_bytes;
use anyhow::{Context, Result, bail};
use burn::tensor::{Device, FloatDType, Tensor};
use clap::ValueEnum;
use earl_model::TokenId;
use earl_model::emu3::lm::left_padded;
use earl_model::emu3::wanted::lm_tensors;
use earl_model::emu3::{Emu3Config, Emu3Ids, Emu3Lm, MadeUp, Precision, Shards, plan};
use earl_model::lm::{Chunk, KvCache};
use rayon::prelude::*;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Instant;

/// Flags of `bench full`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Make the weights up; there is no other way yet.
    #[arg(long, required = true)]
    synthetic: bool,
    /// Precision of the matrices.
    #[arg(long, value_enum, default_value_t)]
    quant: Quant,
    /// Blocks; 32 is the published model.
    #[arg(long, default_value_t = 32)]
    layers: usize,
    /// Ids; 184622 is the published vocabulary.
    #[arg(long, default_value_t = 184_622)]
    vocab: usize,
    /// Ids of the prompt: a source picture of 256² and a sentence take about 1100.
    #[arg(long, default_value_t = 1_100)]
    prompt: usize,
    /// Codes decoded one by one.
    #[arg(long, default_value_t = 8)]
    decode: usize,
    /// Keep the bundle here, and go on from what lies there; else it is made in the system's
    /// folder for temporary files and removed.
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Stop after the export.
    #[arg(long)]
    export_only: bool,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Quant {
    /// 8 bits.
    Q8,
    /// 4 bits.
    #[default]
    Q4,
    /// 4 bits, embedding and head 8.
    Mixed,
}

/// Places a pass, for drafts and locked codes.
const TOGETHER: [usize; 3] = [4, 8, 16];
/// Codes of an edit of 256², and ids of its image block that are forced.
const CODES: f64 = 1024.0;

/// Seconds, tokens a second, memory, and bytes a token against the memory's own speed.
///
/// # Errors
/// If there is no room for the bundle.
pub(super) fn measure(args: &Args) -> Result<Value> {
    let Args { synthetic: true, .. } = args else { bail!("pass `--synthetic`") };
    let temporary = tempfile::tempdir()?;
    let folder = args.folder.clone().unwrap_or_else(|| temporary.path().join("bundle"));
    let json = json!({"text_config": {"num_hidden_layers": args.layers, "vocab_size": args.vocab}});
    let config = Emu3Config::parse(json.to_string().as_bytes())?;
    let mut figures =
        json!({ "layers": args.layers, "vocab": args.vocab, "quant": format!("{:?}", args.quant) });
    figures["export"] = write(args, &config, &folder)?;
    if args.export_only {
        return Ok(figures);
    }
    let start = Instant::now();
    let bundle = open_bundle(&folder)?;
    let checked = start.elapsed().as_secs_f64();
    let lm = config.lm.as_ref().context("no language model")?;
    let lm = Emu3Lm::from_bundle(lm, &bundle, FloatDType::F32, &Device::flex())?;
    figures["load"] = json!({
        "seconds": start.elapsed().as_secs_f64(), "of_which_hashes": checked,
        "bytes": bundle.manifest().size,
    });
    let mut reader = Reader::new(&lm, args.vocab);
    let prefill = reader.seconds(args.prompt);
    figures["prefill"] = json!({ "ids": args.prompt, "seconds": prefill, "ids_per_second": args.prompt as f64 / prefill });
    let single = (0..args.decode.max(1)).map(|_| reader.seconds(1)).fold(f64::INFINITY, f64::min);
    let bytes = bytes_of_a_token(args, &config);
    let bandwidth = bandwidth();
    figures["decode"] = json!({
        "seconds_per_token": single, "tokens_per_second": 1.0 / single, "bytes_per_token": bytes,
        "bytes_per_second": bytes as f64 / single, "memory_bytes_per_second": bandwidth,
        "share_of_memory_speed": bytes as f64 / single / bandwidth,
    });
    let together: Vec<(usize, f64)> = TOGETHER
        .iter()
        .map(|&places| {
            (places, (0..2).map(|_| reader.seconds(places)).fold(f64::INFINITY, f64::min))
        })
        .collect();
    figures["places_a_pass"] = together
        .iter()
        .map(|(places, seconds)| json!({ "places": places, "seconds": seconds }))
        .collect();
    figures["projected_seconds_256"] = projected(args, prefill, single, &together);
    figures["peak_bytes"] = json!(peak_bytes());
    figures["threads"] = json!(rayon::current_num_threads());
    figures["instructions"] = json!(earl_kernels::quant_linear::instructions());
    Ok(figures)
}

fn precision(args: &Args) -> Precision {
    match args.quant {
        Quant::Q8 => Precision::Q8,
        Quant::Q4 => Precision::Q4,
        Quant::Mixed => Precision::Mixed,
    }
}

fn write(args: &Args, config: &Emu3Config, folder: &std::path::Path) -> Result<Value> {
    if folder.join("manifest.json").is_file() {
        return Ok(json!("found there"));
    }
    let start = Instant::now();
    let wanted: Vec<_> = config.lm.iter().flat_map(lm_tensors).collect();
    let shards = Shards::single("made-up", MadeUp::new(&wanted))?;
    let names = wanted.iter().map(|tensor| (tensor.name.clone(), tensor.name.clone())).collect();
    let source = Source {
        config: config.clone(),
        parts: [Some(Part { shards: &shards, names }), None],
        identity: format!("made up, {} blocks, {} ids", args.layers, args.vocab),
        name: "made-up".into(),
    };
    let exported = export(&source, precision(args), folder)?;
    Ok(json!({
        "seconds": start.elapsed().as_secs_f64(), "bytes": exported.bytes,
        "peak_bytes": peak_bytes(), "kept_chunks": exported.kept_chunks, "worst": exported.worst(),
    }))
}

/// Feeds made-up codes and asks for the scores of the codes that may follow.
struct Reader<'a> {
    lm: &'a Emu3Lm,
    cache: KvCache,
    codes: usize,
    first: usize,
}

impl<'a> Reader<'a> {
    fn new(lm: &'a Emu3Lm, vocab: usize) -> Self {
        let codes = (Emu3Ids::PUBLISHED.codebook_size as usize).min(vocab);
        Self { lm, cache: lm.cache(), codes, first: vocab - codes }
    }

    /// Seconds of one pass over `count` more ids; scores at every place of a few, else at the last.
    fn seconds(&mut self, count: usize) -> f64 {
        let read = self.cache.len();
        let id = |at: usize| TokenId((self.first + (at * 7919) % self.codes) as u32);
        let ids: Vec<TokenId> = (read..read + count).map(id).collect();
        let mut chunk: Chunk = left_padded(std::slice::from_ref(&ids), TokenId(0));
        chunk.times = (read..read + count).collect();
        let start = Instant::now();
        let hidden = self.lm.forward(&chunk, &mut self.cache);
        let [_, seq, width] = hidden.dims();
        let scored = if count > 64 { 1 } else { seq };
        let hidden: Tensor<3> = hidden.slice([0..1, seq - scored..seq, 0..width]);
        let scores = self.lm.logits_of(hidden, self.first, self.codes).into_data();
        std::hint::black_box(scores);
        start.elapsed().as_secs_f64()
    }
}

/// Codes and scales that one place reads: every block's matrices and the head's rows of codes, and
/// the keys and values of the prompt.
fn bytes_of_a_token(args: &Args, config: &Emu3Config) -> u64 {
    let plan = plan(config, precision(args));
    let blocks = plan.iter().filter(|planned| planned.tensor.contains(".layers."));
    let blocks: u64 = blocks.map(earl_model::emu3::plan::bytes).sum();
    let codes = (Emu3Ids::PUBLISHED.codebook_size as usize).min(args.vocab) as u64;
    let head = plan.iter().filter(|planned| planned.tensor == "lm_head.weight");
    let head: u64 = head.map(earl_model::emu3::plan::bytes).sum();
    let keys = config.lm.as_ref().map_or(0, |lm| {
        2 * lm.blocks.num_hidden_layers * lm.blocks.num_key_value_heads * lm.blocks.head_dim * 4
    });
    blocks + head * codes / args.vocab as u64 + (keys * args.prompt) as u64
}

/// Bytes a second that all cores read of a large buffer; best of five.
fn bandwidth() -> f64 {
    let buffer = vec![1u64; 64 << 20];
    let pass = || {
        let start = Instant::now();
        let sum: u64 = buffer.par_chunks(1 << 16).map(|part| part.iter().sum::<u64>()).sum();
        std::hint::black_box(sum);
        (buffer.len() * 8) as f64 / start.elapsed().as_secs_f64()
    };
    (0..5).map(|_| pass()).fold(0.0, f64::max)
}

/// Seconds of an edit: in full, with a quarter of the codes open, and with drafts at both ends.
fn projected(args: &Args, prefill: f64, single: f64, together: &[(usize, f64)]) -> Value {
    let prefill = prefill * 1_100.0 / args.prompt as f64;
    let (places, pass) = together.last().copied().unwrap_or((1, single));
    let each = pass / places as f64;
    let drafts: Vec<Value> = together
        .iter()
        .map(|(places, pass)| {
            json!({
                "codes_ahead": places - 1, "every_draft_right": prefill + CODES / *places as f64 * pass,
                "no_draft_right": prefill + CODES * pass,
                "accepted_codes_a_pass_to_break_even": pass / single - 1.0,
            })
        })
        .collect();
    json!({
        "full": prefill + CODES * single,
        "region_of_a_quarter": prefill + CODES / 4.0 * single + CODES * 0.75 * each,
        "drafts": drafts,
        "without": "the image tokenizer's part: encode and decode",
    })
}
