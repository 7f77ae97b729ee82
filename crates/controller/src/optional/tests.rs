use std::sync::{Arc, Mutex};

use kube::core::Status;

use super::*;

/// What a watch does the next time it is asked.
#[derive(Clone, Copy)]
enum Step {
    Shows,
    Fails(u16),
}

/// A watch that does `steps`, and then nothing; and how often it was begun and asked.
fn script(
    steps: impl IntoIterator<Item = Step>,
) -> (impl Stream<Item = Observed<u8>>, Arc<Mutex<(u32, u32)>>) {
    let mut steps: Vec<Step> = steps.into_iter().collect();
    steps.reverse();
    let steps = Arc::new(Mutex::new(steps));
    let counts = Arc::new(Mutex::new((0, 0)));
    let counted = Arc::clone(&counts);
    let begin = move || {
        counted.lock().unwrap().0 += 1;
        let (steps, counted) = (Arc::clone(&steps), Arc::clone(&counted));
        let events = stream::unfold(false, move |listed| {
            let step = steps.lock().unwrap().pop();
            counted.lock().unwrap().1 += 1;
            async move {
                Some(match step {
                    None => std::future::pending().await,
                    Some(Step::Shows) if listed => (Ok(watcher::Event::Apply(1)), true),
                    Some(Step::Shows) => (Ok(watcher::Event::InitDone), true),
                    Some(Step::Fails(code)) => (Err(failure(code)), listed),
                })
            }
        });
        events.boxed()
    };
    (observe(begin, Jitter::seeded(1)), counts)
}

fn failure(code: u16) -> watcher::Error {
    let status = Status::failure("because", "Because").with_code(code);
    watcher::Error::InitialListFailed(kube::Error::Api(status.boxed()))
}

/// What it says within a day, and when.
async fn said(watch: impl Stream<Item = Observed<u8>>) -> Vec<(&'static str, u64)> {
    let began = Instant::now();
    let mut watch = std::pin::pin!(watch);
    let mut said = Vec::new();
    let day = Duration::from_hours(24);
    while let Ok(Some(observed)) = tokio::time::timeout(day, watch.next()).await {
        let word = match observed {
            Ok(Seen::Event(watcher::Event::InitDone)) => "listed",
            Ok(Seen::Event(_)) => "event",
            Ok(Seen::Refused(why)) => {
                assert_eq!(why, "cannot list: because (403)");
                "refused"
            }
            Err(failure) => {
                assert_eq!(failure.why, "cannot list: because (500)");
                "failed"
            }
        };
        said.push((word, began.elapsed().as_secs()));
    }
    said
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_told_once_and_asked_about_seldom() {
    let hour = [Step::Fails(403); 12];
    let (watch, counts) = script(hour);
    assert_eq!(said(watch).await, [("refused", 0)]);
    let (begun, asked) = *counts.lock().unwrap();
    // Each time from the beginning; the last time it is not answered.
    assert_eq!((begun, asked), (13, 13));
}

#[tokio::test(start_paused = true)]
async fn a_right_granted_later_is_taken_up() {
    let (watch, _) = script([[Step::Fails(403); 2].as_slice(), &[Step::Shows; 2]].concat());
    let said = said(watch).await;
    let [("refused", 0), ("listed", then), ("event", _)] = said[..] else {
        panic!("{said:?}")
    };
    assert!((600..=1203).contains(&then), "two pauses: {then}");
}

#[tokio::test(start_paused = true)]
async fn a_right_withdrawn_is_told_and_what_was_listed_is_listed_anew() {
    let (watch, counts) = script(
        [
            [Step::Shows; 2].as_slice(),
            &[Step::Fails(403); 20],
            &[Step::Shows],
        ]
        .concat(),
    );
    let said = said(watch).await;
    let words: Vec<&str> = said.iter().map(|(word, _)| *word).collect();
    assert_eq!(words, ["listed", "event", "refused", "listed"]);
    assert_eq!(said[2].1, 15, "{said:?}");
    assert!(counts.lock().unwrap().0 > 1);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_forbids_while_it_starts_is_not_believed() {
    let (watch, counts) = script(
        [
            [Step::Shows].as_slice(),
            &[Step::Fails(403); 10],
            &[Step::Shows],
        ]
        .concat(),
    );
    assert_eq!(said(watch).await, [("listed", 0), ("event", 10)]);
    assert_eq!(counts.lock().unwrap().0, 1);
}

#[tokio::test(start_paused = true)]
async fn any_other_failure_is_one_and_ends_a_row_of_refusals() {
    let mut steps = vec![Step::Fails(500), Step::Shows];
    steps.extend(
        [[Step::Fails(403); 10].as_slice(), &[Step::Fails(500)]]
            .concat()
            .repeat(3),
    );
    steps.push(Step::Shows);
    let (watch, _) = script(steps);
    let words: Vec<&str> = said(watch).await.iter().map(|(word, _)| *word).collect();
    assert_eq!(
        words,
        ["failed", "listed", "failed", "failed", "failed", "event"]
    );
}
