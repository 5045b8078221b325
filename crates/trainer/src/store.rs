//! Models on disk: bundles, checkpoints of runs, safetensors files.

use crate::hint;
use crate::run_dir::write_file;
use anyhow::{Context, Result, bail};
use burn::tensor::Device;
use earl_model::checkpoint::bundle::{Bundle, Packed};
use earl_model::checkpoint::{TensorMap, safetensors};
use earl_model::editor::{LM_PREFIX, SEEING_PREFIX, VERIFIER_PREFIX, VISION_PREFIX};
use earl_model::{Editor, ModelConfig, ModelError};
use std::fs;
use std::path::Path;

/// A model read from disk.
pub(crate) struct Stored {
    /// Its configuration.
    pub config: ModelConfig,
    /// Its tensors.
    pub tensors: TensorMap,
    /// SHA-256 of the manifest or file, hex.
    pub sha256: String,
    /// A bundle, made to be used: its editor computes as the page does, in integers.
    pub is_bundle: bool,
}

impl Stored {
    /// Reads a bundle (its folder or its `manifest.json`), a run's folder, or a safetensors file.
    ///
    /// # Errors
    /// If there is no model, it is damaged, or a weight is no finite number.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let stored = Self::read_any(path)?;
        check_finite(&stored.tensors).with_context(|| format!("in `{}`", path.display()))?;
        Ok(stored)
    }

    fn read_any(path: &Path) -> Result<Self> {
        let weights = path.join("weights/model.safetensors");
        if weights.is_file() {
            return Self::read_safetensors(&weights);
        }
        let manifest = if path.is_dir() { path.join("manifest.json") } else { path.to_owned() };
        if manifest.extension().is_some_and(|extension| extension == "safetensors") {
            return Self::read_safetensors(&manifest);
        }
        if !manifest.is_file() {
            return Err(hint::error(
                format!("there is no model at `{}`", path.display()),
                "give a bundle's folder (with `manifest.json`), a run's folder or a `.safetensors` file",
            ));
        }
        let bundle = open_bundle(&manifest)?;
        Ok(Self {
            config: bundle.config()?,
            tensors: bundle.tensors()?,
            sha256: bundle.hash().to_owned(),
            is_bundle: true,
        })
    }

    fn read_safetensors(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).with_context(|| format!("reading `{}`", path.display()))?;
        let (tensors, config) =
            safetensors::read(&bytes).with_context(|| format!("in `{}`", path.display()))?;
        let Some(config) = config else {
            bail!("`{}` does not say which model its tensors belong to", path.display());
        };
        let config: ModelConfig = serde_json::from_str(&config)
            .with_context(|| format!("configuration inside `{}`", path.display()))?;
        config.check()?;
        let sha256 = earl_model::checkpoint::bundle::hex_sha256(&bytes);
        Ok(Self { config, tensors, sha256, is_bundle: false })
    }

    /// The model, ready to edit; a bundle's gives the tokens it gives on every machine and in the page.
    ///
    /// # Errors
    /// If its tensors do not fit its configuration.
    pub(crate) fn editor(&self, device: &Device) -> Result<Editor> {
        let editor = Editor::from_tensors(self.config.clone(), &self.tensors, device)?;
        Ok(if self.is_bundle { editor.pack(&self.tensors) } else { editor })
    }

    /// The tensors below a prefix.
    #[must_use]
    pub(crate) fn part(&self, prefix: &str) -> TensorMap {
        let below = self.tensors.iter().filter(|(name, _)| name.starts_with(prefix));
        below.map(|(name, tensor)| (name.clone(), tensor.clone())).collect()
    }

    /// The tensors an edit uses: decoder, picture tokenizer and, where they are there, seeing head and verifier.
    #[must_use]
    pub(crate) fn edit_tensors(&self) -> TensorMap {
        let mut tensors = self.part(LM_PREFIX);
        tensors.extend(self.part(VISION_PREFIX));
        tensors.extend(self.part(SEEING_PREFIX));
        tensors.extend(self.part(VERIFIER_PREFIX));
        tensors
    }
}

/// Refuses weights that nothing can be made of: they are not read, and not written over good ones.
///
/// # Errors
/// Names the first tensor that holds a value that is no finite number.
pub(crate) fn check_finite(tensors: &TensorMap) -> Result<()> {
    for (name, tensor) in tensors {
        if let Some(value) = tensor.data.iter().find(|value| !value.is_finite()) {
            let problem = format!("`{name}` holds {value}");
            return Err(hint::error(problem, "the weights are damaged; use another checkpoint"));
        }
    }
    Ok(())
}

/// Opens a bundle by its manifest's path, every chunk checked.
///
/// # Errors
/// If a file is missing or damaged.
pub(crate) fn open_bundle(manifest: &Path) -> Result<Bundle> {
    let folder = manifest.parent().unwrap_or(Path::new("."));
    let bytes = fs::read(manifest).with_context(|| format!("reading `{}`", manifest.display()))?;
    let bundle = Bundle::open(&bytes, |chunk| {
        fs::read(folder.join(chunk.path())).map_err(|error| ModelError::Read {
            what: format!("`{}`", folder.join(chunk.path()).display()),
            problem: error.to_string(),
        })
    });
    bundle.with_context(|| format!("in bundle `{}`", folder.display()))
}

/// Writes a bundle: chunks first, the manifest last, then drops chunks it does not name.
///
/// # Errors
/// If a file can't be written.
pub(crate) fn write_bundle(folder: &Path, packed: &Packed) -> Result<()> {
    let chunks = folder.join("chunks");
    fs::create_dir_all(&chunks).with_context(|| format!("making `{}`", chunks.display()))?;
    for (path, bytes) in &packed.chunks {
        write_file(&folder.join(path), bytes)?;
    }
    write_file(&folder.join("manifest.json"), &packed.manifest)?;
    for entry in fs::read_dir(&chunks)? {
        let path = entry?.path();
        let named = packed.chunks.iter().any(|(chunk, _)| folder.join(chunk) == path);
        if !named && path.extension().is_some_and(|extension| extension == "bin") {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}
