//! Encrypted requests inside the namespace, against a server with a certificate of its own authority.
use crate::world::{HELPER, HELPER_PORT, enter, listeners::hex};
use maos_egress::{Egress, FetchError, Policy, Request};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A port that no listener of the namespace has.
const PORT: u16 = 8444;

/// Serves `/down` (to http), `/same` (to `/ok`) and everything else, with a certificate for `public.test`.
async fn serve() {
    let made = rcgen::generate_simple_self_signed(["public.test".to_owned()]).unwrap();
    // The certificate is its own authority; the system inside the namespace trusts what is in this file.
    std::fs::write(std::env::var("SSL_CERT_FILE").unwrap(), made.cert.pem()).unwrap();
    let chain = vec![CertificateDer::from(made.cert.der().to_vec())];
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap()));
    let listener = TcpListener::bind(("93.184.216.34", PORT)).await.unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // A client that does not trust us hangs up.
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut seen = vec![];
                while !seen.windows(4).any(|w| w == b"\r\n\r\n") {
                    if stream.read_buf(&mut seen).await.unwrap_or(0) == 0 {
                        return;
                    }
                }
                let head = String::from_utf8(seen).unwrap();
                let reply = match head.split(' ').nth(1).unwrap() {
                    "/down" => "HTTP/1.1 302 Found\r\nlocation: http://public.test/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
                    "/same" => "HTTP/1.1 302 Found\r\nlocation: /ok\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
                    _ => "HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\nsecret",
                };
                stream.write_all(reply.as_bytes()).await.unwrap();
                stream.shutdown().await.unwrap();
            });
        }
    });
}

#[test]
fn https_works_and_is_never_left_for_http() {
    let Some(world) = enter("tls::https_works_and_is_never_left_for_http") else { return };
    let before = world.packets();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        serve().await;
        let allow_private = vec![format!("{HELPER}:{HELPER_PORT}").parse().unwrap()];
        let egress = Egress::new(Policy { extra_ports: [PORT].into(), allow_private, ..Policy::default() }).unwrap();
        let get = |url: String| egress.fetch(Request::get(url));
        assert_eq!(get(format!("https://public.test:{PORT}/ok")).await.unwrap().body, "secret");
        assert_eq!(get(format!("https://public.test:{PORT}/same")).await.unwrap().url.path(), "/ok");
        assert_eq!(egress.client().get(format!("https://public.test:{PORT}/ok")).send().await.unwrap().status(), 200);
        world.visits();
        let down = get(format!("https://public.test:{PORT}/down")).await;
        assert!(matches!(down, Err(FetchError::Redirect { .. })) && world.visits().is_empty(), "{down:?}");
        let up = hex(&format!("https://public.test:{PORT}/ok"));
        assert!(get(format!("http://{HELPER}:{HELPER_PORT}/to/301/{up}")).await.is_ok());
        for (url, why) in
            [(format!("https://93.184.216.34:{PORT}/"), "another name"), (format!("https://api.public.test:{PORT}/"), "another name")]
        {
            let answer = get(url.clone()).await;
            assert!(matches!(answer, Err(FetchError::Transport { .. })), "{url}, {why}: {answer:?}");
        }
    });
    world.nothing_reached(before, "encrypted requests");
}

#[test]
fn a_certificate_nobody_vouches_for_is_refused() {
    let Some(_world) = enter("tls::a_certificate_nobody_vouches_for_is_refused") else { return };
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        // Without the file the built-in authorities are used, and none of them made this certificate.
        let egress = Egress::new(Policy { extra_ports: [PORT].into(), ..Policy::default() }).unwrap();
        serve().await;
        let answer = egress.fetch(Request::get(format!("https://public.test:{PORT}/ok"))).await;
        assert!(matches!(answer, Err(FetchError::Transport { .. })), "{answer:?}");
    });
}
