//! A vendor's bill: its rows added up by day and model. A row that cannot be understood refuses the whole bill, with its line and
//! what is wrong, since one that is left out in silence would look like a difference.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::decimal::Decimal;
use super::mapping::{DayForm, FileShape, Kind, Mapping, Part};
use super::table::{Heading, Row, TableError, read};
use crate::units::Currency;

/// Wrong rows are told up to so many.
const MOST_WRONG: usize = 10;
/// Days and models of a bill; each is a line to be compared.
const MOST_LINES: usize = 200_000;

/// Why a bill could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BillError {
    #[error(transparent)]
    Table(#[from] TableError),
    #[error("none of the exports of {vendor} has these columns: {wanted}")]
    Unknown { vendor: String, wanted: String },
    #[error("{} rows cannot be understood:\n{}", .count, .told.join("\n"))]
    Rows { count: u64, told: Vec<String> },
    #[error("it has more than {MOST_LINES} days and models: split it by month")]
    TooMany,
}

/// Counts that a bill tells; `None` where it tells none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// All input, as the bill has it in one figure.
    pub input: Option<i128>,
    pub fresh_input: Option<i128>,
    pub cache_read: Option<i128>,
    pub cache_write: Option<i128>,
    pub output: Option<i128>,
    pub requests: Option<i128>,
}

impl Counts {
    fn add(&mut self, kind: Kind, count: i128) {
        let of = match kind {
            Kind::Input => &mut self.input,
            Kind::FreshInput => &mut self.fresh_input,
            Kind::CacheRead => &mut self.cache_read,
            Kind::CacheWrite => &mut self.cache_write,
            Kind::Output => &mut self.output,
            Kind::Requests => &mut self.requests,
            Kind::Ignored => return,
        };
        *of.get_or_insert(0) += count;
    }

    /// Every input token, however it was billed.
    pub fn all_input(&self) -> Option<i128> {
        let parts = [self.fresh_input, self.cache_read, self.cache_write];
        let sum = || parts.iter().any(Option::is_some).then(|| parts.into_iter().flatten().sum());
        self.input.or_else(sum)
    }

    /// Whether tokens are told at all.
    pub fn has_tokens(&self) -> bool {
        self.all_input().is_some() || self.output.is_some()
    }
}

/// What a vendor bills of one model on one day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Billed {
    pub counts: Counts,
    /// 10⁻¹² units of the currency.
    pub amount: Option<i128>,
    pub currency: Option<Currency>,
    /// What the amount may have been rounded by, in 10⁻¹² units: a unit of its last place for each row.
    pub rounding: i128,
    /// Rows with money.
    pub rows: u64,
}

/// A whole bill, of one file or several.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bill {
    /// By day and the model's name as [`same_name`] has it.
    pub lines: BTreeMap<(Date, String), Billed>,
    /// Rows that name neither a count nor an amount.
    pub empty_rows: u64,
    /// Rows that the mapping leaves out.
    pub other_rows: u64,
}

/// Names of models are compared in small letters, with dashes between their parts.
pub(super) fn same_name(name: &str) -> String {
    name.trim().to_lowercase().replace([' ', '.', '_', '@'], "-")
}

