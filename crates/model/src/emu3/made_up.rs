//! Weights that exist only where they are read: for measuring published sizes without a download.
//!
//! A safetensors file of bfloat16 whose values are a formula of their place, so that gigabytes lie
//! neither on a disk nor in memory. Start at [`MadeUp::new`].

use super::shards::ReadAt;
use super::wanted::Wanted;
use half::bf16;
use serde_json::{Map, Value, json};

/// A made-up file.
pub struct MadeUp {
    header: Vec<u8>,
    /// By tensor: where it ends, in values; what stands in it.
    tensors: Vec<(u64, Content)>,
}

#[derive(Clone, Copy)]
enum Content {
    Constant(f32),
    Uniform { largest: f32 },
}

impl MadeUp {
    /// Gains and variances of 1, biases and means of 0, matrices and kernels that keep the variance.
    #[must_use]
    pub fn new(wanted: &[Wanted]) -> Self {
        let (mut header, mut tensors, mut end) = (Map::new(), Vec::new(), 0u64);
        for tensor in wanted {
            let start = end;
            end += tensor.shape.iter().product::<usize>() as u64;
            let offsets = json!([start * 2, end * 2]);
            let entry = json!({"dtype": "BF16", "shape": tensor.shape, "data_offsets": offsets});
            header.insert(tensor.name.clone(), entry);
            tensors.push((end, content(tensor)));
        }
        let json = Value::Object(header).to_string();
        let header = [&(json.len() as u64).to_le_bytes()[..], json.as_bytes()].concat();
        Self { header, tensors }
    }

    /// Fills `into` with the values from `at` on.
    fn fill(&self, mut at: u64, mut into: &mut [u8]) {
        while into.len() >= 2 {
            let tensor = self.tensors.partition_point(|(end, _)| *end <= at);
            let Some(&(end, content)) = self.tensors.get(tensor) else { return };
            let count = (end - at).min(into.len() as u64 / 2);
            let (now, later) = std::mem::take(&mut into).split_at_mut(2 * count as usize);
            for (pair, at) in now.chunks_exact_mut(2).zip(at..) {
                pair.copy_from_slice(&bf16::from_f32(value(content, at)).to_le_bytes());
            }
            (at, into) = (at + count, later);
        }
    }
}

fn value(content: Content, at: u64) -> f32 {
    match content {
        Content::Constant(value) => value,
        Content::Uniform { largest } => {
            let mixed = (at ^ (at >> 13)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            largest * ((mixed >> 40) as f32 / (1u64 << 23) as f32 - 1.0)
        }
    }
}

fn content(tensor: &Wanted) -> Content {
    let is = |end: &str| tensor.name.ends_with(end);
    if is("bias") || is("running_mean") {
        return Content::Constant(0.0);
    }
    if tensor.shape.len() == 1 {
        return Content::Constant(1.0);
    }
    let inputs: usize = tensor.shape[1..].iter().product();
    Content::Uniform { largest: (3.0 / inputs as f32).sqrt() }
}

impl ReadAt for MadeUp {
    fn size(&self) -> u64 {
        self.header.len() as u64 + self.tensors.last().map_or(0, |(end, _)| end * 2)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<(), String> {
        let header = self.header.len() as u64;
        if let Some(rest) = offset.checked_sub(header) {
            self.fill(rest / 2, into);
            return Ok(());
        }
        let start = usize::try_from(offset).map_err(|problem| problem.to_string())?;
        let part = start.checked_add(into.len()).and_then(|end| self.header.get(start..end));
        into.copy_from_slice(part.ok_or("a read across the header's end")?);
        Ok(())
    }
}
