//! TLS in front of a scripted provider, with a certificate of an authority that only this test knows, and what the client
//! agreed on.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tokenbroker::tasks::Tasks;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// An authority that certifies names.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Its certificate in PEM.
    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    fn certify(&self, name: &str) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &self.0).unwrap();
        (certificate.der().clone(), PrivateKeyDer::try_from(key.serialize_der()).unwrap())
    }
}

/// TLS in front of something that has none.
pub(crate) struct Tls {
    pub(crate) address: SocketAddr,
    agreed: Arc<Mutex<Vec<String>>>,
}

impl Tls {
    /// Listens as `name`, whose certificate `authority` gives, speaks `protocols` and leads to `site`.
    pub(crate) async fn start(authority: &Authority, name: &str, protocols: &[&str], site: SocketAddr) -> Self {
        let (certificate, key) = authority.certify(name);
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let mut config = builder.with_single_cert(vec![certificate], key).unwrap();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let (acceptor, listener) = (TlsAcceptor::from(Arc::new(config)), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let (address, agreed) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
        let (tasks, inside) = (Tasks::on_this_runtime(), Arc::clone(&agreed));
        tasks.clone().spawn("tls", async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, agreed) = (acceptor.clone(), Arc::clone(&inside));
                tasks.spawn("tls connection", async move {
                    // A client that does not trust us ends the handshake.
                    let Ok(mut secured) = acceptor.accept(stream).await else { return };
                    let protocol = secured.get_ref().1.alpn_protocol().unwrap_or_default().to_vec();
                    agreed.lock().unwrap().push(String::from_utf8(protocol).unwrap());
                    let mut site = TcpStream::connect(site).await.unwrap();
                    let _ = copy_bidirectional(&mut secured, &mut site).await;
                });
            }
        });
        Self { address, agreed }
    }

    /// The protocols that clients agreed on, one for each connection.
    pub(crate) fn agreed(&self) -> Vec<String> {
        self.agreed.lock().unwrap().clone()
    }
}
