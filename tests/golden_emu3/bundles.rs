//! The tiny models as bundles: read back from row shards and chunks, packed or not, and decoded from.

use super::device::device;
use super::fixtures::{Fixtures, Model, ids};
use super::lm::{load, tokens, values};
use super::report::Report;
use burn::tensor::{Device, FloatDType};
use earl_model::checkpoint::bundle::{Bundle, ChunkEntry, ModelEntry};
use earl_model::checkpoint::quantize::quantize;
use earl_model::checkpoint::writer::Writer;
use earl_model::emu3::lm::left_padded;
use earl_model::emu3::{
    Emu3Config, Emu3Lm, Emu3Vq, Precision, Request, Sampling, Shards, Step, generate,
    generate_drafted, plan,
};
use earl_model::lm::Chunk;
use earl_model::{CodeId, Seed, TokenId};
use pollster::block_on;
use std::collections::BTreeMap;

/// Smaller than the format's own, so that tensors and rows cross the ends of chunks.
const CHUNK: u64 = 1 << 12;

pub(crate) fn check(fixtures: &Fixtures, report: &mut Report) {
    for model in fixtures.models("lm") {
        if model.sources[0].0 != "BAAI" {
            continue; // names in a bundle are BAAI's
        }
        let float = load(&model, 0, &Device::flex());
        for precision in
            [Precision::F32, Precision::Q8, Precision::Mixed, Precision::Q4, Precision::T2]
        {
            let bundle = bundle(&model, precision);
            let config = model.sources[0].1.lm.as_ref().unwrap();
            let stored =
                Emu3Lm::from_bundle(config, &bundle, FloatDType::F32, &Device::flex()).unwrap();
            if precision == Precision::F32 {
                report.equal(
                    "bits of the logits, float32 bundle",
                    scores(&stored, &model),
                    scores(&float, &model),
                );
            } else {
                let bound = match precision {
                    Precision::Q8 => 0.02,
                    Precision::T2 => 4.0, // made-up weights are not ternary
                    _ => 2.0,
                };
                same_distributions(
                    &model,
                    [&float, &stored],
                    &format!("{precision:?}"),
                    bound,
                    report,
                );
                packed_elsewhere(&model, &stored, (&bundle, precision), report);
            }
            one_at_a_time(&model, &stored, precision, report);
            drafts_and_locks(&model, &stored, report);
        }
    }
    for model in fixtures.models("vq") {
        if model.sources[0].0 == "BAAI" {
            same_tokenizer(&model, report);
        }
    }
}

/// What an export of a file in BAAI's layout holds, in memory.
fn bundle(model: &Model, precision: Precision) -> Bundle {
    let (_, config, shards) = &model.sources[0];
    let mut chunks = BTreeMap::new();
    let mut sink = |chunk: &ChunkEntry, bytes: &[u8]| {
        chunks.insert(chunk.path(), bytes.to_vec());
        Ok(())
    };
    let manifest = write(config, shards, precision, Writer::new(CHUNK, Vec::new(), &mut sink));
    Bundle::open(&manifest, |chunk| Ok(chunks[&chunk.path()].clone())).unwrap()
}

fn write(
    config: &Emu3Config,
    shards: &Shards,
    precision: Precision,
    mut writer: Writer<'_>,
) -> Vec<u8> {
    for planned in plan(config, precision) {
        // Two row shards where the format's limit would not ask for any.
        let whole = shards.read(&planned.tensor).unwrap();
        let rows = if planned.shape.len() == 2 { planned.shape[0] } else { 1 };
        let width = planned.shape.last().copied().unwrap();
        let cut = if rows > 2 { rows / 3 } else { 0 };
        let parts = [0..cut, cut..rows].into_iter().filter(|part| !part.is_empty());
        for (at, part) in parts.enumerate() {
            let row = whole.data.len() / rows;
            let values = &whole.data[part.start * row..part.end * row];
            let (codes, scales) = quantize(values, width, planned.dtype);
            let (mut shape, mut name) = (planned.shape.clone(), planned.name.clone());
            if cut > 0 {
                shape[0] = part.len();
                name = format!("{name}#{at}");
            }
            writer.tensor(&name, planned.dtype, &shape, &codes, &scales).unwrap();
        }
    }
    writer.file("note", b"a file").unwrap();
    let model = ModelEntry {
        name: "tiny".into(),
        tier: "full".into(),
        licence: "none".into(),
        config: config.to_json(),
    };
    writer.finish(model).unwrap()
}

