//! What needs no weights: text, sequences, grammar, sizes and pixels.

use super::device::device;
use super::fixtures::{Fixtures, Recorded, hex, numbers, string};
use super::report::Report;
use earl_model::emu3::grammar::kind_at;
use earl_model::emu3::text::{PUBLISHED_RANKS, RANKS, special_id};
use earl_model::emu3::{Emu3Ids, Emu3Text, pixels, sequence};
use earl_model::{CodeGrid, CodeId, TokenId};
use image::RgbImage;
use serde_json::Value;

fn token_ids(value: &Value) -> Vec<TokenId> {
    numbers(value).into_iter().map(|id| TokenId(u32::try_from(id).unwrap())).collect()
}

pub(crate) fn text(fixtures: &Fixtures, report: &mut Report) {
    let recorded = fixtures.json("text.json");
    report.equal("vocabulary SHA-256", hex(PUBLISHED_RANKS), string(&recorded["vocab_sha256"]));
    report.equal("ranks", u64::from(RANKS), recorded["n_ranks"].as_u64().unwrap());
    let text = Emu3Text::published().unwrap();
    for case in recorded["cases"].as_array().unwrap() {
        let ids = text.encode_with_special(case["text"].as_str().unwrap()).unwrap();
        report.equal("text to ids", &ids, &token_ids(&case["ids"]));
        report.equal("and back", text.decode(&ids).unwrap(), string(&case["decoded"]));
    }
    for case in recorded["partial_utf8"].as_array().unwrap() {
        let decoded = text.decode(&token_ids(&case["ids"])).unwrap();
        report.equal("broken UTF-8", decoded, string(&case["decoded"]));
    }
}

pub(crate) fn special_tokens(fixtures: &Fixtures, report: &mut Report) {
    let recorded = fixtures.json("special_tokens.json");
    let ids = Emu3Ids::PUBLISHED;
    let named = &recorded["named"];
    for (name, id) in [
        ("pad", ids.pad),
        ("eol", ids.eol),
        ("eof", ids.eof),
        ("bos", ids.bos),
        ("eos", ids.eos),
        ("img", ids.img),
        ("boi", ids.boi),
        ("eoi", ids.eoi),
        ("vis_start", ids.vis_start),
        ("vis_end", ids.vis_start + ids.codebook_size - 1),
    ] {
        report.equal("ids by role", Some(u64::from(id)), named[name].as_u64());
    }
    report.equal("vocabulary", Some(ids.vocab_size() as u64), recorded["vocab_size"].as_u64());
    report.equal("ranks", Some(u64::from(RANKS)), recorded["n_text_ranks"].as_u64());
    for (name, id) in recorded["tokens"].as_object().unwrap() {
        let found = special_id(name).map(|id| u64::from(id.0));
        report.equal("control tokens", found, id.as_u64());
    }
}

fn grid(value: &Value) -> CodeGrid {
    let rows: Vec<Vec<u64>> = value.as_array().unwrap().iter().map(numbers).collect();
    let code = |code: &u64| CodeId(u32::try_from(*code).unwrap());
    CodeGrid {
        height: rows.len(),
        width: rows[0].len(),
        codes: rows.iter().flatten().map(code).collect(),
    }
}

pub(crate) fn sequences(fixtures: &Fixtures, report: &mut Report) {
    let text = Emu3Text::published().unwrap();
    for case in fixtures.json("sequences.json").as_array().unwrap() {
        let (source, target) = (grid(&case["source"]), grid(&case["target"]));
        let instruction = text.encode_with_special(case["instruction"].as_str().unwrap()).unwrap();
        let reasoning = case["reasoning"].as_str();
        let prompt = sequence::prompt(&text, &source, &instruction).unwrap();
        report.equal("prompt", &prompt, &token_ids(&case["prompt_ids"]));
        let answer = sequence::answer(&text, reasoning, &target).unwrap();
        report.equal("answer", &answer, &token_ids(&case["answer_ids"]));
        let thinks = reasoning.is_some();
        let opened = sequence::inference_prompt(&text, &source, &instruction, thinks).unwrap();
        report.equal("inference prompt", &opened, &token_ids(&case["inference_prompt_ids"]));
        let ids = Emu3Ids::PUBLISHED;
        let img = answer.iter().rposition(|id| id.0 == ids.img).unwrap();
        let size = (target.height, target.width);
        let read = sequence::parse_codes(&ids, size, &answer[img + 1..]).unwrap();
        report.equal("answer read back", &read, &target);
    }
}

pub(crate) fn grammar(fixtures: &Fixtures, report: &mut Report) {
    for case in fixtures.json("grammar.json").as_array().unwrap() {
        let size = |key: &str| usize::try_from(case[key].as_u64().unwrap()).unwrap();
        let want: Vec<String> = case["kinds"].as_array().unwrap().iter().map(string).collect();
        let (height, width) = (size("height"), size("width"));
        let kinds: Vec<String> =
            (0..want.len()).map(|n| kind_at(height, width, n).name().to_owned()).collect();
        report.equal("kind of each id", kinds, want);
    }
}

pub(crate) fn sizes(fixtures: &Fixtures, report: &mut Report) {
    let recorded = fixtures.json("sizes.json");
    let cases = |rule: &str| recorded[rule].as_array().unwrap().clone();
    let pair = |value: &Value| {
        let sides = numbers(value);
        (u32::try_from(sides[0]).unwrap(), u32::try_from(sides[1]).unwrap())
    };
    for case in cases("smart_resize") {
        let number = |key: &str| case[key].as_u64().unwrap();
        let side = |key: &str| u32::try_from(number(key)).unwrap();
        let limits = (number("min_pixels"), number("max_pixels"));
        let (height, width, factor) = (side("height"), side("width"), side("factor"));
        let got = pixels::smart_resize(height, width, factor, limits.0, limits.1).unwrap();
        report.equal("smart_resize", got, pair(&case["result"]));
    }
    for case in cases("generate_grid") {
        let area = case["area"].as_u64().unwrap();
        let got = pixels::generate_grid(case["ratio"].as_str().unwrap(), area).unwrap();
        report.equal("generate_grid", got, pair(&case["result"]));
    }
    for case in cases("area_resize") {
        let side = |key: &str| u32::try_from(case[key].as_u64().unwrap()).unwrap();
        let area = case["area"].as_u64().unwrap();
        let got = pixels::area_resize(side("height"), side("width"), area).unwrap();
        report.equal("area_resize", got, pair(&case["result"]));
        report.equal("its grid", (got.0 / 8, got.1 / 8), pair(&case["grid"]));
    }
}

fn picture(io: &Recorded, name: &str) -> RgbImage {
    let shape = io.shape(name);
    let side = |at: usize| u32::try_from(shape[at]).unwrap();
    RgbImage::from_raw(side(1), side(0), io.bytes(name)).unwrap()
}

pub(crate) fn pixels(fixtures: &Fixtures, report: &mut Report) {
    let io = Recorded::read(&fixtures.bytes("pixels.safetensors"));
    for at in (0..).take_while(|at| io.has(&format!("{at}.source"))) {
        let source = picture(&io, &format!("{at}.source"));
        let want = picture(&io, &format!("{at}.resized"));
        let got = pixels::bicubic(&source, want.height(), want.width()).unwrap();
        report.bytes("bicubic bytes", got.as_raw(), want.as_raw());
        let normal = pixels::to_pixels(&[want], &device()).unwrap();
        let normal: Vec<f32> = normal.into_data().try_into_vec().unwrap();
        report.pixels("normalised", &normal, &io.floats(&format!("{at}.pixels")));
    }
}
