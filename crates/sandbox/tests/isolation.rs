//! Programs that know nothing of the sandbox, in pods: python, curl and shells of this machine. This binary is also the
//! `podcert` that sets up their namespaces, and a program that knows the sandbox.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a panic in a test is its report"
)]

#[cfg(target_os = "linux")]
#[path = "isolation/linux.rs"]
mod linux;

fn main() -> std::process::ExitCode {
    #[cfg(target_os = "linux")]
    return linux::main();
    #[cfg(not(target_os = "linux"))]
    return std::process::ExitCode::SUCCESS;
}
