//! Manifests as people write them for the sandbox.

/// A stream of YAML documents.
pub fn manifest(data: &[u8]) {
    if let Ok(yaml) = std::str::from_utf8(data) {
        let _ = podcert_sandbox::check_manifest(yaml);
    }
}
