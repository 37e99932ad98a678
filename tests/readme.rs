//! The README tells the truth: what it copies is equal, and what it lists is whole.

use std::fs;
use std::path::Path;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn it_shows_the_reference_configuration() {
    let (readme, reference) = (read("README.md"), read("conf/weir.yaml"));
    let shown = format!("```yaml\n{}\n```", reference.trim_end());
    assert!(
        readme.contains(&shown),
        "copy conf/weir.yaml into README.md again"
    );
}

#[test]
fn it_lists_every_reason_and_every_outcome() {
    let readme = read("README.md");
    let reasons = weir::proxy::reject::Rejection::ALL.map(|rejection| rejection.name());
    let outcomes = weir::proxy::failure::Outcome::ALL.map(|outcome| outcome.name());
    for word in reasons.iter().chain(&outcomes) {
        assert!(
            readme.contains(&format!("`{word}`")),
            "README.md does not tell what {word} is"
        );
    }
}
