//! `mcp.json`: the servers the operator wants, in the form all MCP clients share, with a few keys of our own.
//!
//! Invariant: what is wrong with one server leaves the others alone. `${VAR}` and `${VAR:-default}` are replaced here and nowhere else,
//! only from the variables that are handed in (those of the process), and never from a conversation. Must not start or connect anything.
use crate::mcp::text::clean;
use crate::mcp::trust;
use crate::problem::Problem;
use crate::tool::Approval;
use secrecy::SecretString;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use url::Url;

/// Largest configuration file, bytes.
pub(super) const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Most servers.
const SERVERS_MAX: usize = 64;
/// Longest name of a server, characters.
const NAME_CHARS_MAX: usize = 64;
/// How long a call may take when the configuration does not say.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);
/// Longest time a call may be given.
const TIMEOUT_MAX: Duration = Duration::from_secs(3600);

/// Looks up a variable for `${VAR}`.
pub type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Where the files of MCP are.
#[derive(Debug, Clone)]
pub struct McpFiles {
    /// The operator's servers: `mcp.json`.
    pub config: PathBuf,
    /// Which project files are trusted.
    pub trusted: PathBuf,
    /// The approved tools of each server.
    pub pins: PathBuf,
}

/// Every server that is configured, and what is wrong with the files.
#[derive(Debug, Clone, Default)]
pub struct McpConfig {
    /// The servers, by name.
    pub servers: Vec<ServerConfig>,
    /// What is wrong; the servers concerned are not in the list.
    pub problems: Vec<Problem>,
}

/// One server.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Its name: unique.
    pub name: String,
    /// The file that describes it.
    pub file: PathBuf,
    /// How to reach it.
    pub endpoint: Endpoint,
    /// It is written down but not wanted.
    pub disabled: bool,
    /// When a person must agree to a call.
    pub approval: Approval,
    /// The operator allows anything to be sent to it, also private data after reading text of strangers.
    pub allowed: bool,
    /// Tools that the operator says may be run twice. A server's own hints do not count.
    pub repeat_safe: BTreeSet<String>,
    /// Longest time of a call.
    pub timeout: Duration,
    /// Only these tools are offered; all if absent.
    pub tools: Option<BTreeSet<String>>,
}

/// How to reach a server.
#[derive(Clone)]
pub enum Endpoint {
    /// A program that talks over its standard input and output.
    Stdio {
        /// The program.
        command: String,
        /// Its arguments.
        args: Vec<SecretString>,
        /// Variables it gets besides the few that every child gets.
        env: BTreeMap<String, SecretString>,
        /// Its working folder: `cwd`, else the folder of the configuration file.
        cwd: PathBuf,
        /// Command and arguments as they are written in the file, variables not replaced.
        shown: String,
    },
    /// Streamable HTTP.
    Http {
        /// The address.
        url: Url,
        /// Headers of every request.
        headers: BTreeMap<String, SecretString>,
        /// The address as it is written in the file.
        shown: String,
    },
}

impl Endpoint {
    /// How it is written in the file: variables are not replaced, so that no secret is shown.
    pub fn shown(&self) -> &str {
        match self {
            Self::Stdio { shown, .. } | Self::Http { shown, .. } => shown,
        }
    }
    /// `stdio` or `http`.
    pub fn transport(&self) -> &'static str {
        match self {
            Self::Stdio { .. } => "stdio",
            Self::Http { .. } => "http",
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.transport(), self.shown())
    }
}

impl McpConfig {
    /// Reads the operator's file and the trusted project files. A missing file is no server and no problem.
    pub fn load(files: &McpFiles, variables: Variables<'_>) -> Self {
        let mut all = match read_text(&files.config) {
            Ok(None) => Self::default(),
            Ok(Some(text)) => Self::parse(&text, &files.config, variables),
            Err(text) => Self { servers: Vec::new(), problems: vec![Problem::error(&files.config, "", text)] },
        };
        let (texts, problems) = trust::trusted_texts(&files.trusted);
        all.problems.extend(problems);
        for (file, text) in texts {
            all.merge(Self::parse(&text, &file, variables));
        }
        all.servers.sort_by(|a, b| a.name.cmp(&b.name));
        if all.servers.len() > SERVERS_MAX {
            all.problems.push(Problem::error(
                &files.config,
                "mcpServers",
                format!("more than {SERVERS_MAX} servers; the rest is not used"),
            ));
            all.servers.truncate(SERVERS_MAX);
        }
        all
    }

