//! Ordinary runs: what programs get, what comes back, what is left.
use crate::place::{CONTAINED, Place};

#[tokio::test]
async fn a_program_runs_and_its_output_and_exit_code_come_back() {
    for choice in CONTAINED {
        let place = Place::new(choice).await;
        let done = place.sh("echo out; echo err >&2; echo made > made.txt; pwd; id -u; env | sort; exit 3").await;
        println!("{choice:?} {:?}\n{}\n{}", place.sandbox.describe(), done.stdout.text(), done.stderr.text());
        assert_eq!(done.exit, 3, "{choice:?}");
        assert!(done.stdout.text().starts_with("out\n"), "{choice:?}");
        assert_eq!(done.stderr.text(), "err\n", "{choice:?}");
        assert_eq!(place.workspace.read("made.txt", 0, 100).unwrap().bytes, b"made\n");
        let done = place.python("import sys; print(sys.version_info[0])").await;
        assert_eq!((done.exit, done.stdout.text().as_str(), done.stderr.text().as_str()), (0, "3\n", ""), "{choice:?}");
    }
}
