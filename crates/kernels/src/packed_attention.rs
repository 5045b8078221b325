//! Attention over packed sequences: every token of a batch once, without padding and without copies
//! of what several sequences share.
//!
//! A [`Packing`] is a forest of [`Segment`]s: a picture, the sentences about it, the programs that
//! answer them. A token sees its segment (causally or whole) and the segments above it. So a picture
//! read once serves all its sentences, forward and backward, and every other operation of a decoder
//! runs on one long row of real tokens.
//! Start at [`packed_attention`].

use burn::Tensor;
use burn::tensor::{DType, Device, Int, TensorData};
use std::ops::Range;
use std::sync::Arc;

use crate::attention::weigh;

/// Neighbouring tokens that see the same past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Number of tokens.
    pub len: usize,
    /// What they see beside their own segment: this earlier segment and all above it.
    pub parent: Option<usize>,
    /// Does a token see its own segment only up to itself?
    pub causal: bool,
}

/// Segments one after the other, each tree's together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packing {
    segments: Vec<Segment>,
    /// First token of each segment.
    starts: Vec<usize>,
    /// First segment of each tree.
    roots: Vec<usize>,
    tokens: usize,
}

impl Packing {
    /// Appends a segment; returns its number and its tokens.
    ///
    /// # Panics
    /// If the parent is not a segment of the tree that was begun last.
    pub fn push(&mut self, segment: Segment) -> (usize, Range<usize>) {
        let number = self.segments.len();
        match segment.parent {
            None => self.roots.push(number),
            Some(parent) => assert!(
                self.roots.last().is_some_and(|&root| (root..number).contains(&parent)),
                "packing: segment {number} follows segment {parent}, which is not of its tree"
            ),
        }
        self.starts.push(self.tokens);
        self.segments.push(segment);
        self.tokens += segment.len;
        (number, self.starts[number]..self.tokens)
    }

    /// Tokens of all segments.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// The segments of each tree.
    pub(crate) fn trees(&self) -> impl Iterator<Item = Range<usize>> {
        let ends = self.roots.iter().skip(1).copied().chain([self.segments.len()]);
        self.roots.iter().zip(ends).map(|(&root, end)| root..end)
    }

    /// The tokens of neighbouring segments.
    pub(crate) fn span(&self, segments: &Range<usize>) -> Range<usize> {
        let end = self.starts.get(segments.end).copied().unwrap_or(self.tokens);
        self.starts[segments.start]..end
    }

    pub(crate) fn segment(&self, number: usize) -> (Segment, Range<usize>) {
        let segment = self.segments[number];
        (segment, self.starts[number]..self.starts[number] + segment.len)
    }

    /// The tokens a segment sees: those of the segments above it, from the root down, then its own.
    pub(crate) fn seen(&self, number: usize) -> Vec<Range<usize>> {
        let mut seen = Vec::new();
        let mut next = Some(number);
        while let Some(number) = next {
            let (segment, tokens) = self.segment(number);
            seen.push(tokens);
            next = segment.parent;
        }
        seen.reverse();
        seen
    }
}

/// `softmax(q·kᵀ / sqrt(head_dim)) · v` over the keys that the packing lets each token see.
///
/// # Shapes
/// - `q`: `[1, tokens, heads, head_dim]`
/// - `k`, `v`: `[1, tokens, kv_heads, head_dim]`, `heads` a multiple of `kv_heads`
/// - returns: `[1, tokens, heads, head_dim]`
///
/// # Panics
/// If the sizes disagree.
#[must_use]
pub fn packed_attention(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    packing: &Arc<Packing>,
) -> Tensor<4> {
    let [batch, tokens, heads, head_dim] = q.dims();
    let kv_heads = k.dims()[2];
    assert_eq!([batch, tokens], [1, packing.tokens()], "packed_attention: queries against packing");
    assert_eq!(k.dims(), [1, tokens, kv_heads, head_dim], "packed_attention: keys against queries");
    assert_eq!(v.dims(), k.dims(), "packed_attention: values against keys");
    assert_eq!(
        heads % kv_heads.max(1),
        0,
        "packed_attention: heads must be a multiple of kv_heads"
    );
    #[cfg(feature = "flex-forward")]
    if crate::fused::runs_on(&q.device()) {
        return crate::fused::packed_attention::packed_attention(q, k, v, packing);
    }
    elsewhere!(plain(q, k, v, packing))
}