/// The same packed model where this run's device is not the CPU: its distributions are the CPU's but for the
/// last bits of `exp`, which may turn an activation's code to the next.
fn packed_elsewhere(
    model: &Model,
    stored: &Emu3Lm,
    (bundle, precision): (&Bundle, Precision),
    report: &mut Report,
) {
    let device = device();
    if device == Device::flex() {
        return;
    }
    let config = model.sources[0].1.lm.as_ref().unwrap();
    let there = Emu3Lm::from_bundle(config, bundle, FloatDType::F32, &device).unwrap();
    let label = format!("{precision:?} on {device:?}");
    same_distributions(model, [stored, &there], &label, 1e-3, report);
    drafts_and_locks(model, &there, report);
}

/// Tables and linear maps in two bytes a weight, where the device computes in such types.
pub(crate) fn half_precision(fixtures: &Fixtures, report: &mut Report) {
    let device = device();
    for model in fixtures.models("lm") {
        let float = load(&model, 0, &device);
        let (_, config, shards) = &model.sources[0];
        for (dtype, bound) in [(FloatDType::BF16, 0.05), (FloatDType::F16, 0.005)] {
            let half = Emu3Lm::load(config.lm.as_ref().unwrap(), shards, dtype, &device);
            if !device.supports_dtype(dtype) {
                let said =
                    half.err().map(|error| error.to_string().contains("does not compute in"));
                report.equal(&format!("refused: {dtype:?}"), said, Some(true));
                continue;
            }
            let half = half.unwrap();
            report.equal("type of the maps", half.layers[0].q_proj.weight.dtype(), dtype.into());
            same_distributions(&model, [&float, &half], &format!("{dtype:?}"), bound, report);
        }
    }
}

/// Logits of the codes at every place of the model's own sequence.
fn scores(lm: &Emu3Lm, model: &Model) -> Vec<f32> {
    let ids = ids(&model.meta);
    let (first, count) = (ids.vis_start as usize, ids.codebook_size as usize);
    let chunk = left_padded(&[tokens(&model.io.rows("single.input_ids")[0])], TokenId(0));
    values(lm.logits_of(lm.forward(&chunk, &mut lm.cache()), first, count))
}

/// KL of the next code's distribution, in nats, and the share of equal likeliest codes.
fn same_distributions(
    model: &Model,
    [float, stored]: [&Emu3Lm; 2],
    label: &str,
    bound: f64,
    report: &mut Report,
) {
    let count = ids(&model.meta).codebook_size as usize;
    let (want, got) = (scores(float, model), scores(stored, model));
    let softmax = |logits: &[f32]| {
        let most = logits.iter().fold(f64::MIN, |most, &logit| most.max(f64::from(logit)));
        let sum: f64 = logits.iter().map(|&logit| (f64::from(logit) - most).exp()).sum();
        logits.iter().map(|&l| f64::from(l) - most - sum.ln()).collect::<Vec<f64>>()
    };
    let best = |logits: &[f32]| (0..count).max_by(|a, b| logits[*a].total_cmp(&logits[*b]));
    let (mut sum, mut largest, mut agree, places) = (0.0, 0.0f64, 0, want.len() / count);
    for (want, got) in want.chunks_exact(count).zip(got.chunks_exact(count)) {
        let terms = softmax(want).into_iter().zip(softmax(got)).map(|(p, q)| p.exp() * (p - q));
        let divergence: f64 = terms.sum();
        sum += divergence;
        largest = largest.max(divergence);
        agree += usize::from(best(want) == best(got));
    }
    eprintln!(
        "{} {label}: KL mean {:.2e}, largest {largest:.2e} nats; {agree} of {places} likeliest codes agree",
        model.name,
        sum / places as f64
    );
    report.equal(&format!("{label}: divergence in bounds"), largest < bound, true);
}

