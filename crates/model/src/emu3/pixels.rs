//! Pictures of any size → pixels the tokenizer reads, and back to bytes; the published size rules.
//!
//! The resize is Pillow's bicubic one, in its own integer arithmetic, because the codes of a picture
//! depend on its bytes: two passes, columns then rows, each rounded to a byte. Rounding of sizes is
//! half-to-even, as Python's.
//!
//! Source: Emu3's `image_processing_emu3.py`, EARL's data script, Pillow's `Resample.c`.
//! Start at [`smart_resize`] and [`to_pixels`].

use crate::error::ModelError;
use burn::tensor::{Device, Tensor, TensorData};
use image::RgbImage;

/// Longest side over shortest side that is still read, as transformers has it.
const LARGEST_RATIO: f64 = 200.0;

/// Height and width that are multiples of `factor` with an area in `lowest..=highest` pixels, close
/// to the picture's own ratio.
///
/// # Errors
/// [`ModelError::Picture`] for a side of 0 or a ratio above 200; [`ModelError::Option`] for limits
/// that no size meets.
pub fn smart_resize(
    height: u32,
    width: u32,
    factor: u32,
    lowest: u64,
    highest: u64,
) -> Result<(u32, u32), ModelError> {
    check_ratio(height, width)?;
    if factor == 0 || highest < u64::from(factor).pow(2) || lowest > highest {
        let problem = format!("{lowest}..={highest} pixels with sides of {factor}·n");
        return Err(ModelError::Option { name: "pixels", problem });
    }
    let (h, w, f) = (f64::from(height), f64::from(width), f64::from(factor));
    let nearest = |side: f64| (side / f).round_ties_even() * f;
    let (mut a, mut b) = (nearest(h), nearest(w));
    if a * b > highest as f64 {
        let scale = libm::sqrt(h * w / highest as f64);
        let down = |side: f64| ((side / scale / f).floor() * f).max(f);
        (a, b) = (down(h), down(w));
    } else if a * b < lowest as f64 {
        let scale = libm::sqrt(lowest as f64 / (h * w));
        let up = |side: f64| (side * scale / f).ceil() * f;
        (a, b) = (up(h), up(w));
    }
    Ok((a as u32, b as u32))
}

fn check_ratio(height: u32, width: u32) -> Result<(), ModelError> {
    let (long, short) = (f64::from(height.max(width)), f64::from(height.min(width)));
    let refuse = |problem: String| Err(ModelError::Picture { problem });
    if short < 1.0 {
        return refuse(format!("has {width}×{height} pixels"));
    }
    if long / short > LARGEST_RATIO {
        return refuse(format!("of {width}×{height} pixels is longer than {LARGEST_RATIO} : 1"));
    }
    Ok(())
}

/// Rows and columns of codes for a picture of ratio `width : height` and about `area` pixels, with
/// codes of 8 pixels.
///
/// # Errors
/// [`ModelError::Option`] for a ratio that is not `w:h` or gives no code.
pub fn generate_grid(ratio: &str, area: u64) -> Result<(u32, u32), ModelError> {
    let refuse = || ModelError::Option {
        name: "ratio",
        problem: format!("`{ratio}` at {area} pixels; write `16:9`, for instance"),
    };
    let (w, h) = ratio.split_once(':').ok_or_else(refuse)?;
    let side = |text: &str| text.trim().parse::<u32>().ok().filter(|side| *side > 0);
    let (w, h) = (side(w).ok_or_else(refuse)?, side(h).ok_or_else(refuse)?);
    let scale = libm::sqrt(area as f64 / (f64::from(h) * f64::from(w)));
    let codes = |side: u32| (f64::from(side) * scale / 8.0).round_ties_even();
    let (rows, columns) = (codes(h), codes(w));
    let fits = |count: f64| (1.0..=65_536.0).contains(&count);
    if fits(rows) && fits(columns) { Ok((rows as u32, columns as u32)) } else { Err(refuse()) }
}

