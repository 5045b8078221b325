//! Decoding under the grammar: alone, in a padded batch, guided; with the cache and without.

use super::device::device;
use super::fixtures::{Fixtures, Model, ids};
use super::lm::{load, tokens, unpadded, values};
use super::report::Report;
use burn::tensor::Tensor;
use earl_model::TokenId;
use earl_model::emu3::decode::guided;
use earl_model::emu3::grammar::kind_at;
use earl_model::emu3::lm::{Emu3Lm, left_padded};
use earl_model::emu3::{Emu3Ids, Guidance, Request, Sampling, generate};
use pollster::block_on;

fn grids(model: &Model) -> Vec<(usize, usize)> {
    let side = |value: &serde_json::Value| usize::try_from(value.as_u64().unwrap()).unwrap();
    let grids = model.meta["grids"].as_array().unwrap();
    grids.iter().map(|grid| (side(&grid[0]), side(&grid[1]))).collect()
}

fn request(prompt: Vec<TokenId>, (height, width): (usize, usize)) -> Request {
    Request { prompt, height, width, ..Request::default() }
}

/// The tokens, and the codes' scores by the place they were chosen at.
type Written = (Vec<Vec<TokenId>>, Vec<(usize, Vec<Vec<f32>>)>);

fn write(lm: &Emu3Lm, model: &Model, requests: &[Request], guidance: Option<&Guidance>) -> Written {
    let mut seen = Vec::new();
    let rows = block_on(generate(
        lm,
        &ids(&model.meta),
        requests,
        guidance,
        &Sampling::GREEDY,
        &mut |step| {
            seen.push((step.place, step.scores.to_vec()));
            true
        },
    ));
    (rows.unwrap(), seen)
}

/// Logits before each of `answer`, in one pass without a cache: `[answer, vocab]`.
fn forced(lm: &Emu3Lm, prompt: &[TokenId], answer: &[TokenId]) -> Tensor<2> {
    let sequence = [prompt, answer].concat();
    let chunk = left_padded(&[sequence], TokenId(0));
    let logits: Tensor<2> = lm.logits(lm.forward(&chunk, &mut lm.cache())).squeeze_dim(0);
    logits.narrow(0, prompt.len() - 1, answer.len())
}

fn codes(ids: &Emu3Ids, scores: &[f32]) -> Vec<f32> {
    let first = ids.vis_start as usize;
    scores[first..first + ids.codebook_size as usize].to_vec()
}

/// The greatest score among the ids that the grammar allows at each place.
fn best(ids: &Emu3Ids, (height, width): (usize, usize), scores: &Tensor<2>) -> Vec<TokenId> {
    let vocab = scores.dims()[1];
    let rows = values(scores.clone());
    let choose = |(place, row): (usize, &[f32])| {
        kind_at(height, width, place).forced(ids).unwrap_or_else(|| {
            let codes = codes(ids, row);
            let best = codes.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
            TokenId(ids.vis_start + u32::try_from(best).unwrap())
        })
    };
    rows.chunks_exact(vocab).enumerate().map(choose).collect()
}

pub(crate) fn greedy(fixtures: &Fixtures, report: &mut Report) {
    for model in fixtures.models("lm") {
        for at in 0..model.sources.len() {
            let lm = load(&model, at, &device());
            alone(&lm, &model, report);
            batch(&lm, &model, report);
        }
    }
}

fn alone(lm: &Emu3Lm, model: &Model, report: &mut Report) {
    let (grid, ids) = (grids(model)[0], ids(&model.meta));
    let prompt = tokens(&model.io.rows("greedy.prompt")[0]);
    let want = tokens(&model.io.rows("greedy.tokens")[0]);
    let (rows, seen) = write(lm, model, &[request(prompt.clone(), grid)], None);
    report.equal("tokens, with the cache", &rows[0], &want);
    let logits = forced(lm, &prompt, &want);
    report.equal("tokens, without it", &best(&ids, grid, &logits), &want);
    let vocab = logits.dims()[1];
    let logits = values(logits);
    let of = |place: usize| &logits[place * vocab..(place + 1) * vocab];
    let chosen: Vec<f32> =
        want.iter().enumerate().map(|(place, id)| of(place)[id.0 as usize]).collect();
    report.close("scores of the chosen ids", &chosen, &model.io.floats("greedy.scores"));
    let choices = want.iter().filter(|id| id.0 >= ids.vis_start).count();
    report.equal("forced ids ask for no pass", seen.len(), choices);
    for (place, scores) in seen {
        report.close("scores, cache against none", &scores[0], &codes(&ids, of(place)));
    }
}

fn batch(lm: &Emu3Lm, model: &Model, report: &mut Report) {
    let prompts = unpadded(model, "greedy_batch.prompt", "greedy_batch.attention_mask");
    let requests: Vec<Request> =
        prompts.into_iter().zip(grids(model)).map(|(prompt, grid)| request(prompt, grid)).collect();
    let want: Vec<Vec<TokenId>> =
        model.io.rows("greedy_batch.tokens").iter().map(|row| tokens(row)).collect();
    report.equal("tokens, padded batch", &write(lm, model, &requests, None).0, &want);
    for (request, want) in requests.iter().zip(&want) {
        let (rows, _) = write(lm, model, std::slice::from_ref(request), None);
        report.equal("tokens, each row alone", &rows[0], &want[..rows[0].len()].to_vec());
    }
}

pub(crate) fn guidance(fixtures: &Fixtures, report: &mut Report) {
    for model in fixtures.models("lm") {
        for at in 0..model.sources.len() {
            let lm = load(&model, at, &device());
            guided_row(&lm, &model, report);
        }
    }
}

fn guided_row(lm: &Emu3Lm, model: &Model, report: &mut Report) {
    let (grid, ids) = (grids(model)[0], ids(&model.meta));
    let prompt = tokens(&model.io.rows("greedy.prompt")[0]);
    let other = tokens(&model.io.rows("guided.uncond_prompt")[0]);
    let want = tokens(&model.io.rows("guided.tokens")[0]);
    let scale = model.meta["guidance_scale"].as_f64().unwrap() as f32;
    let guidance = Guidance { scale, prompts: vec![other.clone()] };
    let requests = [request(prompt.clone(), grid)];
    let (rows, seen) = write(lm, model, &requests, Some(&guidance));
    report.equal("tokens, with the cache", &rows[0], &want);
    let scores = guided(forced(lm, &prompt, &want), forced(lm, &other, &want), scale);
    report.equal("tokens, without it", &best(&ids, grid, &scores), &want);
    for (name, place) in [("first_scores", 0), ("third_scores", 2)] {
        let recorded = model.io.floats(&format!("guided.{name}"));
        report.close(name, &values(scores.clone().narrow(0, place, 1)), &recorded);
        if let Some((_, cached)) = seen.iter().find(|(at, _)| *at == place) {
            report.close(
                &format!("{name}, through the cache"),
                &cached[0],
                &codes(&ids, &recorded),
            );
        }
    }
    // A scale of 1 is no guidance.
    let none = Guidance { scale: 1.0, prompts: vec![other] };
    let plain = tokens(&model.io.rows("greedy.tokens")[0]);
    report.equal("scale 1 is greedy", &write(lm, model, &requests, Some(&none)).0[0], &plain);
}
