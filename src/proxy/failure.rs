//! What went wrong, in our words, and whether to try again.
//!
//! Pure: Pingora's error in, our reading of it out. `proxy` asks here in its error callbacks; the
//! table from the answer to a response is `reject`.

use pingora_core::{Error, ErrorSource, ErrorType};

use crate::proxy::reject::Rejection;

/// The names of Pingora's private error types for a chunked body that cannot be read.
const INVALID_CHUNK: &str = "InvalidChunk";
const INVALID_TRAILER: &str = "InvalidTrailerEnd";

/// The error type of an attempt that took too long, though the request may go on.
pub(super) const TRY_TIMEOUT: &str = "TryTimedOut";

/// How one attempt at an endpoint ended; its name is the log word and the metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing is known yet; in the log: the client went away before the endpoint answered.
    Pending,
    /// The endpoint answered, whatever it said.
    Ok,
    ConnectRefused,
    ConnectTimeout,
    ConnectError,
    TlsError,
    /// Closed, reset or cut short.
    Reset,
    Timeout,
    /// The route's `per_try_timeout` passed.
    TryTimeout,
    Malformed,
    /// Answered with a status that the route has tried again, or that another attempt was waited for.
    BadStatus,
    /// Another attempt of the same request was faster.
    Cancelled,
}

impl Outcome {
    pub const ALL: [Outcome; 12] = [
        Outcome::Pending,
        Outcome::Ok,
        Outcome::ConnectRefused,
        Outcome::ConnectTimeout,
        Outcome::ConnectError,
        Outcome::TlsError,
        Outcome::Reset,
        Outcome::Timeout,
        Outcome::TryTimeout,
        Outcome::Malformed,
        Outcome::BadStatus,
        Outcome::Cancelled,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Outcome::Pending => "pending",
            Outcome::Ok => "ok",
            Outcome::ConnectRefused => "connect_refused",
            Outcome::ConnectTimeout => "connect_timeout",
            Outcome::ConnectError => "connect_error",
            Outcome::TlsError => "tls_error",
            Outcome::Reset => "reset",
            Outcome::Timeout => "timeout",
            Outcome::TryTimeout => "try_timeout",
            Outcome::Malformed => "malformed",
            Outcome::BadStatus => "bad_status",
            Outcome::Cancelled => "cancelled",
        }
    }

    /// Reads an error of the upstream side.
    pub fn of(error: &Error) -> Outcome {
        use ErrorType::*;
        match error.etype() {
            ConnectTimedout | TLSHandshakeTimedout => Outcome::ConnectTimeout,
            ConnectRefused => Outcome::ConnectRefused,
            ConnectNoRoute | ConnectError | ConnectProxyFailure | BindError | SocketError => {
                Outcome::ConnectError
            }
            TLSHandshakeFailure | TLSWantX509Lookup | InvalidCert | HandshakeError => {
                Outcome::TlsError
            }
            ReadTimedout | WriteTimedout => Outcome::Timeout,
            Custom(TRY_TIMEOUT) => Outcome::TryTimeout,
            HTTPStatus(_) => Outcome::BadStatus,
            InvalidHTTPHeader | H1Error | Custom(INVALID_CHUNK | INVALID_TRAILER) => {
                Outcome::Malformed
            }
            _ => Outcome::Reset,
        }
    }

    /// What the client is told if no other endpoint does better.
    pub fn rejection(self) -> Rejection {
        match self {
            Outcome::ConnectRefused | Outcome::ConnectError | Outcome::TlsError => {
                Rejection::ConnectFailed
            }
            Outcome::ConnectTimeout => Rejection::ConnectTimeout,
            Outcome::Timeout | Outcome::TryTimeout => Rejection::UpstreamTimeout,
            // Tried again, and then no other endpoint was there.
            Outcome::BadStatus => Rejection::NoEndpoint,
            Outcome::Malformed => Rejection::UpstreamMalformed,
            Outcome::Reset => Rejection::UpstreamClosed,
            Outcome::Pending | Outcome::Ok | Outcome::Cancelled => Rejection::Internal,
        }
    }
}

/// Whether the endpoint had taken the connection when that failed: what costs it most of a handshake.
pub fn began_handshake(error: &Error) -> bool {
    use ErrorType::*;
    Outcome::of(error) == Outcome::TlsError || error.etype() == &TLSHandshakeTimedout
}

/// Why a request ended without a whole response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Rejected(Rejection),
    /// The client closed or reset; nobody is left to answer.
    ClientClosed,
    /// The client stopped reading.
    ClientStalled,
    /// Neither side of a tunnel sent anything for its pool's `tunnel_timeout`.
    TunnelTimeout,
    /// The process ended and did not wait for it.
    Shutdown,
}

