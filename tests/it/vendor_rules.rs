//! Real rules of real vendors, as the shipped table has them: each amount below is worked out by hand from the vendor's rule
//! (the facts of 2026-11-22), never by our code. What computes here is what settles an attempt in the books.

use jiff::Timestamp;
use tokenbroker::catalog::{Purchase, Snapshot};
use tokenbroker::units::{Course, Thinking, Tokens, Usage};

const SHIPPED: &str = include_str!("../../providers.toml");

fn shipped() -> Snapshot {
    Snapshot::parse("providers.toml", SHIPPED).unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Input of which some was read from a cache and some written to it, and output.
fn usage(input: u64, read: u64, written: u64, output: u64) -> Usage {
    let t = Tokens::new;
    Usage { cache_read: t(read), cache_write: t(written), ..Usage::fresh(t(input - read - written), t(output)) }
}

/// What a request cost, `amount currency`, that arrived and was complete at these instants.
#[track_caller]
fn check(id: &str, (arrived, completed): (&str, &str), usage: &Usage, thinking: Thinking, expected: &str) {
    let table = shipped();
    let (provider, model) = id.split_once('/').unwrap();
    let schedule = table.prices_of(provider, model).unwrap();
    let pricing = schedule.pricing(Purchase::default(), at(arrived), at(completed)).unwrap();
    let billed = pricing.cost(usage, thinking, Course { arrived: at(arrived), completed: Some(at(completed)) });
    assert_eq!(billed.amount.to_string(), expected, "{id}, {arrived} to {completed}");
}

#[track_caller]
fn check_at(id: &str, instant: &str, usage: &Usage, thinking: Thinking, expected: &str) {
    check(id, (instant, instant), usage, thinking, expected);
}

/// 0.02 yuan a million cached, 1 fresh, 4 out; double from 09:00 to 12:00 and 14:00 to 18:00 in Beijing on weekdays that are
/// no public holiday; billed by the completion of the answer.
#[test]
fn deepseeks_peak_hours_to_the_second() {
    let million = usage(1_000_000, 400_000, 0, 1_000);
    // 0.6 x 1 + 0.4 x 0.02 + 0.001 x 4 and twice that.
    let (list, peak) = ("0.612 CNY", "1.224 CNY");
    let completed = |arrived: &str, completed: &str, expected| {
        check("deepseek/deepseek-flash", (arrived, completed), &million, Thinking::Off, expected);
    };
    // Monday, 2026-11-23.
    completed("2026-11-23T08:59:50+08:00", "2026-11-23T08:59:59+08:00", list);
    completed("2026-11-23T08:59:50+08:00", "2026-11-23T09:00:00+08:00", peak);
    completed("2026-11-23T11:59:50+08:00", "2026-11-23T11:59:59+08:00", peak);
    completed("2026-11-23T11:59:50+08:00", "2026-11-23T12:00:00+08:00", list);
    completed("2026-11-23T13:59:59+08:00", "2026-11-23T13:59:59+08:00", list);
    completed("2026-11-23T13:59:59+08:00", "2026-11-23T14:00:00+08:00", peak);
    completed("2026-11-23T17:59:59+08:00", "2026-11-23T18:00:00+08:00", list);
    // Saturday and Sunday; the public holiday of 2026-10-01, a Thursday; the make-up Saturday of 2026-10-10.
    for day in ["2026-11-21", "2026-11-22", "2026-10-01", "2026-10-10"] {
        completed(&format!("{day}T10:00:00+08:00"), &format!("{day}T10:00:01+08:00"), list);
    }
    // The first working day after the holidays.
    completed("2026-10-08T10:00:00+08:00", "2026-10-08T10:00:01+08:00", peak);
    // New Year's Day of 2027 is a Friday; nobody has published whether it is off, so the dearer side counts.
    completed("2027-01-01T10:00:00+08:00", "2027-01-01T10:00:01+08:00", peak);
}

/// Steps in dollars before the list in yuan: 0.435 and 0.87 until 2026-08-16 16:00 UTC, then 4.5 and 13.5 yuan.
#[test]
fn deepseeks_step_of_august_2026() {
    let tokens = usage(1_000_000, 0, 0, 1_000_000);
    check_at("deepseek/deepseek-v4-pro", "2026-08-16T15:59:59Z", &tokens, Thinking::Off, "1.305 USD");
    check_at("deepseek/deepseek-v4-pro", "2026-08-16T16:00:00Z", &tokens, Thinking::Off, "18 CNY");
}

/// Up to 256,000 tokens of input 0.4 a million, and 1.2 out (4 with thinking); above 1.2, 3.6 and 12, for the whole request.
#[test]
fn qwen_pluss_tier_and_its_thinking() {
    let instant = "2026-11-23T10:00:00Z";
    let edge = |input, thinking, expected| check_at("alibaba/qwen-plus", instant, &usage(input, 0, 0, 1_000), thinking, expected);
    edge(256_000, Thinking::Off, "0.1036 USD");
    edge(256_001, Thinking::Off, "0.3108012 USD");
    edge(256_000, Thinking::On, "0.1064 USD");
    edge(256_001, Thinking::On, "0.3192012 USD");
}

/// Beijing's list: 0.8 and 2 yuan up to 128,000 tokens of input, 8 out with thinking; 2.4 and 20 (24) up to 256,000; 4.8 and
/// 48 (64) above.
#[test]
fn qwen_pluss_cells_in_beijing() {
    let instant = "2026-11-23T10:00:00Z";
    let cell =
        |input, thinking, expected| check_at("alibaba-cn/qwen-plus", instant, &usage(input, 0, 0, 1_000), thinking, expected);
    cell(128_000, Thinking::Off, "0.1044 CNY");
    cell(128_000, Thinking::On, "0.1104 CNY");
    cell(128_001, Thinking::Off, "0.3272024 CNY");
    cell(256_001, Thinking::On, "1.2928048 CNY");
}

/// Doubao: 3.2, 4.8 and 9.6 yuan in, 16, 24 and 48 out, with edges at 32,000 and 128,000 tokens of input; Doubao 1.6 has a
/// cheaper cell for answers of 200 tokens or less (2 out instead of 8).
#[test]
fn doubaos_tiers_and_its_short_answers() {
    let instant = "2026-11-23T10:00:00Z";
    let pro = |input, expected| {
        check_at("volcengine/doubao-seed-2-0-pro-260215", instant, &usage(input, 0, 0, 1_000), Thinking::Off, expected);
    };
    pro(32_000, "0.1184 CNY");
    pro(32_001, "0.1776048 CNY");
    pro(128_000, "0.6384 CNY");
    pro(128_001, "1.2768096 CNY");
    let short = |output, expected| {
        check_at("volcengine/doubao-seed-1-6-251015", instant, &usage(10_000, 0, 0, output), Thinking::Off, expected);
    };
    short(200, "0.0084 CNY");
    short(201, "0.009608 CNY");
}

/// 2 and 12 dollars up to 200,000 tokens of input, 4 and 18 above, cached reads at a tenth of input.
#[test]
fn geminis_tier_at_200k() {
    let edge = |input, read, expected| {
        check_at("google/gemini-3.1-pro-preview", "2026-11-23T10:00:00Z", &usage(input, read, 0, 1_000), Thinking::On, expected);
    };
    edge(200_000, 0, "0.412 USD");
    edge(200_001, 0, "0.818004 USD");
    edge(200_000, 100_000, "0.232 USD");
}

/// 2 dollars in, 10 out; read from the cache 0.1 since 2026-10-07 (0.2 before), written to it 1.25 times input, for an hour
/// twice.
#[test]
fn anthropics_cache_is_read_and_written() {
    let cost = |instant: &str, usage: &Usage, expected| {
        check_at("anthropic/claude-sonnet-5-5", instant, usage, Thinking::On, expected);
    };
    // 10,000 x 2 + 80,000 x 0.1 + 10,000 x 2.5 + 1,000 x 10, in millionths.
    cost("2026-11-23T10:00:00Z", &usage(100_000, 80_000, 10_000, 1_000), "0.063 USD");
    let long = Usage { cache_write_long: Tokens::new(10_000), ..usage(100_000, 80_000, 10_000, 1_000) };
    cost("2026-11-23T10:00:00Z", &long, "0.078 USD");
    cost("2026-10-06T23:59:59Z", &usage(100_000, 80_000, 0, 1_000), "0.066 USD");
    cost("2026-10-07T00:00:00Z", &usage(100_000, 80_000, 0, 1_000), "0.058 USD");
}

/// The cuts of May 2024 took effect at Beijing's midnight: 4 and 8 yuan the second before, nothing after.
#[test]
fn what_became_free_in_may_2024() {
    let tokens = usage(1_000_000, 0, 0, 1_000_000);
    check_at("baidu/ernie-speed-8k", "2024-05-20T15:59:59Z", &tokens, Thinking::Off, "12 CNY");
    check_at("baidu/ernie-speed-8k", "2024-05-20T16:00:00Z", &tokens, Thinking::Off, "0 CNY");
}

/// A rise that is announced for tomorrow is in the table today and counts from its instant.
#[test]
fn a_rise_announced_for_tomorrow() {
    let rise = "\n[[backends.prices]]\nfrom = 2026-11-29T00:00:00+08:00\ninput = 9\noutput = 27\nsource = \"announced\"\n";
    let row = "[[backends]]\nprovider = \"deepseek\"\nmodel = \"deepseek-v4-pro\"";
    let begin = SHIPPED.find(row).unwrap();
    let end = begin + SHIPPED[begin + 12..].find("\n[[backends]]").unwrap() + 12;
    let announced = format!("{}{rise}{}", &SHIPPED[..end], &SHIPPED[end..]);
    let table = Snapshot::parse("announced.toml", &announced).unwrap();
    let schedule = table.prices_of("deepseek", "deepseek-v4-pro").unwrap();
    let cost = |instant: &str| {
        let pricing = schedule.pricing(Purchase::default(), at(instant), at(instant)).unwrap();
        pricing.cost(&usage(1_000_000, 0, 0, 0), Thinking::Off, Course::at(at(instant))).amount.to_string()
    };
    // A Saturday and a Sunday: no peak hours.
    assert_eq!(cost("2026-11-28T23:59:59+08:00"), "4.5 CNY");
    assert_eq!(cost("2026-11-29T00:00:00+08:00"), "9 CNY");
}

/// 100 yuan at the reference rates of three days: 6.6616 yuan a dollar on Thursday 2026-10-29, 6.6529 on Friday, and
/// Friday's over the weekend, rounded half to even at 10^-12 dollars.
#[test]
fn a_price_in_yuan_across_a_change_of_the_rate() {
    let table = shipped();
    let schedule = table.prices_of("deepseek", "deepseek-v4-pro").unwrap();
    let dollars = |instant: &str| {
        let pricing = schedule.pricing(Purchase::default(), at(instant), at(instant)).unwrap();
        let amount = pricing.cost(&usage(0, 0, 0, 1_000_000), Thinking::Off, Course::at(at(instant))).amount;
        (amount.to_string(), table.fx.convert(amount, at(instant)).unwrap().to_exact())
    };
    // 13.5 / 6.6616, 13.5 / 6.6529; all outside of the peak hours.
    assert_eq!(dollars("2026-10-29T23:59:59Z"), ("13.5 CNY".into(), "2.026540170530".trim_end_matches('0').into()));
    assert_eq!(dollars("2026-10-30T00:00:00Z"), ("13.5 CNY".into(), "2.029190277924".into()));
    assert_eq!(dollars("2026-11-01T12:00:00Z"), ("13.5 CNY".into(), "2.029190277924".into()));
}
