//! Decimals as bills write them: with signs, groups of three digits, exponents, more places than an amount has.

/// A number as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decimal {
    /// 10⁻¹² units, rounded half to even where there were more places.
    pub pico: i128,
    /// How many places were written, at most twelve: what its writer may have rounded to.
    pub places: u32,
}

const PLACES: i32 = 12;
/// No number is longer.
const LONGEST: usize = 64;
/// Digits of the largest number: sums of millions of them still fit.
const MOST_DIGITS: i32 = 30;

impl Decimal {
    /// Reads one. `None` for what is no number, or far too large for one.
    pub fn read(text: &str) -> Option<Self> {
        let text = text.trim().trim_start_matches(['$', '¥', '￥', '€']);
        if text.len() > LONGEST {
            return None;
        }
        let (negative, text) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let (number, exponent) = match text.split_once(['e', 'E']) {
            Some((number, exponent)) => (number, exponent.parse::<i32>().ok().filter(|e| e.abs() <= 64)?),
            None => (text, 0),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let whole = ungrouped(whole)?;
        if whole.is_empty() && fraction.is_empty() || !fraction.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let digits = format!("{whole}{fraction}");
        let written = i32::try_from(fraction.len()).ok()? - exponent;
        let pico = scaled(&digits, PLACES - written)?;
        let places = u32::try_from(written.clamp(0, PLACES)).unwrap_or(0);
        Some(Self { pico: if negative { -pico } else { pico }, places })
    }
}

/// Takes the commas between groups of three out; `None` where they stand elsewhere, since a comma may be a point in some places.
fn ungrouped(whole: &str) -> Option<String> {
    let mut groups = whole.split(',');
    let first = groups.next().unwrap_or("");
    let grouped = whole.contains(',');
    let fits = !grouped || (1..=3).contains(&first.len()) && groups.clone().all(|group| group.len() == 3);
    let digits: String = std::iter::once(first).chain(groups).collect();
    (fits && digits.bytes().all(|b| b.is_ascii_digit())).then_some(digits)
}

/// `digits` × 10^`up`, rounded half to even.
fn scaled(digits: &str, up: i32) -> Option<i128> {
    let digits = digits.trim_start_matches('0');
    let length = i32::try_from(digits.len()).ok()?;
    if length + up > MOST_DIGITS {
        return None;
    }
    if up >= 0 {
        let digits: i128 = if digits.is_empty() { 0 } else { digits.parse().ok()? };
        return digits.checked_mul(10_i128.checked_pow(u32::try_from(up).ok()?)?);
    }
    // What is kept, and what falls away.
    let keep = usize::try_from((length + up).max(0)).ok()?;
    let (kept, lost) = digits.split_at(keep);
    let kept: i128 = if kept.is_empty() { 0 } else { kept.parse().ok()? };
    // Fewer digits than fall away: the first ones that do are zeros.
    let below = length + up < 0;
    let half = lost.bytes().next().filter(|_| !below).unwrap_or(b'0');
    let rest = lost.bytes().skip(1).any(|digit| digit != b'0');
    let round_up = half > b'5' || half == b'5' && (rest || kept % 2 != 0);
    Some(kept + i128::from(round_up))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expected: Option<(i128, u32)>) {
        assert_eq!(Decimal::read(text).map(|read| (read.pico, read.places)), expected, "{text}");
    }

    #[test]
    fn numbers_are_read_as_bills_write_them() {
        const ONE: i128 = 1_000_000_000_000;
        check("0.0045", Some((4_500_000_000, 4)));
        check(" 1,234.5\t", Some((1_234 * ONE + ONE / 2, 1)));
        check("-3", Some((-3 * ONE, 0)));
        check("+.5", Some((ONE / 2, 1)));
        check("¥12.00", Some((12 * ONE, 2)));
        check("1.5e-05", Some((15_000_000, 6)));
        check("2E3", Some((2_000 * ONE, 0)));
        check("0.003835980000000000000000000000", Some((3_835_980_000, 12)));
        check("0.0000000000005", Some((0, 12)));
        check("0.0000000000015", Some((2, 12)));
        check("0.00000000000051", Some((1, 12)));
        check("0.00000000000005", Some((0, 12)));
        check("0", Some((0, 0)));
        for wrong in
            ["", "-", ".", "abc", "1,5", "12,34", "1.2.3", "0x1", "1e999", "NaN", "inf", "1 000", "99999999999999999999999999"]
        {
            check(wrong, None);
        }
    }

    proptest! {
        /// Whatever it is, it is read or refused.
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,80}") {
            let _ = Decimal::read(&text);
        }

        #[test]
        fn what_an_amount_is_told_as_reads_back(pico in -10_i128.pow(24)..10_i128.pow(24)) {
            let told = crate::units::Usd::from_pico(pico).to_exact();
            prop_assert_eq!(Decimal::read(&told).unwrap().pico, pico, "{}", told);
        }
    }
}
