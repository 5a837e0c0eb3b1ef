//! Canaries: secrets in every place where MAOS or its neighbours keep some, and a look at where they turn up.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Key of the model provider, in the server's environment. It may stand in the provider's own header only.
pub(crate) const PROVIDER_KEY: &str = "sk-ant-canary-1provider7Qw8";
/// A variable of the server's environment.
pub(crate) const ENVIRONMENT: &str = "canary-2environment-Zx31";
/// A secret in `config.yml` that no tool uses.
pub(crate) const CONFIG: &str = "canary-3config-Kp55";
/// A secret of an HTTP tool: it may reach the host of that tool only.
pub(crate) const TOOL: &str = "canary-4tool-Mn92";
/// A file of the user outside of every workspace.
pub(crate) const SSH_KEY: &str = "canary-5sshkey-Yy08";
/// The files of another task.
pub(crate) const OTHER_TASK: &str = "canary-6othertask-Hd41";
/// In the task's own attachment: the agent may know it, nobody else.
pub(crate) const ATTACHED: &str = "canary-7attached-private-figures-of-the-user-Tt17";

/// What no agent may ever see.
pub(crate) const NEVER_SEEN: [&str; 6] = [PROVIDER_KEY, ENVIRONMENT, CONFIG, TOOL, SSH_KEY, OTHER_TASK];

/// Contents of all files beneath a folder, by path; links as where they lead.
pub(crate) fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        // The log of the server moves on while this looks; what is gone is not there.
        for entry in std::fs::read_dir(&next).into_iter().flatten().flatten() {
            let path = entry.path();
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_symlink() {
                let to = std::fs::read_link(&path).unwrap_or_default();
                found.insert(path, to.into_os_string().into_encoded_bytes());
            } else if kind.is_file() {
                let bytes = std::fs::read(&path).unwrap_or_default();
                found.insert(path, bytes);
            }
        }
    }
    found
}

/// Whether bytes contain a text.
pub(crate) fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}
