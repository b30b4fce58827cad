//! `tokenbroker export`: the rows of the books, an attempt each, for other programs: comma-separated, as lines of JSON, or as
//! Parquet. It reads beside a running gateway, one state of the store, and writes as it reads, so a year takes no more memory than
//! a day.

mod columns;
mod parquet;

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use self::columns::{COLUMNS, Cell};
use self::parquet::ParquetWriter;
use super::args::{Environment, GatewayArgs};
use super::days::DayArgs;
use super::output::{Exit, Output};
use crate::ledger::{BookedAttempt, BookedRequest, Stretch};
use crate::units::{Amount, Currency, KeyName};

pub const EXAMPLES: &str = "\
Examples:
  tokenbroker export --days 1 --format json
  tokenbroker export --from 2026-11-01 --to 2026-11-30 --format parquet --output november.parquet
  tokenbroker export --key web --output web.csv

A row is an attempt with its request. Columns have OpenTelemetry's names where there are such (gen_ai.usage.input_tokens), else \
tokenbroker.*. Amounts are exact: decimals in Parquet and CSV, texts in JSON. Prices are per token.";

/// What `export` takes.
#[derive(Debug, Args)]
pub struct ExportArgs {
    #[command(flatten)]
    pub gateway: GatewayArgs,
    #[command(flatten)]
    pub days: DayArgs,
    /// Only of this gateway key.
    #[arg(long, value_name = "NAME")]
    pub key: Option<String>,
    /// In which form.
    #[arg(long, value_enum, default_value_t = Form::Csv)]
    pub format: Form,
    /// The file to write [default: the standard output, but for Parquet].
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// Comma-separated, with a heading.
    Csv,
    /// A line of JSON for each row.
    Json,
    /// Apache Parquet.
    Parquet,
}

/// What takes rows, one after the other.
trait Rows {
    fn row(&mut self, request: &BookedRequest, attempt: Option<&BookedAttempt>) -> anyhow::Result<()>;
    fn end(self: Box<Self>) -> anyhow::Result<()>;
}

/// Runs `tokenbroker export`.
pub fn run(args: &ExportArgs, environment: &Environment, output: &mut Output) -> anyhow::Result<Exit> {
    let books = super::ledger::open(&args.gateway, environment)?;
    let stretch = stretch(args)?;
    if let Some(first) = books.rows_from()?.filter(|first| *first > stretch.from) {
        output.note(format!("rows of before {first} were deleted (books.row_days); their sums are in tokenbroker report"))?;
    }
    let mut rows = writer(args, output)?;
    let mut failed = None;
    books.each_request(&stretch, &mut |request| {
        let attempts = request.attempts.iter().map(Some);
        let none = request.attempts.is_empty().then_some(None);
        match attempts.chain(none).try_for_each(|attempt| rows.row(request, attempt)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        }
    })?;
    match failed {
        Some(error) => Err(error),
        None => rows.end().map(|()| Exit::Success),
    }
}

fn stretch(args: &ExportArgs) -> anyhow::Result<Stretch> {
    let (from, until) = args.days.range()?;
    let midnight = |day: Date| anyhow::Ok(day.to_zoned(TimeZone::UTC)?.timestamp());
    Ok(Stretch { from: midnight(from)?, until: midnight(until)?, key: args.key.as_deref().map(KeyName::new) })
}

fn writer<'o>(args: &ExportArgs, output: &'o mut Output) -> anyhow::Result<Box<dyn Rows + 'o>> {
    let Some(path) = &args.output else {
        let into = BufWriter::new(output.writer());
        return match args.format {
            Form::Csv => Ok(Box::new(Csv::new(into)?)),
            Form::Json => Ok(Box::new(Json(into))),
            Form::Parquet => bail!("Parquet is written into a file: name one with --output"),
        };
    };
    let into = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(match args.format {
        Form::Csv => Box::new(Csv::new(BufWriter::new(into))?),
        Form::Json => Box::new(Json(BufWriter::new(into))),
        Form::Parquet => Box::new(ParquetWriter::new(into)?),
    })
}

