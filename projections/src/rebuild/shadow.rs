//! The SQL of a rebuild: tables like the live ones in a schema beside them, and the swap.

use sqlx::{Executor, PgConnection, Row};

use crate::model::ReadModel;

/// Waiting for a table longer than this lets the readers behind us pass.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '2s'";

/// The lock of a ledger's rebuild, with the ledger's schema as `$1`.
const LOCK_KEY: &str = "hashtextextended('wopay projections rebuild ' || $1, 0)";

/// The schema beside the live one. Names are quoted once, here.
pub(super) struct Shadow {
    live: String,
    beside: String,
}

impl Shadow {
    /// The schema beside the connection's own, for this connection alone until it [`release`](Self::release)s it; `None`
    /// when another rebuild of this ledger is at work.
    pub(super) async fn claim(connection: &mut PgConnection) -> Result<Option<Self>, sqlx::Error> {
        let shadow = Self::name(connection).await?;
        let locked = sqlx::query_scalar(&format!("SELECT pg_try_advisory_lock({LOCK_KEY})"))
            .bind(&shadow.live)
            .fetch_one(connection)
            .await?;
        Ok(if locked { Some(shadow) } else { None })
    }

    /// Lets others rebuild.
    pub(super) async fn release(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let statement = format!("SELECT pg_advisory_unlock({LOCK_KEY})");
        sqlx::query(&statement).bind(&self.live).execute(connection).await?;
        Ok(())
    }

    /// Makes the empty tables and puts them first in the connection's `search_path`. Clears what an earlier rebuild left.
    pub(super) async fn create(&self, connection: &mut PgConnection, models: &[ReadModel]) -> Result<(), sqlx::Error> {
        let Self { live, beside } = self;
        connection.execute(format!("DROP SCHEMA IF EXISTS {beside} CASCADE").as_str()).await?;
        connection.execute(format!("CREATE SCHEMA {beside}").as_str()).await?;
        for table in models.iter().flat_map(|model| model.tables()) {
            let statement = format!("CREATE TABLE {beside}.{table} (LIKE {live}.{table} INCLUDING ALL)");
            connection.execute(statement.as_str()).await?;
            self.name_indexes(connection, table).await?;
        }
        connection.execute(format!("SET search_path TO {beside}, {live}").as_str()).await?;
        Ok(())
    }

    /// Lets the planner know the new tables, which nobody has analyzed yet.
    pub(super) async fn analyze(&self, connection: &mut PgConnection, models: &[ReadModel]) -> Result<(), sqlx::Error> {
        for table in models.iter().flat_map(|model| model.tables()) {
            connection.execute(format!("ANALYZE {}.{table}", self.beside).as_str()).await?;
        }
        Ok(())
    }

    /// Puts the new tables where the live ones are, with the grants of those.
    pub(super) async fn swap(&self, tx: &mut PgConnection, models: &[ReadModel]) -> Result<(), sqlx::Error> {
        let Self { live, beside } = self;
        tx.execute(LOCK_TIMEOUT).await?;
        for table in models.iter().flat_map(|model| model.tables()) {
            for grant in self.grants(tx, table).await? {
                tx.execute(grant.as_str()).await?;
            }
            tx.execute(format!("DROP TABLE {live}.{table}").as_str()).await?;
            tx.execute(format!("ALTER TABLE {beside}.{table} SET SCHEMA {live}").as_str()).await?;
        }
        tx.execute(format!("DROP SCHEMA {beside}").as_str()).await?;
        Ok(())
    }

    async fn name(connection: &mut PgConnection) -> Result<Self, sqlx::Error> {
        let row = sqlx::query(
            "SELECT quote_ident(current_schema()) AS live, quote_ident(current_schema() || '_rebuild') AS beside",
        )
        .fetch_one(connection)
        .await?;
        Ok(Self { live: row.try_get("live")?, beside: row.try_get("beside")? })
    }

    /// `LIKE` names indexes by rules of its own; gives those of the new table the live ones' names.
    async fn name_indexes(&self, connection: &mut PgConnection, table: &str) -> Result<(), sqlx::Error> {
        // An index is recognized by what it does: its definition after `… ON schema.table`. Twins pair by their order.
        let statement = "
            WITH indexes AS (
                SELECT
                    index.indrelid,
                    class.relname,
                    row_number() OVER (PARTITION BY index.indrelid, definition.text ORDER BY class.oid) AS twin,
                    definition.text AS definition
                FROM pg_index AS index
                JOIN pg_class AS class ON class.oid = index.indexrelid
                CROSS JOIN LATERAL (
                    SELECT index.indisunique::text || regexp_replace(pg_get_indexdef(index.indexrelid), '^.*? USING ', '')
                ) AS definition (text)
                WHERE index.indrelid IN (to_regclass($1), to_regclass($2))
            )
            SELECT quote_ident(beside.relname) AS given, quote_ident(live.relname) AS wanted
            FROM indexes AS live
            JOIN indexes AS beside USING (definition, twin)
            WHERE live.indrelid = to_regclass($1) AND beside.indrelid = to_regclass($2)
              AND live.relname <> beside.relname";
        let pairs = sqlx::query(statement)
            .bind(format!("{}.{table}", self.live))
            .bind(format!("{}.{table}", self.beside))
            .fetch_all(&mut *connection)
            .await?;
        for pair in pairs {
            let (given, wanted): (String, String) = (pair.try_get("given")?, pair.try_get("wanted")?);
            let statement = format!("ALTER INDEX {}.{given} RENAME TO {wanted}", self.beside);
            connection.execute(statement.as_str()).await?;
        }
        Ok(())
    }

    /// Statements that give the new table the live one's grants, say to the role of a reporting tool.
    async fn grants(&self, connection: &mut PgConnection, table: &str) -> Result<Vec<String>, sqlx::Error> {
        let statement = "
            SELECT format(
                'GRANT %s ON %s TO %s%s',
                granted.privilege_type,
                $2,
                CASE granted.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(role.rolname) END,
                CASE WHEN granted.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
            FROM pg_class AS class
            CROSS JOIN LATERAL aclexplode(class.relacl) AS granted
            LEFT JOIN pg_roles AS role ON role.oid = granted.grantee
            WHERE class.oid = to_regclass($1) AND granted.grantee <> class.relowner";
        sqlx::query_scalar(statement)
            .bind(format!("{}.{table}", self.live))
            .bind(format!("{}.{table}", self.beside))
            .fetch_all(connection)
            .await
    }
}
