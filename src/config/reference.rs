//! Every setting there is, one entry each: what the reader accepts, and what `docs/configuration.md` and
//! `config/tokenbroker.toml` say about it.
//!
//! A new setting takes a field with its default in [`settings`](super::settings), an entry here, and `scripts/docs` to
//! write both files anew. What depends on two settings at once is judged by the reader, beside its call.

mod feeds;
mod limits;
mod means;

pub(super) use self::feeds::{admin, feed};
pub(super) use self::limits::wishes;
pub(super) use self::means::{gateway, project, team};
use super::keys::{HASH_SHAPE, Raw};
use super::outbound::{self, ORIGINS};
use super::portfolio;
use super::setting::{
    Address, Applies, BackendName, Dollars, FilePath, Maybe, Millis, OneOf, Seconds, Setting, Text, Texts, Truth, Unset, Word,
    setting, whole,
};
use super::settings::{
    AliasWishes, Books, BooksSync, Config, LEVELS, Limits, Log, LogFormat, PREFERENCE_WORDS, QUALITY_WORDS, Reload, Retries,
    Routing, Server, Timeouts,
};
use super::stores::{Fleet, Store, StoreKind};
use crate::document::Section;
use crate::units::{ShareBy, ShareKind, ShareOf};

/// What an alias may stand for.
pub(super) const ALIAS_TARGET: &str = "`auto`, `auto:QUALITY`, a model or provider/model of the table: aliases do not chain";

/// What a provider may call a model.
/// What a tokenizer may be for.
pub(super) const TOKENIZER_NAME: &str = "a tokenizer family, a model or provider/model of the table";
pub(super) const DEPLOYMENT_NAME: &str = "1 to 128 letters, digits, dashes, underscores, colons and dots";

/// A section of the file and its settings.
pub(super) struct Group<S> {
    /// As it stands between the brackets; the part in capitals is the operator's own.
    pub(super) name: &'static str,
    about: &'static str,
    settings: Vec<Setting<S>>,
}

impl<S> Group<S> {
    /// Reads every setting over what `values` hold.
    pub(super) fn read(&self, section: &Section<'_, '_>, values: &mut S) {
        self.settings.iter().for_each(|setting| setting.read(section, values));
    }

    /// What its settings are called.
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.settings.iter().map(|setting| setting.name)
    }

    /// Reads every setting over its default.
    pub(super) fn read_into(&self, section: &Section<'_, '_>) -> S
    where
        S: Default,
    {
        let mut values = S::default();
        self.read(section, &mut values);
        values
    }
}

pub(super) fn server() -> Group<Server> {
    let settings = vec![
        setting("listen", Address, |s: &mut Server| &mut s.listen)
            .means("Where the API, /healthz and /readyz are. Beyond loopback it wants a [keys.NAME] (or open = true). Port 0 takes a free port.")
            .on_restart(),
        setting("operations_listen", Address, |s: &mut Server| &mut s.operations_listen)
            .means("Where /metrics, /healthz and /readyz are. It asks for no key: keep it private.")
            .on_restart(),
        setting("max_body_bytes", whole(1_024..=1 << 30), |s: &mut Server| &mut s.max_body_bytes)
            .means("The largest request body, in bytes."),
        setting("max_upload_bytes", whole(1_024..=1 << 30), |s: &mut Server| &mut s.max_upload_bytes)
            .means("The largest form with a file of sound, in bytes; the file itself may have 25 MiB."),
        setting("max_header_bytes", whole(8_192..=1 << 20), |s: &mut Server| &mut s.max_header_bytes)
            .means("The largest request head, in bytes.")
            .on_restart(),
        setting("header_timeout_ms", Millis, |s: &mut Server| &mut s.header_timeout)
            .means("How long a client may take to send its request's head, and a connection to wait for its next request, in milliseconds.")
            .on_restart(),
        setting("body_timeout_ms", Millis, |s: &mut Server| &mut s.body_timeout)
            .means("How long a client may take to send its request's body, in milliseconds."),
        setting("max_connections", whole(1..=1_000_000), |s: &mut Server| &mut s.max_connections)
            .means("Connections beyond this wait to be accepted.")
            .on_restart(),
        setting("drain_seconds", Seconds(0..=3_600), |s: &mut Server| &mut s.drain)
            .means("After SIGTERM, open streams may go on for this many seconds.")
            .on_restart(),
        setting("open", Truth, |s: &mut Server| &mut s.open)
            .means("Answer without keys although the API listens beyond loopback: anybody who reaches it spends your money."),
        setting("dashboard", Truth, |s: &mut Server| &mut s.dashboard)
            .means("Show the last decisions where operations_listen is: a page at /, the feed at /feed.")
            .on_restart(),
        setting("cors_origins", ORIGINS, |s: &mut Server| &mut s.cors_origins)
            .means("Whose pages may call the API from a browser, compared to the letter. A key in a page is everybody's: give it a budget.")
            .unset("nobody's", "[\"https://app.example.com\"]")
            .on_restart(),
    ];
    Group { name: "server", about: "The two listeners, and what a connection may use.", settings }
}

