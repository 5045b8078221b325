//! An edit with a published model: `full`, `think`, or `local` with a region that is given.
//!
//! ```text
//! picture ─smart_resize─▶ codes ─prompt─▶ [reasoning] codes ─▶ picture
//! ```
//! Published models were not trained to write boxes. In `local` the caller's region stands in their
//! place: codes outside it are the source's own, forced, and so are the pixels.

use super::{Args, Asked, Edited};
use crate::full::FullModel;
use crate::hint;
use crate::picture;
use crate::progress::Progress;
use anyhow::{Result, bail};
use earl_model::checkpoint::bundle::hex_sha256;
use earl_model::emu3::sequence::{REASONING_OPENS, inference_prompt, parse_codes};
use earl_model::emu3::{
    Drafted, Emu3Ids, FreeIds, Limits, Request, Sampling, generate, generate_drafted, pixels,
    write_freely,
};
use earl_model::files::encode_png;
use earl_model::{CodeGrid, CodeId, Mode, Seed, TokenId};
use image::RgbImage;
use pollster::block_on;
use serde_json::json;
use std::str::FromStr;
use std::time::Instant;

/// Codes drawn among when sampling, as in Emu3's own example.
const TOP_K: usize = 2048;
/// Ids of reasoning before the image is opened for the model.
const LONGEST_REASONING: usize = 512;
/// Pixels an edit may have.
const AREAS: std::ops::RangeInclusive<u64> = 256..=1 << 20;

/// Pixels of the picture that may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Region {
    x: u32,
    y: u32,
    width: u32,
    height: u32,
}

impl FromStr for Region {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers: Result<Vec<u32>, _> =
            text.split(',').map(|part| part.trim().parse::<u32>()).collect();
        match numbers.as_deref() {
            Ok(&[x, y, width, height]) if width > 0 && height > 0 => {
                Ok(Self { x, y, width, height })
            }
            _ => Err("write four numbers, such as `40,60,100,80`".into()),
        }
    }
}

impl Region {
    /// The codes it touches, by row and column, in a grid over a picture of this size.
    fn cells(self, picture: (u32, u32), grid: &CodeGrid) -> Result<Vec<bool>> {
        let (wide, high) = picture;
        let ends = (self.x.saturating_add(self.width), self.y.saturating_add(self.height));
        if ends.0 > wide || ends.1 > high {
            let problem =
                format!("the region ends at {},{} in a picture of {wide}×{high}", ends.0, ends.1);
            return Err(hint::error(problem, "give `--region` in pixels of the picture"));
        }
        let touched = |from: u32, to: u32, size: u32, codes: usize| {
            let code = |at: u32| u64::from(at) * codes as u64 / u64::from(size.max(1));
            code(from) as usize..=code(to - 1) as usize
        };
        let columns = touched(self.x, ends.0, wide, grid.width);
        let rows = touched(self.y, ends.1, high, grid.height);
        let cell =
            |at: usize| rows.contains(&(at / grid.width)) && columns.contains(&(at % grid.width));
        Ok((0..grid.codes.len()).map(cell).collect())
    }
}

/// The mode asked for; a published model's own is `full`.
fn mode(args: &Args) -> Mode {
    args.mode.map_or(Mode::Full, super::ModeName::mode)
}

/// Refuses what a published model can't do, before it is loaded.
///
/// # Errors
/// Says which flag, and what to give instead.
pub(super) fn check(args: &Args) -> Result<()> {
    match (mode(args), args.region) {
        (Mode::Local, None) => {
            let problem =
                "mode `local` needs boxes, which published models were not trained to write";
            let fix = "give the pixels that may change as `--region X,Y,W,H`, or use `--mode full`";
            return Err(hint::error(problem, fix));
        }
        (Mode::Full | Mode::Think, Some(_)) => {
            let problem = "`--region` goes with `--mode local`";
            return Err(hint::error(problem, "leave one of them out"));
        }
        _ => {}
    }
    if args.plan.is_some() {
        let problem = "`--plan` needs boxes, which published models were not trained to write";
        return Err(hint::error(problem, "leave it out; `--region` says where to edit"));
    }
    if args.candidates > 1 {
        let problem = "a published model writes one candidate";
        return Err(hint::error(problem, "leave `--candidates` out; try other seeds one by one"));
    }
    if !AREAS.contains(&args.area) {
        let problem = format!("`--area` {} is not in {AREAS:?}", args.area);
        return Err(hint::error(problem, "EARL was trained at 65536"));
    }
    Ok(())
}

