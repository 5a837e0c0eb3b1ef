//! Sharing the room of a prompt among texts of others: what fits is given whole, the rest cut or left out, always with a word about it.
//! Pure: the same texts and the same room give the same prompt.
use crate::read_output::floor;
use std::fmt::Write as _;

/// Bytes for texts of others in the first message of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    /// Results of other tasks.
    pub(super) given: usize,
    /// Outputs of steps, or a result that is judged or mended.
    pub(super) outputs: usize,
    /// The shared state, and as much again for messages.
    pub(super) shared: usize,
}

impl Room {
    /// The share of each of `all` bytes, where results of other tasks take `given`. A conversation that goes on keeps room for its turns;
    /// one that ends with its first answer (`short`) does not need any.
    pub(super) fn of(all: usize, given: usize, short: bool) -> Self {
        let most_given = all / 4;
        let rest = if short { all / 8 * 7 } else { all / 2 };
        Self { given: most_given, outputs: rest - given.min(most_given), shared: all / 16 }
    }
}

/// A text of somebody else, by what it is called where it is read on.
pub(super) struct Piece<'a> {
    /// The line before it.
    pub(super) heading: String,
    /// A step, or a task.
    pub(super) id: &'a str,
    /// The text.
    pub(super) text: String,
}

/// Longest text that is given whole, and what is left of a longer one, in bytes.
#[derive(Clone, Copy)]
pub(super) struct Cut {
    /// Longest text that is given whole.
    pub(super) whole: usize,
    /// Head and tail of a longer one together.
    pub(super) cut_to: usize,
    /// Whoever reads it can read on with `read_output`.
    pub(super) reads_on: bool,
}

/// Below this many bytes each, texts are only named.
const PIECE_BYTES_MIN: usize = 256;

/// Writes the pieces into `room` bytes (their headings included). Where they do not fit, long ones are cut, all to the same length; where
/// too little would be left of each, they are named.
pub(super) fn pieces(pieces: &[Piece<'_>], room: usize, cut: Cut, out: &mut String) {
    let headings: usize = pieces.iter().map(|p| p.heading.len() + 3).sum();
    let lengths = pieces.iter().map(|p| if p.text.len() > cut.whole { cut.cut_to } else { p.text.len() });
    let each = most_each(lengths, room.saturating_sub(headings));
    if each < PIECE_BYTES_MIN {
        return names(pieces, room, cut.reads_on, out);
    }
    for piece in pieces {
        let text = &piece.text;
        let whole = text.len() <= cut.whole.min(each);
        let shown = if whole { text.clone() } else { cut_to(text, piece.id, cut.cut_to.min(each), cut.reads_on) };
        let _ = write!(out, "\n{}\n{shown}\n", piece.heading);
    }
}

/// What there is and does not fit, as far as the names do.
fn names(pieces: &[Piece<'_>], room: usize, reads_on: bool, out: &mut String) {
    let how = if reads_on { r#"read one with read_output {"of": "<id>"}"# } else { "they are too many and too long" };
    let _ = write!(out, "\n{} texts are left out here; {how}. Their ids and lengths in bytes:", pieces.len());
    let end = out.len() + room;
    for (i, piece) in pieces.iter().enumerate() {
        let name = format!(" {} ({}),", piece.id, piece.text.len());
        if out.len() + name.len() > end {
            let _ = write!(out, " and {} more,", pieces.len() - i);
            break;
        }
        out.push_str(&name);
    }
    out.pop();
    out.push('\n');
}

/// Lines of which each is whole or short, as many as fit into `room` bytes; `more` says what to do about the others.
pub(super) fn lines(lines: impl ExactSizeIterator<Item = String>, room: usize, more: &str, out: &mut String) {
    let (end, all) = (out.len() + room, lines.len());
    for (i, line) in lines.enumerate() {
        if out.len() + line.len() > end {
            let _ = writeln!(out, "[{} more are left out here{more}]", all - i);
            return;
        }
        out.push_str(&line);
        out.push('\n');
    }
}

/// The greatest length that every text may have so that all take no more than `room` bytes: short ones are whole, long ones get the same.
pub(super) fn most_each(lengths: impl Iterator<Item = usize>, room: usize) -> usize {
    let mut lengths: Vec<usize> = lengths.collect();
    lengths.sort_unstable();
    let (mut left, mut others) = (room, lengths.len());
    for length in lengths {
        let each = left / others;
        if length > each {
            return each;
        }
        (left, others) = (left - length, others - 1);
    }
    usize::MAX
}

/// Head and tail of a text (three quarters and one), and how to read the rest.
fn cut_to(text: &str, of: &str, most: usize, reads_on: bool) -> String {
    if !reads_on || text.len() <= most {
        return head_tail(text, most);
    }
    let (head, tail) = ends(text, most);
    format!(
        "{}\n[… {} of {} bytes are left out here: read_output {{\"of\": \"{of}\", \"offset\": {head}}} reads them …]\n{}",
        &text[..head],
        tail - head,
        text.len(),
        &text[tail..]
    )
}

/// A text, or its head and tail with a word about the rest.
pub(super) fn head_tail(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let (head, tail) = ends(text, most);
    format!("{}\n[… {} of {} bytes are left out here …]\n{}", &text[..head], tail - head, text.len(), &text[tail..])
}

/// Where the head of a text that is longer than `most` ends, and where its tail begins.
fn ends(text: &str, most: usize) -> (usize, usize) {
    (floor(text, most / 4 * 3), floor(text, text.len() - most / 4))
}
