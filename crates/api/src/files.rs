//! Files on the wire: what is uploaded, attached to a task, and made by it.
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::limits::FILE_NAME_BYTES_MAX;
use crate::time::Time;

/// A file that was uploaded. The same content always has the same id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Upload {
    /// Always `file`.
    pub object: String,
    /// By which it is attached to tasks.
    pub file_id: String,
    /// Its size.
    pub bytes: u64,
}

/// An uploaded file in a task's workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Attachment {
    /// Its name in the workspace, with `/` between folders: `data/sales.csv`.
    #[schema(min_length = 1, max_length = 512)]
    pub name: String,
    /// From `POST /api/files`.
    #[schema(min_length = 1, max_length = 128)]
    pub file_id: String,
}

/// A file a task made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Artifact {
    /// Its name in the task's workspace, with `/` between folders.
    pub name: String,
    /// Size in bytes.
    pub bytes: u64,
    /// MIME type, by its ending.
    pub media_type: String,
    /// When it was last written.
    pub modified: Option<Time>,
}

/// Why a name cannot be that of a file in a workspace; `None` if it can. Such a name stays below whatever folder it is joined to.
pub fn bad_name(name: &str) -> Option<String> {
    if name.is_empty() || name.len() > FILE_NAME_BYTES_MAX {
        return Some(format!("must have 1 to {FILE_NAME_BYTES_MAX} bytes"));
    }
    if name.chars().any(|c| c.is_control() || c == '\\') {
        return Some("must not hold control characters or backslashes".into());
    }
    let plain = |part: &str| !part.is_empty() && part != "." && part != ".." && part.len() <= 255;
    (!name.split('/').all(plain)).then(|| "must be a relative path without '.', '..' or empty parts".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_below_their_folder() {
        for name in ["a.csv", "data/sales 2024.csv", ".env", "a/.hidden", "ü/日本.txt", "...", "a..b"] {
            assert_eq!(bad_name(name), None, "{name}");
        }
        let long = "x".repeat(513);
        for name in ["", "/etc/passwd", "../a", "a/../../b", "a//b", "./a", "a/", "a\0b", "a\nb", "a\\..\\b", "..", ".", long.as_str()] {
            assert!(bad_name(name).is_some(), "{name}");
        }
    }
}
