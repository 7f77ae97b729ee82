//! What a leaf costs beside its signature: prints each step's time and its share of one P-256
//! signature, all measured in the same run.
//!
//! `cargo run --release -p podcert-pki --example issue_cost`

#![expect(clippy::print_stdout, reason = "printing is what this program is for")]

use std::{error::Error, hint::black_box, time::Instant};

use jiff::{SignedDuration, Timestamp};
use podcert_pki::{
    CertificationRequest, Chain, ExtKeyUsages, IssuerContext, KeyType, LeafNames, LeafSpec,
    PrivateKey, PublicKey, Serial, Validity,
    ca::{self, CaSpec, SubjectName},
    check, empty_csr,
};

fn main() -> Result<(), Box<dyn Error>> {
    let now: Timestamp = "2026-11-21T12:00:00Z".parse()?;
    let validity = Validity::new(now, now + SignedDuration::from_hours(24))?;
    let ca_key = PrivateKey::generate(KeyType::EcdsaP256)?;
    let subject = SubjectName::for_key("podcert cost", None, ca_key.public_key())?;
    let root = ca::new_root(
        &ca_key,
        &CaSpec {
            subject,
            validity,
            serial: Serial::random()?,
        },
    )?;
    let issuer = IssuerContext::new(&root, ca_key.signature_algorithm())?;

    let pod_key = PrivateKey::generate(KeyType::EcdsaP256)?;
    let csr = empty_csr(&pod_key)?;
    let key = pod_key.public_key().clone();
    let dns = LeafNames::Dns(vec!["server.shop.svc".parse()?, "web.shop.svc".parse()?]);
    let spec = LeafSpec::new(key.clone(), dns, ExtKeyUsages::SERVER, validity)?;
    let id = LeafNames::Spiffe("spiffe://cluster.local/ns/shop/sa/web".parse()?);
    let svid = LeafSpec::new(key.clone(), id, ExtKeyUsages::SERVER_AND_CLIENT, validity)?;

    let tbs = issuer.leaf_tbs(&spec, &Serial::random()?)?;
    let signature = ca_key.sign(tbs.to_be_signed())?;
    let der = tbs.assemble(&signature)?;
    let chain = Chain::new(check::leaf(der.clone(), &spec)?, vec![]);

    let sign = micros(|| ca_key.sign(tbs.to_be_signed()).map(drop))?;
    let report = |name: &str, cost: f64| println!("{name:<34} {cost:>7.2} us {:>6.3}", cost / sign);
    report("sign, P-256", sign);
    report("serial number", micros(|| Serial::random().map(drop))?);
    report(
        "leaf_tbs, two DNS names",
        micros(|| {
            issuer
                .leaf_tbs(&spec, &Serial::from_octets([7; 20]))
                .map(drop)
        })?,
    );
    report(
        "leaf_tbs, SPIFFE ID",
        micros(|| {
            issuer
                .leaf_tbs(&svid, &Serial::from_octets([7; 20]))
                .map(drop)
        })?,
    );
    report("assemble", micros(|| tbs.assemble(&signature).map(drop))?);
    report(
        "check::leaf",
        micros(|| check::leaf(der.as_slice(), &spec).map(drop))?,
    );
    report(
        "chain to PEM",
        micros(|| {
            drop(black_box(chain.to_pem()));
            Ok::<_, ()>(())
        })?,
    );
    report(
        "key out of SubjectPublicKeyInfo",
        micros(|| PublicKey::from_spki_der(key.spki_der()).map(drop))?,
    );
    report(
        "key out of CSR",
        micros(|| CertificationRequest::from_der(&csr).map(drop))?,
    );
    report(
        "whole: build, sign, assemble, check",
        micros(|| {
            let tbs = issuer
                .leaf_tbs(&spec, &Serial::random().map_err(drop)?)
                .map_err(drop)?;
            let signature = ca_key.sign(tbs.to_be_signed()).map_err(drop)?;
            let der = tbs.assemble(&signature).map_err(drop)?;
            check::leaf(der, &spec).map(drop).map_err(drop)
        })?,
    );
    Ok(())
}

/// The median of several batches, per call.
fn micros<E: std::fmt::Debug>(mut step: impl FnMut() -> Result<(), E>) -> Result<f64, String> {
    let mut batches = Vec::new();
    for _ in 0..BATCHES {
        let start = Instant::now();
        for _ in 0..PER_BATCH {
            black_box(step()).map_err(|error| format!("{error:?}"))?;
        }
        batches.push(start.elapsed().as_secs_f64() * 1e6 / f64::from(PER_BATCH));
    }
    batches.sort_by(f64::total_cmp);
    batches
        .get(batches.len() / 2)
        .copied()
        .ok_or_else(|| "no batch".to_owned())
}

const BATCHES: u32 = 21;
const PER_BATCH: u32 = 1000;
