//! From `providers.toml` to a snapshot.
