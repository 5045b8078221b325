//! Sentence templates: the text of `assets/templates.json` ↔ a tree of words, slots and choices.
//!
//! A template is a row of words. `{x}` is a slot, `(p|q|)` picks one of its branches (the last may
//! be empty), `[name]` picks one line of the list `name`. Nothing here is random except
//! [`Template::expand`]. Start at [`Book`].

use crate::class::classes;
use crate::random::below;
use rand_chacha::rand_core::RngCore;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

type Lists = BTreeMap<String, String>;

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "note")]
    _note: String,
    #[serde(rename = "places")]
    places: BTreeMap<String, [Option<u8>; 2]>,
    place_forms: BTreeMap<String, Vec<String>>,
    spots: BTreeMap<String, Vec<String>>,
    lists: Lists,
    prefixes: Vec<String>,
    openers: Vec<String>,
    suffixes: Vec<String>,
    fillers: Vec<String>,
    adjectives: Vec<String>,
    shades: Vec<String>,
    verbs: Vec<String>,
    synonyms: BTreeMap<String, Vec<String>>,
    held_out: BTreeMap<String, Vec<String>>,
    train: BTreeMap<String, Vec<String>>,
}

/// Everything the language is made of, parsed.
pub(super) struct Book {
    pub(super) families: BTreeMap<String, Family>,
    /// Other ways to say a place (`at the top` …), as adverbs.
    pub(super) place_forms: BTreeMap<String, Vec<Template>>,
    /// Ways to say a place as a noun (`the top edge`).
    pub(super) spots: BTreeMap<String, Vec<Template>>,
    pub(super) prefixes: Vec<String>,
    pub(super) openers: Vec<String>,
    pub(super) suffixes: Vec<String>,
    pub(super) fillers: Vec<String>,
    pub(super) adjectives: Vec<String>,
    pub(super) shades: Vec<String>,
    /// First words of imperative sentences.
    pub(super) verbs: BTreeSet<String>,
    pub(super) synonyms: BTreeMap<String, Vec<String>>,
    /// Every word of the file, of the classes and of the colours.
    pub(super) words: BTreeSet<String>,
}

/// The sentences of one meaning.
pub(super) struct Family {
    pub(super) train: Vec<Template>,
    pub(super) held_out: Vec<Template>,
}

/// One sentence with its slots and choices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Word(String),
    Slot(String),
    Choice(Vec<Template>),
}

/// A word or a slot of an expanded template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    Word(&'a str),
    Slot(&'a str),
}

impl Template {
    /// Parses a template; unknown lists and open brackets are errors.
    pub(super) fn parse(text: &str, lists: &Lists) -> Result<Self, String> {
        let mut rest = text;
        let template = Self::parse_row(&mut rest, lists)?;
        if rest.is_empty() { Ok(template) } else { Err(format!("`{text}`: unexpected `{rest}`")) }
    }

    fn parse_row(rest: &mut &str, lists: &Lists) -> Result<Self, String> {
        let mut parts = Vec::new();
        loop {
            *rest = rest.trim_start();
            let Some(first) = rest.chars().next() else {
                return Ok(Self(parts));
            };
            match first {
                ')' | '|' => return Ok(Self(parts)),
                '(' => {
                    let mut branches = Vec::new();
                    while rest.starts_with(['(', '|']) {
                        *rest = &rest[1..];
                        branches.push(Self::parse_row(rest, lists)?);
                    }
                    *rest = rest.strip_prefix(')').ok_or("`(` without `)`")?;
                    parts.push(Part::Choice(branches));
                }
                '{' | '[' => {
                    let close = if first == '{' { '}' } else { ']' };
                    let end = rest.find(close).ok_or_else(|| format!("`{first}` stays open"))?;
                    let name = &rest[1..end];
                    *rest = &rest[end + 1..];
                    parts.push(if first == '{' {
                        Part::Slot(name.into())
                    } else {
                        list(name, lists)?
                    });
                }
                _ => {
                    let end = rest.find([' ', '(', ')', '|', '[', '{']).unwrap_or(rest.len());
                    parts.push(Part::Word(rest[..end].into()));
                    *rest = &rest[end..];
                }
            }
        }
    }

