//! `maos skill …`: the skills that agents can open.
use super::mcp::shown;
use crate::app::App;
use crate::error::{CliError, Outcome};
use crate::exit::Exit;
use crate::print::table::{self, Column, ListFlags};
use clap::{Args, Subcommand};
use maos_tools::Problem;
use maos_tools::skills::{self, Skills};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Its sub-commands.
#[derive(Debug, Args)]
pub(crate) struct SkillArgs {
    #[command(subcommand)]
    pub(crate) command: SkillCommand,
}

/// What can be done with skills.
#[derive(Debug, Subcommand)]
pub(crate) enum SkillCommand {
    /// List the skills that agents can open
    List {
        #[command(flatten)]
        list: ListFlags,
    },
    /// Check skills: all, or the one in a folder
    Validate {
        /// A skill's folder
        folder: Option<PathBuf>,
    },
}

/// Where skills are looked for, the person's MAOS folder first.
pub(crate) fn folders(app: &App) -> Vec<PathBuf> {
    app.home.skills()
}

/// Does one of them.
pub(crate) fn run(app: &App, command: &SkillCommand) -> Outcome {
    match command {
        SkillCommand::List { list } => list_skills(app, list),
        SkillCommand::Validate { folder } => validate(app, folder.as_deref()),
    }
}

/// A skill as it is listed.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    description: String,
    folder: String,
}

fn list_skills(app: &App, list: &ListFlags) -> Outcome {
    let (skills, problems) = Skills::load(&folders(app));
    for problem in &problems {
        app.ui.warn(&shown(app, problem));
    }
    let row = |s: &skills::Skill| Row { name: s.name.clone(), description: s.description.clone(), folder: app.home.show(&s.folder) };
    let rows: Vec<Row> = skills.all().map(row).collect();
    if rows.is_empty() && problems.is_empty() {
        let places: Vec<String> = folders(app).iter().map(|f| app.home.show(f)).collect();
        app.ui.note(&format!("No skills. Each is a folder with a SKILL.md in {}", places.join(" or ")));
    }
    let columns = [
        Column::new("NAME", |row: &Row| row.name.clone().into()),
        Column::new("DESCRIPTION", |row: &Row| row.description.clone().into()).cuttable(),
        Column::new("FOLDER", |row: &Row| row.folder.clone().into()).hidden(),
    ];
    table::print(&app.ui, list, &rows, &columns, Some(&|row: &Row| row.name.clone()))?;
    Ok(Exit::Success)
}

fn validate(app: &App, folder: Option<&Path>) -> Outcome {
    let (count, problems): (usize, Vec<Problem>) = match folder {
        None => {
            let (skills, problems) = Skills::load(&folders(app));
            (skills.all().len(), problems)
        }
        Some(folder) => {
            // The name must be that of the folder, so `.` needs its real one.
            let folder = folder.canonicalize();
            let folder = folder.map_err(|e| CliError::io("open the skill's folder", &e, "maos skill validate FOLDER"))?;
            let (skill, problems) = skills::read(&folder);
            (usize::from(skill.is_some()), problems)
        }
    };
    for problem in problems.iter().filter(|p| !p.is_error) {
        app.ui.warn(&shown(app, problem));
    }
    let errors: Vec<String> = problems.iter().filter(|p| p.is_error).map(|p| shown(app, p)).collect();
    if errors.is_empty() {
        app.ui.note(&format!("{count} valid skill{}", if count == 1 { "" } else { "s" }));
        return Ok(Exit::Success);
    }
    app.ui.out(&errors.iter().map(|e| format!("{e}\n")).collect::<String>())?;
    let what = if errors.len() == 1 { "1 fault".to_owned() } else { format!("{} faults", errors.len()) };
    Err(CliError::new(Exit::Usage, "skill-invalid", format!("{what} found; the skills concerned are not used"), "maos skill validate"))
}
