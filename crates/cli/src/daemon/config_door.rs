//! The configuration as the API shows and sets it.
//!
//! Invariant: a change goes into the file first, checked as `maos config set` checks it; only then is it taken over.
use crate::config::schema::{self, KEYS, Key};
use crate::config::{Config, Origin, edit, masked, value};
use crate::home::write_private;
use async_trait::async_trait;
use maos_api::problem::FieldError;
use maos_api::system::{ConfigEntry, ConfigView};
use maos_api::words::ConfigOrigin;
use maos_api::{Problem, ProblemCode};
use maos_server::backend::Reply;
use maos_server::config::{ConfigDoor, unknown_key};
use serde_json::Value;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// Reads the configuration anew from all its sources.
pub(crate) type Load = dyn Fn() -> Result<Config, crate::error::CliError> + Send + Sync;
/// Takes over a changed configuration.
pub(crate) type Apply = dyn Fn(&Config) + Send + Sync;

/// The door.
pub(crate) struct FileConfig {
    load: Arc<Load>,
    apply: Arc<Apply>,
    file: PathBuf,
    /// What is in force, and one change at a time.
    current: Mutex<Config>,
}

impl FileConfig {
    /// A door to this configuration.
    pub(crate) fn new(config: Config, load: Arc<Load>, apply: Arc<Apply>) -> Self {
        FileConfig { load, apply, file: config.main_file.clone(), current: Mutex::new(config) }
    }

    /// Takes over what the file says now.
    ///
    /// # Errors
    /// The file is not valid; then everything stays as it is.
    pub(crate) fn reload(&self) -> Result<(), crate::error::CliError> {
        let config = (self.load)()?;
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        (self.apply)(&config);
        *current = config;
        Ok(())
    }

    fn text(&self) -> Result<String, Box<Problem>> {
        match std::fs::read_to_string(&self.file) {
            Ok(text) => Ok(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
            Err(error) => Err(internal(&format!("the configuration file cannot be read: {error}"))),
        }
    }

    fn write(&self, key: &'static Key, new: &Value, revision: &str) -> Result<ConfigEntry, Box<Problem>> {
        let original = self.text()?;
        if revision_of(&original) != revision {
            let detail = "The configuration was changed since it was read.";
            return Err(Box::new(Problem::new(ProblemCode::PreconditionFailed, detail)));
        }
        let edited = if new.is_null() {
            edit::unset(&original, key).map(|edited| edited.unwrap_or_else(|| original.clone()))
        } else {
            let text = as_text(new);
            value::parse(key.kind, &text).map_err(|expected| invalid(&expected))?;
            edit::set(&original, key, &text)
        };
        let edited = edited.map_err(|error| match error {
            edit::EditError::Invalid(error) => invalid(&error.message),
            edit::EditError::ByHand(why) => invalid(&why),
        })?;
        write_private(&self.file, edited.as_bytes())
            .map_err(|error| internal(&format!("the configuration file cannot be written: {error}")))?;
        self.reload().map_err(|error| internal(&error.message))?;
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(entry(key, &current))
    }
}

#[async_trait]
impl ConfigDoor for FileConfig {
    async fn view(&self) -> Reply<ConfigView> {
        let revision = revision_of(&self.text()?);
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(ConfigView {
            object: "config".to_owned(),
            path: Some(self.file.display().to_string()),
            revision,
            entries: KEYS.iter().map(|key| entry(key, &current)).collect(),
        })
    }

