//! Text from models, tools and files, made safe for a terminal: nothing that is printed may steer it.
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Characters that change the direction of text around them, or hide: they make a line look like another one.
fn is_tricky(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{2028}' | '\u{2029}')
}

/// One line: line breaks and tabs become blanks, every other control character a visible mark.
pub(crate) fn clean_line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut blank = false;
    for c in text.trim().chars() {
        if c.is_whitespace() && !is_tricky(c) {
            if !blank {
                out.push(' ');
            }
            blank = true;
            continue;
        }
        blank = false;
        out.push(if c.is_control() || is_tricky(c) { '\u{fffd}' } else { c });
    }
    out
}

/// Several lines: line breaks and tabs stay, every other control character becomes a visible mark.
pub(crate) fn clean_block(text: &str) -> String {
    let keep = |c: char| c == '\n' || c == '\t' || !(c.is_control() || is_tricky(c));
    text.replace("\r\n", "\n").chars().map(|c| if keep(c) { c } else { '\u{fffd}' }).collect()
}

/// JSON with every character that could steer a terminal written as an escape. Outside of texts JSON has none but line breaks.
pub(crate) fn clean_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c != '\n' && (c.is_control() || is_tricky(c)) {
            let mut units = [0; 2];
            c.encode_utf16(&mut units).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}")));
        } else {
            out.push(c);
        }
    }
    out
}

/// Passes text on as [`clean_block`] shows it, however it is cut into pieces; bytes that are no UTF-8 become visible marks.
pub(crate) struct CleanWriter<W: std::io::Write> {
    to: W,
    /// The beginning of a character or a line break whose rest has not come yet.
    held: Vec<u8>,
}

impl<W: std::io::Write> CleanWriter<W> {
    /// A writer before this one. [`CleanWriter::end`] writes what is held at the end.
    pub(crate) fn new(to: W) -> Self {
        Self { to, held: Vec::new() }
    }

    /// Writes the rest.
    ///
    /// # Errors
    /// Those of the writer behind.
    pub(crate) fn end(mut self) -> std::io::Result<()> {
        let rest = String::from_utf8_lossy(&self.held);
        self.to.write_all(clean_block(&rest).as_bytes())?;
        self.to.flush()
    }
}

impl<W: std::io::Write> std::io::Write for CleanWriter<W> {
    fn write(&mut self, piece: &[u8]) -> std::io::Result<usize> {
        self.held.extend_from_slice(piece);
        let whole = match std::str::from_utf8(&self.held) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            // Wrong bytes are marked; a character that is cut at the end behind them is held like any other.
            Err(_) => self.held.len() - self.held.utf8_chunks().last().map_or(0, |chunk| unfinished(chunk.invalid())),
            Ok(_) => self.held.len() - usize::from(self.held.ends_with(b"\r")),
        };
        let ready: Vec<u8> = self.held.drain(..whole).collect();
        self.to.write_all(clean_block(&String::from_utf8_lossy(&ready)).as_bytes())?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.to.flush()
    }
}

/// How many bytes at the end may be the beginning of a character.
fn unfinished(invalid: &[u8]) -> usize {
    match std::str::from_utf8(invalid) {
        Err(error) if error.error_len().is_none() => invalid.len() - error.valid_up_to(),
        Ok(_) | Err(_) => 0,
    }
}

/// How many terminal cells a text takes.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// At most `cells` wide; what is cut off is marked with `mark` (one cell).
pub(crate) fn cut(text: &str, cells: usize, mark: char) -> String {
    if width(text) <= cells {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 0;
    for c in text.chars() {
        let wide = c.width().unwrap_or(0);
        if used + wide + 1 > cells {
            break;
        }
        used += wide;
        out.push(c);
    }
    if cells > 0 {
        out.push(mark);
    }
    out
}

/// A length of time for people: `4.2s`, `3m 12s`, `2h 5m`, `3d 4h`.
pub(crate) fn elapsed(millis: u64) -> String {
    let seconds = millis / 1000;
    match seconds {
        0 if millis < 1000 => format!("{millis}ms"),
        0..=59 => format!("{}.{}s", seconds, millis % 1000 / 100),
        60..=3_599 => format!("{}m {}s", seconds / 60, seconds % 60),
        3_600..=86_399 => format!("{}h {}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// How long ago, for tables: `now`, `12s ago`, `4m ago`, `3h ago`, `2d ago`.
pub(crate) fn ago(millis: i64) -> String {
    let seconds = millis.max(0) / 1000;
    match seconds {
        0..=1 => "now".to_owned(),
        2..=59 => format!("{seconds}s ago"),
        60..=3_599 => format!("{}m ago", seconds / 60),
        3_600..=86_399 => format!("{}h ago", seconds / 3_600),
        _ => format!("{}d ago", seconds / 86_400),
    }
}

/// A whole number with thousands separators: `1,240`.
pub(crate) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, c) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_steers_the_terminal() {
        assert_eq!(clean_line("a\u{1b}[31mb\r\n\tc\u{202e}d "), "a\u{fffd}[31mb c\u{fffd}d");
        assert_eq!(clean_block("a\r\nb\tc\u{7}\u{9b}"), "a\nb\tc\u{fffd}\u{fffd}");
    }

    #[test]
    fn json_for_a_terminal_steers_nothing_and_means_the_same() {
        let value = serde_json::json!({"a": "x\u{9b}31m\u{202e}y\u{7f}\u{1b}]52;", "b": ["ü", "\n"]});
        let shown = clean_json(&serde_json::to_string_pretty(&value).unwrap());
        assert!(shown.contains("x\\u009b31m\\u202ey\\u007f"), "{shown}");
        assert_eq!(clean_block(&shown), shown);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }

    #[test]
    fn a_file_for_a_terminal_is_cleaned_wherever_it_is_cut() {
        use std::io::Write;
        let file = "a\u{1b}]0;t\u{7}\r\nü€\u{9b}\u{202e}z".as_bytes();
        let file = [file, b"\xff\xe2\x82\xac\r"].concat();
        let whole = clean_block(&String::from_utf8_lossy(&file));
        for size in 1..=file.len() {
            let mut out = Vec::new();
            let mut writer = CleanWriter::new(&mut out);
            file.chunks(size).for_each(|piece| writer.write_all(piece).unwrap());
            writer.end().unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), whole, "in pieces of {size}");
        }
    }

    #[test]
    fn cutting_counts_cells() {
        assert_eq!(cut("hello", 5, '…'), "hello");
        assert_eq!(cut("hello!", 5, '…'), "hell…");
        assert_eq!(cut("漢字漢字", 5, '…'), "漢字…");
        assert_eq!(cut("x", 0, '…'), "");
    }

    #[test]
    fn numbers_for_people() {
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!([elapsed(250), elapsed(4_250), elapsed(192_000), elapsed(7_500_000)], ["250ms", "4.2s", "3m 12s", "2h 5m"]);
        assert_eq!([ago(-5), ago(12_000), ago(240_000)], ["now", "12s ago", "4m ago"]);
    }
}
