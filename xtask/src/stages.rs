//! Stages of a long run: each is timed, a failure stops only what needs it, and all end in one table.

use anyhow::{Result, bail};
use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Passed,
    Failed,
    /// A stage it needs did not pass.
    LeftOut,
}

/// What ran so far.
#[derive(Default)]
pub(crate) struct Stages(Vec<(&'static str, Outcome, Duration)>);

impl Stages {
    /// Runs a stage, unless one of those it needs did not pass.
    pub(crate) fn run(
        &mut self,
        name: &'static str,
        needs: &[&str],
        work: impl FnOnce() -> Result<()>,
    ) {
        let start = Instant::now();
        let outcome = if needs.iter().all(|need| self.has_passed(need)) {
            eprintln!("\n== {name}");
            match work() {
                Ok(()) => Outcome::Passed,
                Err(problem) => {
                    eprintln!("error: {name}: {problem:#}");
                    Outcome::Failed
                }
            }
        } else {
            Outcome::LeftOut
        };
        self.0.push((name, outcome, start.elapsed()));
    }

    fn has_passed(&self, name: &str) -> bool {
        self.0.iter().any(|(other, outcome, _)| *other == name && *outcome == Outcome::Passed)
    }

    /// Prints the table; an error if not all passed.
    pub(crate) fn finish(self) -> Result<()> {
        eprintln!("\n{}", self.table());
        let bad = self.0.iter().filter(|(_, outcome, _)| *outcome != Outcome::Passed);
        let bad: Vec<&str> = bad.map(|(name, ..)| *name).collect();
        if self.0.is_empty() || !bad.is_empty() {
            bail!("not passed: {}\nhint: each stage's own message stands above", bad.join(", "));
        }
        eprintln!("all passed");
        Ok(())
    }

    fn table(&self) -> String {
        let width = self.0.iter().map(|(name, ..)| name.len()).max().unwrap_or(0).max(5);
        let mut lines = vec![format!("{:width$}  {:>7}  result", "stage", "minutes")];
        let mut sum = Duration::ZERO;
        for (name, outcome, time) in &self.0 {
            let outcome = match outcome {
                Outcome::Passed => "passed",
                Outcome::Failed => "FAILED",
                Outcome::LeftOut => "left out",
            };
            lines.push(format!("{name:width$}  {:7.1}  {outcome}", time.as_secs_f64() / 60.0));
            sum += *time;
        }
        lines.push(format!("{:width$}  {:7.1}", "sum", sum.as_secs_f64() / 60.0));
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    #[test]
    fn a_failure_leaves_out_what_needs_it_and_only_that() {
        let (mut stages, mut ran) = (Stages::default(), Vec::new());
        stages.run("build", &[], || Err(anyhow!("broken")));
        stages.run("page", &["build"], || {
            ran.push("page");
            Ok(())
        });
        stages.run("later", &["page"], || Ok(()));
        stages.run("native", &[], || {
            ran.push("native");
            Ok(())
        });
        assert_eq!(ran, ["native"]);
        let table = stages.table();
        assert!(table.contains("build       0.0  FAILED"), "{table}");
        assert!(table.contains("page        0.0  left out"), "{table}");
        let message = stages.finish().unwrap_err().to_string();
        assert!(message.starts_with("not passed: build, page, later\n"), "{message}");
    }

    #[test]
    fn all_passed_is_a_success_and_nothing_run_is_not() {
        let mut stages = Stages::default();
        stages.run("native", &[], || Ok(()));
        stages.run("page", &["native"], || Ok(()));
        assert!(stages.finish().is_ok());
        assert!(Stages::default().finish().is_err());
    }

    #[test]
    fn the_table_adds_up() {
        let minutes = |count: u64| Duration::from_secs(60 * count);
        let rows = vec![
            ("native tests", Outcome::Passed, minutes(12)),
            ("page", Outcome::Passed, minutes(3)),
        ];
        assert_eq!(
            Stages(rows).table(),
            "stage         minutes  result\n\
             native tests     12.0  passed\n\
             page              3.0  passed\n\
             sum              15.0"
        );
    }
}
