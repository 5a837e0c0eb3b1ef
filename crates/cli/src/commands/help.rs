//! `maos` alone, `maos help COMMAND` and `maos help TOPIC`. The tables are made from the ones the program runs by.
use crate::app::App;
use crate::args::Cli;
use crate::config::schema::KEYS;
use crate::error::{CliError, Outcome};
use crate::exit::{Exit, TABLE};
use crate::print::suggest;
use clap::{Args, CommandFactory};

/// Its arguments.
#[derive(Debug, Args)]
pub(crate) struct HelpArgs {
    /// A topic (quickstart, environment, exit-codes, formats, agents) or a command
    topic: Vec<String>,
}

const TOPICS: &[&str] = &["quickstart", "environment", "exit-codes", "formats", "agents"];

const INTRODUCTION: &str = "\
MAOS: one line of work, many agents at once.

You say what is to be done. MAOS plans it, lets several agents work on the parts
at the same time, and survives being stopped or killed at any moment.

  maos init                            create ~/.maos/config.yml
  maos start                           start the server in the background
  maos task submit \"…\" --follow        give it work and watch

  maos help quickstart                 the first five minutes
  maos --help                          all commands
";

const QUICKSTART: &str = "\
Quick start

1. Create the configuration:
     maos init
2. Say who answers the model calls. One of:
     maos config set claude.api_key                        a key of the Anthropic API
     maos config set openai.base_url http://127.0.0.1:8080/v1   an OpenAI-compatible server
     maos model pull                                       a small model that runs on this machine
3. Start the server. It runs in the background and survives closing the terminal:
     maos start
