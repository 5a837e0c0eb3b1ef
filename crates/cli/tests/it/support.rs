//! Runs the program in a home folder of its own, with an environment of its own.
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// A home folder and the variables of its commands.
pub(crate) struct Maos {
    dir: TempDir,
    vars: Vec<(String, String)>,
}

/// What a command did.
#[derive(Debug, Clone)]
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Maos {
    /// An empty home. Port 1 of the API is closed on every machine that runs tests, so no server is ever found by accident.
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let vars = [("MAOS_API_PORT", "1"), ("MAOS_DASHBOARD_PORT", "0"), ("TZ", "UTC"), ("LANG", "C.UTF-8"), ("COLUMNS", "100")];
        Maos { dir, vars: vars.map(|(k, v)| (k.to_owned(), v.to_owned())).to_vec() }
    }

    /// With another variable.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.vars.retain(|(known, _)| known != name);
        self.vars.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Without a variable.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.vars.retain(|(known, _)| known != name);
        self
    }

    pub(crate) fn home(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.home().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.home().join(name)).unwrap()
    }

    /// The command, not started yet.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_maos"));
        command.args(args).env_clear().env("MAOS_HOME", self.home()).current_dir(self.home()).stdin(Stdio::null());
        command.envs(self.vars.iter().map(|(k, v)| (k, v)));
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Done {
        self.done(self.command(args).output().unwrap())
    }

    /// The result as JSON.
    pub(crate) fn json(&self, args: &[&str]) -> serde_json::Value {
        let mut line = args.to_vec();
        line.extend(["-o", "json"]);
        serde_json::from_str(&self.run(&line).expect(0).stdout).unwrap()
    }

    pub(crate) fn run_with_stdin(&self, args: &[&str], stdin: &str) -> Done {
        let mut child = self.command(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // The program may refuse before it has read everything.
        drop(child.stdin.take().unwrap().write_all(stdin.as_bytes()));
        self.done(child.wait_with_output().unwrap())
    }

    fn done(&self, output: Output) -> Done {
        let clean = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(&self.home().display().to_string(), "[HOME]");
        Done { code: output.status.code().unwrap_or(-1), stdout: clean(output.stdout), stderr: clean(output.stderr) }
    }
}

impl std::fmt::Display for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit: {}\n--- stdout\n{}--- stderr\n{}", self.code, self.stdout, self.stderr)
    }
}

impl Done {
    /// Fails the test unless it ended with this code.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self}");
        self
    }
}
