//! The way to the server: which address, what its errors mean to a person, and which task a shortened id names.
use crate::app::App;
use crate::commands;
use crate::daemon::run_file::RunFile;
use crate::error::CliError;
use crate::exit::Exit;
use crate::print::suggest;
use crate::print::text::{ago, clean_line, cut};
use maos_api::query::TaskQuery;
use maos_api::{Client, ClientError, ClientOptions, Task};
use std::future::Future;
use std::time::Duration;

/// Fewest characters after `task_` in a shortened id.
const PREFIX_CHARS_MIN: usize = 4;
/// Characters of a whole id after `task_`.
const ID_CHARS: usize = 16;
/// Tasks a page holds while a shortened id is looked up.
const LOOKUP_PAGE: u32 = 500;
/// Pages looked through: the newest 10,000 tasks.
const LOOKUP_PAGES_MAX: usize = 20;
/// Candidates shown for an ambiguous or unknown id.
const CANDIDATES_MAX: usize = 5;

/// Characters around a command that say no more than the command itself ("List tasks with `…`.").
const HINT_FRAME: usize = 24;
/// How long looking whether anything listens may take.
const CONNECT_WAIT: Duration = Duration::from_millis(500);

/// Where the server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// Its address.
    pub(crate) url: String,
    /// It is the server of this home folder, which `maos start` starts.
    pub(crate) is_own: bool,
    /// It is our own and its process is alive.
    pub(crate) is_running: bool,
}

/// Finds the server: `--server`, `MAOS_SERVER`, `cli.server`, the one running from this home folder, else where it would be.
pub(crate) fn target(app: &App) -> Result<Target, CliError> {
    let given = app.global.server.as_deref().or_else(|| app.env.get("MAOS_SERVER")).map(str::to_owned);
    if let Some(url) = given {
        return Ok(Target { url, is_own: false, is_running: false });
    }
    let config = app.config()?;
    if let Some(url) = config.text("cli.server") {
        return Ok(Target { url: url.to_owned(), is_own: false, is_running: false });
    }
    if let Some(run) = RunFile::read_live(&app.home) {
        return Ok(Target { url: by_number(&run.api), is_own: true, is_running: true });
    }
    let host = match config.text("api.host") {
        Some("0.0.0.0" | "localhost") | None => "127.0.0.1".to_owned(),
        Some("::") => "[::1]".to_owned(),
        Some(host) if host.contains(':') => format!("[{host}]"),
        Some(host) => host.to_owned(),
    };
    let url = format!("http://{host}:{}", config.int("api.port").unwrap_or_default());
    Ok(Target { url, is_own: true, is_running: false })
}

/// The address without a name to be looked up, which costs more than the whole request.
pub(crate) fn by_number(url: &str) -> String {
    url.replacen("//localhost:", "//127.0.0.1:", 1)
}

/// A client of the server. Our own server is started first when it is not running and the person wants that.
pub(crate) fn connect(app: &App) -> Result<Client, CliError> {
    connect_or_start(app, false)
}

/// The same; with `start` our own server is started without asking.
///
/// # Errors
/// Exit 7 when it is not running and must not be started.
pub(crate) fn connect_or_start(app: &App, start: bool) -> Result<Client, CliError> {
    let target = target(app)?;
    if !target.is_own || target.is_running || answers(&target.url) {
        return connect_to(app, &target);
    }
    let wanted = start || app.config()?.is("cli.auto_start") || (app.ui.interactive && asked_to_start(&target.url)?);
    if !wanted {
        let refused = error(ClientError::Refused { url: target.url });
        return Err(refused.or_fix("maos config set cli.auto_start true  (then it is started when it is needed)"));
    }
    let (run, _) = commands::start::start(app, &commands::start::StartArgs::default())?;
    app.ui.note(&format!("Started MAOS (pid {}) at {}", run.pid, run.api));
    connect_to(app, &Target { url: by_number(&run.api), is_own: true, is_running: true })
}

fn asked_to_start(url: &str) -> Result<bool, CliError> {
    let answer = inquire::Confirm::new(&format!("MAOS is not running at {url}. Start it now?")).with_default(true).prompt();
    match answer {
        Ok(yes) => Ok(yes),
        Err(inquire::InquireError::OperationInterrupted | inquire::InquireError::OperationCanceled) => {
            Err(CliError::silent(Exit::Interrupted))
        }
        Err(failed) => {
            Err(CliError::new(Exit::Failure, "prompt", "cannot ask whether to start the server", "maos start").because(failed.to_string()))
        }
    }
}

