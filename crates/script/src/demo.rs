//! The built-in script: enough to see planning, parallel work and joining without a model. Its texts say that they are scripted.
use crate::script::Script;

const DEMO: &str = include_str!("demo.yml");

impl Script {
    /// The built-in script, for demonstrations and smoke tests: plans with `submit_plan`, ends trivial tasks with `answer`, votes with `cast_vote`,
    /// and answers everything else in one text that names the step.
    pub fn demo() -> Self {
        Self::parse(DEMO).expect("the built-in script is checked by a test")
    }
}
