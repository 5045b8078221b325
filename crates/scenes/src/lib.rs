//! The scene world: emoji on flat backgrounds, edits of them, and the oracle that judges an edit.
//!
//! ```text
//! (seed, index) → scene → edit → instruction, plan, check → pixels → oracle
//! ```
//! Nothing is downloaded and nothing is random but by seed. No tensor, no model. The world is
//! described in `docs/SCENES.md`.

mod bench;
mod class;
mod dataset;
mod edit;
mod example;
mod first;
mod generate;
mod instruct;
mod mask;
mod oracle;
mod place;
mod random;
mod refer;
mod render;
mod scene;
mod split;
mod sprite;

pub use bench::{BadLine, read_bench};
pub use class::{Class, classes};
pub use dataset::{OpWeights, TRAINING_REPEATS, example, scene_edits};
pub use example::{Check, Example, NewObject, Op, SomeOf, Split, Step};
pub use instruct::{MAX_WORDS, clause, fill, noun, plural, words};
pub use oracle::{Detection, Found, Score, detect, judge};
pub use render::render;
pub use scene::{
    Background, CANVAS_PX, CELL_PX, ClassId, GRID, OBJECT_CELLS, Object, Scene, Style, Tint,
};
pub use split::EVAL_SEED;
pub use sprite::{Sprite, sprite};
