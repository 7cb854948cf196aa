//! Owns `speed_benchmark.json`: the output speed at each length of the prompt, by EvalScope's own
//! query.
//!
//! It must not know which runs have the file.

use super::database::Table;
use super::python::{Value, dict};
use crate::sqlite::StoreError;

const QUERY: &str = "SELECT prompt_tokens, ROUND(AVG(completion_tokens / latency), 2),
       ROUND(AVG(max_gpu_memory_cost), 2)
FROM result WHERE success = 1 AND latency > 0 GROUP BY prompt_tokens";

pub(super) fn of(table: &Table) -> Result<Value, StoreError> {
    let rows = table.rows(QUERY, |row| {
        Ok(dict([
            ("Prompt Tokens", Value::Int(row.get::<_, i64>(0)?.into())),
            ("Speed(tokens/s)", row.get::<_, f64>(1)?.into()),
            ("GPU Memory(GB)", row.get::<_, f64>(2)?.into()),
        ]))
    })?;
    Ok(Value::List(rows))
}
