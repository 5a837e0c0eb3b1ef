//! Who may run when: a limit that holds for each call holds for the machine only if not all calls run at once.
//!
//! Invariant: a right that is held is given back when it is dropped, however the call ends. Must not know tools.
use maos_engine::ids::AgentId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};

/// The right to run now, until it is dropped.
#[derive(Debug, Default)]
pub struct Turn {
    _of_agent: Option<OwnedMutexGuard<()>>,
    _of_node: Option<OwnedSemaphorePermit>,
}

/// Gives out turns.
#[derive(Debug)]
pub struct Turns {
    node: Arc<Semaphore>,
    /// Agents that run or wait; `None` if an agent may have several turns.
    agents: Option<Mutex<HashMap<AgentId, Weak<AsyncMutex<()>>>>>,
}

impl Turns {
    /// At most so many at once.
    pub fn at_once(most: usize) -> Self {
        Self { node: Arc::new(Semaphore::new(most)), agents: None }
    }

    /// The same, and of each agent one after the other.
    pub fn one_each(most: usize) -> Self {
        Self { agents: Some(Mutex::default()), ..Self::at_once(most) }
    }

    /// Waits for a turn; first come, first served.
    pub async fn take(&self, agent: &AgentId) -> Turn {
        let own = self.agents.as_ref().map(|agents| {
            let mut agents = agents.lock().unwrap_or_else(PoisonError::into_inner);
            agents.retain(|_, lock| lock.strong_count() > 0);
            let lock = agents.get(agent).and_then(Weak::upgrade).unwrap_or_default();
            agents.insert(agent.clone(), Arc::downgrade(&lock));
            lock
        });
        // The agent's own turn comes first: who waits for it takes no place of another agent.
        let of_agent = match own {
            Some(lock) => Some(lock.lock_owned().await),
            None => None,
        };
        let of_node = Arc::clone(&self.node).acquire_owned().await.expect("it is never closed");
        Turn { _of_agent: of_agent, _of_node: Some(of_node) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    fn agent(number: u32) -> AgentId {
        AgentId::new(format!("agent_coder_{number:03}")).unwrap()
    }

    #[tokio::test]
    async fn an_agent_runs_one_and_the_node_so_many() {
        let turns = Turns::one_each(2);
        let now = |number: u32| turns.take(&agent(number)).now_or_never();
        let first = now(1).unwrap();
        assert!(now(1).is_none(), "the same agent waits");
        let second = now(2).unwrap();
        assert!(now(3).is_none(), "the node is full");
        drop(second);
        drop((first, now(3).unwrap()));
        assert!(now(1).is_some() && turns.agents.as_ref().unwrap().lock().unwrap().len() <= 2, "who is gone is forgotten");
        let turns = Turns::at_once(2);
        let held = (turns.take(&agent(1)).now_or_never().unwrap(), turns.take(&agent(1)).now_or_never().unwrap());
        assert!(turns.take(&agent(2)).now_or_never().is_none());
        drop(held);
    }
}
