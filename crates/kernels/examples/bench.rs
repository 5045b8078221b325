//! Prints what the fused operations gain on this machine, as GitHub-flavoured Markdown.
//!
//! `cargo run --release -p earl-kernels --features flex --example bench [operation]`; set `RAYON_NUM_THREADS`
//! or `EARL_KERNELS_SIMD` to compare.

use earl_kernels::bench::{instruction_set, run};

#[allow(clippy::print_stdout, reason = "printing is what it is for")]
fn main() {
    let kept = earl_kernels::memory::keep();
    let filter = std::env::args().nth(1).unwrap_or_default();
    println!("instructions: {}, memory kept: {kept}\n", instruction_set());
    println!("| operation | plain ms | fused ms | ratio |\n|---|---|---|---|");
    for row in run(20, &filter) {
        println!("| {} | {:.3} | {:.3} | {:.1} |", row.name, row.plain_ms, row.fused_ms, row.ratio);
    }
}
