//! Published sizes on made-up weights: the whole image tokenizer, and two of the decoder's 32 blocks.
//!
//! Weights are computed as they are asked for, so no gigabyte lies on a disk. Run each by its name
//! (the peak is the process's) with
//! `cargo test --release -p earl-tests --test published_size NAME -- --ignored --nocapture`.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "test code: a panic is a failed test, and the numbers are for people"
)]

use burn::tensor::{Device, FloatDType, Tensor, TensorData};
use earl_model::TokenId;
use earl_model::emu3::lm::left_padded;
use earl_model::emu3::wanted::{lm_tensors, vq_tensors};
use earl_model::emu3::{Emu3Config, Emu3Lm, Emu3Vq, MadeUp, Shards, pixels};
use pollster::block_on;
use std::time::Instant;

/// Most memory this process has held, in MB, where the system says so.
fn peak_mb() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? / 1000)
}

fn timed(what: &str, start: Instant) {
    let peak = peak_mb().map_or_else(String::new, |peak| format!(", peak {peak} MB"));
    println!("{what}: {:.1} s{peak}", start.elapsed().as_secs_f64());
}

#[test]
#[ignore = "takes minutes and some gigabytes"]
fn the_published_image_tokenizer_runs() {
    let config = Emu3Config::parse(br#"{"vq_config": {}}"#).unwrap().vq.unwrap();
    let wanted = vq_tensors(&config);
    let shards = Shards::single("made-up", MadeUp::new(&wanted)).unwrap();
    let start = Instant::now();
    let device = Device::flex();
    let vq = Emu3Vq::load(&config, &shards, &device).unwrap();
    timed("load", start);
    let values: Vec<f32> = (0..3 * 256 * 256).map(|at| ((at % 977) as f32 / 488.0) - 1.0).collect();
    let picture = Tensor::<4>::from_data(TensorData::new(values, [1, 3, 256, 256]), &device);
    let start = Instant::now();
    let grids = block_on(vq.encode(picture)).unwrap();
    timed("encode 256²", start);
    assert_eq!((grids.len(), grids[0].height, grids[0].width), (1, 32, 32));
    let mut used = grids[0].codes.clone();
    used.sort_unstable();
    used.dedup();
    assert!(used.len() > 1, "one code for the whole picture");
    let start = Instant::now();
    let pictures = block_on(pixels::to_pictures(vq.decode(&grids).unwrap())).unwrap();
    timed("decode 256²", start);
    assert_eq!(pictures[0].dimensions(), (256, 256));
}

#[test]
#[ignore = "takes minutes and some gigabytes"]
fn two_published_blocks_run() {
    let json = br#"{"text_config": {"num_hidden_layers": 2, "vocab_size": 8192}}"#;
    let config = Emu3Config::parse(json).unwrap().lm.unwrap();
    let wanted = lm_tensors(&config);
    let values: usize = wanted.iter().map(|tensor| tensor.shape.iter().product::<usize>()).sum();
    let shards = Shards::single("made-up", MadeUp::new(&wanted)).unwrap();
    let start = Instant::now();
    let lm = Emu3Lm::load(&config, &shards, FloatDType::F32, &Device::flex()).unwrap();
    timed(&format!("load {values} parameters"), start);
    let ids: Vec<TokenId> = (0..96u32).map(|at| TokenId(at * 83 % 8192)).collect();
    let floats = |tensor: Tensor<3>| -> Vec<f32> { tensor.into_data().try_into_vec().unwrap() };
    let start = Instant::now();
    let whole = left_padded(std::slice::from_ref(&ids), TokenId(0));
    let want = floats(lm.logits(lm.forward(&whole, &mut lm.cache())));
    timed("96 tokens at once", start);
    let (mut cache, mut got) = (lm.cache(), Vec::new());
    let start = Instant::now();
    for (at, id) in ids.iter().enumerate() {
        let mut chunk = left_padded(&[vec![*id]], TokenId(0));
        chunk.times = vec![at];
        got.extend(floats(lm.logits(lm.forward(&chunk, &mut cache))));
    }
    timed("96 tokens, one at a time", start);
    let largest = want.iter().map(|value| value.abs()).fold(0.0, f32::max);
    let apart = got.iter().zip(&want).map(|(a, b)| (a - b).abs());
    let worst = apart.fold(0.0, |worst: f32, e| if e.is_nan() || e > worst { e } else { worst });
    println!("largest difference {worst:.1e} at logits up to {largest:.1}");
    assert_eq!(got.len(), want.len());
    assert!(worst <= 2e-4 + 2e-4 * largest, "{worst}");
}
