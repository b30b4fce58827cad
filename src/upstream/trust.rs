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
    /// Whether the PEM text holds authorities that TLS can work with; else what is wrong, and with which of them.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Trust::Machine => Ok(()),
            Trust::MachineAnd(pem) | Trust::Only(pem) => roots(pem).map(|_| ()),
        }
    }

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
                builder.with_root_certificates(roots(pem).map_err(|problem| in_file(&problem))?).with_no_client_auth()
            }
        })
    }
}

fn with_extra(pem: &str, provider: Arc<CryptoProvider>) -> Result<Verifier, UpstreamError> {
    let found = certificates(pem).map_err(|problem| in_file(&problem))?;
    Verifier::new_with_extra_roots(found, provider).map_err(|error| setup(&error))
}

fn roots(pem: &str) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for (number, certificate) in (1..).zip(certificates(pem)?) {
        roots.add(certificate).map_err(|error| format!("its certificate {number} cannot be used: {error}"))?;
    }
    Ok(roots)
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let mut found = Vec::new();
    for (number, certificate) in (1..).zip(CertificateDer::pem_slice_iter(pem.as_bytes())) {
        found.push(certificate.map_err(|error| format!("its certificate {number} is no PEM: {error}"))?);
    }
    if found.is_empty() { Err("it holds no certificate in PEM".to_owned()) } else { Ok(found) }
}

fn in_file(problem: &str) -> UpstreamError {
    UpstreamError::Setup(format!("upstream.ca_file: {problem}"))
}

fn setup(error: &rustls::Error) -> UpstreamError {
    UpstreamError::Setup(format!("the certificates cannot be used: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_certificate_is_refused_with_its_place() {
        let good = rcgen::generate_simple_self_signed(["east.test".to_owned()]).unwrap().cert.pem();
        assert_eq!(Trust::Only(good.clone()).check(), Ok(()));
        let empty = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for (pem, expected) in [
            (String::new(), "no certificate"),
            ("nothing".to_owned(), "no certificate"),
            (empty.to_owned(), "certificate 1 cannot be used"),
            (format!("{good}{empty}"), "certificate 2 cannot be used"),
            (format!("{good}-----BEGIN CERTIFICATE-----\nAA"), "certificate 2 is no PEM"),
        ] {
            for trust in [Trust::Only(pem.clone()), Trust::MachineAnd(pem.clone())] {
                let told = trust.check().unwrap_err();
                assert!(told.contains(expected), "{told}");
            }
            let refused = Trust::Only(pem).config().unwrap_err().to_string();
            assert!(refused.contains("upstream.ca_file") && refused.contains(expected), "{refused}");
        }
        assert!(Trust::Machine.check().is_ok() && Trust::Machine.config().is_ok());
    }
}
