//! A server on a free port, and how to talk to it.
use std::sync::Arc;

use maos_api::system::{ConfigEntry, ConfigView};
use maos_api::words::ConfigOrigin;
use maos_api::{Client, ClientOptions};
use maos_server::config::FixedConfig;
use maos_server::{AuthOptions, LogBuffer, ServeOptions, ServerHandle, serve};
use reqwest::Method;
use serde_json::Value;

use crate::fake::Fake;

pub(crate) struct Server {
    pub(crate) handle: ServerHandle,
    pub(crate) fake: Arc<Fake>,
    pub(crate) logs: LogBuffer,
    pub(crate) http: reqwest::Client,
    pub(crate) url: String,
}

pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }
    pub(crate) fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or("")
    }
}

pub(crate) fn http() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap()
}

fn config() -> FixedConfig {
    let entry = ConfigEntry {
        object: "config_entry".into(),
        key: "system.max_agents".into(),
        value: 20.into(),
        default: 20.into(),
        origin: ConfigOrigin::Default,
        kind: "integer".into(),
        description: "Most agents at once.".into(),
        secret: false,
        restart_needed: false,
        writable: false,
    };
    FixedConfig(ConfigView { object: "config".into(), path: None, revision: "c1".into(), entries: vec![entry] })
}

pub(crate) async fn start_with(auth: AuthOptions) -> Server {
    let (fake, logs) = (Arc::new(Fake::new()), LogBuffer::default());
    let options = ServeOptions { api_port: 0, dashboard_port: 0, auth, ..ServeOptions::default() };
    let handle = serve(options, fake.clone(), Arc::new(config()), logs.clone()).await.unwrap();
    let url = format!("http://{}", handle.api_addresses[0]);
    Server { handle, fake, logs, http: http(), url }
}

pub(crate) async fn start() -> Server {
    start_with(AuthOptions::default()).await
}

impl Server {
    pub(crate) fn client(&self) -> Client {
        Client::new(ClientOptions { base_url: self.url.clone(), ..ClientOptions::default() }).unwrap()
    }
    pub(crate) fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        self.http.request(Method::from_bytes(method.as_bytes()).unwrap(), format!("{}{path}", self.url))
    }
    pub(crate) async fn get(&self, path: &str) -> Reply {
        send(self.request("GET", path)).await
    }
    /// Sends these bytes and reads the head and body of the answer, up to the length it says.
    pub(crate) async fn raw(&self, text: &str) -> Reply {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut socket = tokio::net::TcpStream::connect(self.handle.api_addresses[0]).await.unwrap();
        socket.write_all(text.as_bytes()).await.unwrap();
        let (mut got, mut chunk) = (Vec::new(), [0_u8; 4096]);
        loop {
            let n = socket.read(&mut chunk).await.unwrap();
            got.extend_from_slice(&chunk[..n]);
            let all = String::from_utf8_lossy(&got).into_owned();
            let Some((head, body)) = all.split_once("\r\n\r\n") else {
                assert!(n > 0, "the answer broke off: {all}");
                continue;
            };
            let mut lines = head.lines();
            let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
            let headers: reqwest::header::HeaderMap = lines
                .filter_map(|l| l.split_once(": "))
                .map(|(n, v)| (reqwest::header::HeaderName::from_bytes(n.as_bytes()).unwrap(), v.parse().unwrap()))
                .collect();
            let length: usize = headers["content-length"].to_str().unwrap().parse().unwrap();
            if body.len() >= length {
                return Reply { status, headers, body: serde_json::from_str(body).unwrap() };
            }
            assert!(n > 0, "the answer broke off: {all}");
        }
    }
    pub(crate) async fn post(&self, path: &str, body: Value) -> Reply {
        send(self.request("POST", path).json(&body)).await
    }
}

pub(crate) async fn send(request: reqwest::RequestBuilder) -> Reply {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let bytes = response.bytes().await.unwrap();
    Reply {
        status,
        headers,
        body: serde_json::from_slice(&bytes).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned())),
    }
}
