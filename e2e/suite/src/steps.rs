//! Every step of a run, in its order.

use podcert_cases::Release;

use crate::matrix::cost;
use crate::run::Step;
use crate::{
    diagnosis, dropin, faults, figures, forged, install, kubectl, matrix, monitoring, rates,
    release, replicas, rights,
};

/// All steps. Those that leave the cluster in pieces come last.
pub(crate) fn all() -> Vec<Step> {
    let mut steps = vec![
        Step {
            name: "issuance-matrix",
            releases: &release::ALL,
            run: |context| Box::pin(matrix::step(context)),
        },
        Step {
            name: "forged-requests",
            releases: &release::ALL,
            run: |context| Box::pin(forged::step(context)),
        },
        Step {
            name: "rights",
            releases: &release::ALL,
            run: |context| Box::pin(rights::step(context)),
        },
        Step {
            name: "requests-per-certificate",
            releases: &release::ALL,
            run: |context| Box::pin(cost::step(context)),
        },
        Step {
            name: "replicas",
            releases: &release::ALL,
            run: |context| Box::pin(replicas::step(context)),
        },
        Step {
            name: "drop-in",
            releases: &release::ALL,
            run: |context| Box::pin(dropin::step(context)),
        },
        Step {
            name: "diagnosis",
            releases: &release::ALL,
            run: |context| Box::pin(diagnosis::step(context)),
        },
        // The embedded server plays 1.37, and kubectl is of that release.
        Step {
            name: "kubectl",
            releases: &[Release::V1_37],
            run: |context| Box::pin(kubectl::step(context)),
        },
        Step {
            name: "sandbox",
            releases: &[Release::V1_37],
            run: |context| Box::pin(kubectl::sandbox::step(context)),
        },
        Step {
            name: "install",
            releases: &[Release::V1_37],
            run: |context| Box::pin(install::step(context)),
        },
        Step {
            name: "monitoring",
            releases: &[Release::V1_37],
            run: |context| Box::pin(monitoring::step(context)),
        },
        // On the newest alone: the figure is about the program, not about releases.
        Step {
            name: "throughput",
            releases: &[Release::V1_37],
            run: |context| Box::pin(figures::step(context)),
        },
    ];
    // The embedded server plays 1.37.
    steps.push(Step {
        name: "embedded-server",
        releases: &[Release::V1_37],
        run: |context| Box::pin(rates::step(context)),
    });
    steps.extend(faults::steps());
    steps
}
