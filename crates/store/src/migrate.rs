//! Which schema versions there are, and which of them a database has.
//!
//! Invariants: migrations are numbered 1, 2, 3 … and never edited once released; each is one transaction together
//! with its row in `schema_migration`, so a crash leaves it done or not begun; a database that is newer than this
//! program is never touched.
use crate::Micros;

/// One step of the schema and whether a database has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    /// Its number, from 1.
    pub version: u32,
    /// Its name.
    pub name: String,
    /// When it was applied; `None`: it is still to be done.
    pub applied_at: Option<Micros>,
}

/// A step as it is built in.
pub(crate) struct Step {
    /// Its number.
    pub(crate) version: u32,
    /// Its name.
    pub(crate) name: &'static str,
    /// Its statements.
    pub(crate) sql: &'static str,
}

/// The steps for SQLite, in order.
pub(crate) const SQLITE: &[Step] = &[Step { version: 1, name: "base", sql: include_str!("migrations/sqlite/0001_base.sql") }];

/// The newest version among `steps`.
pub(crate) fn newest(steps: &[Step]) -> u32 {
    steps.last().map_or(0, |s| s.version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_count_up_from_one() {
        assert!(SQLITE.iter().map(|s| s.version).eq(1..=newest(SQLITE)));
    }
}
