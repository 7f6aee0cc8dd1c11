//! How the parts of a node learn that it stops.

use tokio::sync::watch;

/// Turns true once, when the node stops.
pub type Stopped = watch::Receiver<bool>;

/// Resolves when the node stops, or when its handle is gone.
pub(crate) async fn stopping(mut stopped: Stopped) {
    // An error means that the handle is gone, which stops the node too.
    let _ = stopped.wait_for(|stop| *stop).await;
}
