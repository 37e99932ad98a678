//! The law of this code base as a test: it reads the sources as text and says how to mend them.
//!
//! It trusts rustfmt for layout: an item ends at the first closing brace as deep as its beginning.
//! A file's tests stand at its end in `mod tests`, or in a file named `tests.rs`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 500;

/// The steps of the dependency chart in src/lib.rs, lowest first: a module uses what stands before
/// its own step, and another module of its own step one way only.
const STEPS: [&[&str]; 8] = [
    &["telemetry"],
    &["config"],
    &["routing", "upstream", "health", "cache", "policy"],
    &["snapshot"],
    &["proxy", "admin"],
    &["server"],
    &["cli"],
    &["main"],
];

const ONE_WAY: &str = "A module uses only what stands before it in the chart of src/lib.rs: move \
    what both need down, or hand it in. Name one module in each `use crate::…`. A new module gets \
    its step in the chart and in STEPS.";

const SHORT: &str = "A function has at most 70 lines, a file 500 without its tests. Give the parts \
    names: a function each, or a file each in a folder of the module's name.";

struct Source {
    path: String,
    text: String,
}

impl Source {
    /// The numbered lines that are neither tests nor comments.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let code = self.text.split("#[cfg(test)]\nmod tests {").next();
        let lines = (1..).zip(code.unwrap_or_default().lines());
        lines.filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    /// `src/proxy/ctx.rs` belongs to `proxy`.
    fn module(&self) -> &str {
        let inner = self.path.trim_start_matches("src/");
        inner.split(['/', '.']).next().unwrap_or(inner)
    }
}

/// The Rust files under a folder of the package, but those that builds left; none where there is no such folder.
fn sources(folder: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let entries = fs::read_dir(Path::new(ROOT).join(folder));
    for entry in entries.into_iter().flatten() {
        let name = entry.expect("an entry is readable").file_name();
        let path = format!("{folder}/{}", name.display());
        if path.ends_with(".rs") {
            let text = fs::read_to_string(Path::new(ROOT).join(&path)).expect("UTF-8");
            found.push(Source { path, text });
        } else if name != "target" {
            found.extend(sources(&path));
        }
    }
    found
}

fn product() -> Vec<Source> {
    let mut product = sources("src");
    product.retain(|source| !source.path.ends_with("/tests.rs"));
    assert!(!product.is_empty(), "src/ has no sources");
    product
}

fn everything() -> Vec<Source> {
    let folders = ["src", "tests", "benches", "fuzz"];
    folders.into_iter().flat_map(sources).collect()
}

fn obey(offences: &[String], remedy: &str) {
    let list = offences.join("\n");
    assert!(offences.is_empty(), "\n{list}\n\n{remedy}\n");
}

/// Where the code of `sources` has one of `words`.
fn mentions(sources: &[Source], words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources {
        for (number, line) in source.code() {
            if words.iter().any(|word| line.contains(word)) {
                found.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    found
}

/// The modules of this crate that a line names.
fn used_modules(line: &str) -> impl Iterator<Item = &str> {
    let paths = ["crate::", "weir::"].into_iter();
    let rests = paths.flat_map(|root| line.split(root).skip(1));
    rests.map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_lowercase() && c != '_');
        &rest[..end.unwrap_or(rest.len())]
    })
}

#[test]
fn dependencies_point_one_way() {
    let step_of = |module: &str| STEPS.iter().position(|step| step.contains(&module));
    let mut offences = Vec::new();
    let mut siblings = BTreeMap::new();
    for source in product().iter().filter(|s| s.path != "src/lib.rs") {
        let from = source.module();
        let Some(step) = step_of(from) else {
            offences.push(format!("{}: {from} has no step", source.path));
            continue;
        };
        for (number, line) in source.code() {
            for to in used_modules(line).filter(|to| *to != from) {
                let place = format!("{}:{number}: {from} uses {to:?}", source.path);
                if step_of(to) == Some(step) {
                    siblings.insert((from.to_owned(), to.to_owned()), place);
                } else if step_of(to).is_none_or(|other| other > step) {
                    offences.push(place);
                }
            }
        }
    }
    for ((from, to), place) in &siblings {
        if siblings.contains_key(&(to.clone(), from.clone())) {
            offences.push(format!("{place}, and the other way round"));
        }
    }
    obey(&offences, ONE_WAY);
}