    async fn set(&self, key: &str, value: Value, revision: &str) -> Reply<ConfigEntry> {
        let Some(key) = schema::find(key) else { return Err(Box::new(unknown_key(key))) };
        if !is_writable(key) {
            let detail = format!("'{}' cannot be set over HTTP; on the server's machine: maos config set {0}", key.name);
            return Err(Box::new(Problem::new(ProblemCode::Forbidden, detail)));
        }
        self.write(key, &value, revision)
    }
}

/// Programs that are run, the addresses and keys of the door itself, where keys and prompts are sent, and the fence around agents are not
/// changed through the door.
fn is_writable(key: &Key) -> bool {
    !matches!(key.name, "api.host" | "api.allowed_hosts" | "local.llama_server" | "scripted.script")
        && !key.name.ends_with(".base_url")
        && !matches!(key.section(), "auth" | "cli" | "sandbox" | "web" | "tools")
}

fn invalid(detail: &str) -> Box<Problem> {
    Box::new(Problem::validation(vec![FieldError::field("/value", "invalid", detail)]))
}

fn internal(why: &str) -> Box<Problem> {
    tracing::error!(component = "system", "{why}");
    Box::new(Problem::new(ProblemCode::Internal, "The configuration could not be read or written; the log says why."))
}

fn as_text(value: &Value) -> String {
    let part = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match value {
        Value::Array(items) => items.iter().map(part).collect::<Vec<_>>().join(","),
        Value::Object(pairs) => pairs.iter().map(|(name, value)| format!("{name}={}", part(value))).collect::<Vec<_>>().join(","),
        other => part(other),
    }
}

/// Tells versions of the file apart; it protects against overwriting by mistake, not against forgery.
fn revision_of(text: &str) -> String {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

fn entry(key: &'static Key, config: &Config) -> ConfigEntry {
    let resolved = config.get(key.name);
    let value = match &resolved.value {
        Some(value) if key.secret => masked(key, value).into(),
        Some(value) => value.to_json(),
        None => Value::Null,
    };
    let default = key.default.and_then(|text| value::parse(key.kind, text).ok()).map_or(Value::Null, |value| value.to_json());
    let origin = match &resolved.origin {
        Origin::Default => ConfigOrigin::Default,
        Origin::File { .. } => ConfigOrigin::File,
        Origin::Env(_) => ConfigOrigin::Env,
        Origin::Flag(_) => ConfigOrigin::Flag,
    };
    let description = match key.later {
        Some(instead) => format!("{} No effect in this version: {instead}.", key.doc),
        None => key.doc.to_owned(),
    };
    ConfigEntry {
        object: "config_entry".to_owned(),
        key: key.name.to_owned(),
        value,
        default,
        origin,
        kind: key.kind_word().to_owned(),
        description,
        secret: key.secret,
        restart_needed: key.needs_restart(),
        writable: is_writable(key) && matches!(origin, ConfigOrigin::Default | ConfigOrigin::File),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;
    use crate::env::Env;
    use crate::home::Home;
    use serde_json::json;
    use std::sync::atomic::{AtomicU32, Ordering};

    fn door(dir: &std::path::Path) -> (FileConfig, Arc<AtomicU32>) {
        let env = Env::of(&[("MAOS_HOME", dir.to_str().unwrap())]);
        let nowhere = dir.join("none.yml");
        let load = move || {
            let home = Home::find(&env);
            Config::load(&Sources { home: &home, env: &env, system_file: &nowhere, file: None, flags: &[] })
        };
        let applied = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&applied);
        let apply = move |_: &Config| {
            count.fetch_add(1, Ordering::Relaxed);
        };
        (FileConfig::new(load().unwrap(), Arc::new(load), Arc::new(apply)), applied)
    }

    #[test]
    fn the_fence_is_not_moved_through_the_door() {
        for name in
            ["auth.api_keys", "api.host", "sandbox.tier", "sandbox.network_allow", "web.allow", "web.allow_private", "tools.approval"]
        {
            assert!(!is_writable(schema::find(name).unwrap()), "{name}");
        }
        // Whoever sets one gets the operator's key and every prompt.
        for key in KEYS.iter().filter(|key| key.name.ends_with("base_url")) {
            assert!(!is_writable(key), "{}", key.name);
        }
        assert!(is_writable(schema::find("system.max_agents").unwrap()));
    }

    #[tokio::test]
    async fn a_change_is_checked_written_and_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config.yml"), "# mine\nsystem:\n  max_agents: 3\n").unwrap();
        let (door, applied) = door(dir.path());
        let view = door.view().await.unwrap();
        assert_eq!(view.entries.len(), KEYS.len());
        let entry = door.set("system.max_agents", json!(20), &view.revision).await.unwrap();
        assert_eq!((entry.value, entry.origin), (json!(20), ConfigOrigin::File));
        assert_eq!(std::fs::read_to_string(dir.path().join("config.yml")).unwrap(), "# mine\nsystem:\n  max_agents: 20\n");
        assert_eq!(applied.load(Ordering::Relaxed), 1);
        let stale = door.set("system.max_agents", json!(21), &view.revision).await.unwrap_err();
        assert_eq!(stale.code, ProblemCode::PreconditionFailed);
    }

    #[tokio::test]
    async fn secrets_are_masked_and_some_keys_are_closed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config.yml"), "claude:\n  api_key: sk-ant-0123456789abcdef\n").unwrap();
        let (door, _) = door(dir.path());
        let view = door.view().await.unwrap();
        assert!(!serde_json::to_string(&view).unwrap().contains("0123456789"));
        for key in ["auth.api_keys", "local.llama_server", "api.host"] {
            assert_eq!(door.set(key, json!("x"), &view.revision).await.unwrap_err().code, ProblemCode::Forbidden, "{key}");
        }
        let wrong = door.set("system.max_agents", json!(-1), &view.revision).await.unwrap_err();
        assert_eq!((wrong.code, wrong.errors[0].pointer.as_deref()), (ProblemCode::ValidationFailed, Some("/value")));
        assert_eq!(door.set("nope", json!(1), &view.revision).await.unwrap_err().code, ProblemCode::ConfigKeyNotFound);
    }
}
