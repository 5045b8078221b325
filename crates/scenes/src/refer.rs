//! Phrases: which words name exactly one object of a scene, and how a new object is named.

use crate::class::Class;
use crate::instruct::noun;
use crate::place::Place;
use crate::random::{below, chance};
use crate::scene::{Object, Scene, Tint};
use rand_chacha::rand_core::RngCore;

/// Words for the sizes of 2, 3 and 4 cells.
pub(crate) fn size_word(cells: u8) -> &'static str {
    match cells {
        2 => "small",
        3 => "medium",
        _ => "large",
    }
}

/// A phrase without article that names this object and no other; `None` if there is none.
///
/// The class if it stands alone, else with the tint, the size word, or the side of two.
pub(crate) fn refer(scene: &Scene, at: usize, rng: &mut impl RngCore) -> Option<String> {
    let object = &scene.objects[at];
    let alike: Vec<&Object> =
        scene.objects.iter().filter(|other| other.class == object.class).collect();
    let noun = noun(object.class.class(), rng);
    if alike.len() == 1 {
        return Some(noun);
    }
    let mut words: Vec<&str> = Vec::new();
    let alone =
        |same: &dyn Fn(&Object) -> bool| alike.iter().filter(|other| same(other)).count() == 1;
    if let Some(tint) = object.tint.filter(|_| alone(&|other| other.tint == object.tint)) {
        words.push(tint.name());
    }
    if alone(&|other| other.cells == object.cells) {
        words.push(size_word(object.cells));
    }
    if let [a, b] = alike[..] {
        let other = if a == object { b } else { a };
        let ((y, x), (oy, ox)) = (Place::from(object).centre2(), Place::from(other).centre2());
        // A side is named only where the two lie clearly apart that way: a cell and a half or more.
        if (x - ox).abs() >= 3 {
            words.push(if x < ox { "left" } else { "right" });
        }
        if (y - oy).abs() >= 3 {
            words.push(if y < oy { "top" } else { "bottom" });
        }
    }
    let word = words.get(below(rng, words.len()))?;
    Some(format!("{word} {noun}"))
}

/// A new object: its phrase with article, and what the phrase says of its size.
pub(crate) struct NewPhrase {
    pub(crate) text: String,
    pub(crate) cells: Option<u8>,
}

/// Chance that a new object's size is said.
const SIZE_SAID: f64 = 0.2;

/// Names a new object; an unsaid tint means the natural colour, an unsaid size any.
pub(crate) fn name_new(class: &Class, tint: Option<Tint>, rng: &mut impl RngCore) -> NewPhrase {
    let noun = noun(class, rng);
    let cells = chance(rng, SIZE_SAID).then(|| 2 + below(rng, 3) as u8);
    let mut words: Vec<&str> = Vec::new();
    words.extend(cells.map(size_word));
    words.extend(tint.map(Tint::name));
    words.push(&noun);
    let first = words[0].chars().next().unwrap_or('x');
    let article = match class.article.as_str() {
        "some" if noun == class.name => "some",
        _ if "aeiou".contains(first)
            && !words[0].starts_with("uni")
            && !words[0].starts_with("ufo") =>
        {
            "an"
        }
        _ => "a",
    };
    NewPhrase { text: format!("{article} {}", words.join(" ")), cells }
}
