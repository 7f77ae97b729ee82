//! What came out of a run: for people, for programs, and for `docs/compatibility.md`.

use podcert_cases::{ApiVersion, Release};
use serde_json::{Value, json};

/// What came out of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    /// In the order in which they ran.
    pub(crate) releases: Vec<ReleaseReport>,
}

/// What came out on one release.
#[derive(Clone, Debug)]
pub(crate) struct ReleaseReport {
    /// Which.
    pub(crate) release: Release,
    /// Its full version: `v1.37.0`.
    pub(crate) version: String,
    /// The behaviour cases of each API version.
    pub(crate) cases: Vec<CasesReport>,
    /// The steps.
    pub(crate) steps: Vec<StepReport>,
}

/// What came of the behaviour cases in one API version.
#[derive(Clone, Debug)]
pub(crate) struct CasesReport {
    /// The API version.
    pub(crate) api: ApiVersion,
    /// How long they took together.
    pub(crate) seconds: f64,
    /// In the order of their names.
    pub(crate) cases: Vec<CaseReport>,
}

/// What came of a case.
#[derive(Clone, Debug)]
pub(crate) struct CaseReport {
    /// Its name.
    pub(crate) name: &'static str,
    /// How long it took, among others.
    pub(crate) seconds: f64,
    /// What it panicked with.
    pub(crate) failure: Option<String>,
}

/// What came of a step.
#[derive(Clone, Debug)]
pub(crate) struct StepReport {
    /// Its name.
    pub(crate) name: &'static str,
    /// How long it took.
    pub(crate) seconds: f64,
    /// Why it failed.
    pub(crate) failure: Option<String>,
    /// What it says of itself.
    pub(crate) summary: String,
    /// What it measured.
    pub(crate) figures: Vec<Figure>,
}

/// Something measured.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Figure {
    /// In snake case.
    pub(crate) name: String,
    /// In the unit that the name says.
    pub(crate) value: f64,
    /// What it is to reach.
    pub(crate) goal: Goal,
}

/// What a figure is to reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Goal {
    /// This or more.
    AtLeast(f64),
    /// This or more on a machine with nothing else to do. A miss is said, and fails nothing: other
    /// work on the machine moves the figure as much as ours does.
    AtLeastWhenQuiet(f64),
    /// This or less.
    AtMost(f64),
    /// Shown so that a change is noticed.
    Shown,
}

impl Report {
    /// Whether nothing failed.
    pub(crate) fn is_green(&self) -> bool {
        self.releases.iter().all(ReleaseReport::is_green)
    }

    /// A summary for people.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for report in &self.releases {
            let (failed, all) = report.count();
            lines.push(format!(
                "Kubernetes {}: {} of {all} cases and steps passed{}",
                report.version,
                all - failed,
                if failed == 0 { "" } else { "  <-- FAILED" }
            ));
        }
        lines
    }

    /// Every figure, those of the cases first.
    pub(crate) fn figures(&self) -> impl Iterator<Item = Figure> {
        self.releases.iter().flat_map(ReleaseReport::figures)
    }

    /// For programs.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "passed": self.is_green(),
            "releases": self.releases.iter().map(ReleaseReport::to_json).collect::<Vec<_>>(),
        })
    }
}

impl ReleaseReport {
    pub(crate) fn new(release: Release, version: String) -> Self {
        Self {
            release,
            version,
            cases: Vec::new(),
            steps: Vec::new(),
        }
    }

    fn is_green(&self) -> bool {
        self.count().0 == 0
    }

    /// How many failed, of how many.
    fn count(&self) -> (usize, usize) {
        let cases = self.cases.iter().flat_map(|cases| &cases.cases);
        let failures: Vec<bool> = cases
            .map(|case| case.failure.is_some())
            .chain(self.steps.iter().map(|step| step.failure.is_some()))
            .collect();
        (
            failures.iter().filter(|failed| **failed).count(),
            failures.len(),
        )
    }

