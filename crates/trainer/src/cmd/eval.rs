//! `trainer eval`: models' scores on held-out edits or public benches, beside baselines and each other.

mod judging;
mod public;
mod scenes;

use crate::device::DeviceName;
use crate::run_dir::write_file;
use crate::store::Stored;
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use earl_benches::BenchMap;
use earl_model::{Editor, Mode};
use earl_scenes::Split;
use judging::JudgeName;
use std::path::{Path, PathBuf};

/// Flags of `eval`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The model: a bundle, a run or a safetensors file.
    #[arg(long)]
    model: PathBuf,
    /// Also score these models on the same examples and seeds, and say how far each lies from `--model`.
    #[arg(long, value_name = "MODEL", num_args = 1..)]
    compare: Vec<PathBuf>,
    /// `scenes`, or column maps of public benches (`benches/*.toml`), whose copies `--data` holds.
    #[arg(long, num_args = 1.., default_value = "scenes", value_parser = parse_bench)]
    bench: Vec<Bench>,
    /// A public bench's file, or the folder of its files; with several benches, a folder with one each, named as
    /// their maps are.
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// Held-out scenes: new ones, unseen pairs of classes, unseen sentences, another drawing style; several
    /// with commas.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [SplitName::Seen])]
    split: Vec<SplitName>,
    /// Scenes from this file instead, one JSON object a line.
    #[arg(long, value_name = "FILE", conflicts_with = "split")]
    bench_file: Option<PathBuf>,
    /// Most examples of a split or bench [default: 500 scenes, all of a public bench].
    #[arg(long)]
    limit: Option<usize>,
    /// Seed of the sampler; give several to score each example once a seed.
    #[arg(long, default_values_t = [0u64])]
    seed: Vec<u64>,
    /// Seed of the scenes.
    #[arg(long, default_value_t = 0)]
    data_seed: u64,
    /// How much of the picture the model writes.
    #[arg(long, value_enum, default_value_t)]
    mode: ModeName,
    /// 0 takes the likeliest token, 1 samples from the model.
    #[arg(long, default_value_t = 0.0)]
    temperature: f32,
    /// Also score the best of N sampled candidates: chosen by their likelihood, by the model's own verifier where it
    /// has one, and by the oracle, which knows (scenes).
    #[arg(long, value_name = "N", default_value_t = 1)]
    best_of: u64,
    /// Who says what is right [default: the oracle for scenes; public benches have none and are measured against
    /// their targets alone].
    #[arg(long, value_enum)]
    judge: Option<JudgeName>,
    /// Configuration whose `[judge]` is used (TOML).
    #[arg(long)]
    config: Option<PathBuf>,
    /// Base address of the judge's OpenAI-compatible server, up to `/v1`, instead of the configuration's.
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// The judge's name there, instead of the configuration's.
    #[arg(long, value_name = "NAME")]
    judge_model: Option<String>,
    /// Folder of the judge's answers by content, instead of the configuration's.
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Write every row, a page (report.html) and sheets of pictures (source, result, true edit) into this folder.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print one JSON object on stdout.
    #[arg(long)]
    json: bool,
}

/// Where examples come from.
#[derive(Clone, Debug)]
enum Bench {
    /// The scene world.
    Scenes,
    /// A public bench, by its map's file.
    Public(PathBuf),
}

fn parse_bench(name: &str) -> Result<Bench, String> {
    let path = PathBuf::from(name);
    match path.extension() {
        _ if name == "scenes" => Ok(Bench::Scenes),
        Some(extension) if extension == "toml" => Ok(Bench::Public(path)),
        _ => Err("it must be `scenes`, or a column map such as `benches/magicbrush.toml`".into()),
    }
}

/// Splits of the scene world.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum SplitName {
    /// New scenes, everything else as in training.
    #[default]
    Seen,
    /// Class × edit pairs never trained.
    Classes,
    /// Sentences never trained.
    Phrases,
    /// Another drawing style.
    Style,
    /// Training examples.
    Train,
}

impl SplitName {
    /// The split itself.
    #[must_use]
    pub(crate) fn split(self) -> Split {
        match self {
            Self::Seen => Split::Seen,
            Self::Classes => Split::Classes,
            Self::Phrases => Split::Phrases,
            Self::Style => Split::Style,
            Self::Train => Split::Train,
        }
    }
}

/// Modes of an edit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ModeName {
    /// The plan's boxes alone; everything outside them stays exactly.
    #[default]
    Local,
    /// Every code of the target.
    Full,
    /// A plan, then every code of the target.
    Think,
}

impl ModeName {
    /// The mode itself.
    #[must_use]
    pub(crate) fn mode(self) -> Mode {
        match self {
            Self::Local => Mode::Local,
            Self::Full => Mode::Full,
            Self::Think => Mode::Think,
        }
    }
}

/// A model to be scored.
struct Contestant {
    /// Its path, as given.
    name: String,
    /// Its hash.
    sha256: String,
    editor: Editor,
}

impl Contestant {
    fn open(path: &Path) -> Result<Self> {
        let stored = Stored::read(path)?;
        let editor = stored.editor(&DeviceName::Flex.open()?)?;
        Ok(Self { name: path.display().to_string(), sha256: stored.sha256, editor })
    }
}

/// Scores models.
///
/// # Errors
/// For a model, bench or judge that can't be used, and a folder that can't be written.
pub(crate) fn run(args: &Args) -> Result<()> {
    if args.best_of == 0 || args.limit == Some(0) || args.seed.is_empty() {
        bail!("`--best-of` and `--limit` must be at least 1");
    }
    let maps = maps(args)?;
    let judge = judging::open(args, maps.is_empty())?;
    let models: Vec<Contestant> = std::iter::once(&args.model)
        .chain(&args.compare)
        .map(|path| Contestant::open(path))
        .collect::<Result<_>>()?;
    if let Some(folder) = &args.out {
        let writing = || format!("writing into `{}`", folder.display());
        std::fs::create_dir_all(folder).with_context(writing)?;
        tempfile::tempfile_in(folder).with_context(writing)?;
    }
    if maps.is_empty() {
        return scenes::run(args, &models, judge.as_ref());
    }
    public::run(args, &maps, &models, judge.as_ref())
}

/// The maps of public benches with the names of their files; none for scenes.
fn maps(args: &Args) -> Result<Vec<(String, BenchMap)>> {
    let mut maps = Vec::new();
    for bench in &args.bench {
        let Bench::Public(path) = bench else { continue };
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("reading `{}`", path.display()))?;
        let map = BenchMap::parse(&text).with_context(|| format!("in `{}`", path.display()))?;
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        maps.push((stem.unwrap_or_default(), map));
    }
    if !maps.is_empty() && maps.len() < args.bench.len() {
        bail!("`--bench` mixes `scenes` with public benches; score them one after the other");
    }
    Ok(maps)
}

/// Lines of JSON and a page; sheets are the caller's.
fn write_out(folder: &Path, rows: &[serde_json::Value], report: &str, page: &str) -> Result<()> {
    let mut lines = String::new();
    for row in rows {
        lines += &format!("{row}\n");
    }
    write_file(&folder.join("rows.jsonl"), lines.as_bytes())?;
    write_file(&folder.join("report.json"), report.as_bytes())?;
    write_file(&folder.join("report.html"), page.as_bytes())?;
    eprintln!("rows, report and page: {}", folder.display());
    Ok(())
}
