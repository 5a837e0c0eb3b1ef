//! Which model for which agent.
use maos_engine::message::FailureClass;
use maos_llm::{ConfigError, Fallback, ModelRef, Options, Provider, ScriptedOptions, connect};

use crate::support::{claude_options, openai_options, patient};

const NOW: i64 = 1_795_305_600_000;

fn both() -> Options {
    Options {
        openai: openai_options("http://127.0.0.1:1", patient()).openai,
        scripted: Some(ScriptedOptions::default()),
        ..claude_options("http://127.0.0.1:1", patient())
    }
}

#[test]
fn names_find_their_models() {
    let mut options = both();
    options.agent_models.insert("coder".into(), "openai/gpt-4.1-mini".into());
    options.agent_models.insert("tester".into(), "claude-opus-5-5".into());
    options.agent_models.insert("analyst".into(), "scripted/".into());
    options.model_aliases.insert("old".into(), "claude-haiku-4-5".into());
    let models = connect(options).expect("usable options");
    let of = |agent: &str| {
        let chosen = models.model_for(agent);
        format!("{}/{}", chosen.provider, chosen.name)
    };
    assert_eq!(of("researcher"), "claude/claude-haiku-4-5");
    assert_eq!(of("coder"), "openai/gpt-4.1-mini");
    assert_eq!(of("tester"), "claude/claude-opus-5-5");
    assert_eq!(of("analyst"), "scripted/scripted-1");
    assert_eq!(&*models.named(&"old".into()).expect("an alias").name, "claude-haiku-4-5");
    assert_eq!(&*models.named(&"qwen/qwen3".into()).expect("a name with a slash").name, "qwen/qwen3");
    let gate = |agent: &str| models.model_for(agent).gate.name().to_owned();
    assert_eq!(gate("coder"), "openai/gpt-4.1-mini");
    let (one, two) = (models.model_for("researcher").gate, models.named(&"old".into()).expect("an alias").gate);
    assert!(std::sync::Arc::ptr_eq(&one, &two), "one gate per provider and model");
    assert_eq!(models.providers().map(|(p, _)| p).collect::<Vec<_>>(), [Provider::Claude, Provider::OpenAi, Provider::Scripted]);
}

#[test]
fn fallbacks_only_where_configured() {
    let mut options = both();
    options.fallbacks.push(Fallback {
        from: "claude/claude-haiku-4-5".into(),
        to: "openai/gpt-4.1".into(),
        on: vec![FailureClass::Overloaded],
    });
    let models = connect(options).expect("usable options");
    let from = models.model_for("coder");
    let to = models.fallback(&from, FailureClass::Overloaded).expect("a fallback");
    assert_eq!((to.provider, &*to.name), (Provider::OpenAi, "gpt-4.1"));
    assert!(models.fallback(&from, FailureClass::Auth).is_none());
    assert!(models.fallback(&to, FailureClass::Overloaded).is_none());

    let mut options = both();
    options.fallbacks.push(Fallback { from: "".into(), to: "openai/gpt-4.1".into(), on: vec![FailureClass::ModelGone] });
    let models = connect(options).expect("usable options");
    let to = models.fallback(&models.model_for("coder"), FailureClass::ModelGone).expect("a refuge from any model");
    assert!(models.fallback(&to, FailureClass::ModelGone).is_none(), "a model is no refuge from itself");
}

#[test]
fn retired_models_in_the_configuration_are_found() {
    let mut options = claude_options("http://127.0.0.1:1", patient());
    if let Some(claude) = &mut options.claude {
        claude.model = Some("claude-3-sonnet-20240229".into());
    }
    options.agent_models.insert("coder".into(), "claude-3-5-haiku-20241022".into());
    let models = connect(options.clone()).expect("usable options");
    let found: Vec<_> = models.retired_in_use(NOW).into_iter().map(|r| (r.config_key, r.retired.replacement.unwrap())).collect();
    assert_eq!(
        found,
        [("claude.model".to_owned(), "claude-sonnet-5-5".to_owned()), ("model.coder".to_owned(), "claude-haiku-5-5".to_owned())]
    );
    options.model_aliases.insert("claude-3-sonnet-20240229".into(), "claude-sonnet-5-5".into());
    options.agent_models.clear();
    assert!(connect(options).expect("usable options").retired_in_use(NOW).is_empty(), "an alias mends it");
}

#[test]
fn what_is_named_must_be_configured() {
    let mut options = claude_options("http://127.0.0.1:1", patient());
    options.agent_models.insert("coder".into(), "openai/gpt-4.1".into());
    let error = connect(options.clone()).expect_err("no OpenAI");
    assert!(matches!(&error, ConfigError::NotConfigured { provider: Provider::OpenAi, .. }));
    assert!(error.to_string().contains("coder") && error.to_string().contains("OPENAI_API_KEY"), "{error}");
    options.agent_models.clear();
    options.provider = Some(Provider::Local);
    assert!(matches!(connect(options.clone()), Err(ConfigError::NotConfigured { provider: Provider::Local, .. })));
    options.provider = None;
    let models = connect(options).expect("usable options");
    assert!(models.named(&ModelRef { provider: Some(Provider::OpenAi), model: "x".into() }).is_err());
}
