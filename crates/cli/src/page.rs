//! Text for people: colours, lines of at most 80 columns where words allow it, dates and distances.
//!
//! Names and messages come from others, so what a terminal would obey is escaped ([`clean`]).

use std::io::IsTerminal as _;

use jiff::Timestamp;
use podcert_pki::inspect::Severity;
use podcert_pki::inspect::describe;

/// Whether to use colours.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ink {
    /// On a terminal.
    Colours,
    /// In files and pipes, and where NO_COLOR is set.
    Plain,
}

impl Ink {
    /// What standard output takes.
    pub(crate) fn of_stdout() -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        if std::io::stdout().is_terminal() && !set("NO_COLOR") && !dumb {
            Self::Colours
        } else {
            Self::Plain
        }
    }

    /// The text in bold, or in a colour and bold.
    pub(crate) fn bold(self, colour: Option<Severity>, text: &str) -> String {
        let code = match colour {
            None => "1",
            Some(Severity::Warning) => "1;33",
            Some(Severity::Error) => "1;31",
        };
        match self {
            Self::Colours => format!("\x1b[{code}m{text}\x1b[0m"),
            Self::Plain => text.to_owned(),
        }
    }

    /// The text in green, for what is well.
    pub(crate) fn green(self, text: &str) -> String {
        match self {
            Self::Colours => format!("\x1b[32m{text}\x1b[0m"),
            Self::Plain => text.to_owned(),
        }
    }
}

/// The text broken into lines at its blanks, the lines after the first indented.
pub(crate) fn wrapped(text: &str, indent: usize) -> String {
    let mut lines = String::new();
    let mut column = indent;
    for word in text.split_whitespace() {
        let width = word.chars().count();
        if column > indent && column + 1 + width > COLUMNS {
            lines.push('\n');
            lines.push_str(&" ".repeat(indent));
            column = indent;
        } else if column > indent {
            lines.push(' ');
            column += 1;
        }
        lines.push_str(word);
        column += width;
    }
    lines
}

/// The text with everything escaped that a terminal would not just show.
pub(crate) fn clean(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let escaped = is_hidden(c).then(|| c.escape_unicode());
            let plain = escaped.is_none().then_some(c);
            escaped.into_iter().flatten().chain(plain)
        })
        .collect()
}

/// Whether a terminal would do something else than to show `c`: obey it, or turn the text around it.
pub(crate) fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// A date as people read it.
pub(crate) fn date(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// How far away a date is: `3 h ago`, `in 21 h`.
pub(crate) fn distance(at: Timestamp, date: Timestamp) -> String {
    let span = describe::span(at, date);
    if date.as_second() < at.as_second() {
        format!("{span} ago")
    } else {
        format!("in {span}")
    }
}

/// The width of a page.
const COLUMNS: usize = 80;
