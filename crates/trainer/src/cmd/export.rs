//! `trainer export`: a trained or published model as a bundle (EARLW), a trained one as safetensors.

use crate::device::DeviceName;
use crate::full::{self, Directories};
use crate::hint;
use crate::memory::peak_bytes;
use crate::run_dir::write_file;
use crate::store::{Stored, write_bundle};
use anyhow::Result;
use clap::ValueEnum;
use earl_model::checkpoint::bundle::{Packed, pack};
use earl_model::checkpoint::known::KnownAnswer;
use earl_model::checkpoint::quantize::Dtype;
use earl_model::checkpoint::safetensors;
use earl_model::editor::{VERIFIER_PREFIX, VISION_PREFIX};
use earl_model::emu3::Precision;
use earl_model::{EditRequest, Editor, Mode, Seed};
use earl_scenes::{Split, example, render};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

/// Flags of `export`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The model: a run, a bundle, a safetensors file, or a published Emu3 or EARL directory.
    #[arg(long)]
    model: PathBuf,
    /// The image tokenizer's directory, where the published model's is another.
    #[arg(long, value_name = "DIR")]
    vision: Option<PathBuf>,
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
    /// Hold what was written against the weights it was made from: published models by their
    /// next-code distributions, others by the codes of 22 held-out edits.
    #[arg(long)]
    check: bool,
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
    /// 4 bits; embedding and head of a published model 8.
    Mixed,
    /// −1, 0 and 1 times a scale a block of 32, for models trained so: others lose what they learned.
    T2,
    /// Half precision.
    F16,
    /// Single precision.
    F32,
}

/// Licence of weights trained on the vendored drawings.
const LICENCE: &str = "MIT OR Apache-2.0";

/// Seed of the scenes of known answers.
const KNOWN_SEED: u64 = 4_000;

/// Exports.
///
/// # Errors
/// For a model that can't be read or a place that can't be written.
pub(crate) fn run(args: &Args) -> Result<()> {
    if full::kind(&args.model) == Some(full::Kind::Directory) {
        return published(args);
    }
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
            let packed = telling(packed)?;
            write_bundle(&args.out, &packed)?;
            packed.manifest.len()
                + packed.chunks.iter().map(|(_, chunk)| chunk.len()).sum::<usize>()
        }
    };
    let written = Stored::read(&args.out)?;
    let mut summary = serde_json::json!({
        "out": args.out, "bytes": bytes, "tensors": tensors.len(), "model_sha256": written.sha256,
    });
    if args.check {
        summary["check"] = same_codes(&stored, &written)?;
    }
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

/// Edits whose outcome a bundle tells: how many, what is written, at which temperature.
const KNOWN: [(u64, Mode, f32); 5] = [
    (6, Mode::Local, 0.0),
    (2, Mode::Local, 1.0),
    (1, Mode::Think, 0.0),
    (1, Mode::Think, 1.0),
    (2, Mode::Full, 0.0),
];

/// The bundle with its known answers, computed by itself.
fn telling(packed: Packed) -> Result<Packed> {
    let editor = Editor::load(&packed.open()?, &DeviceName::Flex.open()?)?;
    let mut kat = Vec::new();
    for (count, mode, temperature) in KNOWN {
        let first = kat.len() as u64;
        for index in first..first + count {
            let example = example(KNOWN_SEED, index, Split::Seen, None);
            let request = EditRequest {
                instruction: example.instruction.clone(),
                mode,
                seed: Seed(index),
                temperature,
                ..EditRequest::default()
            };
            let picture = render(&example.scene, example.style);
            kat.push(pollster::block_on(KnownAnswer::of(&editor, &picture, &request))?);
        }
    }
    Ok(packed.telling(kat)?)
}

/// Exports a published directory, a few rows at a time.
fn published(args: &Args) -> Result<()> {
    let precision = match (args.format, args.quant) {
        (Format::Safetensors, _) => {
            let problem = "a published model is safetensors already";
            return Err(hint::error(problem, "leave `--format` out to make a bundle of it"));
        }
        (Format::Earlw, Quant::Q8) => Precision::Q8,
        (Format::Earlw, Quant::Q4) => Precision::Q4,
        (Format::Earlw, Quant::Mixed) => Precision::Mixed,
        (Format::Earlw, Quant::T2) => Precision::T2,
        (Format::Earlw, Quant::F16) => Precision::F16,
        (Format::Earlw, Quant::F32) => Precision::F32,
    };
    let start = Instant::now();
    let directories = Directories::open(&args.model, args.vision.as_deref())?;
    let exported = full::export::export(&directories.source()?, precision, &args.out)?;
    let mut summary = serde_json::json!({
        "out": args.out, "bytes": exported.bytes, "tensors": exported.reports.len(),
        "model_sha256": exported.sha256, "kept_chunks": exported.kept_chunks,
        "worst": exported.worst(), "seconds": start.elapsed().as_secs_f64(),
        "peak_bytes": peak_bytes(),
    });
    if args.check {
        summary["check"] = full::check::compare(&directories, &args.out, 0)?;
    }
    if args.json {
        return super::print_json(&summary);
    }
    super::print_lines(&serde_json::to_string_pretty(&summary)?);
    Ok(())
}

/// Share of codes that the written model chooses as the one it was made from, in mode `full`.
fn same_codes(before: &Stored, after: &Stored) -> Result<serde_json::Value> {
    let device = DeviceName::Flex.open()?;
    let (before, after) = (before.editor(&device)?, after.editor(&device)?);
    let (mut codes, mut same, mut pictures) = (0, 0, 0);
    let edits = 22;
    for index in 0..edits {
        let example = example(earl_scenes::EVAL_SEED, index, Split::Seen, None);
        let source = render(&example.scene, example.style);
        let request = EditRequest {
            instruction: example.instruction,
            mode: Mode::Full,
            ..EditRequest::default()
        };
        let edit = |editor: &Editor| {
            pollster::block_on(editor.edit(&source, &request, &mut |_| ControlFlow::Continue(())))
        };
        let [a, b] = [edit(&before)?.codes.codes, edit(&after)?.codes.codes];
        codes += a.len();
        same += a.iter().zip(&b).filter(|(a, b)| a == b).count();
        pictures += usize::from(a == b);
    }
    Ok(serde_json::json!({
        "edits": edits, "equal_pictures": pictures, "code_agreement": same as f64 / codes as f64,
    }))
}

fn dtype(quant: Quant, name: &str, shape: &[usize]) -> Dtype {
    let matrix = name.ends_with(".weight");
    match quant {
        Quant::F32 => Dtype::F32,
        _ if shape.len() < 2 || name.starts_with(VERIFIER_PREFIX) => Dtype::F32,
        _ if name.starts_with(VISION_PREFIX) => Dtype::F16,
        Quant::F16 => Dtype::F16,
        Quant::T2 if matrix => Dtype::T2,
        Quant::Q4 | Quant::Mixed if matrix => Dtype::Q4,
        Quant::T2 | Quant::Q4 | Quant::Mixed | Quant::Q8 => Dtype::Q8,
    }
}
