//! The console is in the binary.

use crate::support::{Caller, World};

#[tokio::test]
async fn pages_get_the_index_and_files_are_cached() {
    let world = World::start().await;
    let index = world.get(&Caller::Anonymous, "/").await;
    assert_eq!((index.status, index.header("content-type")), (200, Some("text/html")));
    assert_eq!(index.header("cache-control"), Some("no-cache"));
    let page = world.get(&Caller::Anonymous, "/orgs/acme/clusters").await;
    assert_eq!((page.status, &page.body), (200, &index.body), "the browser routes");

    let etag = index.header("etag").expect("an ETag").to_owned();
    let again = world
        .send_raw(&Caller::Anonymous, "GET", "/", vec![("if-none-match", etag)], vec![])
        .await;
    assert_eq!((again.status, again.body.len()), (304, 0));
    assert_eq!(world.get(&Caller::Anonymous, "/missing.js").await.status, 404);
    assert_eq!(
        world.post(&Caller::Anonymous, "/", serde_json::json!({})).await.status,
        404
    );
}
