//! The file operations against a program that plays tricks: links, races, pipes, odd names, and what an export takes along.
use crate::place::{CONTAINED, NAMESPACES, Place};
use crate::world::{CANARY, World};
use maos_sandbox::{FileError, Kind, Quota, Workspace};
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// Tries of the race.
const TRIES: usize = 10_000;

fn workspace() -> (tempfile::TempDir, Workspace) {
    let dir = tempfile::tempdir().unwrap();
    let workspace = Workspace::open(&dir.path().join("task"), Quota::default()).unwrap();
    (dir, workspace)
}

#[test]
fn a_path_leads_to_the_same_file_however_it_is_spelled_or_nowhere() {
    let (dir, ws) = workspace();
    assert!(!ws.write("a/b.txt", b"one").unwrap());
    let absolute = ws.root().join("a/b.txt");
    for path in ["a/b.txt", "./a//b.txt", "/workspace/a/b.txt", absolute.to_str().unwrap()] {
        assert_eq!(ws.read(path, 0, 10).unwrap().bytes, b"one", "{path}");
    }
    fs::write(dir.path().join("task/files-evil"), CANARY).unwrap();
    fs::write(dir.path().join("outside"), CANARY).unwrap();
    for path in [
        "../outside",
        "a/../../../outside",
        "/etc/passwd",
        "/workspace/../outside",
        "/workspacefoo",
        "//etc/passwd",
        "../files-evil",
        &format!("{}-evil", ws.root().display()),
        "a/\0b",
        "..",
        "/",
    ] {
        let error = ws.read(path, 0, 10).unwrap_err();
        assert!(matches!(error, FileError::Outside(_)), "{path:?}: {error}");
        let error = ws.write(path, b"x").unwrap_err();
        assert!(matches!(error, FileError::Outside(_)), "{path:?}: {error}");
        assert!(ws.remove(path).is_err() && ws.make_dirs(path).is_err() && ws.list(path, 9, 9).is_err(), "{path:?}");
    }
    // The controls: the files are there.
    assert_eq!(fs::read_to_string(dir.path().join("outside")).unwrap(), CANARY);
    assert!(fs::read(Path::new("/etc/passwd")).is_ok());
}

#[test]
fn attachments_are_taken_in_once_however_many_ask_at_the_same_time() {
    let dir = tempfile::tempdir().unwrap();
    let given = dir.path().join("given");
    fs::write(&given, "as given").unwrap();
    let files: Vec<(String, _)> = (0..100).map(|n| (format!("f{n}/a.txt"), given.clone())).collect();
    let files: Vec<(&str, _)> = files.iter().map(|(name, from)| (name.as_str(), from.clone())).collect();
    let (callers, task) = (8, dir.path().join("task"));
    let barrier = std::sync::Barrier::new(callers);
    std::thread::scope(|scope| {
        for caller in 0..callers {
            let (files, barrier, task) = (&files, &barrier, &task);
            scope.spawn(move || {
                let ws = Workspace::open(task, Quota::default()).unwrap();
                barrier.wait();
                ws.fill(files, 100).unwrap();
                ws.write(&format!("f{caller}/a.txt"), b"changed").unwrap();
            });
        }
    });
    let ws = Workspace::open(&task, Quota::default()).unwrap();
    ws.fill(&files, 100).unwrap();
    for n in 0..files.len() {
        let expected: &[u8] = if n < callers { b"changed" } else { b"as given" };
        assert_eq!(ws.read(&format!("f{n}/a.txt"), 0, 100).unwrap().bytes, expected, "{n}");
    }
    // What does not fit is refused by its number too: 30 files in 30 folders.
    let small = Workspace::open(&dir.path().join("small"), Quota { bytes: 1 << 20, files: 59 }).unwrap();
    assert!(matches!(small.fill(&files[..30], 100).unwrap_err(), FileError::Quota { .. }));
    let missing = small.fill(&[("x", dir.path().join("nothing"))], 100).unwrap_err().to_string();
    assert!(missing.starts_with("\"x\": "), "{missing}");
}