pub(super) fn books() -> Group<Books> {
    let settings = vec![
        setting("directory", FilePath, |b: &mut Books| &mut b.directory)
            .means("Where the ledger lies; one gateway at a time.")
            .on_restart(),
        setting("sync", Word(&BooksSync::WORDS), |b: &mut Books| &mut b.sync)
            .means(
                "When the journal is forced to the disk: every second (a power cut may lose the last second; a killed process \
                 loses nothing) or always (before each answer; slower).",
            )
            .on_restart(),
        setting("decision_days", whole(0..=3_650), |b: &mut Books| &mut b.decision_days)
            .means(
                "For how many days a decision can be explained (GET /v1/decisions/{id}); 0 keeps no explanations. It takes about \
                 200 bytes a request, and a copy of each version of the table. What requests used and cost is kept by `row_days`.",
            )
            .on_restart(),
        setting("decision_sample_percent", whole(0..=100), |b: &mut Books| &mut b.decision_sample_percent)
            .means(
                "Of a hundred requests, of how many the decision is kept so, picked by their ids. The last decisions (up to 200) \
                 can be explained in any case: they are in memory.",
            )
            .on_restart(),
        setting("counted_per_minute", whole(0..=600), |b: &mut Books| &mut b.counted_per_minute)
            .means(
                "How many whole answers a minute are counted here although their provider reports them, so that a provider that \
                 begins to report more is noticed (a few milliseconds of one core each, and the vocabularies' memory); 0: none.",
            )
            .on_restart(),
        setting("row_days", Maybe(whole(62..=36_500)), |b: &mut Books| &mut b.row_days)
            .means(
                "For how many days each request and attempt keeps its row (about 700 bytes a request). Older rows are deleted; what \
                 reports, budgets, quotas and balances need of them stays as sums by day for good.",
            )
            .unset("for good", "400")
            .on_restart(),
    ];
    Group { name: "books", about: "The ledger on the disk.", settings }
}

pub(super) fn fleet() -> Group<Fleet> {
    let settings = vec![
        setting("postgres", Maybe(Store(StoreKind::Postgres)), |f: &mut Fleet| &mut f.postgres)
            .means(
                "Where the books of all gateways come together. Each keeps its own on its disk, whatever becomes of this store, and \
                 forwards what has ended; reports and usage are then of all of them. Virtual keys and limits of budgets that \
                 administrators set are shared there too.",
            )
            .unset("each gateway has its own books only", "\"postgres://tokenbroker@db.example.com/tokenbroker\"")
            .on_restart(),
        setting("redis", Maybe(Store(StoreKind::Redis)), |f: &mut Fleet| &mut f.redis)
            .means(
                "Where gateways share budgets and limits (Redis 7 or Valkey). Each works on leases, so a budget is a bound for all of them \
                 together, also while Redis is away. It wants postgres too: from there budgets are rebuilt after Redis lost its data. \
                 A database of Redis (NUMBER) is for one fleet alone.",
            )
            .unset("a budget bounds each gateway by itself", "\"redis://cache.example.com\"")
            .on_restart(),
        setting("most_waiting", whole(1..=1_000_000_000), |f: &mut Fleet| &mut f.most_waiting)
            .means("While more requests than this wait for postgres, no new one is taken on; each takes about a kilobyte on the disk.")
            .on_restart(),
    ];
    Group { name: "fleet", about: "What several gateways share.", settings }
}

