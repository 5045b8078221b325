//! A static server for the demo, on this machine only.

use crate::stamp::Stamp;
use anyhow::{Result, anyhow};
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::thread;
use tiny_http::{Header, Method, Request, Response, Server};

const THREADS: usize = 4;
/// What a site's host should send with every file: `docs/WEB.md`. The policy in the page itself does
/// not bind its workers.
const POLICY: &str = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; \
    connect-src 'self'; img-src 'self' blob:; style-src 'self'; manifest-src 'self'; base-uri 'none'; \
    form-action 'self'";

/// A server on 127.0.0.1; port 0 takes any free one.
pub(crate) fn listen(port: u16) -> Result<Server> {
    Server::http(("127.0.0.1", port)).map_err(|error| {
        anyhow!("port {port} can't be used: {error}\nhint: choose another one with `--port`")
    })
}

/// The address to open.
pub(crate) fn url(server: &Server) -> Result<String> {
    let address = server.server_addr().to_ip();
    let address = address.ok_or_else(|| anyhow!("the server has no address"))?;
    Ok(format!("http://{address}/"))
}

/// Serves `folder` until the process ends.
pub(crate) fn serve(server: &Server, folder: &Path) {
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for request in server.incoming_requests() {
                    answer(request, folder);
                }
            });
        }
    });
}

fn answer(request: Request, folder: &Path) {
    let file = file_for(folder, request.url());
    let found = file.as_ref().and_then(|path| fs::read(path).ok().map(|bytes| (path, bytes)));
    let sent = match found {
        _ if !matches!(request.method(), Method::Get | Method::Head) => {
            request.respond(Response::from_string("only GET and HEAD").with_status_code(405))
        }
        Some((path, bytes)) => {
            let etag = etag_of(&bytes);
            let known = request
                .headers()
                .iter()
                .any(|header| header.field.equiv("If-None-Match") && header.value == etag.as_str());
            let mut response = if known {
                Response::from_data(Vec::new()).with_status_code(304)
            } else {
                Response::from_data(bytes)
            };
            // A rebuilt demo must not show the last one's files.
            for (name, value) in [
                ("Content-Type", content_type(path)),
                ("Cache-Control", "no-cache"),
                ("ETag", &etag),
                ("Content-Security-Policy", POLICY),
            ] {
                if let Ok(header) = Header::from_bytes(name, value) {
                    response.add_header(header);
                }
            }
            request.respond(response)
        }
        None => request.respond(Response::from_string("not found").with_status_code(404)),
    };
    if let Err(problem) = sent {
        eprintln!("warning: an answer was cut: {problem}");
    }
}

/// What tells one content of a file from another, so that a browser which has it is not sent it again.
fn etag_of(bytes: &[u8]) -> String {
    let mut stamp = Stamp::default();
    stamp.add("", bytes);
    format!("\"{}\"", stamp.finish())
}

/// The file below `folder` that a request's path names; never one outside it, never a hidden one.
fn file_for(folder: &Path, url: &str) -> Option<PathBuf> {
    let path = decoded(url.split(['?', '#']).next()?)?;
    let is_folder = path.is_empty() || path.ends_with('/');
    let path = path.trim_start_matches('/');
    let mut file = folder.to_owned();
    for part in Path::new(path).components() {
        match part {
            Component::Normal(name) if !name.to_string_lossy().starts_with('.') => file.push(name),
            _ => return None,
        }
    }
    Some(if is_folder { file.join("index.html") } else { file })
}

/// `%41` → `A`; `None` for half a code, text that is no UTF-8, and signs no site's file has.
fn decoded(path: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::new(), path.as_bytes());
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (code, tail) = rest.split_at_checked(2)?;
        let code = std::str::from_utf8(code).ok()?;
        bytes.push(u8::from_str_radix(code, 16).ok()?);
        rest = tail;
    }
    let path = String::from_utf8(bytes).ok()?;
    (!path.contains(['\0', '\\', ':'])).then_some(path)
}

