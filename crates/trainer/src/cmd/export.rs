//! `trainer export`: a trained model as a bundle (EARLW) or as safetensors.

use crate::run_dir::write_file;
use crate::store::{Stored, write_bundle};
use anyhow::Result;
use clap::ValueEnum;
use earl_model::checkpoint::bundle::pack;
use earl_model::checkpoint::quantize::Dtype;
use earl_model::checkpoint::safetensors;
use earl_model::editor::VISION_PREFIX;
use std::path::PathBuf;

/// Flags of `export`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The model: a run, a bundle or a safetensors file.
    #[arg(long)]
    model: PathBuf,
    /// Format.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Type of the decoder's matrices; tables stay at least q8, gains f32, the codebook f16 (which
    /// holds it exactly).
    #[arg(long, value_enum, default_value_t)]
    quant: Quant,
    /// Folder of the bundle, or the safetensors file.
    #[arg(short, long)]
    out: PathBuf,
    /// Print one JSON object on stdout.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Bundle for the browser and for `edit --model`.
    #[default]
    Earlw,
    /// Float32 safetensors.
    Safetensors,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Quant {
    /// 8 bits, blocks of 32.
    #[default]
    Q8,
    /// 4 bits, blocks of 32.
    Q4,
    /// Half precision.
    F16,
    /// Single precision.
    F32,
}

/// Licence of weights trained on the vendored drawings.
const LICENCE: &str = "MIT OR Apache-2.0";

/// Exports.
///
/// # Errors
/// For a model that can't be read or a place that can't be written.
pub(crate) fn run(args: &Args) -> Result<()> {
    let stored = Stored::read(&args.model)?;
    let tensors = stored.edit_tensors();
    let bytes = match args.format {
        Format::Safetensors => {
            let bytes = safetensors::write(&tensors, &serde_json::to_string(&stored.config)?)?;
            write_file(&args.out, &bytes)?;
            bytes.len()
        }
        Format::Earlw => {
            let packed = pack(&stored.config, "tiny", LICENCE, &tensors, |name, shape| {
                dtype(args.quant, name, shape)
            })?;
            write_bundle(&args.out, &packed)?;
            packed.manifest.len()
                + packed.chunks.iter().map(|(_, chunk)| chunk.len()).sum::<usize>()
        }
    };
    let written = Stored::read(&args.out)?;
    let summary = serde_json::json!({
        "out": args.out, "bytes": bytes, "tensors": tensors.len(), "model_sha256": written.sha256,
    });
    if args.json {
        return super::print_json(&summary);
    }
    super::print_lines(&format!(
        "{bytes} bytes in {} (model {})",
        args.out.display(),
        written.sha256
    ));
    Ok(())
}

fn dtype(quant: Quant, name: &str, shape: &[usize]) -> Dtype {
    let matrix = name.ends_with(".weight");
    match quant {
        Quant::F32 => Dtype::F32,
        _ if shape.len() < 2 => Dtype::F32,
        _ if name.starts_with(VISION_PREFIX) => Dtype::F16,
        Quant::F16 => Dtype::F16,
        Quant::Q4 if matrix => Dtype::Q4,
        Quant::Q4 | Quant::Q8 => Dtype::Q8,
    }
}
