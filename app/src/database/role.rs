//! The application's role: made on a private server, judged everywhere.

use anyhow::Context as _;
use sha2::{Digest as _, Sha256};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, PgPool};
use url::Url;

/// The application's role on a private server.
const PRIVATE_ROLE: &str = "wopay_app";

/// The URL of the application's role on a private server, from the owner's. Its password follows from the owner's and not
/// the other way round, so that every command that may read the one file finds both.
///
/// # Errors
/// When the owner's URL is none.
pub(crate) fn private_app_url(owner_url: &str) -> anyhow::Result<String> {
    let mut url: Url = owner_url.parse().context("the private Postgres has no URL")?;
    let digest = Sha256::new()
        .chain_update(b"wopay/v1/private-postgres/app\0")
        .chain_update(url.password().unwrap_or_default())
        .finalize();
    let set = url.set_username(PRIVATE_ROLE).and_then(|()| url.set_password(Some(&hex::encode(digest))));
    set.map_err(|()| anyhow::anyhow!("the private Postgres has a URL without a host"))?;
    Ok(url.into())
}

/// Makes the role on a private server if it cannot log in: on the first start, on a data folder of a version that had one
/// role, or after the owner's password was lost.
///
/// # Errors
/// When the server refuses.
pub(super) async fn ensure_login(owner: &PgPool, app: &PgConnectOptions) -> anyhow::Result<()> {
    if let Ok(connection) = app.connect().await {
        connection.close().await.ok();
        return Ok(());
    }
    let name = app.get_username();
    let mut tx = owner.begin().await?;
    // Of two first starts one makes it.
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('wopay role ' || $1, 0))")
        .bind(name)
        .execute(&mut *tx)
        .await?;
    let exists: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)")
        .bind(name)
        .fetch_one(&mut *tx)
        .await?;
    let password = app.to_url_lossy().password().unwrap_or_default().to_owned();
    let verb = if exists { "ALTER" } else { "CREATE" };
    // No statement of this kind takes parameters; the name is ours and the password is hexadecimal.
    let statement = format!(
        "{verb} ROLE {name} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD '{password}'"
    );
    sqlx::query(&statement).execute(&mut *tx).await.context("cannot make the application's role")?;
    tx.commit().await?;
    tracing::info!(role = name, "the application has a role of its own in the private Postgres");
    Ok(())
}

/// What a role could do to the ledger.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct Powers {
    pub(super) role: String,
    is_superuser: bool,
    makes_roles: bool,
    is_owner: bool,
    owns_schema: bool,
    may_alter: bool,
}

/// What the role of this pool could do.
///
/// # Errors
/// When the database cannot be asked.
pub(super) async fn powers(pool: &PgPool) -> Result<Powers, sqlx::Error> {
    sqlx::query_as(
        "SELECT
             current_user::text AS role,
             role.rolsuper AS is_superuser,
             role.rolcreaterole AS makes_roles,
             pg_has_role(current_user, ledger.relowner, 'MEMBER') AS is_owner,
             pg_has_role(current_user, schema.nspowner, 'MEMBER') AS owns_schema,
             has_table_privilege(ledger.oid, 'UPDATE, DELETE, TRUNCATE')
                 OR has_table_privilege('claims', 'UPDATE, DELETE, TRUNCATE') AS may_alter
         FROM pg_class AS ledger
         JOIN pg_namespace AS schema ON schema.oid = ledger.relnamespace
         JOIN pg_roles AS role ON role.rolname = current_user
         WHERE ledger.oid = to_regclass('events')",
    )
    .fetch_one(pool)
    .await
}

impl Powers {
    /// Why the application must not run as this role; `None` if it may.
    pub(super) fn refusal(&self) -> Option<String> {
        let reason = match self {
            Self { is_superuser: true, .. } => "is a superuser",
            Self { is_owner: true, .. } => "owns the ledger's tables, or may become the role that does",
            Self { owns_schema: true, .. } => "owns the ledger's schema, and could drop the ledger",
            Self { makes_roles: true, .. } => "may make roles (CREATEROLE), and so become the owner",
            Self { may_alter: true, .. } => "has the right to change or delete what the ledger has recorded",
            _ => return None,
        };
        let role = &self.role;
        Some(format!(
            "production runs as a role that cannot alter the ledger, but {role:?}, the role of database_url, {reason}. Make \
             one (CREATE ROLE wopay_app LOGIN PASSWORD '…'), name it in database_url and the owner in \
             WOPAY_DATABASE_OWNER_URL, and run `wopay migrate`, which gives it the rights it needs"
        ))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

    use super::private_app_url;

    #[test]
    fn the_application_has_a_password_of_its_own() {
        let app = private_app_url("postgres://wopay:0a1b@127.0.0.1:5433/wopay").unwrap();
        assert!(app.starts_with("postgres://wopay_app:") && app.ends_with("@127.0.0.1:5433/wopay"), "{app}");
        assert!(!app.contains("0a1b"), "{app}");
        assert_eq!(app, private_app_url("postgres://wopay:0a1b@127.0.0.1:5433/wopay").unwrap());
        assert_ne!(app, private_app_url("postgres://wopay:0a1c@127.0.0.1:5433/wopay").unwrap());
    }
}
