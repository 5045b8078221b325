//! Training batches: scenes and their edits as token ids, labels of the seeing loss, all from a seed.

use super::codes::CodeTable;
use super::config::{Answer, DataConfig};
use anyhow::{Context, Result, bail};
use earl_model::config::BOX_CELLS;
use earl_model::sample::rng::{Key, uniform};
use earl_model::sequence::{self, Placed, ProgramLayout, Step, Vocabulary, grammar};
use earl_model::{CodeGrid, Mode, TokenId};
use earl_scenes::{self as scenes, Example, Object, Scene};
use std::ops::Range;

/// One step's data.
pub(crate) struct Batch {
    /// Source pictures.
    pub sources: Vec<CodeGrid>,
    /// What each source cell shows, `sources · cells`.
    pub labels: Vec<CellLabel>,
    /// Edits, those of one source together.
    pub edits: Vec<Edit>,
}

/// What is read at once: neighbouring sources and their edits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pass {
    /// Indices of the sources.
    pub sources: Range<usize>,
    /// Indices of the edits.
    pub edits: Range<usize>,
}

impl Batch {
    /// Tokens of all pictures, sentences and programs, each read once.
    #[must_use]
    pub(crate) fn tokens(&self) -> usize {
        let edit = |edit: &Edit| edit.words.len() + edit.program.inputs.len();
        let pictures = self.sources.iter().map(|source| source.codes.len());
        pictures.chain(self.edits.iter().map(edit)).sum()
    }

    /// Cuts the batch into passes of whole sources, of at most `most` edits if one source's are not
    /// more than that.
    #[must_use]
    pub(crate) fn passes(&self, most: usize) -> Vec<Pass> {
        let mut passes: Vec<Pass> = Vec::new();
        let mut end = 0;
        for source in 0..self.sources.len() {
            let start = end;
            end += self.edits[start..].iter().take_while(|edit| edit.source == source).count();
            match passes.last_mut() {
                Some(pass) if end - pass.edits.start <= most => {
                    (pass.sources.end, pass.edits.end) = (source + 1, end);
                }
                _ => passes.push(Pass { sources: source..source + 1, edits: start..end }),
            }
        }
        passes
    }
}

/// One edit of one of the sources.
pub(crate) struct Edit {
    /// Index of its source.
    pub source: usize,
    /// Indices of its words.
    pub words: Vec<usize>,
    /// Its program.
    pub program: ProgramLayout,
}

/// What a source cell shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CellLabel {
    /// The word: the object's name or the background's colour.
    pub name: TokenId,
    /// 0 natural or background, then the tints.
    pub tint: usize,
    /// Sprite part, or `grammar::PARTS` for the background.
    pub part: usize,
    /// Does a free box of each size start here?
    pub free: [bool; BOX_CELLS.len()],
}

/// Makes batches; everything is a function of (seed, step).
pub(crate) struct BatchMaker<'a> {
    /// Ids.
    pub vocabulary: &'a Vocabulary,
    /// Codes of drawings.
    pub codes: &'a CodeTable,
    /// Settings.
    pub config: &'a DataConfig,
}

