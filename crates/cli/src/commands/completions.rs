//! `maos completions SHELL`: a script that completes commands and flags.
use crate::app::App;
use crate::args::Cli;
use crate::error::Outcome;
use crate::exit::Exit;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

/// Its arguments.
#[derive(Debug, Args)]
#[command(after_help = "Example: maos completions bash > ~/.local/share/bash-completion/completions/maos")]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the script.
pub(crate) fn run(app: &App, args: &CompletionsArgs) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "maos", &mut script);
    app.ui.out(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Success)
}
