//! `deploy/monitoring` and `docs/runbooks` ask only about what there is, and about each other.
//! Whether the rules are right is for promtool: the step `monitoring` of e2e.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::everything;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&read(path)).unwrap()
}

/// The rules that are alerts.
fn alerts() -> Vec<Value> {
    let groups = yaml("deploy/monitoring/rules.yaml");
    let groups = groups["groups"].as_array().unwrap();
    let rules = groups.iter().flat_map(|group| group["rules"].as_array());
    rules.flatten().cloned().collect()
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    let found = value.pointer(pointer).and_then(Value::as_str);
    found.unwrap_or_else(|| panic!("no {pointer} in {value}"))
}

/// The expressions of the dashboard's panels and variables.
fn dashboard() -> Vec<String> {
    fn collect(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                for (key, value) in fields {
                    match value.as_str() {
                        Some(text) if ["expr", "query", "definition"].contains(&key.as_str()) => {
                            found.push(text.to_owned());
                        }
                        _ => collect(value, found),
                    }
                }
            }
            Value::Array(values) => values.iter().for_each(|value| collect(value, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    let dashboard = serde_json::from_str(&read("deploy/monitoring/dashboard.json")).unwrap();
    collect(&dashboard, &mut found);
    found.retain(|text| text.contains("podcert_"));
    found
}

/// A metric that is asked about, and what its labels are compared with.
type Selected<'a> = (&'a str, Vec<(&'a str, &'a str)>);

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The metrics of podcert's in a PromQL expression.
fn selected(expression: &str) -> Vec<Selected<'_>> {
    let mut found = Vec::new();
    for (start, _) in expression.match_indices("podcert_") {
        if expression[..start].ends_with(is_word) {
            continue;
        }
        let rest = &expression[start..];
        let (name, rest) = rest.split_at(rest.find(|c| !is_word(c)).unwrap_or(rest.len()));
        let mut matchers = Vec::new();
        if let Some((inside, _)) = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
            for matcher in inside.split("\",").filter(|matcher| matcher.contains('"')) {
                let (label, value) = matcher.split_once('"').unwrap();
                let label = label.trim().trim_end_matches(['=', '~', '!']);
                matchers.push((label, value.trim_end_matches('"')));
            }
        }
        found.push((name, matchers));
    }
    found
}

/// The labels that `by (...)` and `on (...)` name.
fn grouped(expression: &str) -> Vec<&str> {
    let lists = ["by (", "on ("].into_iter().flat_map(|word| {
        let lists = expression.split(word).skip(1);
        lists.filter_map(|rest| rest.split(')').next())
    });
    lists
        .flat_map(|list| list.split(',').map(str::trim))
        .collect()
}

/// Labels that Prometheus adds, or whoever sends to a store that several clusters share.
const OF_THE_TARGET: [&str; 5] = ["cluster", "namespace", "job", "instance", "pod"];

#[test]
fn expressions_are_taken_apart() {
    let expression =
        r#"sum by (a, le) (rate(podcert_x_total{a="b",c=~"d|e"}[5m])) / on (a) podcert_y"#;
    let x = ("podcert_x_total", vec![("a", "b"), ("c", "d|e")]);
    assert_eq!(selected(expression), [x, ("podcert_y", vec![])]);
    assert_eq!(grouped(expression), ["a", "le", "a"]);
}

#[tokio::test(start_paused = true)]
async fn rules_and_dashboard_ask_about_metrics_and_labels_that_there_are() {
    let shown = everything().await;
    let page = read("docs/operations.md");
    let rules = alerts();
    let rules: Vec<_> = rules
        .iter()
        .map(|rule| text(rule, "/expr").to_owned())
        .collect();
    let dashboard = dashboard();
    assert!(rules.len() > 20 && dashboard.len() > 20);
    // Which reasons are the pod's owner's to cure stands in three rules, each time the same.
    let owners: Vec<_> = rules
        .iter()
        .filter_map(|rule| rule.split("{reason").nth(1))
        .collect();
    let owners = owners.iter().map(|rest| &rest[2..rest.find('}').unwrap()]);
    let (count, distinct) = (owners.len(), owners.collect::<BTreeSet<_>>().len());
    assert_eq!((count, distinct), (3, 1));
    for expression in rules.iter().chain(&dashboard) {
        let selected = selected(expression);
        let mut labels: BTreeSet<&str> = OF_THE_TARGET.into();
        for (name, matchers) in &selected {
            let known = shown.get(*name);
            let known = known.unwrap_or_else(|| panic!("there is no {name}: {expression}"));
            labels.extend(known.keys().map(String::as_str));
            for (label, values) in matchers {
                if OF_THE_TARGET.contains(label) {
                    continue;
                }
                let known = known.get(*label);
                let known = known.unwrap_or_else(|| panic!("{name} has no {label}: {expression}"));
                for value in values.split('|').filter(|value| !value.starts_with('$')) {
                    let is_reason =
                        || *label == "reason" && page.contains(&format!("| `{value}` |"));
                    assert!(
                        known.contains(value) || is_reason(),
                        "{label} of {name} is never {value}: {expression}"
                    );
                }
            }
        }
        for label in grouped(expression) {
            let known = selected.is_empty() || labels.contains(label);
            assert!(known, "nothing in it has {label}: {expression}");
        }
    }
}

