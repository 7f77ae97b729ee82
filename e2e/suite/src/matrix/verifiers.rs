//! OpenSSL, Go and webpki, asked about many chains at once.
//!
//! A process for each chain would take longer than all of their work, so each verifier gets what
//! it can take in one go: `openssl verify` all leaves that share anchors, intermediates and
//! purpose; Go's crypto/x509 everything (the program is the one that podcert-pki's tests use).

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use podcert_pki::verify::{self, Purpose};
use podcert_pki::{Certificate, DnsName};
use tempfile::TempDir;

use super::{Issued, Policy};
use crate::harness::now;

/// The verifiers there are.
#[derive(Debug)]
pub(crate) struct Verifiers {
    go: PathBuf,
    folder: TempDir,
    /// Whether OpenSSL is asked to hold certificates against all of RFC 5280.
    strict: bool,
}

/// What a verifier said of a chain.
#[derive(Debug)]
pub(crate) struct Verdict {
    number: usize,
    verifier: &'static str,
    role: Role,
    refused: Option<String>,
}

/// What the owner of a certificate is about to be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Role {
    Server,
    Client,
}

/// The files of one certificate.
struct Files {
    leaf: PathBuf,
    chain: PathBuf,
    intermediates: PathBuf,
    anchors: PathBuf,
}

impl Verifiers {
    /// Builds Go's.
    ///
    /// # Errors
    /// When a program is missing.
    pub(crate) fn find() -> Result<Self> {
        run(Command::new("openssl").arg("version"), "")?;
        let folder = tempfile::tempdir()?;
        let go = folder.path().join("x509");
        let mut build = Command::new("go");
        build
            .args(["build", "-o"])
            .arg(&go)
            .arg(".")
            .current_dir(GO_SOURCE)
            .env("GOFLAGS", "-mod=mod")
            .env("GOTOOLCHAIN", "local")
            .env("GOWORK", "off");
        run(&mut build, "")?;
        Ok(Self {
            go,
            folder,
            strict: true,
        })
    }

    /// The same, with OpenSSL as programs have it by default. Otherwise it refuses everything below a
    /// root without a name.
    pub(crate) fn lenient(self) -> Self {
        Self {
            strict: false,
            ..self
        }
    }

    /// What each verifier says of each certificate, in every role it has.
    ///
    /// # Errors
    /// When a verifier does not answer.
    pub(crate) fn verdicts(&self, issued: &[Issued]) -> Result<Vec<Verdict>> {
        let files = issued
            .iter()
            .enumerate()
            .map(|(number, issued)| self.write(number, issued))
            .collect::<Result<Vec<_>>>()?;
        let mut verdicts = webpki(issued);
        verdicts.extend(self.go(issued, &files)?);
        verdicts.extend(openssl(issued, &files, self.strict)?);
        let expected: usize = issued.iter().map(|it| roles(it).len()).sum();
        ensure!(verdicts.len() == expected * 3, "a verifier said nothing");
        Ok(verdicts)
    }

    /// Which verifiers accept what they must not.
    ///
    /// # Errors
    /// When a verifier does not answer.
    pub(crate) fn accepted(&self, refusable: &[Issued]) -> Result<Vec<String>> {
        let verdicts = self.verdicts(refusable)?;
        let accepted = verdicts.iter().filter(|verdict| verdict.refused.is_none());
        Ok(accepted
            .map(|verdict| format!("{} accepts what it must refuse", verdict.verifier))
            .collect())
    }

    fn write(&self, number: usize, issued: &Issued) -> Result<Files> {
        let file = |kind: &str, content: &str| {
            let path = self.folder.path().join(format!("{kind}-{number}.pem"));
            fs::write(&path, content).map(|()| path)
        };
        let chain = &issued.chain;
        let intermediates: String = chain
            .intermediates()
            .iter()
            .map(Certificate::to_pem)
            .collect();
        Ok(Files {
            leaf: file("leaf", &chain.leaf().to_pem())?,
            chain: file("chain", &chain.to_pem())?,
            intermediates: file("intermediates", &intermediates)?,
            anchors: file("anchors", &issued.bundle.to_pem())?,
        })
    }

    fn go(&self, issued: &[Issued], files: &[Files]) -> Result<Vec<Verdict>> {
        let mut questions = String::new();
        let mut asked = Vec::new();
        for ((number, issued), files) in issued.iter().enumerate().zip(files) {
            for role in roles(issued) {
                let (chain, anchors) = (files.chain.display(), files.anchors.display());
                let (purpose, name) = match role {
                    Role::Server => ("server", issued.dns_name()),
                    Role::Client => ("client", None),
                };
                let name = name.as_deref().unwrap_or("-");
                let at = now().as_second();
                writeln!(questions, "{chain} {anchors} {purpose} {name} {at}")?;
                asked.push((number, *role));
            }
        }
        let answers = run(Command::new(&self.go).arg("verify"), &questions)?;
        ensure!(answers.lines().count() == asked.len(), "Go said: {answers}");
        let verdict = |((number, role), answer): ((usize, Role), &str)| Verdict {
            number,
            verifier: "Go",
            role,
            refused: (answer != "ok").then(|| answer.to_owned()),
        };
        Ok(asked
            .into_iter()
            .zip(answers.lines())
            .map(verdict)
            .collect())
    }
}

