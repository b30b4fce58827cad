//! Which decisions the books keep: those of a share of the requests, picked by their ids alone. The same request is picked by
//! every gateway with the same share, and whoever asks later knows without a look whether its facts were ever there.

use crate::units::RequestId;

/// What the lot is drawn for: exploring draws by the same ids, and must not be what is kept or left out.
const PURPOSE: u64 = 0x6465_6369_7369_6f6e;

/// A share of the requests, in percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampling(u32);

impl Sampling {
    /// Every request.
    pub const ALL: Sampling = Sampling(100);

    pub const fn percent(percent: u32) -> Self {
        Self(if percent > 100 { 100 } else { percent })
    }

    pub const fn is_of_all(self) -> bool {
        self.0 == 100
    }

    pub const fn is_of_none(self) -> bool {
        self.0 == 0
    }

    /// Whether this request is of the share.
    pub fn takes(self, id: RequestId) -> bool {
        id.lot(PURPOSE) % 100 < u64::from(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids() -> impl Iterator<Item = RequestId> {
        (0..20_000_u64).map(|n| {
            let mut random = [0; 10];
            random[2..].copy_from_slice(&n.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
            RequestId::from_parts(1_700_000_000_000 + n / 7, random)
        })
    }

    #[test]
    fn about_the_share_is_taken_and_a_larger_share_takes_the_same_and_more() {
        let taken = |percent| ids().filter(|id| Sampling::percent(percent).takes(*id)).count();
        assert_eq!((taken(0), taken(100), taken(700)), (0, 20_000, 20_000));
        for percent in [1, 10, 50, 99] {
            let (expected, found) = (200 * percent as usize, taken(percent));
            assert!(found.abs_diff(expected) < 400, "{percent} percent took {found}");
        }
        let (small, large) = (Sampling::percent(10), Sampling::percent(11));
        assert!(ids().all(|id| !small.takes(id) || large.takes(id)));
    }
}
