//! The `log` map.

use std::path::{Path, PathBuf};

use ::log::LevelFilter;

use super::super::model::{AccessLog, LogFormat, LogTarget};
use super::super::path::At;
use super::super::problem::quoted;
use super::super::raw::shapes::{Toggle, Word};
use super::super::raw::{self, Access, Format, Level};
use super::super::report::Report;

pub(super) fn access(raw: &raw::Log, at: &At<'_>, report: &mut Report<'_>) -> AccessLog {
    let default = Access::default();
    let at = at.key("access");
    let (target, access) = match &raw.access {
        Some(Toggle::Flag(false)) => (LogTarget::Off, &default),
        None | Some(Toggle::Flag(true)) => (LogTarget::Stdout, &default),
        Some(Toggle::Map(access)) => (
            target(access.path.as_ref(), &at.key("path"), report),
            access,
        ),
    };
    let format = match access.format {
        None | Some(Format::Json) => LogFormat::Json,
        Some(Format::Combined) => LogFormat::Combined,
    };
    AccessLog { target, format }
}

fn target(path: Option<&Word>, at: &At<'_>, report: &mut Report<'_>) -> LogTarget {
    let Some(Word(path)) = path else {
        return LogTarget::Stdout;
    };
    match path.as_str() {
        "off" => LogTarget::Off,
        "stdout" => LogTarget::Stdout,
        "stderr" => LogTarget::Stderr,
        file if Path::new(file).is_absolute() && !file.contains('\0') => {
            LogTarget::File(PathBuf::from(file))
        }
        other => {
            let what = format!(
                "{} is not known, expected stdout, stderr, off or an absolute path",
                quoted(other)
            );
            report.problem(at, what);
            LogTarget::Off
        }
    }
}

pub(super) fn level(raw: &raw::Log) -> LevelFilter {
    match raw.level {
        Some(Level::Off) => LevelFilter::Off,
        Some(Level::Error) => LevelFilter::Error,
        Some(Level::Warn) => LevelFilter::Warn,
        None | Some(Level::Info) => LevelFilter::Info,
        Some(Level::Debug) => LevelFilter::Debug,
        Some(Level::Trace) => LevelFilter::Trace,
    }
}
