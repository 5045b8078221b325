//! The complex operations: relation, move, resize, count, swap, multi.

use super::{Draft, Drafter, NewOne, PLACES, Saying};
use crate::example::{Op, SomeOf, Step};
use crate::generate::is_visible;
use crate::place::{Place, Relation, free_places};
use crate::random::{below, chance, pick};
use crate::refer::refer;
use crate::scene::{ClassId, OBJECT_CELLS, Object, Scene};
use rand_chacha::rand_core::RngCore;

/// Share of relations that are `between`.
const BETWEEN: f64 = 1.0 / 6.0;
/// Share of moves that name a place instead of an anchor.
const MOVE_TO_REGION: f64 = 0.35;
/// Share of `multi` edits that end with a new background.
const WITH_BACKGROUND: f64 = 0.6;

impl Drafter<'_> {
    pub(super) fn relation(&mut self) -> Option<Draft> {
        let anchor = self.any_object()?;
        let first = Place::from(&self.scene.objects[anchor]);
        if chance(self.rng, BETWEEN) {
            let other = self.any_object().filter(|&other| other != anchor)?;
            let second = Place::from(&self.scene.objects[other]);
            let classes = [self.scene.objects[anchor].class, self.scene.objects[other].class];
            let new = self.new_object(&classes, |place| place.is_between(first, second))?;
            let slots = vec![
                ("x", new.text.clone()),
                ("y", refer(self.scene, anchor, self.rng)?),
                ("z", refer(self.scene, other, self.rng)?),
            ];
            return Some(self.finish("between", slots, &[anchor, other], &[], vec![new]));
        }
        let relation = *pick(self.rng, &Relation::ALL)?;
        let class = self.scene.objects[anchor].class;
        let new = self.new_object(&[class], |place| place.is(relation, first))?;
        let slots = vec![("x", new.text.clone()), ("y", refer(self.scene, anchor, self.rng)?)];
        let family = format!("rel_{}", relation.suffix());
        Some(self.finish(&family, slots, &[anchor], &[], vec![new]))
    }

    pub(super) fn move_object(&mut self) -> Option<Draft> {
        let at = self.any_object()?;
        let object = self.scene.objects[at];
        let mut slots = vec![("x", refer(self.scene, at, self.rng)?)];
        if chance(self.rng, MOVE_TO_REGION) {
            let (words, thirds) = *pick(self.rng, &PLACES)?;
            if !self.novelty.allows(None, &[]) {
                return None;
            }
            slots.push(("place", words.to_owned()));
            let new = self.moved(at, object, |place| place.is_in(thirds))?;
            return Some(self.finish("move_region", slots, &[], &[at], vec![new]));
        }
        let anchor = self.any_object().filter(|&anchor| anchor != at)?;
        let anchor_object = self.scene.objects[anchor];
        if !self.novelty.allows(None, &[(object.class, anchor_object.class)]) {
            return None;
        }
        let relation = *pick(self.rng, &Relation::ALL)?;
        slots.push(("y", refer(self.scene, anchor, self.rng)?));
        let new =
            self.moved(at, object, |place| place.is(relation, Place::from(&anchor_object)))?;
        let family = format!("move_{}", relation.suffix());
        Some(self.finish(&family, slots, &[anchor], &[at], vec![new]))
    }

    /// The object in another box of its size that fits; its present one must not.
    fn moved(&mut self, at: usize, object: Object, fits: impl Fn(Place) -> bool) -> Option<NewOne> {
        if fits(Place::from(&object)) {
            return None;
        }
        let taken = self.taken_without(&[at]);
        let mut places = free_places(&taken, &[object.cells]);
        places.retain(|&place| fits(place));
        let place = *pick(self.rng, &places)?;
        Some(NewOne {
            object: Object { row: place.row, col: place.col, ..object },
            text: String::new(),
            places,
        })
    }

    pub(super) fn resize(&mut self) -> Option<Draft> {
        let at = self.any_object()?;
        let object = self.scene.objects[at];
        let bigger = chance(self.rng, 0.5);
        let cells = if bigger { object.cells + 1 } else { object.cells - 1 };
        if !OBJECT_CELLS.contains(&cells) {
            return None;
        }
        let phrase = refer(self.scene, at, self.rng)?;
        let taken = self.taken_without(&[at]);
        let mut places = free_places(&taken, &[cells]);
        places.retain(|place| place.is_near(Place::from(&object)));
        let place = *pick(self.rng, &places)?;
        let new = Object { row: place.row, col: place.col, cells, ..object };
        if !is_visible(&new, self.scene.background, self.style) {
            return None;
        }
        let family = if bigger { "bigger" } else { "smaller" };
        let new = NewOne { object: new, text: String::new(), places };
        Some(self.finish(family, vec![("x", phrase)], &[], &[at], vec![new]))
    }

    pub(super) fn count(&mut self) -> Option<Draft> {
        let repeated: Option<ClassId> =
            self.scene.objects.iter().map(|object| object.class).find(|&class| {
                self.scene.objects.iter().filter(|object| object.class == class).count() > 1
            });
        match repeated.filter(|_| self.novelty.allows(None, &[])) {
            Some(class) => Some(self.count_down(class)),
            None => self.count_up(),
        }
    }

    fn count_up(&mut self) -> Option<Draft> {
        let class = self.new_class(&[])?;
        let n = 2 + below(self.rng, 2);
        let plural = crate::instruct::plural(class.class(), self.rng);
        let mut taken = self.taken_without(&[]);
        let all =
            self.place_new(class, None, None, String::new(), &taken.clone(), |_| true)?.places;
        let mut new = Vec::new();
        for _ in 0..n {
            let mut one =
                self.place_new(class, None, None, String::new(), &taken.clone(), |_| true)?;
            taken.push(Place::from(&one.object));
            one.places.clone_from(&all);
            new.push(one);
        }
        let slots = vec![("n", number(n).to_owned()), ("xs", plural)];
        Some(self.finish("count_add", slots, &[], &[], new))
    }

    fn count_down(&mut self, class: ClassId) -> Draft {
        let mut of: Vec<usize> = (0..self.scene.objects.len())
            .filter(|&at| self.scene.objects[at].class == class)
            .collect();
        let total = of.len();
        let stay = below(self.rng, total);
        let plural = crate::instruct::plural(class.class(), self.rng);
        let (family, slots) = match (stay, total - stay) {
            (0, _) => ("count_all", vec![("xs", plural)]),
            (1, _) if chance(self.rng, 0.5) => {
                let noun = crate::instruct::noun(class.class(), self.rng);
                ("count_leave1", vec![("x", noun), ("xs", plural)])
            }
            (_, n) => ("count_remove", vec![("n", number(n).to_owned()), ("xs", plural)]),
        };
        let group = of.clone();
        while of.len() > total - stay {
            of.remove(below(self.rng, of.len()));
        }
        let mut draft = self.finish(family, slots, &[], &of, vec![]);
        if stay > 0 {
            draft.check.kept.retain(|at| !group.contains(at));
            draft.check.some.push(SomeOf { of: group, n: stay });
        }
        draft
    }

    pub(super) fn swap(&mut self) -> Option<Draft> {
        let one = self.any_object()?;
        let two = self.any_object().filter(|&two| two != one)?;
        let (first, second) = (one.min(two), one.max(two));
        let (a, b) = (self.scene.objects[first], self.scene.objects[second]);
        if a.class == b.class || !self.novelty.allows(None, &[(a.class, b.class)]) {
            return None;
        }
        let taken = self.taken_without(&[first, second]);
        let places = |object: &Object, other: &Object| {
            let mut places = free_places(&taken, &[object.cells]);
            places.retain(|place| place.is_near(Place::from(other)));
            places
        };
        let (places_a, places_b) = (places(&a, &b), places(&b, &a));
        let (place_a, place_b) =
            nearest_pair(&places_a, Place::from(&b), &places_b, Place::from(&a))?;
        let at = |object: Object, place: Place| Object { row: place.row, col: place.col, ..object };
        let new = vec![
            NewOne { object: at(a, place_a), text: String::new(), places: places_a },
            NewOne { object: at(b, place_b), text: String::new(), places: places_b },
        ];
        let mut slots = vec![
            ("x", refer(self.scene, first, self.rng)?),
            ("y", refer(self.scene, second, self.rng)?),
        ];
        if chance(self.rng, 0.5) {
            let (x, y) = (slots[0].1.clone(), slots[1].1.clone());
            slots = vec![("x", y), ("y", x)];
        }
        Some(self.finish("swap", slots, &[], &[first, second], new))
    }

    pub(super) fn multi(&mut self) -> Option<Draft> {
        let with_background = chance(self.rng, WITH_BACKGROUND);
        let op = if with_background {
            *pick(self.rng, &[Op::Remove, Op::Add, Op::Replace, Op::Recolor])?
        } else {
            Op::Remove
        };
        let mut first = self.draft(op)?;
        // The second half sees the first one's result; indices of kept objects go back through it.
        let scene = first.target.clone();
        let mut second_drafter = Drafter {
            scene: &scene,
            style: self.style,
            novelty: self.novelty,
            rng: &mut *self.rng,
        };
        let second =
            second_drafter.draft(if with_background { Op::Background } else { Op::Add })?;
        if second.check.new.iter().any(|new| new.class == removed_class(self.scene, &first)) {
            return None; // "remove the cat and add a cat" names two things by one word
        }
        first.check.background = second.check.background;
        first.check.new.extend(second.check.new);
        first.plan.extend(second.plan);
        let mut halves = vec![first.saying, second.saying];
        if with_background && self.rng.next_u32().is_multiple_of(2) {
            halves.reverse();
        }
        let saying = Saying { family: "multi".into(), slots: Vec::new(), halves };
        Some(Draft { saying, check: first.check, target: second.target, plan: first.plan })
    }

    fn taken_without(&self, gone: &[usize]) -> Vec<Place> {
        let stays = |(at, object)| (!gone.contains(&at)).then(|| Place::from(object));
        self.scene.objects.iter().enumerate().filter_map(stays).collect()
    }
}

fn removed_class(scene: &Scene, draft: &Draft) -> ClassId {
    let erased = draft.plan.iter().find_map(|step| match step {
        Step::Erase(object) => Some(object.class),
        _ => None,
    });
    // No class has this number: nothing was removed.
    debug_assert!(scene.objects.len() < 100);
    erased.unwrap_or(ClassId(u8::MAX))
}

fn number(n: usize) -> &'static str {
    match n {
        1 => "one",
        2 => "two",
        _ => "three",
    }
}

/// The two boxes nearest to the exchanged centres that do not overlap; the first on a tie.
fn nearest_pair(a: &[Place], to_a: Place, b: &[Place], to_b: Place) -> Option<(Place, Place)> {
    let distance = |place: Place, to: Place| {
        let ((y, x), (ty, tx)) = (place.centre2(), to.centre2());
        (y - ty).pow(2) + (x - tx).pow(2)
    };
    a.iter()
        .flat_map(|&one| b.iter().map(move |&two| (one, two)))
        .filter(|(one, two)| !one.overlaps(*two))
        .min_by_key(|&(one, two)| distance(one, to_a) + distance(two, to_b))
}