    /// One row of words and slots; every choice is made evenly.
    pub(super) fn expand<'a>(&'a self, rng: &mut impl RngCore, out: &mut Vec<Token<'a>>) {
        for part in &self.0 {
            match part {
                Part::Word(word) => out.push(Token::Word(word)),
                Part::Slot(slot) => out.push(Token::Slot(slot)),
                Part::Choice(branches) => branches[below(rng, branches.len())].expand(rng, out),
            }
        }
    }

    /// All words, whichever branch they stand in.
    fn collect(&self, words: &mut BTreeSet<String>) {
        for part in &self.0 {
            match part {
                Part::Word(word) => drop(words.insert(word.clone())),
                Part::Slot(_) => {}
                Part::Choice(branches) => branches.iter().for_each(|row| row.collect(words)),
            }
        }
    }

    /// Every row of words the template can give, slots written `{x}`.
    #[cfg(test)]
    pub(super) fn all(&self) -> Vec<String> {
        let mut rows = vec![String::new()];
        for part in &self.0 {
            let next = match part {
                Part::Word(word) => vec![word.clone()],
                Part::Slot(slot) => vec![format!("{{{slot}}}")],
                Part::Choice(branches) => branches.iter().flat_map(Self::all).collect(),
            };
            rows = rows
                .iter()
                .flat_map(|row| {
                    next.iter().map(move |end| format!("{row} {end}").trim().to_owned())
                })
                .collect();
        }
        rows
    }
}

fn list(name: &str, lists: &Lists) -> Result<Part, String> {
    let text = lists.get(name).ok_or_else(|| format!("there is no list `{name}`"))?;
    let branches = text.split('|').map(|line| Template::parse(line, lists));
    Ok(Part::Choice(branches.collect::<Result<_, _>>()?))
}

type Templates = BTreeMap<String, Vec<Template>>;

fn parse_all(texts: &BTreeMap<String, Vec<String>>, lists: &Lists) -> Result<Templates, String> {
    texts
        .iter()
        .map(|(key, rows)| {
            let rows = rows.iter().map(|row| Template::parse(row, lists));
            Ok((key.clone(), rows.collect::<Result<_, String>>()?))
        })
        .collect()
}

