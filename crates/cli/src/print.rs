//! All printing: formats, colour, width, errors.
//!
//! Invariant: stdout carries only a command's result, each result in one write; everything else goes to stderr.
pub(crate) mod error;
pub(crate) mod suggest;
pub(crate) mod table;
pub(crate) mod text;

use crate::env::Env;
use crate::error::CliError;
use crate::exit::Exit;
use clap::ValueEnum;
use serde::Serialize;
use std::io::{IsTerminal, Write};

/// Width assumed when the terminal does not tell.
const WIDTH_DEFAULT: usize = 80;

/// Formats of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// One JSON document; pretty on a terminal.
    Json,
    /// One JSON object per line.
    Jsonl,
    /// YAML.
    Yaml,
    /// RFC 4180, with a header.
    Csv,
    /// Ids only, one per line.
    Id,
    /// A Mermaid flow chart (plans only).
    Mermaid,
    /// A Graphviz graph (plans only).
    Dot,
}

impl Format {
    /// The name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Format::Table => "table",
            Format::Json => "json",
            Format::Jsonl => "jsonl",
            Format::Yaml => "yaml",
            Format::Csv => "csv",
            Format::Id => "id",
            Format::Mermaid => "mermaid",
            Format::Dot => "dot",
        }
    }
}

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorChoice {
    /// On terminals, unless a variable says otherwise.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Colours by meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// No colour.
    Plain,
    /// Headers, names.
    Bold,
    /// Less important.
    Dim,
    /// It went well.
    Good,
    /// It is going on.
    Active,
    /// It needs attention.
    Warn,
    /// It failed.
    Bad,
}

impl Style {
    fn anstyle(self) -> anstyle::Style {
        use anstyle::{AnsiColor, Style as S};
        match self {
            Style::Plain => S::new(),
            Style::Bold => S::new().bold(),
            Style::Dim => S::new().dimmed(),
            Style::Good => AnsiColor::Green.on_default(),
            Style::Active => AnsiColor::Cyan.on_default(),
            Style::Warn => AnsiColor::Yellow.on_default(),
            Style::Bad => AnsiColor::Red.on_default().bold(),
        }
    }
}

/// What printing depends on; decided once.
#[derive(Debug, Clone)]
pub(crate) struct Ui {
    /// The format, if one was asked for.
    pub(crate) format: Option<Format>,
    /// stdout is a terminal.
    pub(crate) out_tty: bool,
    /// stderr is a terminal.
    pub(crate) err_tty: bool,
    /// Colour on stdout.
    pub(crate) out_color: bool,
    /// Colour on stderr.
    pub(crate) err_color: bool,
    /// Cells in a line.
    pub(crate) width: usize,
    /// The terminal can show more than ASCII.
    pub(crate) utf8: bool,
    /// Nothing but errors on stderr.
    pub(crate) quiet: bool,
    /// More detail.
    pub(crate) verbose: bool,
    /// Prompts are allowed and possible.
    pub(crate) interactive: bool,
}

/// Flags that printing depends on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UiFlags {
    /// `-o`.
    pub(crate) format: Option<Format>,
    /// `--color`.
    pub(crate) color: ColorChoice,
    /// `-q`.
    pub(crate) quiet: bool,
    /// `-v`.
    pub(crate) verbose: bool,
    /// `--no-input`.
    pub(crate) no_input: bool,
}

