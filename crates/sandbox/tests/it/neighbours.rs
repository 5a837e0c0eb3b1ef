//! Runs beside each other, and what of one could reach the next: signals, temporary files, shared memory, environment, descriptors.
use crate::place::{CONTAINED, Place, Way, helper};
use crate::wait::{unique_word, until, with_word};
use crate::world::{CANARY, outside};
use maos_sandbox::{Finished, Helper, Job, Quota, SandboxError, Workspace};
use std::sync::Arc;

/// Runs `attack` (which gets the process ids of the neighbour) beside a neighbour that leaves marks everywhere it can.
async fn beside(way: Way, attack: impl Fn(&[i32]) -> String) -> (Finished, Finished) {
    let (place, word) = (Place::new(way).await, unique_word());
    let other = Arc::new(Workspace::open(&place.dir.path().join("other"), Quota::default()).unwrap());
    let marks = format!(
        "for d in /tmp /dev/shm $HOME $TMPDIR; do echo {CANARY} > $d/mark; done 2>/dev/null; touch ready; sleep {word} & wait; exit 9"
    );
    let neighbour = place.sandbox.run(Job::new(["/bin/sh", "-c", &marks], Arc::clone(&other)));
    let attacker = async {
        until("the neighbour is ready", || other.root().join("ready").exists() && !with_word(&format!("sleep\0{word}")).is_empty()).await;
        let pids = with_word(&word);
        let done = place.python(&attack(&pids)).await;
        // The neighbour is still there and now ends by our hand.
        let sleeping = with_word(&format!("sleep\0{word}"));
        assert_eq!(sleeping.len(), 1, "{way:?} {}", done.stdout.text());
        crate::wait::kill_9(sleeping[0].cast_unsigned());
        done
    };
    let (neighbour, attacker) = tokio::join!(neighbour, attacker);
    (neighbour.unwrap(), attacker)
}

/// 22: signal another run.
#[tokio::test]
async fn another_run_cannot_be_signalled() {
    for way in CONTAINED {
        let attack = |pids: &[i32]| {
            format!(
                "import os,signal\nfor p in {pids:?}:\n try: os.kill(p, signal.SIGKILL); print('WON', p)\n except OSError as e: print('denied', e)\n\
                 if os.fork()==0:\n signal.signal(signal.SIGTERM, signal.SIG_IGN)\n\
                 \x20try: os.kill(-1, signal.SIGTERM)\n except OSError as e: print('denied', e)\n\x20os._exit(0)\n\
                 os.wait()"
            )
        };
        let (neighbour, attacker) = beside(way, attack).await;
        assert!(!attacker.stdout.text().contains("WON"), "{way:?} {}", attacker.stdout.text());
        assert_eq!(neighbour.exit, 9, "{way:?} {neighbour:?}");
    }
}

/// 15: temporary files, shared memory and private folders of another run.
#[tokio::test]
async fn marks_of_another_run_are_not_seen() {
    for way in CONTAINED {
        let attack = |_: &[i32]| {
            let here = "import os,glob\nfor d in ['/tmp','/dev/shm',os.environ['HOME'],os.environ['TMPDIR']]+glob.glob(os.path.dirname(os.environ['HOME'])+'/*')+glob.glob('../../other/tmp/*'):\n\
                        \x20try: print('WON', open(d+'/mark').read())\n except OSError as e: print('denied', e)\n";
            let shared =
                "import ctypes\nlibc=ctypes.CDLL(None,use_errno=True)\nk=libc.shmget(0x4d414f53,4096,0)\nif k>=0: print('WON shm')";
            format!("{here}{shared}")
        };
        let (_, attacker) = beside(way, attack).await;
        assert!(!attacker.stdout.text().contains("WON"), "{way:?} {}", attacker.stdout.text());
        assert_eq!(attacker.stderr.text(), "", "{way:?}");
    }
    // The control: without a sandbox such a mark is seen.
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("mark"), CANARY).unwrap();
    assert!(outside("print('WON', open('mark').read())", dir.path()).contains(CANARY));
}

/// 29: one run poisons the next.
#[tokio::test]
async fn a_run_does_not_poison_the_next() {
    for way in CONTAINED {
        let place = Place::new(way).await;
        let poison = "for f in .bashrc .profile .bash_profile .pythonrc .gitconfig .inputrc; do echo 'echo POISON' > $HOME/$f; done\n\
                      mkdir -p $HOME/.local/lib/python3.11/site-packages && echo 'print(\"POISON\")' > $HOME/.local/lib/python3.11/site-packages/usercustomize.py\n\
                      echo 'int x;' > preload.c; export BASH_ENV=$PWD/evil LD_PRELOAD=$PWD/evil.so; echo 'echo POISON' > evil; exit 0";
        assert_eq!(place.sh(poison).await.exit, 0, "{way:?}");
        let done = place.sh("env; bash -lc true; bash -ic true 2>/dev/null; python3 -c pass; ls -A $HOME | wc -l; ulimit -Hc").await;
        let said = done.stdout.text();
        assert!(!said.contains("POISON") && !said.contains("LD_") && !said.contains("BASH_ENV"), "{way:?} {said}");
        assert!(said.ends_with("0\n0\n"), "no file in the private folder, no core dumps; {way:?} {said}");
        for name in ["LD_PRELOAD", "LD_LIBRARY_PATH", "BASH_ENV", "GCONV_PATH", "PYTHONSTARTUP", "BASH_FUNC_ls%%", "A=B", ""] {
            let mut job = place.job("true");
            job.env.insert(name.to_owned(), "x".to_owned());
            assert!(matches!(place.sandbox.run(job).await, Err(SandboxError::Refused(_))), "{way:?} {name}");
        }
        let mut job = place.job("echo $GREETING");
        job.env.insert("GREETING".to_owned(), "hello".to_owned());
        assert_eq!(place.sandbox.run(job).await.unwrap().stdout.text(), "hello\n");
    }
    // The control: outside such a variable works.
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("evil"), "echo POISON").unwrap();
    let out = std::process::Command::new("bash").args(["-c", "true"]).env("BASH_ENV", dir.path().join("evil")).output().unwrap();
    assert!(String::from_utf8_lossy(&out.stdout).contains("POISON"));
}

/// 11: descriptors that the server left open.
#[tokio::test]
async fn no_descriptor_is_inherited() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, CANARY).unwrap();
    let leak = format!("exec 9<{0} 20<{0} 3<{0}; exec \"$@\"", secret.display());
    let code = "import os\nfor fd in range(3,1024):\n try: print('WON', fd, os.read(fd,100))\n except OSError: pass\n";
    for way in CONTAINED {
        // A server that leaks.
        let leaking = Helper {
            program: "/bin/bash".into(),
            prefix: vec![
                "-c".to_owned(),
                leak.clone(),
                "bash".to_owned(),
                helper().program.to_string_lossy().into_owned(),
                "sandbox-exec".to_owned(),
            ],
        };
        let sandbox = way.build(leaking, &dir.path().join("state")).await;
        let workspace = Arc::new(Workspace::open(&dir.path().join("task"), Quota::default()).unwrap());
        let mut job = Job::new(["python3", "-"], workspace);
        job.stdin = code.as_bytes().to_vec();
        let done = sandbox.run(job).await.unwrap();
        assert_eq!((done.exit, done.stdout.text().as_str()), (0, ""), "{way:?} {done:?}");
    }
    let out = std::process::Command::new("bash").args(["-c", &leak, "bash", "python3", "-c", code]).output().unwrap();
    assert!(String::from_utf8_lossy(&out.stdout).contains(CANARY), "the control reads it");
}