/// Refuses flags that only a published model has.
///
/// # Errors
/// Names the flag.
pub(super) fn refuse_flags(args: &Args) -> Result<()> {
    let flag = if args.region.is_some() {
        "--region"
    } else if args.vision.is_some() {
        "--vision"
    } else {
        return Ok(());
    };
    let problem = format!("`{flag}` goes with a published Emu3 or EARL model");
    Err(hint::error(problem, "leave it out, or give such a model as `--model`"))
}

/// What the model wrote.
struct Written {
    reasoning: Option<String>,
    grid: CodeGrid,
    drafted: Option<Drafted>,
}

/// Edits one picture.
///
/// # Errors
/// For a picture or a sentence that can't be used.
pub(super) fn edit(model: &FullModel, args: &Args, asked: &Asked) -> Result<Edited> {
    let Asked { image, instruction, seed, .. } = asked;
    let seed = *seed;
    if instruction.trim().is_empty() {
        bail!(earl_model::ModelError::Instruction { problem: "is empty".into() });
    }
    let start = Instant::now();
    let opened = picture::read(image)?;
    let (wide, high) = opened.picture.dimensions();
    let factor = model.vq.config().factor() as u32;
    let (height, width) = pixels::smart_resize(high, wide, factor, args.area, args.area)?;
    let fitted = pixels::bicubic(&opened.picture, height, width)?;
    let source = encode(model, &fitted)?;
    let open = args.region.map(|region| region.cells((wide, high), &source)).transpose()?;
    let written = write(model, args, &source, open.as_deref(), instruction, seed)?;
    let mut result = decode(model, &written.grid)?;
    if let Some(open) = &open {
        keep_outside(&mut result, &fitted, open, &source, factor);
    }
    let milliseconds = start.elapsed().as_secs_f64() * 1e3;
    let recipe = json!({
        "v": 1, "model": model.sha256, "instruction": instruction, "mode": mode(args),
        "seed": seed, "temperature": args.temperature, "image": hex_sha256(fitted.as_raw()),
    });
    let png = encode_png(&result, Some(("earl-recipe", &recipe.to_string())))?;
    let mut notes = opened.notes;
    if (wide, high) != (width, height) {
        notes.push(format!("the picture was scaled from {wide}×{high} to {width}×{height}"));
    }
    let same = source.codes.iter().zip(&written.grid.codes).filter(|(a, b)| a == b).count();
    let draft = written.drafted.map(|drafted| {
        json!({ "passes": drafted.passes, "chosen": drafted.chosen, "accepted": drafted.accepted })
    });
    let mut text = String::new();
    for note in &notes {
        text += &format!("note: {note}\n");
    }
    if let Some(reasoning) = &written.reasoning {
        text += &format!("reasoning: {reasoning}\n");
    }
    let codes = written.grid.codes.len();
    text += &format!("{same} of {codes} codes are the source's; {milliseconds:.0} ms\n");
    let facts = json!({
        "recipe": recipe, "notes": notes, "reasoning": written.reasoning,
        "width": result.width(), "height": result.height(), "codes": codes,
        "codes_of_source": same, "draft": draft, "milliseconds": milliseconds,
    });
    Ok(Edited { png, facts, text })
}

fn encode(model: &FullModel, picture: &RgbImage) -> Result<CodeGrid> {
    let pixels = pixels::to_pixels(std::slice::from_ref(picture), &model.lm.device())?;
    let Some(grid) = block_on(model.vq.encode(pixels))?.pop() else { bail!("no codes") };
    Ok(grid)
}

fn decode(model: &FullModel, grid: &CodeGrid) -> Result<RgbImage> {
    let pixels = model.vq.decode(std::slice::from_ref(grid))?;
    let Some(picture) = block_on(pixels::to_pictures(pixels))?.pop() else { bail!("no picture") };
    Ok(picture)
}

