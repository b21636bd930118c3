//! [`Certificates`]: what a server shows of itself and whom it believes, read from PEM files and
//! read again while it runs.
//!
//! Certificates are renewed every few weeks by programs that know nothing of us. The files are read
//! again on a slow timer and compared byte by byte, which needs no signal and cannot be fooled by
//! time stamps or by links that are turned to another folder. What does not work is told once and
//! changes nothing: the certificates that did work stay. Connections keep those that they began with.

use std::{
    fmt,
    future::Future,
    path::{Path, PathBuf},
    pin::pin,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{
        CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature,
    },
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier, danger::ClientCertVerifier},
    time_provider::TimeProvider,
    version,
};
use world::Clock;

/// A longer file is refused: all the world's authorities take a quarter of this.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Where certificates are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The server's certificate and those between it and its authority, in PEM.
    pub certificate: PathBuf,
    /// Its private key, in PEM, not encrypted.
    pub key: PathBuf,
    /// Whether clients show certificates, and the authorities that must have signed them, in PEM.
    pub clients: Option<(ClientAuth, PathBuf)>,
}

/// What is asked of clients; the words are ZooKeeper's (`ssl.clientAuth`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// A client may come without a certificate, but not with a wrong one.
    Want,
    /// A client without a certificate is refused.
    Need,
    /// Clients and servers are the same kind: whoever comes shows a certificate, and whoever is gone to must have one
    /// of the same authorities, whatever its name is. TLS 1.3 only. The names of nodes are given by their cluster, and
    /// their addresses change; the authority is what tells them from strangers, so it must sign for nobody else.
    Peer,
}

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFault {
    file: PathBuf,
    what: String,
}

impl fmt::Display for CertificateFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file.display(), self.what)
    }
}

impl std::error::Error for CertificateFault {}

fn fault(file: &Path, what: impl fmt::Display) -> CertificateFault {
    CertificateFault { file: file.to_owned(), what: what.to_string() }
}

/// A server's certificates, those of now.
pub struct Certificates {
    files: CertificateFiles,
    clock: Clock,
    current: RwLock<Configs>,
    /// What the files held when they were last looked at, good or not.
    seen: Mutex<Result<Material, CertificateFault>>,
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the key.
        f.debug_struct("Certificates").field("files", &self.files).finish_non_exhaustive()
    }
}

/// What connections go by.
struct Configs {
    server: Arc<ServerConfig>,
    /// Among peers.
    client: Option<Arc<ClientConfig>>,
}

/// The bytes of the files.
#[derive(PartialEq, Eq)]
struct Material {
    certificate: Vec<u8>,
    key: Vec<u8>,
    authorities: Vec<u8>,
}

impl Certificates {
    /// Reads the files. Whether a client's certificate has expired is judged by `clock`.
    ///
    /// # Errors
    /// The file that is not there or does not hold what it should, and why.
    pub async fn load(files: CertificateFiles, clock: Clock) -> Result<Arc<Certificates>, CertificateFault> {
        let material = read(&files).await?;
        let current = RwLock::new(configure(&files, &material, &clock)?);
        Ok(Arc::new(Certificates { files, clock, current, seen: Mutex::new(Ok(material)) }))
    }

    /// Looks at the files every `period` until `end` comes.
    pub async fn keep_fresh(self: Arc<Self>, period: Duration, end: impl Future<Output = ()> + Send) {
        let mut end = pin!(end);
        while world::time::timeout(period, &mut end).await.is_none() {
            match self.refresh().await {
                None => {}
                Some(Ok(())) => {
                    tracing::info!(file = %self.files.certificate.display(), "certificates were read again");
                }
                Some(Err(fault)) => {
                    tracing::warn!(%fault, "new certificates do not work; the old ones stay");
                }
            }
        }
    }

    /// Looks at the files once; `None` if they are as they were last time.
    ///
    /// # Errors
    /// What is wrong with them; then nothing has changed for clients.
    pub async fn refresh(&self) -> Option<Result<(), CertificateFault>> {
        let found = read(&self.files).await;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == found {
            return None;
        }
        let outcome = match &found {
            Ok(material) => configure(&self.files, material, &self.clock).map(|config| {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = config;
            }),
            Err(fault) => Err(fault.clone()),
        };
        *seen = found;
        Some(outcome)
    }

    /// What a connection goes by that others begin now.
    pub fn config(&self) -> Arc<ServerConfig> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).server.clone()
    }

    /// What a connection goes by that begins here now; among peers only ([`ClientAuth::Peer`]).
    pub fn client_config(&self) -> Option<Arc<ClientConfig>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).client.clone()
    }
}

