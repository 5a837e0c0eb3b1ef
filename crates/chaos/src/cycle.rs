//! One cycle: a fresh server, the scenario, deaths, restarts until everything has ended, a stop, the evidence.
//!
//! Invariant: the client only believes what it was answered; a request without an answer is made again under the same key.
use crate::check::{Verdict, check};
use crate::evidence::{Acked, Answered, Evidence, SeenCall, read_journals, read_ledgers};
use crate::maos::{Maos, Setup, Started, was_killed};
use crate::model::ModelServer;
use crate::remains::Marks;
use crate::scenario::{OPS, Op, PERSONS_WORD, With, script, submissions};
use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Longest time for a whole cycle.
const CYCLE_WAIT: Duration = Duration::from_secs(120);
/// How often the tasks are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(15);
/// Deaths after which a server is left alone, so that the cycle ends (liveness is checked with faults off).
const DEATHS_MAX: usize = 4;

/// When the server dies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Death {
    /// Never: the scenario itself must be sound.
    Never,
    /// At a named point (`name=N`).
    At(String),
    /// By `kill -9` a while after it is ready, then again and again after each of these times.
    After(Vec<Duration>),
    /// By `kill -9` while it is asked to stop: so long after it is ready, so long after the request.
    InDrain(Duration, Duration),
    /// By `kill -9` after a while; then at this point of the recovery, at each of its restarts but the last.
    InRecovery(Duration, String),
}

/// Where the programs are.
#[derive(Debug, Clone)]
pub struct Programs {
    /// `maos`.
    pub maos: PathBuf,
    /// `maos-scripted`.
    pub scripted: PathBuf,
}

/// What came of a cycle.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The checker's word.
    pub verdict: Verdict,
    /// What it judged.
    pub evidence: Evidence,
    /// How often the server died.
    pub deaths: usize,
}

/// Runs one cycle in an empty directory.
///
/// # Errors
/// The harness itself fails: programs missing, nothing ends in time.
pub fn run(programs: &Programs, dir: &Path, seed: u64, death: &Death) -> Result<Outcome> {
    let script_file = dir.join("script.yml");
    let slow = !matches!(death, Death::At(_) | Death::Never);
    let word = unique_word();
    std::fs::write(&script_file, script(seed, slow, &word))?;
    let model = ModelServer::start(&programs.scripted, &script_file, Some(&dir.join("calls.jsonl")), 1)?;
    let setup = Setup {
        program: programs.maos.clone(),
        home: dir.join("home"),
        model_url: model.url(),
        // Voters with a model each, so that no two of them send the same request.
        set: vec![
            ("system.max_agents".into(), "8".into()),
            ("consensus.models".into(), "claude/judge-1,claude/judge-2,claude/judge-3".into()),
        ],
        env: vec![],
    };
    let (client, began) = (Client::default(), Instant::now());
    let mut cycle = Cycle { setup: &setup, death, word: &word, deaths: 0, maos: None, servers: vec![], survivors: vec![], client, began };
    cycle.until_all_ended()?;
    let mut evidence = cycle.results()?;
    evidence.calls = model.calls()?.iter().filter_map(SeenCall::from_log).collect();
    let (deaths, servers) = (cycle.deaths, std::mem::take(&mut cycle.servers));
    evidence.survivors = std::mem::take(&mut cycle.survivors);
    evidence.answers = std::mem::take(&mut cycle.client.answers);
    drop(cycle);
    evidence.leftover = Marks { home: &setup.home, word: &word, servers: &servers }.all();
    read_ledgers(&setup.home, &mut evidence)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(read_journals(&setup.database_url(), &mut evidence)).map_err(Error::other)?;
    let mut verdict = check(&evidence);
    if deaths == 0 && *death != Death::Never {
        verdict.violations.push(format!("{death:?}: the server never died: the point was not reached, or the work was over too early"));
    }
    Ok(Outcome { verdict, evidence, deaths })
}

/// A length of sleep that no other cycle uses: it names the processes of this one.
fn unique_word() -> String {
    static CYCLES: AtomicU64 = AtomicU64::new(0);
    format!("864{}.{}", std::process::id(), CYCLES.fetch_add(1, Ordering::Relaxed))
}

/// What the client knows.
#[derive(Debug, Default)]
struct Client {
    done: usize,
    acked: Vec<Acked>,
    answers: Vec<Answered>,
}

