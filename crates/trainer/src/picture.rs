//! Pictures from and to files: every kind of file a person may hand over, checked before it is decoded.

use crate::hint;
use crate::run_dir::write_file;
use anyhow::{Context, Result};
use image::codecs::png::PngDecoder;
use image::codecs::webp::WebPDecoder;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, RgbImage};
use std::fs;
use std::io::Cursor;
use std::path::Path;

/// Widest and highest picture that is decoded, in pixels.
const MAX_SIDE: u32 = 16_384;
/// Most memory a decoder may take, in bytes.
const MAX_BYTES: u64 = 512 << 20;
const KINDS: &str = "open a still PNG, JPEG or WebP picture";

/// A picture as RGB, upright, and what was done to make it so.
#[derive(Debug)]
pub struct Opened {
    /// The pixels.
    pub picture: RgbImage,
    /// Changes a user should know of, such as transparency laid on white.
    pub notes: Vec<String>,
}

/// Reads a PNG, JPEG or WebP file.
///
/// # Errors
/// Names the file, what is wrong with it, and which files can be read.
pub fn read(path: &Path) -> Result<Opened> {
    let bytes = fs::read(path).with_context(|| format!("reading `{}`", path.display()))?;
    decode(&bytes).with_context(|| format!("in `{}`", path.display()))
}

/// Decodes the bytes of a PNG, JPEG or WebP file.
///
/// # Errors
/// As [`read`].
pub fn decode(bytes: &[u8]) -> Result<Opened> {
    if bytes.is_empty() {
        return Err(hint::error("the file is empty (0 bytes)", KINDS));
    }
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format()?;
    let mut limits = image::Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_BYTES);
    reader.limits(limits);
    let Some(format) = reader.format() else {
        return Err(hint::error("the file is not a picture of a known kind", KINDS));
    };
    refuse_animation(format, bytes)?;
    let broken = |error: image::ImageError| hint::error(format!("the {format:?} can't be decoded: {error}"), KINDS);
    let mut decoder = reader.into_decoder().map_err(broken)?;
    if decoder.dimensions().0 == 0 || decoder.dimensions().1 == 0 {
        return Err(hint::error("the picture has no pixels", KINDS));
    }
    let orientation = decoder.orientation().map_err(broken)?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(broken)?;
    picture.apply_orientation(orientation);
    let mut notes = Vec::new();
    if has_transparency(&picture) {
        notes.push("transparent parts were laid on white".to_owned());
    }
    Ok(Opened { picture: on_white(&picture), notes })
}

fn refuse_animation(format: ImageFormat, bytes: &[u8]) -> Result<()> {
    let animated = match format {
        ImageFormat::Png => PngDecoder::new(Cursor::new(bytes)).is_ok_and(|png| png.is_apng().unwrap_or(false)),
        ImageFormat::WebP => WebPDecoder::new(Cursor::new(bytes)).is_ok_and(|webp| webp.has_animation()),
        _ => false,
    };
    if animated {
        return Err(hint::error("the picture is animated", "save one frame of it as a PNG and edit that"));
    }
    Ok(())
}

fn has_transparency(picture: &DynamicImage) -> bool {
    picture.color().has_alpha() && picture.to_rgba8().pixels().any(|pixel| pixel[3] < 255)
}

fn on_white(picture: &DynamicImage) -> RgbImage {
    if !picture.color().has_alpha() {
        return picture.to_rgb8();
    }
    let rgba = picture.to_rgba8();
    RgbImage::from_fn(rgba.width(), rgba.height(), |x, y| {
        let [r, g, b, alpha] = rgba.get_pixel(x, y).0;
        let over = |c: u8| ((u32::from(c) * u32::from(alpha) + 255 * (255 - u32::from(alpha)) + 127) / 255) as u8;
        image::Rgb([r, g, b].map(over))
    })
}

/// PNG bytes of a picture, with a text chunk (`iTXt`) if given.
///
/// # Errors
/// If the encoder fails.
pub fn png(picture: &RgbImage, text: Option<(&str, &str)>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, picture.width(), picture.height());
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    if let Some((key, text)) = text {
        encoder.add_itxt_chunk(key.to_owned(), text.to_owned())?;
    }
    let mut writer = encoder.write_header()?;
    writer.write_image_data(picture.as_raw())?;
    writer.finish()?;
    Ok(bytes)
}

/// Writes a PNG file, whole or not at all.
///
/// # Errors
/// Names the file.
pub fn write(path: &Path, picture: &RgbImage) -> Result<()> {
    write_file(path, &png(picture, None)?)
}

/// Rows of equally large pictures as one, each enlarged `zoom` times, on grey.
///
/// Pictures of a row stand side by side; rows stand below one another.
#[must_use]
pub fn sheet(rows: &[Vec<RgbImage>], zoom: u32) -> RgbImage {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn message(bytes: &[u8]) -> String {
        format!("{:#}", decode(bytes).unwrap_err())
    }

    #[test]
    fn bad_files_are_named() {
        assert_eq!(message(b""), "the file is empty (0 bytes)");
        assert_eq!(message(b"hello, world"), "the file is not a picture of a known kind");
        let whole = png(&RgbImage::new(8, 8), None).unwrap();
        assert!(message(&whole[..whole.len() / 2]).contains("can't be decoded"));
        let mut huge = whole.clone();
        huge[16..24].copy_from_slice(&[0, 0, 0x75, 0x30, 0, 0, 0x75, 0x30]); // 30,000 × 30,000
        assert!(message(&huge).contains("can't be decoded"), "{}", message(&huge));
        let mut empty = whole;
        empty[16..24].fill(0);
        assert!(message(&empty).contains("can't be decoded") || message(&empty).contains("no pixels"));
    }

    #[test]
    fn transparency_is_laid_on_white_and_said() {
        let rgba = image::RgbaImage::from_pixel(2, 1, image::Rgba([255, 0, 0, 0]));
        let mut bytes = Vec::new();
        rgba.write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png).unwrap();
        let opened = decode(&bytes).unwrap();
        assert_eq!(opened.picture.get_pixel(0, 0).0, [255, 255, 255]);
        assert_eq!(opened.notes.len(), 1);
    }

    #[test]
    fn text_chunks_are_written() {
        let bytes = png(&RgbImage::new(2, 2), Some(("earl-recipe", "{\"seed\":7}"))).unwrap();
        let info = png::Decoder::new(Cursor::new(&bytes)).read_info().unwrap();
        let text = &info.info().utf8_text[0];
        assert_eq!(text.keyword, "earl-recipe");
        assert_eq!(text.get_text().unwrap(), "{\"seed\":7}");
    }
}
