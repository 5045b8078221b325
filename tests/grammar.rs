//! The grammar never dead-ends, whatever the model prefers; what it lets through parses and writes back.
#![allow(clippy::unwrap_used, reason = "test code: a panic is a failed test")]

use earl_model::sequence::{
    Expect, Grammar, Placed, Step, Vocabulary, parse, program_layout, write,
};
use earl_model::{Mode, TokenId};
use earl_tests::small_config;
use proptest::prelude::*;

/// Longest program: 12 steps of a large object with tint, a mode, an end.
const LONGEST: usize = 2 + 12 * (5 + 16) + 16 + 1;

/// Writes a program by taking the `choices[i] % allowed`-th allowed token at each place.
fn written(vocabulary: &Vocabulary, mode: Mode, choices: &[u32]) -> Vec<TokenId> {
    let mut grammar = Grammar::new(vocabulary, mode);
    let mut program = Vec::new();
    for at in 0.. {
        let choice = choices[at % choices.len()] as usize;
        let token = match grammar.expect() {
            Expect::Nothing => return program,
            Expect::Control(allowed) => allowed[choice % allowed.len()],
            Expect::Code(_) => {
                TokenId((vocabulary.control_len() + choice % vocabulary.code_len()) as u32)
            }
        };
        grammar.push(token).unwrap();
        program.push(token);
        assert!(program.len() <= LONGEST, "the program does not end");
    }
    program
}

#[test]
fn what_is_erased_is_left_no_longer() {
    let vocabulary = Vocabulary::new(&small_config());
    let name = vocabulary.word_named("dog").unwrap();
    let at = |row, col| Placed { name, tint: None, row, col, cells: 2 };
    let steps = [Step::See(at(2, 2)), Step::Erase(at(0, 1)), Step::Erase(at(1, 0))];
    let program = write(&vocabulary, Mode::Local, &steps, &[]).unwrap();
    let layout = program_layout(&vocabulary, Mode::Local, &program).unwrap();
    let gone = |left: &[bool]| -> Vec<usize> { (0..16).filter(|&cell| !left[cell]).collect() };
    // A step's choice follows each cell: verb, name, size and cell are four tokens. Nothing is gone before the second.
    let choices: Vec<(usize, Vec<usize>)> = (0..layout.left.len())
        .filter(|&at| !layout.left[at].is_empty())
        .map(|at| (at, gone(&layout.left[at])))
        .collect();
    let both = vec![1, 2, 4, 5, 6, 8, 9];
    let wanted = [(8, vec![1, 2, 5, 6]), (12, both.clone())];
    assert_eq!(choices, wanted);
    assert_eq!(gone(&layout.kept), both);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn every_choice_leads_to_a_program_that_parses(
        choices in prop::collection::vec(any::<u32>(), 1..200), mode in 0usize..3,
    ) {
        let mode = [Mode::Local, Mode::Full, Mode::Think][mode];
        let vocabulary = Vocabulary::new(&small_config());
        let program = written(&vocabulary, mode, &choices);
        let (steps, picture) = parse(&vocabulary, mode, &program).unwrap();
        prop_assert_eq!(write(&vocabulary, mode, &steps, &picture).unwrap(), program);
    }

    #[test]
    fn tokens_the_grammar_does_not_offer_are_refused(token in 0u32..80, before in 0usize..6) {
        let vocabulary = Vocabulary::new(&small_config());
        let program = written(&vocabulary, Mode::Local, &[2, 0, 1]);
        let mut grammar = Grammar::new(&vocabulary, Mode::Local);
        for &token in &program[..before.min(program.len())] {
            grammar.push(token).unwrap();
        }
        let offered = match grammar.expect() {
            Expect::Control(allowed) => allowed.contains(&TokenId(token)),
            Expect::Code(_) => (vocabulary.control_len()..vocabulary.control_len() + vocabulary.code_len()).contains(&(token as usize)),
            Expect::Nothing => false,
        };
        prop_assert_eq!(grammar.push(TokenId(token)).is_ok(), offered);
    }
}
