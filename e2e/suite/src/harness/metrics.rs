//! Metrics in Prometheus' text form, as the program and kube-apiserver serve them.

use anyhow::{Context as _, Result};

/// One scrape.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    samples: Vec<Sample>,
}

#[derive(Clone, Debug)]
struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

impl Metrics {
    /// Reads a scrape.
    ///
    /// # Errors
    /// The line that is none.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let samples = text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(|line| sample(line).with_context(|| format!("not a metric: {line}")))
            .collect::<Result<_>>()?;
        Ok(Self { samples })
    }

    /// The sum of the samples of this name that have all of these labels; 0 without any.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        // Not `sum`: of no numbers that is -0.
        let values = self.of(name, labels).map(|sample| sample.value);
        values.fold(0.0, |sum, value| sum + value)
    }

    /// The sums by the value of one label, for those samples that have all of `labels`.
    pub(crate) fn sums_by<const N: usize>(
        &self,
        name: &str,
        labels: &[(&str, &str)],
        by: [&str; N],
    ) -> Vec<([String; N], f64)> {
        let mut sums: Vec<([String; N], f64)> = Vec::new();
        for sample in self.of(name, labels) {
            let key = by.map(|label| sample.label(label).unwrap_or_default().to_owned());
            match sums.iter_mut().find(|(known, _)| *known == key) {
                Some((_, sum)) => *sum += sample.value,
                None => sums.push((key, sample.value)),
            }
        }
        sums
    }

    fn of<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |sample| {
            sample.name == name
                && labels
                    .iter()
                    .all(|(label, value)| sample.label(label) == Some(value))
        })
    }
}

impl Sample {
    fn label(&self, name: &str) -> Option<&str> {
        let found = self.labels.iter().find(|(label, _)| label == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// `name{label="value",...} 1.5`, with a timestamp or an exemplar behind it perhaps.
fn sample(line: &str) -> Option<Sample> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            rest = rest.trim_start_matches(',');
            if let Some(behind) = rest.strip_prefix('}') {
                rest = behind;
                break;
            }
            let (label, behind) = rest.split_once("=\"")?;
            let mut value = String::new();
            let mut characters = behind.char_indices();
            let end = loop {
                match characters.next()? {
                    (at, '"') => break at,
                    (_, '\\') => match characters.next()?.1 {
                        'n' => value.push('\n'),
                        other => value.push(other),
                    },
                    (_, other) => value.push(other),
                }
            };
            labels.push((label.to_owned(), value));
            rest = behind.get(end + 1..)?;
        }
    }
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Sample {
        name: name.to_owned(),
        labels,
        value,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_summed_by_their_labels() {
        let text = "# HELP a words\na{verb=\"PUT\",path=\"x\\\"}\\\\,y\"} 2\na{verb=\"GET\"} 1.5 17\n\
                    b 4\na{verb=\"PUT\"} 1e1 # {x=\"y\"} 1\n";
        let metrics = Metrics::parse(text).unwrap();
        assert_eq!(metrics.sum("a", &[]).to_string(), "13.5");
        assert_eq!(metrics.sum("a", &[("verb", "PUT")]).to_string(), "12");
        assert_eq!(metrics.sum("a", &[("path", "x\"}\\,y")]).to_string(), "2");
        assert_eq!(metrics.sum("b", &[]).to_string(), "4");
        assert_eq!(metrics.sum("c", &[]).to_string(), "0");
        let by_verb = metrics.sums_by("a", &[], ["verb"]);
        assert_eq!(by_verb.len(), 2);
        assert_eq!(by_verb[0].0, ["PUT"]);
        assert!(Metrics::parse("a{verb=\"PUT} 1").is_err());
    }
}
