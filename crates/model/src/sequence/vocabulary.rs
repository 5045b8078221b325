//! Which token id means what: control tokens, sizes, words, cells, then picture codes.
//!
//! ```text
//! 0 ……… control ……… sizes ……… words ……… cells | codes ………
//! ```
//! Everything before `|` shares one softmax, the codes another (EARL's
//! `separate_language_and_vision_vocabs`). The only place where ids are computed.

use crate::config::{BOX_CELLS, ModelConfig};
use crate::ids::{CodeId, TokenId};
use crate::text::WordTokenizer;

/// Tokens that steer a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Control {
    /// Opens a program whose codes stand only in the drawn boxes.
    Local,
    /// Opens a whole picture at once.
    Full,
    /// Opens a plan that is followed by a whole picture.
    Think,
    /// An object the sentence refers to and that stays.
    See,
    /// An object that goes.
    Erase,
    /// An object that is drawn.
    Draw,
    /// The background takes another colour.
    Background,
    /// The plan ends, the whole picture follows.
    Picture,
    /// The program ends.
    End,
}

impl Control {
    /// All, in the order of their ids.
    pub const ALL: [Self; 9] = [
        Self::Local,
        Self::Full,
        Self::Think,
        Self::See,
        Self::Erase,
        Self::Draw,
        Self::Background,
        Self::Picture,
        Self::End,
    ];

    /// As people read it.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Local => "LOCAL",
            Self::Full => "FULL",
            Self::Think => "THINK",
            Self::See => "SEE",
            Self::Erase => "ERASE",
            Self::Draw => "DRAW",
            Self::Background => "BACKGROUND",
            Self::Picture => "PICTURE",
            Self::End => "END",
        }
    }
}

/// What a token id means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// A control token.
    Control(Control),
    /// A box of this many cells a side.
    Size(usize),
    /// Index of a word.
    Word(usize),
    /// Row and column of a cell.
    Cell(usize, usize),
    /// A picture code.
    Code(CodeId),
}

/// Ids of one model, both ways.
#[derive(Clone, Debug)]
pub struct Vocabulary {
    words: WordTokenizer,
    grid: usize,
    codes: usize,
    names: Vec<TokenId>,
    tintable: Vec<bool>,
    tints: Vec<TokenId>,
    backgrounds: Vec<TokenId>,
}

const SIZES: usize = Control::ALL.len();
const WORDS: usize = SIZES + BOX_CELLS.len();

impl Vocabulary {
    /// The ids of a checked configuration.
    #[must_use]
    pub fn new(config: &ModelConfig) -> Self {
        let words = WordTokenizer::new(&config.text);
        let ids = |list: &[String]| -> Vec<TokenId> {
            // `ModelConfig::check` made sure that every one is a known word.
            list.iter()
                .filter_map(|word| words.index(word))
                .map(|at| TokenId((WORDS + at) as u32))
                .collect()
        };
        Self {
            names: ids(&config.text.names),
            tints: ids(&config.text.tints),
            backgrounds: ids(&config.text.backgrounds),
            tintable: config.text.tintable.clone(),
            grid: config.vision.grid,
            codes: config.vision.codebook_size,
            words,
        }
    }

    /// The text tokenizer.
    #[must_use]
    pub fn text(&self) -> &WordTokenizer {
        &self.words
    }
    /// Cells along one side of the canvas.
    #[must_use]
    pub fn grid(&self) -> usize {
        self.grid
    }
    /// Ids before the first code: the size of the control softmax.
    #[must_use]
    pub fn control_len(&self) -> usize {
        self.first_cell() + self.grid * self.grid
    }
    /// Codes: the size of the code softmax.
    #[must_use]
    pub fn code_len(&self) -> usize {
        self.codes
    }
    /// Id of the first cell; cells are the last of the control ids.
    #[must_use]
    pub fn first_cell(&self) -> usize {
        WORDS + self.words.words().len()
    }
    /// Id of a control token.
    #[must_use]
    pub fn control(&self, control: Control) -> TokenId {
        TokenId(control as u32)
    }
    /// Id of a box size; `None` if no object has it.
    #[must_use]
    pub fn size(&self, cells: usize) -> Option<TokenId> {
        BOX_CELLS.iter().position(|&size| size == cells).map(|at| TokenId((SIZES + at) as u32))
    }
    /// Id of a word by its index.
    #[must_use]
    pub fn word(&self, index: usize) -> TokenId {
        TokenId((WORDS + index) as u32)
    }
    /// Id of a word by its spelling.
    #[must_use]
    pub fn word_named(&self, word: &str) -> Option<TokenId> {
        self.words.index(word).map(|index| self.word(index))
    }
    /// Id of a cell.
    #[must_use]
    pub fn cell(&self, row: usize, col: usize) -> TokenId {
        TokenId((self.first_cell() + row * self.grid + col) as u32)
    }
    /// Id of a picture code.
    #[must_use]
    pub fn code(&self, code: CodeId) -> TokenId {
        TokenId(self.control_len() as u32 + code.0)
    }
    /// Ids of the words that name things, in class order.
    #[must_use]
    pub fn names(&self) -> &[TokenId] {
        &self.names
    }
    /// Ids of the tints.
    #[must_use]
    pub fn tints(&self) -> &[TokenId] {
        &self.tints
    }
    /// Ids of the background colours.
    #[must_use]
    pub fn backgrounds(&self) -> &[TokenId] {
        &self.backgrounds
    }
    /// May the thing of this name carry a tint?
    #[must_use]
    pub fn is_tintable(&self, name: TokenId) -> bool {
        self.names.iter().position(|&known| known == name).is_some_and(|at| self.tintable[at])
    }

    /// What an id means; `None` beyond the vocabulary.
    #[must_use]
    pub fn meaning(&self, token: TokenId) -> Option<Meaning> {
        let id = token.0 as usize;
        let cells = self.first_cell();
        Some(match id {
            _ if id < SIZES => Meaning::Control(Control::ALL[id]),
            _ if id < WORDS => Meaning::Size(BOX_CELLS[id - SIZES]),
            _ if id < cells => Meaning::Word(id - WORDS),
            _ if id < self.control_len() => {
                Meaning::Cell((id - cells) / self.grid, (id - cells) % self.grid)
            }
            _ if id < self.control_len() + self.codes => {
                Meaning::Code(CodeId((id - self.control_len()) as u32))
            }
            _ => return None,
        })
    }

    /// An id as people read it.
    #[must_use]
    pub fn label(&self, token: TokenId) -> String {
        match self.meaning(token) {
            Some(Meaning::Control(control)) => control.label().into(),
            Some(Meaning::Size(cells)) => size_word(cells).into(),
            Some(Meaning::Word(index)) => self.words.words()[index].clone(),
            Some(Meaning::Cell(row, col)) => format!("row {}, column {}", row + 1, col + 1),
            Some(Meaning::Code(code)) => format!("code {}", code.0),
            None => format!("unknown id {}", token.0),
        }
    }
}

/// A box size as people read it.
#[must_use]
pub fn size_word(cells: usize) -> &'static str {
    match cells {
        2 => "small",
        3 => "medium",
        _ => "large",
    }
}
