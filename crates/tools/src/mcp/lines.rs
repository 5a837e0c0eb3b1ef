//! Lines of a child, each within a limit; more is dropped as it comes. Invariant: a cancelled read loses nothing.
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

/// Reads lines of at most `bytes_max` bytes.
pub(super) struct Lines<R> {
    from: BufReader<R>,
    line: Vec<u8>,
    too_long: bool,
    bytes_max: usize,
}

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A line without its end.
    Text(Vec<u8>),
    /// A line above the limit; what it said is gone.
    TooLong,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(super) fn new(from: R, bytes_max: usize) -> Self {
        Self { from: BufReader::new(from), line: Vec::new(), too_long: false, bytes_max }
    }

    /// The next line; `None` at the end. A last line without its end counts.
    pub(super) async fn next(&mut self) -> Option<Line> {
        loop {
            // An error of the pipe is its end: there is nothing else to read from it.
            let available = self.from.fill_buf().await.unwrap_or_default();
            let (end, taken) = match available.iter().position(|b| *b == b'\n') {
                Some(at) => (true, at + 1),
                None => (available.is_empty(), available.len()),
            };
            let text = available[..taken].strip_suffix(b"\n").unwrap_or(&available[..taken]);
            if self.too_long || self.line.len() + text.len() > self.bytes_max {
                self.too_long = true;
                self.line = Vec::new();
            } else {
                self.line.extend_from_slice(text);
            }
            self.from.consume(taken);
            if end {
                let line = std::mem::take(&mut self.line);
                return match (std::mem::take(&mut self.too_long), taken == 0 && line.is_empty()) {
                    (true, _) => Some(Line::TooLong),
                    (false, true) => None,
                    (false, false) => Some(Line::Text(line)),
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_within_the_limit() {
        let text: &[u8] = b"one\n\n1234567890\n12345678901\nlast";
        let mut lines = Lines::new(text, 10);
        let mut all = Vec::new();
        while let Some(line) = lines.next().await {
            all.push(line);
        }
        let text = |t: &str| Line::Text(t.as_bytes().to_vec());
        assert_eq!(all, [text("one"), text(""), text("1234567890"), Line::TooLong, text("last")]);
    }
}
