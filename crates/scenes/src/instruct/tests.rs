//! What every sentence must keep, over all families.

use super::template::Book;
use super::*;
use crate::class::classes;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use std::collections::BTreeSet;

/// Slots with phrases as long as they come.
const LONG: [(&str, &str); 8] = [
    ("x", "a medium purple tropical fish"),
    ("y", "left birthday cake"),
    ("z", "large orange electric guitar"),
    ("xs", "birthday cakes"),
    ("n", "two"),
    ("place", "at the bottom right"),
    ("color", "purple"),
    ("a", ""),
];

/// A sentence of any family with a random class.
fn sentence(family: &str, held_out: bool, rng: &mut ChaCha8Rng) -> String {
    let class = |rng: &mut ChaCha8Rng| &classes()[below(rng, classes().len())];
    let (first, second, third) = (class(rng), class(rng), class(rng));
    let new =
        |class: &Class, rng: &mut ChaCha8Rng| format!("{} {}", class.article, noun(class, rng));
    let x_is_new = family == "add"
        || family == "add_region"
        || family == "between"
        || family.starts_with("rel_");
    let x = if x_is_new { new(first, rng) } else { noun(first, rng) };
    let y = if family == "replace" { new(second, rng) } else { noun(second, rng) };
    let (z, xs) = (noun(third, rng), plural(first, rng));
    let place = ["at the top", "in the middle", "at the bottom left"][below(rng, 3)];
    let slots = [
        ("x", &*x),
        ("y", &y),
        ("z", &z),
        ("xs", &xs),
        ("n", "two"),
        ("place", place),
        ("color", "grey"),
    ];
    if family != "multi" {
        return fill(family, &slots, held_out, rng);
    }
    let a = clause("remove", &slots, held_out, rng);
    let b = clause("background", &slots, held_out, rng);
    fill("multi", &[("a", &a), ("b", &b)], held_out, rng)
}

#[test]
fn every_sentence_is_short_and_of_known_words_and_every_word_is_trained() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let words: BTreeSet<String> = words().into_iter().collect();
    let mut trained = BTreeSet::new();
    for (name, held_out) in
        Book::get().families.keys().flat_map(|name| [(name, false), (name, true)])
    {
        for _ in 0..if held_out { 200 } else { 8_000 } {
            let text = sentence(name, held_out, &mut rng);
            let parts: Vec<&str> = text.split(' ').collect();
            assert!(parts.len() <= MAX_WORDS, "{name}: {} words: `{text}`", parts.len());
            assert!(parts.iter().all(|part| words.contains(*part)), "{name}: `{text}`");
            if !held_out {
                trained.extend(parts.into_iter().map(String::from));
            }
        }
    }
    // Tints, sizes, places and numbers that `sentence` above never says.
    let unsaid: Vec<&String> = words.difference(&trained).collect();
    println!("{} words, {} not said in this test: {unsaid:?}", words.len(), unsaid.len());
    assert!((900..=2_000).contains(&words.len()), "{}", words.len());
    assert!(unsaid.len() < 80, "{unsaid:?}");
}

#[test]
fn long_phrases_fit() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    for name in Book::get().families.keys().filter(|name| *name != "multi") {
        let mut slots = LONG;
        if !["add", "add_region", "between"].contains(&name.as_str()) && !name.starts_with("rel_") {
            slots[0].1 = "medium purple tropical fish";
        }
        for _ in 0..3_000 {
            let count = fill(name, &slots, false, &mut rng).split(' ').count();
            assert!(count <= MAX_WORDS, "{name}: {count}");
        }
    }
    for _ in 0..3_000 {
        let replace =
            [("x", "medium purple tropical fish"), ("y", "a medium purple tropical fish")];
        let a = clause("replace", &replace, false, &mut rng);
        let b = clause("background", &[("color", "grey")], false, &mut rng);
        let text = fill("multi", &[("a", &a), ("b", &b)], false, &mut rng);
        assert!(text.split(' ').count() <= MAX_WORDS, "{text}");
    }
}

#[test]
fn the_same_stream_gives_the_same_sentence_and_slots_stay() {
    let say = |seed| {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        fill("rel_left", &[("x", "an apple"), ("y", "unicorn")], false, &mut rng)
    };
    for seed in 0..500 {
        let text = say(seed);
        assert_eq!(text, say(seed));
        let says = |words: &[&str]| text.split(' ').any(|part| words.contains(&part));
        let left = ["left", "leftward", "leftwards", "west"];
        assert!(says(&["apple"]) && says(&["unicorn"]) && says(&left), "{text}");
    }
    assert!((1..20).any(|seed| say(seed) != say(0)));
}

#[test]
fn articles_agree_with_the_next_word() {
    let mut words = ["a", "orange", "an", "new", "an", "umbrella", "a", "ufo"].map(String::from);
    agree(&mut words);
    assert_eq!(words, ["an", "orange", "a", "new", "an", "umbrella", "a", "ufo"]);
}

#[test]
fn plurals_of_synonyms_are_regular_or_left_out() {
    let class = |name: &str| classes().iter().find(|class| class.name == name).unwrap();
    assert_eq!(plural_of(class("cat"), "kitty").as_deref(), Some("kitties"));
    assert_eq!(plural_of(class("bus"), "coach").as_deref(), Some("coaches"));
    assert_eq!(plural_of(class("grapes"), "bunch of grapes"), None);
    assert_eq!(plural_of(class("dice"), "die"), None);
}

/// Prints sentences to read: `cargo test --release -p earl-scenes print_sentences -- --ignored --nocapture`.
#[test]
#[ignore = "for reading, not for judging"]
fn print_sentences() {
    let mut rng = ChaCha8Rng::seed_from_u64(u64::from(std::process::id()));
    for name in Book::get().families.keys() {
        for at in 0..8 {
            println!("{name:13} {}", sentence(name, at == 7, &mut rng));
        }
    }
    let begin = std::time::Instant::now();
    let count = (0..100_000).filter(|_| !sentence("rel_left", false, &mut rng).is_empty()).count();
    println!("{:.2} µs a sentence", begin.elapsed().as_secs_f64() / count as f64 * 1e6);
}
