//! Every input of the corpora, which hold what was found once, through its target.

use std::fs;
use std::path::Path;

#[test]
fn every_target_stands_its_corpus() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus");
    for (name, target) in podcert_fuzz::TARGETS {
        let folder = corpora.join(name);
        let mut inputs = 0;
        for entry in fs::read_dir(&folder).expect("a corpus for each target") {
            let path = entry.expect("an entry").path();
            target(&fs::read(&path).expect("an input"));
            inputs += 1;
        }
        assert!(inputs > 0, "the corpus of {name} is empty");
    }
}

#[test]
fn every_target_has_a_driver_and_every_corpus_a_target() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let names = |folder: &str| {
        let mut names: Vec<String> = fs::read_dir(fuzz.join(folder))
            .expect("a folder")
            .map(|entry| {
                let path = entry.expect("an entry").path();
                let name = path.file_stem().expect("a name");
                name.to_str().expect("text").to_owned()
            })
            .collect();
        names.sort();
        names
    };
    let targets = podcert_fuzz::TARGETS.map(|(name, _)| name);
    assert_eq!(names("corpus"), targets);
    assert_eq!(names("fuzz_targets"), targets);
}
