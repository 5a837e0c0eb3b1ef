//! Tests of the script format, the simulated provider, and the HTTP server on real sockets.
mod binary;
mod client;
mod faults;
mod format;
mod playing;
mod served;
mod validation;
