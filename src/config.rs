//! The configuration: one YAML file to one value that is valid, or to every problem in it.
//!
//! ```text
//! bytes ── size, UTF-8 ── places ── tree ── raw ── validate ── model        files (load only)
//!                         where     values  form   meaning     the proof    what it names
//! ```
//!
//! Every step goes on after a mistake, so an operator sees all of them at once. `run`, `check`, a reload and the
//! tests go through the same two functions, `load` and `parse`.

pub mod amounts;
pub mod model;

mod files;
mod path;
mod places;
mod problem;
mod raw;
mod read;
mod report;
mod restart;
mod schema;
mod similar;
mod tree;
pub mod units;
mod validate;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

pub use self::files::system_roots;
pub use self::model::Config;
pub use self::problem::{Problem, Problems, Warnings};
pub use self::restart::restart_keys_changed;
pub use self::schema::schema;

/// Largest file that is read, in bytes.
const FILE_BYTES_MAX: usize = 16 << 20;

/// Why a configuration file could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read at all.
    #[error("cannot read {}: {cause}", .path.display())]
    Read { path: PathBuf, cause: io::Error },
    /// The file was read; this is everything that is wrong with it.
    #[error(transparent)]
    Invalid(#[from] Problems),
}

/// Reads a file and everything it names: directories must exist, certificates and keys must parse.
pub fn load(path: &Path) -> Result<(Config, Warnings), LoadError> {
    let file = path.display().to_string();
    let mut bytes = Vec::new();
    let limit = FILE_BYTES_MAX as u64 + 1;
    File::open(path)
        .and_then(|file| file.take(limit).read_to_end(&mut bytes))
        .map_err(|cause| LoadError::Read {
            path: path.to_owned(),
            cause,
        })?;
    let source = String::from_utf8(bytes).map_err(|err| not_text(&file, &err))?;
    Ok(pipeline(&file, &source, files::check)?)
}

/// Reads the text of a file without looking at anything else; `file` is its name in messages.
pub fn parse(file: &str, source: &str) -> Result<(Config, Warnings), Problems> {
    pipeline(file, source, |_, _| {})
}

fn pipeline(
    file: &str,
    source: &str,
    check_files: fn(&Config, &mut report::Report<'_>),
) -> Result<(Config, Warnings), Problems> {
    if source.len() > FILE_BYTES_MAX {
        let what = format!("the file is larger than {} MiB", FILE_BYTES_MAX >> 20);
        return Err(only(file, "", what, None));
    }
    // A byte order mark is no part of the text, and would move every column of the first line.
    let source = source.strip_prefix('\u{feff}').unwrap_or(source);
    let (raw, mut report) =
        read::read(source).map_err(|problem| problems(file, source, vec![problem]))?;
    let config = raw.map(|raw| validate::config(&raw, &mut report));
    if let Some(config) = &config {
        check_files(config, &mut report);
    }
    let (list, warnings) = report.into_lists();
    match config {
        Some(config) if list.is_empty() => Ok((
            config,
            Warnings {
                file: file.to_string(),
                list: warnings,
            },
        )),
        _ => Err(problems(file, source, list)),
    }
}

fn not_text(file: &str, err: &std::string::FromUtf8Error) -> Problems {
    let (valid, _) = err.as_bytes().split_at(err.utf8_error().valid_up_to());
    let before = String::from_utf8_lossy(valid);
    let line = before.matches('\n').count() + 1;
    let column = before
        .rsplit('\n')
        .next()
        .map_or(0, |last| last.chars().count())
        + 1;
    only(
        file,
        &before,
        "the file is not UTF-8".to_string(),
        Some((line, column)),
    )
}

fn only(file: &str, source: &str, what: String, place: Option<(usize, usize)>) -> Problems {
    let problem = Problem {
        path: String::new(),
        place,
        what,
        hint: None,
    };
    problems(file, source, vec![problem])
}

fn problems(file: &str, source: &str, list: Vec<Problem>) -> Problems {
    Problems {
        file: file.to_string(),
        source: source.to_string(),
        list,
    }
}
