//! How errors look: `error`, `cause`, `similar`, `fix`, `request`; in machine formats one problem document per line.
use super::text::clean_line;
use super::{Format, Style, Ui};
use crate::error::CliError;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use serde_json::json;

/// Prints an error to stderr.
pub(crate) fn print(ui: &Ui, error: &CliError) {
    if error.silent {
        return;
    }
    match ui.format {
        Some(Format::Json | Format::Jsonl) => ui.err_line(&document(error).to_string()),
        Some(Format::Table | Format::Yaml | Format::Csv | Format::Id | Format::Mermaid | Format::Dot) | None => {
            ui.err_line(&text(ui, error))
        }
    }
}

/// The lines for people.
fn text(ui: &Ui, error: &CliError) -> String {
    let mut lines = vec![format!("{} {}", ui.err_paint(Style::Bad, "error:"), clean_line(&error.message))];
    let mut add = |label: &str, style: Style, value: &str| lines.push(format!("  {} {}", ui.err_paint(style, label), clean_line(value)));
    if let Some(cause) = &error.cause {
        add("cause:", Style::Dim, cause);
    }
    for similar in &error.similar {
        add("similar:", Style::Warn, similar);
    }
    for fix in &error.fixes {
        add("fix:", Style::Good, fix);
    }
    if let Some(request) = &error.request_id {
        add("request:", Style::Dim, request);
    }
    if let (true, Some(problem)) = (ui.verbose, &error.problem) {
        add("details:", Style::Dim, &problem.to_string());
    }
    lines.join("\n")
}

/// The problem document: the server's own where there is one.
fn document(error: &CliError) -> serde_json::Value {
    let mut document = error.problem.clone().unwrap_or_else(|| {
        json!({
            "type": format!("urn:maos:problem:{}", error.code),
            "title": error.message,
            "detail": error.cause.clone().unwrap_or_else(|| error.message.clone()),
            "code": error.code,
        })
    });
    document["hint"] = error.fixes.first().cloned().into();
    document["exit_code"] = (error.exit as u8).into();
    document
}

/// Turns an error of the command-line parser into ours.
pub(crate) fn from_clap(error: &clap::Error, command_path: &str) -> CliError {
    let get = |kind: ContextKind| error.get(kind).map(context_text);
    let argument = get(ContextKind::InvalidArg).unwrap_or_default();
    let given = get(ContextKind::InvalidValue).unwrap_or_default();
    let help = format!("{command_path} --help");
    let message = match error.kind() {
        ErrorKind::InvalidValue if given.is_empty() => format!("'{argument}' needs a value"),
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            format!("invalid value '{given}' for '{argument}'")
        }
        ErrorKind::UnknownArgument => format!("unexpected argument '{argument}'"),
        ErrorKind::InvalidSubcommand => {
            format!("no command '{} {}'", command_path, get(ContextKind::InvalidSubcommand).unwrap_or_default())
        }
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            format!("'{command_path}' needs a sub-command")
        }
        ErrorKind::MissingRequiredArgument => format!("missing: {argument}"),
        ErrorKind::ArgumentConflict => format!(
            "'{argument}' cannot be used with {}",
            get(ContextKind::PriorArg).map_or_else(|| "that".to_owned(), |p| format!("'{p}'"))
        ),
        ErrorKind::TooManyValues | ErrorKind::TooFewValues | ErrorKind::WrongNumberOfValues | ErrorKind::NoEquals => {
            format!("wrong number of values for '{argument}'")
        }
        ErrorKind::InvalidUtf8 => "an argument is not valid UTF-8".to_owned(),
        _ => clean_line(error.to_string().lines().next().unwrap_or("usage").trim_start_matches("error: ")),
    };
    let mut cli = CliError::usage(message, help);
    if let Some(source) = std::error::Error::source(error) {
        cli = cli.because(source.to_string());
    }
    if let Some(values) = get(ContextKind::ValidValue).filter(|values| !values.is_empty()) {
        cli = cli.because(format!("possible values: {values}"));
    }
    if let Some(values) = get(ContextKind::ValidSubcommand).filter(|values| !values.is_empty()) {
        cli = cli.because(format!("commands: {values}"));
    }
    let suggested = [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand, ContextKind::SuggestedValue];
    cli.similar(suggested.into_iter().filter_map(get).filter(|text| !text.is_empty()))
}

fn context_text(value: &ContextValue) -> String {
    match value {
        ContextValue::String(text) => text.clone(),
        ContextValue::Strings(texts) => texts.join(", "),
        ContextValue::StyledStr(text) => text.to_string(),
        ContextValue::Number(n) => n.to_string(),
        ContextValue::Bool(b) => b.to_string(),
        _ => String::new(),
    }
}
