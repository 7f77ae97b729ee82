//! Reading, with Go's habits.
//!
//! serde_json is led by seeds, each of which knows one type of the structs and what Go accepts for it.
//! A cell keeps track of the field being read, for errors.

use std::cell::Cell;
use std::fmt;

use base64::Engine as _;
use serde::de::{
    self, Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use zeroize::Zeroizing;

use super::{
    CAS, GO_STD_ENCODING, ID, INTERMEDIATES, JsonError, ROOT, RawCa, RawPool, SIGNING_KEY,
};

pub(in crate::pool) fn decode(json: &[u8]) -> Result<RawPool, JsonError> {
    // Strings are taken as bytes further down, where control characters would pass. Not here.
    let mut syntax = serde_json::Deserializer::from_slice(json);
    IgnoredAny::deserialize(&mut syntax)
        .and_then(|_| syntax.end())
        .map_err(|error| {
            let (line, column) = (error.line(), error.column());
            if error.is_eof() {
                JsonError::Truncated { line, column }
            } else {
                JsonError::Syntax { line, column }
            }
        })?;

    let place = Place::default();
    let mut values = serde_json::Deserializer::from_slice(json);
    match Nullable(PoolSeed(&place)).deserialize(&mut values) {
        Ok(pool) => Ok(pool.unwrap_or_default()),
        // Of serde's error only the position is kept: its text may repeat the value, which may be a
        // key in the wrong place.
        Err(error) => Err(place.get().error(error.line(), error.column())),
    }
}

/// Which value is being read.
#[derive(Clone, Copy, Default)]
struct Where {
    ca: usize,
    intermediate: usize,
    kind: Kind,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    Pool,
    Cas,
    Ca,
    Id,
    SigningKey,
    Root,
    Intermediates,
    Intermediate,
}

type Place = Cell<Where>;

impl Where {
    fn error(self, line: usize, column: usize) -> JsonError {
        let Self {
            ca,
            intermediate,
            kind,
        } = self;
        let (field, expected) = match kind {
            Kind::Pool => ("the pool".to_owned(), "an object"),
            Kind::Cas => (CAS.to_owned(), "an array"),
            Kind::Ca => (format!("{CAS}[{ca}]"), "an object"),
            Kind::Id => (format!("{CAS}[{ca}].{ID}"), "a string"),
            Kind::SigningKey => (format!("{CAS}[{ca}].{SIGNING_KEY}"), BASE64),
            Kind::Root => (format!("{CAS}[{ca}].{ROOT}"), BASE64),
            Kind::Intermediates => (format!("{CAS}[{ca}].{INTERMEDIATES}"), "an array"),
            Kind::Intermediate => (
                format!("{CAS}[{ca}].{INTERMEDIATES}[{intermediate}]"),
                BASE64,
            ),
        };
        JsonError::Value {
            field,
            expected,
            line,
            column,
        }
    }
}

fn enter(place: &Place, kind: Kind) {
    place.set(Where {
        kind,
        ..place.get()
    });
}

/// `null`, or what the seed reads.
struct Nullable<S>(S);

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Nullable<S> {
    type Value = Option<S::Value>;

    fn deserialize<D: Deserializer<'de>>(self, values: D) -> Result<Self::Value, D::Error> {
        values.deserialize_option(self)
    }
}

impl<'de, S: DeserializeSeed<'de>> Visitor<'de> for Nullable<S> {
    type Value = Option<S::Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value or null")
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, value: D) -> Result<Self::Value, D::Error> {
        self.0.deserialize(value).map(Some)
    }
}

struct PoolSeed<'p>(&'p Place);

impl<'de> DeserializeSeed<'de> for PoolSeed<'_> {
    type Value = RawPool;

    fn deserialize<D: Deserializer<'de>>(self, values: D) -> Result<RawPool, D::Error> {
        values.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for PoolSeed<'_> {
    type Value = RawPool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a pool")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<RawPool, A::Error> {
        let mut pool = RawPool::default();
        while let Some(name) = fields.next_key_seed(NameSeed(&[CAS]))? {
            if name == Some(CAS) {
                enter(self.0, Kind::Cas);
                let seed = SliceSeed(|index| {
                    self.0.set(Where {
                        ca: index,
                        kind: Kind::Ca,
                        ..Where::default()
                    });
                    CaSeed(self.0)
                });
                let cas = fields.next_value_seed(Nullable(seed))?;
                pool.cas = cas.unwrap_or_default();
            } else {
                fields.next_value::<IgnoredAny>()?;
            }
        }
        Ok(pool)
    }
}

#[derive(Clone, Copy)]
struct CaSeed<'p>(&'p Place);

