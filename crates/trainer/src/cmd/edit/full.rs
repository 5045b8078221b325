//! An edit with a published model, from the command line: flags in, PNG and facts out. What is done is
//! `earl_model::emu3::FullEditor`'s.

use super::{Args, Asked, Edited};
use crate::device::Dtype;
use crate::full::FullModel;
use crate::hint;
use crate::picture;
use crate::progress::Progress;
use anyhow::Result;
use earl_model::Region;
use earl_model::checkpoint::bundle::hex_sha256;
use earl_model::emu3::editor::{AREAS, LONGEST_REASONING};
use earl_model::emu3::{self, FullRequest};
use earl_model::files::encode_png;
use earl_model::{Mode, Seed};
use pollster::block_on;
use serde_json::json;
use std::time::Instant;

/// `X,Y,W,H` in pixels of the picture.
///
/// # Errors
/// Says what to write.
pub(super) fn region(text: &str) -> Result<Region, String> {
    let numbers: Result<Vec<u32>, _> =
        text.split(',').map(|part| part.trim().parse::<u32>()).collect();
    match numbers.as_deref() {
        Ok(&[x, y, width, height]) if width > 0 && height > 0 => Ok(Region { x, y, width, height }),
        _ => Err("write four numbers, such as `40,60,100,80`".into()),
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
    if args.candidates > 1 || args.rank.is_some() {
        let problem = "a published model writes one candidate";
        let fix = "leave `--candidates` and `--rank` out; try other seeds one by one";
        return Err(hint::error(problem, fix));
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
    let flag = if args.vision.is_some() {
        "--vision"
    } else if args.dtype != Dtype::F32 {
        "--dtype"
    } else {
        return Ok(());
    };
    let problem = format!("`{flag}` goes with a published Emu3 or EARL model");
    Err(hint::error(problem, "leave it out, or give such a model as `--model`"))
}

/// Edits one picture.
///
/// # Errors
/// For a picture or a sentence that can't be used.
pub(super) fn edit(model: &FullModel, args: &Args, asked: &Asked) -> Result<Edited> {
    let start = Instant::now();
    let opened = picture::read(&asked.image)?;
    let request = FullRequest {
        instruction: asked.instruction.clone(),
        mode: mode(args),
        region: args.region,
        area: args.area,
        seed: Seed(asked.seed),
        temperature: args.temperature,
        top_k: args.top_k,
        ahead: args.ahead.unwrap_or(0),
    };
    let made = block_on(model.editor.edit(&opened.picture, &request, &mut shown()))?;
    let milliseconds = start.elapsed().as_secs_f64() * 1e3;
    let mut recipe = json!({
        "v": 1, "model": model.sha256, "instruction": request.instruction, "mode": request.mode,
        "seed": asked.seed, "temperature": args.temperature, "area": args.area,
        "image": hex_sha256(made.fitted.as_raw()),
    });
    args.told(&mut recipe);
    let png = encode_png(&made.picture, Some(("earl-recipe", &recipe.to_string())))?;
    let mut notes = opened.notes;
    let ((wide, high), (width, height)) = (opened.picture.dimensions(), made.picture.dimensions());
    if (wide, high) != (width, height) {
        notes.push(format!("the picture was scaled from {wide}×{high} to {width}×{height}"));
    }
    let codes = made.codes.codes.len();
    let same = made.source.codes.iter().zip(&made.codes.codes).filter(|(a, b)| a == b).count();
    let draft = made.drafted.map(|drafted| {
        json!({ "passes": drafted.passes, "chosen": drafted.chosen, "accepted": drafted.accepted })
    });
    let mut text = String::new();
    for note in &notes {
        text += &format!("note: {note}\n");
    }
    if let Some(reasoning) = &made.reasoning {
        text += &format!("reasoning: {reasoning}\n");
    }
    text += &format!("{same} of {codes} codes are the source's; {milliseconds:.0} ms\n");
    let facts = json!({
        "recipe": recipe, "notes": notes, "reasoning": made.reasoning,
        "width": width, "height": height, "codes": codes,
        "codes_of_source": same, "draft": draft, "milliseconds": milliseconds,
    });
    Ok(Edited { png, facts, text })
}

/// Shows how far an edit is.
fn shown() -> impl FnMut(emu3::Progress) -> bool {
    let (mut thoughts, mut bar) = (0, None::<Progress>);
    move |progress| {
        match progress {
            emu3::Progress::Thought => {
                let most = LONGEST_REASONING as u64;
                thoughts += 1;
                bar.get_or_insert_with(|| Progress::new("think", 0, most))
                    .step(most.min(thoughts), "ids of reasoning");
            }
            emu3::Progress::Code { place, places } => {
                if std::mem::take(&mut thoughts) > 0 {
                    bar = None;
                }
                bar.get_or_insert_with(|| Progress::new("edit", 0, places as u64))
                    .step(place as u64 + 1, "codes");
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_four_numbers() {
        assert_eq!(region("9, 0,8,5"), Ok(Region { x: 9, y: 0, width: 8, height: 5 }));
        for text in ["", "1,2,3", "1,2,0,4", "a,2,3,4", "-1,2,3,4", "1,2,3,4,5"] {
            assert!(region(text).is_err(), "{text}");
        }
    }
}
