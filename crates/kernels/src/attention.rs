//! Grouped-query attention: queries, keys and values in, weighted values out.
//!
//! Layout is `[batch, seq, heads, head_dim]` throughout, as the projections write it, so that no
//! caller transposes. Query head `h` reads key/value head `h / (heads / kv_heads)`.
//! Source: Ainslie et al., arXiv 2305.13245 (grouped queries). Start at [`attention`].

use burn::Tensor;
use burn::tensor::activation::softmax;
use burn::tensor::{Device, Int};

/// Added to the score of a hidden key; far below any score, and still finite, so that a query
/// that sees nothing gives no NaN.
const HIDDEN_SCORE: f64 = -1e9;

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
    plain(q, k, v, key_mask, causal)
}

fn check(q: &Tensor<4>, k: &Tensor<4>, v: &Tensor<4>, key_mask: Option<&Tensor<2>>, causal: bool) {
    let [batch, seq, heads, head_dim] = q.dims();
    let [_, keys, kv_heads, _] = k.dims();
    assert_eq!(
        k.dims(),
        [batch, keys, kv_heads, head_dim],
        "attention: keys against queries"
    );
    assert_eq!(v.dims(), k.dims(), "attention: values against keys");
    assert_eq!(
        heads % kv_heads.max(1),
        0,
        "attention: heads must be a multiple of kv_heads"
    );
    assert!(
        !causal || keys >= seq,
        "attention: a causal chunk of {seq} queries has {keys} keys"
    );
    if let Some(mask) = key_mask {
        assert_eq!(
            mask.dims(),
            [batch, keys],
            "attention: key_mask against keys"
        );
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
    let [batch, seq, heads, head_dim] = q.dims();
    let [_, keys, kv_heads, _] = k.dims();
    let group = heads / kv_heads;
    let device = q.device();

    let scale = (head_dim as f64).powf(-0.5);
    let q = q
        .swap_dims(1, 2)
        .reshape([batch, kv_heads, group * seq, head_dim]);
    let k = k.permute([0, 2, 3, 1]); // [batch, kv_heads, head_dim, keys]
    let v = v.swap_dims(1, 2); // [batch, kv_heads, keys, head_dim]
    let scores = q.matmul(k).mul_scalar(scale); // [batch, kv_heads, group · seq, keys]

    let weights = match visibility(key_mask, causal.then_some((seq, keys)), &device) {
        None => softmax(scores, 3),
        Some(visible) => {
            let hidden = visible
                .clone()
                .neg()
                .add_scalar(1.0)
                .mul_scalar(HIDDEN_SCORE);
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
) -> Option<Tensor<5>> {
    let shown = key_mask.map(|mask| {
        let [batch, keys] = mask.dims();
        mask.detach().reshape([batch, 1, 1, 1, keys])
    });
    // One query at the end of the cache sees everything before it.
    let past = causal.filter(|(seq, _)| *seq > 1).map(|(seq, keys)| {
        let key = Tensor::<1, Int>::arange(0..keys as i64, device).reshape([1, keys]);
        let last = Tensor::<1, Int>::arange((keys - seq) as i64..keys as i64, device);
        let seen = key
            .repeat_dim(0, seq)
            .lower_equal(last.reshape([seq, 1]).repeat_dim(1, keys));
        seen.float().reshape([1, 1, 1, seq, keys])
    });
    match (shown, past) {
        (Some(shown), Some(past)) => Some(shown.mul(past)),
        (shown, past) => shown.or(past),
    }
}
