//! The wire of MAOS: request and response bodies, the event stream, the problem catalogue, and a typed client.
//!
//! One vocabulary for the server, the command line, the dashboard and tests: only these types cross HTTP. This crate knows
//! nothing of the runtime, the store or axum. Fields are only ever added; clients ignore fields they do not know.
pub mod agents;
pub mod analysis;
#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "client")]
pub mod error;
pub mod events;
pub mod files;
pub mod limits;
pub mod money;
pub mod page;
pub mod people;
pub mod plan;
pub mod problem;
pub mod query;
#[cfg(feature = "client")]
mod routes;
pub mod shared;
pub mod size;
#[cfg(feature = "client")]
pub mod stream;
pub mod system;
pub mod tasks;
pub mod time;
pub mod usage;
pub mod votes;
pub mod words;

#[cfg(feature = "client")]
pub use client::{Client, ClientOptions};
#[cfg(feature = "client")]
pub use error::ClientError;
pub use events::{Event, EventType};
pub use money::Money;
pub use page::List;
pub use problem::{FieldError, Problem, ProblemCode};
pub use tasks::{Task, TaskPatch, TaskSubmit};
pub use time::Time;
pub use words::{AgentStatus, Priority, StepState, TaskStatus, TaskType};

/// The version of this API. Sent as `MAOS-Version`; a breaking change gets a new number, served side by side.
pub const API_VERSION: u32 = 1;
