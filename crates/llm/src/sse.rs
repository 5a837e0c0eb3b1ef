//! Cuts a byte stream into server-sent events and hands out their data without copying.
//!
//! Our own, because the crate at hand copies each chunk and field and gives up on odd but harmless lines. Takes LF, CRLF, CR,
//! a byte order mark, comments and unknown fields. Names of events are ignored: both wire formats say the kind in the data.
//! Must not know what the data means. The caller bounds the number of bytes pushed.
use std::ops::Range;

const BOM: &[u8] = b"\xEF\xBB\xBF";

/// The parser's state; memory: one unfinished event.
#[derive(Debug, Default)]
pub(crate) struct Sse {
    buf: Vec<u8>,
    /// Everything before this has been used up.
    line_start: usize,
    /// Everything from `line_start` to here is known to hold no line end.
    scanned: usize,
    started: bool,
    skip_lf: bool,
    data: Data,
}

#[derive(Debug, Default)]
enum Data {
    #[default]
    None,
    /// One `data:` line: a range of `buf`.
    One(Range<usize>),
    /// Several, joined by LF.
    Many(Vec<u8>),
}

/// The data of one event.
#[derive(Debug)]
pub(crate) enum Event {
    /// A range of the parser's buffer.
    Borrowed(Range<usize>),
    /// Joined lines.
    Owned(Vec<u8>),
}

impl Sse {
    /// Adds bytes. Events handed out before are no longer valid.
    pub(crate) fn push(&mut self, chunk: &[u8]) {
        self.compact();
        self.buf.extend_from_slice(chunk);
        if !self.started && (self.buf.len() >= BOM.len() || !BOM.starts_with(&self.buf)) {
            self.started = true;
            if self.buf.starts_with(BOM) {
                self.line_start = BOM.len();
                self.scanned = BOM.len();
            }
        }
    }

    /// Ends the input: a last line or event without its line end counts too (some servers forget it).
    pub(crate) fn finish(&mut self) {
        self.started = true;
        self.compact();
        self.buf.extend_from_slice(b"\n\n");
    }

    fn compact(&mut self) {
        let keep_from = match &self.data {
            Data::One(range) => range.start,
            Data::None | Data::Many(_) => self.line_start,
        };
        if keep_from == 0 {
            return;
        }
        self.buf.drain(..keep_from);
        self.line_start -= keep_from;
        self.scanned = self.scanned.saturating_sub(keep_from).max(self.line_start);
        if let Data::One(range) = &mut self.data {
            *range = range.start - keep_from..range.end - keep_from;
        }
    }

    /// The next complete event that has data.
    pub(crate) fn next(&mut self) -> Option<Event> {
        if !self.started {
            return None;
        }
        loop {
            let line = self.line()?;
            if line.is_empty() {
                match std::mem::take(&mut self.data) {
                    Data::None => {}
                    Data::One(range) => return Some(Event::Borrowed(range)),
                    Data::Many(joined) => return Some(Event::Owned(joined)),
                }
            } else {
                self.field(line);
            }
        }
    }

    /// The bytes of an event.
    pub(crate) fn bytes<'a>(&'a self, event: &'a Event) -> &'a [u8] {
        match event {
            Event::Borrowed(range) => &self.buf[range.clone()],
            Event::Owned(joined) => joined,
        }
    }

    fn line(&mut self) -> Option<Range<usize>> {
        if self.skip_lf && self.line_start < self.buf.len() {
            self.skip_lf = false;
            if self.buf[self.line_start] == b'\n' {
                self.line_start += 1;
            }
        }
        let from = self.scanned.max(self.line_start);
        let Some(end) = self.buf[from..].iter().position(|b| matches!(b, b'\n' | b'\r')).map(|at| from + at) else {
            self.scanned = self.buf.len();
            return None;
        };
        let line = self.line_start..end;
        self.skip_lf = self.buf[end] == b'\r';
        self.line_start = end + 1;
        self.scanned = self.line_start;
        Some(line)
    }

    fn field(&mut self, line: Range<usize>) {
        let text = &self.buf[line.clone()];
        // llama.cpp has sent failures in a field of their own, `error:`.
        let Some(colon) = [&b"data"[..], b"error"].iter().find(|name| text.starts_with(name)).map(|n| n.len()) else {
            return;
        };
        let mut start = match text.get(colon) {
            Some(b':') => line.start + colon + 1,
            None => line.end,
            Some(_) => return,
        };
        if self.buf.get(start).is_some_and(|b| *b == b' ') && start < line.end {
            start += 1;
        }
        let value = start..line.end;
        self.data = match std::mem::take(&mut self.data) {
            Data::None => Data::One(value),
            Data::One(first) => {
                let mut joined = self.buf[first].to_vec();
                joined.push(b'\n');
                joined.extend_from_slice(&self.buf[value]);
                Data::Many(joined)
            }
            Data::Many(mut joined) => {
                joined.push(b'\n');
                joined.extend_from_slice(&self.buf[value]);
                Data::Many(joined)
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::Sse;

    fn events(chunks: &[&[u8]]) -> Vec<String> {
        let mut sse = Sse::default();
        let mut out = Vec::new();
        let mut take = |sse: &mut Sse| {
            while let Some(event) = sse.next() {
                out.push(String::from_utf8_lossy(sse.bytes(&event)).into_owned());
            }
        };
        for chunk in chunks {
            sse.push(chunk);
            take(&mut sse);
        }
        sse.finish();
        take(&mut sse);
        out
    }

    #[test]
    fn every_cut_and_line_end_gives_the_same_events() {
        let lf = "event: a\ndata: {\"x\":\"grüße\"}\n\n: ping\n\ndata:two\ndata:  lines\nid: 7\n\nretry\n\ndata\n\ndata: end";
        let want = vec!["{\"x\":\"grüße\"}", "two\n lines", "", "end"];
        for text in [lf.to_owned(), lf.replace('\n', "\r\n"), lf.replace('\n', "\r"), format!("\u{feff}{lf}")] {
            let bytes = text.as_bytes();
            assert_eq!(events(&[bytes]), want);
            for cut in 0..bytes.len() {
                assert_eq!(events(&[&bytes[..cut], &bytes[cut..]]), want, "cut at {cut}");
            }
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            assert_eq!(events(&single), want);
        }
    }

    #[test]
    fn garbage_gives_nothing() {
        assert!(events(&[b"\xff\xfe\x00 garbage", b"\n\n\r\r\n", b"database: no\n\n"]).is_empty());
        assert!(events(&[]).is_empty());
        assert!(events(&[b"\xEF"]).is_empty());
    }
}
