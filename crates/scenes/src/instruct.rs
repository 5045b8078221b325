//! Sentences: what is meant (a family and its slots) in, an instruction as a person might say it out.
//!
//! Place in the flow: scene → edit → **instruction** → plan, check. The meaning never changes; only
//! the words do: template, synonyms, politeness, fillers, dropped articles. Knows nothing of scenes.
//! Source: the families of `assets/templates.json`. Start at [`fill`].

mod template;

use crate::class::Class;
use crate::random::{below, chance};
use rand_chacha::rand_core::RngCore;
use template::{Book, Family, Template, Token};

/// Words of the longest instruction: the slot the editor gives it.
pub const MAX_WORDS: usize = 28;
/// Words of the longest clause, so that two of them joined fit into [`MAX_WORDS`].
const MAX_CLAUSE_WORDS: usize = 12;

/// How often the noise strikes.
mod rate {
    /// Something before or after a sentence.
    pub(super) const AFFIX: f64 = 0.15;
    /// Another name for a class; another word for a size, colour, number.
    pub(super) const SYNONYM: f64 = 0.25;
    /// Another way to say one of the nine places.
    pub(super) const PLACE_FORM: f64 = 0.6;
    /// An adjective without meaning before a new object or a colour.
    pub(super) const ADJECTIVE: f64 = 0.05;
    /// `one dog` for `a dog`; `that dog` for `the dog`.
    pub(super) const DETERMINER: f64 = 0.05;
    /// All articles gone; one article gone.
    pub(super) const NO_ARTICLES: f64 = 0.05;
    pub(super) const ONE_ARTICLE_LESS: f64 = 0.04;
    /// `the dog on the left` for `the left dog`.
    pub(super) const SIDE_AFTER: f64 = 0.2;
    /// A filler before an article.
    pub(super) const FILLER: f64 = 0.04;
}

/// The sentence of a family with its slots filled, dressed with prefixes, suffixes and noise.
///
/// `held_out` picks among the two templates a family keeps out of training. Slots are
/// `x`, `y`, `z` (object phrases, new ones with their article), `xs` (plural), `n` (`two` …),
/// `place` (`at the top` …), `color`, and for family `multi` the clauses `a` and `b`, which
/// [`clause`] makes. At most [`MAX_WORDS`] words when the clauses and phrases leave room.
///
/// # Panics
/// If there is no such family: a defect of the caller, not of its data.
pub fn fill(
    family: &str,
    slots: &[(&str, &str)],
    held_out: bool,
    rng: &mut impl RngCore,
) -> String {
    let mut words = body(family, slots, held_out, MAX_WORDS, rng);
    dress(&mut words, rng);
    words.join(" ")
}

/// Like [`fill`] without prefix and suffix and never longer than 12 words: half of a `multi`.
///
/// # Panics
/// If there is no such family.
pub fn clause(
    family: &str,
    slots: &[(&str, &str)],
    held_out: bool,
    rng: &mut impl RngCore,
) -> String {
    body(family, slots, held_out, MAX_CLAUSE_WORDS, rng).join(" ")
}

/// The name of a class, or with probability ¼ one of its synonyms.
pub fn noun(class: &Class, rng: &mut impl RngCore) -> String {
    if class.synonyms.is_empty() || !chance(rng, rate::SYNONYM) {
        return class.name.clone();
    }
    pick(rng, &class.synonyms).to_owned()
}

/// The plural of a class, or with probability ¼ of one of its synonyms.
pub fn plural(class: &Class, rng: &mut impl RngCore) -> String {
    let regular: Vec<String> =
        class.synonyms.iter().filter_map(|noun| plural_of(class, noun)).collect();
    if regular.is_empty() || !chance(rng, rate::SYNONYM) {
        return class.plural.clone();
    }
    pick(rng, &regular).to_owned()
}

/// Plural of a synonym; `None` where it is not a plain singular.
fn plural_of(class: &Class, noun: &str) -> Option<String> {
    if noun == class.plural
        || noun.contains(" of ")
        || noun.ends_with('s')
        || class.article == "some"
    {
        return None;
    }
    let y = noun.strip_suffix('y').filter(|stem| !stem.ends_with(['a', 'e', 'o', 'u']));
    Some(match y {
        _ if noun == "die" => return None,
        Some(stem) => format!("{stem}ies"),
        None if noun.ends_with("sh") || noun.ends_with("ch") => format!("{noun}es"),
        None => format!("{noun}s"),
    })
}