/// The specification, and what backends other than flex run: trees side by side, padded to the
/// longest.
pub(crate) fn plain(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, packing: &Packing) -> Tensor<4> {
    let device = q.device();
    let spans: Vec<Range<usize>> = packing.trees().map(|tree| packing.span(&tree)).collect();
    let longest = spans.iter().map(ExactSizeIterator::len).max().unwrap_or(0);
    if longest == 0 {
        return q;
    }
    let there = spans.iter().flat_map(|span| {
        (0..longest).map(|at| if at < span.len() { span.start + at } else { span.start })
    });
    let there = indices(there, &device);
    let back = spans
        .iter()
        .enumerate()
        .flat_map(|(tree, span)| (0..span.len()).map(move |at| tree * longest + at));
    let back = indices(back, &device);
    let batch = |x: Tensor<4>| {
        let [_, tokens, heads, head_dim] = x.dims();
        let rows: Tensor<2> = x.reshape([tokens, heads * head_dim]);
        rows.select(0, there.clone()).reshape([spans.len(), longest, heads, head_dim])
    };
    let [_, tokens, heads, head_dim] = q.dims();
    let visible = visibility(packing, longest, &device, q.dtype());
    let attended = weigh(batch(q), batch(k), batch(v), Some(visible));
    let rows: Tensor<2> = attended.reshape([spans.len() * longest, heads * head_dim]);
    rows.select(0, back).reshape([1, tokens, heads, head_dim])
}

fn indices(values: impl Iterator<Item = usize>, device: &Device) -> Tensor<1, Int> {
    let values: Vec<i32> = values.map(|value| value as i32).collect();
    let len = values.len();
    Tensor::from_data(TensorData::new(values, [len]), device)
}

