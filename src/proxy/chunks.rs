//! Follows a chunked body to its end, strictly (RFC 9112 §7.1).
//!
//! Of a request, Pingora decodes the chunks; it reads on behind the last one, and lets pass what
//! another reader could take for something else. So `downstream` follows the bytes first: what lies
//! behind the body is not handed out, and a body with more than one reading never ends. A response is
//! decoded with it, by `upstream`. Pure: bytes in, a verdict out.

/// A size with its extensions; nobody has a use for long ones.
const SIZE_LINE_BYTES_MAX: usize = 4096;
/// All trailer fields together.
const TRAILER_BYTES_MAX: usize = 8192;
/// What 64 bits hold.
const SIZE_DIGITS_MAX: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Where in a chunked body the next byte stands.
#[derive(Debug)]
pub(super) struct Chunks {
    state: State,
    size: u64,
    /// Bytes seen of the size line or the trailers.
    seen: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size,
    Extension,
    SizeLf,
    /// `size` bytes of it are still to come.
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    LastLf,
    End,
}

impl Default for Chunks {
    fn default() -> Self {
        Chunks {
            state: State::Size,
            size: 0,
            seen: 0,
        }
    }
}

impl Chunks {
    pub(super) fn is_over(&self) -> bool {
        self.state == State::End
    }

    /// How many of these bytes belong to the body: all, unless it ends among them.
    pub(super) fn follow(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        let mut at = 0;
        loop {
            let (framing, data) = self.next_data(&bytes[at..])?;
            at += framing + data;
            if data == 0 {
                return Ok(at);
            }
        }
    }

    /// How many of these bytes are framing, and how many behind those are data of one chunk. No data:
    /// the bytes, or the body, are at their end.
    pub(super) fn next_data(&mut self, bytes: &[u8]) -> Result<(usize, usize), Malformed> {
        let mut at = 0;
        while at < bytes.len() && !self.is_over() {
            if self.state == State::Data {
                return Ok((at, self.take_data(bytes.len() - at)));
            }
            self.state = self.step(bytes[at])?;
            at += 1;
        }
        Ok((at, 0))
    }

    /// Passes over at most `available` bytes of the chunk.
    fn take_data(&mut self, available: usize) -> usize {
        let left = usize::try_from(self.size).unwrap_or(usize::MAX);
        let taken = left.min(available);
        self.size -= taken as u64;
        if self.size == 0 {
            self.state = State::DataCr;
        }
        taken
    }

    fn step(&mut self, byte: u8) -> Result<State, Malformed> {
        self.seen += 1;
        let max = match self.state {
            State::Size | State::Extension | State::SizeLf => SIZE_LINE_BYTES_MAX,
            _ => TRAILER_BYTES_MAX,
        };
        if self.seen > max {
            return Err(Malformed);
        }
        match (self.state, byte) {
            (State::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => self.add_digit(byte),
            (State::Size, b'\r') if self.seen > 1 => Ok(State::SizeLf),
            (State::Size, b';') if self.seen > 1 => Ok(State::Extension),
            (State::Extension, b'\r') => Ok(State::SizeLf),
            (State::Extension, byte) if is_text(byte) => Ok(State::Extension),
            (State::SizeLf, b'\n') => Ok(self.begin_chunk()),
            (State::DataCr, b'\r') => Ok(State::DataLf),
            (State::DataLf, b'\n') => {
                *self = Chunks::default();
                Ok(State::Size)
            }
            (State::TrailerStart, b'\r') => Ok(State::LastLf),
            (State::TrailerStart | State::TrailerName, byte) if is_name(byte) => {
                Ok(State::TrailerName)
            }
            (State::TrailerName, b':') => Ok(State::TrailerValue),
            (State::TrailerValue, b'\r') => Ok(State::TrailerLf),
            (State::TrailerValue, byte) if is_text(byte) => Ok(State::TrailerValue),
            (State::TrailerLf, b'\n') => Ok(State::TrailerStart),
            (State::LastLf, b'\n') => Ok(State::End),
            _ => Err(Malformed),
        }
    }

    fn add_digit(&mut self, byte: u8) -> Result<State, Malformed> {
        if self.seen > SIZE_DIGITS_MAX {
            return Err(Malformed);
        }
        let digit = char::from(byte).to_digit(16).ok_or(Malformed)?;
        self.size = self.size << 4 | u64::from(digit);
        Ok(State::Size)
    }

    fn begin_chunk(&mut self) -> State {
        self.seen = 0;
        if self.size == 0 {
            State::TrailerStart
        } else {
            State::Data
        }
    }
}

/// RFC 9110 §5.6.2.
fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= 0x20 && byte != 0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many bytes the body has, when it comes whole and when it comes byte by byte.
    fn length(bytes: &str) -> Option<usize> {
        let mut whole = Chunks::default();
        let length = whole.follow(bytes.as_bytes());
        let mut bytewise = Chunks::default();
        let mut passed = Ok(0);
        for byte in bytes.as_bytes() {
            let step = bytewise.follow(&[*byte]);
            passed = passed.and_then(|passed| Ok(passed + step?));
        }
        assert_eq!(length, passed, "{bytes:?}");
        length.ok().filter(|_| whole.is_over())
    }

    #[test]
    fn a_body_ends_where_its_last_chunk_does() {
        for body in [
            "0\r\n\r\n",
            "3\r\nabc\r\n0\r\n\r\n",
            "0A;a=\"b;c\"\r\n0\r\n\r\n0\r\n\r\n\r\n00\r\n\r\n",
            "1\r\n\n\r\n0\r\nX-Y: z\r\nZ:\r\n\r\n",
        ] {
            assert_eq!(length(body), Some(body.len()), "{body:?}");
            assert_eq!(
                length(&format!("{body}GET /")),
                Some(body.len()),
                "{body:?}"
            );
            assert_eq!(length(&body[..body.len() - 1]), None, "{body:?}");
        }
    }

    #[test]
    fn what_another_reader_could_take_for_something_else_is_malformed() {
        for body in [
            "+3\r\n",
            "-3\r\n",
            " 3\r\n",
            "3 \r\n",
            "3 ;x\r\n",
            "3\t\r\n",
            "0x3\r\n",
            "g\r\n",
            "\r\n",
            ";x\r\n",
            "3\n",
            "3\r\r\n",
            "3;\n",
            "3;\0\r\n",
            "00000000000000003\r\n",
            "3\r\nabcd\r\n",
            "3\r\nabc\n",
            "3\r\nabc\r0",
            "0\r\n\n",
            "0\r\nX\r\n",
            "0\r\n: y\r\n",
            "0\r\nX : y\r\n",
            "0\r\n X: y\r\n",
            "0\r\nX: y\n",
        ] {
            assert_eq!(
                Chunks::default().follow(body.as_bytes()),
                Err(Malformed),
                "{body:?}"
            );
        }
    }

    #[test]
    fn size_lines_and_trailers_are_bounded() {
        let extension = |bytes: usize| format!("3;{}\r\nabc\r\n0\r\n\r\n", "x".repeat(bytes));
        assert!(length(&extension(4000)).is_some());
        assert!(length(&extension(5000)).is_none());
        let trailer = |bytes: usize| format!("0\r\nX: {}\r\n\r\n", "x".repeat(bytes));
        assert!(length(&trailer(8000)).is_some());
        assert!(length(&trailer(9000)).is_none());
    }

    #[test]
    fn the_largest_size_is_followed() {
        let mut chunks = Chunks::default();
        assert_eq!(chunks.follow(b"ffffffffffffffff\r\nabc"), Ok(21));
        assert!(!chunks.is_over());
    }
}
