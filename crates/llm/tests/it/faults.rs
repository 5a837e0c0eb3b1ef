//! Every way in which a provider or the network between fails, for both wire formats: the class, what is billed, and one request.
use maos_engine::message::{CallError, FailureClass};
use maos_llm::{NoParts, Options, Part, Provider, Timeouts};
use serde_json::json;

use crate::support::{
    Act, Kept, Server, answer, call, call_claude, call_openai, chosen, claude, claude_events, claude_options, events, fast, ok_stream,
    openai, openai_options, openai_stream, patient, piece, request, stream_head,
};

const BOTH: [Provider; 2] = [Provider::Claude, Provider::OpenAi];

/// A good stream of this provider.
fn good(provider: Provider) -> String {
    match provider {
        Provider::Claude => events(&claude_events("fine")),
        Provider::OpenAi => openai_stream(&[
            json!({"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"role": "assistant", "content": "fine"}}]}),
            json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}),
            json!({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}),
        ]),
        Provider::Local | Provider::Scripted => panic!("not over this server"),
    }
}

async fn fails(provider: Provider, acts: Vec<Act>, timeouts: Timeouts) -> CallError {
    let server = Server::always(acts).await;
    let error = call(provider, &server, timeouts).await.expect_err("must fail");
    assert_eq!(server.received().len(), 1, "one request and no more: {error}");
    error
}

#[tokio::test]
async fn the_good_streams_are_good() {
    for provider in BOTH {
        let server = Server::stream(good(provider)).await;
        assert_eq!(call(provider, &server, patient()).await.expect("an answer").reply.text(), "fine");
    }
}

#[tokio::test]
async fn rate_limits_say_when_to_come_back() {
    for provider in BOTH {
        for (headers, want) in [
            (&[("retry-after", "7")][..], Some(7_000)),
            (&[("retry-after-ms", "250")], Some(250)),
            (&[("retry-after", "Wed, 21 Oct 2015 07:28:09 GMT"), ("date", "Wed, 21 Oct 2015 07:28:00 GMT")], Some(9_000)),
            (&[], None),
        ] {
            let body = br#"{"type":"error","error":{"type":"rate_limit_error","message":"slow down"}}"#;
            let error = fails(provider, vec![Act::Send(answer(429, headers, body))], patient()).await;
            assert_eq!((error.class, error.retry_after_ms, error.status), (FailureClass::RateLimited, want, Some(429)));
            assert!(!error.possibly_billed);
        }
    }
}

#[tokio::test]
async fn statuses_have_their_classes() {
    use FailureClass::{Auth, BadRequest, Billing, Fatal, Overloaded};
    for provider in BOTH {
        for (status, want, billed) in [
            (400, BadRequest, false),
            (401, Auth, false),
            (402, Billing, false),
            (403, Auth, false),
            (404, Fatal, false),
            (413, BadRequest, false),
            (422, BadRequest, false),
            (500, Overloaded, false),
            (502, Overloaded, true),
            (503, Overloaded, false),
            (504, Overloaded, true),
            (529, Overloaded, false),
            (301, Fatal, false),
        ] {
            let head = [("location", "http://127.0.0.1:9/elsewhere")];
            let error = fails(provider, vec![Act::Send(answer(status, &head, b"<html>no</html>"))], patient()).await;
            assert_eq!((error.class, error.possibly_billed, error.status), (want, billed, Some(status)), "{provider} {error}");
        }
    }
}

#[tokio::test]
async fn a_retired_model_and_a_spent_account_are_told_apart() {
    let body = |kind: &str, message: &str| json!({"type": "error", "error": {"type": kind, "message": message}}).to_string();
    for (status, body, want) in [
        (404, body("not_found_error", "model: claude-3-sonnet-20240229"), FailureClass::ModelGone),
        (429, body("rate_limit_error", "enforced_spend_limit_reached"), FailureClass::Billing),
        (400, body("invalid_request_error", "Your credit balance is too low"), FailureClass::Billing),
        (400, body("invalid_request_error", "prompt is too long: 9 tokens > 8 maximum"), FailureClass::ContextExceeded),
    ] {
        let error = fails(Provider::Claude, vec![Act::Send(answer(status, &[], body.as_bytes()))], patient()).await;
        assert_eq!(error.class, want, "{error}");
    }
}

