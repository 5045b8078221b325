//! One question to an OpenAI-compatible chat endpoint: text and pictures in, the answer's text out.
//!
//! A server that is busy or broken is asked again, with doubling waits and jitter; one that can't be
//! reached is waited for. Errors name the endpoint's status and body, never the key.

use super::config::{JudgeConfig, KEY};
use crate::{hint, interrupt};
use anyhow::{Error, Result, anyhow};
use base64::Engine;
use earl_model::sample::rng::{Key, uniform};
use serde_json::{Value, json};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Longest wait between two tries.
const LONGEST_WAIT: Duration = Duration::from_mins(1);
/// Largest answer read, in bytes.
const ANSWER_LIMIT: u64 = 1 << 20;
/// Characters of a server's message that are shown.
const SHOWN: usize = 300;

/// Talks to one endpoint; shared by threads.
pub(crate) struct Client {
    config: JudgeConfig,
    agent: ureq::Agent,
    key: Option<String>,
    requests: AtomicU64,
    tokens: AtomicU64,
}

/// The server gave no answer, but may give one later: it can't be reached, or is busy or broken.
#[derive(Debug)]
pub(crate) struct Away {
    problem: String,
    /// Did any try get through to it?
    pub reached: bool,
}

impl fmt::Display for Away {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem)
    }
}

impl std::error::Error for Away {}

impl Away {
    /// Of a question that was not asked, since the server could not be reached before.
    pub(crate) fn unasked() -> Self {
        Self { problem: "not asked: the judge can't be reached".into(), reached: false }
    }

    /// What an error says of the server's absence, if that is its reason.
    pub(crate) fn of(problem: &Error) -> Option<&Self> {
        problem.chain().find_map(|link| link.downcast_ref())
    }
}

/// Why a try brought no answer.
enum Failure {
    /// The server can't be reached.
    Unreachable(String),
    /// It said no, for now; perhaps with seconds to wait.
    Busy(String, Option<f64>),
    /// It will say no again.
    Refused(String),
}

