//! A local server that stands for a served judge: it answers, or does not, as a test says.

use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
pub use tiny_http::{Header, Request, Response};

/// A server at `address` whose n-th request (from 0) is handled by `act`; after `lifetime` of them it is
/// gone. Gives its address; one that is still taken is waited for.
pub fn serve(
    address: &str,
    lifetime: usize,
    act: impl Fn(usize, Request, String) + Send + 'static,
) -> String {
    let patience = Instant::now();
    let server = loop {
        match tiny_http::Server::http(address) {
            Ok(server) => break server,
            Err(error) => assert!(patience.elapsed() < Duration::from_secs(20), "{error}"),
        }
    };
    let address = server.server_addr().to_string();
    std::thread::spawn(move || {
        for number in 0..lifetime {
            let mut request = server.recv().unwrap();
            let mut body = String::new();
            request.as_reader().read_to_string(&mut body).unwrap();
            act(number, request, body);
        }
    });
    address
}

/// A server that stays: its chat endpoint, and how many requests it has had.
pub fn endpoint(
    act: impl Fn(usize, Request, String) + Send + 'static,
) -> (String, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&count);
    let address = serve("127.0.0.1:0", usize::MAX, move |number, request, body| {
        seen.fetch_add(1, Ordering::SeqCst);
        act(number, request, body);
    });
    (format!("http://{address}/v1"), count)
}

/// Answers a request.
pub fn reply(request: Request, status: u16, body: &str) {
    request.respond(Response::from_string(body).with_status_code(status)).ok();
}

/// A chat completion that says `content`, for 100 tokens.
#[must_use]
pub fn completion(content: &str) -> String {
    json!({ "choices": [{ "message": { "content": content } }], "usage": { "total_tokens": 100 } })
        .to_string()
}

/// Does a request show two pictures, as questions of consistency do?
#[must_use]
pub fn shows_both(body: &str) -> bool {
    body.matches("image_url\":{").count() == 2
}