/// Reads an error that is not the upstream's.
pub fn ending(error: &Error) -> Ending {
    use ErrorType::*;
    if error.esource() != &ErrorSource::Downstream {
        return Ending::Rejected(Rejection::Internal);
    }
    match error.etype() {
        ReadTimedout => Ending::Rejected(Rejection::BodyTimeout),
        WriteTimedout => Ending::ClientStalled,
        ReadError | WriteError | ConnectionClosed | ConnectError => Ending::ClientClosed,
        _ => Ending::Rejected(Rejection::BadRequest("malformed request body")),
    }
}

/// What decides whether a failed attempt may be made again.
#[derive(Clone, Copy, Debug)]
pub struct FailedAttempt {
    pub outcome: Outcome,
    /// The endpoint was connected, so bytes of the request may have gone out.
    pub connected: bool,
    /// Some of the response has gone to the client.
    pub response_started: bool,
    /// RFC 9110 §9.2.2, or the route says that it does not matter.
    pub idempotent: bool,
    /// What was read of the request's body is still at hand.
    pub body_replayable: bool,
    pub attempts_left: bool,
}

impl FailedAttempt {
    /// Never a second copy of a non-idempotent request whose bytes may have gone out, and none after
    /// the response began. A timeout is not tried again: the endpoint may still be working on it, and
    /// a second wait would double the client's.
    pub fn may_retry(&self) -> bool {
        if !self.attempts_left || self.response_started {
            return false;
        }
        if !self.connected {
            return true;
        }
        self.idempotent && self.body_replayable && self.outcome != Outcome::Timeout
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILED: FailedAttempt = FailedAttempt {
        outcome: Outcome::Reset,
        connected: true,
        response_started: false,
        idempotent: true,
        body_replayable: true,
        attempts_left: true,
    };

    #[test]
    fn a_reset_get_is_tried_again() {
        assert!(FAILED.may_retry());
    }

    #[test]
    fn a_post_whose_bytes_went_out_is_not() {
        let post = FailedAttempt {
            idempotent: false,
            ..FAILED
        };
        assert!(!post.may_retry());
        assert!(
            FailedAttempt {
                connected: false,
                ..post
            }
            .may_retry()
        );
    }

    #[test]
    fn each_condition_alone_forbids_a_retry() {
        for failed in [
            FailedAttempt {
                attempts_left: false,
                ..FAILED
            },
            FailedAttempt {
                response_started: true,
                ..FAILED
            },
            FailedAttempt {
                body_replayable: false,
                ..FAILED
            },
            FailedAttempt {
                outcome: Outcome::Timeout,
                ..FAILED
            },
        ] {
            assert!(!failed.may_retry(), "{failed:?}");
        }
    }

    #[test]
    fn a_connect_failure_needs_no_replayable_body() {
        let failed = FailedAttempt {
            outcome: Outcome::ConnectTimeout,
            connected: false,
            body_replayable: false,
            idempotent: false,
            ..FAILED
        };
        assert!(failed.may_retry());
        assert!(
            !FailedAttempt {
                attempts_left: false,
                ..failed
            }
            .may_retry()
        );
    }

    #[test]
    fn pingora_errors_are_read_in_our_words() {
        let outcome = |etype| Outcome::of(&Error::new_up(etype));
        let began = |etype| began_handshake(&Error::new_up(etype));
        assert!(began(ErrorType::TLSHandshakeTimedout) && began(ErrorType::TLSHandshakeFailure));
        assert!(!began(ErrorType::ConnectTimedout) && !began(ErrorType::ConnectRefused));
        assert_eq!(outcome(ErrorType::ConnectRefused), Outcome::ConnectRefused);
        assert_eq!(
            outcome(ErrorType::TLSHandshakeTimedout),
            Outcome::ConnectTimeout
        );
        assert_eq!(outcome(ErrorType::InvalidCert), Outcome::TlsError);
        assert_eq!(outcome(ErrorType::ReadTimedout), Outcome::Timeout);
        assert_eq!(outcome(ErrorType::InvalidHTTPHeader), Outcome::Malformed);
        assert_eq!(outcome(ErrorType::ConnectionClosed), Outcome::Reset);
        let ending = |etype| super::ending(&Error::new_down(etype));
        assert_eq!(ending(ErrorType::ConnectionClosed), Ending::ClientClosed);
        assert_eq!(ending(ErrorType::WriteTimedout), Ending::ClientStalled);
        assert_eq!(
            ending(ErrorType::ReadTimedout),
            Ending::Rejected(Rejection::BodyTimeout)
        );
    }
}
