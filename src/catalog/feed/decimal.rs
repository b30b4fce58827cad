//! Exact decimals out of a number's own text: digits, a point, an exponent. No float is made on the way, so what a feed
//! writes is what is compared; a figure that our smallest unit cannot hold is refused rather than rounded.

/// Places of a price per token: 10⁻¹² of a currency's unit.
pub(super) const PER_TOKEN: i32 = 12;
/// Places of a price per million tokens, in the same unit per token.
pub(super) const PER_MILLION: i32 = 6;

/// Longer texts are no price that somebody wrote down.
const LONGEST: usize = 100;
/// Digits of the largest 64-bit number.
const MOST_DIGITS: i64 = 20;

/// Why a text is no exact figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Inexact {
    NoNumber,
    Negative,
    /// It has digits below our smallest unit.
    Finer,
    /// Beyond what a price can be.
    Larger,
}

/// Reads a decimal (JSON's grammar, and what others write: a sign, a bare point) into units of 10^-places.
pub(super) fn exact(text: &str, places: i32) -> Result<u64, Inexact> {
    let (negative, digits, exponent) = parts(text).ok_or(Inexact::NoNumber)?;
    if digits.is_empty() {
        return Ok(0);
    }
    if negative {
        return Err(Inexact::Negative);
    }
    let exponent = exponent + i64::from(places);
    if exponent < 0 {
        return Err(Inexact::Finer);
    }
    let length = i64::try_from(digits.len()).map_err(|_| Inexact::NoNumber)?;
    if length + exponent > MOST_DIGITS {
        return Err(Inexact::Larger);
    }
    let power = u32::try_from(exponent).map_err(|_| Inexact::Larger)?;
    let digits: u128 = digits.parse().map_err(|_| Inexact::NoNumber)?;
    u64::try_from(digits * 10_u128.pow(power)).map_err(|_| Inexact::Larger)
}

/// Sign, digits without zeros at either end, and the power of ten of the last digit; no digits for zero.
fn parts(text: &str) -> Option<(bool, String, i64)> {
    if text.len() > LONGEST {
        return None;
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let exponent: i32 = exponent.parse().ok()?;
    let significant = digits.trim_end_matches('0');
    let cut = i64::try_from(digits.len() - significant.len()).ok()?;
    let places = i64::try_from(fraction.len()).ok()?;
    let last = i64::from(exponent) - places + cut;
    Some((text.starts_with('-'), significant.trim_start_matches('0').to_owned(), last))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, places: i32, expected: Result<u64, Inexact>) {
        assert_eq!(exact(text, places), expected, "{text} at {places}");
    }

    #[test]
    fn a_number_is_exact_or_refused() {
        check("1.5e-07", PER_TOKEN, Ok(150_000));
        check("0.00000015", PER_TOKEN, Ok(150_000));
        check("15E-8", PER_TOKEN, Ok(150_000));
        check("0.14", PER_MILLION, Ok(140_000));
        check("3", PER_MILLION, Ok(3_000_000));
        check("1e1", PER_MILLION, Ok(10_000_000));
        check("+2.50", PER_MILLION, Ok(2_500_000));
        check("1e-12", PER_TOKEN, Ok(1));
        check("18446744073709551615", 0, Ok(u64::MAX));
        for zero in ["0", "0.0", "-0.0", "0e999999", "0e-999999"] {
            check(zero, PER_TOKEN, Ok(0));
        }
        for finer in ["1e-13", "1.0000000000000002e-06", "1e-2000000000"] {
            check(finer, PER_TOKEN, Err(Inexact::Finer));
        }
        for larger in ["18446744073709551616", "1e300", "1e2000000000", "99999999999999999999999"] {
            check(larger, 0, Err(Inexact::Larger));
        }
        check("-1e-6", PER_TOKEN, Err(Inexact::Negative));
        for other in ["", ".", "-", "1e", "e5", "1.2.3", "NaN", "inf", "0x10", "1_000", " 1", "1e99999999999", "١"] {
            check(other, PER_TOKEN, Err(Inexact::NoNumber));
        }
        check(&"1".repeat(LONGEST + 1), 0, Err(Inexact::NoNumber));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[-+0-9.eE]{0,40}|\\PC{0,20}") {
            let _ = exact(&text, PER_TOKEN);
        }

        #[test]
        fn the_point_may_stand_anywhere(units in 0_u64..1_000_000_000_000_000, shift in -12_i32..=12) {
            let text = format!("{units}e{shift}");
            let expected = exact(&units.to_string(), PER_TOKEN + shift);
            prop_assert_eq!(exact(&text, PER_TOKEN), expected);
        }
    }
}
