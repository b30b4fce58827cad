//! The demo on paper: at most 80 columns, money to the right, and `[sandbox]` wherever something is pretend. Pure: what
//! is shown comes in as values and goes out as lines.

use super::tour::Stop;
use super::visit::{LeftOut, Priced, Visit};
use crate::catalog::Snapshot;
use crate::cli::table::{Align, Table};
use crate::units::Usd;

/// The widest line.
const COLUMNS: usize = 80;
/// Where the second column begins.
const INDENT: usize = 15;
/// The label that stands on the right of every heading.
const LABEL: &str = "[sandbox]";

/// How a line stands out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tone {
    Heading,
    Winner,
    Trouble,
    Quiet,
}

/// Writes with or without colour.
#[derive(Debug, Clone, Copy)]
pub(super) struct Painter {
    pub(super) colour: bool,
}

impl Painter {
    fn paint(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Heading => "1",
            Tone::Winner => "32",
            Tone::Trouble => "33",
            Tone::Quiet => "2",
        };
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// What the demo is, and who takes part.
    pub(super) fn opening(self, snapshot: &Snapshot) -> Vec<String> {
        let mut lines = vec![
            self.paint(Tone::Heading, &labelled("tokenbroker demo")),
            "Pretend providers on this machine: no key, no network, and prices that are".into(),
            "invented. The gateway in front of them is the real one: it scores, forwards,".into(),
            "meters and books these requests as it would any.".into(),
            String::new(),
        ];
        let table = providers(snapshot);
        for (n, line) in table.to_string().lines().enumerate() {
            let line = format!("    {line}");
            lines.push(if n == 0 { self.paint(Tone::Quiet, &line) } else { line });
        }
        lines
    }

    /// One request and what became of it.
    pub(super) fn visit(self, number: usize, stop: &Stop, visit: &Visit) -> Vec<String> {
        let mut lines = vec![String::new(), self.paint(Tone::Heading, &labelled(&format!("{number:>2}  {}", stop.title)))];
        lines.push(self.paint(Tone::Quiet, &format!("    {}", stop.shows)));
        lines.push(field("asked", &shortened(&stop.prompt)));
        lines.push(field("answered", &shortened(&visit.said)));
        lines.push(field("tokens", &tokens(visit)));
        for attempt in &visit.failed {
            let text = format!("{}/{} answered {}; moved on", attempt.provider, attempt.model, attempt.status);
            lines.push(self.paint(Tone::Trouble, &field("failed", &text)));
        }
        lines.extend(self.prices(visit));
        lines.extend(self.left_out(&visit.left_out));
        lines
    }

    fn prices(self, visit: &Visit) -> Vec<String> {
        let mut table = Table::new([Align::Left, Align::Left, Align::Right, Align::Right, Align::Right]);
        let mut row = |what: &str, priced: &Priced| {
            let quality = priced.quality.map_or_else(|| "quality ?".to_owned(), |quality| format!("quality {quality}"));
            let factor = if what == "won" { String::new() } else { times(priced.cost, visit.won.cost) };
            table.row([format!("{what:<9}"), format!("{:<28}", priced.backend), quality, priced.cost.to_string(), factor]);
        };
        row("won", &visit.won);
        if let Some(runner_up) = &visit.runner_up {
            row("runner-up", runner_up);
        }
        if let Some(dearest) = &visit.dearest {
            row("dearest", dearest);
        }
        let lines = table.to_string();
        let tone = |n| if n == 0 { Tone::Winner } else { Tone::Quiet };
        lines.lines().enumerate().map(|(n, line)| self.paint(tone(n), &format!("    {line}"))).collect()
    }

    fn left_out(self, left_out: &[LeftOut]) -> Vec<String> {
        let width = left_out.iter().map(|out| out.backend.len()).max().unwrap_or(0) + 2;
        let room = COLUMNS.saturating_sub(INDENT + width);
        let mut lines = Vec::new();
        for out in left_out {
            for (n, part) in wrapped(&out.why, room).into_iter().enumerate() {
                let what = if lines.is_empty() { "left out" } else { "" };
                let backend = if n == 0 { out.backend.as_str() } else { "" };
                lines.push(field(what, &format!("{backend:<width$}{part}")));
            }
        }
        lines.into_iter().map(|line| self.paint(Tone::Quiet, line.trim_end())).collect()
    }

    /// What everything came to.
    pub(super) fn totals(self, visits: &[Visit], baseline: &str) -> Vec<String> {
        let totals = Totals::of(visits);
        let mut table = Table::new([Align::Left, Align::Right, Align::Left]);
        table.row([format!("{} requests cost", visits.len()), totals.spent.to_string(), String::new()]);
        table.row(["the dearest adequate backend each time".into(), totals.dearest.to_string(), totals.saved(totals.dearest)]);
        table.row([format!("always {baseline}"), totals.baseline.to_string(), totals.saved(totals.baseline)]);
        let mut lines = vec![String::new(), self.paint(Tone::Heading, &labelled("    In all"))];
        let table = table.to_string();
        let tone = |n| if n == 0 { Tone::Winner } else { Tone::Quiet };
        lines.extend(table.lines().enumerate().map(|(n, line)| self.paint(tone(n), &format!("    {line}"))));
        for line in [
            "    Costs elsewhere: the tokens that were billed, in the proportion in which the",
            "    gateway expected them of both; a model that thinks writes more.",
        ] {
            lines.push(self.paint(Tone::Quiet, line));
        }
        lines
    }

