//! Every file in tests/config: YAML, a line `# ---`, then as comments what `parse` says about it (`ok` and the
//! warnings, or the problems). `BLESS=1 cargo test --test config_goldens` rewrites the second half. And every file in
//! conf/ must be valid.

use std::fs;
use std::path::{Path, PathBuf};

const RULE: &str = "# ---\n";

#[test]
fn every_golden_says_what_it_said_before() {
    let mut wrong = Vec::new();
    for file in yaml_files("tests/config") {
        let text = fs::read_to_string(&file).expect("golden is text");
        let (yaml, expected) = text.split_once(RULE).unwrap_or((&text, ""));
        let said = commented(&verdict("weir.yaml", yaml));
        if said == expected {
            continue;
        }
        if std::env::var_os("BLESS").is_some() {
            fs::write(&file, format!("{yaml}{RULE}{said}")).expect("golden is writable");
        } else {
            wrong.push(format!(
                "{}\nexpected:\n{expected}said:\n{said}",
                file.display()
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "BLESS=1 accepts these:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn every_example_in_conf_is_valid_and_warns_of_nothing() {
    for file in yaml_files("conf") {
        let yaml = fs::read_to_string(&file).expect("example is text");
        assert_eq!(verdict(&file.display().to_string(), &yaml), "ok");
    }
}

fn verdict(name: &str, yaml: &str) -> String {
    match weir::config::parse(name, yaml) {
        Ok((_, warnings)) => format!("ok\n{warnings}").trim_end().to_string(),
        Err(problems) => problems.to_string(),
    }
}

fn commented(text: &str) -> String {
    text.lines()
        .map(|line| format!("# {line}").trim_end().to_string() + "\n")
        .collect()
}

fn yaml_files(directory: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join(directory)).expect("directory is there");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("entry").path()).collect();
    files.retain(|file| {
        file.extension()
            .is_some_and(|extension| extension == "yaml")
    });
    files.sort();
    assert!(!files.is_empty(), "no file in {directory}");
    files
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
