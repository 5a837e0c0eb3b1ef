//! `maos-scripted`: serves a script as a model provider on 127.0.0.1, until it is told to end. Invariant: the first line on stdout says where it listens.
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use maos_script::Script;
use maos_script::server::{Options, Server};

/// A scripted model server: speaks the Messages API and chat completions, follows a YAML script.
#[derive(Debug, Parser)]
#[command(name = "maos-scripted", version)]
struct Arguments {
    /// The script (docs/scripted-models.md); without it the built-in one is played
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    /// Port on 127.0.0.1; 0 takes a free one
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Append every completed call to this file as a JSON line, and count the calls already in it
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Write the port to this file when listening
    #[arg(long, value_name = "FILE")]
    port_file: Option<PathBuf>,
    /// Threads that serve
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// Only check the script and say what it holds
    #[arg(long)]
    check: bool,
}

/// Exit code for a script that cannot be used.
const EXIT_SCRIPT: u8 = 2;

#[allow(clippy::print_stdout, clippy::print_stderr)]
fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let script = match read_script(&arguments) {
        Ok(script) => script,
        Err(message) => {
            eprintln!("error: {message}");
            return ExitCode::from(EXIT_SCRIPT);
        }
    };
    if arguments.check {
        for name in script.rule_names() {
            println!("{name}");
        }
        return ExitCode::SUCCESS;
    }
    match run(&arguments, script) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn read_script(arguments: &Arguments) -> Result<Script, String> {
    let Some(path) = &arguments.script else {
        return Ok(Script::demo());
    };
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    Script::parse(&text).map_err(|error| format!("{}: {error}", path.display()))
}

fn run(arguments: &Arguments, script: Script) -> std::io::Result<()> {
    let mut builder = if arguments.threads == 1 {
        tokio::runtime::Builder::new_current_thread()
    } else {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(usize::from(arguments.threads));
        builder
    };
    builder.enable_all().build()?.block_on(serve(arguments, script))
}

#[allow(clippy::print_stdout)]
async fn serve(arguments: &Arguments, script: Script) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    // Before the port is told: whoever reads it may end us at once.
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let addr = SocketAddr::from(([127, 0, 0, 1], arguments.port));
    let running = Server::start_with(script, Options { addr: Some(addr), log: arguments.log.clone() }).await?;
    if let Some(path) = &arguments.port_file {
        // Whole or not at all: a reader never sees half a number.
        let fresh = path.with_extension("tmp");
        std::fs::write(&fresh, running.addr().port().to_string())?;
        std::fs::rename(&fresh, path)?;
    }
    println!("listening on {}", running.url());
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    running.shutdown().await;
    Ok(())
}
