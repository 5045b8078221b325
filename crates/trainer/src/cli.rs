//! The command line: verbs and what they share. Each verb's flags stand in its own file below `cmd`.

use crate::cmd;
use anyhow::Result;
use clap::{Parser, Subcommand};

/// Trains and runs models that edit a picture by a sentence.
///
/// Start with `trainer edit --model models/tiny picture.png "remove the cat" -o edited.png`.
#[derive(Debug, Parser)]
#[command(name = "trainer", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Write examples of the scene world: pictures, true edits, sentences and checks.
    Scenes(cmd::scenes::Args),
    /// Make the picture tokenizer's codebook, and measure it.
    Tok(cmd::tok::Args),
    /// Train a decoder on edits of scenes.
    Sft(cmd::sft::Args),
    /// Train a decoder by a verifier's rewards (GRPO).
    Rl(cmd::rl::Args),
    /// Train a model's own verifier: how likely an edit is right.
    Verifier(cmd::verifier::Args),
    /// Edit one picture, or a batch of them.
    Edit(cmd::edit::Args),
    /// Score a model on held-out edits, beside its baselines.
    Eval(cmd::eval::Args),
    /// Train and score several runs that start from one another, by a plan.
    Experiment(cmd::experiment::Args),
    /// Write a model as a bundle for the browser, or as safetensors.
    Export(cmd::export::Args),
    /// Score given edits with a served multimodal model.
    Judge(cmd::judge::Args),
    /// Say what is in a model's file or folder.
    Inspect(cmd::inspect::Args),
    /// Draw one or more runs as a self-contained HTML page.
    Report(cmd::report::Args),
    /// Measure speed: training steps, edits and kernels.
    Bench(cmd::bench::Args),
}

impl Cli {
    /// Runs the verb.
    ///
    /// # Errors
    /// Whatever the verb reports.
    pub(crate) fn run(self) -> Result<()> {
        match self.verb {
            Verb::Scenes(args) => cmd::scenes::run(&args),
            Verb::Tok(args) => cmd::tok::run(&args),
            Verb::Sft(args) => cmd::sft::run(&args),
            Verb::Rl(args) => cmd::rl::run(&args),
            Verb::Verifier(args) => cmd::verifier::run(&args),
            Verb::Edit(args) => cmd::edit::run(&args),
            Verb::Eval(args) => cmd::eval::run(&args),
            Verb::Experiment(args) => cmd::experiment::run(&args),
            Verb::Export(args) => cmd::export::run(&args),
            Verb::Judge(args) => cmd::judge::run(&args),
            Verb::Inspect(args) => cmd::inspect::run(&args),
            Verb::Report(args) => cmd::report::run(&args),
            Verb::Bench(args) => cmd::bench::run(&args),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
