//! Amounts of resources: `500m`, `64Mi`, `1e3` (`apimachinery/pkg/api/resource`).
//!
//! The API takes them in many forms and gives them back in one: an amount is the smallest number
//! with the largest suffix that loses nothing. Kept as whole billionths, which is as fine as
//! upstream goes.

use std::cmp::Ordering;
use std::fmt;

/// An amount, and how it likes to be written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quantity {
    nano: i128,
    format: Format,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Format {
    /// By powers of 1024: `64Mi`.
    Binary,
    /// By powers of 1000: `500m`.
    Decimal,
    /// `1e3`.
    Exponent,
}

impl Quantity {
    /// Reads an amount; else what upstream says about the text.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let (negative, rest) = match text.as_bytes().first() {
            None => return Err(FORM),
            Some(b'-') => (true, text.get(1..).unwrap_or_default()),
            Some(b'+') => (false, text.get(1..).unwrap_or_default()),
            Some(_) => (false, text),
        };
        let (whole, rest) = digits(rest);
        let (fraction, suffix) = match rest.strip_prefix('.') {
            Some(rest) => digits(rest),
            None => ("", rest),
        };
        check_suffix(suffix)?;
        let (scale, factor, format) = interpret(suffix).ok_or(SUFFIX)?;
        let mantissa: i128 = match format!("{whole}{fraction}").trim_start_matches('0') {
            "" => 0,
            digits => digits.parse().unwrap_or(i128::MAX),
        };
        let places = i64::try_from(fraction.len()).unwrap_or(i64::MAX);
        let scale = scale.saturating_add(NANO).saturating_sub(places);
        let mut nano = scaled(mantissa.saturating_mul(factor), scale);
        if format == Format::Binary {
            nano = nano.min(LARGEST);
        }
        if negative {
            nano = -nano;
        }
        Ok(Self { nano, format })
    }

    /// The amount in thousandths, rounded away from zero: as fine as resources of a container are.
    pub(crate) fn to_milli(self) -> Self {
        let rest = self.nano % MILLI;
        let nano = match rest {
            0 => self.nano,
            rest => self.nano - rest + MILLI * rest.signum(),
        };
        Self { nano, ..self }
    }

    pub(crate) fn is_negative(self) -> bool {
        self.nano < 0
    }

    pub(crate) fn is_zero(self) -> bool {
        self.nano == 0
    }

    pub(crate) fn is_whole(self) -> bool {
        self.nano % UNIT == 0
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nano == other.nano
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nano.cmp(&other.nano)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nano == 0 {
            return f.write_str("0");
        }
        if self.format == Format::Binary && self.is_whole() && self.nano.abs() >= 1024 * UNIT {
            let (number, steps) = reduced(self.nano / UNIT, 1024, BINARY.len());
            return write!(f, "{number}{}", BINARY.get(steps).unwrap_or(&""));
        }
        if self.format == Format::Exponent {
            let (number, steps) = reduced(self.nano, 1000, usize::MAX);
            let exponent = i64::try_from(steps).unwrap_or(i64::MAX).saturating_mul(3) - NANO;
            return match exponent {
                0 => write!(f, "{number}"),
                exponent => write!(f, "{number}e{exponent}"),
            };
        }
        let (number, steps) = reduced(self.nano, 1000, DECIMAL.len());
        write!(f, "{number}{}", DECIMAL.get(steps).unwrap_or(&""))
    }
}

/// The number divided by `base` while nothing is lost, and how often that was.
fn reduced(mut number: i128, base: i128, suffixes: usize) -> (i128, usize) {
    let mut steps = 0;
    while number % base == 0 && steps + 1 < suffixes {
        number /= base;
        steps += 1;
    }
    (number, steps)
}

fn digits(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text.split_at(end)
}

