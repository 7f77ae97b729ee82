use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::*;
use crate::commands::demo::board::Event;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn view() -> View {
    let mut view = View {
        act: "everybody talks".to_owned(),
        ..View::default()
    };
    let key = |name: &str| ("shop".to_owned(), name.to_owned());
    let pod = Pod {
        phase: "Running".to_owned(),
        ready: true,
        restarts: 0,
    };
    for name in [
        "client-7f9c8d6b5c-abcde-with-a-long-name",
        "server-7f9c8d6b5c-xyz",
    ] {
        view.pods.insert(key(name), pod.clone());
    }
    let (namespace, name) = key("server-7f9c8d6b5c-xyz");
    view.certificates.insert(
        (namespace, name, "row-major.net/service-dns".to_owned()),
        Certificate {
            requests: 2,
            life: Life::Issued {
                not_before: at(0),
                refresh: at(43_200),
                not_after: at(86_400),
                names: vec!["server.shop.svc".to_owned()],
            },
        },
    );
    view.clients.insert(
        key("client-7f9c8d6b5c-abcde-with-a-long-name"),
        Client {
            server: vec!["server.shop.svc".to_owned()],
            ok: 12,
            failed: 3,
        },
    );
    view.bundles.insert(
        "row-major.net:service-dns:primary-bundle".to_owned(),
        Bundle {
            signer: "row-major.net/service-dns".to_owned(),
            stage: "live".to_owned(),
            anchors: vec!["CN=root".to_owned()],
        },
    );
    for number in 0..100_u32 {
        view.events.push_back(Event {
            at: Duration::from_secs(u64::from(number)),
            who: "issued".to_owned(),
            what: format!("shop/web: number {number} of spiffe://td/ns/shop/sa/x \u{1b}[2J"),
        });
    }
    view
}

/// What a terminal of this size shows, line by line.
fn shown(width: u16, height: u16, now: Timestamp) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal
        .draw(|frame| draw(frame, &view(), now, Duration::from_millis(12_340)))
        .unwrap();
    let buffer = terminal.backend().buffer();
    (0..height)
        .map(|y| {
            let line: String = (0..width).map(|x| buffer[(x, y)].symbol()).collect();
            line.trim_end().to_owned()
        })
        .collect()
}

#[test]
fn a_small_terminal_shows_everything_that_matters() {
    let lines = shown(80, 24, at(21_600));
    let text = lines.join("\n");
    assert!(
        lines[0].starts_with("podcert demo   everybody talks"),
        "{text}"
    );
    assert!(lines[0].ends_with("12.3 s   q ends it"), "{text}");
    for expected in [
        "server-7f9c8d6b5c-xyz",
        "service-dns refresh 6h00m #2",
        "███░░░┃░░░░░",
        "trusts, shows no certificate",
        "──▶ server.shop.svc",
        "12  3 FAILED",
        "live   1 anchor   CN=root",
        "99.0s  issued      web: number 99 of spiffe://td/ns/shop/sa/x",
    ] {
        assert!(text.contains(expected), "{expected:?} is not in\n{text}");
    }
    // The name's end tells pods apart, so it is kept.
    assert!(
        text.contains("client-7f9c8d6b…ng-name") || text.contains('…'),
        "{text}"
    );
    assert!(!text.contains('\u{1b}'), "a pod's words would be obeyed");
}

#[test]
fn a_large_terminal_shows_namespaces_and_names() {
    let text = shown(200, 60, at(21_600)).join("\n");
    for expected in [
        "shop/client-7f9c8d6b5c-abcde-with-a-long-name",
        "row-major.net:service-dns:primary-bundle",
        "server.shop.svc",
        "60.0s  issued",
    ] {
        assert!(text.contains(expected), "{expected:?} is not in\n{text}");
    }
}

#[test]
fn a_certificate_that_is_due_says_so_at_any_time() {
    for (seconds, expected) in [
        (-60, "refresh 12h01m"),
        (43_200, "refresh is due"),
        (1_000_000, "refresh is due"),
    ] {
        let text = shown(80, 24, at(seconds)).join("\n");
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn no_terminal_is_too_small_to_draw_on() {
    for (width, height) in [(1, 1), (10, 3), (80, 4), (20, 60), (500, 10)] {
        shown(width, height, at(0));
    }
}
