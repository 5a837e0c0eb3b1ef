//! The helper on its own, for tests and benchmarks; in MAOS it is the hidden command `maos sandbox-exec`. It can also run a program by
//! hand: `maos-sandbox-helper run STATE_DIR TASK_DIR namespaces|own|lsm|off PROGRAM [ARGUMENTS…]`, which prints how it ended; `own` is
//! tier 2 without bubblewrap.
use maos_sandbox::{Choice, Helper, Job, Quota, Sandbox, Workspace, helper_main};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.as_slice() {
        [run, state, task, tier, program @ ..] if run == "run" => match by_hand(state, task, tier, program) {
            Ok(text) => say(&mut std::io::stdout(), &text, ExitCode::SUCCESS),
            Err(error) => say(&mut std::io::stderr(), &error.to_string(), ExitCode::FAILURE),
        },
        [prefix, helper @ ..] if prefix == "sandbox-exec" => helper_main(helper),
        _ => helper_main(&args),
    }
}

fn say(to: &mut dyn Write, text: &str, code: ExitCode) -> ExitCode {
    match writeln!(to, "{text}") {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}

#[tokio::main(flavor = "current_thread")]
async fn by_hand(state: &str, task: &str, tier: &str, program: &[String]) -> Result<String, Box<dyn std::error::Error>> {
    let choice = match tier {
        "namespaces" => Choice::Namespaces,
        "lsm" => Choice::Lsm,
        "off" => Choice::Off,
        "own" => Choice::Namespaces,
        other => return Err(format!("unknown tier {other}: namespaces, own, lsm or off").into()),
    };
    let helper = Helper { program: PathBuf::from("/proc/self/exe"), prefix: vec!["sandbox-exec".to_owned()] };
    let sandbox = match tier {
        "own" => Sandbox::choose_with(choice, helper, Path::new(state), None).await?,
        _ => Sandbox::choose(choice, helper, Path::new(state)).await?,
    };
    let workspace = Arc::new(Workspace::open(Path::new(task), Quota::default())?);
    let done = sandbox.run(Job::new(program, workspace)).await?;
    Ok(format!("{done:?}"))
}