struct Cycle<'a> {
    setup: &'a Setup,
    death: &'a Death,
    /// On the command lines of programs that its agents start.
    word: &'a str,
    deaths: usize,
    maos: Option<Maos>,
    /// Process ids of all servers so far.
    servers: Vec<u32>,
    /// What outlived a server.
    survivors: Vec<String>,
    client: Client,
    began: Instant,
}

impl Cycle<'_> {
    fn until_all_ended(&mut self) -> Result<()> {
        loop {
            if self.began.elapsed() > CYCLE_WAIT {
                let log = std::fs::read_to_string(self.setup.home.join("stderr.txt")).unwrap_or_default();
                let tail: Vec<&str> = log.lines().rev().take(12).collect();
                let message = format!("{:?}: nothing ends: {:?}; last lines of the log: {tail:#?}", self.death, self.client);
                return Err(Error::new(ErrorKind::TimedOut, message));
            }
            self.alive()?;
            let Some(maos) = &self.maos else { continue };
            let step = match OPS.get(self.client.done) {
                Some(op) => self.client.act(maos, *op).map(|()| false),
                None => self.client.all_ended(maos),
            };
            match step {
                Ok(true) => return Ok(()),
                Ok(false) if self.client.done < OPS.len() => {}
                Ok(false) => std::thread::sleep(LOOK_EVERY),
                // No answer: the server is dying, or refuses because it is told to stop.
                Err(_) => std::thread::sleep(LOOK_EVERY),
            }
        }
    }

    /// Notices a death, and starts the server again.
    fn alive(&mut self) -> Result<()> {
        if let Some(maos) = &mut self.maos {
            let Some(status) = maos.died()? else { return Ok(()) };
            self.maos = None;
            self.ended(status)?;
        }
        let crash_at = match self.death {
            Death::At(point) if self.deaths == 0 => Some(point.as_str()),
            Death::InRecovery(_, point) if (1..DEATHS_MAX).contains(&self.deaths) => Some(point.as_str()),
            _ => None,
        };
        match self.setup.start(crash_at)? {
            Started::Died(status, pid) => {
                self.servers.push(pid);
                self.ended(status)?;
            }
            Started::Ready(maos) => {
                self.servers.push(maos.pid());
                match self.death {
                    Death::After(waits) => {
                        if let Some(wait) = waits.get(self.deaths) {
                            drop(maos.kill_after(*wait, None));
                        }
                    }
                    Death::InDrain(wait, notice) if self.deaths == 0 => drop(maos.kill_after(*wait, Some(*notice))),
                    Death::InRecovery(wait, _) if self.deaths == 0 => drop(maos.kill_after(*wait, None)),
                    Death::InDrain(..) | Death::InRecovery(..) | Death::At(_) | Death::Never => {}
                }
                self.maos = Some(maos);
            }
        }
        Ok(())
    }

    /// A server has ended: nothing that it started may be there any longer.
    fn ended(&mut self, status: std::process::ExitStatus) -> Result<()> {
        self.deaths += 1;
        self.survivors.extend(Marks { home: &self.setup.home, word: self.word, servers: &self.servers }.after_death());
        // A drain may be over before the kill comes.
        let polite = matches!(self.death, Death::InDrain(..)) && status.success();
        if was_killed(status) || polite {
            return Ok(());
        }
        let log = std::fs::read_to_string(self.setup.home.join("stderr.txt")).unwrap_or_default();
        let tail: Vec<&str> = log.lines().rev().take(12).collect();
        Err(Error::other(format!("the server ended by itself ({status}): {tail:#?}")))
    }

    /// What the API says at the end; then the polite end.
    fn results(&mut self) -> Result<Evidence> {
        let maos = loop {
            // A death in this moment is a death like any other.
            self.alive()?;
            if let Some(maos) = self.maos.take() {
                break maos;
            }
        };
        let mut evidence = Evidence { submissions: submissions(), ..Evidence::default() };
        let mut maos = maos;
        loop {
            match self.client.read_all(&maos) {
                Ok((acked, busy)) => {
                    (evidence.acked, evidence.busy_agents) = (acked, busy);
                    break;
                }
                Err(error) if self.began.elapsed() > CYCLE_WAIT => return Err(error),
                Err(_) => {
                    // One that is dying refuses connections before its end can be seen.
                    std::thread::sleep(LOOK_EVERY);
                    self.maos = Some(maos);
                    while maos_died(&mut self.maos)? {
                        self.alive()?;
                    }
                    maos = self.maos.take().ok_or_else(|| Error::other("the server is gone"))?;
                }
            }
        }
        maos.stop()?;
        Ok(evidence)
    }
}