pub(super) fn routing() -> Group<Routing> {
    let settings = vec![
        setting("default_quality", Word(&QUALITY_WORDS), |r: &mut Routing| &mut r.default_quality)
            .means("The quality floor of requests that name none."),
        setting("max_attempts", whole(1..=16), |r: &mut Routing| &mut r.max_attempts)
            .means(
                "Upstream requests that one client request may lead to. One that is made again without the seals of its conversation, \
                 since its provider refused those, is not counted.",
            ),
        setting("risk_weight_percent", whole(0..=1_000), |r: &mut Routing| &mut r.risk_weight_percent)
            .means("How much the expected cost of failure weighs, in percent: 100 as computed, 0 not at all."),
        setting("price_risk_weight_percent", whole(0..=1_000), |r: &mut Routing| &mut r.price_risk_weight_percent).means(
            "How much it weighs what a price may become while a session stays (announced rises, ends of offers, how often the \
                 provider raised prices), in percent: 100 as computed, 0 not at all. Single requests are not concerned.",
        ),
        setting("explore_permille", whole(0..=200), |r: &mut Routing| &mut r.explore_permille).means(
            "Of a thousand requests, how many may go to another adequate backend than the best, so that what is known of the \
                 others stays fresh. 0: none. No floor, wish or cap is passed over.",
        ),
        setting("explore_usd_per_day", Dollars, |r: &mut Routing| &mut r.explore_usd_per_day)
            .means("What such requests may be expected to cost more than the best in a day (UTC), all together."),
        setting("baseline", Maybe(BackendName), |r: &mut Routing| &mut r.baseline)
            .means("Metrics also tell what the same requests would have cost at this backend.")
            .unset("none", "\"openai/gpt-6-sol\""),
    ];
    Group { name: "routing", about: "How a backend is chosen.", settings }
}

/// Names that the operator makes up are read by the reader itself, so this is an entry for the documents alone.
fn aliases() -> Chapter {
    let entry = |name: &'static str, example| Entry {
        name,
        meaning: "A further model name for clients, and what it stands for.",
        accepted: ALIAS_TARGET.to_owned(),
        default: None,
        unset: Some(Unset { means: "no alias", example }),
        applies: Applies::OnReload,
    };
    Chapter {
        name: "aliases",
        about: "Further model names for clients. A name is free but for `auto` and what begins with `auto:`.",
        entries: vec![entry("NAME", "\"auto:economy\"")],
    }
}

/// Read by the reader itself, as aliases are.
fn deployments() -> Chapter {
    let entry = Entry {
        name: "\"PROVIDER/MODEL\"",
        meaning: "What this provider calls the model for you: the name of your deployment, or the id of your endpoint.",
        accepted: DEPLOYMENT_NAME.to_owned(),
        default: None,
        unset: Some(Unset { means: "the table's name (`upstream_model`)", example: "\"my-deployment\"" }),
        applies: Applies::OnReload,
    };
    Chapter {
        name: "deployments",
        about: "Models that a provider knows under a name of your own, by the backend's id in the table (`tokenbroker prices` \
                lists them); what clients ask for, prices and books stay as the table has them. As a variable, all of them are \
                one table: `TOKENBROKER__DEPLOYMENTS='{ \"PROVIDER/MODEL\" = \"chat\" }'`.",
        entries: vec![entry],
    }
}

