//! A pool's `balance`: a word, or a map with settings.

use super::super::model::{Balance, HASH_BOUND_DEFAULT, Hash, HashKey, HashTable, LoadProbe};
use super::super::path::At;
use super::super::problem::quoted;
use super::super::raw::pool as raw;
use super::super::raw::shapes::{Factor, WordOr};
use super::super::report::Report;
use super::keys::{Keys, millis, seconds};
use super::{headers, health};

const NAME_BYTES_MAX: usize = 128;

pub(super) fn balance(
    raw: Option<&WordOr<raw::Balance, raw::BalanceMap>>,
    at: &At<'_>,
    report: &mut Report<'_>,
) -> Balance {
    match raw {
        None => Balance::LeastConn,
        Some(WordOr::Word(word)) => by_word(*word),
        Some(WordOr::Map(map)) => {
            let probe = map.prequal.as_ref().and_then(|prequal| {
                let raw = prequal.probe.as_ref()?;
                load_probe(raw, &at.key("prequal").key("probe"), report)
            });
            let hash = map
                .hash
                .as_ref()
                .map(|raw| hash(raw, &at.key("hash"), report));
            one_of(map, at, report);
            hash.map_or(Balance::Prequal(probe), Balance::Hash)
        }
    }
}

/// Exactly one algorithm.
fn one_of(map: &raw::BalanceMap, at: &At<'_>, report: &mut Report<'_>) {
    let given = usize::from(map.hash.is_some()) + usize::from(map.prequal.is_some());
    let was_reported = ["hash", "prequal"].map(|key| report.was_reported(&at.key(key)));
    if given != 1 && !was_reported.contains(&true) {
        let what = "expected exactly one of hash and prequal, such as { hash: { key: path } }";
        report.problem(at, what);
    }
}

fn load_probe(raw: &raw::LoadProbe, at: &At<'_>, report: &mut Report<'_>) -> Option<LoadProbe> {
    let at_path = at.key("path");
    if raw.path.is_none() {
        report.missing(&at_path, "missing, expected a path such as \"/load\"");
    }
    let path = raw.path.as_deref();
    let path = path.and_then(|path| health::probe_path(path, &at_path, report));
    let mut keys = Keys::of(at, report);
    let port = keys.number("port", raw.port, 1..=65535);
    let per_request = keys.decimal("per_request", raw.per_request, 0.01..=10.0);
    let timeout = keys.duration("timeout", raw.timeout.as_ref(), millis(1)..=seconds(1));
    Some(LoadProbe {
        path: path?,
        port,
        per_request: (per_request.unwrap_or(3.0) * 100.0).round() as u32,
        timeout: timeout.unwrap_or(millis(100)),
    })
}

fn by_word(word: raw::Balance) -> Balance {
    match word {
        raw::Balance::RoundRobin => Balance::RoundRobin,
        raw::Balance::LeastConn => Balance::LeastConn,
        raw::Balance::Random => Balance::Random,
        raw::Balance::P2c => Balance::P2c,
        raw::Balance::Ewma => Balance::Ewma,
        raw::Balance::Prequal => Balance::Prequal(None),
        raw::Balance::Resource => Balance::Resource,
        raw::Balance::Hash => Balance::Hash(Hash {
            key: HashKey::Address,
            table: HashTable::Ring,
            bounded_load: Some(HASH_BOUND_DEFAULT),
        }),
    }
}

fn hash(raw: &raw::Hash, at: &At<'_>, report: &mut Report<'_>) -> Hash {
    let key = match &raw.key {
        None | Some(WordOr::Word(raw::HashKey::Address)) => Some(HashKey::Address),
        Some(WordOr::Word(raw::HashKey::Path)) => Some(HashKey::Path),
        Some(WordOr::Word(raw::HashKey::Uri)) => Some(HashKey::Uri),
        Some(WordOr::Map(field)) => field_key(field, &at.key("key"), report),
    };
    Hash {
        key: key.unwrap_or(HashKey::Address),
        table: match raw.table {
            None | Some(raw::HashTable::Ring) => HashTable::Ring,
            Some(raw::HashTable::Maglev) => HashTable::Maglev,
        },
        bounded_load: bound(raw.bounded_load.as_ref(), &at.key("bounded_load"), report),
    }
}

/// Exactly one of three.
fn field_key(raw: &raw::HashField, at: &At<'_>, report: &mut Report<'_>) -> Option<HashKey> {
    let given = [&raw.header, &raw.cookie, &raw.argument];
    if given.iter().filter(|name| name.is_some()).count() != 1 {
        let wrong = ["header", "cookie", "argument"].map(|key| report.was_reported(&at.key(key)));
        if !wrong.contains(&true) {
            report.problem(at, "expected exactly one of header, cookie and argument");
        }
        return None;
    }
    if let Some(name) = &raw.header {
        return headers::name(name, &at.key("header"), report).map(HashKey::Header);
    }
    if let Some(name) = &raw.cookie {
        return plain_name(name, &at.key("cookie"), report).map(HashKey::Cookie);
    }
    let name = raw.argument.as_deref().unwrap_or_default();
    plain_name(name, &at.key("argument"), report).map(HashKey::Argument)
}

/// What ends a name in a `Cookie` header or a query cannot be part of one.
pub(super) fn plain_name(name: &str, at: &At<'_>, report: &mut Report<'_>) -> Option<String> {
    let allowed = |byte: u8| byte.is_ascii_graphic() && !b"=;,&#\"".contains(&byte);
    if (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(allowed) {
        return Some(name.to_string());
    }
    let what = format!(
        "{} is not a name, expected 1 to {NAME_BYTES_MAX} printable ASCII characters without \"=\", \";\", \",\", \"&\", \"#\" and quotes",
        quoted(name)
    );
    report.problem(at, what);
    None
}

/// In hundredths.
fn bound(raw: Option<&Factor>, at: &At<'_>, report: &mut Report<'_>) -> Option<u32> {
    let Some(Factor(text)) = raw else {
        return Some(HASH_BOUND_DEFAULT);
    };
    if text == "off" {
        return None;
    }
    match text.parse::<f64>() {
        Ok(factor) if (1.05..=10.0).contains(&factor) => Some((factor * 100.0).round() as u32),
        Ok(_) => {
            report.problem(
                at,
                format!("{text} is not allowed, expected 1.05 to 10, or off"),
            );
            None
        }
        Err(_) => {
            let what = format!(
                "{} is not a number, expected 1.05 to 10, or off",
                quoted(text)
            );
            report.problem(at, what);
            None
        }
    }
}