impl Bill {
    /// Adds the rows of one exported file; the export is known by its columns.
    pub fn add(&mut self, mapping: &Mapping, from: impl Read) -> Result<(), BillError> {
        let mut wrong = Wrong::default();
        let bill = &mut *self;
        let shape = read::<Columns<'_>, BillError>(
            from,
            |heading| columns(mapping, heading),
            |columns, row| {
                if !row.is_blank()
                    && let Err(told) = bill.row(mapping, columns, row)
                {
                    wrong.add(row.line, &told);
                }
                if bill.lines.len() > MOST_LINES { Err(BillError::TooMany) } else { Ok(()) }
            },
        );
        shape?;
        wrong.result()
    }

    fn row(&mut self, mapping: &Mapping, columns: &Columns<'_>, row: &Row<'_>) -> Result<(), String> {
        let shape = columns.shape;
        if !shape.only.is_empty() && !shape.only_words.iter().any(|word| word == row.cell(columns.only)) {
            self.other_rows += 1;
            return Ok(());
        }
        let (amount, quantity) = (row.cell(columns.amount), row.cell(columns.quantity));
        let counts = columns.counts.iter().map(|(kind, place)| (*kind, row.cell(Some(*place))));
        let counts: Vec<(Kind, &str)> = counts.filter(|(_, cell)| !cell.is_empty()).collect();
        if amount.is_empty() && quantity.is_empty() && counts.is_empty() {
            self.empty_rows += 1;
            return Ok(());
        }
        let model = part_of(row.cell(columns.model), &shape.model)?;
        let day = day(row.cell(columns.day), shape.day_form, &mapping.zone)?;
        let model = mapping.models.get(&model.to_lowercase()).map_or(model, String::as_str);
        let line = self.lines.entry((day, same_name(model))).or_default();
        for (kind, cell) in counts {
            line.counts.add(kind, whole(cell, 1)?);
        }
        if !quantity.is_empty() {
            let word = part_of(row.cell(columns.kind), &shape.kind)?.to_lowercase();
            let kind = *shape.kinds.get(&word).ok_or_else(|| format!("{word:?} is no kind of count that the mapping knows"))?;
            line.counts.add(kind, whole(quantity, unit(row.cell(columns.unit), shape)?)?);
        }
        if !amount.is_empty() {
            let read = Decimal::read(amount).ok_or_else(|| format!("{amount:?} is no amount"))?;
            let currency = currency(row.cell(columns.currency)).map_or(Ok(mapping.currency), |known| known)?;
            if line.currency.is_some_and(|other| other != currency) {
                return Err(format!("{currency} beside another currency, for the same day and model"));
            }
            line.currency = Some(currency);
            *line.amount.get_or_insert(0) += read.pico;
            line.rounding += 10_i128.pow(12 - read.places);
            line.rows += 1;
        }
        Ok(())
    }

    /// The first day and the last one.
    pub fn days(&self) -> Option<(Date, Date)> {
        let days = || self.lines.keys().map(|(day, _)| *day);
        Some((days().min()?, days().max()?))
    }

    /// Names of models that stand on it.
    pub(super) fn models(&self) -> BTreeSet<&str> {
        self.lines.keys().map(|(_, model)| model.as_str()).collect()
    }
}

#[derive(Default)]
struct Wrong {
    count: u64,
    told: Vec<String>,
}

impl Wrong {
    fn add(&mut self, line: u64, told: &str) {
        self.count += 1;
        if self.told.len() < MOST_WRONG {
            self.told.push(format!("line {line}: {told}"));
        }
    }

    fn result(self) -> Result<(), BillError> {
        if self.count == 0 { Ok(()) } else { Err(BillError::Rows { count: self.count, told: self.told }) }
    }
}

/// Where the cells of an export stand.
struct Columns<'m> {
    shape: &'m FileShape,
    day: Option<usize>,
    model: Option<usize>,
    kind: Option<usize>,
    quantity: Option<usize>,
    unit: Option<usize>,
    counts: Vec<(Kind, usize)>,
    amount: Option<usize>,
    currency: Option<usize>,
    only: Option<usize>,
}

/// The export whose columns are there: the one with the most of them, where several could be.
fn columns<'m>(mapping: &'m Mapping, heading: &Heading) -> Result<Columns<'m>, BillError> {
    let fitting = mapping.files.iter().filter_map(|shape| fits(shape, heading));
    let told = |columns: &Columns<'_>| {
        columns.counts.len() + usize::from(columns.amount.is_some()) + usize::from(columns.quantity.is_some())
    };
    fitting.max_by_key(told).ok_or_else(|| {
        let names = |shape: &FileShape| {
            let columns = [&shape.day, &shape.model.columns, &shape.kind.columns, &shape.quantity, &shape.amount];
            let columns: Vec<String> =
                columns.into_iter().filter(|names| !names.is_empty()).map(|names| names.join(" or ")).collect();
            format!("{}: {}", shape.name, columns.join(", "))
        };
        let wanted = mapping.files.iter().map(names).collect::<Vec<_>>().join("; ");
        BillError::Unknown { vendor: mapping.name.clone(), wanted }
    })
}

fn fits<'m>(shape: &'m FileShape, heading: &Heading) -> Option<Columns<'m>> {
    let place = |names: &Vec<String>| heading.place(names);
    let mut counts = Vec::new();
    for (kind, columns) in &shape.counts {
        counts.extend(columns.iter().filter_map(|names| Some((*kind, place(names)?))));
    }
    let columns = Columns {
        shape,
        day: Some(place(&shape.day)?),
        model: Some(place(&shape.model.columns)?),
        kind: place(&shape.kind.columns),
        quantity: place(&shape.quantity),
        unit: place(&shape.unit),
        amount: place(&shape.amount),
        currency: place(&shape.currency),
        only: place(&shape.only),
        counts,
    };
    let quantity = columns.quantity.is_some() && columns.kind.is_some();
    let told = columns.amount.is_some() || quantity || !columns.counts.is_empty();
    // What tells both is not taken for what tells one of them, nor for another table with a column of the same name.
    let whole = shape.quantity.is_empty() || quantity;
    (told && whole && (shape.only.is_empty() || columns.only.is_some())).then_some(columns)
}

