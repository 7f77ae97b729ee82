//! Templates of SPIFFE ID paths.
//!
//! A template is a path, `/ns/{namespace}/sa/{service-account}`, in which a whole segment may be a
//! variable. Whole segments only: with `/{namespace}-{service-account}` the service account `b-c` of
//! namespace `a` and `c` of `a-b` would share an ID. Namespace and service account must both appear,
//! for the same reason. The characters of a Kubernetes name never include `/`, so two service
//! accounts never meet in one ID.

use std::fmt;
use std::str::FromStr;

/// The path of SPIFFE IDs, with variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdTemplate {
    segments: Vec<Segment>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Literal(String),
    Variable(Variable),
}

impl Segment {
    fn value<'a>(&'a self, namespace: &'a str, service_account: &'a str) -> &'a str {
        match self {
            Self::Literal(literal) => literal,
            Self::Variable(Variable::Namespace) => namespace,
            Self::Variable(Variable::ServiceAccount) => service_account,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Variable {
    Namespace,
    ServiceAccount,
}

impl Variable {
    const ALL: [Self; 2] = [Self::Namespace, Self::ServiceAccount];

    fn name(self) -> &'static str {
        match self {
            Self::Namespace => "namespace",
            Self::ServiceAccount => "service-account",
        }
    }

    /// How long its value can be: a DNS label, and a DNS subdomain.
    fn max_len(self) -> usize {
        match self {
            Self::Namespace => 63,
            Self::ServiceAccount => 253,
        }
    }
}

impl IdTemplate {
    /// The path of one service account. It begins with `/`.
    pub(crate) fn path(&self, namespace: &str, service_account: &str) -> String {
        let values = || {
            self.segments
                .iter()
                .map(|segment| segment.value(namespace, service_account))
        };
        let mut path = String::with_capacity(values().map(|value| value.len() + 1).sum());
        for value in values() {
            path.push('/');
            path.push_str(value);
        }
        path
    }

    /// How long a path can get.
    pub(crate) fn max_path_len(&self) -> usize {
        let max_len = |segment: &Segment| match segment {
            Segment::Literal(literal) => literal.len(),
            Segment::Variable(variable) => variable.max_len(),
        };
        self.segments
            .iter()
            .map(|segment| max_len(segment) + 1)
            .sum()
    }
}

impl Default for IdTemplate {
    /// `/ns/{namespace}/sa/{service-account}`: what Istio, SPIRE and meshtool use.
    fn default() -> Self {
        let literal = |text: &str| Segment::Literal(text.to_owned());
        Self {
            segments: vec![
                literal("ns"),
                Segment::Variable(Variable::Namespace),
                literal("sa"),
                Segment::Variable(Variable::ServiceAccount),
            ],
        }
    }
}

impl FromStr for IdTemplate {
    type Err = TemplateError;

    fn from_str(template: &str) -> Result<Self, TemplateError> {
        let Some(path) = template.strip_prefix('/') else {
            return Err(TemplateError::NotAPath {
                template: template.to_owned(),
            });
        };
        let mut segments = Vec::new();
        for text in path.split('/') {
            let segment = parse_segment(text)?;
            if matches!(segment, Segment::Variable(_)) && segments.contains(&segment) {
                return Err(TemplateError::RepeatedVariable {
                    segment: text.to_owned(),
                });
            }
            segments.push(segment);
        }
        for variable in Variable::ALL {
            if !segments.contains(&Segment::Variable(variable)) {
                return Err(TemplateError::MissingVariable {
                    variable: variable.name(),
                });
            }
        }
        Ok(Self { segments })
    }
}

impl fmt::Display for IdTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for segment in &self.segments {
            match segment {
                Segment::Literal(literal) => write!(f, "/{literal}")?,
                Segment::Variable(variable) => write!(f, "/{{{}}}", variable.name())?,
            }
        }
        Ok(())
    }
}

/// Why a text is no template of SPIFFE IDs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// Without `/` at the beginning.
    #[error("SPIFFE ID template {template:?} must begin with '/'")]
    NotAPath {
        /// The text.
        template: String,
    },
    /// `{...}` with an unknown name inside.
    #[error(
        "SPIFFE ID template has the unknown variable {segment:?}; there are {{namespace}} and \
         {{service-account}}"
    )]
    UnknownVariable {
        /// The segment.
        segment: String,
    },
    /// A variable that is only part of a segment.
    #[error("SPIFFE ID template segment {segment:?} must be a whole variable or hold none")]
    PartialVariable {
        /// The segment.
        segment: String,
    },
    /// A variable that appears twice.
    #[error("SPIFFE ID template has {segment:?} twice")]
    RepeatedVariable {
        /// The segment.
        segment: String,
    },
    /// A variable that must appear and does not.
    #[error("SPIFFE ID template must hold the segment {{{variable}}}")]
    MissingVariable {
        /// Its name.
        variable: &'static str,
    },
    /// A segment SPIFFE-ID 2.2 forbids: empty, `.`, `..`, or with characters other than letters,
    /// digits, `.`, `-`, `_`.
    #[error(
        "SPIFFE ID template segment {segment:?} must be letters, digits, '.', '-' and '_', and not \
         empty, '.' or '..'"
    )]
    IllegalSegment {
        /// The segment.
        segment: String,
    },
    /// IDs could outgrow the limit.
    #[error("SPIFFE IDs could be {longest} bytes long with this template, 2048 are allowed")]
    TooLong {
        /// How long they could be.
        longest: usize,
    },
}

fn parse_segment(text: &str) -> Result<Segment, TemplateError> {
    let segment = || text.to_owned();
    let has_brace = |text: &str| text.contains(['{', '}']);
    match text
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'))
    {
        Some(name) if !has_brace(name) => {
            let variable = Variable::ALL
                .into_iter()
                .find(|variable| variable.name() == name);
            return variable
                .map(Segment::Variable)
                .ok_or_else(|| TemplateError::UnknownVariable { segment: segment() });
        }
        _ if has_brace(text) => {
            return Err(TemplateError::PartialVariable { segment: segment() });
        }
        _ => {}
    }
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    if text.is_empty() || text == "." || text == ".." || !text.bytes().all(legal) {
        return Err(TemplateError::IllegalSegment { segment: segment() });
    }
    Ok(Segment::Literal(segment()))
}
