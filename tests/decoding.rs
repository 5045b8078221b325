//! Cached decoding equals one forward pass; a batch equals its rows alone; padding changes nothing.
#![allow(clippy::unwrap_used, reason = "test code: a panic is a failed test")]

use burn::tensor::{Int, Tensor};
use earl_model::lm::{Chunk, LanguageModel};
use earl_model::sequence::{
    Control, Packer, ProgramLayout, Slot, Vocabulary, source_chunk, words_chunk,
};
use earl_model::{CodeGrid, CodeId, TokenId};
use earl_tests::{decoder, small_config, weights};
use std::ops::Range;

fn picture(first: u32) -> CodeGrid {
    CodeGrid {
        height: 4,
        width: 4,
        codes: (0..16).map(|at| CodeId((first + at * 5) % 8)).collect(),
    }
}

fn program(rows: &[&[u32]]) -> Chunk {
    let seq = rows[0].len();
    Chunk {
        ids: rows.iter().flat_map(|row| row.iter().map(|&id| TokenId(id))).collect(),
        times: rows.iter().flat_map(|_| 4..4 + seq).collect(),
        slots: rows.iter().flat_map(|_| (0..seq).map(|at| Slot::cell(at % 4, 1))).collect(),
        batch: rows.len(),
        seq,
        padding: Vec::new(),
    }
}

fn row(chunk: &Chunk, at: usize) -> Chunk {
    Chunk {
        ids: vec![chunk.ids[at]],
        times: vec![chunk.times[at]],
        slots: vec![chunk.slots[at]],
        batch: 1,
        seq: 1,
        padding: Vec::new(),
    }
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap()
}

fn assert_close(a: &[f32], b: &[f32]) {
    assert_eq!(a.len(), b.len());
    let worst = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst <= 1e-5, "they differ by {worst}");
}

/// Hidden states of a program after pictures and sentences, read in three chunks.
fn read(
    lm: &LanguageModel,
    pictures: &[&CodeGrid],
    sentences: &[&[usize]],
    tokens: &Chunk,
) -> Vec<f32> {
    let vocabulary = Vocabulary::new(lm.config());
    let mut cache = lm.cache();
    drop(lm.forward(&source_chunk(&vocabulary, pictures), &mut cache, false));
    drop(lm.forward(&words_chunk(&vocabulary, sentences), &mut cache, false));
    values(lm.forward(tokens, &mut cache, true).last)
}

#[test]
fn one_token_at_a_time_equals_all_at_once() {
    let config = small_config();
    let lm = decoder(&config, &weights(&config, 3));
    let tokens = program(&[&[0, 4, 13, 9, 30, 35, 8]]);
    let (picture, sentence) = (picture(1), [4usize, 1]);
    let whole = read(&lm, &[&picture], &[&sentence], &tokens);

    let vocabulary = Vocabulary::new(&config);
    let mut cache = lm.cache();
    drop(lm.forward(&source_chunk(&vocabulary, &[&picture]), &mut cache, false));
    drop(lm.forward(&words_chunk(&vocabulary, &[&sentence]), &mut cache, false));
    let single: Vec<f32> = (0..tokens.seq)
        .flat_map(|at| values(lm.forward(&row(&tokens, at), &mut cache, true).last))
        .collect();
    assert_close(&whole, &single);
}

#[test]
fn a_batch_with_padding_equals_its_rows_alone() {
    let config = small_config();
    let lm = decoder(&config, &weights(&config, 5));
    let (a, b) = (picture(0), picture(3));
    let (long, short): (&[usize], &[usize]) = (&[4, 3, 1], &[2]);
    let rows: [&[u32]; 2] = [&[0, 4, 13], &[1, 31, 32]];
    let both = read(&lm, &[&a, &b], &[long, short], &program(&rows));
    let alone = [
        read(&lm, &[&a], &[long], &program(&rows[..1])),
        read(&lm, &[&b], &[short], &program(&rows[1..])),
    ];
    assert_close(&both, &alone.concat());
}

#[test]
fn one_source_pass_serves_many_rows() {
    let config = small_config();
    let lm = decoder(&config, &weights(&config, 7));
    let vocabulary = Vocabulary::new(&config);
    let (a, b) = (picture(0), picture(3));
    let mut cache = lm.cache();
    drop(lm.forward(&source_chunk(&vocabulary, &[&a, &b]), &mut cache, false));
    let mut chosen = cache.select(&[1, 1, 0], &lm.device());
    let tokens = program(&[&[0, 4], &[0, 5], &[0, 6]]);
    let found = values(lm.forward(&tokens, &mut chosen, true).last);
    let mut single = lm.cache();
    drop(lm.forward(&source_chunk(&vocabulary, &[&b]), &mut single, false));
    let expected = values(lm.forward(&program(&[&[0, 5]]), &mut single, true).last);
    assert_close(&found[2 * 16..4 * 16], &expected);
}

/// Picture, sentence, and what answers it.
type Sentence<'a> = (usize, &'a [usize], &'a [&'a [u32]]);

