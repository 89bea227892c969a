//! The owner's role and the application's: what the latter cannot do, and who may run as which.

use sqlx::{Connection as _, Executor as _, PgConnection};
use wopay_testkit::{TestDatabase, empty_database};

use crate::gateway::Gateway;

const PASSWORD: &str = "only-for-tests";
const MASTER_KEY: (&str, &str) =
    ("WOPAY_CUSTODY_MASTER_KEY", "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff");

/// URLs of a role that owns the database and of one that owns nothing, neither a superuser: as a person would set a
/// Postgres up. Roles belong to the whole server, so each database has its own.
pub(crate) struct Roles {
    pub(crate) owner: String,
    pub(crate) app: String,
}

impl Roles {
    pub(crate) async fn of(database: &TestDatabase) -> Self {
        let name = &database.name;
        for role in ["owner", "app"] {
            let statement = format!("CREATE ROLE {role}_{name} LOGIN PASSWORD '{PASSWORD}'");
            database.pool.execute(statement.as_str()).await.unwrap();
        }
        database.pool.execute(format!("ALTER DATABASE {name} OWNER TO owner_{name}").as_str()).await.unwrap();
        let url = |role: &str| {
            let mut url: url::Url = database.url.parse().unwrap();
            url.set_username(&format!("{role}_{name}")).unwrap();
            url.set_password(Some(PASSWORD)).unwrap();
            url.to_string()
        };
        Self { owner: url("owner"), app: url("app") }
    }

    /// For a configuration file.
    pub(crate) fn settings(&self) -> String {
        format!("database_url = \"{}\"\ndatabase_owner_url = \"{}\"\n", self.app, self.owner)
    }
}

/// A migrated database with one merchant in its ledger.
async fn ledger() -> (TestDatabase, Roles, Gateway) {
    let database = empty_database().await;
    let roles = Roles::of(&database).await;
    let gateway = Gateway::new(&roles.settings()).await;
    let migrated = gateway.run(&["migrate"]);
    assert!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
    gateway.run_json(&["merchant", "create", "--name", "Shop", "--email", "a@example.com", "--json"]);
    (database, roles, gateway)
}

/// Why a statement fails: the SQLSTATE and the message.
async fn refusal(connection: &mut PgConnection, statement: &str) -> (String, String) {
    let error = connection.execute(statement).await.expect_err(statement);
    let error = error.as_database_error().expect(statement);
    (error.code().unwrap_or_default().into_owned(), error.message().to_owned())
}

const ALTERATIONS: [&str; 15] = [
    "UPDATE events SET payload = '{}'",
    "UPDATE events SET recorded_at = now() WHERE position = 1",
    "DELETE FROM events WHERE position = 1",
    "TRUNCATE events",
    "UPDATE claims SET aggregate_id = 'another'",
    "DELETE FROM claims",
    "TRUNCATE claims",
    "UPDATE audit_tiles SET hashes = ''",
    "DELETE FROM audit_tiles",
    "TRUNCATE audit_tiles",
    "UPDATE audit_checkpoints SET note = ''",
    "DELETE FROM audit_checkpoints",
    "TRUNCATE audit_checkpoints",
    "DELETE FROM ledger_head",
    "TRUNCATE ledger_head",
];

#[tokio::test]
async fn neither_the_application_nor_the_owner_alters_what_was_recorded() {
    let (_database, roles, _gateway) = ledger().await;
    let mut app = PgConnection::connect(&roles.app).await.unwrap();
    let mut owner = PgConnection::connect(&roles.owner).await.unwrap();
    for alteration in ALTERATIONS {
        let (code, message) = refusal(&mut app, alteration).await;
        assert_eq!(code, "42501", "{alteration}: {message}");
        let (code, message) = refusal(&mut owner, alteration).await;
        assert!(code == "55000" && message.contains("never changed"), "{alteration}: {code} {message}");
    }
    for tampering in [
        "DROP TABLE events",
        "DROP TABLE ledger_head",
        "ALTER TABLE events DISABLE TRIGGER ALL",
        "ALTER TABLE events DISABLE TRIGGER protect",
        "ALTER TABLE events DROP COLUMN payload",
        "ALTER TABLE events OWNER TO CURRENT_USER",
        "DROP TRIGGER protect ON events",
        "DROP FUNCTION refuse_change() CASCADE",
        "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE sql AS 'SELECT NULL'",
        "CREATE RULE r AS ON INSERT TO events DO INSTEAD NOTHING",
        "DROP SCHEMA public CASCADE",
        "CREATE TABLE mine (n int)",
        "SET session_replication_role = replica",
        "DELETE FROM _sqlx_migrations",
        "UPDATE address_pool SET address = 'mine'",
        "UPDATE wallet_seeds SET sealed = ''",
    ] {
        let (code, message) = refusal(&mut app, tampering).await;
        assert_eq!(code, "42501", "{tampering}: {message}");
    }
}

