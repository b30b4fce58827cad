//! What names other hosts: the way out to providers (`[upstream]`) and the origins of pages that may call.
//!
//! A proxy's address may hold a password, so it is read into a secret at once and no problem repeats it. Files are read here,
//! so that `check` finds what is wrong with them.

use std::path::{Path, PathBuf};

use super::secret::Secret;
use super::setting::Kind;
use super::{files, reference};
use crate::document::Section;
use crate::upstream::{Direct, Proxy, Trust};

const PROXY_SHAPE: &str = "http://[USER:PASSWORD@]HOST:PORT, with %40 for an @ in user or password";
const DIRECT_SHAPE: &str = "domains (`example.com`, with all under it), addresses and networks such as `10.0.0.0/8`";
const ORIGIN_SHAPE: &str = "origins such as \"https://app.example.com\", or \"*\" for all";

/// The way out to providers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outbound {
    /// Without one, every provider is reached directly, whatever the environment says.
    pub proxy: Option<Proxy>,
    pub trust: Trust,
}

/// `[upstream]` as it stands in the file.
#[derive(Default)]
pub(super) struct Raw {
    pub(super) proxy: Option<Secret>,
    pub(super) proxy_file: Option<PathBuf>,
    pub(super) no_proxy: Vec<String>,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) ca_only: bool,
}

/// Reads `[upstream]`.
pub(super) fn read(root: &Section<'_, '_>) -> Outbound {
    let Some(section) = root.section("upstream") else { return Outbound::default() };
    let mut raw = Raw::default();
    reference::upstream().read(&section, &mut raw);
    let outbound = Outbound { proxy: proxy(&section, &raw), trust: trust(&section, &raw) };
    section.finish();
    outbound
}

fn proxy(section: &Section<'_, '_>, raw: &Raw) -> Option<Proxy> {
    let (member, url) = match (&raw.proxy, &raw.proxy_file) {
        (Some(_), Some(_)) => {
            section.problem("proxy_file", "`proxy` is given too", "one of the two");
            return None;
        }
        (Some(url), None) => ("proxy", url.expose().to_owned()),
        (None, Some(path)) => ("proxy_file", file(section, "proxy_file", path)?),
        (None, None) => return None,
    };
    let direct = raw.no_proxy.iter().filter_map(|text| Direct::parse(text)).collect();
    let proxy = Proxy::parse(url.trim());
    if proxy.is_none() {
        // The value is not repeated: it may hold a password.
        section.problem(member, "this is no address of a proxy", PROXY_SHAPE);
    }
    proxy.map(|proxy| proxy.except(direct))
}

fn trust(section: &Section<'_, '_>, raw: &Raw) -> Trust {
    let Some(path) = &raw.ca_file else {
        if raw.ca_only {
            section.problem("ca_only", "nobody would be trusted", "ca_file beside it, or ca_only = false");
        }
        return Trust::Machine;
    };
    let Some(pem) = file(section, "ca_file", path) else { return Trust::Machine };
    let trust = if raw.ca_only { Trust::Only(pem) } else { Trust::MachineAnd(pem) };
    // Here and not when the client is built: `check` must find what would keep the gateway from starting.
    if let Err(problem) = trust.check() {
        section.problem("ca_file", format!("{}: {problem}", path.display()), "a file of certificates in PEM");
    }
    trust
}

fn file(section: &Section<'_, '_>, member: &'static str, path: &Path) -> Option<String> {
    match files::text(path, files::MOST_TEXT) {
        Ok(text) => Some(text),
        Err(error) => {
            section.problem(member, format!("cannot read {}: {error}", path.display()), "a readable file");
            None
        }
    }
}

