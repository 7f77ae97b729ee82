//! The table of `docs/compatibility.md`: written by a run, between two markers.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context as _, Result};
use podcert_cases::ApiVersion;

use crate::cluster::checkout;
use crate::report::{ReleaseReport, Report};

/// Writes the table of a green run.
pub(crate) fn write(report: &Report) -> Result<()> {
    let path = checkout().join("docs/compatibility.md");
    let old =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let new = with_table(&old, &table(report))
        .with_context(|| format!("{} has no lines {BEGIN} and {END}", path.display()))?;
    if new != old {
        fs::write(&path, new).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// A row for each kind of case, step and figure, a column for each release. No times: the table
/// changes only when what it says does.
fn table(report: &Report) -> String {
    let mut table = String::from("| |");
    let releases = &report.releases;
    for release in releases {
        let _ = write!(table, " {} |", release.version);
    }
    table.push_str("\n|---|");
    releases.iter().for_each(|_| table.push_str("---|"));
    table.push('\n');

    for api in [ApiVersion::V1, ApiVersion::V1beta1] {
        let what = format!("behaviour cases, {}", api.as_str());
        row(&mut table, &what, releases, |release| {
            let cases = release.cases.iter().find(|cases| cases.api == api)?;
            Some(format!("{} of {}", cases.passed(), cases.cases.len()))
        });
    }
    for name in names(
        releases
            .iter()
            .flat_map(|release| &release.steps)
            .map(|step| step.name),
    ) {
        row(&mut table, &name.replace('-', " "), releases, |release| {
            let step = release.steps.iter().find(|step| step.name == name)?;
            Some(step.summary.clone())
        });
    }
    table
}

fn row(
    table: &mut String,
    what: &str,
    releases: &[ReleaseReport],
    cell: impl Fn(&ReleaseReport) -> Option<String>,
) {
    let cells: Vec<_> = releases.iter().map(cell).collect();
    if cells.iter().all(Option::is_none) {
        return;
    }
    let _ = write!(table, "| {what} |");
    for cell in cells {
        // A pipe would end the cell.
        let text = cell.as_deref().unwrap_or("–").replace('|', "\\|");
        let _ = write!(table, " {text} |");
    }
    table.push('\n');
}

/// Each once, in the order of its first coming.
fn names<'a>(all: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut names = Vec::new();
    for name in all {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// The document with this table between the markers.
fn with_table(document: &str, table: &str) -> Option<String> {
    let (before, rest) = document.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{table}{END}{after}"))
}

const BEGIN: &str = "<!-- e2e:begin -->";
const END: &str = "<!-- e2e:end -->";

#[cfg(test)]
mod tests {
    use podcert_cases::Release;

    use super::*;
    use crate::report::tests::release;

    #[test]
    fn the_document_has_its_markers() {
        let document = fs::read_to_string(checkout().join("docs/compatibility.md")).unwrap();
        assert!(with_table(&document, "").is_some());
    }

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let old = format!("head\n{BEGIN}\nold\n{END}\ntail {END}\n");
        let new = with_table(&old, "| new |\n").unwrap();
        assert_eq!(new, format!("head\n{BEGIN}\n| new |\n{END}\ntail {END}\n"));
        assert_eq!(with_table(&new, "| new |\n").unwrap(), new);
        assert!(with_table("no markers", "").is_none());
    }

    #[test]
    fn what_a_release_does_not_have_is_a_dash() {
        let mut without = release(Release::V1_35, None);
        without.steps.clear();
        let report = Report {
            releases: vec![release(Release::V1_36, None), without],
        };
        assert_eq!(
            table(&report),
            "| | v1.36.0 | v1.35.0 |\n\
             |---|---|---|\n\
             | behaviour cases, v1beta1 | 1 of 1 | 1 of 1 |\n\
             | matrix | 4 of 4 chains accepted | – |\n"
        );
    }
}
