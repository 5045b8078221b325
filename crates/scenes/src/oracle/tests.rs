//! The detector on true scenes. Edits are judged in `tests/` over the whole data set.

use super::*;
use crate::class::classes;
use crate::render::render;
use crate::scene::{Background, Object, Tint};
use crate::sprite::sprite;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

const STYLES: [Style; 3] = [Style::Fluent3d, Style::FluentFlat, Style::Noto];

fn below(rng: &mut ChaCha8Rng, n: usize) -> usize {
    rng.next_u32() as usize % n
}

/// ≥ 40 % of the opaque pixels differ from the background by > 32/255 in some channel.
fn is_visible(object: Object, background: Background, style: Style) -> bool {
    let drawing = sprite(object.class, object.tint, object.cells, style);
    let (mut opaque, mut seen) = (0, 0);
    for (colour, &alpha) in drawing.rgb.chunks_exact(3).zip(&drawing.alpha) {
        if alpha > 0.5 {
            opaque += 1;
            let differs = |(value, behind): (&f32, u8)| {
                let value = value * 255.0 + (1.0 - alpha) * f32::from(behind);
                (value - f32::from(behind)).abs() > 32.0
            };
            seen += usize::from(colour.iter().zip(background.rgb()).any(differs));
        }
    }
    seen * 10 >= opaque * 4
}

/// Any scene the world allows, drawn evenly and not like the data set's, so harder than it.
fn scene(rng: &mut ChaCha8Rng, style: Style) -> Scene {
    let background = Background::ALL[below(rng, 10)];
    let mut objects: Vec<Object> = Vec::new();
    let wanted = 1 + below(rng, 5);
    for _ in 0..40 {
        if objects.len() == wanted {
            break;
        }
        let class = &classes()[below(rng, 100)];
        let tinted = class.tintable && below(rng, 2) == 0;
        let cells = 2 + below(rng, 3) as u8;
        let object = Object {
            class: class.id,
            tint: tinted.then(|| Tint::ALL[below(rng, 6)]),
            row: below(rng, usize::from(GRID - cells) + 1) as u8,
            col: below(rng, usize::from(GRID - cells) + 1) as u8,
            cells,
        };
        let mut taken = objects.iter().flat_map(|o| cells_of(o.row, o.col, o.cells));
        let overlaps =
            taken.any(|at| cells_of(object.row, object.col, cells).any(|cell| cell == at));
        if !overlaps && is_visible(object, background, style) {
            objects.push(object);
        }
    }
    Scene { background, objects }
}

/// Found = true objects, in any order, each perfect; every other cell is empty.
fn difference(scene: &Scene, detection: &Detection) -> Option<String> {
    let mut truth = scene.objects.clone();
    let mut found: Vec<Object> = detection.objects.iter().map(|found| found.object).collect();
    truth.sort_by_key(|o| (o.row, o.col));
    found.sort_by_key(|o| (o.row, o.col));
    (truth != found || scene.background != detection.background)
        .then(|| format!("{:?}: {truth:?}\n  found {:?}", scene.background, detection.objects))
}

#[test]
fn every_object_of_true_scenes_is_found_and_nothing_else() {
    const SCENES: usize = 1_000;
    for style in STYLES {
        let mut rng = ChaCha8Rng::seed_from_u64(style as u64);
        let mut wrong = Vec::new();
        let mut objects = 0;
        for _ in 0..SCENES {
            let scene = scene(&mut rng, style);
            objects += scene.objects.len();
            wrong.extend(difference(&scene, &detect(&render(&scene, style), style)));
        }
        println!("{style:?}: {objects} objects in {SCENES} scenes, {} scenes wrong", wrong.len());
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

/// Blurred a little and roughened, like a picture out of a tokenizer at about 27 dB.
fn worn(picture: &RgbImage, rng: &mut ChaCha8Rng) -> RgbImage {
    RgbImage::from_fn(CANVAS_PX, CANVAS_PX, |x, y| {
        let near = |dx: i64, dy: i64| {
            let side = i64::from(CANVAS_PX) - 1;
            let at = |v: u32, d: i64| (i64::from(v) + d).clamp(0, side) as u32;
            picture.get_pixel(at(x, dx), at(y, dy)).0.map(f32::from)
        };
        let around = [near(0, 0), near(0, 0), near(1, 0), near(-1, 0), near(0, 1), near(0, -1)];
        let noise = below(rng, 7) as f32 - 3.0;
        let mean = |channel: usize| around.iter().map(|p| p[channel]).sum::<f32>() / 6.0;
        image::Rgb([0, 1, 2].map(|channel| (mean(channel) + noise).round().clamp(0.0, 255.0) as u8))
    })
}

#[test]
fn worn_pictures_keep_nearly_all_their_objects() {
    const SCENES: usize = 300;
    for style in STYLES {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let (mut objects, mut found, mut extra, mut background) = (0, 0, 0, 0);
        for _ in 0..SCENES {
            let scene = scene(&mut rng, style);
            let detection = detect(&worn(&render(&scene, style), &mut rng), style);
            let right = |f: &&Found| scene.objects.contains(&f.object);
            let hits = detection.objects.iter().filter(right).count();
            objects += scene.objects.len();
            found += hits;
            extra += detection.objects.len() - hits;
            background += usize::from(detection.background == scene.background);
        }
        println!(
            "{style:?}: {found} of {objects} found, {extra} wrong, {background} of {SCENES} backgrounds"
        );
        assert!(found * 100 >= objects * 97, "{style:?}: {found} of {objects}");
        assert_eq!(background, SCENES, "{style:?}");
    }
}

#[test]
fn noise_and_other_sizes_give_nothing() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let noise =
        RgbImage::from_fn(64, 64, |_, _| image::Rgb([0; 3].map(|_: u8| rng.next_u32() as u8)));
    assert!(detect(&noise, Style::Fluent3d).objects.is_empty());
    assert!(detect(&RgbImage::new(32, 64), Style::Fluent3d).objects.is_empty());
}