#[test]
fn writing_editing_listing_and_removing() {
    let (_dir, ws) = workspace();
    assert!(!ws.write("src/app.py", b"a = 1\nb = 1\n").unwrap());
    assert!(ws.write("src/app.py", b"a = 1\nb = 1\nc = 1\n").unwrap());
    let many = ws.edit("src/app.py", "= 1", "= 2", false, 1000).unwrap_err();
    assert!(matches!(many, FileError::ManyMatches(_, 3)), "{many}");
    assert!(matches!(ws.edit("src/app.py", "= 9", "= 2", true, 1000).unwrap_err(), FileError::NoMatch(_)));
    assert_eq!(ws.edit("src/app.py", "b = 1", "b = 3", false, 1000).unwrap(), 1);
    assert_eq!(ws.edit("src/app.py", "= 1", "= 2", true, 1000).unwrap(), 2);
    // 4 MiB of one letter, each replaced by 4 MiB: refused by its size, which no machine could hold.
    ws.write("a.txt", &vec![b'a'; 4 << 20]).unwrap();
    let huge = ws.edit("a.txt", "a", &"b".repeat(4 << 20), true, 4 << 20).unwrap_err();
    assert!(matches!(huge, FileError::TooLarge(_, size, _) if size == 1 << 44), "{huge}");
    ws.remove("a.txt").unwrap();
    assert_eq!(ws.read("src/app.py", 6, 5).unwrap().bytes, b"b = 3");
    fs::set_permissions(ws.root().join("src/app.py"), fs::Permissions::from_mode(0o755)).unwrap();
    ws.write("src/app.py", b"new").unwrap();
    assert_eq!(fs::metadata(ws.root().join("src/app.py")).unwrap().mode() & 0o777, 0o755, "the mode stays");
    let listing = ws.list("", 8, 10).unwrap();
    let names: Vec<String> = listing.entries.iter().map(maos_sandbox::Entry::shown).collect();
    assert_eq!((names.as_slice(), listing.truncated), (&["src".to_owned(), "src/app.py".to_owned()][..], false));
    assert!(ws.list("", 8, 1).unwrap().truncated);
    assert_eq!(ws.list("", 1, 10).unwrap().entries.len(), 1);
    assert!(ws.remove("src").is_err(), "not empty");
    ws.remove("src/app.py").unwrap();
    ws.remove("src").unwrap();
    assert_eq!(ws.usage().unwrap(), maos_sandbox::Usage { bytes: 0, files: 0 });
    for path in
        ["AGENTS.md", "agents.MD", ".maos/agents/x.yml", ".mcp.json", ".claude/settings.json", ".git/hooks/pre-commit", "sub/.git/config"]
    {
        assert!(matches!(ws.write(path, b"x").unwrap_err(), FileError::Protected(_)), "{path}");
    }
    ws.write("docs/AGENTS.md", b"of the project itself").unwrap();
}

#[test]
fn a_person_may_give_what_tools_may_not_write() {
    let dir = tempfile::tempdir().unwrap();
    let ws = Workspace::open(dir.path(), Quota::default()).unwrap();
    let given = dir.path().join("given");
    fs::write(&given, "Use tabs.").unwrap();
    for bad in ["a\nb", "../x", "/etc/x"] {
        assert!(ws.fill(&[(bad, given.clone())], 100).is_err(), "{bad:?}");
    }
    ws.fill(&[("AGENTS.md", given)], 100).unwrap();
    assert!(matches!(ws.write("AGENTS.md", b"EVIL").unwrap_err(), FileError::Protected(_)));
    assert!(matches!(ws.remove("AGENTS.md").unwrap_err(), FileError::Protected(_)));
    assert_eq!(ws.read("AGENTS.md", 0, 100).unwrap().bytes, b"Use tabs.");
}

