//! Where in the YAML tree something is, written as the operator would: `pools.api.endpoints[2].weight`.
//!
//! `Step` is one hop, `At` a chain of hops on the stack of whoever walks the tree, so that a path
//! costs nothing until there is a problem to report. Used by every part of the pipeline.

use std::borrow::Cow;
use std::fmt::Write as _;

/// One hop down the tree.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Step<'a> {
    Key(Cow<'a, str>),
    Index(usize),
}

/// A node of the tree, as the chain of hops that leads to it.
#[derive(Clone, Debug)]
pub(super) struct At<'a> {
    parent: Option<&'a At<'a>>,
    step: Option<Step<'a>>,
}

impl<'a> At<'a> {
    pub(super) const ROOT: At<'static> = At {
        parent: None,
        step: None,
    };

    pub(super) fn key(&'a self, key: &'a str) -> At<'a> {
        self.then(Step::Key(Cow::Borrowed(key)))
    }

    pub(super) fn index(&'a self, index: usize) -> At<'a> {
        self.then(Step::Index(index))
    }

    fn then(&'a self, step: Step<'a>) -> At<'a> {
        At {
            parent: Some(self),
            step: Some(step),
        }
    }

    /// The hops from the root.
    pub(super) fn steps(&self) -> Vec<Step<'a>> {
        let mut steps: Vec<_> = std::iter::successors(Some(self), |at| at.parent)
            .filter_map(|at| at.step.clone())
            .collect();
        steps.reverse();
        steps
    }
}

/// The path as text; the root is the empty string.
pub(super) fn text(steps: &[Step<'_>]) -> String {
    let mut text = String::new();
    for step in steps {
        match step {
            Step::Index(index) => {
                let _ = write!(text, "[{index}]");
            }
            Step::Key(key) => {
                if !text.is_empty() {
                    text.push('.');
                }
                push_key(&mut text, key);
            }
        }
    }
    text
}

/// A key that could be taken for path syntax, or that would garble a terminal, is quoted.
fn push_key(text: &mut String, key: &str) {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '*' | '/' | '<' | '~');
    if !key.is_empty() && key.len() <= 80 && key.chars().all(plain) {
        text.push_str(key);
    } else {
        text.push_str(&super::problem::quoted(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_as_the_operator_would_write_it() {
        let pools = At::ROOT.key("pools");
        let pool = pools.key("api");
        let endpoints = pool.key("endpoints");
        let at = endpoints.index(2);
        assert_eq!(
            text(&at.key("weight").steps()),
            "pools.api.endpoints[2].weight"
        );
        assert_eq!(text(&At::ROOT.steps()), "");
    }

    #[test]
    fn a_key_with_a_dot_is_quoted() {
        let pools = At::ROOT.key("pools");
        assert_eq!(text(&pools.key("a.b").steps()), r#"pools."a.b""#);
    }
}
