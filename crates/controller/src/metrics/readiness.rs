//! What `/readyz` says, as a metric: a probe tells its Service, and nobody else.

use std::fmt;

use podcert_runtime::Health;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::gauge::ConstGauge;

/// A gauge that asks when it is scraped.
#[derive(Debug)]
pub(super) struct Readiness {
    name: &'static str,
    health: Health,
}

impl Readiness {
    pub(super) fn of(name: &'static str, health: &Health) -> Self {
        let health = health.clone();
        Self { name, health }
    }
}

impl Collector for Readiness {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let gauge = ConstGauge::new(i64::from(self.health.is_ready()));
        let help = "1 if every check of /readyz passes, else 0.";
        let kind = gauge.metric_type();
        gauge.encode(encoder.encode_descriptor(self.name, help, None, kind)?)
    }
}