    #[allow(clippy::cast_precision_loss, reason = "there are not that many cases")]
    fn figures(&self) -> impl Iterator<Item = Figure> {
        let release = self.release.as_str();
        let cases = self.cases.iter().map(move |cases| Figure {
            name: format!("cases_passed_{release}_{}", cases.api.as_str()),
            value: cases.passed() as f64,
            goal: Goal::AtLeast(cases.cases.len() as f64),
        });
        let steps = self.steps.iter().flat_map(|step| &step.figures);
        cases.chain(steps.map(move |figure| Figure {
            name: format!("{}_{release}", figure.name),
            ..figure.clone()
        }))
    }

    fn to_json(&self) -> Value {
        json!({
            "kubernetes": self.release.as_str(),
            "version": self.version,
            "cases": self.cases.iter().map(CasesReport::to_json).collect::<Vec<_>>(),
            "steps": self.steps.iter().map(StepReport::to_json).collect::<Vec<_>>(),
            "figures": self.figures().map(|figure| figure.to_json()).collect::<Vec<_>>(),
        })
    }
}

impl CasesReport {
    /// How many passed.
    pub(crate) fn passed(&self) -> usize {
        self.cases
            .iter()
            .filter(|case| case.failure.is_none())
            .count()
    }

    /// What people want to know at once.
    pub(crate) fn lines(&self, release: Release) -> Vec<String> {
        let (release, api) = (release.as_str(), self.api.as_str());
        let mut lines = Vec::new();
        for case in &self.cases {
            if let Some(failure) = &case.failure {
                let seconds = case.seconds;
                lines.push(format!(
                    "FAILED {release} {api} {} ({seconds:.1} s)",
                    case.name
                ));
                lines.extend(indented(failure));
            }
        }
        lines.push(format!(
            "{release} {api}: {} of {} cases passed in {:.1} s",
            self.passed(),
            self.cases.len(),
            self.seconds
        ));
        lines
    }

    fn to_json(&self) -> Value {
        let cases: Vec<Value> = self
            .cases
            .iter()
            .map(|case| {
                json!({
                    "name": case.name,
                    "passed": case.failure.is_none(),
                    "seconds": case.seconds,
                    "failure": case.failure,
                })
            })
            .collect();
        json!({"api": self.api.as_str(), "seconds": self.seconds, "cases": cases})
    }
}

impl StepReport {
    /// What people want to know at once.
    pub(crate) fn lines(&self, release: Release) -> Vec<String> {
        let (release, seconds) = (release.as_str(), self.seconds);
        match &self.failure {
            None => vec![format!(
                "{release} {}: {} in {seconds:.1} s",
                self.name, self.summary
            )],
            Some(failure) => {
                let head = format!("FAILED {release} {} ({seconds:.1} s)", self.name);
                std::iter::once(head).chain(indented(failure)).collect()
            }
        }
    }

    fn to_json(&self) -> Value {
        json!({
            "name": self.name,
            "passed": self.failure.is_none(),
            "seconds": self.seconds,
            "failure": self.failure,
            "summary": self.summary,
        })
    }
}

impl Figure {
    /// Whether it is what it is to be. What is no number is not.
    pub(crate) fn is_reached(&self) -> bool {
        match self.goal {
            Goal::AtLeast(least) | Goal::AtLeastWhenQuiet(least) => self.value >= least,
            Goal::AtMost(most) => self.value <= most,
            Goal::Shown => !self.value.is_nan(),
        }
    }

    /// Whether it makes its step fail.
    pub(crate) fn fails(&self) -> bool {
        let by_noise = matches!(self.goal, Goal::AtLeastWhenQuiet(_)) && !self.value.is_nan();
        !self.is_reached() && !by_noise
    }

    /// As the project prints figures.
    pub(crate) fn line(&self) -> String {
        let Self { name, value, goal } = self;
        match goal {
            Goal::AtLeast(least) | Goal::AtLeastWhenQuiet(least) => {
                format!("figure {name} {value:.3} goal >= {least}")
            }
            Goal::AtMost(most) => format!("figure {name} {value:.3} goal <= {most}"),
            Goal::Shown => format!("figure {name} {value:.3} goal none"),
        }
    }

