//! Durations with two or three significant figures: `5s`, `2m10s`, `3h`, `4d12h`
//! (`apimachinery/pkg/util/duration`).

use jiff::Timestamp;
use serde_json::Value;

/// How long ago the date in this value was; `<unknown>` for none.
pub(super) fn since(date: Option<&Value>, now: Timestamp) -> String {
    let date: Option<Timestamp> = date
        .and_then(Value::as_str)
        .and_then(|date| date.parse().ok());
    match date {
        Some(date) => human(now.duration_since(date).as_millis()),
        None => "<unknown>".to_owned(),
    }
}

/// The duration of this many milliseconds.
pub(super) fn human(millis: i128) -> String {
    let seconds = millis / 1000;
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let (days, years) = (hours / 24, hours / 24 / 365);
    let two = |big: i128, unit: char, small: i128, small_unit: char| match small {
        0 => format!("{big}{unit}"),
        small => format!("{big}{unit}{small}{small_unit}"),
    };
    match seconds {
        // Clocks may differ by up to two seconds.
        ..-1 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        _ if minutes < 10 => two(minutes, 'm', seconds % 60, 's'),
        _ if minutes < 180 => format!("{minutes}m"),
        _ if hours < 8 => two(hours, 'h', minutes % 60, 'm'),
        _ if hours < 48 => format!("{hours}h"),
        _ if days < 8 => two(days, 'd', hours % 24, 'h'),
        _ if years < 2 => format!("{days}d"),
        _ if years < 8 => two(years, 'y', days % 365, 'd'),
        _ => format!("{years}y"),
    }
}
