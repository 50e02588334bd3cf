//! `ExtendVote` and `VerifyVoteExtensions`: this chain's votes carry no extensions, and the engine asks for
//! none. It waits for an answer all the same.

use malachitebft_app_channel::Reply;
use malachitebft_app_channel::app::consensus::{VoteExtensionError, VoteExtensionVerdicts};

use crate::bft::context::{Address, Ctx};

pub(crate) fn extend(reply: Reply<Option<Vec<u8>>>) {
    let _ = reply.send(None);
}

pub(crate) fn verify(extensions: Vec<(Address, Vec<u8>)>, reply: Reply<VoteExtensionVerdicts<Ctx>>) {
    let refused = |(address, _)| (address, Err(VoteExtensionError::InvalidVoteExtension));
    let _ = reply.send(extensions.into_iter().map(refused).collect());
}
