//! Server-sent events in a buffer, with the places a fault or a pause can go. Invariant: `content` holds the start of every piece of content, in order.

/// A stream, laid out but not sent.
pub(crate) struct Frames {
    pub(crate) buf: Vec<u8>,
    /// Where each frame with content begins.
    pub(crate) content: Vec<usize>,
    /// Where the content ends and the end of the message begins.
    pub(crate) content_end: usize,
    eol: &'static str,
}

impl Frames {
    /// An empty stream.
    pub(crate) fn new(crlf: bool, bom: bool, capacity: usize) -> Self {
        let mut buf = Vec::with_capacity(capacity);
        if bom {
            buf.extend_from_slice("\u{feff}".as_bytes());
        }
        Self { buf, content: Vec::new(), content_end: 0, eol: if crlf { "\r\n" } else { "\n" } }
    }

    /// Adds an event; `name` is empty where the API has no names. The pieces make up the data line.
    pub(crate) fn event(&mut self, name: &str, data: &[&str]) {
        if !name.is_empty() {
            self.push(&["event: ", name, self.eol]);
        }
        self.push(&["data: "]);
        self.push(data);
        self.push(&[self.eol, self.eol]);
    }

    /// Adds an event that carries content.
    pub(crate) fn content(&mut self, name: &str, data: &[&str]) {
        self.content.push(self.buf.len());
        self.event(name, data);
    }

    /// Adds a comment line.
    pub(crate) fn comment(&mut self, text: &str) {
        self.push(&[": ", text, self.eol, self.eol]);
    }

    /// The content is over; what follows says why.
    pub(crate) fn end_content(&mut self) {
        self.content_end = self.buf.len();
    }

    /// Where the first piece of content ends (where the content ends, if there is none or one).
    pub(crate) fn after_first(&self) -> usize {
        self.content.get(1).copied().unwrap_or(self.content_end)
    }

    fn push(&mut self, parts: &[&str]) {
        for part in parts {
            self.buf.extend_from_slice(part.as_bytes());
        }
    }
}

/// A text as a JSON string, with quotes.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    crate::template::push_json_string(&mut out, text);
    out
}