impl Verdict {
    /// What to say if the verifier refused.
    pub(crate) fn refusal(&self, issued: &[Issued]) -> Option<String> {
        let refused = self.refused.as_ref()?;
        let name = issued
            .get(self.number)
            .map(Issued::name)
            .unwrap_or_default();
        let (verifier, role) = (self.verifier, self.role);
        Some(format!(
            "{name}: {verifier} refuses it as {role:?}: {refused}"
        ))
    }
}

/// The roles that a certificate's extended key usages allow.
fn roles(issued: &Issued) -> &'static [Role] {
    match issued.policy {
        Policy::ServiceDns => &[Role::Server],
        Policy::Spiffe | Policy::PodIdentity => &[Role::Server, Role::Client],
    }
}

fn webpki(issued: &[Issued]) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for (number, issued) in issued.iter().enumerate() {
        let name: Option<DnsName> = issued.dns_name().and_then(|name| name.parse().ok());
        for role in roles(issued) {
            let purpose = match role {
                Role::Server => Purpose::Server(name.as_ref()),
                Role::Client => Purpose::Client,
            };
            let answer = verify::verify(&issued.chain, &issued.bundle, purpose, now());
            verdicts.push(Verdict {
                number,
                verifier: "webpki",
                role: *role,
                refused: answer.err().map(|error| error.to_string()),
            });
        }
    }
    verdicts
}

/// Certificates with the same anchors and intermediates stand behind one another, as they were
/// issued; each run of such is one call for each role.
fn openssl(issued: &[Issued], files: &[Files], strict: bool) -> Result<Vec<Verdict>> {
    let mut verdicts = Vec::new();
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (number, it) in issued.iter().enumerate() {
        let alike = |other: &Issued| {
            other.policy == it.policy
                && other.chain.intermediates() == it.chain.intermediates()
                && other.bundle.same_anchors(&it.bundle)
                && other.dns_name() == it.dns_name()
        };
        let group = groups.iter_mut().find(|group| {
            let first = group.first().and_then(|first| issued.get(*first));
            first.is_some_and(alike)
        });
        match group {
            Some(group) => group.push(number),
            None => groups.push(vec![number]),
        }
    }
    for group in groups {
        let Some((first, its_files)) = group
            .first()
            .and_then(|first| Some((issued.get(*first)?, files.get(*first)?)))
        else {
            continue;
        };
        for role in roles(first) {
            let mut command = Command::new("openssl");
            command.args(["verify", "-no-CAfile", "-no-CApath", "-no-CAstore"]);
            if strict {
                command.arg("-x509_strict");
            }
            match role {
                Role::Server => command.args(["-purpose", "sslserver"]),
                Role::Client => command.args(["-purpose", "sslclient"]),
            };
            if let (Role::Server, Some(name)) = (role, first.dns_name()) {
                command.args(["-verify_hostname", &name]);
            }
            command.arg("-trusted").arg(&its_files.anchors);
            if !first.chain.intermediates().is_empty() {
                command.arg("-untrusted").arg(&its_files.intermediates);
            }
            let leaves = group.iter().filter_map(|number| files.get(*number));
            command.args(leaves.map(|files| &files.leaf));
            let output = command.stdin(Stdio::null()).output().context("openssl")?;
            let said = String::from_utf8_lossy(&output.stdout).into_owned()
                + &String::from_utf8_lossy(&output.stderr);
            for number in &group {
                let leaf = files.get(*number).map(|files| files.leaf.as_path());
                verdicts.push(Verdict {
                    number: *number,
                    verifier: "OpenSSL",
                    role: *role,
                    refused: refused(&said, leaf.unwrap_or(Path::new(""))),
                });
            }
        }
    }
    Ok(verdicts)
}

/// What OpenSSL has against a file, if it does not say `<file>: OK`.
fn refused(said: &str, leaf: &Path) -> Option<String> {
    let accepted = format!("{}: OK", leaf.display());
    if said.lines().any(|line| line == accepted) {
        return None;
    }
    Some(said.replace('\n', "; "))
}

/// Runs a program with this on its standard input; what it said on its standard output.
fn run(command: &mut Command, input: &str) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{program} cannot be run, and is needed"))?;
    let mut stdin = child.stdin.take().context("a program without input")?;
    let input = input.to_owned();
    // Written beside reading, so that neither side waits for the other with a full pipe.
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output()?;
    // A program that ended before it read all says why itself.
    let _ = writer.join();
    if !output.status.success() {
        bail!("{program}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}

const GO_SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../crates/pki/tests/go");
