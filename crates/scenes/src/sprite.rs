//! Sprites: the drawing of a class, tinted, at a size of whole cells.
//!
//! A sprite of `k` cells is the class's 64×64 tile resampled premultiplied (Lanczos) to `(8k − 2)²`
//! pixels in the middle of `8k × 8k`, so that it never touches the next cell. Made on first use and
//! kept. Start at [`sprite`].

use crate::class::classes;
use crate::scene::{CELL_PX, ClassId, OBJECT_CELLS, Style, Tint};
use image::RgbaImage;
use std::sync::OnceLock;

/// A drawing, premultiplied.
#[derive(Clone, Debug, PartialEq)]
pub struct Sprite {
    /// Pixels along one side: 8 a cell.
    pub side: usize,
    /// Premultiplied RGB in `0..=1`, `side² · 3`.
    pub rgb: Vec<f32>,
    /// Coverage in `0..=1`, `side²`.
    pub alpha: Vec<f32>,
}

const TILE: usize = 64;
const VARIANTS: usize = 1 + Tint::ALL.len();

/// The sprite of a class in a tint (`None` = natural) and size.
///
/// # Panics
/// If `cells` is none of [`OBJECT_CELLS`].
#[must_use]
#[allow(clippy::expect_used, reason = "a size outside the world is a caller's defect")]
pub fn sprite(class: ClassId, tint: Option<Tint>, cells: u8, style: Style) -> &'static Sprite {
    static SPRITES: OnceLock<Vec<OnceLock<Sprite>>> = OnceLock::new();
    let size =
        OBJECT_CELLS.iter().position(|&c| c == cells).expect("an object has 2, 3 or 4 cells");
    let variant = tint.map_or(0, |tint| 1 + tint as usize);
    let all = 3 * classes().len() * VARIANTS * OBJECT_CELLS.len();
    let sprites = SPRITES.get_or_init(|| (0..all).map(|_| OnceLock::new()).collect());
    let at = ((style as usize * classes().len() + usize::from(class.0)) * VARIANTS + variant)
        * OBJECT_CELLS.len()
        + size;
    sprites[at].get_or_init(|| draw(class, tint, usize::from(cells), style))
}

fn draw(class: ClassId, tint: Option<Tint>, cells: usize, style: Style) -> Sprite {
    let tile = tile(class, tint, style);
    let side = cells * CELL_PX as usize;
    let inner = side - 2;
    let small = resample(&tile, TILE, inner); // [inner², 4]
    let mut sprite =
        Sprite { side, rgb: vec![0.0; side * side * 3], alpha: vec![0.0; side * side] };
    for (at, pixel) in small.chunks_exact(4).enumerate() {
        let to = (at / inner + 1) * side + at % inner + 1;
        let alpha = pixel[3].clamp(0.0, 1.0);
        sprite.alpha[to] = alpha;
        for channel in 0..3 {
            sprite.rgb[to * 3 + channel] = pixel[channel].clamp(0.0, alpha);
        }
    }
    sprite
}

/// The class's tile, tinted, premultiplied RGBA.
fn tile(class: ClassId, tint: Option<Tint>, style: Style) -> Vec<f32> {
    let sheet = sheet(style);
    let (left, top) = (u32::from(class.0) % 10 * 64, u32::from(class.0) / 10 * 64);
    let mut values = Vec::with_capacity(TILE * TILE * 4);
    for y in 0..TILE as u32 {
        for x in 0..TILE as u32 {
            let [r, g, b, a] = sheet.get_pixel(left + x, top + y).0.map(|v| f32::from(v) / 255.0);
            let [r, g, b] = tint.map_or([r, g, b], |tint| tinted([r, g, b], tint));
            values.extend([r * a, g * a, b * a, a]);
        }
    }
    values
}

