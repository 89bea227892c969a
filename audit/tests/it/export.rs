//! Exports of a real log, checked offline; and what is done to them afterwards.

use std::fs;
use std::path::{Path, PathBuf};

use wopay_audit::AuditKey;
use wopay_audit::export::{CheckOptions, CheckReport, ExportError, ExportOptions, Problem, check, export};
use wopay_audit::replay::Moment;

use crate::sealed::ORIGIN;
use crate::story::Story;

struct Made {
    story: Story,
    out: PathBuf,
    _folder: tempfile::TempDir,
}

impl Made {
    async fn of(from: Option<i64>, to: Option<i64>) -> Self {
        let story = Story::told().await;
        story.world.seal().await;
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("export");
        let options = ExportOptions {
            from: from.map(Moment::Position),
            to: to.map(Moment::Position),
            out: out.clone(),
            trusted: None,
        };
        export(story.pool(), &story.world.public(), &options, |_| {}).await.unwrap();
        Self { story, out, _folder: folder }
    }

    fn check(&self) -> CheckReport {
        check(&self.out, &CheckOptions { key: Some(self.story.world.public()), trusted: None }, &|_| {}).unwrap()
    }

    fn problems(&self) -> Vec<String> {
        self.check().problems.iter().map(Problem::to_string).collect()
    }

    /// Changes a file.
    fn change(&self, name: &str, change: impl FnOnce(String) -> String) {
        let path = self.out.join(name);
        fs::write(&path, change(fs::read_to_string(&path).unwrap())).unwrap();
    }

