//! Whose certificates are believed: what the machine trusts, and what the operator adds to that or puts in its place.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::{BuilderVerifierExt, Verifier};

use super::client::UpstreamError;

/// Whose certificates are believed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Trust {
    /// Whom the machine trusts.
    #[default]
    Machine,
    /// They, and the authorities of this PEM text.
    MachineAnd(String),
    /// The authorities of this PEM text alone.
    Only(String),
}

impl Trust {
    /// The TLS settings of the client.
    pub(super) fn config(&self) -> Result<ClientConfig, UpstreamError> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_safe_default_protocol_versions().map_err(|error| setup(&error))?;
        Ok(match self {
            Trust::Machine => builder.with_platform_verifier().map_err(|error| setup(&error))?.with_no_client_auth(),
            Trust::MachineAnd(pem) => {
                let verifier = with_extra(pem, provider)?;
                builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth()
            }
            Trust::Only(pem) => {
                let mut roots = RootCertStore::empty();
                certificates(pem)?
                    .into_iter()
                    .try_for_each(|certificate| roots.add(certificate))
                    .map_err(|error| setup(&error))?;
                builder.with_root_certificates(roots).with_no_client_auth()
            }
        })
    }
}

fn with_extra(pem: &str, provider: Arc<CryptoProvider>) -> Result<Verifier, UpstreamError> {
    Verifier::new_with_extra_roots(certificates(pem)?, provider).map_err(|error| setup(&error))
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, UpstreamError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let found = found.map_err(|error| UpstreamError::Setup(format!("upstream.ca_file holds no certificates in PEM: {error}")))?;
    if found.is_empty() {
        return Err(UpstreamError::Setup("upstream.ca_file holds no certificate in PEM".to_owned()));
    }
    Ok(found)
}

fn setup(error: &rustls::Error) -> UpstreamError {
    UpstreamError::Setup(format!("the certificates cannot be used: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_certificate_is_refused_with_the_setting() {
        for pem in ["", "nothing", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            let refused = Trust::Only(pem.to_owned()).config().unwrap_err().to_string();
            assert!(refused.contains("upstream.ca_file") || refused.contains("certificates cannot be used"), "{refused}");
        }
        assert!(Trust::Machine.config().is_ok());
    }
}
