//! What happened, in the past tense: the entries of a task's journal. A closed enum; stored as JSON, so variants and fields are
//! only ever added, never changed (each has a golden file in `tests/golden`).
use crate::body::Body;
use crate::consensus::{Outcome, Vote};
use crate::ids::{AgentId, AgentType, EffectId, Place, StepId, TaskId};
use crate::input::Traits;
use crate::message::{FailureClass, StopReason, Usage};
use crate::money::Money;
use crate::plan::{Plan, PlanSource};
use crate::spec::TaskSpec;
use crate::status::{FailureCode, PauseReason, Priority, Status};
use crate::taint::Taint;
use crate::time::Time;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A failure as people see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Stable code.
    pub code: FailureCode,
    /// One line.
    pub message: String,
}

/// A tool call a model asked for, as far as the rules need to know it; the arguments are in the reply's body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskedCall {
    /// The provider's id.
    pub id: String,
    /// The tool.
    pub name: String,
    /// Hash of name and arguments, to notice repetition.
    #[serde(default)]
    pub signature: u64,
}

/// Whether a tool may be run again for the same call after a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Repeat {
    /// At least once: repeating it does no harm.
    Safe,
    /// At most once: never started a second time without a journaled decision.
    Never,
}

/// How a tool call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallOutcome {
    /// It ran and answered.
    Done,
    /// It ran and reported a failure.
    Failed,
    /// It was not run: the call was invalid.
    Invalid,
    /// It was started, and a crash hid how it ended. It is not run again; the agent is told.
    Lost,
    /// It was not run: a person refused.
    Refused,
}

/// What a person is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Ask {
    /// An agent needs to know something.
    Question {
        /// In the agent's words.
        text: String,
        /// Answers it suggests; any other text is as good.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        options: Vec<String>,
    },
    /// A tool call needs a person's consent. Bound to the exact arguments, which stand in the reply that asked for it.
    Approval {
        /// The tool.
        tool: String,
        /// Where it would send data.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<String>,
        /// Why a person is asked.
        why: String,
        /// SHA-256 of the arguments as JSON, lower-case hex.
        arguments: String,
    },
}

/// What a person answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Answer {
    /// To a question.
    Text {
        /// The answer, given to the agent.
        text: String,
    },
    /// The tool may run, once, with just these arguments.
    Approve {},
    /// It may not.
    Deny {
        /// Told to the agent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
}

/// Where the text of a result stands: the texts of these turns' replies, joined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextRef {
    /// The conversation.
    pub place: Place,
    /// First turn.
    pub from_turn: u32,
    /// Last turn.
    pub to_turn: u32,
    /// The text is the argument `text` of the tool `answer` in the last turn.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub answer: bool,
}