#[test]
fn a_packed_row_equals_its_sequences_alone() {
    let config = small_config();
    let lm = decoder(&config, &weights(&config, 9));
    let vocabulary = Vocabulary::new(&config);
    let pictures = [picture(0), picture(3)];
    // The sentence of the second one has two programs.
    let sentences: [Sentence<'_>; 3] = [
        (0, &[4, 3, 1], &[&[0, 4, 13]]),
        (0, &[2], &[&[1, 31, 32, 33], &[0, 5]]),
        (1, &[0, 1], &[&[0, 6, 13, 9, 30]]),
    ];
    let layout = |ids: &[u32]| ProgramLayout {
        inputs: ids.iter().map(|&id| TokenId(id)).collect(),
        slots: (0..ids.len()).map(|at| Slot::cell(at % 4, 1)).collect(),
        ..ProgramLayout::default()
    };
    let mut packer = Packer::new(&vocabulary, config.text.max_words);
    let (mut sources, mut programs, mut expected) = (Vec::new(), Vec::new(), Vec::new());
    for (at, picture) in pictures.iter().enumerate() {
        let (segment, tokens) = packer.source(picture);
        sources.push(tokens);
        for (_, words, answers) in sentences.iter().filter(|(of, ..)| *of == at) {
            let (sentence, _) = packer.words(segment, words);
            for ids in *answers {
                let (_, tokens) = packer.program(sentence, &layout(ids));
                programs.extend(tokens.map(|token| (at, token)));
                expected.extend(read(&lm, &[picture], &[words], &program(&[ids])));
            }
        }
    }
    let hidden = lm.forward_packed(&packer.finish()).last.squeeze_dim::<2>(0);
    let rows: Vec<i32> = programs.iter().map(|&(_, token)| token as i32).collect();
    let found =
        hidden.clone().select(0, Tensor::<1, Int>::from_ints(rows.as_slice(), &lm.device()));
    assert_close(&values(found), &expected);
    assert_looks_as_alone(&lm, &hidden, &sources, &programs);
}

/// Pointers and erase maps of a packed row equal those of its tokens alone; every second one asks for no map.
fn assert_looks_as_alone(
    lm: &LanguageModel,
    hidden: &Tensor<2>,
    sources: &[Range<usize>],
    programs: &[(usize, usize)],
) {
    let (cells, none, some) = (sources[0].len(), vec![], vec![true; sources[0].len()]);
    let left: Vec<&[bool]> =
        (0..programs.len()).map(|at| if at % 2 == 0 { &some[..] } else { &none[..] }).collect();
    let packed = lm.packed_look(hidden, sources, programs, &left);
    let erase = packed.erase.unwrap();
    let (maps, most) = (values(erase.map), values(erase.most));
    let packed = values(packed.pointers);
    let rows = packed.chunks(cells).zip(maps.chunks(cells)).zip(most).zip(left);
    for ((((pointers, map), most), left), &(source, token)) in rows.zip(programs) {
        let part = |span: Range<usize>| hidden.clone().slice_dim(0, span).unsqueeze::<3>();
        let keys = lm.pointer_keys(part(sources[source].clone()));
        let alone = lm.look(part(token..token + 1), keys, lm.left(&[left], 1));
        assert_close(pointers, &values(alone.pointers));
        match alone.erase {
            Some(alone) => {
                assert_close(map, &values(alone.map));
                assert_close(&[most], &values(alone.most));
            }
            None => assert!(most == 0.0 && map.iter().all(|&odds| odds < -9e3), "{map:?}"),
        }
    }
}

#[test]
fn the_erase_map_adds_its_surest_cell_to_the_logit_of_erase() {
    let config = small_config();
    let lm = decoder(&config, &weights(&config, 13));
    let vocabulary = Vocabulary::new(&config);
    let picture = picture(2);
    let source = source_chunk(&vocabulary, &[&picture]);
    let hidden = lm.forward(&source, &mut lm.cache(), false).last;
    let keys = lm.pointer_keys(hidden.clone());
    let last = hidden.slice([0..1, 15..16]);
    let logits = |left: &[bool]| {
        let look = lm.look(last.clone(), keys.clone(), lm.left(&[left], 1));
        let map = look.erase.as_ref().map(|erase| values(erase.map.clone()));
        (map, values(lm.control_logits(last.clone().squeeze_dim(1), look)))
    };
    let (none, plain) = logits(&[]);
    assert!(none.is_none(), "no step is chosen");
    let mut left = [true; 16];
    let (whole, _) = logits(&left);
    let surest = |map: &[f32]| (0..16).max_by(|&a, &b| map[a].total_cmp(&map[b])).unwrap();
    left[surest(whole.as_ref().unwrap())] = false;
    let (map, found) = logits(&left);
    let map = map.unwrap();
    let best = map[surest(&map)];
    assert!(best > -9e3 && best < whole.unwrap().iter().copied().fold(f32::MIN, f32::max));
    let erase = vocabulary.control(Control::Erase).0 as usize;
    for (at, (found, plain)) in found.iter().zip(&plain).enumerate() {
        let added = if at == erase { best } else { 0.0 };
        assert!((found - plain - added).abs() < 1e-5, "logit {at}: {found}, {plain} without");
    }
}
