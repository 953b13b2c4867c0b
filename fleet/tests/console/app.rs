//! A server's parts around a database in a temporary directory, without sockets.

use std::path::PathBuf;
use std::sync::Arc;

use longshore_fleet::app::{App, Shared};
use longshore_fleet::config::Config;
use longshore_fleet::director::Director;
use longshore_fleet::events::Bus;
use longshore_fleet::gateway;
use longshore_fleet::objects::ObjectDir;
use longshore_fleet::store::Store;
use longshore_fleet::trust_repo::{OnlineSigners, TrustRepo};
use longshore_trust::{FleetId, SigningKey};

/// The parts, and the directory that goes with them.
pub struct Server {
    pub app: Shared,
    dir: tempfile::TempDir,
}

impl Server {
    /// With an empty database.
    pub async fn empty() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("fleet.db")).await.unwrap();
        let fleet = FleetId::new("harbour").unwrap();
        let config = Config::default();
        let (events, gateway) = (Bus::new(), gateway::Handle::new().0);
        let director = SigningKey::from_seed(&[3; 32]);
        let keys = OnlineSigners {
            snapshot: SigningKey::from_seed(&[1; 32]),
            timestamp: SigningKey::from_seed(&[2; 32]),
            director: director.public(),
        };
        let trust =
            TrustRepo::new(store.clone(), keys, config.trust.clone(), events.clone(), gateway.clone());
        let app = Arc::new(App {
            events,
            gateway,
            trust,
            objects: ObjectDir::open(&dir.path().join("objects")).unwrap(),
            director: Director::new(director, fleet.clone(), 1),
            config,
            fleet,
            stop: tokio_util::sync::CancellationToken::new(),
            store,
        });
        Self { app, dir }
    }
    /// With devices, models and rollouts in it.
    pub async fn filled() -> Self {
        let server = Self::empty().await;
        super::fill::fill(&server.database(), server.app.store.clone()).await;
        server
    }
    /// The database file.
    pub fn database(&self) -> PathBuf {
        self.dir.path().join("fleet.db")
    }
}
