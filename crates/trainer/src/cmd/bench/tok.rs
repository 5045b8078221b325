//! `trainer bench tok`: Emu3's convolutional image tokenizer in a small size on made-up weights, ours and
//! PyTorch's in turns; both must find the same codes and pixels.
//!
//! Forward only, as it is used: it is frozen here, without a parameter or a gradient.

use super::rival::{Rival, RivalArgs, number};
use crate::device::DeviceName;
use crate::host::values;
use anyhow::{Context, Result, bail};
use burn::tensor::{Tensor, TensorData};
use earl_model::checkpoint::{HostTensor, TensorMap, safetensors};
use earl_model::emu3::wanted::{Wanted, vq_tensors};
use earl_model::emu3::{Emu3Config, Emu3Vq, Shards};
use earl_model::lm::seeded_normal;
use serde_json::{Value, json};
use std::time::Instant;

/// Largest difference of a pixel (about −1..1) from PyTorch's.
const SAME_PIXEL: f32 = 1e-3;
/// Every how many-th pixel is compared.
const EVERY: usize = 97;
/// Codes that may differ: sums in another order decide near ties otherwise.
const OTHER_CODES: f64 = 0.02;

/// Flags of `bench tok`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Channels of the widest picture (published: 256).
    #[arg(long, default_value_t = 64)]
    channels: usize,
    /// Pixels along one side.
    #[arg(long, default_value_t = 128)]
    side: usize,
    /// Rounds; the best time counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    #[command(flatten)]
    rival: RivalArgs,
}

/// Seconds of encoding and decoding a picture, and the ratio to PyTorch's.
///
/// # Errors
/// For sizes the tokenizer does not have, or a rival that computes something else.
pub(super) fn measure(args: &Args) -> Result<Value> {
    let sizes = json!({ "ch": args.channels, "ch_mult": [1, 2, 2, 4], "codebook_size": 4096 });
    let config = Emu3Config::parse(sizes.to_string().as_bytes())?.vq.context("no `ch_mult`")?;
    let tensors: TensorMap = vq_tensors(&config).iter().map(made_up).collect();
    let device = DeviceName::Flex.open()?;
    let file = safetensors::write(&tensors, "")?;
    let vq = Emu3Vq::load(&config, &Shards::single("made-up", file)?, &device)?;
    let picture: Vec<f32> = (0..3 * args.side * args.side).map(colour).collect();
    let mut rival = match args.rival.python()? {
        Some(python) => {
            let spec = json!({
                "config": { "ch_mult": config.ch_mult, "num_res_blocks": config.num_res_blocks, "attn_resolutions": config.attn_resolutions },
                "side": args.side, "picture": picture, "every": EVERY,
            });
            Some(Rival::start(&python, "tok.py", spec, &tensors)?)
        }
        None => None,
    };
    let pixels = TensorData::new(picture, [1, 3, args.side, args.side]);
    let pixels = Tensor::<4>::from_data(pixels, &device);
    let mut best = [[f64::INFINITY; 2]; 2];
    for _ in 0..=args.rounds {
        let start = Instant::now();
        let codes = pollster::block_on(vq.encode(pixels.clone()))?;
        let encoded = start.elapsed().as_secs_f64();
        let decoded = values(vq.decode(&codes)?)?;
        keep(&mut best[0], [encoded, start.elapsed().as_secs_f64() - encoded]);
        if let Some(rival) = &mut rival {
            let answer = rival.ask(&json!({ "do": "round" }))?;
            keep(&mut best[1], [number(&answer, "encode")?, number(&answer, "decode")?]);
            let codes: Vec<u32> = codes[0].codes.iter().map(|code| code.0).collect();
            compare(&answer, &codes, &decoded)?;
        }
    }
    let seconds = |[encode, decode]: [f64; 2]| json!({ "encode_s": encode, "decode_s": decode });
    let mut found = json!({
        "channels": args.channels, "side": args.side, "threads": rayon::current_num_threads(),
        "ours": seconds(best[0]), "torch": Value::Null,
    });
    if let Some(rival) = &mut rival {
        found["torch"] = rival.ask(&json!({ "do": "hello" }))?;
        found["torch"]["seconds"] = seconds(best[1]);
        let [ours, theirs] = best;
        found["ours_over_torch"] = json!({
            "encode": theirs[0] / ours[0], "decode": theirs[1] / ours[1],
            "both": (theirs[0] + theirs[1]) / (ours[0] + ours[1]),
        });
    }
    Ok(found)
}

fn keep(best: &mut [f64; 2], new: [f64; 2]) {
    *best = [best[0].min(new[0]), best[1].min(new[1])];
}

/// An error if PyTorch found other codes, or other pixels for the same codes.
fn compare(answer: &Value, codes: &[u32], decoded: &[f32]) -> Result<()> {
    let theirs: Vec<u32> = serde_json::from_value(answer["codes"].clone())?;
    let other = codes.iter().zip(&theirs).filter(|(ours, theirs)| ours != theirs).count();
    if theirs.len() != codes.len() || other as f64 > OTHER_CODES * codes.len() as f64 {
        bail!("PyTorch found {other} other codes of {}", codes.len());
    }
    if other > 0 {
        return Ok(());
    }
    let pixels: Vec<f32> = serde_json::from_value(answer["pixels"].clone())?;
    let ours = decoded.iter().step_by(EVERY);
    let apart = ours.zip(&pixels).map(|(ours, theirs)| (ours - theirs).abs()).fold(0.0, f32::max);
    if apart > SAME_PIXEL {
        bail!("a pixel of PyTorch's differs by {apart}");
    }
    Ok(())
}

/// Gains and variances of 1, biases and means of 0, kernels that keep the variance.
fn made_up(wanted: &Wanted) -> (String, HostTensor) {
    let count = wanted.shape.iter().product();
    let is = |end: &str| wanted.name.ends_with(end);
    let data = if is("bias") || is("running_mean") {
        vec![0.0; count]
    } else if wanted.shape.len() == 1 {
        vec![1.0; count]
    } else {
        let inputs: usize = wanted.shape[1..].iter().product();
        let size = (1.0 / inputs as f32).sqrt();
        seeded_normal(&wanted.name, 1, count).map(|value| value * size).collect()
    };
    (wanted.name.clone(), HostTensor { shape: wanted.shape.clone(), data })
}

/// A smooth picture.
fn colour(at: usize) -> f32 {
    (at as f32 * 0.017).sin() * 0.8
}
