//! The code of every cell of every drawing over every background: a table, made once by the encoder.
//!
//! Since the encoder sees one cell and one background colour, training pairs need no picture at all:
//! the codes of a scene are looked up. Drawn objects get *canonical* codes, the commonest of a cell
//! over the ten backgrounds, so that what to draw does not depend on what lies behind.

use crate::tok::{CellTable, PIXELS};
use earl_model::vision::{Layer, LayeredVq};
use earl_model::{CodeGrid, CodeId};
use earl_scenes::{Background, ClassId, Object, Scene, Style, Tint};
use rayon::prelude::*;
use std::collections::BTreeMap;

const BACKGROUNDS: usize = Background::ALL.len();

/// Codes of drawings by (class, tint, cells), cell by cell.
pub(crate) struct CodeTable {
    flat: [CodeId; BACKGROUNDS],
    drawings: BTreeMap<(ClassId, Option<Tint>, u8), Drawing>,
}

struct Drawing {
    /// `[cell][background]`; `None` for a cell that shows nothing.
    over: Vec<Option<[CodeId; BACKGROUNDS]>>,
    /// `[cell]`.
    canonical: Vec<Option<CodeId>>,
}

impl CodeTable {
    /// Encodes every cell of a style over every named background.
    #[must_use]
    pub(crate) fn new(tokenizer: &LayeredVq, style: Style) -> Self {
        let cells = CellTable::new(style);
        let encode = |background: &Background| {
            let rgb = background.rgb();
            let book = tokenizer.over(rgb);
            let code = |index: usize| {
                let (colour, alpha) = cells.row(index).split_at(PIXELS * 3);
                let layer = Layer { colour: colour.to_vec(), alpha: alpha.to_vec() };
                book.nearest(&layer.over(rgb))
            };
            let codes: Vec<CodeId> = (0..cells.parts.len()).map(code).collect();
            (codes, book.nearest(&rgb.repeat(PIXELS)))
        };
        let over: Vec<(Vec<CodeId>, CodeId)> = Background::ALL.par_iter().map(encode).collect();
        let mut drawings: BTreeMap<_, Drawing> = BTreeMap::new();
        for (index, part) in cells.parts.iter().enumerate() {
            let drawing =
                drawings.entry((part.class, part.tint, part.cells)).or_insert_with(|| {
                    let count = usize::from(part.cells) * usize::from(part.cells);
                    Drawing { over: vec![None; count], canonical: vec![None; count] }
                });
            let at = usize::from(part.at.0) * usize::from(part.cells) + usize::from(part.at.1);
            let codes: [CodeId; BACKGROUNDS] = std::array::from_fn(|b| over[b].0[index]);
            drawing.canonical[at] = Some(commonest(&codes));
            drawing.over[at] = Some(codes);
        }
        Self { flat: std::array::from_fn(|b| over[b].1), drawings }
    }

    /// The code of a flat cell.
    #[must_use]
    pub(crate) fn flat(&self, background: Background) -> CodeId {
        self.flat[background as usize]
    }

    /// The codes of a scene, as the encoder would give them.
    #[must_use]
    pub(crate) fn scene(&self, scene: &Scene) -> CodeGrid {
        let mut grid = self.empty(scene.background);
        for object in &scene.objects {
            let drawing = &self.drawings[&(object.class, object.tint, object.cells)];
            let at = scene.background as usize;
            put(&mut grid, object, drawing.over.iter().map(|codes| codes.map(|codes| codes[at])));
        }
        grid
    }

    /// The canonical codes of an object drawn on a background.
    #[must_use]
    pub(crate) fn draw(&self, object: &Object, background: Background) -> Vec<CodeId> {
        let drawing = &self.drawings[&(object.class, object.tint, object.cells)];
        let flat = self.flat(background);
        drawing.canonical.iter().map(|code| code.unwrap_or(flat)).collect()
    }

    /// The codes of an edit's target: what stood in the source keeps its codes, the rest is drawn.
    #[must_use]
    pub(crate) fn target(&self, source: &Scene, target: &Scene) -> CodeGrid {
        let mut grid = self.empty(target.background);
        for object in &target.objects {
            let drawing = &self.drawings[&(object.class, object.tint, object.cells)];
            if source.objects.contains(object) {
                let at = source.background as usize;
                put(
                    &mut grid,
                    object,
                    drawing.over.iter().map(|codes| codes.map(|codes| codes[at])),
                );
            } else {
                put(&mut grid, object, drawing.canonical.iter().copied());
            }
        }
        grid
    }

    /// Distinct codes in the table, and the share of cells whose code is the canonical one.
    #[must_use]
    pub(crate) fn usage(&self) -> (usize, f64) {
        let mut used: Vec<CodeId> = self.flat.to_vec();
        let (mut same, mut all) = (0usize, 0usize);
        for drawing in self.drawings.values() {
            for (codes, canonical) in
                drawing.over.iter().flatten().zip(drawing.canonical.iter().flatten())
            {
                used.extend(codes);
                all += codes.len();
                same += codes.iter().filter(|&code| code == canonical).count();
            }
        }
        used.sort_unstable();
        used.dedup();
        (used.len(), same as f64 / all.max(1) as f64)
    }

    fn empty(&self, background: Background) -> CodeGrid {
        let side = usize::from(earl_scenes::GRID);
        CodeGrid { height: side, width: side, codes: vec![self.flat(background); side * side] }
    }
}

fn put(grid: &mut CodeGrid, object: &Object, codes: impl Iterator<Item = Option<CodeId>>) {
    let side = usize::from(object.cells);
    for (at, code) in codes.enumerate() {
        if let Some(code) = code {
            let cell = grid
                .index(usize::from(object.row) + at / side, usize::from(object.col) + at % side);
            grid.codes[cell] = code;
        }
    }
}

fn commonest(codes: &[CodeId]) -> CodeId {
    let count = |code: &CodeId| codes.iter().filter(|other| *other == code).count();
    let best = codes.iter().max_by_key(|code| (count(code), std::cmp::Reverse(**code)));
    best.copied().unwrap_or(CodeId(0))
}
