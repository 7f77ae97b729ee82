//! Rules of PodCertificateRequest.
use serde_json::Value;
use crate::field::FieldError;
use crate::status::Failure;
use super::Context;
pub(crate) fn prepare_create(_object: &mut Value) -> Result<(), Failure> { Ok(()) }
pub(crate) fn shape(_object: &mut Value) -> Result<(), Failure> { Ok(()) }
pub(crate) fn shape_status(_object: &mut Value) -> Result<(), Failure> { Ok(()) }
pub(crate) fn check_create(_object: &Value) -> Vec<FieldError> { Vec::new() }
pub(crate) fn check_update(_object: &Value, _old: &Value) -> Vec<FieldError> { Vec::new() }
pub(crate) fn check_status(_object: &Value, _old: &Value, _context: &Context<'_>) -> Vec<FieldError> { Vec::new() }