/// An entry of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// The task exists.
    Submitted {
        /// What was asked for.
        spec: Box<TaskSpec>,
    },
    /// A task it waits for ended.
    DependencyEnded {
        /// That task.
        task: TaskId,
        /// How.
        status: Status,
    },
    /// A node took the task over while work was in flight.
    TakenOver {
        /// Lease epoch.
        epoch: u64,
    },
    /// An agent took a place.
    RunStarted {
        /// Where.
        place: Place,
        /// Who.
        agent: AgentId,
        /// Writes of the shared state this agent sees in its first prompt.
        state_seen: u32,
        /// Messages this agent sees in its first prompt.
        mail_seen: u32,
        /// What the agent brings.
        #[serde(default, skip_serializing_if = "Traits::is_plain")]
        traits: Traits,
    },
    /// An agent left its place (pause, kill); what it did is kept, another goes on.
    RunParked {
        /// Where.
        place: Place,
    },
    /// The intent to call a model; committed before the request is sent.
    ModelRequested {
        /// The call.
        effect: EffectId,
        /// 1 for the first attempt.
        attempt: u32,
        /// Model asked.
        model: String,
        /// Hash of the request (first 16 hex digits of SHA-256).
        request: String,
        /// Worst-case cost, held until the call is settled; `None` if the price is unknown.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reserved: Option<Money>,
        /// Not sent before.
        not_before: Time,
        /// No tool is offered: the agent must give its answer.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        last: bool,
        /// The model is asked to condense the conversation so far, which has become too long.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        compact: bool,
    },
    /// The reply; never bought again.
    ModelReplied {
        /// The call.
        effect: EffectId,
        /// The whole reply as JSON.
        reply: Body,
        /// Tool calls in it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        calls: Vec<AskedCall>,
        /// Why the model stopped.
        stop: StopReason,
        /// Tokens.
        usage: Usage,
        /// Cost; `None` if the price is unknown.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cost: Option<Money>,
        /// When the request left (after the rate gate).
        sent_at: Time,
        /// What tools of the provider brought into the conversation.
        #[serde(default, skip_serializing_if = "Taint::is_none")]
        taint: Taint,
    },
    /// An attempt failed.
    ModelFailed {
        /// The call.
        effect: EffectId,
        /// What kind of failure.
        class: FailureClass,
        /// One line.
        message: String,
        /// It may have been charged for: the reservation is kept as spent.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        possibly_billed: bool,
    },
    /// A crash cut the call off; it may have been charged for and will be repeated.
    ModelInterrupted {
        /// The call.
        effect: EffectId,
    },
    /// The intent to run a tool; committed before it starts.
    ToolRequested {
        /// The call.
        effect: EffectId,
        /// The tool.
        name: String,
        /// Whether it may be repeated.
        repeat: Repeat,
        /// It may change the task's files.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        writes: bool,
        /// What it may write there besides what its agent had seen.
        #[serde(default, skip_serializing_if = "Taint::is_none")]
        brings: Taint,
    },
    /// The end of a tool call.
    ToolSettled {
        /// The call.
        effect: EffectId,
        /// How it ended.
        outcome: CallOutcome,
        /// What the model is told.
        result: Body,
        /// What the result brings into the conversation.
        #[serde(default, skip_serializing_if = "Taint::is_none")]
        taint: Taint,
    },
    /// A person is asked; the call waits.
    HumanAsked {
        /// The tool call that waits.
        effect: EffectId,
        /// What.
        ask: Ask,
    },
    /// A person answered.
    HumanAnswered {
        /// The tool call that waited.
        effect: EffectId,
        /// What.
        answer: Answer,
    },
    /// Nothing of a conversation can go on until a person answers: its agent leaves.
    RunWaiting {
        /// Where.
        place: Place,
    },
    /// A person holds the agent at a place, or lets it go on: no new call is made while it is held.
    RunHeld {
        /// Where.
        place: Place,
        /// Held, or not any more.
        held: bool,
    },
    /// The turns up to here are shown to the model as the summary it wrote in this turn.
    Compacted {
        /// The conversation.
        place: Place,
        /// The turn with the summary.
        turn: u32,
    },
    /// Voters are asked whether the result is good.
    BallotOpened {
        /// From 1.
        round: u8,
        /// The result they judge.
        draft: TextRef,
        /// Types of the voters, by seat.
        voters: Vec<AgentType>,
    },
    /// A vote.
    VoteCast {
        /// The ballot.
        round: u8,
        /// The vote.
        vote: Vote,
    },
    /// The ballot is over.
    BallotClosed {
        /// The ballot.
        round: u8,
        /// How it ended.
        outcome: Outcome,
    },
    /// A value of the shared state was written.
    StateSet {
        /// Key.
        key: String,
        /// Value.
        value: Value,
        /// 1 for the first write of the key.
        version: u32,
        /// By whom.
        by: AgentId,
        /// What its writer had seen.
        #[serde(default, skip_serializing_if = "Taint::is_none")]
        taint: Taint,
    },
    /// A message between agents.
    MessageSent {
        /// From.
        from: AgentId,
        /// The step of the sender.
        from_step: Place,
        /// To an agent, a step or `all`.
        to: String,
        /// Where that agent was at work.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to_place: Option<Place>,
        /// Text.
        body: String,
        /// What its sender had seen.
        #[serde(default, skip_serializing_if = "Taint::is_none")]
        taint: Taint,
    },
    /// An agent read its messages up to here.
    MailRead {
        /// Whose.
        place: Place,
        /// Number of messages of the task seen.
        upto: u32,
    },
    /// A plan was refused; the model is told why.
    PlanRejected {
        /// The exact reason.
        reason: String,
    },
    /// The plan stands.
    PlanAccepted {
        /// The steps.
        plan: Box<Plan>,
        /// Where it came from.
        source: PlanSource,
    },
    /// A conversation ended with an output.
    RunCompleted {
        /// Where.
        place: Place,
        /// The output.
        output: TextRef,
    },
    /// A conversation was given up.
    RunFailed {
        /// Where.
        place: Place,
        /// Why.
        error: Failure,
    },
    /// A step cannot run: a step it depends on was given up.
    StepSkipped {
        /// The step.
        step: StepId,
        /// The step that failed.
        because: StepId,
    },
    /// Held.
    Paused {
        /// Why.
        reason: PauseReason,
        /// For people, with what mends it.
        message: String,
    },
    /// Goes on.
    Resumed {},
    /// Changed by a person.
    Updated {
        /// Most agents at once.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_agents: Option<u32>,
        /// Urgency.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        priority: Option<Priority>,
        /// Seconds of running time.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timeout_s: Option<u64>,
        /// Budget.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_cost: Option<Money>,
        /// Labels, all of them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        labels: Option<std::collections::BTreeMap<String, String>>,
    },
    /// What did not complete is tried again.
    Retried {
        /// 2 for the first retry.
        attempt: u32,
    },
    /// Ended well.
    Completed {
        /// The result.
        result: TextRef,
    },
    /// Given up.
    Failed {
        /// Why.
        error: Failure,
    },
    /// Stopped by a person.
    Cancelled {
        /// Their word.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Its time was up.
    TimedOut {},
}

