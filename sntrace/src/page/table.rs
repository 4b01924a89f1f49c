//! Tables whose columns line up; the last one takes what room is left.

use std::io;

use unicode_width::UnicodeWidthStr;

use super::sheet::{Line, Page, Span, Style, shortened};

/// On which side of its column a text stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Left,
    /// Numbers: their units line up.
    Right,
}

struct Row {
    cells: Line,
    below: Vec<Line>,
}

/// Rows under titles. What a row has below it is shown indented.
pub(crate) struct Table {
    columns: Vec<(&'static str, Side)>,
    rows: Vec<Row>,
}

const GAP: usize = 2;

impl Table {
    pub fn new(columns: &[(&'static str, Side)]) -> Table {
        Table {
            columns: columns.to_vec(),
            rows: Vec::new(),
        }
    }

    /// A row; `below` are lines that belong to it.
    pub fn row(&mut self, cells: Line, below: Vec<Line>) {
        self.rows.push(Row { cells, below });
    }

    pub fn write(&self, page: &mut Page<'_>) -> io::Result<()> {
        let widths: Vec<_> = (0..self.columns.len()).map(|at| self.width(at)).collect();
        let titles: Line = self
            .columns
            .iter()
            .map(|(title, _)| Span::new(Style::Dim, title))
            .collect();
        self.cells(page, &titles, &widths)?;
        for row in &self.rows {
            self.cells(page, &row.cells, &widths)?;
            for line in &row.below {
                page.line(line)?;
            }
        }
        Ok(())
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.cells.get(column));
        let title = self
            .columns
            .get(column)
            .map_or(0, |(title, _)| title.width());
        cells.map(Span::width).chain([title]).max().unwrap_or(0)
    }

    fn cells(&self, page: &mut Page<'_>, cells: &[Span], widths: &[usize]) -> io::Result<()> {
        let mut line = Line::new();
        let mut room = page.width();
        for (at, cell) in cells.iter().enumerate() {
            let last = at + 1 == self.columns.len();
            room = room.saturating_sub(GAP);
            line.push(Span::new(Style::Plain, " ".repeat(GAP)));
            let width = widths.get(at).copied().unwrap_or(0);
            let blanks = " ".repeat(width.saturating_sub(cell.width()));
            let right = matches!(self.columns.get(at), Some((_, Side::Right)));
            if right {
                line.push(Span::new(Style::Plain, &blanks));
            }
            line.push(match last {
                true => Span {
                    style: cell.style,
                    text: shortened(&cell.text, room),
                },
                false => cell.clone(),
            });
            if !right && !last {
                line.push(Span::new(Style::Plain, &blanks));
            }
            room = room.saturating_sub(width);
        }
        page.line(&line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Colour;

    #[test]
    fn columns_line_up_and_the_last_is_shortened() {
        let mut table = Table::new(&[("BYTES", Side::Right), ("WHO", Side::Left)]);
        let plain = |text: &str| Span::new(Style::Plain, text);
        table.row(vec![plain("1.0 KiB"), plain("main")], Vec::new());
        table.row(
            vec![plain("5 B"), plain(&"long".repeat(20))],
            vec![vec![plain("    below")]],
        );
        let mut out = Vec::new();
        table
            .write(&mut Page::new(&mut out, 40, Colour::Plain))
            .unwrap();
        let expected = "    BYTES  WHO
  1.0 KiB  main
      5 B  longlonglonglo…nglonglonglong
    below
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
