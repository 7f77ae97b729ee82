//! What tests of several modules need.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use jiff::Timestamp;
use podcert_pki::{
    DnsName, ExtKeyUsages, KeyType, LeafNames, LeafSpec, PrivateKey, SpiffeId, Validity,
};

use crate::{CaId, CaOptions, Pool};

/// A moment at which the pools of `testdata` are valid.
pub(crate) fn now() -> Timestamp {
    "2026-11-21T12:00:00Z".parse().unwrap()
}

pub(crate) fn at(time: &str) -> Timestamp {
    time.parse().unwrap()
}

pub(crate) fn generated(id: &str) -> Pool {
    Pool::generate(&CaOptions::new(CaId::new(id)), now()).unwrap()
}

/// A pool that Go wrote, as meshtool writes them.
pub(crate) fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(testdata().join(format!("{name}.json"))).unwrap()
}

pub(crate) fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata")
}

pub(crate) fn validity(from: &str, to: &str) -> Validity {
    Validity::new(at(from), at(to)).unwrap()
}

pub(crate) fn server_leaf(validity: Validity) -> LeafSpec {
    let names: Vec<DnsName> = vec!["web.shop.svc".parse().unwrap()];
    leaf(LeafNames::Dns(names), ExtKeyUsages::SERVER, validity)
}

pub(crate) fn spiffe_leaf(validity: Validity) -> LeafSpec {
    let id: SpiffeId = "spiffe://cluster.local/ns/shop/sa/web".parse().unwrap();
    leaf(
        LeafNames::Spiffe(id),
        ExtKeyUsages::SERVER_AND_CLIENT,
        validity,
    )
}

fn leaf(names: LeafNames, usages: ExtKeyUsages, validity: Validity) -> LeafSpec {
    let key = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
    LeafSpec::new(key.public_key().clone(), names, usages, validity).unwrap()
}

/// A day from a little before [`now`].
pub(crate) fn today() -> Validity {
    validity("2026-11-21T11:58:00Z", "2026-11-22T11:58:00Z")
}

/// Runs `testdata/pools.go`, or says why not.
pub(crate) fn run_go(arguments: &[&str], input: &[u8]) -> Option<Vec<u8>> {
    use std::io::Write as _;

    let spawned = Command::new("go")
        .arg("run")
        .arg(testdata().join("pools.go"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => {
            let required = std::env::var_os("PODCERT_REQUIRE_TOOLS").is_some_and(|it| it == "1");
            assert!(!required, "go is required: {error}");
            eprintln!("skipped: go cannot be run: {error}");
            return None;
        }
    };
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(
        output.status.success(),
        "go run pools.go failed: {}",
        output.status
    );
    Some(output.stdout)
}
