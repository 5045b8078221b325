//! Programs as people mean them ↔ programs as the decoder writes them.

use super::grammar::{Expect, Grammar};
use super::vocabulary::{Control, Meaning, Vocabulary};
use crate::editor::Mode;
use crate::error::ModelError;
use crate::ids::{CodeId, TokenId};

/// An object in a box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The word that names it.
    pub name: TokenId,
    /// Its tint; `None` is the natural colour.
    pub tint: Option<TokenId>,
    /// Topmost row.
    pub row: usize,
    /// Leftmost column.
    pub col: usize,
    /// Cells a side.
    pub cells: usize,
}

/// One step of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Look at an object that stays.
    See(Placed),
    /// Take an object away.
    Erase(Placed),
    /// Draw an object; its codes row by row, empty in a plan.
    Draw(Placed, Vec<CodeId>),
    /// Change the background; its code is absent in a plan.
    Background(TokenId, Option<CodeId>),
}

/// The tokens of a program, checked by the grammar: mode, steps, whole picture if the mode has one.
///
/// # Errors
/// [`ModelError::Format`] if the steps or codes do not make a program of this mode.
pub fn write(
    vocabulary: &Vocabulary,
    mode: Mode,
    steps: &[Step],
    picture: &[CodeId],
) -> Result<Vec<TokenId>, ModelError> {
    let mut tokens = vec![opening(vocabulary, mode)];
    if mode != Mode::Full {
        for step in steps {
            write_step(vocabulary, mode, step, &mut tokens)?;
        }
    }
    if mode == Mode::Think {
        tokens.push(vocabulary.control(Control::Picture));
    }
    if mode != Mode::Local {
        tokens.extend(picture.iter().map(|&code| vocabulary.code(code)));
    }
    tokens.push(vocabulary.control(Control::End));
    let mut grammar = Grammar::new(vocabulary, mode);
    for &token in &tokens {
        grammar.push(token)?;
    }
    match grammar.expect() {
        Expect::Nothing => Ok(tokens),
        _ => Err(ModelError::Format { what: "program".into(), problem: "is not complete".into() }),
    }
}

/// The control tokens of a plan in their order: mode, steps without their codes, and what ends the plan.
///
/// # Errors
/// [`ModelError::Format`] if a box has a size no object has.
pub fn plan_tokens(
    vocabulary: &Vocabulary,
    mode: Mode,
    steps: &[Step],
) -> Result<Vec<TokenId>, ModelError> {
    let mut tokens = vec![opening(vocabulary, mode)];
    for step in steps {
        write_step(vocabulary, Mode::Think, step, &mut tokens)?; // a mode whose steps carry no codes
    }
    let closing = if mode == Mode::Think { Control::Picture } else { Control::End };
    tokens.push(vocabulary.control(closing));
    Ok(tokens)
}

/// The token a program of this mode begins with.
fn opening(vocabulary: &Vocabulary, mode: Mode) -> TokenId {
    vocabulary.control(match mode {
        Mode::Local => Control::Local,
        Mode::Full => Control::Full,
        Mode::Think => Control::Think,
    })
}

fn write_step(
    vocabulary: &Vocabulary,
    mode: Mode,
    step: &Step,
    tokens: &mut Vec<TokenId>,
) -> Result<(), ModelError> {
    let codes: &[CodeId] = match step {
        Step::Draw(_, codes) => codes,
        Step::Background(_, code) => code.as_slice(),
        _ => &[],
    };
    let (verb, placed) = match step {
        Step::See(placed) => (Control::See, Some(placed)),
        Step::Erase(placed) => (Control::Erase, Some(placed)),
        Step::Draw(placed, _) => (Control::Draw, Some(placed)),
        Step::Background(..) => (Control::Background, None),
    };
    tokens.push(vocabulary.control(verb));
    if let Step::Background(colour, _) = step {
        tokens.push(*colour);
    }
    if let Some(placed) = placed {
        let size = vocabulary.size(placed.cells).ok_or_else(|| ModelError::Format {
            what: "program".into(),
            problem: format!("no object is {} cells wide", placed.cells),
        })?;
        tokens.push(placed.name);
        tokens.extend(placed.tint);
        tokens.push(size);
        tokens.push(vocabulary.cell(placed.row, placed.col));
    }
    if mode == Mode::Local {
        tokens.extend(codes.iter().map(|&code| vocabulary.code(code)));
    }
    Ok(())
}

/// The steps of a program and the codes of its whole picture (empty in `local`).
///
/// # Errors
/// [`ModelError::Format`] if the tokens are not a complete program of this mode.
pub fn parse(
    vocabulary: &Vocabulary,
    mode: Mode,
    tokens: &[TokenId],
) -> Result<(Vec<Step>, Vec<CodeId>), ModelError> {
    let mut grammar = Grammar::new(vocabulary, mode);
    let (mut steps, mut picture) = (Vec::new(), Vec::new());
    let mut open = OpenStep::default();
    let mut in_picture = mode == Mode::Full;
    for &token in tokens {
        grammar.push(token)?;
        match vocabulary.meaning(token) {
            Some(Meaning::Code(code)) if in_picture => picture.push(code),
            Some(Meaning::Code(code)) => open.codes.push(code),
            Some(Meaning::Control(control)) => {
                steps.extend(std::mem::take(&mut open).close());
                in_picture |= control == Control::Picture;
                open.verb = Some(control);
            }
            Some(Meaning::Word(_)) if open.name.is_none() => open.name = Some(token),
            Some(Meaning::Word(_)) => open.tint = Some(token),
            Some(Meaning::Size(cells)) => open.cells = cells,
            Some(Meaning::Cell(row, col)) => open.place = Some((row, col)),
            None => {}
        }
    }
    match grammar.expect() {
        Expect::Nothing => Ok((steps, picture)),
        _ => Err(ModelError::Format { what: "program".into(), problem: "is not complete".into() }),
    }
}

#[derive(Default)]
struct OpenStep {
    verb: Option<Control>,
    name: Option<TokenId>,
    tint: Option<TokenId>,
    cells: usize,
    place: Option<(usize, usize)>,
    codes: Vec<CodeId>,
}

impl OpenStep {
    fn close(self) -> Option<Step> {
        let (verb, name) = (self.verb?, self.name?);
        if verb == Control::Background {
            return Some(Step::Background(name, self.codes.first().copied()));
        }
        let (row, col) = self.place?;
        let placed = Placed { name, tint: self.tint, row, col, cells: self.cells };
        match verb {
            Control::See => Some(Step::See(placed)),
            Control::Erase => Some(Step::Erase(placed)),
            Control::Draw => Some(Step::Draw(placed, self.codes)),
            _ => None,
        }
    }
}