impl<'de> DeserializeSeed<'de> for CaSeed<'_> {
    type Value = RawCa;

    fn deserialize<D: Deserializer<'de>>(self, values: D) -> Result<RawCa, D::Error> {
        values.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for CaSeed<'_> {
    type Value = RawCa;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a CA")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<RawCa, A::Error> {
        let place = self.0;
        let mut ca = RawCa::default();
        while let Some(name) =
            fields.next_key_seed(NameSeed(&[ID, SIGNING_KEY, ROOT, INTERMEDIATES]))?
        {
            match name {
                Some(ID) => {
                    enter(place, Kind::Id);
                    // Go leaves a string alone when it reads null.
                    if let Some(id) = fields.next_value_seed(Nullable(TextSeed))? {
                        ca.id = id;
                    }
                }
                Some(SIGNING_KEY) => {
                    enter(place, Kind::SigningKey);
                    let key = fields.next_value_seed(Nullable(BytesSeed))?;
                    ca.signing_key_pkcs8 = key.unwrap_or_default();
                }
                Some(ROOT) => {
                    enter(place, Kind::Root);
                    let der = fields.next_value_seed(Nullable(BytesSeed))?;
                    ca.root_certificate_der = der.unwrap_or_default().to_vec();
                }
                Some(INTERMEDIATES) => {
                    enter(place, Kind::Intermediates);
                    let seed = SliceSeed(|intermediate| {
                        place.set(Where {
                            intermediate,
                            kind: Kind::Intermediate,
                            ..place.get()
                        });
                        BytesSeed
                    });
                    let ders = fields.next_value_seed(Nullable(seed))?.unwrap_or_default();
                    ca.intermediate_certificates_der =
                        ders.iter().map(|der| der.to_vec()).collect();
                }
                _ => {
                    fields.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(ca)
    }
}

/// An array, whose elements are read by the seed the function makes for each index; `null` among
/// them is an empty element.
struct SliceSeed<F>(F);

impl<'de, S, F> DeserializeSeed<'de> for SliceSeed<F>
where
    F: Fn(usize) -> S,
    S: DeserializeSeed<'de, Value: Default>,
{
    type Value = Vec<S::Value>;

    fn deserialize<D: Deserializer<'de>>(self, values: D) -> Result<Self::Value, D::Error> {
        values.deserialize_seq(self)
    }
}

impl<'de, S, F> Visitor<'de> for SliceSeed<F>
where
    F: Fn(usize) -> S,
    S: DeserializeSeed<'de, Value: Default>,
{
    type Value = Vec<S::Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = elements.next_element_seed(Nullable((self.0)(values.len())))? {
            values.push(value.unwrap_or_default());
        }
        Ok(values)
    }
}

/// `[]byte`: base64, or an array of numbers.
struct BytesSeed;

impl<'de> DeserializeSeed<'de> for BytesSeed {
    type Value = Zeroizing<Vec<u8>>;

    fn deserialize<D: Deserializer<'de>>(self, values: D) -> Result<Self::Value, D::Error> {
        values.deserialize_bytes(self)
    }
}

impl<'de> Visitor<'de> for BytesSeed {
    type Value = Zeroizing<Vec<u8>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(BASE64)
    }

    fn visit_bytes<E: de::Error>(self, text: &[u8]) -> Result<Self::Value, E> {
        let mut unbroken = Zeroizing::new(Vec::with_capacity(text.len()));
        unbroken.extend(text.iter().filter(|byte| !matches!(byte, b'\r' | b'\n')));
        let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
        GO_STD_ENCODING
            .decode_vec(&*unbroken, &mut bytes)
            .map_err(|_| E::custom("not base64"))?;
        Ok(bytes)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let mut bytes = Zeroizing::new(Vec::new());
        while let Some(byte) = elements.next_element::<Option<u8>>()? {
            bytes.push(byte.unwrap_or_default());
        }
        Ok(bytes)
    }
}

/// `string`.
struct TextSeed;

impl<'de> DeserializeSeed<'de> for TextSeed {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, values: D) -> Result<String, D::Error> {
        // As bytes, since text that is not Unicode passes.
        values.deserialize_bytes(self)
    }
}

impl Visitor<'_> for TextSeed {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_bytes<E>(self, text: &[u8]) -> Result<String, E> {
        Ok(unicode(text))
    }
}

/// The name of a field: which of these it is, whatever its case.
struct NameSeed(&'static [&'static str]);

impl<'de> DeserializeSeed<'de> for NameSeed {
    type Value = Option<&'static str>;

    fn deserialize<D: Deserializer<'de>>(self, name: D) -> Result<Self::Value, D::Error> {
        name.deserialize_bytes(self)
    }
}

impl Visitor<'_> for NameSeed {
    type Value = Option<&'static str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_bytes<E>(self, name: &[u8]) -> Result<Self::Value, E> {
        let name = unicode(name);
        let folded = || name.chars().map(fold);
        Ok(self
            .0
            .iter()
            .find(|field| field.chars().map(fold).eq(folded()))
            .copied())
    }
}

/// Go's case folding, as far as it concerns ASCII: two letters beyond ASCII fold into it.
fn fold(c: char) -> char {
    match c {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    }
}

/// Go's reading of a string: each byte that is not part of UTF-8 becomes U+FFFD, and so does a
/// surrogate without its partner (which serde_json hands over as the three bytes it would have).
fn unicode(text: &[u8]) -> String {
    let mut out = String::new();
    let mut rest = text;
    loop {
        match std::str::from_utf8(rest) {
            Ok(valid) => return out + valid,
            Err(error) => {
                let (valid, invalid) = rest.split_at(error.valid_up_to());
                out.push_str(&String::from_utf8_lossy(valid));
                out.push(char::REPLACEMENT_CHARACTER);
                rest = match invalid {
                    [0xed, 0xa0..=0xbf, 0x80..=0xbf, rest @ ..] | [_, rest @ ..] => rest,
                    [] => return out,
                };
            }
        }
    }
}

const BASE64: &str = "base64 in a string";