/// The cache that is written in place gives what one pass gives.
fn one_at_a_time(model: &Model, lm: &Emu3Lm, precision: Precision, report: &mut Report) {
    let row = tokens(&model.io.rows("single.input_ids")[0]);
    let whole = left_padded(std::slice::from_ref(&row), TokenId(0));
    let want = values(lm.logits(lm.forward(&whole, &mut lm.cache())));
    let (mut cache, mut got) = (lm.cache(), Vec::new());
    for (at, id) in row.iter().enumerate() {
        let one = |id, at| Chunk { times: vec![at], ..left_padded(&[vec![id]], TokenId(0)) };
        // A wrong id is read, forgotten, and must leave no trace.
        drop(lm.forward(&one(TokenId(at as u32 % 5), at), &mut cache));
        cache.truncate(at);
        got.extend(values(lm.logits(lm.forward(&one(*id, at), &mut cache))));
    }
    if precision == Precision::F32 {
        report.close("an id at a time, against one pass", &got, &want);
        return;
    }
    // Packed products and short causal chunks are the same bits, place by place or at once.
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    report.equal("packed: an id at a time, against one pass", bits(&got), bits(&want));
}

/// Drafts change nothing but the number of passes; locked codes stand.
fn drafts_and_locks(model: &Model, lm: &Emu3Lm, report: &mut Report) {
    let ids = ids(&model.meta);
    let prompt = tokens(&model.io.rows("greedy.prompt")[0]);
    let (height, width) = (3, 4);
    let request = Request { prompt, height, width, ..Request::default() };
    let sampling = Sampling { temperature: 1.0, top_k: Some(20), top_p: 0.9, seed: Seed(3) };
    let plain = |request: &Request| {
        let requests = std::slice::from_ref(request);
        block_on(generate(lm, &ids, requests, None, &sampling, &mut |_| true)).unwrap().remove(0)
    };
    let want = plain(&request);
    let codes = |written: &[TokenId]| -> Vec<CodeId> {
        let code = |id: &TokenId| id.0.checked_sub(ids.vis_start).map(CodeId);
        written.iter().filter_map(code).filter(|code| code.0 < ids.codebook_size).collect()
    };
    let own = codes(&want);
    let mut half = own.clone();
    for code in half.iter_mut().step_by(3) {
        code.0 = (code.0 + 1) % ids.codebook_size;
    }
    for (draft, ahead) in [(&own, 5), (&half, 1), (&half, 4), (&own, 100)] {
        let watch = &mut |_: &Step<'_>| true;
        let drafted = generate_drafted(lm, &ids, &request, draft, ahead, &sampling, watch);
        let drafted = block_on(drafted).unwrap();
        report.equal("drafted, against place by place", &drafted.written, &want);
        report.equal("codes chosen with a draft", drafted.chosen, own.len());
        if draft == &own {
            let passes = own.len().div_ceil(ahead + 1);
            report.equal("passes with a perfect draft", drafted.passes, passes);
        }
    }
    let lock = |(at, code): (usize, &CodeId)| (at % 4 != 1).then_some(*code);
    let locked: Vec<Option<CodeId>> = half.iter().enumerate().map(lock).collect();
    let request = Request { locked: locked.clone(), ..request };
    let written = plain(&request);
    for (code, lock) in codes(&written).iter().zip(&locked) {
        report.equal("a locked code", lock.is_none_or(|lock| lock == *code), true);
    }
    let watch = &mut |_: &Step<'_>| true;
    let drafted = generate_drafted(lm, &ids, &request, &half, 2, &sampling, watch);
    report.equal("locked and drafted", &block_on(drafted).unwrap().written, &written);
    let bad = Request { locked: vec![None; 5], ..request };
    let refused = block_on(generate(lm, &ids, &[bad], None, &sampling, &mut |_| true));
    report.equal("refused: locks of another size", refused.is_err(), true);
}

fn same_tokenizer(model: &Model, report: &mut Report) {
    let config = model.sources[0].1.vq.as_ref().unwrap();
    let bundle = bundle(model, Precision::Q4);
    report.equal("file in a bundle", bundle.file("note").unwrap(), Some(b"a file".to_vec()));
    let stored = Emu3Vq::from_bundle(config, &bundle, &Device::flex()).unwrap();
    let direct = Emu3Vq::load(config, &model.sources[0].2, &Device::flex()).unwrap();
    let grid = earl_model::CodeGrid {
        height: 2,
        width: 3,
        codes: (0..6).map(|at| CodeId(at % config.codebook_size as u32)).collect(),
    };
    let pixels = |vq: &Emu3Vq| values(vq.decode(std::slice::from_ref(&grid)).unwrap());
    report.equal("bits of the pixels, from a bundle", pixels(&stored), pixels(&direct));
}
