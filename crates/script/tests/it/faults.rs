//! Every fault, seen on the raw socket.
use std::io::ErrorKind;

use serde_json::{Value, json};

use crate::client::{Answer, Client, call, chat, messages, serve};

/// A script of one rule with this fault, and a text in several chunks.
fn script(fault: &str) -> String {
    format!("rules: [{{reply: {{text: 'one two three four', chunk: 4}}, fault: {fault}}}]")
}

async fn stream(fault: &str) -> Answer {
    let running = serve(&script(fault)).await;
    let answer = call(&running, "/v1/messages", &messages(true)).await;
    running.until(|stats| stats.in_flight == 0).await;
    assert_eq!(running.stats().completed, 0, "a call with a fault is never completed");
    answer
}

fn has(answer: &Answer, kind: &str) -> bool {
    answer.events().iter().any(|event| event["type"] == kind)
}

#[tokio::test]
async fn a_status_with_headers_and_its_error() {
    let running = serve(&script("{status: 429, error: {message: slow down}, headers: {retry-after: '7'}}")).await;
    let answer = call(&running, "/v1/messages", &messages(true)).await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("7")));
    let error = &answer.json()["error"];
    assert_eq!((&error["type"], &error["message"]), (&json!("rate_limit_error"), &json!("slow down")));
    let other = call(&running, "/v1/chat/completions", &chat(false)).await.json();
    assert_eq!((&other["error"]["code"], &other["error"]["message"]), (&json!("rate_limit_exceeded"), &json!("slow down")));
    assert_eq!(running.stats().by_status[&429], 2);
}

#[tokio::test]
async fn the_wait_is_told_in_three_forms() {
    let seconds = stream("{status: 429, retry_after: {ms: 1500}}").await;
    assert_eq!(seconds.header("retry-after"), Some("2"));
    let ms = stream("{status: 429, retry_after: {ms: 1500, as: ms}}").await;
    assert_eq!((ms.header("retry-after-ms"), ms.header("retry-after")), (Some("1500"), None));
    let date = stream("{status: 529, retry_after: {ms: 1500, as: date}}").await;
    assert!(date.header("retry-after").expect("a date").ends_with(" GMT"));
}

