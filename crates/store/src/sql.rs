//! The SQL text that SQLite and PostgreSQL share.
//!
//! Invariants: placeholders are `$1, $2 …` and first appear in ascending order (SQLite numbers them by first
//! appearance); nothing here is peculiar to one database; only [`CLAIM`] differs on PostgreSQL, which adds
//! `FOR UPDATE SKIP LOCKED` to its inner select. There are no triggers and no functions of a database.
//!
//! `event.gseq` must grow in commit order. On SQLite there is one writer, so an auto-increment key does. On
//! PostgreSQL identity values commit out of order and a reader of the feed would skip rows: there the numbers
//! have to come from a counter row that is updated (and so locked) as the last statement of a transaction.

/// The usual append: nothing that an index or the queue looks at has changed, so no index is touched.
pub(crate) const APPEND_SAME: &str = "UPDATE task SET seq = $1, hash = $2, json = $3 \
    WHERE task = $4 AND epoch = $5 AND owner = $6 AND seq = $7 AND hash = $8 \
    AND status = $9 AND kind IS NOT DISTINCT FROM $10 AND priority = $11 AND lane = $12 AND terminal = $13 \
    AND wake_at IS NOT DISTINCT FROM $14";
/// The append that changes everything a commit may change.
pub(crate) const APPEND: &str = "UPDATE task SET seq = $1, hash = $2, json = $3, status = $4, kind = $5, \
    priority = $6, lane = $7, terminal = $8, wake_at = $9 \
    WHERE task = $10 AND epoch = $11 AND owner = $12 AND seq = $13 AND hash = $14";
/// Who may append to a task, to tell a stale owner from a stale head.
pub(crate) const LEASE: &str = "SELECT epoch, owner FROM task WHERE task = $1";
pub(crate) const HEAD: &str = "SELECT seq, hash FROM task WHERE task = $1";

pub(crate) const EVENT_INSERT: &str = "INSERT INTO event (task, seq, epoch, at, kind, body, hash) VALUES ($1, $2, $3, $4, $5, $6, $7)";
pub(crate) const EVENT_READ: &str = "SELECT gseq, task, seq, epoch, at, kind, body, hash FROM event \
    WHERE task = $1 AND seq >= $2 ORDER BY seq LIMIT $3";
pub(crate) const FEED: &str = "SELECT gseq, task, seq, epoch, at, kind, body, hash FROM event \
    WHERE gseq > $1 ORDER BY gseq LIMIT $2";
/// Within one task the order of `seq` is the order of `gseq`.
pub(crate) const FEED_TASK: &str = "SELECT gseq, task, seq, epoch, at, kind, body, hash FROM event \
    WHERE task = $1 AND gseq > $2 ORDER BY seq LIMIT $3";
pub(crate) const LAST_GSEQ: &str = "SELECT MAX(gseq) FROM event";

pub(crate) const SNAPSHOT_PUT: &str = "INSERT INTO snapshot (task, seq, hash, body) VALUES ($1, $2, $3, $4) \
    ON CONFLICT (task) DO UPDATE SET seq = excluded.seq, hash = excluded.hash, body = excluded.body";
pub(crate) const SNAPSHOT: &str = "SELECT seq, hash, body FROM snapshot WHERE task = $1";
pub(crate) const BLOB_PUT: &str = "INSERT INTO blob (hash, body) VALUES ($1, $2) ON CONFLICT (hash) DO NOTHING";
pub(crate) const BLOB: &str = "SELECT body FROM blob WHERE hash = $1";

pub(crate) const TASK_INSERT: &str = "INSERT INTO task (task, seq, hash, epoch, owner, status, kind, priority, \
    lane, terminal, ready, wake_at, created_at, batch, json) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) ON CONFLICT (task) DO NOTHING";
pub(crate) const TEXT_INSERT: &str = "INSERT INTO task_text (task, description, search) VALUES ($1, $2, $3)";
pub(crate) const TASK_END: &str = "SELECT terminal, status FROM task WHERE task = $1";
pub(crate) const LABEL_CLEAR: &str = "DELETE FROM task_label WHERE task = $1";
pub(crate) const LABEL_PUT: &str = "INSERT INTO task_label (task, label, value) VALUES ($1, $2, $3)";

