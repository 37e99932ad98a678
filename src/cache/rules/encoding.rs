//! Content codings: which one a client gets (RFC 9110 §12.5.3), and which content is worth coding.
//!
//! Weights are thousandths. `Accept-Encoding` is read once, into [`Accepted`], which both compression
//! and `vary` ask.

use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_RANGE};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::list;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    Brotli,
    Gzip,
    Zstd,
}

/// In the order in which `Accepted::normalized` names them.
const CODINGS: [Coding; 3] = [Coding::Brotli, Coding::Gzip, Coding::Zstd];

/// What a client is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    Coded(Coding),
    /// As it is.
    Identity,
    /// It takes nothing that there is (406 is the origin's to send; here it is served as it is).
    Nothing,
}

/// The weights of an `Accept-Encoding`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// Parallel to `CODINGS`; `None`: not named.
    weights: [Option<u16>; 3],
    identity: Option<u16>,
    /// `*`: of all that is not named.
    others: Option<u16>,
}

// === impl Coding ===

impl Coding {
    /// As in `Content-Encoding`.
    pub fn name(self) -> &'static str {
        match self {
            Coding::Brotli => "br",
            Coding::Gzip => "gzip",
            Coding::Zstd => "zstd",
        }
    }

    fn parse(name: &[u8]) -> Option<Coding> {
        // RFC 9110 §8.4.1.3: `x-gzip` is `gzip`.
        if name.eq_ignore_ascii_case(b"x-gzip") {
            return Some(Coding::Gzip);
        }
        let mut known = CODINGS.into_iter();
        known.find(|coding| name.eq_ignore_ascii_case(coding.name().as_bytes()))
    }
}

// === impl Accepted ===

impl Accepted {
    /// `None`: the client says nothing, and takes anything; what is coded might still surprise it.
    pub fn parse(request: &HeaderMap) -> Option<Accepted> {
        if !request.contains_key(ACCEPT_ENCODING) {
            return None;
        }
        let mut accepted = Accepted::default();
        for member in list::members(request, &ACCEPT_ENCODING) {
            let (name, weight) = weighted(member);
            if let Some(coding) = Coding::parse(name) {
                accepted.weights[coding as usize] = Some(weight);
            } else if name.eq_ignore_ascii_case(b"identity") {
                accepted.identity = Some(weight);
            } else if name == b"*" {
                accepted.others = Some(weight);
            }
        }
        Some(accepted)
    }

    /// Zero: not taken.
    fn weight(&self, coding: Coding) -> u16 {
        let named = self.weights[coding as usize];
        named.or(self.others).unwrap_or(0)
    }

    /// Identity is taken unless it is refused, if by nothing else then by `*;q=0`; where it is not
    /// named, it is the last resort.
    fn takes_identity(&self) -> bool {
        let by_all = self.others.filter(|weight| *weight == 0);
        self.identity.or(by_all) != Some(0)
    }

    /// The heaviest of what is `offered`; of equal ones the first.
    pub fn choose(&self, offered: &[Coding]) -> Choice {
        let mut best: Option<(Coding, u16)> = None;
        for &coding in offered {
            let weight = self.weight(coding);
            if weight > best.map_or(0, |(_, weight)| weight) {
                best = Some((coding, weight));
            }
        }
        match best {
            Some((_, weight)) if self.identity.is_some_and(|identity| identity > weight) => {
                Choice::Identity
            }
            Some((coding, _)) => Choice::Coded(coding),
            None if self.takes_identity() => Choice::Identity,
            None => Choice::Nothing,
        }
    }

    /// The same for all requests that can be sent the same: the known codings that are taken, by
    /// name, and whether identity is refused.
    ///
    /// The origin must be asked with this in place of what came, or a response in a coding that is
    /// left out here is handed to a client that does not take it.
    pub fn normalized(&self) -> HeaderValue {
        let taken = CODINGS
            .into_iter()
            .filter(|coding| self.weight(*coding) > 0);
        let mut names: Vec<&str> = taken.map(Coding::name).collect();
        if !self.takes_identity() {
            names.push("identity;q=0");
        }
        let names = names.join(", ");
        HeaderValue::from_str(&names).unwrap_or(HeaderValue::from_static(""))
    }
}

/// A member's name and weight; what is no weight counts as refusal (RFC 9110 §12.4.2).
fn weighted(member: &[u8]) -> (&[u8], u16) {
    let mut parts = member.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    let name = parts.next().unwrap_or(member);
    let is_weight = |part: &&[u8]| matches!(part, [b'q' | b'Q', b'=', ..]);
    let weight = parts
        .find(is_weight)
        .map_or(1000, |part| qvalue(&part[2..]));
    (name, weight)
}

/// `0`, `1`, or one of them with up to three digits behind a point, and not above 1.
fn qvalue(text: &[u8]) -> u16 {
    let (whole, fraction) = match text {
        [whole] => (whole, &b""[..]),
        [whole, b'.', fraction @ ..] if fraction.len() <= 3 => (whole, fraction),
        _ => return 0,
    };
    if !matches!(whole, b'0' | b'1') || !fraction.iter().all(u8::is_ascii_digit) {
        return 0;
    }
    let digits = fraction.iter().chain(b"000").take(3);
    let thousandths = digits.fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    let weight = u16::from(whole - b'0') * 1000 + thousandths;
    if weight > 1000 { 0 } else { weight }
}

/// Whether a response may be coded on its way: whole, not coded yet, and not forbidden (`no-transform`,
/// RFC 9111 §5.2.2.6).
pub fn may_code(status: StatusCode, response: &HeaderMap, no_transform: bool) -> bool {
    let has_bytes_of_its_own =
        status == StatusCode::OK || status.is_client_error() || status.is_server_error();
    let is_coded = response.contains_key(CONTENT_ENCODING) || response.contains_key(CONTENT_RANGE);
    has_bytes_of_its_own && !no_transform && !is_coded
}

/// Text in all its kinds; not what carries a compression of its own.
pub fn is_compressible(content_type: &[u8]) -> bool {
    const KINDS: [&str; 15] = [
        "application/ecmascript",
        "application/graphql",
        "application/javascript",
        "application/json",
        "application/vnd.ms-fontobject",
        "application/wasm",
        "application/x-javascript",
        "application/x-ndjson",
        "application/x-www-form-urlencoded",
        "application/xml",
        "application/yaml",
        "font/otf",
        "font/ttf",
        "image/bmp",
        "image/x-icon",
    ];
    let end = memchr::memchr(b';', content_type).unwrap_or(content_type.len());
    let kind = content_type[..end].trim_ascii();
    let starts = |prefix: &[u8]| {
        kind.len() > prefix.len() && kind[..prefix.len()].eq_ignore_ascii_case(prefix)
    };
    let ends = |suffix: &[u8]| {
        let at = kind.len().saturating_sub(suffix.len());
        kind[at..].eq_ignore_ascii_case(suffix)
    };
    // Events are sent one by one; a compressor would hold them back.
    if kind.eq_ignore_ascii_case(b"text/event-stream") {
        return false;
    }
    starts(b"text/")
        || ends(b"+json")
        || ends(b"+xml")
        || KINDS
            .iter()
            .any(|known| kind.eq_ignore_ascii_case(known.as_bytes()))
}

#[cfg(test)]
mod tests;
