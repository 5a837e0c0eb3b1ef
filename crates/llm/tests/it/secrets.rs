//! The key appears nowhere but in the header that carries it.
use maos_llm::{ClaudeOptions, ConfigError, NoParts, Options, connect};
use serde_json::json;

use crate::support::{
    Act, KEY, Kept, Server, answer, call, chosen, claude_options, events, fast, openai_options, patient, request, stream_head,
};

fn clean(what: &str, text: &str) {
    assert!(!text.contains(KEY), "{what} shows the key: {text}");
}

#[tokio::test]
async fn no_error_shows_the_key() {
    let echo = format!("bad key {KEY} in x-api-key: {KEY}\u{7}\n");
    let typed = json!({"type": "error", "error": {"type": "authentication_error", "message": echo, "code": echo}}).to_string();
    let event = events(&[json!({"type": "error", "error": {"type": echo, "message": echo}})]);
    let mut cases = vec![
        vec![Act::Silence],
        vec![Act::Close],
        vec![Act::Send(stream_head(&[])), Act::Send(crate::support::piece(event.as_bytes())), Act::Close],
        vec![Act::Send(stream_head(&[])), Act::Send(crate::support::piece(format!("data: {echo}\n\n").as_bytes())), Act::Close],
    ];
    for status in [301, 400, 401, 402, 403, 404, 413, 429, 500, 529] {
        cases.push(vec![Act::Send(answer(status, &[("x-echo", KEY)], typed.as_bytes()))]);
        cases.push(vec![Act::Send(answer(status, &[], echo.as_bytes()))]);
    }
    for acts in cases {
        let server = Server::always(acts).await;
        for provider in [maos_llm::Provider::Claude, maos_llm::Provider::OpenAi] {
            let error = call(provider, &server, fast()).await.expect_err("must fail");
            clean("Display", &error.to_string());
            clean("Debug", &format!("{error:?}"));
            clean("the journal", &serde_json::to_string(&error).unwrap());
            assert!(!error.message.contains('\n') && !error.message.contains('\u{7}'), "{:?}", error.message);
        }
    }
}

#[tokio::test]
async fn no_debug_shows_the_key() {
    let url = format!("http://127.0.0.1:1/{KEY}?key={KEY}");
    for options in [claude_options(&url, patient()), openai_options("http://127.0.0.1:1", patient())] {
        let shown = format!("{:?}", options.claude.as_ref().map(|c| &c.api_key));
        clean("SecretString", &shown);
        let (models, chosen) = chosen(options);
        clean("Models", &format!("{models:?} {chosen:?} {:?}", chosen.gate));
        let error = chosen.model.call(&request(&chosen), &NoParts).await.expect_err("nobody is there");
        clean("Unreachable", &format!("{error:?}"));
    }
    let server = Server::always(vec![Act::Send(answer(200, &[], b"{}"))]).await;
    let (_models, chosen) = chosen(claude_options(&server.url(), patient()));
    clean("Description", &format!("{:?}", chosen.model.describe()));
    chosen.model.call(&request(&chosen), &Kept::default()).await.expect_err("not a stream");
    let head = &server.received()[0].head;
    assert_eq!(head.matches(KEY).count(), 1, "once, in its header: {head}");
}

#[tokio::test]
async fn no_configuration_error_shows_the_key() {
    let with = |key: &str, url: &str| Options {
        claude: Some(ClaudeOptions {
            api_key: key.to_owned().into(),
            key_name: "CLAUDE_API_KEY".into(),
            base_url: Some(url.into()),
            model: None,
            bearer: true,
        }),
        ..Options::default()
    };
    let error = connect(with(&format!("{KEY}\nsecond line"), "http://h")).expect_err("a line break in a key");
    assert!(matches!(&error, ConfigError::BadKey { name } if name == "CLAUDE_API_KEY"), "{error}");
    clean("BadKey", &format!("{error} {error:?}"));
    for url in [format!("http://user:{KEY}@host"), format!("ftp://{KEY}/"), format!("not a url {KEY}")] {
        let error = connect(with("k", &url)).expect_err("a bad URL");
        assert!(matches!(&error, ConfigError::BadUrl { .. }), "{error}");
        clean("BadUrl", &format!("{error} {error:?}"));
    }
}
