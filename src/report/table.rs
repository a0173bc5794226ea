//! Tables of text.

use dialoguer::console::{measure_text_width, truncate_str};

/// Between two columns.
const GAP: &str = "  ";

/// The last column keeps at least so much, on the narrowest screen.
const NARROWEST: usize = 8;

/// Columns that a text takes: wide characters take two, colours none.
pub(super) fn width(text: &str) -> usize {
    measure_text_width(text)
}

/// The header and a line for each row; on a screen of `screen` columns the last column is cut.
pub(super) fn lines(
    headers: &[&str],
    rows: Vec<Vec<String>>,
    screen: Option<usize>,
) -> Vec<String> {
    let header = headers.iter().map(ToString::to_string).collect();
    let all: Vec<Vec<String>> = std::iter::once(header).chain(rows).collect();
    let columns = all.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            let cells = all.iter().filter_map(|row| row.get(column));
            cells.map(|cell| width(cell)).max().unwrap_or(0)
        })
        .collect();
    let before_last: usize = widths
        .iter()
        .take(columns.saturating_sub(1))
        .map(|width| width + GAP.len())
        .sum();
    let room = screen.map(|screen| screen.saturating_sub(before_last).max(NARROWEST));
    all.iter().map(|row| line(row, &widths, room)).collect()
}

fn line(row: &[String], widths: &[usize], room: Option<usize>) -> String {
    let last = widths.len().saturating_sub(1);
    let mut line = String::new();
    for (column, cell) in row.iter().enumerate() {
        if column == last {
            match room {
                Some(room) => line.push_str(&truncate_str(cell, room, "…")),
                None => line.push_str(cell),
            }
        } else {
            line.push_str(cell);
            line.push_str(&" ".repeat(widths[column] - width(cell)));
            line.push_str(GAP);
        }
    }
    line.truncate(line.trim_end().len());
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: &[&[&str]]) -> Vec<Vec<String>> {
        rows.iter()
            .map(|row| row.iter().map(ToString::to_string).collect())
            .collect()
    }

    #[test]
    fn columns_are_aligned_and_lines_have_no_blanks_at_their_end() {
        let table = lines(
            &["MINION", "STATE", "ADDRESS"],
            rows(&[
                &["wordpress", "running", "https://wordpress.example.org"],
                &["wiki", "degraded", ""],
            ]),
            None,
        );
        assert_eq!(
            table,
            [
                "MINION     STATE     ADDRESS",
                "wordpress  running   https://wordpress.example.org",
                "wiki       degraded",
            ]
        );
    }

    #[test]
    fn wide_characters_and_colours_are_measured_as_they_are_seen() {
        let table = lines(
            &["A", "B"],
            rows(&[&["日本", "x"], &["\u{1b}[32mok\u{1b}[0m", "y"]]),
            None,
        );
        assert_eq!(table, ["A     B", "日本  x", "\u{1b}[32mok\u{1b}[0m    y"]);
    }

    #[test]
    fn the_last_column_ends_with_the_screen() {
        let data = rows(&[&["name", "a long explanation that goes on"]]);
        let table = lines(&["N", "TEXT"], data.clone(), Some(20));
        assert_eq!(table[1], "name  a long explan…");
        let table = lines(&["N", "TEXT"], data, Some(4));
        assert_eq!(table[1], "name  a long …");
    }

    #[test]
    fn rows_may_be_short_or_missing() {
        assert_eq!(lines(&["A", "B"], Vec::new(), Some(80)), ["A  B"]);
        assert_eq!(
            lines(&["A", "B"], rows(&[&["x"], &[]]), None),
            ["A  B", "x", ""]
        );
    }
}
