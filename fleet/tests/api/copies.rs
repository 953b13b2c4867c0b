//! Many devices that are like one.

use std::path::Path;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, SqlitePool};

/// Devices dev-000002 to this number, like dev-1, by SQL in this database.
pub async fn copies(database: &Path, last: u32) {
    let options = SqliteConnectOptions::new().filename(database).pragma("synchronous", "OFF");
    let pool = SqlitePool::connect_with(options).await.unwrap();
    for (table, key) in [("device", "id"), ("device_model", "device"), ("device_total", "device")] {
        let columns: Vec<String> = sqlx::query_scalar("SELECT name FROM pragma_table_info(?1)")
            .bind(table)
            .fetch_all(&pool)
            .await
            .unwrap();
        let value = |c: &String| if c == key { "printf('dev-%06d', i)".into() } else { format!("\"{c}\"") };
        let values: Vec<String> = columns.iter().map(value).collect();
        let sql = format!(
            "WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
             INSERT INTO {table} ({}) SELECT {} FROM {table}, n WHERE {key} = 'dev-1'",
            columns.join(", "),
            values.join(", ")
        );
        sqlx::query(AssertSqlSafe(sql)).bind(i64::from(last)).execute(&pool).await.unwrap();
    }
    pool.close().await;
}
