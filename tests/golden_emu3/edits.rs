//! A transformers directory with both models: picture in, grammar-valid codes out, picture out.
//!
//! The weights are random, so nothing is known of the picture; what holds for any weights is tested:
//! the order of things, the grammar, and that what was written freely is what the model prefers.

use super::device::device;
use super::fixtures::{Fixtures, Model, ids, published};
use super::lm::values;
use super::report::Report;
use burn::tensor::{FloatDType, Tensor, TensorData};
use earl_model::emu3::directory::Directory;
use earl_model::emu3::lm::left_padded;
use earl_model::emu3::sequence::{image_block, open_image, parse_codes};
use earl_model::emu3::{
    Emu3Ids, Emu3Lm, Emu3Vq, FreeIds, Limits, Request, Sampling, Summary, generate, pixels,
    write_freely,
};
use earl_model::{CodeGrid, CodeId, Seed, TokenId};
use pollster::block_on;
use std::path::Path;

pub(crate) fn check(fixtures: &Fixtures, report: &mut Report) {
    for (file, names) in fixtures.pairs() {
        let find = |prefix: &str| {
            let models = fixtures.models(prefix);
            models.into_iter().find(|model| names.contains(&model.name)).unwrap()
        };
        let (lm, vq) = (find("lm"), find("vq"));
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("model.safetensors"), fixtures.bytes(&file)).unwrap();
        let mut config = published("transformers", &lm.meta);
        config["vq_config"] = published("transformers", &vq.meta)["vq_config"].clone();
        std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
        edit(folder.path(), &lm, &vq, report);
    }
}

fn edit(folder: &Path, lm_model: &Model, vq_model: &Model, report: &mut Report) {
    let device = device();
    let directory = Directory::open(folder).unwrap();
    let config = directory.config.lm.as_ref().unwrap();
    let lm = Emu3Lm::load(config, &directory.shards, FloatDType::F32, &device);
    let vq = Emu3Vq::load(directory.config.vq.as_ref().unwrap(), &directory.shards, &device);
    let (lm, vq, ids) = (lm.unwrap(), vq.unwrap(), ids(&lm_model.meta));
    inspect(&directory, report);
    let shape = vq_model.io.shape("0.pixels");
    let picture = TensorData::new(vq_model.io.floats("0.pixels"), shape.clone());
    let grids = block_on(vq.encode(Tensor::from_data(picture, &device))).unwrap();
    let common = ids.codebook_size.min(vq.config().codebook_size as u32);
    let source = within(&grids[0], common);
    let header = [TokenId(0)]; // some text
    let mut prompt = vec![TokenId(ids.bos)];
    prompt.extend(image_block(&ids, &header, &source).unwrap());
    prompt.push(TokenId(0));
    let mut full = prompt.clone();
    full.extend(open_image(&ids, &header));
    full.push(TokenId(ids.img));
    let target = finish(&lm, &ids, full, (source.height, source.width), report);
    let pixels = vq.decode(&[within(&target, common)]).unwrap();
    let pictures = block_on(pixels::to_pictures(pixels)).unwrap();
    let side = |codes: usize| u32::try_from(codes * vq.config().factor()).unwrap();
    let size = (side(source.width), side(source.height));
    report.equal("size of the edited picture", pictures[0].dimensions(), size);
    think(&lm, &ids, &prompt, report);
}

/// What `trainer inspect` says of it.
fn inspect(directory: &Directory, report: &mut Report) {
    let summary = Summary::of(&directory.config, &directory.shards).unwrap();
    let counted = |name: &String| !name.ends_with("num_batches_tracked");
    let entries = directory.shards.entries().iter().filter(|(name, _)| counted(name));
    let values: usize = entries.map(|(_, entry)| entry.len()).sum();
    let parts = (summary.language_model.unwrap(), summary.image_tokenizer.unwrap());
    report.equal("parameters", parts.0.parameters + parts.1.parameters, values as u64);
    report.equal("layout", summary.layout, "transformers");
}

fn within(grid: &CodeGrid, codes: u32) -> CodeGrid {
    let code = |code: &CodeId| CodeId(code.0 % codes);
    CodeGrid { codes: grid.codes.iter().map(code).collect(), ..grid.clone() }
}

/// Writes the image that `prompt` opens, by chance and twice; the codes it holds.
fn finish(
    lm: &Emu3Lm,
    ids: &Emu3Ids,
    prompt: Vec<TokenId>,
    (height, width): (usize, usize),
    report: &mut Report,
) -> CodeGrid {
    let request = Request { prompt, height, width, ..Request::default() };
    let sampling = Sampling { temperature: 1.0, top_k: Some(20), top_p: 0.9, seed: Seed(5) };
    let other = Request { height: 1, width: 2, ..request.clone() };
    let write = |requests: &[Request]| {
        block_on(generate(lm, ids, requests, None, &sampling, &mut |_| true)).unwrap()
    };
    let alone = write(std::slice::from_ref(&request));
    let both = write(&[request, other]);
    // Another row in the batch changes no draw of the first.
    report.equal(
        "sampled rows, alone and in a batch",
        &alone[0],
        &both[0][..alone[0].len()].to_vec(),
    );
    parse_codes(ids, (height, width), &alone[0]).unwrap()
}

/// Reasoning first, greedily; then the image it opened.
fn think(lm: &Emu3Lm, ids: &Emu3Ids, prompt: &[TokenId], report: &mut Report) {
    let digits = std::array::from_fn(|digit| TokenId(digit as u32));
    // Every id below the first control id is text in the fixtures.
    let controls = [ids.pad, ids.eol, ids.eof, ids.bos, ids.eos, ids.img, ids.boi, ids.eoi];
    let text = *controls.iter().min().unwrap();
    if text <= 10 {
        return; // too few ids of text for ten digits and a sign
    }
    let with = FreeIds { ids: *ids, text, digits, times: TokenId(10) };
    let limits = Limits { text: 7, side: 3 };
    let write = || {
        block_on(write_freely(lm, &with, prompt, limits, &Sampling::GREEDY, &mut |_| true)).unwrap()
    };
    let opened = write();
    report.equal("reasoning, twice", &opened, &write());
    report.equal("reasoning ends with IMG", opened.written.last(), Some(&TokenId(ids.img)));
    let preferred = preferred(lm, &with, prompt, &opened.written[..opened.text]);
    report.equal("reasoning, cache against none", &opened.written[..opened.text], &preferred[..]);
    let full = [prompt, &opened.written].concat();
    let grid = finish(lm, ids, full, (opened.height, opened.width), report);
    report.equal("size as announced", (grid.height, grid.width), (opened.height, opened.width));
}

/// What the model prefers at each place of `written`, in one pass: text, or to open an image.
fn preferred(lm: &Emu3Lm, with: &FreeIds, prompt: &[TokenId], written: &[TokenId]) -> Vec<TokenId> {
    let chunk = left_padded(&[[prompt, written].concat()], TokenId(0));
    let logits = lm.logits(lm.forward(&chunk, &mut lm.cache()));
    let vocab = logits.dims()[2];
    let logits = values(logits);
    let place = |at: usize| &logits[(prompt.len() + at - 1) * vocab..][..vocab];
    let allowed = |id: &usize| *id < with.text as usize || *id == with.ids.boi as usize;
    let best = |logits: &[f32]| {
        let ids = (0..vocab).filter(allowed);
        ids.max_by(|a, b| logits[*a].total_cmp(&logits[*b]).then(b.cmp(a))).unwrap()
    };
    (0..written.len()).map(|at| TokenId(u32::try_from(best(place(at))).unwrap())).collect()
}