/// A text that nothing shows.
pub(super) struct Hidden(pub(super) &'static str);

/// What the documents say of a proxy's address.
pub(super) const PROXY: Hidden = Hidden(PROXY_SHAPE);

impl Kind for Hidden {
    type Value = Secret;

    fn read(&self, section: &Section<'_, '_>, name: &'static str) -> Option<Secret> {
        section.text(name).map(Secret::new)
    }

    fn accepted(&self) -> String {
        self.0.to_owned()
    }

    fn written(&self, _: &Secret) -> Option<String> {
        None
    }
}

/// A list of texts, each of a shape.
pub(super) struct Shaped {
    shape: &'static str,
    fits: fn(&str) -> bool,
}

/// Who is reached without the proxy.
pub(super) const DIRECT: Shaped = Shaped { shape: DIRECT_SHAPE, fits: |text| Direct::parse(text).is_some() };
/// Whose pages may call.
pub(super) const ORIGINS: Shaped = Shaped { shape: ORIGIN_SHAPE, fits: is_origin };

impl Kind for Shaped {
    type Value = Vec<String>;

    fn read(&self, section: &Section<'_, '_>, name: &'static str) -> Option<Vec<String>> {
        let texts = section.texts(name);
        for wrong in texts.iter().filter(|text| !(self.fits)(text)) {
            section.problem(name, format!("{wrong:?} is none of these"), self.accepted());
        }
        section.has(name).then_some(texts)
    }

    fn accepted(&self) -> String {
        format!("a list of {}", self.shape)
    }

    fn written(&self, value: &Vec<String>) -> Option<String> {
        (!value.is_empty()).then(|| format!("{value:?}"))
    }
}

/// As a browser sends it: scheme, host and a port that is not the usual one, in small letters, nothing after.
fn is_origin(text: &str) -> bool {
    let usual = text.strip_prefix("https:").is_some_and(|rest| rest.ends_with(":443"))
        || text.strip_prefix("http:").is_some_and(|rest| rest.ends_with(":80"));
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let fits =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'[' | b']');
    text == "*" || !usual && host.is_some_and(|host| !host.is_empty() && host.bytes().all(fits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use std::collections::BTreeMap;

    fn load(text: &str) -> Result<Config, String> {
        let told = |problems: Vec<crate::document::Problem>| problems.iter().map(ToString::to_string).collect();
        Config::load(Some(("t.toml", text)), &BTreeMap::new()).map_err(told)
    }

    fn refused(text: &str, expected: &str) {
        let told = load(text).unwrap_err();
        assert!(told.contains(expected) && !told.contains("s3cret"), "{told}");
    }

    #[test]
    fn a_proxy_comes_from_the_file_or_from_one_of_its_own_and_never_shows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("proxy");
        std::fs::write(&path, "http://ann:s3cret@proxy:3128\n").unwrap();
        let by_file = load(&format!("[upstream]\nproxy_file = {path:?}\nno_proxy = [\"corp.example\"]\n")).unwrap();
        let by_value = load("[upstream]\nproxy = \"http://ann:s3cret@proxy:3128\"\nno_proxy = [\"corp.example\"]\n").unwrap();
        assert_eq!(by_file.upstream, by_value.upstream);
        assert!(by_value.upstream.proxy.is_some() && !format!("{by_value:?}").contains("s3cret"));
        refused(
            "[upstream]\nproxy = \"https://ann:s3cret@proxy:3128\"\n",
            "t.toml:2:9: upstream.proxy: this is no address of a proxy",
        );
        refused("[upstream]\nproxy = \"http://p:1\"\nproxy_file = \"x\"\n", "`proxy` is given too");
        refused("[upstream]\nproxy_file = \"/no/such\"\n", "cannot read /no/such");
        refused("[upstream]\nno_proxy = [\"*\"]\n", "\"*\" is none of these");
    }

    #[test]
    fn a_pipe_in_the_place_of_certificates_or_a_proxy_holds_nothing_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR).unwrap();
        let (told, answer) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for member in ["ca_file", "proxy_file"] {
                refused(&format!("[upstream]\n{member} = {path:?}\n"), "it is a pipe");
            }
            told.send(())
        });
        answer.recv_timeout(std::time::Duration::from_secs(30)).expect("it was refused, and at once");
    }

    #[test]
    fn certificates_are_added_or_put_in_the_place_of_the_machines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let good = rcgen::generate_simple_self_signed(["east.test".to_owned()]).unwrap().cert.pem();
        std::fs::write(&path, &good).unwrap();
        let config = |rest: &str| load(&format!("[upstream]\nca_file = {path:?}\n{rest}")).unwrap().upstream.trust;
        assert!(matches!(config(""), Trust::MachineAnd(_)));
        assert!(matches!(config("ca_only = true\n"), Trust::Only(_)));
        assert_eq!(load("").unwrap().upstream, Outbound::default());
        refused("[upstream]\nca_only = true\n", "nobody would be trusted");
        std::fs::write(&path, "").unwrap();
        refused(&format!("[upstream]\nca_file = {path:?}\n"), "holds no certificate in PEM");
    }

    #[test]
    fn a_damaged_certificate_is_a_problem_of_its_setting_and_not_of_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        std::fs::write(&path, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
        for rest in ["", "ca_only = true\n"] {
            let expected = "ca.pem: its certificate 1 cannot be used";
            refused(&format!("[upstream]\nca_file = {path:?}\n{rest}"), expected);
        }
    }

    #[test]
    fn an_origin_is_what_a_browser_sends() {
        for fine in ["*", "https://app.example.com", "http://localhost:3000", "http://[::1]:3000", "http://app.example.com:443"] {
            assert!(is_origin(fine), "{fine}");
        }
        for wrong in [
            "",
            "null",
            "app.example.com",
            "https://",
            "https://app.example.com/",
            "https://App.example.com",
            "https://*.example.com",
            "https://app.example.com:443",
            "http://app.example.com:80",
        ] {
            assert!(!is_origin(wrong), "{wrong}");
        }
        refused("[server]\ncors_origins = [\"app.example.com\"]\n", "server.cors_origins: \"app.example.com\" is none of these");
    }
}
