//! The published full-size model on disk: directories and exported bundles in, loaded models out.
//!
//! A directory is Emu3's or EARL's in either layout; where the image tokenizer has a directory of
//! its own (BAAI's layout), it is given beside. A bundle is what `trainer export` makes of them; its
//! chunks are mapped into memory and used where they lie. Start at [`FullModel::open`].

pub(crate) mod check;
pub(crate) mod export;
mod journal;

use self::export::{Part, Source};
use crate::device::Dtype;
use crate::hint;
use crate::memory::available_bytes;
use anyhow::{Context, Result};
use burn::tensor::Device;
use earl_kernels::mapped::Mapped;
use earl_kernels::quant_linear;
use earl_model::ModelError;
use earl_model::checkpoint::bundle::{Bundle, hex_sha256, parse_manifest};
use earl_model::emu3::directory::Directory;
use earl_model::emu3::editor::{TIER, check_published};
use earl_model::emu3::names::{self, match_names};
use earl_model::emu3::summary::unpacked_bytes;
use earl_model::emu3::text::PUBLISHED_RANKS;
use earl_model::emu3::wanted::{Wanted, lm_tensors, vq_tensors};
use earl_model::emu3::{Emu3Config, Emu3Lm, Emu3Text, Emu3Vq, FullEditor, Summary};
use std::fs;
use std::path::Path;

/// What a path holds, if it is a published model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A directory with `config.json` and safetensors.
    Directory,
    /// An exported bundle.
    Bundle,
}

/// Tells by the files that are there.
pub(crate) fn kind(path: &Path) -> Option<Kind> {
    if path.join("config.json").is_file() {
        return Some(Kind::Directory);
    }
    let manifest = parse_manifest(&fs::read(path.join("manifest.json")).ok()?).ok()?;
    (manifest.model.tier == TIER).then_some(Kind::Bundle)
}

/// A model and its identity: of a bundle the SHA-256 of its manifest, of a directory that of its
/// configs and its files' names and sizes.
pub(crate) struct FullModel {
    /// What edits.
    pub editor: FullEditor,
    /// Hex.
    pub sha256: String,
}

impl FullModel {
    /// Loads a directory or a bundle, after saying what memory it takes.
    ///
    /// # Errors
    /// If something is missing, damaged, or of another model.
    pub(crate) fn open(
        path: &Path,
        vision: Option<&Path>,
        dtype: Dtype,
        device: &Device,
    ) -> Result<Self> {
        match kind(path) {
            Some(Kind::Bundle) => {
                let bundle = open_bundle(path)?;
                if quant_linear::runs_on(device) {
                    say_plan(bundle.manifest().size, "as exported");
                } else {
                    let config = bundle.manifest().model.config.to_string();
                    let config = Emu3Config::parse(config.as_bytes())?;
                    say_plan(unpacked_bytes(&config, dtype.bytes()), dtype.name());
                }
                let editor = FullEditor::from_bundle(&bundle, dtype.float(), device);
                let editor = editor.with_context(|| format!("in bundle `{}`", path.display()))?;
                Ok(Self { editor, sha256: bundle.hash().to_owned() })
            }
            _ => Self::from_directories(&Directories::open(path, vision)?, dtype, device),
        }
    }

    fn from_directories(directories: &Directories, dtype: Dtype, device: &Device) -> Result<Self> {
        let (lm, vq) = (directories.lm()?, directories.vq()?);
        let Directories { model, vision, .. } = directories;
        for directory in [Some(model), vision.as_ref()].into_iter().flatten() {
            Summary::of(&directory.config, &directory.shards)?; // names, shapes and types fit
        }
        say_plan(unpacked_bytes(&directories.config(), dtype.bytes()), dtype.name());
        check_published(lm.vocab_size, vq.codebook_size).map_err(|error| {
            hint::error(
                error.to_string(),
                "use an Emu3 or EARL checkpoint with its own image tokenizer",
            )
        })?;
        let tokenizer = vision.as_ref().unwrap_or(model);
        let editor = FullEditor {
            lm: Emu3Lm::load(lm, &model.shards, dtype.float(), device)?,
            vq: Emu3Vq::load(vq, &tokenizer.shards, device)?,
            text: Emu3Text::published()?,
        };
        Ok(Self { editor, sha256: directories.identity() })
    }
}

/// One directory, or the two of BAAI's layout.
pub(crate) struct Directories {
    /// The language model's, perhaps with the image tokenizer.
    pub model: Directory,
    /// The image tokenizer's own.
    pub vision: Option<Directory>,
    /// Where the first lies, for messages.
    path: String,
}

