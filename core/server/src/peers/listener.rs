//! Accepts other members and answers their requests.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use craton_engine::Member;
use craton_types::{Form, FormatVersion, NodeId, Region};
use tokio::io::WriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::client::check_knows;
use super::tls::PeerIdentity;
use super::wire::{Hello, VERSION, Welcome, WireError, read_frame, read_hello, write_frame, write_hello};

/// The most connections of other members: a few lanes of each.
const CONNECTIONS_MAX: usize = 256;
/// How long the other end has to show who it is.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// Requests of one connection that are being answered; further ones wait in the socket.
const ANSWERING_MAX: usize = 1_024;
/// How long accepting pauses after the system refused a socket.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Where other members connect.
pub(crate) struct PeerListener {
    listener: TcpListener,
    identity: Arc<PeerIdentity>,
}

impl PeerListener {
    pub(crate) async fn bind(address: SocketAddr, identity: Arc<PeerIdentity>) -> std::io::Result<Self> {
        Ok(Self {
            listener: TcpListener::bind(address).await?,
            identity,
        })
    }

    pub(crate) fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `end` is cancelled.
    pub(crate) async fn serve(self, member: Member, end: CancellationToken) {
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = end.cancelled() => break,
            };
            while connections.try_join_next().is_some() {}
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a member was not accepted");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
                tracing::warn!("too many connections of members, one was dropped");
                continue;
            };
            let (identity, member) = (Arc::clone(&self.identity), member.clone());
            connections.spawn(async move {
                let _permit = permit;
                serve_connection(stream, &identity, member).await;
            });
        }
        connections.shutdown().await;
    }
}

async fn serve_connection(stream: TcpStream, identity: &PeerIdentity, member: Member) {
    let opened = timeout(HELLO_TIMEOUT, open(stream, identity)).await;
    let (stream, from) = match opened {
        Ok(Ok(opened)) => opened,
        Ok(Err(NotOpened::Refused(reason))) => {
            tracing::warn!(reason, "a connection between members was refused");
            return;
        }
        Ok(Err(NotOpened::Ended(error))) => {
            tracing::debug!(error, "a connection between members ended before it began");
            return;
        }
        Err(_) => {
            tracing::warn!("a connection between members was not opened in time");
            return;
        }
    };
    tracing::debug!(%from, "a member connected");
    if let Err(error) = answer_all(stream, from, member).await {
        tracing::debug!(%from, %error, "a member's connection ended");
    }
}

/// Why a connection did not come about.
enum NotOpened {
    /// The other end may not connect.
    Refused(String),
    /// The other end went away, as when it stops.
    Ended(String),
}

impl From<std::io::Error> for NotOpened {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            // What TLS does not accept: a certificate of another authority, or none.
            std::io::ErrorKind::InvalidData => Self::Refused(error.to_string()),
            _ => Self::Ended(error.to_string()),
        }
    }
}

impl From<WireError> for NotOpened {
    fn from(error: WireError) -> Self {
        match error {
            WireError::Io(error) => error.into(),
            error => Self::Refused(error.to_string()),
        }
    }
}

/// Makes sure who is at the other end.
async fn open(stream: TcpStream, identity: &PeerIdentity) -> Result<(TlsStream<TcpStream>, NodeId), NotOpened> {
    stream.set_nodelay(true)?;
    let mut stream = identity.acceptor().accept(stream).await?;
    let hello: Hello = read_hello(&mut stream).await?;
    let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let is_who_it_says = certificates
        .first()
        .is_some_and(|certificate| identity.is_member(certificate, hello.from));
    if let Some(reason) = refusal(
        &hello,
        (&identity.cluster_id, identity.region.as_ref()),
        identity.node,
        is_who_it_says,
    ) {
        let refused = Welcome::Refused(reason.clone());
        // It is told if it still listens.
        let _ = write_hello(&mut stream, &refused).await;
        return Err(NotOpened::Refused(reason));
    }
    let newest = hello.format_newest.unwrap_or(FormatVersion::FIRST);
    let active = identity.format.active();
    if let Err(error) = check_knows(hello.from, newest, active) {
        let _ = write_hello(&mut stream, &Welcome::Outdated(active)).await;
        return Err(NotOpened::Refused(error.to_string()));
    }
    let accepted = Welcome::Accepted {
        format_newest: Some(identity.format.newest()),
    };
    write_hello(&mut stream, &accepted).await?;
    Ok((stream, hello.from))
}

