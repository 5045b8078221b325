//! The `words` tokenizer: a sentence is lower-cased and cut into known words and punctuation.
//!
//! A word outside the vocabulary is an error that names it and words that look alike; nothing is
//! guessed, since a silent copy would be worse than "not understood".

use crate::config::WordsConfig;
use crate::error::ModelError;
use strsim::osa_distance;

/// Cuts sentences into words of the vocabulary.
#[derive(Clone, Debug)]
pub struct WordTokenizer {
    words: Vec<String>,
    max_words: usize,
}

/// Most suggestions an unknown word gets.
const SUGGESTIONS: usize = 3;
/// Characters an instruction may have; far above what `max_words` words need.
const MAX_CHARACTERS: usize = 1_000;

impl WordTokenizer {
    /// A tokenizer over the sorted words of `config`.
    #[must_use]
    pub fn new(config: &WordsConfig) -> Self {
        Self { words: config.words.clone(), max_words: config.max_words }
    }

    /// The vocabulary, sorted.
    #[must_use]
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// Index of a word in the vocabulary.
    #[must_use]
    pub fn index(&self, word: &str) -> Option<usize> {
        self.words.binary_search_by(|known| known.as_str().cmp(word)).ok()
    }

    /// The sentence as indices of words.
    ///
    /// # Errors
    /// [`ModelError::Instruction`] if it is empty or too long, [`ModelError::NotUnderstood`] for the
    /// first unknown word.
    pub fn encode(&self, instruction: &str) -> Result<Vec<usize>, ModelError> {
        let characters = instruction.chars().count();
        if characters > MAX_CHARACTERS {
            return Err(ModelError::Instruction {
                problem: format!("has {characters} characters, more than {MAX_CHARACTERS}"),
            });
        }
        let mut indices = Vec::new();
        for word in split(instruction) {
            match self.index(&word) {
                Some(index) => indices.push(index),
                // A mark no sentence of the training data holds carries no meaning here.
                None if word.chars().all(|c| c.is_ascii_punctuation()) => {}
                None => return Err(self.not_understood(word)),
            }
        }
        if indices.is_empty() {
            return Err(ModelError::Instruction { problem: "is empty".into() });
        }
        if indices.len() > self.max_words {
            return Err(ModelError::Instruction {
                problem: format!("has {} words, more than {}", indices.len(), self.max_words),
            });
        }
        Ok(indices)
    }

    fn not_understood(&self, word: String) -> ModelError {
        let near = self.near(&word);
        ModelError::NotUnderstood { word, near }
    }

    /// Known words that look alike, the likest first.
    #[must_use]
    pub fn near(&self, word: &str) -> Vec<String> {
        let mut near: Vec<(usize, &String)> = self
            .words
            .iter()
            .map(|known| (osa_distance(word, known), known))
            .filter(|&(distance, known)| distance <= 2.min(known.chars().count() / 2))
            .collect();
        near.sort();
        near.into_iter().take(SUGGESTIONS).map(|(_, known)| known.clone()).collect()
    }
}

/// Lower-case words; punctuation stands alone; an apostrophe or hyphen within a word stays.
fn split(sentence: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut current = String::new();
    let characters: Vec<char> = sentence.to_lowercase().replace('’', "'").chars().collect();
    for (at, &c) in characters.iter().enumerate() {
        let inside = matches!(c, '\'' | '-')
            && !current.is_empty()
            && characters.get(at + 1).is_some_and(|next| next.is_alphanumeric());
        if c.is_alphanumeric() || inside {
            current.push(c);
            continue;
        }
        if !current.is_empty() {
            words.push(std::mem::take(&mut current));
        }
        if !c.is_whitespace() {
            words.push(c.to_string());
        }
    }
    if !current.is_empty() {
        words.push(current);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokenizer() -> WordTokenizer {
        let mut words: Vec<String> =
            [",", "cat", "don't", "remove", "t-shirt", "the"].map(String::from).to_vec();
        words.sort();
        let config = WordsConfig {
            words,
            max_words: 4,
            names: vec!["cat".into()],
            tintable: vec![false],
            tints: vec![],
            backgrounds: vec![],
        };
        WordTokenizer::new(&config)
    }

    #[test]
    fn sentences_are_cut_into_lower_case_words() {
        assert_eq!(split("Remove the CAT, don’t!"), ["remove", "the", "cat", ",", "don't", "!"]);
        assert_eq!(split("a t-shirt -"), ["a", "t-shirt", "-"]);
        let tokenizer = tokenizer();
        let ids = tokenizer.encode("Remove the cat!").unwrap();
        let words: Vec<&str> = ids.iter().map(|&id| tokenizer.words()[id].as_str()).collect();
        assert_eq!(words, ["remove", "the", "cat"]);
    }

    #[test]
    fn unknown_words_are_named_with_words_that_look_alike() {
        let error = tokenizer().encode("remove the cta").unwrap_err();
        assert_eq!(error.to_string(), "not understood: `cta`");
        assert_eq!(error.hint(), "did you mean `cat`?");
        let error = tokenizer().encode("remove the zebra").unwrap_err();
        assert!(error.hint().starts_with("say it with other words"));
    }

    #[test]
    fn empty_and_endless_sentences_are_refused() {
        assert!(matches!(tokenizer().encode("  ! "), Err(ModelError::Instruction { .. })));
        assert!(matches!(
            tokenizer().encode("the the the the the"),
            Err(ModelError::Instruction { .. })
        ));
        let error = tokenizer().encode(&"a ".repeat(5_000)).unwrap_err();
        assert_eq!(error.to_string(), "instruction has 10000 characters, more than 1000");
    }
}
