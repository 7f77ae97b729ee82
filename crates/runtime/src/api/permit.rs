//! Requests that may only be sent while something holds.
//!
//! A write that is right now may be wrong in a minute: its sender was paused, or lost what made it
//! the one to write. Whoever sends it knows that only until it is handed over, and tries follow
//! each other for up to minutes. So a request can bear a [`Permit`], which is asked before each try.

use std::{fmt, sync::Arc};

use ::http::Request;

/// Asked before each try of a request that bears it: while it does not hold, nothing is sent.
#[derive(Clone)]
pub struct Permit(Arc<dyn Fn() -> bool + Send + Sync>);

impl Permit {
    /// A permit that holds as long as `holds` says so.
    pub fn new(holds: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(holds))
    }

    /// Whether it holds now.
    pub fn holds(&self) -> bool {
        (self.0)()
    }

    /// Lets `request` be sent under this permit alone.
    pub fn bind<B>(self, request: &mut Request<B>) {
        request.extensions_mut().insert(self);
    }

    /// Whether `request` may be sent now.
    pub(super) fn allows<B>(request: &Request<B>) -> bool {
        let permit = request.extensions().get::<Self>();
        permit.is_none_or(Self::holds)
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Permit").finish()
    }
}

/// This try was not sent, as its permit held no longer. Tries before it may have been.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not sent: what had to hold for it holds no longer")]
pub struct Withdrawn;

impl Withdrawn {
    /// Whether that is what `error` says.
    pub fn is(error: &kube::Error) -> bool {
        matches!(error, kube::Error::Service(source) if source.is::<Self>())
    }
}
