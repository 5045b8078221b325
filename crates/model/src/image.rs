//! Pictures in and out: RGB bytes ↔ the canvas and its cells.
//!
//! Any size is fitted to the canvas (scaled to fit, padded with its own border colour); the caller
//! is told what was done. The background's colour is read here too, since tokenizer and composition
//! both need it.

use crate::error::ModelError;
use image::{RgbImage, imageops};

/// A picture on the canvas, and what had to be done to get it there.
pub struct Fitted {
    /// `canvas` × `canvas` pixels.
    pub picture: RgbImage,
    /// What was done, in words; `None` if the picture had the canvas's size.
    pub note: Option<String>,
}

/// Where on the canvas a fitted picture lies, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Columns of padding before it.
    pub left: u32,
    /// Rows of padding above it.
    pub top: u32,
    /// Its columns, at least 1.
    pub width: u32,
    /// Its rows, at least 1.
    pub height: u32,
}

/// Where [`fit`] puts a picture of `width` × `height` pixels on a canvas of `side` × `side`.
#[must_use]
pub fn frame(width: u32, height: u32, side: u32) -> Frame {
    let scale = f64::from(side) / f64::from(width.max(height).max(1));
    let scaled = |length: u32| ((f64::from(length) * scale).round() as u32).clamp(1, side);
    let (inner_width, inner_height) = (scaled(width), scaled(height));
    Frame {
        left: (side - inner_width) / 2,
        top: (side - inner_height) / 2,
        width: inner_width,
        height: inner_height,
    }
}

/// Fits a picture to a square canvas of `canvas` pixels: scaled to fit, centred, padded.
///
/// # Errors
/// [`ModelError::Picture`] for a picture without pixels.
pub fn fit(picture: &RgbImage, canvas: usize) -> Result<Fitted, ModelError> {
    let (width, height) = picture.dimensions();
    let side = canvas as u32;
    if width == 0 || height == 0 {
        return Err(ModelError::Picture { problem: format!("has {width}×{height} pixels") });
    }
    if (width, height) == (side, side) {
        return Ok(Fitted { picture: picture.clone(), note: None });
    }
    let Frame { left, top, width: inner_width, height: inner_height } = frame(width, height, side);
    let small =
        imageops::resize(picture, inner_width, inner_height, imageops::FilterType::CatmullRom);
    let mut fitted = RgbImage::from_pixel(side, side, image::Rgb(border_colour(&small)));
    imageops::replace(&mut fitted, &small, i64::from(left), i64::from(top));
    let padding = if inner_width == inner_height { "" } else { ", padded at the sides" };
    let note = format!("scaled from {width}×{height} to {inner_width}×{inner_height}{padding}");
    Ok(Fitted { picture: fitted, note: Some(note) })
}

/// The colour behind everything: the commonest colour of flat cells, else the median of the border.
#[must_use]
pub fn background_colour(picture: &RgbImage, patch: usize) -> [u8; 3] {
    let mut flat: Vec<[u8; 3]> = Vec::new();
    for row in 0..picture.height() / patch as u32 {
        for col in 0..picture.width() / patch as u32 {
            let cell = cell_bytes(picture, patch, row as usize, col as usize);
            let extremes = |channel: usize| {
                let values = cell.iter().skip(channel).step_by(3);
                (values.clone().min().copied().unwrap_or(0), values.max().copied().unwrap_or(0))
            };
            let ranges = [extremes(0), extremes(1), extremes(2)];
            if ranges.iter().all(|(low, high)| high - low <= FLAT_RANGE) {
                flat.push(ranges.map(|(low, high)| low.midpoint(high)));
            }
        }
    }
    flat.sort_unstable();
    // Runs of almost equal colours count together: a few units of noise must not split a background.
    let near =
        |a: &[u8; 3], b: &[u8; 3]| a.iter().zip(b).all(|(x, y)| x.abs_diff(*y) <= FLAT_RANGE);
    let count = |same: &dyn Fn(&[u8; 3]) -> bool| flat.iter().filter(|other| same(other)).count();
    flat.iter()
        .max_by_key(|&colour| {
            let exactly = count(&|other| other == colour);
            (count(&|other| near(colour, other)), exactly, std::cmp::Reverse(colour))
        })
        .map_or_else(|| border_colour(picture), |colour| *colour)
}

/// Largest spread of a channel within a cell that still counts as one flat colour.
const FLAT_RANGE: u8 = 6;

fn border_colour(picture: &RgbImage) -> [u8; 3] {
    let (width, height) = picture.dimensions();
    let mut channels: [Vec<u8>; 3] = Default::default();
    for (x, y, pixel) in picture.enumerate_pixels() {
        if x == 0 || y == 0 || x + 1 == width || y + 1 == height {
            for (values, value) in channels.iter_mut().zip(pixel.0) {
                values.push(value);
            }
        }
    }
    channels.map(|mut values| {
        values.sort_unstable();
        values.get(values.len() / 2).copied().unwrap_or(0)
    })
}

/// The RGB bytes of one cell, row by row.
#[must_use]
pub fn cell_bytes(picture: &RgbImage, patch: usize, row: usize, col: usize) -> Vec<u8> {
    let stride = picture.width() as usize * 3;
    let raw = picture.as_raw();
    (0..patch)
        .flat_map(|y| {
            let start = (row * patch + y) * stride + col * patch * 3;
            raw[start..start + patch * 3].iter().copied()
        })
        .collect()
}

/// Writes the RGB bytes of one cell, row by row.
pub fn put_cell(picture: &mut RgbImage, patch: usize, row: usize, col: usize, bytes: &[u8]) {
    let stride = picture.width() as usize * 3;
    let raw: &mut [u8] = picture;
    for (y, line) in bytes.chunks_exact(patch * 3).enumerate() {
        let start = (row * patch + y) * stride + col * patch * 3;
        raw[start..start + patch * 3].copy_from_slice(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_of_the_canvas_size_is_left_alone() {
        let picture = RgbImage::from_fn(64, 64, |x, y| image::Rgb([x as u8, y as u8, 9]));
        let fitted = fit(&picture, 64).unwrap();
        assert_eq!(fitted.picture, picture);
        assert_eq!(fitted.note, None);
    }

    #[test]
    fn a_wide_picture_is_scaled_and_padded_with_its_border() {
        let picture = RgbImage::from_pixel(200, 100, image::Rgb([10, 200, 30]));
        let fitted = fit(&picture, 64).unwrap();
        assert_eq!(fitted.picture.dimensions(), (64, 64));
        assert!(fitted.picture.pixels().all(|pixel| pixel.0 == [10, 200, 30]));
        assert_eq!(
            fitted.note.as_deref(),
            Some("scaled from 200×100 to 64×32, padded at the sides")
        );
        assert!(fit(&RgbImage::new(0, 5), 64).is_err());
    }

    #[test]
    fn the_background_is_the_commonest_flat_colour() {
        let mut picture = RgbImage::from_pixel(64, 64, image::Rgb([110, 170, 235]));
        for row in 0..3 {
            put_cell(&mut picture, 8, row, 2, &[200; 192]);
        }
        put_cell(&mut picture, 8, 7, 7, &(0..192).map(|i| i as u8).collect::<Vec<_>>());
        assert_eq!(background_colour(&picture, 8), [110, 170, 235]);
        assert_eq!(cell_bytes(&picture, 8, 1, 2), vec![200; 192]);
    }
}
