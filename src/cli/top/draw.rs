//! The picture of `top`: lines that fit a terminal of a given size. Pure, so that every size can be tested. Texts come
//! from the feed without control characters, and no line is wider than the terminal, so nothing wraps.

use crate::cli::table::columns_of;
use crate::feed::words::{duration, grouped, money, percent, permille, phrase, uptime};
use crate::feed::{EntryView, Overview, State};
use crate::units::Usd;

/// How many backends are listed below the requests.
const MOST_BACKENDS: usize = 6;
/// Between two columns.
const GAP: usize = 2;

/// How much room there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) columns: usize,
    pub(super) rows: usize,
}

/// How a piece stands out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tone {
    Plain,
    Strong,
    Quiet,
    Good,
    Warn,
    Bad,
}

/// Draws with or without colour.
#[derive(Debug, Clone, Copy)]
pub(super) struct Painter {
    pub(super) colour: bool,
}

/// A cell or a piece of a line.
type Piece = (String, Tone);

/// A column of the requests.
struct Column {
    title: &'static str,
    /// No narrower than this.
    width: usize,
    /// May become as wide as its widest cell.
    grows: bool,
    right: bool,
    /// The ones with the highest number go first where room is short.
    goes: u8,
    cell: fn(&EntryView) -> Piece,
}

const COLUMNS: [Column; 10] = [
    Column { title: "TIME UTC", width: 8, grows: false, right: false, goes: 0, cell: |e| (clock(&e.at), Tone::Quiet) },
    Column { title: "KEY", width: 6, grows: true, right: false, goes: 9, cell: |e| (e.key.clone(), Tone::Plain) },
    Column { title: "MODEL", width: 6, grows: true, right: false, goes: 5, cell: model },
    Column { title: "WINNER", width: 12, grows: true, right: false, goes: 0, cell: winner },
    Column { title: "COST", width: 10, grows: false, right: true, goes: 0, cell: cost },
    Column { title: "RUNNER-UP", width: 10, grows: false, right: true, goes: 8, cell: runner_up },
    Column { title: "SAVED", width: 7, grows: false, right: true, goes: 4, cell: saved },
    Column { title: "TOKENS", width: 11, grows: false, right: true, goes: 6, cell: tokens },
    Column { title: "FIRST", width: 7, grows: false, right: true, goes: 7, cell: first_token },
    Column { title: "ENDING", width: 11, grows: true, right: false, goes: 0, cell: ending },
];

impl Painter {
    /// The whole picture. `trouble`: why it may be old.
    pub(super) fn picture(self, seen: &Overview, size: Size, trouble: Option<&str>) -> Vec<String> {
        let mut above = vec![self.line(&what_runs(seen), size), self.line(&sums(seen), size)];
        above.extend(trouble.map(|why| self.line(&[(why.to_owned(), Tone::Bad)], size)));
        above.push(String::new());
        let below = self.below(seen, size);
        let room = size.rows.saturating_sub(above.len() + 1 + below.len());
        let mut lines = above;
        lines.extend(self.requests(&seen.entries, size, room));
        if size.rows < usize::MAX {
            let used = lines.len() + below.len();
            lines.extend(std::iter::repeat_n(String::new(), size.rows.saturating_sub(used)));
        }
        lines.extend(below);
        lines.truncate(size.rows);
        lines
    }

    fn requests(self, entries: &[EntryView], size: Size, room: usize) -> Vec<String> {
        let entries = &entries[..room.min(entries.len())];
        let columns = fitting(entries, size.columns);
        let titles: Vec<Piece> = columns.iter().map(|(column, _)| (column.title.to_owned(), Tone::Quiet)).collect();
        let mut lines = vec![self.row(&columns, &titles)];
        if entries.is_empty() && room > 0 {
            let none = "no request yet: send one to the API, and it stands here".to_owned();
            lines.push(self.line(&[(none, Tone::Quiet)], size));
        }
        for entry in entries {
            let cells: Vec<Piece> = columns.iter().map(|(column, _)| (column.cell)(entry)).collect();
            lines.push(self.row(&columns, &cells));
        }
        lines
    }

