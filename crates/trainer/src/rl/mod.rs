//! Reinforcement learning by group-relative policy gradients (GRPO), with a verifier's rewards.
//!
//! ```text
//! prompts → rollouts → pictures → rewards → advantages → loss → one optimizer step
//! ```
//! What it drops from GRPO, as EARL does: no importance ratio and no clip (each batch is used once,
//! on-policy; those of a file may be older), no length or format reward (the grammar leaves no other format).
//! Start at [`train::Policy::step`].

pub(crate) mod advantage;
pub(crate) mod config;
pub(crate) mod judging;
pub(crate) mod loss;
pub(crate) mod metrics;
pub(crate) mod offline;
pub(crate) mod rollout;
pub(crate) mod train;
pub(crate) mod verifiers;
pub(crate) mod verify;
