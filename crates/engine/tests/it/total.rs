//! The fold takes anything: whatever entries come in whatever order, nothing panics, and all views can be computed.
use crate::golden::samples;
use crate::sim::dice::Dice;
use maos_engine::event::Event;
use maos_engine::ids::TaskId;
use maos_engine::plan::Plan;
use maos_engine::task::Task;
use maos_engine::time::Time;
use serde_json::{Value, json};

/// An entry of some kind, somewhere, about some turn.
fn anything(dice: &mut Dice, kinds: &[Value]) -> Event {
    let mut text = dice.pick(kinds).to_string();
    for (from, to) in [
        ("\"s1", dice.pick(&["\"s1", "\"s2", "\"s3"])),
        ("\"s2", dice.pick(&["\"s1", "\"s2", "\"s4"])),
        ("@synthesis", dice.pick(&["@synthesis", "@plan", "s1"])),
        ("@plan", dice.pick(&["@plan", "s2"])),
        ("/t2/", dice.pick(&["/t1/", "/t2/", "/t3/", "/t9/"])),
        ("toolu_01", dice.pick(&["toolu_01", ""])),
        ("COMPLETED", dice.pick(&["COMPLETED", "FAILED"])),
    ] {
        text = text.replace(from, to);
    }
    let mut event: Event = serde_json::from_str(&text).unwrap();
    if let Event::PlanAccepted { plan, .. } = &mut event {
        // Even a plan with a cycle or a step twice, which `Plan::check` refuses.
        let deps = [dice.pick(&["s1", "s2", "s3"]), dice.pick(&["s1", "s4"])];
        let step = |id: &str, deps: &[&str]| json!({"id": id, "instructions": "x", "depends_on": deps});
        let odd = json!({"steps": [step("s1", &[]), step("s2", &deps), step(dice.pick(&["s1", "s3"]), &["s2", "s2"])]});
        **plan = serde_json::from_value::<Plan>(odd).unwrap();
    }
    event
}

#[test]
fn any_entries_in_any_order() {
    let kinds: Vec<Value> = samples().values().map(|e| serde_json::to_value(e).unwrap()).collect();
    for seed in 0..300 {
        let mut dice = Dice::new(seed);
        let mut task = Task::empty(TaskId::new("task_0000000000").unwrap());
        let mut now = 0;
        for _ in 0..100 {
            now += i64::try_from(dice.below(3_000_000)).unwrap() - 1_000_000;
            task.apply(Time(now), &anything(&mut dice, &kinds));
            let _ = (task.pending(), task.summary(), task.analysis(Time(now)), task.take_changed(), task.live_bodies().count());
        }
        let back: Task = serde_json::from_str(&serde_json::to_string(&task).unwrap()).unwrap();
        assert_eq!(back, task, "seed {seed}");
    }
}
