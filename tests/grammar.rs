//! The grammar never dead-ends, whatever the model prefers; what it lets through parses and writes back.
#![allow(clippy::unwrap_used, reason = "test code: a panic is a failed test")]

use earl_model::sequence::{Expect, Grammar, Vocabulary, parse, write};
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