    /// Makes the manifest say again what the files are, as a forger would.
    fn fix_manifest(&self) {
        use sha2::{Digest as _, Sha256};
        let path = self.out.join("manifest.json");
        let mut manifest: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        for file in manifest["files"].as_array_mut().unwrap() {
            let text = fs::read(self.out.join(file["path"].as_str().unwrap())).unwrap();
            file["sha256"] = hex::encode(Sha256::digest(&text)).into();
            file["bytes"] = text.len().into();
        }
        fs::write(&path, serde_json::to_vec(&manifest).unwrap()).unwrap();
    }
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_ledger_proves_itself() {
    let made = Made::of(None, None).await;
    let report = made.check();
    assert_eq!(report.problems, []);
    assert!(report.openings_are_proven && report.key_was_given);
    assert_eq!((report.from_position, report.to_position), (1, made.story.position()));

    let events = lines(&made.out.join("events.jsonl"));
    assert_eq!(events.len(), usize::try_from(made.story.position()).unwrap());
    assert!(events[0].starts_with("{\"position\":1,\"aggregate_type\":\"merchant\""));
    let journal = lines(&made.out.join("journal.csv"));
    assert!(journal[0].starts_with("position,line,recorded_at,effective_at,"));
    assert!(journal.iter().any(|line| line.contains("DepositConfirmed") && line.ends_with(",100000000,100.000000")));
    let statements: Vec<_> = fs::read_dir(made.out.join("statements")).unwrap().collect();
    assert_eq!(statements.len(), 4, "custody and payable in USDT, custody and gas in the native coin");
    let custody = lines(&made.out.join("statements/custody_bsc--bsc_0x55d398326f99059ff775485246999027b3197955.csv"));
    assert!(custody[1].contains("opening") && custody[1].ends_with(",0,0,0.000000,0.000000"));
    assert!(
        custody.last().unwrap().contains("closing")
            && custody.last().unwrap().ends_with(",360000000,0,360.000000,0.000000")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn any_period_proves_itself() {
    let story = Story::told().await;
    story.world.seal().await;
    let folder = tempfile::tempdir().unwrap();
    let last = story.position();
    for (from, to) in [(1, 1), (2, 2), (5, 20), (8, last), (last, last), (1, last - 1)] {
        let options = ExportOptions {
            from: Some(Moment::Position(from)),
            to: Some(Moment::Position(to)),
            out: folder.path().join(format!("{from}-{to}")),
            trusted: None,
        };
        export(story.pool(), &story.world.public(), &options, |_| {}).await.unwrap();
        let report = check(&options.out, &CheckOptions::default(), &|_| {}).unwrap();
        assert_eq!(report.problems, [], "{from} to {to}");
        assert_eq!(report.openings_are_proven, from == 1);
        assert!(!report.key_was_given);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_changed_shows() {
    let made = Made::of(Some(5), Some(20)).await;
    made.change("journal.csv", |text| text.replace("60.000000", "61.000000"));
    assert_eq!(made.problems(), ["journal.csv was changed"]);
    made.fix_manifest();
    assert_eq!(made.problems(), ["journal.csv does not follow from the events"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_altered_event_leads_to_another_root_whatever_the_manifest_says() {
    let made = Made::of(Some(5), Some(20)).await;
    made.change("events.jsonl", |text| text.replacen("ORDER-4", "ORDER-X", 1));
    made.fix_manifest();
    assert_eq!(made.problems(), ["the events of the period are not those that were sealed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_swapped_and_added_events_show() {
    let made = Made::of(Some(5), Some(20)).await;
    let original = fs::read_to_string(made.out.join("events.jsonl")).unwrap();
    let events: Vec<&str> = original.lines().collect();
    let cases: [(Vec<&str>, &str); 4] = [
        ([&events[..3], &events[4..]].concat(), "line 4 of events.jsonl is not the event at position 8"),
        (
            [&events[..3], &[events[4], events[3]], &events[5..]].concat(),
            "line 4 of events.jsonl is not the event at position 8",
        ),
        (events[..events.len() - 1].to_vec(), "events.jsonl ends at position 19, the period at 20"),
        ([&events[..], &[events[0]]].concat(), "events.jsonl ends at position 21, the period at 20"),
    ];
    for (changed, problem) in cases {
        fs::write(made.out.join("events.jsonl"), format!("{}\n", changed.join("\n"))).unwrap();
        made.fix_manifest();
        assert!(made.problems().contains(&problem.to_owned()), "{problem}: {:?}", made.problems());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_keys_files_and_openings_show() {
    let made = Made::of(Some(9), None).await;
    let other = AuditKey::from_seed(&[8; 32], ORIGIN).unwrap();
    let options = CheckOptions { key: Some(other.public().clone()), trusted: None };
    let report = check(&made.out, &options, &|_| {}).unwrap();
    assert!(report.problems.iter().any(|problem| matches!(problem, Problem::OtherKey { .. })));
    assert!(report.problems.iter().any(|problem| matches!(problem, Problem::Checkpoint { .. })));

    fs::write(made.out.join("more.csv"), "x").unwrap();
    fs::remove_file(made.out.join("proofs/last")).unwrap();
    assert_eq!(made.problems(), ["more.csv is not in the manifest", "proofs/last is missing"]);
    fs::remove_file(made.out.join("more.csv")).unwrap();

    made.change("manifest.json", |text| text.replacen("\"posted_debit\": \"0\"", "\"posted_debit\": \"5\"", 1));
    assert!(made.problems().iter().any(|problem| problem.contains("differ")), "{:?}", made.problems());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_must_hold_the_checkpoint_that_the_auditor_keeps() {
    let mut story = Story::told().await;
    story.world.seal().await;
    let kept = story.world.note(story.position()).await;
    story.create(77, 100_000).await;
    story.world.seal().await;
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("with");
    let options = ExportOptions { from: None, to: None, out: out.clone(), trusted: Some(kept.clone()) };
    export(story.pool(), &story.world.public(), &options, |_| {}).await.unwrap();
    let trusting = CheckOptions { key: Some(story.world.public()), trusted: Some(kept.clone()) };
    let report = check(&out, &trusting, &|_| {}).unwrap();
    assert!(report.problems.is_empty() && report.holds_trusted_checkpoint);

    // Another history of the same length, signed by the same key.
    let mut other = Story::told().await;
    other.create(78, 100_000).await;
    other.world.seal().await;
    let options = ExportOptions { out: folder.path().join("other"), trusted: None, ..options };
    export(other.pool(), &other.world.public(), &options, |_| {}).await.unwrap();
    fs::copy(out.join("proofs/consistency"), options.out.join("proofs/consistency")).unwrap();
    let report = check(&options.out, &trusting, &|_| {}).unwrap();
    assert!(!report.holds_trusted_checkpoint);
    assert!(report.problems.iter().any(|problem| matches!(problem, Problem::Proof { .. })), "{:?}", report.problems);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_exported_says_why() {
    let story = Story::told().await;
    let folder = tempfile::tempdir().unwrap();
    let key = story.world.public();
    let options = |from, to, out: &str| ExportOptions {
        from: Some(Moment::Position(from)),
        to: Some(Moment::Position(to)),
        out: folder.path().join(out),
        trusted: None,
    };
    let unsealed = export(story.pool(), &key, &options(1, 2, "a"), |_| {}).await;
    assert!(matches!(unsealed, Err(ExportError::Audit(_))));
    story.world.seal().await;
    let backwards = export(story.pool(), &key, &options(5, 4, "a"), |_| {}).await;
    assert!(matches!(backwards, Err(ExportError::Empty { from: 5, to: 4 })));
    fs::create_dir(folder.path().join("b")).unwrap();
    fs::write(folder.path().join("b/x"), "x").unwrap();
    let full = export(story.pool(), &key, &options(1, 4, "b"), |_| {}).await;
    assert!(matches!(full, Err(ExportError::NotEmpty(_))));

    story
        .world
        .tamper(&["UPDATE events SET payload = replace(payload::text, 'ORDER-1', 'ORDER-9')::json WHERE position = 2"])
        .await;
    let tampered = export(story.pool(), &key, &options(1, 9, "c"), |_| {}).await;
    assert!(matches!(tampered, Err(ExportError::Fails(_) | ExportError::Audit(_))), "{tampered:?}");
}
