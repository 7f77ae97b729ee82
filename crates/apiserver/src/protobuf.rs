//! Bodies in Kubernetes' protobuf, as Go's typed clients send them (`kubectl create`, `kubectl auth
//! can-i`, most controllers): read, and turned into the JSON that everything else here works on.
//!
//! ```text
//! "k8s\0" Unknown { typeMeta { apiVersion, kind }, raw: the object }
//! ```
//!
//! The types of fields are those of [`crate::schema`], their numbers stand in `fields.txt`. Answers
//! are JSON: these clients take both.

#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::schema::{Fields, Scalar, Schemas, Shape, schemas};
use crate::status::Failure;

/// The media type of such bodies.
pub(crate) const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// The body as JSON, if it is protobuf; as it is, if not.
pub(crate) fn to_json(headers: &HeaderMap, body: Bytes) -> Result<Bytes, Failure> {
    let given = headers.get(CONTENT_TYPE).and_then(|it| it.to_str().ok());
    if body.is_empty() || given.is_none_or(|given| !given.starts_with(MEDIA_TYPE)) {
        return Ok(body);
    }
    let object = decode(&body).map_err(|Malformed(why)| {
        Failure::bad_request(format!("the body is no Kubernetes protobuf: {why}"))
    })?;
    Ok(object.to_string().into())
}

/// Why bytes are no object.
#[derive(Debug)]
struct Malformed(String);

fn malformed<T>(why: impl Into<String>) -> Result<T, Malformed> {
    Err(Malformed(why.into()))
}

fn decode(body: &[u8]) -> Result<Value, Malformed> {
    let Some(envelope) = body.strip_prefix(b"k8s\0") else {
        return malformed("it does not begin with its mark");
    };
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    let mut envelope = Reader(envelope);
    while let Some((number, wire)) = envelope.next()? {
        match number {
            1 => {
                let mut meta = Reader(wire.bytes()?);
                while let Some((number, wire)) = meta.next()? {
                    match number {
                        1 => api_version = wire.text()?,
                        2 => kind = wire.text()?,
                        _ => {}
                    }
                }
            }
            2 => raw = wire.bytes()?,
            _ => {}
        }
    }
    let decoder = Decoder {
        schemas: schemas(),
        numbers: numbers(),
        left: Cell::new(VALUES_LIMIT),
    };
    let name = match kind.as_str() {
        "DeleteOptions" => "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions".to_owned(),
        kind => {
            let (group, version) = api_version
                .split_once('/')
                .unwrap_or(("core", &api_version));
            let group = group.split('.').next().unwrap_or(group);
            format!("io.k8s.api.{group}.{version}.{kind}")
        }
    };
    let Value::Object(mut object) = decoder.named(&name, raw, 0)? else {
        return malformed(format!("no type is known for {api_version} {kind}"));
    };
    object.insert("apiVersion".into(), api_version.into());
    object.insert("kind".into(), kind.into());
    Ok(object.into())
}

struct Decoder {
    schemas: &'static Schemas,
    numbers: &'static Numbers,
    /// How many values may still come: on the wire an empty one has two bytes, here hundreds.
    left: Cell<usize>,
}

/// The fields of each type by their numbers.
type Numbers = HashMap<&'static str, HashMap<u64, Entry>>;

/// What a number stands for.
enum Entry {
    Field {
        name: &'static str,
        zero: Zero,
    },
    /// A type whose fields are the outer type's in JSON.
    Inline(&'static str),
}

/// What a field that is sent as zero says.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Zero {
    /// That nobody set it: Go sends it all the same.
    Absent,
    /// Zero.
    Meant,
}

fn numbers() -> &'static Numbers {
    static NUMBERS: OnceLock<Numbers> = OnceLock::new();
    NUMBERS.get_or_init(|| {
        let lines = FIELDS.lines().filter(|line| !line.starts_with('#'));
        lines
            .map(|line| {
                let mut words = line.split_whitespace();
                let name = words.next().unwrap_or_default();
                (name, words.filter_map(entry).collect())
            })
            .collect()
    })
}

/// `name=number`, `name=number*` or `+type=number`.
fn entry(word: &'static str) -> Option<(u64, Entry)> {
    let (name, number) = word.split_once('=')?;
    let (number, zero) = match number.strip_suffix('*') {
        Some(number) => (number, Zero::Meant),
        None => (number, Zero::Absent),
    };
    let entry = match name.strip_prefix('+') {
        Some(inline) => Entry::Inline(inline),
        None => Entry::Field { name, zero },
    };
    Some((number.parse().ok()?, entry))
}

