//! The work that is killed: several tasks that together use every path, and the script the model server answers from.
//!
//! Invariant: every reply carries the number of its call (`#call 17#`) and every request is unique to its place, so that three accounts
//! can be compared call by call.

/// One thing the client does, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Submit the task with this name; `after` names one it waits for.
    Submit {
        /// Its name: unique in the cycle and part of its description.
        name: &'static str,
        /// Waits for this one.
        after: Option<&'static str>,
    },
    /// Hold the task.
    Pause(&'static str),
    /// Let it go on.
    Resume(&'static str),
}

/// Parallel steps with shared state, messages, three turns each and one overloaded call; a held task; one that waits for another; small ones.
pub const OPS: &[Op] = &[
    Op::Submit { name: "alpha", after: None },
    Op::Submit { name: "gamma", after: None },
    Op::Pause("gamma"),
    Op::Submit { name: "beta", after: Some("alpha") },
    Op::Submit { name: "delta1", after: None },
    Op::Resume("gamma"),
    Op::Submit { name: "delta2", after: Some("delta1") },
];

/// How many of [`OPS`] make a task.
#[must_use]
pub fn submissions() -> usize {
    OPS.iter().filter(|op| matches!(op, Op::Submit { .. })).count()
}

/// The script. `slow`: longer answers, so that random kills hit calls in flight more often.
#[must_use]
pub fn script(seed: u64, slow: bool) -> String {
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
  - name: plan-delta
    match: {{has_tool: submit_plan}}
    reply: {{text: "#call {{{{call}}}}#", plan: {{steps: 2, shape: chain, agent_type: coder}}}}
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
