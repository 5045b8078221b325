//! Supervised training: scenes in, a decoder out.

pub(crate) mod batch;
pub(crate) mod codes;
pub(crate) mod config;
pub(crate) mod loss;
pub(crate) mod probe;
pub(crate) mod train;
pub(crate) mod widen;
