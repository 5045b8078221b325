//! The sentences of the data set: known words, short enough, and every word is trained.

use earl_scenes::{EVAL_SEED, MAX_WORDS, Op, Split, example, words};
use std::collections::{BTreeMap, BTreeSet};

#[test]
fn sentences_of_every_split_are_short_and_of_known_words() {
    const COUNT: u64 = 2_200;
    let words: BTreeSet<String> = words().into_iter().collect();
    for split in [Split::Train, Split::Seen, Split::Classes, Split::Phrases, Split::Style] {
        let (mut total, mut longest) = (0, 0);
        for index in 0..COUNT {
            let example = example(EVAL_SEED + 9, index, split, None);
            let parts: Vec<&str> = example.instruction.split(' ').collect();
            assert!(parts.len() <= MAX_WORDS, "{}", example.instruction);
            let unknown = parts.iter().find(|part| !words.contains(**part));
            assert!(unknown.is_none(), "`{}` in `{}`", unknown.unwrap(), example.instruction);
            total += parts.len();
            longest = longest.max(parts.len());
        }
        println!(
            "{split:?}: {:.1} words on average, {longest} at most",
            total as f64 / COUNT as f64
        );
    }
}

#[test]
fn every_word_stands_in_training_sentences() {
    const COUNT: u64 = 300_000;
    let mut counts: BTreeMap<String, usize> = words().into_iter().map(|word| (word, 0)).collect();
    let begin = std::time::Instant::now();
    for index in 0..COUNT {
        for word in example(1, index, Split::Train, None).instruction.split(' ') {
            *counts.get_mut(word).unwrap() += 1;
        }
    }
    println!("{:.0} examples/s on one thread", COUNT as f64 / begin.elapsed().as_secs_f64());
    let mut rare: Vec<(usize, &String)> =
        counts.iter().map(|(word, &count)| (count, word)).collect();
    rare.sort();
    println!("{} words; the rarest of {COUNT} sentences: {:?}", rare.len(), &rare[..40]);
    let never: Vec<&(usize, &String)> = rare.iter().filter(|(count, _)| *count == 0).collect();
    assert!(never.is_empty(), "never trained: {never:?}");
}

/// Prints sentences to read: `cargo test --release -p earl-scenes --test language print -- --ignored --nocapture`.
#[test]
#[ignore = "for reading, not for judging"]
fn print_sentences() {
    let seed = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let ops = "Add Remove Replace Recolor Background Relation Move Resize Count Swap Multi";
    println!("{ops}");
    for op in [
        Op::Add,
        Op::Remove,
        Op::Replace,
        Op::Recolor,
        Op::Background,
        Op::Relation,
        Op::Move,
        Op::Resize,
        Op::Count,
        Op::Swap,
        Op::Multi,
    ] {
        for index in 0..12 {
            let split = if index < 10 { Split::Train } else { Split::Phrases };
            println!("{op:?} {}", example(seed, index, split, Some(op)).instruction);
        }
    }
    println!("WORDS {}", words().join(" "));
}
