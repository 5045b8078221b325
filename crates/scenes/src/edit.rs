//! Edits: one operation on a scene, with its sentence's slots, its check, one right answer, its plan.
//!
//! An edit that can't be said or done is not made (`None`): the caller draws again. Which objects of
//! several right answers the target takes is random; the check lists them all.
//! Start at [`draft`].

use crate::example::{Check, NewObject, Op, SomeOf, Step};
use crate::generate::{all_visible, draw_tint, is_visible};
use crate::place::{Place, free_places};
use crate::random::{below, chance, pick, weighted};
use crate::refer::{name_new, refer};
use crate::scene::{Background, ClassId, OBJECT_CELLS, Object, Scene, Style, Tint};
use crate::split::{Novelty, absent_classes};
use rand_chacha::ChaCha8Rng;

mod complex;

/// What the sentence says: a family of templates and its slots.
#[derive(Clone, Debug)]
pub(crate) struct Saying {
    pub(crate) family: String,
    pub(crate) slots: Vec<(&'static str, String)>,
    /// The two halves of a `multi`.
    pub(crate) halves: Vec<Saying>,
}

/// An edit before its sentence is written.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) saying: Saying,
    pub(crate) check: Check,
    pub(crate) target: Scene,
    pub(crate) plan: Vec<Step>,
}

/// Makes edits of one scene from one random stream.
pub(crate) struct Drafter<'a> {
    pub(crate) scene: &'a Scene,
    pub(crate) style: Style,
    pub(crate) novelty: Novelty,
    pub(crate) rng: &'a mut ChaCha8Rng,
}

/// Weights of a new object's size, small to large.
const NEW_SIZES: [f64; 3] = [0.2, 0.6, 0.2];
/// Share of additions that name a place.
const REGION_SAID: f64 = 0.6;
/// Chance that a new tintable object is tinted.
const NEW_TINTED: f64 = 0.3;

/// The nine places a sentence may name: rows and columns of thirds.
const PLACES: [(&str, [Option<u8>; 2]); 9] = [
    ("at the top left", [Some(0), Some(0)]),
    ("at the top", [Some(0), None]),
    ("at the top right", [Some(0), Some(2)]),
    ("on the left side", [None, Some(0)]),
    ("in the middle", [Some(1), Some(1)]),
    ("on the right side", [None, Some(2)]),
    ("at the bottom left", [Some(2), Some(0)]),
    ("at the bottom", [Some(2), None]),
    ("at the bottom right", [Some(2), Some(2)]),
];

/// Operations of which an edit can be new to the model by its classes alone.
pub(crate) const NOVEL_OPS: [Op; 6] =
    [Op::Add, Op::Replace, Op::Relation, Op::Move, Op::Count, Op::Swap];

/// A drawn new object, its phrase, and every box it may take.
struct NewOne {
    object: Object,
    text: String,
    places: Vec<Place>,
}