/// Read by the reader itself, as aliases are.
fn tokenizers() -> Chapter {
    let entry = Entry {
        name: "\"NAME\"",
        meaning: "The file that the tokens of this family, model or backend are counted with.",
        accepted: "the path of a `tokenizer.json` in Hugging Face's format".to_owned(),
        default: None,
        unset: Some(Unset {
            means: "the vocabulary that the program carries, else a calibrated count",
            example: "\"tokenizer.json\"",
        }),
        applies: Applies::OnRestart,
    };
    Chapter {
        name: "tokenizers",
        about: "Vocabularies of your own, for exact counts where a provider reports none. NAME is a tokenizer family \
                (`tokenbroker count --help` lists them), a model or provider/model of the table; the nearest to the backend \
                counts. As a variable, all of them are one table: `TOKENBROKER__TOKENIZERS='{ \"qwen35\" = \"tokenizer.json\" }'`.",
        entries: vec![entry],
    }
}

/// `[alias_wishes.NAME]`, for aliases that wish something.
pub(super) fn alias_wishes() -> Group<AliasWishes> {
    let settings = vec![
        setting("prefer", Maybe(Word(&PREFERENCE_WORDS)), |a: &mut AliasWishes| &mut a.prefer)
            .means("What matters among adequate backends, where a request does not say.")
            .unset("the key's", "\"fastest\""),
        setting("max_price_per_million_usd", Maybe(Dollars), |a: &mut AliasWishes| &mut a.max_price)
            .means("What a million tokens in the request's own mix may be expected to cost at most.")
            .unset("no bound", "2.00"),
    ];
    let about = "What an alias wishes for those who use it. NAME is an alias.";
    Group { name: "alias_wishes.NAME", about, settings }
}

/// `[[portfolio]]`, once for each cap.
pub(super) fn portfolio() -> Group<portfolio::Raw> {
    let settings = vec![
        setting("by", Maybe(Word(&ShareBy::WORDS)), |p: &mut portfolio::Raw| &mut p.by)
            .means("What those whose share is bounded have in common.")
            .unset("an error", "\"jurisdiction\""),
        setting("name", Maybe(Text("the id of a provider, an owner or the code of a law, as in the table")), |p: &mut portfolio::Raw| {
            &mut p.name
        })
        .means("Which provider, owner or law.")
        .unset("an error", "\"CN\""),
        setting("share_percent", Maybe(whole(0..=99)), |p: &mut portfolio::Raw| &mut p.share_percent)
            .means("Its share of all that goes through the gateway, in percent, at most.")
            .unset("an error", "60"),
        setting("of", Word(&ShareOf::WORDS), |p: &mut portfolio::Raw| &mut p.of)
            .means("A share of what is spent, or of upstream requests."),
        setting("window", portfolio::Hours, |p: &mut portfolio::Raw| &mut p.window)
            .means("Over how long; the window rolls."),
        setting("kind", Word(&ShareKind::WORDS), |p: &mut portfolio::Raw| &mut p.kind).means(
            "Whether nobody inside is asked at the cap (hard), or counts as dearer the nearer it is (soft): as much again at the cap.",
        ),
        setting("least", Maybe(Dollars), |p: &mut portfolio::Raw| &mut p.least)
            .means("The window is taken to hold at least this, in dollars, or in requests where these are counted: a share of less says nothing.")
            .unset("a dollar, or 100 requests", "5.00"),
    ];
    let about = "Caps on the share that a provider, an owner or a law gets, one section for each; as a variable, all of \
                 them are one list: `TOKENBROKER__PORTFOLIO='[{ by = \"jurisdiction\", name = \"CN\", share_percent = 60 }]'`. A hard cap is never exceeded by more than one request's worst case, however many run at once; what caps cost is told in \
                 decisions and metrics.";
    Group { name: "[portfolio]", about, settings }
}

