//! The programs that may or may not be there, and files to hand to them.

use std::{
    env, fs,
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
};

use podcert_pki::{KeyType, PrivateKey};

/// Whether `program` runs. If not, says so, or fails where tools are required.
pub(crate) fn available(program: &str, argument: &str) -> bool {
    let output = Command::new(program).arg(argument).output();
    let runs = output.is_ok_and(|output| output.status.success());
    if !runs {
        let required = env::var_os("PODCERT_REQUIRE_TOOLS").is_some_and(|value| value == "1");
        assert!(
            !required,
            "PODCERT_REQUIRE_TOOLS=1, but `{program} {argument}` does not run"
        );
        eprintln!("skipped: `{program} {argument}` does not run, so there is nobody to ask");
    }
    runs
}

/// Runs a program with `input` on its standard input; its standard output, or everything it
/// said if it failed.
pub(crate) fn run(command: &mut Command, input: &[u8]) -> Result<String, String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // Written beside reading, so that neither side waits for the other with a full pipe.
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().ok();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stdout) + &text(&output.stderr))
    }
}

/// Files with these contents in a folder that goes away with the returned value.
pub(crate) fn files(contents: &[(&str, &str)]) -> (tempfile::TempDir, Vec<PathBuf>) {
    let folder = tempfile::tempdir().unwrap();
    let mut paths = Vec::new();
    for (name, content) in contents {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        paths.push(path);
    }
    (folder, paths)
}

/// What a private key and a certification request look like in PEM, in the order of a text.
pub(crate) fn blocks<'a>(text: &'a str, label: &str) -> Vec<&'a str> {
    let (begin, end) = (
        format!("-----BEGIN {label}-----"),
        format!("-----END {label}-----\n"),
    );
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find(&begin) {
        let stop = rest[start..].find(&end).unwrap() + start + end.len();
        found.push(&rest[start..stop]);
        rest = &rest[stop..];
    }
    found
}

/// A fresh key of every type that takes no time.
pub(crate) fn quick_keys() -> impl Iterator<Item = PrivateKey> {
    let rsa = |key_type: &KeyType| matches!(key_type, KeyType::Rsa3072 | KeyType::Rsa4096);
    let types = KeyType::ALL
        .into_iter()
        .filter(move |key_type| !rsa(key_type));
    types.map(|key_type| PrivateKey::generate(key_type).unwrap())
}