4. Give it work:
     maos task submit \"Compare the three largest cloud providers\" --follow
   Without --follow the command prints the task's id and returns at once:
     ID=$(maos task submit \"Design a database schema\")
     maos task submit \"Implement it\" --depends-on $ID
     maos task watch $ID
     maos task results $ID
5. Look around:
     maos task list        maos status        maos logs --follow
6. Stop. Running tasks go on at the next start, and nothing that was paid for is paid again:
     maos stop
";

const FORMATS: &str = "\
Formats

stdout carries only the result of a command; hints, progress and warnings go to stderr.

  -o table   for people (the default). On a terminal, tables fit its width; in a pipe nothing is cut.
  -o json    one JSON document, the same as the API's; lists are arrays. --json is short for it.
  -o jsonl   one JSON object per line; the only JSON form of streams.
  -o yaml    YAML.
  -o csv     RFC 4180 with a header line; all columns.
  -o id      ids only, one per line.

Lists also take --columns a,b  --no-headers  --sort-by [-]column  --wide  --absolute.
Times in machine formats are RFC 3339 in UTC, durations whole milliseconds (*_ms), money decimal text in USD.
Errors with -o json are problem documents (RFC 9457), one line on stderr.

Durations you type: 90s, 5m, 1h30m, 7d; a bare number is seconds. Sizes: 512MB, 1GiB.
Ids may be shortened to a unique beginning (at least 4 characters after 'task_'); @last is the task submitted last.
";

const AGENTS: &str = "\
Agents

Built-in types, each with its tools (maos agent types --details):
  researcher   web_search, data_analysis, synthesis
  coder        programming, testing, debugging
  analyst      data_analysis, visualization, statistics
  tester       test_generation, validation, qa
  coordinator  orchestration, consensus, planning

Agents are made when steps need them. Spawned ones wait in the pool and take fitting steps:
  maos agent spawn coder --capabilities \"python,fastapi\" --memory 2GB --timeout 2h
  maos agent list --details        maos agent metrics ID        maos agent pause|resume|restart|terminate ID

Your own types are files in ~/.maos/agents. What a file leaves out comes from its type:
  # ~/.maos/agents/domain_researcher.yml
  name: domain_researcher
  type: researcher
  description: Finds and weighs scientific literature.    # the planner reads it
  capabilities: [scientific_literature, academic_databases]   # known words bring tools, others go into the prompt
  model: opus                      # haiku, sonnet, opus, inherit, or a model like claude/claude-opus-5-5
  tools: [read_file, web_fetch]    # instead of those of the type
  mcp_servers: [github]            # names in ~/.maos/mcp.json
  max_turns: 30
  parameters:
    max_memory: 2GB
    timeout: 7200
    specialized_tools: [pubmed_search, arxiv_search]
`prompt:` replaces the prompt of the type. Texts are taken as they are: no ${VARIABLES}.
  maos agent import FILE --dry-run   checks a file (also Claude's sub-agent files, .md) and shows how it is read
  maos agent schema                  the JSON Schema, for editors
  maos task submit \"…\" --agent-type domain_researcher

A tool of your own is a file in ~/.maos/tools that describes a web service; its name is then a tool. So patent_db_access,
which needs a key, becomes available by ~/.maos/tools/patent_db_access.yml (docs/http-tools.md has it as an example).

Agents may ask, and some tool calls wait for your consent; only the step that asked waits:
  maos task input ID                          what is asked
  maos task input ID --answer \"…\"
  maos task input ID --approve | --deny       bound to the exact arguments shown, once
";

/// `maos` without a command.
pub(crate) fn introduction(app: &App) -> Outcome {
    app.ui.out(INTRODUCTION)?;
    Ok(Exit::Success)
}

/// `maos help …`.
pub(crate) fn run(app: &App, args: &HelpArgs) -> Outcome {
    let words: Vec<&str> = args.topic.iter().map(String::as_str).collect();
    let text = match words.as_slice() {
        [] => Cli::command().color(clap_color(app)).render_long_help().ansi().to_string(),
        ["quickstart"] => QUICKSTART.to_owned(),
        ["formats"] => FORMATS.to_owned(),
        ["agents"] => AGENTS.to_owned(),
        ["exit-codes"] => exit_codes(),
        ["environment"] => environment(),
        path => command_help(app, path)?,
    };
    let text = if app.ui.out_color { text } else { strip(&text) };
    app.ui.out(&format!("{}\n", text.trim_end()))?;
    Ok(Exit::Success)
}

fn clap_color(app: &App) -> clap::ColorChoice {
    if app.ui.out_color { clap::ColorChoice::Always } else { clap::ColorChoice::Never }
}

fn strip(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

fn command_help(app: &App, path: &[&str]) -> Result<String, CliError> {
    let mut root = Cli::command().color(clap_color(app));
    root.build();
    let mut at = &mut root;
    for word in path {
        let names: Vec<String> = at.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
        let Some(next) = at.find_subcommand_mut(word) else {
            let known = names.iter().map(String::as_str).chain(TOPICS.iter().copied());
            let meant = suggest::closest(word, known).map(|meant| format!("maos help {meant}"));
            let error = CliError::new(Exit::NotFound, "no-help", format!("no help on '{}'", path.join(" ")), "maos --help");
            return Err(error.because(format!("topics: {}", TOPICS.join(", "))).similar(meant));
        };
        at = next;
    }
    Ok(at.render_long_help().ansi().to_string())
}

fn exit_codes() -> String {
    let mut text = "Exit codes\n\n".to_owned();
    for (code, meaning, example) in TABLE {
        let example = if example.is_empty() { String::new() } else { format!("   e.g. {example}") };
        text.push_str(&format!("  {code:>4}  {meaning}{example}\n"));
    }
    text
}

fn environment() -> String {
    let mut text = "Variables\n\nOf the command line:\n".to_owned();
    for (name, meaning) in crate::env::OWN {
        text.push_str(&format!("  {name}\n      {meaning}\n"));
    }
    text.push_str("\nOf configuration keys (a variable beats the file, a flag beats the variable):\n");
    for key in KEYS {
        text.push_str(&format!("  {}\n      {}: {}\n", key.env_name(), key.name, key.doc));
        if !key.env.is_empty() {
            text.push_str(&format!("      also read: {}\n", key.env.join(", ")));
        }
        if let Some(instead) = key.later {
            text.push_str(&format!("      no effect in this version: {instead}\n"));
        }
    }
    text.push_str("\nModel calls honour HTTPS_PROXY, HTTP_PROXY and NO_PROXY.\n");
    text.push_str("Variables are also read from ~/.maos/.env and from --env-file; the .env of the current folder is not read.\n");
    text
}
