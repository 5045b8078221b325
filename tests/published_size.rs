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

use burn::tensor::{Device, Tensor, TensorData};
use earl_model::TokenId;
use earl_model::emu3::lm::left_padded;
use earl_model::emu3::wanted::{Wanted, lm_tensors, vq_tensors};
use earl_model::emu3::{Emu3Config, Emu3Lm, Emu3Vq, ReadAt, Shards, pixels};
use half::bf16;
use pollster::block_on;
use serde_json::{Map, Value, json};
use std::time::Instant;

/// A safetensors file of bfloat16 that exists only where it is read.
struct MadeUp {
    header: Vec<u8>,
    /// By tensor: where it ends, in values; what stands in it.
    tensors: Vec<(u64, Content)>,
}

#[derive(Clone, Copy)]
enum Content {
    Constant(f32),
    Uniform { largest: f32 },
}

impl MadeUp {
    fn new(wanted: &[Wanted]) -> Self {
        let (mut header, mut tensors, mut end) = (Map::new(), Vec::new(), 0u64);
        for tensor in wanted {
            let start = end;
            end += tensor.shape.iter().product::<usize>() as u64;
            let offsets = json!([start * 2, end * 2]);
            let entry = json!({"dtype": "BF16", "shape": tensor.shape, "data_offsets": offsets});
            header.insert(tensor.name.clone(), entry);
            tensors.push((end, content(tensor)));
        }
        let json = Value::Object(header).to_string();
        let header = [&(json.len() as u64).to_le_bytes()[..], json.as_bytes()].concat();
        Self { header, tensors }
    }

    fn value(&self, at: u64) -> f32 {
        let tensor = self.tensors.partition_point(|(end, _)| *end <= at);
        match self.tensors[tensor].1 {
            Content::Constant(value) => value,
            Content::Uniform { largest } => {
                let mixed = (at ^ (at >> 13)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                largest * ((mixed >> 40) as f32 / (1u64 << 23) as f32 - 1.0)
            }
        }
    }
}

/// Gains and variances of 1, biases and means of 0, kernels that keep the variance.
fn content(tensor: &Wanted) -> Content {
    let is = |end: &str| tensor.name.ends_with(end);
    if is("bias") || is("running_mean") {
        return Content::Constant(0.0);
    }
    if tensor.shape.len() == 1 {
        return Content::Constant(1.0);
    }
    let inputs: usize = tensor.shape[1..].iter().product();
    Content::Uniform { largest: (3.0 / inputs as f32).sqrt() }
}

impl ReadAt for MadeUp {
    fn size(&self) -> u64 {
        self.header.len() as u64 + self.tensors.last().map_or(0, |(end, _)| end * 2)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<(), String> {
        let header = self.header.len() as u64;
        if let Some(rest) = offset.checked_sub(header) {
            for (pair, at) in into.chunks_exact_mut(2).zip(rest / 2..) {
                pair.copy_from_slice(&bf16::from_f32(self.value(at)).to_le_bytes());
            }
        } else {
            let start = usize::try_from(offset).unwrap();
            into.copy_from_slice(&self.header[start..start + into.len()]);
        }
        Ok(())
    }
}

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
    let lm = Emu3Lm::load(&config, &shards, &Device::flex()).unwrap();
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
