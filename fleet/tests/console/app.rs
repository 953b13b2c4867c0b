//! A server's parts around a database in a temporary directory, without sockets.

use std::path::PathBuf;
use std::sync::Arc;

use longshore_fleet::app::{App, Shared};
use longshore_fleet::audit::AuditLog;
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
        let key = |n| SigningKey::from_seed(&[n; 32]);
        let director = Director::new(key(3), fleet.clone(), 1);
        let keys = OnlineSigners::new(vec![key(1)], vec![key(2)], director.clone(), None);
        let trust =
            TrustRepo::new(store.clone(), keys, config.trust.clone(), events.clone(), gateway.clone());
        let audit = AuditLog::open(store.clone(), SigningKey::from_seed(&[9; 32]), &fleet, 1).await.unwrap();
        let app = Arc::new(App {
            audit,
            events,
            gateway,
            trust,
            objects: ObjectDir::open(&dir.path().join("objects")).unwrap(),
            director,
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
