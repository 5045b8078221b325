//! Scenes → pixels.

use crate::scene::{CANVAS_PX, CELL_PX, Object, Scene, Style};
use crate::sprite::sprite;
use image::{Rgb, RgbImage};

/// The picture of a scene: each object's premultiplied colour over the background, rounded to bytes.
#[must_use]
pub fn render(scene: &Scene, style: Style) -> RgbImage {
    let mut picture = RgbImage::from_pixel(CANVAS_PX, CANVAS_PX, Rgb(scene.background.rgb()));
    for object in &scene.objects {
        put(&mut picture, object, scene.background.rgb(), style);
    }
    picture
}

fn put(picture: &mut RgbImage, object: &Object, background: [u8; 3], style: Style) {
    let drawing = sprite(object.class, object.tint, object.cells, style);
    let (left, top) = (u32::from(object.col) * CELL_PX, u32::from(object.row) * CELL_PX);
    for at in 0..drawing.side * drawing.side {
        let alpha = drawing.alpha[at];
        let colour = std::array::from_fn(|channel| {
            let behind = f32::from(background[channel]);
            let value = drawing.rgb[at * 3 + channel] * 255.0 + (1.0 - alpha) * behind;
            value.round().clamp(0.0, 255.0) as u8
        });
        let (x, y) = ((at % drawing.side) as u32, (at / drawing.side) as u32);
        picture.put_pixel(left + x, top + y, Rgb(colour));
    }
}
