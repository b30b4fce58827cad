//! A comparison in words and in JSON.

use std::io;

use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::local;
use crate::cli::output::Output;
use crate::cli::table::{Align, Table};
use crate::reconcile::{Bill, Cause, Comparison, Interval, Line, Mapping};
use crate::units::{Amount, Currency};

/// For people: what is off, and what it comes to.
pub(super) fn table(mapping: &Mapping, bill: &Bill, comparison: &Comparison, all: bool, output: &mut Output) -> io::Result<()> {
    if !mapping.unverified.is_empty() {
        output.note(format!("{}: not checked against a real export: {}", mapping.name, mapping.unverified))?;
    }
    let lines = &comparison.lines;
    let shown: Vec<&Line> = lines.iter().filter(|line| all || !line.cause.is_settled()).collect();
    let settled = lines.iter().filter(|line| line.cause.is_settled()).count();
    let zone = mapping.zone.iana_name().unwrap_or("UTC");
    output.line(format!("{} of {} days and models agree ({zone}).", settled, lines.len()))?;
    if bill.other_rows > 0 {
        output.line(format!("{} rows of the bill are of something else.", bill.other_rows))?;
    }
    if shown.is_empty() {
        return Ok(());
    }
    let mut table = Table::new([Align::Left, Align::Left].into_iter().chain([Align::Right; 5]).chain([Align::Left, Align::Left]));
    table.row(["day", "model", "input off", "output off", "billed", "booked", "money off", "", "likely cause"]);
    for line in shown {
        let (input, output) = line.tokens_off().map_or(("-".into(), "-".into()), |(i, o)| (i.to_string(), o.to_string()));
        let code = line.currency().map_or("", Currency::code);
        let (day, billed) = (line.day.to_string(), line.bill.map_or(Some(0), |bill| bill.amount));
        let money = [billed, Some(line.booked_amount()), line.money_off()].map(maybe);
        let [billed, booked, off] = money;
        table.row([day, line.model.clone(), input, output, billed, booked, off, code.to_owned(), line.cause.told()]);
    }
    output.line(table.to_string())?;
    for currency in Currency::ALL {
        let of = || lines.iter().filter(|line| line.currency() == Some(currency));
        if of().next().is_some() {
            let off: i128 = of().filter_map(Line::money_off).sum();
            output.line(format!("All together: {} {currency} more on the bill than in the books.", exact(off)))?;
        }
    }
    Ok(())
}

/// For programs.
pub(super) fn json(mapping: &Mapping, bill: &Bill, comparison: &Comparison, all: bool) -> Value {
    let lines = comparison.lines.iter().filter(|line| all || !line.cause.is_settled()).map(line_json);
    json!({
        "vendor": mapping.name,
        "zone": mapping.zone.iana_name(),
        "unverified": mapping.unverified,
        "compared": comparison.lines.len(),
        "agree": comparison.lines.iter().filter(|line| line.cause.is_settled()).count(),
        "other_rows": bill.other_rows,
        "lines": lines.collect::<Vec<_>>(),
    })
}

fn line_json(line: &Line) -> Value {
    let bill = line.bill.map(|bill| {
        let counts = bill.counts;
        json!({
            "input_tokens": counts.all_input(), "cache_read_tokens": counts.cache_read, "cache_write_tokens": counts.cache_write,
            "output_tokens": counts.output, "requests": counts.requests, "amount": bill.amount.map(exact), "rounding": exact(bill.rounding),
        })
    });
    let books = line.books.as_ref().map(|books| {
        let usage = &books.usage;
        json!({
            "input_tokens": usage.input().get(), "cache_read_tokens": usage.cache_read.get(), "cache_write_tokens": usage.cache_write.get(),
            "output_tokens": usage.output.get(), "attempts": books.attempts, "estimated": books.estimated,
            "amount": exact(line.booked_amount()), "price_rows": books.prices, "price_tables": books.tables,
        })
    });
    let (input, output) = line.tokens_off().unzip();
    let mut cause = json!({"word": line.cause.word(), "told": line.cause.told()});
    if let Cause::PriceVersion { fits: Some(row) } = &line.cause {
        cause["fits"] = row.clone().into();
    }
    json!({
        "day": line.day.to_string(), "model": line.model, "currency": line.currency().map(Currency::code), "bill": bill, "books": books,
        "input_tokens_off": input, "output_tokens_off": output, "amount_off": line.money_off().map(exact), "cause": cause,
    })
}

/// Readings of a balance, for people.
pub(super) fn balances(intervals: &[Interval], currency: Currency, zone: &TimeZone, output: &mut Output) -> io::Result<()> {
    let mut table = Table::new([Align::Left, Align::Left, Align::Right, Align::Right, Align::Right, Align::Left]);
    table.row(["from", "until", "fell by", "booked", "off", "likely cause"]);
    for interval in intervals {
        let (from, until) = (local(interval.from.at, zone), local(interval.until.at, zone));
        let [fell, booked, off] = [interval.fell(), interval.booked, interval.off()].map(exact);
        table.row([from, until, fell, booked, off, interval.cause().to_owned()]);
    }
    output.line(table.to_string())?;
    output.line(format!("Amounts in {currency}, times of {}.", zone.iana_name().unwrap_or("UTC")))
}

