//! Declarative HTTP tools: a YAML file says what to ask a web service and what to take from its answer (`docs/http-tools.md`).
//!
//! Invariant: a file decides scheme, host, port and headers; a model's arguments only fill marked places in the path, the query and the
//! body, encoded for the place, once. Secrets are named in files and never shown. Must not know where secrets are kept.
mod definition;
mod extract;
mod load;
mod pace;
mod redact;
mod template;
mod tool;

pub use definition::Definition;
pub use load::{LoadError, Loaded, NotOffered, Surroundings, load, shipped};
pub use pace::Paces;
pub use tool::HttpTool;
