//! Grouped-query attention: queries, keys and values in, weighted values out.
//!
//! Layout is `[batch, seq, heads, head_dim]` throughout, as the projections write it, so that no
//! caller transposes. Query head `h` reads key/value head `h / (heads / kv_heads)`.
//! Source: Ainslie et al., arXiv 2305.13245 (grouped queries). Start at [`attention`].

use burn::Tensor;
use burn::tensor::activation::softmax;
use burn::tensor::{DType, Device, Int};

/// Added to the score of a hidden key; far below any score, and still finite, so that a query
/// that sees nothing gives no NaN.
const HIDDEN_SCORE: f64 = -1e9;

/// Rows of a key/value head that are computed together where there are few: one query of each of its heads. Up to
/// so many, scores are summed in lanes.
pub(crate) const FEW: usize = 4;
/// Most tokens of a causal chunk that are computed as if they were read one by one, bit for bit: an
/// edit's whole program, so that drafts and resumed edits change nothing.
pub(crate) const SHORT: usize = 128;

/// `softmax(q·kᵀ / sqrt(head_dim)) · v` over the visible keys.
///
/// Query `i` sees key `j` if `key_mask` shows it and, when `causal`, `j ≤ i + (keys − seq)`: the
/// chunk of queries sits at the end of the cache. A query that sees no key gives zeros.
///
/// # Shapes
/// - `q`: `[batch, seq, heads, head_dim]`
/// - `k`, `v`: `[batch, keys, kv_heads, head_dim]`, `heads` a multiple of `kv_heads`
/// - `key_mask`: `[batch, keys]`, 1 = visible, 0 = hidden, a constant: no gradient flows into it
/// - returns: `[batch, seq, heads, head_dim]`
///
/// # Panics
/// If the sizes disagree, or `causal` with fewer keys than queries.
#[must_use]
pub fn attention(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    key_mask: Option<Tensor<2>>,
    causal: bool,
) -> Tensor<4> {
    check(&q, &k, &v, key_mask.as_ref(), causal);
    #[cfg(feature = "flex-forward")]
    if crate::fused::runs_on(&q.device()) {
        return crate::fused::attention::attention(q, k, v, key_mask, causal);
    }
    elsewhere!(plain(q, k, v, key_mask, causal))
}

fn check(q: &Tensor<4>, k: &Tensor<4>, v: &Tensor<4>, key_mask: Option<&Tensor<2>>, causal: bool) {
    let [batch, seq, heads, head_dim] = q.dims();
    let [_, keys, kv_heads, _] = k.dims();
    assert_eq!(k.dims(), [batch, keys, kv_heads, head_dim], "attention: keys against queries");
    assert_eq!(v.dims(), k.dims(), "attention: values against keys");
    assert_eq!(heads % kv_heads.max(1), 0, "attention: heads must be a multiple of kv_heads");
    assert!(!causal || keys >= seq, "attention: a causal chunk of {seq} queries has {keys} keys");
    if let Some(mask) = key_mask {
        assert_eq!(mask.dims(), [batch, keys], "attention: key_mask against keys");
    }
}

/// The specification, and what backends other than flex run.
pub(crate) fn plain(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    key_mask: Option<Tensor<2>>,
    causal: bool,
) -> Tensor<4> {
    let (seq, keys) = (q.dims()[1], k.dims()[1]);
    let visible = visibility(key_mask, causal.then_some((seq, keys)), &q.device(), q.dtype());
    weigh(q, k, v, visible)
}

