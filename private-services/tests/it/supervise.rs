//! Programs that end with us.

use std::fs::{self, File, OpenOptions};
use std::path::Path;
use std::time::Duration;

use wopay_private_services::{Signal, SuperviseOptions, Supervised};

use crate::{eventually, folder};

fn output(path: &Path) -> File {
    OpenOptions::new().create(true).append(true).open(path).unwrap()
}

fn shell(script: &str, out: &Path) -> SuperviseOptions {
    SuperviseOptions {
        program: "/bin/sh".into(),
        args: vec!["-c".into(), script.into()],
        env: vec![("GIVEN".into(), "yes".into())],
        stdout: output(out),
        stderr: output(out),
        stop: Signal::Terminate,
        grace: Duration::from_secs(1),
        remove_when_stopped: None,
    }
}

fn contains(path: &Path, text: &str) -> bool {
    fs::read_to_string(path).is_ok_and(|found| found.contains(text))
}

#[test]
fn gets_the_stop_signal_and_only_the_environment_it_is_given() {
    let folder = folder();
    let out = folder.path().join("out");
    let script =
        "trap 'echo told; exit 3' TERM; echo given=$GIVEN cargo=$CARGO_MANIFEST_DIR; while :; do sleep 0.05; done";
    let mut program = Supervised::spawn(shell(script, &out)).unwrap();
    eventually("the program runs", || contains(&out, "given=yes cargo=\n"));
    assert!(program.try_wait().unwrap().is_none());
    program.stop_blocking().unwrap();
    assert!(contains(&out, "told"));
}

#[test]
fn is_killed_when_it_does_not_stop() {
    let folder = folder();
    let out = folder.path().join("out");
    let mut program = Supervised::spawn(shell("trap '' TERM; echo up; while :; do sleep 0.05; done", &out)).unwrap();
    eventually("the program runs", || contains(&out, "up"));
    program.stop_blocking().unwrap();
}

#[test]
fn stops_even_when_it_hangs() {
    let folder = folder();
    let out = folder.path().join("out");
    let mut options = shell("echo up; while :; do sleep 0.05; done", &out);
    options.grace = Duration::from_secs(60);
    let mut program = Supervised::spawn(options).unwrap();
    eventually("the program runs", || contains(&out, "up"));
    program.signal(Signal::Stop).unwrap();
    let start = std::time::Instant::now();
    program.stop_blocking().unwrap();
    assert!(start.elapsed() < Duration::from_secs(30), "it was continued, not killed at the end of its grace");
}

#[test]
fn its_own_end_is_seen_and_its_folder_removed() {
    let folder = folder();
    let scratch = folder.path().join("scratch");
    fs::create_dir_all(scratch.join("deep")).unwrap();
    let mut options = shell("exit 7", &folder.path().join("out"));
    options.remove_when_stopped = Some(scratch.clone());
    let mut program = Supervised::spawn(options).unwrap();
    let mut status = None;
    eventually("it ends", || {
        status = program.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.unwrap().code(), Some(7));
    assert!(!scratch.exists());
}

#[test]
fn a_program_that_cannot_be_run_has_ended() {
    let folder = folder();
    let out = folder.path().join("out");
    let mut options = shell("", &out);
    options.program = folder.path().join("missing");
    let mut program = Supervised::spawn(options).unwrap();
    eventually("it ends", || program.try_wait().unwrap().is_some_and(|status| status.code() == Some(127)));
    assert!(contains(&out, "missing"));
}
