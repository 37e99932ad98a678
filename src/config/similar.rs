//! "Did you mean": the nearest known word, by edit distance. Pure; called wherever a name is not known.

/// Longer words are not compared.
const WORD_CHARS_MAX: usize = 64;

/// The hint for an unknown word, if a known one is near enough: a third of its letters may differ.
pub(super) fn did_you_mean<'a>(
    word: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    nearest(word, known).map(|near| format!("did you mean \"{near}\"?"))
}

/// The nearest of the known words, the first of equals.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word: Vec<char> = word.chars().take(WORD_CHARS_MAX + 1).collect();
    if word.len() > WORD_CHARS_MAX {
        return None;
    }
    let allowed = (word.len() / 3).max(1);
    known
        .into_iter()
        .filter(|name| name.len().abs_diff(word.len()) <= allowed)
        .map(|name| (distance(&word, name), name))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Edits (insert, remove, replace, swap neighbours) between two words, ignoring case.
fn distance(from: &[char], to: &str) -> usize {
    let from: Vec<char> = from.iter().map(char::to_ascii_lowercase).collect();
    let to: Vec<char> = to.chars().map(|c| c.to_ascii_lowercase()).collect();
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for i in 1..=from.len() {
        let mut row = vec![i];
        for j in 1..=to.len() {
            let replaced = last[j - 1] + usize::from(from[i - 1] != to[j - 1]);
            let mut best = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                best = best.min(before_last[j - 2] + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_mistake_finds_its_word() {
        let known = ["balance", "endpoints", "health", "tls"];
        for (typed, meant) in [
            ("balanse", Some("balance")),
            ("endpoint", Some("endpoints")),
            ("heatlh", Some("health")),
            ("TLS", Some("tls")),
            ("cache", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed, known), meant, "{typed}");
        }
    }

    #[test]
    fn swapped_neighbours_are_one_edit() {
        assert_eq!(distance(&['a', 'b', 'c'], "acb"), 1);
        assert_eq!(distance(&['a', 'b', 'c'], ""), 3);
    }
}
