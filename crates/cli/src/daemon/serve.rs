//! The server in this process. (Filled in when the server crate has its entry point.)
use crate::app::App;
use crate::commands::start::StartArgs;
use crate::error::{CliError, Outcome};
use crate::exit::Exit;

pub(crate) fn run(_app: &App, _args: &StartArgs) -> Outcome {
    Err(CliError::new(Exit::Failure, "x", "x", "maos help"))
}
