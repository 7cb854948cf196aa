//! Owns taking measured numbers out of tables: the cells that hold one become `#`, and the columns
//! get the widths that are then needed. That the tables were straight before is checked first.

use std::fmt::Write as _;

/// A text whose tables hold no measured number.
pub(crate) fn settled(text: &str) -> String {
    let mut settled = String::new();
    let mut table: Vec<&str> = Vec::new();
    for line in text.lines() {
        let ends_one = table.len() > 1 && table.last().is_some_and(|last| last.starts_with("+-"));
        if !line.starts_with(['+', '|']) || line.starts_with("+-") && ends_one {
            settle(&std::mem::take(&mut table), &mut settled);
        }
        if line.starts_with(['+', '|']) {
            table.push(line);
        } else {
            settled.push_str(line);
            settled.push('\n');
        }
    }
    settle(&table, &mut settled);
    settled
}

fn settle(table: &[&str], out: &mut String) {
    let Some(first) = table.first() else { return };
    let width = first.chars().count();
    assert!(width <= 80, "wider than the screen: {first}");
    let mut rows: Vec<Option<Vec<String>>> = Vec::new();
    for line in table {
        // every character of these tables is one column wide, so every line has as many
        assert_eq!(line.chars().count(), width, "crooked: {line}");
        rows.push(line.strip_prefix('|').map(|line| {
            let cells = line.trim_end_matches('|').split('|');
            let cells: Vec<&str> = cells.map(str::trim).collect();
            // among many columns a 0 was measured too: two events in one read have no gap
            let zero = cells.len() > 2;
            cells.iter().map(|cell| hidden(cell, zero)).collect()
        }));
    }
    let columns = rows.iter().flatten().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|i| {
            let cells = rows.iter().flatten().filter_map(|row| row.get(i));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    for (row, line) in rows.iter().zip(table) {
        if let Some(cells) = row {
            for (cell, width) in cells.iter().zip(&widths) {
                write!(out, "| {cell:<width$} ").unwrap();
            }
            out.push('|');
        } else {
            for width in &widths {
                let stroke = if line.starts_with("+=") { "=" } else { "-" };
                out.push('+');
                out.push_str(&stroke.repeat(width + 2));
            }
            out.push('+');
        }
        out.push('\n');
    }
}

/// `#` for a number that was measured: one with a point or a comma, or a 0 where told.
fn hidden(cell: &str, zero: bool) -> String {
    if cell.starts_with("p50 ") {
        // percentiles in one cell, each after its name
        let one = |part: &str| match part.split_once(' ') {
            Some((name, value)) => format!("{name} {}", hidden(value, true)),
            None => part.to_owned(),
        };
        return cell.split(", ").map(one).collect::<Vec<_>>().join(", ");
    }
    let is_number = cell.starts_with(|c: char| c.is_ascii_digit())
        && cell
            .chars()
            .all(|c| c.is_ascii_digit() || matches!(c, '.' | ','));
    if is_number && cell.contains(['.', ',']) || zero && cell == "0" {
        "#".to_owned()
    } else {
        cell.to_owned()
    }
}