    /// The backends, and what to press.
    fn below(self, seen: &Overview, size: Size) -> Vec<String> {
        let mut lines = Vec::new();
        // On a low terminal the requests come first.
        let most = if size.rows < 16 { 0 } else { MOST_BACKENDS.min(size.rows / 4) };
        let shown = &seen.backends[..most.min(seen.backends.len())];
        if !shown.is_empty() {
            lines.push(String::new());
            let heading = format!("{:>8}  {:>6}  {:>10}  {:>7}  BACKEND", "ANSWERED", "FAILED", "SPENT", "SHARE");
            lines.push(self.line(&[(heading, Tone::Quiet)], size));
        }
        for backend in shown {
            let share = permille(backend.spent_usd.0, seen.totals.spent_usd.0).map_or_else(String::new, percent);
            let figures = format!(
                "{:>8}  {:>6}  {:>10}  {share:>7}  ",
                grouped(backend.answered),
                grouped(backend.failed),
                money(backend.spent_usd.0)
            );
            lines.push(self.line(&[(figures, Tone::Plain), (backend.backend.clone(), Tone::Plain)], size));
        }
        if size.rows < usize::MAX {
            lines.push(self.line(&[("q quits".to_owned(), Tone::Quiet)], size));
        }
        lines
    }

    fn row(self, columns: &[(&Column, usize)], cells: &[Piece]) -> String {
        let mut line = String::new();
        for (n, ((column, width), (text, tone))) in columns.iter().zip(cells).enumerate() {
            let text = cut(text, *width);
            let gap = " ".repeat(width.saturating_sub(columns_of(&text)));
            if n > 0 {
                line.push_str(&" ".repeat(GAP));
            }
            let shown = self.paint(*tone, &text);
            if column.right { line.extend([gap, shown]) } else { line.extend([shown, gap]) }
        }
        line.trim_end().to_owned()
    }

    /// Pieces one after the other, as far as they fit.
    fn line(self, pieces: &[Piece], size: Size) -> String {
        let mut room = size.columns;
        let mut line = String::new();
        for (text, tone) in pieces {
            let text = cut(text, room);
            room -= columns_of(&text);
            line.push_str(&self.paint(*tone, &text));
        }
        line
    }

