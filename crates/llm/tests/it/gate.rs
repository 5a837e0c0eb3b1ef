//! The rate gate, in a paused clock: all times here are virtual.
use std::sync::{Arc, Mutex};

use maos_engine::message::{CallError, FailureClass, Reply, StopReason, Usage};
use maos_llm::{Answer, Bucket, Gate, Limits, Need, RateOptions};
use tokio::{
    task::JoinSet,
    time::{Duration, Instant},
};

fn failed(class: FailureClass, retry_after_ms: Option<u64>) -> Result<Answer, CallError> {
    Err(CallError { class, message: "x".into(), retry_after_ms, status: None, possibly_billed: false })
}

fn answered(usage: Usage, limits: Option<Limits>) -> Result<Answer, CallError> {
    let reply = Reply { model: "m".into(), content: vec![], stop: StopReason::EndTurn, usage, request_id: None };
    Ok(Answer { reply, limits })
}

fn fine() -> Result<Answer, CallError> {
    answered(Usage::default(), None)
}

fn gate(rates: RateOptions) -> Arc<Gate> {
    Gate::new("p/m", rates)
}

const NEED: Need = Need { input_tokens: 10, output_tokens: 10 };

/// Who left, and when (in ms).
type Left = Arc<Mutex<Vec<(usize, u64)>>>;

/// Starts callers that leave through the gate, in order, and notes when (in ms from now) each left.
fn callers(gate: &Arc<Gate>, n: usize) -> (JoinSet<()>, Left) {
    let start = Instant::now();
    let left = Arc::new(Mutex::new(Vec::new()));
    let mut set = JoinSet::new();
    for i in 0..n {
        let (gate, left) = (Arc::clone(gate), Arc::clone(&left));
        set.spawn(async move {
            let permit = gate.enter(NEED).await.expect("the gate opens");
            left.lock().expect("not poisoned").push((i, start.elapsed().as_millis() as u64));
            permit.settle(&fine());
        });
    }
    (set, left)
}

async fn all(mut set: JoinSet<()>) {
    while let Some(done) = set.join_next().await {
        done.expect("no panic");
    }
}