#[tokio::test]
async fn an_unreachable_server_costs_nothing() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let server = Server::always(vec![Act::Close]).await;
    for url in [format!("http://127.0.0.1:{port}"), format!("https://{}", server.addr)] {
        for options in [claude_options(&url, patient()), openai_options(&url, patient())] {
            let (_models, chosen) = chosen(options);
            let error = chosen.model.call(&request(&chosen), &NoParts).await.expect_err("must fail");
            assert_eq!((error.class, error.possibly_billed), (FailureClass::Unreachable, false), "{url}: {error}");
            assert!(error.message.contains("127.0.0.1"), "{error}");
            assert_eq!(chosen.model.check().await.expect_err("must fail").class, FailureClass::Unreachable);
        }
    }
}

#[tokio::test]
async fn a_connection_lost_before_the_header_may_have_been_billed() {
    for provider in BOTH {
        for act in [Act::Close, Act::Reset] {
            let error = fails(provider, vec![act], patient()).await;
            assert_eq!((error.class, error.possibly_billed), (FailureClass::Unreachable, true), "{error}");
        }
    }
}

#[tokio::test]
async fn silence_is_noticed_wherever_it_falls() {
    for provider in BOTH {
        let body = good(provider);
        let half = &body.as_bytes()[..body.len() / 2];
        for acts in [
            vec![Act::Silence],
            vec![Act::Send(b"HTTP/1.1 200".to_vec()), Act::Silence],
            vec![Act::Send(stream_head(&[])), Act::Silence],
            vec![Act::Send([stream_head(&[]), piece(half)].concat()), Act::Silence],
        ] {
            let error = fails(provider, acts, fast()).await;
            assert_eq!((error.class, error.possibly_billed), (FailureClass::Stalled, true), "{provider}: {error}");
        }
    }
}

#[tokio::test]
async fn a_drip_without_end_meets_the_hard_limit() {
    let timeouts = Timeouts { call_ms: 150, first_byte_ms: 60_000, idle_ms: 60_000, reply_bytes_max: usize::MAX, ..fast() };
    for provider in BOTH {
        let ping = piece(b": still here\n\n");
        let error = fails(provider, vec![Act::Send(stream_head(&[])), Act::Flood(ping)], timeouts).await;
        assert_eq!((error.class, error.possibly_billed), (FailureClass::Stalled, true), "{error}");
    }
}

#[tokio::test]
async fn a_truncated_stream_is_never_an_answer() {
    for provider in BOTH {
        let body = good(provider);
        let stop = body.find(if provider == Provider::Claude { "stop_reason" } else { "\"stop\"" }).expect("a stop reason");
        // Cut at many places before the stop reason: with a proper end, a missing end, and a reset.
        for at in (0..stop).step_by(37) {
            let start = [stream_head(&[]), piece(&body.as_bytes()[..at.max(1)])].concat();
            for acts in [
                vec![Act::Send([start.clone(), b"0\r\n\r\n".to_vec()].concat())],
                vec![Act::Send(start.clone()), Act::Close],
                vec![Act::Send(start.clone()), Act::Reset],
            ] {
                let error = fails(provider, acts, patient()).await;
                // A reset may also overtake the head of the answer.
                let expected = matches!(error.class, FailureClass::Truncated | FailureClass::Unreachable);
                assert!(expected && error.possibly_billed, "{provider} cut at {at}: {error}");
            }
        }
    }
}

#[tokio::test]
async fn what_was_said_to_the_end_is_kept_even_if_the_line_breaks_after_it() {
    for provider in BOTH {
        let body = good(provider);
        let last_words = if provider == Provider::Claude { "event: message_stop" } else { "data: [DONE]" };
        let at = body.find(last_words).expect("last words");
        let acts = vec![Act::Send([stream_head(&[]), piece(&body.as_bytes()[..at])].concat()), Act::Close];
        let server = Server::always(acts).await;
        assert_eq!(call(provider, &server, patient()).await.expect("an answer").reply.text(), "fine", "{provider}");
    }
}

