//! Multiplications and additions of a training step, counted from its shapes.
//!
//! What the model asks for, forward and backward (twice forward), whatever an implementation computes
//! again or pads; the optimizer's are not in it.

use crate::sft::batch::Batch;
use earl_model::ModelConfig;
use earl_model::sequence::Vocabulary;

/// Forward and backward of one step.
pub(super) fn of_step(model: &ModelConfig, batch: &Batch) -> f64 {
    let lm = &model.lm;
    let vocabulary = Vocabulary::new(model);
    let cells = model.vision.grid * model.vision.grid;
    let [heads, kv_heads] =
        [lm.num_attention_heads, lm.num_key_value_heads].map(|n| n * lm.head_dim);
    let block = lm.hidden_size * (2 * heads + 2 * kv_heads + 3 * lm.intermediate_size);
    let trunk = batch.tokens() * lm.num_hidden_layers * block;

    let mut pairs = batch.sources.len() * cells * cells;
    let (mut controls, mut codes) = (0, 0);
    for edit in &batch.edits {
        let (words, program) = (edit.words.len(), edit.program.inputs.len());
        pairs += words * (cells + words);
        pairs += program * (cells + words) + program * (program + 1) / 2;
        let own = edit.program.is_code.iter().filter(|&&is_code| is_code).count();
        codes += own;
        controls += edit.program.is_code.len() - own;
    }
    let attention = 2 * pairs * heads * lm.num_hidden_layers;
    let seen = batch.labels.len() * (lm.hidden_size + vocabulary.control_len());
    let scored = controls * vocabulary.control_len() + codes * vocabulary.code_len() + seen;
    // Two operations a multiplication; the backward pass makes two products of each one.
    6.0 * (trunk + attention + scored * lm.hidden_size) as f64
}
