//! The controller's own reason words: one for each thing that can hold up a request, or that an
//! Event is about. Those of decisions are `podcert_issuance`'s, those of signing
//! `podcert_authority`'s.
//!
//! People search for these words: each has a row in `docs/operations.md`, which a test here
//! compares with the code.

/// The API server did not answer, or was not able to.
pub(crate) const API_UNAVAILABLE: &str = "ApiUnavailable";
/// The API server does not serve the version of the API a request was spoken in (any more).
pub(crate) const API_VERSION_NOT_SERVED: &str = "ApiVersionNotServed";
/// Somebody else keeps writing a bundle of ours.
pub(crate) const BUNDLE_CONTESTED: &str = "BundleContested";
/// The source of a pool that was there is gone.
pub(crate) const CA_POOL_MISSING: &str = "CaPoolMissing";
/// A new pool cannot be used.
pub(crate) const CA_POOL_REFUSED: &str = "CaPoolRefused";
/// The API server's clock is far from this machine's.
pub(crate) const CLOCK_SKEW: &str = "ClockSkew";
/// Another version of the request was written.
pub(crate) const CONFLICT: &str = "Conflict";
/// We may not write the status, or not read the request once more. (Not to `sign` is a 422.)
pub(crate) const FORBIDDEN: &str = "Forbidden";
/// The reason of the condition Issued, and of the metric.
pub(crate) const ISSUED: &str = "Issued";
/// The API server does not know a request the watch still shows.
pub(crate) const NOT_FOUND: &str = "NotFound";
/// The request's signer has no pool yet.
pub(crate) const POOL_NOT_LOADED: &str = "PoolNotLoaded";
/// Rights that the controller needs are missing.
pub(crate) const RIGHTS_MISSING: &str = "RightsMissing";
/// A thread that signed ended by a defect, or with the process.
pub(crate) const SIGNING_STOPPED: &str = "SigningStopped";
/// The API server refused the status itself.
pub(crate) const STATUS_REFUSED: &str = "StatusRefused";
/// A bundle holds anchors that are in no pool.
pub(crate) const UNKNOWN_ANCHORS: &str = "UnknownAnchors";

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    fn read(path: &str) -> String {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        fs::read_to_string(root.join(path)).unwrap()
    }

    /// The words `source` gives after `before`.
    fn words<'a>(source: &'a str, before: &str) -> BTreeSet<&'a str> {
        source
            .split(before)
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
            .filter(|word| word.starts_with(|c: char| c.is_ascii_uppercase()))
            .filter(|word| word.chars().all(|c| c.is_ascii_alphanumeric()))
            .collect()
    }

    #[test]
    fn every_reason_has_a_row_in_the_operators_page() {
        let page = read("docs/operations.md");
        let mut found = 0;
        for (path, before, least) in [
            ("crates/controller/src/reasons.rs", ": &str = \"", 15),
            ("crates/issuance/src/decision.rs", "=> \"", 27),
            ("crates/authority/src/error.rs", "=> \"", 4),
            ("crates/authority/src/backend.rs", "=> \"", 2),
        ] {
            let source = read(path);
            let words = words(&source, before);
            assert!(words.len() >= least, "{path} is no longer read: {words:?}");
            for word in &words {
                assert!(
                    page.contains(&format!("| `{word}` |")),
                    "docs/operations.md has no row for {word} of {path}"
                );
            }
            found += words.len();
        }
        // And none that is not in the code any more.
        let rows = page.matches("\n| `").count() - page.matches("\n| `podcert_").count();
        assert_eq!(rows, found, "rows of docs/operations.md, words of the code");
    }

    #[test]
    fn a_reason_is_a_word_of_this_list() {
        let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
        let mut looked_at = 0;
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                if ["reasons.rs", "tests.rs"]
                    .iter()
                    .any(|name| path.ends_with(name))
                {
                    continue;
                }
                let source = fs::read_to_string(&path).unwrap();
                let code = source.split("#[cfg(test)]").next().unwrap();
                for before in ["reason: \"", ": &str = \""] {
                    assert_eq!(words(code, before), BTreeSet::new(), "{}", path.display());
                }
                looked_at += 1;
            }
        }
        assert!(looked_at >= 20, "only {looked_at} files are looked at");
    }

    #[test]
    fn every_metric_has_a_row_in_the_operators_page() {
        let page = read("docs/operations.md");
        for (path, least) in [
            ("crates/controller/src/metrics.rs", 17),
            ("crates/runtime/src/api/metrics.rs", 2),
        ] {
            let source = read(path);
            let code = source.split("#[cfg(test)]\nmod tests").next().unwrap();
            let names: Vec<&str> = code
                .split("\"podcert_")
                .skip(1)
                .filter_map(|rest| rest.split('"').next())
                .collect();
            assert!(names.len() >= least, "{path} is no longer read: {names:?}");
            for name in names {
                assert!(
                    page.contains(&format!("| `podcert_{name}")),
                    "docs/operations.md has no row for podcert_{name} of {path}"
                );
            }
        }
    }
}
