//! The live screen: the terminal while it belongs to the demo, and who draws on it.
//!
//! [`Screen::open`] takes the terminal, [`Screen::close`] gives it back; so does a panic, and being
//! dropped. What is drawn is [`view`]'s business alone.

mod view;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use podcert_runtime::SharedClock;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::board::Board;

/// The terminal, taken.
#[derive(Debug)]
pub(super) struct Screen {
    drawing: Option<JoinHandle<io::Result<()>>>,
    keys: Option<std::thread::JoinHandle<()>>,
    closed: Arc<AtomicBool>,
}

impl Screen {
    /// Takes the terminal and draws `board` until closed. `q` and Ctrl-C, which the terminal no longer
    /// turns into a signal, cancel `stop`.
    ///
    /// # Errors
    /// The terminal cannot be set up.
    pub(super) fn open(board: Board, clock: SharedClock, stop: CancellationToken) -> Result<Self> {
        let mut terminal = ratatui::try_init().context("cannot set up the terminal")?;
        let closed = Arc::new(AtomicBool::new(false));
        let done = closed.clone();
        let begin = Instant::now();
        let drawing = tokio::spawn(async move {
            let mut ticks = interval(FRAME);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while !done.load(Ordering::Relaxed) {
                ticks.tick().await;
                let (view, now) = (board.view(), clock.now());
                terminal.draw(|frame| view::draw(frame, &view, now, begin.elapsed()))?;
            }
            Ok(())
        });
        // From here on the terminal is given back whatever happens.
        let mut screen = Self {
            drawing: Some(drawing),
            keys: None,
            closed,
        };
        let done = screen.closed.clone();
        let keys = std::thread::Builder::new()
            .name("keys".to_owned())
            .spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    // A terminal that cannot be read any more has gone: so does the demo.
                    match event::poll(FRAME).and_then(|there| there.then(event::read).transpose()) {
                        Ok(Some(Event::Key(key))) if ends(&key) => stop.cancel(),
                        Ok(_) => {}
                        Err(_) => return stop.cancel(),
                    }
                }
            })
            .context("cannot read the keyboard")?;
        screen.keys = Some(keys);
        Ok(screen)
    }

    /// Gives the terminal back as it was.
    ///
    /// # Errors
    /// Something could not be drawn; the terminal is given back all the same.
    pub(super) async fn close(mut self) -> Result<()> {
        self.closed.store(true, Ordering::Relaxed);
        let drawn = match self.drawing.take() {
            Some(drawing) => drawing.await.context("the screen's task broke")?,
            None => Ok(()),
        };
        if let Some(keys) = self.keys.take() {
            // It looks ten times a second; nothing is lost if it ended by a panic.
            let _ = tokio::task::spawn_blocking(move || keys.join()).await;
        }
        ratatui::try_restore().context("cannot restore the terminal")?;
        drawn.context("cannot draw")
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::Relaxed);
        if let Some(drawing) = self.drawing.take() {
            drawing.abort();
            ratatui::restore();
        }
    }
}

fn ends(key: &KeyEvent) -> bool {
    let interrupt = key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c');
    key.kind == KeyEventKind::Press && (key.code == KeyCode::Char('q') || interrupt)
}

const FRAME: Duration = Duration::from_millis(100);
