//! The use cases of agents: spawn, look at, hold, begin anew, end. An agent is data: a document in the store and a row in the pool; where it
//! works, the task's own journal says what became of it.
use crate::clock;
use crate::error::{Result, RuntimeError};
use crate::figures::AgentFigures;
use crate::worker::{AgentDoc, Msg};
use crate::{AgentView, Runtime};
use maos_engine::ids::{AgentId, AgentType};
use maos_engine::input::Command;
use maos_engine::pool::Spot;
use maos_engine::status::AgentStatus;
use maos_store::{Expect, NewDoc};

/// Most agents of one request.
pub const SPAWN_MAX: u32 = 1_000;
/// Most capabilities of an agent, and the longest name of one, in bytes.
pub(crate) const CAPABILITIES_MAX: (usize, usize) = (64, 128);
/// Least memory of an agent's programs, bytes: less runs no interpreter.
pub(crate) const MEMORY_BYTES_MIN: u64 = 16 << 20;

/// A wish for agents.
#[derive(Debug, Clone, Default)]
pub struct Spawn {
    /// Type: a definition's name.
    pub kind: String,
    /// What they are to be good at: goes into their prompt and decides which steps they get.
    pub capabilities: Vec<String>,
    /// How many; 1 if 0.
    pub count: u32,
    /// Most memory of their programs, bytes.
    pub memory_bytes: Option<u64>,
    /// Longest time of a step, seconds.
    pub timeout_s: Option<u64>,
}

/// Figures of an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AgentMetrics {
    /// From the journals.
    pub figures: AgentFigures,
    /// At a place so far, milliseconds.
    pub busy_ms: u64,
    /// In the pool so far, milliseconds.
    pub alive_ms: u64,
    /// Most memory its programs used at once since the node started, bytes.
    pub memory_peak_bytes: u64,
}

impl Runtime {
    /// Makes agents that wait in the pool. Durable when answered.
    ///
    /// # Errors
    /// No such type; a value out of range.
    pub async fn spawn_agents(&self, spawn: Spawn) -> Result<Vec<AgentId>> {
        self.node.refresh_tools(true);
        let kind = self.agent_type("type", &spawn.kind)?;
        let invalid = |field, why: String| Err(RuntimeError::Invalid { field, why });
        if spawn.count > SPAWN_MAX {
            return invalid("count", format!("is {}; at most {SPAWN_MAX} agents at a time", spawn.count));
        }
        let (most, longest) = CAPABILITIES_MAX;
        if spawn.capabilities.len() > most || spawn.capabilities.iter().any(|c| c.trim().is_empty() || c.len() > longest) {
            return invalid("capabilities", format!("at most {most}, each of 1 to {longest} bytes"));
        }
        if spawn.memory_bytes.is_some_and(|b| b < MEMORY_BYTES_MIN) {
            return invalid("memory", format!("is less than {} MiB", MEMORY_BYTES_MIN >> 20));
        }
        if spawn.timeout_s.is_some_and(|t| !(1..=crate::TIMEOUT_S_MAX).contains(&t)) {
            return invalid("timeout", format!("1 to {} seconds are allowed", crate::TIMEOUT_S_MAX));
        }
        let mut out = vec![];
        for _ in 0..spawn.count.max(1) {
            let now = clock::now();
            let id = self.node.pool().spawn(&kind, spawn.capabilities.clone(), now);
            let doc = AgentDoc {
                memory_bytes: spawn.memory_bytes,
                timeout_s: spawn.timeout_s,
                abilities: spawn.capabilities.clone(),
                spawned: true,
                ..AgentDoc::plain(id.clone(), kind.clone(), now)
            };
            if let Err(error) = self.keep(&doc).await {
                self.node.pool().remove(&id);
                return Err(error);
            }
            tracing::info!(component = "agents", agent_id = %id, "agent spawned");
            self.node.remember_agent(doc);
            out.push(id);
        }
        self.node.deliver();
        Ok(out)
    }

    async fn keep(&self, doc: &AgentDoc) -> Result<()> {
        let json = serde_json::to_string(doc).expect("plain data");
        self.node.store.put_doc(NewDoc { kind: "agent".into(), key: doc.id.to_string(), json }, Expect::Any).await?;
        Ok(())
    }

    fn known(&self, id: &str) -> Result<AgentDoc> {
        let missing = || RuntimeError::NoAgent(id.to_owned());
        let agent = AgentId::new(id).map_err(|_| missing())?;
        self.node.agent_doc(&agent).ok_or_else(missing)
    }

    fn not_terminated(&self, id: &str) -> Result<AgentDoc> {
        let doc = self.known(id)?;
        if doc.terminated {
            return Err(RuntimeError::AgentState { agent: doc.id, what: "it was terminated; maos agent spawn makes a new one".into() });
        }
        Ok(doc)
    }

    /// One agent, also one that was terminated.
    ///
    /// # Errors
    /// No such agent.
    pub fn agent(&self, id: &str) -> Result<AgentView> {
        Ok(self.agent_view(&self.known(id)?))
    }

