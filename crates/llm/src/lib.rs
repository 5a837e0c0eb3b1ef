//! maos-llm
