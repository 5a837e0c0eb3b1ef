//! The real model file and a private llama.cpp server, shared by all tests and kept outside of the repository.
use std::fs;
use std::path::{Path, PathBuf};

use maos_local::{Catalog, Options};

/// The model the tests run.
pub(crate) const MODEL: &str = "qwen2.5-coder-0.5b";

/// `$MAOS_TEST_MODELS`, else `$XDG_CACHE_HOME/maos-ci/models`, else `~/.cache/maos-ci/models`. Fails with the command that fetches the
/// file if it is not there.
pub(crate) fn models_dir() -> PathBuf {
    let cache = || {
        std::env::var_os("XDG_CACHE_HOME")
            .map_or_else(|| PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache"), PathBuf::from)
            .join("maos-ci/models")
    };
    let dir = std::env::var_os("MAOS_TEST_MODELS").map_or_else(cache, PathBuf::from);
    let file = dir.join(&Catalog::default().get(MODEL).unwrap().file);
    assert!(file.exists(), "{} is missing; fetch it with: scripts/fetch-model coder-0.5b {}", file.display(), dir.display());
    dir
}

/// Options for a fresh folder whose models and llama.cpp environment are the shared ones.
pub(crate) fn options(home: &Path) -> Options {
    let models = models_dir();
    let llama = models.parent().unwrap().join("llama");
    fs::create_dir_all(&llama).unwrap();
    std::os::unix::fs::symlink(&models, home.join("models")).unwrap();
    std::os::unix::fs::symlink(&llama, home.join("llama")).unwrap();
    let mut options = Options::new(home);
    (options.model, options.slots, options.context_tokens) = (Some(MODEL.to_owned()), Some(2), Some(2048));
    options
}
