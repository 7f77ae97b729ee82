//! Telling whoever waits what is being done, how far it is and for how long: a line that is
//! rewritten on a terminal, otherwise a line at the start and one each 15 seconds.

use std::fmt;
use std::io::{IsTerminal as _, Write as _};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

/// What is being done. Clones tell the same listener.
#[derive(Clone)]
pub(crate) struct Progress(Arc<Mutex<Telling>>);

/// One thing to tell.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum News {
    /// Something is begun.
    Begin(String),
    /// How far it is.
    Detail(String),
    /// It is done, with a sentence that stays.
    Done(String),
    /// It is done, and that is all.
    End,
}

struct Telling {
    listener: Listener,
    doing: Option<Doing>,
}

struct Doing {
    what: String,
    detail: String,
    since: Instant,
    told: Instant,
}

enum Listener {
    Terminal,
    Lines,
    Forward(Box<dyn Fn(&News) + Send>),
}

impl Progress {
    /// Tells standard error.
    pub(crate) fn to_stderr() -> Self {
        let terminal = std::io::stderr().is_terminal();
        let progress = Self::new(if terminal {
            Listener::Terminal
        } else {
            Listener::Lines
        });
        progress.tick();
        progress
    }

    /// Hands each piece of news to `forward`, for a [`Self::hear`] elsewhere.
    pub(crate) fn forward(forward: impl Fn(&News) + Send + 'static) -> Self {
        Self::new(Listener::Forward(Box::new(forward)))
    }

    /// Begins something, in place of what was done before.
    pub(crate) fn begin(&self, what: String) {
        self.hear(News::Begin(what));
    }

    /// Says how far it is.
    pub(crate) fn detail(&self, detail: String) {
        self.hear(News::Detail(detail));
    }

    /// Ends it with a sentence that stays, to which the time it took is added.
    pub(crate) fn end_with(&self, done: String) {
        self.hear(News::Done(done));
    }

    /// Ends it.
    pub(crate) fn end(&self) {
        self.hear(News::End);
    }

    /// Tells a piece of news.
    pub(crate) fn hear(&self, news: News) {
        let mut telling = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        telling.hear(news, Instant::now());
    }

    fn new(listener: Listener) -> Self {
        Self(Arc::new(Mutex::new(Telling {
            listener,
            doing: None,
        })))
    }

    /// Keeps the elapsed time moving for as long as anybody holds a clone.
    fn tick(&self) {
        let telling: Weak<Mutex<Telling>> = Arc::downgrade(&self.0);
        // Without the thread there is less to see, nothing else.
        let _ = std::thread::Builder::new()
            .name("progress".to_owned())
            .spawn(move || {
                while let Some(telling) = telling.upgrade() {
                    let mut telling = telling.lock().unwrap_or_else(PoisonError::into_inner);
                    telling.tick(Instant::now());
                    drop(telling);
                    std::thread::sleep(Duration::from_millis(500));
                }
            });
    }
}

impl Telling {
    fn hear(&mut self, news: News, now: Instant) {
        if let Listener::Forward(forward) = &self.listener {
            forward(&news);
            return;
        }
        match news {
            News::Begin(what) => {
                let doing = Doing {
                    what,
                    detail: String::new(),
                    since: now,
                    told: now,
                };
                let line = doing.line(now);
                self.doing = Some(doing);
                self.show(&line);
            }
            News::Detail(detail) => {
                if let Some(doing) = &mut self.doing {
                    doing.detail = detail;
                }
            }
            News::Done(done) => {
                let took = self.doing.take().map(|doing| seconds(doing.since, now));
                let line = match took.as_deref() {
                    None | Some("") => done,
                    Some(took) => format!("{done} in {took}"),
                };
                self.wipe();
                print(&format!("{line}\n"));
            }
            News::End => {
                self.doing = None;
                self.wipe();
            }
        }
    }

    fn tick(&mut self, now: Instant) {
        let every = match self.listener {
            Listener::Terminal => Duration::from_secs(1),
            _ => Duration::from_secs(15),
        };
        let Some(doing) = &mut self.doing else {
            return;
        };
        if now.duration_since(doing.told) < every {
            return;
        }
        doing.told = now;
        let line = doing.line(now);
        self.show(&line);
    }

    fn show(&self, line: &str) {
        match self.listener {
            Listener::Terminal => {
                // A line that wraps cannot be rewritten.
                let line: String = line.chars().take(COLUMNS).collect();
                print(&format!("\r\x1b[K{line}"));
            }
            Listener::Lines => print(&format!("{line}\n")),
            Listener::Forward(_) => {}
        }
    }

    fn wipe(&self) {
        if let Listener::Terminal = self.listener {
            print("\r\x1b[K");
        }
    }
}

impl Doing {
    fn line(&self, now: Instant) -> String {
        let mut line = self.what.clone();
        for more in [self.detail.clone(), seconds(self.since, now)] {
            if !more.is_empty() {
                line.push_str(", ");
                line.push_str(&more);
            }
        }
        line
    }
}

/// As text, and nothing for less than one.
fn seconds(since: Instant, now: Instant) -> String {
    match now.duration_since(since).as_secs() {
        0 => String::new(),
        seconds => format!("{seconds} s"),
    }
}

fn print(text: &str) {
    // A closed terminal is no reason to stop.
    let mut stderr = std::io::stderr().lock();
    let _ = stderr.write_all(text.as_bytes());
    let _ = stderr.flush();
}

impl News {
    /// As one line.
    pub(crate) fn to_line(&self) -> String {
        let (kind, text) = match self {
            Self::Begin(text) => ("begin", text.as_str()),
            Self::Detail(text) => ("detail", text.as_str()),
            Self::Done(text) => ("done", text.as_str()),
            Self::End => ("end", ""),
        };
        format!("{kind} {text}").replace('\n', " ")
    }

    /// From such a line.
    pub(crate) fn from_line(line: &str) -> Option<Self> {
        let (kind, text) = line.split_once(' ')?;
        match kind {
            "begin" => Some(Self::Begin(text.to_owned())),
            "detail" => Some(Self::Detail(text.to_owned())),
            "done" => Some(Self::Done(text.to_owned())),
            "end" => Some(Self::End),
            _ => None,
        }
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Progress")
    }
}

/// As many as every terminal has.
const COLUMNS: usize = 79;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_passes_through_a_line() {
        for news in [
            News::Begin("starting etcd v3".into()),
            News::Detail("12 packages compiled".into()),
            News::Done("built etcd".into()),
            News::End,
        ] {
            assert_eq!(News::from_line(&news.to_line()), Some(news));
        }
        assert_eq!(News::from_line("ready"), None);
        assert_eq!(News::from_line("unknown thing"), None);
    }

    #[test]
    fn a_line_has_detail_and_time_once_there_is_any() {
        let since = Instant::now();
        let mut doing = Doing {
            what: "building etcd".into(),
            detail: String::new(),
            since,
            told: since,
        };
        assert_eq!(doing.line(since), "building etcd");
        doing.detail = "7 packages compiled".into();
        let later = since + Duration::from_secs(61);
        assert_eq!(
            doing.line(later),
            "building etcd, 7 packages compiled, 61 s"
        );
    }
}