impl Decoder {
    /// An object of a type of its own; null where nothing is known of the type.
    fn named(&self, name: &str, bytes: &[u8], depth: usize) -> Result<Value, Malformed> {
        match name.rsplit('.').next() {
            Some("Quantity") => return Reader(bytes).find(1)?.map_or(Ok("".into()), Wire::value),
            Some("IntOrString") => return int_or_string(bytes),
            Some("Time" | "MicroTime") => return date(name, bytes),
            _ => {}
        }
        let Some(fields) = self.schemas.fields(name) else {
            return Ok(Value::Null);
        };
        let short = name
            .strip_prefix("io.k8s.api.")
            .or_else(|| name.strip_prefix("io.k8s.apimachinery.pkg.apis."))
            .unwrap_or(name);
        let mut object = Map::new();
        self.fields(short, fields, bytes, &mut object, depth)?;
        Ok(object.into())
    }

    fn fields(
        &self,
        name: &str,
        fields: &Fields,
        bytes: &[u8],
        object: &mut Map<String, Value>,
        depth: usize,
    ) -> Result<(), Malformed> {
        if depth > DEPTH_LIMIT {
            return malformed("it is nested too deep");
        }
        let Some(numbers) = self.numbers.get(name) else {
            return Ok(());
        };
        let mut reader = Reader(bytes);
        while let Some((number, wire)) = reader.next()? {
            let (field, zero) = match numbers.get(&number) {
                // What a newer client knows.
                None => continue,
                Some(Entry::Inline(inner)) => {
                    self.fields(inner, fields, wire.bytes()?, object, depth + 1)?;
                    continue;
                }
                Some(Entry::Field { name, zero }) => (*name, *zero),
            };
            match fields.get(field).map(|field| &field.shape) {
                None => {}
                Some(Shape::List(element)) => {
                    let value = self.value(element, wire, depth)?;
                    let list = object
                        .entry(field)
                        .or_insert_with(|| Value::Array(Vec::new()));
                    if let Value::Array(list) = list {
                        list.push(value);
                    }
                }
                Some(Shape::Map(element)) => {
                    let (key, value) = self.pair(element, wire.bytes()?, depth)?;
                    let map = object.entry(field).or_insert_with(|| Map::new().into());
                    if let Value::Object(map) = map {
                        map.insert(key, value);
                    }
                }
                Some(shape) => {
                    let value = self.value(shape, wire, depth)?;
                    if !value.is_null() && (zero == Zero::Meant || !is_zero(&value)) {
                        object.insert(field.to_owned(), value);
                    }
                }
            }
        }
        Ok(())
    }

    fn value(&self, shape: &Shape, wire: Wire<'_>, depth: usize) -> Result<Value, Malformed> {
        match self.left.get().checked_sub(1) {
            Some(left) => self.left.set(left),
            None => return malformed(format!("it has more than {VALUES_LIMIT} values")),
        }
        match shape {
            Shape::Named(name) => self.named(name, wire.bytes()?, depth + 1),
            Shape::Leaf(Scalar::Bool) => Ok((wire.number()? != 0).into()),
            Shape::Leaf(Scalar::Bytes) => Ok(STANDARD.encode(wire.bytes()?).into()),
            Shape::Leaf(Scalar::Integer(_)) => Ok(wire.number()?.into()),
            Shape::Leaf(Scalar::Text) => Ok(wire.text()?.into()),
            // Lists of lists and maps in maps, which no type has.
            Shape::Leaf(Scalar::Other) | Shape::List(_) | Shape::Map(_) => Ok(Value::Null),
        }
    }

    /// One entry of a map.
    fn pair(
        &self,
        element: &Shape,
        bytes: &[u8],
        depth: usize,
    ) -> Result<(String, Value), Malformed> {
        let (mut key, mut value) = (String::new(), None);
        let mut reader = Reader(bytes);
        while let Some((number, wire)) = reader.next()? {
            match number {
                1 => key = wire.text()?,
                2 => value = Some(self.value(element, wire, depth)?),
                _ => {}
            }
        }
        Ok((key, value.unwrap_or_else(|| "".into())))
    }
}