    pub(crate) fn agent_view(&self, doc: &AgentDoc) -> AgentView {
        let pool = self.node.pool();
        let agent = pool.agent(&doc.id);
        let at = agent.and_then(|a| a.at.clone());
        let status = match (doc.terminated || agent.is_none(), doc.paused, at.is_some()) {
            (true, ..) => AgentStatus::Terminated,
            (false, true, _) => AgentStatus::Paused,
            (false, false, true) => AgentStatus::Busy,
            (false, false, false) => AgentStatus::Idle,
        };
        AgentView {
            id: doc.id.clone(),
            kind: doc.kind.clone(),
            status,
            at,
            served: agent.map_or(0, |a| a.served),
            since: doc.since,
            changed: agent.map_or(doc.changed.unwrap_or(doc.since), |a| a.changed),
            capabilities: doc.abilities.clone(),
            memory_bytes: doc.memory_bytes,
            timeout_s: doc.timeout_s,
            spawned: doc.spawned,
        }
    }

    /// Holds an agent: its call in flight ends, no other begins, and it is given no new step. What it has waits with it.
    ///
    /// # Errors
    /// No such agent, or one that was terminated.
    pub async fn pause_agent(&self, id: &str) -> Result<AgentView> {
        self.hold(id, true).await
    }

    /// Lets a held agent go on.
    ///
    /// # Errors
    /// As [`Runtime::pause_agent`].
    pub async fn resume_agent(&self, id: &str) -> Result<AgentView> {
        self.hold(id, false).await
    }

    async fn hold(&self, id: &str, paused: bool) -> Result<AgentView> {
        let mut doc = self.not_terminated(id)?;
        if doc.paused != paused {
            doc.paused = paused;
            doc.changed = Some(clock::now());
            self.keep(&doc).await?;
            self.node.pool().set_paused(&doc.id, paused, clock::now());
            self.node.remember_agent(doc.clone());
            self.tell_task(self.place_of(&doc.id), Command::HoldAgent { agent: doc.id.clone(), held: paused }).await?;
            self.node.deliver();
        }
        Ok(self.agent_view(&doc))
    }

    fn place_of(&self, agent: &AgentId) -> Option<Spot> {
        self.node.pool().agent(agent).and_then(|a| a.at.clone())
    }

    /// The agent begins its current turn anew: what was in flight is cut off, what is journaled is kept. An idle agent has nothing to
    /// begin.
    ///
    /// # Errors
    /// No such agent, or one that was terminated.
    pub async fn restart_agent(&self, id: &str) -> Result<AgentView> {
        let doc = self.not_terminated(id)?;
        self.tell_task(self.place_of(&doc.id), Command::Unseat { agent: doc.id.clone() }).await?;
        Ok(self.agent_view(&doc))
    }

    /// Ends an agent at once. Its step goes to another; nothing that was journaled is lost. Ending a terminated agent changes nothing.
    ///
    /// # Errors
    /// No such agent.
    pub async fn terminate_agent(&self, id: &str) -> Result<AgentView> {
        let mut doc = self.known(id)?;
        if !doc.terminated {
            doc.terminated = true;
            doc.paused = false;
            doc.changed = Some(clock::now());
            self.keep(&doc).await?;
            let gone = self.node.pool().remove(&doc.id);
            self.node.remember_agent(doc.clone());
            tracing::info!(component = "agents", agent_id = %doc.id, "agent terminated");
            self.tell_task(gone.and_then(|a| a.at), Command::Unseat { agent: doc.id.clone() }).await?;
        }
        Ok(self.agent_view(&doc))
    }

    /// Says something to the task an agent works on; durable.
    async fn tell_task(&self, at: Option<Spot>, command: Command) -> Result<()> {
        let Some((task, _)) = at else { return Ok(()) };
        let json = serde_json::to_string(&command).expect("a command is plain data");
        self.node.store.post(task.as_str(), json, clock::now().0).await?;
        self.node.tell(&task, Msg::Mail);
        self.node.wake.notify_one();
        Ok(())
    }

    /// What an agent has done, from the journals.
    ///
    /// # Errors
    /// No such agent; a journal that cannot be read.
    pub async fn agent_metrics(&self, id: &str) -> Result<AgentMetrics> {
        let doc = self.known(id)?;
        let figures = self.node.figures.now(&*self.node.store).await?.get(&doc.id).copied().unwrap_or_default();
        let now = clock::now();
        let end = if doc.terminated { doc.changed.unwrap_or(now) } else { now };
        Ok(AgentMetrics {
            busy_ms: figures.busy_until(now),
            alive_ms: end.since_ms(doc.since),
            memory_peak_bytes: self.node.memory_peak(&doc.id),
            figures,
        })
    }

    /// Figures of all agents that have done anything.
    ///
    /// # Errors
    /// A journal cannot be read.
    pub async fn all_agent_figures(&self) -> Result<std::collections::BTreeMap<AgentId, AgentFigures>> {
        self.node.figures.now(&*self.node.store).await
    }

    /// A type by its name, as people write it.
    pub(crate) fn agent_type(&self, field: &'static str, name: &str) -> Result<AgentType> {
        self.node.refresh_tools(self.node.tools().definitions().get(name).is_none());
        let tools = self.node.tools();
        let definitions = tools.definitions();
        if definitions.get(name).is_none() {
            let names: Vec<String> = definitions
                .all()
                .map(|d| d.source.path().map_or_else(|| d.name.clone(), |p| format!("{} ({})", d.name, p.display())))
                .collect();
            let hint = definitions.closest(name).map_or(String::new(), |c| format!(" Did you mean {c}?"));
            return Err(RuntimeError::Invalid {
                field,
                why: format!("there is no agent type '{}'.{hint} There are: {}", name.escape_debug(), names.join(", ")),
            });
        }
        AgentType::new(name).map_err(|e| RuntimeError::Invalid { field, why: e.to_string() })
    }
}
