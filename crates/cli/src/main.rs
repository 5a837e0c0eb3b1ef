//! The `maos` program: reads the command line, does one command, ends with its exit code.
//!
//! Invariant: nothing slow happens before the command is known: no async runtime, no TLS, no file is read for `--help` and `version`.
mod agent;
mod app;
mod args;
mod client;
mod commands;
mod config;
mod daemon;
mod env;
mod error;
mod exit;
mod home;
mod live;
mod logging;
mod panics;
mod print;
mod settings;
mod task;

use app::App;
use args::{Cli, Command};
use clap::{CommandFactory, FromArgMatches};
use env::Env;
use error::Outcome;
use print::{ColorChoice, Format, Ui, UiFlags};
use std::ffi::OsString;
use std::process::ExitCode;

/// The system's allocator took a quarter of the CPU time of a model call and a third of the memory of an agent.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The word that makes this program the helper of its own sandbox. No command of people: it is handed its orders by the server.
pub(crate) const SANDBOX_EXEC: &str = "sandbox-exec";

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|word| word == SANDBOX_EXEC) {
        let args: Vec<String> = std::env::args_os().skip(2).map(|a| a.to_string_lossy().into_owned()).collect();
        return maos_sandbox::helper_main(&args);
    }
    let mut env = Env::of_process();
    let argv: Vec<OsString> = std::env::args_os().collect();
    panics::install(&env);
    let cli = match parse(&env, &argv) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let ui = Ui::new(&env, cli.global.ui_flags());
    let outcome =
        app::read_env_files(&mut env, &cli.global).and_then(|home| run(&App::new(ui.clone(), env, home, cli.global), cli.command));
    match outcome {
        Ok(exit) => ExitCode::from(exit as u8),
        Err(error) => {
            print::error::print(&ui, &error);
            ExitCode::from(error.exit as u8)
        }
    }
}

/// Parses the command line. `Err` when there is nothing more to do: help was shown, or the error was.
fn parse(env: &Env, argv: &[OsString]) -> Result<Cli, ExitCode> {
    let words: Vec<&str> = argv.iter().filter_map(|word| word.to_str()).collect();
    let flag_after = |flag: &str| words.iter().position(|w| *w == flag).and_then(|at| words.get(at + 1).copied());
    let color = match flag_after("--color").or_else(|| words.iter().find_map(|word| word.strip_prefix("--color="))) {
        Some("always") => ColorChoice::Always,
        Some("never") => ColorChoice::Never,
        _ => ColorChoice::Auto,
    };
    let mut command = Cli::command();
    if color == ColorChoice::Never || (color == ColorChoice::Auto && env.get("MAOS_NO_COLOR").is_some()) {
        command = command.color(clap::ColorChoice::Never);
    } else if color == ColorChoice::Always {
        command = command.color(clap::ColorChoice::Always);
    }
    let error = match command.clone().try_get_matches_from(argv).and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => match cli.settle_output() {
            Ok(cli) => return Ok(cli),
            Err(error) => {
                print::error::print(&Ui::new(env, UiFlags { format: None, color, quiet: false, verbose: false, no_input: true }), &error);
                return Err(ExitCode::from(error.exit as u8));
            }
        },
        Err(error) => error,
    };
    if !error.use_stderr() {
        // Help. A reader that went away is none of its business.
        drop(error.print());
        return Err(ExitCode::SUCCESS);
    }
    let json = words.iter().any(|word| ["--json", "-ojson", "--format=json", "--output=json"].contains(word))
        || ["-o", "--format", "--output"].iter().any(|flag| flag_after(flag) == Some("json"));
    let flags = UiFlags { format: json.then_some(Format::Json), color, quiet: false, verbose: false, no_input: true };
    let error = print::error::from_clap(&error, &command_path(&command, &words));
    print::error::print(&Ui::new(env, flags), &error);
    Err(ExitCode::from(error.exit as u8))
}

/// The sub-command the words lead to, as far as they are valid: `maos task submit`.
fn command_path(command: &clap::Command, words: &[&str]) -> String {
    let mut path = "maos".to_owned();
    let mut at = command;
    for word in words.iter().skip(1) {
        if let Some(next) = at.get_subcommands().find(|sub| sub.get_name() == *word || sub.get_all_aliases().any(|alias| alias == *word)) {
            path = format!("{path} {}", next.get_name());
            at = next;
        }
    }
    path
}

fn run(app: &App, command: Option<Command>) -> Outcome {
    match command {
        None => commands::help::introduction(app),
        Some(Command::Init(args)) => commands::init::run(app, &args),
        Some(Command::Start(args)) => commands::start::run(app, &args),
        Some(Command::Restart(args)) => commands::restart::run(app, &args),
        Some(Command::Stop(args)) => commands::stop::run(app, &args),
        Some(Command::Status(args)) => commands::status::run(app, &args),
        Some(Command::Health(args)) => commands::health::run(app, &args),
        Some(Command::Task(args)) => task::run(app, args.command),
        Some(Command::Agent(args)) => agent::run(app, args.command),
        Some(Command::Model(args)) => commands::model::run(app, args.command),
        Some(Command::Mcp(args)) => commands::mcp::run(app, &args.command),
        Some(Command::Skill(args)) => commands::skill::run(app, &args.command),
        Some(Command::Db(args)) => commands::db::run(app, args.command),
        Some(Command::Version) => commands::version::run(app),
        Some(Command::Config(args)) => commands::config::run(app, args.command),
        Some(Command::Logs(args)) => commands::logs::run(app, &args),
        Some(Command::Openapi) => commands::openapi::run(app),
        Some(Command::Completions(args)) => commands::completions::run(app, &args),
        Some(Command::Help(args)) => commands::help::run(app, &args),
    }
}