pub(super) fn timeouts() -> Group<Timeouts> {
    let settings = vec![
        setting("connect_ms", Millis, |t: &mut Timeouts| &mut t.connect)
            .means("Name resolution, TCP and TLS, in milliseconds.")
            .on_restart(),
        setting("first_byte_ms", Millis, |t: &mut Timeouts| &mut t.first_byte)
            .means("From sending a request upstream to the first meaningful byte of its answer, in milliseconds."),
        setting("stream_idle_ms", Millis, |t: &mut Timeouts| &mut t.stream_idle)
            .means("The longest silence within a stream, in milliseconds."),
        setting("total_ms", Millis, |t: &mut Timeouts| &mut t.total).means(
            "One client request with all its attempts and its whole stream, in milliseconds. An attempt that others could \
             follow gets half of what is left.",
        ),
        setting("heard_out_seconds", Seconds(0..=3_600), |t: &mut Timeouts| &mut t.heard_out).means(
            "When a client leaves its stream, how long the provider is heard to the end, in seconds: what was used is then booked as \
             reported, and the rest of the answer is paid for. With 0 the provider is let go at once, and what was used is counted. Until then the request counts as under way, for its key as well; a gateway that drains hears none of them out.",
        ),
    ];
    Group { name: "timeouts", about: "How long one upstream request may take.", settings }
}

pub(super) fn retries() -> Group<Retries> {
    let settings = vec![
        setting("share_percent", whole(0..=100), |r: &mut Retries| &mut r.share_percent)
            .means(
                "Upstream requests beyond the first ones, per hundred client requests. One that is made again without seals that were \
                 refused is one of them.",
            ),
        setting("floor_per_second", whole(0..=1_000), |r: &mut Retries| &mut r.floor_per_second)
            .means("Such requests per second that are always allowed, so that a quiet gateway can fail over."),
    ];
    Group { name: "retries", about: "How many upstream requests beyond the first ones there may be, over all clients.", settings }
}

pub(super) fn limits() -> Group<Limits> {
    let settings = vec![
        setting("max_waiting_per_backend", whole(1..=1_000_000), |l: &mut Limits| &mut l.max_waiting_per_backend)
            .means("Requests that may wait on one backend without a byte of an answer."),
        setting("max_concurrent_requests", whole(1..=1_000_000), |l: &mut Limits| &mut l.max_concurrent_requests)
            .means("Client requests under way; further ones get 503."),
        setting("stored_responses_mib", whole(0..=1_048_576), |l: &mut Limits| &mut l.stored_responses_mib).means(
            "How many MiB of answers to /v1/responses are kept in memory, so that a request can go on from one by \
             `previous_response_id`; 0 keeps none. Prompts and answers are then in the gateway's memory for that long; one of `store: \
             false` never is. It is for all keys together: room is made from the key that holds the most, its oldest first. A restart \
             forgets them, and of a fleet only the gateway that gave an answer has it.",
        ),
        setting("stored_responses_minutes", whole(1..=43_200), |l: &mut Limits| &mut l.stored_responses_minutes)
            .means("How long such an answer is kept, if it need not make room before."),
        setting("over_budget_status", OneOf(&[402, 429]), |l: &mut Limits| &mut l.over_budget_status).means(
            "The status of a request that a budget does not bear. A 402 is not tried again by SDKs; a 429 says in `retry-after` when \
             the budget refills, and is tried again by itself where that is within a minute.",
        ),
    ];
    Group { name: "limits", about: "How much may be under way at once, and be kept.", settings }
}

