//! A checkpoint directory → its configuration and its shards. Native only: the one module with files.
//!
//! Tensors are read where they lie, by position, never a shard as a whole.
//! Start at [`Directory::open`].

use super::config::Emu3Config;
use super::shards::{ReadAt, Shards, files_of_index};
use crate::error::ModelError;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Longest `config.json` and index read.
const LONGEST_JSON: u64 = 64 << 20;
const INDEX: &str = "model.safetensors.index.json";

/// What a checkpoint directory holds.
pub struct Directory {
    /// Its `config.json`.
    pub config: Emu3Config,
    /// Its safetensors files.
    pub shards: Shards,
}

impl Directory {
    /// Reads `config.json` and the headers of all shards: those the index names, else every
    /// `*.safetensors` of the directory.
    ///
    /// # Errors
    /// [`ModelError::Read`] for files that are not there or not readable, and for directories with
    /// pickled weights alone; [`ModelError::Format`], [`ModelError::Config`] and
    /// [`ModelError::Checkpoint`] for what is in them.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        let config = Emu3Config::parse(&read_small(&path.join("config.json"))?)?;
        let index_path = path.join(INDEX);
        let index = if index_path.is_file() { Some(read_small(&index_path)?) } else { None };
        let names = match &index {
            Some(index) => files_of_index(index)?,
            None => safetensors_in(path)?,
        };
        let absent: Vec<String> = names
            .iter()
            .filter(|name| !path.join(name).is_file())
            .map(|name| format!("`{name}` is named by `{INDEX}` but is not there"))
            .collect();
        if !absent.is_empty() {
            return Err(ModelError::Checkpoint {
                what: format!("`{}`", path.display()),
                problems: absent,
                fix: "finish the download: every file the index names must lie beside it".into(),
            });
        }
        let open = |name: String| {
            let shard = FileShard::open(&path.join(&name))?;
            Ok((name, Box::new(shard) as Box<dyn ReadAt>))
        };
        let files = names.into_iter().map(open).collect::<Result<Vec<_>, ModelError>>()?;
        Ok(Self { config, shards: Shards::open(files, index.as_deref())? })
    }
}

fn unreadable(path: &Path, problem: impl ToString) -> ModelError {
    ModelError::Read { what: format!("`{}`", path.display()), problem: problem.to_string() }
}

fn read_small(path: &Path) -> Result<Vec<u8>, ModelError> {
    let file = File::open(path).map_err(|problem| unreadable(path, problem))?;
    let mut bytes = Vec::new();
    file.take(LONGEST_JSON).read_to_end(&mut bytes).map_err(|problem| unreadable(path, problem))?;
    if bytes.len() as u64 == LONGEST_JSON {
        return Err(unreadable(path, format!("is longer than {LONGEST_JSON} bytes")));
    }
    Ok(bytes)
}

/// Names of the safetensors files, sorted; pickles are refused with the way out.
fn safetensors_in(path: &Path) -> Result<Vec<String>, ModelError> {
    let listing = fs::read_dir(path).map_err(|problem| unreadable(path, problem))?;
    let (mut names, mut pickles) = (Vec::new(), Vec::new());
    for entry in listing {
        let entry = entry.map_err(|problem| unreadable(path, problem))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        match Path::new(&name).extension().and_then(|extension| extension.to_str()) {
            Some("safetensors") => names.push(name),
            Some("bin" | "pth" | "pt" | "ckpt" | "pkl") => pickles.push(name),
            _ => {}
        }
    }
    names.sort();
    pickles.sort();
    match (names.is_empty(), pickles.first()) {
        (false, _) => Ok(names),
        (true, Some(pickle)) => Err(unreadable(
            path,
            format!(
                "`{pickle}` is a pickle, which can run code; convert it: load it with PyTorch's \
                 `weights_only=True` and write it with `safetensors.torch.save_file`"
            ),
        )),
        (true, None) => Err(unreadable(path, "holds no `*.safetensors`")),
    }
}

/// A file read by position.
struct FileShard {
    file: Mutex<File>,
    size: u64,
}

impl FileShard {
    fn open(path: &Path) -> Result<Self, ModelError> {
        let file = File::open(path).map_err(|problem| unreadable(path, problem))?;
        let size = file.metadata().map_err(|problem| unreadable(path, problem))?.len();
        Ok(Self { file: Mutex::new(file), size })
    }
}

impl ReadAt for FileShard {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<(), String> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(offset)).map_err(|problem| problem.to_string())?;
        file.read_exact(into).map_err(|problem| problem.to_string())
    }
}
