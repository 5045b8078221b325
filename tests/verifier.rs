//! The shipped model's own verifier: planted edits, several modes, and what is said without one.
#![allow(clippy::unwrap_used, reason = "test code: a panic is a failed test")]

use earl_model::batch::Prompt;
use earl_model::checkpoint::safetensors;
use earl_model::editor::VERIFIER_PREFIX;
use earl_model::verifier::read;
use earl_model::{CodeGrid, CodeId, EditRequest, Editor, Mode, Seed};
use earl_scenes::{Split, example, render};
use earl_tests::{shipped, shipped_folder};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// How likely each of some edits of a held-out example is right.
fn verdicts(editor: &Editor, instruction: &str, source: &CodeGrid, edits: &[CodeGrid]) -> Vec<f64> {
    let words = editor.vocabulary().text().encode(instruction).unwrap();
    let prompts = [Prompt { source: source.clone(), words }];
    let asked: Vec<(usize, &CodeGrid)> = edits.iter().map(|edit| (0, edit)).collect();
    let read = read(editor.lm(), editor.vocabulary(), &prompts, &asked);
    let cells = pollster::block_on(read).unwrap();
    cells.iter().map(|cells| editor.verifier().unwrap().verdict(cells)).collect()
}

/// A floor, not a measure: `trainer eval --best-of` measures.
#[test]
fn a_planted_right_edit_is_liked_best() {
    let editor = shipped();
    let tokenizer = editor.tokenizer();
    let (mut first, mut sure, mut fooled) = (0, 0, 0);
    for index in 0..40 {
        let example = example(5, index, Split::Seen, None);
        let codes = |scene| tokenizer.encode(&render(scene, example.style)).unwrap();
        let (source, truth) = (codes(&example.scene), codes(&example.target));
        // Nothing done; one cell of the edit not done; a code that belongs nowhere.
        let mut half = truth.clone();
        let changed = (0..64).find(|&at| truth.codes[at] != source.codes[at]).unwrap();
        half.codes[changed] = source.codes[changed];
        let mut odd = truth.clone();
        let elsewhere = &mut odd.codes[(changed + 31) % 64];
        *elsewhere = CodeId((elsewhere.0 + 977) % 8192);
        let edits = [source.clone(), half, truth, odd];
        let verdicts = verdicts(&editor, &example.instruction, &source, &edits);
        first += usize::from((0..4).all(|at| at == 2 || verdicts[at] < verdicts[2]));
        sure += usize::from(verdicts[2] > 0.5);
        fooled += usize::from(verdicts[0] > 0.5);
    }
    assert!(first >= 32 && sure >= 30 && fooled <= 10, "{first}, {sure}, {fooled} of 40");
}

#[test]
fn a_verdict_is_of_the_picture_and_not_of_how_it_was_made() {
    let editor = shipped();
    let example = example(5, 1, Split::Seen, None);
    let source = render(&example.scene, example.style);
    for mode in [Mode::Local, Mode::Full] {
        let request = EditRequest {
            instruction: example.instruction.clone(),
            mode,
            seed: Seed(1),
            ..EditRequest::default()
        };
        let go_on = &mut |_: &_| ControlFlow::Continue(());
        let outcome = pollster::block_on(editor.edit(&source, &request, go_on)).unwrap();
        let alone = pollster::block_on(editor.verdict(&example.instruction, &outcome)).unwrap();
        let edits = [outcome.source_codes.clone(), outcome.codes.clone()];
        let many = verdicts(&editor, &example.instruction, &outcome.source_codes, &edits);
        assert_eq!(alone.unwrap().to_bits(), many[1].to_bits(), "{mode:?}");
    }
}

fn trainer(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_trainer")).args(args).output().unwrap()
}

/// The shipped model as one file, and the same without its verifier.
fn with_and_without(folder: &Path) -> [PathBuf; 2] {
    let [all, bare] = ["all", "bare"].map(|name| folder.join(format!("{name}.safetensors")));
    let (model, out) = (shipped_folder().to_str().unwrap(), all.to_str().unwrap());
    let args = ["export", "--model", model, "--format", "safetensors", "-o", out];
    assert!(trainer(&args).status.success());
    let (mut tensors, config) = safetensors::read(&std::fs::read(&all).unwrap()).unwrap();
    let whole = tensors.len();
    tensors.retain(|name, _| !name.starts_with(VERIFIER_PREFIX));
    assert_eq!(whole - tensors.len(), 3);
    std::fs::write(&bare, safetensors::write(&tensors, &config.unwrap()).unwrap()).unwrap();
    [all, bare]
}

#[test]
fn candidates_are_ranked_as_asked_and_a_model_without_a_verifier_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let [all, bare] = with_and_without(folder.path());
    let [picture, out] = ["in.png", "out.png"].map(|name| folder.path().join(name));
    let example = example(5, 1, Split::Seen, None);
    render(&example.scene, example.style).save(&picture).unwrap();
    let edit = |model: &Path, rank: &str| {
        let [model, picture, out] = [model, &picture, &out].map(|path| path.to_str().unwrap());
        let asked = ["edit", "--model", model, picture, &example.instruction, "-o", out];
        trainer(&[&asked[..], &["--candidates", "3", "--rank", rank, "--json"]].concat())
    };
    let refused = edit(&bare, "verifier");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("has no verifier") && said.contains("trainer verifier"), "{said}");
    assert!(!out.exists());

    for (model, rank, key) in [
        (&bare, "likelihood", "log_prob"),
        (&all, "likelihood", "log_prob"),
        (&all, "verifier", "verdict"),
    ] {
        let facts: serde_json::Value = serde_json::from_slice(&edit(model, rank).stdout).unwrap();
        let candidates = facts["candidates"].as_array().unwrap();
        let score = |at: usize| candidates[at][key].as_f64().unwrap();
        let best = (0..3).fold(0, |best, at| if score(at) > score(best) { at } else { best });
        assert_eq!(facts["recipe"]["seed"], candidates[best]["seed"], "{facts}");
        let judged = rank == "verifier";
        assert!(candidates.iter().all(|one| one["verdict"].is_number() == judged), "{facts}");
    }
}
