//! What operators are told of the stores that gateways share.

use super::routes::Front;
use crate::fleet::Fleet;

/// What is wrong with them: the gateway serves all the same.
pub(super) fn troubles(front: &Front) -> String {
    front.fleet.as_ref().map(Fleet::troubles).unwrap_or_default()
}

/// Tells the metrics how they stand.
pub(super) fn tell(front: &Front) {
    let Some(fleet) = &front.fleet else { return };
    front.metrics.forwarding(fleet.status().waiting(), fleet.status().is_up());
    if let Some(up) = fleet.lends() {
        front.metrics.lending(up);
    }
}
