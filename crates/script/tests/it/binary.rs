//! The program `maos-scripted`: what it says, where it listens, how it ends.
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Output, Stdio};

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_maos-scripted"));
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(Stdio::null());
    command
}

fn output(arguments: &[&str]) -> Output {
    program().args(arguments).output().expect("runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

/// Ends the program with the test, whatever happens.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn it_listens_where_it_says_and_ends_on_sigterm() {
    let folder = tempfile::tempdir().expect("a folder");
    let port_file = folder.path().join("port");
    let child = program().args(["--threads", "2", "--port-file"]).arg(&port_file).spawn().expect("starts");
    let mut running = Running(child);
    let mut line = String::new();
    let stdout = running.0.stdout.take().expect("piped");
    BufReader::new(stdout).read_line(&mut line).expect("a line");
    let addr = line.trim().strip_prefix("listening on http://").expect("the address").to_owned();
    let port = std::fs::read_to_string(&port_file).expect("written before the line");
    assert_eq!(addr, format!("127.0.0.1:{port}"));
    let mut client = TcpStream::connect(&addr).expect("connects");
    client.write_all(b"GET /v1/models HTTP/1.0\r\n\r\n").expect("sends");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("an answer");
    assert!(answer.contains("scripted-1"), "{answer}");
    let taken = output(&["--port", port.trim()]);
    assert_eq!(taken.status.code(), Some(1), "the port is in use");
    let status = Command::new("kill").arg(running.0.id().to_string()).status().expect("kill");
    assert!(status.success());
    assert_eq!(running.0.wait().expect("ends").code(), Some(0));
}

#[test]
fn a_bad_script_names_file_and_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = folder.path().join("bad.yml");
    std::fs::write(&script, "rules:\n  - name: a\n    fault: {}\n").expect("written");
    let path = script.to_str().expect("UTF-8");
    let bad = output(&["--script", path]);
    assert_eq!(bad.status.code(), Some(2));
    let expected = format!("error: {path}: script line 2: a fault needs one of: ");
    assert!(text(&bad.stderr).starts_with(&expected), "{}", text(&bad.stderr));
    assert!(bad.stdout.is_empty());
    let missing = output(&["--script", "/nowhere.yml"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(text(&missing.stderr).starts_with("error: cannot read /nowhere.yml: "));
}

#[test]
fn a_check_lists_the_rules() {
    let checked = output(&["--check"]);
    assert_eq!(checked.status.code(), Some(0));
    assert!(text(&checked.stdout).lines().any(|line| line == "plan-n"));
}
