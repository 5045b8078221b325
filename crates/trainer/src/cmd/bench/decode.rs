//! `trainer bench decode`: whole pictures (mode `full`) written one token at a time, ours and PyTorch's
//! in turns on the same prompts, greedily. A bundle runs in integers here and in float32 there, so the
//! share of equal codes is told beside the times.

use super::clock::{Clock, Lap};
use super::rival::{self, Rival, RivalArgs, lap};
use crate::device::DeviceName;
use crate::store::Stored;
use anyhow::{Context, Result, bail};
use earl_model::batch::{Draw, Prompt, write_programs};
use earl_model::editor::LM_PREFIX;
use earl_model::lm::Chunk;
use earl_model::sequence::{Control, Slot};
use earl_model::{Editor, Mode, Seed};
use earl_scenes::{Split, example, render};
use serde_json::{Value, json};
use std::path::PathBuf;

/// Flags of `bench decode`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The model.
    #[arg(long, default_value = "models/tiny")]
    model: PathBuf,
    /// Pictures.
    #[arg(long, default_value_t = 5)]
    limit: u64,
    /// Rounds over the pictures; the best time of each counts.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    #[command(flatten)]
    rival: RivalArgs,
}

/// Codes a second of both, reading the prompt included, and their ratio.
///
/// # Errors
/// For a model that can't be read, or a rival that writes something else.
pub(super) fn measure(args: &Args) -> Result<Value> {
    let stored = Stored::read(&args.model)?;
    let editor = stored.editor(&DeviceName::Flex.open()?)?;
    let prompts =
        (0..args.limit).map(|index| prompt(&editor, index)).collect::<Result<Vec<_>>>()?;
    let mut rival = match args.rival.python()? {
        Some(python) => {
            let spec = spec(&editor, &prompts)?;
            Some(Rival::start(&python, "decode.py", spec, &stored.part(LM_PREFIX))?)
        }
        None => None,
    };
    let mut best = vec![[Lap::NEVER; 2]; prompts.len()];
    let (mut codes, mut same) = (0, 0);
    for round in 0..=args.rounds {
        for (at, prompt) in prompts.iter().enumerate() {
            let (written, time) = write(&editor, prompt)?;
            best[at][0] = best[at][0].best(time);
            codes += if round == 0 { written.len() } else { 0 };
            if let Some(rival) = &mut rival {
                let answer = rival.ask(&json!({ "do": "write", "prompt": at }))?;
                best[at][1] = best[at][1].best(lap(&answer)?);
                let theirs: Vec<u32> = serde_json::from_value(answer["codes"].clone())?;
                if theirs.len() != written.len() {
                    bail!("picture {at}: PyTorch wrote {theirs:?}, we {written:?}");
                }
                let equal = theirs.iter().zip(&written).filter(|(a, b)| a == b).count();
                same += if round == 0 { equal } else { 0 };
            }
        }
    }
    let sum = |who: usize, of: fn(&Lap) -> f64| best.iter().map(|best| of(&best[who])).sum::<f64>();
    let figures = |who| {
        json!({
            "codes_per_second": codes as f64 / sum(who, |lap| lap.wall),
            "cpu_ms_per_code": sum(who, |lap| lap.cpu) / codes as f64 * 1e3,
        })
    };
    let mut found = json!({
        "pictures": prompts.len(), "codes": codes, "threads": rayon::current_num_threads(),
        "ours": figures(0), "torch": Value::Null,
    });
    if rival.is_some() {
        found["torch"] = figures(1);
        found["equal_codes"] = json!(same as f64 / codes as f64);
        let ratio = |of: fn(&Lap) -> f64| sum(1, of) / sum(0, of);
        found["ours_over_torch"] =
            json!({ "wall": ratio(|lap| lap.wall), "cpu": ratio(|lap| lap.cpu) });
    }
    Ok(found)
}

fn prompt(editor: &Editor, index: u64) -> Result<Prompt> {
    let example = example(0, index, Split::Seen, None);
    let source = editor.tokenizer().encode(&render(&example.scene, example.style))?;
    Ok(Prompt { source, words: editor.vocabulary().text().encode(&example.instruction)? })
}

/// Writes one picture's codes; the time it took.
fn write(editor: &Editor, prompt: &Prompt) -> Result<(Vec<u32>, Lap)> {
    let vocabulary = editor.vocabulary();
    let draws = [Draw { prompt: 0, seed: Seed(0) }];
    let prompts = std::slice::from_ref(prompt);
    let clock = Clock::start();
    let written = write_programs(editor.lm(), vocabulary, prompts, &draws, Mode::Full, 0.0);
    let written = pollster::block_on(written)?;
    let time = clock.lap();
    let program = written.into_iter().next().context("no program was written")?.program;
    let first = vocabulary.control_len() as u32;
    Ok((program.iter().filter_map(|id| id.0.checked_sub(first)).collect(), time))
}

/// Prompts as the script reads them: a program token has the place of the code it predicts.
fn spec(editor: &Editor, prompts: &[Prompt]) -> Result<Value> {
    let (vocabulary, config) = (editor.vocabulary(), editor.config());
    let cells = config.vision.grid * config.vision.grid;
    let slot = |at: usize| Slot::cell(at / config.vision.grid, at % config.vision.grid);
    let program = rival::segment(&Chunk {
        ids: vec![vocabulary.control(Control::Full); cells],
        times: (0..cells).map(|at| 1 + config.text.max_words + at).collect(),
        slots: (0..cells).map(slot).collect(),
        batch: 1,
        seq: cells,
        padding: Vec::new(),
    });
    let prompt = |prompt: &Prompt| {
        json!({
            "source": rival::source(vocabulary, &prompt.source),
            "words": rival::words(vocabulary, &prompt.words),
            "program": program,
        })
    };
    let prompts: Vec<Value> = prompts.iter().map(prompt).collect();
    Ok(json!({ "config": rival::sizes(config)?, "prompts": prompts }))
}