#[tokio::test]
async fn the_head_only_moves_forward() {
    let (_database, roles, _gateway) = ledger().await;
    for url in [&roles.app, &roles.owner] {
        let mut connection = PgConnection::connect(url).await.unwrap();
        for backwards in [
            "UPDATE ledger_head SET position = position - 1",
            "UPDATE ledger_head SET recorded_at = recorded_at - interval '1 second'",
            "WITH later AS (SELECT) UPDATE ledger_head SET position = 0",
        ] {
            assert_eq!(refusal(&mut connection, backwards).await.0, "55000", "{backwards}");
        }
        // Not by a detour, and not behind the back of a table that only looks like the events.
        connection.execute("CREATE TEMPORARY TABLE events (position bigint)").await.unwrap();
        let mut tx = connection.begin().await.unwrap();
        tx.execute("UPDATE ledger_head SET position = position + 5").await.unwrap();
        tx.execute("UPDATE ledger_head SET position = position - 6").await.unwrap();
        let error = tx.commit().await.expect_err("the commit looks at it");
        assert!(error.to_string().contains("below the newest event"), "{error}");
    }
}

#[tokio::test]
async fn migrating_again_takes_rights_away_that_somebody_gave() {
    let (database, roles, gateway) = ledger().await;
    let app = format!("app_{}", database.name);
    database.pool.execute(format!("GRANT ALL ON events, claims TO {app}").as_str()).await.unwrap();
    database.pool.execute(format!("GRANT CREATE ON SCHEMA public TO {app}").as_str()).await.unwrap();
    database.pool.execute(format!("REVOKE ALL ON payments FROM {app}").as_str()).await.unwrap();
    assert!(gateway.run(&["migrate"]).status.success());
    let mut connection = PgConnection::connect(&roles.app).await.unwrap();
    assert_eq!(refusal(&mut connection, "DELETE FROM events").await.0, "42501");
    assert_eq!(refusal(&mut connection, "CREATE TABLE mine (n int)").await.0, "42501");
    connection.execute("DELETE FROM payments").await.unwrap();
}

#[tokio::test]
async fn production_refuses_to_run_as_a_role_that_could_alter_the_ledger() {
    let (database, roles, gateway) = ledger().await;
    let text = std::fs::read_to_string(gateway.config_path()).unwrap();
    let text = text.replace("\"development\"", "\"production\"") + "public_url = \"https://pay.example\"\n";
    std::fs::write(gateway.config_path(), text).unwrap();
    let create = |number: u8| {
        ["merchant", "create", "--name", "B", "--email"]
            .map(str::to_owned)
            .into_iter()
            .chain([format!("b{number}@example.com")])
    };
    let run = |number: u8, database_url: &str| {
        let args: Vec<String> = create(number).collect();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let output = gateway.run_with(&args, &[MASTER_KEY, ("WOPAY_DATABASE_URL", database_url)]);
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    // The key of the development folder sealed the first merchant's secrets; production brings its own.
    database.pool.execute("DELETE FROM secrets").await.unwrap();
    database.pool.execute("DELETE FROM subject_keys").await.unwrap();

    let (done, stderr) = run(1, &roles.app);
    assert!(done, "{stderr}");
    let (done, stderr) = run(2, &roles.owner);
    assert!(!done && stderr.contains("owns the ledger's tables") && stderr.contains("CREATE ROLE"), "{stderr}");
    let (done, stderr) = run(3, &database.url);
    assert!(!done && stderr.contains("is a superuser"), "{stderr}");

    let app = format!("app_{}", database.name);
    for (give, take, expected) in [
        ("GRANT UPDATE ON events TO", "REVOKE UPDATE ON events FROM", "the right to change or delete"),
        ("GRANT TRUNCATE ON claims TO", "REVOKE TRUNCATE ON claims FROM", "the right to change or delete"),
        (
            &format!("GRANT owner_{} TO", database.name),
            &format!("REVOKE owner_{} FROM", database.name),
            "owns the ledger",
        ),
    ] {
        database.pool.execute(format!("{give} {app}").as_str()).await.unwrap();
        let (done, stderr) = run(4, &roles.app);
        assert!(!done && stderr.contains(expected), "{give}: {stderr}");
        database.pool.execute(format!("{take} {app}").as_str()).await.unwrap();
    }
    database.pool.execute(format!("ALTER ROLE {app} CREATEROLE").as_str()).await.unwrap();
    let (done, stderr) = run(5, &roles.app);
    assert!(!done && stderr.contains("CREATEROLE"), "{stderr}");
}

#[tokio::test]
async fn a_role_that_does_not_exist_is_named_with_what_to_do() {
    let database = empty_database().await;
    let roles = Roles::of(&database).await;
    let missing = roles.app.replace("app_", "nobody_");
    let gateway =
        Gateway::new(&format!("database_url = \"{missing}\"\ndatabase_owner_url = \"{}\"\n", roles.owner)).await;
    let refused = gateway.run(&["migrate"]);
    let stderr = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && stderr.contains("CREATE ROLE \"nobody_"), "{stderr}");
}

