//! The little DER that keys need which no library would write.

/// A DER element of a tag and its parts.
pub(super) fn element(tag: u8, parts: &[Vec<u8>]) -> Vec<u8> {
    let content = parts.concat();
    let length = u8::try_from(content.len()).expect("a short element");
    let mut bytes = match length {
        0..128 => vec![tag, length],
        _ => vec![tag, 0x81, length],
    };
    bytes.extend(content);
    bytes
}

/// A public key of a kind that nobody knows.
pub(super) fn unknown_key() -> Vec<u8> {
    let algorithm = element(0x30, &[element(6, &[vec![0x2a, 3, 4]])]);
    element(0x30, &[algorithm, element(3, &[vec![0, 1, 2, 3]])])
}
