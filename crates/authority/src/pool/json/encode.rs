//! Writing, byte for byte as `json.Marshal`.

use base64::Engine as _;
use zeroize::Zeroizing;

use super::{CaToWrite, GO_STD_ENCODING};

pub(in crate::pool) fn encode(cas: &[CaToWrite<'_>]) -> Zeroizing<Vec<u8>> {
    // Room for all of it at once: growing would leave copies of keys behind.
    let mut out = Zeroizing::new(Vec::with_capacity(
        cas.iter().map(encoded_len).sum::<usize>() + 16,
    ));
    out.extend_from_slice(b"{\"CAs\":");
    write_slice(&mut out, cas, |out, ca| {
        out.extend_from_slice(b"{\"ID\":");
        write_string(out, ca.id);
        out.extend_from_slice(b",\"SigningKeyPKCS8\":");
        write_base64(out, ca.signing_key_pkcs8);
        out.extend_from_slice(b",\"RootCertificateDER\":");
        write_base64(out, ca.root_certificate_der);
        out.extend_from_slice(b",\"IntermediateCertificatesDER\":");
        write_slice(out, &ca.intermediate_certificates_der, |out, der| {
            write_base64(out, der);
        });
        out.push(b'}');
    });
    out.push(b'}');
    out
}

fn write_slice<T>(out: &mut Vec<u8>, items: &[T], write: impl Fn(&mut Vec<u8>, &T)) {
    // meshtool appends to a nil slice, which stays nil if there is nothing to append.
    if items.is_empty() {
        out.extend_from_slice(b"null");
        return;
    }
    for (index, item) in items.iter().enumerate() {
        out.push(if index == 0 { b'[' } else { b',' });
        write(out, item);
    }
    out.push(b']');
}

fn write_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    let start = out.len();
    let len = base64_len(bytes);
    out.resize(start + len, 0);
    let room = out.get_mut(start..).unwrap_or_default();
    GO_STD_ENCODING
        .encode_slice(bytes, room)
        .expect("invariant: base64_len is the encoded length");
    out.push(b'"');
}

/// As `encoding/json` writes strings when it escapes HTML, which it does by default.
fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for c in text.chars() {
        match c {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\u{8}' => out.extend_from_slice(b"\\b"),
            '\u{c}' => out.extend_from_slice(b"\\f"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            '\0'..='\u{1f}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                out.extend_from_slice(format!("\\u{:04x}", u32::from(c)).as_bytes());
            }
            other => out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}

/// At least as long as one CA gets.
pub(super) fn encoded_len(ca: &CaToWrite<'_>) -> usize {
    let intermediates = ca
        .intermediate_certificates_der
        .iter()
        .map(|der| base64_len(der) + 3);
    128 + 6 * ca.id.len()
        + base64_len(ca.signing_key_pkcs8)
        + base64_len(ca.root_certificate_der)
        + intermediates.sum::<usize>()
}

fn base64_len(bytes: &[u8]) -> usize {
    bytes.len().div_ceil(3) * 4
}