/// 1 where a token sees another of its tree: `[trees, 1, 1, longest, longest]`.
fn visibility(packing: &Packing, longest: usize, device: &Device, dtype: DType) -> Tensor<5> {
    let trees = packing.roots.len();
    let mut visible = vec![0.0f32; trees * longest * longest];
    for (tree, visible) in packing.trees().zip(visible.chunks_mut(longest * longest)) {
        let first = packing.span(&tree).start;
        for number in tree {
            let (segment, tokens) = packing.segment(number);
            let seen = packing.seen(number);
            for token in tokens.clone() {
                let shown = seen.iter().cloned().flatten();
                let shown =
                    shown.filter(|&key| !(segment.causal && tokens.contains(&key) && key > token));
                for key in shown {
                    visible[(token - first) * longest + key - first] = 1.0;
                }
            }
        }
    }
    let visible = TensorData::new(visible, [trees, 1, 1, longest, longest]);
    Tensor::<5>::from_data(visible, device).cast(dtype)
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::{Packing, Segment, packed_attention, plain};
    use crate::attention::attention;
    use crate::testing::{
        assert_agree, assert_close, assert_same_bits, assert_slopes, noise, trace,
    };
    use burn::Tensor;
    use std::sync::Arc;

    type Operation = fn(Tensor<4>, Tensor<4>, Tensor<4>, &Arc<Packing>) -> Tensor<4>;

    /// Heads, `kv_heads`, `head_dim`.
    type Heads = [usize; 3];

    fn plainly(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, packing: &Arc<Packing>) -> Tensor<4> {
        plain(q, k, v, packing)
    }

    /// Trees of (length, parent within the tree, causal).
    fn forest(trees: &[&[(usize, Option<usize>, bool)]]) -> Arc<Packing> {
        let mut packing = Packing::default();
        for tree in trees {
            let root = packing.segments.len();
            for &(len, parent, causal) in *tree {
                let parent = parent.map(|parent| root + parent);
                packing.push(Segment { len, parent, causal });
            }
        }
        Arc::new(packing)
    }

    /// A picture with two sentences and three programs; one without any; a lone program.
    fn small() -> Arc<Packing> {
        forest(&[
            &[
                (3, None, false),
                (2, Some(0), false),
                (2, Some(1), true),
                (1, Some(0), false),
                (3, Some(3), true),
                (2, Some(3), true),
            ],
            &[(2, None, false)],
            &[(3, None, true)],
        ])
    }

    fn large() -> Arc<Packing> {
        let tree = [
            (64, None, false),
            (9, Some(0), false),
            (21, Some(1), true),
            (14, Some(0), false),
            (75, Some(3), true),
        ];
        forest(&[&tree, &tree[..3], &tree, &[(1, None, true)]])
    }

    fn inputs(packing: &Packing, [heads, kv_heads, head_dim]: Heads) -> [Vec<f32>; 3] {
        let kv = packing.tokens() * kv_heads * head_dim;
        [noise(packing.tokens() * heads * head_dim, 1), noise(kv, 2), noise(kv, 3)]
    }

    fn shaped(
        packing: Arc<Packing>,
        [heads, kv_heads, head_dim]: Heads,
        operation: Operation,
    ) -> impl Fn(Vec<Tensor<1>>) -> Tensor<4> + Sync {
        let tokens = packing.tokens();
        move |x| {
            let kv = [1, tokens, kv_heads, head_dim];
            let q = x[0].clone().reshape([1, tokens, heads, head_dim]);
            operation(q, x[1].clone().reshape(kv), x[2].clone().reshape(kv), &packing)
        }
    }

    #[test]
    fn worked_by_hand() {
        // Scores are 0 but for `ln 3` of key 1, which the second sentence does not see.
        let packing = forest(&[&[(1, None, false), (1, Some(0), false), (2, Some(0), true)]]);
        let values = [vec![1.0; 4], vec![0.0, 3f32.ln(), 0.0, 0.0], vec![4.0, 8.0, 16.0, 1.0]];
        let found = trace(&values, shaped(packing, [1, 1, 1], packed_attention)).output;
        assert_close(&found, &[4.0, 7.0, 10.0, 7.0], 1e-6);
    }

    #[test]
    fn agrees_with_plain_at_odd_sizes() {
        for (packing, heads) in [(small(), [4, 2, 3]), (large(), [6, 2, 32]), (large(), [3, 1, 40])]
        {
            let inputs = inputs(&packing, heads);
            let plain = shaped(packing.clone(), heads, plainly);
            assert_agree(&inputs, shaped(packing, heads, packed_attention), plain);
        }
    }

    #[test]
    fn is_attention_of_each_sequence_by_itself() {
        let packing = forest(&[&[(5, None, false), (4, Some(0), true), (3, Some(0), true)]]);
        let heads = [4, 2, 8];
        let alone = |x: Vec<Tensor<1>>| {
            let part = |at: usize, heads: usize, tokens: &[std::ops::Range<usize>]| {
                let all: Tensor<4> = x[at].clone().reshape([1, 12, heads, 8]);
                let part =
                    |span: &std::ops::Range<usize>| all.clone().narrow(1, span.start, span.len());
                Tensor::cat(tokens.iter().map(part).collect(), 1)
            };
            let run = |own: std::ops::Range<usize>, seen: &[std::ops::Range<usize>], causal| {
                attention(part(0, 4, &[own]), part(1, 2, seen), part(2, 2, seen), None, causal)
            };
            let parts = vec![
                run(0..5, std::slice::from_ref(&(0..5)), false),
                run(5..9, std::slice::from_ref(&(0..9)), true),
                run(9..12, &[0..5, 9..12], true),
            ];
            Tensor::cat(parts, 1)
        };
        let inputs = inputs(&packing, heads);
        assert_agree(&inputs, shaped(packing, heads, packed_attention), alone);
    }

    #[test]
    fn gradients_are_slopes() {
        let heads = [4, 2, 3];
        let plain = shaped(small(), heads, plainly);
        assert_slopes(&inputs(&small(), heads), shaped(small(), heads, packed_attention), plain);
    }

    #[test]
    fn one_thread_or_many() {
        let heads = [6, 2, 32];
        assert_same_bits(&inputs(&large(), heads), shaped(large(), heads, packed_attention));
    }

    #[test]
    #[should_panic(expected = "segment 2 follows segment 0, which is not of its tree")]
    fn a_parent_is_of_the_same_tree() {
        forest(&[&[(1, None, false)], &[(1, None, false)]]);
        let mut packing = Packing::default();
        packing.push(Segment { len: 1, parent: None, causal: false });
        packing.push(Segment { len: 1, parent: None, causal: false });
        packing.push(Segment { len: 1, parent: Some(0), causal: false });
    }
}
