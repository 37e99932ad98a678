//! What an origin answers: a response, or whatever else is to go over the wire.
//!
//! A `Reply` is rendered to steps (write these bytes, wait at that gate) and an end.

use super::gate::Gate;

#[derive(Clone)]
pub struct Reply {
    wait: Option<Gate>,
    interim: Vec<u8>,
    status: u16,
    headers: Vec<(String, String)>,
    body: Body,
    /// Declared body bytes that are never sent.
    missing: usize,
    stall: Option<(usize, Gate)>,
    end: End,
}

#[derive(Clone)]
enum Body {
    /// Content-Length.
    Sized(Vec<u8>),
    /// Each part is one chunk; with a gate, each part first waits at it.
    Chunked(Vec<Vec<u8>>, Option<Gate>),
    UntilClose(Vec<u8>),
    /// No head either: these bytes and nothing else.
    Raw(Vec<u8>),
    Tunnel {
        greeting: Vec<u8>,
        until: Option<Gate>,
    },
}

/// What becomes of the connection after a reply.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum End {
    KeepOpen,
    Close,
    Reset,
}

pub enum Step {
    Write(Vec<u8>),
    Wait(Gate),
    /// Send back what comes, until either side closes or the gate opens.
    Echo(Option<Gate>),
}

impl Reply {
    fn with(status: u16, body: Body, end: End) -> Reply {
        Reply {
            wait: None,
            interim: Vec::new(),
            status,
            headers: Vec::new(),
            body,
            missing: 0,
            stall: None,
            end,
        }
    }

    /// 200 with a body.
    pub fn ok(body: impl AsRef<[u8]>) -> Reply {
        Reply::status(200).body(body)
    }

    /// A status with an empty body.
    pub fn status(status: u16) -> Reply {
        Reply::with(status, Body::Sized(Vec::new()), End::KeepOpen)
    }

    /// Exactly these bytes, then close (see `keep_open`, `reset`).
    pub fn raw(bytes: impl AsRef<[u8]>) -> Reply {
        Reply::with(0, Body::Raw(bytes.as_ref().to_vec()), End::Close)
    }

    /// Not a byte: closes (or with `reset`, resets) instead of a response.
    pub fn nothing() -> Reply {
        Reply::raw("")
    }

