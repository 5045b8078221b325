//! The scorer's ends on every split: a copied source is never right, the true edit is nearly perfect, and
//! pictures of random codes of the shipped tokenizer are worth nothing.
#![allow(clippy::unwrap_used, reason = "test code: a panic is a failed test")]

use earl_model::checkpoint::bundle::Bundle;
use earl_model::sample::rng::{Key, uniform};
use earl_model::vision::LayeredVq;
use earl_model::{CodeGrid, CodeId, ModelError, compose};
use earl_scenes::{Example, Split, example, judge, render};
use std::path::Path;

/// Examples of each split; two of each operation.
const EXAMPLES: u64 = 22;

fn tokenizer() -> LayeredVq {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/tiny");
    let manifest = std::fs::read(folder.join("manifest.json")).unwrap();
    let bundle = Bundle::open(&manifest, |chunk| {
        std::fs::read(folder.join(chunk.path()))
            .map_err(|error| ModelError::Read { what: chunk.path(), problem: error.to_string() })
    });
    let bundle = bundle.unwrap();
    LayeredVq::from_tensors(&bundle.config().unwrap().vision, &bundle.tensors().unwrap()).unwrap()
}

fn random_codes(tokenizer: &LayeredVq, like: &CodeGrid, index: u64, draw: u64) -> CodeGrid {
    let size = tokenizer.config().codebook_size as f64;
    let code = |position: u64| {
        let key = Key { seed: 11, purpose: draw, index, position, token: 0 };
        CodeId((uniform(key) * size) as u32)
    };
    CodeGrid { codes: (0..like.codes.len() as u64).map(code).collect(), ..like.clone() }
}

#[test]
fn the_scorer_knows_nothing_from_everything_on_every_split() {
    let tokenizer = tokenizer();
    for split in [Split::Seen, Split::Classes, Split::Phrases, Split::Style, Split::Train] {
        let mut noise = Vec::new();
        for index in 0..EXAMPLES {
            let example = example(11, index, split, None);
            let source = render(&example.scene, example.style);
            let codes = tokenizer.encode(&source).unwrap();
            let score = |picture: &image::RgbImage| {
                let Example { scene, check, style, .. } = &example;
                judge(&source, picture, None, scene, check, *style)
            };
            let copy = score(&source);
            assert!(!copy.success && copy.instruction <= 5.0, "{}: {copy:?}", example.id);
            let truth = score(&render(&example.target, example.style));
            assert!(truth.success && truth.overall >= 9.9, "{}: {truth:?}", example.id);
            for draw in 0..2 {
                let random = random_codes(&tokenizer, &codes, index, draw);
                let found = score(&compose::paint(&tokenizer, &random));
                assert!(!found.success && found.overall <= 1.0, "{}: {found:?}", example.id);
                noise.push(f64::from(found.overall));
            }
        }
        let mean = noise.iter().sum::<f64>() / noise.len() as f64;
        println!("{}: random codes score {mean:.3} on {} pictures", split.name(), noise.len());
    }
}
