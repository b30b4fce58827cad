//! Health by shape: a provider's endpoints for each shape have their own addresses, paths and key headers, so one of
//! them may fail while the other answers, and take its own time.

use super::{Health, HealthSettings, Roster};
use crate::canonical::{Shape, Shapes};
use crate::clock::SharedClock;
use crate::units::BackendId;

/// The health of all backends, for requests of each shape.
pub struct HealthByShape([Health; Shape::ALL.len()]);

impl HealthByShape {
    pub fn new(clock: &SharedClock, settings: HealthSettings) -> Self {
        Self(Shape::ALL.map(|_| Health::new(SharedClock::clone(clock), settings)))
    }

    /// The health of the endpoints of one shape.
    pub fn of(&self, shape: Shape) -> &Health {
        &self.0[shape as usize]
    }

    /// The backends of one table, in its order, by the shape of requests: with each the health of the endpoint that such requests
    /// are sent to. The backends come with the shapes that they can be asked in; `places` are those that can be asked at
    /// all.
    pub fn rosters<'a>(
        &self,
        backends: &(impl Iterator<Item = (&'a BackendId, Shapes)> + Clone),
        places: &[usize],
    ) -> [Roster; Shape::ALL.len()] {
        Shape::ALL.map(|shape| {
            let asked = |(id, shapes): (&BackendId, Shapes)| self.of(shapes.serving(shape).unwrap_or(shape)).of(id);
            self.of(shape).roster(backends.clone().map(asked), places)
        })
    }

    /// From now on so many may wait on each endpoint of a backend.
    pub fn let_wait(&self, most: u32) {
        self.0.iter().for_each(|health| health.let_wait(most));
    }

    /// Forgets what counts against a backend, see [`Health::trust_again`].
    pub fn trust_again(&self, id: &BackendId) {
        self.0.iter().for_each(|health| health.trust_again(id));
    }

    /// Drops what is known of backends that the table no longer names.
    pub fn keep_only(&self, named: impl Fn(&BackendId) -> bool) {
        self.0.iter().for_each(|health| health.keep_only(&named));
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::super::Failure;
    use super::*;
    use crate::clock::ManualClock;

    /// Found by a reader: a broken Messages endpoint stopped its provider's chat.
    #[test]
    fn an_endpoint_that_fails_says_nothing_of_the_other() {
        let clock: SharedClock = ManualClock::starting_at(Timestamp::UNIX_EPOCH);
        let health = HealthByShape::new(&clock, HealthSettings::default());
        let id = BackendId::new("north", "small");
        let [chat, messages] = [Shape::OpenAiChat, Shape::AnthropicMessages].map(|shape| health.of(shape));
        messages.enter(&id).unwrap().failed(Failure::Connect, None);
        assert!(messages.view(&id).failure_share > 0 && chat.view(&id).failure_share == 0);
        let risks = |shapes: &[Shape], asked: Shape| {
            let roster = &health.rosters(&[(&id, shapes.iter().copied().collect())].into_iter(), &[0])[asked as usize];
            roster.risks(None).len()
        };
        let [speaks_chat, speaks_both] = [&[Shape::OpenAiChat][..], &[Shape::OpenAiChat, Shape::AnthropicMessages]];
        assert_eq!(Shape::CLIENTS.map(|asked| risks(speaks_both, asked)), [0, 1, 1], "Responses are told as Messages");
        assert_eq!(Shape::CLIENTS.map(|asked| risks(speaks_chat, asked)), [0, 0, 0], "its chat endpoint serves all");
        health.trust_again(&id);
        assert_eq!(messages.view(&id).failure_share, 0);
    }
}
