//! `maos openapi`: the OpenAPI document of the REST API, without a server.
use crate::app::App;
use crate::error::Outcome;
use crate::exit::Exit;
use crate::print::Format;

/// Prints it.
pub(crate) fn run(app: &App) -> Outcome {
    let document = maos_server::openapi();
    match app.ui.format_of(&[Format::Table, Format::Json, Format::Yaml])? {
        Format::Yaml => app.ui.document(Format::Yaml, &document)?,
        _ => app.ui.out(&format!("{:#}\n", serde_json::to_value(&document).unwrap_or_default()))?,
    }
    Ok(Exit::Success)
}
