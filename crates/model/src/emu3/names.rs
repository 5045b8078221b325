//! What a directory calls the tensors that a model needs, and every way in which the two differ.
//!
//! Names inside this crate are BAAI's. transformers' differ by a prefix and, for the image
//! tokenizer, by a few words; its in-memory names, which some tools write, are accepted too.
//! Source: the published checkpoints' tensor tables. Start at [`match_names`].

use super::config::Layout;
use super::shards::{Shards, float_bytes};
use super::wanted::Wanted;
use crate::error::ModelError;
use std::collections::{BTreeMap, BTreeSet};

/// One of the two models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The language model.
    Lm,
    /// The image tokenizer.
    Vq,
}

impl Part {
    fn called(self) -> &'static str {
        match self {
            Self::Lm => "the Emu3 language model",
            Self::Vq => "the Emu3 image tokenizer",
        }
    }

    /// Prefixes of its names in transformers' files and in its memory.
    fn prefixes(self) -> [&'static str; 2] {
        match self {
            Self::Lm => ["text_model.", "model.text_model."],
            Self::Vq => ["vqmodel.", "model.vqmodel."],
        }
    }
}

/// transformers' name, without a prefix, of an image tokenizer's tensor.
#[must_use]
pub fn vq_in_transformers(name: &str) -> String {
    let mut parts: Vec<&str> = name.split('.').collect();
    match parts.as_slice() {
        ["encoder", "down", ..] => parts.insert(1, "down_block"),
        ["decoder", "up", ..] => parts.insert(1, "up_block"),
        _ => {}
    }
    if let Some(at) = parts.iter().position(|part| *part == "mid") {
        parts[at] = "middle_block";
    }
    let Some(at) = parts.iter().position(|part| *part == "attn" || *part == "attn_1") else {
        return parts.join(".");
    };
    // Attention of a level has a number, attention of the middle has it in its name.
    let in_level = parts[at] == "attn";
    let map = at + 1 + usize::from(in_level);
    match parts.get(map).copied() {
        Some("norm") if in_level => {
            parts[at] = "attn_norms";
            parts.remove(map);
        }
        Some("norm") => {
            parts[at] = "attn_norm";
            parts.remove(map);
        }
        Some("q") => parts[map] = "q_proj",
        Some("k") => parts[map] = "k_proj",
        Some("v") => parts[map] = "v_proj",
        Some("proj_out") => parts[map] = "out_proj",
        _ => {}
    }
    parts.join(".")
}

/// A weight of an attention's maps, which transformers stores without the last two axes.
fn is_attention_map(name: &str) -> bool {
    [".q.weight", ".k.weight", ".v.weight", ".proj_out.weight"]
        .iter()
        .any(|end| name.ends_with(end))
}

/// Tensors of published files that hold nothing the model needs.
fn is_ignored(name: &str) -> bool {
    name.ends_with("num_batches_tracked") || name.ends_with("rotary_emb.inv_freq")
}

/// Who wrote the files, judged by their names.
#[must_use]
pub fn layout_of(shards: &Shards) -> Layout {
    let prefixed = |name: &String| {
        [Part::Lm, Part::Vq].iter().flat_map(|part| part.prefixes()).any(|p| name.starts_with(p))
    };
    if shards.entries().keys().any(prefixed) { Layout::Transformers } else { Layout::Baai }
}

/// The names a wanted tensor may have in a file of this layout, and its shape there.
fn accepted(part: Part, layout: Layout, wanted: &Wanted) -> (Vec<String>, Vec<usize>) {
    let [in_file, in_memory] = part.prefixes();
    match (layout, part) {
        (Layout::Baai, _) => (vec![wanted.name.clone()], wanted.shape.clone()),
        (Layout::Transformers, Part::Lm) => {
            let name = &wanted.name;
            let bare = name.strip_prefix("model.").map(|rest| format!("{in_memory}{rest}"));
            let memory = bare.unwrap_or_else(|| name.clone());
            (vec![format!("{in_file}{name}"), memory], wanted.shape.clone())
        }
        (Layout::Transformers, Part::Vq) => {
            let name = vq_in_transformers(&wanted.name);
            let axes = if is_attention_map(&wanted.name) { 2 } else { wanted.shape.len() };
            let names = vec![format!("{in_file}{name}"), format!("{in_memory}{name}")];
            (names, wanted.shape[..axes].to_vec())
        }
    }
}

