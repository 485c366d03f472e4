//! `hashgate serve`

use super::{Exit, start_log};
use crate::config;
use crate::list::Why;
use crate::serve::{self, Running, StartError};
use std::io::{Write as _, stdout};
use std::path::Path;
use tokio::signal::unix::{SignalKind, signal};

pub(super) fn run(path: &Path) -> anyhow::Result<Exit> {
    let settings = match config::load(path) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("{error}");
            return Ok(Exit::Configuration);
        }
    };
    start_log(settings.log);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let running = match serve::start(settings).await {
            Ok(running) => running,
            Err(error @ (StartError::Bind(..) | StartError::Metrics(_))) => return Err(error.into()),
            // A service that is away may be there in a minute; a configuration does not mend itself.
            Err(StartError::Lists(errors)) if errors.iter().all(|error| matches!(error.why, Why::Web(_))) => {
                return Err(StartError::Lists(errors).into());
            }
            Err(error) => {
                eprintln!("{error}");
                return Ok(Exit::Configuration);
            }
        };
        announce(&running)?;
        until_told_to_stop(&running).await?;
        running.stop().await;
        Ok(Exit::Done)
    })
}

/// The one line on stdout that says: clients may come.
fn announce(running: &Running) -> std::io::Result<()> {
    let scheme = if running.is_tls() { "https" } else { "http" };
    let admin = running.admin_address().map(|address| format!(", admin on http://{address}")).unwrap_or_default();
    let mut stdout = stdout();
    writeln!(stdout, "hashgate: listening on {scheme}://{}{admin}", running.address())?;
    stdout.flush()
}

async fn until_told_to_stop(running: &Running) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = hangup.recv() => running.reload().await,
        }
    }
}
