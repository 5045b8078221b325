//! Weights for a wider vocabulary: a model that was trained before the world had all of its words.

use crate::hint;
use crate::store::Stored;
use anyhow::{Context, Result, ensure};
use earl_model::checkpoint::HostTensor;
use earl_model::editor::LM_PREFIX;
use earl_model::sequence::Vocabulary;
use earl_model::{ModelConfig, TokenId};

/// The same weights for `model`, which has every word of theirs and perhaps more. A word keeps its row of
/// the table of control ids, `[ids, hidden]`; a new one begins as the mean of the old words.
///
/// # Errors
/// If the models differ in anything but added words.
pub(crate) fn widen(mut stored: Stored, model: &ModelConfig) -> Result<Stored> {
    if stored.config == *model {
        return Ok(stored);
    }
    let mut same = stored.config.clone();
    same.text.words.clone_from(&model.text.words);
    same.lm.erase_map |= model.lm.erase_map;
    if same != *model {
        let problem = "the model to start from has another size, or other names and colours";
        return Err(hint::error(problem, "set `[model]` to the sizes `trainer inspect` shows"));
    }
    let (old, new) = (Vocabulary::new(&stored.config), Vocabulary::new(model));
    if let Some(lost) = stored.config.text.words.iter().find(|word| new.word_named(word).is_none())
    {
        let problem = format!("the model to start from knows `{lost}`, which is no word any more");
        return Err(hint::error(problem, "words can be added to a model, not taken away"));
    }
    let table = stored.tensors.get_mut(&format!("{LM_PREFIX}control"));
    let table = table.context("the model to start from has no table of control ids")?;
    ensure!(
        table.shape.first() == Some(&old.control_len()),
        "its table has {:?} rows",
        table.shape
    );
    *table = widened(table, &old, &new);
    stored.config = model.clone();
    Ok(stored)
}

fn widened(table: &HostTensor, old: &Vocabulary, new: &Vocabulary) -> HostTensor {
    let width = table.data.len() / old.control_len();
    let row = |id: usize| &table.data[id * width..(id + 1) * width];
    let words = old.word(0).0 as usize..old.first_cell();
    let mut mean = vec![0.0; width];
    for id in words.clone() {
        mean.iter_mut().zip(row(id)).for_each(|(sum, value)| *sum += value / words.len() as f32);
    }
    let (first, added) = (new.word(0).0 as usize, new.control_len() - old.control_len());
    let mut data = Vec::with_capacity(new.control_len() * width);
    for id in 0..new.control_len() {
        if id < first {
            data.extend_from_slice(row(id));
        } else if id >= new.first_cell() {
            data.extend_from_slice(row(id - added));
        } else {
            let kept = old.word_named(&new.label(TokenId(id as u32)));
            data.extend_from_slice(kept.map_or(&mean[..], |kept| row(kept.0 as usize)));
        }
    }
    HostTensor { shape: vec![new.control_len(), width], data }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::scene_words;
    use earl_model::checkpoint::TensorMap;

    fn stored(words: &[&str]) -> Stored {
        let mut config = ModelConfig::tiny(scene_words());
        let dropped = |word: &String| !words.contains(&word.as_str());
        config.text.words.retain(dropped);
        let rows = Vocabulary::new(&config).control_len();
        let table =
            HostTensor { shape: vec![rows, 1], data: (0..rows).map(|row| row as f32).collect() };
        let tensors = TensorMap::from([(format!("{LM_PREFIX}control"), table)]);
        Stored { config, tensors, sha256: String::new(), is_bundle: false }
    }

    #[test]
    fn rows_follow_their_words_and_new_words_begin_as_the_mean() {
        let model = ModelConfig::tiny(scene_words());
        let narrow = stored(&["please", "now"]);
        let old = Vocabulary::new(&narrow.config);
        let wide = widen(narrow, &model).unwrap();
        let new = Vocabulary::new(&model);
        let table = &wide.tensors[&format!("{LM_PREFIX}control")];
        assert_eq!((table.shape[0], wide.config == model), (new.control_len(), true));
        let value = |id: TokenId| table.data[id.0 as usize];
        for word in ["cat", "remove", "the"] {
            let row = old.word_named(word).unwrap().0 as usize;
            assert_eq!(value(new.word_named(word).unwrap()) as usize, row);
        }
        assert_eq!(value(new.cell(7, 7)) as usize, old.cell(7, 7).0 as usize);
        let middle = f32::midpoint(old.word(0).0 as f32, (old.first_cell() - 1) as f32);
        assert!((value(new.word_named("please").unwrap()) - middle).abs() < 0.1);
    }

    #[test]
    fn other_models_and_lost_words_are_refused() {
        let mut smaller = ModelConfig::tiny(scene_words());
        smaller.text.words.retain(|word| word != "please");
        let error = widen(stored(&[]), &smaller).err().unwrap();
        assert!(format!("{error:#}").contains("`please`"), "{error:#}");
        smaller.lm.hidden_size += 32;
        let error = widen(stored(&[]), &smaller).err().unwrap();
        assert!(format!("{error:#}").contains("another size"), "{error:#}");
    }
}
