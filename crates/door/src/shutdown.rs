//! The signal that ends a door: given once, seen by everyone who holds the [`Shutdown`].

use tokio::sync::watch;

/// A signal and its trigger.
pub fn shutdown() -> (ShutdownTrigger, Shutdown) {
    let (sender, receiver) = watch::channel(false);
    (ShutdownTrigger(sender), Shutdown(receiver))
}

/// Gives the signal, at the latest when dropped.
#[derive(Debug)]
pub struct ShutdownTrigger(watch::Sender<bool>);

impl ShutdownTrigger {
    /// Gives the signal.
    pub fn trigger(&self) {
        self.0.send_replace(true);
    }
}

/// Sees the signal.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<bool>);

impl Shutdown {
    /// Waits for the signal; at once if it has been given. Cancel safe.
    pub async fn wait(&mut self) {
        // An error says that the trigger is gone, and then nobody could stop us any more.
        let _ = self.0.wait_for(|&given| given).await;
    }

    /// Whether the signal has been given.
    pub fn is_given(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }
}
