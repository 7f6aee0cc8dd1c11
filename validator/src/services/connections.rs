//! Connections up to a limit: one more waits, in the operating system's backlog, until another closes.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_stream::Stream;
use tonic::transport::server::{Connected, TcpConnectInfo};

/// Pause after a failure to accept, such as too many open files.
const RETRY: Duration = Duration::from_millis(100);

type Next = Pin<Box<dyn Future<Output = Connection> + Send>>;

/// The accepted connections of a listener.
pub(super) struct Connections {
    listener: Arc<TcpListener>,
    room: Arc<Semaphore>,
    next: Option<Next>,
}

/// A connection and its share of the limit.
pub(super) struct Connection {
    stream: TcpStream,
    _share: OwnedSemaphorePermit,
}

impl Connections {
    pub fn new(listener: TcpListener, limit: usize) -> Self {
        Self { listener: Arc::new(listener), room: Arc::new(Semaphore::new(limit)), next: None }
    }
}

async fn accept(listener: Arc<TcpListener>, room: Arc<Semaphore>) -> Connection {
    let share = match room.acquire_owned().await {
        Ok(share) => share,
        // The semaphore is never closed.
        Err(_) => std::future::pending().await,
    };
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "a connection without TCP_NODELAY");
                }
                return Connection { stream, _share: share };
            }
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

impl Stream for Connections {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let (listener, room) = (Arc::clone(&self.listener), Arc::clone(&self.room));
        let next = self.next.get_or_insert_with(|| Box::pin(accept(listener, room)));
        let connection = ready!(next.as_mut().poll(context));
        self.next = None;
        Poll::Ready(Some(Ok(connection)))
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
