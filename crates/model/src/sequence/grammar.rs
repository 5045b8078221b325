//! Which ids may come next, and where on the canvas the next code will stand.
//!
//! One grammar per mode, one state machine for both writing and checking programs; sampler and
//! trainer run the very same one. It never dead-ends: after [`MAX_STEPS`] steps only the end is left.
//!
//! ```text
//! local   = LOCAL  step* END                      step = SEE box | ERASE box | DRAW box codes | BACKGROUND colour code
//! think   = THINK  step* PICTURE codes END        box  = name [tint] size cell     (no codes in the steps of think)
//! full    = FULL   codes END
//! ```

use super::vocabulary::{Control, Meaning, Vocabulary};
use crate::config::BOX_CELLS;
use crate::editor::Mode;
use crate::error::ModelError;
use crate::ids::TokenId;

/// Most steps a program may have; the longest training program has eight.
pub const MAX_STEPS: usize = 12;

/// Where a token stands: what the additive tables and the rotary sections are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Row on the canvas, if any.
    pub row: Option<usize>,
    /// Column on the canvas, if any.
    pub col: Option<usize>,
    /// Part of a drawn object, if any: see [`part`].
    pub part: Option<usize>,
}

impl Slot {
    /// No place at all.
    pub const NONE: Self = Self { row: None, col: None, part: None };

    /// A cell of the canvas.
    #[must_use]
    pub fn cell(row: usize, col: usize) -> Self {
        Self { row: Some(row), col: Some(col), part: None }
    }
}

/// Number of sprite parts: 4 of a small, 9 of a medium, 16 of a large object.
pub const PARTS: usize = 29;

/// Number of the part at (`row`, `col`) within an object of `cells` × `cells` cells.
#[must_use]
pub fn part(cells: usize, row: usize, col: usize) -> usize {
    let before: usize =
        BOX_CELLS.iter().take_while(|&&size| size < cells).map(|size| size * size).sum();
    before + row * cells + col
}

/// What may come next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// One of these ids, all below the codes; never empty.
    Control(Vec<TokenId>),
    /// Any code, for this place.
    Code(Slot),
    /// Nothing: the program is complete.
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Mode,
    Verb,
    Name(Control),
    TintOrSize(Control, TokenId),
    Size(Control),
    Cell(Control, usize),
    Colour,
    BackgroundCode,
    BoxCode { row: usize, col: usize, cells: usize, at: usize },
    PictureCode(usize),
    End,
    Done,
}

/// The state of one program.
#[derive(Clone, Debug)]
pub struct Grammar<'a> {
    vocabulary: &'a Vocabulary,
    mode: Mode,
    state: State,
    steps: usize,
    /// Cells of the source no step has erased.
    kept: Vec<bool>,
}

impl<'a> Grammar<'a> {
    /// Before the first token of a program of this mode.
    #[must_use]
    pub fn new(vocabulary: &'a Vocabulary, mode: Mode) -> Self {
        let kept = vec![true; vocabulary.grid() * vocabulary.grid()];
        Self { vocabulary, mode, state: State::Mode, steps: 0, kept }
    }

    /// What may come next.
    #[must_use]
    pub fn expect(&self) -> Expect {
        let vocabulary = self.vocabulary;
        let control = |controls: &[Control]| {
            Expect::Control(controls.iter().map(|&c| vocabulary.control(c)).collect())
        };
        let sizes = || BOX_CELLS.iter().filter_map(|&cells| vocabulary.size(cells));
        match self.state {
            State::Mode => control(&[match self.mode {
                Mode::Local => Control::Local,
                Mode::Full => Control::Full,
                Mode::Think => Control::Think,
            }]),
            State::Verb if self.steps >= MAX_STEPS => control(&[self.closing()]),
            State::Verb => control(&[
                Control::See,
                Control::Erase,
                Control::Draw,
                Control::Background,
                self.closing(),
            ]),
            State::Name(_) => Expect::Control(vocabulary.names().to_vec()),
            State::TintOrSize(_, name) if vocabulary.is_tintable(name) => {
                Expect::Control(sizes().chain(vocabulary.tints().iter().copied()).collect())
            }
            State::TintOrSize(..) | State::Size(_) => Expect::Control(sizes().collect()),
            State::Cell(_, cells) => {
                let last = vocabulary.grid() - cells;
                let rows = (0..=last).flat_map(|row| (0..=last).map(move |col| (row, col)));
                Expect::Control(rows.map(|(row, col)| vocabulary.cell(row, col)).collect())
            }
            State::Colour => Expect::Control(vocabulary.backgrounds().to_vec()),
            State::BackgroundCode | State::BoxCode { .. } | State::PictureCode(_) => {
                Expect::Code(self.slot())
            }
            State::End => control(&[Control::End]),
            State::Done => Expect::Nothing,
        }
    }