/// Why a hello is refused, if it is.
fn refusal(
    hello: &Hello,
    (cluster_id, region): (&str, Option<&Region>),
    own: NodeId,
    is_who_it_says: bool,
) -> Option<String> {
    if hello.version != VERSION {
        return Some(format!(
            "version {} of the members' protocol, this is version {VERSION}",
            hello.version
        ));
    }
    if hello.cluster_id != cluster_id {
        return Some(format!(
            "a member of cluster {}, this is cluster {}",
            hello.cluster_id, cluster_id
        ));
    }
    if !is_who_it_says {
        return Some(format!("the certificate is not that of member {}", hello.from));
    }
    if hello.from == own {
        return Some(format!("member {} is this node: two nodes have one number", hello.from));
    }
    // A cluster keeps its data in one region; what is pinned there must not reach another. A build that knows of no regions
    // is in a cluster without rules.
    let knows_regions = hello.format_newest >= Some(Form::Placement.since());
    if knows_regions && hello.region.as_ref() != region {
        let name = |region: Option<&Region>| region.map_or("no region".to_owned(), |region| format!("region {region}"));
        return Some(format!(
            "member {} is in {}, this cluster is in {}",
            hello.from,
            name(hello.region.as_ref()),
            name(region)
        ));
    }
    if hello.to != own {
        return Some(format!("member {} was looked for, this is member {}", hello.to, own));
    }
    None
}

async fn answer_all(stream: TlsStream<TcpStream>, from: NodeId, member: Member) -> Result<(), WireError> {
    let (mut reader, writer) = tokio::io::split(stream);
    let writer = Arc::new(Mutex::new(writer));
    let room = Arc::new(Semaphore::new(ANSWERING_MAX));
    let mut answering = JoinSet::new();
    loop {
        let (number, request) = read_frame(&mut reader).await?;
        while answering.try_join_next().is_some() {}
        let permit = Arc::clone(&room).acquire_owned().await.expect("never closed");
        let (member, writer) = (member.clone(), Arc::clone(&writer));
        answering.spawn(async move {
            let _permit = permit;
            let answer = member.answer(from, request).await;
            write_answer(&writer, number, &answer).await;
        });
    }
}

async fn write_answer(writer: &Mutex<WriteHalf<TlsStream<TcpStream>>>, number: u64, answer: &[u8]) {
    let mut writer = writer.lock().await;
    if let Err(error) = write_frame(&mut *writer, number, answer).await {
        // The reading side notices as well.
        tracing::debug!(%error, "an answer to a member was not sent");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_other_members_of_the_cluster_that_look_for_this_one_are_welcome() {
        let hello = Hello {
            version: VERSION,
            cluster_id: "clu_1".to_owned(),
            from: NodeId::new(2),
            to: NodeId::new(1),
            format_newest: Some(FormatVersion::NEWEST),
            region: Some("eu".parse().expect("a region")),
        };
        let region = hello.region.clone();
        let own = (("clu_1", region.as_ref()), NodeId::new(1));
        let check = |hello: &Hello, named: bool| refusal(hello, own.0, own.1, named);
        assert_eq!(check(&hello, true), None);
        let of_the_build_before = Hello {
            format_newest: None,
            region: None,
            ..hello.clone()
        };
        assert_eq!(check(&of_the_build_before, true), None);
        for (wrong, named, expected) in [
            (
                Hello {
                    version: 9,
                    ..hello.clone()
                },
                true,
                "version 9",
            ),
            (
                Hello {
                    cluster_id: "clu_2".to_owned(),
                    ..hello.clone()
                },
                true,
                "cluster clu_2",
            ),
            (hello.clone(), false, "certificate"),
            (
                Hello {
                    from: NodeId::new(1),
                    ..hello.clone()
                },
                true,
                "two nodes have one number",
            ),
            (
                Hello {
                    region: Some("us".parse().expect("a region")),
                    ..hello.clone()
                },
                true,
                "member 2 is in region us, this cluster is in region eu",
            ),
            (
                Hello {
                    region: None,
                    ..hello.clone()
                },
                true,
                "member 2 is in no region, this cluster is in region eu",
            ),
            (
                Hello {
                    to: NodeId::new(3),
                    ..hello.clone()
                },
                true,
                "member 3 was looked for",
            ),
        ] {
            let refused = check(&wrong, named).expect("refused");
            assert!(refused.contains(expected), "{refused}");
        }
    }
}
