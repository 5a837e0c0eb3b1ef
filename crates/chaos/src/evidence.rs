//! What a cycle leaves behind: the journals on disk, the model server's own log of calls, and what was answered to the client.
//!
//! Invariant: read after everything has stopped; never asks the software under test for an opinion about itself.
use crate::scenario::LEDGER_FILE;
use maos_store::{ConnectOptions, EventRow, Head};
use std::collections::BTreeMap;
use std::path::Path;

/// A submission that was answered with an id.
#[derive(Debug, Clone)]
pub struct Acked {
    /// What the scenario calls it.
    pub name: &'static str,
    /// The id.
    pub id: String,
    /// The id of the task it was told to wait for.
    pub after: Option<String>,
    /// The text of the result the API gave at the end.
    pub result: Option<String>,
}

/// An answer of a person that was acknowledged.
#[derive(Debug, Clone)]
pub struct Answered {
    /// The task.
    pub task: String,
    /// The question.
    pub question: String,
    /// The answer.
    pub text: String,
}

/// A call as the model server saw it, in order of arrival.
#[derive(Debug, Clone)]
pub struct SeenCall {
    /// Its number, from 1; the reply's text carries it.
    pub number: u64,
    /// Hash of the request body.
    pub request: String,
    /// The step the prompt speaks of.
    pub step: Option<String>,
    /// The whole reply was handed to the system.
    pub finished: bool,
    /// It was answered with an error status.
    pub refused: bool,
}

impl SeenCall {
    /// From a line of the model server's log.
    #[must_use]
    pub fn from_log(line: &serde_json::Value) -> Option<Self> {
        Some(Self {
            number: line["seq"].as_u64()? + 1,
            request: line["hash"].as_str()?.to_owned(),
            step: line["step"].as_str().map(str::to_owned),
            finished: line["outcome"] == "finished",
            refused: line["outcome"] == "refused",
        })
    }
}

/// Everything of one cycle.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// Tasks whose submission was answered.
    pub acked: Vec<Acked>,
    /// Distinct submissions made, answered or not.
    pub submissions: usize,
    /// All journals, in order of commit.
    pub journals: BTreeMap<String, Vec<EventRow>>,
    /// Where the task's row says that its journal ends.
    pub heads: BTreeMap<String, Head>,
    /// What the model server saw.
    pub calls: Vec<SeenCall>,
    /// Agents that were still at work when everything had ended.
    pub busy_agents: usize,
    /// Answers of people that were acknowledged.
    pub answers: Vec<Answered>,
    /// Lines that the calls of a tool wrote which must not be repeated, by task.
    pub ledgers: BTreeMap<String, Vec<String>>,
    /// What of a killed server was still there when its patience was over: processes, cgroups, notes.
    pub survivors: Vec<String>,
    /// What was still there after the last stop.
    pub leftover: Vec<String>,
    /// Problems SQLite finds in the file.
    pub damage: Vec<String>,
}

/// Reads the ledgers in the tasks' workspaces. A task without one has written nothing.
///
/// # Errors
/// A ledger is there and cannot be read.
pub fn read_ledgers(home: &Path, evidence: &mut Evidence) -> std::io::Result<()> {
    for entry in std::fs::read_dir(home.join("workspaces")).into_iter().flatten().flatten() {
        let file = entry.path().join("files").join(LEDGER_FILE);
        if file.exists() {
            let lines = std::fs::read_to_string(file)?.lines().map(str::to_owned).collect();
            evidence.ledgers.insert(entry.file_name().to_string_lossy().into_owned(), lines);
        }
    }
    Ok(())
}

/// Reads all journals of a stopped server.
///
/// # Errors
/// The database cannot be read.
pub async fn read_journals(url: &str, evidence: &mut Evidence) -> maos_store::Result<()> {
    evidence.damage = maos_store::check(url).await?;
    let store = maos_store::connect(url, ConnectOptions { create: false, migrate: false, ..ConnectOptions::default() }).await?;
    let mut after = 0;
    loop {
        let rows = store.feed(after, maos_store::PAGE_ROWS_MAX, None).await?;
        let Some(last) = rows.last() else { break };
        after = last.gseq;
        for row in rows {
            evidence.journals.entry(row.task.clone()).or_default().push(row);
        }
    }
    for (task, rows) in &evidence.journals {
        if let Some(head) = store.head(task).await? {
            evidence.heads.insert(task.clone(), head);
        }
        // The store's own verification must agree with ours.
        let mut at = 0;
        while at < rows.len() as u64 {
            match store.read(task, at, maos_store::PAGE_ROWS_MAX).await {
                Ok(page) if page.is_empty() => break,
                Ok(page) => at += page.len() as u64,
                Err(error) => {
                    evidence.damage.push(format!("{task}: {error}"));
                    break;
                }
            }
        }
    }
    store.close().await
}
