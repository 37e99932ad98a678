//! Where each node of the YAML tree stands in the file.
//!
//! One pass over the parser's events, linear in the file: nodes are found by (parent, hop), so neither depth nor
//! long keys multiply. The pass also finds what the typed reading cannot: every duplicate key, tags, a second
//! document, and aliases that would expand without bound. Built by `read`, asked by `report`.

use std::borrow::Cow;
use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, Tag};

use super::path::{self, Step};
use super::problem::{Problem, quoted};

/// Deepest nesting that is read; the deepest key of the configuration stands at 7.
const DEPTH_MAX: usize = 64;
/// What all values may weigh once aliases are expanded, in bytes: stops a "billion laughs" file.
const WEIGHT_MAX: usize = 256 << 20;
/// What one value weighs beyond its text, in bytes; about what it costs in memory.
const NODE_WEIGHT: usize = 64;

/// Line and column, both from 1, the column in characters.
pub(super) type Place = (usize, usize);

/// The index: every node of the tree with its place.
#[derive(Debug)]
pub(super) struct Places<'s> {
    nodes: Vec<Node>,
    children: HashMap<(usize, Step<'s>), usize>,
}

#[derive(Debug)]
struct Node {
    /// Where its key stands; a list item has none.
    key: Option<Place>,
    value: Place,
    /// Where its children are: an alias has those of its anchor.
    body: usize,
}

/// A file that cannot be read any further, or its index with every duplicate key.
pub(super) type Indexed<'s> = Result<(Places<'s>, Vec<Problem>), Problem>;

pub(super) fn index(source: &str) -> Indexed<'_> {
    let mut builder = Builder::default();
    for event in Parser::new_from_str(source) {
        let (event, span) = event.map_err(|err| syntax(place(err.marker()), err.info()))?;
        builder.event(event, place(&span.start))?;
    }
    let places = Places {
        nodes: builder.nodes,
        children: builder.children,
    };
    Ok((places, builder.duplicates))
}

/// A file that is not YAML.
pub(super) fn syntax(place: Place, what: &str) -> Problem {
    Problem {
        path: String::new(),
        place: Some(place),
        what: format!("not valid YAML: {what}"),
        hint: None,
    }
}

/// The parser counts columns from 0.
fn place(marker: &Marker) -> Place {
    (marker.line(), marker.col() + 1)
}

// === impl Places ===

