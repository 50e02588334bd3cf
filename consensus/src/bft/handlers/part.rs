//! `ReceivedProposalPart`: a piece of somebody's block. The engine waits for each answer, so it comes at
//! once: the block's verdict when the piece completes it, else nothing. Without it we would prevote nil.

use malachitebft_app_channel::Reply;
use malachitebft_app_channel::app::types::{PeerId, ProposedValue};
use malachitebft_engine::util::streaming::StreamMessage;

use crate::bft::{
    app::App,
    context::Ctx,
    executor::{Executor, Fault},
    parts::{Part, Streams},
};

pub(crate) async fn handle<E: Executor>(
    app: &mut App<E>,
    sender: PeerId,
    message: StreamMessage<Part>,
    reply: Reply<Option<ProposedValue<Ctx>>>,
) -> Result<(), Fault> {
    if app.halted.is_some() {
        // Blocks of a height that this program takes no part in.
        let _ = reply.send(None);
        return Ok(());
    }
    let mut streams = std::mem::replace(&mut app.streams, Streams::new(0));
    let mut opened = None;
    let inserted = streams.insert(sender, message, |init| {
        opened = Some(init.body.height);
        app.open(init)
    });
    app.streams = streams;
    let block = match inserted {
        Ok(block) => block,
        Err(reason) => {
            tracing::debug!(%sender, %reason, "refusing a proposal part");
            let _ = reply.send(None);
            return Ok(());
        }
    };
    if let Some(height) = opened {
        app.see(height);
    }
    let next = app.tip.height + 1;
    let value = match block {
        Some(block) if block.init.body.height == next => {
            app.status.send_modify(|status| status.syncing = false);
            app.assess(block).await?
        }
        Some(block) if block.init.body.height > next => {
            app.keep_for_later(block);
            None
        }
        _ => None,
    };
    let _ = reply.send(value);
    Ok(())
}