pub(crate) const DEP_PUT: &str = "INSERT INTO dep (on_task, task) VALUES ($1, $2) ON CONFLICT (on_task, task) DO NOTHING";
/// Tells everybody who waits for a task ($3 is the input, $4 the task).
pub(crate) const DEP_TELL: &str = "INSERT INTO inbox (task, at, json) SELECT task, $1, $2 FROM dep WHERE on_task = $3";
pub(crate) const DEP_WAKE: &str = "UPDATE task SET wake_at = $1 \
    WHERE owner IS NULL AND (wake_at IS NULL OR wake_at > $1) \
    AND task IN (SELECT task FROM dep WHERE on_task = $2)";
pub(crate) const DEP_DONE: &str = "DELETE FROM dep WHERE on_task = $1";

pub(crate) const INBOX_PUT: &str = "INSERT INTO inbox (task, at, json) VALUES ($1, $2, $3)";
pub(crate) const INBOX_USED: &str = "DELETE FROM inbox WHERE id = $1 AND task = $2";
pub(crate) const INBOX: &str = "SELECT id, at, json FROM inbox WHERE task = $1 ORDER BY id LIMIT $2";
/// Makes a task due. A held task is left alone: giving its lease back looks into the inbox.
pub(crate) const WAKE: &str = "UPDATE task SET wake_at = CASE WHEN owner IS NULL \
    AND (wake_at IS NULL OR wake_at > $1) THEN $1 ELSE wake_at END WHERE task = $2";

/// Gives a lease back; a task with mail is due at once.
pub(crate) const RELEASE: &str = "UPDATE task SET owner = NULL, ready = 0, \
    wake_at = CASE WHEN EXISTS (SELECT 1 FROM inbox WHERE inbox.task = task.task) THEN 0 ELSE wake_at END \
    WHERE task = $1 AND epoch = $2 AND owner = $3";
/// Takes the leases of one dead owner away. Its tasks are due at once: a needless claim is cheap, a missed one
/// leaves a task stuck.
pub(crate) const SWEEP: &str = "UPDATE task SET owner = NULL, ready = 0, \
    wake_at = CASE WHEN terminal = 0 OR EXISTS (SELECT 1 FROM inbox WHERE inbox.task = task.task) \
    THEN 0 ELSE wake_at END WHERE owner = $1";
/// The same for everybody but one.
pub(crate) const SWEEP_OTHERS: &str = "UPDATE task SET owner = NULL, ready = 0, \
    wake_at = CASE WHEN terminal = 0 OR EXISTS (SELECT 1 FROM inbox WHERE inbox.task = task.task) \
    THEN 0 ELSE wake_at END WHERE owner IS NOT NULL AND owner <> $1";

pub(crate) const NODE_PUT: &str = "INSERT INTO node (owner, lease_until) VALUES ($1, $2) \
    ON CONFLICT (owner) DO UPDATE SET lease_until = excluded.lease_until";
pub(crate) const NODE_RENEW: &str = "UPDATE node SET lease_until = $1 WHERE owner = $2";
pub(crate) const NODE_DEAD: &str = "DELETE FROM node WHERE lease_until < $1 AND owner <> $2 RETURNING owner";
pub(crate) const NODE_OTHERS: &str = "DELETE FROM node WHERE owner <> $1";

/// Moves tasks whose time has come from the timer index to the claim index, the longest due first.
pub(crate) const PROMOTE: &str = "UPDATE task SET ready = 1 WHERE task IN (SELECT task FROM task \
    WHERE ready = 0 AND owner IS NULL AND wake_at <= $1 ORDER BY wake_at LIMIT $2)";
/// Claims from the start of the claim index. PostgreSQL adds `FOR UPDATE SKIP LOCKED` to the inner select.
pub(crate) const CLAIM: &str = "UPDATE task SET epoch = epoch + 1, owner = $1, ready = 0 \
    WHERE task IN (SELECT task FROM task WHERE ready = 1 AND lane <= $2 \
    ORDER BY lane, created_at, task LIMIT $3) \
    RETURNING task, epoch, seq, hash, lane, created_at";
pub(crate) const ANY_READY: &str = "SELECT 1 FROM task WHERE ready = 1 LIMIT 1";
pub(crate) const NEXT_WAKE: &str = "SELECT MIN(wake_at) FROM task WHERE ready = 0 AND owner IS NULL AND wake_at IS NOT NULL";

pub(crate) const IDEM_GET: &str = "SELECT task, body_hash, at FROM idempotency WHERE path = $1 AND idem_key = $2";
pub(crate) const IDEM_PUT: &str = "INSERT INTO idempotency (path, idem_key, body_hash, task, at) \
    VALUES ($1, $2, $3, $4, $5) ON CONFLICT (path, idem_key) \
    DO UPDATE SET body_hash = excluded.body_hash, task = excluded.task, at = excluded.at";