#[tokio::test]
async fn an_open_block_is_not_an_answer() {
    let mut list = claude_events("fine");
    list.remove(4);
    let error = fails(Provider::Claude, vec![Act::Send(ok_stream(events(&list).as_bytes()))], patient()).await;
    assert_eq!((error.class, error.possibly_billed), (FailureClass::Truncated, true), "{error}");
}

#[tokio::test]
async fn an_error_inside_a_good_stream() {
    for (kind, want) in [
        ("overloaded_error", FailureClass::Overloaded),
        ("rate_limit_error", FailureClass::RateLimited),
        ("api_error", FailureClass::Overloaded),
        ("invalid_request_error", FailureClass::BadRequest),
        ("brand_new_error", FailureClass::Overloaded),
    ] {
        let mut list = claude_events("fine");
        list.truncate(4);
        list.push(json!({"type": "error", "error": {"type": kind, "message": "sorry"}}));
        let error = fails(Provider::Claude, vec![Act::Send(ok_stream(events(&list).as_bytes()))], patient()).await;
        assert_eq!((error.class, error.possibly_billed, error.status), (want, true, Some(200)), "{error}");
    }
    for (body, want) in [
        ("data: {\"error\":{\"message\":\"x\",\"code\":500}}\n\n", FailureClass::Overloaded),
        ("error: {\"error\":{\"message\":\"Loading model\",\"code\":503}}\n\n", FailureClass::Overloaded),
        ("data: {\"error\":\"context length: exceeds the available context size\"}\n\n", FailureClass::ContextExceeded),
        ("data: {\"error\":{\"code\":\"rate_limit_exceeded\"}}\n\n", FailureClass::RateLimited),
    ] {
        let error = fails(Provider::OpenAi, vec![Act::Send(ok_stream(body.as_bytes()))], patient()).await;
        assert_eq!((error.class, error.possibly_billed), (want, true), "{error}");
    }
}

#[tokio::test]
async fn pings_alone_are_no_answer() {
    let pings = events(&vec![json!({"type": "ping"}); 50]);
    let error = fails(Provider::Claude, vec![Act::Send(ok_stream(pings.as_bytes()))], patient()).await;
    assert_eq!(error.class, FailureClass::Truncated, "{error}");
    let error = fails(Provider::OpenAi, vec![Act::Send(ok_stream(b": ping\n\n: ping\n\n"))], patient()).await;
    assert_eq!(error.class, FailureClass::Truncated, "{error}");
}

#[tokio::test]
async fn garbled_events_end_the_attempt() {
    let cases: [(Provider, &[&[u8]]); 2] = [
        (Provider::Claude, &[b"data: {\"type\":\n\n", b"data: {\"type\":\"ping\xff\xfe\"}\n\n", b"data: []\n\n", b"data: <html>\n\n"]),
        (
            Provider::OpenAi,
            &[
                b"data: {\"choices\":\n\n",
                b"data: {\"choices\":[{\"delta\":{\"content\":\"\xff\xfe\"}}]}\n\n",
                b"data: {\"choices\":7}\n\n",
                b"data: <html>\n\n",
            ],
        ),
    ];
    for (provider, all) in cases {
        for garbled in all {
            let body = [garbled, good(provider).as_bytes()].concat();
            let error = fails(provider, vec![Act::Send(ok_stream(&body))], patient()).await;
            assert_eq!((error.class, error.possibly_billed), (FailureClass::Truncated, true), "{provider} {garbled:?}: {error}");
        }
    }
}

#[tokio::test]
async fn an_answer_too_large_is_given_up() {
    let timeouts = Timeouts { reply_bytes_max: 64 << 10, ..patient() };
    for provider in BOTH {
        let error = fails(provider, vec![Act::Send(stream_head(&[])), Act::Flood(piece(&[b'x'; 4_096]))], timeouts).await;
        assert_eq!((error.class, error.possibly_billed), (FailureClass::Truncated, true), "{error}");
        // Also where it is an error that never ends.
        let head = b"HTTP/1.1 500 X\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
        let error = fails(provider, vec![Act::Send(head), Act::Flood(piece(&[b'x'; 4_096]))], timeouts).await;
        assert_eq!(error.class, FailureClass::Overloaded);
        assert!(error.message.len() < 1_000, "{}", error.message.len());
    }
}