fn maos_died(maos: &mut Option<Maos>) -> Result<bool> {
    match maos {
        Some(maos) => Ok(maos.died()?.is_some()),
        None => Ok(true),
    }
}

impl Client {
    fn id(&self, name: &str) -> Result<&str> {
        let found = self.acked.iter().find(|a| a.name == name);
        found.map(|a| a.id.as_str()).ok_or_else(|| Error::other(format!("'{name}' was not submitted before")))
    }

    /// Does one thing; an error means that nobody knows whether it was done.
    fn act(&mut self, maos: &Maos, op: Op) -> Result<()> {
        match op {
            Op::Submit { name, after, with } => {
                let before = after.map(|a| self.id(a).map(str::to_owned)).transpose()?;
                let mut body = serde_json::json!({"description": format!("job {name}"), "depends_on": before.iter().collect::<Vec<_>>()});
                match with {
                    With::Plan => {}
                    With::One(kind) => (body["agent_type"], body["max_agents"]) = (kind.into(), 1.into()),
                    With::Votes => body["require_consensus"] = true.into(),
                }
                let answer = maos.post("/api/tasks", &format!("submit-{name}"), &body.to_string())?;
                if !matches!(answer.status, 200..=202) {
                    return Err(Error::other(format!("submit {name}: {} {}", answer.status, answer.body)));
                }
                let id = answer.json()["task_id"].as_str().unwrap_or_default().to_owned();
                self.acked.push(Acked { name, id, after: before, result: None });
            }
            Op::Pause(name) => self.change(maos, name, "pause")?,
            Op::Resume(name) => self.change(maos, name, "resume")?,
        }
        self.done += 1;
        Ok(())
    }

    /// Holds a task or lets it go on; a task that is so already, or is over, is as good.
    fn change(&self, maos: &Maos, name: &str, what: &str) -> Result<()> {
        let id = self.id(name)?;
        let answer = maos.post(&format!("/api/tasks/{id}/{what}"), &format!("{what}-{name}"), "{}")?;
        match answer.status {
            200..=299 | 409 => Ok(()),
            other => Err(Error::other(format!("{what} {name}: {other} {}", answer.body))),
        }
    }

    /// Answers what people are asked.
    fn answer(&mut self, maos: &Maos) -> Result<()> {
        let id = self.id("asks")?.to_owned();
        let open = maos.get(&format!("/api/tasks/{id}/questions"))?.json();
        for question in open["data"].as_array().into_iter().flatten() {
            let asked = question["question_id"].as_str().unwrap_or_default().to_owned();
            let body = serde_json::json!({"question": asked, "answer": PERSONS_WORD}).to_string();
            let answer = maos.post(&format!("/api/tasks/{id}/input"), &format!("answer-{asked}"), &body)?;
            match answer.status {
                200..=299 if self.answers.iter().any(|a| a.question == asked) => {}
                200..=299 => self.answers.push(Answered { task: id.clone(), question: asked, text: PERSONS_WORD.into() }),
                // It was answered just before a crash took the word of it away.
                404 | 409 => {}
                other => return Err(Error::other(format!("answer {asked}: {other} {}", answer.body))),
            }
        }
        Ok(())
    }

    fn all_ended(&mut self, maos: &Maos) -> Result<bool> {
        self.answer(maos)?;
        for task in &self.acked {
            let name = task.name;
            let answer = maos.get(&format!("/api/tasks/{}", task.id))?;
            let status = answer.json()["status"].as_str().unwrap_or_default().to_owned();
            match (answer.status, status.as_str()) {
                (200, "COMPLETED" | "FAILED" | "CANCELLED" | "TIMED_OUT") => {}
                // The hold came after the word to go on was lost with a crash, or took effect late.
                (200, "PAUSED") => return self.change(maos, name, "resume").map(|()| false),
                (200, _) => return Ok(false),
                (status, _) => return Err(Error::other(format!("{name}: {status} {}", answer.body))),
            }
        }
        Ok(true)
    }

    fn read_all(&self, maos: &Maos) -> Result<(Vec<Acked>, usize)> {
        let mut acked = vec![];
        for task in &self.acked {
            let answer = maos.get(&format!("/api/tasks/{}/results", task.id))?;
            let result = answer.json()["result"]["text"].as_str().map(str::to_owned);
            acked.push(Acked { result, ..task.clone() });
        }
        let agents = maos.get("/api/agents")?.json();
        let rows = agents["data"].as_array().or(agents.as_array()).cloned().unwrap_or_default();
        let busy = rows.iter().filter(|a| a["status"] == "BUSY").count();
        Ok((acked, busy))
    }
}
