//! The directory of one scenario: its configuration, with placeholders filled in, and its output.
//!
//! Placeholders are `$` and a lower-case word. `$listen`, `$listen2` … are free addresses on
//! 127.0.0.1, `$admin` is the admin listener's, `$port`, `$port2` … are free ports, `$dir` is the
//! directory, `$upgradable` the keys of `server` that an upgrade needs; every other one is given.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use regex::{Captures, Regex};
use tempfile::TempDir;

use super::ports;

/// What is added when the scenario leaves it out.
const LEFT_OUT: [(&str, &str); 4] = [
    ("listeners", "[{ bind: $listen }]"),
    ("admin", "{ bind: $admin }"),
    ("log", "{ access: { path: $dir/access.log, format: json } }"),
    ("server", "{ $upgradable }"),
];

pub(super) struct Files {
    dir: TempDir,
    pub(super) given: BTreeMap<String, String>,
    /// Variables for the processes that run with the configuration.
    pub(super) environment: BTreeMap<String, String>,
    /// Addresses and ports that are this scenario's.
    reserved: Mutex<BTreeMap<String, String>>,
    commands: AtomicUsize,
}

impl Files {
    pub(super) fn new() -> Files {
        Files {
            dir: tempfile::tempdir().unwrap(),
            given: BTreeMap::new(),
            environment: BTreeMap::new(),
            reserved: Mutex::default(),
            commands: AtomicUsize::new(0),
        }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(super) fn config_path(&self) -> String {
        self.path("weir.yaml").display().to_string()
    }

    pub(super) fn write_config(&self, yaml: &str) {
        // Whole or not at all, should somebody read it meanwhile.
        let unfinished = self.path("weir.yaml.new");
        std::fs::write(&unfinished, self.fill_in(yaml)).unwrap();
        std::fs::rename(unfinished, self.path("weir.yaml")).unwrap();
    }

    /// Files for the output of one more command.
    pub(super) fn outputs(&self) -> (PathBuf, PathBuf) {
        let number = self.commands.fetch_add(1, Ordering::SeqCst);
        let path = |stream| self.path(&format!("{number}.{stream}"));
        (path("stdout"), path("stderr"))
    }

    /// What the commands so far wrote to a stream, the first one's first.
    pub(super) fn output(&self, stream: &str) -> String {
        let commands = 0..self.commands.load(Ordering::SeqCst);
        let path = |number| self.path(&format!("{number}.{stream}"));
        commands.map(|n| read(&path(n))).collect()
    }

    /// What a placeholder of the configuration stands for.
    pub(super) fn reserved(&self, name: &str) -> Option<String> {
        self.reserved.lock().get(name).cloned()
    }

    fn fill_in(&self, yaml: &str) -> String {
        let placeholder = Regex::new(r"\$([a-z][a-z0-9_]*)").unwrap();
        let filled = placeholder.replace_all(yaml, |found: &Captures<'_>| self.value(&found[1]));
        filled.into_owned()
    }

    fn value(&self, name: &str) -> String {
        if let Some(value) = self.given.get(name) {
            return value.clone();
        }
        let kind = name.trim_end_matches(|char: char| char.is_ascii_digit());
        let mut reserved = self.reserved.lock();
        match kind {
            "dir" => self.dir.path().display().to_string(),
            "upgradable" => {
                let dir = self.dir.path().display();
                format!("pid_file: {dir}/weir.pid, upgrade_socket: {dir}/upgrade.sock")
            }
            "listen" | "admin" | "port" => {
                if !reserved.contains_key(name) {
                    let port = ports::reserve();
                    let address = match kind {
                        "port" => port.to_string(),
                        _ => format!("127.0.0.1:{port}"),
                    };
                    reserved.insert(name.to_owned(), address);
                }
                reserved[name].clone()
            }
            _ => panic!("nothing was given for ${name}"),
        }
    }
}

/// The YAML of a scenario without its indentation, and with what it left out at its end.
pub(super) fn completed(yaml: &str) -> String {
    let lines = yaml.lines().filter(|line| !line.trim().is_empty());
    let indentation = lines.map(|line| line.len() - line.trim_start().len());
    let common = indentation.min().unwrap_or(0);
    let mut completed: String = yaml
        .trim_start_matches('\n')
        .lines()
        .map(|line| format!("{}\n", line.get(common..).unwrap_or("")))
        .collect();
    for (key, value) in LEFT_OUT {
        let has = completed
            .lines()
            .any(|line| line.starts_with(&format!("{key}:")));
        if !has {
            completed.push_str(&format!("{key}: {value}\n"));
        }
    }
    completed
}

pub(super) fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

#[test]
fn what_a_scenario_leaves_out_is_added_after_its_own_lines() {
    let yaml = "\n    pools:\n      web: { endpoints: [$a] }\n\n    admin: { bind: $admin }\n";
    let expected = "pools:\n  web: { endpoints: [$a] }\n\nadmin: { bind: $admin }\n\
        listeners: [{ bind: $listen }]\nlog: ";
    assert!(completed(yaml).starts_with(expected), "{}", completed(yaml));
}

#[test]
fn placeholders_are_filled_in_and_stay_the_same() {
    let mut files = Files::new();
    files.given.insert("a".into(), "127.0.0.2:1".into());
    let filled = files.fill_in(r"[$a, $listen, $listen2, $listen, $port, '~ \.php$', '{path}']");
    let [a, first, second, again, port, pattern, template] =
        filled.split(", ").collect::<Vec<_>>()[..]
    else {
        panic!("{filled}");
    };
    assert_eq!(
        (a, pattern, template),
        ("[127.0.0.2:1", r"'~ \.php$'", "'{path}']")
    );
    assert!(first == again && first != second && first.starts_with("127.0.0.1:"));
    assert!(port.parse::<u16>().is_ok());
    assert_eq!(files.reserved("listen").as_deref(), Some(first));
}
