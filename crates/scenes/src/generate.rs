//! Scenes from a random stream: what stands where, never overlapping, always visible.

use crate::class::classes;
use crate::place::{Place, free_places};
use crate::random::{below, chance, pick, weighted};
use crate::scene::{Background, ClassId, OBJECT_CELLS, Object, Scene, Style, Tint};
use crate::sprite::sprite;
use rand_chacha::rand_core::RngCore;
use std::sync::OnceLock;

/// Chance of 1, 2, 3, 4 objects.
const COUNTS: [f64; 4] = [0.15, 0.35, 0.30, 0.20];
/// Chance of a small, medium, large object.
const SIZES: [f64; 3] = [0.25, 0.45, 0.30];
/// Chance that a tintable object is tinted.
const TINTED: f64 = 0.3;
/// Most objects in a scene of repeated ones.
const MOST: usize = 5;

/// A scene; with `repeats`, two or three objects are of one class.
pub(crate) fn scene(rng: &mut impl RngCore, style: Style, repeats: bool) -> Scene {
    loop {
        if let Some(scene) = try_scene(rng, style, repeats) {
            return scene;
        }
    }
}

fn try_scene(rng: &mut impl RngCore, style: Style, repeats: bool) -> Option<Scene> {
    let background = *pick(rng, &Background::ALL)?;
    let mut scene = Scene { background, objects: Vec::new() };
    let mut wanted: Vec<ClassId> = Vec::new();
    if repeats {
        let class = ClassId(below(rng, classes().len()) as u8);
        wanted = vec![class; 2 + below(rng, 2)];
        let others = below(rng, MOST + 1 - wanted.len());
        push_new_classes(rng, &mut wanted, others);
    } else {
        let count = 1 + weighted(rng, &COUNTS)?;
        push_new_classes(rng, &mut wanted, count);
    }
    for class in wanted {
        let tint = draw_tint(rng, class, TINTED);
        let cells = OBJECT_CELLS[weighted(rng, &SIZES)?];
        let taken: Vec<Place> = scene.objects.iter().map(Place::from).collect();
        let free = free_places(&taken, &[cells]);
        let place = pick(rng, &free)?;
        let object = Object { class, tint, row: place.row, col: place.col, cells };
        if !is_visible(&object, background, style) {
            return None;
        }
        scene.objects.push(object);
    }
    Some(scene)
}

fn push_new_classes(rng: &mut impl RngCore, wanted: &mut Vec<ClassId>, count: usize) {
    let full = wanted.len() + count;
    while wanted.len() < full {
        let class = ClassId(below(rng, classes().len()) as u8);
        if !wanted.contains(&class) {
            wanted.push(class);
        }
    }
}

/// A tint with this chance, if the class may have one.
pub(crate) fn draw_tint(rng: &mut impl RngCore, class: ClassId, tinted: f64) -> Option<Tint> {
    (class.class().tintable && chance(rng, tinted))
        .then(|| pick(rng, &Tint::ALL).copied())
        .flatten()
}

/// Do at least 40 % of the drawing's opaque pixels differ from the background by more than 32/255?
pub(crate) fn is_visible(object: &Object, background: Background, style: Style) -> bool {
    const VARIANTS: usize = 1 + Tint::ALL.len();
    const ENTRIES: usize = 3 * 100 * VARIANTS * 3 * Background::ALL.len();
    static VISIBLE: OnceLock<Vec<OnceLock<bool>>> = OnceLock::new();
    let table = VISIBLE.get_or_init(|| (0..ENTRIES).map(|_| OnceLock::new()).collect());
    let variant = object.tint.map_or(0, |tint| 1 + tint as usize);
    let size = usize::from(object.cells - OBJECT_CELLS[0]);
    let class = style as usize * 100 + usize::from(object.class.0);
    let at =
        ((class * VARIANTS + variant) * 3 + size) * Background::ALL.len() + background as usize;
    *table[at].get_or_init(|| compute_visible(object, background, style))
}

fn compute_visible(object: &Object, background: Background, style: Style) -> bool {
    let drawing = sprite(object.class, object.tint, object.cells, style);
    let (mut opaque, mut different) = (0usize, 0usize);
    for (at, &alpha) in drawing.alpha.iter().enumerate() {
        if alpha > 0.5 {
            opaque += 1;
            let differs = (0..3).any(|channel| {
                let behind = f32::from(background.rgb()[channel]);
                let shown = drawing.rgb[at * 3 + channel] * 255.0 + (1.0 - alpha) * behind;
                (shown - behind).abs() > 32.0
            });
            different += usize::from(differs);
        }
    }
    5 * different >= 2 * opaque
}

/// Is everything in the scene visible?
pub(crate) fn all_visible(scene: &Scene, style: Style) -> bool {
    scene.objects.iter().all(|object| is_visible(object, scene.background, style))
}
