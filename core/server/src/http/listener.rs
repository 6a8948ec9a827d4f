//! Connections of the HTTP interface. A client that begins with a TLS handshake is given TLS; who speaks plain HTTP is
//! served what needs no password.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use crate::shared::Shared;

/// The first byte of a TLS connection: a handshake record (RFC 8446, section 5.1).
const TLS_HANDSHAKE: u8 = 22;
/// How long to wait after the system refused a connection, for lack of file descriptors for example.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Whether a request came over TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Channel {
    /// It did.
    Tls,
    /// Anybody on the way can read it.
    Plain,
}

/// Serves until told to stop; then finishes the requests under way.
pub(crate) async fn serve(listener: TcpListener, shared: Arc<Shared>, router: Router, stop: CancellationToken) {
    let permits = Arc::new(Semaphore::new(shared.limits.http_connections_max));
    let connections = TaskTracker::new();
    while let Some((stream, peer, permit)) = accept(&listener, &permits, &stop).await {
        let connection = Connection {
            peer,
            shared: shared.clone(),
            router: router.clone(),
            stop: stop.clone(),
        };
        connections.spawn(async move {
            connection.run(stream).await;
            drop(permit);
        });
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// The next connection; `None` when it is time to stop.
async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
    stop: &CancellationToken,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let next = async {
        let permit = permits.clone().acquire_owned().await;
        let permit = permit.expect("the semaphore is never closed");
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => return (stream, peer, permit),
                Err(error) => {
                    tracing::warn!(%error, "no HTTP connection was accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => None,
        next = next => Some(next),
    }
}

struct Connection {
    peer: SocketAddr,
    shared: Arc<Shared>,
    router: Router,
    stop: CancellationToken,
}

impl Connection {
    async fn run(self, stream: TcpStream) {
        let peer = self.peer;
        let head_timeout = self.shared.limits.http_head_timeout;
        let mut first = [0];
        match timeout(head_timeout, stream.peek(&mut first)).await {
            Ok(Ok(1)) => {}
            Ok(_) | Err(_) => return,
        }
        if first[0] != TLS_HANDSHAKE {
            return self.answer(stream, Channel::Plain).await;
        }
        let acceptor = self.shared.certificate.https();
        match timeout(head_timeout, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => self.answer(stream, Channel::Tls).await,
            Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
            Err(_) => tracing::debug!(%peer, "TLS handshake took too long"),
        }
    }

    async fn answer<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(self, stream: S, channel: Channel) {
        let Self {
            peer,
            shared,
            router,
            stop,
        } = self;
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            request.extensions_mut().insert(channel);
            router.clone().oneshot(request)
        });
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(shared.limits.http_head_timeout);
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        let served = tokio::select! {
            served = connection.as_mut() => served,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = served {
            tracing::debug!(%peer, %error, "an HTTP connection ended early");
        }
    }
}
