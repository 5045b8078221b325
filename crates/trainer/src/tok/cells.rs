//! The cells of all drawings.

use earl_model::config::BOX_CELLS;
use earl_scenes::{ClassId, Style, Tint, classes, sprite};

/// Pixels of a cell.
pub(crate) const PIXELS: usize = 64;

/// Which cell of which drawing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// Class of the drawing.
    pub class: ClassId,
    /// Its tint.
    pub tint: Option<Tint>,
    /// Cells a side.
    pub cells: u8,
    /// Row and column within the drawing.
    pub at: (u8, u8),
}

/// Every cell of every drawing that shows anything: premultiplied RGB, then coverage.
pub(crate) struct CellTable {
    /// Which cell each entry is.
    pub parts: Vec<Part>,
    /// `parts.len()` rows of `PIXELS · 4` values in `0..=1`.
    values: Vec<f32>,
}

impl CellTable {
    /// The cells of one style.
    #[must_use]
    pub(crate) fn new(style: Style) -> Self {
        let mut table = Self { parts: Vec::new(), values: Vec::new() };
        for class in classes() {
            let tints = if class.tintable { &Tint::ALL[..] } else { &[] };
            for tint in std::iter::once(None).chain(tints.iter().copied().map(Some)) {
                for cells in BOX_CELLS {
                    table.push_drawing(class.id, tint, cells as u8, style);
                }
            }
        }
        table
    }

    fn push_drawing(&mut self, class: ClassId, tint: Option<Tint>, cells: u8, style: Style) {
        let drawing = sprite(class, tint, cells, style);
        let side = usize::from(cells) * 8;
        for row in 0..usize::from(cells) {
            for col in 0..usize::from(cells) {
                let pixels = (0..PIXELS).map(|p| (row * 8 + p / 8) * side + col * 8 + p % 8);
                if pixels.clone().all(|at| drawing.alpha[at] <= 0.0) {
                    continue;
                }
                self.parts.push(Part { class, tint, cells, at: (row as u8, col as u8) });
                for at in pixels.clone() {
                    self.values.extend_from_slice(&drawing.rgb[at * 3..at * 3 + 3]);
                }
                self.values.extend(pixels.map(|at| drawing.alpha[at]));
            }
        }
    }

    /// Premultiplied colour and coverage of a cell, `PIXELS · 4` values.
    #[must_use]
    pub(crate) fn row(&self, index: usize) -> &[f32] {
        &self.values[index * PIXELS * 4..(index + 1) * PIXELS * 4]
    }
}
