//! The line that each poll is told by, written and read.
//!
//! `ok` or `failed`, then `key=value` words separated by single spaces. Values are bare words or
//! JSON strings; unknown keys are for later versions and are skipped when read.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use podcert_pki::Certificate;
use podcert_workload::Credential;

/// One poll.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Poll {
    /// Counts the polls of the process, from 1.
    pub(crate) number: u64,
    /// How many have failed so far, this one included.
    pub(crate) failures: u64,
    /// How it went.
    pub(crate) outcome: Outcome,
}

/// How a poll went.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    /// The server proved its name and answered with a 2xx status.
    Ok {
        /// The HTTP status.
        status: u16,
        /// The body, up to 1 MiB.
        body: String,
        /// The serial number of the certificate the server presented, in hex.
        serial: String,
        /// When that certificate ends.
        not_after: Timestamp,
        /// The names in it, as `DNS:<name>` and `URI:<uri>`.
        names: Vec<String>,
        /// The serial number of the client's own certificate, if it has one.
        own_serial: Option<String>,
    },
    /// Anything else.
    Failed {
        /// What went wrong, in words.
        error: String,
    },
}

/// A line that tells of no poll.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not the line of a poll: {0}")]
pub(crate) struct NotAPoll(&'static str);

impl Outcome {
    /// A success, with what the certificates say.
    pub(super) fn ok(
        status: u16,
        body: String,
        leaf: &Certificate,
        own: Option<&Credential>,
    ) -> Self {
        let dns = leaf.dns_names().map(|name| format!("DNS:{name}"));
        let uris = leaf.uris().map(|uri| format!("URI:{uri}"));
        Self::Ok {
            status,
            body,
            serial: hex(leaf.serial()),
            not_after: leaf.not_after(),
            // A name with white space or a comma is no name, and would break the line.
            names: dns.chain(uris).filter(|name| is_bare(name)).collect(),
            own_serial: own.map(|own| hex(own.bundle().chain().leaf().serial())),
        }
    }
}

impl fmt::Display for Poll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            number,
            failures,
            outcome,
        } = self;
        match outcome {
            Outcome::Ok {
                status,
                body,
                serial,
                not_after,
                names,
                own_serial,
            } => {
                write!(f, "ok poll={number} failures={failures} status={status} ")?;
                write!(
                    f,
                    "body={} serial={serial} not_after={not_after}",
                    json(body)
                )?;
                write!(f, " names={}", names.join(","))?;
                match own_serial {
                    Some(serial) => write!(f, " own_serial={serial}"),
                    None => Ok(()),
                }
            }
            Outcome::Failed { error } => {
                write!(
                    f,
                    "failed poll={number} failures={failures} error={}",
                    json(error)
                )
            }
        }
    }
}

impl FromStr for Poll {
    type Err = NotAPoll;

    fn from_str(line: &str) -> Result<Self, NotAPoll> {
        let (kind, rest) = line
            .trim_end()
            .split_once(' ')
            .ok_or(NotAPoll("it has no words"))?;
        let words = words(rest)?;
        let word = |key| words.get(key).ok_or(NotAPoll(key));
        let count = |key| word(key)?.parse::<u64>().map_err(|_| NotAPoll(key));
        let outcome = match kind {
            "ok" => Outcome::Ok {
                status: word("status")?.parse().map_err(|_| NotAPoll("status"))?,
                body: word("body")?.clone(),
                serial: word("serial")?.clone(),
                not_after: word("not_after")?
                    .parse()
                    .map_err(|_| NotAPoll("not_after"))?,
                names: word("names")?
                    .split(',')
                    .filter(|name| !name.is_empty())
                    .map(str::to_owned)
                    .collect(),
                own_serial: words.get("own_serial").cloned(),
            },
            "failed" => Outcome::Failed {
                error: word("error")?.clone(),
            },
            _ => return Err(NotAPoll("it begins with neither ok nor failed")),
        };
        Ok(Self {
            number: count("poll")?,
            failures: count("failures")?,
            outcome,
        })
    }
}

/// `key=value` words; a value that begins with a quote is a JSON string.
fn words(mut text: &str) -> Result<BTreeMap<&str, String>, NotAPoll> {
    let mut words = BTreeMap::new();
    while !text.is_empty() {
        let (key, rest) = text
            .split_once('=')
            .ok_or(NotAPoll("a word without a value"))?;
        let (value, rest) = if rest.starts_with('"') {
            let mut strings = serde_json::Deserializer::from_str(rest).into_iter::<String>();
            let value = strings
                .next()
                .and_then(Result::ok)
                .ok_or(NotAPoll("a broken string"))?;
            (value, rest.get(strings.byte_offset()..).unwrap_or_default())
        } else {
            let end = rest.find(' ').unwrap_or(rest.len());
            let (value, rest) = rest.split_at(end);
            (value.to_owned(), rest)
        };
        words.insert(key, value);
        text = rest.strip_prefix(' ').unwrap_or(rest);
    }
    Ok(words)
}

fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn is_bare(name: &str) -> bool {
    !name
        .chars()
        .any(|c| c.is_whitespace() || c.is_control() || c == ',')
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok(body: &str, own_serial: Option<&str>) -> Poll {
        Poll {
            number: 3,
            failures: 1,
            outcome: Outcome::Ok {
                status: 200,
                body: body.to_owned(),
                serial: "4f00".to_owned(),
                not_after: "2026-11-22T10:00:00Z".parse().unwrap(),
                names: vec![
                    "DNS:server.demo.svc".to_owned(),
                    "URI:spiffe://a/b".to_owned(),
                ],
                own_serial: own_serial.map(str::to_owned),
            },
        }
    }

    #[test]
    fn the_line_is_as_documented() {
        assert_eq!(
            ok("OK", None).to_string(),
            "ok poll=3 failures=1 status=200 body=\"OK\" serial=4f00 \
             not_after=2026-11-22T10:00:00Z names=DNS:server.demo.svc,URI:spiffe://a/b"
        );
    }

    #[test]
    fn a_line_is_read_back_as_it_was() {
        let nasty = "a \"b\" = c\n serial=5 \u{1b}[31m é ";
        let failed = Outcome::Failed {
            error: nasty.to_owned(),
        };
        for poll in [
            ok(nasty, None),
            ok("", Some("51")),
            Poll {
                number: 1,
                failures: 1,
                outcome: failed,
            },
        ] {
            let line = poll.to_string();
            assert!(!line.contains('\n') && !line.contains('\u{1b}'), "{line:?}");
            assert_eq!(line.parse::<Poll>(), Ok(poll));
        }
        let later = format!("{} new=1 more=\"2 3\"", ok("OK", None));
        assert_eq!(later.parse::<Poll>(), Ok(ok("OK", None)));
    }

    #[test]
    fn other_lines_are_not_polls() {
        for line in [
            "",
            "ok",
            "ok poll",
            "ok poll=1",
            "listening on 443",
            "failed poll=1 failures=x error=\"\"",
            "failed poll=1 failures=1 error=\"open",
        ] {
            assert!(line.parse::<Poll>().is_err(), "{line}");
        }
    }
}
