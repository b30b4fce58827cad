//! Whether a provider's reports have left their usual band: a cumulative sum of how far they are off, in their own errors, on
//! either side. One report that is odd moves it a little; a lasting change of one error is seen within some dozens of rows, a
//! gross one within three; reports within the band take it back.

/// What of a row's deviation the band bears, in errors.
const BORNE: f64 = 1.0;
/// No single row counts for more than this.
const MOST_A_ROW: f64 = 4.0;
/// A sum of this is a drift,
const DRIFTED: f64 = 8.0;
/// and no sum is let grow above this, so that reports that came back are believed within some dozen rows.
const MOST: f64 = 12.0;
/// So many rows have to be known before there is a usual band to leave.
pub(super) const USUAL_ROWS: u32 = 30;
/// So many counts within their band clear a flag that estimates raised: the texts became others, not the reports.
const ACQUITTALS: u8 = 3;

/// Which way reports went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// More is reported than was usual,
    Above,
    /// or less.
    Below,
}

impl Way {
    pub const fn word(self) -> &'static str {
        match self {
            Way::Above => "above",
            Way::Below => "below",
        }
    }
}

/// What a row did to a drift.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    Began(Way),
    Ended,
}

/// One kind of report, watched.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Drift {
    above: f64,
    below: f64,
    flagged: Option<Way>,
    /// What was reported over what was usual while it was flagged; fading.
    lately: f64,
    /// How many counts have spoken against the flag.
    acquitted: u8,
}

impl Drift {
    pub(super) const fn flagged(&self) -> Option<Way> {
        self.flagged
    }

    /// Whether any of it is under suspicion, flagged or not yet.
    pub(super) fn is_suspected(&self) -> bool {
        self.flagged.is_some() || self.above > 0.0 || self.below > 0.0
    }

    /// How much more was reported lately than was usual: one where nothing is flagged.
    pub(super) const fn lately(&self) -> f64 {
        if self.flagged.is_some() { self.lately } else { 1.0 }
    }

    /// Takes a row that is off by this relative to its estimate, with the error that was usual among so many rows; `ratio` is
    /// what was reported over what was expected.
    pub(super) fn hear(&mut self, off: f64, error: f64, rows: u32, ratio: f64) -> Option<Turn> {
        if rows < USUAL_ROWS {
            return None;
        }
        let errors = (off / error).clamp(-MOST_A_ROW, MOST_A_ROW);
        self.above = (self.above + errors - BORNE).clamp(0.0, MOST);
        self.below = (self.below - errors - BORNE).clamp(0.0, MOST);
        let gone = match self.flagged {
            Some(_) => {
                self.lately += (ratio - self.lately) / 4.0;
                self.above <= 0.0 && self.below <= 0.0
            }
            None => false,
        };
        if gone {
            *self = Self::default();
            return Some(Turn::Ended);
        }
        let way = match (self.above, self.below) {
            (above, _) if above >= DRIFTED => Way::Above,
            (_, below) if below >= DRIFTED => Way::Below,
            _ => return None,
        };
        if self.flagged.is_some() {
            return None;
        }
        (self.flagged, self.lately) = (Some(way), ratio);
        Some(Turn::Began(way))
    }

    /// Takes that a count of the same texts is within its band. Answers whether that clears the flag.
    pub(super) fn acquit(&mut self) -> bool {
        if self.flagged.is_none() {
            return false;
        }
        self.acquitted += 1;
        let cleared = self.acquitted >= ACQUITTALS;
        if cleared {
            *self = Self::default();
        }
        cleared
    }

    /// What was kept of it: whether it was flagged and what was reported lately, in thousandths of what was usual.
    pub(super) fn kept(&self) -> Option<(Way, i64)> {
        #[expect(clippy::cast_possible_truncation, reason = "a float's conversion saturates")]
        self.flagged.map(|way| (way, (self.lately * 1e3).round() as i64))
    }

    pub(super) fn restored(kept: Option<(Way, i64)>) -> Self {
        let Some((way, lately)) = kept else { return Self::default() };
        let lately = f64::from(i32::try_from(lately.clamp(0, 1_000_000)).unwrap_or(0)) / 1e3;
        let (above, below) = if way == Way::Above { (MOST, 0.0) } else { (0.0, MOST) };
        Self { above, below, flagged: Some(way), lately, acquitted: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds rows of one deviation, in errors, until something turns; answers after how many it did.
    fn turns_after(drift: &mut Drift, errors: f64, most: usize) -> Option<(usize, Turn)> {
        (1..=most).find_map(|row| Some((row, drift.hear(errors * 0.05, 0.05, 100, 1.0 + errors * 0.05)?)))
    }

    #[test]
    fn a_gross_change_is_seen_at_once_a_small_one_later_and_the_usual_never() {
        let check = |errors: f64, expected: Option<(usize, Turn)>| {
            assert_eq!(turns_after(&mut Drift::default(), errors, 500), expected, "{errors}");
        };
        check(40.0, Some((3, Turn::Began(Way::Above))));
        check(-40.0, Some((3, Turn::Began(Way::Below))));
        check(2.0, Some((8, Turn::Began(Way::Above))));
        check(1.5, Some((16, Turn::Began(Way::Above))));
        check(1.0, None);
        check(-0.9, None);
    }

    #[test]
    fn one_odd_report_among_usual_ones_is_no_drift() {
        let mut drift = Drift::default();
        for round in 0..100 {
            assert_eq!(drift.hear(3.0, 0.05, 100, 4.0), None, "{round}");
            assert!(drift.is_suspected());
            assert_eq!(turns_after(&mut drift, 0.2, 6), None);
        }
    }

    #[test]
    fn it_is_over_when_reports_are_back_and_lately_is_what_was_reported() {
        let mut drift = Drift::default();
        turns_after(&mut drift, 10.0, 10).unwrap();
        assert_eq!(turns_after(&mut drift, 10.0, 40), None, "told once");
        assert!((drift.lately() - 1.5).abs() < 0.01 && drift.flagged() == Some(Way::Above));
        let (rows, turn) = turns_after(&mut drift, 0.0, 50).unwrap();
        assert!((rows, turn) == (12, Turn::Ended) && drift == Drift::default(), "{rows} {turn:?}");
    }

    #[test]
    fn too_few_rows_have_no_band() {
        let mut drift = Drift::default();
        assert!((0..100).all(|_| drift.hear(9.0, 0.05, USUAL_ROWS - 1, 10.0).is_none()) && !drift.is_suspected());
    }

    #[test]
    fn counts_within_their_band_clear_a_flag() {
        let mut drift = Drift::default();
        assert!(!drift.acquit() && drift == Drift::default(), "nothing to clear");
        turns_after(&mut drift, 6.0, 10).unwrap();
        assert_eq!([drift.acquit(), drift.acquit(), drift.acquit()], [false, false, true]);
        assert_eq!(drift, Drift::default());
    }

    #[test]
    fn a_flag_outlives_being_kept() {
        let mut drift = Drift::default();
        turns_after(&mut drift, -6.0, 10).unwrap();
        let again = Drift::restored(drift.kept());
        assert_eq!((again.flagged(), again.kept()), (drift.flagged(), drift.kept()));
        assert_eq!(Drift::restored(Drift::default().kept()), Drift::default());
    }
}
