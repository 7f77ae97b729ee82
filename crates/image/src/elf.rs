//! Whether a program runs where nothing but it is: in an image without a loader and libraries.

/// What a program runs on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Architecture {
    /// x86-64
    Amd64,
    /// AArch64
    Arm64,
}

/// Why a program does not run alone.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ElfError {
    /// It is no program at all.
    #[error("it is no 64-bit little-endian ELF program")]
    NotElf,
    /// It is one for something else.
    #[error("its machine (ELF number {0}) is neither x86-64 nor AArch64")]
    Machine(u16),
    /// It wants a loader.
    #[error(
        "it is linked dynamically (it wants the loader {0}), and there is none in the image: build it with \
         RUSTFLAGS=\"-C target-feature=+crt-static\" and --target"
    )]
    Dynamic(String),
}

impl Architecture {
    /// As images name it.
    #[must_use]
    pub fn oci(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }
}

/// What the program runs on, if it needs no loader.
pub(crate) fn static_program(bytes: &[u8]) -> Result<Architecture, ElfError> {
    let number = |at: usize, length: usize| -> Option<u64> {
        let field = bytes.get(at..at.checked_add(length)?)?;
        Some(
            field
                .iter()
                .rev()
                .fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
        )
    };
    let read = |at, length| number(at, length).ok_or(ElfError::NotElf);
    if bytes.get(..6) != Some(b"\x7fELF\x02\x01") {
        return Err(ElfError::NotElf);
    }
    let architecture = match read(18, 2)? {
        62 => Architecture::Amd64,
        183 => Architecture::Arm64,
        other => return Err(ElfError::Machine(u16::try_from(other).unwrap_or(u16::MAX))),
    };
    let at = |number: u64| usize::try_from(number).map_err(|_| ElfError::NotElf);
    let (table, size, count) = (at(read(32, 8)?)?, at(read(54, 2)?)?, read(56, 2)?);
    for index in 0..count {
        let begin = at(index)?
            .checked_mul(size)
            .and_then(|offset| table.checked_add(offset))
            .ok_or(ElfError::NotElf)?;
        if read(begin, 4)? == INTERPRETER {
            let from = at(read(begin.saturating_add(8), 8)?)?;
            let length = at(read(begin.saturating_add(32), 8)?)?;
            let name = bytes
                .get(from..from.saturating_add(length))
                .unwrap_or_default();
            let name = String::from_utf8_lossy(name)
                .trim_end_matches('\0')
                .to_owned();
            return Err(ElfError::Dynamic(name));
        }
    }
    Ok(architecture)
}

/// The kind of segment that names a loader: PT_INTERP.
const INTERPRETER: u64 = 3;

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic in a test is its report"
)]
pub(crate) mod tests {
    use super::*;

    /// A header with one segment, and what `change` makes of it.
    pub(crate) fn program(change: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
        let mut bytes = vec![0; 64 + 56];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[18] = 62;
        bytes[32] = 64;
        bytes[54] = 56;
        bytes[56] = 1;
        bytes[64] = 1;
        change(&mut bytes);
        bytes
    }

    #[test]
    fn a_static_program_says_what_it_runs_on() {
        assert_eq!(static_program(&program(|_| {})), Ok(Architecture::Amd64));
        let arm = program(|bytes| bytes[18] = 183);
        assert_eq!(static_program(&arm), Ok(Architecture::Arm64));
        let other = program(|bytes| bytes[18] = 40);
        assert_eq!(static_program(&other), Err(ElfError::Machine(40)));
    }

    #[test]
    fn what_wants_a_loader_is_refused_with_the_loaders_name() {
        let dynamic = program(|bytes| {
            bytes[64] = 3;
            bytes[64 + 8] = 120;
            bytes[64 + 32] = 11;
            bytes.extend(b"/lib/ld.so\0");
        });
        let error = static_program(&dynamic).unwrap_err();
        assert_eq!(error, ElfError::Dynamic("/lib/ld.so".into()));
        // This test is such a program.
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(matches!(static_program(&own), Err(ElfError::Dynamic(_))));
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let whole = program(|bytes| bytes[64] = 3);
        for length in 0..whole.len() {
            let _ = static_program(&whole[..length]);
        }
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] = 0xff;
            let _ = static_program(&bytes);
        }
        assert_eq!(static_program(b"#!/bin/sh\n"), Err(ElfError::NotElf));
    }
}
