//! The merge, over the whole schema.
use super::*;

use schema::sample;

struct Fixture {
    dir: tempfile::TempDir,
    env: Env,
    flags: Vec<(&'static str, String, String)>,
}

impl Fixture {
    fn new(env: &[(&str, &str)]) -> Self {
        Fixture { dir: tempfile::tempdir().unwrap(), env: Env::of(env), flags: Vec::new() }
    }

    fn file(&self, name: &str, text: &str) {
        std::fs::write(self.dir.path().join(name), text).unwrap();
    }

    fn load(&self) -> Result<Config, CliError> {
        let mut env = self.env.clone();
        env.add_default("MAOS_HOME".to_owned(), self.dir.path().display().to_string());
        let home = Home::find(&env);
        Config::load(&Sources { home: &home, env: &env, system_file: &self.dir.path().join("system.yml"), file: None, flags: &self.flags })
    }
}

fn nested(name: &str, text: &str) -> String {
    let parts: Vec<&str> = name.split('.').collect();
    let (last, sections) = parts.split_last().unwrap();
    let mut yaml = String::new();
    for (depth, section) in sections.iter().enumerate() {
        yaml.push_str(&format!("{}{section}:\n", "  ".repeat(depth)));
    }
    yaml.push_str(&format!("{}{last}: \"{text}\"\n", "  ".repeat(sections.len())));
    yaml
}

#[test]
fn every_default_is_valid() {
    let config = Fixture::new(&[]).load().unwrap();
    assert_eq!(config.iter().count(), schema::KEYS.len());
    assert_eq!(config.int("api.port"), Some(8000));
    assert_eq!(config.text("provider"), Some("auto"));
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

#[test]
fn every_key_can_be_set_by_file_variable_and_flag() {
    for key in schema::KEYS {
        let expected = Some(value::parse(key.kind, &sample(key)).unwrap());
        let from_file = Fixture::new(&[]);
        from_file.file("config.yml", &nested(key.name, &sample(key)));
        let resolved = from_file.load().unwrap().get(key.name).clone();
        assert_eq!(resolved.value, expected, "{} by file", key.name);
        assert!(matches!(resolved.origin, Origin::File { .. }), "{}", key.name);

        let from_env = Fixture::new(&[(key.env_name().as_str(), &sample(key))]);
        let resolved = from_env.load().unwrap().get(key.name).clone();
        assert_eq!((resolved.value, resolved.origin), (expected.clone(), Origin::Env(key.env_name())), "{} by variable", key.name);

        let mut from_flag = Fixture::new(&[]);
        from_flag.flags.push((key.name, sample(key), "--set".to_owned()));
        let resolved = from_flag.load().unwrap().get(key.name).clone();
        assert_eq!((resolved.value, resolved.origin), (expected, Origin::Flag("--set".to_owned())), "{} by flag", key.name);
    }
}

#[test]
fn the_strongest_source_wins() {
    let mut fixture = Fixture::new(&[]);
    let port = |fixture: &Fixture| fixture.load().unwrap().int("api.port").unwrap();
    fixture.file("system.yml", "api:\n  port: 1\n");
    assert_eq!(port(&fixture), 1);
    fixture.file("config.yml", "api:\n  port: 2\n");
    assert_eq!(port(&fixture), 2);
    fixture.env = Env::of(&[("MAOS_API_PORT", "3")]);
    assert_eq!(port(&fixture), 3);
    fixture.flags.push(("api.port", "4".to_owned(), "--api-port".to_owned()));
    assert_eq!(port(&fixture), 4);
}

#[test]
fn keys_of_providers_have_their_usual_variables() {
    let value = |env: &[(&str, &str)]| Fixture::new(env).load().unwrap().get("claude.api_key").clone();
    let both = value(&[("CLAUDE_API_KEY", "a"), ("ANTHROPIC_API_KEY", "b")]);
    assert_eq!(both.origin, Origin::Env("CLAUDE_API_KEY".to_owned()));
    assert_eq!(value(&[("ANTHROPIC_API_KEY", "b")]).value, Some(Value::Text("b".to_owned())));
}

#[test]
fn unknown_variables_are_told_once_with_a_suggestion() {
    let config = Fixture::new(&[("MAOS_SYSTEM_MAX_AGENT", "5")]).load().unwrap();
    assert_eq!(
        config.variable_warnings,
        [
            "the variable MAOS_SYSTEM_MAX_AGENT is unknown and ignored; did you mean MAOS_SYSTEM_MAX_AGENTS? (all names: maos help environment)"
        ]
    );
}

#[test]
fn keys_without_effect_are_told() {
    let config = Fixture::new(&[("MAOS_REDIS_URL", "redis://localhost:6379/0")]).load().unwrap();
    assert_eq!(config.warnings, ["redis.url has no effect in this version: the in-process bus is used"]);
}

#[test]
fn errors_name_file_line_and_key() {
    let fixture = Fixture::new(&[]);
    fixture.file("config.yml", "system:\n  max_agnets: 5\n");
    let error = fixture.load().unwrap_err();
    assert_eq!(error.exit, Exit::Usage);
    assert!(error.message.ends_with("config.yml, line 2: unknown key 'system.max_agnets'"), "{}", error.message);
    assert_eq!(error.similar, ["system.max_agents"]);
}

#[test]
fn secrets_are_masked() {
    let shown = |name: &str, text: &str| masked(schema::find(name).unwrap(), &Value::Text(text.to_owned()));
    assert_eq!(shown("claude.api_key", "sk-ant-api03-0123456789-a1b2"), "sk-ant-…a1b2");
    assert_eq!(shown("claude.api_key", "short"), "***");
    assert_eq!(shown("database.primary_url", "postgresql://me:pw@host:5432/maos"), "postgresql://***@host:5432/maos");
    assert_eq!(shown("redis.url", "redis://localhost:6379/0"), "redis://localhost:6379/0");
    assert_eq!(shown("claude.model", "m"), "m");
}