/// Hue of the tint, saturation at least .55, value lifted; near-white stays.
fn tinted([r, g, b]: [f32; 3], tint: Tint) -> [f32; 3] {
    let value = r.max(g).max(b);
    let low = r.min(g).min(b);
    let saturation = if value > 0.0 { (value - low) / value } else { 0.0 };
    if saturation < 0.15 && value > 0.75 {
        return [r, g, b];
    }
    let saturation = saturation.max(0.55);
    let value = (0.75 * value + 0.22).min(1.0);
    let sector = tint.hue() / 60.0;
    let chroma = value * saturation;
    let second = chroma * (1.0 - (sector % 2.0 - 1.0).abs());
    let floor = value - chroma;
    let [r, g, b] = match sector as u8 {
        0 => [chroma, second, 0.0],
        1 => [second, chroma, 0.0],
        2 => [0.0, chroma, second],
        3 => [0.0, second, chroma],
        4 => [second, 0.0, chroma],
        _ => [chroma, 0.0, second],
    };
    [r + floor, g + floor, b + floor]
}

#[allow(clippy::expect_used, reason = "the sheets are compiled in and covered by a test")]
fn sheet(style: Style) -> &'static RgbaImage {
    static SHEETS: [OnceLock<RgbaImage>; 3] = [const { OnceLock::new() }; 3];
    let bytes: &[u8] = match style {
        Style::Fluent3d => include_bytes!("../assets/fluent_3d.png"),
        Style::FluentFlat => include_bytes!("../assets/fluent_flat.png"),
        Style::Noto => include_bytes!("../assets/noto.png"),
    };
    SHEETS[style as usize].get_or_init(|| {
        image::load_from_memory(bytes).expect("the sprite sheet is a PNG").to_rgba8()
    })
}

/// Lanczos-3 resampling of a square RGBA picture, in double precision with `libm`, so that every
/// machine computes the same sprite.
fn resample(source: &[f32], from: usize, to: usize) -> Vec<f32> {
    let taps = taps(from, to);
    let mut wide = vec![0.0; from * to * 4]; // rows of the source, columns of the result
    for row in 0..from {
        for (col, weights) in taps.iter().enumerate() {
            for channel in 0..4 {
                let value = |&(at, w): &(usize, f64)| {
                    w * f64::from(source[(row * from + at) * 4 + channel])
                };
                wide[(row * to + col) * 4 + channel] = weights.iter().map(value).sum::<f64>();
            }
        }
    }
    let mut result = vec![0.0; to * to * 4];
    for (row, weights) in taps.iter().enumerate() {
        for at in 0..to * 4 {
            let value = |&(from_row, w): &(usize, f64)| w * wide[from_row * to * 4 + at];
            result[row * to * 4 + at] = weights.iter().map(value).sum::<f64>() as f32;
        }
    }
    result
}

/// For each target pixel: source pixels and their weights, summing to 1.
fn taps(from: usize, to: usize) -> Vec<Vec<(usize, f64)>> {
    const LOBES: f64 = 3.0;
    let scale = from as f64 / to as f64;
    let stretch = scale.max(1.0);
    let kernel = |x: f64| {
        let sinc = |x: f64| if x == 0.0 { 1.0 } else { libm::sin(x) / x };
        if x.abs() < LOBES {
            sinc(std::f64::consts::PI * x) * sinc(std::f64::consts::PI * x / LOBES)
        } else {
            0.0
        }
    };
    let pixel = |at: usize| {
        let centre = (at as f64 + 0.5) * scale;
        let low = (centre - LOBES * stretch).floor().max(0.0) as usize;
        let high = ((centre + LOBES * stretch).ceil() as usize).min(from);
        let weights: Vec<(usize, f64)> =
            (low..high).map(|s| (s, kernel((s as f64 + 0.5 - centre) / stretch))).collect();
        let sum: f64 = weights.iter().map(|(_, w)| w).sum();
        weights.into_iter().map(|(s, w)| (s, w / sum)).collect()
    };
    (0..to).map(pixel).collect()
}
