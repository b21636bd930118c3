//! [`Certificates`]: what a server shows of itself and whom it believes, read from PEM files and
//! read again while it runs.
//!
//! Certificates are renewed every few weeks by programs that know nothing of us. The files are read
//! again on a slow timer and compared byte by byte, which needs no signal and cannot be fooled by
//! time stamps or by links that are turned to another folder. What does not work is told once and
//! changes nothing: the certificates that did work stay. Connections keep those that they began with.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject},
    server::{NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier},
    time_provider::TimeProvider,
};
use world::Clock;

use crate::Shutdown;

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
    current: RwLock<Arc<ServerConfig>>,
    /// What the files held when they were last looked at, good or not.
    seen: Mutex<Result<Material, CertificateFault>>,
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the key.
        f.debug_struct("Certificates").field("files", &self.files).finish_non_exhaustive()
    }
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
        let current = RwLock::new(Arc::new(configure(&files, &material, &clock)?));
        Ok(Arc::new(Certificates { files, clock, current, seen: Mutex::new(Ok(material)) }))
    }

    /// Looks at the files every `period` until `shutdown`.
    pub async fn keep_fresh(self: Arc<Self>, period: Duration, mut shutdown: Shutdown) {
        while world::time::timeout(period, shutdown.wait()).await.is_none() {
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
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
            }),
            Err(fault) => Err(fault.clone()),
        };
        *seen = found;
        Some(outcome)
    }

    /// What a connection that begins now goes by.
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
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
) -> Result<ServerConfig, CertificateFault> {
    let provider = Arc::new(ring::default_provider());
    let chain = certificates(&files.certificate, &material.certificate)?;
    let key = PrivateKeyDer::from_pem_slice(&material.key)
        .map_err(|error| fault(&files.key, format!("no private key in PEM, unencrypted: {error}")))?;
    let clients = match &files.clients {
        Some((auth, file)) => verifier(*auth, file, &material.authorities, &provider)?,
        None => WebPkiClientVerifier::no_client_auth(),
    };
    // Read by itself first, so that the file that is wrong can be named.
    provider.key_provider.load_private_key(key.clone_key()).map_err(|error| fault(&files.key, error))?;
    let mut config = ServerConfig::builder_with_details(provider, Arc::new(HouseTime(clock.clone())))
        .with_safe_default_protocol_versions()
        .map_err(|error| fault(&files.certificate, error))?
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, key)
        .map_err(|error| {
            fault(&files.certificate, format!("does not go with {}: {error}", files.key.display()))
        })?;
    // Connections here live long. Resumed ones would save their clients little, cost us memory for
    // each that is gone, and still believe authorities that are believed no more.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

fn certificates(file: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertificateFault> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(fault(file, "no certificate in PEM")),
        Err(error) => Err(fault(file, error)),
    }
}

fn verifier(
    auth: ClientAuth,
    file: &Path,
    pem: &[u8],
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, CertificateFault> {
    let mut roots = RootCertStore::empty();
    for authority in certificates(file, pem)? {
        roots.add(authority).map_err(|error| fault(file, error))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let builder = match auth {
        ClientAuth::Want => builder.allow_unauthenticated(),
        ClientAuth::Need => builder,
    };
    builder.build().map_err(|error| fault(file, error))
}

/// The house's wall clock, as rustls asks for it.
#[derive(Debug)]
struct HouseTime(Clock);

impl TimeProvider for HouseTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_micros(self.0.wall_micros())))
    }
}