/// Holds a directory's names, shapes and types against what a model needs.
///
/// Returns the file's own name of each wanted tensor. Tensors of the other model are left alone in
/// transformers' layout, where both share a directory.
///
/// # Errors
/// [`ModelError::Checkpoint`] with every missing, unexpected, doubled or misshapen tensor and every
/// one of a type that is not read.
pub fn match_names(
    shards: &Shards,
    part: Part,
    wanted: &[Wanted],
) -> Result<BTreeMap<String, String>, ModelError> {
    let layout = layout_of(shards);
    let (mut found, mut used) = (BTreeMap::new(), BTreeSet::new());
    let (mut missing, mut problems) = (0, Vec::new());
    for tensor in wanted {
        let (names, shape) = accepted(part, layout, tensor);
        let mut there = names.iter().filter(|name| shards.entries().contains_key(*name));
        let Some(name) = there.next() else {
            problems.push(format!("`{}` {shape:?} is missing", names[0]));
            missing += 1;
            continue;
        };
        if let Some(other) = there.next() {
            problems.push(format!("`{name}` is there again as `{other}`"));
            used.insert(other.clone());
        }
        problems.extend(mismatch(shards, name, &shape));
        used.insert(name.clone());
        found.insert(tensor.name.clone(), name.clone());
    }
    problems.extend(unexpected(shards, part, layout, &used));
    if problems.is_empty() {
        return Ok(found);
    }
    let fix = fix(shards, part, wanted, missing);
    Err(ModelError::Checkpoint { what: part.called().into(), problems, fix })
}

fn mismatch(shards: &Shards, name: &str, shape: &[usize]) -> Vec<String> {
    let Some(entry) = shards.entries().get(name) else { return Vec::new() };
    let file = shards.file_of(entry);
    let mut problems = Vec::new();
    if entry.shape != shape {
        let found = &entry.shape;
        problems.push(format!(
            "`{name}` in `{file}` has shape {found:?}; the config asks for {shape:?}"
        ));
    }
    if float_bytes(entry.dtype).is_none() {
        let dtype = entry.dtype;
        problems.push(format!("`{name}` in `{file}` is {dtype}; F32, F16 and BF16 are read"));
    }
    problems
}

fn unexpected(shards: &Shards, part: Part, layout: Layout, used: &BTreeSet<String>) -> Vec<String> {
    let other = match part {
        Part::Lm => Part::Vq,
        Part::Vq => Part::Lm,
    };
    let of_other = |name: &str| {
        layout == Layout::Transformers
            && (other.prefixes().iter().any(|prefix| name.starts_with(prefix))
                || (other == Part::Lm && name == "lm_head.weight"))
    };
    let unknown = |name: &&String| !used.contains(*name) && !is_ignored(name) && !of_other(name);
    let line = |name: &String| {
        let file = shards.entries().get(name).map_or("?", |entry| shards.file_of(entry));
        format!("`{name}` in `{file}` is not part of it")
    };
    shards.entries().keys().filter(unknown).map(line).collect()
}