/// [`plain`] over the keys that `visible` shows: 1 or 0, broadcastable to
/// `[batch, kv_heads, group, seq, keys]`; `None` hides nothing.
pub(crate) fn weigh(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    visible: Option<Tensor<5>>,
) -> Tensor<4> {
    let [batch, seq, heads, head_dim] = q.dims();
    let [_, keys, kv_heads, _] = k.dims();
    let group = heads / kv_heads;

    let scale = (head_dim as f64).powf(-0.5);
    let q = q.swap_dims(1, 2).reshape([batch, kv_heads, group * seq, head_dim]);
    let k = k.permute([0, 2, 3, 1]); // [batch, kv_heads, head_dim, keys]
    let v = v.swap_dims(1, 2); // [batch, kv_heads, keys, head_dim]
    let scores = q.matmul(k).mul_scalar(scale); // [batch, kv_heads, group · seq, keys]

    let weights = match visible {
        None => softmax(scores, 3),
        Some(visible) => {
            let hidden = visible.clone().neg().add_scalar(1.0).mul_scalar(HIDDEN_SCORE);
            let scores: Tensor<5> = scores.reshape([batch, kv_heads, group, seq, keys]);
            softmax(scores.add(hidden), 4).mul(visible).reshape([
                batch,
                kv_heads,
                group * seq,
                keys,
            ])
        }
    };
    weights
        .matmul(v) // [batch, kv_heads, group · seq, head_dim]
        .reshape([batch, heads, seq, head_dim])
        .swap_dims(1, 2)
}

