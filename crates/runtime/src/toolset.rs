//! Where the tools come from: the sandbox, the way out, MCP servers, and the folders in which people keep agents, HTTP tools and skills.
//! Opened once; the folders are looked at again when something in them has changed, and a new [`ToolBox`] is made.
use crate::agents::{Definitions, Known};
use crate::read_output::{READ_OUTPUT, ReadOutput};
use crate::tools::{Approval, Contents, Tool, ToolBox, WEB_SEARCH};
use maos_egress::{Egress, HostPattern, Policy};
use maos_sandbox::{Choice, Helper, Keep, Quota, Sandbox};
use maos_store::Store;
use maos_tools::mcp::{Endpoint, McpConfig, McpFiles, McpPool, PoolOptions, ServerConfig, ServerState, ServerStatus};
use maos_tools::skills::{OPEN_SKILL, Skills};
use maos_tools::web::{SearchBackend, WebFetch, WebSearch};
use maos_tools::{Turns, files, http_tool, run};
use secrecy::SecretString;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

/// Most memory of the programs of one agent where nothing says otherwise, in bytes.
pub const MEMORY_BYTES_DEFAULT: u64 = 1_000_000_000;
/// Most files of a folder that are looked at for changes.
const WATCHED_FILES_MAX: usize = 4_096;

/// What the configuration says about tools.
#[derive(Clone)]
pub struct ToolOptions {
    /// The program that is started again as the sandbox's helper; without one no program is run, of agents or MCP servers.
    pub helper: Option<Helper>,
    /// The tier of the sandbox.
    pub sandbox: Choice,
    /// Hosts that programs in the sandbox may reach; empty: none.
    pub network_allow: Vec<HostPattern>,
    /// Rules of the way out.
    pub policy: Policy,
    /// Where the web is searched; no search without one.
    pub search: Option<SearchBackend>,
    /// The web is searched by the model's own provider, where it has such a tool.
    pub provider_search: bool,
    /// Most a workspace may hold.
    pub quota: Quota,
    /// Most memory of the programs of one agent, bytes.
    pub memory_bytes: u64,
    /// Folder of people's agents.
    pub agents_dir: Option<PathBuf>,
    /// Folder of people's HTTP tools.
    pub http_tools_dir: Option<PathBuf>,
    /// Folders of skills; the first wins.
    pub skills_dirs: Vec<PathBuf>,
    /// Secrets that HTTP tools may name.
    pub secrets: BTreeMap<String, SecretString>,
    /// MCP servers.
    pub mcp: Option<McpFiles>,
    /// The environment of the process: for `${VAR}` in `mcp.json`, and what MCP servers inherit of it.
    pub environment: Vec<(String, String)>,
    /// When a person must agree, by tool.
    pub approvals: BTreeMap<String, Approval>,
    /// Small models on this machine are offered tools too.
    pub local_tools: bool,
}

impl Default for ToolOptions {
    /// Files and the web without search; no program is run, nothing of a person's is read.
    fn default() -> Self {
        Self {
            helper: None,
            sandbox: Choice::Auto,
            network_allow: vec![],
            policy: Policy::default(),
            search: None,
            provider_search: false,
            quota: Quota::default(),
            memory_bytes: MEMORY_BYTES_DEFAULT,
            agents_dir: None,
            http_tools_dir: None,
            skills_dirs: vec![],
            secrets: BTreeMap::new(),
            mcp: None,
            environment: vec![],
            approvals: BTreeMap::new(),
            local_tools: false,
        }
    }
}

impl std::fmt::Debug for ToolOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The environment and the secrets are never shown.
        f.debug_struct("ToolOptions").field("sandbox", &self.sandbox).field("agents_dir", &self.agents_dir).finish_non_exhaustive()
    }
}

/// How a part of the tools is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolHealth {
    /// `sandbox`, `web`, `mcp`, `agents`, `tools`, `skills`.
    pub part: &'static str,
    /// All of it works.
    pub ok: bool,
    /// In words.
    pub detail: String,
    /// What mends it.
    pub fix: Option<String>,
}

/// The sources of all tools.
pub(crate) struct Toolset {
    options: ToolOptions,
    store: Arc<dyn Store>,
    extra: Vec<Arc<dyn Tool>>,
    sandbox: Result<Arc<Sandbox>, String>,
    /// Turns of programs: they outlive each box of tools, and so do the times at which hosts may be asked.
    programs: Arc<Turns>,
    paces: Arc<http_tool::Paces>,
    egress: Egress,
    fetch: WebFetch,
    search: Option<WebSearch>,
    /// The way out of the sandbox, and its socket; closed when this is dropped.
    proxy: Option<(maos_egress::proxy::Proxy, PathBuf)>,
    mcp: Option<Arc<McpPool>>,
    /// Names, sizes and times of what was read.
    seen: Mutex<Vec<(PathBuf, u64, SystemTime)>>,
    health: Mutex<Vec<ToolHealth>>,
}