/// The whole vocabulary: every word a sentence may hold, held-out templates included; sorted,
/// without repetition. `,` `.` and `:` are words too.
#[must_use]
pub fn words() -> Vec<String> {
    let mut words = Book::get().words.clone();
    for class in crate::class::classes() {
        let plurals = class.synonyms.iter().filter_map(|noun| plural_of(class, noun));
        words
            .extend(plurals.flat_map(|text| text.split(' ').map(String::from).collect::<Vec<_>>()));
    }
    words.into_iter().collect()
}

#[allow(clippy::panic, reason = "families are literals in this crate; a test fills each of them")]
fn family(name: &str) -> &'static Family {
    match Book::get().families.get(name) {
        Some(family) => family,
        None => panic!("there is no sentence family `{name}` in assets/templates.json"),
    }
}

/// A filled template of at most `limit` words, or the shortest of some if the slots are long.
fn body(
    name: &str,
    slots: &[(&str, &str)],
    held_out: bool,
    limit: usize,
    rng: &mut impl RngCore,
) -> Vec<String> {
    const TRIES: usize = 8;
    let family = family(name);
    let templates = if held_out { &family.held_out } else { &family.train };
    let mut best: Vec<String> = Vec::new();
    for _ in 0..TRIES {
        let template = &templates[below(rng, templates.len())];
        let mut words = expand(template, slots, rng);
        if best.is_empty() || words.len() < best.len() {
            std::mem::swap(&mut best, &mut words);
        }
        if best.len() <= limit {
            break;
        }
    }
    agree(&mut best);
    if name != "multi" {
        drop_articles(&mut best, rng);
        if best.len() < limit {
            add_filler(&mut best, rng);
        }
    }
    best
}

/// Template and slots → words.
fn expand(template: &Template, slots: &[(&str, &str)], rng: &mut impl RngCore) -> Vec<String> {
    let mut tokens = Vec::with_capacity(24);
    template.expand(rng, &mut tokens);
    let mut words: Vec<String> = Vec::with_capacity(MAX_WORDS);
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            Token::Word(word) => words.push(word.to_owned()),
            Token::Slot(slot) => {
                let value =
                    if slot == "spot" { value_of("place", slots) } else { value_of(slot, slots) };
                let of = tokens.peek() == Some(&Token::Word("of"));
                push_slot(&mut words, slot, value, of, rng);
            }
        }
    }
    words
}

fn value_of<'a>(slot: &str, slots: &[(&str, &'a str)]) -> &'a str {
    debug_assert!(slots.iter().any(|(name, _)| *name == slot), "no value for `{slot}`");
    slots.iter().find(|(name, _)| *name == slot).map_or("", |(_, value)| value)
}

/// Appends a slot's value, said in its own or in other words. `of`: the next word is `of`.
fn push_slot(words: &mut Vec<String>, slot: &str, value: &str, of: bool, rng: &mut impl RngCore) {
    let book = Book::get();
    match slot {
        "a" | "b" => words.extend(value.split_whitespace().map(String::from)),
        "place" | "spot" => {
            let forms = if slot == "place" { &book.place_forms } else { &book.spots };
            match forms.get(value) {
                Some(forms) if slot == "spot" || chance(rng, rate::PLACE_FORM) => {
                    let mut tokens = Vec::new();
                    forms[below(rng, forms.len())].expand(rng, &mut tokens);
                    words.extend(tokens.into_iter().map(|token| match token {
                        Token::Word(word) | Token::Slot(word) => word.to_owned(),
                    }));
                }
                _ => words.extend(value.split_whitespace().map(String::from)),
            }
        }
        "n" if value == "two" && chance(rng, rate::ADJECTIVE) => {
            words.extend(["a", if chance(rng, 0.5) { "pair" } else { "couple" }].map(String::from));
            if !of {
                words.push("of".into());
            }
        }
        "color" | "n" => {
            if slot == "color" && chance(rng, rate::ADJECTIVE) {
                words.push(pick(rng, &book.shades).to_owned());
            }
            push_word(words, value, rng);
        }
        _ => push_phrase(words, value, slot == "xs", rng),
    }
}

