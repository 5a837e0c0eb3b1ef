//! Pictures that change in place, and waiting for something to draw anew.
//!
//! Invariant: a frame is composed in memory and written with one write; it is never taller than the terminal minus two lines;
//! the cursor comes back however the command ends.
use crate::client;
use crate::error::CliError;
use crate::print::Ui;
use crate::print::text::cut;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use maos_api::query::EventQuery;
use maos_api::stream::StreamItem;
use maos_api::{Client, ClientError};
use std::io::Write;
use std::time::Duration;
use tokio::time::Instant;

/// Pause between two redraws of a list.
const LIST_PAUSE: Duration = Duration::from_millis(500);
/// Lines assumed when the terminal does not tell.
const ROWS_DEFAULT: usize = 24;
/// Lines of the terminal that a frame leaves free.
const ROWS_FREE: usize = 2;

/// A place where frames are drawn.
pub(crate) struct Screen {
    to_stdout: bool,
    tty: bool,
    utf8: bool,
    lines: usize,
    hidden: bool,
    columns: usize,
}

impl Screen {
    /// Draws on stdout; into a pipe each frame is printed below the one before.
    pub(crate) fn of_stdout(ui: &Ui) -> Self {
        Screen { to_stdout: true, tty: ui.out_tty, utf8: ui.utf8, lines: 0, hidden: false, columns: ui.width }
    }

    /// Draws on stderr.
    pub(crate) fn of_stderr(ui: &Ui) -> Self {
        Screen { to_stdout: false, tty: ui.err_tty, utf8: ui.utf8, lines: 0, hidden: false, columns: ui.width }
    }

    /// Replaces the last frame.
    pub(crate) fn draw(&mut self, frame: &str) -> Result<(), CliError> {
        if !self.tty {
            return self.write(frame);
        }
        let (columns, rows) = crossterm::terminal::size().map_or((self.columns, ROWS_DEFAULT), |(w, h)| (usize::from(w), usize::from(h)));
        let text = compose(frame, self.lines, columns, rows, self.utf8, !self.hidden);
        self.hidden = true;
        self.lines = frame.lines().count().min(rows.saturating_sub(ROWS_FREE).max(1));
        self.write(&text)
    }

    /// Takes the frame away and gives the cursor back.
    pub(crate) fn clear(&mut self) {
        if self.tty && self.hidden {
            let up = if self.lines > 0 { format!("\x1b[{}F", self.lines) } else { String::new() };
            drop(self.write(&format!("{up}\x1b[J\x1b[?25h")));
            self.lines = 0;
            self.hidden = false;
        }
    }

    fn write(&self, text: &str) -> Result<(), CliError> {
        let written = if self.to_stdout {
            let mut out = std::io::stdout().lock();
            out.write_all(text.as_bytes()).and_then(|()| out.flush())
        } else {
            std::io::stderr().lock().write_all(text.as_bytes())
        };
        written.map_err(|_| CliError::silent(crate::exit::Exit::BrokenPipe))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if self.tty && self.hidden {
            drop(self.write("\x1b[?25h"));
        }
    }
}

/// The bytes that replace a frame of `old` lines by this one.
fn compose(frame: &str, old: usize, columns: usize, rows: usize, utf8: bool, hide_cursor: bool) -> String {
    let mut text = String::from(if hide_cursor { "\x1b[?25l" } else { "" });
    if old > 0 {
        text.push_str(&format!("\x1b[{old}F"));
    }
    let mark = if utf8 { '…' } else { '~' };
    for line in frame.lines().take(rows.saturating_sub(ROWS_FREE).max(1)) {
        let plain = anstream::adapter::strip_str(line).to_string();
        // A line that would wrap counts as two lines on the screen, so it is cut; colours are given up for it.
        let shown =
            if crate::print::text::width(&plain) < columns { line.to_owned() } else { cut(&plain, columns.saturating_sub(1), mark) };
        text.push_str(&shown);
        text.push_str("\x1b[K\n");
    }
    text.push_str("\x1b[J");
    text
}

/// Tells when tasks have changed, at most twice a second.
pub(crate) struct Changes {
    events: BoxStream<'static, Result<StreamItem, ClientError>>,
    last: Instant,
}

impl Changes {
    /// Changes of all tasks.
    pub(crate) fn of_tasks(client: &Client) -> Self {
        let query = EventQuery { types: vec!["task.*".to_owned(), "step.*".to_owned()], ..EventQuery::default() };
        Changes { events: client.events(&query).boxed(), last: Instant::now() }
    }

    /// Waits for the next change.
    pub(crate) async fn next(&mut self) -> Result<(), CliError> {
        loop {
            match self.events.next().await {
                Some(Ok(StreamItem::Event(_) | StreamItem::Resync(_))) => break,
                Some(Ok(StreamItem::Connected | StreamItem::ServerStopping | StreamItem::Reconnecting { .. } | StreamItem::Ended)) => {}
                Some(Err(error)) => return Err(client::error(error)),
                None => std::future::pending().await,
            }
        }
        let until = self.last + LIST_PAUSE;
        // What comes in meanwhile is shown by the same redraw.
        while Instant::now() < until {
            tokio::select! {
                () = tokio::time::sleep_until(until) => {}
                item = self.events.next() => if let Some(Err(error)) = item { return Err(client::error(error)); },
            }
        }
        self.last = Instant::now();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_never_wraps_and_never_scrolls() {
        let text = compose("one line that is too long\ntwo\nthree\nfour\n", 3, 10, 5, true, false);
        assert_eq!(text, "\x1b[3Fone line…\x1b[K\ntwo\x1b[K\nthree\x1b[K\n\x1b[J");
    }

    #[test]
    fn short_lines_keep_their_colour() {
        let text = compose("\x1b[32mok\x1b[0m\n", 0, 80, 24, true, true);
        assert_eq!(text, "\x1b[?25l\x1b[32mok\x1b[0m\x1b[K\n\x1b[J");
    }
}
