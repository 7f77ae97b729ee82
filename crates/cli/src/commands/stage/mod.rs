//! What stands on a sandbox that people look at, in `podcert demo` and in `podcert sandbox`: the
//! controller as a process of its own, and the example applications.

mod controller;
mod examples;

pub(crate) use self::controller::{Calls, Controller, controller_calls};
pub(crate) use self::examples::{Examples, Manifest};
