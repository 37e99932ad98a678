//! Which settings differ that are fixed when the process starts. Asked by a reload, which refuses them by name.

use super::model::Fixed;

/// YAML paths of the settings that differ and need a restart or an upgrade; empty if a reload is enough.
pub fn restart_keys_changed(old: &Fixed, new: &Fixed) -> Vec<&'static str> {
    // Taken apart whole, so that a new field cannot be forgotten here.
    let Fixed {
        threads,
        pid_file,
        upgrade_socket,
        listeners,
        admin,
        access_log,
        eviction,
    } = old;
    let changed = [
        ("server.threads", *threads != new.threads),
        ("server.pid_file", *pid_file != new.pid_file),
        (
            "server.upgrade_socket",
            *upgrade_socket != new.upgrade_socket,
        ),
        ("listeners", *listeners != new.listeners),
        ("admin", *admin != new.admin),
        ("log.access", *access_log != new.access_log),
        ("cache.eviction", *eviction != new.eviction),
    ];
    changed
        .into_iter()
        .filter_map(|(key, changed)| changed.then_some(key))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    const POOLS: &str =
        "routes: [{ pool: web }]\npools: { web: { endpoints: [127.0.0.1:9001] } }\n";

    fn fixed(head: &str) -> Fixed {
        parse("weir.yaml", &format!("{head}\n{POOLS}"))
            .expect("valid")
            .0
            .fixed
    }

    #[test]
    fn the_same_file_needs_no_restart() {
        let head = "listeners: [{ bind: 127.0.0.1:8080 }]";
        assert!(restart_keys_changed(&fixed(head), &fixed(head)).is_empty());
    }

    #[test]
    fn every_fixed_key_is_named_when_it_changes() {
        let old = fixed("listeners: [{ bind: 127.0.0.1:8080 }]\nserver: { threads: 1 }");
        let new = fixed(
            "listeners: [{ bind: 127.0.0.1:8081 }]\nserver: { threads: 2, pid_file: p, upgrade_socket: s }\n\
             admin: off\nlog: { access: off }\ncache: { eviction: s3fifo }",
        );
        let expected = [
            "server.threads",
            "server.pid_file",
            "server.upgrade_socket",
            "listeners",
            "admin",
            "log.access",
            "cache.eviction",
        ];
        assert_eq!(restart_keys_changed(&old, &new), expected);
    }

    #[test]
    fn what_a_reload_replaces_needs_no_restart() {
        let old = fixed("listeners: [{ bind: 127.0.0.1:8080 }]");
        let new = fixed(
            "listeners: [{ bind: 127.0.0.1:8080 }]\nserver: { drain_timeout: 1s }\nlog: { level: debug }",
        );
        assert!(restart_keys_changed(&old, &new).is_empty());
    }
}
