//! What agents of a task share and write: state, messages, text.
use maos_api::limits::OUTPUT_BYTES_MAX;
use maos_api::query::OutputQuery;
use maos_api::shared::{Message, Output, OutputSection, StateEntry, StateVersion};
use maos_engine::body::{Body, unhex};
use maos_engine::ids::{EffectId, Place};
use maos_engine::message::Reply as ModelReply;
use maos_engine::task::{Run, Task as State};
use maos_runtime::{Runtime, StoreError};

use super::fault::store;
use super::time;
use crate::backend::Reply;

/// The shared state, each key with its history.
pub(super) fn state(state: &State) -> Vec<StateEntry> {
    let entry = |(key, writes): (&String, &Vec<maos_engine::share::Written>)| {
        let version = |(i, w): (usize, &maos_engine::share::Written)| StateVersion {
            version: i as u64 + 1,
            value: w.value.clone(),
            writer: w.by.to_string(),
            updated_at: time(w.at),
        };
        let mut versions: Vec<StateVersion> = writes.iter().enumerate().map(version).collect();
        let last = versions.pop()?;
        versions.reverse();
        Some(StateEntry {
            key: key.clone(),
            value: last.value,
            version: last.version,
            writer: last.writer,
            updated_at: last.updated_at,
            history: versions,
        })
    };
    state.share.state.iter().filter_map(entry).collect()
}

/// The messages, oldest first.
pub(super) fn messages(state: &State) -> Vec<Message> {
    let message = |(i, m): (usize, &maos_engine::share::Mail)| Message {
        number: i as u64 + 1,
        from: m.from.to_string(),
        to: m.to.clone(),
        body: m.body.clone(),
        time: time(m.at),
    };
    state.share.mail.iter().enumerate().map(message).collect()
}

/// The text of each model call, in order of the plan.
pub(super) async fn output(runtime: &Runtime, state: &State, query: &OutputQuery) -> Reply<Output> {
    let steps = state.steps().map(|(s, _)| Place::Step(s.id.clone()));
    let places: Vec<Place> = [Place::Plan].into_iter().chain(steps).chain([Place::Synthesis]).collect();
    let mut sections = Vec::new();
    for place in places {
        let Some(run) = state.runs.get(&place) else { continue };
        let agent = run.agent.as_ref().map(ToString::to_string);
        if query.agent.is_some() && query.agent != agent {
            continue;
        }
        for number in 1..=run.turns.len() {
            let stream = EffectId::model(place.clone(), u32::try_from(number).unwrap_or(u32::MAX)).to_string();
            if query.stream.as_ref().is_some_and(|s| *s != stream) {
                continue;
            }
            let Some((text, complete)) = turn_text(runtime, state, &place, run, number).await? else { continue };
            let step_id = place.step().map(ToString::to_string);
            sections
                .push(cut(OutputSection { stream, agent_id: agent.clone(), step_id, offset: 0, total_bytes: 0, text, complete }, query));
        }
    }
    Ok(Output { object: "output".into(), task_id: state.id.to_string(), sections })
}

/// What one call has said, and whether that is all.
async fn turn_text(runtime: &Runtime, state: &State, place: &Place, run: &Run, number: usize) -> Reply<Option<(String, bool)>> {
    let turn = &run.turns[number - 1];
    if let Some(paid) = &turn.paid {
        let json = match &paid.reply {
            Body::Inline(text) => text.clone(),
            Body::Blob { blob, .. } => {
                let hash =
                    unhex(blob).ok_or_else(|| store(StoreError::Invalid { why: format!("'{blob}' is not the address of a blob") }))?;
                let bytes = runtime.store().get_blob(&hash).await.map_err(store)?.ok_or_else(|| store(StoreError::CorruptBlob { hash }))?;
                String::from_utf8_lossy(&bytes).into_owned()
            }
        };
        let text = serde_json::from_str::<ModelReply>(&json).map(|r| r.text()).unwrap_or_default();
        return Ok(Some((text, true)).filter(|(t, _)| !t.is_empty()));
    }
    let live = turn.open.as_ref().and_then(|_| runtime.live_text(&state.id, place));
    Ok(live.filter(|t| !t.is_empty()).map(|text| (text, false)))
}

/// The part of a section that was asked for, at most [`OUTPUT_BYTES_MAX`], cut between characters.
fn cut(mut section: OutputSection, query: &OutputQuery) -> OutputSection {
    let total = section.text.len();
    let at = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).min(total);
    let mut from = query.offset.map_or(0, at).max(query.tail.map_or(0, |tail| total - at(tail)));
    while !section.text.is_char_boundary(from) {
        from += 1;
    }
    let mut to = total.min(from.saturating_add(at(OUTPUT_BYTES_MAX)));
    while !section.text.is_char_boundary(to) {
        to -= 1;
    }
    section.total_bytes = total as u64;
    section.offset = from as u64;
    section.text = section.text[from..to].to_owned();
    section
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_cut_between_characters() {
        let section = |text: &str| OutputSection {
            stream: "plan/1".into(),
            agent_id: None,
            step_id: None,
            offset: 0,
            total_bytes: 0,
            text: text.into(),
            complete: true,
        };
        let asked = |offset, tail| OutputQuery { offset, tail, ..OutputQuery::default() };
        let got = |q: OutputQuery| {
            let s = cut(section("aé€z"), &q);
            (s.offset, s.total_bytes, s.text)
        };
        assert_eq!(got(asked(None, None)), (0, 7, "aé€z".to_owned()));
        assert_eq!(got(asked(Some(2), None)), (3, 7, "€z".to_owned()));
        assert_eq!(got(asked(Some(99), None)), (7, 7, String::new()));
        assert_eq!(got(asked(None, Some(2))), (6, 7, "z".to_owned()));
        assert_eq!(got(asked(None, Some(0))), (7, 7, String::new()));
        let long = cut(section(&"é".repeat(200_000)), &asked(Some(1), None));
        assert_eq!((long.offset, long.text.len() as u64), (2, OUTPUT_BYTES_MAX));
    }
}
