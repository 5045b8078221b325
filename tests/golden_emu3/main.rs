//! Agreement with the reference code: everything in a fixture folder, stage by stage.
//!
//! The folder is `EARL_FIXTURES`, else the committed one; its `manifest.json` says which models there
//! are. Nothing about their number, names or sizes is written here, so any folder made by the same
//! script serves. Each test prints the largest error of each stage beside its bound.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "test code: a panic is a failed test"
)]

mod bundles;
mod decoding;
mod device;
mod directories;
mod edits;
mod fixtures;
mod lm;
mod plain;
mod refusals;
mod report;
mod vq;

use fixtures::Fixtures;
use report::Report;

/// Runs one area of checks and prints what it measured.
fn area(name: &str, check: impl FnOnce(&Fixtures, &mut Report)) {
    let fixtures = Fixtures::open();
    let mut report = Report::new(name);
    check(&fixtures, &mut report);
    report.finish();
}

#[test]
fn golden_emu3_files_are_those_of_the_manifest() {
    area("files", |fixtures, report| {
        for (name, want) in fixtures.hashes() {
            report.equal("SHA-256", fixtures.sha256(&name), want);
        }
    });
}

#[test]
fn golden_emu3_text() {
    area("text", plain::text);
}

#[test]
fn golden_emu3_special_tokens() {
    area("special tokens", plain::special_tokens);
}

#[test]
fn golden_emu3_sequences() {
    area("sequences", plain::sequences);
}

#[test]
fn golden_emu3_grammar() {
    area("grammar", plain::grammar);
}

#[test]
fn golden_emu3_sizes() {
    area("sizes", plain::sizes);
}

#[test]
fn golden_emu3_pixels() {
    area("pixels", plain::pixels);
}

#[test]
fn golden_emu3_image_tokenizer() {
    area("image tokenizer", vq::check);
}

#[test]
fn golden_emu3_hidden_states_and_logits() {
    area("language model", lm::forward);
}

#[test]
fn golden_emu3_loss_and_gradients() {
    area("training", lm::training);
}

#[test]
fn golden_emu3_greedy_decoding() {
    area("greedy decoding", decoding::greedy);
}

#[test]
fn golden_emu3_guided_decoding() {
    area("guided decoding", decoding::guidance);
}

#[test]
fn golden_emu3_edits_end_to_end() {
    area("edits", edits::check);
}

#[test]
fn golden_emu3_refusals() {
    area("refusals", refusals::check);
}

#[test]
fn golden_emu3_sharded_directories() {
    area("sharded directories", directories::check);
}

#[test]
fn golden_emu3_half_precision() {
    area("two bytes a weight", bundles::half_precision);
}

#[test]
fn golden_emu3_bundles() {
    area("bundles", bundles::check);
}
