//! `[providers.ID.sigv4]`: how the requests of a provider are signed where its key is not there.

use super::provider::is_variable;
use crate::catalog::address;
use crate::catalog::signing::{REGION, Signing};
use crate::document::Section;

/// How requests are signed where there is no key. `places` are those of the addresses.
pub(super) fn read(section: Section<'_, '_>, places: &[String]) -> Signing {
    const VARIABLE: &str = "the name (never the value) of a variable: AWS_ACCESS_KEY_ID";
    let named = |name: &'static str, told: Option<String>| {
        if told.as_ref().is_some_and(|told| !is_variable(told)) {
            section.problem(name, "this is no variable's name", VARIABLE);
        }
        told
    };
    let required = |name| named(name, section.required_text(name, VARIABLE)).unwrap_or_default();
    let signing = Signing {
        service: section
            .required_text("service", "what the service is called in signatures, such as \"bedrock\"")
            .unwrap_or_default(),
        region: section.text("region"),
        access_key_env: required("access_key_env"),
        secret_key_env: required("secret_key_env"),
        session_token_env: named("session_token_env", section.text("session_token_env")),
    };
    let accepted = "a region such as \"eu-central-1\"; or {region} in the provider's address";
    match &signing.region {
        Some(region) if !address::is_label(region) => section.problem("region", "this is no region", accepted),
        None if !places.iter().any(|place| place == REGION) => section.problem("region", "nothing says which region", accepted),
        Some(_) | None => {}
    }
    section.finish();
    signing
}
