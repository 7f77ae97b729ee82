use std::fs;
use std::time::Duration;

use podcert_pki::{ExtKeyUsages, KeyType, LeafNames};
use tokio::time::sleep;

use super::*;
use crate::fixtures::{AnchorFile, Ca, SERVER, Volume, bundle, hours, pem, serial, start, within};

const POLL: Duration = Duration::from_secs(30);

async fn polled(path: PathBuf) -> (CredentialSource, CancellationToken) {
    let token = CancellationToken::new();
    let options = Options::poll_only(POLL);
    (
        CredentialSource::from_bundle_file(path, options, token.clone()).await,
        token,
    )
}

#[tokio::test(start_paused = true)]
async fn a_bad_file_keeps_the_last_good_one_and_says_so() {
    let ca = Ca::new("root");
    let (one, two) = (ca.server(), ca.server());
    let mut volume = Volume::new();
    volume.swap(&[("creds.pem", &pem(&one))]);
    let (mut source, token) = polled(volume.path("creds.pem")).await;
    assert_eq!(source.generation(), 1);
    assert!(source.last_error().is_none());
    assert_eq!(source.expires_at(), Some(start() + hours(24)));
    assert!(source.is_ready(start()));
    assert!(!source.is_ready(start() + hours(24)), "expired");

    let truncated = pem(&two);
    volume.swap(&[("creds.pem", &truncated[..truncated.len() - 40])]);
    assert!(source.changed().await);
    let error = in_words(&source.last_error().unwrap());
    assert!(
        error.contains("creds.pem is not usable") && error.contains("cut short"),
        "{error}"
    );
    let kept = source.current().unwrap();
    assert_eq!(
        (kept.generation(), serial(kept.bundle())),
        (1, serial(&one))
    );

    volume.swap(&[("creds.pem", &pem(&two))]);
    assert!(source.changed().await);
    assert!(source.last_error().is_none());
    let newer = source.current().unwrap();
    assert_eq!(
        (newer.generation(), serial(newer.bundle())),
        (2, serial(&two))
    );

    token.cancel();
    assert!(!source.changed().await, "no change will come");
    assert_eq!(source.generation(), 2, "but the value stays");
}

#[tokio::test(start_paused = true)]
async fn a_file_that_vanishes_leaves_its_value_and_one_that_appears_gives_one() {
    let ca = Ca::new("root");
    let mut volume = Volume::new();
    let (mut source, _token) = polled(volume.path("creds.pem")).await;
    assert!(source.current().is_none());
    assert!(!source.is_ready(start()));
    assert!(matches!(
        source.last_error(),
        Some(SourceError::Missing { .. })
    ));

    volume.swap(&[("creds.pem", &pem(&ca.server()))]);
    assert_eq!(source.ready().await.unwrap().generation(), 1);

    volume.swap(&[]);
    while source.last_error().is_none() {
        assert!(source.changed().await);
    }
    assert!(matches!(
        source.last_error(),
        Some(SourceError::Missing { .. })
    ));
    assert_eq!(source.generation(), 1);

    volume.swap(&[("creds.pem", &pem(&ca.server()))]);
    while source.generation() == 1 {
        assert!(source.changed().await);
    }
    assert!(source.last_error().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_torn_pair_waits_for_its_other_half() {
    let ca = Ca::new("root");
    let (one, two) = (ca.server(), ca.server());
    let folder = tempfile::tempdir().unwrap();
    let (key, chain) = (
        folder.path().join("key.pem"),
        folder.path().join("chain.pem"),
    );
    let write_key = |of: &podcert_pki::CredentialBundle| {
        fs::write(&key, of.key().to_pkcs8_pem().unwrap().as_bytes()).unwrap();
    };
    let write_chain = |of: &podcert_pki::CredentialBundle| {
        fs::write(&chain, of.chain().to_pem()).unwrap();
    };
    write_key(&one);
    write_chain(&one);
    let options = Options::poll_only(POLL);
    let token = CancellationToken::new();
    let mut source =
        CredentialSource::from_key_and_chain_files(key.clone(), chain.clone(), options, token)
            .await;
    assert_eq!(source.generation(), 1);

    write_key(&two);
    assert!(source.changed().await);
    let error = in_words(&source.last_error().unwrap());
    assert!(error.contains("another key"), "{error}");
    assert_eq!(serial(source.current().unwrap().bundle()), serial(&one));

    sleep(POLL * 10).await;
    assert_eq!(source.generation(), 1);

    write_chain(&two);
    assert!(source.changed().await);
    assert!(source.last_error().is_none());
    assert_eq!(serial(source.current().unwrap().bundle()), serial(&two));
}

#[tokio::test]
async fn anchors_of_several_files_are_one_bundle() {
    let (a, b, c) = (Ca::new("a"), Ca::new("b"), Ca::new("c"));
    let mut volume = Volume::new();
    volume.swap(&[
        ("one.pem", &bundle(&[&a, &b])),
        ("two.pem", &bundle(&[&b, &c])),
    ]);
    let paths = [volume.path("one.pem"), volume.path("two.pem")];
    let source =
        AnchorSource::from_anchor_files(paths, Options::default(), CancellationToken::new()).await;
    let anchors = source.current().unwrap();
    let wanted = [&a, &b, &c].map(|ca| ca.root.clone());
    assert_eq!(anchors.bundle().anchors(), wanted);
    assert_eq!(source.expires_at(), Some(start() + hours(24 * 365)));
}

#[tokio::test]
async fn each_clone_hears_of_each_change() {
    let (a, b) = (Ca::new("a"), Ca::new("b"));
    let mut file = AnchorFile::new(&[&a]).await;
    let mut others = [file.source.clone(), file.source.clone()];
    file.replace(&[&a, &b]).await;
    for source in &mut others {
        assert!(within(source.changed()).await);
        assert_eq!(source.generation(), 2);
    }
}

#[tokio::test]
async fn any_value_can_follow_files() {
    let mut volume = Volume::new();
    volume.swap(&[("n", "7")]);
    let parse = |contents: &Contents| {
        let bytes = contents.iter().next().map_or(&[][..], |(_, bytes)| bytes);
        String::from_utf8_lossy(bytes).parse::<u32>()
    };
    let token = CancellationToken::new();
    let mut source = Source::follow([volume.path("n")], Options::default(), token, parse).await;
    assert_eq!(*source.current().unwrap().value(), 7);
    volume.swap(&[("n", "seven")]);
    assert!(within(source.changed()).await);
    assert_eq!(*source.current().unwrap().value(), 7);
    volume.swap(&[("n", "8")]);
    assert!(within(source.changed()).await);
    assert_eq!(*source.current().unwrap().value(), 8);
}

#[tokio::test(start_paused = true)]
async fn a_rewrite_of_the_same_credential_is_no_new_generation() {
    let ca = Ca::new("root");
    let names = LeafNames::Dns(vec![SERVER.parse().unwrap()]);
    let one = ca.leaf(
        KeyType::Rsa2048,
        names,
        ExtKeyUsages::SERVER,
        start() + hours(2),
    );
    let mut volume = Volume::new();
    volume.swap(&[("creds.pem", &pem(&one))]);
    let (source, _token) = polled(volume.path("creds.pem")).await;
    volume.swap(&[("creds.pem", &pem(&one))]);
    sleep(POLL * 3).await;
    assert_eq!(source.generation(), 1);
}