struct Csv<W: Write>(csv::Writer<W>);

impl<W: Write> Csv<W> {
    fn new(into: W) -> anyhow::Result<Self> {
        let mut writer = csv::Writer::from_writer(into);
        writer.write_record(COLUMNS.iter().map(|column| column.name)).map_err(io_error)?;
        Ok(Self(writer))
    }
}

impl<W: Write> Rows for Csv<W> {
    fn row(&mut self, request: &BookedRequest, attempt: Option<&BookedAttempt>) -> anyhow::Result<()> {
        for column in COLUMNS {
            let cell: Cow<'_, str> = match column.cell(request, attempt) {
                Cell::Absent => "".into(),
                Cell::Text(text) => text,
                Cell::Count(count) => count.to_string().into(),
                Cell::Flag(flag) => flag.to_string().into(),
                Cell::Instant(micros) => instant(micros).into(),
                Cell::Money(pico) => decimal(pico).into(),
            };
            self.0.write_field(cell.as_bytes()).map_err(io_error)?;
        }
        self.0.write_record(None::<&[u8]>).map_err(io_error)
    }

    fn end(mut self: Box<Self>) -> anyhow::Result<()> {
        Ok(self.0.flush()?)
    }
}

/// A reader that went away is told by its kind, however deep it lies.
fn io_error(error: csv::Error) -> anyhow::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error.into(),
        other => anyhow::anyhow!("a row cannot be written: {other:?}"),
    }
}

struct Json<W: Write>(W);

impl<W: Write> Rows for Json<W> {
    fn row(&mut self, request: &BookedRequest, attempt: Option<&BookedAttempt>) -> anyhow::Result<()> {
        let mut row = serde_json::Map::new();
        for column in COLUMNS {
            let value = match column.cell(request, attempt) {
                Cell::Absent => continue,
                Cell::Text(text) => text.into_owned().into(),
                Cell::Count(count) => count.into(),
                Cell::Flag(flag) => flag.into(),
                Cell::Instant(micros) => instant(micros).into(),
                Cell::Money(pico) => decimal(pico).into(),
            };
            row.insert(column.name.to_owned(), value);
        }
        serde_json::to_writer(&mut self.0, &row).map_err(io::Error::from)?;
        Ok(self.0.write_all(b"\n")?)
    }

    fn end(mut self: Box<Self>) -> anyhow::Result<()> {
        Ok(self.0.flush()?)
    }
}

fn instant(micros: i64) -> String {
    Timestamp::from_microsecond(micros).unwrap_or_default().to_string()
}