impl Places<'_> {
    /// The place of a key, or of a list item.
    pub(super) fn key(&self, steps: &[Step<'_>]) -> Option<Place> {
        self.deepest(steps)
            .map(|node| node.key.unwrap_or(node.value))
    }

    /// The place of a value.
    pub(super) fn value(&self, steps: &[Step<'_>]) -> Option<Place> {
        match self.deepest(steps) {
            Some(node) => Some(node.value),
            None => self.nodes.first().map(|root| root.value),
        }
    }

    /// The node at a path, or the nearest one above it; `None` for the root, which is no one's fault.
    fn deepest(&self, steps: &[Step<'_>]) -> Option<&Node> {
        let mut found = None;
        let mut body = 0;
        for step in steps {
            let Some(child) = self.children.get(&(body, step.clone())) else {
                break;
            };
            let node = &self.nodes[*child];
            body = node.body;
            found = Some(node);
        }
        found
    }
}

// === The pass over the events ===

#[derive(Default)]
struct Builder<'s> {
    nodes: Vec<Node>,
    children: HashMap<(usize, Step<'s>), usize>,
    open: Vec<Open<'s>>,
    anchors: HashMap<usize, Anchor>,
    duplicates: Vec<Problem>,
    documents: usize,
    weight: usize,
}

/// A list or map whose end has not come yet.
struct Open<'s> {
    node: usize,
    /// How its parent names it; `None` for the root.
    step: Option<Step<'s>>,
    content: Content<'s>,
    anchor: usize,
    weight_before: usize,
}

enum Content<'s> {
    List { next: usize },
    Map { key: Option<(Cow<'s, str>, Place)> },
}

struct Anchor {
    node: usize,
    /// What one more copy costs; `None` while the anchored value is still open.
    weight: Option<usize>,
}

impl<'s> Builder<'s> {
    fn event(&mut self, event: Event<'s>, at: Place) -> Result<(), Problem> {
        match event {
            Event::DocumentStart(_) => self.document(at),
            Event::Scalar(text, _, anchor, tag) => self.scalar(text, anchor, tag.as_deref(), at),
            Event::Alias(anchor) => self.alias(anchor, at),
            Event::SequenceStart(anchor, tag) => {
                self.open(Content::List { next: 0 }, anchor, tag.as_deref(), at)
            }
            Event::MappingStart(anchor, tag) => {
                self.open(Content::Map { key: None }, anchor, tag.as_deref(), at)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                self.close();
                Ok(())
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn document(&mut self, at: Place) -> Result<(), Problem> {
        self.documents += 1;
        match self.documents {
            1 => Ok(()),
            _ => Err(self.refuse(at, "a second document (\"---\"), expected one")),
        }
    }

    fn scalar(
        &mut self,
        text: Cow<'s, str>,
        anchor: usize,
        tag: Option<&Tag>,
        at: Place,
    ) -> Result<(), Problem> {
        self.refuse_tag(tag, at)?;
        self.weigh(NODE_WEIGHT + text.len(), at)?;
        if let Some(Content::Map { key: key @ None }) =
            self.open.last_mut().map(|open| &mut open.content)
        {
            *key = Some((text, at));
            return Ok(());
        }
        let weight = NODE_WEIGHT + text.len();
        let (node, _) = self.add(at, None);
        self.anchors.insert(
            anchor,
            Anchor {
                node,
                weight: Some(weight),
            },
        );
        Ok(())
    }

    fn alias(&mut self, anchor: usize, at: Place) -> Result<(), Problem> {
        self.refuse_as_key(at)?;
        let Some(Anchor { node, weight }) = self.anchors.get(&anchor) else {
            return Err(self.refuse(at, "an alias without its anchor"));
        };
        let body = self.nodes[*node].body;
        let Some(weight) = *weight else {
            return Err(self.refuse(at, "an alias inside its own anchor"));
        };
        self.weigh(weight, at)?;
        self.add(at, Some(body));
        Ok(())
    }

    fn open(
        &mut self,
        content: Content<'s>,
        anchor: usize,
        tag: Option<&Tag>,
        at: Place,
    ) -> Result<(), Problem> {
        self.refuse_tag(tag, at)?;
        self.refuse_as_key(at)?;
        if self.open.len() >= DEPTH_MAX {
            return Err(self.refuse(
                at,
                &format!("nested too deep, expected at most {DEPTH_MAX} levels"),
            ));
        }
        let weight_before = self.weight;
        self.weigh(NODE_WEIGHT, at)?;
        let (node, step) = self.add(at, None);
        self.anchors.insert(anchor, Anchor { node, weight: None });
        self.open.push(Open {
            node,
            step,
            content,
            anchor,
            weight_before,
        });
        Ok(())
    }

    fn close(&mut self) {
        if let Some(open) = self.open.pop()
            && let Some(anchor) = self.anchors.get_mut(&open.anchor)
        {
            anchor.weight = Some(self.weight - open.weight_before);
        }
    }

    /// A new node under the innermost open one. Of duplicate keys the first stays, as in the tree that is read.
    fn add(&mut self, value: Place, body: Option<usize>) -> (usize, Option<Step<'s>>) {
        let node = self.nodes.len();
        let mut key_place = None;
        let mut step = None;
        if let Some(open) = self.open.last_mut() {
            let parent = open.node;
            let own = match &mut open.content {
                Content::List { next } => {
                    *next += 1;
                    Step::Index(*next - 1)
                }
                Content::Map { key } => {
                    let (key, at) = key.take().unwrap_or_default();
                    key_place = Some(at);
                    Step::Key(key)
                }
            };
            step = Some(own.clone());
            match self.children.entry((parent, own)) {
                std::collections::hash_map::Entry::Vacant(free) => {
                    free.insert(node);
                }
                std::collections::hash_map::Entry::Occupied(first) => {
                    let first = *first.get();
                    self.duplicate(first, step.as_ref(), key_place);
                }
            }
        }
        self.nodes.push(Node {
            key: key_place,
            value,
            body: body.unwrap_or(node),
        });
        (node, step)
    }

    fn duplicate(&mut self, first: usize, step: Option<&Step<'s>>, place: Option<Place>) {
        let mut steps = self.steps();
        steps.extend(step.cloned());
        let line = self.nodes[first].key.map_or(0, |(line, _)| line);
        self.duplicates.push(Problem {
            path: path::text(&steps),
            place,
            what: format!("given twice, first on line {line}"),
            hint: None,
        });
    }

    /// The path of the innermost open node.
    fn steps(&self) -> Vec<Step<'s>> {
        self.open
            .iter()
            .filter_map(|open| open.step.clone())
            .collect()
    }

    fn weigh(&mut self, weight: usize, at: Place) -> Result<(), Problem> {
        self.weight = self.weight.saturating_add(weight);
        if self.weight > WEIGHT_MAX {
            let what = format!(
                "values and aliases expand to more than {} MiB",
                WEIGHT_MAX >> 20
            );
            return Err(self.refuse(at, &what));
        }
        Ok(())
    }

    fn refuse_tag(&self, tag: Option<&Tag>, at: Place) -> Result<(), Problem> {
        match tag {
            Some(tag) => {
                let name = quoted(&format!("{}{}", tag.handle, tag.suffix));
                Err(self.refuse(at, &format!("a tag ({name}) has no meaning here")))
            }
            None => Ok(()),
        }
    }

    /// Only a scalar can be a key.
    fn refuse_as_key(&self, at: Place) -> Result<(), Problem> {
        match self.open.last().map(|open| &open.content) {
            Some(Content::Map { key: None }) => Err(self.refuse(at, "a key must be plain text")),
            _ => Ok(()),
        }
    }

    fn refuse(&self, at: Place, what: &str) -> Problem {
        Problem {
            path: path::text(&self.steps()),
            place: Some(at),
            what: what.to_string(),
            hint: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::path::At;
    use super::*;

    fn indexed(source: &str) -> Places<'_> {
        index(source).expect("valid YAML").0
    }

    #[test]
    fn keys_and_values_are_found_by_path() {
        let places = indexed(
            "pools:\n  api:\n    endpoints:\n      - a:1\n      - { address: b:2, weight: 3 }\n",
        );
        let (pools, list) = (At::ROOT.key("pools"), "endpoints");
        let api = pools.key("api");
        let endpoints = api.key(list);
        let second = endpoints.index(1);
        let weight = second.key("weight").steps();
        assert_eq!(places.key(&weight), Some((5, 25)));
        assert_eq!(places.value(&weight), Some((5, 33)));
        assert_eq!(places.value(&endpoints.index(0).steps()), Some((4, 9)));
        assert_eq!(places.key(&api.key("missing").steps()), Some((2, 3)));
    }

    #[test]
    fn an_alias_stands_where_it_is_and_its_children_where_the_anchor_is() {
        let places = indexed("a: &x { k: 1 }\nb: *x\n");
        let b = At::ROOT.key("b");
        assert_eq!(places.value(&b.steps()), Some((2, 4)));
        assert_eq!(places.value(&b.key("k").steps()), Some((1, 12)));
    }

    #[test]
    fn every_duplicate_key_is_found_at_any_depth() {
        let (_, duplicates) = index("a: 1\nb: { c: 1, c: 2 }\na: 2\na: 3\n").expect("valid YAML");
        let found: Vec<_> = duplicates
            .iter()
            .map(|p| (p.path.as_str(), p.place))
            .collect();
        let expected = [
            ("b.c", Some((2, 12))),
            ("a", Some((3, 1))),
            ("a", Some((4, 1))),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn what_cannot_be_configuration_is_refused() {
        for source in [
            "a: !x 1",
            "? [a]\n: 1",
            "a: 1\n---\nb: 1",
            "&a [*a]",
            "*nobody",
            "a: &b c\n*b : d",
        ] {
            assert!(index(source).is_err(), "{source}");
        }
        assert!(index(&"- ".repeat(100_000)).is_err());
    }

    #[test]
    fn aliases_cannot_expand_without_bound() {
        let mut source = "a0: &a0 [x, x, x, x, x, x, x, x]\n".to_string();
        for n in 1..12 {
            let items = vec![format!("*a{}", n - 1); 8].join(", ");
            source.push_str(&format!("a{n}: &a{n} [{items}]\n"));
        }
        assert!(index(&source).expect_err("refused").what.contains("expand"));
    }
}
