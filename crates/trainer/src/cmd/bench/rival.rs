//! The rival: PyTorch in a process of its own, asked line by line, so that the two run in turns.
//!
//! The scripts of `benches/torch` are part of this program and are laid into a temporary folder beside
//! what they read: sizes, weights and batches. Start at [`Rival::start`].

use super::clock::Lap;
use crate::hint;
use anyhow::{Context, Result, bail};
use earl_model::checkpoint::{TensorMap, safetensors};
use earl_model::lm::Chunk;
use earl_model::sequence::{Vocabulary, grammar};
use earl_model::{CodeGrid, ModelConfig, sequence};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use tempfile::TempDir;

/// The flag that names the rival.
#[derive(Debug, clap::Args)]
pub(super) struct RivalArgs {
    /// A Python with PyTorch (`benches/torch/requirements.txt`); without it `EARL_TORCH_PYTHON`, then `python3`.
    #[arg(long, value_name = "PYTHON")]
    torch: Option<String>,
}

const SCRIPTS: [(&str, &str); 4] = [
    ("model.py", include_str!("../../../../../benches/torch/model.py")),
    ("sft.py", include_str!("../../../../../benches/torch/sft.py")),
    ("decode.py", include_str!("../../../../../benches/torch/decode.py")),
    ("tok.py", include_str!("../../../../../benches/torch/tok.py")),
];

impl RivalArgs {
    /// A Python that imports PyTorch; `None`, with a line on stderr, if nobody named one and
    /// `python3` does not.
    ///
    /// # Errors
    /// If the Python that was named does not import PyTorch.
    pub(super) fn python(&self) -> Result<Option<String>> {
        let named = self.torch.clone().or_else(|| std::env::var("EARL_TORCH_PYTHON").ok());
        let python = named.clone().unwrap_or_else(|| "python3".into());
        let tried = Command::new(&python).args(["-c", "import torch"]).output();
        let problem = match tried {
            Ok(output) if output.status.success() => return Ok(Some(python)),
            Ok(output) => {
                let text = String::from_utf8_lossy(&output.stderr);
                text.lines().last().unwrap_or("it ended without a word").to_owned()
            }
            Err(problem) => problem.to_string(),
        };
        let message = format!("`{python}` does not import PyTorch: {problem}");
        let advice = "`pip install -r benches/torch/requirements.txt` in a virtual environment, then `--torch` or `EARL_TORCH_PYTHON` names its Python";
        if named.is_some() {
            return Err(hint::error(message, advice));
        }
        eprintln!("PyTorch is skipped: {message}\nhint: {advice}");
        Ok(None)
    }
}

/// A running script.
pub(super) struct Rival {
    child: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    /// Removed at the end.
    _folder: TempDir,
}

impl Rival {
    /// Starts a script on `threads` threads, with what it reads: `spec` and the weights.
    ///
    /// # Errors
    /// If the temporary folder can't be written or Python can't be started.
    pub(super) fn start(
        python: &str,
        script: &str,
        mut spec: Value,
        weights: &TensorMap,
    ) -> Result<Self> {
        let folder = tempfile::tempdir().context("making a temporary folder")?;
        for (name, text) in SCRIPTS {
            fs::write(folder.path().join(name), text)?;
        }
        let threads = rayon::current_num_threads();
        let path = folder.path().join("weights.safetensors");
        fs::write(&path, safetensors::write(weights, "")?)?;
        spec["weights"] = path.to_string_lossy().into();
        spec["threads"] = threads.into();
        let path = folder.path().join("spec.json");
        fs::write(&path, serde_json::to_vec(&spec)?)?;
        let mut child = Command::new(python)
            .args([folder.path().join(script), path])
            .env("OMP_NUM_THREADS", threads.to_string())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting `{python}`"))?;
        let requests = child.stdin.take();
        let Some(answers) = child.stdout.take() else { bail!("`{python}` has no stdout") };
        Ok(Self { child, requests, answers: BufReader::new(answers), _folder: folder })
    }

    /// One request, one answer.
    ///
    /// # Errors
    /// If the script has ended, or answers no JSON.
    pub(super) fn ask(&mut self, request: &Value) -> Result<Value> {
        let Some(requests) = &mut self.requests else { bail!("the script takes no requests") };
        writeln!(requests, "{request}").context("asking PyTorch")?;
        requests.flush().context("asking PyTorch")?;
        let mut line = String::new();
        self.answers.read_line(&mut line).context("reading PyTorch's answer")?;
        serde_json::from_str(&line)
            .with_context(|| format!("PyTorch answered `{}` to {request}", line.trim()))
    }
}

impl Drop for Rival {
    fn drop(&mut self) {
        // The script ends when nobody can ask any more.
        self.requests = None;
        if let Err(problem) = self.child.wait() {
            eprintln!("warning: PyTorch's process did not end: {problem}");
        }
    }
}

/// A number of an answer.
///
/// # Errors
/// If it is not there.
pub(super) fn number(answer: &Value, key: &str) -> Result<f64> {
    answer[key].as_f64().with_context(|| format!("PyTorch's answer has no number `{key}`"))
}

/// The time an answer says it took.
///
/// # Errors
/// If it says none.
pub(super) fn lap(answer: &Value) -> Result<Lap> {
    Ok(Lap { wall: number(answer, "seconds")?, cpu: number(answer, "cpu_seconds")? })
}

/// The model's sizes under the names the scripts use.
///
/// # Errors
/// If they can't be written as JSON.
pub(super) fn sizes(model: &ModelConfig) -> Result<Value> {
    let vocabulary = Vocabulary::new(model);
    let mut sizes = serde_json::to_value(&model.lm)?;
    sizes["grid"] = model.vision.grid.into();
    sizes["parts"] = grammar::PARTS.into();
    sizes["control_len"] = vocabulary.control_len().into();
    sizes["first_cell"] = vocabulary.first_cell().into();
    Ok(sizes)
}

/// A segment's tokens, times and slots (−1 for none).
pub(super) fn segment(chunk: &Chunk) -> Value {
    let place = |at: Option<usize>| at.map_or(-1, |at| at as i64);
    let slots = chunk.slots.iter().map(|slot| [slot.row, slot.col, slot.part].map(place));
    json!({
        "ids": chunk.ids.iter().map(|id| id.0).collect::<Vec<_>>(),
        "times": chunk.times,
        "slots": slots.collect::<Vec<_>>(),
    })
}

/// A picture's segment.
pub(super) fn source(vocabulary: &Vocabulary, picture: &CodeGrid) -> Value {
    segment(&sequence::source_chunk(vocabulary, &[picture]))
}

/// A sentence's segment.
pub(super) fn words(vocabulary: &Vocabulary, words: &[usize]) -> Value {
    segment(&sequence::words_chunk(vocabulary, &[words]))
}
