//! Where `maos` keeps its files. Invariant: every path inside the home folder is named here and nowhere else.
use crate::env::Env;
use std::path::{Path, PathBuf};

/// The home folder (`$MAOS_HOME`, else `~/.maos`).
#[derive(Debug, Clone)]
pub(crate) struct Home {
    dir: PathBuf,
    /// The person's own home, to show paths as `~/…`.
    user: Option<PathBuf>,
}

impl Home {
    /// Finds the folder. A relative `MAOS_HOME` counts from the current folder, so that the server started from here finds the same one.
    pub(crate) fn find(env: &Env) -> Self {
        let user = env.get("HOME").map(PathBuf::from);
        let dir = match (env.get("MAOS_HOME"), &user) {
            (Some(dir), _) => std::path::absolute(dir).unwrap_or_else(|_| PathBuf::from(dir)),
            (None, Some(user)) => user.join(".maos"),
            (None, None) => PathBuf::from("/var/lib/maos"),
        };
        Home { dir, user }
    }

    /// The folder itself.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The configuration file, unless another one is named.
    pub(crate) fn config_file(&self) -> PathBuf {
        self.dir.join("config.yml")
    }

    /// Variables that are read in addition to the environment.
    pub(crate) fn env_file(&self) -> PathBuf {
        self.dir.join(".env")
    }

    /// Definitions of the person's own agents.
    pub(crate) fn agents(&self) -> PathBuf {
        self.dir.join("agents")
    }

    /// Descriptions of the person's own HTTP tools.
    pub(crate) fn tools(&self) -> PathBuf {
        self.dir.join("tools")
    }

    /// MCP servers, in the form other programs use too.
    pub(crate) fn mcp_file(&self) -> PathBuf {
        self.dir.join("mcp.json")
    }

    /// Everything MCP keeps: servers, approved tools, trusted projects.
    pub(crate) fn mcp_files(&self) -> maos_tools::mcp::McpFiles {
        maos_tools::mcp::McpFiles {
            config: self.mcp_file(),
            trusted: self.dir.join("mcp-trusted.json"),
            pins: self.dir.join("mcp-pins.json"),
        }
    }

    /// Skills; those below `.agents/skills` are shared with other programs.
    pub(crate) fn skills(&self) -> Vec<PathBuf> {
        let shared = self.user.as_ref().map(|user| user.join(".agents").join("skills"));
        std::iter::once(self.dir.join("skills")).chain(shared).collect()
    }

    /// Log files.
    pub(crate) fn logs(&self) -> PathBuf {
        self.dir.join("logs")
    }

    /// The log the server writes now; older ones end in `.1`, `.2`, …
    pub(crate) fn log_file(&self) -> PathBuf {
        self.logs().join("maos.log")
    }

    /// What the server's process itself wrote to stderr (start-up failures, panics).
    pub(crate) fn stderr_file(&self) -> PathBuf {
        self.logs().join("server.stderr")
    }

    /// State of the running server.
    pub(crate) fn run(&self) -> PathBuf {
        self.dir.join("run")
    }

    /// The run file: pid, ports, version.
    pub(crate) fn run_file(&self) -> PathBuf {
        self.run().join("server.json")
    }

    /// The embedded database.
    pub(crate) fn database(&self) -> PathBuf {
        self.dir.join("maos.db")
    }

    /// The id of the task submitted last (`@last`).
    pub(crate) fn last_task_file(&self) -> PathBuf {
        self.run().join("last_task")
    }

    /// A path as a person writes it: with `~` for the home.
    pub(crate) fn show(&self, path: &Path) -> String {
        match self.user.as_deref().and_then(|user| path.strip_prefix(user).ok()) {
            Some(rest) if !rest.as_os_str().is_empty() => format!("~/{}", rest.display()),
            _ => path.display().to_string(),
        }
    }
}

/// Creates a folder (and its parents) that only its owner can enter. Returns whether it was created.
pub(crate) fn create_private_dir(dir: &Path) -> std::io::Result<bool> {
    use std::os::unix::fs::DirBuilderExt;
    if dir.is_dir() {
        return Ok(false);
    }
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    Ok(true)
}

/// Writes a file that only its owner can read, in one step: the old content stays until the new one is safe on disk.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("file");
    let temp = path.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
    let written = (|| {
        let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temp)?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(&temp, path)
    })();
    if written.is_err() {
        // The failure that is reported is the first one; a left-over temporary file is not worth another.
        drop(std::fs::remove_file(&temp));
    }
    written
}