#[tokio::test(start_paused = true)]
async fn without_limits_nobody_waits() {
    let gate = gate(RateOptions::default());
    let (set, left) = callers(&gate, 10_000);
    all(set).await;
    assert!(left.lock().expect("not poisoned").iter().all(|(_, at)| *at == 0));
    assert_eq!((gate.view().in_flight, gate.view().waiting), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_429_closes_the_gate_for_all_and_no_herd_follows() {
    let gate = gate(RateOptions::default());
    let first = gate.enter(NEED).await.expect("open");
    first.settle(&failed(FailureClass::RateLimited, Some(5_000)));
    let (set, left) = callers(&gate, 500);
    all(set).await;
    let left = left.lock().expect("not poisoned");
    let times: Vec<u64> = left.iter().map(|(_, at)| *at).collect();
    let opened = times[0];
    assert!((5_000..=5_500).contains(&opened), "not before its time, and jitter is bounded: {opened}");
    assert!(times.iter().filter(|t| **t < opened + 100).count() <= 2, "{:?}", &times[..8]);
    assert!(times.iter().filter(|t| **t < opened + 200).count() <= 6, "{:?}", &times[..8]);
    assert!(times[499] <= opened + 1_100, "the ramp ends: {}", times[499]);
    assert!(left.iter().map(|(i, _)| *i).eq(0..500), "first come, first served");
}

#[tokio::test(start_paused = true)]
async fn a_429_without_a_time_closes_for_longer_each_time() {
    let gate = gate(RateOptions::default());
    let mut waits = Vec::new();
    for _ in 0..4 {
        let permit = gate.enter(NEED).await.expect("open");
        permit.settle(&failed(FailureClass::RateLimited, None));
        waits.push(gate.view().closed_ms.expect("closed"));
    }
    for (i, wait) in waits.iter().enumerate() {
        let full = 1_000 << i;
        assert!((full / 2 - 1..=full).contains(wait), "{waits:?}");
    }
    let permit = gate.enter(NEED).await.expect("open");
    permit.settle(&fine());
    let permit = gate.enter(NEED).await.expect("open");
    permit.settle(&failed(FailureClass::RateLimited, None));
    assert!(gate.view().closed_ms.is_some_and(|ms| ms <= 1_000), "an answer forgives");
}

#[tokio::test(start_paused = true)]
async fn configured_limits_pace_the_calls() {
    let gate = gate(RateOptions { requests_per_minute: Some(60), ..RateOptions::default() });
    let (set, left) = callers(&gate, 70);
    all(set).await;
    let times: Vec<u64> = left.lock().expect("not poisoned").iter().map(|(_, at)| *at).collect();
    assert_eq!(times.iter().filter(|t| **t == 0).count(), 60, "a full bucket");
    for (i, at) in times[60..].iter().enumerate() {
        let due = (i as u64 + 1) * 1_000;
        assert!((due..due + 50).contains(at), "one a second: {at}, due {due}");
    }
}

#[tokio::test(start_paused = true)]
async fn input_tokens_are_paced_and_a_giant_still_passes() {
    let gate = gate(RateOptions { input_tokens_per_minute: Some(600), ..RateOptions::default() });
    let start = Instant::now();
    let giant = Need { input_tokens: 1_000_000, output_tokens: 0 };
    let used = Usage { input_tokens: 600, ..Usage::default() };
    gate.enter(giant).await.expect("a full bucket is enough").settle(&answered(used, None));
    gate.enter(giant).await.expect("and again when it is full").settle(&answered(used, None));
    assert!((60_000..60_100).contains(&(start.elapsed().as_millis() as u64)), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn estimates_are_corrected_by_what_was_used() {
    let gate = gate(RateOptions { output_tokens_per_minute: Some(1_000), ..RateOptions::default() });
    let need = Need { input_tokens: 0, output_tokens: 500 };
    let permit = gate.enter(need).await.expect("open");
    permit.settle(&answered(Usage { output_tokens: 20, ..Usage::default() }, None));
    assert_eq!(gate.view().limits.output_tokens.map(|b| b.remaining), Some(980));
    let permit = gate.enter(need).await.expect("open");
    permit.settle(&answered(Usage { output_tokens: 900, ..Usage::default() }, None));
    assert_eq!(gate.view().limits.output_tokens.map(|b| b.remaining), Some(80));
}

#[tokio::test(start_paused = true)]
async fn the_providers_word_teaches_the_gate() {
    let gate = gate(RateOptions::default());
    let said = |remaining| Limits { requests: Some(Bucket { limit: 60, remaining, reset_ms: None }), ..Limits::default() };
    let permit = gate.enter(NEED).await.expect("open");
    permit.settle(&answered(Usage::default(), Some(said(2))));
    let (set, left) = callers(&gate, 4);
    all(set).await;
    let times: Vec<u64> = left.lock().expect("not poisoned").iter().map(|(_, at)| *at).collect();
    assert_eq!(times[..2], [0, 0]);
    assert!(times[2] >= 1_000 && times[3] >= 2_000, "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn who_stops_waiting_leaves_no_trace() {
    let gate = gate(RateOptions { requests_per_minute: Some(60), ..RateOptions::default() });
    for _ in 0..60 {
        gate.enter(NEED).await.expect("a full bucket").settle(&fine());
    }
    let mut gone = JoinSet::new();
    for _ in 0..10 {
        let gate = Arc::clone(&gate);
        gone.spawn(async move { gate.enter(NEED).await.map(drop) });
    }
    while gate.view().waiting < 10 {
        tokio::task::yield_now().await;
    }
    let (set, left) = callers(&gate, 1);
    while gate.view().waiting < 11 {
        tokio::task::yield_now().await;
    }
    gone.abort_all();
    while gone.join_next().await.is_some() {}
    all(set).await;
    let at = left.lock().expect("not poisoned")[0].1;
    assert!((1_000..1_100).contains(&at), "those who left took nothing: {at}");
    assert_eq!((gate.view().waiting, gate.view().in_flight), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn the_circuit_opens_probes_and_closes() {
    let gate = gate(RateOptions::default());
    // 10 good and 9 bad ones: still closed.
    for _ in 0..10 {
        gate.enter(NEED).await.expect("open").settle(&fine());
    }
    for _ in 0..9 {
        gate.enter(NEED).await.expect("open").settle(&failed(FailureClass::Overloaded, None));
        assert!(!gate.view().circuit_open);
    }
    gate.enter(NEED).await.expect("open").settle(&failed(FailureClass::Stalled, None));
    assert!(gate.view().circuit_open, "half of the last 20");

    // One probe leaves after the pause; the others wait for its end.
    let start = Instant::now();
    let probe = gate.enter(NEED).await.expect("a probe");
    let waited = start.elapsed();
    assert!(waited >= Duration::from_millis(250) && waited <= Duration::from_millis(502), "{waited:?}");
    let (set, left) = callers(&gate, 20);
    while gate.view().waiting < 20 {
        tokio::task::yield_now().await;
    }
    probe.settle(&fine());
    all(set).await;
    assert!(!gate.view().circuit_open);
    let first = left.lock().expect("not poisoned")[0].1;
    assert!(left.lock().unwrap().iter().filter(|(_, at)| *at < first + 100).count() <= 2, "no herd after a probe");
}

#[tokio::test(start_paused = true)]
async fn a_failed_probe_sends_all_waiting_callers_away() {
    let gate = gate(RateOptions::default());
    for _ in 0..10 {
        gate.enter(NEED).await.expect("open").settle(&failed(FailureClass::Unreachable, None));
    }
    let probe = gate.enter(NEED).await.expect("a probe");
    let mut set = JoinSet::new();
    for _ in 0..50 {
        let gate = Arc::clone(&gate);
        set.spawn(async move { gate.enter(NEED).await.map(drop) });
    }
    while gate.view().waiting < 50 {
        tokio::task::yield_now().await;
    }
    probe.settle(&failed(FailureClass::Unreachable, None));
    while let Some(done) = set.join_next().await {
        let error = done.expect("no panic").expect_err("sent away");
        assert_eq!((error.class, error.possibly_billed), (FailureClass::Unreachable, false));
        assert!(error.retry_after_ms.is_some_and(|ms| ms <= 1_000) && error.message.contains("p/m"), "{error:?}");
    }
    // A probe that is cancelled gives its place to the next.
    drop(gate.enter(NEED).await.expect("a probe"));
    gate.enter(NEED).await.expect("the next probe").settle(&fine());
    assert!(!gate.view().circuit_open);
}

#[tokio::test(start_paused = true)]
async fn refusals_do_not_open_the_circuit() {
    let gate = gate(RateOptions::default());
    for class in [FailureClass::BadRequest, FailureClass::Auth, FailureClass::Truncated, FailureClass::Billing] {
        for _ in 0..20 {
            gate.enter(NEED).await.expect("open").settle(&failed(class, None));
        }
    }
    assert!(!gate.view().circuit_open);
}
