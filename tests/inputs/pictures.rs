//! `edit` on every kind of picture a person may have: one picture, stored in many ways, is one picture.

use super::trainer;
use image::{DynamicImage, ImageFormat, Luma, RgbImage, Rgba, RgbaImage};
use serde_json::{Value, json};
use std::io::Cursor;

/// Greys with an edge, so that a turned picture is another one.
fn picture() -> RgbImage {
    RgbImage::from_fn(64, 64, |x, y| {
        let grey = if x > 40 && y < 20 { 30 } else { 200 };
        image::Rgb([grey; 3])
    })
}

fn stored(picture: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// A palette PNG of two entries.
fn palette() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 64, 64);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_palette(vec![200, 200, 200, 30, 30, 30]);
    let indices: Vec<u8> = picture().pixels().map(|pixel| u8::from(pixel.0[0] == 30)).collect();
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&indices).unwrap();
    writer.finish().unwrap();
    bytes
}

/// A JPEG of the picture turned left, whose EXIF says to turn it right.
fn turned_jpeg() -> (Vec<u8>, RgbImage) {
    let jpeg = stored(image::imageops::rotate270(&picture()), ImageFormat::Jpeg);
    let mut exif =
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0".to_vec();
    let mut bytes = vec![0xff, 0xd8, 0xff, 0xe1];
    bytes.extend((exif.len() as u16 + 2).to_be_bytes());
    bytes.append(&mut exif);
    bytes.extend(&jpeg[2..]);
    let lying = image::load_from_memory(&jpeg).unwrap().to_rgb8();
    (bytes, image::imageops::rotate90(&lying))
}

#[test]
fn one_picture_stored_in_many_ways_is_one_picture() {
    let folder = tempfile::tempdir().unwrap();
    let grey = image::GrayImage::from_fn(64, 64, |x, y| Luma([picture().get_pixel(x, y).0[0]]));
    let deep = image::ImageBuffer::<Luma<u16>, Vec<u16>>::from_fn(64, 64, |x, y| {
        Luma([u16::from(picture().get_pixel(x, y).0[0]) * 257])
    });
    let clear = RgbaImage::from_fn(64, 64, |x, y| {
        let pixel = picture().get_pixel(x, y).0;
        Rgba([pixel[0], pixel[1], pixel[2], 255])
    });
    let (jpeg, upright) = turned_jpeg();
    let files = [
        ("plain.png", stored(picture(), ImageFormat::Png)),
        ("grey.png", stored(grey, ImageFormat::Png)),
        ("deep.png", stored(DynamicImage::ImageLuma16(deep), ImageFormat::Png)),
        ("alpha.png", stored(clear, ImageFormat::Png)),
        ("palette.png", palette()),
        ("lossless.webp", stored(picture(), ImageFormat::WebP)),
        ("upright.png", stored(upright, ImageFormat::Png)),
        ("turned.jpg", jpeg),
    ];
    let lines: Vec<String> = files
        .iter()
        .map(|(name, bytes)| {
            std::fs::write(folder.path().join(name), bytes).unwrap();
            json!({ "image": name, "instruction": "make the background blue" }).to_string()
        })
        .collect();
    let (batch, out) = (folder.path().join("edits.jsonl"), folder.path().join("out"));
    std::fs::write(&batch, lines.join("\n")).unwrap();
    let edit = || {
        let args =
            ["edit", "--batch", &batch.to_string_lossy(), "-o", &out.to_string_lossy(), "--json"];
        let output = trainer(&args);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let facts: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(facts["edited"], 8, "one object on stdout");
        std::fs::read_to_string(out.join("results.jsonl")).unwrap()
    };
    let rows: Vec<Value> = edit().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(rows.iter().enumerate().all(|(at, row)| row["index"] == at), "in order");
    let seen: Vec<&str> = rows.iter().map(|row| row["recipe"]["image"].as_str().unwrap()).collect();
    assert!(seen[..6].iter().all(|hash| *hash == seen[0]), "{seen:?}");
    assert_eq!(seen[6], seen[7], "EXIF is followed");
    let bytes = |at: usize| std::fs::read(out.join(format!("{at:06}.png"))).unwrap();
    let first: Vec<Vec<u8>> = (0..8).map(bytes).collect();
    assert!(first[..6].iter().all(|png| *png == first[0]), "one picture, one edit");
    edit();
    assert!((0..8).all(|at| bytes(at) == first[at]), "the same seed gives the same bytes");
}

#[test]
fn transparency_and_fitting_are_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let half = RgbaImage::from_fn(90, 40, |x, _| Rgba([10, 200, 90, if x < 45 { 255 } else { 0 }]));
    std::fs::write(path("half.webp"), stored(half, ImageFormat::WebP)).unwrap();
    let output = trainer(&[
        "edit",
        &path("half.webp"),
        "make the background blue",
        "-o",
        &path("out.png"),
        "--json",
    ]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let facts: Value = serde_json::from_slice(&output.stdout).unwrap();
    let notes =
        ["transparent parts were laid on white", "scaled from 90×40 to 64×28, padded at the sides"];
    assert_eq!(facts["notes"], json!(notes));
}

#[test]
fn animations_and_pictures_without_pixels_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let mut nothing = stored(picture(), ImageFormat::Png);
    nothing[16..24].fill(0);
    std::fs::write(path("nothing.png"), nothing).unwrap();
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 2, 2);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_animated(2, 0).unwrap();
    let mut writer = encoder.write_header().unwrap();
    (0..2).for_each(|_| writer.write_image_data(&[0; 4]).unwrap());
    writer.finish().unwrap();
    std::fs::write(path("moving.png"), bytes).unwrap();
    for (name, reason) in [("nothing.png", "picture"), ("moving.png", "is animated")] {
        let said = super::failure(&["edit", &path(name), "remove the cat", "-o", &path("out.png")]);
        assert!(said.contains(reason) && said.contains(name) && said.contains("hint: "), "{said}");
    }
    assert!(!folder.path().join("out.png").exists());
}
