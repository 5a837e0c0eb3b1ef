//! Text of strangers, made fit for a prompt, a log or a terminal: no control characters, no invisible ones, a limit.
//!
//! Invariant: nothing here judges what a text says; whoever reads it must still take it for data.

/// Whether a character says something to a reader. Invisible and direction-changing ones hide text from people, not from models.
fn visible(c: char) -> bool {
    let hides = matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
        || ('\u{e0000}'..='\u{e0fff}').contains(&c);
    !hides && (!c.is_control() || matches!(c, '\n' | '\t'))
}

/// The text without what does not show, at most `bytes_max` bytes of it.
pub(super) fn clean(text: &str, bytes_max: usize) -> String {
    let mut out: String = text.chars().filter(|c| visible(*c)).collect();
    if out.len() > bytes_max {
        out.truncate(floor(&out, bytes_max.saturating_sub('…'.len_utf8())));
        out.push('…');
    }
    out
}

/// One line for a log: terminal sequences and control characters left out.
pub(super) fn log_line(bytes: &[u8], bytes_max: usize) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != '\u{1b}' {
            out.push(c);
            continue;
        }
        match rest.next() {
            // A control sequence ends with a letter or one of `@[\]^_`{|}~`.
            Some('[') => drop(rest.find(|c| ('\u{40}'..='\u{7e}').contains(c))),
            // A system command (a title, a link) ends with BEL or ESC \.
            Some(']' | 'P' | 'X' | '^' | '_') => {
                while let Some(c) = rest.next() {
                    if c == '\u{7}' || (c == '\u{1b}' && rest.next() == Some('\\')) {
                        break;
                    }
                }
            }
            _ => {}
        }
    }
    clean(&out, bytes_max).replace(['\n', '\t'], " ")
}

/// The text itself, or its beginning and its end with a note of what is left out between them.
pub(crate) fn head_and_tail(text: String, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text;
    }
    let head = floor(&text, bytes_max / 2);
    let mut tail = text.len() - bytes_max / 2;
    while !text.is_char_boundary(tail) {
        tail += 1;
    }
    format!("{}\n[… {} bytes left out …]\n{}", &text[..head], tail - head, &text[tail..])
}

/// The next character boundary at or below `at`.
fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_show_is_left_out() {
        let hidden: String = "ignore".chars().map(|c| char::from_u32(0xE0000 + c as u32).unwrap()).collect();
        assert_eq!(clean(&format!("a\u{0}\u{1b}[31m\u{202e}b\u{200b}c{hidden}\n\td"), 100), "a[31mbc\n\td");
        assert_eq!(clean("äöü", 5), "ä…");
    }

    #[test]
    fn a_log_line_has_no_terminal_sequences() {
        assert_eq!(log_line(b"\x1b[1;31mred\x1b[0m \x1b]0;title\x07x\x1b]8;;http://e\x1b\\y\x1bcz\x07\xff", 100), "red xyz\u{fffd}");
        assert_eq!(log_line(b"\x1b[", 10), "");
    }

    #[test]
    fn a_long_text_keeps_head_and_tail() {
        assert_eq!(head_and_tail("short".into(), 10), "short");
        let long = head_and_tail(format!("HEAD{}ENDE", "ä".repeat(1000)), 100);
        assert!(long.starts_with("HEADä") && long.ends_with("äENDE") && long.contains("bytes left out") && long.len() < 140, "{long}");
    }
}
