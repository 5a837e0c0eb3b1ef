//! Words of definitions: sizes, durations, and the word that was probably meant.

/// Most edits between a word and what was probably meant.
const EDITS_MAX: usize = 2;

const SIZE_UNITS: [(&str, u64); 13] = [
    ("b", 1),
    ("k", 1_000),
    ("kb", 1_000),
    ("kib", 1 << 10),
    ("m", 1_000_000),
    ("mb", 1_000_000),
    ("mib", 1 << 20),
    ("g", 1_000_000_000),
    ("gb", 1_000_000_000),
    ("gib", 1 << 30),
    ("t", 1_000_000_000_000),
    ("tb", 1_000_000_000_000),
    ("tib", 1 << 40),
];

const DURATION_UNITS: [(&str, u64); 5] = [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400), ("w", 604_800)];

/// Bytes of a size: `2GB`, `512 MB`, `1GiB`, `1.5g`, or a bare number of bytes.
pub(super) fn size(text: &str) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = (&text[..end], text[end..].trim().to_ascii_lowercase());
    let factor = if unit.is_empty() { 1 } else { SIZE_UNITS.iter().find(|(name, _)| *name == unit)?.1 };
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || part.len() > 6 {
        return None;
    }
    let millionths = whole.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(format!("{part:0<6}").parse().ok()?)?;
    u64::try_from(u128::from(millionths) * u128::from(factor) / 1_000_000).ok()
}

/// Seconds of a duration: a bare number of seconds, or numbers with the units s, m, h, d, w (`1h30m`).
pub(super) fn seconds(text: &str) -> Option<u64> {
    let text = text.trim();
    if text.is_empty() || text.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse().ok();
    }
    let (mut rest, mut sum) = (text, 0_u64);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let (_, factor) = DURATION_UNITS.iter().find(|(unit, _)| *unit == &rest[..letters])?;
        sum = sum.checked_add(number.checked_mul(*factor)?)?;
        rest = &rest[letters..];
    }
    Some(sum)
}

/// The candidate at most two edits away.
pub(super) fn closest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates.map(|c| (distance(word, c), c)).filter(|(edits, _)| *edits <= EDITS_MAX).min_by_key(|(edits, _)| *edits).map(|(_, c)| c)
}

/// Insertions, deletions and replacements between two words, ignoring case.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.to_lowercase().chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replace = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replace.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// `; did you mean 'x'? Known: a, b, c` for a word that is none of those.
pub(super) fn instead(word: &str, known: &[&str]) -> String {
    let meant = closest(word, known.iter().copied()).map_or_else(String::new, |w| format!("; did you mean '{w}'?"));
    format!("{meant} (there are: {})", if known.is_empty() { "none".to_owned() } else { known.join(", ") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations() {
        assert_eq!(
            ["2GB", "512MB", "1GiB", "1.5 kib", "70", "2g"].map(size),
            [Some(2_000_000_000), Some(512_000_000), Some(1 << 30), Some(1_536), Some(70), Some(2_000_000_000)]
        );
        assert_eq!(["", "GB", "1.2.3GB", "-1GB", "1XB", "99999999999999999999"].map(size), [None; 6]);
        assert_eq!(["7200", "2h", "1h30m", "90s", "1w"].map(seconds), [Some(7_200), Some(7_200), Some(5_400), Some(90), Some(604_800)]);
        assert_eq!(["", "h", "5 m", "1.5h", "2x", "99999999999999999999s"].map(seconds), [None; 6]);
    }

    #[test]
    fn what_was_meant() {
        assert_eq!(closest("web_serch", ["web_search", "web_fetch"].into_iter()), Some("web_search"));
        assert_eq!(closest("wizard", ["web_search"].into_iter()), None);
        assert_eq!(instead("resercher", &["researcher", "coder"]), "; did you mean 'researcher'? (there are: researcher, coder)");
    }
}
