//! Somebody who asks `podcert status` and `podcert explain pod`, and what they are told.

use std::path::{Path, PathBuf};
use std::process::Output;

use anyhow::{Context as _, Result, ensure};
use kube::config::Kubeconfig;
use serde_json::{Value, json};
use tokio::process::Command;

/// Who asks, with which program.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    program: PathBuf,
    kubeconfig: PathBuf,
}

/// What was told: the JSON report, and the exit code.
#[derive(Debug)]
pub(crate) struct Said {
    report: Value,
    code: Option<i32>,
}

/// The same for people.
#[derive(Debug)]
pub(crate) struct Page {
    /// Stdout and stderr, each run of blanks and line breaks one blank.
    words: String,
    code: Option<i32>,
}

impl Asker {
    /// Who this kubeconfig is for.
    pub(crate) fn new(program: &Path, kubeconfig: PathBuf) -> Self {
        Self {
            program: program.to_owned(),
            kubeconfig,
        }
    }

    /// A user without any rights, by the administrator's kubeconfig; its file goes to `folder`.
    ///
    /// # Errors
    /// When it cannot be written, or the kubeconfig has no user.
    pub(crate) fn user(
        program: &Path,
        kubeconfig: &Kubeconfig,
        name: &str,
        folder: &Path,
    ) -> Result<Self> {
        let mut kubeconfig = serde_json::to_value(kubeconfig)?;
        let users = kubeconfig["users"].as_array_mut().context("no users")?;
        for user in users {
            user["user"]["as"] = name.into();
        }
        let path = folder.join(format!("{name}.kubeconfig"));
        std::fs::write(&path, kubeconfig.to_string())?;
        Ok(Self::new(program, path))
    }

    /// How podcert is.
    ///
    /// # Errors
    /// When it is not told in JSON.
    pub(crate) async fn status(&self) -> Result<Said> {
        self.report(&["status"]).await
    }

    /// How a pod's certificates are; `pod` with its namespace.
    ///
    /// # Errors
    /// When it is not told in JSON.
    pub(crate) async fn explain(&self, pod: &str) -> Result<Said> {
        self.report(&["explain", "pod", pod]).await
    }

    /// The answer to these words for people.
    ///
    /// # Errors
    /// When the program cannot be run.
    pub(crate) async fn page(&self, words: &[&str]) -> Result<Page> {
        let output = self.run(words).await?;
        let both = [output.stdout, output.stderr].concat();
        let both = String::from_utf8(both)?;
        Ok(Page {
            words: both.split_whitespace().collect::<Vec<_>>().join(" "),
            code: output.status.code(),
        })
    }

    async fn report(&self, words: &[&str]) -> Result<Said> {
        let words = [words, &["--output=json"]].concat();
        let output = self.run(&words).await?;
        let report = serde_json::from_slice(&output.stdout).with_context(|| {
            let said = String::from_utf8_lossy(&output.stderr);
            format!("podcert {}: {}: {said}", words.join(" "), output.status)
        })?;
        Ok(Said {
            report,
            code: output.status.code(),
        })
    }

    async fn run(&self, words: &[&str]) -> Result<Output> {
        let mut command = Command::new(&self.program);
        command.args(words).arg("--kubeconfig");
        let output = command.arg(&self.kubeconfig).kill_on_drop(true).output();
        Ok(output.await?)
    }
}

impl Said {
    /// What is at this JSON pointer; null if nothing is.
    pub(crate) fn at(&self, pointer: &str) -> &Value {
        self.report.pointer(pointer).unwrap_or(&Value::Null)
    }

    /// That the program ended with this.
    ///
    /// # Errors
    /// That it did not, with all it said.
    pub(crate) fn ends_with(&self, code: i32) -> Result<()> {
        ensure!(
            self.code == Some(code),
            "exit code {:?}, not {code}: {:#}",
            self.code,
            self.report
        );
        Ok(())
    }

    /// That these values are at these JSON pointers.
    ///
    /// # Errors
    /// Which is not, with all that was said.
    pub(crate) fn has(&self, values: &[(&str, Value)]) -> Result<()> {
        for (pointer, wanted) in values {
            let found = self.at(pointer);
            ensure!(
                found == wanted,
                "{pointer} is {found}, not {wanted}: {:#}",
                self.report
            );
        }
        Ok(())
    }

    /// How many values are in the list at this pointer.
    pub(crate) fn count(&self, pointer: &str) -> usize {
        self.at(pointer).as_array().map_or(0, Vec::len)
    }

    /// That in the list at this pointer, of texts or of objects, one has all these words.
    ///
    /// # Errors
    /// That none has, with all that was said.
    pub(crate) fn tells(&self, pointer: &str, words: &[&str]) -> Result<()> {
        let items = self.at(pointer).as_array().cloned().unwrap_or_default();
        let texts = items.iter().map(Value::to_string);
        let told = texts
            .into_iter()
            .any(|text| words.iter().all(|word| text.contains(word)));
        ensure!(
            told,
            "nothing in {pointer} says {words:?}: {:#}",
            self.report
        );
        Ok(())
    }

    /// That nothing was hidden but this, in this order.
    ///
    /// # Errors
    /// What was, with all that was said.
    pub(crate) fn hides(&self, what: &[&str]) -> Result<()> {
        let hidden = self.at("/notShown").as_array().cloned();
        let hidden: Vec<Value> = hidden
            .unwrap_or_default()
            .into_iter()
            .map(|one| one["what"].clone())
            .collect();
        ensure!(
            json!(hidden) == json!(what),
            "hidden is {hidden:?}, not {what:?}: {:#}",
            self.report
        );
        Ok(())
    }

    /// The report.
    pub(crate) fn into_report(self) -> Value {
        self.report
    }
}

impl Page {
    /// That it has all these words, and the program ended with this.
    ///
    /// # Errors
    /// What is otherwise, with the page.
    pub(crate) fn says(&self, code: i32, words: &[&str]) -> Result<()> {
        ensure!(
            self.code == Some(code),
            "exit code {:?}, not {code}: {}",
            self.code,
            self.words
        );
        for word in words {
            ensure!(
                self.words.contains(word),
                "it does not say `{word}`: {}",
                self.words
            );
        }
        Ok(())
    }

    /// That it has none of these words.
    ///
    /// # Errors
    /// Which it has, with the page.
    pub(crate) fn is_silent_on(&self, words: &[&str]) -> Result<()> {
        for word in words {
            ensure!(
                !self.words.contains(word),
                "it says `{word}`: {}",
                self.words
            );
        }
        Ok(())
    }
}
