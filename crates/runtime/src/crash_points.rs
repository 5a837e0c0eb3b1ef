//! The crash points around a worker's commits, named by the path they lie on. Does nothing unless one is armed.
use maos_engine::event::{Event, Recorded};
use maos_store::crash::point;

/// Which side of the commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// Decided, not committed.
    Before,
    /// Committed, not acted on.
    After,
}

/// Passes the points of these events.
pub(crate) fn pass(events: &[Recorded], side: Side) {
    for entry in events {
        let (before, after) = match &entry.event {
            Event::RunStarted { .. } => ("schedule.seat.before", "schedule.seat.after"),
            Event::PlanAccepted { .. } => ("plan.accept.before", "plan.accept.after"),
            Event::ModelRequested { .. } => ("model.intent.before", "model.intent.after"),
            Event::ModelReplied { .. } => ("model.reply.before", "model.reply.after"),
            Event::ModelFailed { .. } => ("model.failure.before", "model.failure.after"),
            Event::ToolRequested { .. } => ("tool.intent.before", "tool.intent.after"),
            Event::ToolSettled { .. } | Event::StateSet { .. } | Event::MessageSent { .. } => ("tool.before", "tool.after"),
            Event::HumanAsked { .. } => ("ask.before", "ask.after"),
            Event::HumanAnswered { .. } => ("answer.before", "answer.after"),
            Event::VoteCast { .. } => ("vote.before", "vote.after"),
            Event::BallotOpened { .. } | Event::BallotClosed { .. } => ("ballot.before", "ballot.after"),
            Event::Paused { .. } | Event::Resumed {} => ("hold.before", "hold.after"),
            Event::Completed { .. } => ("join.before", "join.after"),
            Event::TakenOver { .. } => ("recovery.before", "recovery.after"),
            Event::Submitted { .. }
            | Event::DependencyEnded { .. }
            | Event::RunParked { .. }
            | Event::ModelInterrupted { .. }
            | Event::MailRead { .. }
            | Event::PlanRejected { .. }
            | Event::RunCompleted { .. }
            | Event::RunFailed { .. }
            | Event::StepSkipped { .. }
            | Event::Updated { .. }
            | Event::Retried { .. }
            | Event::RunWaiting { .. }
            | Event::RunHeld { .. }
            | Event::Compacted { .. }
            | Event::Failed { .. }
            | Event::Cancelled { .. }
            | Event::TimedOut {} => continue,
        };
        point(if side == Side::Before { before } else { after });
    }
}
