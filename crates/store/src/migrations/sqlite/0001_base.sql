-- The base schema. Times are microseconds since 1970 (UTC), money is nano-USD, JSON and ids are text.

-- One row per task: the end of its journal, its lease, and what lists and the queue need to know.
-- Only what changes with every append lives here; the long immutable text is in task_text.
CREATE TABLE task (
  task       TEXT   NOT NULL PRIMARY KEY,
  seq        BIGINT NOT NULL,              -- end of the journal; 0: empty
  hash       BLOB   NOT NULL,              -- hash of the last entry
  epoch      BIGINT NOT NULL,              -- grows with every claim
  owner      TEXT,                         -- who holds the lease; NULL: nobody
  status     TEXT   NOT NULL,
  kind       TEXT,
  priority   SMALLINT NOT NULL,
  lane       BIGINT NOT NULL,              -- claim order, smaller first
  terminal   SMALLINT NOT NULL,            -- 1: the task has ended
  ready      SMALLINT NOT NULL,            -- 1: due, held by nobody, in the claim index
  wake_at    BIGINT,                       -- due from then while nobody holds it; NULL: never
  created_at BIGINT NOT NULL,
  batch      TEXT,
  json       TEXT   NOT NULL               -- the whole summary row
);
-- Claims read this index from its start, so a long queue costs no more than a short one.
CREATE INDEX task_ready    ON task (lane, created_at, task) WHERE ready = 1;
-- Tasks that become due later move from here to task_ready when their time has come.
CREATE INDEX task_timer    ON task (wake_at) WHERE ready = 0 AND owner IS NULL AND wake_at IS NOT NULL;
CREATE INDEX task_held     ON task (owner) WHERE owner IS NOT NULL;
CREATE INDEX task_created  ON task (created_at, task);
CREATE INDEX task_status   ON task (status, created_at, task);
CREATE INDEX task_priority ON task (priority, created_at, task);
CREATE INDEX task_batch    ON task (batch, created_at, task) WHERE batch IS NOT NULL;

CREATE TABLE task_text (
  task        TEXT NOT NULL PRIMARY KEY,
  description TEXT NOT NULL,
  search      TEXT NOT NULL                -- id and beginning of the description, lower case
);

CREATE TABLE task_label (
  task  TEXT NOT NULL,
  label TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (task, label)
);
CREATE INDEX task_label_value ON task_label (label, value, task);

-- The journals. gseq is the order of commits over all tasks; it is never given out twice.
CREATE TABLE event (
  gseq  INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  task  TEXT    NOT NULL,
  seq   BIGINT  NOT NULL,
  epoch BIGINT  NOT NULL,
  at    BIGINT  NOT NULL,
  kind  TEXT    NOT NULL,
  body  TEXT    NOT NULL,
  hash  BLOB    NOT NULL,
  UNIQUE (task, seq)
);

-- Inputs that arrived and are not recorded yet. Only the holder of the lease turns them into events.
CREATE TABLE inbox (
  id   INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  task TEXT    NOT NULL,
  at   BIGINT  NOT NULL,
  json TEXT    NOT NULL
);
CREATE INDEX inbox_task ON inbox (task, id);

-- Which task waits for which; a row goes when the awaited task has ended and the waiting one was told.
CREATE TABLE dep (
  on_task TEXT NOT NULL,
  task    TEXT NOT NULL,
  PRIMARY KEY (on_task, task)
);

-- One row per process that holds leases: one renewal serves all of them.
CREATE TABLE node (
  owner       TEXT   NOT NULL PRIMARY KEY,
  lease_until BIGINT NOT NULL
);

CREATE TABLE snapshot (
  task TEXT   NOT NULL PRIMARY KEY,
  seq  BIGINT NOT NULL,
  hash BLOB   NOT NULL,                    -- of the body: a damaged snapshot counts as absent
  body BLOB   NOT NULL
);

CREATE TABLE blob (
  hash BLOB NOT NULL PRIMARY KEY,
  body BLOB NOT NULL
);

CREATE TABLE doc (
  kind     TEXT   NOT NULL,
  doc_key  TEXT   NOT NULL,
  json     TEXT   NOT NULL,
  revision BIGINT NOT NULL,
  PRIMARY KEY (kind, doc_key)
);

CREATE TABLE ledger (
  ledger_key TEXT   NOT NULL PRIMARY KEY,
  used       BIGINT NOT NULL               -- nano-USD
);

CREATE TABLE idempotency (
  path      TEXT   NOT NULL,
  idem_key  TEXT   NOT NULL,
  body_hash BLOB   NOT NULL,
  task      TEXT   NOT NULL,
  at        BIGINT NOT NULL,
  PRIMARY KEY (path, idem_key)
);
CREATE INDEX idempotency_at ON idempotency (at);
