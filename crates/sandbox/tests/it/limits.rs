//! Limits: memory, processes, time, CPU, disk, output; and that nothing is left when one is passed.
use crate::place::{CONTAINED, Place};
use crate::wait::{cgroups_of, unique_word, until, with_word};
use maos_sandbox::{Job, Quota, Stopped};
use std::sync::Arc;
use std::time::Duration;

/// Nothing of this process's runs is left anywhere.
fn assert_nothing_left(place: &Place) {
    assert_eq!(cgroups_of(std::process::id()), Vec::<std::path::PathBuf>::new());
    assert_eq!(std::fs::read_dir(place.dir.path().join("state/runs")).unwrap().count(), 0, "records");
    assert_eq!(std::fs::read_dir(place.workspace.tmp()).unwrap().count(), 0, "private folders");
}

fn python(place: &Place, code: &str) -> Job {
    let mut job = Job::new(["python3", "-"], Arc::clone(&place.workspace));
    job.stdin = code.as_bytes().to_vec();
    job
}

#[tokio::test]
async fn a_memory_bomb_ends_at_its_limit() {
    for way in CONTAINED {
        let place = Place::new(way).await;
        let bomb = "x=bytearray(200<<20)\nfor i in range(0,len(x),4096): x[i]=1\nprint('held')";
        let mut job = python(&place, bomb);
        job.limits.memory_bytes = 64 << 20;
        let done = place.sandbox.run(job).await.unwrap();
        // Without a cgroup the allocation itself is refused.
        let refused = done.stderr.text().contains("MemoryError");
        assert!(done.exit != 0 && (done.stopped == Some(Stopped::OutOfMemory) || refused), "{way:?} {done:?}");
        assert!(done.memory_peak <= 64 << 20, "{way:?} {done:?}");
        let together = "import os,time\nfor i in range(8):\n if os.fork()==0:\n  x=bytearray(32<<20)\n  for i in range(0,len(x),4096): x[i]=1\n  time.sleep(1000)\nfor i in range(8): os.wait()";
        let mut job = python(&place, together);
        job.limits.memory_bytes = 64 << 20;
        let done = place.sandbox.run(job).await.unwrap();
        assert_eq!(done.stopped, Some(Stopped::OutOfMemory), "{way:?} {done:?}");
        // The control: the same with room for it.
        let done = place.sandbox.run(python(&place, bomb)).await.unwrap();
        assert_eq!((done.exit, done.stopped, done.stdout.text().as_str()), (0, None, "held\n"), "{way:?} {done:?}");
        assert!(done.memory_peak >= 200 << 20, "{way:?} {done:?}");
        assert_nothing_left(&place);
    }
}

#[tokio::test]
async fn a_fork_bomb_ends_and_leaves_nothing() {
    for way in CONTAINED {
        let place = Place::new(way).await;
        let word = unique_word();
        let mut job = place.job(&format!("bomb() {{ bomb | bomb & }}; bomb; exec sleep {word}"));
        job.limits.processes = 40;
        job.limits.wall = Duration::from_secs(2);
        let done = place.sandbox.run(job).await.unwrap();
        // Without a cgroup its shell may give up before the time does.
        assert!(done.stopped.is_some() || done.stderr.text().contains("Cannot fork"), "{way:?} {done:?}");
        assert_eq!(with_word(&word), Vec::<i32>::new());
        assert_nothing_left(&place);
        let many = "for i in $(seq 60); do sleep 1000 & done 2>/dev/null; exit 5";
        let mut job = place.job(many);
        job.limits.processes = 20;
        let done = place.sandbox.run(job).await.unwrap();
        assert!(done.exit != 0, "{way:?} {done:?}");
        // The control: with room the same ends as it wants.
        let done = place.sandbox.run(place.job(many)).await.unwrap();
        assert_eq!((done.exit, done.stopped), (5, None), "{way:?} {done:?}");
        assert_nothing_left(&place);
    }
}

#[tokio::test]
async fn time_ends_a_program_that_ignores_signals_and_hides() {
    for way in CONTAINED {
        let place = Place::new(way).await;
        let word = unique_word();
        let code = format!(
            "import os,signal\nsignal.signal(signal.SIGTERM,signal.SIG_IGN)\n\
             for i in range(3):\n if os.fork()==0:\n  os.setsid()\n  if os.fork()==0: os.execvp('sleep',['sleep','{word}'])\n  os._exit(0)\n\
             print('hidden',flush=True)\nwhile True: signal.pause()"
        );
        let mut job = python(&place, &code);
        job.limits.wall = Duration::from_secs(1);
        let done = place.sandbox.run(job).await.unwrap();
        assert_eq!((done.stopped, done.stdout.text().as_str()), (Some(Stopped::Time), "hidden\n"), "{way:?} {done:?}");
        assert_eq!(with_word(&word), Vec::<i32>::new());
        assert_nothing_left(&place);
    }
}

/// 23: survive the end of the call.
#[tokio::test]
async fn what_a_program_leaves_behind_dies_with_it() {
    for way in CONTAINED {
        let place = Place::new(way).await;
        let word = unique_word();
        let code = |word: &str| {
            format!(
                "import os\nif os.fork()==0:\n os.setsid()\n if os.fork()==0:\n  for fd in (0,1,2): os.close(fd)\n  \
                 os.execvp('sleep',['sleep','{word}'])\n os._exit(0)\nos.wait()"
            )
        };
        let done = place.python(&code(&word)).await;
        assert_eq!((done.exit, with_word(&word)), (0, Vec::new()), "{way:?} {done:?}");
        // The control: outside it survives.
        let said = crate::world::outside(&code(&word), place.dir.path());
        until("the process of the control is there", || !with_word(&word).is_empty()).await;
        let left = with_word(&word);
        assert_eq!(left.len(), 1, "{said}");
        crate::wait::kill_9(left[0].cast_unsigned());
    }
}

