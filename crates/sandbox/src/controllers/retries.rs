//! What could not be done, and when it is tried again: each object by itself and ever later, so that one that is refused
//! holds up none of the others and fills no log.

use std::collections::HashMap;
use std::time::Duration;

use kube::Resource;
use tokio::time::{Instant, sleep_until};

/// The objects that failed, by UID.
#[derive(Debug, Default)]
pub(super) struct Retries(HashMap<String, Failure>);

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// The API server refused what was to be made, and will again until somebody changes something.
    #[error("{0}")]
    Refused(String),
    /// The API could not be asked.
    #[error(transparent)]
    Api(#[from] kube::Error),
}

#[derive(Debug)]
struct Failure {
    /// What the object was to be when it failed: another generation is tried at once.
    generation: Option<i64>,
    in_a_row: u32,
    due: Instant,
    /// In which words it was refused, if it was.
    refused: Option<String>,
}

impl Retries {
    /// Whether the object may be tried now.
    pub(super) fn is_due<K: Resource>(&self, object: &K) -> bool {
        self.get(object)
            .is_none_or(|failure| failure.due <= Instant::now())
    }

    /// In which words what is to be made for the object was refused the last time, if it was.
    pub(super) fn refusal<K: Resource>(&self, object: &K) -> Option<&str> {
        self.get(object)?.refused.as_deref()
    }

    /// Takes over how a try ended.
    pub(super) fn note<K: Resource>(&mut self, object: &K, outcome: &Result<(), Trouble>) {
        let Some(uid) = object.meta().uid.clone() else {
            return;
        };
        match outcome {
            Ok(()) => drop(self.0.remove(&uid)),
            Err(trouble) => {
                let before = self.get(object).map_or(0, |failure| failure.in_a_row);
                let failure = Failure {
                    generation: object.meta().generation,
                    in_a_row: before.saturating_add(1),
                    due: Instant::now() + (FIRST * 2_u32.pow(before.min(10))).min(LONGEST),
                    refused: match trouble {
                        Trouble::Refused(message) => Some(message.clone()),
                        Trouble::Api(_) => None,
                    },
                };
                self.0.insert(uid, failure);
            }
        }
    }

    /// Forgets those that are gone.
    pub(super) fn retain(&mut self, there: impl Fn(&str) -> bool) {
        self.0.retain(|uid, _| there(uid));
    }

    /// Waits until the next may be tried.
    pub(super) async fn next(&self) {
        match self.0.values().map(|failure| failure.due).min() {
            Some(due) => sleep_until(due).await,
            None => std::future::pending().await,
        }
    }

    fn get<K: Resource>(&self, object: &K) -> Option<&Failure> {
        let meta = object.meta();
        let failure = self.0.get(meta.uid.as_ref()?)?;
        (failure.generation == meta.generation).then_some(failure)
    }
}

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(5 * 60);

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;

    use super::*;

    fn pod(uid: &str, generation: i64) -> Pod {
        let mut pod = Pod::default();
        pod.metadata.uid = Some(uid.to_owned());
        pod.metadata.generation = Some(generation);
        pod
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_fails_waits_ever_longer_and_no_other_does() {
        let mut retries = Retries::default();
        let refused = Err(Trouble::Refused("no".to_owned()));
        let began = Instant::now();
        let mut waited = Vec::new();
        for _ in 0..11 {
            retries.note(&pod("a", 1), &refused);
            assert!(!retries.is_due(&pod("a", 1)) && retries.is_due(&pod("b", 1)));
            retries.next().await;
            assert!(retries.is_due(&pod("a", 1)));
            waited.push(began.elapsed().as_secs());
        }
        let expected = [1, 3, 7, 15, 31, 63, 127, 255, 511, 811, 1111];
        assert_eq!(waited, expected);
        assert_eq!(retries.refusal(&pod("a", 1)), Some("no"));
        retries.note(&pod("a", 1), &refused);
        assert!(retries.is_due(&pod("a", 2)), "it is another wish now");
        assert_eq!(retries.refusal(&pod("a", 2)), None);
        retries.note(&pod("a", 1), &Ok(()));
        assert!(retries.is_due(&pod("a", 1)));
    }
}
