//! Textual encoding (RFC 7468), read so that nothing is lost in silence.
//!
//! A lax reader skips what it does not understand, so a file cut short by a full disk yields
//! fewer anchors than were written, and nobody is told. Here each boundary line must have its
//! partner. Text between blocks is allowed (`openssl x509 -text` writes it) unless it looks
//! like a boundary; white space inside a block is ignored; headers inside a block (RFC 1421)
//! are refused, as the API server does.

use std::mem;

use pem_rfc7468::{Base64Decoder, LineEnding};
use zeroize::Zeroizing;

/// A text that is not the PEM it should be.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PemError {
    /// The content of a block is not base64.
    #[error("block {block} ({label}) is not valid base64, it may be damaged or cut short")]
    Base64 {
        /// Which block, from 1.
        block: usize,
        /// Its label.
        label: String,
    },
    /// A line looks like a boundary but is not one.
    #[error("line {line} is a damaged BEGIN or END line")]
    Boundary {
        /// Which line, from 1.
        line: usize,
    },
    /// There is no block at all.
    #[error("there is no {expected} block")]
    Empty {
        /// The label of the block that was looked for.
        expected: &'static str,
    },
    /// An END line without a BEGIN line: the start of the block is missing.
    #[error("line {line} ends a {label} block that never began")]
    EndWithoutBegin {
        /// Which line, from 1.
        line: usize,
        /// The label on the END line.
        label: String,
    },
    /// A block has RFC 1421 headers, for instance those of an encrypted key.
    #[error("block {block} ({label}) has headers, which are not allowed")]
    Headers {
        /// Which block, from 1.
        block: usize,
        /// Its label.
        label: String,
    },
    /// The END line names another label than the BEGIN line.
    #[error("block {block} begins as {label} and ends as {end}")]
    LabelMismatch {
        /// Which block, from 1.
        block: usize,
        /// The label on the BEGIN line.
        label: String,
        /// The label on the END line.
        end: String,
    },
    /// A block has no END line: the text is cut short.
    #[error("block {block} ({label}) is cut short: it has no END line")]
    Truncated {
        /// Which block, from 1.
        block: usize,
        /// Its label.
        label: String,
    },
    /// A block of another kind than expected.
    #[error("block {block} is {label}, expected {expected}")]
    UnexpectedLabel {
        /// Which block, from 1.
        block: usize,
        /// Its label.
        label: String,
        /// What was expected in its place.
        expected: &'static str,
    },
}

/// One block of a PEM text.
pub(crate) struct Block {
    /// Which block of the text it is, from 1.
    pub(crate) number: usize,
    label: String,
    der: Zeroizing<Vec<u8>>,
}

impl Block {
    /// Decodes what stands between the boundaries, in time that does not depend on it: it may
    /// be a key.
    fn decode(number: usize, label: String, content: &[u8]) -> Result<Self, PemError> {
        if content.contains(&b':') {
            return Err(PemError::Headers {
                block: number,
                label,
            });
        }
        // Room for all of it at once: growing would leave copies of a key behind.
        let mut base64 = Zeroizing::new(Vec::with_capacity(content.len()));
        base64.extend(content.iter().filter(|byte| !byte.is_ascii_whitespace()));
        let mut der = Zeroizing::new(Vec::with_capacity(base64.len()));
        let decoded = Base64Decoder::new(&base64)
            .is_ok_and(|mut base64| base64.decode_to_end(&mut der).is_ok());
        if decoded {
            Ok(Self { number, label, der })
        } else {
            Err(PemError::Base64 {
                block: number,
                label,
            })
        }
    }

    /// The content, if the block has this label.
    pub(crate) fn expect(self, label: &'static str) -> Result<Zeroizing<Vec<u8>>, PemError> {
        if self.label == label {
            Ok(self.der)
        } else {
            Err(self.unexpected(label))
        }
    }

    /// The content of a CERTIFICATE block.
    pub(crate) fn certificate(self) -> Result<Vec<u8>, PemError> {
        self.expect(CERTIFICATE).map(|mut der| mem::take(&mut *der))
    }

    /// Says that this block should not be here.
    pub(crate) fn unexpected(self, expected: &'static str) -> PemError {
        PemError::UnexpectedLabel {
            block: self.number,
            label: self.label,
            expected,
        }
    }
}

/// Reads every block of `text`.
pub(crate) fn blocks(text: &[u8]) -> Result<Vec<Block>, PemError> {
    let mut blocks = Vec::new();
    for_each_block(text, |number, label, content| {
        blocks.push(Block::decode(number, label, content)?);
        Ok(())
    })?;
    Ok(blocks)
}

/// A block as [`blocks_with_headers`] reads it.
pub(crate) struct LaxBlock {
    /// Its label and content.
    pub(crate) block: Block,
    /// Whether there were headers, which were skipped.
    pub(crate) has_headers: bool,
}

impl Block {
    /// The label.
    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    /// The content, whatever the label.
    pub(crate) fn der(&self) -> &[u8] {
        &self.der
    }
}

/// Reads every block of `text` and skips RFC 1421 headers: for whoever looks at a file to say what
/// is wrong with it, never for one who uses it.
pub(crate) fn blocks_with_headers(text: &[u8]) -> Result<Vec<LaxBlock>, PemError> {
    let mut blocks = Vec::new();
    for_each_block(text, |number, label, content| {
        let is_header = |line: &[u8]| line.contains(&b':');
        let has_headers = content.split(|byte| *byte == b'\n').any(is_header);
        let body = if has_headers {
            after_blank_line(content)
        } else {
            content
        };
        let block = Block::decode(number, label, body)?;
        blocks.push(LaxBlock { block, has_headers });
        Ok(())
    })?;
    Ok(blocks)
}