impl Ui {
    /// Decides from flags, environment and the kind of the standard streams.
    pub(crate) fn new(env: &Env, flags: UiFlags) -> Self {
        let out_tty = std::io::stdout().is_terminal();
        let err_tty = std::io::stderr().is_terminal();
        let in_tty = std::io::stdin().is_terminal();
        let columns = env.get("COLUMNS").and_then(|text| text.parse().ok()).filter(|n| *n > 0);
        let measured =
            || (out_tty || err_tty).then(crossterm::terminal::size).and_then(Result::ok).map(|(w, _)| usize::from(w)).filter(|w| *w > 0);
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| env.get(name)).unwrap_or("C.UTF-8").to_ascii_lowercase();
        Ui {
            format: flags.format,
            out_tty,
            err_tty,
            out_color: use_color(env, flags.color, out_tty),
            err_color: use_color(env, flags.color, err_tty),
            width: columns.or_else(measured).unwrap_or(WIDTH_DEFAULT),
            utf8: locale.contains("utf-8") || locale.contains("utf8"),
            quiet: flags.quiet,
            verbose: flags.verbose,
            interactive: in_tty && err_tty && !flags.no_input && env.get("CI").is_none(),
        }
    }

    /// The format asked for, if it is one of `supported`; table if none was.
    ///
    /// # Errors
    /// Exit 2, naming the supported ones.
    pub(crate) fn format_of(&self, supported: &[Format]) -> Result<Format, CliError> {
        let format = self.format.unwrap_or(Format::Table);
        if supported.contains(&format) {
            return Ok(format);
        }
        let names: Vec<&str> = supported.iter().map(|f| f.name()).collect();
        Err(CliError::usage(format!("this command has no '{}' format", format.name()), "maos help formats")
            .because(format!("supported here: {}", names.join(", "))))
    }

    /// Writes a result to stdout, all of it in one write.
    ///
    /// # Errors
    /// Ends quietly (141) when the reader went away; exit 1 on other failures.
    pub(crate) fn out(&self, text: &str) -> Result<(), CliError> {
        let mut stdout = std::io::stdout().lock();
        let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
        written.map_err(|error| match error.kind() {
            std::io::ErrorKind::BrokenPipe => CliError::silent(Exit::BrokenPipe),
            _ => CliError::io("write to stdout", &error, "maos help formats"),
        })
    }

    /// A line of news on stderr, unless `-q`. A closed stderr is not an error: there is nobody to tell.
    pub(crate) fn note(&self, line: &str) {
        if !self.quiet {
            self.err_line(line);
        }
    }

    /// A warning on stderr, unless `-q`.
    pub(crate) fn warn(&self, line: &str) {
        if !self.quiet {
            self.err_line(&format!("{} {line}", self.err_paint(Style::Warn, "warning:")));
        }
    }

    /// A line on stderr in any case.
    pub(crate) fn err_line(&self, line: &str) {
        drop(std::io::stderr().lock().write_all(format!("{line}\n").as_bytes()));
    }

    /// Coloured for stdout.
    pub(crate) fn paint(&self, style: Style, text: &str) -> String {
        painted(self.out_color, style, text)
    }

    /// Coloured for stderr.
    pub(crate) fn err_paint(&self, style: Style, text: &str) -> String {
        painted(self.err_color, style, text)
    }

    /// The glyph, or its ASCII form where the terminal cannot show it.
    pub(crate) fn glyph(&self, utf8: &'static str, ascii: &'static str) -> &'static str {
        if self.utf8 { utf8 } else { ascii }
    }

    /// A value as JSON (pretty on a terminal), JSON line or YAML.
    ///
    /// # Errors
    /// As [`Ui::out`]; exit 2 when `format` is none of these.
    pub(crate) fn document<T: Serialize>(&self, format: Format, value: &T) -> Result<(), CliError> {
        let failed = |error: String| CliError::new(Exit::Failure, "output", "cannot print the result", "maos help formats").because(error);
        let text = match format {
            Format::Json if self.out_tty => serde_json::to_string_pretty(value).map_err(|e| failed(e.to_string()))?,
            Format::Json | Format::Jsonl => serde_json::to_string(value).map_err(|e| failed(e.to_string()))?,
            Format::Yaml => serde_saphyr::to_string(value).map_err(|e| failed(e.to_string()))?,
            Format::Table | Format::Csv | Format::Id | Format::Mermaid | Format::Dot => {
                self.format_of(&[Format::Json, Format::Jsonl, Format::Yaml])?;
                return Ok(());
            }
        };
        // Texts of models are in it; what reads a pipe gets them as they are, a terminal must not obey them.
        let text = match format {
            _ if !self.out_tty => text,
            Format::Json | Format::Jsonl => text::clean_json(&text),
            _ => text::clean_block(&text),
        };
        self.out(&format!("{}\n", text.trim_end_matches('\n')))
    }
}

fn painted(color: bool, style: Style, text: &str) -> String {
    if !color || style == Style::Plain || text.is_empty() {
        return text.to_owned();
    }
    let style = style.anstyle();
    format!("{}{text}{}", style.render(), style.render_reset())
}

fn use_color(env: &Env, choice: ColorChoice, tty: bool) -> bool {
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => {
            let off = env.get("MAOS_NO_COLOR").is_some() || env.get("NO_COLOR").is_some();
            let forced = ["CLICOLOR_FORCE", "FORCE_COLOR"].iter().any(|name| env.get(name).is_some_and(|value| value != "0"));
            !off && (forced || (tty && env.get("TERM") != Some("dumb")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_there_is_colour() {
        let auto = |vars: &[(&str, &str)], tty| use_color(&Env::of(vars), ColorChoice::Auto, tty);
        assert!(auto(&[], true));
        assert!(!auto(&[], false));
        assert!(!auto(&[("NO_COLOR", "1")], true));
        assert!(auto(&[("NO_COLOR", "")], true));
        assert!(!auto(&[("MAOS_NO_COLOR", "1")], true));
        assert!(!auto(&[("TERM", "dumb")], true));
        assert!(auto(&[("CLICOLOR_FORCE", "1")], false));
        assert!(!auto(&[("FORCE_COLOR", "0")], false));
        assert!(use_color(&Env::of(&[("NO_COLOR", "1")]), ColorChoice::Always, false));
        assert!(!use_color(&Env::of(&[("FORCE_COLOR", "1")]), ColorChoice::Never, true));
    }
}
