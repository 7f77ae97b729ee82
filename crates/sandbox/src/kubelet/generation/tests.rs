use super::*;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn payload(files: &[(&str, &str, u32)]) -> Payload {
    files
        .iter()
        .map(|(path, text, mode)| {
            let bytes = Zeroizing::new(text.as_bytes().to_vec());
            (
                RelativePath::try_from(*path).unwrap(),
                File { bytes, mode: *mode },
            )
        })
        .collect()
}

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn entries(volume: &Path) -> BTreeSet<String> {
    let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    fs::read_dir(volume).unwrap().map(name).collect()
}

#[test]
fn the_layout_is_the_kubelets() {
    let dir = tempfile::tempdir().unwrap();
    let volume = dir.path();
    let first = payload(&[("creds.pem", "one", 0o644), ("deep/key.pem", "k", 0o400)]);
    assert_eq!(write(volume, &first, now()).unwrap(), Outcome::Replaced);
    assert_eq!(
        fs::read_link(volume.join("creds.pem")).unwrap(),
        Path::new("..data/creds.pem")
    );
    assert_eq!(
        fs::read_link(volume.join("deep")).unwrap(),
        Path::new("..data/deep")
    );
    assert_eq!(
        fs::read_to_string(volume.join("deep/key.pem")).unwrap(),
        "k"
    );
    let mode = fs::metadata(volume.join("deep/key.pem"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o400);
    let generation = fs::read_link(volume.join("..data")).unwrap();
    assert!(
        generation
            .to_str()
            .unwrap()
            .starts_with("..2027_01_15_08_00_00.")
    );

    assert_eq!(write(volume, &first, now()).unwrap(), Outcome::Unchanged);
    assert_eq!(fs::read_link(volume.join("..data")).unwrap(), generation);

    let second = payload(&[("creds.pem", "two", 0o644)]);
    assert_eq!(write(volume, &second, now()).unwrap(), Outcome::Replaced);
    let next = fs::read_link(volume.join("..data")).unwrap();
    let expected = ["..data", "creds.pem", next.to_str().unwrap()].map(str::to_owned);
    assert_eq!(
        entries(volume),
        expected.into(),
        "the old generation and its links are gone"
    );
    assert_eq!(fs::read_to_string(volume.join("creds.pem")).unwrap(), "two");
}

#[test]
fn a_changed_mode_or_a_missing_file_is_put_right() {
    let dir = tempfile::tempdir().unwrap();
    let volume = dir.path();
    write(volume, &payload(&[("a", "x", 0o644)]), now()).unwrap();
    assert_eq!(
        write(volume, &payload(&[("a", "x", 0o600)]), now()).unwrap(),
        Outcome::Replaced
    );
    fs::remove_file(volume.join("..data/a")).unwrap();
    assert_eq!(
        write(volume, &payload(&[("a", "x", 0o600)]), now()).unwrap(),
        Outcome::Replaced
    );
    fs::remove_file(volume.join("a")).unwrap();
    assert_eq!(
        write(volume, &payload(&[("a", "x", 0o600)]), now()).unwrap(),
        Outcome::Unchanged
    );
    assert_eq!(fs::read_to_string(volume.join("a")).unwrap(), "x");
}

#[test]
fn a_leftover_of_a_crash_does_not_stop_the_next_write() {
    let dir = tempfile::tempdir().unwrap();
    let volume = dir.path();
    symlink("nowhere", volume.join("..data_tmp")).unwrap();
    write(volume, &payload(&[("a", "x", 0o644)]), now()).unwrap();
    fs::remove_dir_all(volume.join(fs::read_link(volume.join("..data")).unwrap())).unwrap();
    // `..data` dangles: the generation was lost, its replacement is written, the old one cannot be removed again.
    let outcome = write(volume, &payload(&[("a", "y", 0o644)]), now());
    assert!(outcome.is_ok(), "{outcome:?}");
    assert_eq!(fs::read_to_string(volume.join("a")).unwrap(), "y");
}

#[test]
fn a_path_cannot_leave_its_volume() {
    for bad in [
        "",
        "/etc/passwd",
        "../up",
        "a/../b",
        "..data",
        "a//b",
        "./a",
        "a/",
    ] {
        assert!(RelativePath::try_from(bad).is_err(), "{bad:?}");
    }
    assert!(RelativePath::try_from("a/..b.pem").is_ok());
}

#[test]
fn a_concurrent_reader_never_sees_a_mixture() {
    let dir = tempfile::tempdir().unwrap();
    let volume = dir.path().to_path_buf();
    let of = |n: usize| payload(&[("a", &n.to_string(), 0o644), ("b", &n.to_string(), 0o644)]);
    write(&volume, &of(0), now()).unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let reader = std::thread::spawn({
        let (volume, done) = (volume.clone(), done.clone());
        move || {
            let (mut whole, mut newest) = (0, 0);
            while !done.load(Ordering::Relaxed) || whole == 0 {
                let Ok(target) = fs::read_link(volume.join("..data")) else {
                    panic!("..data is never missing");
                };
                let read = |name| fs::read_to_string(volume.join(&target).join(name));
                if let (Ok(a), Ok(b)) = (read("a"), read("b")) {
                    assert_eq!(a, b, "a torn generation");
                    let seen: usize = a.parse().unwrap();
                    assert!(seen >= newest, "generations only move forward");
                    (newest, whole) = (seen, whole + 1);
                }
            }
            whole
        }
    });
    for n in 1..300 {
        write(&volume, &of(n), now()).unwrap();
    }
    done.store(true, Ordering::Relaxed);
    assert!(reader.join().unwrap() > 0);
}

#[test]
fn a_data_link_that_a_pod_bent_leads_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    let volume = dir.path().join("volume");
    let precious = dir.path().join("precious");
    for target in [
        precious.clone(),
        PathBuf::from("../precious"),
        PathBuf::from(".."),
    ] {
        fs::create_dir_all(&volume).unwrap();
        fs::create_dir_all(&precious).unwrap();
        fs::write(precious.join("file"), "mine").unwrap();
        symlink(&target, volume.join(DATA)).unwrap();
        let files = payload(&[("creds.pem", "one", 0o600)]);
        assert_eq!(write(&volume, &files, now()).unwrap(), Outcome::Replaced);
        assert!(precious.join("file").exists(), "{}", target.display());
        assert_eq!(fs::read_to_string(volume.join("creds.pem")).unwrap(), "one");
        fs::remove_dir_all(&volume).unwrap();
    }
}
