//! The model's hot operations: Burn tensors in, Burn tensors out.
//!
//! Place in the flow: `earl-model`'s layers call these; nothing here knows the model.
//! Each file holds one operation as a plain Burn composition, which is also its specification and
//! what every backend but flex runs (WebGPU, CUDA). With feature `flex`, tensors on
//! `Device::flex()`, with or without autodiff, take the fused version under `fused` instead; the
//! choice is made at run time from the tensors themselves, so callers never name a backend. With
//! feature `wgpu`, inference on such a device takes the kernels under `device`.
//! Without feature `plain` there are no compositions, for small modules that run packed models only.
//! All float tensors are f32. Gradients are first order, as everywhere in Burn.
//! Start at [`attention`], then `fused`'s module page.

#![allow(
    unsafe_code,
    reason = "vector instructions and disjoint writes from several threads; each block says why it is sound"
)]
#![cfg_attr(
    not(feature = "plain"),
    allow(
        dead_code,
        unused_variables,
        reason = "the compositions that are left out, and what they take"
    )
)]
#![cfg_attr(
    feature = "flex-forward",
    allow(
        clippy::inline_always,
        reason = "kernels are compiled once for each instruction set, which takes inlining into the caller that enables it"
    )
)]

/// What an operation does where this build has no kernel of its own for it: its plain composition.
macro_rules! elsewhere {
    ($plain:expr) => {{
        #[cfg(feature = "plain")]
        {
            $plain
        }
        #[cfg(not(feature = "plain"))]
        crate::no_kernel()
    }};
}

mod adamw;
mod attention;
#[cfg(feature = "flex")]
pub mod bench;
mod conv2d;
mod cross_entropy;
mod decode_block;
#[cfg(feature = "wgpu")]
mod device;
mod exp;
#[cfg(feature = "flex-forward")]
mod fused;
mod gather_sum;
mod greatest;
mod greedy;
mod group_norm;
mod linear;
#[cfg(not(target_family = "wasm"))]
pub mod mapped;
mod muon;
mod nearest;
mod norm;
mod packed_attention;
pub mod precision;
pub mod quant_linear;
mod rms_norm;
mod rope;
mod scores;
mod swiglu;
#[cfg(all(test, feature = "flex"))]
#[allow(clippy::expect_used, reason = "test code: a panic is a failed test")]
mod testing;

pub use adamw::{AdamW, adamw};
pub use attention::attention;
pub use conv2d::{Convolution, Walk};
pub use cross_entropy::cross_entropy;
pub use decode_block::{BlockMaps, BlockShape, DecodeBlock, Seen};
pub use gather_sum::{NO_ROW, gather_sum};
pub use greatest::greatest;
pub use greedy::greedy;
pub use group_norm::{GroupNorm, group_norm};
pub use linear::{linear, linear_tied};
pub use muon::{Matrix, Muon, muon};
pub use nearest::nearest;
pub use norm::sum_of_squares;
pub use packed_attention::{Packing, Segment, packed_attention};
pub use quant_linear::{PackedMatrix, quant_linear};
pub use rms_norm::rms_norm;
pub use rope::rope;
pub use scores::scores;
pub use swiglu::swiglu;

/// Ends an operation that this build left out.
#[cfg(not(feature = "plain"))]
#[allow(clippy::panic, reason = "a caller's mistake, as a wrong size is in Burn's own operations")]
fn no_kernel() -> ! {
    panic!("this build has kernels for packed models only: see feature `plain` of earl-kernels")
}
