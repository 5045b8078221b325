//! Fused attention over packed sequences: a tree is one piece of work, its segments run through the
//! kernels of `attention` one after the other, over keys gathered from the segments above them.
//!
//! Gathering costs a copy of a few dozen keys; the products that follow read each many times.
//! Gradients of keys are added up within the tree, so that each has one writer.

use std::ops::Range;
use std::sync::Arc;

use burn::Tensor;
use burn_flex::FlexTensor;

use super::attention::{Heads, Problem, Sizes, attend};
use super::attention_backward::backward;
use super::parallel::for_each;
use super::simd::Level;
use super::{Operation, contiguous, floats, room, run, tensor};
use crate::packed_attention::Packing;

/// See [`crate::packed_attention()`]; the caller has checked the sizes.
pub(crate) fn packed_attention(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    packing: &Arc<Packing>,
) -> Tensor<4> {
    let [_, _, heads, head_dim] = q.dims();
    let kv_heads = k.dims()[2];
    let operation = PackedAttention { packing: packing.clone(), heads, kv_heads, head_dim };
    run(&operation, [q.into_dispatch(), k.into_dispatch(), v.into_dispatch()])
}

#[derive(Clone, Debug)]
struct PackedAttention {
    packing: Arc<Packing>,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
}

impl PackedAttention {
    /// Floats of a token's queries, and of its keys or values.
    fn widths(&self) -> [usize; 2] {
        [self.heads * self.head_dim, self.kv_heads * self.head_dim]
    }

    fn sizes(&self, number: usize, keys: usize) -> Sizes {
        let (segment, _) = self.packing.segment(number);
        Sizes {
            batch: 1,
            seq: segment.len,
            keys,
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
            causal: segment.causal,
        }
    }

    /// Runs `work` on the problem of each segment of a tree that has tokens, with the segment's
    /// tokens and those of its keys.
    fn segments(
        &self,
        tree: Range<usize>,
        [q, k, v]: [&[f32]; 3],
        mut work: impl FnMut(&Problem, Range<usize>, &[Range<usize>]),
    ) {
        let [q_width, kv_width] = self.widths();
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for number in tree {
            let (_, tokens) = self.packing.segment(number);
            if tokens.is_empty() {
                continue;
            }
            let seen = self.packing.seen(number);
            for (from, to) in [(k, &mut keys), (v, &mut values)] {
                to.clear();
                for span in &seen {
                    to.extend_from_slice(&from[span.start * kv_width..span.end * kv_width]);
                }
            }
            let queries = &q[tokens.start * q_width..tokens.end * q_width];
            let heads = [
                Heads::in_rows(queries, self.heads, self.head_dim),
                Heads::in_rows(&keys, self.kv_heads, self.head_dim),
                Heads::in_rows(&values, self.kv_heads, self.head_dim),
            ];
            let sizes = self.sizes(number, seen.iter().map(ExactSizeIterator::len).sum());
            work(&Problem::new(sizes, heads, None), tokens, &seen);
        }
    }

    /// Cuts `values`, `width` floats a token, into trees.
    fn cut<'a>(&self, mut values: &'a mut [f32], width: usize) -> Vec<&'a mut [f32]> {
        let trees = self.packing.trees();
        let cut = |tree: Range<usize>| {
            let len = self.packing.span(&tree).len() * width;
            let (part, rest) = std::mem::take(&mut values).split_at_mut(len);
            values = rest;
            part
        };
        trees.map(cut).collect()
    }
}

/// Where tokens lie in a slice of `width` floats for each of a tree's tokens, from `first` on.
fn part(first: usize, tokens: &Range<usize>, width: usize) -> Range<usize> {
    (tokens.start - first) * width..(tokens.end - first) * width
}

impl Operation<3> for PackedAttention {
    /// Inputs, output, and log-sum-exp, for each segment as `[kv_heads, rows]`.
    type Saved = ([FlexTensor; 3], FlexTensor, Vec<f32>);

    fn forward(&self, inputs: [FlexTensor; 3], level: Level) -> (FlexTensor, Self::Saved) {
        let inputs = inputs.map(contiguous);
        let tokens = self.packing.tokens();
        let [width, _] = self.widths();
        let (mut output, mut log_sums) = (room(tokens * width), room(tokens * self.heads));
        let given = inputs.each_ref().map(floats);
        let made =
            self.cut(&mut output, width).into_iter().zip(self.cut(&mut log_sums, self.heads));
        for_each(self.packing.trees().zip(made).collect(), |(tree, (output, log_sums))| {
            let first = self.packing.span(&tree).start;
            self.segments(tree, given, |problem, own, _| {
                let (at, sums) = (part(first, &own, width), part(first, &own, self.heads));
                attend(level, problem, 0, &mut output[at], &mut log_sums[sums]);
            });
        });
        let output = tensor(output, [1, tokens, self.heads, self.head_dim]);
        (output.clone(), (inputs, output, log_sums))
    }

    fn backward(
        &self,
        (inputs, output, log_sums): Self::Saved,
        gradient: FlexTensor,
        _wanted: [bool; 3],
    ) -> [Option<FlexTensor>; 3] {
        let gradient = contiguous(gradient);
        let given = inputs.each_ref().map(floats);
        let (output, gradient) = (floats(&output), floats(&gradient));
        let tokens = self.packing.tokens();
        let [width, kv_width] = self.widths();
        let mut dq = room(tokens * width);
        let [mut dk, mut dv] = [(); 2].map(|()| vec![0.0; tokens * kv_width]);
        let made = self
            .cut(&mut dq, width)
            .into_iter()
            .zip(self.cut(&mut dk, kv_width).into_iter().zip(self.cut(&mut dv, kv_width)));
        for_each(self.packing.trees().zip(made).collect(), |(tree, (dq, (dk, dv)))| {
            let first = self.packing.span(&tree).start;
            let mut scratch = [Vec::new(), Vec::new()];
            self.segments(tree, given, |problem, own, seen| {
                let [own_dk, own_dv] = &mut scratch;
                own_dk.resize(problem.sizes.keys * kv_width, 0.0);
                own_dv.resize(problem.sizes.keys * kv_width, 0.0);
                let all = own.start * width..own.end * width;
                let sums = &log_sums[own.start * self.heads..own.end * self.heads];
                let at = part(first, &own, width);
                let (output, gradient) = (&output[all.clone()], &gradient[all]);
                let level = Level::widest();
                backward(level, problem, 0, output, gradient, sums, &mut dq[at], own_dk, own_dv);
                for (to, from) in [(&mut *dk, &own_dk), (&mut *dv, &own_dv)] {
                    scatter(to, from, first, seen, kv_width);
                }
            });
        });
        let kv_shape = [1, tokens, self.kv_heads, self.head_dim];
        let dq = tensor(dq, [1, tokens, self.heads, self.head_dim]);
        [Some(dq), Some(tensor(dk, kv_shape)), Some(tensor(dv, kv_shape))]
    }
}

/// Adds the gradients of the keys in `seen` to those of the tree that begins at token `first`.
fn scatter(to: &mut [f32], from: &[f32], first: usize, seen: &[Range<usize>], width: usize) {
    let mut from = from;
    for span in seen {
        let (own, rest) = from.split_at(span.len() * width);
        from = rest;
        let at = part(first, span, width);
        to[at].iter_mut().zip(own).for_each(|(to, from)| *to += from);
    }
}