async fn read(files: &CertificateFiles) -> Result<Material, CertificateFault> {
    let certificate = read_one(&files.certificate).await?;
    let key = read_one(&files.key).await?;
    let authorities = match &files.clients {
        Some((_, file)) => read_one(file).await?,
        None => Vec::new(),
    };
    Ok(Material { certificate, key, authorities })
}

async fn read_one(file: &Path) -> Result<Vec<u8>, CertificateFault> {
    world::given::read(file, FILE_BYTES_MAX).await.map_err(|error| fault(file, error))
}

fn configure(
    files: &CertificateFiles,
    material: &Material,
    clock: &Clock,
) -> Result<Configs, CertificateFault> {
    let provider = Arc::new(ring::default_provider());
    let chain = certificates(&files.certificate, &material.certificate)?;
    let key = PrivateKeyDer::from_pem_slice(&material.key)
        .map_err(|error| fault(&files.key, format!("no private key in PEM, unencrypted: {error}")))?;
    // Read by itself first, so that the file that is wrong can be named.
    provider.key_provider.load_private_key(key.clone_key()).map_err(|error| fault(&files.key, error))?;
    let misfit =
        |error| fault(&files.certificate, format!("does not go with {}: {error}", files.key.display()));
    let time = Arc::new(HouseTime(clock.clone()));
    let roots = match &files.clients {
        Some((auth, file)) => Some((*auth, file, roots(file, &material.authorities)?)),
        None => None,
    };
    let versions = match roots {
        Some((ClientAuth::Peer, ..)) => &[&version::TLS13][..],
        _ => rustls::DEFAULT_VERSIONS,
    };
    let (clients, client) = match roots {
        None => (WebPkiClientVerifier::no_client_auth(), None),
        Some((auth, file, roots)) => {
            let clients = verifier(auth, file, &roots, &provider)?;
            let client = (auth == ClientAuth::Peer).then(|| {
                let any = Arc::new(AnyOf { roots, algorithms: provider.signature_verification_algorithms });
                let config = ClientConfig::builder_with_details(provider.clone(), time.clone());
                let config = config
                    .with_protocol_versions(versions)
                    .map_err(|error| fault(&files.certificate, error))?
                    .dangerous()
                    .with_custom_certificate_verifier(any)
                    .with_client_auth_cert(chain.clone(), key.clone_key());
                let mut config = config.map_err(misfit)?;
                config.resumption = Resumption::disabled();
                config.enable_sni = false;
                Ok(Arc::new(config))
            });
            (clients, client.transpose()?)
        }
    };
    let mut server = ServerConfig::builder_with_details(provider, time)
        .with_protocol_versions(versions)
        .map_err(|error| fault(&files.certificate, error))?
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, key)
        .map_err(misfit)?;
    // Connections here live long. Resumed ones would save their clients little, cost us memory for
    // each that is gone, and still believe authorities that are believed no more.
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.send_tls13_tickets = 0;
    Ok(Configs { server: Arc::new(server), client })
}

fn certificates(file: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertificateFault> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(fault(file, "no certificate in PEM")),
        Err(error) => Err(fault(file, error)),
    }
}

fn roots(file: &Path, pem: &[u8]) -> Result<Arc<RootCertStore>, CertificateFault> {
    let mut roots = RootCertStore::empty();
    for authority in certificates(file, pem)? {
        roots.add(authority).map_err(|error| fault(file, error))?;
    }
    Ok(Arc::new(roots))
}

fn verifier(
    auth: ClientAuth,
    file: &Path,
    roots: &Arc<RootCertStore>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, CertificateFault> {
    let builder = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone());
    let builder = match auth {
        ClientAuth::Want => builder.allow_unauthenticated(),
        ClientAuth::Need | ClientAuth::Peer => builder,
    };
    builder.build().map_err(|error| fault(file, error))
}

/// Believes any server whose certificate the authorities have signed, whatever its name: see
/// [`ClientAuth::Peer`].
#[derive(Debug)]
struct AnyOf {
    roots: Arc<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for AnyOf {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let certificate = ParsedCertificate::try_from(certificate)?;
        let algorithms = self.algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&certificate, &self.roots, between, now, algorithms)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The house's wall clock, as rustls asks for it.
#[derive(Debug)]
struct HouseTime(Clock);

impl TimeProvider for HouseTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_micros(self.0.wall_micros())))
    }
}
