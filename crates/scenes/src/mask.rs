//! Edit masks: the cells an edit may touch.

use crate::example::Example;
use crate::scene::{CANVAS_PX, CELL_PX, GRID};
use image::{GrayImage, Luma};

/// Cells of the canvas, row by row.
const CELLS: usize = GRID as usize * GRID as usize;

impl Example {
    /// Cells that some right answer may change: the boxes of objects that go and every place a new one
    /// may take; all of them with a new background.
    #[must_use]
    pub fn may_change(&self) -> [bool; CELLS] {
        let mut cells = [self.check.background != self.scene.background; CELLS];
        let objects = self.scene.objects.iter().enumerate();
        let gone = objects.filter(|(at, _)| !self.check.kept.contains(at));
        let gone = gone.map(|(_, object)| [object.row, object.col, object.cells]);
        let new = self.check.new.iter().flat_map(|new| new.places.iter().copied());
        for [row, col, side] in gone.chain(new) {
            for at in 0..side * side {
                cells[usize::from(row + at / side) * usize::from(GRID)
                    + usize::from(col + at % side)] = true;
            }
        }
        cells
    }

    /// The same as a picture of the canvas: 255 where a pixel may change, else 0.
    #[must_use]
    pub fn mask(&self) -> GrayImage {
        let cells = self.may_change();
        GrayImage::from_fn(CANVAS_PX, CANVAS_PX, |x, y| {
            let cell = (y / CELL_PX) as usize * usize::from(GRID) + (x / CELL_PX) as usize;
            Luma([if cells[cell] { 255 } else { 0 }])
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::{Op, Split, example, render};

    #[test]
    fn a_true_edit_changes_nothing_outside_its_mask() {
        for (index, op) in (0..).zip(Op::ALL.into_iter().cycle().take(110)) {
            let made = example(9, index, Split::Seen, Some(op));
            let (source, target) =
                (render(&made.scene, made.style), render(&made.target, made.style));
            let mask = made.mask();
            let mut changed = 0;
            for (x, y, pixel) in source.enumerate_pixels() {
                let same = pixel == target.get_pixel(x, y);
                changed += usize::from(!same);
                assert!(same || mask.get_pixel(x, y).0[0] == 255, "{}", made.instruction);
            }
            assert!(changed > 0, "{}", made.instruction);
        }
    }
}
