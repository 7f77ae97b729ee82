//! Label and field selectors: their grammar, and whether an object matches.
//!
//! Labels follow `apimachinery/pkg/labels`: `a=b`, `a==b`, `a!=b`, `a in (x,y)`, `a notin (x)`,
//! `a`, `!a`, `a>1`, `a<1`, joined by commas. `!=` and `notin` also match objects without the
//! label. Fields know only `=`, `==` and `!=`, and only the paths a kind lists.

use serde_json::Value;

use crate::kinds::Kind;
use crate::object::{at, text};
use crate::status::Failure;
use crate::store::{Filter, Stored};

/// What a list or watch asks for: a namespace (or all) and both selectors.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selection {
    pub(crate) namespace: String,
    pub(crate) labels: LabelSelector,
    pub(crate) fields: FieldSelector,
}

impl Selection {
    /// Whether anything but the namespace restricts the selection.
    pub(crate) fn is_partial(&self) -> bool {
        !self.labels.0.is_empty() || !self.fields.0.is_empty()
    }
}

impl Filter for Selection {
    fn namespace(&self) -> &str {
        &self.namespace
    }

    fn matches(&self, object: &Stored) -> bool {
        (self.namespace.is_empty() || object.key.namespace == self.namespace)
            && self.labels.matches(&object.value)
            && self.fields.matches(object)
    }
}

/// A parsed label selector; empty matches everything.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct LabelSelector(Vec<Requirement>);

#[derive(Clone, Debug, Eq, PartialEq)]
struct Requirement {
    key: String,
    operator: Operator,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Operator {
    Absent,
    Exists,
    GreaterThan(i64),
    In(Vec<String>),
    LessThan(i64),
    NotIn(Vec<String>),
}

impl LabelSelector {
    /// Parses a `labelSelector` parameter.
    pub(crate) fn parse(input: &str) -> Result<Self, Failure> {
        parse_labels(input).map(Self).map_err(Failure::bad_request)
    }

