//! `trainer bench kernels`: each fused operation against its plain composition.

use earl_kernels::bench::{BenchRow, instruction_set};
use serde_json::{Value, json};

/// Flags of `bench kernels`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only operations whose name starts so.
    #[arg(long, default_value = "")]
    filter: String,
    /// Best of this many.
    #[arg(long, default_value_t = 5)]
    repeats: usize,
}

/// Milliseconds of both forms of every operation, and their ratio.
pub(super) fn measure(args: &Args) -> Value {
    let rows = earl_kernels::bench::run(args.repeats, &args.filter);
    let row = |row: &BenchRow| json!({ "name": row.name, "plain_ms": row.plain_ms, "fused_ms": row.fused_ms, "ratio": row.ratio });
    json!({
        "instruction_set": instruction_set(),
        "rows": rows.iter().map(row).collect::<Vec<_>>(),
    })
}
