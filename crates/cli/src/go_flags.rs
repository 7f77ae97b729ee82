//! The habits of Go's `flag` package, so that a command line written for meshtool works as it is:
//! `-flag` means `--flag`, and a boolean takes its value with `=` in any of Go's spellings.

use std::ffi::OsString;

/// Doubles the dash of `-long-flag` words; `-h`, `-V`, `-`, negative numbers and everything
/// after `--` stay as they are. Called once, on the whole command line, before clap sees it.
pub(crate) fn normalize(argv: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut literal = false;
    argv.into_iter()
        .map(|word| {
            if literal || word == "--" {
                literal = true;
                return word;
            }
            match word.to_str() {
                Some(text) if is_single_dash_flag(text) => OsString::from(format!("-{text}")),
                _ => word,
            }
        })
        .collect()
}

/// A boolean as Go's `strconv.ParseBool` reads it; for clap's `value_parser`.
///
/// # Errors
/// Any other word, with the accepted ones.
pub(crate) fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("expected true or false (also 1, 0, t, f)".to_owned()),
    }
}

fn is_single_dash_flag(word: &str) -> bool {
    let Some(name) = word.strip_prefix('-') else {
        return false;
    };
    let name = name.split('=').next().unwrap_or(name);
    name.len() > 1 && name.starts_with(|c: char| c.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normalized(words: &[&str]) -> Vec<String> {
        let words = words.iter().map(OsString::from);
        normalize(words)
            .into_iter()
            .map(|w| w.into_string().unwrap())
            .collect()
    }

    #[test]
    fn a_single_dash_is_as_good_as_two() {
        assert_eq!(
            normalized(&[
                "podcert",
                "controller",
                "-in-cluster=true",
                "--kubeconfig",
                "-"
            ]),
            [
                "podcert",
                "controller",
                "--in-cluster=true",
                "--kubeconfig",
                "-"
            ],
        );
    }

    #[test]
    fn short_flags_numbers_and_literals_stay() {
        let words = ["podcert", "-h", "-1", "--", "-in-cluster=true"];
        assert_eq!(normalized(&words), words);
    }

    #[test]
    fn booleans_are_gos() {
        for yes in ["1", "t", "T", "TRUE", "true", "True"] {
            assert_eq!(parse_bool(yes), Ok(true));
        }
        for no in ["0", "f", "F", "FALSE", "false", "False"] {
            assert_eq!(parse_bool(no), Ok(false));
        }
        assert!(parse_bool("yes").is_err());
    }
}
