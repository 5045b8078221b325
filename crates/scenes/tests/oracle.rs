//! The oracle over the data set: sources fail, every right answer passes, planted errors are named.

#![allow(
    clippy::too_many_lines,
    reason = "a planted error and all that follows from it stay together"
)]

mod edits;

use earl_scenes::{
    Background, Check, ClassId, Example, NewObject, Object, Scene, SomeOf, Style, Tint, classes,
    judge, render,
};
use image::{Rgb, RgbImage};

use edits::{examples, is_free, score, score_of};

/// The object of `target` that stands for new object `at` of the check, if there is just one.
fn drawn(example: &Example, at: usize) -> Option<usize> {
    let new = &example.check.new[at];
    let stands = |object: &Object| {
        let place = [object.row, object.col, object.cells];
        (object.class, object.tint) == (new.class, new.tint) && new.places.contains(&place)
    };
    let here: Vec<usize> =
        (0..example.target.objects.len()).filter(|&o| stands(&example.target.objects[o])).collect();
    if let [one] = here[..] { Some(one) } else { None }
}

#[test]
fn sources_fail_and_targets_pass_for_every_operation_and_split() {
    let mut count = 0;
    let begin = std::time::Instant::now();
    for example in examples(24) {
        count += 1;
        let context = || format!("{:?} {} `{}`", example.op, example.id, example.instruction);
        let right = score_of(&example, &example.target);
        assert!(right.success && right.overall >= 9.9, "{}: {right:?}", context());
        assert_eq!(right.outside_changed, 0, "{}", context());
        assert!(right.faults.is_empty(), "{}: {:?}", context(), right.faults);
        let copied = score_of(&example, &example.scene);
        assert!(!copied.success && copied.instruction <= 5.0, "{}: {copied:?}", context());
        assert!(!copied.faults.is_empty(), "{}", context());
    }
    let judgements = f64::from(2 * count);
    println!(
        "{count} examples, {:.2} ms a judgement",
        begin.elapsed().as_secs_f64() * 1e3 / judgements
    );
    assert!(count >= 1_000);
}

#[test]
fn a_missing_or_wrongly_tinted_new_object_fails_the_instruction() {
    let (mut missing, mut tinted) = (0, 0);
    for example in examples(6).filter(|example| !example.check.new.is_empty()) {
        let Some(at) = drawn(&example, 0) else {
            continue;
        };
        let mut answer = example.target.clone();
        let object = answer.objects.remove(at);
        let verdict = score_of(&example, &answer);
        assert!(!verdict.success && verdict.instruction <= 5.0, "{}: {verdict:?}", example.id);
        let name = &object.class.class().name;
        assert!(
            verdict.faults.iter().any(|f| f.contains(&format!("{name} at any"))),
            "{verdict:?}"
        );
        missing += 1;
        if object.class.class().tintable {
            let other = if object.tint == Some(Tint::Green) { Tint::Purple } else { Tint::Green };
            answer.objects.push(Object { tint: Some(other), ..object });
            let verdict = score_of(&example, &answer);
            assert!(!verdict.success && verdict.instruction <= 5.0, "{}: {verdict:?}", example.id);
            tinted += 1;
        }
    }
    println!("{missing} without a new object, {tinted} in a wrong tint");
    assert!(missing >= 150 && tinted >= 20);
}

#[test]
fn a_moved_object_fails_preservation_and_an_extra_one_cleanness() {
    let (mut moved, mut extra) = (0, 0);
    for example in examples(6) {
        let context = || format!("{:?} {}", example.op, example.id);
        let places = || (0..8).flat_map(|row| (0..8).map(move |col| (row, col)));
        if let Some(&at) = example.check.kept.first() {
            let object = example.scene.objects[at];
            let mut answer = example.target.clone();
            answer.objects.retain(|other| *other != object);
            let place = places().map(|(row, col)| Object { row, col, ..object });
            if let Some(place) = place.clone().find(|o| *o != object && is_free(*o, &answer)) {
                answer.objects.push(place);
                let verdict = score_of(&example, &answer);
                assert!(
                    !verdict.success && verdict.preservation < 9.0,
                    "{}: {verdict:?}",
                    context()
                );
                assert!(verdict.faults.iter().any(|f| f.starts_with("no longer")), "{verdict:?}");
                moved += 1;
            }
        }
        let named = |object: &Object| object.class == ClassId(18);
        let new = example.check.new.iter().any(|new| new.class == ClassId(18));
        let dog = places().map(|(row, col)| Object {
            class: ClassId(18),
            tint: None,
            row,
            col,
            cells: 2,
        });
        if let Some(dog) = dog.clone().find(|dog| is_free(*dog, &example.target))
            && !new
            && !example.scene.objects.iter().any(named)
        {
            let mut answer = example.target.clone();
            answer.objects.push(dog);
            let verdict = score_of(&example, &answer);
            assert!(!verdict.success && verdict.clean <= 5.0, "{}: {verdict:?}", context());
            assert!(
                verdict.faults.iter().any(|f| f.starts_with("unexpected small dog")),
                "{verdict:?}"
            );
            extra += 1;
        }
    }
    println!("{moved} with a kept object moved, {extra} with an extra dog");
    assert!(moved >= 150 && extra >= 200);
}

