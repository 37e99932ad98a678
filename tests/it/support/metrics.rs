//! Reading Prometheus' text format: enough to ask for the value of a selector.

/// `name{label="value",…}`, as a selector or as a sample's series.
#[derive(Debug, PartialEq)]
struct Series {
    name: String,
    labels: Vec<(String, String)>,
}

/// The sum of the samples that have the selector's name and, at least, its labels; `None` without
/// such a sample. The order of labels does not matter.
pub(super) fn sum(text: &str, selector: &str) -> Option<f64> {
    let (wanted, _) = parse(selector).unwrap_or_else(|| panic!("not a selector: {selector}"));
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let samples = lines.filter_map(parse).filter(|(series, _)| {
        let has = |label| series.labels.contains(label);
        series.name == wanted.name && wanted.labels.iter().all(has)
    });
    let values = samples.filter_map(|(_, value)| value.trim().parse::<f64>().ok());
    values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}

/// The series at the start of a line, and what follows it.
fn parse(line: &str) -> Option<(Series, &str)> {
    let line = line.trim();
    let end = line.find(['{', ' ']).unwrap_or(line.len());
    let (name, mut rest) = line.split_at(end);
    let mut labels = Vec::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            rest = rest.trim_start_matches([',', ' ']);
            if let Some(after) = rest.strip_prefix('}') {
                rest = after;
                break;
            }
            let (label, quoted) = rest.split_once("=\"")?;
            let (value, after) = unquote(quoted)?;
            labels.push((label.trim().to_owned(), value));
            rest = after;
        }
    }
    let name = (!name.is_empty()).then(|| name.to_owned())?;
    Some((Series { name, labels }, rest))
}

/// The text up to the closing quote, without its escapes, and what follows.
fn unquote(quoted: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                escaped => escaped,
            }),
            _ => value.push(char),
        }
    }
    None
}

#[test]
fn a_selector_sums_the_samples_that_have_its_labels() {
    let text = "# HELP weir_x help\n# TYPE weir_x counter\n\
        weir_x{a=\"1\",b=\"y\"} 2\nweir_x{b=\"y, \\\"}z\",a=\"1\"} 3\nweir_x{a=\"2\",b=\"y\"} 4\nweir_y 5\n";
    assert_eq!(sum(text, r#"weir_x{a="1"}"#), Some(5.0));
    assert_eq!(sum(text, r#"weir_x{b="y",a="1"}"#), Some(2.0));
    assert_eq!(sum(text, r#"weir_x{b="y, \"}z"}"#), Some(3.0));
    assert_eq!(sum(text, "weir_x"), Some(9.0));
    assert_eq!(sum(text, "weir_y"), Some(5.0));
    assert_eq!(sum(text, r#"weir_x{a="3"}"#), None);
}
