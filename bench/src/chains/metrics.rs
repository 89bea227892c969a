//! Reading what a process says of itself to Prometheus.

/// The sum of a metric's lines that have these labels; `None` when there is no such line.
pub(crate) fn sum(text: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let lines = text.lines().filter_map(|line| value(line, name, labels));
    lines.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}

/// The value of a line of that metric with these labels.
fn value(line: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let rest = line.strip_prefix(name)?;
    let (given, number) = match rest.strip_prefix('{') {
        Some(rest) => rest.rsplit_once('}')?,
        None => ("", rest),
    };
    let has = |(key, value): &(&str, &str)| given.contains(&format!("{key}=\"{value}\""));
    if !number.starts_with(' ') || !labels.iter().all(has) {
        return None;
    }
    number.trim().parse().ok()
}

/// The different values of a label among a metric's lines with these labels.
pub(crate) fn values_of<'a>(text: &'a str, name: &str, labels: &[(&str, &str)], label: &str) -> Vec<&'a str> {
    let lines = text.lines().filter(|line| value(line, name, labels).is_some());
    let mut values: Vec<&str> = lines
        .filter_map(|line| {
            let (_, rest) = line.split_once(&format!("{label}=\""))?;
            Some(rest.split_once('"')?.0)
        })
        .collect();
    values.sort_unstable();
    values.dedup();
    values
}

#[cfg(test)]
mod tests {
    use super::{sum, values_of};

    const TEXT: &str = "# HELP calls x\n\
        calls{chain=\"bsc\",method=\"a\"} 3\n\
        calls{chain=\"bsc\",method=\"b\"} 4.5\n\
        calls{chain=\"eth\",method=\"a\"} 7\n\
        calls_other{chain=\"bsc\"} 9\n\
        plain 2\n";

    #[test]
    fn lines_are_chosen_by_name_and_labels() {
        assert_eq!(sum(TEXT, "calls", &[("chain", "bsc")]), Some(7.5));
        assert_eq!(sum(TEXT, "calls", &[("chain", "bsc"), ("method", "a")]), Some(3.0));
        assert_eq!(sum(TEXT, "plain", &[]), Some(2.0));
        assert_eq!(sum(TEXT, "call", &[]), None);
    }

    #[test]
    fn labels_are_listed_once() {
        assert_eq!(values_of(TEXT, "calls", &[], "method"), ["a", "b"]);
    }
}
