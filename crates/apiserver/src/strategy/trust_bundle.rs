//! Rules of ClusterTrustBundle.
use serde_json::Value;
use crate::field::FieldError;
use crate::kinds::Kind;
use crate::status::Failure;
use super::Context;
pub(crate) fn shape(_object: &mut Value) -> Result<(), Failure> { Ok(()) }
pub(crate) fn check_name(_object: &Value) -> Vec<FieldError> { Vec::new() }
pub(crate) fn check(_object: &Value, _old: Option<&Value>) -> Vec<FieldError> { Vec::new() }
pub(crate) fn check_attest(_kind: &Kind, _object: &Value, _old: Option<&Value>, _context: &Context<'_>) -> Result<(), Failure> { Ok(()) }
