//! `deploy/monitoring` is right: the rules do what they say, Prometheus takes the program's metrics, and
//! what rules and dashboard ask about is among them.
//!
//! That names and labels are those of the code, and that each alert has its page and its tests, is held by
//! the tests of the crate podcert-controller.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use podcert_cases::Release;
use podcert_cases::material::KeyType;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::time::{Duration, Instant, sleep};

use crate::cluster::parts::{Part, Parts, checkout};
use crate::harness::{
    Answers, Ask, CaKind, CaPool, Kubelet, Metrics, PATIENCE, Plan, Population, Program, Setup,
    Source, Stage, WorkloadKey, now,
};
use crate::install::run;
use crate::matrix::Policy;
use crate::release::Skew;
use crate::run::{Context, Outcome};

/// The step of a whole run.
pub(crate) async fn step(context: Context) -> Result<Outcome> {
    let progress = &context.progress;
    let promtool = Parts::alone(Part::Promtool, Release::V1_37, progress)
        .await?
        .program;
    progress.end();
    let folder = checkout().join("deploy/monitoring");
    for (check, file) in [
        (["check", "rules"], "rules.yaml"),
        (["test", "rules"], "rules_test.yaml"),
        (["check", "config"], "prometheus.yaml"),
    ] {
        run(Command::new(&promtool).args(check).arg(folder.join(file))).await?;
    }
    let panels = check_dashboard(&promtool, &folder).await?;

    let scrape = scrape(&context).await?;
    let text = as_text(&scrape);
    check_metrics(&promtool, &text).await?;
    let shown: BTreeSet<&str> = text.lines().filter_map(sample_name).collect();
    let mut asked = BTreeSet::new();
    for file in ["rules.yaml", "dashboard.json"] {
        let text = std::fs::read_to_string(folder.join(file))?;
        asked.extend(names(&text).map(str::to_owned));
    }
    for name in &asked {
        let expected = !ON_EVENT.contains(&name.as_str());
        ensure!(
            shown.contains(name.as_str()) == expected,
            "{name} is asked about, and a controller that answered requests {} it:\n{scrape}",
            if expected {
                "does not show"
            } else {
                "does show"
            }
        );
    }
    Ok(Outcome::of(format!(
        "rules and their tests, {panels} expressions of the dashboard, {} of {} metrics shown",
        asked.len() - ON_EVENT.len(),
        asked.len()
    )))
}

/// Has promtool parse what the dashboard asks, as rules. How many expressions there are.
async fn check_dashboard(promtool: &Path, folder: &Path) -> Result<usize> {
    let dashboard = std::fs::read_to_string(folder.join("dashboard.json"))?;
    let dashboard: Value = serde_json::from_str(&dashboard)?;
    let panels = dashboard["panels"].as_array().context("no panels")?;
    let targets = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array());
    let rules: Vec<Value> = targets
        .flatten()
        .filter_map(|target| target["expr"].as_str())
        .enumerate()
        .map(|(number, expression)| {
            let expression = expression.replace("$__rate_interval", "5m");
            json!({"record": format!("dashboard:{number}"), "expr": expression})
        })
        .collect();
    let count = rules.len();
    ensure!(count > 20, "only {count} expressions are found");
    let file = tempfile::Builder::new().suffix(".yaml").tempfile()?;
    let groups = json!({"groups": [{"name": "dashboard", "rules": rules}]});
    std::fs::write(file.path(), groups.to_string())?;
    run(Command::new(promtool)
        .args(["check", "rules"])
        .arg(file.path()))
    .await?;
    Ok(count)
}