/// The same for programs.
pub(super) fn balances_json(intervals: &[Interval], currency: Currency) -> Value {
    let interval = |interval: &Interval| {
        json!({
            "from": interval.from.at.to_string(), "until": interval.until.at.to_string(), "fell": exact(interval.fell()),
            "booked": exact(interval.booked), "estimated": exact(interval.estimated), "off": exact(interval.off()), "cause": interval.cause(),
        })
    };
    json!({"currency": currency.code(), "intervals": intervals.iter().map(interval).collect::<Vec<_>>()})
}

fn maybe(pico: Option<i128>) -> String {
    pico.map_or_else(|| "-".to_owned(), exact)
}

/// Every digit, whatever the currency.
fn exact(pico: i128) -> String {
    Amount::from_pico(pico, Currency::Usd).to_exact()
}

#[cfg(test)]
mod tests {
    use crate::cli::args::{Environment, GatewayArgs};
    use crate::cli::output::Exit;
    use crate::cli::output::testing::captured;
    use crate::cli::reconcile::{Form, ReconcileArgs, run};
    use crate::clock::SystemClock;
    use crate::ledger::fixtures::{attempt_end, attempt_opened, request_end, request_opened};
    use crate::ledger::{Ledger, Settings};

    /// Books of `acme` with three attempts of `fast-1` on 2023-11-14, and a bill of it.
    async fn told(bill: &str, change: impl FnOnce(&mut ReconcileArgs)) -> (Exit, String, String) {
        let folder = tempfile::tempdir().unwrap();
        let (ledger, _) = Ledger::open(Settings::new(folder.path()), SystemClock::shared()).unwrap();
        for number in 1..=3 {
            let tab = ledger.begin(request_opened(number)).unwrap();
            tab.attempt(attempt_opened()).end(attempt_end(100, 10)).await.unwrap();
            tab.close(request_end()).await.unwrap();
        }
        ledger.close().await.unwrap();
        let path = folder.path().join("bill.csv");
        std::fs::write(&path, bill).unwrap();
        let mut args = ReconcileArgs {
            gateway: GatewayArgs { data_dir: Some(folder.path().to_owned()), ..GatewayArgs::default() },
            vendor: Some("deepseek".to_owned()),
            mapping: None,
            bill: vec![path.clone()],
            balances: None,
            currency: None,
            provider: vec!["acme".to_owned()],
            all: false,
            format: Form::Table,
            show_mapping: false,
        };
        change(&mut args);
        captured(|output| run(&args, &Environment::new(), output))
    }

    const BILL: &str =
        "utc_date,model,type,amount\n2023-11-14,fast-1,input_cache_miss_tokens,300\n2023-11-14,fast-1,output_tokens,30\n";

    #[tokio::test]
    async fn a_bill_that_agrees_is_a_success_and_one_that_does_not_says_by_what() {
        let (exit, out, err) = told(BILL, |_| {}).await;
        assert_eq!((exit, out.as_str()), (Exit::Success, "1 of 1 days and models agree (UTC).\n"), "{err}");
        assert!(err.contains("not checked against a real export"), "{err}");
        let (exit, out, _) = told(&BILL.replace(",30\n", ",47\n"), |_| {}).await;
        assert_eq!(exit, Exit::Failure);
        assert!(out.contains("2023-11-14  fast-1") && out.contains("17") && out.contains("missing rows"), "{out}");
        let (_, out, _) = told(BILL, |args| (args.format, args.all) = (Form::Json, true)).await;
        let json: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(json["lines"][0]["books"]["amount"], "0.00084");
        assert_eq!(json["lines"][0]["cause"]["word"], "agrees");
        let (exit, _, err) = told("a,b\n1,2\n", |_| {}).await;
        assert!(exit == Exit::Failure && err.contains("bill.csv") && err.contains("utc_date"), "{err}");
        let (exit, _, err) = told(BILL, |args| args.vendor = Some("nobody".to_owned())).await;
        assert!(exit == Exit::Failure && err.contains("deepseek") && err.contains("--mapping"), "{err}");
        let (_, out, _) = told(BILL, |args| args.show_mapping = true).await;
        assert!(out.contains("[[files]]"), "{out}");
    }

    #[tokio::test]
    async fn a_balance_that_fell_by_what_was_charged_agrees() {
        let readings = "time,balance\n2023-11-14T22:00:00Z,10\n2023-11-14T23:00:00Z,9.99916\n";
        let balances = |args: &mut ReconcileArgs| args.balances = args.bill.pop();
        let (exit, out, err) = told(readings, balances).await;
        assert!(exit == Exit::Success && out.contains("0.00084") && out.contains("agrees"), "{out}{err}");
        let (exit, out, _) = told(&readings.replace("9.99916", "9.5"), |args| {
            args.balances = args.bill.pop();
            args.format = Form::Json;
        })
        .await;
        let json: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!((exit, &json["intervals"][0]["off"]), (Exit::Failure, &"0.49916".into()));
    }
}
