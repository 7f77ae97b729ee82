//! What stands on a sandbox that people look at, in `podcert demo` and in `podcert sandbox`: the
//! controller as a process of its own, and the example applications.

mod controller;
mod examples;

use std::num::NonZeroU32;

use podcert_runtime::{ScaledClock, SharedClock};
use podcert_sandbox::{Images, Options};

pub(crate) use self::controller::{Calls, Controller, controller_calls};
pub(crate) use self::examples::{Examples, Manifest};

/// A sandbox by `clock`, or by one that gains on it from now on by the factor `speed`, which is there too then.
pub(crate) fn options(
    clock: SharedClock,
    speed: NonZeroU32,
    images: Images,
) -> (Options, Option<ScaledClock>) {
    let scaled = (speed.get() > 1)
        .then(|| ScaledClock::new(clock.now(), speed.get()))
        .flatten();
    let options = match scaled {
        None => Options::new(clock, images),
        Some(clock) => Options::scaled(clock, images),
    };
    (options, scaled)
}