/// Letters, a sign, digits: each may be missing.
fn check_suffix(suffix: &str) -> Result<(), &'static str> {
    let rest = suffix.trim_start_matches(|c| "eEinumkKMGTP".contains(c));
    let rest = rest.strip_prefix(['-', '+']).unwrap_or(rest);
    match digits(rest) {
        (_, "") => Ok(()),
        _ => Err(FORM),
    }
}

/// The power of ten and the factor that a suffix stands for.
fn interpret(suffix: &str) -> Option<(i64, i128, Format)> {
    if let Some(steps) = DECIMAL.iter().position(|it| *it == suffix) {
        let scale = i64::try_from(steps).ok()? * 3 - NANO;
        return Some((scale, 1, Format::Decimal));
    }
    if let Some(steps) = BINARY.iter().position(|it| *it == suffix) {
        return Some((0, 1 << (10 * steps), Format::Binary));
    }
    let exponent = suffix.strip_prefix(['e', 'E'])?;
    Some((exponent.parse().ok()?, 1, Format::Exponent))
}

/// `number * 10^scale`, rounded up: whoever wants some gets some.
fn scaled(number: i128, scale: i64) -> i128 {
    if number == 0 {
        return 0;
    }
    let power = u32::try_from(scale.unsigned_abs()).unwrap_or(u32::MAX);
    let power = 10_i128.checked_pow(power);
    if scale >= 0 {
        return power.map_or(i128::MAX, |power| number.saturating_mul(power));
    }
    match power {
        Some(power) => number / power + i128::from(number % power != 0),
        None => 1,
    }
}

const NANO: i64 = 9;
const UNIT: i128 = 1_000_000_000;
const MILLI: i128 = 1_000_000;
/// The largest that is written in powers of 1024: what a signed 64-bit number holds.
const LARGEST: i128 = (i64::MAX as i128) * UNIT;
const DECIMAL: &[&str] = &["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
const BINARY: &[&str] = &["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
const FORM: &str =
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
const SUFFIX: &str = "unable to parse quantity's suffix";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_written_in_their_canonical_form() {
        for (given, canonical) in [
            ("0", "0"),
            ("0.0", "0"),
            ("1", "1"),
            ("0.5", "500m"),
            ("1000m", "1"),
            ("100m", "100m"),
            ("1.5", "1500m"),
            ("0.0000000001", "1n"),
            ("1024Mi", "1Gi"),
            ("1500Mi", "1500Mi"),
            ("0.5Gi", "512Mi"),
            ("512Ki", "512Ki"),
            ("1Ki", "1Ki"),
            ("0.5Ki", "512"),
            ("1e3", "1e3"),
            ("1000e3", "1e6"),
            ("12E", "12E"),
            ("128974848", "128974848"),
            ("1000000", "1M"),
            ("-5", "-5"),
            ("9Ei", "9223372036854775807"),
            ("007", "7"),
        ] {
            let quantity = Quantity::parse(given).unwrap_or_else(|why| panic!("{given}: {why}"));
            assert_eq!(quantity.to_string(), canonical, "{given}");
        }
    }

    #[test]
    fn what_is_no_amount_is_told() {
        for text in ["", "lots", "1 Mi", "1Mi!", "1.2.3"] {
            assert_eq!(Quantity::parse(text).unwrap_err(), FORM, "{text}");
        }
        for text in ["1Zi", "1MM", "1K"] {
            assert!(Quantity::parse(text).is_err(), "{text}");
        }
        assert_eq!(Quantity::parse("1MM").unwrap_err(), SUFFIX);
    }

    #[test]
    fn amounts_compare_by_what_they_are() {
        let of = |text| Quantity::parse(text).unwrap();
        assert_eq!(of("1"), of("1000m"));
        assert!(of("1Gi") > of("1G"));
        assert_eq!(of("100u").to_milli(), of("1m"));
        assert_eq!(of("-100u").to_milli(), of("-1m"));
        assert!(of("1e-400") > of("0"));
        assert!(of("1e400") > of("1E"));
    }
}
