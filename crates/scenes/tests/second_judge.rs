//! The oracle against a judge in another language that was written from the rules alone.

#![allow(clippy::too_many_lines, reason = "one list of faults, one protocol with one process")]

#[allow(dead_code, reason = "each test file uses a part")]
mod edits;

use earl_scenes::{Background, ClassId, Example, Object, Tint, render};
use edits::{examples, is_free, score};
use image::{Rgb, RgbImage};

/// What can go wrong with an edit, by number; `None` where it can't be made.
fn corrupted(example: &Example, kind: usize) -> Option<RgbImage> {
    let (mut answer, style) = (example.target.clone(), example.style);
    let mut free = (0..64_u8)
        .map(|at| Object {
            class: ClassId(at + 10),
            tint: None,
            row: at / 8,
            col: at % 8,
            cells: 2,
        })
        .filter(|object| is_free(*object, &example.target));
    match kind {
        0 => {}
        1 => answer = example.scene.clone(),
        2 => drop(answer.objects.pop()?),
        3 => answer.objects.push(free.next()?),
        4 => answer.objects.extend(free.next_back()),
        5 => {
            let last = answer.objects.pop()?;
            let moved = [(0, 1), (1, 0), (0, -1), (-1, 0)].map(|(down, right)| Object {
                row: last.row.wrapping_add_signed(down),
                col: last.col.wrapping_add_signed(right),
                ..last
            });
            let inside = |o: &&Object| o.row < 8 && o.col < 8 && is_free(**o, &answer);
            let moved = *moved.iter().find(inside)?;
            answer.objects.push(moved);
        }
        6 => answer.background = Background::Brown,
        7 => {
            let object =
                answer.objects.first_mut().filter(|object| object.class.class().tintable)?;
            object.tint = if object.tint == Some(Tint::Blue) { None } else { Some(Tint::Blue) };
        }
        8 => {
            let mut picture = render(&answer, style);
            (20..29).for_each(|at| picture.put_pixel(at, 64 - at, Rgb([10, 200, 240])));
            return Some(picture);
        }
        _ => {
            // Worn: blurred along rows and columns, stepped to 3 bits less.
            let sharp = render(&answer, style);
            return Some(RgbImage::from_fn(64, 64, |x, y| {
                let near = [(x, y), ((x + 1).min(63), y), (x, (y + 1).min(63)), (x, y)];
                let mean = |c: usize| {
                    near.iter().map(|&(x, y)| u16::from(sharp.get_pixel(x, y).0[c])).sum::<u16>()
                        / 4
                };
                Rgb([0, 1, 2].map(|c| (mean(c) as u8) & 0xfc))
            }));
        }
    }
    Some(render(&answer, style))
}

/// Our judge and `tests/oracle/judge.py`, written apart from it, over right and wrong edits.
///
/// Last measured: 501 edits (106 right), 501 same verdicts and 501 same score parts (±0.05), with
/// either reading of "best": the error a drawing explains, or its PSNR.
///
/// `EARL_PYTHON=python cargo test --release -p earl-scenes --test second_judge -- --ignored --nocapture`
#[test]
#[ignore = "needs a Python with numpy and pillow, named by EARL_PYTHON"]
fn the_second_judge_agrees() {
    let python =
        std::env::var("EARL_PYTHON").expect("EARL_PYTHON names a Python with numpy and pillow");
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("second-judge");
    std::fs::create_dir_all(&folder).unwrap();
    let (mut bench, mut ours) = (String::new(), Vec::new());
    for (at, mut example) in examples(10).enumerate() {
        let Some(picture) = corrupted(&example, at % 10) else {
            continue;
        };
        example.id = format!("{}-{at}-kind{}", example.id, at % 10);
        picture.save(folder.join(format!("{}.png", example.id))).unwrap();
        ours.push(score(&example, &picture));
        bench += &(serde_json::to_string(&example).unwrap() + "\n");
    }
    std::fs::write(folder.join("bench.jsonl"), bench).unwrap();
    for order in ["explained", "psnr"] {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/oracle/judge.py");
        let mut command = std::process::Command::new(&python);
        command.arg(script).arg(folder.join("bench.jsonl")).arg(&folder).args(["--order", order]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let theirs: Vec<serde_json::Value> = String::from_utf8(output.stdout)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(theirs.len(), ours.len());
        let (mut verdicts, mut parts) = (0, 0);
        for (ours, theirs) in ours.iter().zip(&theirs) {
            let mine = serde_json::to_value(ours).unwrap();
            let keys = ["instruction", "preservation", "recognisable", "clean", "overall"];
            let near = |key: &&str| {
                (mine[key].as_f64().unwrap() - theirs[key].as_f64().unwrap()).abs() < 0.05
            };
            let same_parts = keys.iter().all(near);
            let same_verdict = ours.success == theirs["success"].as_bool().unwrap();
            verdicts += usize::from(same_verdict);
            parts += usize::from(same_parts);
            if !same_parts || !same_verdict {
                println!("{order}: {theirs}\n  ours {mine}");
            }
        }
        let (count, right) = (ours.len(), ours.iter().filter(|score| score.success).count());
        println!(
            "{order}: {count} edits ({right} right): {verdicts} same verdicts, {parts} same parts"
        );
        assert!(order != "explained" || (verdicts == count && parts == count));
    }
}
