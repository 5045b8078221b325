//! Bad requests to good models: each is an error that names what is wrong, never a panic.

use super::fixtures::{Fixtures, ids};
use super::lm::{load, tokens};
use super::report::Report;
use burn::tensor::{Device, Tensor};
use earl_model::emu3::lm::left_padded;
use earl_model::emu3::log_probs::{Normalised, sft_loss, token_log_probs};
use earl_model::emu3::{Emu3Ids, Emu3Lm, Emu3Vq, Guidance, Request, Sampling, generate, pixels};
use earl_model::{CodeGrid, CodeId, ModelError, TokenId};
use image::RgbImage;
use pollster::block_on;

pub(crate) fn check(fixtures: &Fixtures, report: &mut Report) {
    let mut refused = |what: &str, error: Option<ModelError>, says: &str| {
        let message = error.map_or_else(|| "no error".into(), |error| error.to_string());
        report.equal(&format!("refused: {what}"), message.contains(says).then_some(()), Some(()));
    };
    for model in fixtures.models("vq") {
        let (_, config, shards) = &model.sources[0];
        let vq = Emu3Vq::load(config.vq.as_ref().unwrap(), shards, &Device::flex()).unwrap();
        pictures(&vq, &mut refused);
        codes(&vq, &mut refused);
    }
    for model in fixtures.models("lm") {
        let lm = load(&model, 0, &Device::flex());
        let prompt = tokens(&model.io.rows("greedy.prompt")[0]);
        requests(&lm, &ids(&model.meta), &prompt, &mut refused);
        labels(&lm, &prompt, &mut refused);
    }
}

type Refused<'a> = &'a mut dyn FnMut(&str, Option<ModelError>, &str);

fn pictures(vq: &Emu3Vq, refused: Refused<'_>) {
    let encode =
        |shape: [usize; 4]| block_on(vq.encode(Tensor::zeros(shape, &Device::flex()))).err();
    let factor = vq.config().factor();
    refused("grey pictures", encode([1, 1, 2 * factor, 2 * factor]), "1 channels");
    if factor > 1 {
        refused("a picture below one code", encode([1, 3, factor - 1, 50]), "gives no");
    }
    let sizes = [RgbImage::new(4, 4), RgbImage::new(4, 5)];
    refused("two sizes", pixels::to_pixels(&sizes, &Device::flex()).err(), "beside one of 4×4");
    let nan = Tensor::<4>::full([1, 3, 2 * factor, 2 * factor], f32::NAN, &Device::flex());
    refused("a picture of NaN", block_on(vq.encode(nan)).err(), "NaN");
}

fn codes(vq: &Emu3Vq, refused: Refused<'_>) {
    let grid = |height, width, codes: Vec<u32>| CodeGrid {
        height,
        width,
        codes: codes.into_iter().map(CodeId).collect(),
    };
    let size = vq.config().codebook_size as u32;
    let decode = |grids: &[CodeGrid]| vq.decode(grids).err();
    refused("no grid", decode(&[]), "no grid");
    refused("an empty grid", decode(&[grid(0, 0, vec![])]), "0×0");
    refused("an unknown code", decode(&[grid(1, 1, vec![size])]), &format!("{size} of {size}"));
    refused("too few codes", decode(&[grid(2, 2, vec![0; 3])]), "3 codes");
    let sizes = [grid(1, 2, vec![0; 2]), grid(2, 1, vec![0; 2])];
    refused("grids of two sizes", decode(&sizes), "beside 1×2");
}

fn requests(lm: &Emu3Lm, ids: &Emu3Ids, prompt: &[TokenId], refused: Refused<'_>) {
    let request = |prompt: &[TokenId], height, width| Request {
        prompt: prompt.to_vec(),
        height,
        width,
        ..Request::default()
    };
    let write = |ids: &Emu3Ids, request: Request, guidance: Option<&Guidance>| {
        let sampling = &Sampling::GREEDY;
        block_on(generate(lm, ids, &[request], guidance, sampling, &mut |_| true)).err()
    };
    let unknown = TokenId(ids.vocab_size() as u32);
    refused("an empty prompt", write(ids, request(&[], 1, 1), None), "is empty");
    refused("an unknown id", write(ids, request(&[unknown], 1, 1), None), "outside the vocabulary");
    refused("a grid without rows", write(ids, request(prompt, 0, 3), None), "0×3");
    let huge = request(prompt, usize::MAX, usize::MAX);
    refused("a huge grid", write(ids, huge, None), "not in 1..=");
    let other = Emu3Ids { codebook_size: ids.codebook_size + 1, ..*ids };
    refused("other ids", write(&other, request(prompt, 1, 1), None), "the model has");
    let none = Guidance { scale: 3.0, prompts: vec![] };
    let unguided = write(ids, request(prompt, 1, 1), Some(&none));
    refused("guidance without a prompt", unguided, "0 prompts");
    let stop = block_on(generate(
        lm,
        ids,
        &[request(prompt, 2, 2)],
        None,
        &Sampling::GREEDY,
        &mut |step| step.place < 1,
    ));
    refused("stopping", stop.err(), "stopped after 1 tokens");
    let nothing = block_on(generate(lm, ids, &[], None, &Sampling::GREEDY, &mut |_| true));
    assert_eq!(nothing.unwrap(), Vec::<Vec<TokenId>>::new());
}

fn labels(lm: &Emu3Lm, prompt: &[TokenId], refused: Refused<'_>) {
    let chunk = left_padded(&[prompt.to_vec()], TokenId(0));
    let loss = |labels: Vec<Option<TokenId>>| sft_loss(lm, &chunk, &labels).err();
    refused("no label", loss(vec![None; prompt.len()]), "none is left");
    refused("too few labels", loss(vec![None]), "1 labels");
    let unknown = Some(TokenId(u32::MAX));
    refused("an unknown label", loss(vec![unknown; prompt.len()]), "outside the vocabulary");
    let logits = Tensor::<2>::zeros([1, 3], &Device::flex());
    let log_probs = token_log_probs(logits, &[TokenId(3)], Normalised::Joint).err();
    refused("an unknown target", log_probs, "1 rows of 3 logits");
}