#[test]
fn every_alert_has_a_runbook_page_and_every_page_an_alert() {
    let mut named = BTreeSet::new();
    let index = read("docs/runbooks/README.md");
    for rule in alerts() {
        let name = text(&rule, "/alert");
        let url = text(&rule, "/annotations/runbook_url");
        let path = url.strip_prefix("https://github.com/podcert/podcert/blob/main/");
        assert_eq!(path, Some(format!("docs/runbooks/{name}.md").as_str()));
        let page = read(path.unwrap());
        assert!(page.starts_with(&format!("# {name}\n")), "{name}");
        for part in [
            "## What it means",
            "## See",
            "## Causes and what to do",
            "## Over when",
        ] {
            assert!(page.contains(part), "the page of {name} has no {part}");
        }
        assert!(index.contains(&format!("[{name}]({name}.md)")), "{name}");
        let severity = text(&rule, "/labels/severity");
        assert!(
            ["critical", "warning", "info"].contains(&severity),
            "{name}"
        );
        for annotation in ["summary", "description"] {
            let words = text(&rule, &format!("/annotations/{annotation}"));
            assert!(words.len() > 15 && !words.contains('\n'), "{name}: {words}");
        }
        named.insert(format!("{name}.md"));
    }
    let pages = fs::read_dir(root().join("docs/runbooks")).unwrap();
    let pages = pages.map(|page| page.unwrap().file_name().into_string().unwrap());
    let pages: BTreeSet<_> = pages.filter(|page| page != "README.md").collect();
    assert_eq!(pages, named);
}

#[test]
fn runbooks_ask_about_metrics_that_there_are() {
    let page = read("docs/operations.md");
    for entry in fs::read_dir(root().join("docs/runbooks")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        for (name, _) in selected(&text) {
            let family = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|suffix| name.strip_suffix(suffix))
                .unwrap_or(name);
            let row = format!("| `{family}` |");
            assert!(page.contains(&row), "{}: {name}", path.display());
        }
    }
}

#[test]
fn the_operators_object_has_the_groups_of_the_rule_file() {
    let object = yaml("deploy/monitoring/prometheusrule.yaml");
    assert_eq!(object["kind"], "PrometheusRule");
    assert_eq!(
        object["spec"],
        yaml("deploy/monitoring/rules.yaml"),
        "make it anew: the head of deploy/monitoring/prometheusrule.yaml says how"
    );
}

/// promtool runs the cases; that there are some for each alert is held here.
#[test]
fn every_alert_is_tested_to_fire_and_not_to_fire() {
    let tests = yaml("deploy/monitoring/rules_test.yaml");
    let mut fires: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mut groups_without = 0;
    for group in tests["tests"].as_array().unwrap() {
        for case in group["promql_expr_test"].as_array().into_iter().flatten() {
            let samples = case.get("exp_samples").and_then(Value::as_array);
            let samples = samples.map_or(&[][..], Vec::as_slice);
            groups_without += usize::from(samples.is_empty());
            for sample in samples {
                let labels = selected_labels(text(sample, "/labels"));
                *fires.entry(labels).or_default() += 1;
            }
        }
    }
    // A case compares all alerts that fire: each that is not named in it is tested not to.
    assert!(groups_without >= 5, "{groups_without}");
    for rule in alerts() {
        let key = (text(&rule, "/alert"), text(&rule, "/labels/severity"));
        let key = (key.0.to_owned(), key.1.to_owned());
        assert!(fires.contains_key(&key), "no case in which {key:?} fires");
    }
}

fn selected_labels(series: &str) -> (String, String) {
    let value = |label: &str| {
        let rest = series.split(&format!("{label}=\"")).nth(1);
        rest.and_then(|rest| rest.split('"').next())
            .unwrap_or_else(|| panic!("no {label} in {series}"))
            .to_owned()
    };
    (value("alertname"), value("severity"))
}