/// Height and width of about `area` pixels in the picture's own ratio: how EARL prepares pictures
/// (65,536 pixels, 32 × 32 codes for a square). The codes are these sizes over 8, rounded down.
///
/// # Errors
/// [`ModelError::Picture`] if a side is 0, before or after.
pub fn area_resize(height: u32, width: u32, area: u64) -> Result<(u32, u32), ModelError> {
    if height == 0 || width == 0 {
        return Err(ModelError::Picture { problem: format!("has {width}×{height} pixels") });
    }
    let scale = libm::sqrt(area as f64 / (f64::from(height) * f64::from(width)));
    let side = |side: u32| (f64::from(side) * scale).round_ties_even() as u32;
    let (h, w) = (side(height), side(width));
    if h == 0 || w == 0 {
        return Err(ModelError::Picture { problem: format!("of {w}×{h} pixels after scaling") });
    }
    Ok((h, w))
}

/// Fractional bits of a tap.
const TAP_BITS: u32 = 22;

/// The source places that one target place is made of.
struct Taps {
    first: usize,
    weights: Vec<i64>,
}

/// Pillow's bicubic taps (a = −0.5), widened when shrinking, rounded to fixed point.
fn taps(before: usize, after: usize) -> Vec<Taps> {
    let scale = before as f64 / after as f64;
    let wide = scale.max(1.0);
    let support = 2.0 * wide;
    let kernel = |t: f64| match t.abs() {
        t if t < 1.0 => (1.5 * t - 2.5) * t * t + 1.0,
        t if t < 2.0 => ((-0.5 * t + 2.5) * t - 4.0) * t + 2.0,
        _ => 0.0,
    };
    let place = |at: usize| {
        let centre = (at as f64 + 0.5) * scale;
        let first = (centre - support + 0.5).max(0.0) as usize;
        let end = ((centre + support + 0.5) as usize).min(before);
        let weights: Vec<f64> =
            (first..end).map(|from| kernel((from as f64 + 0.5 - centre) / wide)).collect();
        let total: f64 = weights.iter().sum();
        let fixed = |weight: &f64| (weight / total * f64::from(1 << TAP_BITS)).round() as i64;
        Taps { first, weights: weights.iter().map(fixed).collect() }
    };
    (0..after).map(place).collect()
}

/// Resizes a picture as Pillow's `BICUBIC` does; a side that stays is not touched.
///
/// # Errors
/// [`ModelError::Picture`] if a side of either size is 0.
pub fn bicubic(picture: &RgbImage, height: u32, width: u32) -> Result<RgbImage, ModelError> {
    let (from_width, from_height) = picture.dimensions();
    if [from_width, from_height, width, height].contains(&0) {
        let problem = format!("{from_width}×{from_height} to {width}×{height} pixels");
        return Err(ModelError::Picture { problem });
    }
    let wide = if width == from_width {
        picture.clone()
    } else {
        let taps = taps(from_width as usize, width as usize);
        RgbImage::from_fn(width, from_height, |x, y| {
            blend(&taps[x as usize], |from| picture.get_pixel(from as u32, y).0)
        })
    };
    if height == from_height {
        return Ok(wide);
    }
    let taps = taps(from_height as usize, height as usize);
    Ok(RgbImage::from_fn(width, height, |x, y| {
        blend(&taps[y as usize], |from| wide.get_pixel(x, from as u32).0)
    }))
}

fn blend(taps: &Taps, pixel: impl Fn(usize) -> [u8; 3]) -> image::Rgb<u8> {
    let mut sums = [1i64 << (TAP_BITS - 1); 3];
    for (at, weight) in taps.weights.iter().enumerate() {
        for (sum, byte) in sums.iter_mut().zip(pixel(taps.first + at)) {
            *sum += weight * i64::from(byte);
        }
    }
    image::Rgb(sums.map(|sum| (sum >> TAP_BITS).clamp(0, 255) as u8))
}

/// Bytes of pictures of one size → pixels.
///
/// # Shapes
/// - returns: `[pictures, 3, height, width]` in `-1..=1`
///
/// # Errors
/// [`ModelError::Picture`] for no picture or pictures of different sizes.
pub fn to_pixels(pictures: &[RgbImage], device: &Device) -> Result<Tensor<4>, ModelError> {
    let Some((width, height)) = pictures.first().map(RgbImage::dimensions) else {
        return Err(ModelError::Picture { problem: "is missing".into() });
    };
    let mut values = Vec::with_capacity(pictures.len() * 3 * (width * height) as usize);
    for picture in pictures {
        if picture.dimensions() != (width, height) {
            let (w, h) = picture.dimensions();
            let problem = format!("of {w}×{h} pixels beside one of {width}×{height}");
            return Err(ModelError::Picture { problem });
        }
        for channel in 0..3 {
            values.extend(picture.pixels().map(|pixel| {
                // x / 255, then mean 0.5 and deviation 0.5.
                (f32::from(pixel.0[channel]) / 255.0 - 0.5) / 0.5
            }));
        }
    }
    let shape = [pictures.len(), 3, height as usize, width as usize];
    Ok(Tensor::from_data(TensorData::new(values, shape), device))
}

