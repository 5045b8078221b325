//! Of an edit's right answers always the same one: what a decoder that writes cell by cell can learn.
//!
//! Most edits leave open where a new object stands. Whoever names its box first may draw it anywhere;
//! a decoder that writes the whole picture without a plan would have to choose anew at every cell, and
//! the likeliest code of each is then the background's. Start at [`Example::first_answer`];
//! [`Example::first_alike`] does the same for what plans erase.

use crate::example::{Example, NewObject, Op, Step};
use crate::place::Place;
use crate::scene::{Object, Scene};

/// Sizes of a new object whose size is left open, preferred first.
const SIZES: [u8; 3] = [3, 2, 4];

impl Example {
    /// The right answer that comes first when the picture is read row by row: each new object in the
    /// first box of a middle size that is free, then of a small, then of a large one; of several alike
    /// the first ones go. Objects that swap stand as in `target`, as near to each other's places as can be.
    #[must_use]
    pub fn first_answer(&self) -> Scene {
        if self.op == Op::Swap {
            return self.target.clone();
        }
        let mut objects = self.staying();
        for new in &self.check.new {
            match first_box(new, &objects) {
                Some(object) => objects.push(object),
                None => return self.target.clone(), // what came first took the room of the rest
            }
        }
        Scene { background: self.check.background, objects }
    }

    /// The same edit with what goes erased in reading order, of several alike the first ones; objects that
    /// swap are drawn in the order they were erased in.
    #[must_use]
    pub fn first_alike(mut self) -> Self {
        let stays = self.staying();
        let mut gone = self.scene.objects.clone();
        gone.retain(|object| !stays.contains(object));
        gone.sort_by_key(|object| (object.row, object.col));
        if self.op == Op::Swap {
            let order = |object: &Object| gone.iter().position(|gone| gone.class == object.class);
            self.plan
                .sort_by_key(|step| if let Step::Draw(new) = step { order(new) } else { None });
        }
        if !self.check.some.is_empty() {
            self.target.objects = stays;
        }
        let mut erased = gone.into_iter();
        for step in &mut self.plan {
            if let Step::Erase(object) = step {
                *object = erased.next().unwrap_or(*object);
            }
        }
        self
    }

    /// Source objects that stay, the last ones of several alike.
    fn staying(&self) -> Vec<Object> {
        let source = &self.scene.objects;
        let mut stays = self.check.kept.clone();
        for some in &self.check.some {
            let mut alike = some.of.clone();
            alike.sort_by_key(|&at| (source[at].row, source[at].col));
            stays.extend(&alike[alike.len() - some.n..]);
        }
        stays.sort_unstable();
        stays.into_iter().map(|at| source[at]).collect()
    }
}

/// The object in the first of its boxes that none of `taken` overlaps.
fn first_box(new: &NewObject, taken: &[Object]) -> Option<Object> {
    let free = |&[row, col, cells]: &[u8; 3]| {
        let place = Place { row, col, cells };
        taken.iter().all(|object| !place.overlaps(object.into()))
    };
    let preference = |cells: u8| SIZES.iter().position(|&size| size == cells);
    let [row, col, cells] = *new
        .places
        .iter()
        .filter(|place| free(place))
        .min_by_key(|&&[row, col, cells]| (preference(cells), row, col))?;
    Some(Object { class: new.class, tint: new.tint, row, col, cells })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::example;
    use crate::oracle::judge;
    use crate::render::render;
    use crate::{Background, Check, ClassId, SomeOf, Split};

    #[test]
    fn it_is_always_right() {
        let (mut moved, mut all) = (0, 0);
        for index in 0..220 {
            let example = example(3, index, Split::Train, None);
            let answer = example.first_answer();
            let style = example.style;
            let (source, edited) = (render(&example.scene, style), render(&answer, style));
            let score = judge(&source, &edited, None, &example.scene, &example.check, style);
            assert!(score.success, "{}: {:?}", example.instruction, score.faults);
            (moved, all) = (moved + usize::from(answer != example.target), all + 1);
        }
        assert!(moved * 4 > all, "{moved} of {all} differ from the random answer");
    }

    #[test]
    fn of_several_alike_the_first_are_erased_in_reading_order() {
        let erased = |plan: &[Step]| -> Vec<Object> {
            let erased =
                |step: &Step| if let Step::Erase(gone) = step { Some(*gone) } else { None };
            plan.iter().filter_map(erased).collect()
        };
        let drawn = |plan: &[Step]| -> Vec<ClassId> {
            let drawn =
                |step: &Step| if let Step::Draw(new) = step { Some(new.class) } else { None };
            plan.iter().filter_map(drawn).collect()
        };
        let mut other = 0;
        for index in 0..330 {
            let example = example(5, index, Split::Train, None);
            let ordered = example.clone().first_alike();
            let gone = erased(&ordered.plan);
            assert!(gone.is_sorted_by_key(|object| (object.row, object.col)));
            assert_eq!(gone.len(), erased(&example.plan).len());
            let mut left = example.scene.objects.clone();
            left.retain(|object| !gone.contains(object));
            assert!(ordered.target.objects.starts_with(&left), "{ordered:?}");
            let style = example.style;
            let (source, edited) = (render(&example.scene, style), render(&ordered.target, style));
            let score = judge(&source, &edited, None, &example.scene, &example.check, style);
            assert!(score.success, "{}: {:?}", example.instruction, score.faults);
            if example.op == Op::Swap {
                let gone: Vec<ClassId> = gone.iter().map(|object| object.class).collect();
                assert_eq!(drawn(&ordered.plan), gone);
            }
            other += usize::from(ordered != example);
        }
        assert!(other > 20, "{other} of 330 differ from the drawn order");
    }

    #[test]
    fn boxes_are_taken_row_by_row_and_the_first_of_several_alike_go() {
        let object =
            |class, row, col, cells| Object { class: ClassId(class), tint: None, row, col, cells };
        let source = Scene {
            background: Background::White,
            objects: vec![
                object(1, 4, 0, 2),
                object(1, 0, 0, 2),
                object(2, 0, 2, 2),
                object(1, 4, 4, 2),
            ],
        };
        let mut edit = example(1, 0, Split::Train, Some(Op::Add));
        let new = NewObject {
            class: ClassId(7),
            tint: None,
            places: vec![[0, 4, 2], [1, 3, 3], [2, 1, 3], [2, 4, 3], [0, 4, 4]],
        };
        edit.check = Check {
            background: Background::Blue,
            kept: vec![2],
            new: vec![new.clone(), new],
            some: vec![SomeOf { of: vec![0, 1, 3], n: 1 }],
        };
        edit.scene = source;
        let objects =
            vec![object(2, 0, 2, 2), object(1, 4, 4, 2), object(7, 2, 1, 3), object(7, 0, 4, 2)];
        assert_eq!(edit.first_answer(), Scene { background: Background::Blue, objects });
    }
}
