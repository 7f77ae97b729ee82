//! What was found, for people: plain text of at most 80 columns where words allow it.
//!
//! Names come from whoever made the certificate, so what a terminal would obey is escaped.

use std::fmt::Write as _;
use std::io::IsTerminal as _;

use jiff::Timestamp;
use podcert_pki::Certificate;
use podcert_pki::inspect::{Finding, Kind, Severity, describe};

use super::source::Item;

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

/// Everything, one item after the other.
pub(super) fn page(items: &[Item], at: Timestamp, ink: Ink) -> String {
    let pages: Vec<String> = items.iter().map(|item| of_item(item, at, ink)).collect();
    pages.join("\n")
}

fn of_item(item: &Item, at: Timestamp, ink: Ink) -> String {
    let found = &item.inspection;
    let count = found.certificates.len();
    let name = item.name.as_ref().map(|name| format!(", {name}"));
    let source = match item.source.as_str() {
        "-" => "standard input",
        source => source,
    };
    let kind = words_for(found.kind);
    let mut title = format!("{source}{}: {kind}", name.unwrap_or_default());
    if count != 1 || found.kind != Kind::Certificate {
        let _ = write!(
            title,
            ", {count} certificate{}",
            if count == 1 { "" } else { "s" }
        );
    }
    let mut page = format!("{}\n", ink.bold(None, &wrapped(&clean(&title), 0)));
    if let Some(key) = &found.private_key {
        let whose = match key.matches_leaf {
            Some(true) => ", the key of certificate 1",
            Some(false) => ", not the key of certificate 1",
            None => "",
        };
        row(
            &mut page,
            "private key",
            &format!("{}{whose}", key.key_type),
        );
    }
    for (number, certificate) in (1..).zip(&found.certificates) {
        page.push('\n');
        let title = format!(
            "certificate {number}: {} {}",
            role(certificate),
            shown_name(certificate)
        );
        let _ = writeln!(page, "  {}", ink.bold(None, &wrapped(&clean(&title), 2)));
        let refresh = item.refresh_at.filter(|_| number == 1);
        of_certificate(&mut page, certificate, &found.certificates, refresh, at);
    }
    page.push('\n');
    if found.findings.is_empty() {
        let _ = writeln!(page, "  {}", ink.green("nothing wrong"));
    }
    for finding in &found.findings {
        of_finding(&mut page, finding, ink);
    }
    page
}

fn of_certificate(
    page: &mut String,
    certificate: &Certificate,
    all: &[Certificate],
    refresh: Option<Timestamp>,
    at: Timestamp,
) {
    let issuer = if certificate.names_issuer_of(certificate) {
        "itself".to_owned()
    } else {
        let known = all.iter().position(|c| c.names_issuer_of(certificate));
        let number = known.map(|index| format!(", certificate {}", index + 1));
        format!("{}{}", certificate.issuer(), number.unwrap_or_default())
    };
    row(page, "subject", &certificate.subject().to_string());
    row(page, "issued by", &issuer);
    let (from, to) = (certificate.not_before(), certificate.not_after());
    row(
        page,
        "valid from",
        &format!("{}, {}", date(from), distance(at, from)),
    );
    row(
        page,
        "expires",
        &format!("{}, {}", date(to), distance(at, to)),
    );
    if let Some(refresh) = refresh {
        let words = format!("{}, {}", date(refresh), distance(at, refresh));
        row(page, "refresh", &words);
    } else if !certificate.is_ca()
        && let Ok(half) = Timestamp::from_second((from.as_second() + to.as_second()) / 2)
    {
        row(
            page,
            "half-life",
            &format!("{}, {}", date(half), distance(at, half)),
        );
    }
    row(page, "key", &describe::key_type(certificate));
    row(
        page,
        "signature",
        &describe::signature_algorithm(certificate),
    );
    row(page, "serial", &describe::hex(certificate.serial()));
    row(page, "sha256", &describe::fingerprint(certificate));
    for extension in describe::extensions(certificate) {
        let critical = if extension.critical { ", critical" } else { "" };
        let words = extension.words.join(", ");
        row(
            page,
            "extension",
            &format!("{}{critical}: {words}", extension.label()),
        );
    }
}

fn of_finding(page: &mut String, finding: &Finding, ink: Ink) {
    let severity = finding.check.severity();
    let place = match finding.certificate {
        Some(number) => format!("certificate {number}: "),
        None => String::new(),
    };
    let _ = writeln!(
        page,
        "  {}{} {}",
        ink.bold(Some(severity), severity.as_str()),
        " ".repeat(LABEL - 1 - severity.as_str().len()),
        ink.bold(None, finding.check.as_str()),
    );
    row(page, "", &format!("{place}{}", finding.message));
    row(page, "", &format!("-> {}", finding.check.cure()));
}

fn row(page: &mut String, label: &str, words: &str) {
    let indent = LABEL + 2;
    let _ = writeln!(page, "  {label:LABEL$}{}", wrapped(&clean(words), indent));
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
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    text.chars()
        .flat_map(|c| {
            let escaped = hidden(c).then(|| c.escape_unicode());
            let plain = escaped.is_none().then_some(c);
            escaped.into_iter().flatten().chain(plain)
        })
        .collect()
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

fn words_for(kind: Kind) -> &'static str {
    match kind {
        Kind::Certificate => "certificate",
        Kind::Chain => "chain",
        Kind::CredentialBundle => "credential bundle",
        Kind::TrustBundle => "trust bundle",
        Kind::Authority => "CA",
    }
}

fn role(certificate: &Certificate) -> &'static str {
    match (certificate.is_ca(), certificate.is_self_issued()) {
        (true, true) => "root",
        (true, false) => "intermediate",
        (false, _) => "leaf",
    }
}

/// The name people know it by.
fn shown_name(certificate: &Certificate) -> String {
    let name = certificate.uris().chain(certificate.dns_names()).next();
    let more = certificate.uris().chain(certificate.dns_names()).count();
    match (name, more) {
        (Some(name), 0..2) => name.to_owned(),
        (Some(name), more) => format!("{name} and {} more", more - 1),
        (None, _) => certificate.subject().to_string(),
    }
}

/// The width of the labels.
const LABEL: usize = 12;
/// The width of a page.
const COLUMNS: usize = 80;
