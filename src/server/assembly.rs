//! From checked settings to the parts of a gateway, in each part's own words. The start and every reload go through here.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::{self, BooksSync, Config};
use crate::dispatch::{BreakerSettings, HealthSettings, Patience};
use crate::ledger::{self, Sampling, SyncPolicy};
use crate::pipeline::{AliasWishes, ExploreRule, PipelineSettings, StoredSettings};
use crate::route;
use crate::server::status;
use crate::units::Tokens;

/// The output bound of a key with a budget that names none.
const BUDGETED_OUTPUT: Tokens = Tokens::new(8192);

pub(super) fn books(config: &Config) -> ledger::Settings {
    let sync = match config.books.sync {
        BooksSync::Second => SyncPolicy::Second,
        BooksSync::Always => SyncPolicy::Always,
    };
    ledger::Settings {
        sync,
        decision_days: config.books.decision_days,
        row_days: config.books.row_days,
        decisions: Sampling::percent(config.books.decision_sample_percent),
        outbox: config.fleet.postgres.is_some(),
        ..ledger::Settings::new(&config.books.directory)
    }
}

pub(super) fn health(config: &Config) -> HealthSettings {
    HealthSettings { breaker: BreakerSettings::default(), most_waiting: config.limits.max_waiting_per_backend }
}

pub(super) fn settings(config: &Config) -> PipelineSettings {
    let timeouts = config.timeouts;
    PipelineSettings {
        aliases: config.routing.aliases.clone(),
        routing: routing_settings(config),
        alias_wishes: alias_wishes(config),
        explore: ExploreRule { permille: config.routing.explore_permille, usd_a_day: config.routing.explore_usd_per_day },
        baseline: config.routing.baseline.clone(),
        budgeted_output: BUDGETED_OUTPUT,
        total: timeouts.total,
        heard_out: timeouts.heard_out,
        patience: Patience { first_frame: timeouts.first_byte, idle: timeouts.stream_idle, whole: timeouts.total },
        over_budget_status: config.limits.over_budget_status,
        most_under_way: config.limits.max_concurrent_requests as usize,
        stored: StoredSettings {
            most_bytes: (config.limits.stored_responses_mib as usize) << 20,
            age: Duration::from_mins(config.limits.stored_responses_minutes.into()),
        },
        most_body: config.server.max_body_bytes,
        most_upload: config.server.max_upload_bytes,
        body_wait: config.server.body_timeout,
        stream_error: status::stream_error,
        failure_status: status::failure_status,
    }
}

/// What aliases wish, in the pipeline's words.
pub fn alias_wishes(config: &Config) -> BTreeMap<String, AliasWishes> {
    let wishes = |wishes: &config::AliasWishes| AliasWishes { prefer: wishes.prefer, max_price: wishes.max_price };
    config.routing.alias_wishes.iter().map(|(name, all)| (name.clone(), wishes(all))).collect()
}

/// How backends are chosen, in routing's words.
pub fn routing_settings(config: &Config) -> route::Settings {
    route::Settings {
        risk_weight_percent: config.routing.risk_weight_percent,
        price_risk_weight_percent: config.routing.price_risk_weight_percent,
        default_quality: config.routing.default_quality,
        max_attempts: config.routing.max_attempts as usize,
        longest: config.timeouts.total,
    }
}