#[test]
fn quota_and_what_is_given() {
    let dir = tempfile::tempdir().unwrap();
    let ws = Workspace::open(dir.path(), Quota { bytes: 100_000, files: 3 }).unwrap();
    let given = dir.path().join("given.csv");
    fs::write(&given, [b'x'; 50_000]).unwrap();
    let (first, endless) = (("data.csv", given), ("more.csv", "/dev/zero".into()));
    let error = ws.fill(&[first.clone(), endless.clone()], 60_000).unwrap_err();
    assert!(matches!(error, FileError::Quota { .. }), "{error}");
    let error = ws.fill(&[endless], 1000).unwrap_err();
    assert!(matches!(error, FileError::TooLarge(..)), "{error}");
    ws.fill(&[first], 60_000).unwrap();
    assert!(matches!(ws.write("big", &[0; 90_000]).unwrap_err(), FileError::Quota { .. }));
    ws.write("two", b"").unwrap();
    ws.write("three", b"").unwrap();
    let error = ws.write("four", b"").unwrap_err().to_string();
    assert!(error.contains("4 of 3 files"), "{error}");
    assert_eq!(ws.usage().unwrap().files, 3, "no drafts are left");
}

/// 5, 6, 8 and pipes: what a program inside makes is never followed by the file tools outside.
#[tokio::test]
async fn links_and_pipes_made_inside_are_not_followed() {
    for way in CONTAINED {
        let (place, mut world) = (Place::new(way).await, World::new());
        let outside = world.path().display().to_string();
        let before = world.state();
        let make = format!(
            "ln -s {outside}/secret.txt link; ln -s {outside} dir; ln -s ../../../etc up; mkfifo pipe; echo x > own; ln own other; mkdir real; ln -s real inner"
        );
        assert_eq!(place.sh(&make).await.exit, 0, "{way:?}");
        let ws = &place.workspace;
        for path in ["link", "dir/secret.txt", "up/passwd", "inner/x"] {
            assert!(matches!(ws.read(path, 0, 99).unwrap_err(), FileError::Link(_)), "{way:?} {path}");
            assert!(matches!(ws.write(path, b"x").unwrap_err(), FileError::Link(_)), "{way:?} {path}");
        }
        assert!(matches!(ws.read("pipe", 0, 9).unwrap_err(), FileError::NotPlain(_)));
        assert!(matches!(ws.write("pipe", b"x").unwrap_err(), FileError::NotPlain(_)));
        assert!(matches!(ws.read("other", 0, 9).unwrap_err(), FileError::NotPlain(_)));
        assert!(ws.list("dir", 3, 9).is_err() && ws.make_dirs("dir/new").is_err());
        let kinds: Vec<(String, Kind)> = ws.list("", 9, 99).unwrap().entries.iter().map(|e| (e.shown(), e.kind)).collect();
        for (name, kind) in [("dir", Kind::Symlink), ("link", Kind::Symlink), ("pipe", Kind::Special), ("own", Kind::HardLinked)] {
            assert!(kinds.contains(&(name.to_owned(), kind)), "{way:?} {kinds:?}");
        }
        assert_eq!(world.state(), before, "{way:?}");
        // The controls: whoever follows gets out.
        assert!(fs::read_to_string(ws.root().join("link")).unwrap().contains(CANARY));
        fs::write(ws.root().join("dir/escaped"), "x").unwrap();
        assert!(world.path().join("escaped").exists());
    }
}

