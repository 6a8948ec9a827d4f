//! The platform about itself.

use std::os::unix::fs::PermissionsExt;

use crate::support::{Caller, Person, World};

#[tokio::test]
async fn it_is_alive_and_ready_and_counts() {
    let world = World::start().await;
    assert_eq!(
        world.get(&Caller::Anonymous, "/health").await.expect(200)["status"],
        "ok"
    );
    assert_eq!(
        world.get(&Caller::Anonymous, "/ready").await.expect(200)["status"],
        "ok"
    );
    Person::sign_up(&world, "ada").await;
    let metrics = world.metrics().await.text();
    for line in [
        "craton_platform_http_requests_total{method=\"GET\",route=\"/health\",status=\"200\"} 1",
        "craton_platform_http_requests_total{method=\"POST\",route=\"/auth/register/finish\",status=\"201\"} 1",
        "craton_platform_view_lag_positions{view=\"identity\"} 0",
    ] {
        assert!(
            metrics.lines().any(|metric| metric == line),
            "{line} is not in\n{metrics}"
        );
    }
    assert_eq!(
        world.get(&Caller::Anonymous, "/metrics").await.header("content-type"),
        Some("text/html"),
        "the console"
    );
}

#[tokio::test]
async fn secrets_are_files_of_their_owner() {
    let world = World::start().await;
    for name in ["operator.key", "master.key"] {
        let metadata = std::fs::metadata(world.data_dir().join(name)).expect(name);
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{name}");
    }
}

#[tokio::test]
async fn the_document_is_served() {
    let world = World::start().await;
    let served = world.get(&Caller::Anonymous, "/api/v1/openapi.json").await;
    assert_eq!(served.text(), craton_platform_app::openapi_json());
}
