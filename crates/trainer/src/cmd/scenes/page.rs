//! The drawings and names of the world as the page's scene composer reads them.
//!
//! `sprites.png`: drawings at 2, 3 and 4 cells side by side (72×32 pixels each), ten in a row:
//! natural ones by class, then the tinted ones, six a tintable class. `world.json`: names and colours.

use crate::run_dir::write_file;
use anyhow::{Context, Result};
use earl_scenes::{Background, CELL_PX, OBJECT_CELLS, Sprite, Style, Tint, classes, sprite};
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{Rgba, RgbaImage};
use serde_json::{Map, json};
use std::path::Path;

const COLUMNS: u32 = 10;
const SLOT: (u32, u32) = (72, 32);

/// Writes `sprites.png` and `world.json`.
///
/// # Errors
/// If the folder can't be written.
pub(crate) fn write(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("making `{}`", folder.display()))?;
    let natural = classes().iter().map(|class| (class.id, None));
    let tintable = classes().iter().filter(|class| class.tintable);
    let tinted = tintable.flat_map(|class| Tint::ALL.map(|tint| (class.id, Some(tint))));
    let variants: Vec<_> = natural.chain(tinted).collect();
    let rows = (variants.len() as u32).div_ceil(COLUMNS);
    let mut sheet = RgbaImage::new(COLUMNS * SLOT.0, rows * SLOT.1);
    for (at, (class, tint)) in (0u32..).zip(variants) {
        let (mut x, y) = (at % COLUMNS * SLOT.0, at / COLUMNS * SLOT.1);
        for cells in OBJECT_CELLS {
            put(&mut sheet, sprite(class, tint, cells, Style::Fluent3d), (x, y));
            x += u32::from(cells) * CELL_PX;
        }
    }
    let mut png = Vec::new();
    let encoder =
        PngEncoder::new_with_quality(&mut png, CompressionType::Best, FilterType::Adaptive);
    sheet.write_with_encoder(encoder)?;
    write_file(&folder.join("sprites.png"), &png)?;
    write_file(&folder.join("world.json"), world().to_string().as_bytes())
}

fn put(sheet: &mut RgbaImage, drawing: &Sprite, (left, top): (u32, u32)) {
    for at in 0..drawing.side * drawing.side {
        let alpha = drawing.alpha[at];
        let channel = |c: usize| {
            let value = if alpha > 0.0 { drawing.rgb[at * 3 + c] / alpha } else { 0.0 };
            (value * 255.0).round().clamp(0.0, 255.0) as u8
        };
        let pixel = Rgba([channel(0), channel(1), channel(2), (alpha * 255.0).round() as u8]);
        let (x, y) = ((at % drawing.side) as u32, (at / drawing.side) as u32);
        sheet.put_pixel(left + x, top + y, pixel);
    }
}

fn world() -> serde_json::Value {
    let class = |class: &earl_scenes::Class| {
        json!({
            "name": class.name, "article": class.article, "plural": class.plural,
            "group": class.group, "tintable": class.tintable,
        })
    };
    let backgrounds: Map<String, _> =
        Background::ALL.iter().map(|b| (b.name().to_owned(), json!(b.rgb()))).collect();
    json!({
        "classes": classes().iter().map(class).collect::<Vec<_>>(),
        "backgrounds": backgrounds,
        "tints": Tint::ALL.map(Tint::name),
    })
}
