//! `COPY … FROM STDIN` and `COPY … TO STDOUT`.
//!
//! The body of a COPY is gathered, up to a bound, and handed to the engine as one statement: so an error anywhere in
//! it, or a client that breaks off, leaves nothing applied.

use bytes::{BufMut, BytesMut};
use craton_engine::{PlanKind, Prepared, Response};
use pgwire::messages::copy::{CopyDone, CopyInResponse, CopyOutResponse};
use tokio::io::{AsyncRead, AsyncWrite};

use super::failure::Failure;
use super::frontend::{self, Message};
use super::session::{SessionLoop, Stop, now, rights_changed};

impl<S: AsyncRead + AsyncWrite + Unpin> SessionLoop<S> {
    /// Receives a COPY's body and applies it. Returns the completion's tag.
    pub(super) async fn copy_in(&mut self, prepared: &Prepared, columns_count: usize) -> Result<String, Stop> {
        let columns = i16::try_from(columns_count).expect("a table has at most 1,600 columns");
        self.transport
            .put(&CopyInResponse::new(0, columns, vec![0; columns_count]))?;
        self.transport.flush().await?;
        let body = self.receive_copy().await?;
        self.shared.metrics.copy_bytes_total.inc_by(body.len() as u64);
        let started_at = now();
        let result = self.session.copy_in(prepared, &body).await;
        self.count(prepared, started_at, result.as_ref().err());
        match result? {
            Response::Command { tag, notice } => {
                self.put_notice(notice)?;
                Ok(tag)
            }
            _ => unreachable!("COPY FROM returns no rows"),
        }
    }

    async fn receive_copy(&mut self) -> Result<BytesMut, Stop> {
        let bytes_max = self.shared.limits.copy_bytes_max;
        let mut body = BytesMut::new();
        loop {
            let frame = tokio::select! {
                biased;
                () = self.registration.cancellation.requested() => return Err(Failure::cancelled().into()),
                () = self.registration.end.cancelled() => return Err(rights_changed().into()),
                frame = self.transport.receive() => frame?,
            };
            match frontend::parse(frame.tag, frame.body).map_err(Failure::from)? {
                Message::CopyData(data) => {
                    if body.len() + data.len() > bytes_max {
                        return Err(Failure::error("54000", "COPY data is too large")
                            .with_detail(format!("One COPY takes at most {bytes_max} bytes."))
                            .with_hint("Split the data into several COPY commands.")
                            .into());
                    }
                    body.put(data);
                }
                Message::CopyDone => return Ok(body),
                Message::CopyFail(reason) => {
                    return Err(Failure::error("57014", format!("COPY from stdin failed: {reason}")).into());
                }
                // Part of the extended protocol's habits, and without meaning here.
                Message::Flush | Message::Sync => {}
                Message::Terminate => return Err(Stop::Goodbye),
                _ => {
                    return Err(Failure::fatal(
                        "08P01",
                        format!("unexpected message type 0x{:02X} during COPY from stdin", frame.tag),
                    )
                    .into());
                }
            }
        }
    }

    /// Sends a COPY's rows, each in a message of its own.
    pub(super) async fn copy_out(
        &mut self,
        prepared: &Prepared,
        columns_count: usize,
        data: &[u8],
    ) -> Result<(), Stop> {
        let PlanKind::CopyOut(copy) = prepared.kind() else {
            unreachable!("only COPY TO gives data for the client");
        };
        let columns = i16::try_from(columns_count).expect("a table has at most 1,600 columns");
        self.transport
            .put(&CopyOutResponse::new(0, columns, vec![0; columns_count]))?;
        for row in copy.rows(data) {
            if self.registration.cancellation.is_requested() {
                return Err(Failure::cancelled().into());
            }
            self.transport.put_with::<Stop>(b'd', |out| {
                out.put_slice(row);
                Ok(())
            })?;
            self.transport.flush_when_large().await?;
        }
        self.transport.put(&CopyDone::new())?;
        Ok(())
    }
}
