//! Bench files: one example a line, as `docs/SCENES.md` describes them, checked before use.
//!
//! Start at [`read_bench`].

use crate::example::{Check, Example};
use crate::scene::{GRID, OBJECT_CELLS, Object, Scene};
use std::fmt;

/// A line that is no example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLine {
    /// Number of the line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub problem: String,
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.problem)
    }
}

/// The examples of a bench file and the lines that hold none; empty lines are skipped.
#[must_use]
pub fn read_bench(text: &str) -> (Vec<Example>, Vec<BadLine>) {
    let (mut examples, mut bad) = (Vec::new(), Vec::new());
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let parsed = serde_json::from_str::<Example>(line).map_err(|error| error.to_string());
        match parsed.and_then(|example| example.verified().map(|()| example)) {
            Ok(example) => examples.push(example),
            Err(problem) => bad.push(BadLine { line: at + 1, problem }),
        }
    }
    (examples, bad)
}

impl Example {
    /// Checks what the types can't: boxes on the canvas, no overlaps, indices that exist.
    ///
    /// # Errors
    /// Names the field and the broken rule.
    pub fn verified(&self) -> Result<(), String> {
        scene_is_sound(&self.scene).map_err(|problem| format!("`scene`: {problem}"))?;
        scene_is_sound(&self.target).map_err(|problem| format!("`target`: {problem}"))?;
        check_is_sound(&self.check, self.scene.objects.len())
            .map_err(|problem| format!("`check`: {problem}"))
    }
}

fn scene_is_sound(scene: &Scene) -> Result<(), String> {
    for (at, object) in scene.objects.iter().enumerate() {
        place_is_sound([object.row, object.col, object.cells])
            .map_err(|problem| format!("object {at}: {problem}"))?;
        if scene.objects[..at].iter().any(|other| overlap(other, object)) {
            return Err(format!("object {at} overlaps another"));
        }
    }
    Ok(())
}

fn place_is_sound([row, col, cells]: [u8; 3]) -> Result<(), String> {
    if !OBJECT_CELLS.contains(&cells) {
        return Err(format!("`cells` is {cells}; it must be one of {OBJECT_CELLS:?}"));
    }
    if row.saturating_add(cells) > GRID || col.saturating_add(cells) > GRID {
        return Err(format!("box [{row}, {col}, {cells}] leaves the {GRID}×{GRID} canvas"));
    }
    Ok(())
}

fn overlap(a: &Object, b: &Object) -> bool {
    let meet = |a0: u8, an: u8, b0: u8, bn: u8| a0 < b0 + bn && b0 < a0 + an;
    meet(a.row, a.cells, b.row, b.cells) && meet(a.col, a.cells, b.col, b.cells)
}

fn check_is_sound(check: &Check, objects: usize) -> Result<(), String> {
    let groups = check.some.iter().flat_map(|some| &some.of);
    if let Some(at) = check.kept.iter().chain(groups).find(|&&at| at >= objects) {
        return Err(format!("object {at} does not exist; the scene has {objects}"));
    }
    for new in &check.new {
        if new.places.is_empty() {
            return Err(format!("`new` {} has no place", new.class.class().name));
        }
        new.places.iter().try_for_each(|&place| place_is_sound(place))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Split, example};

    #[test]
    fn written_lines_are_read_back_and_bad_ones_named() {
        let made = example(3, 0, Split::Seen, None);
        let line = serde_json::to_string(&made).unwrap();
        let outside = line.replacen("\"row\":", "\"row\":9", 1);
        let (examples, bad) = read_bench(&format!("{line}\n\n{{}}\n{outside}\n"));
        assert_eq!(examples, [made]);
        assert_eq!(bad.iter().map(|bad| bad.line).collect::<Vec<_>>(), [3, 4]);
        assert!(bad[1].problem.contains("leaves the 8×8 canvas"), "{}", bad[1]);
    }

    #[test]
    fn indices_beyond_the_scene_are_refused() {
        let mut made = example(3, 1, Split::Seen, None);
        made.check.kept.push(99);
        let problem = made.verified().unwrap_err();
        assert!(problem.contains("object 99 does not exist"), "{problem}");
    }
}
