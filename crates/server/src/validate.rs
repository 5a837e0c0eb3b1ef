//! Limits of a request's fields, beyond what their types say. The figures are in `maos_api::limits` and in the OpenAPI document.
use std::collections::BTreeMap;

use maos_api::agents::AgentSpawn;
use maos_api::files::{Attachment, bad_name};
use maos_api::limits::{
    AGENT_MEMORY_BYTES_MIN, ANSWER_BYTES_MAX, ATTACHMENTS_MAX, CAPABILITIES_MAX, CAPABILITY_BYTES_MAX, CONTEXT_BYTES_MAX, COST_USD_MAX,
    DEPENDENCIES_MAX, DESCRIPTION_BYTES_MAX, LABEL_KEY_BYTES_MAX, LABEL_VALUE_BYTES_MAX, LABELS_MAX, REASON_BYTES_MAX, SPAWN_AGENTS_MAX,
    TASK_AGENTS_MAX, TIMEOUT_SECONDS_MAX,
};
use maos_api::people::TaskInput;
use maos_api::{FieldError, Money, TaskPatch, TaskSubmit};

struct Faults(Vec<FieldError>);

impl Faults {
    fn add(&mut self, pointer: &str, code: &str, detail: impl Into<String>) {
        self.0.push(FieldError::field(pointer, code, detail));
    }

    fn text(&mut self, pointer: &str, text: &str, bytes_max: usize) {
        if text.len() > bytes_max {
            self.add(pointer, "too-long", format!("is longer than {bytes_max} bytes"));
        }
        if text.contains('\0') {
            self.add(pointer, "invalid", "holds a NUL character");
        }
    }

    fn agents(&mut self, n: Option<u32>) {
        if n.is_some_and(|n| !(1..=TASK_AGENTS_MAX).contains(&n)) {
            self.add("/max_agents", "out-of-range", format!("must be between 1 and {TASK_AGENTS_MAX}"));
        }
    }

    fn timeout(&mut self, seconds: Option<u64>) {
        if seconds.is_some_and(|s| !(1..=TIMEOUT_SECONDS_MAX).contains(&s)) {
            self.add("/timeout", "out-of-range", format!("must be between 1 and {TIMEOUT_SECONDS_MAX} seconds (one year)"));
        }
    }

    fn cost(&mut self, cost: Option<Money>) {
        if cost.is_some_and(|c| c <= Money::ZERO || c > Money::from_usd(COST_USD_MAX)) {
            self.add("/max_cost", "out-of-range", format!("must be more than 0 and at most {COST_USD_MAX} US dollars"));
        }
    }

    fn labels<'a>(&mut self, labels: impl ExactSizeIterator<Item = (&'a String, Option<&'a String>)>) {
        if labels.len() > LABELS_MAX {
            self.add("/labels", "too-many", format!("more than {LABELS_MAX} labels"));
        }
        for (key, value) in labels {
            let pointer = format!("/labels/{}", key.replace('~', "~0").replace('/', "~1"));
            if key.is_empty() {
                self.add("/labels", "invalid", "a label's key must not be empty");
            }
            self.text(&pointer, key, LABEL_KEY_BYTES_MAX);
            self.text(&pointer, value.map_or("", String::as_str), LABEL_VALUE_BYTES_MAX);
        }
    }

    fn attachments(&mut self, files: &[Attachment]) {
        if files.len() > ATTACHMENTS_MAX {
            self.add("/attachments", "too-many", format!("more than {ATTACHMENTS_MAX} files"));
            return;
        }
        let mut names: BTreeMap<&str, usize> = BTreeMap::new();
        for (i, file) in files.iter().enumerate() {
            let pointer = format!("/attachments/{i}/name");
            if let Some(why) = bad_name(&file.name) {
                self.add(&pointer, "invalid", why);
            } else if names.insert(&file.name, i).is_some() {
                self.add(&pointer, "duplicate", "two files have this name");
            }
            if file.file_id.is_empty() || file.file_id.len() > FILE_ID_BYTES_MAX {
                self.add(&format!("/attachments/{i}/file_id"), "invalid", "is not an id of POST /api/files");
            }
        }
        for (name, i) in &names {
            let folders = name.match_indices('/').map(|(at, _)| &name[..at]);
            if folders.into_iter().any(|folder| names.contains_key(folder)) {
                self.add(&format!("/attachments/{i}/name"), "invalid", "stands below the name of another file");
            }
        }
    }
}

/// Longest id of an uploaded file.
const FILE_ID_BYTES_MAX: usize = 128;

