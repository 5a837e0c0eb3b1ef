//! Every limit of the wire, with its unit in the name. The server enforces them; the OpenAPI document states them.

/// Largest request body.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Deepest nesting of arrays and objects in a request body.
pub const BODY_DEPTH_MAX: usize = 64;
/// Longest task description.
pub const DESCRIPTION_BYTES_MAX: usize = 256 * 1024;
/// Longest `context` or `constraints`.
pub const CONTEXT_BYTES_MAX: usize = 256 * 1024;
/// Most agents one task may ask for.
pub const TASK_AGENTS_MAX: u32 = 10_000;
/// Most tasks one task may wait for.
pub const DEPENDENCIES_MAX: usize = 256;
/// Most labels on one task.
pub const LABELS_MAX: usize = 64;
/// Longest key of a label.
pub const LABEL_KEY_BYTES_MAX: usize = 128;
/// Longest value of a label.
pub const LABEL_VALUE_BYTES_MAX: usize = 512;
/// Longest timeout of a task: one year.
pub const TIMEOUT_SECONDS_MAX: u64 = 365 * 24 * 3600;
/// Largest budget of one task, in whole US dollars.
pub const COST_USD_MAX: i64 = 1_000_000;
/// Items on a page when `limit` is not given.
pub const PAGE_ITEMS_DEFAULT: u32 = 50;
/// Most items on a page.
pub const PAGE_ITEMS_MAX: u32 = 500;
/// Longest long-poll (`?wait=`, `Prefer: wait=`).
pub const WAIT_SECONDS_MAX: u64 = 60;
/// Longest `Idempotency-Key`.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;
/// Longest query string value.
pub const QUERY_VALUE_BYTES_MAX: usize = 4096;
/// Most lines one answer of `/api/logs` holds.
pub const LOG_LINES_MAX: u32 = 10_000;
/// Most bytes of text one answer of `/output` holds for each section.
pub const OUTPUT_BYTES_MAX: u64 = 256 * 1024;
/// Largest uploaded file.
pub const FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Longest name of a file in a workspace.
pub const FILE_NAME_BYTES_MAX: usize = 512;
/// Most files attached to one task.
pub const ATTACHMENTS_MAX: usize = 1_000;
/// Most agents one request may spawn.
pub const SPAWN_AGENTS_MAX: u32 = 1_000;
/// Most capabilities an agent may be spawned with.
pub const CAPABILITIES_MAX: usize = 64;
/// Longest capability.
pub const CAPABILITY_BYTES_MAX: usize = 64;
/// Least memory an agent's programs may be given.
pub const AGENT_MEMORY_BYTES_MIN: u64 = 16 << 20;
/// Longest answer of a person.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Longest reason of a refusal.
pub const REASON_BYTES_MAX: usize = 4 * 1024;
