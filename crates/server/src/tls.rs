//! TLS, from settings to what each door offers.

use std::{path::PathBuf, sync::Arc, time::Duration};

use serde::Deserialize;

use ::tls::{CertificateFiles, Certificates, ClientAuth};
use door::Shutdown;
use world::Clock;

use crate::{
    exit::{Exit, Refusal},
    settings::{set, within, wrong},
};

/// How often the files of certificates are looked at. Default 10,000; 100 to 86,400,000. Sooner
/// than whoever renews them restarts anything, and three small files cost nothing.
const RELOAD_MS: u64 = 10_000;

/// The section `tls`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Section {
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    client_ca: Option<PathBuf>,
    client_auth: Option<Auth>,
    reload_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Auth {
    Want,
    Need,
}

/// The section `node`: certificates for other nodes. All three or none.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Peers {
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    ca: Option<PathBuf>,
}

impl Peers {
    /// The files, if there are any.
    pub(crate) fn files(&self) -> Result<Option<CertificateFiles>, Refusal> {
        match (&self.certificate, &self.key, &self.ca) {
            (Some(certificate), Some(key), Some(ca)) => Ok(Some(CertificateFiles {
                certificate: certificate.clone(),
                key: key.clone(),
                clients: Some((ClientAuth::Peer, ca.clone())),
            })),
            (None, None, None) => Ok(None),
            _ => Err(wrong("node.certificate, node.key and node.ca go together".to_owned())),
        }
    }
}

/// Whether a door speaks TLS: its setting `tls`.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Offer {
    /// In clear only.
    #[default]
    Off,
    /// As the client likes.
    Optional,
    /// TLS only.
    Required,
}

/// Files that were asked for, and how often to look at them.
#[derive(Debug)]
pub(crate) struct Plan {
    files: CertificateFiles,
    period: Duration,
}

impl Section {
    /// What is to be read, if anything; `offers` are the doors' settings by name. Refused if they do not fit
    /// together.
    pub(crate) fn plan(&self, offers: &[(&str, Offer)]) -> Result<Option<Plan>, Refusal> {
        let (certificate, key) = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => (certificate.clone(), key.clone()),
            (None, None) => {
                if let Some((name, _)) = offers.iter().find(|(_, offer)| *offer != Offer::Off) {
                    return Err(wrong(format!("{name}.tls needs tls.certificate and tls.key")));
                }
                if self.client_ca.is_some() || self.client_auth.is_some() {
                    let without = "tls.client_ca and tls.client_auth need tls.certificate and tls.key";
                    return Err(wrong(without.to_owned()));
                }
                return Ok(None);
            }
            (Some(_), None) => return Err(wrong("tls.certificate needs tls.key".to_owned())),
            (None, Some(_)) => return Err(wrong("tls.key needs tls.certificate".to_owned())),
        };
        let clients = match (&self.client_ca, self.client_auth) {
            (Some(file), Some(Auth::Want)) => Some((ClientAuth::Want, file.clone())),
            (Some(file), Some(Auth::Need) | None) => Some((ClientAuth::Need, file.clone())),
            (None, None) => None,
            (None, Some(_)) => return Err(wrong("tls.client_auth needs tls.client_ca".to_owned())),
        };
        let mut reload_ms = RELOAD_MS;
        set("tls.reload_ms", &mut reload_ms, self.reload_ms, within(100, 86_400_000))?;
        let files = CertificateFiles { certificate, key, clients };
        Ok(Some(Plan { files, period: Duration::from_millis(reload_ms) }))
    }
}

/// Certificates that were read.
pub(crate) struct Loaded {
    certificates: Arc<Certificates>,
    period: Duration,
}

impl Loaded {
    /// Reads them.
    pub(crate) async fn read(plan: Plan, clock: Clock) -> Result<Loaded, Refusal> {
        let loaded = Certificates::load(plan.files, clock).await;
        let certificates = loaded.map_err(|fault| Refusal::new(Exit::Settings, format!("tls: {fault}")))?;
        Ok(Loaded { certificates, period: plan.period })
    }

    /// What a door offers that is set to `offer`.
    pub(crate) fn offer(loaded: Option<&Loaded>, offer: Offer) -> door::Tls {
        match (loaded, offer) {
            (Some(Loaded { certificates, .. }), Offer::Optional) => door::Tls::Optional(certificates.clone()),
            (Some(Loaded { certificates, .. }), Offer::Required) => door::Tls::Required(certificates.clone()),
            // No door offers what was not read: see `Section::plan`.
            (Some(_), Offer::Off) | (None, _) => door::Tls::Off,
        }
    }

    /// Looks at the files until the end.
    pub(crate) async fn keep_fresh(self, mut shutdown: Shutdown) {
        self.certificates.keep_fresh(self.period, async move { shutdown.wait().await }).await;
    }
}
