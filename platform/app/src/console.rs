//! The console: files built into the binary.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use craton_platform_http::Problem;
use rust_embed::{EmbeddedFile, RustEmbed};

#[derive(RustEmbed)]
#[folder = "$OUT_DIR/console"]
struct Files;

const INDEX: &str = "index.html";

/// Everything that is no API: a file of the console, or its index, which routes in the browser.
pub(crate) async fn serve(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let path = uri.path().trim_start_matches('/');
    let api = path.starts_with("api/") || path.starts_with("auth/");
    if api || !matches!(method, Method::GET | Method::HEAD) {
        return Problem::not_found().into_response();
    }
    if let Some(file) = Files::get(path).filter(|_| path != INDEX) {
        // Vite puts a hash of the content into the names below assets/, so they never change.
        let lasting = path.starts_with("assets/");
        return answer(
            &file,
            &headers,
            if lasting {
                "public, max-age=31536000, immutable"
            } else {
                "no-cache"
            },
        );
    }
    // A path with an extension names a file, and that one is not here.
    let last = path.rsplit('/').next().unwrap_or_default();
    match Files::get(INDEX) {
        Some(index) if !last.contains('.') || path == INDEX => answer(&index, &headers, "no-cache"),
        _ => Problem::not_found().into_response(),
    }
}

fn answer(file: &EmbeddedFile, headers: &HeaderMap, cache: &'static str) -> Response {
    let hash = file.metadata.sha256_hash();
    let etag: String = std::iter::once("\"".to_owned())
        .chain(hash[..16].iter().map(|byte| format!("{byte:02x}")))
        .chain(std::iter::once("\"".to_owned()))
        .collect();
    let etag = HeaderValue::from_str(&etag).expect("hexadecimal digits");
    let known = headers.get(header::IF_NONE_MATCH) == Some(&etag);
    let content_type = HeaderValue::from_str(file.metadata.mimetype()).expect("a media type is ASCII");
    let common = [
        (header::ETAG, etag),
        (header::CACHE_CONTROL, HeaderValue::from_static(cache)),
        (header::CONTENT_TYPE, content_type),
    ];
    if known {
        (StatusCode::NOT_MODIFIED, common).into_response()
    } else {
        (common, Body::from(file.data.clone().into_owned())).into_response()
    }
}