pub(super) fn upstream() -> Group<outbound::Raw> {
    let settings = vec![
        setting("proxy", Maybe(outbound::PROXY), |u: &mut outbound::Raw| &mut u.proxy)
            .means("The HTTP proxy through which providers are reached, by CONNECT. What runs on this machine is always reached directly.")
            .unset("no proxy", "\"http://proxy.example.com:3128\"")
            .on_restart(),
        setting("proxy_file", Maybe(FilePath), |u: &mut outbound::Raw| &mut u.proxy_file)
            .means("Instead of `proxy`: a file that holds the address, where a password is in it.")
            .unset("`proxy`", "")
            .on_restart(),
        setting("no_proxy", outbound::DIRECT, |u: &mut outbound::Raw| &mut u.no_proxy)
            .means("Who is reached without the proxy. Names are compared, not resolved.")
            .unset("this machine only", "[\"corp.example.com\", \"10.0.0.0/8\"]")
            .on_restart(),
        setting("ca_file", Maybe(FilePath), |u: &mut outbound::Raw| &mut u.ca_file)
            .means("Certificates, in PEM, of authorities that are trusted beside those of the machine.")
            .unset("those of the machine", "\"/etc/ssl/private-ca.pem\"")
            .on_restart(),
        setting("ca_only", Truth, |u: &mut outbound::Raw| &mut u.ca_only)
            .means("Trust those of `ca_file` alone.")
            .on_restart(),
    ];
    let about = "The way out to providers. Proxies in the environment (`HTTPS_PROXY`, `ALL_PROXY`) are not read.";
    Group { name: "upstream", about, settings }
}

/// `[keys.NAME]`, once for each gateway key.
pub(super) fn key() -> Group<Raw> {
    let mut settings = vec![
        setting("sha256", Maybe(Text(HASH_SHAPE)), |k: &mut Raw| &mut k.sha256)
            .means("SHA-256 of the key. It or `sha256_file` must be there.")
            .unset("an error", "\"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\""),
        setting("sha256_file", Maybe(Text("the path of a file that holds such digits")), |k: &mut Raw| &mut k.sha256_file)
            .means("Instead of `sha256`.")
            .unset("`sha256`", ""),
        setting("team", Maybe(Text("the NAME of a [teams.NAME]")), |k: &mut Raw| &mut k.team)
            .means("Whose budgets and limits its requests fall under, beside the key's own.")
            .unset("no team", "\"research\""),
        setting("project", Maybe(Text("the NAME of a [projects.NAME]")), |k: &mut Raw| &mut k.project)
            .means("The same for a project.")
            .unset("no project", "\"search\""),
        setting("tags", Texts("tags"), |k: &mut Raw| &mut k.tags)
            .means("What its requests are tagged with, beside their own tags: usage can be told by tag.")
            .unset("none", "[\"product:search\", \"cost-centre:42\"]"),
    ];
    settings.extend(limits::limits());
    settings.push(
        setting("prefer", Maybe(Word(&PREFERENCE_WORDS)), |k: &mut Raw| &mut k.means.limits.prefer)
            .means("What matters among adequate backends, where neither request nor alias says.")
            .unset("cheapest", "\"balanced\""),
    );
    settings.extend(means::means_at_once());
    let about = "One section per gateway key; `tokenbroker keys new NAME` prints a key and the lines that let it in; an administrator makes keys while the gateway runs (virtual ones, /admin/keys), and of two by the same name the one here counts. Without any, \
                 the gateway is open. NAME is 1 to 64 letters, digits, `-`, `_` and `.`; it stands in metrics and in the books.";
    Group { name: "keys.NAME", about, settings }
}

pub(super) fn providers_file() -> Group<Config> {
    let settings = vec![
        setting("path", FilePath, |c: &mut Config| &mut c.providers_file).means("The file, relative to the working directory."),
    ];
    Group { name: "providers_file", about: "The price and capability table.", settings }
}

pub(super) fn log() -> Group<Log> {
    let settings = vec![
        setting("level", Word(&LEVELS), |l: &mut Log| &mut l.level)
            .means("How much is logged. The variable TOKENBROKER_LOG wins and takes filters by module."),
        setting("format", Word(&LogFormat::WORDS), |l: &mut Log| &mut l.format)
            .means("For people or for programs, one line per event on the standard error stream.")
            .on_restart(),
    ];
    Group { name: "log", about: "What is logged, and how.", settings }
}

