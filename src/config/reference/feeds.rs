//! Entries of what concerns the live price book: `[feeds.NAME]` and `[admins.NAME]`.

use super::Group;
use crate::config::feeds::{FeedKind, Raw, RawAdmin, URL_SHAPE};
use crate::config::keys::HASH_SHAPE;
use crate::config::setting::{FilePath, Maybe, Millis, Pairs, Seconds, Text, Times, Truth, Word, setting, whole};

/// `[feeds.NAME]`, once for each feed.
pub(crate) fn feed() -> Group<Raw> {
    let settings = vec![
        setting("format", Maybe(Word(&FeedKind::WORDS)), |f: &mut Raw| &mut f.kind)
            .means("What the feed is written in. `rates-csv` are exchange rates.")
            .unset("an error", "\"litellm\"")
            .on_restart(),
        setting("url", Maybe(Text(URL_SHAPE)), |f: &mut Raw| &mut f.url)
            .means("Where it is fetched, through the proxy and by the trust of [upstream]. It or `file` must be there.")
            .unset("`file`", "\"https://prices.example.com/list.json\"")
            .on_restart(),
        setting("file", Maybe(FilePath), |f: &mut Raw| &mut f.file)
            .means("Instead of `url`: a file of this machine.")
            .unset("`url`", "")
            .on_restart(),
        setting("interval_seconds", Seconds(1..=2_592_000), |f: &mut Raw| &mut f.interval)
            .means("How often it is looked at, give or take a tenth, in seconds.")
            .on_restart(),
        setting("timeout_ms", Millis, |f: &mut Raw| &mut f.timeout)
            .means("How long one fetch may take, in milliseconds.")
            .on_restart(),
        setting("max_bytes", whole(1_024..=1 << 28), |f: &mut Raw| &mut f.max_bytes)
            .means("The largest document that is read, in bytes.")
            .on_restart(),
        setting("jump_factor", Times, |f: &mut Raw| &mut f.jump)
            .means("A figure that rises or falls by more than this factor against what people have set is held back.")
            .on_restart(),
        setting("overrules_table", Truth, |f: &mut Raw| &mut f.overrules_table)
            .means("Take figures also where the table is your own: without it, what your table says otherwise than the one that ships with the gateway is never changed.")
            .on_restart(),
        setting("providers", Pairs("the feed's id of a provider, and the table's"), |f: &mut Raw| &mut f.providers)
            .means("Providers that the feed calls otherwise than the table does; \"*\" for a list that names none.")
            .unset("by the same ids", "{ theirs = \"ours\" }")
            .on_restart(),
    ];
    let about = "One section per list of prices that is followed. What it proposes is taken within the guards, held back \
                 otherwise (GET /admin/prices/quarantine). Of several feeds that speak about one figure the first by name counts. \
                 NAME is 1 to 64 letters, digits, `-`, `_` and `.`.";
    Group { name: "feeds.NAME", about, settings }
}

/// `[admins.NAME]`, once for each administrator.
pub(crate) fn admin() -> Group<RawAdmin> {
    let settings = vec![
        setting("sha256", Maybe(Text(HASH_SHAPE)), |a: &mut RawAdmin| &mut a.sha256)
            .means("SHA-256 of the administrator's key. It or `sha256_file` must be there.")
            .unset("an error", "\"fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210\"")
            .on_restart(),
        setting("sha256_file", Maybe(Text("the path of a file that holds such digits")), |a: &mut RawAdmin| &mut a.sha256_file)
            .means("Instead of `sha256`.")
            .unset("`sha256`", "")
            .on_restart(),
    ];
    let about = "Who may see and change prices, virtual keys and budgets on the operations listener (/admin/prices, /admin/keys, /admin/budgets), by a key of their own; a gateway key \
                 does not open it. Without any, those paths are off. NAME stands in the audit.";
    Group { name: "admins.NAME", about, settings }
}
