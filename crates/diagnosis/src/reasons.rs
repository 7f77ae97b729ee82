//! What the reason words mean, from the operators' page.

use serde::Serialize;

/// A reason word's row in `docs/operations.md`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct Reason {
    /// What it means.
    pub meaning: &'static str,
    /// What cures it.
    pub cure: &'static str,
    /// Who can do that.
    pub who: &'static str,
}

/// What `word` means. Nothing for words that are not podcert's.
#[must_use]
pub fn reason(word: &str) -> Option<Reason> {
    PAGE.lines().find_map(|line| {
        let mut cells = line.strip_prefix("| `")?.strip_suffix(" |")?.split(" | ");
        let named = cells.next()?.strip_suffix('`')?;
        let (meaning, cure, who) = (cells.next()?, cells.next()?, cells.next()?);
        (named == word && cells.next().is_none()).then(|| Reason {
            // The mark of what is decided anew each minute.
            meaning: meaning.trim_start_matches("† "),
            cure,
            who,
        })
    })
}

const PAGE: &str = include_str!("../../../docs/operations.md");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_of_the_page_is_a_reason() {
        let rows = PAGE
            .lines()
            .filter_map(|line| line.strip_prefix("| `"))
            .filter(|row| row.starts_with(|c: char| c.is_ascii_uppercase()));
        let mut found = 0;
        for row in rows {
            let word = row.split('`').next().unwrap();
            let reason = reason(word).unwrap_or_else(|| panic!("{word} is not read"));
            for cell in [reason.meaning, reason.cure, reason.who] {
                assert!(!cell.is_empty(), "{word}: {reason:?}");
                assert!(!cell.contains('†'), "{word}: {reason:?}");
            }
            found += 1;
        }
        assert!(found >= 40, "only {found}");
    }

    #[test]
    fn words_of_others_mean_nothing() {
        assert_eq!(reason("FailedMount"), None);
        assert_eq!(reason("podcert_requests_total"), None);
        assert_eq!(reason(""), None);
    }
}
