//! Picture files: every kind a person may hand over, checked before it is decoded, and PNG out.
//!
//! Bytes in, bytes out; the same code natively and in the browser, so that all see the same pixels.

use crate::error::ModelError;
use image::codecs::png::PngDecoder;
use image::codecs::webp::WebPDecoder;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, RgbImage, RgbaImage};
pub use image::{RgbImage as Rgb, RgbaImage as Rgba};
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
    let picture = upright(bytes)?;
    if !picture.color().has_alpha() {
        return Ok(Opened { picture: picture.to_rgb8(), notes: Vec::new() });
    }
    Ok(on_white(&picture.to_rgba8()))
}

/// As [`decode`], with the file's own transparency.
///
/// # Errors
/// As [`decode`].
pub fn decode_rgba(bytes: &[u8]) -> Result<RgbaImage, ModelError> {
    upright(bytes).map(|picture| picture.to_rgba8())
}

fn upright(bytes: &[u8]) -> Result<DynamicImage, ModelError> {
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
    Ok(picture)
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

/// The picture as the model sees it: transparent parts laid on white, and said.
#[must_use]
pub fn on_white(rgba: &RgbaImage) -> Opened {
    let transparent = rgba.pixels().any(|pixel| pixel[3] < 255);
    let picture = RgbImage::from_fn(rgba.width(), rgba.height(), |x, y| {
        let [r, g, b, alpha] = rgba.get_pixel(x, y).0;
        let over = |c: u8| {
            ((u32::from(c) * u32::from(alpha) + 255 * (255 - u32::from(alpha)) + 127) / 255) as u8
        };
        image::Rgb([r, g, b].map(over))
    });
    let note = transparent.then(|| "transparent parts were laid on white".to_owned());
    Opened { picture, notes: note.into_iter().collect() }
}

/// PNG bytes of a picture, with a text chunk (`iTXt`, key and text) if given.
///
/// # Errors
/// [`ModelError::Picture`] if the encoder refuses it.
pub fn encode_png(picture: &RgbImage, text: Option<(&str, &str)>) -> Result<Vec<u8>, ModelError> {
    png_bytes(picture.dimensions(), png::ColorType::Rgb, picture.as_raw(), text)
}

/// [`encode_png`] of a picture that may be transparent; without a transparent pixel the file has none
/// of its channel either.
///
/// # Errors
/// As [`encode_png`].
pub fn encode_rgba(picture: &RgbaImage, text: Option<(&str, &str)>) -> Result<Vec<u8>, ModelError> {
    if picture.pixels().any(|pixel| pixel[3] < 255) {
        return png_bytes(picture.dimensions(), png::ColorType::Rgba, picture.as_raw(), text);
    }
    let opaque: Vec<u8> =
        picture.pixels().flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect();
    png_bytes(picture.dimensions(), png::ColorType::Rgb, &opaque, text)
}

fn png_bytes(
    (width, height): (u32, u32),
    color: png::ColorType,
    pixels: &[u8],
    text: Option<(&str, &str)>,
) -> Result<Vec<u8>, ModelError> {
    let mut bytes = Vec::new();
    let mut write = || -> Result<(), png::EncodingError> {
        let mut encoder = png::Encoder::new(&mut bytes, width, height);
        encoder.set_color(color);
        encoder.set_depth(png::BitDepth::Eight);
        if let Some((key, text)) = text {
            encoder.add_itxt_chunk(key.to_owned(), text.to_owned())?;
        }
        let mut writer = encoder.write_header()?;
        writer.write_image_data(pixels)?;
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
    fn transparency_survives_a_round_trip_and_opaque_pictures_have_none() {
        let clear = RgbaImage::from_pixel(3, 2, image::Rgba([9, 8, 7, 0]));
        assert_eq!(decode_rgba(&encode_rgba(&clear, None).unwrap()).unwrap(), clear);
        let solid = RgbaImage::from_pixel(3, 2, image::Rgba([9, 8, 7, 255]));
        let bytes = encode_rgba(&solid, None).unwrap();
        assert_eq!(decode_rgba(&bytes).unwrap(), solid);
        let info = png::Decoder::new(Cursor::new(&bytes)).read_info().unwrap();
        assert_eq!(info.info().color_type, png::ColorType::Rgb);
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