/// Whether absence of a field differs from zero: whether Go's type has a pointer there. `name` is
/// the type's, without `io.k8s.api.`.
pub(crate) fn is_optional(name: &str, field: &str) -> bool {
    let entries = numbers().get(name).into_iter().flat_map(HashMap::values);
    entries.into_iter().any(|entry| match entry {
        Entry::Field { name, zero } => *name == field && *zero == Zero::Meant,
        Entry::Inline(inner) => is_optional(inner, field),
    })
}

/// Whether a value is what Go has where nothing was set.
pub(crate) fn is_zero(value: &Value) -> bool {
    match value {
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

fn int_or_string(bytes: &[u8]) -> Result<Value, Malformed> {
    let is_text = match Reader(bytes).find(1)? {
        Some(wire) => wire.number()? == 1,
        None => false,
    };
    match Reader(bytes).find(if is_text { 3 } else { 2 })? {
        Some(wire) => wire.value(),
        None if is_text => Ok("".into()),
        None => Ok(0.into()),
    }
}

/// A date as its type is written in JSON; null for none.
fn date(name: &str, bytes: &[u8]) -> Result<Value, Malformed> {
    let part = |number: u64| match Reader(bytes).find(number)? {
        Some(wire) => wire.number(),
        None => Ok(0),
    };
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    let nanos =
        i32::try_from(part(2)?).or_else(|_| malformed("a date has too many nanoseconds"))?;
    let Ok(date) = Timestamp::new(part(1)?, nanos) else {
        return malformed("a date is out of range");
    };
    let format = match name.ends_with("MicroTime") {
        true => "%Y-%m-%dT%H:%M:%S%.6fZ",
        false => "%Y-%m-%dT%H:%M:%SZ",
    };
    Ok(date.strftime(format).to_string().into())
}

/// What is left of a message.
struct Reader<'a>(&'a [u8]);

/// A field's value on the wire.
#[derive(Clone, Copy)]
enum Wire<'a> {
    Bytes(&'a [u8]),
    /// A fixed number of 4 or 8 bytes, which no type here has.
    Fixed,
    Varint(u64),
}

impl<'a> Reader<'a> {
    /// The next field: its number and value.
    fn next(&mut self) -> Result<Option<(u64, Wire<'a>)>, Malformed> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let wire = match tag & 7 {
            0 => Wire::Varint(self.varint()?),
            1 => self.take(8).map(|_| Wire::Fixed)?,
            2 => {
                let length = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
                Wire::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Wire::Fixed)?,
            other => return malformed(format!("wire type {other}")),
        };
        Ok(Some((tag >> 3, wire)))
    }

    /// The last field of this number.
    fn find(mut self, wanted: u64) -> Result<Option<Wire<'a>>, Malformed> {
        let mut found = None;
        while let Some((number, wire)) = self.next()? {
            if number == wanted {
                found = Some(wire);
            }
        }
        Ok(found)
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let Some((byte, rest)) = self.0.split_first() else {
                break;
            };
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        malformed("a number does not end")
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let Some((taken, rest)) = self.0.split_at_checked(length) else {
            return malformed("it ends too early");
        };
        self.0 = rest;
        Ok(taken)
    }
}

impl<'a> Wire<'a> {
    fn bytes(self) -> Result<&'a [u8], Malformed> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => malformed("a number stands for bytes"),
        }
    }

    fn text(self) -> Result<String, Malformed> {
        match std::str::from_utf8(self.bytes()?) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => malformed("a text is not UTF-8"),
        }
    }

    /// Numbers are two's complement, as Go writes its signed types.
    fn number(self) -> Result<i64, Malformed> {
        match self {
            Self::Varint(number) => Ok(number.cast_signed()),
            _ => malformed("bytes stand for a number"),
        }
    }

    /// A text or a number, as it comes.
    fn value(self) -> Result<Value, Malformed> {
        match self {
            Self::Bytes(_) => self.text().map(Value::from),
            _ => self.number().map(Value::from),
        }
    }
}

static FIELDS: &str = include_str!("protobuf/fields.txt");
/// More than any object of 3 MiB has that somebody wrote.
const VALUES_LIMIT: usize = 200_000;
/// As deep as the parser of JSON goes.
const DEPTH_LIMIT: usize = 127;