    fn paint(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Plain => return text.to_owned(),
            Tone::Strong => "1",
            Tone::Quiet => "2",
            Tone::Good => "32",
            Tone::Warn => "33",
            Tone::Bad => "31",
        };
        if self.colour && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// The columns that fit, each with its width.
fn fitting(entries: &[EntryView], room: usize) -> Vec<(&'static Column, usize)> {
    let mut columns: Vec<(&Column, usize)> = COLUMNS.iter().map(|column| (column, column.width)).collect();
    let total = |columns: &[(&Column, usize)]| columns.iter().map(|(_, width)| width + GAP).sum::<usize>() - GAP;
    while total(&columns) > room {
        let Some(last) = columns.iter().map(|(column, _)| column.goes).max().filter(|goes| *goes > 0) else { break };
        columns.retain(|(column, _)| column.goes != last);
    }
    let mut left = room.saturating_sub(total(&columns));
    for (column, width) in columns.iter_mut().filter(|(column, _)| column.grows) {
        let widest = entries.iter().map(|entry| columns_of(&(column.cell)(entry).0)).max().unwrap_or(0);
        let more = widest.saturating_sub(*width).min(left);
        *width += more;
        left -= more;
    }
    columns
}

fn what_runs(seen: &Overview) -> Vec<Piece> {
    let gateway = &seen.gateway;
    let mut pieces = vec![("tokenbroker".to_owned(), Tone::Strong)];
    if gateway.sandbox {
        pieces.push((" [sandbox: pretend providers]".to_owned(), Tone::Warn));
    }
    let facts = format!(
        "  {}/v1  up {}  table {}  providers {} on, {} off",
        gateway.api,
        uptime(gateway.uptime_seconds),
        gateway.table,
        gateway.providers_on,
        gateway.providers_off
    );
    pieces.push((facts, Tone::Plain));
    pieces
}

fn sums(seen: &Overview) -> Vec<Piece> {
    let totals = &seen.totals;
    let (against, yardstick) = match &seen.gateway.baseline {
        Some(baseline) => (baseline.as_str(), totals.baseline),
        None => ("the dearest adequate", totals.dearest),
    };
    let saved = permille(yardstick.saved_usd.0, yardstick.elsewhere_usd.0);
    let saved = saved
        .map_or_else(|| "saved –".to_owned(), |share| format!("saved {} ({})", percent(share), money(yardstick.saved_usd.0)));
    let others = [
        (totals.open, format!("{} under way", grouped(totals.open))),
        (totals.refused, format!("{} refused", grouped(totals.refused))),
        (totals.failovers, counted(totals.failovers, "failover")),
    ];
    let others = others.into_iter().filter(|(count, _)| *count > 0).map(|(_, shown)| shown);
    let counts: Vec<String> = std::iter::once(counted(totals.requests, "request")).chain(others).collect();
    vec![
        (saved, Tone::Good),
        (format!("  spent {}", money(totals.spent_usd.0)), Tone::Strong),
        (format!("  {}", counts.join("  ")), Tone::Plain),
        (format!("  at {against} {}", money(yardstick.elsewhere_usd.0)), Tone::Quiet),
    ]
}

fn counted(count: u64, what: &str) -> String {
    format!("{} {what}{}", grouped(count), if count == 1 { "" } else { "s" })
}

fn clock(at: &str) -> String {
    at.split('T').nth(1).and_then(|time| time.get(..8)).unwrap_or_default().to_owned()
}

fn model(entry: &EntryView) -> Piece {
    (entry.model.clone().unwrap_or_else(|| "?".to_owned()), Tone::Plain)
}

fn winner(entry: &EntryView) -> Piece {
    let tone = if entry.answered_by.is_some() { Tone::Good } else { Tone::Quiet };
    (entry.winner().unwrap_or("–").to_owned(), tone)
}

fn cost(entry: &EntryView) -> Piece {
    (entry.cost_usd.map_or_else(String::new, |cost| money(cost.0)), Tone::Strong)
}

fn runner_up(entry: &EntryView) -> Piece {
    (entry.runner_up().map_or_else(String::new, |next| money(next.expected_usd.0)), Tone::Quiet)
}

fn saved(entry: &EntryView) -> Piece {
    let saved = entry.saved_usd.map_or(Usd::ZERO, |saved| saved.0);
    let share = entry.elsewhere_usd.and_then(|elsewhere| permille(saved, elsewhere.0));
    (share.map_or_else(String::new, percent), if saved < Usd::ZERO { Tone::Warn } else { Tone::Good })
}

fn tokens(entry: &EntryView) -> Piece {
    let counts = entry.input_tokens.zip(entry.output_tokens);
    (counts.map_or_else(String::new, |(input, output)| format!("{}>{}", grouped(input), grouped(output))), Tone::Plain)
}

fn first_token(entry: &EntryView) -> Piece {
    (entry.first_byte_ms.map_or_else(String::new, duration), Tone::Plain)
}

fn ending(entry: &EntryView) -> Piece {
    let tone = match entry.state {
        State::Open => Tone::Quiet,
        State::Answered if entry.moved_on() => Tone::Warn,
        State::Answered => Tone::Plain,
        State::Failed | State::Cut | State::Abandoned | State::Refused | State::Lost => Tone::Bad,
    };
    let failed: Vec<String> = entry.tries.iter().filter(|tried| !tried.outrun()).map(|tried| phrase(&tried.cause)).collect();
    let text = match (&entry.refusal, entry.state) {
        (Some(reason), _) => phrase(reason),
        (None, State::Answered) if entry.moved_on() => format!("after {}", failed.join(", ")),
        (None, state) => state.word().to_owned(),
    };
    (text, tone)
}

/// A text that is no wider than `room`.
fn cut(text: &str, room: usize) -> String {
    if columns_of(text) <= room {
        return text.to_owned();
    }
    let mut shown = String::new();
    let mut used = 0;
    for character in text.chars() {
        let width = columns_of(character.encode_utf8(&mut [0; 4]));
        if used + width + 1 > room {
            break;
        }
        used += width;
        shown.push(character);
    }
    if room > 0 { shown + "…" } else { shown }
}

#[cfg(test)]
mod tests;
