//! Whether JSON fits the Go type that the real server decodes it into, and what Go's decoder says
//! when it does not (`sigs.k8s.io/json`, which is `encoding/json` with a sense of case).
//!
//! Only the types of kinds with rules of their own are written down, and of the metadata what every
//! object has. Other values are taken as they are.

use serde_json::Value;

use super::core::TEMPLATE_GENERATION;
use crate::kinds::{Kind, Rules};
use crate::object::{at, json_type};
use crate::request::go_parse_error;

/// A Go type, as far as its decoder can complain.
enum Type {
    Bytes,
    Date,
    Int32,
    Int64,
    List(&'static str, &'static Self),
    Struct(&'static str, &'static [(&'static str, Self)]),
    /// A string type, by its name.
    Text(&'static str),
    Texts,
}

/// What the decoder says about an object of this kind; `None` if it fits.
pub(crate) fn misfit(kind: &Kind, object: &Value) -> Option<String> {
    let mut fields = vec![("metadata", &METADATA)];
    if kind.rules == Rules::PodCertificateRequest {
        fields.push(("spec", &REQUEST_SPEC));
        fields.push(("status", &REQUEST_STATUS));
    }
    if kind.kind == "ConfigMap" {
        fields.push(("data", &Type::Texts));
    }
    if kind.rules == Rules::Secret {
        let data = object.get("data").and_then(Value::as_object);
        let texts = data.into_iter().flatten().filter_map(|(_, it)| it.as_str());
        if let Some(at) = texts.filter_map(illegal_base64).next() {
            return Some(format!("illegal base64 data at input byte {at}"));
        }
    }
    if kind.rules == Rules::DaemonSet
        && let Some(why) = template_number_error(object)
    {
        return Some(why);
    }
    fields.into_iter().find_map(|(field, wanted)| {
        let place = Place {
            version: kind.version,
            owner: kind.kind,
            path: field.to_owned(),
        };
        misfit_at(object.get(field)?, wanted, &place)
    })
}

/// The number of a DaemonSet's template is read out of an annotation.
fn template_number_error(object: &Value) -> Option<String> {
    let number = at(object, &["metadata", "annotations", TEMPLATE_GENERATION])?.as_str()?;
    number.parse::<i64>().err()?;
    Some(go_parse_error("Int", number))
}

/// Where in an object a value stands.
struct Place<'a> {
    /// The package of the kind's own types.
    version: &'a str,
    /// The struct that has the field.
    owner: &'a str,
    path: String,
}

impl Place<'_> {
    fn wrong(&self, what: &str, wanted: &str) -> Option<String> {
        let wanted = match wanted.strip_prefix("own.") {
            Some(name) => format!("{}.{name}", self.version),
            None => wanted.to_owned(),
        };
        Some(format!(
            "json: cannot unmarshal {what} into Go struct field {}.{} of type {wanted}",
            self.owner, self.path
        ))
    }
}

fn misfit_at(value: &Value, wanted: &Type, place: &Place<'_>) -> Option<String> {
    match (wanted, value) {
        (_, Value::Null) | (Type::Text(_), Value::String(_)) => None,
        (Type::Bytes, Value::String(text)) => {
            illegal_base64(text).map(|at| format!("illegal base64 data at input byte {at}"))
        }
        (Type::Date, Value::String(text)) => date_error(text),
        (Type::Int32, Value::Number(number)) => match number.as_i64().map(i32::try_from) {
            Some(Ok(_)) => None,
            _ => place.wrong(&format!("number {number}"), "int32"),
        },
        (Type::Int64, Value::Number(number)) => match number.as_i64() {
            Some(_) => None,
            None => place.wrong(&format!("number {number}"), "int64"),
        },
        (Type::List(_, element), Value::Array(list)) => list
            .iter()
            .find_map(|value| misfit_at(value, element, place)),
        (Type::Struct(name, fields), Value::Object(map)) => {
            let owner = name.rsplit('.').next().unwrap_or(name);
            fields.iter().find_map(|(field, wanted)| {
                let place = Place {
                    version: place.version,
                    owner,
                    path: format!("{}.{field}", place.path),
                };
                misfit_at(map.get(*field)?, wanted, &place)
            })
        }
        (Type::Texts, Value::Object(map)) => map
            .values()
            .find(|value| !value.is_string() && !value.is_null())
            .and_then(|value| place.wrong(json_type(value), "string")),
        (wanted, value) => place.wrong(
            json_type(value),
            match wanted {
                Type::Bytes => "[]uint8",
                Type::Int32 => "int32",
                Type::Int64 => "int64",
                Type::List(name, _) | Type::Struct(name, _) | Type::Text(name) => name,
                Type::Date => "string",
                Type::Texts => "map[string]string",
            },
        ),
    }
}

/// Where Go's standard base64 decoder stops: at the first character that is none, or at the
/// beginning of a group that is not whole. Line breaks are skipped.
pub(crate) fn illegal_base64(text: &str) -> Option<usize> {
    let significant: Vec<(usize, u8)> = text
        .bytes()
        .enumerate()
        .filter(|(_, byte)| !matches!(byte, b'\r' | b'\n'))
        .collect();
    let data = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let mut groups = significant.chunks(4).peekable();
    while let Some(group) = groups.next() {
        let good = group.iter().take_while(|(_, byte)| data(*byte)).count();
        if good == 4 {
            continue;
        }
        let Some(&(at, byte)) = group.get(good) else {
            return group.first().map(|(at, _)| *at);
        };
        if byte != b'=' || good < 2 {
            return Some(at);
        }
        // Padding: to the end of its group, and nothing behind it.
        match group.get(good + 1..) {
            Some([]) if good == 2 => return Some(text.len()),
            Some([(_, b'=')]) if good == 2 => {}
            Some([(at, _)]) => return Some(*at),
            _ => {}
        }
        return groups
            .peek()
            .and_then(|next| next.first())
            .map(|(at, _)| *at);
    }
    None
}

/// Go's `time.Parse` of an RFC 3339 date.
pub(crate) fn date_error(text: &str) -> Option<String> {
    const LAYOUT: &str = "2006-01-02T15:04:05Z07:00";
    let failed = |rest: &str, element: &str| {
        Some(format!(
            "parsing time {text:?} as {LAYOUT:?}: cannot parse {rest:?} as {element:?}"
        ))
    };
    let out_of_range = |what: &str| Some(format!("parsing time {text:?}: {what} out of range"));
    let mut rest = text;
    let mut numbers = [0; 6];
    let elements = [
        ("", "2006", 4),
        ("-", "01", 2),
        ("-", "02", 2),
        ("T", "15", 2),
        (":", "04", 2),
        (":", "05", 2),
    ];
    for ((separator, element, digits), number) in elements.into_iter().zip(&mut numbers) {
        let Some(after) = rest.strip_prefix(separator) else {
            return failed(rest, separator);
        };
        rest = after;
        let value = after
            .get(..digits)
            .and_then(|digits| digits.parse::<u32>().ok());
        let (Some(value), Some(after)) = (value, after.get(digits..)) else {
            return failed(rest, element);
        };
        let range = match element {
            "01" if !(1..=12).contains(&value) => "month",
            "15" if value > 23 => "hour",
            "04" if value > 59 => "minute",
            "05" if value > 59 => "second",
            _ => "",
        };
        if !range.is_empty() {
            return out_of_range(range);
        }
        *number = value;
        rest = after;
    }
    if let Some(fraction) = rest.strip_prefix(['.', ',']) {
        let end = fraction
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(fraction.len());
        rest = match end {
            0 => rest,
            end => fraction.get(end..).unwrap_or_default(),
        };
    }
    if let Some(extra) = rest.strip_prefix('Z') {
        rest = extra;
    } else {
        let zone = rest.get(..6).map(str::as_bytes);
        let [sign, h, hh, colon, m, mm] =
            zone.and_then(|zone| zone.try_into().ok()).unwrap_or([0; 6]);
        let digits = [h, hh, m, mm].iter().all(u8::is_ascii_digit);
        if !matches!(sign, b'+' | b'-') || colon != b':' || !digits {
            return failed(rest, "Z07:00");
        }
        rest = rest.get(6..).unwrap_or_default();
    }
    if !rest.is_empty() {
        return Some(format!("parsing time {text:?}: extra text: {rest:?}"));
    }
    let [year, month, day, ..] = numbers;
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if !(1..=days).contains(&day) {
        return out_of_range("day");
    }
    None
}

const STRING: Type = Type::Text("string");
static STRINGS: Type = Type::Text("string");

static METADATA: Type = Type::Struct(
    "v1.ObjectMeta",
    &[
        ("name", STRING),
        ("generateName", STRING),
        ("namespace", STRING),
        ("uid", Type::Text("types.UID")),
        ("resourceVersion", STRING),
        ("generation", Type::Int64),
        ("labels", Type::Texts),
        ("annotations", Type::Texts),
        ("finalizers", Type::List("[]string", &STRINGS)),
        ("ownerReferences", Type::List("[]v1.OwnerReference", &OWNER)),
    ],
);

static OWNER: Type = Type::Struct(
    "v1.OwnerReference",
    &[
        ("apiVersion", STRING),
        ("kind", STRING),
        ("name", STRING),
        ("uid", Type::Text("types.UID")),
    ],
);

static REQUEST_SPEC: Type = Type::Struct(
    "own.PodCertificateRequestSpec",
    &[
        ("signerName", STRING),
        ("podName", STRING),
        ("podUID", Type::Text("types.UID")),
        ("serviceAccountName", STRING),
        ("serviceAccountUID", Type::Text("types.UID")),
        ("nodeName", Type::Text("types.NodeName")),
        ("nodeUID", Type::Text("types.UID")),
        ("maxExpirationSeconds", Type::Int32),
        ("pkixPublicKey", Type::Bytes),
        ("proofOfPossession", Type::Bytes),
        ("stubPKCS10Request", Type::Bytes),
        ("unverifiedUserAnnotations", Type::Texts),
    ],
);

static REQUEST_STATUS: Type = Type::Struct(
    "own.PodCertificateRequestStatus",
    &[
        ("conditions", Type::List("[]v1.Condition", &CONDITION)),
        ("certificateChain", STRING),
        ("notBefore", Type::Date),
        ("beginRefreshAt", Type::Date),
        ("notAfter", Type::Date),
    ],
);

static CONDITION: Type = Type::Struct(
    "v1.Condition",
    &[
        ("type", STRING),
        ("status", Type::Text("v1.ConditionStatus")),
        ("observedGeneration", Type::Int64),
        ("lastTransitionTime", Type::Date),
        ("reason", STRING),
        ("message", STRING),
    ],
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_illegal_where_go_says_so() {
        for (text, at) in [
            ("", None),
            ("AAAA", None),
            ("AA\r\nAA\n", None),
            ("AA==", None),
            ("AAA=", None),
            ("AAAAAA==\n", None),
            ("%", Some(0)),
            ("AAA", Some(0)),
            ("AAAAA", Some(4)),
            ("AAA_", Some(3)),
            ("AA=A", Some(3)),
            ("A===", Some(1)),
            ("AA==AAAA", Some(4)),
            ("AA=", Some(3)),
        ] {
            assert_eq!(illegal_base64(text), at, "{text:?}");
        }
    }

    #[test]
    fn dates_fail_where_go_says_so() {
        for good in [
            "2026-11-21T12:00:00Z",
            "2026-11-21T12:00:00.123456789Z",
            "2024-02-29T23:59:59,5+02:00",
        ] {
            assert_eq!(date_error(good), None, "{good}");
        }
        for (bad, why) in [
            ("", "cannot parse \"\" as \"2006\""),
            ("2026-11-21", "cannot parse \"\" as \"T\""),
            ("2026-1-21", "cannot parse \"1-21\" as \"01\""),
            (
                "2026-11-21t12:00:00Z",
                "cannot parse \"t12:00:00Z\" as \"T\"",
            ),
            ("2026-11-21T12:00:00", "cannot parse \"\" as \"Z07:00\""),
            (
                "2026-11-21T12:00:00+0200",
                "cannot parse \"+0200\" as \"Z07:00\"",
            ),
            ("2026-13-21T12:00:00Z", "month out of range"),
            ("2026-02-29T12:00:00Z", "day out of range"),
            ("2026-11-21T24:00:00Z", "hour out of range"),
            ("2026-11-21T12:00:60Z", "second out of range"),
            ("2026-11-21T12:00:00Z ", "extra text: \" \""),
        ] {
            let message = date_error(bad).expect("an error");
            assert!(message.ends_with(&format!(": {why}")), "{message}");
        }
    }
}
