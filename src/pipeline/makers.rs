//! Who made what a conversation holds that its maker alone can read, and who has refused it: as far as that is remembered.

use super::affinity::Trace;
use super::{Admitted, Pipeline};
use crate::frontend;
use crate::market::Makers;
use crate::policy::RefusedBy;
use crate::units::BackendId;

impl Pipeline {
    /// Who may have made what stands in the turns of a conversation that holds thoughts.
    pub(super) fn makers(&self, admitted: &Admitted, trace: &Trace) -> Makers {
        let request = &admitted.request;
        let answered = if request.members.folded.is_empty() { Vec::new() } else { trace.makers(true) };
        if !frontend::holds_thoughts(request) {
            return Makers { answered, ..Makers::default() };
        }
        let (told, unsigned) = (frontend::holds_told_thoughts(request), frontend::holds_unsigned_thoughts(request));
        let (known, google) = (trace.makers(unsigned), frontend::holds_google_seals(request));
        let sealed = frontend::is_sealed(request);
        let made = if sealed { trace.seals().collect() } else { Vec::new() };
        let refused_by = if sealed && !self.learning.refused_seals.is_empty() {
            let refused = self.learning.refused_seals.by(&self.seals(admitted), self.clock.monotonic());
            let snapshot = &admitted.market().snapshot;
            let index = |refused: RefusedBy| Some((snapshot.backend_named(refused.backend.as_str())?.index, refused.behind));
            refused.into_iter().filter_map(index).collect()
        } else {
            Vec::new()
        };
        Makers { known, told, unsigned, google, sealed, made, seed: self.seed(admitted), refused_by, answered }
    }

    /// A backend has refused the request with the seals of its conversation, and answers it without.
    pub(super) fn seals_refused(&self, admitted: &Admitted, backend: &BackendId) {
        if let Some(seals) = self.seals(admitted).last() {
            self.learning.refused_seals.note(*seals, backend, self.clock.monotonic());
        }
    }

    fn seals(&self, admitted: &Admitted) -> Vec<u64> {
        frontend::seal_chain(&admitted.request, self.seed(admitted))
    }

    fn seed(&self, admitted: &Admitted) -> u64 {
        self.learning.prefixes.seed(&admitted.admission.key)
    }
}
