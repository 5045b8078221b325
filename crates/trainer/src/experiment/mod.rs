//! An experiment: several runs that start from one another, at several seeds, and their scores side
//! by side.
//!
//! ```text
//! plan (TOML) → runs (this very program, as child processes) → scores (rows on disk) → table
//! ```
//! Whatever is there already is not made again, so the same command goes on after a stop, a kill or a
//! change of the plan. Start at [`run::run_all`].

pub(crate) mod plan;
pub(crate) mod run;
pub(crate) mod score;
pub(crate) mod table;