/// Faults of a new task.
pub(crate) fn submit(task: &TaskSubmit) -> Vec<FieldError> {
    let mut faults = Faults(Vec::new());
    if task.description.trim().is_empty() {
        faults.add("/description", "required", "must not be empty: say what is to be done");
    }
    faults.text("/description", &task.description, DESCRIPTION_BYTES_MAX);
    faults.text("/context", task.context.as_deref().unwrap_or(""), CONTEXT_BYTES_MAX);
    faults.text("/constraints", task.constraints.as_deref().unwrap_or(""), CONTEXT_BYTES_MAX);
    faults.agents(task.max_agents);
    faults.timeout(task.timeout);
    faults.cost(task.max_cost);
    faults.labels(task.labels.iter().map(|(k, v)| (k, Some(v))));
    if task.depends_on.len() > DEPENDENCIES_MAX {
        faults.add("/depends_on", "too-many", format!("more than {DEPENDENCIES_MAX} dependencies"));
    }
    for (i, id) in task.depends_on.iter().enumerate() {
        if task.depends_on[..i].contains(id) {
            faults.add(&format!("/depends_on/{i}"), "duplicate", format!("'{}' is named twice", id.chars().take(64).collect::<String>()));
        }
    }
    if task.consensus_threshold.is_some_and(|t| !(t > 0.0 && t <= 1.0)) {
        faults.add("/consensus_threshold", "out-of-range", "must be above 0 and at most 1");
    }
    if task.consensus_threshold.is_some() && task.require_consensus == Some(false) {
        faults.add("/consensus_threshold", "conflict", "says nothing without require_consensus");
    }
    faults.attachments(&task.attachments);
    faults.0
}

/// Faults of a change.
pub(crate) fn patch(patch: &TaskPatch) -> Vec<FieldError> {
    let mut faults = Faults(Vec::new());
    if patch.is_empty() {
        faults.add("", "required", "nothing to change: give at least one of max_agents, priority, timeout, labels, max_cost");
    }
    faults.agents(patch.max_agents);
    faults.timeout(patch.timeout.flatten());
    faults.cost(patch.max_cost.flatten());
    if let Some(labels) = &patch.labels {
        faults.labels(labels.iter().map(|(k, v)| (k, v.as_ref())));
    }
    faults.0
}

/// Faults of agents to be spawned.
pub(crate) fn spawn(spawn: &AgentSpawn) -> Vec<FieldError> {
    let mut faults = Faults(Vec::new());
    if spawn.agent_type.trim().is_empty() {
        faults.add("/type", "required", "must not be empty: name a type of /api/agent-types");
    }
    if spawn.count.is_some_and(|n| !(1..=SPAWN_AGENTS_MAX).contains(&n)) {
        faults.add("/count", "out-of-range", format!("must be between 1 and {SPAWN_AGENTS_MAX}"));
    }
    if spawn.capabilities.len() > CAPABILITIES_MAX {
        faults.add("/capabilities", "too-many", format!("more than {CAPABILITIES_MAX} capabilities"));
    }
    for (i, capability) in spawn.capabilities.iter().enumerate() {
        faults.text(&format!("/capabilities/{i}"), capability, CAPABILITY_BYTES_MAX);
        if capability.trim().is_empty() {
            faults.add(&format!("/capabilities/{i}"), "invalid", "must not be empty");
        }
    }
    if spawn.max_memory.is_some_and(|bytes| bytes < AGENT_MEMORY_BYTES_MIN || i64::try_from(bytes).is_err()) {
        faults.add("/max_memory", "out-of-range", format!("must be at least {} MiB", AGENT_MEMORY_BYTES_MIN >> 20));
    }
    faults.timeout(spawn.timeout);
    faults.0
}

/// Faults of an answer.
pub(crate) fn input(input: &TaskInput) -> Vec<FieldError> {
    let mut faults = Faults(Vec::new());
    match (&input.answer, input.approve) {
        (None, None) => faults.add("", "required", "give either `answer` or `approve`"),
        (Some(_), Some(_)) => faults.add("/approve", "conflict", "give either `answer` or `approve`, not both"),
        (Some(text), None) if text.trim().is_empty() => faults.add("/answer", "required", "must not be empty"),
        (Some(_), None) | (None, Some(_)) => {}
    }
    if input.reason.is_some() && input.approve != Some(false) {
        faults.add("/reason", "conflict", "is told only with a refusal (`approve`: false)");
    }
    faults.text("/answer", input.answer.as_deref().unwrap_or(""), ANSWER_BYTES_MAX);
    faults.text("/reason", input.reason.as_deref().unwrap_or(""), REASON_BYTES_MAX);
    faults.0
}
