//! Which names in certificates Go's libraries take: e-mail addresses (`net/mail`) and URIs
//! (`net/url`, as `crypto/x509` uses it). Names are ASCII by now.

/// An address as `mail.ParseAddress` reads it: RFC 5322's `mailbox`, with comments. Its groups of
/// one are left out: nobody is called so.
pub(super) fn is_mailbox(text: &str) -> bool {
    let text = spaces(text);
    let rest = match address(text) {
        Some(rest) => rest,
        None => match phrase(text).and_then(|rest| rest.strip_prefix('<')) {
            Some(rest) => match address(rest).and_then(|rest| rest.strip_prefix('>')) {
                Some(rest) => rest,
                None => return false,
            },
            None => return false,
        },
    };
    comments(rest) == Some("")
}

/// What follows `local@domain`.
fn address(text: &str) -> Option<&str> {
    let text = spaces(text);
    let rest = match text.strip_prefix('"') {
        // An empty quoted string is no mailbox.
        Some(quoted) if !quoted.starts_with('"') => quoted_string(quoted)?,
        Some(_) => return None,
        None => dotted(text)?,
    };
    let domain = spaces(rest.strip_prefix('@')?);
    match domain.strip_prefix('[') {
        Some(literal) => {
            let (address, rest) = literal.split_once(']')?;
            address.parse::<std::net::IpAddr>().ok()?;
            Some(rest)
        }
        None => dotted(domain),
    }
}

/// What follows the words before an address in angle brackets; there may be none.
fn phrase(text: &str) -> Option<&str> {
    let mut rest = text;
    loop {
        let next = spaces(rest);
        let after = match next.strip_prefix('"') {
            Some(quoted) => quoted_string(quoted)?,
            None => atom(next),
        };
        if after.len() == next.len() {
            return Some(next);
        }
        rest = comments(after)?;
    }
}

/// What follows a quoted string whose opening quote is gone.
fn quoted_string(text: &str) -> Option<&str> {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'"' if !escaped => return text.get(at + 1..),
            b'\\' if !escaped => escaped = true,
            b'\t' | b' '..=b'~' => escaped = false,
            _ => return None,
        }
    }
    None
}

/// What follows atoms joined by single dots.
fn dotted(text: &str) -> Option<&str> {
    let rest = atom(text);
    let atoms = text.get(..text.len() - rest.len())?;
    (!atoms.is_empty() && atoms.split('.').all(|atom| !atom.is_empty())).then_some(rest)
}

/// What follows an atom with dots anywhere; all of the text if there is none.
fn atom(text: &str) -> &str {
    let is_part = |c: char| c.is_ascii_graphic() && !"()<>[]:;@\\,\"".contains(c);
    text.trim_start_matches(is_part)
}

/// What follows comments in brackets, and the spaces around them.
fn comments(text: &str) -> Option<&str> {
    let mut rest = spaces(text);
    while let Some(comment) = rest.strip_prefix('(') {
        let mut depth = 1;
        let mut escaped = false;
        let end = comment.bytes().position(|byte| {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'(' => depth += 1,
                b')' => depth -= 1,
                _ => {}
            }
            depth == 0
        })?;
        rest = spaces(comment.get(end + 1..)?);
    }
    Some(rest)
}

fn spaces(text: &str) -> &str {
    text.trim_start_matches([' ', '\t'])
}