    /// The place of the next token, if it is a code.
    #[must_use]
    pub fn slot(&self) -> Slot {
        match self.state {
            State::BoxCode { row, col, cells, at } => {
                let (down, right) = (at / cells, at % cells);
                Slot {
                    row: Some(row + down),
                    col: Some(col + right),
                    part: Some(part(cells, down, right)),
                }
            }
            State::PictureCode(at) => {
                Slot::cell(at / self.vocabulary.grid(), at % self.vocabulary.grid())
            }
            _ => Slot::NONE,
        }
    }

    /// The size of the box whose cell comes next, if what is in it will change.
    #[must_use]
    pub fn placing(&self) -> Option<usize> {
        match self.state {
            State::Cell(Control::Erase | Control::Draw, cells) => Some(cells),
            _ => None,
        }
    }

    /// For each cell of the source: has no step erased it?
    #[must_use]
    pub fn kept(&self) -> &[bool] {
        &self.kept
    }

    /// [`Grammar::kept`] where the next token chooses a step after an ERASE, nothing elsewhere.
    #[must_use]
    pub fn left(&self) -> &[bool] {
        let chooses = self.state == State::Verb && self.kept.contains(&false);
        if chooses { &self.kept } else { &[] }
    }

    /// Takes the next token.
    ///
    /// # Errors
    /// [`ModelError::Format`] if the grammar does not allow it; the state is unchanged then.
    pub fn push(&mut self, token: TokenId) -> Result<(), ModelError> {
        let meaning = self.vocabulary.meaning(token);
        let allowed = match self.expect() {
            Expect::Control(allowed) => allowed.contains(&token),
            Expect::Code(_) => matches!(meaning, Some(Meaning::Code(_))),
            Expect::Nothing => false,
        };
        let Some(meaning) = meaning.filter(|_| allowed) else {
            return Err(ModelError::Format {
                what: "program".into(),
                problem: format!("`{}` can't stand here", self.vocabulary.label(token)),
            });
        };
        self.advance(token, meaning);
        Ok(())
    }

    fn closing(&self) -> Control {
        if self.mode == Mode::Think { Control::Picture } else { Control::End }
    }

    fn advance(&mut self, token: TokenId, meaning: Meaning) {
        let grid = self.vocabulary.grid();
        let cells = grid * grid;
        if let (State::Cell(Control::Erase, size), Meaning::Cell(row, col)) = (self.state, meaning)
        {
            for line in self.kept.chunks_mut(grid).skip(row).take(size) {
                line[col..col + size].fill(false);
            }
        }
        self.state = match (self.state, meaning) {
            (State::Mode, _) if self.mode == Mode::Full => State::PictureCode(0),
            (State::Verb, Meaning::Control(Control::Background)) => State::Colour,
            (State::Verb, Meaning::Control(Control::Picture)) => State::PictureCode(0),
            (State::Verb, Meaning::Control(Control::End)) | (State::End, _) => State::Done,
            (State::Verb, Meaning::Control(verb)) => State::Name(verb),
            (State::Name(verb), _) => State::TintOrSize(verb, token),
            (State::TintOrSize(verb, _) | State::Size(verb), Meaning::Size(size)) => {
                State::Cell(verb, size)
            }
            (State::TintOrSize(verb, _), _) => State::Size(verb),
            (State::Cell(Control::Draw, cells), Meaning::Cell(row, col))
                if self.mode == Mode::Local =>
            {
                State::BoxCode { row, col, cells, at: 0 }
            }
            (State::Colour, _) if self.mode == Mode::Local => State::BackgroundCode,
            (State::BoxCode { row, col, cells, at }, _) if at + 1 < cells * cells => {
                State::BoxCode { row, col, cells, at: at + 1 }
            }
            (State::PictureCode(at), _) if at + 1 < cells => State::PictureCode(at + 1),
            (State::PictureCode(_), _) => State::End,
            (State::Mode, _) => State::Verb,
            _ => {
                self.steps += 1;
                State::Verb
            }
        };
    }
}
