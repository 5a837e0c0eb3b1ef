//! From the merged configuration to the plain options of each crate. This is the only place that knows both sides.
use crate::config::{Config, Origin};
use std::path::{Path, PathBuf};

/// A path of the configuration: `~/` is the person's home; a relative one in a file counts from that file's folder.
pub(crate) fn path(config: &Config, key: &str, user_home: Option<&str>) -> Option<PathBuf> {
    let text = config.text(key)?;
    if let (Some(rest), Some(home)) = (text.strip_prefix("~/"), user_home) {
        return Some(Path::new(home).join(rest));
    }
    let base = match &config.get(key).origin {
        Origin::File { path, .. } => path.parent().map(Path::to_owned),
        Origin::Default | Origin::Env(_) | Origin::Flag(_) => None,
    };
    Some(base.map_or_else(|| PathBuf::from(text), |base| base.join(text)))
}

/// How the local model is served; `model` beats the configuration.
pub(crate) fn local_options(
    home: &Path,
    config: &Config,
    model: Option<String>,
) -> maos_local::Options {
    let number = |key: &str| config.int(key).and_then(|n| u32::try_from(n).ok());
    maos_local::Options {
        home: home.to_owned(),
        model: model.or_else(|| config.text("local.model").map(str::to_owned)),
        llama_server: path(
            config,
            "local.llama_server",
            std::env::home_dir().as_deref().and_then(Path::to_str),
        ),
        threads: number("local.threads"),
        slots: number("local.slots"),
        context_tokens: number("local.context_tokens"),
    }
}
