//! The project's figures, printed as `figure NAME VALUE goal OP GOAL`; `cargo xtask bench` runs it.
//!
//! Each value is a ratio of two things measured side by side in this run, so that a slow or busy
//! machine moves both. [`pure`] measures the crates that decide and sign, [`controller`] a
//! separate `podcert controller` process against the sandbox's API, [`program`] the binary itself,
//! [`sandbox`] what a pod costs there.

#![expect(clippy::print_stdout, reason = "printing is what this program is for")]

mod controller;
mod program;
mod pure;
mod sandbox;
mod yardstick;

use std::process::ExitCode;

use anyhow::Result;

/// One result.
#[derive(Debug)]
struct Figure {
    name: &'static str,
    value: f64,
    goal: Goal,
}

/// What a figure is to reach.
#[derive(Clone, Copy, Debug)]
enum Goal {
    AtMost(f64),
    /// No goal: shown so that a change is noticed.
    Shown,
}

impl Figure {
    fn print(&self) -> bool {
        let Self { name, value, goal } = self;
        match goal {
            Goal::AtMost(most) => println!("figure {name} {value:.3} goal <= {most}"),
            Goal::Shown => println!("figure {name} {value:.3} goal none"),
        }
        match goal {
            Goal::AtMost(most) => value <= most,
            Goal::Shown => true,
        }
    }
}

fn main() -> Result<ExitCode> {
    // `cargo test --benches` and the like only want to know that it builds.
    if !std::env::args().any(|word| word == "--bench") {
        return Ok(ExitCode::SUCCESS);
    }
    let certificates = match std::env::var("PODCERT_BENCH_CERTIFICATES") {
        Ok(number) => number.parse()?,
        Err(_unset) => 20_000,
    };
    let mut reached = pure::figure()?.print();
    for figure in program::figures()? {
        reached &= figure.print();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    for figure in runtime.block_on(controller::figures(certificates))? {
        reached &= figure.print();
    }
    for figure in runtime.block_on(sandbox::figures(PODS))? {
        reached &= figure.print();
    }
    Ok(if reached {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Pods of the sandbox's Deployment.
const PODS: u32 = 1_000;