/// The content of every CERTIFICATE block of `text` that can be read, whatever stands around it: the
/// lines between a whole BEGIN line and the next whole END line.
pub(crate) fn readable_certificates(text: &[u8]) -> Vec<Vec<u8>> {
    let mut readable = Vec::new();
    // Where the content of the block starts that is open.
    let mut open = None;
    let mut next_line = 0;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let this_line = next_line;
        next_line += line.len();
        match boundary(line.trim_ascii(), 0) {
            Ok(Some(Boundary::Begin(label))) => open = (label == CERTIFICATE).then_some(next_line),
            Ok(Some(Boundary::End(label))) => {
                let start = open.take().filter(|_| label == CERTIFICATE);
                let content = start.and_then(|start| text.get(start..this_line));
                let block = content.map(|content| Block::decode(0, label, content));
                readable.extend(
                    block
                        .and_then(Result::ok)
                        .map(|mut block| mem::take(&mut *block.der)),
                );
            }
            // Text, or what does not decode.
            Ok(None) | Err(_) => {}
        }
    }
    readable
}

/// What follows the headers of a block: all after the first empty line below them, for a header
/// may go on for several lines.
fn after_blank_line(content: &[u8]) -> &[u8] {
    let mut rest = content;
    let mut seen_header = false;
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let (line, below) = rest.split_at(end + 1);
        let blank = line.trim_ascii().is_empty();
        if seen_header && blank {
            return below;
        }
        seen_header |= !blank;
        rest = below;
    }
    content
}

/// Calls `take` for each block of `text` with its number, label and what stands between the
/// boundaries.
fn for_each_block(
    text: &[u8],
    mut take: impl FnMut(usize, String, &[u8]) -> Result<(), PemError>,
) -> Result<(), PemError> {
    let mut taken = 0;
    // The label of the block that is open, and where its content starts.
    let mut open: Option<(String, usize)> = None;
    let mut next_line = 0;
    for (line_number, line) in (1..).zip(text.split_inclusive(|byte| *byte == b'\n')) {
        let this_line = next_line;
        next_line += line.len();
        let Some(boundary) = boundary(line.trim_ascii(), line_number)? else {
            continue;
        };
        let number = taken + 1;
        open = match (boundary, open) {
            (Boundary::Begin(label), None) => Some((label, next_line)),
            (Boundary::Begin(_), Some((label, _))) => {
                return Err(PemError::Truncated {
                    block: number,
                    label,
                });
            }
            (Boundary::End(label), None) => {
                return Err(PemError::EndWithoutBegin {
                    line: line_number,
                    label,
                });
            }
            (Boundary::End(end), Some((label, _))) if end != label => {
                return Err(PemError::LabelMismatch {
                    block: number,
                    label,
                    end,
                });
            }
            (Boundary::End(_), Some((label, start))) => {
                let content = text.get(start..this_line).unwrap_or_default();
                take(number, label, content)?;
                taken += 1;
                None
            }
        };
    }
    match open {
        Some((label, _)) => Err(PemError::Truncated {
            block: taken + 1,
            label,
        }),
        None => Ok(()),
    }
}

/// Appends one block.
pub(crate) fn append(text: &mut String, label: &str, der: &[u8]) {
    let encoded_len = pem_rfc7468::encapsulated_len(label, LineEnding::LF, der.len());
    let mut buffer = Zeroizing::new(vec![0; encoded_len.unwrap_or_default()]);
    // The buffer has the size the encoder asked for, and the labels are our own constants.
    let encoded = pem_rfc7468::encode(label, LineEnding::LF, der, &mut buffer);
    text.push_str(encoded.expect("invariant: the label is valid and the buffer large enough"));
}

enum Boundary {
    Begin(String),
    End(String),
}

/// Whether a line is a boundary; one that is damaged is an error, not text. What is left of a
/// boundary may be only its dashes.
fn boundary(line: &[u8], number: usize) -> Result<Option<Boundary>, PemError> {
    let damaged = PemError::Boundary { line: number };
    let five_dashes = line
        .windows(DASHES.len())
        .any(|window| window == DASHES.as_bytes());
    let only_dashes = !line.is_empty() && line.iter().all(|byte| *byte == b'-');
    if !five_dashes && !only_dashes {
        return Ok(None);
    }
    let inner = std::str::from_utf8(line)
        .ok()
        .and_then(|line| line.strip_prefix(DASHES)?.strip_suffix(DASHES));
    match inner.map(|inner| {
        (
            inner.strip_prefix("BEGIN "),
            inner.strip_prefix("END "),
            inner,
        )
    }) {
        Some((Some(label), _, inner)) if !inner.contains('-') => {
            Ok(Some(Boundary::Begin(label.to_owned())))
        }
        Some((_, Some(label), inner)) if !inner.contains('-') => {
            Ok(Some(Boundary::End(label.to_owned())))
        }
        _ => Err(damaged),
    }
}

/// The label of a certificate (RFC 7468 §5).
pub(crate) const CERTIFICATE: &str = "CERTIFICATE";
/// The label of an unencrypted PKCS #8 key (RFC 7468 §10).
pub(crate) const PRIVATE_KEY: &str = "PRIVATE KEY";
const DASHES: &str = "-----";

#[cfg(test)]
mod tests;
