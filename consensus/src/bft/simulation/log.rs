//! The engine's write-ahead log on a [`Journal`].

use std::io;

use async_trait::async_trait;
use malachitebft_core_consensus::Input;
use malachitebft_core_types::Height as _;
use malachitebft_engine::wal::{Msg, WalRef, decode_entry, encode_entry};
use ractor::{Actor, ActorProcessingErr, ActorRef, SpawnErr};

use super::Journal;
use crate::bft::{
    codec::BorshCodec,
    context::{Ctx, Height},
};

/// Starts the actor.
pub(super) async fn spawn(journal: impl Journal) -> Result<WalRef<Ctx>, SpawnErr> {
    let (log, _) = Actor::spawn(None, Log, Box::new(journal) as Box<dyn Journal>).await?;
    Ok(log)
}

struct Log;

/// The journal, and the height whose entries the engine has.
struct State {
    journal: Box<dyn Journal>,
    height: Height,
}

impl State {
    /// As the engine's own log: it asks for the entries of a height once, when it starts that height.
    fn begin(&mut self, height: Height) -> eyre::Result<Vec<io::Result<Input<Ctx>>>> {
        if self.height == height {
            return Ok(Vec::new());
        }
        self.height = height;
        if self.journal.height() != height.0 {
            self.journal.reset(height.0)?;
            return Ok(Vec::new());
        }
        Ok(self.journal.entries().iter().map(|entry| decode_entry(&BorshCodec, entry.as_slice())).collect())
    }

    fn append(&mut self, height: Height, entry: Input<Ctx>) -> eyre::Result<()> {
        if height != self.height {
            return Ok(());
        }
        let mut bytes = Vec::new();
        encode_entry(entry, &BorshCodec, &mut bytes)?;
        Ok(self.journal.append(bytes)?)
    }
}

#[async_trait]
impl Actor for Log {
    type Msg = Msg<Ctx>;
    type State = State;
    type Arguments = Box<dyn Journal>;

    async fn pre_start(&self, _: ActorRef<Msg<Ctx>>, journal: Box<dyn Journal>) -> Result<State, ActorProcessingErr> {
        Ok(State { journal, height: Height::ZERO })
    }

    async fn handle(
        &self,
        _: ActorRef<Msg<Ctx>>,
        message: Msg<Ctx>,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        // Whoever asked may be gone: then nobody waits for the answer.
        match message {
            Msg::StartedHeight(height, reply) => {
                let _ = reply.send(state.begin(height));
            }
            Msg::Reset(height, reply) => {
                state.height = height;
                let _ = reply.send(state.journal.reset(height.0).map_err(Into::into));
            }
            Msg::Append(height, entry, reply) => {
                let _ = reply.send(state.append(height, entry));
            }
            Msg::Flush(reply) => {
                let _ = reply.send(state.journal.flush().map_err(Into::into));
            }
            Msg::Dump => {}
        }
        Ok(())
    }
}
