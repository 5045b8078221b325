//! The language model: hidden states and logits at every layer, loss, gradients, log-probabilities.

use super::device::device;
use super::fixtures::{Fixtures, Model};
use super::report::Report;
use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, FloatDType, Gradients, Tensor};
use earl_model::TokenId;
use earl_model::checkpoint::tensors::Path;
use earl_model::emu3::lm::{Emu3Lm, left_padded, published_name};
use earl_model::emu3::log_probs::{Normalised, sft_loss, token_log_probs};
use earl_model::lm::Chunk;
use std::collections::BTreeMap;

pub(crate) fn tokens(ids: &[i32]) -> Vec<TokenId> {
    ids.iter().map(|id| TokenId(u32::try_from(*id).unwrap())).collect()
}

pub(crate) fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap()
}

/// Rows without their padding on the left.
pub(crate) fn unpadded(model: &Model, ids: &str, mask: &str) -> Vec<Vec<TokenId>> {
    let rows = model.io.rows(ids).into_iter().zip(model.io.rows(mask));
    rows.map(|(ids, mask)| {
        let kept = ids.iter().zip(mask).filter(|(_, seen)| *seen > 0).map(|(id, _)| *id);
        tokens(&kept.collect::<Vec<_>>())
    })
    .collect()
}

pub(crate) fn load(model: &Model, at: usize, device: &Device) -> Emu3Lm {
    let (_, config, shards) = &model.sources[at];
    Emu3Lm::load(config.lm.as_ref().unwrap(), shards, FloatDType::F32, device).unwrap()
}

pub(crate) fn forward(fixtures: &Fixtures, report: &mut Report) {
    for model in fixtures.models("lm") {
        for at in 0..model.sources.len() {
            let lm = load(&model, at, &device());
            report.equal(&format!("layouts: {}", model.sources[at].0), &model.name, &model.name);
            single(&lm, &model, report);
            one_at_a_time(&lm, &model, report);
            batch(&lm, &model, report);
        }
    }
}

fn row(ids: &[i32]) -> Chunk {
    left_padded(&[tokens(ids)], TokenId(0))
}

/// One sequence: every hidden state.
fn single(lm: &Emu3Lm, model: &Model, report: &mut Report) {
    let chunk = row(&model.io.rows("single.input_ids")[0]);
    lm.check_ids(&chunk).unwrap();
    let mut compare = |stage: &str, tensor: Tensor<3>| {
        let name = format!("single.{stage}");
        report.equal("shapes", tensor.dims().to_vec(), model.io.shape(&name));
        report.close(stage, &values(tensor), &model.io.floats(&name));
    };
    compare("hidden.0", lm.embed(&chunk));
    let (queries, attended) = lm.first_attention(&chunk).unwrap();
    compare("layer0.q_before_rope", queries);
    compare("layer0.attn_out", attended);
    let mut layers = 0;
    let last = lm.forward_watched(&chunk, &mut lm.cache(), &mut |layer, x| {
        compare(&format!("hidden.{}", layer + 1), x.clone());
        layers += 1;
    });
    compare("final_norm", last.clone());
    compare("logits", lm.logits(last));
    let want = model.meta["config"]["num_hidden_layers"].as_u64();
    report.equal("layers", Some(layers), want);
}

/// The same sequence, an id at a time through the cache.
fn one_at_a_time(lm: &Emu3Lm, model: &Model, report: &mut Report) {
    let ids = &model.io.rows("single.input_ids")[0];
    let mut cache = lm.cache();
    let mut logits = Vec::new();
    for (at, id) in ids.iter().enumerate() {
        let mut chunk = row(&[*id]);
        chunk.times = vec![at];
        logits.extend(values(lm.logits(lm.forward(&chunk, &mut cache))));
    }
    report.close("logits, through the cache", &logits, &model.io.floats("single.logits"));
}

/// The batch as this crate pads it, which must be as it was padded there.
fn padded(model: &Model, report: &mut Report) -> Chunk {
    let mut chunk =
        left_padded(&unpadded(model, "batch.input_ids", "batch.attention_mask"), TokenId(0));
    // What stands in padded places is the recipe's own choice.
    chunk.ids = tokens(&model.io.integers("batch.input_ids"));
    let positions: Vec<i32> =
        chunk.times.iter().map(|time| i32::try_from(*time).unwrap()).collect();
    report.equal("positions", positions, model.io.integers("batch.position_ids"));
    let mask: Vec<i32> = chunk.padding.iter().map(|hidden| i32::from(!hidden)).collect();
    report.equal("padding", mask, model.io.integers("batch.attention_mask"));
    chunk
}