/// Reasoning if asked for, then the codes.
fn write(
    model: &FullModel,
    args: &Args,
    source: &CodeGrid,
    open: Option<&[bool]>,
    instruction: &str,
    seed: u64,
) -> Result<Written> {
    let ids = Emu3Ids::PUBLISHED;
    let sampling = Sampling {
        temperature: args.temperature,
        top_k: (args.temperature > 0.0).then_some(TOP_K),
        top_p: 1.0,
        seed: Seed(seed),
    };
    // What a person typed: control tokens in it are plain text.
    let words = model.text.encode(instruction)?;
    let think = mode(args) == Mode::Think;
    let mut prompt = inference_prompt(&model.text, source, &words, think)?;
    let (mut reasoning, mut size) = (None, (source.height, source.width));
    if think {
        let (said, rest, opened) = think_first(model, &prompt, &sampling)?;
        prompt.extend(rest);
        (reasoning, size) = (Some(said), opened);
    } else {
        prompt.push(TokenId(ids.img));
    }
    let lock = |(code, open): (&CodeId, &bool)| if *open { None } else { Some(*code) };
    let locked = open.map(|open| source.codes.iter().zip(open).map(lock).collect());
    let (height, width) = size;
    let request = Request { prompt, height, width, locked: locked.unwrap_or_default() };
    let mut progress = Progress::new("edit", 0, (height * (width + 1)) as u64);
    let mut watch = |step: &earl_model::emu3::Step<'_>| {
        progress.step(step.place as u64 + 1, "codes");
        true
    };
    let ahead = args.ahead.unwrap_or(0);
    let drafts = ahead > 0 && size == (source.height, source.width);
    let (written, drafted) = if drafts {
        let future = generate_drafted(
            &model.lm,
            &ids,
            &request,
            &source.codes,
            ahead,
            &sampling,
            &mut watch,
        );
        let drafted = block_on(future)?;
        (drafted.written.clone(), Some(drafted))
    } else {
        let requests = [request];
        let future = generate(&model.lm, &ids, &requests, None, &sampling, &mut watch);
        (block_on(future)?.pop().unwrap_or_default(), None)
    };
    Ok(Written { reasoning, grid: parse_codes(&ids, size, &written)?, drafted })
}

/// The reasoning as text, everything up to IMG, and the size of the image it opens.
fn think_first(
    model: &FullModel,
    prompt: &[TokenId],
    sampling: &Sampling,
) -> Result<(String, Vec<TokenId>, (usize, usize))> {
    let with = FreeIds::published(&model.text)?;
    let limits = Limits { text: LONGEST_REASONING, side: 128 };
    let mut progress = Progress::new("think", 0, LONGEST_REASONING as u64);
    let mut count = 0u64;
    let mut watch = |_| {
        count += 1;
        progress.step(count.min(LONGEST_REASONING as u64), "ids of reasoning");
        true
    };
    let future = write_freely(&model.lm, &with, prompt, limits, sampling, &mut watch);
    let opened = block_on(future)?;
    let said = model.text.decode(&opened.written[..opened.text])?;
    let said = format!("{}{said}", REASONING_OPENS.trim_start());
    Ok((said, opened.written, (opened.height, opened.width)))
}

/// Puts the source's own pixels where no code was open.
fn keep_outside(
    result: &mut RgbImage,
    source: &RgbImage,
    open: &[bool],
    grid: &CodeGrid,
    factor: u32,
) {
    let (width, height) = result.dimensions();
    for y in 0..height {
        for x in 0..width {
            let cell = (y / factor) as usize * grid.width + (x / factor) as usize;
            if !open.get(cell).copied().unwrap_or(false) {
                result.put_pixel(x, y, *source.get_pixel(x, y));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_opens_the_codes_it_touches() {
        let grid = CodeGrid { height: 2, width: 4, codes: vec![CodeId(0); 8] };
        let region: Region = "9, 0,8,5".parse().unwrap();
        // Codes of 8 pixels: columns 1 and 2 of the first row.
        let open = region.cells((32, 16), &grid).unwrap();
        assert_eq!(open, [false, true, true, false, false, false, false, false]);
        assert!(region.cells((16, 16), &grid).is_err());
        for text in ["", "1,2,3", "1,2,0,4", "a,2,3,4", "-1,2,3,4", "1,2,3,4,5"] {
            assert!(text.parse::<Region>().is_err(), "{text}");
        }
    }
}
