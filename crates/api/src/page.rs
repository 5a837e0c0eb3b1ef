//! A page of a list.
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One page of a list, in a stable order; new rows never shift what a cursor points at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct List<T> {
    /// Always `list`.
    #[schema(pattern = "^list$")]
    pub object: String,
    /// The rows.
    pub data: Vec<T>,
    /// More rows follow; `next_cursor` leads to them.
    pub has_more: bool,
    /// Opaque; give it back as `cursor=`.
    pub next_cursor: Option<String>,
    /// Opaque; leads to the page before.
    pub prev_cursor: Option<String>,
    /// Exact number of rows that match, when asked for with `include=total`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
}

impl<T> List<T> {
    /// A list that fits on one page.
    pub fn whole(data: Vec<T>) -> Self {
        Self { object: "list".into(), data, has_more: false, next_cursor: None, prev_cursor: None, total: None }
    }
}