/// 7: a program swaps a folder for a link while the file tools work.
#[test]
fn no_race_is_won() {
    let ((dir, ws), world) = (workspace(), World::new());
    let root = ws.root().to_owned();
    fs::create_dir(root.join("d")).unwrap();
    fs::write(root.join("d/secret.txt"), "harmless").unwrap();
    let (folder, link) = (root.join("d"), root.join("l"));
    symlink(world.path(), &link).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let attacker = scope.spawn(|| {
            let mut swaps = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                renameat2(AT_FDCWD, &folder, AT_FDCWD, &link, RenameFlags::RENAME_EXCHANGE).unwrap();
                swaps += 1;
            }
            swaps
        });
        let (mut read, mut refused) = (0, 0);
        for number in 0..TRIES {
            match ws.read("d/secret.txt", 0, 100) {
                Ok(content) if content.bytes == b"harmless" => read += 1,
                Ok(content) => panic!("won the race: {:?}", String::from_utf8_lossy(&content.bytes)),
                Err(_) => refused += 1,
            }
            let name = format!("d/planted{}", number % 5);
            // Refused or written inside; both are right.
            let _ = ws.write(&name, b"x");
            let _ = ws.make_dirs(&format!("d/folder{}", number % 5));
            let _ = ws.remove(&name);
            let _ = ws.list("d", 2, 10);
        }
        // The control: a program that trusts paths loses the race.
        while !fs::read_to_string(folder.join("secret.txt")).is_ok_and(|text| text.contains(CANARY)) {}
        stop.store(true, Ordering::Relaxed);
        let swaps = attacker.join().unwrap();
        assert!(read > 0 && refused > 0 && swaps > 100, "a race: {read} read, {refused} refused, {swaps} swaps");
    });
    let outside: Vec<_> = fs::read_dir(world.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(
        !outside.iter().any(|name| name.to_string_lossy().contains("planted") || name.to_string_lossy().contains("folder")),
        "{outside:?}"
    );
    drop(dir);
}

/// 13, 20 and 46: what leaves by an export is plain files with plain names.
#[tokio::test]
async fn an_export_takes_only_plain_files_with_plain_names() {
    for way in CONTAINED {
        let (place, world) = (Place::new(way).await, World::new());
        let outside = world.path().display().to_string();
        let make = format!(
            "import os\n\
             os.makedirs('src/.git/hooks'); os.makedirs('ok'); os.makedirs('.git/objects')\n\
             for n in ['ok/a.txt','run.sh','new\\nline','esc\\x1b[31m','<script>alert(1)',b'\\xff\\xfe','\\u202etxt.exe','src/.git/hooks/post-checkout','.git/config','.git/objects/x']: open(n,'w').write('text')\n\
             os.chmod('run.sh',0o777)\n\
             try: os.chmod('ok/a.txt',0o6755)\n\
             except OSError: pass\n\
             os.symlink('{outside}/secret.txt','leak'); os.symlink('/nowhere','dangling'); os.symlink('{outside}','folder'); os.mkfifo('pipe'); os.link('run.sh','ok/hard')"
        );
        let done = place.python(&make).await;
        assert_eq!(done.exit, 0, "{way:?} {}", done.stderr.text());
        let dest = place.dir.path().join("results");
        let exported = place.workspace.export(&dest).unwrap();
        let copy = Workspace::open(&place.dir.path().join("check"), Quota::default()).unwrap();
        fs::remove_dir(copy.root()).unwrap();
        fs::rename(&dest, copy.root()).unwrap();
        let copy = Workspace::open(&place.dir.path().join("check"), Quota::default()).unwrap();
        let listed = copy.list("", 9, 99).unwrap().entries;
        let names: Vec<String> = listed.iter().filter(|e| e.kind != Kind::Directory).map(maos_sandbox::Entry::shown).collect();
        assert_eq!(names, [".git/objects/x", "<script>alert(1)", "ok/a.txt"], "{way:?}");
        assert!(listed.iter().all(|e| matches!(e.kind, Kind::File | Kind::Directory)), "{way:?} {listed:?}");
        assert_eq!(fs::metadata(copy.root().join("ok/a.txt")).unwrap().mode() & 0o7000, 0, "{way:?}");
        assert_eq!((exported.files, exported.bytes), (3, 12), "{way:?} {exported:?}");
        let left: Vec<&str> = exported.left_out.iter().map(|(name, _)| name.as_str()).collect();
        for name in
            ["leak", "dangling", "folder", "pipe", "run.sh", "ok/hard", "new\\nline", "esc\\u{1b}[31m", ".git/config", "src/.git/hooks"]
        {
            assert!(left.contains(&name), "{way:?} {name} in {left:?}");
        }
        for entry in place.workspace.list("", 9, 99).unwrap().entries {
            assert!(!entry.shown().chars().any(|c| c.is_control() || c == '\u{202e}'), "{way:?} {:?}", entry.path);
        }
        for name in ["new\nline", "esc\u{1b}[0m", "\u{202e}x"] {
            let error = place.workspace.write(name, b"x").unwrap_err();
            assert!(matches!(error, FileError::BadName(_)) && !error.to_string().chars().any(char::is_control), "{error:?}");
        }
        // The control: a copy that follows takes the secret along.
        assert!(fs::read_to_string(place.workspace.root().join("leak")).unwrap().contains(CANARY));
    }
}