/// Appends an object phrase; its determiner may change and an empty adjective may come in.
fn push_phrase(words: &mut Vec<String>, phrase: &str, plural: bool, rng: &mut impl RngCore) {
    let book = Book::get();
    let parts: Vec<&str> = phrase.split_whitespace().collect();
    if words.last().is_some_and(|last| last == "the") && chance(rng, rate::DETERMINER) {
        let others = if plural { ["these", "those", "my"] } else { ["this", "that", "my"] };
        words.pop();
        words.push(others[below(rng, others.len())].into());
    }
    if let [side, noun @ ..] = &parts[..]
        && !noun.is_empty()
        && chance(rng, rate::SIDE_AFTER)
        && let Some(after) = side_after(side, noun)
    {
        words.extend(noun.iter().chain(&[after, "the", side]).map(|word| (*word).to_owned()));
        return;
    }
    let is_new = parts.first().is_some_and(|first| ["a", "an", "some"].contains(first));
    for (at, &part) in parts.iter().enumerate() {
        if at == 0 && is_new {
            let one = part != "some" && chance(rng, rate::DETERMINER);
            words.push(if one { "one" } else { part }.into());
            if chance(rng, rate::ADJECTIVE) {
                words.extend(pick(rng, &book.adjectives).split(' ').map(String::from));
            }
        } else if at + 1 < parts.len() && !(part == "top" && parts[at + 1] == "hat") {
            push_word(words, part, rng); // sizes, tints, sides; the last word is the noun
        } else {
            words.push(part.into());
        }
    }
}

/// The preposition of `the dog on the left` for `the left dog`; `None` if it begins with no side.
fn side_after(side: &str, noun: &[&str]) -> Option<&'static str> {
    match side {
        "left" | "right" => Some("on"),
        "top" if noun == ["hat"] => None, // a top hat
        "top" | "bottom" => Some("at"),
        _ => None,
    }
}

/// Appends a word or, with probability ¼, another word for it.
fn push_word(words: &mut Vec<String>, word: &str, rng: &mut impl RngCore) {
    match Book::get().synonyms.get(word) {
        Some(others) if chance(rng, rate::SYNONYM) => {
            words.extend(pick(rng, others).split_whitespace().map(String::from));
        }
        _ => words.push(word.to_owned()),
    }
}

/// `a` or `an` by the next word's first letter; before `u` the phrase's own article stays.
fn agree(words: &mut [String]) {
    for at in 0..words.len().saturating_sub(1) {
        let vowel = words[at + 1].starts_with(['a', 'e', 'i', 'o']);
        let either = words[at + 1].starts_with('u');
        if words[at] == "a" && vowel {
            words[at] = "an".into();
        } else if words[at] == "an" && !vowel && !either {
            words[at] = "a".into();
        }
    }
}

fn is_article(word: &str) -> bool {
    ["the", "a", "an"].contains(&word)
}

/// Sometimes drops every article, sometimes one.
fn drop_articles(words: &mut Vec<String>, rng: &mut impl RngCore) {
    if chance(rng, rate::NO_ARTICLES) {
        words.retain(|word| !is_article(word));
    } else if chance(rng, rate::ONE_ARTICLE_LESS)
        && let Some(at) = nth_article(words, rng)
    {
        words.remove(at);
    }
}

/// Sometimes puts a filler such as `um` before an article.
fn add_filler(words: &mut Vec<String>, rng: &mut impl RngCore) {
    if chance(rng, rate::FILLER)
        && let Some(at) = nth_article(words, rng)
    {
        let filler = pick(rng, &Book::get().fillers);
        words.splice(at..at, filler.split(' ').map(String::from));
    }
}

/// Place of one of the articles, drawn evenly.
fn nth_article(words: &[String], rng: &mut impl RngCore) -> Option<usize> {
    let places: Vec<usize> = (0..words.len()).filter(|&at| is_article(&words[at])).collect();
    if places.is_empty() { None } else { Some(places[below(rng, places.len())]) }
}

/// One of the texts; `""` if there are none.
fn pick<'a>(rng: &mut impl RngCore, texts: &'a [String]) -> &'a str {
    crate::random::pick(rng, texts).map_or("", String::as_str)
}

/// Puts something before and something after the sentence, each with probability .15, if it fits.
fn dress(words: &mut Vec<String>, rng: &mut impl RngCore) {
    let book = Book::get();
    if chance(rng, rate::AFFIX) {
        let imperative = words.first().is_some_and(|first| book.verbs.contains(first));
        let lists = if imperative && chance(rng, 0.65) { &book.prefixes } else { &book.openers };
        let prefix: Vec<String> = pick(rng, lists).split(' ').map(String::from).collect();
        if prefix.len() + words.len() <= MAX_WORDS && prefix.first() != words.first() {
            words.splice(0..0, prefix);
        }
    }
    if chance(rng, rate::AFFIX) {
        let suffix: Vec<String> = pick(rng, &book.suffixes).split(' ').map(String::from).collect();
        if suffix.len() + words.len() <= MAX_WORDS && words.last() != suffix.last() {
            words.extend(suffix);
        }
    }
}

#[cfg(test)]
mod tests;
