//! Supervised training: scenes in, a decoder out.

pub mod batch;
pub mod codes;
pub mod config;
pub mod loss;
pub mod probe;
pub mod train;
