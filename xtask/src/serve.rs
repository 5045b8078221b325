//! A static server for the demo, on this machine only.

use crate::command::program;
use anyhow::{Result, anyhow};
use std::fs;
use std::path::{Component, Path, PathBuf};
use tiny_http::{Header, Response, Server};

/// Serves `folder` until the process ends.
pub(crate) fn serve(folder: &Path, port: u16, open: bool) -> Result<()> {
    let server = Server::http(("127.0.0.1", port))
        .map_err(|error| anyhow!("port {port} can't be used ({error}); choose another with `--port`"))?;
    let url = format!("http://127.0.0.1:{port}/");
    eprintln!("serving {} at {url} (Ctrl-C ends it)", folder.display());
    if open {
        // A machine without a desktop has no opener; the printed address is enough then.
        drop(program("xdg-open", &[&url])?.spawn());
    }
    for request in server.incoming_requests() {
        let file = file_for(folder, request.url());
        let answered = match file.as_ref().and_then(|path| fs::read(path).ok().map(|bytes| (path, bytes))) {
            Some((path, bytes)) => request.respond(Response::from_data(bytes).with_header(content_type(path)?)),
            None => request.respond(Response::from_string("not found").with_status_code(404)),
        };
        if let Err(problem) = answered {
            eprintln!("warning: an answer was cut: {problem}");
        }
    }
    Ok(())
}

/// The file below `folder` that a request's path names; never one outside it.
fn file_for(folder: &Path, url: &str) -> Option<PathBuf> {
    let path = url.split(['?', '#']).next()?.trim_start_matches('/');
    let path = if path.is_empty() || path.ends_with('/') { format!("{path}index.html") } else { path.to_owned() };
    let plain = Path::new(&path).components().all(|part| matches!(part, Component::Normal(_)));
    plain.then(|| folder.join(path))
}

fn content_type(path: &Path) -> Result<Header> {
    let kind = match path.extension().and_then(|extension| extension.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript",
        Some("css") => "text/css",
        Some("json") => "application/json",
        Some("wasm") => "application/wasm",
        Some("png") => "image/png",
        Some("svg") => "image/svg+xml",
        Some("md") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    };
    Header::from_bytes("Content-Type", kind).map_err(|()| anyhow!("`{kind}` is no header"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_below_the_folder() {
        let folder = Path::new("/site");
        assert_eq!(file_for(folder, "/"), Some("/site/index.html".into()));
        assert_eq!(file_for(folder, "/web/app.js?v=1"), Some("/site/web/app.js".into()));
        assert_eq!(file_for(folder, "/../secret"), None);
        assert_eq!(file_for(folder, "/web/../../secret"), None);
        assert_eq!(file_for(folder, "//etc/passwd"), Some("/site/etc/passwd".into()));
    }
}
