//! `maos version`.
use crate::app::App;
use crate::error::Outcome;
use crate::exit::Exit;
use crate::print::Format;
use serde::Serialize;

/// What this binary is.
#[derive(Debug, Serialize)]
pub(crate) struct Version {
    version: &'static str,
    commit: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    date: &'static str,
    rustc: &'static str,
    os: &'static str,
    arch: &'static str,
    api_version: u32,
}

/// Shows it.
pub(crate) fn run(app: &App) -> Outcome {
    let version = Version {
        version: env!("CARGO_PKG_VERSION"),
        commit: env!("MAOS_COMMIT"),
        date: env!("MAOS_COMMIT_DATE"),
        rustc: env!("MAOS_RUSTC"),
        os: std::env::consts::OS,
        arch: std::env::consts::ARCH,
        api_version: 1,
    };
    match app.ui.format_of(&[Format::Table, Format::Json, Format::Jsonl, Format::Yaml])? {
        Format::Table => {
            let date = if version.date.is_empty() { String::new() } else { format!("{}, ", version.date) };
            app.ui.out(&format!("maos {} (git {}, {date}rustc {})\n", version.version, version.commit, version.rustc))?;
        }
        format => app.ui.document(format, &version)?,
    }
    Ok(Exit::Success)
}