/// What a controller shows that has answered a request of each signer and has one left that waits.
async fn scrape(context: &Context) -> Result<String> {
    let kubeconfig = context.cluster.kubeconfig();
    let stage = Stage::open(&kubeconfig, Skew::none(context.release), "monitoring").await?;
    let pool = tokio::task::spawn_blocking(|| CaPool::of(CaKind::USUAL)).await??;
    let program = Program::start(&Setup::all(&stage, &pool).await?).await?;
    let sources = Policy::ALL.map(|policy| Source::of(stage.signer(policy.as_str())));
    let plan = Plan {
        namespaces: 1,
        pods_per_namespace: 1,
        sources: sources.to_vec(),
    };
    let people = Population::create(&stage, &plan).await?;
    let kubelet = Kubelet::of(&stage, &people.node)?;
    let key = WorkloadKey::of(KeyType::P256)?;
    let shown = async {
        let pod = people.pods.first().context("no pod")?;
        let answers = Answers::watch(&stage).await?;
        for policy in Policy::ALL {
            let ask = Ask::new(pod, &stage.signer(policy.as_str()), &key);
            let request = kubelet.ask(&ask).await?;
            answers.of(&request, PATIENCE).await?.issued()?;
        }
        // No Service selects its pod.
        let namespace = stage.namespace("alone").await?;
        let account = stage.service_account(&namespace, "web").await?;
        let (node, account) = (people.node.clone(), ("web", account.as_str()));
        let alone = stage
            .pod(&namespace, "web", account, node, &sources)
            .await?;
        let signer = stage.signer("service-dns");
        kubelet.ask(&Ask::new(&alone, &signer, &key)).await?;
        let started = Instant::now();
        loop {
            let text = program.metrics_text().await?;
            let labels = [("reason", "NoMatchingService"), ("signer", signer.as_str())];
            let oldest = Metrics::parse(&text)?.sum(OLDEST_WAITING, &labels);
            if oldest > 0.0 {
                #[allow(clippy::cast_precision_loss, reason = "seconds of this century")]
                let age = now().as_second() as f64 - oldest;
                ensure!((-5.0..=60.0).contains(&age), "the request is {age} s old");
                return Ok(text);
            }
            ensure!(started.elapsed() < PATIENCE, "nothing waits:\n{text}");
            sleep(Duration::from_millis(50)).await;
        }
    };
    let shown: Result<String> = shown.await;
    let text = shown.map_err(|error| program.blame(error))?;
    program.stop().await?;
    stage.close().await?;
    Ok(text)
}

/// promtool reads Prometheus' own text format: there a counter's type bears its `_total`.
fn as_text(openmetrics: &str) -> String {
    let counters: BTreeSet<&str> = openmetrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter"))
        .collect();
    let line = |line: &str| {
        let mut words = line.splitn(4, ' ');
        match [words.next(), words.next(), words.next(), words.next()] {
            [
                Some("#"),
                Some(kind @ ("HELP" | "TYPE")),
                Some(name),
                Some(rest),
            ] => {
                let total = if counters.contains(name) {
                    "_total"
                } else {
                    ""
                };
                Some(format!("# {kind} {name}{total} {rest}\n"))
            }
            [Some("#"), ..] => None,
            _ => Some(format!("{line}\n")),
        }
    };
    openmetrics.lines().filter_map(line).collect()
}

/// Names, types, units and help, as Prometheus' linter wants them.
async fn check_metrics(promtool: &Path, text: &str) -> Result<()> {
    let mut command = Command::new(promtool);
    command.args(["check", "metrics"]).kill_on_drop(true);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut checking = command.spawn().context("cannot start promtool")?;
    let mut stdin = checking
        .stdin
        .take()
        .context("invariant: stdin is a pipe")?;
    stdin.write_all(text.as_bytes()).await?;
    drop(stdin);
    let output = checking.wait_with_output().await?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "promtool check metrics: {said}\n{text}"
    );
    Ok(())
}

fn sample_name(line: &str) -> Option<&str> {
    let name = line.split(['{', ' ']).next()?;
    (!line.starts_with('#')).then_some(name)
}

/// The metrics of podcert's that stand in a text.
fn names(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| word.starts_with("podcert_"))
}

const OLDEST_WAITING: &str = "podcert_requests_oldest_waiting_timestamp_seconds";

/// What appears with the first event it is about, none of which happens here; docs/operations.md says so.
const ON_EVENT: [&str; 1] = ["podcert_requests_read_again_total"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_gets_its_suffix_and_the_rest_stays() {
        let text = as_text(
            "# HELP a words of it.\n# TYPE a counter\na_total{b=\"c d\"} 1\n# HELP e_seconds f.\n\
             # TYPE e_seconds gauge\n# UNIT e_seconds seconds\ne_seconds 2\n# EOF\n",
        );
        assert_eq!(
            text,
            "# HELP a_total words of it.\n# TYPE a_total counter\na_total{b=\"c d\"} 1\n\
             # HELP e_seconds f.\n# TYPE e_seconds gauge\ne_seconds 2\n"
        );
        let shown: Vec<_> = text.lines().filter_map(sample_name).collect();
        assert_eq!(shown, ["a_total", "e_seconds"]);
    }

    #[test]
    fn names_are_found_in_expressions() {
        let text = r#""expr": "sum(podcert_a{b=\"c\"}) / podcert_d_total""#;
        assert_eq!(
            names(text).collect::<Vec<_>>(),
            ["podcert_a", "podcert_d_total"]
        );
    }
}
