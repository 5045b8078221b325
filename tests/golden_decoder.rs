//! The decoder against numbers worked out in `NumPy` (`golden/decoder.py`), chunk by chunk.
#![allow(clippy::unwrap_used, reason = "test code: a panic is a failed test")]

use burn::tensor::{Device, Tensor};
use earl_model::TokenId;
use earl_model::checkpoint::{HostTensor, TensorMap, collect};
use earl_model::editor::LM_PREFIX;
use earl_model::lm::{Chunk, LanguageModel};
use earl_model::sequence::{Slot, Vocabulary};
use earl_tests::{decoder, small_config};
use serde_json::Value;

const NONE: Slot = Slot { row: None, col: None, part: None };

/// `around + 0.3 · sin(0.7 i + sum of the name's bytes)`, as the script has it.
fn formula(name: &str, like: &HostTensor) -> HostTensor {
    let phase: u32 = name.bytes().map(u32::from).sum();
    let around = if name.ends_with("norm") { 1.0 } else { 0.0 };
    let value = |at: usize| (around + 0.3 * (0.7 * at as f64 + f64::from(phase)).sin()) as f32;
    HostTensor { shape: like.shape.clone(), data: (0..like.data.len()).map(value).collect() }
}

fn chunk(ids: &[u32], times: &[usize], slots: &[Slot]) -> Chunk {
    Chunk {
        ids: ids.iter().map(|&id| TokenId(id)).collect(),
        times: times.to_vec(),
        slots: slots.to_vec(),
        batch: 1,
        seq: ids.len(),
        padding: Vec::new(),
    }
}

fn assert_golden(found: Tensor<3>, golden: &Value) {
    let found: Vec<f32> = found.into_data().try_into_vec().unwrap();
    let golden: Vec<f64> = golden
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|row| row.as_array().unwrap())
        .map(|v| v.as_f64().unwrap())
        .collect();
    assert_eq!(found.len(), golden.len());
    for (at, (found, golden)) in found.iter().zip(golden).enumerate() {
        assert!((f64::from(*found) - golden).abs() < 2e-5, "value {at}: {found} is not {golden}");
    }
}

#[test]
fn hidden_states_are_those_of_the_formulas() {
    let golden: Value = serde_json::from_str(include_str!("golden/decoder.json")).unwrap();
    let config = small_config();
    let vocabulary = Vocabulary::new(&config);
    assert_eq!(vocabulary.control_len() as u64, golden["control"].as_u64().unwrap());
    let zeros = collect(&LanguageModel::zeros(&config, &Device::flex()), LM_PREFIX).unwrap();
    let tensors: TensorMap =
        zeros.iter().map(|(name, like)| (name.clone(), formula(name, like))).collect();
    let lm = decoder(&config, &tensors);
    let mut cache = lm.cache();

    let first_code = vocabulary.control_len() as u32;
    let codes: Vec<u32> = (0..16).map(|at| first_code + (3 * at + 1) % 8).collect();
    let cells: Vec<Slot> = (0..16).map(|at| Slot::cell(at / 4, at % 4)).collect();
    let source = lm.forward(&chunk(&codes, &[0; 16], &cells), &mut cache, false).last;
    assert_golden(source, &golden["source"]);

    let words = lm.forward(&chunk(&[14, 12], &[1, 2], &[NONE; 2]), &mut cache, false).last;
    assert_golden(words, &golden["words"]);

    let drawn = Slot { row: Some(1), col: Some(2), part: Some(3) };
    let program = chunk(&[0, 4, 13], &[4, 5, 6], &[NONE, NONE, drawn]);
    assert_golden(lm.forward(&program, &mut cache, true).last, &golden["program"]);
}
