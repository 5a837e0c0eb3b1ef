//! All integration tests of the store in one binary.
mod sqlite_file;
mod sqlite_memory;
