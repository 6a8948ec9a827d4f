//! The platform behind TLS of its own.

use std::sync::Arc;

use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::support::{Person, World};

#[tokio::test]
async fn cookies_are_bound_to_the_host_and_plain_connections_are_refused() {
    let made = rcgen::generate_simple_self_signed(["cloud.example".to_owned()]).expect("a certificate");
    let world = World::start_tls(
        "https://cloud.example",
        &made.cert.pem(),
        &made.signing_key.serialize_pem(),
    )
    .await;

    // A browser's ceremony, by hand: the client of the other tests speaks no TLS.
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("a root");
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connect = async |method: &str, path: &str, body: String| {
        let stream = TcpStream::connect(world.address()).await.expect("a connection");
        let name = ServerName::try_from("cloud.example").expect("a name");
        let stream = TlsConnector::from(Arc::new(config.clone()))
            .connect(name, stream)
            .await
            .expect("TLS");
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .expect("HTTP");
        tokio::spawn(connection);
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("host", "cloud.example")
            .header("content-type", "application/json");
        let request = request.body(Full::<bytes::Bytes>::from(body)).expect("a request");
        let response = sender.send_request(request).await.expect("an answer");
        let (parts, body) = response.into_parts();
        (parts, body.collect().await.expect("a body").to_bytes())
    };

    let start = r#"{"display_name":"ada","email":"ada@example.org"}"#.to_owned();
    let (parts, body) = connect("POST", "/auth/register/start", start).await;
    assert_eq!(parts.status, 200);
    let hsts = parts.headers.get("strict-transport-security").expect("HSTS over TLS");
    assert!(hsts.to_str().expect("ASCII").starts_with("max-age=31536000"));
    let started = serde_json::from_slice(&body).expect("JSON");
    let mut authenticator = webauthn_authenticator_rs::softpasskey::SoftPasskey::new(true);
    let finish = Person::attest(&world, &mut authenticator, &started).to_string();
    let (parts, body) = connect("POST", "/auth/register/finish", finish).await;
    assert_eq!(parts.status, 201, "{}", String::from_utf8_lossy(&body));
    let cookie = parts
        .headers
        .get("set-cookie")
        .expect("a cookie")
        .to_str()
        .expect("ASCII");
    assert!(
        cookie.starts_with("__Host-craton_session=") && cookie.contains("; Secure"),
        "{cookie}"
    );
    assert!(!cookie.contains("Domain"), "{cookie}");

    assert!(
        world.try_get("/health").await.is_err(),
        "no plain HTTP on a TLS listener"
    );
}
