//! The server as a background process: finding it, starting it, stopping it.
pub(crate) mod config_door;
pub(crate) mod notify;
pub(crate) mod process;
pub(crate) mod run_file;
pub(crate) mod serve;
pub(crate) mod spawn;
