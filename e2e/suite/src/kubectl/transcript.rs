//! Transcripts: commands and what they print, in one file, as on a terminal.
//!
//! ```text
//! # A remark.
//! $ kubectl get ns default
//! NAME      STATUS   AGE
//! default   Active   <age>
//! embedded$ kubectl get nodes
//! No resources found
//! (exit 1)
//! ```
//!
//! Standard output and standard error come as they mix; a failure's exit code stands in a line of
//! its own. What differs from run to run is replaced, see [`normalize`].

use std::fmt::Write as _;

/// Which servers a command is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum On {
    /// `$`: both.
    Both,
    /// `embedded$`: podcert's own server.
    Embedded,
    /// `real$`: kube-apiserver.
    Real,
}

/// A command and what is expected of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Entry {
    /// Remarks and empty lines before it.
    pub(crate) remarks: Vec<String>,
    pub(crate) on: On,
    pub(crate) command: String,
    pub(crate) output: Vec<String>,
}

impl On {
    const ALL: [Self; 3] = [Self::Both, Self::Embedded, Self::Real];

    fn prompt(self) -> &'static str {
        match self {
            Self::Both => "$ ",
            Self::Embedded => "embedded$ ",
            Self::Real => "real$ ",
        }
    }

    /// Whether a command with this prompt runs on `server`.
    pub(crate) fn includes(self, server: Self) -> bool {
        self == Self::Both || self == server
    }
}

/// Takes a transcript apart. Remarks are lines that begin with `#` right before a command.
pub(crate) fn parse(text: &str) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut remarks = Vec::new();
    for line in text.lines() {
        let prompted = On::ALL
            .into_iter()
            .find_map(|on| Some((on, line.strip_prefix(on.prompt())?)));
        if let Some((on, command)) = prompted {
            entries.push(Entry {
                remarks: std::mem::take(&mut remarks),
                on,
                command: command.to_owned(),
                output: Vec::new(),
            });
        } else if line.starts_with('#') {
            remarks.push(line.to_owned());
        } else if let Some(entry) = entries.last_mut() {
            entry.output.push(line.to_owned());
        }
    }
    entries
}

/// The transcript of these entries.
pub(crate) fn write(entries: &[Entry]) -> String {
    let mut text = String::new();
    for entry in entries {
        for remark in &entry.remarks {
            let _ = writeln!(text, "{remark}");
        }
        let _ = writeln!(text, "{}{}", entry.on.prompt(), entry.command);
        for line in &entry.output {
            let _ = writeln!(text, "{line}");
        }
    }
    text
}

/// What a command printed, without what differs from run to run: UIDs, dates, resource versions,
/// ages, addresses of Services, and with these the width of columns.
pub(crate) fn normalize(output: &str, status: Option<i32>) -> Vec<String> {
    let mut lines: Vec<String> = output.lines().map(normal_line).collect();
    if status != Some(0) {
        lines.push(match status {
            Some(code) => format!("(exit {code})"),
            None => "(ended by a signal)".to_owned(),
        });
    }
    lines
}

fn normal_line(line: &str) -> String {
    let indent: String = line.chars().take_while(|c| *c == ' ').collect();
    let mut normal = indent;
    let mut blanks = 0;
    for word in line.trim().split(' ') {
        if word.is_empty() {
            blanks += 1;
            continue;
        }
        if !normal.trim().is_empty() {
            // Columns are as wide as what stands in them.
            normal.push_str(if blanks > 0 { "   " } else { " " });
        }
        blanks = 0;
        normal.push_str(&normal_word(word));
    }
    normal
}

fn normal_word(word: &str) -> String {
    let core = word.trim_matches(|c: char| "\",()'[]:;".contains(c));
    let known = if is_uid(core) {
        "<uid>"
    } else if is_date(core) {
        "<date>"
    } else if is_age(core) {
        "<age>"
    } else if core.starts_with("10.") && core.split('.').all(|part| part.parse::<u8>().is_ok()) {
        "<ip>"
    } else if core.len() > 1 && core.bytes().all(|byte| byte.is_ascii_digit()) && word.contains('"')
    {
        "<version>"
    } else {
        return word.to_owned();
    };
    word.replacen(core, known, 1)
}

fn is_uid(word: &str) -> bool {
    let lengths: Vec<usize> = word.split('-').map(str::len).collect();
    lengths == [8, 4, 4, 4, 12]
        && word
            .bytes()
            .all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

fn is_date(word: &str) -> bool {
    word.len() >= 20 && word.ends_with('Z') && word.parse::<jiff::Timestamp>().is_ok()
}

/// `5s`, `2m10s`, `3d4h`.
fn is_age(word: &str) -> bool {
    let units: String = word.chars().filter(|c| !c.is_ascii_digit()).collect();
    word.starts_with(|c: char| c.is_ascii_digit())
        && word.ends_with(|c: char| c.is_ascii_alphabetic())
        && matches!(units.as_str(), "s" | "m" | "h" | "d" | "ms" | "hm" | "dh")
        && !word.contains("ms")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transcript_is_what_was_written() {
        let text = "# one\n$ a b\nout\n\n  more\n(exit 1)\nreal$ c\n# two\nembedded$ d\nx\n";
        let entries = parse(text);
        assert_eq!(entries.len(), 3);
        assert_eq!(entries[0].output, ["out", "", "  more", "(exit 1)"]);
        assert_eq!(entries[1].on, On::Real);
        assert_eq!(entries[2].remarks, ["# two"]);
        assert_eq!(write(&entries), text);
        assert!(On::Both.includes(On::Real) && !On::Real.includes(On::Embedded));
    }

    #[test]
    fn what_differs_from_run_to_run_is_replaced() {
        let output = "NAME    AGE\nlong-name      2m5s\n  uid: 123e4567-e89b-12d3-a456-426614174000\n\
                      at: \"2026-11-21T12:00:00Z\"\n  resourceVersion: \"4711\"\nip 10.96.0.17 port 80\n\
                      ms 2ms v1 (x2 over 5s)";
        let expected = [
            "NAME   AGE",
            "long-name   <age>",
            "  uid: <uid>",
            "at: \"<date>\"",
            "  resourceVersion: \"<version>\"",
            "ip <ip> port 80",
            "ms 2ms v1 (x2 over <age>)",
            "(exit 3)",
        ];
        assert_eq!(normalize(output, Some(3)), expected);
    }
}
