//! What an exported bundle of a published model holds: a function of its config and a precision.
//!
//! Language model: matrices in few bits, vectors in float32. Image tokenizer: float32, because codes
//! flip in less. Tensors above the format's limit are cut into row shards `name#0`, `name#1`, …
//! No weight is read here, so a plan tells sizes before anything is loaded. Start at [`plan`].

use super::config::Emu3Config;
use super::wanted::{Wanted, lm_tensors, vq_tensors};
use crate::checkpoint::bundle::MAX_TENSOR_BYTES;
use crate::checkpoint::quantize::{BLOCK, Dtype};
use serde::Serialize;
use std::ops::Range;

/// Precision of the language model's matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Single.
    F32,
    /// Half.
    F16,
    /// 8 bits.
    Q8,
    /// 4 bits.
    Q4,
    /// 4 bits; embedding and head 8.
    Mixed,
    /// −1, 0 and 1, for models trained so; embedding and head 8 bits.
    T2,
}

/// One tensor of a bundle: a whole one, or some rows of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Planned {
    /// BAAI's name.
    pub tensor: String,
    /// Its name in the bundle.
    pub name: String,
    /// Type.
    pub dtype: Dtype,
    /// Places along the first axis.
    pub rows: Range<usize>,
    /// Shape in the bundle.
    pub shape: Vec<usize>,
    /// Belongs to the image tokenizer.
    pub vision: bool,
}

/// Every tensor of both models that the config names, in order.
#[must_use]
pub fn plan(config: &Emu3Config, precision: Precision) -> Vec<Planned> {
    let lm = config.lm.iter().flat_map(lm_tensors);
    let vq = config.vq.iter().flat_map(vq_tensors);
    let lm = lm.flat_map(|tensor| shards(&tensor, dtype(&tensor, precision), false));
    lm.chain(vq.flat_map(|tensor| shards(&tensor, Dtype::F32, true))).collect()
}

fn dtype(tensor: &Wanted, precision: Precision) -> Dtype {
    let is_table = tensor.name.contains("embed_tokens") || tensor.name.contains("lm_head");
    match precision {
        _ if tensor.shape.len() < 2 => Dtype::F32,
        Precision::F32 => Dtype::F32,
        Precision::F16 => Dtype::F16,
        Precision::Q8 => Dtype::Q8,
        Precision::Mixed | Precision::T2 if is_table => Dtype::Q8,
        Precision::T2 => Dtype::T2,
        Precision::Q4 | Precision::Mixed => Dtype::Q4,
    }
}

fn shards(tensor: &Wanted, dtype: Dtype, vision: bool) -> Vec<Planned> {
    let rows = tensor.shape.first().copied().unwrap_or(1);
    let most = rows_in_a_shard(&tensor.shape, dtype);
    let shard = |(number, first): (usize, usize)| {
        let end = rows.min(first.saturating_add(most));
        let mut shape = tensor.shape.clone();
        if let Some(rows) = shape.first_mut() {
            *rows = end - first;
        }
        let name = &tensor.name;
        let name = if most < rows { format!("{name}#{number}") } else { name.clone() };
        Planned { tensor: tensor.name.clone(), name, dtype, rows: first..end, shape, vision }
    };
    (0..rows).step_by(most).enumerate().map(shard).collect()
}

/// Rows that stay below the format's limit, whole blocks of them where there are many.
fn rows_in_a_shard(shape: &[usize], dtype: Dtype) -> usize {
    let rest = shape.get(1..).unwrap_or_default();
    let row: usize = match rest.split_last() {
        None => 1,
        Some((&last, others)) => dtype.padded(last) * others.iter().product::<usize>(),
    };
    let most = (MAX_TENSOR_BYTES as usize).saturating_mul(8) / (row * dtype.bits()).max(1);
    if most > BLOCK { most / BLOCK * BLOCK } else { most.max(1) }
}

/// Bytes a planned tensor takes with its scales.
#[must_use]
pub fn bytes(planned: &Planned) -> u64 {
    let Some((&width, rows)) = planned.shape.split_last() else { return 0 };
    let rows: u64 = rows.iter().map(|&side| side as u64).product();
    let codes = rows * planned.dtype.padded(width) as u64 * planned.dtype.bits() as u64 / 8;
    let scales =
        if planned.dtype.is_quantized() { rows * width.div_ceil(BLOCK) as u64 * 2 } else { 0 };
    codes + scales
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_model_is_cut_below_the_limit_and_sums_up() {
        let config = Emu3Config::parse(br#"{"text_config": {}, "vq_config": {}}"#).unwrap();
        for (precision, block) in [(Precision::Q4, 18), (Precision::Q8, 34)] {
            let plan = plan(&config, precision);
            let lm = plan.iter().filter(|planned| !planned.vision);
            // 65 norms stay float32.
            let norms = 65 * 4_096;
            let matrices = (8_492_011_520u64 - norms) / 32;
            assert_eq!(lm.map(bytes).sum::<u64>(), matrices * block + norms * 4);
            assert!(plan.iter().all(|planned| bytes(planned) <= MAX_TENSOR_BYTES * 9 / 8));
            let head: Vec<&Planned> =
                plan.iter().filter(|planned| planned.tensor == "lm_head.weight").collect();
            assert_eq!(head[0].name, "lm_head.weight#0");
            assert_eq!(head.iter().map(|planned| planned.rows.len()).sum::<usize>(), 184_622);
            assert!(head.windows(2).all(|pair| pair[0].rows.end == pair[1].rows.start));
        }
    }
}
