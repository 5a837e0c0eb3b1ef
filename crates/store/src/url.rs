//! Understands the address of a database.
//!
//! Invariant: an error never shows more of an address than its scheme and, for files, its path: the rest may hold
//! a password.
use crate::{Result, StoreError};
use std::path::PathBuf;

/// Where a SQLite database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// In a file.
    File(PathBuf),
    /// In memory, until the store is dropped.
    Memory,
}

/// Parses `sqlite:/path/to.db`, `sqlite:///path/to.db` or `sqlite::memory:`.
pub(crate) fn parse(url: &str) -> Result<Place> {
    let (scheme, rest) = url.split_once(':').unwrap_or(("", url));
    match scheme {
        "sqlite" if rest == ":memory:" => Ok(Place::Memory),
        "sqlite" => match rest.strip_prefix("//").unwrap_or(rest) {
            "" => bad("sqlite:", "the path is missing; write sqlite:/path/to/maos.db"),
            path => Ok(Place::File(PathBuf::from(path))),
        },
        "postgres" | "postgresql" => bad(&format!("{scheme}://…"), "this MAOS was built without PostgreSQL; use sqlite:/path/to/maos.db"),
        _ => bad(&format!("{scheme}:…"), "unknown kind of database; use sqlite:/path/to/maos.db"),
    }
}

fn bad(url: &str, why: &str) -> Result<Place> {
    Err(StoreError::Url { url: url.to_owned(), why: why.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let file = |p: &str| Ok(Place::File(PathBuf::from(p)));
        assert_eq!(parse("sqlite:/a/b.db"), file("/a/b.db"));
        assert_eq!(parse("sqlite:///a/b.db"), file("/a/b.db"));
        assert_eq!(parse("sqlite:b.db"), file("b.db"));
        assert_eq!(parse("sqlite::memory:"), Ok(Place::Memory));
        for bad in ["postgresql://u:secret@h/db", "mysql://u:secret@h/db", "u:secret@h", "sqlite:", ""] {
            let text = parse(bad).unwrap_err().to_string();
            assert!(!text.contains("secret"), "{text}");
        }
    }
}
