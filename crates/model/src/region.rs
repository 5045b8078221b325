//! The part of a picture that may change, and the cells it touches.

use crate::config::VqConfig;
use crate::error::ModelError;
use crate::ids::CodeGrid;
use crate::image::frame;
use image::RgbImage;
use serde::{Deserialize, Serialize};

/// Pixels of the picture that may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Region {
    /// From the left.
    pub x: u32,
    /// From the top.
    pub y: u32,
    /// At least 1.
    pub width: u32,
    /// At least 1.
    pub height: u32,
}

/// How one side of a picture lies on cells.
struct Side {
    /// Pixels of the picture.
    pixels: u32,
    /// Units it is fitted to, and those before it.
    fitted: u32,
    before: u32,
    /// Units of a cell, and cells of the side.
    cell: u32,
    cells: usize,
}

impl Side {
    /// The cells that pixels `from..to` touch.
    fn touched(&self, from: u32, to: u32) -> impl Fn(usize) -> bool {
        let unit = |at: u32| u64::from(at) * u64::from(self.fitted);
        let pixels = u64::from(self.pixels.max(1));
        let (first, end) = (unit(from) / pixels, unit(to).div_ceil(pixels));
        let cell = |at: u64| (u64::from(self.before) + at) / u64::from(self.cell);
        let touched = cell(first)..=cell(end.max(first + 1) - 1);
        move |at| touched.contains(&(at as u64))
    }
}

impl Region {
    /// The cells of a tiny model's canvas that it touches in a picture of this size, row by row.
    ///
    /// # Errors
    /// [`ModelError::Option`] if it is empty or reaches beyond the picture.
    pub fn cells_of_canvas(
        self,
        picture: (u32, u32),
        vision: &VqConfig,
    ) -> Result<Vec<bool>, ModelError> {
        let frame = frame(picture.0, picture.1, vision.canvas() as u32);
        let side = |pixels, fitted, before| {
            let (cell, cells) = (vision.patch as u32, vision.grid);
            Side { pixels, fitted, before, cell, cells }
        };
        let across = side(picture.0, frame.width, frame.left);
        self.cells(&across, &side(picture.1, frame.height, frame.top))
    }

    /// The codes it touches, row by row, in a grid over a picture of this size.
    ///
    /// # Errors
    /// [`ModelError::Option`] if it is empty or reaches beyond the picture.
    pub(crate) fn cells_of_grid(
        self,
        picture: (u32, u32),
        grid: &CodeGrid,
    ) -> Result<Vec<bool>, ModelError> {
        let side = |pixels, cells: usize| {
            let fitted = cells as u32;
            Side { pixels, fitted, before: 0, cell: 1, cells }
        };
        self.cells(&side(picture.0, grid.width), &side(picture.1, grid.height))
    }

    fn cells(self, across: &Side, down: &Side) -> Result<Vec<bool>, ModelError> {
        let (right, bottom) =
            (self.x.saturating_add(self.width), self.y.saturating_add(self.height));
        let (wide, high) = (across.pixels, down.pixels);
        if self.width == 0 || self.height == 0 || right > wide || bottom > high {
            let problem = format!("ends at {right},{bottom}; the picture has {wide}×{high} pixels");
            return Err(ModelError::Option { name: "region", problem });
        }
        let (column, row) = (across.touched(self.x, right), down.touched(self.y, bottom));
        let cell = |at: usize| row(at / across.cells) && column(at % across.cells);
        Ok((0..down.cells * across.cells).map(cell).collect())
    }
}

/// Puts the source's own pixels where no cell was open; a row has `columns` cells of `side` × `side` pixels.
pub(crate) fn keep_outside(
    result: &mut RgbImage,
    source: &RgbImage,
    open: &[bool],
    columns: usize,
    side: u32,
) {
    let (width, height) = result.dimensions();
    for y in 0..height {
        for x in 0..width {
            let cell = (y / side) as usize * columns + (x / side) as usize;
            if !open.get(cell).copied().unwrap_or(false) {
                result.put_pixel(x, y, *source.get_pixel(x, y));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::CodeId;

    #[test]
    fn a_region_opens_the_codes_it_touches() {
        let grid = CodeGrid { height: 2, width: 4, codes: vec![CodeId(0); 8] };
        let region = Region { x: 9, y: 0, width: 8, height: 5 };
        // Codes of 8 pixels: columns 1 and 2 of the first row.
        let open = region.cells_of_grid((32, 16), &grid).unwrap();
        assert_eq!(open, [false, true, true, false, false, false, false, false]);
        assert!(region.cells_of_grid((16, 16), &grid).is_err());
        assert!(Region { width: 0, ..region }.cells_of_grid((32, 16), &grid).is_err());
    }

    #[test]
    fn a_region_of_a_fitted_picture_opens_cells_of_the_canvas() {
        let vision = VqConfig { grid: 8, patch: 8, codebook_size: 1 };
        let open = |region: Region, picture| {
            let cells = region.cells_of_canvas(picture, &vision).unwrap();
            let cells = (0..64).filter(|&at| cells[at]).map(|at| (at / 8, at % 8));
            cells.collect::<Vec<_>>()
        };
        // 200 × 100 lies on rows 16 to 47 of the canvas: a pixel is 0.32 of the canvas's.
        let all = open(Region { x: 0, y: 0, width: 200, height: 100 }, (200, 100));
        assert_eq!((all.len(), all[0], all[31]), (32, (2, 0), (5, 7)));
        let one = Region { x: 199, y: 99, width: 1, height: 1 };
        assert_eq!(open(one, (200, 100)), [(5, 7)]);
        // A pixel of a picture of 2 × 2 is 4 × 4 cells.
        let quarter = open(Region { x: 1, y: 0, width: 1, height: 1 }, (2, 2));
        assert_eq!((quarter.len(), quarter[0], quarter[15]), (16, (0, 4), (3, 7)));
    }
}