#[tokio::test]
async fn a_gzip_bomb_is_given_up() {
    // 32 MiB of zeros, packed twice over in stored blocks would be large; this is one member of long runs, made by hand:
    // a deflate stream of repeated maximal matches.
    let bomb = gzip_of_zeros(32 << 20);
    assert!(bomb.len() < 256 << 10, "{}", bomb.len());
    for provider in BOTH {
        let head = [("content-encoding", "gzip"), ("content-type", "text/event-stream")];
        let error = fails(provider, vec![Act::Send(answer(200, &head, &bomb))], patient()).await;
        assert_eq!((error.class, error.possibly_billed), (FailureClass::Truncated, true), "{error}");
    }
}

/// A gzip file of so many zeros: one fixed-Huffman block of a literal and matches of 258 bytes at distance 1.
fn gzip_of_zeros(bytes: usize) -> Vec<u8> {
    struct Bits {
        out: Vec<u8>,
        acc: u64,
        n: u32,
    }
    impl Bits {
        fn put(&mut self, value: u64, count: u32) {
            self.acc |= value << self.n;
            self.n += count;
            while self.n >= 8 {
                self.out.push(self.acc as u8);
                self.acc >>= 8;
                self.n -= 8;
            }
        }
        /// Huffman codes go in from their highest bit.
        fn code(&mut self, code: u64, count: u32) {
            for i in (0..count).rev() {
                self.put(code >> i & 1, 1);
            }
        }
    }
    let mut bits = Bits { out: vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255], acc: 0, n: 0 };
    bits.put(1, 1);
    bits.put(1, 2);
    bits.code(0x30, 8);
    for _ in 0..(bytes - 1) / 258 {
        bits.code(0b1100_0101, 8);
        bits.code(0, 5);
    }
    bits.code(0, 7);
    bits.put(0, 7);
    // The check sum is wrong; nobody may come so far as to see it.
    bits.out.extend_from_slice(&[0; 8]);
    bits.out
}

#[tokio::test]
async fn a_failed_stream_takes_back_what_it_showed() {
    let mut list = claude_events("fine");
    list.truncate(4);
    let server = Server::stream(events(&list)).await;
    let (_models, chosen) = claude(&server, patient());
    let parts = Kept::default();
    chosen.model.call(&request(&chosen), &parts).await.expect_err("must fail");
    assert_eq!(*parts.0.lock().expect("not poisoned"), [Part::Text("fine".into()), Part::Reset]);
}

#[tokio::test]
async fn dropping_a_call_drops_its_request() {
    let server = Server::always(vec![Act::Send(stream_head(&[])), Act::Silence]).await;
    let (_models, chosen) = openai(&server, patient());
    let asked = request(&chosen);
    {
        let mut running = std::pin::pin!(chosen.call(&asked, &NoParts));
        while server.received().is_empty() {
            tokio::select! {
                biased;
                _ = &mut running => panic!("nothing was answered"),
                () = tokio::task::yield_now() => {}
            }
        }
        assert_eq!(chosen.gate.view().in_flight, 1);
    }
    assert_eq!(chosen.gate.view().in_flight, 0, "the gate has its place back");
}

#[tokio::test]
async fn proxies_and_redirects_never_see_the_key() {
    let elsewhere = Server::always(vec![Act::Send(answer(200, &[], b"{}"))]).await;
    let location = format!("{}/v1/messages", elsewhere.url());
    let server = Server::always(vec![Act::Send(answer(307, &[("location", &location)], b""))]).await;
    let error = call_claude(&server, patient()).await.expect_err("a redirect is not followed");
    assert_eq!((error.class, elsewhere.received().len()), (FailureClass::Fatal, 0));
    let error = call_openai(&server, patient()).await.expect_err("a redirect is not followed");
    assert_eq!((error.class, elsewhere.received().len()), (FailureClass::Fatal, 0));
}

#[tokio::test]
async fn nothing_is_configured() {
    assert!(matches!(maos_llm::connect(Options::default()), Err(maos_llm::ConfigError::NoProvider)));
}