impl Toolset {
    /// Opens the sandbox (by trying it), the way out and the MCP servers. What cannot be had is not offered, and health says so.
    pub(crate) async fn open(
        options: ToolOptions,
        store: Arc<dyn Store>,
        data_dir: &Path,
        extra: Vec<Arc<dyn Tool>>,
    ) -> Result<Self, String> {
        let state = data_dir.join("sandbox");
        // What a server that was killed left running is ended before anything new begins.
        let left = state.clone();
        match tokio::task::spawn_blocking(move || Sandbox::reap(&left)).await {
            Ok(Ok(reaped)) if reaped.runs + reaped.processes > 0 => {
                tracing::warn!(
                    component = "agents",
                    "ended what a former server left: {} runs, {} processes",
                    reaped.runs,
                    reaped.processes
                );
            }
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(format!("what a former server left in {} cannot be ended: {error}", state.display())),
            Err(error) => return Err(error.to_string()),
        }
        let sandbox = match &options.helper {
            None => Err("no helper program is configured".to_owned()),
            Some(helper) => Sandbox::choose(options.sandbox, helper.clone(), &state).await.map(Arc::new).map_err(|e| e.to_string()),
        };
        let mcp_config = options.mcp.as_ref().map(|files| {
            let variable = |name: &str| options.environment.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone());
            (files.clone(), McpConfig::load(files, &variable))
        });
        let egress = Egress::new(options.policy.clone()).map_err(|e| e.to_string())?;
        let wants_network = sandbox.is_ok() && !options.network_allow.is_empty();
        let socket = state.join("way-out.sock");
        let proxy = if wants_network {
            // One process holds the data folder, so a socket that stands there is a dead one's.
            if let Err(error) = std::fs::remove_file(&socket)
                && error.kind() != std::io::ErrorKind::NotFound
            {
                return Err(format!("{}: {error}", socket.display()));
            }
            let served = maos_egress::proxy::serve(&socket, egress.clone(), options.network_allow.clone());
            Some((served.map_err(|e| format!("the way out of the sandbox cannot be opened: {e}"))?, socket))
        } else {
            None
        };
        // The operator wrote these addresses down, so they may be reached wherever they are; but only by the part they are for, so that
        // agents cannot fetch from there.
        let searcher = |backend: SearchBackend| egress.also(backend.private_place()).map(|way| WebSearch::new(backend, way));
        let search = options.search.clone().map(searcher).transpose().map_err(|e| e.to_string())?;
        let url = |s: &ServerConfig| if let Endpoint::Http { url, .. } = &s.endpoint { Some(url.clone()) } else { None };
        let mcp = match mcp_config.filter(|(_, c)| !c.servers.is_empty() || !c.problems.is_empty()) {
            Some((files, config)) => {
                let urls: Vec<_> = config.servers.iter().filter_map(url).collect();
                let way = egress.to_urls(&urls).map_err(|e| e.to_string())?;
                let keep = options.helper.clone().map(|helper| Keep { helper, state_dir: Some(state.clone()) });
                let pool = PoolOptions { http: way.client(), environment: options.environment.clone(), files, keep };
                Some(McpPool::start(config, pool))
            }
            None => None,
        };
        let (programs, paces, fetch) = (Arc::new(run::turns()), Arc::default(), WebFetch::new(egress.clone()));
        let (seen, health) = (Mutex::default(), Mutex::default());
        Ok(Self { options, store, extra, sandbox, programs, paces, egress, fetch, search, proxy, mcp, seen, health })
    }

    /// Grows whenever MCP servers change what they offer.
    pub(crate) fn mcp_version(&self) -> Option<tokio::sync::watch::Receiver<u64>> {
        self.mcp.as_ref().map(|pool| pool.version())
    }

    /// Whether a folder has changed since the box was made.
    pub(crate) fn changed(&self) -> bool {
        *lock(&self.seen) != self.look()
    }

    fn look(&self) -> Vec<(PathBuf, u64, SystemTime)> {
        let o = &self.options;
        let folders = o.agents_dir.iter().chain(&o.http_tools_dir).chain(&o.skills_dirs);
        let mut seen = vec![];
        for folder in folders {
            let entries = std::fs::read_dir(folder).into_iter().flatten().take(WATCHED_FILES_MAX);
            for path in entries.filter_map(|e| e.ok().map(|e| e.path())) {
                // A skill is a folder with a file in it.
                for path in [path.join("SKILL.md"), path] {
                    if let Ok(meta) = std::fs::metadata(&path) {
                        seen.push((path, meta.len(), meta.modified().unwrap_or(SystemTime::UNIX_EPOCH)));
                    }
                }
            }
        }
        seen.sort();
        seen
    }

    /// Everything as it is now.
    pub(crate) fn build(&self) -> ToolBox {
        let o = &self.options;
        *lock(&self.seen) = self.look();
        let mut health = vec![self.sandbox_health(), self.web_health()];
        let mut tools: Vec<Arc<dyn Tool>> = files::tools();
        if let Ok(sandbox) = &self.sandbox {
            // A program may send whatever it has read to any of its hosts.
            let allowed = o.network_allow.iter().all(|host| o.policy.allow_hosts.iter().any(|a| a.covers(host)));
            let network = self.proxy.as_ref().map(|(_, socket)| run::Network { socket: socket.clone(), allowed });
            tools.extend(run::tools(sandbox, network, &self.programs));
        }
        tools.push(Arc::new(self.fetch.clone()));
        tools.extend(self.search.clone().map(|search| Arc::new(search) as Arc<dyn Tool>));
        let nowhere = PathBuf::from("/nonexistent");
        let around = http_tool::Surroundings { taken: self.names_taken(&tools), paces: Arc::clone(&self.paces) };
        let loaded = http_tool::load(o.http_tools_dir.as_deref().unwrap_or(&nowhere), &o.secrets, &self.egress, &around);
        let missing = loaded.not_offered.iter().map(|n| format!("{} is not offered: {}", n.name, n.why));
        let found: Vec<String> = loaded.errors.iter().map(ToString::to_string).chain(missing).collect();
        health.push(problems("tools", "declarative HTTP tools", loaded.tools.len(), &found));
        tools.extend(loaded.tools);
        if let Some(pool) = &self.mcp {
            tools.extend(pool.tools());
        }
        let (skills, skill_problems) = Skills::load(&o.skills_dirs);
        let skills = Arc::new(skills);
        health.push(problems("skills", "skills", skills.all().len(), &skill_problems));
        let mut common: Vec<Arc<dyn Tool>> = vec![Arc::new(ReadOutput::new(Arc::clone(&self.store)))];
        common.extend(skills.tool());
        common.extend(self.extra.iter().cloned());
        let definitions = self.definitions(&tools, &common, &mut health);
        *lock(&self.health) = health;
        ToolBox::new(Contents {
            tools,
            common,
            definitions,
            approvals: o.approvals.clone(),
            skills: skills.prompt_lines(),
            local_tools: o.local_tools,
            provider_search: o.provider_search,
        })
    }

    /// Names that no HTTP tool may have: of every tool that ships, offered or not, of the given ones, and of what the engine decides itself.
    fn names_taken(&self, tools: &[Arc<dyn Tool>]) -> BTreeSet<String> {
        use maos_engine::{consensus::CAST_VOTE, plan, share};
        let mut taken = Known::shipped().tools;
        taken.retain(|name| !http_tool::shipped().any(|shipped| shipped == name));
        taken.extend(tools.iter().chain(&self.extra).map(|t| t.spec().name));
        let own = share::TOOLS.into_iter().chain([share::ASK_HUMAN, CAST_VOTE, plan::SUBMIT_PLAN, plan::ANSWER, WEB_SEARCH]);
        taken.extend(own.chain([READ_OUTPUT, OPEN_SKILL]).map(str::to_owned));
        taken
    }

    fn definitions(&self, tools: &[Arc<dyn Tool>], common: &[Arc<dyn Tool>], health: &mut Vec<ToolHealth>) -> Definitions {
        let mut known = Known::shipped();
        let mut offered: std::collections::BTreeSet<String> = tools.iter().chain(common).map(|t| t.spec().name).collect();
        offered.extend([maos_engine::share::ASK_HUMAN.to_owned()]);
        offered.extend(self.options.provider_search.then(|| WEB_SEARCH.to_owned()));
        for (name, why) in known.tools.iter().filter(|t| !offered.contains(*t)).map(|t| (t.clone(), self.why_missing(t))) {
            known.documented.insert(name, why);
        }
        known.documented.retain(|name, _| !offered.contains(name));
        known.tools = offered;
        if let Some(pool) = &self.mcp {
            known.mcp_servers = pool.status().into_iter().map(|s| s.name).collect();
        }
        let nowhere = PathBuf::from("/nonexistent");
        let (definitions, found) = Definitions::load(self.options.agents_dir.as_deref().unwrap_or(&nowhere), &known);
        health.push(problems("agents", "agent types", definitions.all().count(), &found));
        definitions
    }

    /// Why a tool that ships is not there.
    fn why_missing(&self, tool: &str) -> String {
        match tool {
            "web_search" => "no search is configured: maos config set web.search searxng (or brave, tavily, provider)".into(),
            "run_shell" | "run_python" => match &self.sandbox {
                Err(why) => format!("programs cannot be run: {why}"),
                Ok(_) => "this machine has no Python 3; install it".into(),
            },
            _ => "it is not available here".into(),
        }
    }

    fn sandbox_health(&self) -> ToolHealth {
        match &self.sandbox {
            Ok(sandbox) => {
                let d = sandbox.describe();
                let gaps = if d.gaps.is_empty() { String::new() } else { format!("; not contained here: {}", d.gaps.join(", ")) };
                let python = d.python.as_ref().map_or("no Python".to_owned(), |p| format!("Python {p}"));
                let detail = format!("{} ({}); Landlock {}, cgroup {}, {python}{gaps}", d.tier.name(), d.why, d.landlock_abi, d.cgroup);
                ToolHealth { part: "sandbox", ok: true, detail, fix: None }
            }
            Err(why) => ToolHealth {
                part: "sandbox",
                ok: false,
                detail: format!("agents cannot run programs: {why}"),
                fix: Some("use a kernel with Landlock (Linux 5.13 or newer); where user namespaces are closed, bubblewrap may help (apt-get install bubblewrap)".into()),
            },
        }
    }

    fn web_health(&self) -> ToolHealth {
        match &self.options.search {
            None if self.options.provider_search && self.options.approvals.get(WEB_SEARCH) == Some(&Approval::Always) => ToolHealth {
                part: "web",
                ok: false,
                detail: "fetch; web_search needs consent for each call, and the model's provider asks nobody: it is not offered".into(),
                fix: Some("maos config set web.search searxng (or brave, tavily), or change tools.approval".into()),
            },
            None if self.options.provider_search => ToolHealth {
                part: "web",
                ok: true,
                detail: "fetch, search by the model's own provider: agents that ask Claude are offered it, others are not".into(),
                fix: None,
            },
            Some(backend) => ToolHealth { part: "web", ok: true, detail: format!("fetch, search by {}", backend.name()), fix: None },
            None => ToolHealth {
                part: "web",
                ok: true,
                detail: "fetch; no search is configured, so agents are not offered web_search".into(),
                fix: Some("maos config set web.search searxng && maos config set web.searxng_url URL (or brave, tavily, provider)".into()),
            },
        }
    }

    /// How everything is.
    pub(crate) fn health(&self) -> Vec<ToolHealth> {
        let mut all = lock(&self.health).clone();
        all.extend(self.mcp.iter().flat_map(|pool| pool.status()).map(mcp_health));
        all
    }

    /// Ends what runs beside: MCP servers, the way out.
    pub(crate) async fn shutdown(&self) {
        if let Some(pool) = &self.mcp {
            pool.shutdown().await;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn mcp_health(s: ServerStatus) -> ToolHealth {
    let (ok, how, fix) = match &s.state {
        ServerState::Ready => (true, format!("{} tools", s.tools), None),
        ServerState::Disabled => (true, "disabled".to_owned(), None),
        ServerState::Connecting => (true, "connecting".to_owned(), None),
        ServerState::Stopped => (false, "stopped".to_owned(), None),
        ServerState::Down { error, retry_ms } => {
            (false, format!("{error}; tried again in {} s", retry_ms.div_ceil(1_000)), Some(format!("maos mcp test {}", s.name)))
        }
        ServerState::Changed { changes } => {
            let what = format!("its tools have changed ({}) and wait for approval", changes.join(", "));
            (false, what, Some(format!("maos mcp approve {}", s.name)))
        }
    };
    let left_out = if s.left_out.is_empty() { String::new() } else { format!("; left out: {}", s.left_out.join(", ")) };
    ToolHealth { part: "mcp", ok, detail: format!("{} ({}): {how}{left_out}", s.name, s.transport), fix }
}

/// Health of what was read from files.
fn problems<P: std::fmt::Display>(part: &'static str, what: &str, count: usize, found: &[P]) -> ToolHealth {
    for problem in found {
        tracing::warn!(component = "agents", "{problem}");
    }
    let list: Vec<String> = found.iter().map(ToString::to_string).collect();
    ToolHealth {
        part,
        ok: found.is_empty(),
        detail: if list.is_empty() { format!("{count} {what}") } else { format!("{count} {what}; {}", list.join("; ")) },
        fix: (!list.is_empty()).then(|| "mend the files named; they are read again by themselves".into()),
    }
}