    pub(crate) fn matches(&self, object: &Value) -> bool {
        if self.0.is_empty() {
            return true;
        }
        let labels = at(object, &["metadata", "labels"]);
        self.0.iter().all(|requirement| {
            let value = labels
                .and_then(|labels| labels.get(&requirement.key))
                .and_then(Value::as_str);
            match (&requirement.operator, value) {
                (Operator::Absent, value) => value.is_none(),
                (Operator::Exists, value) => value.is_some(),
                (Operator::In(values), Some(value)) => values.iter().any(|wanted| wanted == value),
                (Operator::NotIn(values), Some(value)) => {
                    values.iter().all(|unwanted| unwanted != value)
                }
                (Operator::NotIn(_), None) => true,
                (Operator::GreaterThan(bound), Some(value)) => {
                    value.parse::<i64>().is_ok_and(|value| value > *bound)
                }
                (Operator::LessThan(bound), Some(value)) => {
                    value.parse::<i64>().is_ok_and(|value| value < *bound)
                }
                (Operator::In(_) | Operator::GreaterThan(_) | Operator::LessThan(_), None) => false,
            }
        })
    }
}

fn parse_labels(input: &str) -> Result<Vec<Requirement>, String> {
    let mut tokens = Lexer::new(input);
    let mut requirements = Vec::new();
    if tokens.peek() == Token::End {
        return Ok(requirements);
    }
    loop {
        // What cannot begin a requirement is an error of the list of them.
        if !matches!(tokens.peek(), Token::Word(_) | Token::Not) {
            return Err(format!(
                "found '{}', expected: !, identifier, or 'end of string'",
                tokens.peek()
            ));
        }
        requirements.push(
            parse_requirement(&mut tokens)
                .map_err(|why| format!("unable to parse requirement: {why}"))?,
        );
        match tokens.next() {
            Token::End => return Ok(requirements),
            Token::Comma => {
                if !matches!(tokens.peek(), Token::Word(_) | Token::Not) {
                    return Err(format!(
                        "found '{}', expected: identifier after ','",
                        tokens.peek()
                    ));
                }
            }
            other => return Err(format!("found '{other}', expected: ',' or 'end of string'")),
        }
    }
}

fn parse_requirement(tokens: &mut Lexer<'_>) -> Result<Requirement, String> {
    let (key, negated) = match tokens.next() {
        Token::Not => match tokens.next() {
            Token::Word(key) => (key, true),
            other => return Err(format!("found '{other}', expected: identifier")),
        },
        Token::Word(key) => (key, false),
        other => {
            return Err(format!(
                "found '{other}', expected: !, identifier, or 'end of string'"
            ));
        }
    };
    let complaints = crate::strategy::names::label_key(&key);
    if !complaints.is_empty() {
        return Err(format!(
            "<nil>: Invalid value: {key:?}: {}",
            complaints.join("; ")
        ));
    }
    let requirement = |operator| Requirement {
        key: key.clone(),
        operator,
    };
    if negated {
        return Ok(requirement(Operator::Absent));
    }
    if matches!(tokens.peek(), Token::End | Token::Comma) {
        return Ok(requirement(Operator::Exists));
    }
    let operator = match tokens.next() {
        Token::Equal => Operator::In(vec![parse_value(tokens, &key)?]),
        Token::NotEqual => Operator::NotIn(vec![parse_value(tokens, &key)?]),
        Token::Greater => Operator::GreaterThan(parse_number(tokens, &key)?),
        Token::Less => Operator::LessThan(parse_number(tokens, &key)?),
        Token::Word(word) if word == "in" => Operator::In(parse_set(tokens, &key)?),
        Token::Word(word) if word == "notin" => Operator::NotIn(parse_set(tokens, &key)?),
        other => {
            return Err(format!(
                "found '{other}', expected: in, notin, =, ==, !=, gt, lt"
            ));
        }
    };
    Ok(requirement(operator))
}

/// A single value; nothing at all is the empty value.
fn parse_value(tokens: &mut Lexer<'_>, key: &str) -> Result<String, String> {
    match tokens.peek() {
        Token::Comma | Token::End => Ok(String::new()),
        _ => match tokens.next() {
            Token::Word(value) => checked_value(key, 0, value),
            other => Err(format!("found '{other}', expected: identifier")),
        },
    }
}

fn parse_number(tokens: &mut Lexer<'_>, key: &str) -> Result<i64, String> {
    let value = parse_value(tokens, key)?;
    value
        .parse()
        .map_err(|_| format!("values[0]: Invalid value: {value:?}: for 'Gt', 'Lt' operators, the value must be an integer"))
}

fn parse_set(tokens: &mut Lexer<'_>, key: &str) -> Result<Vec<String>, String> {
    match tokens.next() {
        Token::Open => {}
        other => return Err(format!("found '{other}' expected: '('")),
    }
    let mut values = Vec::new();
    loop {
        // An empty place between commas is the empty value.
        match tokens.peek() {
            Token::Comma | Token::Close => values.push(String::new()),
            _ => match tokens.next() {
                Token::Word(value) => values.push(checked_value(key, values.len(), value)?),
                other => return Err(format!("found '{other}', expected: identifier")),
            },
        }
        match tokens.next() {
            Token::Close => return Ok(values),
            Token::Comma => {}
            other => return Err(format!("found '{other}', expected: ',' or ')'")),
        }
    }
}

fn checked_value(key: &str, index: usize, value: String) -> Result<String, String> {
    match crate::strategy::names::label_value(&value)
        .into_iter()
        .next()
    {
        Some(why) => Err(format!(
            "values[{index}][{key}]: Invalid value: {value:?}: {why}"
        )),
        None => Ok(value),
    }
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Token {
    Close,
    Comma,
    End,
    Equal,
    Greater,
    Less,
    Not,
    NotEqual,
    Open,
    Word(String),
}

impl std::fmt::Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Close => ")",
            Self::Comma => ",",
            Self::End => "",
            Self::Equal => "=",
            Self::Greater => ">",
            Self::Less => "<",
            Self::Not => "!",
            Self::NotEqual => "!=",
            Self::Open => "(",
            Self::Word(word) => word,
        })
    }
}

struct Lexer<'a> {
    rest: &'a str,
}

impl<'a> Lexer<'a> {
    fn new(input: &'a str) -> Self {
        Self { rest: input }
    }

    fn peek(&self) -> Token {
        Lexer { rest: self.rest }.next()
    }

    fn next(&mut self) -> Token {
        self.rest = self.rest.trim_start();
        for (symbol, token) in [
            ("==", Token::Equal),
            ("!=", Token::NotEqual),
            ("=", Token::Equal),
            ("!", Token::Not),
            (",", Token::Comma),
            ("(", Token::Open),
            (")", Token::Close),
            (">", Token::Greater),
            ("<", Token::Less),
        ] {
            if let Some(rest) = self.rest.strip_prefix(symbol) {
                self.rest = rest;
                return token;
            }
        }
        let end = self
            .rest
            .find(|c: char| c.is_whitespace() || "=!,()<>".contains(c))
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        if word.is_empty() {
            Token::End
        } else {
            Token::Word(word.to_owned())
        }
    }
}

