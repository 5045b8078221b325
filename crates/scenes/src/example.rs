//! One training or bench example: a scene, the sentence, what the judge accepts, one right answer.
//!
//! Types only; they are made by `dataset` and judged by `oracle`. Written to files exactly as the
//! bench format of `docs/SCENES.md` asks, one JSON object a line. Start at [`Example`].

use crate::scene::{Background, ClassId, Object, Scene, Style, Tint};
use serde::{Deserialize, Serialize};

/// Kind of edit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names say it; `docs/SCENES.md` defines each")]
pub enum Op {
    Add,
    Remove,
    Replace,
    Recolor,
    Background,
    Relation,
    Move,
    Resize,
    Count,
    Swap,
    Multi,
}

impl Op {
    /// All, simple ones first.
    pub const ALL: [Self; 11] = [
        Self::Add,
        Self::Remove,
        Self::Replace,
        Self::Recolor,
        Self::Background,
        Self::Relation,
        Self::Move,
        Self::Resize,
        Self::Count,
        Self::Swap,
        Self::Multi,
    ];
}

/// Which examples: training ones, or one of the four held-out sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// Training seeds, sentences and pairs.
    Train,
    /// New scenes, everything else as in training.
    Seen,
    /// Class × edit pairs never trained.
    Classes,
    /// Sentences never trained.
    Phrases,
    /// Another drawing style.
    Style,
}

/// What the judge accepts as a right answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// Background of the answer.
    pub background: Background,
    /// Indices of the source objects that must stand as they were.
    pub kept: Vec<usize>,
    /// Objects that must be there, each matched by its own detected object.
    pub new: Vec<NewObject>,
    /// Groups of source objects of which an exact number must stay.
    pub some: Vec<SomeOf>,
}

/// An object the answer must hold, with every box it may take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewObject {
    /// What it is.
    pub class: ClassId,
    /// Its tint; `None` is the natural colour.
    pub tint: Option<Tint>,
    /// Every accepted box as `[row, col, cells]`.
    pub places: Vec<[u8; 3]>,
}

/// Exactly `n` of the source objects `of` must stay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SomeOf {
    /// Indices of source objects.
    pub of: Vec<usize>,
    /// How many of them stay.
    pub n: usize,
}

/// One step of the reasoning: what the editor looks at or does, and where.
///
/// A plan reads in the order a person would do it: anchors are looked at first, then things go,
/// then things are drawn, then the background changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// An object the sentence refers to and that stays (the anchor of a relation).
    See(Object),
    /// An object that goes; its cells show the background.
    Erase(Object),
    /// An object that is drawn.
    Draw(Object),
    /// The background takes this colour.
    Background(Background),
}

/// One example, whole: everything is a function of (seed, index, split).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Example {
    /// `<split>-<index>`.
    pub id: String,
    /// Where it belongs.
    pub split: Split,
    /// Kind of edit.
    pub op: Op,
    /// Drawings of source and judge.
    pub style: Style,
    /// The source.
    pub scene: Scene,
    /// The sentence: lower-case words, `,` `.` `:` apart by blanks.
    pub instruction: String,
    /// What the judge accepts.
    pub check: Check,
    /// One right answer.
    pub target: Scene,
    /// The steps from `scene` to `target`; absent in bench files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plan: Vec<Step>,
}