    /// Where to watch all this.
    pub(super) fn page(self, operations: &str) -> Vec<String> {
        vec![String::new(), self.paint(Tone::Winner, &format!("    Watch it live in a browser:  {operations}/"))]
    }

    /// How to send requests of one's own. `traffic`: pretend requests follow the tour.
    pub(super) fn invitation(self, api: &str, operations: &str, control: &str, traffic: bool) -> Vec<String> {
        let heading = |text: &str| self.paint(Tone::Heading, text);
        vec![
            String::new(),
            heading("    Try it with curl"),
            String::new(),
            // At the margin, for Python minds where a line begins and a terminal copies what it shows.
            format!("curl -s {api}/v1/chat/completions \\"),
            "  -H 'content-type: application/json' \\".into(),
            r#"  -d '{"model":"auto","messages":[{"role":"user","content":"Hello"}]}'"#.into(),
            String::new(),
            heading("    or with Python (pip install openai)"),
            String::new(),
            "from openai import OpenAI".into(),
            format!("client = OpenAI(base_url=\"{api}/v1\", api_key=\"demo\")"),
            "answer = client.chat.completions.create(".into(),
            "    model=\"auto\",".into(),
            "    messages=[{\"role\": \"user\", \"content\": \"Hello\"}],".into(),
            ")".into(),
            "print(answer.choices[0].message.content)".into(),
            String::new(),
            self.paint(Tone::Winner, &format!("    page       {operations}/")),
            format!("    terminal   tokenbroker top --url {operations}"),
            format!("    metrics    {operations}/metrics"),
            format!("    {LABEL}  {control}/served"),
            String::new(),
            if traffic {
                "    A pretend request follows every second or two (--no-traffic: none).".into()
            } else {
                "    Nothing is sent from here any more.".into()
            },
            "    Serving until Ctrl-C.".into(),
        ]
    }
}

/// Sums over all requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) spent: Usd,
    pub(super) dearest: Usd,
    pub(super) baseline: Usd,
}

impl Totals {
    pub(super) fn of(visits: &[Visit]) -> Self {
        let dearest = |visit: &Visit| visit.dearest.as_ref().map_or(visit.won.cost, |dearest| dearest.cost.max(visit.won.cost));
        Self {
            spent: visits.iter().map(|visit| visit.won.cost).sum(),
            dearest: visits.iter().map(dearest).sum(),
            baseline: visits.iter().map(|visit| visit.baseline).sum(),
        }
    }

    fn saved(self, other: Usd) -> String {
        let permille = ((other - self.spent).pico().saturating_mul(1000)).checked_div(other.pico()).unwrap_or(0);
        format!("{}.{} % saved", permille / 10, (permille % 10).abs())
    }
}

fn providers(snapshot: &Snapshot) -> Table {
    let columns = [Align::Left, Align::Left, Align::Left, Align::Right, Align::Right, Align::Right, Align::Right];
    let mut table = Table::new(columns);
    table.row(["pretend provider", "region", "bills in", "models", "latency", "tokens/s", "fails"]);
    for provider in snapshot.providers() {
        let Some(traits) = provider.sandbox else { continue };
        let models = snapshot.backends().iter().filter(|backend| backend.provider == provider.index).count();
        let fails = format!("{}.{} %", traits.failures_permille / 10, traits.failures_permille % 10);
        let free = snapshot.backends().iter().filter(|backend| backend.provider == provider.index).all(|backend| backend.free);
        let currency = if free { "free".to_owned() } else { provider.currency.to_string() };
        let latency = format!("{} ms", traits.latency_ms);
        let rate = traits.tokens_per_second.to_string();
        table.row([provider.id.clone(), provider.region.clone(), currency, models.to_string(), latency, rate, fails]);
    }
    table
}

/// A heading with the label at the right edge.
fn labelled(heading: &str) -> String {
    let room = COLUMNS - LABEL.len();
    format!("{heading:<room$}{LABEL}")
}

fn field(name: &str, text: &str) -> String {
    let width = INDENT - 4;
    format!("    {name:<width$}{text}")
}

fn tokens(visit: &Visit) -> String {
    let quoted = visit.quoted.map_or_else(String::new, |quoted| format!("; quoted at {quoted} before it was sent"));
    format!("{} in, {} out{quoted}", grouped(visit.input_tokens), grouped(visit.output_tokens))
}

/// How many times as dear, to a tenth.
fn times(cost: Usd, than: Usd) -> String {
    match (cost.pico().saturating_mul(10)).checked_div(than.pico()) {
        Some(tenths) => format!("{}.{}x", tenths / 10, tenths % 10),
        None => String::new(),
    }
}

