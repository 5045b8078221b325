//! Pictures on disk, and sheets of them.

use crate::run_dir::write_file;
use anyhow::{Context, Result};
use earl_model::files::{Opened, decode, encode_png};
use image::RgbImage;
use std::fs;
use std::path::Path;

/// Reads a PNG, JPEG or WebP file.
///
/// # Errors
/// Names the file and what is wrong with it.
pub(crate) fn read(path: &Path) -> Result<Opened> {
    let bytes = fs::read(path).with_context(|| format!("reading `{}`", path.display()))?;
    decode(&bytes).with_context(|| format!("in `{}`", path.display()))
}

/// Writes a PNG file, whole or not at all.
///
/// # Errors
/// Names the file.
pub(crate) fn write(path: &Path, picture: &RgbImage) -> Result<()> {
    write_file(path, &encode_png(picture, None)?)
}

/// Rows of equally large pictures as one, each enlarged `zoom` times, on grey.
///
/// Pictures of a row stand side by side; rows stand below one another.
#[must_use]
pub(crate) fn sheet(rows: &[Vec<RgbImage>], zoom: u32) -> RgbImage {
    const GAP: u32 = 4;
    let (width, height) = rows.iter().flatten().next().map_or((1, 1), RgbImage::dimensions);
    let (width, height) = (width * zoom + GAP, height * zoom + GAP);
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0) as u32;
    let size = (columns * width + GAP, rows.len() as u32 * height + GAP);
    let mut sheet = RgbImage::from_pixel(size.0, size.1, image::Rgb([60, 60, 64]));
    for (row, y) in rows.iter().zip((GAP..).step_by(height as usize)) {
        for (picture, x) in row.iter().zip((GAP..).step_by(width as usize)) {
            let large = image::imageops::resize(
                picture,
                width - GAP,
                height - GAP,
                image::imageops::FilterType::Nearest,
            );
            image::imageops::replace(&mut sheet, &large, i64::from(x), i64::from(y));
        }
    }
    sheet
}
