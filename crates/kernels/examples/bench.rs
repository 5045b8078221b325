//! Prints what the fused operations gain on this machine, as GitHub-flavoured Markdown.
//!
//! `cargo run --release -p earl-kernels --features flex --example bench`; set `RAYON_NUM_THREADS`
//! or `EARL_KERNELS_SIMD` to compare.

use earl_kernels::bench::{instruction_set, run};

#[allow(clippy::print_stdout, reason = "printing is what it is for")]
fn main() {
    println!("instructions: {}\n", instruction_set());
    println!("| operation | plain ms | fused ms | ratio |\n|---|---|---|---|");
    for row in run(7) {
        println!(
            "| {} | {:.3} | {:.3} | {:.1} |",
            row.name, row.plain_ms, row.fused_ms, row.ratio
        );
    }
}
