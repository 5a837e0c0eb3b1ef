//! Lists: the same rows as table, JSON, JSON lines, YAML, CSV or ids.
//!
//! Invariant: ids are never cut; in a pipe nothing is.
use super::text::{cut, width};
use super::{Format, Style, Ui};
use crate::error::CliError;
use crate::exit::Exit;
use clap::Args;
use serde::Serialize;

/// Blanks between columns.
const GAP: usize = 2;
/// A column that may be cut keeps at least this many cells.
const CUT_WIDTH_MIN: usize = 12;

/// Flags of every list.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ListFlags {
    /// Show only these columns, in this order (comma-separated)
    #[arg(long, value_delimiter = ',', value_name = "A,B", help_heading = "List options")]
    pub(crate) columns: Vec<String>,
    /// Leave out the header line
    #[arg(long, help_heading = "List options")]
    pub(crate) no_headers: bool,
    /// Sort by this column; a leading '-' reverses
    #[arg(long, value_name = "COLUMN", allow_hyphen_values = true, help_heading = "List options")]
    pub(crate) sort_by: Option<String>,
    /// Do not cut long cells
    #[arg(long, help_heading = "List options")]
    pub(crate) wide: bool,
    /// Show points in time instead of "4m ago"
    #[arg(long, help_heading = "List options")]
    pub(crate) absolute: bool,
}

/// One cell.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    /// What people see.
    pub(crate) text: String,
    /// Its colour.
    pub(crate) style: Style,
    /// What sorting and CSV use instead of the text.
    pub(crate) raw: Option<String>,
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Cell { text, style: Style::Plain, raw: None }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Cell::from(text.to_owned())
    }
}

impl Cell {
    /// With a colour.
    pub(crate) fn styled(text: impl Into<String>, style: Style) -> Self {
        Cell { text: text.into(), style, raw: None }
    }

    /// With the value that machines get.
    pub(crate) fn raw(mut self, raw: impl ToString) -> Self {
        self.raw = Some(raw.to_string());
        self
    }

    fn machine(&self) -> &str {
        self.raw.as_deref().unwrap_or(&self.text)
    }
}

/// One column of rows of type `T`.
pub(crate) struct Column<T> {
    /// Header and name for `--columns`, upper case.
    pub(crate) name: &'static str,
    /// May be cut to fit the terminal.
    pub(crate) cuttable: bool,
    /// Only shown when asked for by name, and in CSV.
    pub(crate) hidden: bool,
    /// The cell of a row.
    pub(crate) cell: Box<dyn Fn(&T) -> Cell>,
}

impl<T> Column<T> {
    /// A column that is never cut.
    pub(crate) fn new(name: &'static str, cell: impl Fn(&T) -> Cell + 'static) -> Self {
        Column { name, cuttable: false, hidden: false, cell: Box::new(cell) }
    }

    /// The column that gives way when the line is too long.
    pub(crate) fn cuttable(mut self) -> Self {
        self.cuttable = true;
        self
    }

    /// A column that tables show only when asked for.
    pub(crate) fn hidden(mut self) -> Self {
        self.hidden = true;
        self
    }
}

/// Prints rows in the format asked for. `id` gives the id of a row, if rows have one.
///
/// # Errors
/// Exit 2 for an unknown column or unsupported format; otherwise as [`Ui::out`].
pub(crate) fn print<T: Serialize>(
    ui: &Ui,
    flags: &ListFlags,
    rows: &[T],
    columns: &[Column<T>],
    id: Option<&dyn Fn(&T) -> String>,
) -> Result<(), CliError> {
    let mut supported = vec![Format::Table, Format::Json, Format::Jsonl, Format::Yaml, Format::Csv];
    supported.extend(id.map(|_| Format::Id));
    let format = ui.format_of(&supported)?;
    let all_shown = format == Format::Csv;
    let shown = chosen(&flags.columns, columns, all_shown)?;
    let mut order: Vec<&T> = rows.iter().collect();
    if let Some(by) = &flags.sort_by {
        sort(&mut order, by, columns)?;
    }
    match format {
        Format::Json | Format::Yaml => ui.document(format, &order),
        Format::Jsonl => {
            let mut text = String::new();
            for row in order {
                text.push_str(
                    &serde_json::to_string(row).map_err(|e| CliError::new(Exit::Failure, "output", e.to_string(), "maos help formats"))?,
                );
                text.push('\n');
            }
            ui.out(&text)
        }
        Format::Id => {
            let Some(id) = id else { return Ok(()) };
            ui.out(&order.iter().map(|row| format!("{}\n", id(row))).collect::<String>())
        }
        Format::Csv => csv(ui, flags, &order, &shown),
        Format::Table | Format::Mermaid | Format::Dot => {
            let cells: Vec<Vec<Cell>> = order.iter().map(|row| shown.iter().map(|column| (column.cell)(row)).collect()).collect();
            let heads: Vec<(&str, bool)> = shown.iter().map(|column| (column.name, column.cuttable)).collect();
            if cells.is_empty() { Ok(()) } else { ui.out(&render(ui, flags, &heads, &cells)) }
        }
    }
}

fn chosen<'a, T>(names: &[String], columns: &'a [Column<T>], all: bool) -> Result<Vec<&'a Column<T>>, CliError> {
    if names.is_empty() {
        return Ok(columns.iter().filter(|column| all || !column.hidden).collect());
    }
    names.iter().map(|name| find(name, columns)).collect()
}

