//! The door to the configuration. Whoever resolved it (files, environment, flags) implements it; the routes only show and set.
use async_trait::async_trait;
use maos_api::system::{ConfigEntry, ConfigView};
use serde_json::Value;

use crate::backend::Reply;

/// The configuration in force.
#[async_trait]
pub trait ConfigDoor: Send + Sync + 'static {
    /// Every key. Secrets are masked.
    async fn view(&self) -> Reply<ConfigView>;
    /// Sets one key in the file, if the file still has `revision`; answers the key as it is now.
    ///
    /// `config-key-not-found`, `validation-failed` (pointer `/value`), `forbidden` for keys that may not be set over HTTP (secrets
    /// may be written, never read; program paths and bind addresses may not), `precondition-failed`.
    async fn set(&self, key: &str, value: Value, revision: &str) -> Reply<ConfigEntry>;
}

/// Every key read-only: for a server that was given its options by a program.
#[derive(Debug, Clone)]
pub struct FixedConfig(pub ConfigView);

#[async_trait]
impl ConfigDoor for FixedConfig {
    async fn view(&self) -> Reply<ConfigView> {
        Ok(self.0.clone())
    }
    async fn set(&self, key: &str, _value: Value, _revision: &str) -> Reply<ConfigEntry> {
        let known = self.0.entries.iter().any(|e| e.key == key);
        Err(Box::new(if known {
            maos_api::Problem::new(maos_api::ProblemCode::Forbidden, format!("'{key}' cannot be set over HTTP on this server."))
        } else {
            unknown_key(key)
        }))
    }
}

/// `config-key-not-found`.
pub fn unknown_key(key: &str) -> maos_api::Problem {
    maos_api::Problem::new(maos_api::ProblemCode::ConfigKeyNotFound, format!("There is no configuration key '{key}'."))
}
