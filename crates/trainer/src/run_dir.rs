//! The run directory: configuration, metrics, checkpoints; everything a run can be resumed from.
//!
//! ```text
//! config.toml  run.json  metrics.jsonl  latest  lock
//! checkpoints/step-000123/{model.safetensors, optim.safetensors, state.json}
//! samples/  weights/  events/ (for `TensorBoard`)
//! ```
//! Files are written under a temporary name, synced and renamed, so that a kill or a full disk leaves
//! the last good checkpoint. A torn newest one is skipped with a warning. Start at [`RunDir`].

use crate::{events, hint};
use anyhow::{Context, Result, anyhow, bail};
use earl_model::checkpoint::bundle::hex_sha256;
use serde::{Serialize, de::DeserializeOwned};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

/// Newest checkpoints kept.
const KEEP: usize = 3;

/// A run on disk.
pub(crate) struct RunDir {
    root: PathBuf,
    /// Held while the run is written: two processes would spoil each other's files.
    _lock: Option<File>,
}

/// A checkpoint read back.
pub(crate) struct Checkpoint<S> {
    /// Steps taken when it was written.
    pub step: u64,
    /// The caller's state.
    pub state: S,
    /// The model's file.
    pub model: Vec<u8>,
    /// The optimizer's file.
    pub optim: Vec<u8>,
}

/// What makes a checkpoint whole: hashes of its files beside the caller's state.
#[derive(Serialize, serde::Deserialize)]
struct Seal<S> {
    step: u64,
    model_sha256: String,
    optim_sha256: String,
    state: S,
}

impl RunDir {
    /// A new run with the files it can't do without (names within the run, bytes); refuses a folder that
    /// already holds one. The configuration comes last: with it, a folder is a run.
    ///
    /// # Errors
    /// If the folder holds a run or can't be written.
    pub(crate) fn create(
        root: &Path,
        config: &str,
        facts: &impl Serialize,
        files: &[(&str, &[u8])],
    ) -> Result<Self> {
        if root.join("config.toml").exists() {
            let root = root.display();
            return Err(hint::error(
                format!("`{root}` already holds a run"),
                format!("pass `--resume {root}` to go on with it, or another `--out`"),
            ));
        }
        for folder in ["checkpoints", "samples", "weights"] {
            let folder = root.join(folder);
            fs::create_dir_all(&folder)
                .with_context(|| format!("making `{}`", folder.display()))?;
        }
        let lock = lock(root)?;
        for (name, bytes) in files {
            write_file(&root.join(name), bytes)?;
        }
        write_file(&root.join("run.json"), &serde_json::to_vec_pretty(facts)?)?;
        write_file(&root.join("config.toml"), config.as_bytes())?;
        Ok(Self { root: root.to_owned(), _lock: Some(lock) })
    }

    /// A run to go on with.
    ///
    /// # Errors
    /// If the folder holds none, or another process is writing it.
    pub(crate) fn resume(root: &Path) -> Result<Self> {
        let run = Self::open(root)?;
        Ok(Self { _lock: Some(lock(root)?), ..run })
    }

    /// A run that exists, to read.
    ///
    /// # Errors
    /// If the folder holds none.
    pub(crate) fn open(root: &Path) -> Result<Self> {
        if !root.join("config.toml").is_file() {
            let problem = format!("`{}` holds no run (no `config.toml`)", root.display());
            return Err(hint::error(problem, "start one with `--config`"));
        }
        Ok(Self { root: root.to_owned(), _lock: None })
    }

    /// A path inside the run.
    #[must_use]
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The resolved configuration.
    ///
    /// # Errors
    /// If it can't be read.
    pub(crate) fn config(&self) -> Result<String> {
        let path = self.path("config.toml");
        fs::read_to_string(&path).with_context(|| format!("reading `{}`", path.display()))
    }

    /// Writes a checkpoint and drops old ones.
    ///
    /// # Errors
    /// If it can't be written; earlier checkpoints are untouched then.
    pub(crate) fn save(
        &self,
        step: u64,
        state: &impl Serialize,
        model: &[u8],
        optim: &[u8],
    ) -> Result<()> {
        let folder = self.path("checkpoints");
        let (fresh, name) = (folder.join(".fresh"), format!("step-{step:06}"));
        let seal =
            Seal { step, model_sha256: hex_sha256(model), optim_sha256: hex_sha256(optim), state };
        let write = || -> Result<()> {
            if fresh.exists() {
                fs::remove_dir_all(&fresh)?;
            }
            fs::create_dir_all(&fresh)?;
            write_file(&fresh.join("model.safetensors"), model)?;
            write_file(&fresh.join("optim.safetensors"), optim)?;
            write_file(&fresh.join("state.json"), &serde_json::to_vec(&seal)?)?;
            let target = folder.join(&name);
            if target.exists() {
                fs::remove_dir_all(&target)?;
            }
            fs::rename(&fresh, &target)?;
            sync_folder(&folder)?;
            write_file(&self.path("latest"), format!("{step}\n").as_bytes())
        };
        write().with_context(|| {
            drop(fs::remove_dir_all(&fresh)); // what is left of it would take room for nothing
            format!("writing checkpoint `{name}` in `{}`; {}", folder.display(), self.last_good())
        })?;
        self.drop_old()
    }

