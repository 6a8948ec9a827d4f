//! Serves an HTTP router on a TCP address, with or without TLS, each connection within limits of number and time.
//!
//! # Invariants
//! - Where TLS is asked for, nobody is answered without it.
//! - Connections, handshakes and heads of requests are bounded; what is under way at the end is finished.
//!
//! # Deliberately absent
//! Reading certificates, HTTP/2, and limits on bodies and answers, which are the router's.

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
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

/// How long to wait after the system refused a connection, for lack of file descriptors for example.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a listener grants its clients.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Connections at one time; further ones wait in the system's queue.
    pub connections_max: usize,
    /// How long a TLS handshake may take.
    pub handshake_time_max: Duration,
    /// How long a request's head may take, from the end of the request before it.
    pub head_time_max: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            connections_max: 4096,
            handshake_time_max: Duration::from_secs(10),
            head_time_max: Duration::from_secs(60),
        }
    }
}

/// Gives what accepts TLS connections. It is asked for each connection, so that certificates can change.
pub type TlsSource = Arc<dyn Fn() -> TlsAcceptor + Send + Sync>;

/// A bound address.
pub struct Listener {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<TlsSource>,
    limits: ConnectionLimits,
}

impl Listener {
    /// Binds an address; with a source of TLS, plain connections are refused.
    ///
    /// # Errors
    /// When the address is not available.
    pub async fn bind(address: SocketAddr, tls: Option<TlsSource>, limits: ConnectionLimits) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Self {
            listener,
            address,
            tls,
            limits,
        })
    }

    /// The address that was bound.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until told to stop; then finishes the requests under way.
    pub async fn serve(self, router: Router, stop: CancellationToken) {
        let permits = Arc::new(Semaphore::new(self.limits.connections_max));
        let connections = TaskTracker::new();
        while let Some((stream, peer, permit)) = self.accept(&permits, &stop).await {
            let connection = Connection {
                peer,
                router: router.clone(),
                limits: self.limits,
                stop: stop.clone(),
            };
            let tls = self.tls.as_ref().map(|source| source());
            connections.spawn(async move {
                connection.run(stream, tls).await;
                drop(permit);
            });
        }
        drop(self.listener);
        connections.close();
        connections.wait().await;
    }

    /// The next connection; `None` when it is time to stop.
    async fn accept(
        &self,
        permits: &Arc<Semaphore>,
        stop: &CancellationToken,
    ) -> Option<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
        let next = async {
            let permit = permits
                .clone()
                .acquire_owned()
                .await
                .expect("the semaphore is never closed");
            loop {
                match self.listener.accept().await {
                    Ok((stream, peer)) => return (stream, peer, permit),
                    Err(error) => {
                        tracing::warn!(%error, "no connection accepted");
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
}

/// One client.
struct Connection {
    peer: SocketAddr,
    router: Router,
    limits: ConnectionLimits,
    stop: CancellationToken,
}

impl Connection {
    async fn run(self, stream: TcpStream, tls: Option<TlsAcceptor>) {
        let peer = self.peer;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%peer, %error, "the connection is gone already");
            return;
        }
        let Some(tls) = tls else {
            return self.answer(stream).await;
        };
        match tokio::time::timeout(self.limits.handshake_time_max, tls.accept(stream)).await {
            Ok(Ok(stream)) => self.answer(stream).await,
            Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
            Err(_) => tracing::debug!(%peer, "TLS handshake took too long"),
        }
    }

    async fn answer<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(self, stream: S) {
        let Self {
            peer,
            router,
            limits,
            stop,
        } = self;
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            router.clone().oneshot(request)
        });
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head_time_max);
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        let served = tokio::select! {
            served = connection.as_mut() => served,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = served {
            tracing::debug!(%peer, %error, "a connection ended early");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

    struct Served {
        address: SocketAddr,
        stop: CancellationToken,
        task: tokio::task::JoinHandle<()>,
    }

    async fn served(limits: ConnectionLimits, router: Router) -> Served {
        served_over(None, limits, router).await
    }

    async fn served_over(tls: Option<TlsSource>, limits: ConnectionLimits, router: Router) -> Served {
        let any = "127.0.0.1:0".parse().expect("an address");
        let listener = Listener::bind(any, tls, limits).await.expect("a port");
        let address = listener.address();
        let stop = CancellationToken::new();
        let task = tokio::spawn(listener.serve(router, stop.clone()));
        Served { address, stop, task }
    }

    async fn connect(served: &Served, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(served.address).await.expect("a connection");
        stream.write_all(bytes).await.expect("sent");
        stream
    }

    async fn answer(mut stream: TcpStream) -> String {
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("text");
        text
    }

    fn hello() -> Router {
        Router::new().route("/", get(|| async { "hello" }))
    }

    #[tokio::test]
    async fn a_client_that_does_not_finish_its_request_is_let_go() {
        let limits = ConnectionLimits {
            head_time_max: Duration::from_millis(50),
            ..ConnectionLimits::default()
        };
        let served = served(limits, hello()).await;
        let slow = connect(&served, &REQUEST[..20]).await;
        let text = tokio::time::timeout(Duration::from_secs(10), answer(slow))
            .await
            .expect("the server hangs up");
        assert!(!text.contains("hello"), "{text}");
        assert!(answer(connect(&served, REQUEST).await).await.ends_with("hello"));
    }

    #[tokio::test]
    async fn over_tls_nobody_is_answered_without_it_and_a_slow_handshake_is_let_go() {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let key = rustls_pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let server = rustls::ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.into())
            .expect("a key that fits");
        let acceptor = TlsAcceptor::from(Arc::new(server));
        let limits = ConnectionLimits {
            handshake_time_max: Duration::from_millis(50),
            ..ConnectionLimits::default()
        };
        let served = served_over(Some(Arc::new(move || acceptor.clone())), limits, hello()).await;
        let mut plain = connect(&served, REQUEST).await;
        let mut bytes = Vec::new();
        // The server may reset the connection; what counts is that it says nothing.
        let _ = plain.read_to_end(&mut bytes).await;
        assert!(!String::from_utf8_lossy(&bytes).contains("hello"));
        let mut silent = connect(&served, &[]).await;
        let read = tokio::time::timeout(Duration::from_secs(10), silent.read_to_end(&mut Vec::new())).await;
        assert!(read.is_ok(), "the server hangs up");

        let mut roots = rustls::RootCertStore::empty();
        roots.add(made.cert.der().clone()).expect("a root");
        let client = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
        let name = "localhost".try_into().expect("a name");
        let stream = TcpStream::connect(served.address).await.expect("a connection");
        let mut stream = connector.connect(name, stream).await.expect("TLS");
        stream.write_all(REQUEST).await.expect("sent");
        let mut text = String::new();
        // Who closes a connection may leave out the end of TLS.
        let _ = stream.read_to_string(&mut text).await;
        assert!(text.ends_with("hello"), "{text}");
    }

    #[tokio::test]
    async fn one_connection_past_the_limit_waits_for_its_turn() {
        let limits = ConnectionLimits {
            connections_max: 1,
            ..ConnectionLimits::default()
        };
        let served = served(limits, hello()).await;
        let first = connect(&served, &REQUEST[..20]).await;
        let mut second = connect(&served, REQUEST).await;
        let early = tokio::time::timeout(Duration::from_millis(100), second.read_u8()).await;
        assert!(early.is_err(), "answered although the first is still there");
        drop(first);
        let text = tokio::time::timeout(Duration::from_secs(10), answer(second))
            .await
            .expect("its turn");
        assert!(text.ends_with("hello"), "{text}");
    }

    #[tokio::test]
    async fn a_stop_finishes_what_is_under_way_and_takes_nothing_new() {
        let begun = Arc::new(AtomicBool::new(false));
        let finish = CancellationToken::new();
        let (flag, gate) = (begun.clone(), finish.clone());
        let router = Router::new().route(
            "/",
            get(move || async move {
                flag.store(true, Ordering::SeqCst);
                gate.cancelled().await;
                "finished"
            }),
        );
        let served = served(ConnectionLimits::default(), router).await;
        let request = connect(&served, REQUEST).await;
        while !begun.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
        served.stop.cancel();
        while TcpStream::connect(served.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
        finish.cancel();
        assert!(answer(request).await.ends_with("finished"));
        served.task.await.expect("it stops");
    }
}
