//! Detected objects ↔ the clauses of a check: what was done, what stayed, what is too much.
//!
//! No pixels here. Each detected object answers for one thing at most. Start at [`Clauses::read`].

use super::detect::Detection;
use crate::example::{Check, NewObject};
use crate::scene::{GRID, Object, Scene};

/// Which clauses hold.
pub(super) struct Clauses {
    /// Clauses: background, each new object, each gone one, each group.
    pub(super) count: usize,
    /// Those that hold.
    pub(super) satisfied: usize,
    /// Kept objects, and those of them that were found.
    kept: (usize, usize),
    /// Detected objects that answer for a new one.
    pub(super) new_found: Vec<usize>,
    /// Detected objects that nobody asked for.
    pub(super) unexpected: Vec<usize>,
    /// What is wrong, one line each.
    pub(super) faults: Vec<String>,
}

impl Clauses {
    /// Reads the clauses of `check` off what was detected.
    pub(super) fn read(scene: &Scene, check: &Check, detection: &Detection) -> Self {
        let mut clauses = Self {
            count: 0,
            satisfied: 0,
            kept: (0, 0),
            new_found: Vec::new(),
            unexpected: Vec::new(),
            faults: Vec::new(),
        };
        let (asked, seen) = (check.background, detection.background);
        clauses.clause(asked == seen, || {
            format!("the background is {}, not {}", seen.name(), asked.name())
        });
        // What each source object looks like now: the detected object at its very place, if any.
        let still: Vec<Option<usize>> = scene
            .objects
            .iter()
            .map(|object| detection.objects.iter().position(|found| found.object == *object))
            .collect();
        let mut used = vec![false; detection.objects.len()];
        clauses.read_kept(scene, check, &still, &mut used);
        clauses.read_some(scene, check, &still, &mut used);
        clauses.read_new(check, detection, &mut used);
        clauses.read_gone(scene, check, &still, &used);
        for (at, found) in detection.objects.iter().enumerate().filter(|(at, _)| !used[*at]) {
            clauses.unexpected.push(at);
            clauses.faults.push(format!("unexpected {}", told(found.object)));
        }
        clauses
    }

    /// Does every clause hold?
    pub(super) fn all_satisfied(&self) -> bool {
        self.satisfied == self.count
    }

    /// Was every kept object found?
    pub(super) fn all_kept(&self) -> bool {
        self.kept.0 == self.kept.1
    }

    /// Share of the kept objects that were found; 1 if none had to stay.
    pub(super) fn kept_share(&self) -> f32 {
        if self.kept.0 == 0 { 1.0 } else { self.kept.1 as f32 / self.kept.0 as f32 }
    }

    fn clause(&mut self, holds: bool, fault: impl FnOnce() -> String) {
        self.count += 1;
        if holds {
            self.satisfied += 1;
        } else {
            self.faults.push(fault());
        }
    }

    fn read_kept(
        &mut self,
        scene: &Scene,
        check: &Check,
        still: &[Option<usize>],
        used: &mut [bool],
    ) {
        for &at in check.kept.iter().filter(|&&at| at < scene.objects.len()) {
            self.kept.0 += 1;
            if let Some(found) = still[at] {
                self.kept.1 += 1;
                used[found] = true;
            } else {
                self.faults.push(format!("no longer as it was: {}", told(scene.objects[at])));
            }
        }
    }

    fn read_some(
        &mut self,
        scene: &Scene,
        check: &Check,
        still: &[Option<usize>],
        used: &mut [bool],
    ) {
        for some in &check.some {
            let here = some.of.iter().filter_map(|&at| still.get(at).copied().flatten());
            let stayed = here.inspect(|&found| used[found] = true).count();
            let name = some.of.first().and_then(|&at| scene.objects.get(at));
            let name = name.map_or("?", |object| object.class.class().plural.as_str());
            self.clause(stayed == some.n, || {
                format!("{stayed} of the {name} stayed, not {}", some.n)
            });
        }
    }

    /// Gives as many new objects as possible a detected one of their own (augmenting paths).
    fn read_new(&mut self, check: &Check, detection: &Detection, used: &mut [bool]) {
        let mut owner: Vec<Option<usize>> = vec![None; detection.objects.len()];
        for at in 0..check.new.len() {
            let mut visited = used.to_vec();
            let matched = assign(at, &check.new, detection, &mut visited, &mut owner);
            self.clause(matched, || {
                let new = &check.new[at];
                let tint = new.tint.map_or(String::new(), |tint| format!("{} ", tint.name()));
                format!("no {tint}{} at any of its places", new.class.class().name)
            });
        }
        self.new_found = (0..owner.len()).filter(|&found| owner[found].is_some()).collect();
        self.new_found.iter().for_each(|&found| used[found] = true);
    }

    fn read_gone(&mut self, scene: &Scene, check: &Check, still: &[Option<usize>], used: &[bool]) {
        let grouped = |at: &usize| check.some.iter().any(|some| some.of.contains(at));
        for at in (0..scene.objects.len()).filter(|at| !check.kept.contains(at) && !grouped(at)) {
            let gone = still[at].is_none_or(|found| used[found]);
            self.clause(gone, || format!("still there: {}", told(scene.objects[at])));
        }
    }
}

/// Finds new object `at` a detected one, moving others to their other choices where needed.
fn assign(
    at: usize,
    new: &[NewObject],
    detection: &Detection,
    visited: &mut [bool],
    owner: &mut [Option<usize>],
) -> bool {
    for (found, object) in detection.objects.iter().map(|found| found.object).enumerate() {
        let place = [object.row, object.col, object.cells];
        let fits = new[at].class == object.class
            && new[at].tint == object.tint
            && new[at].places.contains(&place);
        if !fits || visited[found] {
            continue;
        }
        visited[found] = true;
        let free = match owner[found] {
            None => true,
            Some(other) => assign(other, new, detection, visited, owner),
        };
        if free {
            owner[found] = Some(at);
            return true;
        }
    }
    false
}

/// An object in words: `medium red dog at row 2, column 3`.
fn told(object: Object) -> String {
    let size = match object.cells {
        2 => "small",
        3 => "medium",
        _ => "large",
    };
    let tint = object.tint.map_or(String::new(), |tint| format!("{} ", tint.name()));
    let Object { row, col, .. } = object;
    let name = &object.class.class().name;
    debug_assert!(row < GRID && col < GRID, "a detected object lies on the canvas");
    format!("{size} {tint}{name} at row {row}, column {col}")
}
