//! `craton-platform`: the control plane.

use anyhow::{Context, bail};
use clap::Parser;
use craton_platform_app::{Platform, Settings, system_environment};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let settings = Settings::parse();
    let filter = EnvFilter::try_from_env("CRATON_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .json()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    provider
        .install_default()
        .ok()
        .context("another TLS provider was installed first")?;

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let platform = Platform::start(settings, system_environment()).await?;
    let failed = loop {
        tokio::select! {
            _ = terminate.recv() => break None,
            _ = interrupt.recv() => break None,
            _ = hang_up.recv() => platform.reload(),
            reason = platform.failed() => break Some(reason),
        }
    };
    platform.stop().await?;
    match failed {
        None => Ok(()),
        Some(reason) => bail!("the platform cannot go on: {reason}"),
    }
}