/// A text on one line that fits behind a field's name.
fn shortened(text: &str) -> String {
    let room = COLUMNS - INDENT - 1;
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut used = 0;
    let mut shown = String::new();
    for character in text.chars() {
        used += if character.is_ascii() { 1 } else { 2 };
        if used > room {
            return shown + "…";
        }
        shown.push(character);
    }
    shown
}

/// A text in lines of at most `room` characters, broken between words where there are any.
fn wrapped(text: &str, room: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.len() - 1;
        let line = &mut lines[last];
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= room {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

/// A number with commas between its thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut shown = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::super::tour;
    use super::super::visit::FailedAttempt;
    use super::*;
    use crate::sandbox::TABLE;

    fn priced(backend: &str, micros: i128) -> Priced {
        Priced { backend: backend.into(), quality: Some(50), cost: Usd::from_pico(micros * 1_000_000) }
    }

    fn visit() -> Visit {
        let out = |backend: &str, why: &str| LeftOut { backend: backend.into(), why: why.into() };
        Visit {
            won: priced("sandbox-lotus/lotus-lite", 12),
            quoted: Some(Usd::from_pico(11_000_000)),
            runner_up: Some(priced("sandbox-fjord/fjord-small", 18)),
            dearest: Some(priced("sandbox-summit/summit-max", 1_412)),
            baseline: Usd::from_pico(500_000_000),
            left_out: vec![
                out("sandbox-local/local-mini", "quality 24 is below the floor of 40"),
                out("sandbox-summit/summit-mini", "window of 128000 tokens, 234567 may be needed"),
            ],
            failed: vec![FailedAttempt { provider: "sandbox-fjord".into(), model: "fjord-small".into(), status: 503 }],
            input_tokens: 1_234_567,
            output_tokens: 42,
            said:
                "[sandbox] 这是沙盒里的虚构回答。江水越过清晨。灯笼数着七条小船。旧桥记得更长的路。集市守着冬天。港口带走潮声。"
                    .into(),
            decision: String::new(),
            request_id: String::new(),
        }
    }

    fn width(line: &str) -> usize {
        line.chars().map(|c| if c.is_ascii() || c == '…' { 1 } else { 2 }).sum()
    }

    #[test]
    fn nothing_is_wider_than_eighty_columns_and_headings_are_labelled() {
        let painter = Painter { colour: false };
        let snapshot = Snapshot::parse("table", TABLE).unwrap();
        let mut lines = painter.opening(&snapshot);
        for (n, stop) in tour::stops().iter().enumerate() {
            let shown = painter.visit(n + 1, stop, &visit());
            assert!(shown[1].ends_with(LABEL), "{}", shown[1]);
            lines.extend(shown);
        }
        lines.extend(painter.totals(&[visit(), visit()], "sandbox-summit/summit-max"));
        let address = "http://127.0.0.1:65535";
        lines.extend(painter.page(address));
        lines.extend(painter.invitation(address, address, address, true));
        for line in &lines {
            assert!(width(line) <= COLUMNS, "{} columns: {line}", width(line));
        }
        assert!(lines[0].ends_with(LABEL));
    }

    #[test]
    fn what_is_to_be_copied_begins_at_the_margin() {
        let lines = Painter { colour: false }.invitation("http://127.0.0.1:1", "http://127.0.0.1:2", "http://127.0.0.1:3", false);
        for code in ["curl -s ", "from openai", "client = ", "answer = ", "print("] {
            assert!(lines.iter().any(|line| line.starts_with(code)), "{code} in {lines:#?}");
        }
    }

    #[test]
    fn money_stands_in_one_column() {
        let lines = Painter { colour: false }.visit(1, &tour::stops()[0], &visit());
        let ends = |what: &str| {
            let line = lines.iter().find(|line| line.trim_start().starts_with(what)).unwrap();
            line.find('$').unwrap() + "$0.000000".len()
        };
        assert_eq!((ends("won"), ends("runner-up")), (ends("dearest"), ends("dearest")));
        assert!(lines.iter().any(|line| line.ends_with("$0.001412  117.6x")), "{lines:#?}");
    }

    #[test]
    fn savings_are_told_against_both_yardsticks() {
        let lines = Painter { colour: false }.totals(&[visit(), visit()], "b/m");
        assert!(lines.iter().any(|line| line.contains("$0.002824  99.1 % saved")), "{lines:#?}");
        assert!(lines.iter().any(|line| line.contains("$0.001000  97.6 % saved")), "{lines:#?}");
    }

    #[test]
    fn colour_comes_only_where_it_is_wanted() {
        let lines = |colour| Painter { colour }.visit(1, &tour::stops()[0], &visit()).join("\n");
        assert!(!lines(false).contains('\x1b') && lines(true).contains("\x1b[32m"));
    }

    #[test]
    fn numbers_and_texts_are_made_to_fit() {
        assert_eq!((grouped(7), grouped(1_000), grouped(1_234_567)), ("7".into(), "1,000".into(), "1,234,567".into()));
        assert_eq!(wrapped("a bb ccc", 4), ["a bb", "ccc"]);
        assert_eq!(times(Usd::ZERO, Usd::ZERO), "");
    }
}