/// An export into a folder that somebody prepared with links writes only beneath it.
#[test]
fn an_export_follows_no_link_of_its_destination() {
    let ((dir, ws), world) = (workspace(), World::new());
    ws.write("secret.txt", b"from inside").unwrap();
    ws.write("d/x", b"from inside").unwrap();
    let dest = dir.path().join("dest");
    fs::create_dir(&dest).unwrap();
    symlink(world.path().join("secret.txt"), dest.join("secret.txt")).unwrap();
    ws.remove("d/x").unwrap();
    ws.remove("d").unwrap();
    ws.export(&dest).unwrap();
    assert_eq!(fs::read_to_string(dest.join("secret.txt")).unwrap(), "from inside");
    assert!(fs::read_to_string(world.path().join("secret.txt")).unwrap().contains(CANARY), "the link was replaced, not followed");
    ws.write("d/x", b"from inside").unwrap();
    symlink(world.path(), dest.join("d")).unwrap();
    assert!(ws.export(&dest).is_err());
    assert!(!world.path().join("x").exists());
}

/// 16 and 17: files that steer later programs.
#[tokio::test]
async fn what_steers_later_programs_cannot_be_replaced_inside() {
    for way in NAMESPACES {
        let place = Place::new(way).await;
        let root = place.workspace.root();
        for folder in [".git/hooks", ".maos/agents"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        let files = [".git/hooks/pre-commit", ".git/config", ".maos/agents/a.yml", "AGENTS.md", ".mcp.json"];
        for file in files {
            fs::write(root.join(file), "trusted").unwrap();
        }
        let attack = "for f in .git/hooks/pre-commit .git/config .maos/agents/a.yml AGENTS.md .mcp.json; do\n\
                      echo evil > $f && echo WON write $f; rm -f $f && echo WON rm $f; mv $f x && echo WON mv $f; ln -sf /etc/passwd $f && echo WON ln $f\n\
                      done 2>/dev/null\n\
                      for d in .git .git/hooks .maos; do mv $d moved && echo WON mv $d; rm -rf $d; done 2>/dev/null\n\
                      mkdir -p .git/hooks; echo evil > .git/hooks/post-checkout && echo WON new; echo fine > .git/HEAD && echo wrote HEAD";
        let done = place.sh(attack).await;
        let said = done.stdout.text();
        assert!(!said.contains("WON") && said.contains("wrote HEAD"), "{said} {}", done.stderr.text());
        for file in files {
            assert_eq!(fs::read_to_string(root.join(file)).unwrap(), "trusted", "{file}");
        }
        // The control: outside it works.
        let said = std::process::Command::new("sh").args(["-c", attack]).current_dir(root).output().unwrap();
        assert!(String::from_utf8_lossy(&said.stdout).contains("WON write AGENTS.md"));
    }
}

/// Tool calls of a turn run at the same time: of many edits of one file none is lost.
#[test]
fn edits_at_the_same_time_are_all_kept() {
    let (dir, _) = workspace();
    let open = || Workspace::open(&dir.path().join("task"), Quota::default()).unwrap();
    let marks: Vec<String> = (0..40).map(|i| format!("<mark {i}>")).collect();
    open().write("a.txt", marks.concat().as_bytes()).unwrap();
    std::thread::scope(|threads| {
        for mark in &marks {
            let open = &open;
            threads.spawn(move || open().edit("a.txt", mark, "", false, 1 << 20).unwrap());
        }
    });
    assert_eq!(open().read("a.txt", 0, 1 << 20).unwrap().size, 0, "every edit is in the file");
}