/// Whether anything listens there.
fn answers(url: &str) -> bool {
    let address = url.trim_start_matches("http://").to_owned();
    let addresses = std::net::ToSocketAddrs::to_socket_addrs(&address.as_str());
    addresses.is_ok_and(|mut all| all.any(|address| std::net::TcpStream::connect_timeout(&address, CONNECT_WAIT).is_ok()))
}

/// A client of this server.
pub(crate) fn connect_to(app: &App, target: &Target) -> Result<Client, CliError> {
    let token = app.global.token.clone().or_else(|| app.env.get("MAOS_API_KEY").map(str::to_owned));
    // Our own server, if its process is gone, will not come back by trying again.
    let retries_max = if target.is_own && !target.is_running { 0 } else { ClientOptions::default().retries_max };
    Client::new(ClientOptions { base_url: target.url.clone(), token, retries_max, ..ClientOptions::default() }).map_err(error)
}

/// Runs a conversation with the server on this thread.
pub(crate) fn block_on<F: Future>(future: F) -> Result<F::Output, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CliError::io("start the event loop", &error, "maos status"))?;
    let output = runtime.block_on(future);
    // Idle connections and resolver threads must not delay the end of the command.
    runtime.shutdown_background();
    Ok(output)
}

/// A failed call as an error of ours.
pub(crate) fn error(error: ClientError) -> CliError {
    let exit = exit_of(error.exit_code());
    let hint = error.hint();
    let (message, cause, code) = match &error {
        ClientError::Problem(problem) => {
            let others: Vec<String> = problem.errors.iter().skip(1).map(|field| field.detail.clone()).collect();
            (problem.detail.clone(), (!others.is_empty()).then(|| others.join("; ")), problem.code.as_str().to_owned())
        }
        ClientError::Refused { .. }
        | ClientError::Timeout { .. }
        | ClientError::Tls { .. }
        | ClientError::Dns { .. }
        | ClientError::NotMaos { .. }
        | ClientError::Broken { .. }
        | ClientError::Incompatible { .. }
        | ClientError::BadUrl { .. } => (error.to_string(), None, "unreachable".to_owned()),
    };
    let commands = commands_in(&hint);
    let mut cli = CliError::new(exit, &code, message, commands.first().map_or(fix_without_command(&code), String::as_str));
    cli.fixes.extend(commands.iter().skip(1).cloned());
    // A hint that is more than its command is worth reading whole.
    let only_commands = commands.iter().any(|command| hint.len() <= command.len() + HINT_FRAME);
    cli.cause = cause.or_else(|| (!only_commands).then(|| hint.replace('`', "")));
    if let ClientError::Problem(problem) = error {
        cli.request_id.clone_from(&problem.request_id);
        cli.problem = serde_json::to_value(&*problem).ok();
    }
    cli
}

fn exit_of(code: u8) -> Exit {
    match code {
        2 => Exit::Usage,
        3 => Exit::NotFound,
        4 => Exit::Auth,
        5 => Exit::Conflict,
        6 => Exit::TaskFailed,
        7 => Exit::Unreachable,
        8 => Exit::WaitedTooLong,
        9 => Exit::Unhealthy,
        10 => Exit::NotConfigured,
        _ => Exit::Failure,
    }
}

/// The command for a hint that names none.
fn fix_without_command(code: &str) -> &'static str {
    match code {
        "unreachable" => "maos help environment",
        code if code.starts_with("idempotency") || code == "validation-failed" => "maos task submit --help",
        _ => "maos status",
    }
}

/// The commands in a hint: "List tasks with `maos task list`." names `maos task list`.
pub(crate) fn commands_in(hint: &str) -> Vec<String> {
    let mut commands = Vec::new();
    let mut rest = hint;
    while let Some(at) = rest.find("maos ") {
        let begins_word = !rest[..at].ends_with(|c: char| c.is_alphanumeric() || "-_./".contains(c));
        rest = &rest[at..];
        let end = ["`", ";", ", ", ". ", " (", "\n"].iter().filter_map(|mark| rest.find(mark)).min().unwrap_or(rest.len());
        if begins_word {
            commands.push(rest[..end].trim_end_matches(['.', ',']).trim().to_owned());
        }
        rest = &rest[end..];
    }
    commands
}