    fn merge(&mut self, other: Self) {
        self.problems.extend(other.problems);
        for server in other.servers {
            match self.servers.iter().find(|known| known.name == server.name) {
                Some(known) => self.problems.push(Problem::warning(
                    &server.file,
                    format!("mcpServers.{}", server.name),
                    format!("{} has a server of this name too; that one is used", known.file.display()),
                )),
                None => self.servers.push(server),
            }
        }
    }

    /// Reads the text of one file.
    pub fn parse(text: &str, file: &Path, variables: Variables<'_>) -> Self {
        let mut out = Self::default();
        let root: Value = match serde_json::from_str(text) {
            Ok(root) => root,
            Err(e) => {
                out.problems.push(Problem::error(file, format!("line {}, column {}", e.line(), e.column()), format!("is not JSON: {e}")));
                return out;
            }
        };
        let Some(servers) = root.get("mcpServers").and_then(Value::as_object) else {
            out.problems.push(Problem::error(file, "mcpServers", "is missing; write {\"mcpServers\": {\"NAME\": {\"command\": \"…\"}}}"));
            return out;
        };
        for (name, value) in servers {
            let mut reader = Reader { file, path: format!("mcpServers.{}", clean(name, NAME_CHARS_MAX)), variables, problems: Vec::new() };
            let server = reader.server(name, value);
            let broken = reader.problems.iter().any(|p| p.is_error);
            out.problems.append(&mut reader.problems);
            out.servers.extend(server.filter(|_| !broken));
        }
        out
    }
}

/// The text of a file; `None` when there is none.
pub(super) fn read_text(file: &Path) -> Result<Option<String>, String> {
    match std::fs::metadata(file) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(format!("cannot be read: {e}")),
        Ok(m) if m.len() > FILE_BYTES_MAX => return Err(format!("is larger than {FILE_BYTES_MAX} bytes")),
        Ok(_) => {}
    }
    std::fs::read_to_string(file).map(Some).map_err(|e| format!("cannot be read: {e}"))
}

