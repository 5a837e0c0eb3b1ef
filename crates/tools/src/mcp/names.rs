//! Names of MCP tools as models see them: `mcp__server__tool`, at most 64 characters of `[a-zA-Z0-9_-]`, never two alike.
use sha2::{Digest, Sha256};

/// Most characters of a tool's name (the limit of the providers).
const NAME_CHARS_MAX: usize = 64;
/// Characters of the digest behind a name that had to be changed.
const DIGEST_CHARS: usize = 8;

/// The name of a server's tool. A pure function of both, so that it is the same after a restart.
///
/// A plain name is given only where it can be taken apart again in one way; every other name is shortened and ends in a digest of
/// what it stands for.
pub(super) fn tool_name(server: &str, tool: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let whole = format!("mcp__{server}__{tool}");
    let clear = !server.contains("__") && !server.ends_with('_') && !server.is_empty() && !tool.is_empty();
    if clear && whole.len() <= NAME_CHARS_MAX && whole.chars().all(plain) {
        return whole;
    }
    let digest: String = Sha256::digest(format!("{server}\0{tool}")).iter().take(DIGEST_CHARS / 2).map(|b| format!("{b:02x}")).collect();
    let mut name: String = whole.chars().map(|c| if plain(c) { c } else { '_' }).collect();
    name.truncate(NAME_CHARS_MAX - DIGEST_CHARS - 1);
    format!("{name}_{digest}")
}

/// A digest as text.
pub(super) fn hex_digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_and_never_collide() {
        assert_eq!(tool_name("github", "create_issue"), "mcp__github__create_issue");
        let pairs =
            [("a", "b__c"), ("a__b", "c"), ("a_", "b"), ("a", "_b"), ("a b", "c"), ("a_b", "c"), ("a.b", "c"), ("", "c"), ("c", "")];
        let long = "x".repeat(100);
        let mut names: Vec<String> = pairs.iter().map(|(s, t)| tool_name(s, t)).collect();
        names.extend([tool_name("s", &long), tool_name("s", &format!("{long}y")), tool_name(&long, "t"), tool_name("ä", "ö")]);
        for name in &names {
            assert!(name.len() <= 64 && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c)), "{name}");
        }
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
