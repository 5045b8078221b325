//! Settings of the judge, as `configs/*.toml` hold them under `[judge]`. The key comes from the
//! environment alone.

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The environment variable that holds the endpoint's key, if it asks for one.
pub(crate) const KEY: &str = "EARL_JUDGE_KEY";

/// Settings of a served multimodal model; every key has a default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct JudgeConfig {
    /// Base address of an OpenAI-compatible server, up to `/v1`.
    pub endpoint: String,
    /// The model's name there.
    pub model: String,
    /// Longest answer, in tokens.
    pub max_tokens: u32,
    /// Seconds a request may take.
    pub timeout_s: f64,
    /// Tries at a request that fails or whose answer can't be read.
    pub tries: u32,
    /// Seconds to wait for a server that can't be reached at all before giving up on a request.
    pub patience_s: f64,
    /// First wait between tries, in milliseconds; doubles, with jitter, up to a minute.
    pub backoff_ms: f64,
    /// Requests under way at once.
    pub concurrency: usize,
    /// Most requests of the whole run; 0 is no limit.
    pub request_budget: u64,
    /// Most tokens of the whole run, as the server counts them; 0 is no limit.
    pub token_budget: u64,
    /// Folder of answers by content; none keeps nothing.
    pub cache: Option<PathBuf>,
}

impl Default for JudgeConfig {
    fn default() -> Self {
        Self {
            endpoint: "http://127.0.0.1:8000/v1".into(),
            model: "Qwen/Qwen2.5-VL-72B-Instruct".into(),
            max_tokens: 1_400,
            timeout_s: 60.0,
            tries: 5,
            patience_s: 600.0,
            backoff_ms: 500.0,
            concurrency: 8,
            request_budget: 0,
            token_budget: 0,
            cache: None,
        }
    }
}

impl JudgeConfig {
    /// The first broken rule, if any.
    ///
    /// # Errors
    /// Names the key and the value found.
    pub(crate) fn check(&self) -> Result<()> {
        if !self.endpoint.starts_with("http://") && !self.endpoint.starts_with("https://") {
            bail!(
                "`judge.endpoint` is `{}`; it must begin with http:// or https://",
                self.endpoint
            );
        }
        if self.tries == 0 || self.concurrency == 0 || self.max_tokens == 0 {
            bail!("`judge.tries`, `judge.concurrency` and `judge.max_tokens` must be at least 1");
        }
        for (key, value) in [
            ("judge.timeout_s", self.timeout_s),
            ("judge.patience_s", self.patience_s),
            ("judge.backoff_ms", self.backoff_ms),
        ] {
            if !(value.is_finite() && value > 0.0 && value <= 86_400_000.0) {
                bail!("`{key}` is {value}; it must be a number above 0");
            }
        }
        Ok(())
    }
}