fn content_type(path: &Path) -> &'static str {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("json") => "application/json",
        Some("wasm") => "application/wasm",
        Some("png") => "image/png",
        Some("webmanifest") => "application/manifest+json",
        Some("svg") => "image/svg+xml",
        Some("webp") => "image/webp",
        Some("md" | "txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpStream;

    fn file(url: &str) -> Option<PathBuf> {
        file_for(Path::new("/site"), url)
    }

    #[test]
    fn paths_name_files_below_the_folder() {
        assert_eq!(file("/"), Some("/site/index.html".into()));
        assert_eq!(file(""), Some("/site/index.html".into()));
        assert_eq!(file("/docs/"), Some("/site/docs/index.html".into()));
        assert_eq!(file("/web/app.js?v=1#top"), Some("/site/web/app.js".into()));
        assert_eq!(file("/a%20b.png"), Some("/site/a b.png".into()));
        assert_eq!(file("//etc/passwd"), Some("/site/etc/passwd".into()));
    }

    #[test]
    fn paths_never_leave_the_folder() {
        for url in [
            "/..",
            "/../secret",
            "/web/../../secret",
            "/web/..",
            "/%2e%2e/secret",
            "/web/%2E%2E/%2e%2e/secret",
            "/..%2fsecret",
            "/web/..%5csecret",
            "/c:/secret",
            "/.git/config",
            "/%2egit/config",
            "/a%00.js",
            "/%",
            "/%4",
            "/%zz",
            "/%ff",
        ] {
            assert_eq!(file(url), None, "{url}");
        }
        // Decoded once, not twice.
        assert_eq!(file("/%252e%252e/x"), Some("/site/%2e%2e/x".into()));
    }

    #[test]
    fn answers_have_status_type_and_bytes() {
        let folder = std::env::temp_dir().join(format!("earl-serve-{}", std::process::id()));
        fs::create_dir_all(folder.join("web")).unwrap();
        fs::write(folder.join("web/app.js"), "let a = 1;").unwrap();
        let server = listen(0).unwrap();
        let address = server.server_addr().to_ip().unwrap();
        let ask_with = |request: &str, more: &str| {
            let mut stream = TcpStream::connect(address).unwrap();
            let head = "HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
            write!(stream, "{request} {head}{more}\r\n").unwrap();
            answer(server.recv().unwrap(), &folder);
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            text
        };
        let ask = |request: &str| ask_with(request, "");
        let found = ask("GET /web/app.js");
        assert!(found.starts_with("HTTP/1.1 200") && found.ends_with("let a = 1;"), "{found}");
        assert!(found.contains("text/javascript"), "{found}");
        assert!(found.contains("Content-Security-Policy: default-src 'none'"), "{found}");
        let etag = found.lines().find_map(|line| line.strip_prefix("ETag: ")).unwrap().to_owned();
        fs::write(folder.join("web/b.js"), "let b = 1;").unwrap();
        for (path, status) in [("app", "304"), ("b", "200")] {
            let had = format!("If-None-Match: {etag}\r\n");
            let again = ask_with(&format!("GET /web/{path}.js"), &had);
            assert!(again.starts_with(&format!("HTTP/1.1 {status}")), "{again}");
            assert_eq!(again.contains("let"), status == "200", "{again}");
        }
        assert!(ask("GET /web/../../secret").starts_with("HTTP/1.1 404"));
        assert!(ask("GET /web").starts_with("HTTP/1.1 404"));
        assert!(ask("POST /web/app.js").starts_with("HTTP/1.1 405"));
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_taken_port_is_explained() {
        let first = listen(0).unwrap();
        let port = first.server_addr().to_ip().unwrap().port();
        let message = listen(port).err().unwrap().to_string();
        assert!(message.contains("--port"), "{message}");
        assert_eq!(url(&first).unwrap(), format!("http://127.0.0.1:{port}/"));
    }
}
