//! `maos agent pause|resume|restart|terminate ID…`: one call each; repeating one that is already so changes nothing.
use super::{resolve_all, status_cell, with_similar};
use crate::app::App;
use crate::client;
use crate::error::{CliError, Outcome};
use crate::exit::Exit;
use crate::print::Format;
use clap::Args;
use maos_api::Client;
use maos_api::agents::Agent;

/// Arguments of those that harm nothing.
#[derive(Debug, Args)]
pub(crate) struct IdArgs {
    /// The agents (a unique beginning is enough; 'agent_' may be left out)
    #[arg(required = true, value_name = "ID")]
    pub(crate) ids: Vec<String>,
}

/// Arguments of `terminate`.
#[derive(Debug, Args)]
pub(crate) struct TerminateArgs {
    /// The agents (a unique beginning is enough; 'agent_' may be left out)
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    /// Do not ask, even when an agent is at work
    #[arg(short, long, alias = "force")]
    yes: bool,
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// No new call after the current one.
    Pause,
    /// Go on.
    Resume,
    /// The current turn begins anew.
    Restart,
    /// End.
    Terminate,
}

/// Ends agents. One that is at work is asked about first.
pub(crate) fn terminate(app: &App, args: &TerminateArgs) -> Outcome {
    if !args.yes {
        let client = client::connect(app)?;
        let busy = client::block_on(async {
            let mut busy = vec![];
            for id in resolve_all(&client, &args.ids).await? {
                match client.agent(&id).await {
                    // Also one that is held: its step waits with it.
                    Ok(agent) if agent.task_id.is_some() => busy.push(agent),
                    Ok(_) => {}
                    Err(error) => return Err(with_similar(&client, &id, error).await),
                }
            }
            Ok(busy)
        })??;
        for agent in busy {
            confirm(app, &agent)?;
        }
    }
    run(app, &args.ids, Action::Terminate)
}

fn confirm(app: &App, agent: &Agent) -> Result<(), CliError> {
    let at = agent.task_id.as_deref().unwrap_or("a task");
    if !app.ui.interactive {
        let error =
            CliError::usage(format!("{} is at work on {at}", agent.agent_id), format!("maos agent terminate {} -y", agent.agent_id));
        return Err(error.because("its step would begin its current turn anew at another agent"));
    }
    let ask = format!("{} is at work on {at}; its step goes to another agent. End it?", agent.agent_id);
    match inquire::Confirm::new(&ask).with_default(false).prompt() {
        Ok(true) => Ok(()),
        Ok(false) | Err(inquire::InquireError::OperationInterrupted | inquire::InquireError::OperationCanceled) => {
            Err(CliError::silent(Exit::Interrupted))
        }
        Err(failed) => Err(CliError::new(Exit::Failure, "prompt", "cannot ask", "maos agent terminate --help").because(failed.to_string())),
    }
}

/// Does it to each agent. One that fails does not keep the others from being tried.
pub(crate) fn run(app: &App, typed: &[String], action: Action) -> Outcome {
    let format = app.ui.format_of(&[Format::Table, Format::Id, Format::Json, Format::Jsonl, Format::Yaml])?;
    let client = client::connect(app)?;
    client::block_on(async {
        let ids = resolve_all(&client, typed).await?;
        let (mut done, mut failed): (Vec<Agent>, Vec<CliError>) = (vec![], vec![]);
        for id in &ids {
            match call(&client, id, action).await {
                Ok(agent) => {
                    app.ui.note(&format!("{} {}", agent.agent_id, status_cell(&app.ui, agent.status).text));
                    done.push(agent);
                }
                Err(error) => failed.push(error),
            }
        }
        match format {
            Format::Table => {}
            Format::Id => app.ui.out(&done.iter().map(|agent| format!("{}\n", agent.agent_id)).collect::<String>())?,
            Format::Json | Format::Jsonl | Format::Yaml | Format::Csv | Format::Mermaid | Format::Dot => match done.as_slice() {
                [only] if ids.len() == 1 => app.ui.document(format, only)?,
                [] => {}
                _ => app.ui.document(format, &done)?,
            },
        }
        let mut failed = failed.into_iter();
        let Some(first) = failed.next() else { return Ok(Exit::Success) };
        failed.for_each(|error| crate::print::error::print(&app.ui, &error));
        Err(first)
    })?
}

async fn call(client: &Client, id: &str, action: Action) -> Result<Agent, CliError> {
    let answer = match action {
        Action::Pause => client.pause_agent(id).await,
        Action::Resume => client.resume_agent(id).await,
        Action::Restart => client.restart_agent(id).await,
        Action::Terminate => client.terminate_agent(id).await,
    };
    match answer {
        Ok(agent) => Ok(agent),
        Err(error) => Err(with_similar(client, id, error).await),
    }
}