impl BatchMaker<'_> {
    /// The batch of a step.
    ///
    /// # Errors
    /// If an example can't be written with the model's words: a defect, never a matter of luck.
    pub(crate) fn make(&self, step: u64) -> Result<Batch> {
        let config = self.config;
        let scenes = (0..config.scenes_per_step as u64).map(|at| {
            let index = step * config.scenes_per_step as u64 + at;
            let (edits, weights) = (config.edits_per_scene, config.op_weights());
            scenes::scene_edits(config.seed, index, edits, &weights, config.repeats)
        });
        self.assemble(scenes, step)
    }

    /// A batch of given examples, each inner list of one scene.
    ///
    /// # Errors
    /// As [`BatchMaker::make`].
    pub(crate) fn assemble(
        &self,
        scenes: impl Iterator<Item = Vec<Example>>,
        step: u64,
    ) -> Result<Batch> {
        let config = self.config;
        let (mut sources, mut labels, mut edits) = (Vec::new(), Vec::new(), Vec::new());
        for (at, examples) in scenes.enumerate() {
            let index = step * config.scenes_per_step as u64 + at as u64;
            let Some(first) = examples.first() else {
                continue;
            };
            let source = sources.len();
            sources.push(self.codes.scene(&first.scene));
            labels.extend(cell_labels(self.vocabulary, &first.scene)?);
            for (edit, example) in examples.iter().enumerate() {
                let mode = self.mode(index, edit as u64);
                let mut made = self.edit(source, example, mode).with_context(|| {
                    format!("example {} of scene {index}: `{}`", edit, example.instruction)
                })?;
                let key =
                    Key { seed: config.seed, purpose: 22, index, position: edit as u64, token: 0 };
                leave_out(&mut made.words, config.words_left_out, self.vocabulary, key);
                edits.push(made);
            }
        }
        Ok(Batch { sources, labels, edits })
    }

    fn mode(&self, scene: u64, edit: u64) -> Mode {
        let key =
            Key { seed: self.config.seed, purpose: 21, index: scene, position: edit, token: 0 };
        let draw = uniform(key);
        match draw {
            _ if draw < self.config.full_share => Mode::Full,
            _ if draw < self.config.full_share + self.config.think_share => Mode::Think,
            _ => Mode::Local,
        }
    }

    /// One example as token ids.
    ///
    /// # Errors
    /// If a word or name is not in the vocabulary.
    pub(crate) fn edit(&self, source: usize, example: &Example, mode: Mode) -> Result<Edit> {
        let example = match self.config.alike {
            Answer::Any => example,
            Answer::First => &example.clone().first_alike(),
        };
        let words = self.vocabulary.text().encode(&example.instruction)?;
        let steps = self.steps(example, mode)?;
        let first = mode == Mode::Full && self.config.full_answer == Answer::First;
        let answer = if first { &example.first_answer() } else { &example.target };
        let picture = self.codes.target(&example.scene, answer);
        let tokens = sequence::write(self.vocabulary, mode, &steps, &picture.codes)?;
        let program = sequence::program_layout(self.vocabulary, mode, &tokens)?;
        Ok(Edit { source, words, program })
    }

    /// The example's plan as a program's steps.
    ///
    /// # Errors
    /// If a name is not in the vocabulary.
    pub(crate) fn steps(&self, example: &Example, mode: Mode) -> Result<Vec<Step>> {
        let step = |step: &scenes::Step| -> Result<Step> {
            Ok(match step {
                scenes::Step::See(object) => Step::See(placed(self.vocabulary, object)?),
                scenes::Step::Erase(object) => Step::Erase(placed(self.vocabulary, object)?),
                scenes::Step::Draw(object) => {
                    let codes = match mode {
                        Mode::Local => self.codes.draw(object, example.scene.background),
                        Mode::Full | Mode::Think => Vec::new(),
                    };
                    Step::Draw(placed(self.vocabulary, object)?, codes)
                }
                scenes::Step::Background(background) => {
                    let code = (mode == Mode::Local).then(|| self.codes.flat(*background));
                    Step::Background(word(self.vocabulary, background.name())?, code)
                }
            })
        };
        example.plan.iter().map(step).collect()
    }
}

/// Leaves out a share of a sentence's words, drawn by `key`, but none that names a thing, a tint or a background.
fn leave_out(words: &mut Vec<usize>, share: f64, vocabulary: &Vocabulary, key: Key) {
    if share == 0.0 {
        return;
    }
    let names = [vocabulary.names(), vocabulary.tints(), vocabulary.backgrounds()];
    let stays = |&(at, &word): &(usize, &usize)| {
        let token = vocabulary.word(word);
        uniform(Key { token: at as u64, ..key }) >= share
            || names.iter().any(|names| names.contains(&token))
    };
    let left: Vec<usize> = words.iter().enumerate().filter(stays).map(|(_, &word)| word).collect();
    if !left.is_empty() {
        *words = left;
    }
}

fn placed(vocabulary: &Vocabulary, object: &Object) -> Result<Placed> {
    Ok(Placed {
        name: vocabulary.names()[usize::from(object.class.0)],
        tint: object.tint.map(|tint| word(vocabulary, tint.name())).transpose()?,
        row: usize::from(object.row),
        col: usize::from(object.col),
        cells: usize::from(object.cells),
    })
}

fn word(vocabulary: &Vocabulary, word: &str) -> Result<TokenId> {
    match vocabulary.word_named(word) {
        Some(token) => Ok(token),
        None => bail!("the model has no word `{word}`"),
    }
}

