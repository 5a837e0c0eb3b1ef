//! Keeps the beginning and the end of a stream of any length in bounded memory.
use std::collections::VecDeque;

/// What was kept of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Captured {
    /// Its beginning.
    pub head: Vec<u8>,
    /// Its end, if it did not fit into the beginning.
    pub tail: Vec<u8>,
    /// All bytes that came.
    pub total: u64,
}

impl Captured {
    /// Bytes that came but were not kept.
    pub fn dropped(&self) -> u64 {
        self.total - (self.head.len() + self.tail.len()) as u64
    }

    /// Looks like something else than text: it has a NUL, or a good part of it is no UTF-8.
    pub fn is_binary(&self) -> bool {
        let bad = |bytes: &[u8]| {
            let replaced = String::from_utf8_lossy(bytes).chars().filter(|c| *c == char::REPLACEMENT_CHARACTER).count();
            bytes.contains(&0) || replaced > 8 + bytes.len() / 10
        };
        bad(&self.head) || bad(&self.tail)
    }

    /// As text, with a note where something was dropped.
    pub fn text(&self) -> String {
        let head = String::from_utf8_lossy(&self.head);
        let tail = String::from_utf8_lossy(&self.tail);
        match self.dropped() {
            0 => format!("{head}{tail}"),
            n => format!("{head}\n[… {n} bytes left out …]\n{tail}"),
        }
    }
}

/// Takes a stream in.
#[derive(Debug)]
pub(crate) struct Capture {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    half: usize,
    total: u64,
}

impl Capture {
    /// Keeps at most `keep` bytes.
    pub(crate) fn new(keep: usize) -> Self {
        Self { head: Vec::new(), tail: VecDeque::new(), half: keep / 2, total: 0 }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let (first, rest) = bytes.split_at(bytes.len().min(self.half - self.head.len()));
        self.head.extend_from_slice(first);
        // Only the last part of a large piece can survive.
        let rest = &rest[rest.len() - rest.len().min(self.half)..];
        let over = (self.tail.len() + rest.len()).saturating_sub(self.half);
        self.tail.drain(..over);
        self.tail.extend(rest);
    }

    /// Bytes kept of the beginning and of the end, and all that came.
    pub(crate) fn lengths(&self) -> (usize, usize, u64) {
        (self.head.len(), self.tail.len(), self.total)
    }

    pub(crate) fn finish(self) -> Captured {
        Captured { head: self.head, tail: self.tail.into(), total: self.total }
    }
}

#[cfg(test)]
mod tests {
    use super::Capture;

    #[test]
    fn keeps_both_ends_and_counts_the_rest() {
        let mut capture = Capture::new(8);
        for piece in [&b"ab"[..], b"cdef", b"0123456789", b"xy"] {
            capture.push(piece);
        }
        let kept = capture.finish();
        assert_eq!((kept.head.as_slice(), kept.tail.as_slice(), kept.total, kept.dropped()), (&b"abcd"[..], &b"89xy"[..], 18, 10));
        assert_eq!(kept.text(), "abcd\n[… 10 bytes left out …]\n89xy");
    }

    #[test]
    fn what_fits_is_whole() {
        let mut capture = Capture::new(8);
        capture.push(b"abcdefgh");
        let kept = capture.finish();
        assert_eq!((kept.text().as_str(), kept.dropped()), ("abcdefgh", 0));
        assert!(!kept.is_binary());
    }
}