fn find<'a, T>(name: &str, columns: &'a [Column<T>]) -> Result<&'a Column<T>, CliError> {
    columns.iter().find(|column| column.name.eq_ignore_ascii_case(name.trim())).ok_or_else(|| {
        let all: Vec<String> = columns.iter().map(|column| column.name.to_lowercase()).collect();
        CliError::usage(format!("no column '{}'", name.trim()), "maos help formats").because(format!("columns: {}", all.join(", ")))
    })
}

fn sort<T>(rows: &mut [&T], by: &str, columns: &[Column<T>]) -> Result<(), CliError> {
    let (reverse, name) = by.strip_prefix('-').map_or((false, by), |name| (true, name));
    let column = find(name, columns)?;
    rows.sort_by(|a, b| {
        let (a, b) = ((column.cell)(a), (column.cell)(b));
        let order = match (a.machine().parse::<f64>(), b.machine().parse::<f64>()) {
            (Ok(a), Ok(b)) => a.total_cmp(&b),
            _ => a.machine().cmp(b.machine()),
        };
        if reverse { order.reverse() } else { order }
    });
    Ok(())
}

fn csv<T>(ui: &Ui, flags: &ListFlags, rows: &[&T], columns: &[&Column<T>]) -> Result<(), CliError> {
    let failed = |error: &dyn std::fmt::Display| {
        CliError::new(Exit::Failure, "output", "cannot write CSV", "maos help formats").because(error.to_string())
    };
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    if !flags.no_headers {
        writer.write_record(columns.iter().map(|column| column.name.to_lowercase())).map_err(|e| failed(&e))?;
    }
    for row in rows {
        writer.write_record(columns.iter().map(|column| unformula((column.cell)(row).machine()))).map_err(|e| failed(&e))?;
    }
    let bytes = writer.into_inner().map_err(|e| failed(&e))?;
    ui.out(&String::from_utf8_lossy(&bytes))
}

/// A cell that a spreadsheet would take for a formula gets a leading apostrophe; numbers stay numbers.
fn unformula(text: &str) -> String {
    let risky = text.starts_with(['=', '+', '-', '@', '\t', '\r']) && text.parse::<f64>().is_err();
    if risky { format!("'{text}") } else { text.to_owned() }
}

/// Lays cells out in columns. Headers carry their name and whether the column may be cut.
pub(crate) fn render(ui: &Ui, flags: &ListFlags, heads: &[(&str, bool)], rows: &[Vec<Cell>]) -> String {
    let mut widths: Vec<usize> = heads.iter().map(|(name, _)| if flags.no_headers { 0 } else { width(name) }).collect();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            widths[column] = widths[column].max(width(&cell.text));
        }
    }
    if ui.out_tty && !flags.wide {
        let mut over = (widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1)).saturating_sub(ui.width);
        for (column, (_, cuttable)) in heads.iter().enumerate() {
            if *cuttable && over > 0 {
                let give = widths[column].saturating_sub(CUT_WIDTH_MIN).min(over);
                widths[column] -= give;
                over -= give;
            }
        }
    }
    let mark = if ui.utf8 { '…' } else { '~' };
    let mut text = String::new();
    let mut line = |cells: &mut dyn Iterator<Item = (String, Style)>| {
        let mut out = String::new();
        let mut pad = 0;
        for (column, (cell, style)) in cells.enumerate() {
            let cell = if heads[column].1 && widths[column] < width(&cell) { cut(&cell, widths[column], mark) } else { cell };
            out.push_str(&" ".repeat(pad));
            out.push_str(&ui.paint(style, &cell));
            pad = widths[column].saturating_sub(width(&cell)) + GAP;
        }
        text.push_str(&out);
        text.push('\n');
    };
    if !flags.no_headers {
        line(&mut heads.iter().map(|(name, _)| ((*name).to_owned(), Style::Bold)));
    }
    for row in rows {
        line(&mut row.iter().map(|cell| (cell.text.clone(), cell.style)));
    }
    text
}

/// Prints names and values below each other.
pub(crate) fn pairs(ui: &Ui, pairs: &[(&str, Cell)]) -> String {
    let wide = pairs.iter().map(|(name, _)| width(name)).max().unwrap_or(0);
    let mut text = String::new();
    for (name, cell) in pairs {
        let gap = " ".repeat(wide - width(name) + GAP);
        text.push_str(&format!("{}{gap}{}\n", ui.paint(Style::Dim, name), ui.paint(cell.style, &cell.text)));
    }
    text
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A Ui as in a pipe, or as on a terminal of `width` cells.
    pub(crate) fn ui(width: usize, tty: bool) -> Ui {
        Ui {
            format: None,
            out_tty: tty,
            err_tty: tty,
            out_color: false,
            err_color: false,
            width,
            utf8: true,
            quiet: false,
            verbose: false,
            interactive: false,
        }
    }

    #[test]
    fn only_the_cuttable_column_gives_way() {
        let rows =
            vec![vec![Cell::from("task_0123456789abcdef"), Cell::from("a very long description of the work"), Cell::from("RUNNING")]];
        let heads = [("ID", false), ("DESCRIPTION", true), ("STATUS", false)];
        let text = render(&ui(50, true), &ListFlags::default(), &heads, &rows);
        assert_eq!(text, "ID                     DESCRIPTION         STATUS\ntask_0123456789abcdef  a very long descr…  RUNNING\n");
        assert!(text.lines().all(|line| width(line) <= 50));
        let piped = render(&ui(50, false), &ListFlags::default(), &heads, &rows);
        assert!(piped.contains("a very long description of the work"));
    }

    #[test]
    fn formulas_are_defused() {
        assert_eq!(unformula("=1+1"), "'=1+1");
        assert_eq!(unformula("-5"), "-5");
        assert_eq!(unformula("@x"), "'@x");
    }
}