macro_rules! kinds {
    ($($variant:ident = $name:literal),+ $(,)?) => {
        impl Event {
            /// The name of the variant as stored.
            pub fn kind(&self) -> &'static str {
                match self { $(Self::$variant { .. } => $name),+ }
            }
            /// All names, in order: each must have a golden file.
            pub const KINDS: &'static [&'static str] = &[$($name),+];
        }
    };
}
kinds!(
    Submitted = "submitted",
    DependencyEnded = "dependency_ended",
    TakenOver = "taken_over",
    RunStarted = "run_started",
    RunParked = "run_parked",
    ModelRequested = "model_requested",
    ModelReplied = "model_replied",
    ModelFailed = "model_failed",
    ModelInterrupted = "model_interrupted",
    ToolRequested = "tool_requested",
    ToolSettled = "tool_settled",
    HumanAsked = "human_asked",
    HumanAnswered = "human_answered",
    RunWaiting = "run_waiting",
    RunHeld = "run_held",
    Compacted = "compacted",
    BallotOpened = "ballot_opened",
    VoteCast = "vote_cast",
    BallotClosed = "ballot_closed",
    StateSet = "state_set",
    MessageSent = "message_sent",
    MailRead = "mail_read",
    PlanRejected = "plan_rejected",
    PlanAccepted = "plan_accepted",
    RunCompleted = "run_completed",
    RunFailed = "run_failed",
    StepSkipped = "step_skipped",
    Paused = "paused",
    Resumed = "resumed",
    Updated = "updated",
    Retried = "retried",
    Completed = "completed",
    Failed = "failed",
    Cancelled = "cancelled",
    TimedOut = "timed_out",
);

/// An event and when it was recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// When; for people and for figures, never for order.
    pub at: Time,
    /// What.
    pub event: Event,
}
