//! What is said when there is no suitable server.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use wopay_private_services::{
    BinarySearch, NatsOptions, PostgresOptions, Service, ServiceError, start_nats, start_postgres,
};

use crate::{folder, search};

/// A script that answers `--version` as a server would.
fn fake(dir: &Path, name: &str, version: &str) {
    let path = dir.join(name);
    fs::write(&path, format!("#!/bin/sh\necho '{version}'\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn only(dir: &Path) -> BinarySearch {
    BinarySearch { path: None, extra_dirs: vec![dir.to_owned()] }
}

#[tokio::test]
async fn no_nats_server() {
    let folder = folder();
    let error = start_nats(NatsOptions::new(folder.path().join("data"), only(folder.path()))).await.unwrap_err();
    assert!(matches!(error, ServiceError::NotFound { service: Service::Nats, .. }), "{error}");
    let text = error.to_string();
    for expected in ["make tools", "nats_url", folder.path().to_str().unwrap()] {
        assert!(text.contains(expected), "{text}");
    }
}

#[tokio::test]
async fn a_nats_server_that_is_too_old() {
    let folder = folder();
    fake(folder.path(), "nats-server", "nats-server: v2.9.10");
    let error = start_nats(NatsOptions::new(folder.path().join("data"), only(folder.path()))).await.unwrap_err();
    assert!(matches!(error, ServiceError::TooOld { service: Service::Nats, .. }), "{error}");
    assert!(error.to_string().contains("v2.9.10") && error.to_string().contains("2.10"), "{error}");
}

#[tokio::test]
async fn a_newer_server_elsewhere_is_preferred_to_one_that_is_too_old() {
    let folder = folder();
    fake(folder.path(), "nats-server", "nats-server: v2.9.10");
    let mut search = search();
    search.extra_dirs.insert(0, folder.path().to_owned());
    let server = start_nats(NatsOptions::new(folder.path().join("data"), search)).await.unwrap();
    server.stop().await.unwrap();
}

#[tokio::test]
async fn data_of_a_version_that_is_not_installed() {
    let folder = folder();
    fs::create_dir(folder.path().join("postgres")).unwrap();
    fs::write(folder.path().join("postgres/PG_VERSION"), "12\n").unwrap();
    let error = start_postgres(PostgresOptions::new(folder.path(), search())).await.unwrap_err();
    assert!(matches!(error, ServiceError::DataVersion { written_by: 12, .. }), "{error}");
    assert!(error.to_string().contains("PostgreSQL 12"), "{error}");
}