impl Book {
    /// The book of `assets/templates.json`.
    ///
    /// # Panics
    /// Never: the file is part of the crate and tested.
    #[allow(clippy::expect_used, reason = "the file is compiled in and covered by a test")]
    pub(super) fn get() -> &'static Self {
        static BOOK: OnceLock<Book> = OnceLock::new();
        BOOK.get_or_init(|| {
            Self::parse(include_str!("../../assets/templates.json"))
                .expect("assets/templates.json is well formed")
        })
    }

    fn parse(json: &str) -> Result<Self, String> {
        let file: File = serde_json::from_str(json).map_err(|error| error.to_string())?;
        let mut held_out = parse_all(&file.held_out, &file.lists)?;
        let mut families = BTreeMap::new();
        for (key, train) in parse_all(&file.train, &file.lists)? {
            let held_out =
                held_out.remove(&key).ok_or_else(|| format!("`{key}`: none held out"))?;
            families.insert(key, Family { train, held_out });
        }
        let place_forms = parse_all(&file.place_forms, &file.lists)?;
        let spots = parse_all(&file.spots, &file.lists)?;
        if !file.places.keys().eq(place_forms.keys()) || !file.places.keys().eq(spots.keys()) {
            return Err("`places`, `place_forms` and `spots` must have the same keys".into());
        }
        let mut book = Self {
            families,
            place_forms,
            spots,
            prefixes: file.prefixes,
            openers: file.openers,
            suffixes: file.suffixes,
            fillers: file.fillers,
            adjectives: file.adjectives,
            shades: file.shades,
            verbs: file.verbs.into_iter().collect(),
            synonyms: file.synonyms,
            words: BTreeSet::new(),
        };
        let mut words = book.template_words(|family| [&family.train, &family.held_out].into());
        words.extend(book.noise_words());
        words.extend(file.places.keys().flat_map(|place| place.split(' ').map(String::from)));
        book.words = words;
        Ok(book)
    }

    /// The words of the templates that `pick` chooses from each family.
    pub(super) fn template_words(
        &self,
        pick: impl Fn(&Family) -> Vec<&Vec<Template>>,
    ) -> BTreeSet<String> {
        let mut words = BTreeSet::new();
        for family in self.families.values() {
            pick(family).into_iter().flatten().for_each(|template| template.collect(&mut words));
        }
        words
    }

    /// The words of everything but the templates: noise, places, classes, colours, numbers.
    pub(super) fn noise_words(&self) -> BTreeSet<String> {
        let mut words = BTreeSet::new();
        for template in self.place_forms.values().chain(self.spots.values()).flatten() {
            template.collect(&mut words);
        }
        let lists = [
            &self.prefixes,
            &self.openers,
            &self.suffixes,
            &self.fillers,
            &self.adjectives,
            &self.shades,
        ];
        let mut add = |text: &str| words.extend(text.split_whitespace().map(String::from));
        lists.into_iter().flatten().for_each(|text| add(text));
        self.synonyms.values().flatten().for_each(|text| add(text));
        self.synonyms.keys().for_each(|text| add(text));
        for class in classes() {
            for text in
                [&class.name, &class.plural, &class.article].into_iter().chain(&class.synonyms)
            {
                add(text);
            }
        }
        let colours = crate::scene::Background::ALL.map(crate::scene::Background::name);
        let tints = crate::scene::Tint::ALL.map(crate::scene::Tint::name);
        let rest = ["a pair of", "a couple of", "these those this that my", "an one"];
        for text in colours.iter().chain(&tints).chain(&rest) {
            add(text);
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_lists_and_slots_expand_to_every_sentence() {
        let lists =
            Lists::from([("go".into(), "move|take [to]".into()), ("to".into(), "to".into())]);
        let template = Template::parse("[go] {x} (now|)", &lists).unwrap();
        assert_eq!(template.all(), ["move {x} now", "move {x}", "take to {x} now", "take to {x}"]);
        assert!(Template::parse("[gone] {x}", &lists).unwrap_err().contains("no list `gone`"));
        assert!(Template::parse("a (b|c", &lists).unwrap_err().contains("without `)`"));
    }

    #[test]
    fn held_out_sentences_are_never_training_sentences_and_use_their_words() {
        let book = Book::get();
        let mut trained = book.template_words(|family| vec![&family.train]);
        trained.extend(book.noise_words());
        for (key, family) in &book.families {
            assert!(family.train.len() >= 20, "{key}: {}", family.train.len());
            assert_eq!(family.held_out.len(), 2, "{key}");
            let train: BTreeSet<String> = family.train.iter().flat_map(Template::all).collect();
            for sentence in family.held_out.iter().flat_map(Template::all) {
                assert!(!train.contains(&sentence), "{key}: `{sentence}` is trained");
            }
        }
        let held_out = book.template_words(|family| vec![&family.held_out]);
        let unknown: Vec<&String> = held_out.difference(&trained).collect();
        assert!(unknown.is_empty(), "held-out sentences only: {unknown:?}");
    }

    #[test]
    fn two_meanings_never_share_a_sentence() {
        // Two families may not say the same with the same slots; the slots differ where they do
        // (`put {x} left of the {y}` is `add` for a new x, `move the {x}` for a present one).
        let book = Book::get();
        let mut seen: BTreeMap<String, &str> = BTreeMap::new();
        for (key, family) in &book.families {
            for template in family.train.iter().chain(&family.held_out) {
                for sentence in template.all() {
                    let other = seen.insert(sentence.clone(), key);
                    assert!(other.is_none_or(|o| o == key), "{key}, {other:?}: `{sentence}`");
                }
            }
        }
    }
}