fn part_of<'c>(cell: &'c str, part: &Part) -> Result<&'c str, String> {
    let found = if part.between.is_empty() { Some(cell) } else { cell.split(part.between.as_str()).nth(part.part) };
    found.map(str::trim).filter(|text| !text.is_empty()).ok_or_else(|| format!("{cell:?} has no part {}", part.part + 1))
}

fn unit(cell: &str, shape: &FileShape) -> Result<u64, String> {
    if cell.is_empty() {
        return Ok(1);
    }
    shape.units.get(&cell.to_lowercase()).copied().ok_or_else(|| format!("{cell:?} is no unit that the mapping knows"))
}

/// A count in units of so many.
fn whole(cell: &str, of: u64) -> Result<i128, String> {
    const ONE: i128 = 1_000_000_000_000;
    let read = Decimal::read(cell).ok_or_else(|| format!("{cell:?} is no count"))?;
    let count = read.pico.checked_mul(i128::from(of)).ok_or_else(|| format!("{cell:?} is no count"))?;
    // Thousands with four places are told to a tenth of a token.
    Ok((count + ONE / 2).div_euclid(ONE))
}

fn currency(cell: &str) -> Option<Result<Currency, String>> {
    let code = match cell.to_uppercase().as_str() {
        "" => return None,
        "RMB" | "人民币" => "CNY".to_owned(),
        other => other.to_owned(),
    };
    Some(code.parse().map_err(|()| format!("{cell:?} is no currency of the table")))
}

fn day(cell: &str, form: DayForm, zone: &TimeZone) -> Result<Date, String> {
    let wrong = || format!("{cell:?} is no day");
    let in_zone = |instant: Timestamp| instant.to_zoned(zone.clone()).date();
    match form {
        DayForm::Unix => {
            let seconds = cell.parse().map_err(|_| wrong())?;
            Timestamp::from_second(seconds).map(in_zone).map_err(|_| wrong())
        }
        DayForm::Instant => match cell.parse::<Timestamp>() {
            Ok(instant) => Ok(in_zone(instant)),
            Err(_) => date(cell).ok_or_else(wrong),
        },
        DayForm::Date => date(cell).ok_or_else(wrong),
    }
}

