//! The typed client against the real server, and against things that are not one.
use maos_api::query::{AgentQuery, OutputQuery, TaskQuery};
use maos_api::{Client, ClientError, ClientOptions, Priority, ProblemCode, TaskPatch, TaskSubmit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::start;

fn client(url: &str) -> Client {
    Client::new(ClientOptions { base_url: url.into(), request_timeout_ms: 300, ..ClientOptions::default() }).unwrap()
}

#[tokio::test]
async fn every_call_reads_what_the_server_answers() {
    let server = start().await;
    let c = server.client();
    let task = c
        .submit_task(
            &TaskSubmit { description: "x".into(), timeout: Some(60), max_cost: Some("2.5".parse().unwrap()), ..TaskSubmit::default() },
            None,
        )
        .await
        .unwrap();
    let id = task.task_id.as_str();
    assert_eq!(task.max_cost.unwrap().to_string(), "2.500000");
    assert_eq!(c.task(id).await.unwrap(), task);
    assert_eq!(c.tasks(&TaskQuery { include_total: true, ..TaskQuery::default() }).await.unwrap().total, Some(1));
    let patched = c
        .update_task(id, &TaskPatch { priority: Some(Priority::High), timeout: Some(None), ..TaskPatch::default() }, Some(task.revision))
        .await
        .unwrap();
    assert_eq!((patched.priority, patched.timeout), (Priority::High, None));
    assert_eq!(
        c.update_task(id, &TaskPatch { priority: Some(Priority::Low), ..TaskPatch::default() }, Some(0)).await.unwrap_err().exit_code(),
        5
    );
    c.pause_task(id).await.unwrap();
    c.resume_task(id).await.unwrap();
    c.results(id, None).await.unwrap();
    c.plan(id).await.unwrap();
    c.analysis(id).await.unwrap();
    c.usage(id).await.unwrap();
    c.task_agents(id).await.unwrap();
    c.state(id).await.unwrap();
    c.messages(id).await.unwrap();
    c.output(id, &OutputQuery::default()).await.unwrap();
    c.cancel_task(id).await.unwrap();
    c.retry_task(id).await.unwrap();
    c.agents(&AgentQuery::default()).await.unwrap();
    assert_eq!(c.agent("agent_x_001").await.unwrap_err().problem().unwrap().code, ProblemCode::AgentNotFound);
    c.agent_types().await.unwrap();
    c.status().await.unwrap();
    c.health(None).await.unwrap();
    c.health(Some("database")).await.unwrap();
    assert_eq!(c.health(Some("nope")).await.unwrap_err().exit_code(), 3);
    c.version().await.unwrap();
    c.models().await.unwrap();
    let config = c.config().await.unwrap();
    c.config_key("system.max_agents").await.unwrap();
    assert_eq!(c.set_config_key("system.max_agents", 3.into(), &config.revision).await.unwrap_err().exit_code(), 4);
    assert_eq!(c.problems().await.unwrap().data.len(), ProblemCode::ALL.len());
    c.openapi().await.unwrap();
    c.live().await.unwrap();
    c.ready().await.unwrap();
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_and_makes_one_task() {
    let server = start().await;
    server.fake.state().refuse = Some(ProblemCode::NotReady);
    let task = server.client().submit_task(&TaskSubmit { description: "x".into(), ..TaskSubmit::default() }, Some("k")).await.unwrap();
    let again = server.client().submit_task(&TaskSubmit { description: "x".into(), ..TaskSubmit::default() }, Some("k")).await.unwrap();
    assert_eq!((task.task_id, server.fake.state().made), (again.task_id, 1));
}

/// Answers every connection with these bytes.
async fn stranger(bytes: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut peer, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                while !bytes.is_empty() && peer.read(&mut buffer).await.is_ok_and(|n| n > 0) {
                    if peer.write_all(bytes).await.is_err() {
                        return;
                    }
                }
                std::future::pending::<()>().await;
            });
        }
    });
    format!("http://{address}")
}

#[tokio::test]
async fn refused_silent_foreign_and_unknown_hosts_are_told_apart() {
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let error = client(&closed).status().await.unwrap_err();
    assert_eq!(
        (error.to_string(), error.exit_code(), error.hint()),
        (format!("MAOS is not running at {closed}"), 7, "maos start".to_owned())
    );
    let silent = stranger(b"").await;
    assert!(matches!(client(&silent).status().await, Err(ClientError::Timeout { .. })));
    let nginx = stranger(b"HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Length: 2\r\n\r\n{}").await;
    assert!(matches!(client(&nginx).status().await, Err(ClientError::NotMaos { what, .. }) if what == "HTTP 200, Server: nginx"));
    let ssh = stranger(b"SSH-2.0-OpenSSH_9.2\r\n").await;
    assert!(matches!(client(&ssh).status().await, Err(ClientError::NotMaos { .. })));
    let other_version = stranger(b"HTTP/1.1 200 OK\r\nServer: maos/99\r\nContent-Length: 2\r\n\r\n{}").await;
    assert!(matches!(client(&other_version).status().await, Err(ClientError::Incompatible { .. })));
    let dns = client("http://no-such-host.invalid:1").status().await.unwrap_err();
    assert!(matches!(dns, ClientError::Dns { .. }), "{dns:?}");
    let tls = client(&nginx.replace("http:", "https:")).status().await.unwrap_err();
    assert!(matches!(tls, ClientError::Tls { .. }), "{tls:?}");
    for bad in ["localhost:8000", "ftp://localhost", "", "http://"] {
        assert!(
            matches!(Client::new(ClientOptions { base_url: bad.into(), ..ClientOptions::default() }), Err(ClientError::BadUrl { .. })),
            "{bad}"
        );
    }
}
