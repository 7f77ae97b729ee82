//! Readiness: named checks, each passing or failing with its reason in words.
//!
//! A command that cannot do its work yet (a file is missing, a cache is not filled) stays up and
//! says why, instead of ending and being restarted in circles. Who cares to wait until all is
//! well waits on [`Health::ready`].

use std::{collections::BTreeMap, fmt::Write as _};

use tokio::sync::watch;

/// All checks of a command. Clones share them.
#[derive(Clone, Debug)]
pub struct Health {
    checks: watch::Sender<Checks>,
}

// What passes may say more than that.
type Checks = BTreeMap<String, Result<String, String>>;

impl Health {
    /// No checks yet: ready.
    pub fn new() -> Self {
        Self {
            checks: watch::Sender::new(Checks::new()),
        }
    }

    /// Adds a check that fails until it first passes.
    pub fn check(&self, name: impl Into<String>) -> Check {
        let name = name.into();
        self.checks.send_modify(|checks| {
            checks.insert(name.clone(), Err("starting".to_owned()));
        });
        Check {
            name,
            checks: self.checks.clone(),
        }
    }

    /// Whether every check passes.
    pub fn is_ready(&self) -> bool {
        self.checks.borrow().values().all(Result::is_ok)
    }

    /// Why it is not ready: each failing check and its reason.
    pub fn failing(&self) -> Vec<(String, String)> {
        self.checks
            .borrow()
            .iter()
            .filter_map(|(name, state)| Some((name.clone(), state.clone().err()?)))
            .collect()
    }

    /// Returns once every check passes.
    ///
    /// # Cancel safety
    /// Dropping it loses nothing.
    pub async fn ready(&self) {
        let mut checks = self.checks.subscribe();
        // The sender is ours, so this ends only when the condition holds.
        let _ = checks
            .wait_for(|checks| checks.values().all(Result::is_ok))
            .await;
    }

    /// Every check in a line, in the manner of kube-apiserver: `[+]name ok`, `[-]name: reason`,
    /// and `[+]name ok: words` where a check passes with words. Control characters are spaces: words
    /// may be those of others (a Lease's holder, an API server), who shall make no lines of their own.
    pub fn report(&self) -> String {
        let mut text = String::new();
        for (name, state) in self.checks.borrow().iter() {
            let name = in_a_line(name);
            let written = match state {
                Ok(words) if words.is_empty() => writeln!(text, "[+]{name} ok"),
                Ok(words) => writeln!(text, "[+]{name} ok: {}", in_a_line(words)),
                Err(reason) => writeln!(text, "[-]{name}: {}", in_a_line(reason)),
            };
            debug_assert!(written.is_ok(), "writing to a String cannot fail");
        }
        text
    }
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

/// One named check. Clones speak for the same check.
#[derive(Clone, Debug)]
pub struct Check {
    name: String,
    checks: watch::Sender<Checks>,
}

impl Check {
    /// All is well.
    pub fn pass(&self) {
        self.set(Ok(String::new()));
    }

    /// All is well, and there is something to know about it.
    pub fn pass_saying(&self, words: impl Into<String>) {
        self.set(Ok(words.into()));
    }

    /// Not ready; `reason` says what is missing, for the person who reads `/readyz`.
    pub fn fail(&self, reason: impl Into<String>) {
        self.set(Err(reason.into()));
    }

    /// As [`Self::fail`], unless the check has passed before: for what is only needed to begin.
    pub fn fail_unless_passing(&self, reason: impl Into<String>) {
        let passing = matches!(self.checks.borrow().get(&self.name), Some(Ok(_)));
        if !passing {
            self.fail(reason);
        }
    }

    /// Logs and stores a change; a repeated word is no change.
    fn set(&self, state: Result<String, String>) {
        self.checks.send_if_modified(|checks| {
            if checks.get(&self.name) == Some(&state) {
                return false;
            }
            match &state {
                Ok(words) if words.is_empty() => tracing::info!(check = self.name, "ready"),
                Ok(words) => tracing::info!(check = self.name, words, "ready"),
                Err(reason) => tracing::warn!(check = self.name, reason, "not ready"),
            }
            checks.insert(self.name.clone(), state);
            true
        });
    }
}

fn in_a_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_only_when_every_check_passes() {
        let health = Health::new();
        assert!(health.is_ready());
        let pool = health.check("pool");
        let caches = health.check("caches");
        assert!(!health.is_ready());
        pool.pass();
        caches.fail("pods are not listed yet");
        assert_eq!(
            health.report(),
            "[-]caches: pods are not listed yet\n[+]pool ok\n"
        );
        assert_eq!(
            health.failing(),
            [("caches".to_owned(), "pods are not listed yet".to_owned())]
        );
        caches.pass();
        assert!(health.is_ready());
        pool.fail_unless_passing("late");
        assert!(health.is_ready());
        pool.pass_saying("two CAs");
        assert_eq!(health.report(), "[+]caches ok\n[+]pool ok: two CAs\n");
        pool.clone().fail("gone");
        assert!(!health.is_ready());
    }

    #[test]
    fn what_a_check_says_stays_in_its_line() {
        let health = Health::new();
        health
            .check("pool")
            .fail("refused: x\n[+]pool ok\r\u{1b}[2J\u{85}");
        health
            .check("sharing")
            .pass_saying("with x\n[-]pool: missing");
        assert_eq!(
            health.report(),
            "[-]pool: refused: x [+]pool ok  [2J \n[+]sharing ok: with x [-]pool: missing\n"
        );
    }

    #[tokio::test]
    async fn waits_until_ready() {
        let health = Health::new();
        let check = health.check("pool");
        let waiting = tokio::spawn({
            let health = health.clone();
            async move { health.ready().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        check.pass();
        waiting.await.unwrap();
    }
}
