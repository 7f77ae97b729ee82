//! One file per subcommand: its flags as a clap `Args`, and `run`, which does the work and answers
//! with the exit code. `main.rs` parses the command line and hands over the host, the clock and
//! the shutdown token, so that each command can also be run inside a test.

pub(crate) mod controller;
pub(crate) mod demo;
pub(crate) mod demo_server;
pub(crate) mod explain;
pub(crate) mod https_client;
pub(crate) mod inspect;
pub(crate) mod install;
pub(crate) mod make_ca_pool_secret;
pub(crate) mod sandbox;
pub(crate) mod stage;
pub(crate) mod status;
pub(crate) mod verify;

/// What a shell answers for a program ended by SIGINT.
pub(crate) const INTERRUPTED: u8 = 130;