fn cell_labels(vocabulary: &Vocabulary, scene: &Scene) -> Result<Vec<CellLabel>> {
    let side = usize::from(scenes::GRID);
    let ground = word(vocabulary, scene.background.name())?;
    let blank =
        CellLabel { name: ground, tint: 0, part: grammar::PARTS, free: [false; BOX_CELLS.len()] };
    let mut labels = vec![blank; side * side];
    for object in &scene.objects {
        let cells = usize::from(object.cells);
        for at in 0..cells * cells {
            let cell = (usize::from(object.row) + at / cells) * side
                + usize::from(object.col)
                + at % cells;
            labels[cell].name = vocabulary.names()[usize::from(object.class.0)];
            labels[cell].tint = object.tint.map_or(0, |tint| 1 + tint as usize);
            labels[cell].part = grammar::part(cells, at / cells, at % cells);
        }
    }
    for cell in 0..side * side {
        for (size, &cells) in BOX_CELLS.iter().enumerate() {
            let (row, col) = (cell / side, cell % side);
            let inside = row + cells <= side && col + cells <= side;
            labels[cell].free[size] = inside
                && (0..cells * cells).all(|at| {
                    labels[(row + at / cells) * side + col + at % cells].part == grammar::PARTS
                });
        }
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sft::codes::tests::shipped;
    use earl_scenes::{Op, Split};

    #[test]
    fn passes_hold_whole_sources() {
        let edit = |source| Edit { source, words: Vec::new(), program: ProgramLayout::default() };
        let grid = || CodeGrid { height: 0, width: 0, codes: Vec::new() };
        let batch = Batch {
            sources: (0..4).map(|_| grid()).collect(),
            labels: Vec::new(),
            edits: [0, 0, 1, 1, 1, 1, 1, 2, 3].map(edit).into(),
        };
        let pass = |sources, edits| Pass { sources, edits };
        assert_eq!(batch.passes(9), [pass(0..4, 0..9)]);
        assert_eq!(batch.passes(4), [pass(0..1, 0..2), pass(1..2, 2..7), pass(2..4, 7..9)]);
        assert_eq!(batch.passes(1).len(), 4);
    }

    #[test]
    fn only_whole_pictures_without_a_plan_are_taught_the_first_answer() {
        let (model, _, codes) = shipped();
        let vocabulary = Vocabulary::new(&model);
        let example = scenes::example(3, 0, Split::Train, Some(Op::Add));
        assert_ne!(example.target, example.first_answer());
        let picture = |full_answer, mode| {
            let config = DataConfig { full_answer, ..DataConfig::default() };
            let maker = BatchMaker { vocabulary: &vocabulary, codes: &codes, config: &config };
            maker.edit(0, &example, mode).unwrap().program.inputs
        };
        let [any, first] = [Answer::Any, Answer::First]
            .map(|answer| [Mode::Full, Mode::Think, Mode::Local].map(|mode| picture(answer, mode)));
        assert_ne!(any[0], first[0]);
        assert_eq!(any[1..], first[1..]);
    }

    #[test]
    fn of_several_alike_plans_are_taught_to_erase_the_first() {
        let (model, _, codes) = shipped();
        let vocabulary = Vocabulary::new(&model);
        let mut counts =
            (0..).map(|index| scenes::example(3, index, Split::Train, Some(Op::Count)));
        let example = counts.find(|example| example.clone().first_alike() != *example).unwrap();
        let program = |alike, example: &Example, mode| {
            let config = DataConfig { alike, ..DataConfig::default() };
            let maker = BatchMaker { vocabulary: &vocabulary, codes: &codes, config: &config };
            maker.edit(0, example, mode).unwrap().program.inputs
        };
        let first = example.clone().first_alike();
        for mode in [Mode::Local, Mode::Think] {
            assert_ne!(
                program(Answer::First, &example, mode),
                program(Answer::Any, &example, mode)
            );
            assert_eq!(program(Answer::First, &example, mode), program(Answer::Any, &first, mode));
        }
    }

    #[test]
    fn words_are_left_out_but_never_what_they_name() {
        let config = crate::config::RunConfig::parse("").unwrap().model_config().unwrap();
        let vocabulary = Vocabulary::new(&config);
        let sentence = "please paint the football red and make the background blue";
        let whole = vocabulary.text().encode(sentence).unwrap();
        let left = |share, index| {
            let mut words = whole.clone();
            let key = Key { seed: 3, purpose: 22, index, position: 0, token: 0 };
            leave_out(&mut words, share, &vocabulary, key);
            words.iter().map(|&word| vocabulary.text().words()[word].as_str()).collect::<Vec<_>>()
        };
        assert_eq!(left(0.0, 1).join(" "), sentence);
        assert_eq!(left(1.0, 1), ["football", "red", "blue"]);
        assert_eq!(left(0.3, 5), left(0.3, 5), "the same draw for the same edit");
        let kept: usize = (0..200).map(|index| left(0.3, index).len() - 3).sum();
        assert!((820..1140).contains(&kept), "{kept} of 1,400 others at 0.7");
        let mut nameless = vocabulary.text().encode("please make it").unwrap();
        leave_out(
            &mut nameless,
            1.0,
            &vocabulary,
            Key { seed: 3, purpose: 22, index: 0, position: 0, token: 0 },
        );
        assert_eq!(nameless.len(), 3, "a sentence is never empty");
    }
}