/// Forgets old keys a few at a time, so that no submit pays for a long pause.
pub(crate) const IDEM_FORGET: &str = "DELETE FROM idempotency WHERE (path, idem_key) IN \
    (SELECT path, idem_key FROM idempotency WHERE at < $1 ORDER BY at LIMIT 64)";

pub(crate) const LEDGER_ADD: &str = "INSERT INTO ledger (ledger_key, used) VALUES ($1, $2) \
    ON CONFLICT (ledger_key) DO UPDATE SET used = ledger.used + excluded.used RETURNING used";
pub(crate) const LEDGER: &str = "SELECT used FROM ledger WHERE ledger_key = $1";

pub(crate) const DOC_PUT: &str = "INSERT INTO doc (kind, doc_key, json, revision) VALUES ($1, $2, $3, 1) \
    ON CONFLICT (kind, doc_key) DO UPDATE SET json = excluded.json, revision = doc.revision + 1 \
    RETURNING revision";
pub(crate) const DOC_NEW: &str = "INSERT INTO doc (kind, doc_key, json, revision) VALUES ($1, $2, $3, 1) \
    ON CONFLICT (kind, doc_key) DO NOTHING RETURNING revision";
pub(crate) const DOC_CHANGE: &str = "UPDATE doc SET json = $1, revision = revision + 1 \
    WHERE kind = $2 AND doc_key = $3 AND revision = $4 RETURNING revision";
pub(crate) const DOC_DELETE: &str = "DELETE FROM doc WHERE kind = $1 AND doc_key = $2 RETURNING revision";
pub(crate) const DOC_DELETE_AT: &str = "DELETE FROM doc WHERE kind = $1 AND doc_key = $2 AND revision = $3 RETURNING revision";
pub(crate) const DOC_REVISION: &str = "SELECT revision FROM doc WHERE kind = $1 AND doc_key = $2";
pub(crate) const DOC_GET: &str = "SELECT kind, doc_key, json, revision FROM doc WHERE kind = $1 AND doc_key = $2";
pub(crate) const DOC_LIST: &str = "SELECT kind, doc_key, json, revision FROM doc \
    WHERE kind = $1 AND doc_key > $2 ORDER BY doc_key LIMIT $3";

pub(crate) const STATUS_COUNTS: &str = "SELECT status, COUNT(*) FROM task GROUP BY status ORDER BY status";

/// Columns of a listed task, in the order the back-ends decode them; `t` is the task table.
pub(crate) const LISTED: &str = "t.task, t.created_at, t.batch, \
    (SELECT x.description FROM task_text x WHERE x.task = t.task), t.status, t.kind, t.priority, t.lane, \
    t.terminal, t.wake_at, t.json, t.seq, t.hash, t.epoch, t.owner";

#[cfg(test)]
mod tests {
    /// Every statement of this file, by name.
    fn statements() -> Vec<(String, String)> {
        let text = include_str!("sql.rs").split("#[cfg(test)]").next().unwrap();
        let consts = text.split("pub(crate) const ").skip(1);
        let all: Vec<_> = consts
            .filter_map(|c| {
                let (name, rest) = c.split_once(": &str =")?;
                let sql = rest.trim_start().strip_prefix('"')?.split('"').next()?;
                Some((name.to_owned(), sql.replace("\\\n", " ")))
            })
            .collect();
        assert!(all.len() > 50, "{}", all.len());
        all
    }

    #[test]
    fn placeholders_first_appear_in_ascending_order() {
        for (name, sql) in statements() {
            let mut most = 0;
            for part in sql.split('$').skip(1) {
                let digits: String = part.chars().take_while(char::is_ascii_digit).collect();
                let n: u32 = digits.parse().unwrap();
                assert!(n <= most + 1, "{name}: ${n} appears before ${}", most + 1);
                most = most.max(n);
            }
            assert!(!sql.contains('?'), "{name}");
        }
    }

    #[test]
    fn nothing_is_peculiar_to_one_database() {
        let foreign = [
            "pg_",
            "listen",
            "notify",
            "serial",
            "trigger",
            "create ",
            "lock table",
            "with ties",
            "insert or",
            "replace into",
            "rowid",
            "json_",
            "datetime",
            "strftime",
            "glob",
            "now()",
            "pragma",
            "ifnull",
            "::",
        ];
        for (name, sql) in statements() {
            let sql = sql.to_lowercase();
            for word in foreign {
                assert!(!sql.contains(word), "{name} uses {word}");
            }
        }
    }
}