#[tokio::test]
async fn endless_output_is_drained_and_its_ends_are_kept() {
    for way in CONTAINED {
        let place = Place::new(way).await;
        let mut job = place.job("echo first; yes | head -c 50000000; echo last; yes err | head -c 3000000 >&2");
        job.limits.output_bytes = 4096;
        let done = place.sandbox.run(job).await.unwrap();
        assert_eq!((done.exit, done.stdout.total, done.stderr.total), (0, 50_000_011, 3_000_000), "{way:?}");
        assert!(done.stdout.head.starts_with(b"first\n") && done.stdout.tail.ends_with(b"last\n"), "{way:?}");
        assert_eq!(done.stdout.head.len() + done.stdout.tail.len(), 4096);
        let mut job = place.job("yes");
        job.limits.wall = Duration::from_secs(1);
        let done = place.sandbox.run(job).await.unwrap();
        assert_eq!((done.stopped, done.stdout.head.len()), (Some(Stopped::Time), 32 << 10), "{way:?}");
    }
}

#[tokio::test]
async fn cpu_time_ends_a_spin() {
    for way in CONTAINED {
        let place = Place::new(way).await;
        let mut job = place.job("for i in 1 2 3; do while :; do :; done & done; while :; do :; done");
        job.limits.cpu_s = 1;
        let done = place.sandbox.run(job).await.unwrap();
        assert_eq!(done.stopped, Some(Stopped::CpuTime), "{way:?} {done:?}");
        assert_nothing_left(&place);
    }
}

#[tokio::test]
async fn the_disk_quota_ends_a_run_and_tidying_up_stays_possible() {
    let quota = Quota { bytes: 8 << 20, files: 300 };
    for way in CONTAINED {
        let place = Place::with_quota(way, quota).await;
        let done = place.sh("while :; do head -c 1000000 /dev/urandom >> big; done").await;
        assert_eq!(done.stopped, Some(Stopped::Disk), "{way:?} {done:?}");
        let refused = place.workspace.write("small", b"x").unwrap_err().to_string();
        assert!(refused.contains("remove something first"), "{refused}");
        let done = place.sh("rm big").await;
        assert_eq!((done.exit, done.stopped), (0, None), "{way:?} {done:?}");
        place.workspace.write("small", b"x").unwrap();
        // What another run of the task holds counts too: ten of them could hold ten quotas.
        let of_another = place.workspace.tmp().join("of-another-run");
        std::fs::create_dir(&of_another).unwrap();
        std::fs::write(of_another.join("big"), vec![1; 6 << 20]).unwrap();
        let done = place.sh("cd $HOME; head -c 5000000 /dev/urandom > big").await;
        assert_eq!(done.stopped, Some(Stopped::Disk), "beside another run, {way:?} {done:?}");
        std::fs::remove_dir_all(&of_another).unwrap();
        let done = place.sh("i=0; while :; do : > f$i; i=$((i+1)); done").await;
        assert_eq!(done.stopped, Some(Stopped::Disk), "{way:?} {done:?}");
        let done = place.sh("rm f*; cd $HOME; while :; do head -c 1000000 /dev/urandom >> big; done").await;
        assert_eq!(done.stopped, Some(Stopped::Disk), "private folder, {way:?} {done:?}");
        let done = place.sh("p=.; for i in $(seq 100); do mkdir $p/d || exit 1; cd -P $p/d; done").await;
        assert_eq!(done.stopped, Some(Stopped::Disk), "depth, {way:?} {done:?}");
        let hide = "rm -rf d; mkdir shut; cd shut; exec 3>>big; chmod 0 .; while :; do head -c 1000000 /dev/urandom >&3; done";
        let done = place.sh(hide).await;
        assert!(matches!(done.stopped, Some(Stopped::Disk)), "shut, {way:?} {done:?}");
        let done = place.sh("while :; do head -c 1000000 /dev/urandom >> zbig; done").await;
        assert_eq!(done.stopped, Some(Stopped::Disk), "beside a shut folder, {way:?} {done:?}");
        // So that the folder of this test can be removed.
        let opened = std::process::Command::new("chmod").args(["-R", "u+rwx"]).arg(place.workspace.root()).status().unwrap();
        assert!(opened.success());
        assert_nothing_left(&place);
    }
}

#[tokio::test]
async fn files_and_descriptors_have_limits() {
    for way in CONTAINED {
        let place = Place::new(way).await;
        let mut job = place.job("head -c 5000000 /dev/zero > big");
        job.limits.file_bytes = 1 << 20;
        let done = place.sandbox.run(job).await.unwrap();
        assert!(done.exit != 0 && place.workspace.usage().unwrap().bytes <= 1 << 20, "{way:?} {done:?}");
        let code =
            "held=[]\nwhile True:\n try: held.append(open('/dev/null'))\n except OSError as e: print(e.errno, len(held) < 64); break";
        let mut job = python(&place, code);
        job.limits.open_files = 64;
        let done = place.sandbox.run(job).await.unwrap();
        assert_eq!(done.stdout.text(), "24 True\n", "{way:?} {done:?}");
    }
}