    /// Which checkpoint is the newest whole one, for the end of an error.
    #[must_use]
    pub(crate) fn last_good(&self) -> String {
        let known = self.checkpoints().unwrap_or_default();
        let whole = |path: &Path| read_checkpoint::<serde_json::Value>(path).is_ok();
        match known.into_iter().rev().find(|(_, path)| whole(path)) {
            Some((_, path)) => format!("the last good checkpoint is `{}`", path.display()),
            None => "there is no checkpoint yet".into(),
        }
    }

    /// What is known of the run (`run.json`).
    ///
    /// # Errors
    /// If it can't be read.
    pub(crate) fn facts(&self) -> Result<serde_json::Value> {
        let path = self.path("run.json");
        let bytes = fs::read(&path).with_context(|| format!("reading `{}`", path.display()))?;
        serde_json::from_slice(&bytes).with_context(|| format!("in `{}`", path.display()))
    }

    /// The newest whole checkpoint; torn ones are skipped with a warning on stderr.
    ///
    /// # Errors
    /// If the folder can't be listed.
    pub(crate) fn load<S: DeserializeOwned>(&self) -> Result<Option<Checkpoint<S>>> {
        for (step, path) in self.checkpoints()?.into_iter().rev() {
            match read_checkpoint(&path) {
                Ok(checkpoint) => return Ok(Some(checkpoint)),
                Err(problem) => eprintln!(
                    "warning: checkpoint of step {step} is torn ({problem:#}); the one before is used"
                ),
            }
        }
        Ok(None)
    }

    /// Adds one line to `metrics.jsonl`, and its numbers to `events/`.
    ///
    /// # Errors
    /// If it can't be written.
    pub(crate) fn log<T: Serialize>(&self, line: &T) -> Result<()> {
        self.append("metrics.jsonl", std::slice::from_ref(line))?;
        events::append(&self.root, &serde_json::to_value(line)?)
    }

    /// Adds lines of JSON to a file.
    ///
    /// # Errors
    /// If it can't be written.
    pub(crate) fn append(&self, name: &str, lines: &[impl Serialize]) -> Result<()> {
        let path = self.path(name);
        let mut text = String::new();
        for line in lines {
            text += &serde_json::to_string(line)?;
            text.push('\n');
        }
        let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
        file.write_all(text.as_bytes()).with_context(|| format!("writing `{}`", path.display()))
    }

    /// Cuts `metrics.jsonl` and `events/` to steps below `step`: what an uninterrupted run would hold.
    ///
    /// # Errors
    /// If it can't be rewritten.
    pub(crate) fn truncate_metrics(&self, step: u64) -> Result<()> {
        events::truncate(&self.root, step)?;
        self.truncate_lines("metrics.jsonl", "step", step)
    }

    /// Cuts a file of JSON lines to those whose `key` is below `step`; a torn line goes.
    ///
    /// # Errors
    /// If it can't be rewritten.
    pub(crate) fn truncate_lines(&self, name: &str, key: &str, step: u64) -> Result<()> {
        let path = self.path(name);
        if !path.exists() {
            return Ok(());
        }
        let mut kept = String::new();
        for line in BufReader::new(File::open(&path)?).lines() {
            let line = line?;
            let value: Option<serde_json::Value> = serde_json::from_str(&line).ok();
            let at = value.and_then(|value| value[key].as_u64());
            if at.is_some_and(|at| at < step) {
                kept.push_str(&line);
                kept.push('\n');
            }
        }
        write_file(&path, kept.as_bytes())
    }

    fn checkpoints(&self) -> Result<Vec<(u64, PathBuf)>> {
        let folder = self.path("checkpoints");
        let mut found = Vec::new();
        for entry in
            fs::read_dir(&folder).with_context(|| format!("listing `{}`", folder.display()))?
        {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Some(step) = name.strip_prefix("step-").and_then(|step| step.parse().ok()) {
                found.push((step, entry.path()));
            }
        }
        found.sort();
        Ok(found)
    }

    fn drop_old(&self) -> Result<()> {
        let found = self.checkpoints()?;
        for (_, path) in found.iter().rev().skip(KEEP) {
            fs::remove_dir_all(path).with_context(|| format!("dropping `{}`", path.display()))?;
        }
        Ok(())
    }
}

