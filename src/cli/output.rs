//! Printing for people. A closed pipe (`weir status | head`) is no failure.

/// `say!(stdout, "…")` or `say!(stderr, "…")`: a line, and no panic where nobody reads it.
macro_rules! say {
    ($stream:ident, $($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::$stream(), $($text)*);
    }};
}

pub(super) use say;
