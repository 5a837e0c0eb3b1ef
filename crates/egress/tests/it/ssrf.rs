//! The SSRF battery (every vector at every way out): no packet reaches a forbidden place, counted by nftables and by real listeners;
//! and each control reaches it as soon as the operator allows the very place.
use crate::world::{HELPER, HELPER_PORT, Vector, World, enter, listeners::hex, vectors};
use maos_egress::{Egress, FetchError, HostPattern, Policy, Private, Refusal, Request, Target, proxy};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// Only the test's own server is allowed besides the public internet.
fn guarded() -> Egress {
    let allow_private = vec![format!("{HELPER}:{HELPER_PORT}").parse().unwrap()];
    Egress::new(Policy { allow_private, timeout: Duration::from_secs(10), ..Policy::default() }).unwrap()
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().unwrap().block_on(work)
}

/// Tries every vector in one way; gives how many were tried.
async fn battery(world: &World, way: &str, attempt: impl AsyncFn(Vector) -> Result<(), String>) {
    let before = world.packets();
    let list = vectors();
    for vector in &list {
        let shown = format!("{way}, {}: {:.100}", vector.family, vector.url);
        attempt(vector.clone()).await.unwrap_or_else(|e| panic!("{shown}: {e}"));
        world.nothing_reached(before, &shown);
    }
    println!("{way}: {} vectors, 0 packets", list.len());
}

fn refused<T: std::fmt::Debug>(result: Result<T, FetchError>) -> Result<(), String> {
    match result {
        Err(FetchError::Refused(_) | FetchError::RedirectRefused { .. } | FetchError::Redirect { .. }) => Ok(()),
        other => Err(format!("not refused: {other:?}")),
    }
}

#[test]
fn fetch_reaches_nothing() {
    let Some(world) = enter("ssrf::fetch_reaches_nothing") else { return };
    let egress = guarded();
    block_on(battery(&world, "fetch", async |v| refused(egress.fetch(Request::get(v.url)).await)));
}

#[test]
fn a_redirect_reaches_nothing() {
    let Some(world) = enter("ssrf::a_redirect_reaches_nothing") else { return };
    let egress = guarded();
    let statuses = [301, 302, 303, 307, 308];
    block_on(async {
        for status in statuses {
            let way = format!("redirect {status}");
            battery(&world, &way, async |v| {
                let clipped: String = v.url.chars().take(3_000).collect();
                // These are read relative to the redirecting server, which is the allowed one: nowhere else is reached.
                let relative = maos_egress::Target::parse(&format!("http://{HELPER}:{HELPER_PORT}/"))
                    .unwrap()
                    .url()
                    .join(&clipped)
                    .is_ok_and(|u| u.host_str() == Some(HELPER));
                let answer = egress.fetch(Request::get(format!("http://{HELPER}:{HELPER_PORT}/to/{status}/{}", hex(&clipped)))).await;
                if relative || clipped.contains(['\n', '\r', '\0', '\t']) || clipped.len() == 3_000 { Ok(()) } else { refused(answer) }
            })
            .await;
        }
    });
}

#[test]
fn the_shared_client_reaches_nothing() {
    let Some(world) = enter("ssrf::the_shared_client_reaches_nothing") else { return };
    let client = guarded().client();
    block_on(battery(&world, "client", async |v| {
        let answer = client.post(&v.url).body("hook").send().await;
        // The library repairs some addresses (`http://a@public.test/`); what is left of them is public then.
        match answer {
            Ok(answer) if answer.url().host_str().is_some_and(|h| h.ends_with("public.test")) => Ok(()),
            Ok(answer) => Err(format!("answered: {answer:?}")),
            Err(_) => Ok(()),
        }
    }));
}

#[test]
fn a_judged_connection_reaches_nothing() {
    let Some(world) = enter("ssrf::a_judged_connection_reaches_nothing") else { return };
    let egress = guarded();
    block_on(battery(&world, "connect", async |v| {
        let Ok(target) = Target::parse(&v.url) else { return Ok(()) };
        match egress.connect(target.host(), target.port()).await {
            Err(_) => Ok(()),
            Ok(stream) => Err(format!("connected to {:?}", stream.peer_addr())),
        }
    }));
}

/// The authority as written, with a port.
fn authority(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let authority = &rest[..end];
    let has_port = authority.rsplit_once(':').is_some_and(|(_, p)| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()));
    if has_port { authority.to_owned() } else { format!("{authority}:443") }
}