#[test]
fn every_file_says_what_it_is() {
    let mut silent = everything();
    silent.retain(|source| !source.text.starts_with("//! "));
    let offences: Vec<String> = silent.into_iter().map(|source| source.path).collect();
    let remedy = "Open it with `//!`: what it is, what always holds in it, who calls it.";
    obey(&offences, remedy);
}

/// First line and length of each function that has a body of its own lines.
fn functions(source: &Source) -> Vec<(usize, usize)> {
    let lines: Vec<(usize, &str)> = source.code().collect();
    let mut found = Vec::new();
    for (at, &(first, line)) in lines.iter().enumerate() {
        let signature = line.trim_start();
        let indent = line.len() - signature.len();
        let is_end = |&&(_, line): &&(usize, &str)| {
            let inner = line.trim_start();
            let is_as_deep = !inner.is_empty() && line.len() - inner.len() <= indent;
            is_as_deep && (inner.starts_with('}') || inner.ends_with(';'))
        };
        if is_function(signature)
            && !signature.ends_with(['}', ';'])
            && let Some((last, _)) = lines[at..].iter().find(is_end)
        {
            found.push((first, last - first + 1));
        }
    }
    found
}

fn is_function(signature: &str) -> bool {
    let before = signature.split_once("fn ").map(|(before, _)| before);
    let is_qualifier = |word: &str| word.starts_with("pub") || word == "async" || word == "const";
    before.is_some_and(|before| before.split_whitespace().all(is_qualifier))
}

#[test]
fn functions_and_files_are_short() {
    let mut offences = Vec::new();
    for source in product() {
        let lines = source.code().last().map_or(0, |(number, _)| number);
        if lines > FILE_LINES_MAX {
            offences.push(format!("{}: {lines} lines before its tests", source.path));
        }
        for (first, lines) in functions(&source) {
            if lines > FUNCTION_LINES_MAX {
                offences.push(format!("{}:{first}: {lines} lines", source.path));
            }
        }
    }
    obey(&offences, SHORT);
}

#[test]
fn nothing_is_left_undone() {
    let mut rest = everything();
    rest.retain(|source| source.path != "tests/tidy.rs");
    let mut offences = mentions(&rest, &["todo!", "unimplemented!", "dbg!"]);
    rest.retain(|source| source.text.contains("TODO") || source.text.contains("FIXME"));
    offences.extend(rest.into_iter().map(|source| source.path));
    let remedy = "Do it now, or open an issue and take the mark out.";
    obey(&offences, remedy);
}

#[test]
fn no_product_code_unwraps() {
    let remedy = "Return an error, or say why it cannot fail: `expect(\"a pool is never empty\")`.";
    let offences = mentions(&product(), &[".unwrap()", ".unwrap_err()"]);
    obey(&offences, remedy);
}

#[test]
fn scenarios_do_not_sleep() {
    let mut scenarios = sources("tests/it");
    scenarios.retain(|source| source.path != "tests/it/support/eventually.rs");
    let remedy = "Wait for what you mean with `eventually`, or at a gate that the test opens.";
    let offences = mentions(&scenarios, &["sleep(", "sleep_until(", "::sleep;"]);
    obey(&offences, remedy);
}

#[test]
fn every_metric_is_documented() {
    let Ok(readme) = fs::read_to_string(Path::new(ROOT).join("README.md")) else {
        return;
    };
    let mut metrics = product();
    metrics.retain(|source| source.path.starts_with("src/telemetry/metrics"));
    let lines = metrics.iter().flat_map(Source::code);
    let texts = lines.flat_map(|(_, line)| line.split('"').skip(1).step_by(2));
    let mut names: Vec<String> = texts.map(str::to_owned).collect();
    names.retain(|name| name.starts_with("weir_"));
    assert!(!names.is_empty(), "no metric is found in metrics.rs");
    let is_between = |c: char| c != '_' && !c.is_alphanumeric();
    let known: Vec<&str> = readme.split(is_between).collect();
    names.retain(|name| !known.contains(&name.as_str()));
    obey(&names, "Add it to the metrics in README.md.");
}

#[test]
fn every_rejection_is_named_in_its_table() {
    let mut table = product();
    table.retain(|source| source.path == "src/proxy/reject.rs");
    let remedy = "Name every rejection: with `_`, a new one gets a status that nobody chose.";
    obey(&mentions(&table, &["_ =>"]), remedy);
}
