//! Rows as Parquet: a column at a time, some thousand rows to a group, so that memory is bounded by one group. Amounts are decimals
//! of twelve places in 128 bits, which hold every amount there is exactly; instants are microseconds in UTC.

use std::fs::File;
use std::sync::Arc;

use anyhow::Context;
use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, FixedLenByteArray, FixedLenByteArrayType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::{Type, TypePtr};

use super::Rows;
use super::columns::{COLUMNS, Cell, Column, Kind};
use crate::ledger::{BookedAttempt, BookedRequest};

/// Rows of a group: some megabytes.
const GROUP: usize = 8_192;
/// Digits of an amount, and those behind the point.
const DIGITS: i32 = 38;
const PLACES: i32 = 12;
/// Bytes of an amount.
const WIDTH: i32 = 16;

/// Writes rows into a file.
pub(super) struct ParquetWriter {
    file: SerializedFileWriter<File>,
    /// In the order of [`COLUMNS`].
    gathered: Vec<Gathered>,
    rows: usize,
}

/// The cells of a column that are not written yet.
struct Gathered {
    values: Values,
    /// 1 where there is a value, 0 where not.
    present: Vec<i16>,
}

enum Values {
    Texts(Vec<ByteArray>),
    /// Counts and instants.
    Numbers(Vec<i64>),
    Flags(Vec<bool>),
    Amounts(Vec<FixedLenByteArray>),
}

impl ParquetWriter {
    pub(super) fn new(into: File) -> anyhow::Result<Self> {
        let properties = WriterProperties::builder()
            .set_compression(Compression::GZIP(parquet::basic::GzipLevel::try_new(1)?))
            .set_created_by(concat!("tokenbroker ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let file = SerializedFileWriter::new(into, schema()?, Arc::new(properties))?;
        Ok(Self { file, gathered: COLUMNS.iter().map(Gathered::of).collect(), rows: 0 })
    }

    fn write_group(&mut self) -> anyhow::Result<()> {
        let mut group = self.file.next_row_group()?;
        for gathered in &mut self.gathered {
            let mut column = group.next_column()?.context("a column is missing")?;
            gathered.write(&mut column)?;
            column.close()?;
        }
        group.close()?;
        self.rows = 0;
        Ok(())
    }
}

impl Rows for ParquetWriter {
    fn row(&mut self, request: &BookedRequest, attempt: Option<&BookedAttempt>) -> anyhow::Result<()> {
        for (column, gathered) in COLUMNS.iter().zip(&mut self.gathered) {
            gathered.add(column.cell(request, attempt));
        }
        self.rows += 1;
        if self.rows < GROUP { Ok(()) } else { self.write_group() }
    }

    fn end(mut self: Box<Self>) -> anyhow::Result<()> {
        if self.rows > 0 {
            self.write_group()?;
        }
        self.file.close()?;
        Ok(())
    }
}

impl Gathered {
    fn of(column: &Column) -> Self {
        let values = match column.kind {
            Kind::Text => Values::Texts(Vec::new()),
            Kind::Count | Kind::Instant => Values::Numbers(Vec::new()),
            Kind::Flag => Values::Flags(Vec::new()),
            Kind::Money => Values::Amounts(Vec::new()),
        };
        Self { values, present: Vec::new() }
    }

    fn add(&mut self, cell: Cell<'_>) {
        let known = match (&mut self.values, cell) {
            (Values::Texts(texts), Cell::Text(text)) => {
                texts.push(text.into_owned().into_bytes().into());
                true
            }
            (Values::Numbers(numbers), Cell::Count(count)) => {
                numbers.push(i64::try_from(count).unwrap_or(i64::MAX));
                true
            }
            (Values::Numbers(numbers), Cell::Instant(micros)) => {
                numbers.push(micros);
                true
            }
            (Values::Flags(flags), Cell::Flag(flag)) => {
                flags.push(flag);
                true
            }
            (Values::Amounts(amounts), Cell::Money(pico)) => {
                amounts.push(pico.to_be_bytes().to_vec().into());
                true
            }
            // A cell of another kind than its column's would be a slip in the list of columns, which a test reads back.
            _ => false,
        };
        self.present.push(i16::from(known));
    }

    fn write(&mut self, column: &mut SerializedColumnWriter<'_>) -> anyhow::Result<()> {
        let present = std::mem::take(&mut self.present);
        let present = Some(present.as_slice());
        match &mut self.values {
            Values::Texts(texts) => {
                column.typed::<ByteArrayType>().write_batch(texts, present, None)?;
                texts.clear();
            }
            Values::Numbers(numbers) => {
                column.typed::<Int64Type>().write_batch(numbers, present, None)?;
                numbers.clear();
            }
            Values::Flags(flags) => {
                column.typed::<BoolType>().write_batch(flags, present, None)?;
                flags.clear();
            }
            Values::Amounts(amounts) => {
                column.typed::<FixedLenByteArrayType>().write_batch(amounts, present, None)?;
                amounts.clear();
            }
        }
        Ok(())
    }
}

fn schema() -> anyhow::Result<TypePtr> {
    let fields = COLUMNS.iter().map(|column| {
        let (physical, logical) = match column.kind {
            Kind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
            Kind::Count => (Physical::INT64, None),
            Kind::Flag => (Physical::BOOLEAN, None),
            Kind::Instant => (Physical::INT64, Some(LogicalType::timestamp(true, TimeUnit::MICROS))),
            Kind::Money => (Physical::FIXED_LEN_BYTE_ARRAY, Some(LogicalType::decimal(PLACES, DIGITS))),
        };
        let mut field = Type::primitive_type_builder(column.name, physical).with_repetition(Repetition::OPTIONAL);
        if column.kind == Kind::Money {
            field = field.with_length(WIDTH).with_precision(DIGITS).with_scale(PLACES);
        }
        Ok(Arc::new(field.with_logical_type(logical).build()?))
    });
    let fields = fields.collect::<anyhow::Result<Vec<TypePtr>>>()?;
    Ok(Arc::new(Type::group_type_builder("tokenbroker").with_fields(fields).build()?))
}
