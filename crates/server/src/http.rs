//! The http door: `/health`, `/ready`, `/metrics`, and what `holdfast nodes`, `groups` and `catalog backup` read.
//!
//! HTTP/1.1, `GET` and `HEAD` without bodies; heads are read by `httparse`.

use std::sync::Arc;

use bytes::Buf;
use metrics_exporter_prometheus::PrometheusHandle;

use door::{Close, Guest, Limits, Session, Shutdown, Tls};

use crate::view::View;

/// A request head longer than this is refused.
const HEAD_BYTES_MAX: usize = 8 << 10;
/// A request with more header lines than this is refused.
const HEADERS_MAX: usize = 64;

/// What the door tells.
pub(crate) struct Health {
    pub(crate) metrics: PrometheusHandle,
    /// Sets gauges that are only worth computing when somebody looks.
    pub(crate) observe: Box<dyn Fn() + Send + Sync>,
    /// What the node knows of its cluster.
    pub(crate) view: Arc<View>,
}

/// Serves until the signal.
pub(crate) async fn serve(listener: world::net::Listener, health: Arc<Health>, tls: Tls, shutdown: Shutdown) {
    let make = move |guest: Guest| -> Box<dyn Session> {
        Box::new(HttpSession { guest, health: health.clone(), answered: false })
    };
    // Few look here, and often the same.
    let limits = Limits { connections: 256, handshakes: 64, ..Limits::default() };
    door::serve("http", listener, limits, tls, shutdown, make).await;
}

struct HttpSession {
    guest: Guest,
    health: Arc<Health>,
    answered: bool,
}

impl HttpSession {
    fn answer(&self, method: &str, path: &str, keep_alive: bool) {
        let (status, kind, body): (_, _, Vec<u8>) = match (method, path) {
            ("GET" | "HEAD", "/health") => ("200 OK", "text/plain", "ok\n".into()),
            // This door opens with the others, when everything acknowledged before is readable.
            ("GET" | "HEAD", "/ready") => ("200 OK", "text/plain", "ready\n".into()),
            ("GET" | "HEAD", "/metrics") => {
                (self.health.observe)();
                ("200 OK", "text/plain; version=0.0.4", self.health.metrics.render().into_bytes())
            }
            ("GET" | "HEAD", "/nodes") => {
                ("200 OK", "application/json", self.health.view.nodes().into_bytes())
            }
            ("GET" | "HEAD", "/groups") => {
                ("200 OK", "application/json", self.health.view.groups().into_bytes())
            }
            ("GET" | "HEAD", "/catalog") => ("200 OK", "application/octet-stream", self.health.view.backup()),
            ("GET" | "HEAD", _) => {
                let there = "there are /health, /ready, /metrics, /nodes, /groups and /catalog\n";
                ("404 Not Found", "text/plain", there.into())
            }
            _ => ("405 Method Not Allowed", "text/plain", "only GET and HEAD\n".into()),
        };
        let connection = if keep_alive { "keep-alive" } else { "close" };
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: {connection}\r\n\r\n",
            body.len()
        );
        self.guest.outbox.push(head.as_bytes());
        if method != "HEAD" {
            self.guest.outbox.push(&body);
        }
    }

    fn refuse(&self, status: &str) -> Close {
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        self.guest.outbox.push(head.as_bytes());
        Close::because(format!("answered {status}"))
    }
}

impl Session for HttpSession {
    fn feed(&mut self, bytes: &mut bytes::BytesMut) -> Result<(), Close> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
            let mut request = httparse::Request::new(&mut headers);
            let length = match request.parse(bytes) {
                Ok(httparse::Status::Complete(length)) => length,
                Ok(httparse::Status::Partial) if bytes.len() > HEAD_BYTES_MAX => {
                    return Err(self.refuse("431 Request Header Fields Too Large"));
                }
                Ok(httparse::Status::Partial) => return Ok(()),
                Err(_) => return Err(self.refuse("400 Bad Request")),
            };
            let header = |name: &str| {
                let found = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
                found.and_then(|header| std::str::from_utf8(header.value).ok())
            };
            if header("transfer-encoding").is_some() || header("content-length").is_some_and(|len| len != "0")
            {
                return Err(self.refuse("413 Content Too Large"));
            }
            let keep_alive = match (request.version, header("connection")) {
                (Some(0), connection) => connection.is_some_and(|c| c.eq_ignore_ascii_case("keep-alive")),
                (_, connection) => !connection.is_some_and(|c| c.eq_ignore_ascii_case("close")),
            };
            let path = request.path.unwrap_or("/").split('?').next().unwrap_or("/");
            self.answer(request.method.unwrap_or(""), path, keep_alive);
            if !keep_alive {
                return Err(Close::because("the client asked for it"));
            }
            bytes.advance(length);
            self.answered = true;
        }
    }

    fn established(&self) -> bool {
        self.answered
    }

    fn in_flight(&self) -> usize {
        0
    }
}