/// Reads one server and notes what is wrong.
struct Reader<'a> {
    file: &'a Path,
    path: String,
    variables: Variables<'a>,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn error(&mut self, key: &str, text: impl Into<String>) {
        self.problems.push(Problem::error(self.file, format!("{}{key}", self.path), text));
    }

    fn server(&mut self, name: &str, value: &Value) -> Option<ServerConfig> {
        if name.is_empty() || name.chars().count() > NAME_CHARS_MAX || name.chars().any(char::is_control) {
            self.error("", format!("a name has 1 to {NAME_CHARS_MAX} characters and no control characters"));
        }
        let Some(map) = value.as_object() else {
            self.error("", "must be an object with \"command\" or \"url\"");
            return None;
        };
        self.foreign_keys(map);
        let endpoint = self.endpoint(map);
        let approval = match map.get("approval").map(Value::as_str) {
            None | Some(Some("never")) => Approval::Never,
            Some(Some("outside_allowlist")) => Approval::OutsideAllowlist,
            Some(Some("always")) => Approval::Always,
            Some(_) => {
                self.error(".approval", "must be \"never\", \"outside_allowlist\" or \"always\"");
                Approval::Always
            }
        };
        let disabled = self.flag(map, "disabled", false) || !self.flag(map, "enabled", true);
        let allowed = self.flag(map, "allowed", false);
        let (repeat_safe, timeout, tools) = (self.repeat(map), self.timeout(map), self.tools(map));
        let endpoint = endpoint?;
        Some(ServerConfig {
            name: name.to_owned(),
            file: self.file.to_owned(),
            endpoint,
            disabled,
            approval,
            allowed,
            repeat_safe,
            timeout,
            tools,
        })
    }

    /// Keys of other clients are no mistake, but nobody should believe that they are obeyed.
    fn foreign_keys(&mut self, map: &Map<String, Value>) {
        const OURS: &[&str] = &[
            "type",
            "command",
            "args",
            "env",
            "cwd",
            "url",
            "headers",
            "disabled",
            "enabled",
            "approval",
            "allowed",
            "repeat",
            "timeout",
            "tools",
            "description",
        ];
        for key in map.keys().filter(|key| !OURS.contains(&key.as_str())) {
            let text = match key.as_str() {
                "autoApprove" | "alwaysAllow" | "trust" => "is not obeyed; say \"approval\" and \"allowed\" instead",
                _ => "is not a key of MAOS and has no effect",
            };
            self.problems.push(Problem::warning(self.file, format!("{}.{}", self.path, clean(key, NAME_CHARS_MAX)), text));
        }
    }

    fn endpoint(&mut self, map: &Map<String, Value>) -> Option<Endpoint> {
        let kind = map.get("type").and_then(Value::as_str);
        match (kind, map.contains_key("command"), map.contains_key("url")) {
            (Some("sse"), _, _) => {
                self.error(
                    ".type",
                    "the old HTTP+SSE transport is not spoken; give the server's streamable HTTP address with \"type\": \"http\"",
                );
                None
            }
            (None | Some("stdio"), true, false) => self.stdio(map),
            (None | Some("http" | "streamable-http" | "streamableHttp"), false, true) => self.http(map),
            (None | Some("stdio" | "http" | "streamable-http" | "streamableHttp"), _, _) => {
                self.error("", "needs either \"command\" (type \"stdio\") or \"url\" (type \"http\")");
                None
            }
            (Some(_), _, _) => {
                self.error(".type", "must be \"stdio\" or \"http\"");
                None
            }
        }
    }

    fn stdio(&mut self, map: &Map<String, Value>) -> Option<Endpoint> {
        let raw = map.get("command").and_then(Value::as_str).unwrap_or_default();
        if raw.is_empty() {
            self.error(".command", "must be the name or path of a program");
        }
        let command = self.expand(".command", raw);
        let mut shown = raw.to_owned();
        let mut args = Vec::new();
        match map.get("args") {
            None => {}
            Some(Value::Array(all)) => {
                for (i, arg) in all.iter().enumerate() {
                    let key = format!(".args[{i}]");
                    match arg.as_str() {
                        Some(text) => {
                            shown.push(' ');
                            shown.push_str(text);
                            args.push(SecretString::from(self.expand(&key, text)));
                        }
                        None => self.error(&key, "must be a text"),
                    }
                }
            }
            Some(_) => self.error(".args", "must be a list of texts"),
        }
        let env = self.texts(map, "env");
        for name in env.keys().filter(|n| n.is_empty() || n.contains(['=', '\0'])) {
            self.problems.push(Problem::error(self.file, format!("{}.env", self.path), format!("'{name}' is not a name of a variable")));
        }
        let dir = self.file.parent().unwrap_or(Path::new("/"));
        let cwd = match map.get("cwd") {
            None => dir.to_owned(),
            Some(Value::String(text)) => dir.join(self.expand(".cwd", text)),
            Some(_) => {
                self.error(".cwd", "must be a folder");
                return None;
            }
        };
        Some(Endpoint::Stdio { command, args, env, cwd, shown })
    }

    fn http(&mut self, map: &Map<String, Value>) -> Option<Endpoint> {
        let raw = map.get("url").and_then(Value::as_str).unwrap_or_default();
        let text = self.expand(".url", raw);
        let headers = self.texts(map, "headers");
        for (name, value) in &headers {
            use secrecy::ExposeSecret;
            let fits = reqwest::header::HeaderName::from_bytes(name.as_bytes()).is_ok()
                && reqwest::header::HeaderValue::from_str(value.expose_secret()).is_ok();
            if !fits {
                self.problems.push(Problem::error(self.file, format!("{}.headers.{name}", self.path), "is not an HTTP header"));
            }
        }
        match Url::parse(&text) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.host().is_some() => {
                if !url.username().is_empty() || url.password().is_some() {
                    self.error(".url", "must not hold a password; put it into \"headers\"");
                }
                Some(Endpoint::Http { url, headers, shown: raw.to_owned() })
            }
            Ok(_) | Err(_) => {
                self.error(".url", "must be an address that begins with http:// or https://");
                None
            }
        }
    }

    fn texts(&mut self, map: &Map<String, Value>, key: &str) -> BTreeMap<String, SecretString> {
        let mut out = BTreeMap::new();
        match map.get(key) {
            None => {}
            Some(Value::Object(all)) => {
                for (name, value) in all {
                    let at = format!(".{key}.{name}");
                    match value.as_str() {
                        Some(text) => drop(out.insert(name.clone(), SecretString::from(self.expand(&at, text)))),
                        None => self.error(&at, "must be a text"),
                    }
                }
            }
            Some(_) => self.error(&format!(".{key}"), "must be an object of texts"),
        }
        out
    }

    fn flag(&mut self, map: &Map<String, Value>, key: &str, default: bool) -> bool {
        match map.get(key) {
            None => default,
            Some(Value::Bool(flag)) => *flag,
            Some(_) => {
                self.error(&format!(".{key}"), "must be true or false");
                default
            }
        }
    }

    fn repeat(&mut self, map: &Map<String, Value>) -> BTreeSet<String> {
        let mut safe = BTreeSet::new();
        match map.get("repeat") {
            None => {}
            Some(Value::Object(all)) => {
                for (tool, word) in all {
                    match word.as_str() {
                        Some("safe") => drop(safe.insert(tool.clone())),
                        Some("never") => {}
                        _ => self.error(&format!(".repeat.{tool}"), "must be \"safe\" or \"never\""),
                    }
                }
            }
            Some(_) => self.error(".repeat", "must be an object: {\"TOOL\": \"safe\"}"),
        }
        safe
    }

    fn timeout(&mut self, map: &Map<String, Value>) -> Duration {
        let given = match map.get("timeout") {
            None => return TIMEOUT_DEFAULT,
            Some(Value::Number(n)) => n.as_u64().map(Duration::from_secs),
            Some(Value::String(text)) => duration(text),
            Some(_) => None,
        };
        match given {
            Some(time) if !time.is_zero() && time <= TIMEOUT_MAX => time,
            _ => {
                self.error(".timeout", "must be a time from 1 second to 1 hour: seconds, or a text like \"90s\" or \"5m\"");
                TIMEOUT_DEFAULT
            }
        }
    }

    fn tools(&mut self, map: &Map<String, Value>) -> Option<BTreeSet<String>> {
        let list = map.get("tools")?.as_array().map(|all| all.iter().map(|t| t.as_str().map(str::to_owned)).collect::<Option<_>>());
        match list {
            Some(Some(names)) => Some(names),
            _ => {
                self.error(".tools", "must be a list of names of tools");
                None
            }
        }
    }

    /// Replaces `${VAR}` and `${VAR:-default}`. A `$` without a brace is a dollar sign.
    fn expand(&mut self, key: &str, text: &str) -> String {
        let (mut out, mut rest) = (String::with_capacity(text.len()), text);
        while let Some(at) = rest.find("${") {
            out.push_str(&rest[..at]);
            let Some(end) = rest[at..].find('}').map(|i| at + i) else {
                self.error(key, "has a \"${\" without its \"}\"");
                return out;
            };
            let inner = &rest[at + 2..end];
            let (name, default) = inner.split_once(":-").map_or((inner, None), |(name, default)| (name, Some(default)));
            match ((self.variables)(name).filter(|v| !v.is_empty()), default) {
                (Some(value), _) => out.push_str(&value),
                (None, Some(default)) => out.push_str(default),
                (None, None) => self.error(key, format!("the variable {name} is not set; set it, or write ${{{name}:-default}}")),
            }
            rest = &rest[end + 1..];
        }
        out + rest
    }
}

/// `500ms`, `90s`, `5m`, `1h`.
fn duration(text: &str) -> Option<Duration> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let n: u64 = text[..digits].parse().ok()?;
    match &text[digits..] {
        "ms" => Some(Duration::from_millis(n)),
        "s" | "" => Some(Duration::from_secs(n)),
        "m" => n.checked_mul(60).map(Duration::from_secs),
        "h" => n.checked_mul(3600).map(Duration::from_secs),
        _ => None,
    }
}