impl Drafter<'_> {
    /// One edit of this operation, if the scene allows it.
    pub(crate) fn draft(&mut self, op: Op) -> Option<Draft> {
        match op {
            Op::Add => self.add(),
            Op::Remove => self.remove(),
            Op::Replace => self.replace(),
            Op::Recolor => self.recolor(),
            Op::Background => self.background(),
            Op::Relation => self.relation(),
            Op::Move => self.move_object(),
            Op::Resize => self.resize(),
            Op::Count => self.count(),
            Op::Swap => self.swap(),
            Op::Multi => self.multi(),
        }
    }

    fn add(&mut self) -> Option<Draft> {
        let region =
            if chance(self.rng, REGION_SAID) { pick(self.rng, &PLACES).copied() } else { None };
        let new =
            self.new_object(&[], |place| region.is_none_or(|(_, thirds)| place.is_in(thirds)))?;
        let mut slots = vec![("x", new.text.clone())];
        slots.extend(region.map(|(words, _)| ("place", words.to_owned())));
        let family = if region.is_some() { "add_region" } else { "add" };
        Some(self.finish(family, slots, &[], &[], vec![new]))
    }

    fn remove(&mut self) -> Option<Draft> {
        let at = self.any_object()?;
        let phrase = refer(self.scene, at, self.rng)?;
        Some(self.finish("remove", vec![("x", phrase)], &[], &[at], vec![]))
    }

    fn replace(&mut self) -> Option<Draft> {
        let at = self.any_object()?;
        let old = self.scene.objects[at];
        let class = self.new_class(&[old.class])?;
        let tint = draw_tint(self.rng, class, NEW_TINTED);
        let phrase = name_new(class.class(), tint, self.rng);
        // The box is given, so a size word would be a lie or say nothing.
        if phrase.cells.is_some_and(|cells| cells != old.cells) {
            return None;
        }
        let new = self.in_box(Object { class, tint, ..old }, phrase.text)?;
        let slots = vec![("x", refer(self.scene, at, self.rng)?), ("y", new.text.clone())];
        Some(self.finish("replace", slots, &[], &[at], vec![new]))
    }

    fn recolor(&mut self) -> Option<Draft> {
        let tintable: Vec<usize> = (0..self.scene.objects.len())
            .filter(|&at| self.scene.objects[at].class.class().tintable)
            .collect();
        let at = *pick(self.rng, &tintable)?;
        let old = self.scene.objects[at];
        let tint = *pick(self.rng, &Tint::ALL)?;
        if old.tint == Some(tint) {
            return None;
        }
        let slots =
            vec![("x", refer(self.scene, at, self.rng)?), ("color", tint.name().to_owned())];
        let new = self.in_box(Object { tint: Some(tint), ..old }, String::new())?;
        Some(self.finish("recolor", slots, &[], &[at], vec![new]))
    }

    fn background(&mut self) -> Option<Draft> {
        let background = *pick(self.rng, &Background::ALL)?;
        let target = Scene { background, ..self.scene.clone() };
        if background == self.scene.background || !all_visible(&target, self.style) {
            return None;
        }
        let slots = vec![("color", background.name().to_owned())];
        let mut draft = self.finish("background", slots, &[], &[], vec![]);
        draft.check.background = background;
        draft.plan.push(Step::Background(background));
        draft.target = target;
        Some(draft)
    }

    fn any_object(&mut self) -> Option<usize> {
        let count = self.scene.objects.len();
        (count > 0).then(|| below(self.rng, count))
    }

    /// A class that does not stand in the scene, allowed with these anchors as the new one.
    fn new_class(&mut self, first: &[ClassId]) -> Option<ClassId> {
        let novelty = self.novelty;
        let fits = |&class: &ClassId| {
            let pairs: Vec<_> = first.iter().map(|&other| (other, class)).collect();
            novelty.allows(Some(class), &pairs)
        };
        let classes: Vec<ClassId> = absent_classes(self.scene).into_iter().filter(fits).collect();
        pick(self.rng, &classes).copied()
    }

    /// A new object in a free box that `fits`, allowed beside these anchors.
    fn new_object(&mut self, anchors: &[ClassId], fits: impl Fn(Place) -> bool) -> Option<NewOne> {
        let novelty = self.novelty;
        let allowed = |&class: &ClassId| {
            let pairs: Vec<_> = anchors.iter().map(|&anchor| (class, anchor)).collect();
            novelty.allows(Some(class), &pairs)
        };
        let classes: Vec<ClassId> =
            absent_classes(self.scene).into_iter().filter(allowed).collect();
        let class = *pick(self.rng, &classes)?;
        let tint = draw_tint(self.rng, class, NEW_TINTED);
        let phrase = name_new(class.class(), tint, self.rng);
        let taken: Vec<Place> = self.scene.objects.iter().map(Place::from).collect();
        self.place_new(class, tint, phrase.cells, phrase.text, &taken, fits)
    }

    fn place_new(
        &mut self,
        class: ClassId,
        tint: Option<Tint>,
        cells: Option<u8>,
        text: String,
        taken: &[Place],
        fits: impl Fn(Place) -> bool,
    ) -> Option<NewOne> {
        let sizes: Vec<u8> = cells.map_or(OBJECT_CELLS.to_vec(), |cells| vec![cells]);
        let object = |place: Place| Object {
            class,
            tint,
            row: place.row,
            col: place.col,
            cells: place.cells,
        };
        let visible = |place: Place| is_visible(&object(place), self.scene.background, self.style);
        let mut places = free_places(taken, &sizes);
        places.retain(|&place| fits(place) && visible(place));
        let by_size = |cells: u8| places.iter().filter(|place| place.cells == cells).count();
        let weights: Vec<f64> = OBJECT_CELLS
            .iter()
            .zip(NEW_SIZES)
            .map(|(&cells, weight)| if by_size(cells) > 0 { weight } else { 0.0 })
            .collect();
        let cells = OBJECT_CELLS[weighted(self.rng, &weights)?];
        let of_size: Vec<Place> =
            places.iter().copied().filter(|place| place.cells == cells).collect();
        let place = *pick(self.rng, &of_size)?;
        Some(NewOne { object: object(place), text, places })
    }

    /// A new object in exactly this box.
    fn in_box(&self, object: Object, text: String) -> Option<NewOne> {
        let visible = is_visible(&object, self.scene.background, self.style);
        visible.then(|| NewOne { object, text, places: vec![Place::from(&object)] })
    }

    /// Puts an edit together: anchors are looked at, `gone` objects erased, new ones drawn.
    fn finish(
        &self,
        family: &str,
        slots: Vec<(&'static str, String)>,
        anchors: &[usize],
        gone: &[usize],
        new: Vec<NewOne>,
    ) -> Draft {
        let objects = &self.scene.objects;
        let kept: Vec<usize> = (0..objects.len()).filter(|at| !gone.contains(at)).collect();
        let mut target = Scene {
            background: self.scene.background,
            objects: kept.iter().map(|&at| objects[at]).collect(),
        };
        let mut plan: Vec<Step> = anchors.iter().map(|&at| Step::See(objects[at])).collect();
        plan.extend(gone.iter().map(|&at| Step::Erase(objects[at])));
        plan.extend(new.iter().map(|new| Step::Draw(new.object)));
        target.objects.extend(new.iter().map(|new| new.object));
        let new = new.into_iter().map(|new| NewObject {
            class: new.object.class,
            tint: new.object.tint,
            places: new.places.into_iter().map(Place::as_array).collect(),
        });
        let check = Check {
            background: self.scene.background,
            kept,
            new: new.collect(),
            some: Vec::<SomeOf>::new(),
        };
        let saying = Saying { family: family.to_owned(), slots, halves: Vec::new() };
        Draft { saying, check, target, plan }
    }
}