#[tokio::test]
async fn every_error_status_has_its_type() {
    for (status, kind) in [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (402, "billing_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (413, "request_too_large"),
        (500, "api_error"),
        (503, "api_error"),
        (504, "timeout_error"),
        (529, "overloaded_error"),
    ] {
        let answer = stream(&format!("{{status: {status}}}")).await;
        assert_eq!((answer.status, &answer.json()["error"]["type"]), (status, &json!(kind)));
    }
    let html = stream("{status: 502, body: '<html>Bad Gateway</html>'}").await;
    assert_eq!((html.header("content-type"), html.text()), (Some("text/html"), "<html>Bad Gateway</html>"));
}

#[tokio::test]
async fn a_cut_closes_without_an_end() {
    let answer = stream("{cut: true}").await;
    assert!(!answer.whole && has(&answer, "content_block_stop") && !has(&answer, "message_delta"));
    let early = stream("{cut_after_bytes: 50}").await;
    assert_eq!((early.whole, early.body.len()), (false, 50));
}

#[tokio::test]
async fn an_early_end_is_a_proper_end_without_a_stop() {
    let answer = stream("{end_early: true}").await;
    assert!(answer.whole && has(&answer, "content_block_stop") && !has(&answer, "message_delta"));
}

#[tokio::test]
async fn a_reset_is_a_reset() {
    let running = serve(&script("{reset: true}")).await;
    let mut client = Client::new(&running).await;
    client.send("POST", "/v1/messages", "", &messages(true).to_string()).await;
    let error = client.answer().await.expect_err("no answer");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(!stream("{reset_after_bytes: 120}").await.whole);
}

/// Sends, reads up to `seen`, checks that nothing more comes and the socket is open, and goes.
async fn silent(fault: &str, body: &Value, seen: &str, unseen: &str) {
    let running = serve(&script(fault)).await;
    let mut client = Client::new(&running).await;
    client.send("POST", "/v1/messages", "", &body.to_string()).await;
    running.until(|stats| stats.in_flight == 1).await;
    let text = if seen.is_empty() { String::new() } else { client.until(seen).await };
    assert!(unseen.is_empty() || !text.contains(unseen), "{text}");
    let mut one = [0; 1];
    let nothing = client.stream.try_read(&mut one).expect_err("nothing to read, not closed");
    assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
    assert_eq!(running.stats().in_flight, 1);
    drop(client);
    running.until(|stats| stats.cut == 1 && stats.in_flight == 0).await;
}

#[tokio::test]
async fn stalls_keep_the_socket_open_and_silent() {
    silent("{no_header: true}", &messages(true), "", "").await;
    silent("{stall: true}", &messages(true), "\"one \"", "\"two ").await;
    silent("{stall_after_bytes: 20}", &messages(true), "event: message_start", "message_stop").await;
    silent("{stall: true}", &messages(false), "\"type\":\"message\"", "stop_reason").await;
}

#[tokio::test]
async fn an_error_event_inside_a_200() {
    let answer = stream("{error_event: {type: overloaded_error, message: Overloaded}}").await;
    let events = answer.events();
    let last = events.last().expect("events");
    assert_eq!((answer.status, answer.whole), (200, true));
    assert_eq!((&last["type"], &last["error"]["type"]), (&json!("error"), &json!("overloaded_error")));
    assert!(answer.text().contains("event: error\n") && !has(&answer, "message_stop"));
    let running = serve(&script("{error_event: {}}")).await;
    let chunks = call(&running, "/v1/chat/completions", &chat(true)).await.events();
    assert_eq!(chunks.last().expect("events")["error"]["type"], "server_error");
    let whole = call(&running, "/v1/messages", &messages(false)).await;
    assert_eq!(whole.status, 529, "without a stream the error is a status");
}

#[tokio::test]
async fn a_malformed_piece_among_good_ones() {
    let answer = stream("{malformed: true}").await;
    assert!(has(&answer, "message_stop"));
    assert_eq!(answer.events().iter().filter(|event| event.is_string()).count(), 1);
    let running = serve(&script("{malformed: true}")).await;
    let whole = call(&running, "/v1/messages", &messages(false)).await;
    assert!(whole.whole && serde_json::from_slice::<Value>(&whole.body).is_err());
}

#[tokio::test]
async fn whole_replies_break_too() {
    let running = serve(&script("{cut: true}")).await;
    let answer = call(&running, "/v1/messages", &messages(false)).await;
    assert!(!answer.whole && !answer.body.is_empty());
    let running = serve(&script("{end_early: true}")).await;
    assert_eq!(call(&running, "/v1/messages", &messages(false)).await.json()["stop_reason"], Value::Null);
}

#[tokio::test]
async fn raw_bytes_are_sent_as_they_are() {
    let answer = stream("{raw: {bom: true, crlf: true, lines: ['data: x', ''], hex: '00 ff', pad_bytes: 3}}").await;
    assert_eq!(answer.body, b"\xef\xbb\xbfdata: x\r\n\r\n\x00\xffxxx");
    let plain = stream("{raw: {status: 503, content_type: text/plain, text: gone}}").await;
    assert_eq!((plain.status, plain.header("content-type"), plain.text()), (503, Some("text/plain"), "gone"));
}

#[tokio::test]
async fn a_gzip_bomb_is_small_and_grows() {
    use std::io::Read;
    let answer = stream("{gzip_bomb_mib: 8}").await;
    assert_eq!(answer.header("content-encoding"), Some("gzip"));
    assert!(answer.body.len() < 100_000, "{}", answer.body.len());
    let mut reader = flate2::read::GzDecoder::new(answer.body.as_slice());
    let size = std::io::copy(&mut reader.by_ref(), &mut std::io::sink()).expect("valid gzip");
    assert_eq!(size, 8 << 20);
}

#[tokio::test]
async fn odd_but_good_wires_are_completed() {
    let wire = "{bom: true, crlf: true, split_bytes: 1, pings: 2, unknown_event: true, comments: true, huge_line_bytes: 1000}";
    let running = serve(&format!("rules: [{{reply: {{text: 'häßlich 😀', chunk: 1, wire: {wire}}}}}]")).await;
    let answer = call(&running, "/v1/messages", &messages(true)).await;
    assert!(answer.whole && answer.text().starts_with('\u{feff}'));
    assert!(answer.text().contains("\r\n\r\n") && !answer.text().replace("\r\n", "").contains('\n'));
    assert!(has(&answer, "ping") && has(&answer, "scripted_novelty") && has(&answer, "scripted_padding") && has(&answer, "message_stop"));
    let text: String = answer.events().iter().filter_map(|event| event["delta"]["text"].as_str().map(str::to_owned)).collect();
    assert_eq!(text, "häßlich 😀");
    let chunks = call(&running, "/v1/chat/completions", &chat(true)).await;
    assert!(chunks.whole && chunks.text().contains(": ping"));
    assert_eq!(running.stats().completed, 2);
}

#[tokio::test]
async fn a_drip_arrives_in_pieces() {
    let running = serve("rules: [{drip: 1, reply: {text: 'one two three', chunk: 4}}]").await;
    let answer = call(&running, "/v1/messages", &messages(true)).await;
    let text: String = answer.events().iter().filter_map(|event| event["delta"]["text"].as_str().map(str::to_owned)).collect();
    assert_eq!((answer.whole, text.as_str()), (true, "one two three"));
}

#[tokio::test]
async fn missing_and_negative_usage_go_over_the_wire() {
    let running =
        serve("rules: [{match: {nth: 1}, reply: {text: a, usage: missing}}, {reply: {text: a, usage: {input_tokens: -4}}}]").await;
    let missing = call(&running, "/v1/messages", &messages(true)).await;
    assert!(!missing.text().contains("usage"));
    let negative = call(&running, "/v1/messages", &messages(false)).await.json();
    assert_eq!(negative["usage"]["input_tokens"], -4);
}

#[tokio::test]
async fn odd_stop_reasons_are_said() {
    for (word, finish) in [
        ("refusal", "content_filter"),
        ("max_tokens", "length"),
        ("pause_turn", "stop"),
        ("sudden_idea", "sudden_idea"),
        ("model_context_window_exceeded", "length"),
    ] {
        let running = serve(&format!("rules: [{{reply: {{text: a, stop_reason: {word}}}}}]")).await;
        assert_eq!(call(&running, "/v1/messages", &messages(false)).await.json()["stop_reason"], word);
        assert_eq!(call(&running, "/v1/chat/completions", &chat(false)).await.json()["choices"][0]["finish_reason"], finish);
    }
}

#[tokio::test]
async fn no_content_at_all() {
    let running = serve("rules: [{reply: {}}]").await;
    let message = call(&running, "/v1/messages", &messages(false)).await.json();
    assert_eq!((&message["content"], &message["usage"]["output_tokens"]), (&json!([]), &json!(0)));
    assert!(call(&running, "/v1/messages", &messages(true)).await.whole);
}
