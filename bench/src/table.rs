//! What was measured, as a table. Invariant: a row says what it is, what is due and what was seen; nothing is rounded in our favour.

/// One line of the table.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    /// What.
    pub(crate) what: String,
    /// Target.
    pub(crate) target: String,
    /// Measured.
    pub(crate) measured: String,
    /// Ratios.
    pub(crate) ratio: String,
    /// Whether the target is reached.
    pub(crate) ok: bool,
}

impl Line {
    /// A line with a target.
    pub(crate) fn new(what: impl Into<String>, target: impl Into<String>, measured: impl Into<String>, ok: bool) -> Self {
        Self { what: what.into(), target: target.into(), measured: measured.into(), ratio: String::new(), ok }
    }

    /// Adds the ratios.
    pub(crate) fn ratio(mut self, ratio: impl Into<String>) -> Self {
        self.ratio = ratio.into();
        self
    }

    /// As a row of a Markdown table.
    pub(crate) fn markdown(&self) -> String {
        let ok = if self.ok { "ok" } else { "NOT" };
        format!("| {} | {} | {} | {} | {ok} |", self.what, self.target, self.measured, self.ratio)
    }
}

/// The head of the table.
pub(crate) const HEAD: &str = "| what | target | measured | ratio | |\n|---|---|---|---|---|";

/// The middle value; 0 of nothing.
pub(crate) fn median(values: &mut [u64]) -> u64 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}
