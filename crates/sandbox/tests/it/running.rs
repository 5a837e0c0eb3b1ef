//! Ordinary runs: what programs get, what comes back, what is left; and how a tier is chosen.
use crate::place::{CONTAINED, NAMESPACES, Place, helper};
use crate::world::is_root;
use maos_sandbox::{Choice, Job, Quota, Sandbox, SandboxError, Tier, Unavailable, Workspace};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn a_program_runs_and_its_output_and_exit_code_come_back() {
    for way in CONTAINED {
        let place = Place::new(way).await;
        let done = place.sh("echo out; echo err >&2; echo made > made.txt; mkdir -p a/b; exit 3").await;
        assert_eq!(done.exit, 3, "{way:?}");
        assert_eq!((done.stdout.text().as_str(), done.stderr.text().as_str()), ("out\n", "err\n"), "{way:?}");
        assert_eq!(place.workspace.read("made.txt", 0, 100).unwrap().bytes, b"made\n");
        let done = place.sh("kill -9 $$").await;
        assert_eq!((done.exit, done.stopped), (137, None), "{way:?}");
        let done = place.python("import sys, json, ssl, sqlite3, subprocess, multiprocessing; print(sys.version_info[0])").await;
        assert_eq!((done.exit, done.stdout.text().as_str(), done.stderr.text().as_str()), (0, "3\n", ""), "{way:?}");
        let mut job = Job::new(["wc", "-c"], Arc::clone(&place.workspace));
        job.stdin = vec![b'x'; 300_000];
        assert_eq!(place.sandbox.run(job).await.unwrap().stdout.text(), "300000\n", "{way:?}");
    }
}

#[tokio::test]
async fn ordinary_work_is_possible() {
    for way in CONTAINED {
        let place = Place::new(way).await;
        let work = "set -e; git init -q .; git add -A; echo 'print(1)' > a.py; git add a.py; \
                    git -c user.name=a -c user.email=a@b commit -qm one; git log --oneline | wc -l; \
                    python3 -m venv --without-pip env; env/bin/python -c 'print(2)'; \
                    tar cf x.tar a.py; mkdir out; tar xf x.tar -C out; cp -p a.py b.py; touch a.py; find . -name '*.py' -path './out/*'; \
                    cat <(echo three); seq 3 | sort -r | head -1";
        let done = place.sandbox.run(Job::new(["/bin/bash", "-c", work], Arc::clone(&place.workspace))).await.unwrap();
        assert_eq!((done.exit, done.stdout.text().as_str()), (0, "1\n2\n./out/a.py\nthree\n3\n"), "{way:?} {}", done.stderr.text());
    }
}

/// What models are told of Python is what programs find.
#[tokio::test]
async fn the_packages_of_python_that_are_named_are_there_and_no_others() {
    const NAMES: [&str; 4] = ["numpy", "pandas", "pytest", "flask"];
    for way in CONTAINED {
        let place = Place::new(way).await;
        let words = place.sandbox.python_in_words().unwrap();
        let code =
            format!("import sys\nfrom importlib.util import find_spec\nprint(sys.version.split()[0], *filter(find_spec, {NAMES:?}))");
        let said = place.python(&code).await.stdout.text();
        let (version, found) = said.trim().split_once(' ').unwrap_or((said.trim(), ""));
        assert!(words.starts_with(&format!("Python {version} ")), "{way:?} {words}, but {said}");
        let (with, _) = words.split_once(", without ").unwrap_or((&words, ""));
        for name in NAMES {
            assert_eq!(with.contains(name), found.split(' ').any(|f| f == name), "{way:?} {name}: {words}, but {said}");
        }
    }
}

/// Tier 2 has a loopback of its own, so an agent can test the server it wrote.
#[tokio::test]
async fn a_server_inside_can_be_tested_inside() {
    for way in NAMESPACES {
        let place = Place::new(way).await;
        let code = "import http.server,threading,urllib.request\n\
                    s=http.server.HTTPServer(('127.0.0.1',0),http.server.SimpleHTTPRequestHandler)\n\
                    threading.Thread(target=s.serve_forever,daemon=True).start()\n\
                    print(urllib.request.urlopen(f'http://127.0.0.1:{s.server_port}/').status)\n\
                    import multiprocessing as m\nprint(m.Pool(2).map(abs,[-1,-2]))";
        let done = place.python(code).await;
        assert_eq!((done.exit, done.stdout.text().as_str()), (0, "200\n[1, 2]\n"), "{}", done.stderr.text());
    }
}

