//! `maos init`: the configuration file and the folders. Running it again changes nothing.
use crate::app::App;
use crate::config::{Config, edit, schema, template};
use crate::error::{CliError, Outcome};
use crate::exit::Exit;
use crate::home::{create_private_dir, write_private};
use crate::print::Style;
use clap::Args;
use std::path::Path;

/// Its arguments.
#[derive(Debug, Args)]
#[command(after_help = "Running it again changes nothing. Next: maos start")]
pub(crate) struct InitArgs {
    /// Write a new configuration file; the old one is kept beside it
    #[arg(long)]
    force: bool,
}

/// Creates what is missing.
pub(crate) fn run(app: &App, args: &InitArgs) -> Outcome {
    let home = &app.home;
    let failed = |path: &Path| {
        let shown = home.show(path);
        move |error: std::io::Error| {
            CliError::io(format!("create {shown}"), &error, "maos help environment").or_fix("MAOS_HOME=/another/folder maos init")
        }
    };
    create_private_dir(home.dir()).map_err(failed(home.dir()))?;
    let (file, _) = app.sources(&[]).main_file();
    let existed = file.exists();
    let mut changed = false;
    if existed && args.force {
        let backup = backup_path(&file);
        std::fs::copy(&file, &backup).map_err(failed(&backup))?;
        app.ui.note(&format!("Kept     {}", home.show(&backup)));
    }
    if !existed || args.force {
        let model = schema::find("claude.model").and_then(|key| key.default).expect("claude.model has a default (schema)");
        write_private(&file, template::config_file(model).as_bytes()).map_err(failed(&file))?;
        created(app, &file, "edit me; only you can read it");
        changed = true;
    }
    let schema_file = file.with_file_name("config.schema.json");
    let schema_text = format!("{:#}\n", crate::config::json_schema::document());
    if std::fs::read_to_string(&schema_file).ok().as_deref() != Some(&schema_text) {
        write_private(&schema_file, schema_text.as_bytes()).map_err(failed(&schema_file))?;
        created(app, &schema_file, "lets editors check and complete config.yml");
        changed = true;
    }
    for (dir, what) in [
        (home.agents(), "your own agent types; five are built in"),
        (home.logs(), "log files"),
        (home.run(), "state of the running server"),
    ] {
        if create_private_dir(&dir).map_err(failed(&dir))? {
            created(app, &dir, what);
            changed = true;
        }
    }
    if !changed {
        app.ui.note(&format!("Nothing to do: {} is already set up", home.show(home.dir())));
    }
    provider(app, &file)?;
    app.ui.note(&format!("Next: {}", app.ui.err_paint(Style::Bold, "maos start")));
    Ok(Exit::Success)
}

fn created(app: &App, path: &Path, what: &str) {
    let slash = if path.is_dir() { "/" } else { "" };
    let shown = format!("{}{slash}", app.home.show(path));
    app.ui.note(&format!("Created  {shown:<32} {}", app.ui.err_paint(Style::Dim, &format!("({what})"))));
}

/// A name for the old file that is not taken.
fn backup_path(file: &Path) -> std::path::PathBuf {
    let now = jiff::Timestamp::now().strftime("%Y%m%d-%H%M%S").to_string();
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or("config.yml");
    (0..)
        .map(|n| file.with_file_name(if n == 0 { format!("{name}.bak-{now}") } else { format!("{name}.bak-{now}-{n}") }))
        .find(|path| !path.exists())
        .expect("some number is free")
}

/// Says who answers model calls, and asks for a key when nobody would.
fn provider(app: &App, file: &Path) -> Result<(), CliError> {
    let config = app.config_checked(&[])?;
    match provider_note(&config) {
        Ok(note) => {
            app.ui.note(&note);
            Ok(())
        }
        Err(missing) => {
            app.ui.note(&missing);
            if app.ui.interactive { ask_for_key(app, file) } else { Ok(()) }
        }
    }
}

/// Who would answer model calls, judged by the configuration alone; `Err` with the ways out when nobody would.
pub(crate) fn provider_note(config: &Config) -> Result<String, String> {
    let origin = |key: &str| match &config.get(key).origin {
        crate::config::Origin::Env(name) => format!("from {name}"),
        crate::config::Origin::File { variable: Some(name), .. } => format!("from {name}"),
        crate::config::Origin::File { .. } | crate::config::Origin::Flag(_) | crate::config::Origin::Default => {
            "from the configuration".to_owned()
        }
    };
    let is_set = |key: &str| config.get(key).origin != crate::config::Origin::Default && config.get(key).value.is_some();
    match config.text("provider") {
        Some("scripted") => {
            return Ok("Model provider: scripted (answers come from a script, not from a model)".to_owned());
        }
        Some("local") => return Ok("Model provider: local".to_owned()),
        _ => {}
    }
    if is_set("claude.api_key") {
        Ok(format!("Model provider: claude ({})", origin("claude.api_key")))
    } else if is_set("openai.api_key") || is_set("openai.base_url") {
        Ok(format!("Model provider: openai ({})", origin(if is_set("openai.base_url") { "openai.base_url" } else { "openai.api_key" })))
    } else {
        Err("No key of a model provider found (CLAUDE_API_KEY or ANTHROPIC_API_KEY). Other ways: an OpenAI-compatible server\n  \
             (maos config set openai.base_url http://…), or a small model on this machine (maos model pull)"
            .to_owned())
    }
}

fn ask_for_key(app: &App, file: &Path) -> Result<(), CliError> {
    let answer = inquire::Password::new("Paste a Claude API key now (hidden, Enter to skip):").without_confirmation().prompt_skippable();
    let key = match answer {
        Ok(Some(key)) if !key.trim().is_empty() => key.trim().to_owned(),
        Ok(_) => return Ok(()),
        Err(inquire::InquireError::OperationInterrupted) => {
            return Err(CliError::silent(Exit::Interrupted));
        }
        Err(error) => {
            return Err(CliError::new(Exit::Failure, "prompt", "cannot ask for the key", "maos config set claude.api_key")
                .because(error.to_string()));
        }
    };
    let failed = |error: std::io::Error| CliError::io(format!("write {}", app.home.show(file)), &error, "maos config set claude.api_key");
    let text = std::fs::read_to_string(file).map_err(failed)?;
    let schema_key = schema::find("claude.api_key").expect("claude.api_key is a key (schema)");
    let edited = edit::set(&text, schema_key, &key).map_err(|error| super::config::edit_error(app, file, error))?;
    write_private(file, edited.as_bytes()).map_err(failed)?;
    app.ui.note("Saved the key; only you can read the file");
    Ok(())
}