    fn to_json(&self) -> Value {
        let goal = match self.goal {
            Goal::AtLeast(least) | Goal::AtLeastWhenQuiet(least) => json!({"atLeast": least}),
            Goal::AtMost(most) => json!({"atMost": most}),
            Goal::Shown => Value::Null,
        };
        json!({"name": self.name, "value": self.value, "goal": goal, "reached": self.is_reached()})
    }
}

/// For people, so without the whole of a long answer: programs get that.
fn indented(text: &str) -> impl Iterator<Item = String> {
    text.lines()
        .map(|line| match line.char_indices().nth(LINE) {
            Some((end, _)) => format!("    {}…", line.get(..end).unwrap_or(line)),
            None => format!("    {line}"),
        })
}

/// Characters of a line of a failure.
const LINE: usize = 1_000;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A release with a case that passed, maybe one that did not, and a step.
    pub(crate) fn release(release: Release, failure: Option<&str>) -> ReleaseReport {
        let case = |name, failure: Option<&str>| CaseReport {
            name,
            seconds: 0.5,
            failure: failure.map(str::to_owned),
        };
        let mut cases = vec![case("a/holds", None)];
        cases.extend(failure.map(|failure| case("b/breaks", Some(failure))));
        ReleaseReport {
            release,
            version: format!("v{}.0", release.as_str()),
            cases: vec![CasesReport {
                api: ApiVersion::V1beta1,
                seconds: 1.0,
                cases,
            }],
            steps: vec![StepReport {
                name: "matrix",
                seconds: 2.0,
                failure: None,
                summary: "4 of 4 chains accepted".into(),
                figures: vec![Figure {
                    name: "rate".into(),
                    value: 0.987,
                    goal: Goal::AtLeast(0.95),
                }],
            }],
        }
    }

    #[test]
    fn one_failure_makes_the_run_red_and_is_told_with_its_case() {
        let green = release(Release::V1_36, None);
        let red = release(Release::V1_35, Some("left: 1\nright: 2 (file.rs:1)"));
        let lines = red.cases[0].lines(Release::V1_35);
        assert_eq!(
            lines,
            [
                "FAILED 1.35 v1beta1 b/breaks (0.5 s)",
                "    left: 1",
                "    right: 2 (file.rs:1)",
                "1.35 v1beta1: 1 of 2 cases passed in 1.0 s",
            ]
        );
        let one = Report {
            releases: vec![green.clone()],
        };
        assert!(one.is_green());
        let both = Report {
            releases: vec![green, red],
        };
        assert!(!both.is_green());
        assert_eq!(both.to_json()["passed"], false);
        assert_eq!(
            both.lines()[1],
            "Kubernetes v1.35.0: 2 of 3 cases and steps passed  <-- FAILED"
        );
    }

    #[test]
    fn figures_carry_their_release() {
        let report = Report {
            releases: vec![release(Release::V1_36, Some("no"))],
        };
        let lines: Vec<String> = report.figures().map(|figure| figure.line()).collect();
        assert_eq!(
            lines,
            [
                "figure cases_passed_1.36_v1beta1 1.000 goal >= 2",
                "figure rate_1.36 0.987 goal >= 0.95",
            ]
        );
    }

    #[test]
    fn what_is_no_number_reaches_no_goal() {
        for goal in [Goal::AtLeast(0.0), Goal::AtMost(1.0), Goal::Shown] {
            let figure = |value| Figure {
                name: "f".into(),
                value,
                goal,
            };
            assert!(figure(0.5).is_reached());
            assert!(!figure(f64::NAN).is_reached());
        }
    }

    #[test]
    fn noise_fails_nothing_and_is_no_success() {
        let figure = |value, goal| Figure {
            name: "f".into(),
            value,
            goal,
        };
        let noisy = figure(0.9, Goal::AtLeastWhenQuiet(0.95));
        assert!(!noisy.is_reached() && !noisy.fails());
        assert!(figure(f64::NAN, Goal::AtLeastWhenQuiet(0.95)).fails());
        assert!(figure(0.9, Goal::AtLeast(0.95)).fails());
    }
}