#[tokio::test]
async fn both_roles_must_find_the_same_ledger() {
    let database = empty_database().await;
    let roles = Roles::of(&database).await;
    database.pool.execute("CREATE SCHEMA elsewhere").await.unwrap();
    let owner = format!("{}?options=-csearch_path%3Delsewhere", roles.owner.split('?').next().unwrap());
    database.pool.execute(format!("ALTER SCHEMA elsewhere OWNER TO owner_{}", database.name).as_str()).await.unwrap();
    let settings = format!("database_url = \"{}\"\ndatabase_owner_url = \"{owner}\"\n", roles.app);
    let refused = Gateway::new(&settings).await.run(&["merchant", "create", "--name", "A", "--email", "a@example.com"]);
    let stderr = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && stderr.contains("another schema"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_folder_of_one_role_gets_the_other_by_itself() {
    let mut gateway = Gateway::new("").await;
    gateway.start().await;
    let owner = std::fs::read_to_string(gateway.data_dir().join("postgres.url")).unwrap();
    let mut connection = PgConnection::connect(&owner).await.unwrap();
    let roles = async |connection: &mut PgConnection| -> Vec<String> {
        sqlx::query_scalar(
            "SELECT DISTINCT usename::text FROM pg_stat_activity
             WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()",
        )
        .fetch_all(connection)
        .await
        .unwrap()
    };
    let at_work = roles(&mut connection).await;
    assert!(at_work.contains(&"wopay_app".to_owned()), "{at_work:?}");
    // As the version before left it.
    connection.execute("DROP OWNED BY wopay_app").await.unwrap();
    connection.execute("DROP ROLE wopay_app").await.unwrap();
    connection.close().await.unwrap();
    assert_eq!(gateway.stop().await, 0);

    gateway.start().await;
    gateway.run_json(&["merchant", "create", "--name", "Shop", "--email", "a@example.com", "--json"]);
    let owner = std::fs::read_to_string(gateway.data_dir().join("postgres.url")).unwrap();
    let mut connection = PgConnection::connect(&owner).await.unwrap();
    let at_work = roles(&mut connection).await;
    assert!(at_work.contains(&"wopay_app".to_owned()), "{at_work:?}");
    assert_eq!(gateway.stop().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_auditor_reads_with_a_role_that_may_do_nothing_else_and_without_the_master_key() {
    let (database, roles, _gateway) = ledger().await;
    let mut owner = PgConnection::connect(&roles.owner).await.unwrap();
    let auditor = format!("app_{}", database.name);
    owner.execute(format!("REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {auditor}").as_str()).await.unwrap();
    let granted = "events, ledger_head, audit_tiles, audit_checkpoints, _sqlx_migrations";
    owner.execute(format!("GRANT SELECT ON {granted} TO {auditor}").as_str()).await.unwrap();

    let elsewhere = Gateway::new(&format!("database_url = \"{}\"", roles.app)).await;
    let replayed = elsewhere.run_with(&["audit", "replay", "--json"], &[]);
    assert!(replayed.status.success(), "{}", String::from_utf8_lossy(&replayed.stderr));
    let replayed: serde_json::Value = serde_json::from_slice(&replayed.stdout).unwrap();
    assert_eq!((&replayed["merchants"], &replayed["is_balanced"]), (&1.into(), &true.into()));

    // Whoever lacks the key is asked for the public one; no key is made up.
    let verified = elsewhere.run_with(&["audit", "verify"], &[]);
    let said = String::from_utf8(verified.stderr).unwrap();
    assert!(verified.status.code() == Some(1) && said.contains("--key"), "{said}");
    assert!(!elsewhere.data_dir().join("master.key").exists());
}