pub(super) fn reload() -> Group<Reload> {
    let settings = vec![
        setting("watch", Truth, |r: &mut Reload| &mut r.watch).means(
            "Look whether configuration, table or a file with a key has changed, and read them again. Without it, SIGHUP or \
             POST /reload on the operations listener asks for it.",
        ),
        setting("interval_ms", Millis, |r: &mut Reload| &mut r.interval)
            .means("How often to look, in milliseconds. A change counts once two looks have seen the same."),
    ];
    let about = "Reading configuration, table and files with keys again while the gateway runs: all of it or, where any of it has \
                 a problem, nothing. A reload in which a setting marked \"on restart\" has changed is refused too.";
    Group { name: "reload", about, settings }
}

/// A setting that counts in the next process only, as a configuration has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fixed {
    pub(super) section: &'static str,
    pub(super) name: &'static str,
    /// As it stands in a file.
    pub(super) written: Option<String>,
}

impl<S> Group<S> {
    fn fixed(&self, values: &mut S) -> Vec<Fixed> {
        let fixed = self.settings.iter().filter(|setting| setting.applies == Applies::OnRestart);
        fixed.map(|setting| Fixed { section: self.name, name: setting.name, written: setting.written(values) }).collect()
    }
}

/// Every setting of a configuration that counts in the next process only, always in the same order. Names of the
/// operator's own (aliases, keys) count at once; what may hold a password (`[upstream]`) is compared by its values, as what has a
/// name of the operator's own is (`[feeds]`, `[admins]`).
pub(super) fn fixed(config: &Config) -> Vec<Fixed> {
    let mut whole = config.clone();
    let of_config = providers_file().fixed(&mut whole);
    let Config { server, books, fleet, routing, timeouts, retries, limits, log, reload, .. } = &mut whole;
    [
        of_config,
        self::server().fixed(server),
        self::books().fixed(books),
        self::fleet().fixed(fleet),
        self::routing().fixed(routing),
        self::timeouts().fixed(timeouts),
        self::retries().fixed(retries),
        self::limits().fixed(limits),
        self::log().fixed(log),
        self::reload().fixed(reload),
    ]
    .concat()
}

// === the same without the types of the values, for the documents ===

/// A section as the documents show it.
pub(super) struct Chapter {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) entries: Vec<Entry>,
}

/// A setting as the documents show it.
pub(super) struct Entry {
    pub(super) name: &'static str,
    pub(super) meaning: &'static str,
    pub(super) accepted: String,
    /// As it stands in a file.
    pub(super) default: Option<String>,
    pub(super) unset: Option<Unset>,
    pub(super) applies: Applies,
}

impl<S: Default> Group<S> {
    fn chapter(&self) -> Chapter {
        let mut defaults = S::default();
        let entry = |setting: &Setting<S>| Entry {
            name: setting.name,
            meaning: setting.meaning,
            accepted: setting.accepted(),
            default: setting.written(&mut defaults),
            unset: setting.unset,
            applies: setting.applies,
        };
        Chapter { name: self.name, about: self.about, entries: self.settings.iter().map(entry).collect() }
    }
}

/// Every section with its settings, in the order of the documents.
pub(super) fn chapters() -> Vec<Chapter> {
    vec![
        server().chapter(),
        books().chapter(),
        fleet().chapter(),
        routing().chapter(),
        aliases(),
        alias_wishes().chapter(),
        deployments(),
        tokenizers(),
        portfolio().chapter(),
        timeouts().chapter(),
        retries().chapter(),
        limits().chapter(),
        upstream().chapter(),
        key().chapter(),
        team().chapter(),
        project().chapter(),
        gateway().chapter(),
        feed().chapter(),
        admin().chapter(),
        providers_file().chapter(),
        log().chapter(),
        reload().chapter(),
    ]
}
