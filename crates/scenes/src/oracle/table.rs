//! Every drawing over one background, ready to be compared with windows of a picture.
//!
//! Bytes as `render` writes them, plus the sums of 4×4 blocks: by Cauchy's inequality the squared
//! error of a block is at least the squared difference of its sums over 16, so that most drawings
//! are ruled out after 1/16 of the work and none wrongly. Start at [`table`].

use crate::class::classes;
use crate::scene::{Background, CELL_PX, ClassId, OBJECT_CELLS, Style, Tint};
use crate::sprite::sprite;
use std::sync::OnceLock;

/// Pixels along one side of a block.
pub(super) const BLOCK: usize = 4;
/// Pixels of a block.
pub(super) const BLOCK_AREA: i32 = (BLOCK * BLOCK) as i32;

/// A drawing of one class, tint and size over one background.
pub(super) struct Drawing {
    pub(super) class: ClassId,
    pub(super) tint: Option<Tint>,
    /// RGB bytes, row by row.
    pub(super) pixels: Vec<u8>,
    /// RGB sums of blocks, row by row.
    pub(super) blocks: Vec<i32>,
}

/// The drawings of `cells` cells over `background`: natural colours and, where allowed, tints.
pub(super) fn table(style: Style, background: Background, cells: u8) -> &'static [Drawing] {
    const SIZES: usize = OBJECT_CELLS.len();
    const BACKGROUNDS: usize = Background::ALL.len();
    static TABLES: [OnceLock<Vec<Drawing>>; 3 * BACKGROUNDS * SIZES] =
        [const { OnceLock::new() }; 3 * BACKGROUNDS * SIZES];
    let size = usize::from(cells - OBJECT_CELLS[0]);
    let at = (style as usize * BACKGROUNDS + background as usize) * SIZES + size;
    TABLES[at].get_or_init(|| {
        let mut drawings = Vec::new();
        for class in classes() {
            let tints: &[Tint] = if class.tintable { &Tint::ALL } else { &[] };
            for tint in std::iter::once(None).chain(tints.iter().copied().map(Some)) {
                drawings.push(drawing(class.id, tint, cells, style, background));
            }
        }
        drawings
    })
}

fn drawing(
    class: ClassId,
    tint: Option<Tint>,
    cells: u8,
    style: Style,
    background: Background,
) -> Drawing {
    let sprite = sprite(class, tint, cells, style);
    let behind = background.rgb().map(f32::from);
    let mut pixels = Vec::with_capacity(sprite.rgb.len());
    for (colour, alpha) in sprite.rgb.chunks_exact(3).zip(&sprite.alpha) {
        for channel in 0..3 {
            let value = colour[channel] * 255.0 + (1.0 - alpha) * behind[channel];
            pixels.push(value.round().clamp(0.0, 255.0) as u8);
        }
    }
    let side = usize::from(cells) * CELL_PX as usize;
    let blocks = block_sums(&pixels, side, side);
    Drawing { class, tint, pixels, blocks }
}

/// Sums of the 4×4 blocks of an RGB picture, `[height / 4, width / 4, 3]`.
pub(super) fn block_sums(pixels: &[u8], width: usize, height: usize) -> Vec<i32> {
    let across = width / BLOCK;
    let mut sums = vec![0; across * (height / BLOCK) * 3];
    for (y, row) in pixels.chunks_exact(width * 3).enumerate() {
        for (x, pixel) in row.chunks_exact(3).enumerate() {
            let to = ((y / BLOCK) * across + x / BLOCK) * 3;
            for channel in 0..3 {
                sums[to + channel] += i32::from(pixel[channel]);
            }
        }
    }
    sums
}
