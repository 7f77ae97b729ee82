//! Templates of SPIFFE ID paths.
//!
//! A template is a path, `/ns/{namespace}/sa/{service-account}`, in which a whole segment may be a
//! variable. Whole segments only: with `/{namespace}-{service-account}` the service account `b-c` of
//! namespace `a` and `c` of `a-b` would share an ID. What tells one holder of an ID from another must
//! appear, for the same reason: namespace and service account where an ID is an account's, the
//! pod's UID where it is a pod's. The characters of a Kubernetes name never include `/`, so two
//! holders never meet in one ID.
//!
//! Which variables there are is said by a [`Vocabulary`], one for each signer that has templates.

use std::fmt;

use podcert_pki::TrustDomain;

/// What the segments of a template can stand for.
pub(crate) trait Vocabulary: Copy + Eq + 'static {
    /// All of them.
    const ALL: &'static [Self];
    /// Those without which two holders would share an ID.
    const REQUIRED: &'static [Self];

    /// As it stands in braces.
    fn name(self) -> &'static str;

    /// How long its value can be, in bytes.
    fn max_len(self) -> usize;
}

/// The path of SPIFFE IDs, with variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template<V> {
    segments: Vec<Segment<V>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment<V> {
    Literal(String),
    Variable(V),
}

impl<V: Vocabulary> Template<V> {
    /// Reads a template.
    pub(crate) fn parse(template: &str) -> Result<Self, TemplateError> {
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
        let template = Self { segments };
        match V::REQUIRED
            .iter()
            .find(|variable| !template.has(**variable))
        {
            Some(missing) => Err(TemplateError::MissingVariable {
                variable: missing.name(),
            }),
            None => Ok(template),
        }
    }

    /// One of pairs: a literal and the variable after it.
    pub(crate) fn of_pairs(pairs: &[(&str, V)]) -> Self {
        let segments = pairs.iter().flat_map(|(literal, variable)| {
            [
                Segment::Literal((*literal).to_owned()),
                Segment::Variable(*variable),
            ]
        });
        Self {
            segments: segments.collect(),
        }
    }

    /// Whether a variable stands in it.
    pub(crate) fn has(&self, variable: V) -> bool {
        self.segments.contains(&Segment::Variable(variable))
    }

    /// The path with these values. It begins with `/`.
    ///
    /// # Errors
    /// A value with a slash: it would be two segments, and two holders could share an ID.
    pub(crate) fn path<'a>(
        &'a self,
        value_of: impl Fn(V) -> &'a str,
    ) -> Result<String, ValueWithSlash> {
        let mut path = String::new();
        for segment in &self.segments {
            path.push('/');
            match segment {
                Segment::Literal(literal) => path.push_str(literal),
                Segment::Variable(variable) => {
                    let value = value_of(*variable);
                    if value.contains('/') {
                        return Err(ValueWithSlash);
                    }
                    path.push_str(value);
                }
            }
        }
        Ok(path)
    }

    /// # Errors
    /// [`TemplateError::TooLong`] if an ID of this trust domain could exceed the 2 048 bytes of
    /// SPIFFE-ID 2.3.
    pub(crate) fn check_length(&self, trust_domain: &TrustDomain) -> Result<(), TemplateError> {
        let longest = "spiffe://".len() + trust_domain.as_str().len() + self.max_path_len();
        if longest > MAX_ID_LEN {
            return Err(TemplateError::TooLong { longest });
        }
        Ok(())
    }

    fn max_path_len(&self) -> usize {
        let max_len = |segment: &Segment<V>| match segment {
            Segment::Literal(literal) => literal.len(),
            Segment::Variable(variable) => variable.max_len(),
        };
        self.segments
            .iter()
            .map(|segment| max_len(segment) + 1)
            .sum()
    }
}

impl<V: Vocabulary> fmt::Display for Template<V> {
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

/// A value that is no segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a name holds a slash")]
pub(crate) struct ValueWithSlash;

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
    #[error("SPIFFE ID template has the unknown variable {segment:?}; there are {known}")]
    UnknownVariable {
        /// The segment.
        segment: String,
        /// What there is.
        known: String,
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

fn parse_segment<V: Vocabulary>(text: &str) -> Result<Segment<V>, TemplateError> {
    let segment = || text.to_owned();
    let has_brace = |text: &str| text.contains(['{', '}']);
    match text
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'))
    {
        Some(name) if !has_brace(name) => {
            let variable = V::ALL.iter().find(|variable| variable.name() == name);
            return variable
                .map(|variable| Segment::Variable(*variable))
                .ok_or_else(|| TemplateError::UnknownVariable {
                    segment: segment(),
                    known: known::<V>(),
                });
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

/// `{namespace}, {service-account}`.
fn known<V: Vocabulary>() -> String {
    let names: Vec<String> = V::ALL
        .iter()
        .map(|variable| format!("{{{}}}", variable.name()))
        .collect();
    names.join(", ")
}

/// What implementations must support, and none should exceed.
const MAX_ID_LEN: usize = 2048;
