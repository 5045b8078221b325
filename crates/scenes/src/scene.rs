//! What is where: the types of the scene world. Data only; drawing is in `render`, edits in `edit`.
//!
//! Place in the flow: **scene** → edit → instruction, plan, check → pixels → oracle.
//! Source: the world's description in `docs/SCENES.md`. Start at [`Scene`].

use serde::{Deserialize, Serialize};

/// Cells along one side of the canvas.
pub const GRID: u8 = 8;
/// Pixels along one side of a cell.
pub const CELL_PX: u32 = 8;
/// Pixels along one side of the canvas.
pub const CANVAS_PX: u32 = GRID as u32 * CELL_PX;
/// Side lengths an object may have, in cells: small, medium, large.
pub const OBJECT_CELLS: [u8; 3] = [2, 3, 4];

/// One of the 100 classes of `assets/classes.json`; the number is the class's `id` there.
///
/// Written in files as the class's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ClassId(pub u8);

/// A colour an object of a tintable class may take instead of its natural one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names say it")]
pub enum Tint {
    Red,
    Orange,
    Yellow,
    Green,
    Blue,
    Purple,
}

/// One of the ten flat background colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names say it")]
pub enum Background {
    White,
    Grey,
    Black,
    Pink,
    Orange,
    Yellow,
    Green,
    Blue,
    Purple,
    Brown,
}

/// The set of drawings a scene is rendered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Style {
    /// Microsoft's Fluent Emoji in 3-D: the training style.
    #[serde(rename = "fluent_3d")]
    Fluent3d,
    /// Microsoft's Fluent Emoji, flat: an optional second style.
    FluentFlat,
    /// Google's Noto emoji: never trained on.
    Noto,
}

/// One drawing in a scene: `cells` × `cells` whole cells with the upper left one at (`row`, `col`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Object {
    /// What it is.
    pub class: ClassId,
    /// Its tint; `None` is the natural colour.
    pub tint: Option<Tint>,
    /// Topmost row of its box, in cells.
    pub row: u8,
    /// Leftmost column of its box, in cells.
    pub col: u8,
    /// Side of its box, in cells: 2, 3 or 4.
    pub cells: u8,
}

/// A flat background and the objects on it; their boxes never overlap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scene {
    /// Colour behind everything.
    pub background: Background,
    /// Objects in drawing order.
    pub objects: Vec<Object>,
}
