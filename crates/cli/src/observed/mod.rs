//! What `podcert status`, `podcert explain` and `podcert inspect` read of a cluster, with the rights of who asks.
//!
//! What is forbidden is [`podcert_diagnosis::NotShown`] and the rest goes on; a server that does not answer ends the
//! command. Controllers are found by the Leases of their replicas and by the pods' labels, and what they
//! answer for is read from their pods' command lines, so that a wait nobody has told of yet is judged by
//! the policy that is really in force. All of these anybody may write in a namespace of theirs, so the API
//! server is asked which of these pods may sign at all.

mod controllers;
mod expectations;
mod pages;
mod reader;

pub(crate) use self::controllers::Controllers;
pub(crate) use self::expectations::Expectations;
pub(crate) use self::reader::{Reader, Requests, is_name};