/// Every digit, whatever the currency.
fn decimal(pico: i128) -> String {
    Amount::from_pico(pico, Currency::Usd).to_exact()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::testing::captured;
    use crate::clock::SystemClock;
    use crate::ledger::fixtures::{attempt_end, attempt_opened, request_end, request_opened};
    use crate::ledger::{Ledger, Settings};

    async fn books(folder: &std::path::Path) {
        let (ledger, _) = Ledger::open(Settings::new(folder), SystemClock::shared()).unwrap();
        for number in 1..=3 {
            let mut opened = request_opened(number);
            opened.session = (number == 1).then(|| "a \"b\", c\nd".to_owned());
            let tab = ledger.begin(opened).unwrap();
            for _ in 1..number {
                tab.attempt(attempt_opened()).end(attempt_end(100, number)).await.unwrap();
            }
            tab.close(request_end()).await.unwrap();
        }
        ledger.close().await.unwrap();
    }

    fn exported(folder: &std::path::Path, change: impl FnOnce(&mut ExportArgs)) -> (Exit, String, String) {
        let gateway = GatewayArgs { data_dir: Some(folder.to_owned()), ..GatewayArgs::default() };
        let day = Some("2023-11-14".parse().unwrap());
        let days = DayArgs { from: day, to: day, days: 30 };
        let mut args = ExportArgs { gateway, days, key: None, format: Form::Csv, output: None };
        change(&mut args);
        captured(|output| run(&args, &Environment::new(), output))
    }

    #[tokio::test]
    async fn a_row_is_an_attempt_with_its_request_in_every_form() {
        let folder = tempfile::tempdir().unwrap();
        books(folder.path()).await;
        let (exit, text, _) = exported(folder.path(), |_| {});
        assert_eq!(exit, Exit::Success);
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let names = reader.headers().unwrap().clone();
        let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
        assert_eq!((rows.len(), names.len()), (1 + 1 + 2, COLUMNS.len()));
        let cell = |row: usize, name: &str| rows[row].get(names.iter().position(|known| known == name).unwrap()).unwrap();
        assert_eq!(cell(0, "gen_ai.conversation.id"), "a \"b\", c\nd");
        assert_eq!((cell(0, "tokenbroker.attempt.number"), cell(3, "tokenbroker.attempt.number")), ("", "1"));
        assert_eq!((cell(1, "gen_ai.usage.input_tokens"), cell(1, "tokenbroker.vendor.amount")), ("100", "0.000216"));
        assert_eq!(cell(1, "tokenbroker.cost_usd"), "0.000030422535");

        let (_, lines, _) = exported(folder.path(), |args| args.format = Form::Json);
        let told: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(told.len(), 4);
        assert_eq!((&told[1]["gen_ai.response.model"], &told[1]["error.type"]), (&"fast-1".into(), &serde_json::Value::Null));

        let (_, odd, _) = exported(folder.path(), |args| args.key = Some("odd".to_owned()));
        assert_eq!(csv::Reader::from_reader(odd.as_bytes()).records().count(), 1 + 2);
        let other = Some("2023-11-15".parse().unwrap());
        let (_, none, _) = exported(folder.path(), |args| (args.days.from, args.days.to) = (other, other));
        assert_eq!(none.lines().count(), 1, "the heading");
        let (exit, _, told) = exported(folder.path(), |args| args.format = Form::Parquet);
        assert_eq!((exit, told.contains("--output")), (Exit::Failure, true));
    }

    #[tokio::test]
    async fn parquet_has_the_same_cells() {
        use ::parquet::file::reader::{FileReader, SerializedFileReader};
        let folder = tempfile::tempdir().unwrap();
        books(folder.path()).await;
        let path = folder.path().join("rows.parquet");
        let (exit, _, told) = exported(folder.path(), |args| (args.format, args.output) = (Form::Parquet, Some(path.clone())));
        assert_eq!(exit, Exit::Success, "{told}");
        let (_, lines, _) = exported(folder.path(), |args| args.format = Form::Json);
        let reader = SerializedFileReader::new(File::open(&path).unwrap()).unwrap();
        let rows: Vec<_> = reader.get_row_iter(None).unwrap().map(Result::unwrap).collect();
        assert_eq!(rows.len(), 4);
        for (row, line) in rows.iter().zip(lines.lines()) {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            for (name, field) in row.get_column_iter() {
                use ::parquet::record::Field;
                let told = &line[name];
                match field {
                    Field::Null => assert!(told.is_null(), "{name}"),
                    Field::Str(text) => assert_eq!(told.as_str(), Some(text.as_str()), "{name}"),
                    Field::Long(count) => assert_eq!(told.as_i64(), Some(*count), "{name}"),
                    Field::Bool(flag) => assert_eq!(told.as_bool(), Some(*flag), "{name}"),
                    Field::TimestampMicros(micros) => assert_eq!(told.as_str(), Some(instant(*micros).as_str()), "{name}"),
                    Field::Decimal(amount) => {
                        let pico = amount.data().iter().fold(0_i128, |sum, byte| sum << 8 | i128::from(*byte));
                        assert_eq!(told.as_str(), Some(decimal(pico).as_str()), "{name}");
                    }
                    other => panic!("{name}: {other:?}"),
                }
            }
        }
    }
}
