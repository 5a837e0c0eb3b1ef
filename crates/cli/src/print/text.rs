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