impl Client {
    /// A client of the configured endpoint, with the key from the environment; `used` requests and
    /// tokens of the budgets are spent already.
    #[must_use]
    pub(crate) fn new(config: JudgeConfig, used: [u64; 2]) -> Self {
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs_f64(config.timeout_s)))
            .http_status_as_error(false)
            .build()
            .into();
        let key = std::env::var(KEY).ok().filter(|key| !key.is_empty());
        let [requests, tokens] = used.map(AtomicU64::new);
        Self { config, agent, key, requests, tokens }
    }

    /// Requests sent and tokens used.
    #[must_use]
    pub(crate) fn used(&self) -> [u64; 2] {
        [self.requests.load(Ordering::Relaxed), self.tokens.load(Ordering::Relaxed)]
    }

    /// The answer to `text` about PNG pictures, asked until `read` can read it.
    ///
    /// # Errors
    /// If all tries fail, or a budget is spent.
    pub(crate) fn ask<T>(
        &self,
        text: &str,
        again: &str,
        pictures: &[&[u8]],
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<(T, String)> {
        let start = Instant::now();
        let (mut tried, mut waited) = (0u32, 0u32);
        let mut last = Error::from(Away::unasked());
        let mut unreadable = false;
        while tried < self.config.tries && !interrupt::asked() {
            self.reserve()?;
            let asked = if unreadable { format!("{text}{again}") } else { text.to_owned() };
            match self.post(&asked, pictures) {
                Ok(answer) => {
                    if let Some(value) = read(&answer) {
                        return Ok((value, answer));
                    }
                    last = anyhow!("its answer can't be read: `{}`", self.shown(&answer));
                    unreadable = true;
                    tried += 1;
                }
                Err(Failure::Refused(problem)) => return Err(self.failed(anyhow!(problem))),
                Err(Failure::Unreachable(problem)) => {
                    self.requests.fetch_sub(1, Ordering::Relaxed); // nothing was sent
                    last = Away { problem, reached: false }.into();
                    if start.elapsed().as_secs_f64() > self.config.patience_s {
                        break;
                    }
                    self.wait(waited, None, text.len());
                }
                Err(Failure::Busy(problem, seconds)) => {
                    last = Away { problem, reached: true }.into();
                    tried += 1;
                    if tried < self.config.tries {
                        self.wait(waited, seconds, text.len());
                    }
                }
            }
            waited += 1;
        }
        Err(self.failed(last))
    }

    fn failed(&self, reason: Error) -> Error {
        hint::because(
            reason,
            format!("the judge at {} gave no verdict", self.config.endpoint),
            format!("is the server up, and `judge.model` one it serves? a key goes into {KEY}"),
        )
    }

    /// Takes one request out of the budget; threads can't take the last one twice.
    fn reserve(&self) -> Result<()> {
        let spent = |what: &str, budget: u64| {
            let message = format!("the judge's {what} budget of {budget} is spent");
            hint::error(message, format!("raise `judge.{what}_budget`; answers so far are kept"))
        };
        let JudgeConfig { request_budget, token_budget, .. } = self.config;
        if token_budget > 0 && self.tokens.load(Ordering::Relaxed) >= token_budget {
            return Err(spent("token", token_budget));
        }
        let take = |used: u64| (request_budget == 0 || used < request_budget).then_some(used + 1);
        let taken = self.requests.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        taken.map(|_| ()).map_err(|_used| spent("request", request_budget))
    }

    fn post(&self, text: &str, pictures: &[&[u8]]) -> Result<String, Failure> {
        let image = |png: &&[u8]| {
            let data = base64::engine::general_purpose::STANDARD.encode(png);
            json!({ "type": "image_url", "image_url": { "url": format!("data:image/png;base64,{data}") } })
        };
        let mut content: Vec<Value> = pictures.iter().map(image).collect();
        content.push(json!({ "type": "text", "text": text }));
        let body = json!({
            "model": self.config.model, "temperature": 0, "max_tokens": self.config.max_tokens,
            "messages": [{ "role": "user", "content": content }],
        });
        let url = format!("{}/chat/completions", self.config.endpoint.trim_end_matches('/'));
        let mut request = self.agent.post(url).header("content-type", "application/json");
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let mut response = request.send(body.to_string()).map_err(|error| self.network(&error))?;
        let status = response.status().as_u16();
        let wait = response.headers().get("retry-after");
        let wait = wait.and_then(|value| value.to_str().ok()?.parse::<f64>().ok());
        let text = response.body_mut().with_config().limit(ANSWER_LIMIT).read_to_string();
        let text = text.map_err(|error| Failure::Busy(self.hidden(&error.to_string()), wait))?;
        match status {
            200 => self.message(&text),
            408 | 409 | 425 | 429 | 500.. => {
                Err(Failure::Busy(format!("status {status}: {}", self.shown(&text)), wait))
            }
            _ => Err(Failure::Refused(format!("status {status}: {}", self.shown(&text)))),
        }
    }

    fn network(&self, error: &ureq::Error) -> Failure {
        let problem = self.hidden(&error.to_string());
        match error {
            ureq::Error::ConnectionFailed | ureq::Error::HostNotFound => {
                Failure::Unreachable(problem)
            }
            ureq::Error::Io(io) if io.kind() == std::io::ErrorKind::ConnectionRefused => {
                Failure::Unreachable(problem)
            }
            _ => Failure::Busy(problem, None),
        }
    }

    /// The answer's text in a chat completion.
    fn message(&self, text: &str) -> Result<String, Failure> {
        let unreadable =
            || Failure::Busy(format!("no chat completion: `{}`", self.shown(text)), None);
        let value: Value = serde_json::from_str(text).map_err(|_error| unreadable())?;
        let used = value["usage"]["total_tokens"].as_u64().unwrap_or(0);
        self.tokens.fetch_add(used, Ordering::Relaxed);
        let content = value["choices"][0]["message"]["content"].as_str();
        content.map(str::to_owned).ok_or_else(unreadable)
    }

    /// Waits before the next try: doubling, or as long as the server asked, half of it by chance.
    fn wait(&self, round: u32, asked: Option<f64>, salt: usize) {
        let doubled = self.config.backoff_ms / 1e3 * f64::from(1u32 << round.min(16));
        let sent = self.requests.load(Ordering::Relaxed);
        let key = Key { seed: sent, purpose: 41, index: salt as u64, position: 0, token: 0 };
        let jittered = doubled * (0.5 + 0.5 * uniform(key));
        let seconds = asked.filter(|seconds| *seconds >= 0.0).unwrap_or(jittered);
        let wait = Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST_WAIT);
        interrupt::wait(wait.min(LONGEST_WAIT));
    }

    fn shown(&self, text: &str) -> String {
        let cut: String = text.chars().take(SHOWN).collect();
        self.hidden(&cut)
    }

    /// A text without the key, should a server repeat it.
    fn hidden(&self, text: &str) -> String {
        match &self.key {
            Some(key) => text.replace(key.as_str(), "[key]"),
            None => text.to_owned(),
        }
    }
}
