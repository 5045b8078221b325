//! Picture files: every kind a person may hand over, checked before it is decoded, and PNG out.
//!
//! Bytes in, bytes out; the same code natively and in the browser, so that all see the same pixels.

use crate::error::ModelError;
pub use image::RgbImage as Rgb;
use image::codecs::png::PngDecoder;
use image::codecs::webp::WebPDecoder;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, RgbImage};
use std::io::Cursor;

/// Widest and highest picture that is decoded, in pixels.
const MAX_SIDE: u32 = 16_384;
/// Most memory a decoder may take, in bytes.
const MAX_BYTES: u64 = 512 << 20;

/// A picture as RGB, upright, and what was done to make it so.
#[derive(Debug)]
pub struct Opened {
    /// The pixels.
    pub picture: RgbImage,
    /// Changes a user should know of, such as transparency laid on white.
    pub notes: Vec<String>,
}

/// Decodes the bytes of a PNG, JPEG or WebP file.
///
/// # Errors
/// [`ModelError::Picture`] says what is wrong with the file.
pub fn decode(bytes: &[u8]) -> Result<Opened, ModelError> {
    if bytes.is_empty() {
        return Err(unusable("is empty (0 bytes)"));
    }
    let mut reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|error| unusable(&format!("can't be read: {error}")))?;
    let mut limits = image::Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_BYTES);
    reader.limits(limits);
    let Some(format) = reader.format() else {
        return Err(unusable("is not a PNG, JPEG or WebP file"));
    };
    refuse_animation(format, bytes)?;
    let broken =
        |error: image::ImageError| unusable(&format!("can't be decoded as {format:?}: {error}"));
    let mut decoder = reader.into_decoder().map_err(broken)?;
    if decoder.dimensions().0 == 0 || decoder.dimensions().1 == 0 {
        return Err(unusable("has no pixels"));
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

fn unusable(problem: &str) -> ModelError {
    ModelError::Picture { problem: problem.to_owned() }
}

fn refuse_animation(format: ImageFormat, bytes: &[u8]) -> Result<(), ModelError> {
    let animated = match format {
        ImageFormat::Png => {
            PngDecoder::new(Cursor::new(bytes)).is_ok_and(|png| png.is_apng().unwrap_or(false))
        }
        ImageFormat::WebP => {
            WebPDecoder::new(Cursor::new(bytes)).is_ok_and(|webp| webp.has_animation())
        }
        _ => false,
    };
    if animated {
        return Err(unusable("is animated; save one frame of it as a PNG"));
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
        let over = |c: u8| {
            ((u32::from(c) * u32::from(alpha) + 255 * (255 - u32::from(alpha)) + 127) / 255) as u8
        };
        image::Rgb([r, g, b].map(over))
    })
}

/// PNG bytes of a picture, with a text chunk (`iTXt`, key and text) if given.
///
/// # Errors
/// [`ModelError::Picture`] if the encoder refuses it.
pub fn encode_png(picture: &RgbImage, text: Option<(&str, &str)>) -> Result<Vec<u8>, ModelError> {
    let mut bytes = Vec::new();
    let mut write = || -> Result<(), png::EncodingError> {
        let mut encoder = png::Encoder::new(&mut bytes, picture.width(), picture.height());
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        if let Some((key, text)) = text {
            encoder.add_itxt_chunk(key.to_owned(), text.to_owned())?;
        }
        let mut writer = encoder.write_header()?;
        writer.write_image_data(picture.as_raw())?;
        writer.finish()
    };
    write().map_err(|error| unusable(&format!("can't be encoded: {error}")))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(bytes: &[u8]) -> String {
        decode(bytes).unwrap_err().to_string()
    }

    #[test]
    fn bad_files_are_named() {
        assert_eq!(message(b""), "picture is empty (0 bytes)");
        assert_eq!(message(b"hello, world"), "picture is not a PNG, JPEG or WebP file");
        let whole = encode_png(&RgbImage::new(8, 8), None).unwrap();
        assert!(message(&whole[..whole.len() / 2]).contains("can't be decoded"));
        let mut huge = whole.clone();
        huge[16..24].copy_from_slice(&[0, 0, 0x75, 0x30, 0, 0, 0x75, 0x30]); // 30,000 × 30,000
        assert!(message(&huge).contains("can't be decoded"), "{}", message(&huge));
        let mut empty = whole;
        empty[16..24].fill(0);
        assert!(
            message(&empty).contains("can't be decoded") || message(&empty).contains("no pixels")
        );
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
        let bytes =
            encode_png(&RgbImage::new(2, 2), Some(("earl-recipe", "{\"seed\":7}"))).unwrap();
        let info = png::Decoder::new(Cursor::new(&bytes)).read_info().unwrap();
        let text = &info.info().utf8_text[0];
        assert_eq!(text.keyword, "earl-recipe");
        assert_eq!(text.get_text().unwrap(), "{\"seed\":7}");
    }
}
