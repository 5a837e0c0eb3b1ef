//! What every command is given: how to print, the environment, the home folder, the configuration.
use crate::args::Global;
use crate::config::{Config, SYSTEM_FILE, Sources};
use crate::env::{Env, parse_env_file};
use crate::error::CliError;
use crate::exit::Exit;
use crate::home::Home;
use crate::print::Ui;
use std::path::Path;

/// The surroundings of a command.
#[derive(Debug)]
pub(crate) struct App {
    /// How to print.
    pub(crate) ui: Ui,
    /// The environment.
    pub(crate) env: Env,
    /// The home folder.
    pub(crate) home: Home,
    /// Flags of every command.
    pub(crate) global: Global,
}

impl App {
    /// Puts them together.
    pub(crate) fn new(ui: Ui, env: Env, home: Home, global: Global) -> Self {
        App { ui, env, home, global }
    }

    /// Where configuration comes from, with these flags.
    pub(crate) fn sources<'a>(&'a self, flags: &'a [(&'static str, String, String)]) -> Sources<'a> {
        Sources { home: &self.home, env: &self.env, system_file: Path::new(SYSTEM_FILE), file: self.global.config.as_deref(), flags }
    }

    /// The configuration, for commands that only talk to the server: warnings about unknown variables are shown, others are not.
    pub(crate) fn config(&self) -> Result<Config, CliError> {
        let config = Config::load(&self.sources(&[]))?;
        config.variable_warnings.iter().for_each(|warning| self.ui.warn(warning));
        Ok(config)
    }

    /// The configuration, for commands that are about it: all warnings are shown.
    pub(crate) fn config_checked(&self, flags: &[(&'static str, String, String)]) -> Result<Config, CliError> {
        let config = Config::load(&self.sources(flags))?;
        config.variable_warnings.iter().chain(&config.warnings).for_each(|warning| self.ui.warn(warning));
        Ok(config)
    }
}

/// Adds `--env-file` and the home folder's `.env` to the environment. The current folder's `.env` is never read.
pub(crate) fn read_env_files(env: &mut Env, global: &Global) -> Result<Home, CliError> {
    if let Some(path) = &global.env_file {
        let text = std::fs::read_to_string(path).map_err(|e| {
            CliError::usage(format!("cannot read the env file {}", path.display()), "maos help environment").because(e.to_string())
        })?;
        add(env, path, &text)?;
    }
    let home = Home::find(env);
    let path = home.env_file();
    match std::fs::read_to_string(&path) {
        Ok(text) => add(env, &path, &text)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => {
            return Err(CliError::new(Exit::Usage, "env-file", format!("cannot read {}", home.show(&path)), "maos help environment")
                .because(error.to_string()));
        }
    }
    Ok(home)
}

fn add(env: &mut Env, path: &Path, text: &str) -> Result<(), CliError> {
    let pairs = parse_env_file(text)
        .map_err(|line| CliError::usage(format!("{}, line {line}: expected NAME=value", path.display()), "maos help environment"))?;
    for (name, value) in pairs {
        env.add_default(name, value);
    }
    Ok(())
}
