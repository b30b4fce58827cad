//! Figures as people read them, for the page and for the terminal alike.

use crate::units::Usd;

/// Dollars with as many places as are of use: six below a dollar, four below a hundred, else two. What is not nothing is
/// never shown as nothing.
pub fn money(amount: Usd) -> String {
    let pico = amount.pico();
    let sign = if pico < 0 { "−" } else { "" };
    let size = pico.unsigned_abs();
    let places: u32 = match size / 1_000_000_000_000 {
        0 => 6,
        1..=99 => 4,
        _ => 2,
    };
    let unit = 10_u128.pow(12 - places);
    let units = (size + unit / 2) / unit;
    if units == 0 && size > 0 {
        return format!("<{sign}$0.000001");
    }
    let scale = 10_u128.pow(places);
    let whole = grouped(u64::try_from(units / scale).unwrap_or(u64::MAX));
    format!("{sign}${whole}.{:0width$}", units % scale, width = places as usize)
}

/// A share of a whole in thousandths; `None` of nothing.
pub fn permille(part: Usd, whole: Usd) -> Option<i64> {
    let share = part.pico().saturating_mul(1000).checked_div(whole.pico())?;
    i64::try_from(share).ok()
}

/// `97.6 %`
pub fn percent(permille: i64) -> String {
    let sign = if permille < 0 { "−" } else { "" };
    let size = permille.unsigned_abs();
    format!("{sign}{}.{} %", size / 10, size % 10)
}

/// How many times as much: `1.3×`, `58×`; `None` of nothing.
pub fn times(cost: Usd, than: Usd) -> Option<String> {
    let tenths = cost.pico().saturating_mul(10).checked_div(than.pico())?;
    Some(if tenths < 100 { format!("{}.{}×", tenths / 10, tenths % 10) } else { format!("{}×", tenths / 10) })
}

/// A number with commas between its thousands.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut shown = String::with_capacity(digits.len() + digits.len() / 3);
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// `640 ms`, `1.2 s`, `4 min`
pub fn duration(millis: u64) -> String {
    match millis {
        0..=999 => format!("{millis} ms"),
        1_000..=119_999 => format!("{}.{} s", millis / 1_000, millis % 1_000 / 100),
        _ => format!("{} min", millis / 60_000),
    }
}

/// How long something has been running: `12 s`, `3 min`, `5 h 12 min`, `3 d 4 h`.
pub fn uptime(seconds: u64) -> String {
    let (minutes, hours) = (seconds / 60, seconds / 3_600);
    match seconds {
        0..=59 => format!("{seconds} s"),
        60..=3_599 => format!("{minutes} min"),
        3_600..=86_399 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{} d {} h", hours / 24, hours % 24),
    }
}

/// A word of rows and metrics as words of a sentence: `below_quality` is `below quality`.
pub fn phrase(word: &str) -> String {
    word.replace('_', " ")
}

/// A text without what moves a cursor, hides or turns text around: fit for a terminal and for a page, whoever wrote it.
pub fn plain(text: &str) -> String {
    let turns = |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    text.chars().map(|c| if c.is_control() || turns(c) { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_has_the_places_that_are_of_use() {
        let check = |exact: &str, shown: &str| assert_eq!(money(Usd::parse(exact).unwrap()), shown);
        check("0", "$0.000000");
        check("0.0000001", "<$0.000001");
        check("0.0000415", "$0.000042");
        check("0.999999", "$0.999999");
        check("1.00005", "$1.0001");
        check("12.5", "$12.5000");
        check("1234.567", "$1,234.57");
        assert_eq!(money(Usd::ZERO - Usd::parse("0.25").unwrap()), "−$0.250000");
    }

    #[test]
    fn shares_times_and_words_read_well() {
        let usd = |exact: &str| Usd::parse(exact).unwrap();
        assert_eq!(permille(usd("1"), usd("3")), Some(333));
        assert_eq!(permille(usd("1"), Usd::ZERO), None);
        assert_eq!((percent(976), percent(-5)), ("97.6 %".into(), "−0.5 %".into()));
        assert_eq!((duration(640), duration(1_250), duration(300_000)), ("640 ms".into(), "1.2 s".into(), "5 min".into()));
        let up = [7, 60, 3_660, 90_000].map(uptime);
        assert_eq!(up, ["7 s", "1 min", "1 h 1 min", "1 d 1 h"]);
        assert_eq!((times(usd("1.39"), usd("1")), times(usd("58.9"), usd("1"))), (Some("1.3×".into()), Some("58×".into())));
        assert_eq!(times(usd("1"), Usd::ZERO), None);
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(phrase("below_quality"), "below quality");
    }

    #[test]
    fn a_text_cannot_steer_a_terminal_or_turn_itself_around() {
        assert_eq!(plain("a\x1b[2Jb\u{202e}c\r\n"), "a\u{fffd}[2Jb\u{fffd}c\u{fffd}\u{fffd}");
        assert_eq!(plain("模型-4"), "模型-4");
    }
}