/// 1 where a query sees a key, broadcastable to `[batch, kv_heads, group, seq, keys]`; `None` if
/// nothing is hidden.
fn visibility(
    key_mask: Option<Tensor<2>>,
    causal: Option<(usize, usize)>,
    device: &Device,
    dtype: DType,
) -> Option<Tensor<5>> {
    let shown = key_mask.map(|mask| {
        let [batch, keys] = mask.dims();
        mask.detach().cast(dtype).reshape([batch, 1, 1, 1, keys])
    });
    // One query at the end of the cache sees everything before it.
    let past = causal.filter(|(seq, _)| *seq > 1).map(|(seq, keys)| {
        let key = Tensor::<1, Int>::arange(0..keys as i64, device).reshape([1, keys]);
        let last = Tensor::<1, Int>::arange((keys - seq) as i64..keys as i64, device);
        let seen = key.repeat_dim(0, seq).lower_equal(last.reshape([seq, 1]).repeat_dim(1, keys));
        seen.float().cast(dtype).reshape([1, 1, 1, seq, keys])
    });
    match (shown, past) {
        (Some(shown), Some(past)) => Some(shown.mul(past)),
        (shown, past) => shown.or(past),
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::{attention, plain};
    use crate::testing::{
        assert_agree, assert_close, assert_same_bits, assert_slopes, noise, trace,
    };
    use burn::Tensor;

    type Operation = fn(Tensor<4>, Tensor<4>, Tensor<4>, Option<Tensor<2>>, bool) -> Tensor<4>;

    #[derive(Clone, Copy)]
    struct Case {
        batch: usize,
        seq: usize,
        keys: usize,
        heads: usize,
        kv_heads: usize,
        head_dim: usize,
        masked: bool,
        causal: bool,
    }

    impl Case {
        fn inputs(self) -> [Vec<f32>; 3] {
            let q = self.batch * self.seq * self.heads * self.head_dim;
            let kv = self.batch * self.keys * self.kv_heads * self.head_dim;
            [noise(q, 1), noise(kv, 2), noise(kv, 3)]
        }

        /// Two keys in three, but never the first, which keeps every causal row busy… except in
        /// the second batch entry, where nothing is visible up to the middle.
        fn mask(self) -> Vec<f32> {
            let shown = |batch: usize, key: usize| match batch {
                1 => key > self.keys / 2,
                _ => key == 0 || !(key + batch).is_multiple_of(3),
            };
            let entry =
                |batch| (0..self.keys).map(move |key| f32::from(u8::from(shown(batch, key))));
            (0..self.batch).flat_map(entry).collect()
        }

        fn shaped(self, operation: Operation) -> impl Fn(Vec<Tensor<1>>) -> Tensor<4> + Sync {
            let kv = [self.batch, self.keys, self.kv_heads, self.head_dim];
            move |x| {
                let q = x[0].clone().reshape([self.batch, self.seq, self.heads, self.head_dim]);
                let mask = self.masked.then(|| {
                    let mask = Tensor::<1>::from_floats(self.mask().as_slice(), &x[0].device());
                    mask.cast(x[0].dtype()).reshape([self.batch, self.keys])
                });
                operation(q, x[1].clone().reshape(kv), x[2].clone().reshape(kv), mask, self.causal)
            }
        }
    }

    const SMALL: Case = Case {
        batch: 2,
        seq: 3,
        keys: 4,
        heads: 4,
        kv_heads: 2,
        head_dim: 3,
        masked: false,
        causal: false,
    };

    /// Every mask and causal setting of a case.
    fn variants(case: Case) -> [Case; 4] {
        [(false, false), (false, true), (true, false), (true, true)].map(|(masked, causal)| Case {
            masked,
            causal,
            ..case
        })
    }

    #[test]
    fn worked_by_hand() {
        // head_dim 1, scores q·k = (0, ln 3): weights (1/4, 3/4) of values (4, 8).
        let run = |mask: Option<[f32; 2]>| {
            let operation = move |x: Vec<Tensor<1>>| {
                let mask =
                    mask.map(|mask| Tensor::<1>::from_floats(mask, &x[0].device()).reshape([1, 2]));
                let kv = [1, 2, 1, 1];
                attention(
                    x[0].clone().reshape([1, 1, 1, 1]),
                    x[1].clone().reshape(kv),
                    x[2].clone().reshape(kv),
                    mask,
                    true,
                )
            };
            trace(&[vec![1.0], vec![0.0, 3f32.ln()], vec![4.0, 8.0]], operation).output
        };
        assert_close(&run(None), &[7.0], 1e-6);
        assert_close(&run(Some([1.0, 0.0])), &[4.0], 1e-6);
        assert_eq!(run(Some([0.0, 0.0])), [0.0]);
    }

    #[test]
    fn agrees_with_plain_at_odd_sizes() {
        let cases = [
            SMALL,
            Case { seq: 1, keys: 1, ..SMALL },
            Case { seq: 1, keys: 77, head_dim: 32, heads: 6, ..SMALL },
            Case { seq: 14, keys: 78, head_dim: 32, heads: 6, ..SMALL },
            Case { seq: 37, keys: 37, head_dim: 40, heads: 3, kv_heads: 1, ..SMALL },
            Case { batch: 3, seq: 60, keys: 150, head_dim: 32, heads: 6, ..SMALL },
        ];
        for case in cases.into_iter().flat_map(variants) {
            assert_agree(&case.inputs(), case.shaped(attention), case.shaped(plain));
        }
    }

    #[test]
    fn gradients_are_slopes() {
        for case in variants(SMALL) {
            assert_slopes(&case.inputs(), case.shaped(attention), case.shaped(plain));
        }
    }

    #[test]
    fn one_thread_or_many() {
        let case = Case { batch: 9, seq: 20, keys: 50, head_dim: 32, heads: 6, ..SMALL };
        for case in variants(case) {
            assert_same_bits(&case.inputs(), case.shaped(attention));
        }
    }

    #[test]
    fn a_view_into_a_cache_and_shared_keys_need_no_copy_by_the_caller() {
        let case = Case { batch: 3, seq: 2, keys: 5, ..SMALL };
        let [q, k, v] = case.inputs();
        let wide = |x: &Tensor<1>| x.clone().reshape([3, 5, 2, 3]);
        let views = |operation: Operation| {
            move |x: Vec<Tensor<1>>| {
                let q = x[0].clone().reshape([3, 2, 4, 3]);
                let k = wide(&x[1]).narrow(1, 1, 3); // a part of the cache
                let v = wide(&x[2]).narrow(0, 0, 1).narrow(1, 0, 3).expand([3, 3, 2, 3]); // one for all
                operation(q, k, v, None, true)
            }
        };
        assert_agree(&[q, k, v], views(attention), views(plain));
    }

    #[test]
    #[should_panic(expected = "a causal chunk of 3 queries has 2 keys")]
    fn a_causal_chunk_needs_its_own_keys() {
        let case = Case { keys: 2, causal: true, ..SMALL };
        trace(&case.inputs(), case.shaped(attention));
    }
}
