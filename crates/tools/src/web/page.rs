//! What kind of answer it is, in which characters it is written, and how it becomes text.
//!
//! Invariant: decoding never fails; bytes that mean nothing become U+FFFD.
use crate::web::html;
use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};
use url::Url;

/// How far into a page its `<meta charset>` is looked for, bytes (as browsers do).
const META_BYTES: usize = 1024;

/// What an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A page.
    Html,
    /// Text as it is: plain, JSON, XML, source code.
    Text,
    /// Not text.
    Binary,
}

/// The kind, from the declared type; without one, from the first bytes.
pub(crate) fn kind(content_type: &str, start: &[u8]) -> Kind {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let (main, sub) = essence.split_once('/').unwrap_or((&essence, ""));
    match (main, sub) {
        ("text", "html") | ("application", "xhtml+xml") => Kind::Html,
        ("text", _) => Kind::Text,
        (
            "application",
            "json" | "xml" | "javascript" | "ecmascript" | "yaml" | "x-yaml" | "toml" | "sql" | "x-sh" | "x-ndjson" | "graphql",
        ) => Kind::Text,
        ("application", sub) if sub.ends_with("+json") || sub.ends_with("+xml") || sub.ends_with("+yaml") => Kind::Text,
        ("", _) if start.starts_with(b"%PDF") || start.contains(&0) => Kind::Binary,
        ("", _) => match start.trim_ascii_start() {
            [b'<', b'!' | b'h' | b'H', ..] => Kind::Html,
            _ => Kind::Text,
        },
        _ => Kind::Binary,
    }
}

/// The text of bytes. In this order: a byte order mark, the declared charset, `<meta charset>` of a page, UTF-8 if it is valid, Windows-1252.
pub(crate) fn decode(bytes: &[u8], content_type: &str, kind: Kind) -> String {
    let declared = charset(content_type).or_else(|| if kind == Kind::Html { meta_charset(bytes) } else { None });
    // `decode` looks for a byte order mark first.
    let encoding = declared.unwrap_or(if std::str::from_utf8(bytes).is_ok() { UTF_8 } else { WINDOWS_1252 });
    encoding.decode(bytes).0.into_owned()
}

fn charset(content_type: &str) -> Option<&'static Encoding> {
    let value = content_type.split(';').skip(1).find_map(|p| {
        let (name, value) = p.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then_some(value)
    })?;
    Encoding::for_label(value.trim().trim_matches(['"', '\'']).as_bytes())
}

fn meta_charset(bytes: &[u8]) -> Option<&'static Encoding> {
    let start = String::from_utf8_lossy(&bytes[..bytes.len().min(META_BYTES)]).to_ascii_lowercase();
    let after = start.split("<meta").skip(1).find_map(|m| m.split('>').next()?.split("charset").nth(1))?;
    let value = after.trim_start().strip_prefix('=')?.trim_start().trim_start_matches(['"', '\'']);
    let label: String = value.chars().take_while(|c| c.is_ascii_alphanumeric() || "-_:".contains(*c)).collect();
    // A page whose meta could be read as ASCII is not UTF-16, whatever it says (WHATWG).
    let found = Encoding::for_label(label.as_bytes())?;
    Some(if found.is_ascii_compatible() { found } else { UTF_8 })
}

/// A title, if there is one, and readable text; links are made whole from `base`, the address of the page.
pub(crate) fn readable(text: &str, kind: Kind, base: Option<&Url>) -> (Option<String>, String) {
    match kind {
        Kind::Html => html::readable(text, base),
        Kind::Text | Kind::Binary => (None, text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, decode, kind};

    #[test]
    fn kinds() {
        for (content_type, start, expected) in [
            ("text/html; charset=utf-8", &b""[..], Kind::Html),
            ("TEXT/HTML", b"", Kind::Html),
            ("application/xhtml+xml", b"", Kind::Html),
            ("text/plain", b"%PDF", Kind::Text),
            ("text/csv", b"", Kind::Text),
            ("application/json", b"", Kind::Text),
            ("application/atom+xml", b"", Kind::Text),
            ("application/pdf", b"<html>", Kind::Binary),
            ("image/svg+xml", b"", Kind::Binary),
            ("image/png", b"", Kind::Binary),
            ("application/octet-stream", b"text", Kind::Binary),
            ("", b"\n<!doctype html>", Kind::Html),
            ("", b"{}", Kind::Text),
            ("", b"%PDF-1.7", Kind::Binary),
            ("", b"a\0b", Kind::Binary),
            ("nonsense", b"", Kind::Binary),
        ] {
            assert_eq!(kind(content_type, start), expected, "{content_type} {start:?}");
        }
    }

    #[test]
    fn characters_are_found_out() {
        for (bytes, content_type, expected) in [
            (&b"caf\xc3\xa9"[..], "text/plain", "café"),
            (b"caf\xe9", "text/plain", "café"),
            (b"caf\xe9", "text/plain; charset=iso-8859-1", "café"),
            (b"\x83e\x83X\x83g", "text/html; charset=\"Shift_JIS\"", "テスト"),
            (b"<meta charset='windows-1251'>\xcf\xf0", "text/html", "<meta charset='windows-1251'>Пр"),
            (
                b"<meta http-equiv=content-type content='text/html; charset=koi8-r'>\xf0",
                "text/html",
                "<meta http-equiv=content-type content='text/html; charset=koi8-r'>П",
            ),
            (b"\xef\xbb\xbfx", "text/plain; charset=windows-1252", "x"),
            (b"\xff\xfex\0", "text/plain", "x"),
            (b"a\xff", "text/plain; charset=utf-8", "a\u{fffd}"),
            (b"caf\xe9", "text/plain; charset=no-such-thing", "café"),
            (b"<meta charset=utf-16>x", "text/html", "<meta charset=utf-16>x"),
        ] {
            let kind = if content_type.contains("html") { Kind::Html } else { Kind::Text };
            assert_eq!(decode(bytes, content_type, kind), expected);
        }
    }
}