/// A date at the beginning of a text.
fn date(text: &str) -> Option<Date> {
    let written = text.split([' ', 'T']).next()?;
    let parts: Vec<&str> = written.split(['-', '/', '.']).collect();
    let number = |part: &str| part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse::<i16>().ok()).flatten();
    let (year, month, day) = match parts.as_slice() {
        [year, month, day] if year.len() == 4 => (number(year)?, number(month)?, number(day)?),
        [all] if all.len() == 8 && all.is_ascii() => (number(&all[..4])?, number(&all[4..6])?, number(&all[6..])?),
        _ => return None,
    };
    Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::reconcile::shipped;

    fn bill(vendor: &str, files: &[&str]) -> Result<Bill, BillError> {
        let mapping = Mapping::read(vendor, shipped(vendor).unwrap()).unwrap();
        let mut bill = Bill::default();
        for file in files {
            bill.add(&mapping, file.as_bytes())?;
        }
        Ok(bill)
    }

    fn told(bill: &Bill) -> Vec<String> {
        let line = |((day, model), line): (&(Date, String), &Billed)| {
            let Counts { input, fresh_input, cache_read, cache_write, output, requests } = line.counts;
            let count = |count: Option<i128>| count.map_or("-".to_owned(), |count| count.to_string());
            let counts = [input, fresh_input, cache_read, cache_write, output, requests].map(count).join(" ");
            format!("{day} {model}: {counts} {}", count(line.amount))
        };
        bill.lines.iter().map(line).collect()
    }

    #[test]
    fn tokens_and_money_of_two_files_come_together() {
        let amount = "user_id,utc_date,model,api_key_name,api_key,type,price,amount\n\
            u,2026-11-01,deepseek-chat,k,sk-1,input_cache_hit_tokens,0.0000002,1000\n\
            u,2026-11-01,deepseek-chat,k,sk-1,input_cache_miss_tokens,0.000002,500\n\
            u,2026-11-01,deepseek-chat,k2,sk-2,output_tokens,0.000003,70\n\
            u,2026-11-01,deepseek-chat,k2,sk-2,output_tokens,0.000003,7\n\
            u,2026-11-01,deepseek-chat,k2,sk-2,request_count,,2\n";
        let cost = "user_id,utc_date,model,wallet_type,cost,currency\nu,2026-11-01,deepseek-chat,paid,0.0014,CNY\n";
        let bill = bill("deepseek", &[amount, cost]).unwrap();
        assert_eq!(told(&bill), ["2026-11-01 deepseek-chat: - 500 1000 - 77 2 1400000000"]);
        assert_eq!(bill.lines.values().next().unwrap().rounding, 100_000_000);
    }

    #[test]
    fn wide_columns_parts_of_cells_units_and_seconds_are_read() {
        let usage = "usage_date_utc,model_version,api_key,workspace,usage_type,context_window,usage_input_tokens_no_cache,\
            usage_input_tokens_cache_write_5m,usage_input_tokens_cache_write_1h,usage_input_tokens_cache_read,usage_output_tokens\n\
            2026-11-01,claude-x-4.5,a,b,c,d,10,20,30,40,50\n";
        let cost = "usage_date_utc,model,token_type,cost_usd\n2026-11-01,Claude X 4.5,output,0.05\n";
        assert_eq!(told(&bill("anthropic", &[usage, cost]).unwrap()), ["2026-11-01 claude-x-4-5: - 10 40 50 50 - 50000000000"]);

        let activity = "start_time,end_time,num_model_requests,model,input_tokens,output_tokens,input_cached_tokens\n\
            1790553600,1790640000,3,gpt-x,100,5,40\n1790640000,1790726400,,,,,\n";
        let costs =
            "start_time,amount_value,amount_currency,line_item\n1790553600,0.0038359800000000000000,usd,\"gpt-x, input\"\n";
        let read = bill("openai", &[activity, costs]).unwrap();
        assert_eq!((told(&read), read.empty_rows), (vec!["2026-09-28 gpt-x: 100 - 40 - 5 3 3835980000".to_owned()], 1));

        let items = "账单日期,实例ID,用量,用量单位,应付金额,币种\n\
            2026-11-01,text_token;llm-1;qwen-max;input_token;app,1.5,千tokens,0.0036,CNY\n\
            20261101,text_token;llm-1;qwen-max;output_token;app,0.0204,千tokens,0.0002,人民币\n";
        assert_eq!(told(&bill("alibaba", &[items]).unwrap()), ["2026-11-01 qwen-max: - 1500 - - 20 - 3800000000"]);
    }

    #[test]
    fn a_row_that_is_not_understood_refuses_the_bill_with_its_line() {
        let text = "utc_date,model,type,amount\n2026-11-01,m,request_count,1\nyesterday,m,request_count,1\n2026-11-01,m,shoes,1\n\
            2026-11-01,m,output_tokens,many\n\n2026-11-01,,output_tokens,1\n";
        let wrong = bill("deepseek", &[text]).unwrap_err().to_string();
        for part in [
            "4 rows",
            "line 3: \"yesterday\" is no day",
            "line 4: \"shoes\" is no kind",
            "line 5: \"many\" is no count",
            "line 7",
        ] {
            assert!(wrong.contains(part), "{part}: {wrong}");
        }
        let other = bill("deepseek", &["a,b\n1,2\n"]).unwrap_err().to_string();
        assert!(other.contains("none of the exports of DeepSeek") && other.contains("utc_date"), "{other}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

        /// Whatever is handed in is read or refused, by every mapping.
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400), vendor in 0_usize..5) {
            let vendor = crate::reconcile::vendors().nth(vendor).unwrap();
            let mapping = Mapping::read(vendor, shipped(vendor).unwrap()).unwrap();
            let _ = Bill::default().add(&mapping, bytes.as_slice());
        }

        /// The same behind a heading that fits, where cells may hold anything.
        #[test]
        fn any_cells_are_read_or_refused(cells in prop::collection::vec("\\PC{0,20}", 4..40)) {
            let mapping = Mapping::read("deepseek", shipped("deepseek").unwrap()).unwrap();
            let rows: Vec<String> = cells.chunks(4).map(|row| row.join(",")).collect();
            let text = format!("utc_date,model,type,amount\n{}\n", rows.join("\n"));
            let _ = Bill::default().add(&mapping, text.as_bytes());
        }
    }
}