fn batch(lm: &Emu3Lm, model: &Model, report: &mut Report) {
    let chunk = padded(model, report);
    let logits = lm.logits(lm.forward(&chunk, &mut lm.cache()));
    let [rows, seq, vocab] = logits.dims();
    let (got, want) = (values(logits.clone()), model.io.floats("batch.logits"));
    report.equal("shapes", vec![rows, seq, vocab], model.io.shape("batch.logits"));
    let seen = |all: &[f32]| -> Vec<f32> {
        let places = all.chunks_exact(vocab).zip(&chunk.padding);
        places.filter(|(_, hidden)| !**hidden).flat_map(|(logits, _)| logits.to_vec()).collect()
    };
    report.close("logits, padded batch", &seen(&got), &seen(&want));
    report.equal("padded rows are finite", got.iter().all(|logit| logit.is_finite()), true);
    log_probs(model, &chunk, logits, report);
}

/// Per-token log-probabilities over the whole vocabulary and over each part of it.
fn log_probs(model: &Model, chunk: &Chunk, logits: Tensor<3>, report: &mut Report) {
    let [rows, seq, vocab] = logits.dims();
    let before = logits.slice([0..rows, 0..seq - 1, 0..vocab]).reshape([rows * (seq - 1), vocab]);
    let after = |all: &[TokenId]| -> Vec<TokenId> {
        all.chunks_exact(seq).flat_map(|row| row[1..].to_vec()).collect()
    };
    let targets = after(&chunk.ids);
    let labels = model.io.integers("batch.labels");
    let kept: Vec<bool> =
        labels.chunks_exact(seq).flat_map(|row| &row[1..]).map(|label| *label >= 0).collect();
    let first_code = usize::try_from(model.meta["ids"]["vis_start"].as_u64().unwrap()).unwrap();
    for (stage, normalised) in
        [("logp_joint", Normalised::Joint), ("logp_split", Normalised::Split(first_code))]
    {
        let got = values(token_log_probs(before.clone(), &targets, normalised).unwrap());
        let got: Vec<f32> = got
            .iter()
            .zip(&kept)
            .map(|(log_prob, kept)| if *kept { *log_prob } else { 0.0 })
            .collect();
        report.close(stage, &got, &model.io.floats(&format!("batch.{stage}")));
    }
}

pub(crate) fn training(fixtures: &Fixtures, report: &mut Report) {
    for model in fixtures.models("lm") {
        for at in 0..model.sources.len() {
            let lm = load(&model, at, &device().autodiff());
            let chunk = padded(&model, report);
            let labels = model.io.integers("batch.labels");
            let label = |label: &i32| u32::try_from(*label).ok().map(TokenId);
            let labels: Vec<Option<TokenId>> = labels.iter().map(label).collect();
            let loss = sft_loss(&lm, &chunk, &labels).unwrap();
            let gradients = loss.backward();
            report.close("loss", &values(loss), &model.io.floats("batch.loss"));
            compare_gradients(&model, &gather(&lm, &gradients), report);
        }
    }
}

/// Gradients by published name, linear ones turned to `[out, in]`.
fn gather(lm: &Emu3Lm, gradients: &Gradients) -> BTreeMap<String, Vec<f32>> {
    let mut reader = Reader { path: Path::new(""), gradients, found: BTreeMap::new() };
    lm.visit(&mut reader);
    reader.found
}

struct Reader<'a> {
    path: Path,
    gradients: &'a Gradients,
    found: BTreeMap<String, Vec<f32>>,
}

impl ModuleVisitor for Reader<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let path = self.path.name();
        let gradient = param.val().grad(self.gradients).unwrap();
        let is_linear = path.ends_with(".weight");
        let gradient = if is_linear { gradient.swap_dims(0, 1) } else { gradient };
        self.found.insert(published_name(&path), values(gradient));
    }
}

fn compare_gradients(model: &Model, found: &BTreeMap<String, Vec<f32>>, report: &mut Report) {
    let layers = model.meta["config"]["num_hidden_layers"].as_u64().unwrap();
    let last = format!("model.layers.{}.mlp.down_proj.weight", layers - 1);
    for (recorded, name) in
        [("q_proj", "model.layers.0.self_attn.q_proj.weight"), ("down_proj", last.as_str())]
    {
        let want = model.io.floats(&format!("batch.grad.{recorded}"));
        report.gradient(&format!("gradient of {recorded}"), &found[name], &want);
    }
    let norms = model.meta["grad_norms"].as_object().unwrap();
    report.equal("parameters with a gradient", found.len(), norms.len());
    for (name, want) in norms {
        let squares = |gradient: &Vec<f32>| -> f64 {
            gradient.iter().map(|&value| f64::from(value) * f64::from(value)).sum()
        };
        let got = found.get(name).map_or(f64::NAN, squares).sqrt();
        report.gradient("gradient norms", &[got as f32], &[want.as_f64().unwrap() as f32]);
    }
}