/// Pixels → bytes, cut off (not rounded), as the published code does.
///
/// # Shapes
/// - `pixels`: `[batch, 3, height, width]`; returns `batch` pictures
///
/// # Errors
/// [`ModelError::Device`] if the device does not give its data back.
pub async fn to_pictures(pixels: Tensor<4>) -> Result<Vec<RgbImage>, ModelError> {
    let [_, _, height, width] = pixels.dims();
    let values = crate::lm::to_host(pixels).await?;
    let area = height * width;
    let byte = |value: f32| (f32::midpoint(value, 1.0) * 255.0).clamp(0.0, 255.0) as u8;
    let picture = |values: &[f32]| {
        RgbImage::from_fn(width as u32, height as u32, |x, y| {
            let at = y as usize * width + x as usize;
            image::Rgb([0, 1, 2].map(|channel| byte(values[channel * area + at])))
        })
    };
    Ok(values.chunks_exact(3 * area).map(picture).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_worked_by_hand() {
        // 12 / 8 = 1.5 and 20 / 8 = 2.5 both round to the even 2: 16 × 16.
        assert_eq!(smart_resize(12, 20, 8, 64, 1024).unwrap(), (16, 16));
        // 512 × 512 fits as it is.
        assert_eq!(smart_resize(512, 512, 8, 1 << 18, 1 << 20).unwrap(), (512, 512));
        assert_eq!(area_resize(512, 512, 65_536).unwrap(), (256, 256));
        assert_eq!(generate_grid("1:1", 65_536).unwrap(), (32, 32));
    }

    #[test]
    fn impossible_sizes_are_refused() {
        assert!(smart_resize(0, 5, 8, 64, 1024).is_err());
        assert!(smart_resize(1, 201, 8, 64, 1024).is_err());
        assert!(smart_resize(8, 8, 0, 64, 1024).is_err());
        assert!(smart_resize(8, 8, 8, 2048, 1024).is_err());
        for ratio in ["1", "0:1", "a:b", "-1:2", "4294967295:1"] {
            assert!(generate_grid(ratio, 65_536).is_err(), "{ratio}");
        }
        assert!(area_resize(0, 300, 65_536).is_err());
        assert!(area_resize(1, 1_000_000, 65_536).is_err());
        assert!(bicubic(&RgbImage::new(3, 0), 2, 2).is_err());
        assert!(to_pixels(&[], &Device::flex()).is_err());
    }

    #[test]
    fn halving_a_line_weighs_as_pillow_does() {
        // One flat colour stays what it is at any size; a step overshoots and is clamped.
        let flat = RgbImage::from_pixel(9, 7, image::Rgb([10, 200, 255]));
        let small = bicubic(&flat, 5, 20).unwrap();
        assert!(small.pixels().all(|pixel| pixel.0 == [10, 200, 255]));
        let step = RgbImage::from_fn(4, 1, |x, _| image::Rgb([if x < 2 { 0 } else { 255 }; 3]));
        let wide = bicubic(&step, 1, 8).unwrap();
        let line: Vec<u8> = wide.pixels().map(|pixel| pixel.0[0]).collect();
        // Place 3 lies 1.75 source places in: weights −9/128, 111/128, 29/128, −3/128 of 0 0 255 255.
        assert_eq!(line[3], (255.0f64 * 26.0 / 128.0).round() as u8);
        assert_eq!(line[4], (255.0f64 * 102.0 / 128.0).round() as u8);
    }

    proptest! {
        #[test]
        fn sizes_are_multiples_within_the_limits(height in 1u32..5000, width in 1u32..5000) {
            if let Ok((a, b)) = smart_resize(height, width, 8, 1 << 18, 1 << 20) {
                prop_assert!(a % 8 == 0 && b % 8 == 0 && a > 0 && b > 0);
                prop_assert!(u64::from(a) * u64::from(b) <= (1 << 20) + (1 << 13));
            }
        }
    }
}