/// Makes this process the one that writes the run. The lock ends with the process, however it ends.
fn lock(root: &Path) -> Result<File> {
    let path = root.join("lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = file.with_context(|| format!("opening `{}`", path.display()))?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(hint::error(
            format!("another process is writing the run in `{}`", root.display()),
            "wait for it to end, or stop it first",
        )),
        // Not every file system has locks.
        Err(TryLockError::Error(_)) | Ok(()) => Ok(file),
    }
}

fn read_checkpoint<S: DeserializeOwned>(path: &Path) -> Result<Checkpoint<S>> {
    let read = |name: &str| fs::read(path.join(name)).with_context(|| format!("`{name}`"));
    let seal: Seal<S> = serde_json::from_slice(&read("state.json")?).context("`state.json`")?;
    let (model, optim) = (read("model.safetensors")?, read("optim.safetensors")?);
    if hex_sha256(&model) != seal.model_sha256 || hex_sha256(&optim) != seal.optim_sha256 {
        bail!("its files do not match their hashes");
    }
    Ok(Checkpoint { step: seal.step, state: seal.state, model, optim })
}

/// Writes a file whole or not at all: temporary name, sync, rename.
///
/// # Errors
/// Names the file and the reason; an earlier version of it is untouched then.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder =
        path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let write = || -> Result<()> {
        let mut file = readable_by_all().tempfile_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| anyhow!(error.error))?;
        sync_folder(folder)
    };
    write().with_context(|| format!("writing `{}`", path.display()))
}

/// Finds out whether [`write_file`] could write this file, before hours of work for it.
///
/// # Errors
/// Names the file and the reason.
pub(crate) fn check_writable(path: &Path) -> Result<()> {
    let folder =
        path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let writing = || format!("writing `{}`", path.display());
    drop(readable_by_all().tempfile_in(folder).with_context(writing)?);
    if path.is_dir() {
        return Err(std::io::Error::from(std::io::ErrorKind::IsADirectory)).with_context(writing);
    }
    Ok(())
}

/// Temporary files are private by default; results are files like any other.
fn readable_by_all() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o644));
    }
    builder
}

fn sync_folder(folder: &Path) -> Result<()> {
    // Not every file system syncs folders; the rename itself is what counts.
    if let Ok(folder) = File::open(folder) {
        folder.sync_all().or_else(|error| match error.kind() {
            std::io::ErrorKind::InvalidInput | std::io::ErrorKind::Unsupported => Ok(()),
            _ => Err(error),
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize, serde::Deserialize, PartialEq, Debug)]
    struct State {
        rate: f64,
    }

    fn run(folder: &Path) -> RunDir {
        let facts = serde_json::json!({"device": "flex"});
        RunDir::create(&folder.join("run"), "seed = 1\n", &facts, &[("weights/w", b"w")]).unwrap()
    }

    #[test]
    fn a_torn_checkpoint_is_skipped_and_old_ones_are_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let run = run(folder.path());
        assert!(run.load::<State>().unwrap().is_none());
        for step in 1..=5 {
            run.save(step, &State { rate: 0.1 / 3.0 * step as f64 }, &[step as u8; 9], b"moments")
                .unwrap();
        }
        assert_eq!(
            run.checkpoints().unwrap().iter().map(|(step, _)| *step).collect::<Vec<_>>(),
            [3, 4, 5]
        );
        let newest = run.path("checkpoints/step-000005/model.safetensors");
        fs::write(&newest, [5; 4]).unwrap();
        let loaded = run.load::<State>().unwrap().unwrap();
        assert_eq!((loaded.step, loaded.model), (4, vec![4; 9]));
        assert_eq!(loaded.state, State { rate: 0.1 / 3.0 * 4.0 }, "floats survive exactly");
    }

    #[test]
    fn metrics_are_cut_to_the_resumed_step() {
        let folder = tempfile::tempdir().unwrap();
        let run = run(folder.path());
        for step in 0..4 {
            run.log(&serde_json::json!({"step": step, "loss": 1.5})).unwrap();
        }
        run.truncate_metrics(2).unwrap();
        let text = fs::read_to_string(run.path("metrics.jsonl")).unwrap();
        assert_eq!(text, "{\"loss\":1.5,\"step\":0}\n{\"loss\":1.5,\"step\":1}\n");
    }

    #[test]
    fn a_folder_with_a_run_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        run(folder.path());
        let again = RunDir::create(&folder.path().join("run"), "", &0, &[]);
        assert!(again.err().unwrap().to_string().contains("already holds a run"));
        assert!(RunDir::open(folder.path()).is_err());
    }

    #[test]
    fn one_process_writes_a_run() {
        let folder = tempfile::tempdir().unwrap();
        let first = run(folder.path());
        let root = folder.path().join("run");
        let second = RunDir::resume(&root).err().unwrap().to_string();
        assert!(second.contains("another process is writing the run"), "{second}");
        assert!(RunDir::open(&root).is_ok(), "reading it is no harm");
        drop(first);
        assert!(RunDir::resume(&root).is_ok());
    }
}
