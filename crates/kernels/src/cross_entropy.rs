//! Token loss: logits and the right tokens in, nats per row out.
//!
//! Start at [`cross_entropy`].

use burn::Tensor;
use burn::tensor::Int;
use burn::tensor::activation::log_softmax;

/// Negative log-likelihood of each row's target, in nats; no averaging, no weights.
///
/// # Shapes
/// - `logits`: `[n, vocab]`
/// - `targets`: `[n]`, each in `0..vocab`
/// - returns: `[n]`, all `≥ 0`
///
/// # Panics
/// On flex (every build), if a target is outside `0..vocab`. Other devices can't look without a
/// round trip; there the device's own gather decides.
#[must_use]
pub fn cross_entropy(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    assert_eq!(
        logits.dims()[0],
        targets.dims()[0],
        "cross_entropy: one target a row"
    );
    plain(logits, targets)
}

/// The specification, and what backends other than flex run.
pub(crate) fn plain(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    log_softmax(logits, 1) // [n, vocab]
        .gather(1, targets.unsqueeze_dim::<2>(1)) // [n, 1]
        .squeeze_dim::<1>(1)
        .neg()
}
