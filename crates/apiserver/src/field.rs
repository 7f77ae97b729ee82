//! Errors of single fields, after `apimachinery/pkg/util/validation/field`.
//!
//! Rules collect [`FieldError`]s; [`crate::status::Failure::invalid`] turns a list of them into one
//! `422 Invalid`. The text of each error is the real server's, so that a message read in a log here
//! can be searched for there.

use std::fmt;

/// What is wrong with a field: decides the cause's reason and the first words of its message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum FieldErrorKind {
    Duplicate,
    Forbidden,
    Invalid,
    NotFound,
    NotSupported,
    Required,
    TooLong,
}

impl FieldErrorKind {
    /// The cause's `reason`.
    pub(crate) fn cause(self) -> &'static str {
        match self {
            Self::Duplicate => "FieldValueDuplicate",
            Self::Forbidden => "FieldValueForbidden",
            Self::Invalid => "FieldValueInvalid",
            Self::NotFound => "FieldValueNotFound",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Required => "FieldValueRequired",
            Self::TooLong => "FieldValueTooLong",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Duplicate => "Duplicate value",
            Self::Forbidden => "Forbidden",
            Self::Invalid => "Invalid value",
            Self::NotFound => "Not found",
            Self::NotSupported => "Unsupported value",
            Self::Required => "Required value",
            Self::TooLong => "Too long",
        }
    }
}

/// One field's error.
#[derive(Clone, Debug)]
pub(crate) struct FieldError {
    pub(crate) kind: FieldErrorKind,
    pub(crate) field: String,
    /// The offending value as the message shows it, already quoted where it is a string.
    shown: Option<String>,
    detail: String,
}

impl FieldError {
    /// A malformed value that the message repeats, as a quoted string.
    pub(crate) fn invalid(field: &str, value: &str, detail: impl Into<String>) -> Self {
        Self::with_value(FieldErrorKind::Invalid, field, quote(value), detail)
    }

    /// A malformed value whose text is shown without quotes: numbers and JSON.
    pub(crate) fn invalid_raw(
        field: &str,
        value: impl fmt::Display,
        detail: impl Into<String>,
    ) -> Self {
        Self::with_value(FieldErrorKind::Invalid, field, value.to_string(), detail)
    }

    /// A malformed value that the message does not repeat.
    pub(crate) fn invalid_omitted(field: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: FieldErrorKind::Invalid,
            field: field.to_owned(),
            shown: None,
            detail: detail.into(),
        }
    }

    pub(crate) fn required(field: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: FieldErrorKind::Required,
            field: field.to_owned(),
            shown: None,
            detail: detail.into(),
        }
    }

    pub(crate) fn forbidden(field: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: FieldErrorKind::Forbidden,
            field: field.to_owned(),
            shown: None,
            detail: detail.into(),
        }
    }

    pub(crate) fn duplicate(field: &str, value: &str) -> Self {
        Self::with_value(FieldErrorKind::Duplicate, field, quote(value), "")
    }

    /// A name of what is not there.
    pub(crate) fn not_found(field: &str, value: &str) -> Self {
        Self::with_value(FieldErrorKind::NotFound, field, quote(value), "")
    }

    pub(crate) fn too_long(field: &str, limit: usize) -> Self {
        Self {
            kind: FieldErrorKind::TooLong,
            field: field.to_owned(),
            shown: None,
            detail: format!("may not be more than {limit} bytes"),
        }
    }

    pub(crate) fn not_supported(field: &str, value: &str, supported: &[&str]) -> Self {
        Self::not_supported_raw(field, quote(value), supported)
    }

    /// As [`FieldError::not_supported`], with a value shown as it is: a list.
    pub(crate) fn not_supported_raw(field: &str, shown: String, supported: &[&str]) -> Self {
        let list: Vec<String> = supported.iter().map(|value| quote(value)).collect();
        Self::with_value(
            FieldErrorKind::NotSupported,
            field,
            shown,
            format!("supported values: {}", list.join(", ")),
        )
    }

    fn with_value(
        kind: FieldErrorKind,
        field: &str,
        shown: String,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            field: field.to_owned(),
            shown: Some(shown),
            detail: detail.into(),
        }
    }

    /// The message without the field's path, as it stands in a cause.
    pub(crate) fn body(&self) -> String {
        let mut text = self.kind.words().to_owned();
        if let Some(shown) = &self.shown {
            text.push_str(": ");
            text.push_str(shown);
        }
        if !self.detail.is_empty() {
            text.push_str(": ");
            text.push_str(&self.detail);
        }
        text
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body())
    }
}

/// Go's `%q` for the texts that occur here.
fn quote(value: &str) -> String {
    format!("{value:?}")
}
