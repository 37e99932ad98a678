//! The error log: lines for the operator on stderr, at a level that a reload may change.
//!
//! `RUST_LOG` is not read: the configuration file is the only place that says what is logged. Line
//! breaks and other control characters in a message are escaped, since a peer may have sent them.
//! Called by `cli` at start and by `server` at each reload.
//!
//! Which lines pass, by their target:
//!
//! | target | passes |
//! |---|---|
//! | `weir::*` | at the configured level |
//! | Pingora's server, services and listeners | at warn: these tell of sockets and hand-over |
//! | the rest of Pingora | at warn, and only while our level is debug or trace |
//! | other crates | at warn |
//!
//! The rest of Pingora logs an error for each request that fails, which any client can cause; the
//! access log has the same with its cause. One line of the first part is an alarm about nothing, and
//! is left out: [`is_false_alarm`].

use std::fmt::{self, Write as _};
use std::io::Write;
use std::time::SystemTime;

use log::{Level, LevelFilter, Log, Metadata, Record};

use super::timestamp::Timestamp;

/// Parts of Pingora that speak of the process, not of a request.
const PINGORA_PROCESS: [&str; 3] = [
    "pingora_core::server",
    "pingora_core::services",
    "pingora_core::listeners",
];

/// Starts the error log. Has no effect beyond setting the level when a logger is installed already,
/// as it may be in a test.
pub fn init(level: LevelFilter) {
    let stderr = env_logger::Builder::new()
        .filter_level(LevelFilter::Trace)
        .format(|to, record| to.write_all(line(SystemTime::now(), record).as_bytes()))
        .build();
    let _ = log::set_boxed_logger(Box::new(ByTarget(stderr)));
    set_level(level);
}

/// Takes effect for every line from now on.
pub fn set_level(level: LevelFilter) {
    log::set_max_level(level);
}

/// Lets through what the table above says.
struct ByTarget(env_logger::Logger);

impl Log for ByTarget {
    fn enabled(&self, line: &Metadata<'_>) -> bool {
        line.level() <= level_of(line.target(), log::max_level())
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) && !is_false_alarm(record.target(), record.args()) {
            self.0.log(record);
        }
    }

    fn flush(&self) {
        self.0.flush();
    }
}

/// The least severe level at which `target` is heard while ours is `ours`.
fn level_of(target: &str, ours: LevelFilter) -> LevelFilter {
    if is_within(target, "weir") {
        ours
    } else if !target.starts_with("pingora")
        || PINGORA_PROCESS.iter().any(|part| is_within(target, part))
        || ours >= LevelFilter::Debug
    {
        ours.min(LevelFilter::Warn)
    } else {
        LevelFilter::Off
    }
}

/// In an upgrade the new process listens for the sockets before the old one is told to send them, and
/// so is always early; Pingora reports each second of its wait as an error.
fn is_false_alarm(target: &str, text: &fmt::Arguments<'_>) -> bool {
    target == "pingora_core::server::transfer_fd"
        && text.to_string().starts_with("No incoming socket transfer")
}

fn is_within(target: &str, module: &str) -> bool {
    target
        .strip_prefix(module)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// `2026-11-21T07:00:00Z WARN weir::server: text` and a line break.
fn line(now: SystemTime, record: &Record<'_>) -> String {
    let (timestamp, _) = Timestamp::of(now);
    let mut line = String::from_utf8_lossy(&timestamp.rfc3339).into_owned();
    let level: Level = record.level();
    let _ = write!(line, "Z {level} {}: ", record.target());
    for c in record.args().to_string().chars() {
        if c.is_control() {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_line_has_time_level_and_target_and_no_control_characters() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_244_400);
        let record = Record::builder()
            .level(Level::Warn)
            .target("weir::server")
            .args(format_args!(
                "a peer said \"naïve\"\nERROR weir: \x1b[2Jlies"
            ))
            .build();
        assert_eq!(
            line(now, &record),
            "2026-11-21T07:00:00Z WARN weir::server: \
             a peer said \"naïve\"\\nERROR weir: \\u{1b}[2Jlies\n"
        );
    }

    #[test]
    fn a_target_is_heard_at_its_level() {
        use LevelFilter::{Debug, Error, Info, Off, Trace, Warn};
        for (target, ours, expected) in [
            ("weir", Info, Info),
            ("weir::health::active", Debug, Debug),
            ("weir::server", Off, Off),
            ("weird", Info, Warn),
            ("pingora_core::server::transfer_fd", Info, Warn),
            ("pingora_core::services::listening", Info, Warn),
            ("pingora_core::listeners::l4", Error, Error),
            ("pingora_core::protocols::l4::stream", Info, Off),
            ("pingora_proxy", Info, Off),
            ("pingora_proxy", Warn, Off),
            ("pingora_proxy", Debug, Warn),
            ("pingora_proxy::proxy_h1", Trace, Warn),
            ("rustls::conn", Info, Warn),
            ("hickory_resolver", Error, Error),
        ] {
            assert_eq!(level_of(target, ours), expected, "{target} at {ours}");
        }
    }

    #[test]
    fn only_the_wait_for_sockets_is_a_false_alarm() {
        const TRANSFER: &str = "pingora_core::server::transfer_fd";
        let wait = "No incoming socket transfer, sleep 1s and try again";
        let gave_up = "Giving up reading socket from: /run/weir.sock";
        assert!(is_false_alarm(TRANSFER, &format_args!("{wait}")));
        assert!(!is_false_alarm(TRANSFER, &format_args!("{gave_up}")));
        assert!(!is_false_alarm("weir::server", &format_args!("{wait}")));
    }

    #[test]
    fn the_level_is_replaced_live() {
        init(LevelFilter::Error);
        assert!(!log::log_enabled!(target: "weir::server", Level::Info));
        set_level(LevelFilter::Info);
        assert!(log::log_enabled!(target: "weir::server", Level::Info));
        assert!(!log::log_enabled!(target: "pingora_proxy", Level::Error));
        set_level(LevelFilter::Off);
        assert!(!log::log_enabled!(target: "weir::server", Level::Error));
    }
}