/// The whole id for what a person typed: a whole id, a unique beginning, or `@last`.
///
/// # Errors
/// Exit 3 when there is no such task, 2 when several begin like this.
pub(crate) async fn resolve(app: &App, client: &Client, typed: &str) -> Result<String, CliError> {
    if typed == "@last" {
        let last = std::fs::read_to_string(app.home.last_task_file()).map(|text| text.trim().to_owned()).ok().filter(|id| !id.is_empty());
        return last.ok_or_else(|| CliError::new(Exit::NotFound, "no-last-task", "no task was submitted from here yet", "maos task list"));
    }
    let id = if typed.starts_with("task_") { typed.to_owned() } else { format!("task_{typed}") };
    let rest = id["task_".len()..].to_owned();
    let valid = rest.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    if !valid || rest.len() < PREFIX_CHARS_MIN {
        let why = format!("ids look like task_7k3v9q2m4x5t8w0z; at least {PREFIX_CHARS_MIN} characters after 'task_' are needed");
        return Err(CliError::new(
            Exit::NotFound,
            "task-not-found",
            format!("no task '{}'", clean_line(typed)),
            "maos task list --limit 10",
        )
        .because(why));
    }
    if rest.len() >= ID_CHARS {
        return Ok(id);
    }
    let mut seen: Vec<Task> = Vec::new();
    let mut query = TaskQuery { limit: Some(LOOKUP_PAGE), ..TaskQuery::default() };
    for _ in 0..LOOKUP_PAGES_MAX {
        let page = client.tasks(&query).await.map_err(error)?;
        seen.extend(page.data);
        match page.next_cursor {
            Some(cursor) if page.has_more => query.cursor = Some(cursor),
            _ => break,
        }
    }
    let matching: Vec<&Task> = seen.iter().filter(|task| task.task_id.starts_with(&id)).collect();
    match matching.as_slice() {
        [task] => Ok(task.task_id.clone()),
        [] => Err(unknown(&id, &seen)),
        several => {
            let error = CliError::usage(format!("'{typed}' is the beginning of {} ids", several.len()), "maos task list --limit 10");
            Err(error.similar(several.iter().take(CANDIDATES_MAX).map(|task| describe(task))))
        }
    }
}

/// The ids for what a person typed.
pub(crate) async fn resolve_all(app: &App, client: &Client, typed: &[String]) -> Result<Vec<String>, CliError> {
    let mut ids = Vec::with_capacity(typed.len());
    for text in typed {
        ids.push(resolve(app, client, text.trim()).await?);
    }
    Ok(ids)
}

/// The error for an id that no task has; the closest ones are named.
fn unknown(id: &str, seen: &[Task]) -> CliError {
    let error = CliError::new(Exit::NotFound, "task-not-found", format!("no task '{id}'"), "maos task list --limit 10");
    // A shortened id is compared with the same number of characters.
    let short = |task: &Task| task.task_id.chars().take(id.len()).collect::<String>();
    let ids: Vec<String> = seen.iter().map(short).collect();
    let closest = suggest::closest(id, ids.iter().map(String::as_str)).and_then(|near| seen.iter().find(|task| short(task) == near));
    error.similar(closest.map(describe))
}

/// Adds the closest id to a "no such task" of the server.
pub(crate) async fn with_similar(client: &Client, id: &str, failed: ClientError) -> CliError {
    let mut cli = error(failed);
    if cli.exit == Exit::NotFound
        && let Ok(page) = client.tasks(&TaskQuery { limit: Some(LOOKUP_PAGE), ..TaskQuery::default() }).await
    {
        cli.similar.clone_from(&unknown(id, &page.data).similar);
    }
    cli
}

fn describe(task: &Task) -> String {
    let age = jiff::Timestamp::now().as_millisecond() - task.created_at.as_millis();
    format!("{} ({}, \"{}\")", task.task_id, ago(age), cut(&clean_line(&task.description), 50, '…'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_in_a_hint() {
        assert_eq!(commands_in("List tasks with `maos task list`."), ["maos task list"]);
        assert_eq!(commands_in("look at `maos logs`; if it hangs: maos restart --force"), ["maos logs", "maos restart --force"]);
        assert_eq!(
            commands_in("maos config get api.host; maos config get api.port"),
            ["maos config get api.host", "maos config get api.port"]
        );
        assert_eq!(commands_in("write it like http://127.0.0.1:8000"), Vec::<String>::new());
    }

    #[test]
    fn not_running_is_exit_7_with_the_command() {
        let cli = error(ClientError::Refused { url: "http://127.0.0.1:8000".to_owned() });
        assert_eq!(
            (cli.exit, cli.message.as_str(), cli.fixes[0].as_str()),
            (Exit::Unreachable, "MAOS is not running at http://127.0.0.1:8000", "maos start")
        );
    }
}
