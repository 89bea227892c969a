//! The SQL of a rebuild: tables like the live ones in a schema beside them, and the swap.

use sqlx::{Executor, PgConnection, Row};

use super::indexes;
use crate::model::ReadModel;

/// Whoever wants to read waits behind us for as long as we wait for a table: not for long.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '300ms'";

/// The lock of a ledger's rebuild, with the ledger's schema as `$1`.
const LOCK_KEY: &str = "hashtextextended('wopay projections rebuild ' || $1, 0)";

/// The schema beside the live one. Names are quoted once, here.
#[derive(Clone)]
pub(crate) struct Shadow {
    live: String,
    beside: String,
}

impl Shadow {
    /// The schema beside the connection's own, for this connection alone until it [`release`](Self::release)s it; `None`
    /// when another rebuild or check of this ledger is at work.
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

    /// The live table's name.
    pub(crate) fn live(&self, table: &str) -> String {
        format!("{}.{table}", self.live)
    }

    /// The new table's name.
    pub(crate) fn beside(&self, table: &str) -> String {
        format!("{}.{table}", self.beside)
    }

    /// Makes the empty tables, with the indexes alone that loading needs. Clears what an earlier rebuild left.
    pub(super) async fn create(&self, connection: &mut PgConnection, models: &[ReadModel]) -> Result<(), sqlx::Error> {
        self.drop(connection).await?;
        connection.execute(format!("CREATE SCHEMA {}", self.beside).as_str()).await?;
        for model in models {
            for table in model.tables() {
                let (live, beside) = (self.live(table), self.beside(table));
                let statement = format!("CREATE TABLE {beside} (LIKE {live} INCLUDING ALL EXCLUDING INDEXES)");
                connection.execute(statement.as_str()).await?;
                if let Some(statement) = storage_parameters(connection, &live, &beside).await? {
                    connection.execute(statement.as_str()).await?;
                }
                for index in indexes::of(connection, &live, &beside).await? {
                    if model.lookups().contains(&index.name.as_str()) {
                        connection.execute(index.statement.as_str()).await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Removes the new tables, if there are any.
    pub(super) async fn drop(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        connection.execute(format!("DROP SCHEMA IF EXISTS {} CASCADE", self.beside).as_str()).await?;
        Ok(())
    }

    /// Puts the new tables first in the connection's `search_path`, and sets it up for bulk work.
    pub(super) async fn enter(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let settings = [
            ("search_path", format!("{}, {}", self.beside, self.live)),
            // What a crash loses is made again. The swap itself waits for the disk.
            ("synchronous_commit", "off".to_owned()),
            // The tables grow from nothing: a plan that was made for the first batch must not be kept.
            ("plan_cache_mode", "force_custom_plan".to_owned()),
            // What is looked up was written a moment ago.
            ("random_page_cost", "1.1".to_owned()),
            ("jit", "off".to_owned()),
            ("work_mem", "64MB".to_owned()),
            ("maintenance_work_mem", "128MB".to_owned()),
            ("statement_timeout", "0".to_owned()),
        ];
        for (name, value) in settings {
            sqlx::query("SELECT set_config($1, $2, false)").bind(name).bind(value).execute(&mut *connection).await?;
        }
        Ok(())
    }

    /// Makes the indexes of a model's tables that loading did without, and lets the planner know the tables.
    pub(super) async fn complete(&self, connection: &mut PgConnection, model: ReadModel) -> Result<(), sqlx::Error> {
        for table in model.tables() {
            for index in indexes::of(connection, &self.live(table), &self.beside(table)).await? {
                if !model.lookups().contains(&index.name.as_str()) {
                    connection.execute(index.statement.as_str()).await?;
                }
            }
            connection.execute(format!("ANALYZE {}", self.beside(table)).as_str()).await?;
        }
        Ok(())
    }

    /// Puts the new tables where the live ones are, with the owner and the grants of those.
    pub(super) async fn swap(&self, tx: &mut PgConnection, models: &[ReadModel]) -> Result<(), sqlx::Error> {
        tx.execute(LOCK_TIMEOUT).await?;
        for table in models.iter().flat_map(|model| model.tables()) {
            for statement in self.rights(tx, table).await? {
                tx.execute(statement.as_str()).await?;
            }
            tx.execute(format!("DROP TABLE {}", self.live(table)).as_str()).await?;
            tx.execute(format!("ALTER TABLE {} SET SCHEMA {}", self.beside(table), self.live).as_str()).await?;
        }
        tx.execute(format!("DROP SCHEMA {}", self.beside).as_str()).await?;
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

    /// Statements that give the new table the live one's grants (say, to the role that the gateway runs as), on the table
    /// and on columns, and its owner, if that is not the role that rebuilds.
    async fn rights(&self, connection: &mut PgConnection, table: &str) -> Result<Vec<String>, sqlx::Error> {
        let statement = "
            WITH granted AS (
                SELECT '' AS columns, class.relowner, privilege.*
                FROM pg_class AS class
                CROSS JOIN LATERAL aclexplode(class.relacl) AS privilege
                WHERE class.oid = to_regclass($1)
                UNION ALL
                SELECT format(' (%I)', attribute.attname), class.relowner, privilege.*
                FROM pg_class AS class
                JOIN pg_attribute AS attribute ON attribute.attrelid = class.oid AND NOT attribute.attisdropped
                CROSS JOIN LATERAL aclexplode(attribute.attacl) AS privilege
                WHERE class.oid = to_regclass($1)
            )
            SELECT format(
                'GRANT %s%s ON %s TO %s%s',
                granted.privilege_type,
                granted.columns,
                $2,
                CASE granted.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(role.rolname) END,
                CASE WHEN granted.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
            FROM granted
            LEFT JOIN pg_roles AS role ON role.oid = granted.grantee
            WHERE granted.grantee <> granted.relowner
            UNION ALL
            SELECT format('ALTER TABLE %s OWNER TO %I', $2, role.rolname)
            FROM pg_class AS class
            JOIN pg_roles AS role ON role.oid = class.relowner
            WHERE class.oid = to_regclass($1) AND role.rolname <> current_user";
        sqlx::query_scalar(statement).bind(self.live(table)).bind(self.beside(table)).fetch_all(connection).await
    }
}

/// A statement that gives the new table the storage parameters of the live one, which `LIKE` does not copy.
async fn storage_parameters(
    connection: &mut PgConnection,
    live: &str,
    beside: &str,
) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT format('ALTER TABLE %s SET (%s)', $2, array_to_string(reloptions, ', '))
         FROM pg_class
         WHERE oid = to_regclass($1) AND reloptions IS NOT NULL",
    )
    .bind(live)
    .bind(beside)
    .fetch_optional(connection)
    .await
}
