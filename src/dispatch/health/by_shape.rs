//! Health by shape: a provider's endpoints for each shape have their own addresses, paths and key headers, so one of
//! them may fail while the other answers, and take its own time.

use std::time::Duration;

use super::{Health, HealthSettings, Roster};
use crate::canonical::{Manner, Shape};
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

    /// The backends of one table, in its order, by what decides where requests are sent ([`Manner::place`]): with each the health
    /// of the endpoint that such requests are sent to. The backends come with what says which that is; `places` are those
    /// that can be asked at all.
    pub fn rosters<'a, E: Fn(Manner) -> Option<Shape>>(
        &self,
        backends: &(impl Iterator<Item = (&'a BackendId, E)> + Clone),
        places: &[usize],
    ) -> Vec<Roster> {
        let of = |manner: Manner| {
            let asked = |(id, endpoint): (&BackendId, E)| self.of(endpoint(manner).unwrap_or(manner.shape)).of(id);
            self.of(manner.shape).roster(backends.clone().map(asked), places)
        };
        Manner::ALL.into_iter().map(of).collect()
    }

    /// From now on so many may wait on each endpoint of a backend.
    pub fn let_wait(&self, most: u32) {
        self.0.iter().for_each(|health| health.let_wait(most));
    }

    /// Forgets what counts against a backend, see [`Health::trust_again`].
    pub fn trust_again(&self, id: &BackendId) {
        self.0.iter().for_each(|health| health.trust_again(id));
    }

    /// The endpoints that are left alone because of what was found here, and for how much longer.
    pub fn cooling(&self) -> Vec<(Shape, BackendId, Duration)> {
        let of = |shape: Shape| self.of(shape).cooling().into_iter().map(move |(id, time)| (shape, id, time));
        Shape::ALL.into_iter().flat_map(of).collect()
    }

    /// Leaves an endpoint alone for a while on somebody else's word: a hint, which the first request after it puts to the test.
    pub fn leave_alone(&self, shape: Shape, id: &BackendId, time: Duration) {
        self.of(shape).leave_alone(id, time);
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
    use crate::canonical::{Form, Shapes};
    use crate::clock::ManualClock;

    /// A known defect: a request that wants a form was judged by the endpoint that others of its shape go to.
    #[test]
    fn what_a_form_is_sent_to_decides_whose_health_is_looked_at() {
        let clock: SharedClock = ManualClock::starting_at(Timestamp::UNIX_EPOCH);
        let health = HealthByShape::new(&clock, HealthSettings::default());
        let id = BackendId::new("north", "small");
        // Its Messages know no forms.
        let endpoint = |manner: Manner| Some(if manner.form == Form::Text { manner.shape } else { Shape::OpenAiChat });
        health.of(Shape::OpenAiChat).enter(&id).unwrap().failed(Failure::Connect, None);
        let rosters = health.rosters(&[(&id, endpoint)].into_iter(), &[0]);
        let risks = |form| rosters[Manner { form, ..Manner::plain(Shape::AnthropicMessages) }.place()].risks(None).len();
        assert_eq!(Form::ALL.map(risks), [0, 1, 1]);
    }

    #[test]
    fn somebody_elses_word_leaves_an_endpoint_alone_and_is_not_passed_on() {
        let manual = ManualClock::starting_at(Timestamp::UNIX_EPOCH);
        let clock: SharedClock = manual.clone();
        let health = HealthByShape::new(&clock, HealthSettings::default());
        let (known, strange) = (BackendId::new("north", "small"), BackendId::new("north", "other"));
        let chat = health.of(Shape::OpenAiChat);
        let rosters = health.rosters(&[(&known, |_| Some(Shape::OpenAiChat))].into_iter(), &[0]);
        health.leave_alone(Shape::OpenAiChat, &strange, Duration::from_secs(9));
        health.leave_alone(Shape::OpenAiChat, &known, Duration::from_secs(9));
        assert!(chat.enter(&known).is_err() && chat.enter(&strange).is_ok());
        assert_eq!(rosters[0].risks(None)[0].1.cooling, Some(Duration::from_secs(9)));
        assert_eq!(health.cooling(), []);
        manual.advance(Duration::from_secs(10));
        chat.enter(&known).unwrap().failed(Failure::Connect, Some(Duration::from_mins(1)));
        let found: Vec<_> = health.cooling().into_iter().map(|(shape, id, _)| (shape, id)).collect();
        assert_eq!(found, [(Shape::OpenAiChat, known)], "what the probe found is one's own");
    }

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
            let shapes: Shapes = shapes.iter().copied().collect();
            let endpoint = |manner: Manner| shapes.serving(manner.shape);
            let roster = &health.rosters(&[(&id, endpoint)].into_iter(), &[0])[Manner::plain(asked).place()];
            roster.risks(None).len()
        };
        let [speaks_chat, speaks_both] = [&[Shape::OpenAiChat][..], &[Shape::OpenAiChat, Shape::AnthropicMessages]];
        assert_eq!(Shape::CLIENTS.map(|asked| risks(speaks_both, asked)), [0, 1, 1], "Responses are told as Messages");
        assert_eq!(Shape::CLIENTS.map(|asked| risks(speaks_chat, asked)), [0, 0, 0], "its chat endpoint serves all");
        health.trust_again(&id);
        assert_eq!(messages.view(&id).failure_share, 0);
    }
}
