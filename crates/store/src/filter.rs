//! Turns a list filter and a page into SQL text and its arguments; shared by all back-ends.
//!
//! Invariants: values never enter the text, only placeholders do; placeholders first appear in ascending order;
//! every list is paged by key, never by offset. It must not know a driver.
use crate::sql;
use crate::types::{Cursor, Filter, PAGE_ROWS_MAX, Page, SortBy};
use crate::{Result, StoreError};

/// Longest text to search for, in bytes.
pub(crate) const QUERY_BYTES_MAX: usize = 255;
/// Most values in one field of a filter.
const FILTER_VALUES_MAX: usize = 64;

/// One argument of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Arg {
    /// An integer.
    Int(i64),
    /// A text.
    Text(String),
}

/// A statement under construction.
#[derive(Debug, Default)]
pub(crate) struct Query {
    /// The text.
    pub(crate) sql: String,
    /// The arguments, `$1` first.
    pub(crate) args: Vec<Arg>,
}

impl Query {
    fn arg(&mut self, arg: Arg) {
        self.args.push(arg);
        self.sql.push('$');
        self.sql.push_str(&self.args.len().to_string());
    }

    fn text(&mut self, value: &str) {
        self.arg(Arg::Text(value.to_owned()));
    }

    fn one_of(&mut self, column: &str, values: Vec<Arg>) -> Result<()> {
        if values.is_empty() {
            return Ok(());
        }
        if values.len() > FILTER_VALUES_MAX {
            return Err(StoreError::TooLarge { what: "a filter", size: values.len(), limit: FILTER_VALUES_MAX });
        }
        self.sql.push_str(" AND ");
        self.sql.push_str(column);
        self.sql.push_str(" IN (");
        for (i, value) in values.into_iter().enumerate() {
            if i > 0 {
                self.sql.push(',');
            }
            self.arg(value);
        }
        self.sql.push(')');
        Ok(())
    }

    fn demands(&mut self, f: &Filter) -> Result<()> {
        self.sql.push_str(" WHERE 1 = 1");
        self.one_of("t.status", f.status.iter().map(|s| Arg::Text(s.clone())).collect())?;
        self.one_of("t.kind", f.kind.iter().map(|s| Arg::Text(s.clone())).collect())?;
        self.one_of("t.priority", f.priority.iter().map(|p| Arg::Int(i64::from(*p))).collect())?;
        if f.labels.len() > FILTER_VALUES_MAX {
            return Err(StoreError::TooLarge { what: "a filter", size: f.labels.len(), limit: FILTER_VALUES_MAX });
        }
        for (label, value) in &f.labels {
            self.sql.push_str(" AND t.task IN (SELECT l.task FROM task_label l WHERE l.label = ");
            self.text(label);
            self.sql.push_str(" AND l.value = ");
            self.text(value);
            self.sql.push(')');
        }
        if let Some(batch) = &f.batch {
            self.sql.push_str(" AND t.batch = ");
            self.text(batch);
        }
        if let Some(at) = f.created_after {
            self.sql.push_str(" AND t.created_at >= ");
            self.arg(Arg::Int(at));
        }
        if let Some(at) = f.created_before {
            self.sql.push_str(" AND t.created_at < ");
            self.arg(Arg::Int(at));
        }
        if let Some(q) = f.q.as_deref().filter(|q| !q.is_empty()) {
            if q.len() > QUERY_BYTES_MAX {
                return Err(StoreError::TooLarge { what: "a search text", size: q.len(), limit: QUERY_BYTES_MAX });
            }
            self.sql.push_str(" AND EXISTS (SELECT 1 FROM task_text x WHERE x.task = t.task AND x.search LIKE ");
            self.text(&like(q));
            self.sql.push_str(" ESCAPE '\\')");
        }
        Ok(())
    }

    fn behind(&mut self, sort: SortBy, descending: bool, cursor: &Cursor) {
        let than = if descending { "<" } else { ">" };
        match sort {
            SortBy::Created => self.sql.push_str(&format!(" AND (t.created_at, t.task) {than} (")),
            SortBy::Priority => {
                self.sql.push_str(&format!(" AND (t.priority, t.created_at, t.task) {than} ("));
                self.arg(Arg::Int(i64::from(cursor.priority)));
                self.sql.push_str(", ");
            }
        }
        self.arg(Arg::Int(cursor.created_at));
        self.sql.push_str(", ");
        self.text(&cursor.task);
        self.sql.push(')');
    }
}

/// `SELECT` of one page of tasks.
pub(crate) fn list(filter: &Filter, page: &Page) -> Result<Query> {
    let mut q = Query::default();
    q.sql.push_str("SELECT ");
    q.sql.push_str(sql::LISTED);
    q.sql.push_str(" FROM task t");
    q.demands(filter)?;
    if let Some(cursor) = &page.after {
        q.behind(page.sort, page.descending, cursor);
    }
    let way = if page.descending { "DESC" } else { "ASC" };
    q.sql.push_str(&match page.sort {
        SortBy::Created => format!(" ORDER BY t.created_at {way}, t.task {way} LIMIT "),
        SortBy::Priority => {
            format!(" ORDER BY t.priority {way}, t.created_at {way}, t.task {way} LIMIT ")
        }
    });
    q.arg(Arg::Int(i64::from(page.limit.min(PAGE_ROWS_MAX))));
    Ok(q)
}

/// `SELECT COUNT(*)` of the tasks that pass.
pub(crate) fn count(filter: &Filter) -> Result<Query> {
    let mut q = Query { sql: "SELECT COUNT(*) FROM task t".to_owned(), args: Vec::new() };
    q.demands(filter)?;
    Ok(q)
}

/// A pattern for `LIKE … ESCAPE '\'` that finds `q` anywhere, in lower case.
fn like(q: &str) -> String {
    let mut pattern = String::with_capacity(q.len() + 2);
    pattern.push('%');
    for c in q.to_lowercase().chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_never_enter_the_text_and_placeholders_ascend() {
        let filter = Filter {
            status: vec!["RUNNING".into(), "x' OR 1=1 --".into()],
            kind: vec!["coding".into()],
            priority: vec![2],
            labels: vec![("team".into(), "a".into())],
            q: Some("50%_\\".into()),
            batch: Some("b".into()),
            created_after: Some(1),
            created_before: Some(2),
        };
        let after = Some(Cursor { priority: 1, created_at: 5, task: "t".into() });
        let q = list(&filter, &Page { sort: SortBy::Priority, descending: true, after, limit: 9999 }).unwrap();
        assert!(!q.sql.contains("OR 1=1"));
        let seen: Vec<usize> =
            q.sql.split('$').skip(1).map(|s| s.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()).collect();
        assert_eq!(seen, (1..=q.args.len()).collect::<Vec<_>>());
        assert_eq!(q.args.last(), Some(&Arg::Int(i64::from(PAGE_ROWS_MAX))));
        assert!(q.args.contains(&Arg::Text("%50\\%\\_\\\\%".into())));
    }
}
