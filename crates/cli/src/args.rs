//! The command line's shape: global flags and the list of commands. What a command takes stands in the command's own file.
use crate::commands;
use crate::error::CliError;
use crate::print::{ColorChoice, Format, UiFlags};
use crate::task::TaskCommand;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::time::Duration;

/// Multi-Agent Operating System: one line of work, many agents at once.
#[derive(Debug, Parser)]
#[command(
    name = "maos",
    bin_name = "maos",
    about = "MAOS: one line of work, many agents at once",
    disable_help_subcommand = true,
    disable_version_flag = true,
    infer_long_args = false,
    max_term_width = 100,
    after_help = "First steps: maos init, maos start, maos task submit \"…\" --follow\nMore help:   maos help quickstart | environment | exit-codes | formats"
)]
pub(crate) struct Cli {
    /// Flags of every command.
    #[command(flatten)]
    pub(crate) global: Global,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// Flags of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// How to print the result: table, json, jsonl, yaml, csv or id
    #[arg(
        short = 'o',
        long,
        global = true,
        value_enum,
        value_name = "FORMAT",
        ignore_case = true,
        hide_possible_values = true,
        display_order = 900
    )]
    pub(crate) format: Option<Format>,
    /// The same as --format, where a command does not use it for a path
    #[arg(id = "output", long, global = true, hide = true, value_name = "FORMAT", conflicts_with_all = ["format", "json"])]
    pub(crate) output: Option<String>,
    /// The same as -o json
    #[arg(long, global = true, conflicts_with = "format", display_order = 901)]
    pub(crate) json: bool,
    /// When to use colour: auto, always or never
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "WHEN",
        default_value = "auto",
        hide_default_value = true,
        hide_possible_values = true,
        display_order = 902
    )]
    pub(crate) color: ColorChoice,
    /// Say nothing but errors on stderr
    #[arg(short, long, global = true, display_order = 903)]
    pub(crate) quiet: bool,
    /// Show more detail in errors
    #[arg(short, long, global = true, conflicts_with = "quiet", display_order = 904)]
    pub(crate) verbose: bool,
    /// Never ask; fail instead
    #[arg(long, global = true, display_order = 905)]
    pub(crate) no_input: bool,
    /// Configuration file (default: ~/.maos/config.yml)
    #[arg(long, global = true, value_name = "FILE", display_order = 906)]
    pub(crate) config: Option<PathBuf>,
    /// Read variables from this file too
    #[arg(long, global = true, value_name = "FILE", display_order = 907)]
    pub(crate) env_file: Option<PathBuf>,
    /// Server to talk to, like http://127.0.0.1:8000
    #[arg(long, global = true, value_name = "URL", display_order = 908)]
    pub(crate) server: Option<String>,
    /// Token sent to the server (better: the variable MAOS_API_KEY)
    #[arg(long, global = true, value_name = "TOKEN", display_order = 909)]
    pub(crate) token: Option<String>,
}

impl Global {
    /// What printing needs of them.
    pub(crate) fn ui_flags(&self) -> UiFlags {
        UiFlags {
            format: if self.json { Some(Format::Json) } else { self.format },
            color: self.color,
            quiet: self.quiet,
            verbose: self.verbose,
            no_input: self.no_input,
        }
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create the configuration and the folders
    Init(commands::init::InitArgs),
    /// Start the server in the background
    Start(commands::start::StartArgs),
    /// Stop the server; running tasks go on at the next start
    Stop(commands::stop::StopArgs),
    /// Stop the server and start it again
    Restart(commands::restart::RestartArgs),
    /// Show whether the server runs and how it does
    Status(commands::status::StatusArgs),
    /// Check every part of the server
    Health(commands::health::HealthArgs),
    /// Submit, follow and manage tasks
    Task(crate::task::TaskArgs),
    /// List, spawn and manage agents and their types
    Agent(crate::agent::AgentArgs),
    /// Small models that run on this machine
    Model(commands::model::ModelArgs),
    /// MCP servers: tools for agents, and MAOS as a server
    Mcp(commands::mcp::McpArgs),
    /// Skills that agents can open
    Skill(commands::skill::SkillArgs),
    /// The database: schema versions
    Db(commands::db::DbArgs),
    /// Read and change the configuration
    Config(commands::config::ConfigArgs),
    /// Show the server's log
    Logs(commands::logs::LogsArgs),
    /// Print the OpenAPI document of the REST API
    Openapi,
    /// Print a completion script for a shell
    Completions(commands::completions::CompletionsArgs),
    /// Show the version
    Version,
    /// Show help on a command or topic
    Help(commands::help::HelpArgs),
}

impl Cli {
    /// Takes `--output FORMAT` for `--format FORMAT`, unless the command has a path of that name.
    ///
    /// # Errors
    /// Exit 2 when it is no format.
    pub(crate) fn settle_output(mut self) -> Result<Self, CliError> {
        let is_path = matches!(&self.command, Some(Command::Task(task)) if matches!(&task.command, TaskCommand::Results(_)));
        if let Some(word) = self.global.output.as_deref().filter(|_| !is_path) {
            let format = <Format as clap::ValueEnum>::from_str(word, true).map_err(|_| {
                let names = <Format as clap::ValueEnum>::value_variants().iter().map(|f| f.name()).collect::<Vec<_>>().join(", ");
                let word = crate::print::text::clean_line(word);
                CliError::usage(format!("invalid value '{word}' for '--output <FORMAT>'"), "maos help formats")
                    .because(format!("possible values: {names}"))
            })?;
            self.global.format = Some(format);
        }
        Ok(self)
    }
}

/// Parses a duration for a flag.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    crate::config::value::parse_duration(text).ok_or_else(|| crate::config::value::DURATION_HINT.to_owned())
}