    /// 101, then echoes every byte until the other side closes.
    pub fn websocket() -> Reply {
        let tunnel = Body::Tunnel {
            greeting: Vec::new(),
            until: None,
        };
        Reply::with(101, tunnel, End::Close)
            .header("Upgrade", "websocket")
            .header("Connection", "Upgrade")
            .header("Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    }

    /// Tunnel bytes sent in the same packet as the 101.
    pub fn greeting(mut self, bytes: impl AsRef<[u8]>) -> Reply {
        if let Body::Tunnel { greeting, .. } = &mut self.body {
            *greeting = bytes.as_ref().to_vec();
        }
        self
    }

    /// The origin closes the tunnel when the gate opens.
    pub fn until(mut self, gate: &Gate) -> Reply {
        if let Body::Tunnel { until, .. } = &mut self.body {
            *until = Some(gate.clone());
        }
        self
    }

    pub fn header(mut self, name: &str, value: impl ToString) -> Reply {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    /// `count` more header fields.
    pub fn many_headers(mut self, count: usize) -> Reply {
        let fields = (0..count).map(|number| (format!("X-{number}"), "x".to_owned()));
        self.headers.extend(fields);
        self
    }

    /// A body with its Content-Length (or the one given as a header).
    pub fn body(mut self, bytes: impl AsRef<[u8]>) -> Reply {
        self.body = Body::Sized(bytes.as_ref().to_vec());
        self
    }

    /// A chunked body, one chunk for each part.
    pub fn chunked<P: AsRef<[u8]>>(mut self, parts: impl IntoIterator<Item = P>) -> Reply {
        let parts = parts.into_iter().map(|part| part.as_ref().to_vec());
        self.body = Body::Chunked(parts.collect(), None);
        self
    }

    /// Each chunk of `chunked` first waits at the gate.
    pub fn each_after(mut self, gate: &Gate) -> Reply {
        if let Body::Chunked(_, each_after) = &mut self.body {
            *each_after = Some(gate.clone());
        }
        self
    }

    /// A body that ends when the connection does.
    pub fn until_close(mut self, bytes: impl AsRef<[u8]>) -> Reply {
        self.body = Body::UntilClose(bytes.as_ref().to_vec());
        self.hang_up()
    }

    /// Nothing is sent before the gate opens.
    pub fn after(mut self, gate: &Gate) -> Reply {
        self.wait = Some(gate.clone());
        self
    }

    /// Raw bytes before the head, such as a 103; they too wait for `after`.
    pub fn interim(mut self, bytes: impl AsRef<[u8]>) -> Reply {
        self.interim.extend_from_slice(bytes.as_ref());
        self
    }

    /// Stops after so many bytes of the body until the gate opens.
    pub fn stall_at(mut self, sent: usize, gate: &Gate) -> Reply {
        self.stall = Some((sent, gate.clone()));
        self
    }

    /// Declares more body bytes than it sends, then closes. A chunked body lacks its last chunk.
    pub fn short_by(mut self, missing: usize) -> Reply {
        self.missing = missing;
        self.hang_up()
    }

    /// Says `Connection: close` and closes.
    pub fn close(self) -> Reply {
        self.header("Connection", "close").hang_up()
    }

    /// Closes after the reply without having said so.
    pub fn hang_up(mut self) -> Reply {
        self.end = End::Close;
        self
    }

    /// Resets the connection after the reply.
    pub fn reset(mut self) -> Reply {
        self.end = End::Reset;
        self
    }

    /// Leaves the connection open after raw bytes.
    pub fn keep_open(mut self) -> Reply {
        self.end = End::KeepOpen;
        self
    }

    /// What goes over the wire in answer to a request of this method.
    pub fn render(self, method: &str) -> (Vec<Step>, End) {
        let mut steps: Vec<Step> = self.wait.clone().map(Step::Wait).into_iter().collect();
        let mut first = self.interim.clone();
        if !matches!(self.body, Body::Raw(_)) {
            first.extend_from_slice(self.head().as_bytes());
        }
        let bodiless = method == "HEAD" || matches!(self.status, 204 | 304);
        let mut rest = Vec::new();
        match self.body {
            _ if bodiless => {}
            Body::Chunked(parts, gate) => {
                rest = chunks(parts, gate.as_ref(), self.missing > 0);
            }
            Body::Tunnel { greeting, until } => {
                first.extend_from_slice(&greeting);
                rest.push(Step::Echo(until));
            }
            Body::Sized(bytes) | Body::UntilClose(bytes) | Body::Raw(bytes) => match self.stall {
                Some((sent, gate)) => {
                    let (now, later) = bytes.split_at(sent.min(bytes.len()));
                    first.extend_from_slice(now);
                    rest.extend([Step::Wait(gate), Step::Write(later.to_vec())]);
                }
                None => first.extend_from_slice(&bytes),
            },
        }
        steps.push(Step::Write(first));
        steps.extend(rest);
        (steps, self.end)
    }

    fn head(&self) -> String {
        let reason = http::StatusCode::from_u16(self.status)
            .ok()
            .and_then(|status| status.canonical_reason());
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason.unwrap_or("-"));
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let given = |name: &str| {
            self.headers
                .iter()
                .any(|(n, _)| n.eq_ignore_ascii_case(name))
        };
        match &self.body {
            Body::Sized(bytes) if !given("content-length") && self.status != 204 => {
                let declared = bytes.len() + self.missing;
                head.push_str(&format!("Content-Length: {declared}\r\n"));
            }
            Body::Chunked(..) => head.push_str("Transfer-Encoding: chunked\r\n"),
            _ => {}
        }
        head + "\r\n"
    }
}

fn chunks(parts: Vec<Vec<u8>>, gate: Option<&Gate>, unfinished: bool) -> Vec<Step> {
    let mut steps = Vec::new();
    for part in parts {
        steps.extend(gate.cloned().map(Step::Wait));
        let size = format!("{:x}\r\n", part.len());
        steps.push(Step::Write([size.as_bytes(), &part, b"\r\n"].concat()));
    }
    if !unfinished {
        steps.push(Step::Write(b"0\r\n\r\n".to_vec()));
    }
    steps
}
