//! The log: one line per event on the standard error stream, for people or as JSON.
//!
//! ERROR: money or data was lost, act now. WARN: recovered, look. INFO: the operator's own actions. Per-request lines are
//! DEBUG. Prompts, keys and completions are never logged: our own code does not pass them, and libraries, whose finest
//! levels may show headers and frames, are held to INFO whatever filter is asked for.

use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{EnvFilter, FilterExt, FilterFn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::{registry, reload};

use crate::config::{Log, LogFormat};

/// The variable that overrides the configured level; it takes filters by module (`info,tokenbroker::route=debug`).
pub const VARIABLE: &str = "TOKENBROKER_LOG";
/// What the variable may hold, for whoever wrote something else.
pub const ACCEPTED: &str = "a level (info) or filters by module (info,tokenbroker::route=debug)";

/// Logging could not begin.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    #[error("cannot be read: {0}")]
    Filter(String),
    #[error("logging was begun already")]
    Begun,
}

/// Sets the configured level of a log that has begun. Without effect where [`VARIABLE`] is set, which wins.
pub struct LogLevel(Box<dyn Fn(LevelFilter) + Send + Sync>);

impl LogLevel {
    pub fn set(&self, level: LevelFilter) {
        (self.0)(level);
    }
}

/// Begins logging to the standard error stream. `filter` is the value of [`VARIABLE`], where it is set.
pub fn begin(log: Log, filter: Option<&str>) -> Result<LogLevel, LogsError> {
    let (subscriber, level) = subscriber(log, filter, std::io::stderr)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LogsError::Begun)?;
    Ok(level)
}

type Logging = (Box<dyn Subscriber + Send + Sync>, LogLevel);

fn subscriber<W>(log: Log, filter: Option<&str>, writer: W) -> Result<Logging, LogsError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let (wanted, handle) = reload::Layer::new(levels(log.level, filter)?);
    let overruled = filter.is_some_and(is_given);
    let level = LogLevel(Box::new(move |level| {
        if let Ok(levels) = levels(level, None)
            && !overruled
        {
            // Fails only where the log is gone, and then nobody misses the level.
            handle.reload(levels).unwrap_or_default();
        }
    }));
    let wanted = wanted.and(FilterFn::new(is_harmless));
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_target(true);
    let subscriber: Box<dyn Subscriber + Send + Sync> = match log.format {
        LogFormat::Json => Box::new(registry().with(lines.json().flatten_event(true).with_filter(wanted))),
        LogFormat::Text => {
            let colour = std::io::IsTerminal::is_terminal(&std::io::stderr()) && std::env::var_os("NO_COLOR").is_none();
            Box::new(registry().with(lines.with_ansi(colour).with_filter(wanted)))
        }
    };
    Ok((subscriber, level))
}

fn is_given(filter: &str) -> bool {
    !filter.trim().is_empty()
}

/// The configured level for our own lines and at most WARN for those of libraries, unless a filter says otherwise.
fn levels(level: LevelFilter, filter: Option<&str>) -> Result<EnvFilter, LogsError> {
    let configured = format!("{},tokenbroker={level}", level.min(LevelFilter::WARN));
    filter.filter(|text| is_given(text)).map_or_else(|| parse(&configured), readable)
}

/// Reads a value of [`VARIABLE`]. A word alone must be a level: the filter's own reading takes any other for a module,
/// and a misspelt level would then silence everything.
pub fn readable(filter: &str) -> Result<EnvFilter, LogsError> {
    let words = filter.split(',').map(str::trim).filter(|word| !word.is_empty() && !word.contains('='));
    for word in words {
        word.parse::<LevelFilter>().map_err(|_| LogsError::Filter(format!("{word:?} is no level")))?;
    }
    parse(filter)
}

fn parse(filter: &str) -> Result<EnvFilter, LogsError> {
    EnvFilter::builder().parse(filter).map_err(|error| LogsError::Filter(error.to_string()))
}

fn is_harmless(event: &Metadata<'_>) -> bool {
    event.target().starts_with("tokenbroker") || *event.level() <= Level::INFO
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn check(level: LevelFilter, format: LogFormat, filter: Option<&str>, expected: &[&str]) {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let (subscriber, _) = subscriber(Log { level, format }, filter, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::debug!(attempt = 2, "ours, fine");
            tracing::info!("ours");
            tracing::info!(target: "hyper", "theirs");
            tracing::trace!(target: "hyper", "authorization: Bearer s3cret");
        });
        let text = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), expected.len(), "{text}");
        for (line, part) in text.lines().zip(expected) {
            assert!(line.contains(part), "{line}\nlacks\n{part}");
        }
    }

    #[test]
    fn the_level_can_be_set_while_it_runs_unless_a_filter_was_asked_for() {
        for (filter, expected) in [(None, 3), (Some(" "), 3), (Some("info"), 2)] {
            let buffer = Buffer::default();
            let writer = buffer.clone();
            let log = Log { level: LevelFilter::INFO, format: LogFormat::Text };
            let (subscriber, level) = subscriber(log, filter, move || writer.clone()).unwrap();
            tracing::subscriber::with_default(subscriber, || {
                let tell = || {
                    tracing::debug!("fine");
                    tracing::info!("plain");
                };
                tell();
                level.set(LevelFilter::DEBUG);
                tell();
            });
            let text = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
            assert_eq!(text.lines().count(), expected, "{filter:?}: {text}");
        }
    }

    #[test]
    fn libraries_are_quiet_and_never_reach_the_levels_that_show_headers() {
        check(LevelFilter::INFO, LogFormat::Text, None, &["ours"]);
        check(LevelFilter::DEBUG, LogFormat::Text, None, &["ours, fine", "ours"]);
        check(LevelFilter::INFO, LogFormat::Text, Some("trace"), &["ours, fine", "ours", "theirs"]);
        check(LevelFilter::INFO, LogFormat::Text, Some("off,hyper=trace"), &["theirs"]);
        check(LevelFilter::OFF, LogFormat::Text, None, &[]);
    }

    #[test]
    fn json_lines_are_objects_with_their_fields() {
        check(LevelFilter::DEBUG, LogFormat::Json, None, &["\"attempt\":2", "\"message\":\"ours\""]);
    }

    #[test]
    fn a_filter_that_cannot_be_read_is_refused() {
        for filter in ["tokenbroker=loud", "loud", "inof,tokenbroker::route=debug"] {
            let refused = levels(LevelFilter::INFO, Some(filter)).unwrap_err();
            assert!(refused.to_string().starts_with("cannot be read: "), "{refused}");
        }
    }
}
