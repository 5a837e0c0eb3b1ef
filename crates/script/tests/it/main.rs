//! Tests of the script format, the simulated provider, and the HTTP server on real sockets.
mod format;
mod playing;