impl Directories {
    /// Opens them; headers only.
    ///
    /// # Errors
    /// If a directory is broken or has a text tokenizer of another model.
    pub(crate) fn open(path: &Path, vision: Option<&Path>) -> Result<Self> {
        for folder in [Some(path), vision].into_iter().flatten() {
            own_text_tokenizer(folder)?;
        }
        let vision = vision.map(Directory::open).transpose()?;
        Ok(Self { model: Directory::open(path)?, vision, path: path.display().to_string() })
    }

    /// Both models' configuration.
    pub(crate) fn config(&self) -> Emu3Config {
        let own = self.vision.as_ref().and_then(|vision| vision.config.vq.clone());
        Emu3Config { vq: own.or(self.model.config.vq.clone()), ..self.model.config.clone() }
    }

    /// What an export reads, names and shapes checked.
    ///
    /// # Errors
    /// With every tensor that does not fit the config.
    pub(crate) fn source(&self) -> Result<Source<'_>> {
        let config = self.config();
        let vision = self.vision.as_ref().unwrap_or(&self.model);
        let part = |directory: &'_ Directory, part, wanted: &[Wanted]| {
            match_names(&directory.shards, part, wanted)
        };
        let lm = config.lm.as_ref().map(|lm| part(&self.model, names::Part::Lm, &lm_tensors(lm)));
        let vq = config.vq.as_ref().map(|vq| part(vision, names::Part::Vq, &vq_tensors(vq)));
        let parts = [
            lm.transpose()?.map(|names| Part { shards: &self.model.shards, names }),
            vq.transpose()?.map(|names| Part { shards: &vision.shards, names }),
        ];
        Ok(Source { config, parts, identity: self.identity(), name: self.name() })
    }

    fn lm(&self) -> Result<&earl_model::emu3::Emu3LmConfig> {
        self.model.config.lm.as_ref().ok_or_else(|| no_part(Path::new(&self.path), true))
    }

    fn vq(&self) -> Result<&earl_model::emu3::Emu3VqConfig> {
        let own = self.vision.as_ref().and_then(|vision| vision.config.vq.as_ref());
        let found = own.or(self.model.config.vq.as_ref());
        found.ok_or_else(|| no_part(Path::new(&self.path), false))
    }

    /// The directory's own name, for people.
    fn name(&self) -> String {
        let name = Path::new(&self.path).file_name();
        name.map_or_else(|| "emu3".into(), |name| name.to_string_lossy().into_owned())
    }

    /// A hash of the configs and of every file's name and size: no weight is read for it.
    pub(crate) fn identity(&self) -> String {
        let mut text = self.config().to_json().to_string();
        for directory in [Some(&self.model), self.vision.as_ref()].into_iter().flatten() {
            for (name, size) in directory.shards.sizes() {
                text += &format!("\n{name} {size}");
            }
        }
        hex_sha256(text.as_bytes())
    }
}

fn no_part(path: &Path, lm: bool) -> anyhow::Error {
    let (part, fix) = if lm {
        ("language model", "give the language model's directory as `--model`")
    } else {
        (
            "image tokenizer",
            "give the image tokenizer's directory (BAAI/Emu3-VisionTokenizer) as `--vision`",
        )
    };
    hint::error(format!("`{}` holds no {part}", path.display()), fix)
}

/// A `*.tiktoken` beside the weights must be the one this program has.
fn own_text_tokenizer(folder: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|extension| extension != "tiktoken") {
            continue;
        }
        let bytes = fs::read(&path).with_context(|| format!("reading `{}`", path.display()))?;
        if bytes.trim_ascii() != PUBLISHED_RANKS.trim_ascii() {
            let problem = format!("`{}` is the text tokenizer of another model", path.display());
            let fix = "take tokenizer and weights from one Emu3 or EARL download";
            return Err(hint::error(problem, fix));
        }
    }
    Ok(())
}

/// Says what loading takes, and warns if that is more than there is.
fn say_plan(bytes: u64, how: &str) {
    let gb = |bytes: u64| bytes as f64 / 1e9;
    eprintln!("memory: weights take {:.1} GB {how}", gb(bytes));
    if let Some(available) = available_bytes().filter(|available| *available < bytes) {
        eprintln!(
            "warning: {:.1} GB are available; `trainer export --quant q4` makes a smaller model",
            gb(available)
        );
    }
}

/// Maps a bundle's chunks; every hash is checked.
///
/// # Errors
/// If a file is missing or damaged.
pub(crate) fn open_bundle(folder: &Path) -> Result<Bundle> {
    let path = folder.join("manifest.json");
    let manifest = fs::read(&path).with_context(|| format!("reading `{}`", path.display()))?;
    let bundle = Bundle::open(&manifest, |chunk| {
        let path = folder.join(chunk.path());
        Mapped::open(&path).map_err(|problem| ModelError::Read {
            what: format!("`{}`", path.display()),
            problem: problem.to_string(),
        })
    });
    bundle.with_context(|| format!("in bundle `{}`", folder.display()))
}