/// What to do about a directory that does not fit.
fn fix(shards: &Shards, part: Part, wanted: &[Wanted], missing: usize) -> String {
    if missing == wanted.len() {
        let (is, give) = match part {
            Part::Lm => ("an image tokenizer (`ch_mult` in its config)", "language model's"),
            Part::Vq => ("a language model (`hidden_size` in its config)", "image tokenizer's"),
        };
        return format!("none of its tensors is there; if this is {is}, give the {give} directory");
    }
    let rows = |name: &str| shards.entries().get(name).and_then(|entry| entry.shape.first());
    let table = wanted.iter().find(|tensor| tensor.name == "model.embed_tokens.weight");
    if let Some(table) = table {
        let (names, shape) = accepted(part, layout_of(shards), table);
        let found = names.iter().find_map(|name| rows(name));
        if let Some(found) = found.filter(|found| **found != shape[0]) {
            return format!(
                "the embedding has {found} rows, the config says `vocab_size` {}: take both from \
                 one download",
                shape[0]
            );
        }
    }
    "the config and the tensors belong to different models or the download is incomplete; take \
     both from one download"
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emu3::wanted::wanted;

    #[test]
    fn names_are_transformers_own() {
        for (baai, transformers) in [
            ("encoder.conv_in.weight", "encoder.conv_in.weight"),
            (
                "encoder.down.0.block.1.nin_shortcut.bias",
                "encoder.down_block.down.0.block.1.nin_shortcut.bias",
            ),
            (
                "decoder.up.3.attn.2.norm.conv_y.weight",
                "decoder.up_block.up.3.attn_norms.2.conv_y.weight",
            ),
            ("decoder.up.3.attn.2.proj_out.bias", "decoder.up_block.up.3.attn.2.out_proj.bias"),
            ("encoder.mid.attn_1.norm.weight", "encoder.middle_block.attn_norm.weight"),
            ("decoder.mid.attn_1.q.weight", "decoder.middle_block.attn_1.q_proj.weight"),
            (
                "decoder.mid.block_2.norm1.norm_layer.bias",
                "decoder.middle_block.block_2.norm1.norm_layer.bias",
            ),
            (
                "encoder.time_res_stack.0.norm1.running_var",
                "encoder.time_res_stack.0.norm1.running_var",
            ),
        ] {
            assert_eq!(vq_in_transformers(baai), transformers);
        }
    }

    /// A file of tensors without a value that counts.
    fn shards(tensors: &[(&str, &str, &[usize])]) -> Shards {
        let (mut header, mut end) = (serde_json::Map::new(), 0);
        for (name, dtype, shape) in tensors {
            let width = if *dtype == "I32" || *dtype == "F32" { 4 } else { 2 };
            let start = end;
            end += shape.iter().product::<usize>() * width;
            let entry = serde_json::json!({
                "dtype": dtype, "shape": shape, "data_offsets": [start, end],
            });
            header.insert((*name).into(), entry);
        }
        let header = serde_json::Value::Object(header).to_string();
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend_from_slice(header.as_bytes());
        file.resize(file.len() + end, 0);
        Shards::single("a", file).unwrap()
    }

    fn three() -> [Wanted; 3] {
        [
            wanted("model.embed_tokens.weight", &[4, 2]),
            wanted("lm_head.weight", &[4, 2]),
            wanted("model.norm.weight", &[2]),
        ]
    }

    #[test]
    fn every_difference_is_listed_at_once() {
        let found = shards(&[
            ("text_model.model.embed_tokens.weight", "BF16", &[5, 2]),
            ("text_model.model.norm.weight", "I32", &[2]),
            ("model.text_model.norm.weight", "F32", &[2]),
            ("text_model.model.extra", "F32", &[1]),
            ("text_model.model.layers.0.rotary_emb.inv_freq", "F32", &[1]),
            ("vqmodel.encoder.conv_in.weight", "F32", &[1]),
        ]);
        let error = match_names(&found, Part::Lm, &three()).unwrap_err();
        let ModelError::Checkpoint { problems, fix, .. } = &error else { panic!("{error}") };
        assert_eq!(
            *problems,
            [
                "`text_model.model.embed_tokens.weight` in `a` has shape [5, 2]; the config asks for [4, 2]",
                "`text_model.lm_head.weight` [4, 2] is missing",
                "`text_model.model.norm.weight` is there again as `model.text_model.norm.weight`",
                "`text_model.model.norm.weight` in `a` is I32; F32, F16 and BF16 are read",
                "`text_model.model.extra` in `a` is not part of it",
            ]
        );
        assert!(fix.contains("has 5 rows, the config says `vocab_size` 4"), "{fix}");
    }

    #[test]
    fn names_of_a_running_model_and_of_baai_are_known() {
        let tensors: [(&str, &str, &[usize]); 3] = [
            ("model.text_model.embed_tokens.weight", "F16", &[4, 2]),
            ("lm_head.weight", "F16", &[4, 2]),
            ("model.text_model.norm.weight", "F16", &[2]),
        ];
        let names = match_names(&shards(&tensors), Part::Lm, &three()).unwrap();
        assert_eq!(names["model.norm.weight"], "model.text_model.norm.weight");
        let bare = tensors.map(|mut tensor| {
            tensor.0 = match tensor.0 {
                "model.text_model.norm.weight" => "model.norm.weight",
                "lm_head.weight" => "lm_head.weight",
                _ => "model.embed_tokens.weight",
            };
            tensor
        });
        assert!(match_names(&shards(&bare), Part::Lm, &three()).is_ok());
    }

    #[test]
    fn a_directory_of_the_other_model_is_named_as_such() {
        let vq = shards(&[("encoder.conv_in.weight", "F32", &[1])]);
        let hint = match_names(&vq, Part::Lm, &three()).unwrap_err().hint();
        assert!(hint.contains("image tokenizer") && hint.contains("language model's"), "{hint}");
        let lm = shards(&[("model.norm.weight", "F32", &[2])]);
        let encoder = [wanted("encoder.conv_in.weight", &[1])];
        let hint = match_names(&lm, Part::Vq, &encoder).unwrap_err().hint();
        assert!(hint.contains("a language model"), "{hint}");
    }
}
