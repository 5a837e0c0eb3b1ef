//! The work that is killed: several tasks that together use every path, and the script the model server answers from.
//!
//! Invariant: every reply carries the number of its call (`#call 17#`) and every request is unique to its place, so that three accounts
//! can be compared call by call.

/// The file to which tools write that must not be repeated, a line for each call.
pub const LEDGER_FILE: &str = "ledger.txt";
/// How each line of it begins.
pub const LEDGER_WORD: &str = "ledger ";
/// What an agent says that was told of a lost call.
pub const LOSS_KNOWN: &str = "the loss is known";
/// What the person answers.
pub const PERSONS_WORD: &str = "forty-two";

/// What a submission asks for besides its description.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum With {
    /// Nothing: it is planned.
    Plan,
    /// One agent of this type.
    One(&'static str),
    /// Voters must agree with its result.
    Votes,
}

/// One thing the client does, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Submit the task with this name; `after` names one it waits for.
    Submit {
        /// Its name: unique in the cycle and part of its description.
        name: &'static str,
        /// Waits for this one.
        after: Option<&'static str>,
        /// What else it asks for.
        with: With,
    },
    /// Hold the task.
    Pause(&'static str),
    /// Let it go on.
    Resume(&'static str),
}

/// Parallel steps with shared state, messages, three turns each and one overloaded call; a held task; programs that are run and leave
/// processes behind; a question to a person; a ballot; one that waits for another; small ones.
pub const OPS: &[Op] = &[
    Op::Submit { name: "alpha", after: None, with: With::Plan },
    Op::Submit { name: "ledger", after: None, with: With::One("coder") },
    Op::Submit { name: "gamma", after: None, with: With::Plan },
    Op::Pause("gamma"),
    Op::Submit { name: "asks", after: None, with: With::One("researcher") },
    Op::Submit { name: "judged", after: None, with: With::Votes },
    Op::Submit { name: "beta", after: Some("alpha"), with: With::Plan },
    Op::Submit { name: "delta1", after: None, with: With::Plan },
    Op::Resume("gamma"),
    Op::Submit { name: "delta2", after: Some("delta1"), with: With::Plan },
];

/// How many of [`OPS`] make a task.
#[must_use]
pub fn submissions() -> usize {
    OPS.iter().filter(|op| matches!(op, Op::Submit { .. })).count()
}

/// The script. `slow`: longer answers, so that random kills hit calls in flight more often. `word`: what the programs that agents start
/// have on their command line.
#[must_use]
pub fn script(seed: u64, slow: bool, word: &str) -> String {
    let latency = if slow { "{min: 10, max: 120}" } else { "{min: 1, max: 12}" };
    format!(
        r##"seed: {seed}
defaults:
  latency_ms: {latency}
  drip: {{min: 0, max: 3}}
  chunk: 24
rules:
  - name: plan-alpha
    match: {{has_tool: submit_plan, prompt_contains: "job alpha"}}
    reply: {{text: "#call {{{{call}}}}#", plan: {{steps: 4, shape: diamond, agent_type: researcher}}}}
  - name: plan-gamma
    match: {{has_tool: submit_plan, prompt_contains: "job gamma"}}
    reply: {{text: "#call {{{{call}}}}#", plan: {{steps: 3, shape: parallel, agent_type: analyst}}}}
  - name: plan-beta
    match: {{has_tool: submit_plan, prompt_contains: "job beta"}}
    reply: {{text: "#call {{{{call}}}}#", tool_calls: [{{name: answer, input: {{text: "#call {{{{call}}}}# beta, the end"}}}}]}}
  - name: vote
    match: {{has_tool: cast_vote}}
    reply:
      text: "#call {{{{call}}}}#"
      tool_calls: [{{name: cast_vote, input: {{vote: approve, confidence: 0.9, reason: "call {{{{call}}}} finds it right"}}}}]
  - name: plan-delta
    match: {{has_tool: submit_plan}}
    reply: {{text: "#call {{{{call}}}}#", plan: {{steps: 2, shape: chain, agent_type: coder}}}}
  - name: run
    match: {{has_tool: run_shell, turn: 1, prompt_contains: "job ledger"}}
    reply:
      text: "#call {{{{call}}}}#"
      tool_calls:
        - {{name: run_shell, input: {{command: 'echo "{LEDGER_WORD}{{{{call}}}}a" >> {LEDGER_FILE}; (setsid sleep {word} &); (setsid setsid sleep {word} &); sleep 0.05'}}}}
        - {{name: write_file, input: {{path: "notes.txt", content: "of call {{{{call}}}}"}}}}
  - name: run-two
    match: {{has_tool: run_shell, turn: 2, prompt_contains: "job ledger"}}
    reply:
      text: "#call {{{{call}}}}#"
      tool_calls:
        - {{name: run_shell, input: {{command: 'sleep 0.05; echo "{LEDGER_WORD}{{{{call}}}}b" >> {LEDGER_FILE}; (setsid sleep {word} &)'}}}}
        - {{name: run_shell, input: {{command: 'echo "{LEDGER_WORD}{{{{call}}}}c" >> {LEDGER_FILE}'}}}}
  - name: run-lost
    match: {{has_tool: run_shell, prompt_contains: "job ledger", transcript_contains: "outcome: unknown"}}
    reply: {{text: "#call {{{{call}}}}# {LOSS_KNOWN}, the end"}}
  - name: run-done
    match: {{has_tool: run_shell, prompt_contains: "job ledger"}}
    reply: {{text: "#call {{{{call}}}}# all lines written, the end"}}
  - name: told
    match: {{last_is_tool_result: ask_human}}
    reply: {{text: "#call {{{{call}}}}# told: {{{{last_tool_result}}}}, the end"}}
  - name: ask
    match: {{has_tool: ask_human, prompt_contains: "job asks"}}
    reply:
      text: "#call {{{{call}}}}#"
      tool_calls: [{{name: ask_human, input: {{question: "How many are there (call {{{{call}}}})?", options: ["one", "two"]}}}}]
  - name: judged
    match: {{has_tool: state_set, prompt_contains: "job judged"}}
    reply: {{text: "#call {{{{call}}}}# a draft to be judged, the end"}}
  - name: overloaded
    match: {{turn: 2, prompt: 'job alpha[\s\S]*Your step: .*\(s2\)', nth_per_request: 1}}
    fault: {{status: 529}}
  - name: write
    match: {{has_tool: state_set, turn: 1, prompt: 'Your step: .*\((s\d+)\)'}}
    reply:
      text: "#call {{{{call}}}}#"
      tool_calls:
        - {{name: state_set, input: {{key: "of_{{{{match.1}}}}", value: "v"}}}}
        - {{name: send_message, input: {{to: all, body: "from {{{{match.1}}}}"}}}}
  - name: read
    match: {{has_tool: state_set, turn: 2}}
    reply:
      text: "#call {{{{call}}}}#"
      tool_calls:
        - {{name: read_messages, input: {{}}}}
        - {{name: state_get, input: {{}}}}
  - name: say
    match: {{has_tool: state_set}}
    reply: {{text: "#call {{{{call}}}}# an output of several words, so that it comes in pieces, the end"}}
  - name: join
    reply: {{text: "#call {{{{call}}}}# all outputs joined, the end"}}
"##
    )
}