#[tokio::test]
async fn what_cannot_be_run_is_said() {
    for way in CONTAINED {
        let place = Place::new(way).await;
        let run = |argv: &[&str]| place.sandbox.run(Job::new(argv.iter().copied(), Arc::clone(&place.workspace)));
        let error = run(&["no-such-program"]).await.unwrap_err();
        assert!(matches!(&error, SandboxError::NotRun { program, .. } if program == "no-such-program"), "{way:?} {error}");
        assert!(matches!(run(&[]).await.unwrap_err(), SandboxError::Refused(_)));
        assert!(matches!(run(&["a\0b"]).await.unwrap_err(), SandboxError::Refused(_)));
    }
}

#[tokio::test]
async fn many_runs_at_once_do_not_disturb_each_other() {
    for way in CONTAINED {
        let place = Place::new(way).await;
        let runs = (0..20).map(|n| async move { n });
        let mut set = tokio::task::JoinSet::new();
        let place = Arc::new(place);
        for run in runs {
            let place = Arc::clone(&place);
            set.spawn(async move {
                let n = run.await;
                let done = place.sh(&format!("echo {n} > f{n}; cat f{n}; exit {n}")).await;
                assert_eq!((done.exit, done.stdout.text()), (n, format!("{n}\n")));
            });
        }
        set.join_all().await;
    }
}

#[tokio::test]
async fn the_tier_is_chosen_by_trying_and_fails_closed() {
    let dir = tempfile::tempdir().unwrap();
    let best = Sandbox::choose(Choice::Auto, helper(), dir.path()).await.unwrap();
    let description = best.describe();
    assert_eq!((best.tier(), description.tier), (Tier::Namespaces, Tier::Namespaces));
    assert!(description.landlock_abi >= 1 && description.python.is_some(), "{description:?}");
    // A helper that does nothing: no tier can be built, and that is an error.
    let broken = maos_sandbox::Helper { program: "/bin/true".into(), prefix: Vec::new() };
    for choice in [Choice::Auto, Choice::Namespaces, Choice::Lsm] {
        let error = Sandbox::choose(choice, broken.clone(), dir.path()).await.unwrap_err();
        assert!(matches!(error, Unavailable::None { .. } | Unavailable::Tier { .. }), "{choice:?} {error}");
    }
    let off = Sandbox::choose(Choice::Off, helper(), dir.path()).await;
    if is_root() {
        assert!(matches!(off, Err(Unavailable::OffAsRoot)), "{off:?}");
    } else {
        let off = off.unwrap();
        let workspace = Arc::new(Workspace::open(&dir.path().join("task"), Quota::default()).unwrap());
        let done = off.run(Job::new(["/bin/sh", "-c", "cat /proc/self/status"], workspace)).await.unwrap();
        assert!(done.tier == Tier::Off && done.stdout.text().contains("Seccomp:\t0"), "{done:?}");
        assert!(off.describe().gaps.iter().any(|gap| gap.starts_with("everything")));
    }
}

/// The only way out of tier 2 is the socket of the proxy.
#[tokio::test]
async fn the_egress_proxy_is_reached_through_its_socket_and_nothing_else_is() {
    for way in NAMESPACES {
        let place = Place::new(way).await;
        let socket = place.dir.path().join("proxy.sock");
        let proxy = tokio::net::UnixListener::bind(&socket).unwrap();
        let answer = tokio::spawn(async move {
            let mut requests = Vec::new();
            for _ in 0..3 {
                let (mut connection, _) = proxy.accept().await.unwrap();
                let mut request = vec![0; 4096];
                let n = connection.read(&mut request).await.unwrap();
                requests.push(String::from_utf8_lossy(&request[..n]).into_owned());
                let body = "x".repeat(1_000_000);
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
                connection.write_all(head.as_bytes()).await.unwrap();
                connection.write_all(body.as_bytes()).await.unwrap();
            }
            requests
        });
        let code = "import urllib.request,socket,os,subprocess\n\
                    for i in range(3): print(len(urllib.request.urlopen('http://example.test/%d' % i).read()))\n\
                    try: socket.create_connection(('1.1.1.1',80),5)\n\
                    except OSError as e: print(e.errno)\n\
                    try: os.wait()\n\
                    except ChildProcessError: print('no child')";
        let mut job = Job::new(["python3", "-"], Arc::clone(&place.workspace));
        job.stdin = code.as_bytes().to_vec();
        job.egress = Some(socket);
        let done = place.sandbox.run(job).await.unwrap();
        assert_eq!(done.stdout.text(), "1000000\n1000000\n1000000\n101\nno child\n", "{way:?} {}", done.stderr.text());
        let requests = answer.await.unwrap();
        assert!(requests[2].starts_with("GET http://example.test/2 HTTP/1.1\r\n"), "{requests:?}");
    }
}