/// A parsed field selector; empty matches everything.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct FieldSelector(Vec<FieldTerm>);

#[derive(Clone, Debug, Eq, PartialEq)]
struct FieldTerm {
    path: String,
    value: String,
    wanted: Wanted,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Wanted {
    Different,
    Equal,
}

impl FieldSelector {
    /// Parses a `fieldSelector` parameter for this kind.
    pub(crate) fn parse(input: &str, kind: &Kind) -> Result<Self, Failure> {
        let mut terms = Vec::new();
        for term in split_terms(input) {
            if term.is_empty() {
                continue;
            }
            let (path, wanted, value) = split_term(&term).ok_or_else(|| {
                Failure::bad_request(format!(
                    "invalid selector: '{input}'; can't understand '{term}'"
                ))
            })?;
            let value = unescape(value)
                .map_err(|why| Failure::bad_request(format!("invalid field selector: {why}")))?;
            // Nothing that is nothing: upstream drops it.
            if path.is_empty() && value.is_empty() {
                continue;
            }
            terms.push(FieldTerm {
                path: path.to_owned(),
                value,
                wanted,
            });
        }
        for term in &terms {
            check_path(kind, &term.path)?;
        }
        Ok(Self(terms))
    }

    fn matches(&self, object: &Stored) -> bool {
        self.0.iter().all(|term| {
            let actual = field(object, &term.path);
            (actual == term.value) == (term.wanted == Wanted::Equal)
        })
    }
}

fn field(object: &Stored, path: &str) -> String {
    match path {
        "metadata.name" => return object.key.name.clone(),
        "metadata.namespace" => return object.key.namespace.clone(),
        "source" => {
            let component = text(&object.value, &["source", "component"]);
            if component.is_empty() {
                return text(&object.value, &["reportingComponent"]).to_owned();
            }
            return component.to_owned();
        }
        _ => {}
    }
    let keys: Vec<&str> = path.split('.').collect();
    match at(&object.value, &keys) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Bool(flag)) => flag.to_string(),
        Some(Value::Number(number)) => number.to_string(),
        // The booleans of the table: absent means false.
        None if matches!(path, "spec.unschedulable" | "spec.hostNetwork") => "false".into(),
        _ => String::new(),
    }
}

fn check_path(kind: &Kind, path: &str) -> Result<(), Failure> {
    if path == "metadata.name" || kind.fields.contains(&path) {
        return Ok(());
    }
    if kind.fields.is_empty() {
        if path == "metadata.namespace" {
            return Ok(());
        }
        return Err(Failure::bad_request(format!(
            "{path:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
        )));
    }
    Err(Failure::bad_request(format!(
        "field label not supported: {path}"
    )))
}

/// Splits at commas that no backslash escapes.
fn split_terms(input: &str) -> Vec<String> {
    let mut terms = vec![String::new()];
    let mut escaped = false;
    for c in input.chars() {
        if c == ',' && !escaped {
            terms.push(String::new());
            continue;
        }
        escaped = c == '\\' && !escaped;
        if let Some(term) = terms.last_mut() {
            term.push(c);
        }
    }
    terms
}

fn split_term(term: &str) -> Option<(&str, Wanted, &str)> {
    let mut escaped = false;
    for (index, c) in term.char_indices() {
        if !escaped {
            let (path, rest) = term.split_at(index);
            for (operator, wanted) in [
                ("!=", Wanted::Different),
                ("==", Wanted::Equal),
                ("=", Wanted::Equal),
            ] {
                if let Some(value) = rest.strip_prefix(operator) {
                    return Some((path.trim(), wanted, value));
                }
            }
        }
        escaped = c == '\\' && !escaped;
    }
    None
}

/// Undoes `\\`, `\,` and `\=`; any other escape, and a bare `,` or `=`, is an error.
fn unescape(value: &str) -> Result<String, String> {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => out.push(c),
                Some(c) => return Err(format!("invalid escape sequence: \\{c}")),
                None => return Err("invalid escape sequence: \\".into()),
            },
            // Go prints the byte's number.
            ',' | '=' => return Err(format!("unescaped character in value: {}", u32::from(c))),
            c => out.push(c),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests;