#[test]
fn the_sandbox_proxy_reaches_nothing() {
    let Some(world) = enter("ssrf::the_sandbox_proxy_reaches_nothing") else { return };
    block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("egress.sock");
        // Every name and address of the battery is on the list: what is left to say no is the judgement of syntax, port and address.
        let hosts: BTreeSet<String> = vectors().iter().filter_map(|v| Some(Target::parse(&v.url).ok()?.host().to_owned())).collect();
        let mut allow: Vec<HostPattern> = hosts.iter().map(|h| h.parse().unwrap()).collect();
        allow.retain(|h| h.to_string() != "public.test");
        let _proxy = proxy::serve(&socket, guarded(), allow).unwrap();
        let ask = |request: String| {
            let socket = socket.clone();
            async move {
                let mut stream = UnixStream::connect(&socket).await.unwrap();
                // The proxy may hang up before everything is written.
                let _hung_up = stream.write_all(request.as_bytes()).await;
                let mut answer = vec![];
                let _reset = stream.read_to_end(&mut answer).await;
                let answer = String::from_utf8_lossy(&answer).into_owned();
                let good = answer.starts_with("HTTP/1.1 4") || answer.is_empty();
                if good { Ok(()) } else { Err(answer) }
            }
        };
        battery(&world, "proxy CONNECT", async |v| ask(format!("CONNECT {} HTTP/1.1\r\n\r\n", authority(&v.url))).await).await;
        battery(&world, "proxy GET", async |v| {
            ask(format!("GET {} HTTP/1.1\r\nHost: {}\r\n\r\n", v.url, authority(&v.url).trim_end_matches(":443"))).await
        })
        .await;
    });
}

#[test]
fn each_vector_reaches_its_place_once_it_is_allowed() {
    let Some(world) = enter("ssrf::each_vector_reaches_its_place_once_it_is_allowed") else { return };
    // What the system itself does not dial, and names without an address.
    const NO_PLACE: [&str; 2] = ["unroutable", "unresolved"];
    let mut reached: BTreeMap<String, usize> = BTreeMap::new();
    let mut all = BTreeSet::new();
    block_on(async {
        for vector in vectors() {
            if vector.as_text {
                assert!(Target::parse(&vector.url).is_err(), "{:?} is refused as text", vector.url);
                continue;
            }
            all.insert(vector.family.clone());
            let target = Target::parse(&vector.url).unwrap();
            let allow_private = vec![Private::of_url(target.url()).unwrap()];
            let egress = Egress::new(Policy { allow_private, timeout: Duration::from_secs(10), ..Policy::default() }).unwrap();
            world.visits();
            let before = world.packets();
            let answer = egress.fetch(Request::get(&vector.url)).await;
            let visited = world.visits().iter().any(|v| v.local.port() == target.port());
            if NO_PLACE.contains(&vector.family.as_str()) {
                assert!(answer.is_err());
                continue;
            }
            assert!(visited, "{}: the control did not reach its place: {answer:?}", vector.url);
            let is_public = target.host().ends_with("public.test") || crate::world::PUBLIC.contains(&target.host());
            assert!(is_public || world.packets() > before, "{}: the counter counts", vector.url);
            *reached.entry(vector.family).or_default() += 1;
        }
    });
    assert_eq!(all.len(), reached.len() + NO_PLACE.len(), "every family with a place has a control");
    println!("controls that reached their place: {} ({reached:?})", reached.values().sum::<usize>());
}

#[test]
fn the_public_internet_is_reached_and_only_it() {
    let Some(world) = enter("ssrf::the_public_internet_is_reached_and_only_it") else { return };
    let before = world.packets();
    block_on(async {
        let egress = guarded();
        for url in
            ["http://public.test/", "http://public6.test/", "http://93.184.216.34/", "http://[2606:4700::1111]/", "http://mixed.test/"]
        {
            let answer = egress.fetch(Request::get(url)).await.unwrap_or_else(|e| panic!("{url}: {e}"));
            let body = String::from_utf8_lossy(&answer.body).into_owned();
            assert!(body == "reached 93.184.216.34:80" || body == "reached [2606:4700::1111]:80", "{url}: {body}");
        }
        // An answer that changes between looking and connecting: each dial is judged by the very answer it uses.
        let (mut public, mut shut) = (0, 0);
        for _ in 0..40 {
            match guarded().fetch(Request::get("http://flip.test/")).await {
                Ok(answer) => {
                    assert_eq!(answer.body, "reached 93.184.216.34:80");
                    public += 1;
                }
                Err(FetchError::Refused(Refusal::Address { .. })) => shut += 1,
                Err(other) => panic!("{other}"),
            }
        }
        assert!(public >= 10 && shut >= 10, "the name did change: {public} {shut}");
    });
    world.nothing_reached(before, "public fetches");
}

#[test]
fn a_block_of_the_operator_opens_what_leads_into_it_and_no_more() {
    let Some(world) = enter("ssrf::a_block_of_the_operator_opens_what_leads_into_it_and_no_more") else { return };
    block_on(async {
        let policy = Policy { allow_private: vec!["10.0.0.0/8".parse().unwrap(), "localhost:8000".parse().unwrap()], ..Policy::default() };
        let egress = Egress::new(policy).unwrap();
        for open in ["http://10.0.0.1/", "http://10.0.0.1.nip.io/", "http://localhost:8000/"] {
            assert!(egress.fetch(Request::get(open)).await.is_ok(), "{open}");
        }
        world.visits();
        let before = world.packets();
        let shut = [
            "http://192.168.1.1/",
            "http://10.0.0.1:8000/",
            "http://localhost/",
            "http://localhost:6379/",
            "http://127.0.0.1:8000/",
            "http://[::ffff:10.0.0.1]/",
        ];
        for url in shut {
            refused(egress.fetch(Request::get(url)).await).unwrap();
            assert!(egress.client().get(url).send().await.is_err(), "{url}");
        }
        world.nothing_reached(before, "beside the block");
    });
}
