//! Columns.

/// Rows of text in columns. A column is as wide as its widest cell; numbers stand to the right.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these heads.
    pub fn new(heads: &[&str]) -> Table {
        Table { rows: vec![heads.iter().map(|head| (*head).to_owned()).collect()] }
    }

    /// One more row.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    /// One more row of any length.
    pub fn cells(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// All rows, each line after `lead`.
    pub fn render(&self, lead: &str) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(|at| self.width(at)).collect();
        let to_right: Vec<bool> = (0..columns).map(|at| self.is_numeric(at)).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().enumerate().map(|(at, cell)| {
                if to_right[at] { format!("{cell:>0$}", widths[at]) } else { format!("{cell:<0$}", widths[at]) }
            });
            format!("{lead}{}", cells.collect::<Vec<_>>().join("  ")).trim_end().to_owned() + "\n"
        };
        self.rows.iter().map(line).collect()
    }

    fn width(&self, at: usize) -> usize {
        self.rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    }

    /// Whether all cells under the head are numbers, or nothing.
    fn is_numeric(&self, at: usize) -> bool {
        let cells = || self.rows.iter().skip(1).filter_map(|row| row.get(at));
        let is_number = |cell: &String| !cell.is_empty() && cell.bytes().all(|byte| byte.is_ascii_digit());
        cells().any(is_number) && cells().all(|cell| cell == "-" || is_number(cell))
    }
}
