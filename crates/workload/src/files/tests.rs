use super::*;
use crate::fixtures::{Volume, within};

fn text(reading: &Reading, path: &Path) -> String {
    let Reading::Present(contents) = reading else {
        panic!("not present: {reading:?}")
    };
    String::from_utf8(contents.bytes(path).unwrap().to_vec()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_poll_alone_sees_a_swap_a_loss_and_a_return() {
    let mut volume = Volume::new();
    volume.swap(&[("a", "1"), ("b", "1")]);
    let (a, b) = (volume.path("a"), volume.path("b"));
    let poll = Duration::from_secs(30);
    let token = CancellationToken::new();
    let options = Options::poll_only(poll);
    let mut readings = follow([a.clone(), b.clone()], options, token.clone()).await;
    assert_eq!(text(&readings.borrow_and_update(), &a), "1");

    volume.swap(&[("a", "2"), ("b", "2")]);
    sleep(poll * 2).await;
    assert!(readings.has_changed().unwrap());
    assert_eq!(text(&readings.borrow_and_update(), &b), "2");

    // Other inodes, same bytes: nobody is woken.
    volume.swap(&[("a", "2"), ("b", "2")]);
    sleep(poll * 2).await;
    assert!(!readings.has_changed().unwrap());

    volume.swap(&[("a", "3")]);
    sleep(poll * 2).await;
    assert_eq!(
        *readings.borrow_and_update(),
        Reading::Missing { path: b.clone() }
    );

    volume.swap(&[("a", "3"), ("b", "3")]);
    sleep(Duration::from_secs(3)).await;
    assert_eq!(text(&readings.borrow_and_update(), &b), "3");

    token.cancel();
    assert!(readings.changed().await.is_err(), "the follower ended");
}

#[tokio::test]
async fn events_wake_long_before_the_poll() {
    let mut volume = Volume::new();
    volume.swap(&[("a", "1")]);
    let a = volume.path("a");
    let hour = Duration::from_secs(3600);
    let options = Options {
        poll: hour,
        poll_absent: hour,
        ..Options::default()
    };
    let mut readings = follow([a.clone()], options, CancellationToken::new()).await;
    for round in 2..6 {
        volume.swap(&[("a", &round.to_string())]);
        within(readings.changed()).await.unwrap();
        assert_eq!(text(&readings.borrow_and_update(), &a), round.to_string());
    }
    // A plain file, written in place beside it.
    fs::remove_file(&a).unwrap();
    within(readings.changed()).await.unwrap();
    assert_eq!(
        *readings.borrow_and_update(),
        Reading::Missing { path: a.clone() }
    );
    fs::write(&a, "plain").unwrap();
    within(readings.wait_for(|reading| matches!(reading, Reading::Present(_))))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_folder_that_comes_late_or_is_made_anew_is_followed() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("volume");
    let file = folder.join("a");
    let options = Options {
        poll: Duration::from_millis(200),
        ..Options::default()
    };
    let mut readings = follow([file.clone()], options, CancellationToken::new()).await;
    assert_eq!(
        *readings.borrow_and_update(),
        Reading::Missing { path: file.clone() }
    );
    for round in ["1", "2"] {
        fs::create_dir(&folder).unwrap();
        fs::write(&file, round).unwrap();
        let present = |reading: &Reading| matches!(reading, Reading::Present(contents) if contents.bytes(&file) == Some(round.as_bytes()));
        within(readings.wait_for(present)).await.unwrap();
        fs::remove_dir_all(&folder).unwrap();
        let missing = |reading: &Reading| matches!(reading, Reading::Missing { .. });
        within(readings.wait_for(missing)).await.unwrap();
    }
}

/// A writer swaps two files for ever while the set is read: no reading may hold one file of one
/// generation and one of another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_reading_mixes_generations() {
    let mut volume = Volume::new();
    volume.swap(&[("key", "0"), ("chain", "0")]);
    let paths: Arc<[PathBuf]> = [volume.path("key"), volume.path("chain")].into();
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let writer = std::thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            let mut round = 0_u64;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                round += 1;
                let text = round.to_string();
                volume.swap(&[("key", &text), ("chain", &text)]);
                std::thread::sleep(Duration::from_micros(200));
            }
            round
        }
    });
    let mut seen = std::collections::BTreeSet::new();
    // On a busy machine the writer may not run for many readings: then there are more of them.
    for reading in 0..2_000_000 {
        if reading >= 2000 && seen.len() > 10 {
            break;
        }
        match read_once(&paths, 1 << 20) {
            Some(Reading::Present(contents)) => {
                let texts: Vec<_> = contents.iter().map(|(_, bytes)| bytes.to_vec()).collect();
                assert_eq!(texts[0], texts[1]);
                seen.insert(texts[0].clone());
            }
            Some(other) => panic!("every generation is whole: {other:?}"),
            None => {}
        }
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(writer.join().unwrap() > 10);
    assert!(
        seen.len() > 10,
        "only {} generations were caught",
        seen.len()
    );
}

#[tokio::test]
async fn what_cannot_be_read_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let large = folder.path().join("large");
    fs::write(&large, "123456").unwrap();
    let why = |reading| match reading {
        Reading::Unreadable { why, .. } => why,
        other => panic!("{other:?}"),
    };
    let paths = |path: &Path| -> Arc<[PathBuf]> { [path.to_owned()].into() };
    assert_eq!(
        why(read(&paths(&large), 5).await),
        "it is larger than 5 bytes"
    );
    assert_eq!(
        why(read(&paths(folder.path()), 5).await),
        "it is not a regular file"
    );
    let below_a_file = large.join("x");
    assert_eq!(
        read(&paths(&below_a_file), 5).await,
        Reading::Missing { path: below_a_file }
    );
}

#[tokio::test]
async fn debug_output_holds_no_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key.pem");
    fs::write(&path, "SECRET").unwrap();
    let reading = read(&[path].into(), 100).await;
    let debug = format!("{reading:?}");
    assert!(
        debug.contains("key.pem") && debug.contains("6 bytes"),
        "{debug}"
    );
    assert!(
        !debug.contains("SECRET") && !debug.contains("83, 69"),
        "{debug}"
    );
}
