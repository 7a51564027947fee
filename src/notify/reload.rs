//! Reads the configuration anew when it changes, and when asked. A broken one changes nothing and is told of.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::Alertmanager;
use super::config::{Config, NotifyConfigError};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

impl Alertmanager {
    /// Reads the configuration. Groups and what was told of them stay where their route does.
    ///
    /// # Errors
    /// What is wrong with it, and where; the one before goes on.
    pub(crate) async fn reload(&self) -> Result<(), NotifyConfigError> {
        let Some(path) = self.settings.config.clone() else { return Ok(()) };
        let read = tokio::task::spawn_blocking(move || Config::load(&path)).await;
        let read = read.unwrap_or_else(|error| Err(NotifyConfigError(error.to_string())));
        let now_s = self.now_ms() / 1_000;
        self.stats.reloaded(read.is_ok(), now_s);
        let config = Arc::new(read?);
        let _committing = self.committing.lock().await;
        let mut gone = Vec::new();
        {
            let mut state = self.state();
            *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&config);
            for (tenant, state) in state.iter_mut() {
                gone.extend(state.regroup(tenant, &config, self.now_ms()));
            }
        }
        if let Err(error) = self.store.apply_documents(&gone).await {
            // They are forgotten at the next start.
            tracing::warn!("groups of the configuration before are still in the catalog: {error}");
        }
        self.wake.notify_one();
        tracing::info!("the configuration of notifications was read");
        Ok(())
    }

    /// Reads the configuration whenever it has changed.
    pub(super) async fn reload_until_stopped(self: Arc<Self>) {
        let Some(path) = self.settings.config.clone() else { return };
        let mut refused = None;
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            let (config, file) = (self.config(), path.clone());
            let is_current = tokio::task::spawn_blocking(move || config.is_current(&file)).await.unwrap_or(true);
            if is_current {
                refused = None;
                continue;
            }
            match self.reload().await {
                Ok(()) => refused = None,
                // The same mistake is told once.
                Err(error) if refused.as_ref() != Some(&error) => {
                    tracing::error!("the configuration of notifications before goes on: {error}");
                    refused = Some(error);
                }
                Err(_) => {}
            }
        }
    }
}