/// A URI that `url.Parse` reads and whose host, if it has one, is of non-empty labels.
pub(super) fn is_uri(text: &str) -> bool {
    if text.bytes().any(|byte| byte.is_ascii_control()) {
        return false;
    }
    let (text, fragment) = text.split_once('#').unwrap_or((text, ""));
    let Some((scheme, rest)) = scheme(text) else {
        return false;
    };
    let rest = rest.split('?').next().unwrap_or_default();
    if !is_escaped(fragment) {
        return false;
    }
    if !rest.starts_with('/') {
        // Opaque, or a relative path, whose first segment could be taken for a scheme.
        let first = rest.split('/').next().unwrap_or_default();
        return !scheme.is_empty() || (!first.contains(':') && is_escaped(rest));
    }
    let rooted = scheme.is_empty() && rest.starts_with("///");
    let Some(authority) = rest.strip_prefix("//").filter(|_| !rooted) else {
        return is_escaped(rest);
    };
    let end = authority.find('/').unwrap_or(authority.len());
    let (authority, path) = authority.split_at(end);
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let is_user = user
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "-._:~!$&'()*+,;=%@".contains(c));
    is_user && is_escaped(user) && is_escaped(path) && is_host(host)
}

/// Scheme (maybe none) and what follows it; `None` for a colon with nothing before it.
fn scheme(text: &str) -> Option<(&str, &str)> {
    for (at, c) in text.char_indices() {
        match c {
            'a'..='z' | 'A'..='Z' => {}
            '0'..='9' | '+' | '-' | '.' if at > 0 => {}
            ':' if at > 0 => return Some((text.get(..at)?, text.get(at + 1..)?)),
            ':' => return None,
            _ => break,
        }
    }
    Some(("", text))
}

fn is_host(host: &str) -> bool {
    let port = if host.starts_with('[') {
        match host.rsplit_once(']') {
            Some((_, port)) => port,
            None => return false,
        }
    } else {
        host.rfind(':')
            .and_then(|at| host.get(at..))
            .unwrap_or_default()
    };
    let is_port = port.is_empty()
        || port
            .strip_prefix(':')
            .is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
    let legal = host
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "-_.~!$&'()*+,;=:[]<>\"".contains(c));
    is_port && legal && (host.is_empty() || host.split('.').all(|label| !label.is_empty()))
}

/// Whether each `%` is followed by two hexadecimal digits.
fn is_escaped(text: &str) -> bool {
    text.split('%').skip(1).all(|rest| {
        rest.get(..2)
            .is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mailboxes_are_what_go_takes_for_them() {
        for good in [
            "a@b",
            " a@b ",
            "a.b+c@d.e",
            "A <a@b>",
            "<a@b>",
            "A. B. <a@b>",
            "\"a b\"@c",
            "\"a \\\" b\" <a@b>",
            "a@b (comment (nested) \\) here)",
            "a@[127.0.0.1]",
            "a@ b",
        ] {
            assert!(is_mailbox(good), "{good}");
        }
        for bad in [
            "",
            "a",
            "@b",
            "a@",
            "a@b@c",
            "a b@c",
            "a..b@c",
            ".a@b",
            "a.@b",
            "a@b..c",
            "a@.b",
            "a@b.",
            "a@b, c@d",
            "a <b",
            "a <b@c",
            "\"\"@a",
            "\"a@b",
            "a@[b]",
            "a@[::1",
            "a@b (c",
            "a@b c",
            "a <b@c> d",
            "a(c)@b",
        ] {
            assert!(!is_mailbox(bad), "{bad}");
        }
    }

    #[test]
    fn uris_are_what_go_takes_for_them() {
        for good in [
            "",
            "spiffe://example.com/ns/a/sa/b",
            "spiffe://td",
            "https://user:secret@example.com:8080/a%20b?c=%zz#d",
            "https://[::1]:80/",
            "urn:a:b",
            "mailto:a@b",
            "/a/b",
            "a/b:c",
            "//host/a",
            "x:///a",
        ] {
            assert!(is_uri(good), "{good}");
        }
        for bad in [
            ":a",
            "1a:b",
            "a://[",
            "a://[::1",
            "a://a..b/c",
            "a://a./c",
            "a://.a",
            "a://a b",
            "a://b:port",
            "a:/%zz",
            "a://b/%2",
            "a\nb",
            "a://us er@b",
        ] {
            assert!(!is_uri(bad), "{bad}");
        }
    }
}
