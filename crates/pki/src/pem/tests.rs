use proptest::prelude::*;

use super::*;

fn read(text: &str) -> Result<Vec<(String, Vec<u8>)>, PemError> {
    let blocks = blocks(text.as_bytes())?;
    Ok(blocks
        .into_iter()
        .map(|block| (block.label, block.der.to_vec()))
        .collect())
}

fn one(label: &str, der: &[u8]) -> String {
    let mut text = String::new();
    append(&mut text, label, der);
    text
}

#[test]
fn text_around_blocks_and_line_ends_do_not_matter() {
    let block = one("CERTIFICATE", &[1; 100]);
    let text = format!(
        "subject: a\n\n{block}\nissuer=b\n{}",
        block.replace('\n', "\r\n")
    );
    assert_eq!(
        read(&text).unwrap(),
        vec![("CERTIFICATE".to_owned(), vec![1; 100]); 2]
    );
    // Any line width, spaces at line ends, no newline at the end.
    let odd = "-----BEGIN X-----\nAQ ID\n  BAUG\n-----END X-----";
    assert_eq!(
        read(odd).unwrap(),
        [("X".to_owned(), vec![1, 2, 3, 4, 5, 6])]
    );
    assert_eq!(read("no block here").unwrap(), []);
}

#[test]
fn a_text_cut_anywhere_is_noticed() {
    let text = one("CERTIFICATE", &[3; 60]) + &one("CERTIFICATE", &[4; 60]);
    let whole = text.len() - 1;
    let second = text.find("-----END").unwrap() + "-----END CERTIFICATE-----".len();
    for cut in 1..whole {
        let (head, tail) = text.split_at(cut);
        // Only a cut between the two blocks leaves whole blocks.
        let between = (second..=second + 1).contains(&cut);
        match read(head) {
            Ok(blocks) => assert!(blocks.len() == 1 && between, "{cut}"),
            Err(error) => {
                let second_block = error.to_string().contains("block 2 (CERTIFICATE)");
                let line = matches!(error, PemError::Boundary { .. });
                assert!(line || second_block == (cut > second), "{cut}: {error}");
            }
        }
        if let Ok(blocks) = read(tail) {
            assert!(blocks.len() == 1 && between, "{cut}");
        }
    }
}

#[test]
fn errors_say_which_block() {
    let good = one("CERTIFICATE", &[1; 60]);
    let end = "-----END CERTIFICATE-----\n";
    let cut = |text: &str| text.replace(end, "");
    for (text, message) in [
        (
            cut(&good),
            "block 1 (CERTIFICATE) is cut short: it has no END line",
        ),
        (
            good.clone() + &cut(&good),
            "block 2 (CERTIFICATE) is cut short: it has no END line",
        ),
        (
            cut(&good) + &good,
            "block 1 (CERTIFICATE) is cut short: it has no END line",
        ),
        (
            end.to_owned() + &good,
            "line 1 ends a CERTIFICATE block that never began",
        ),
        (
            good.replace("END CERTIFICATE", "END KEY"),
            "block 1 begins as CERTIFICATE and ends as KEY",
        ),
        (
            good.replace("-----END CERTIFICATE-----", "-----END CERTIF"),
            "line 4 is a damaged BEGIN or END line",
        ),
        (
            good.clone() + &good.replacen("AQEB", "AQ*B", 1),
            "block 2 (CERTIFICATE) is not valid base64, it may be damaged or cut short",
        ),
        (
            good.replacen('\n', "\nProc-Type: 4,ENCRYPTED\n", 1),
            "block 1 (CERTIFICATE) has headers, which are not allowed",
        ),
        (
            good.replace("-----BEGIN", "----BEGIN")
                .replace("----BEGIN", "-----BEGIN-"),
            "line 1 is a damaged BEGIN or END line",
        ),
    ] {
        assert_eq!(read(&text).unwrap_err().to_string(), message, "{text}");
    }
}

#[test]
fn labels_are_checked() {
    let block = || {
        blocks(one("PUBLIC KEY", &[1]).as_bytes())
            .unwrap()
            .remove(0)
    };
    assert_eq!(
        block().certificate().unwrap_err().to_string(),
        "block 1 is PUBLIC KEY, expected CERTIFICATE"
    );
    assert_eq!(*block().expect("PUBLIC KEY").unwrap(), [1]);
}

proptest! {
    #[test]
    fn what_is_written_is_read(ders in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..200), 0..5)) {
        let text: String = ders.iter().map(|der| one(CERTIFICATE, der)).collect();
        let read: Vec<_> = read(&text).unwrap().into_iter().map(|(_, der)| der).collect();
        prop_assert_eq!(read, ders);
    }

    #[test]
    fn no_text_panics(text in any::<Vec<u8>>(), lines in "(-----(BEGIN|END) [A-Z]{0,3}-----|[A-Za-z0-9+/=: -]{0,8}\n?){0,12}") {
        let _ = blocks(&text);
        let _ = blocks(lines.as_bytes());
    }
}