#[test]
fn a_smudge_outside_is_seen_and_counted_and_noise_is_worth_nothing() {
    let mut smudged = 0;
    for example in examples(3) {
        let mut picture = render(&example.target, example.style);
        let spot = (0..8).flat_map(|row| (0..8).map(move |col| (row, col))).find(|&(row, col)| {
            let cell = Object { class: ClassId(0), tint: None, row, col, cells: 1 };
            is_free(cell, &example.target) && is_free(cell, &example.scene)
        });
        if let Some((row, col)) = spot {
            let (left, top) = (u32::from(col) * 8 + 2, u32::from(row) * 8 + 2);
            for at in 0..16 {
                picture.put_pixel(left + at % 4, top + at / 4, Rgb([200, 30, 90]));
            }
            let verdict = score(&example, &picture);
            let recoloured = example.check.background != example.scene.background;
            assert!(!verdict.success && verdict.clean < 9.0, "{}: {verdict:?}", example.id);
            let changed = if recoloured { 0 } else { 16 };
            assert_eq!(verdict.outside_changed, changed, "{}: {verdict:?}", example.id);
            assert!(recoloured || verdict.preservation < 10.0, "{}: {verdict:?}", example.id);
            smudged += 1;
        }
        let mut state = 12_345_u32;
        let noise = RgbImage::from_fn(64, 64, |_, _| {
            Rgb([0; 3].map(|_: u8| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            }))
        });
        let verdict = score(&example, &noise);
        assert!(!verdict.success && verdict.overall <= 1.0, "{}: {verdict:?}", example.id);
    }
    assert!(smudged >= 120, "{smudged}");
}

#[test]
fn another_right_place_is_as_good_as_the_drawn_one() {
    let mut accepted = 0;
    for example in examples(8).filter(|example| !example.check.new.is_empty()) {
        let Some(at) = drawn(&example, 0) else {
            continue;
        };
        let mut rest = example.target.clone();
        let object = rest.objects.remove(at);
        let place = |&[row, col, cells]: &[u8; 3]| Object { row, col, cells, ..object };
        let places: Vec<Object> = example.check.new[0].places.iter().map(place).collect();
        // With other new objects about, a place may depend on theirs; look at single ones only.
        if example.check.new.len() > 1 || places.len() < 2 {
            continue;
        }
        let mut others = places.iter().filter(|place| **place != object && is_free(**place, &rest));
        if let Some(other) = others.next_back() {
            let mut answer = rest.clone();
            answer.objects.push(*other);
            let verdict = score_of(&example, &answer);
            assert!(verdict.success && verdict.overall >= 9.9, "{}: {verdict:?}", example.id);
            accepted += 1;
        }
    }
    println!("{accepted} other right answers accepted");
    assert!(accepted >= 60);
}

/// Three apples of which exactly one may stay, any of them; the cat stays.
#[test]
fn groups_count_how_many_stay() {
    let thing =
        |class: u8, row, col| Object { class: ClassId(class), tint: None, row, col, cells: 2 };
    let apples = [thing(0, 0, 0), thing(0, 0, 3), thing(0, 3, 0)];
    let objects = vec![apples[0], apples[1], apples[2], thing(17, 5, 5)];
    let scene = Scene { background: Background::Blue, objects };
    let some = vec![SomeOf { of: vec![0, 1, 2], n: 1 }];
    let check = Check { background: Background::Blue, kept: vec![3], new: vec![], some };
    let verdict = |objects: Vec<Object>| {
        let answer = Scene { background: Background::Blue, objects };
        let (source, edited) = (render(&scene, Style::Noto), render(&answer, Style::Noto));
        judge(&source, &edited, None, &scene, &check, Style::Noto)
    };
    let cat = scene.objects[3];
    for apple in apples {
        assert!(verdict(vec![apple, cat]).success);
    }
    for apples in [vec![], apples[..2].to_vec(), apples.to_vec()] {
        let stayed = apples.len();
        let verdict = verdict(apples.into_iter().chain([cat]).collect());
        assert!(!verdict.success && (verdict.instruction - 5.0).abs() < 1e-6, "{verdict:?}");
        assert_eq!(verdict.faults, [format!("{stayed} of the apples stayed, not 1")]);
    }
    let moved = verdict(vec![Object { row: 6, col: 0, ..apples[0] }, cat]);
    assert!(!moved.success && moved.faults.iter().any(|f| f.starts_with("unexpected small apple")));
}

/// Two new cats that may stand at the same two places: each needs its own.
#[test]
fn new_objects_share_no_drawing() {
    let cat = |col| Object { class: ClassId(17), tint: None, row: 0, col, cells: 2 };
    let scene = Scene { background: Background::Pink, objects: vec![] };
    let new =
        |places: &[[u8; 3]]| NewObject { class: ClassId(17), tint: None, places: places.to_vec() };
    let new = vec![new(&[[0, 0, 2], [0, 4, 2]]), new(&[[0, 0, 2]])];
    let check = Check { background: Background::Pink, kept: vec![], new, some: vec![] };
    let verdict = |objects: Vec<Object>| {
        let answer = Scene { background: Background::Pink, objects };
        let (source, edited) = (render(&scene, Style::Fluent3d), render(&answer, Style::Fluent3d));
        judge(&source, &edited, None, &scene, &check, Style::Fluent3d)
    };
    assert!(verdict(vec![cat(0), cat(4)]).success); // the first must give way to the second
    let one = verdict(vec![cat(0)]);
    assert!(!one.success && one.instruction <= 5.0);
    assert!(verdict(vec![]).overall <= 1.0);
    assert_eq!(classes()[17].name, "cat");
}
