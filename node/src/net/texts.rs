//! Text as it comes: what is said on `/assay/<genesis>/text/1`.
//!
//! ```text
//! asker ── TextAsk ──> miner
//!       <── Tokens, Tokens, … , Done (the signed response) or Refused
//! ```
//!
//! Each frame is `u32` length, big endian, then borsh. Whoever has heard enough closes the stream, and the miner stops.
//! It rides on the request-response protocol: the "response" of an ask is its frames, which the codec writes as the
//! miner makes them, and hands on as they are read.

use std::{io, time::Duration};

use assay_primitives::{
    Amount, Signed,
    task::{Request, Response},
};
use async_trait::async_trait;
use borsh::{BorshDeserialize, BorshSerialize};
use futures::{AsyncRead, AsyncWrite};
use libp2p::{StreamProtocol, request_response};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::{
    AskError, RefusalCode,
    wire::{self, cut},
};

/// Largest encoded [`TextAsk`], in bytes.
pub const MAX_TEXT_ASK_BYTES: usize = 1024 * 1024;
/// Largest encoded [`Frame`], in bytes.
pub const MAX_FRAME_BYTES: usize = 1024 * 1024;
/// How long a peer may take to let one frame through.
const WRITE_LIMIT: Duration = Duration::from_secs(30);
/// Frames that wait for whoever takes them.
pub(super) const FRAMES_WAITING: usize = 64;

/// A request for text on its way to a miner.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct TextAsk {
    /// What is asked, signed by the requester.
    pub request: Signed<Request>,
    /// The answer's first tokens, which another miner gave: this one looks at them and goes on.
    pub resume: Vec<u32>,
    /// Log-probabilities wanted with each token: of it, and of so many of the likeliest.
    pub logprobs: Option<u8>,
    /// Milliseconds for which tokens after the first may wait for more, to come in one frame: each frame costs both sides more than
    /// its tokens do.
    pub together_ms: u16,
}

/// A token's log-probability, beside the likeliest ones'.
#[derive(Clone, Debug, PartialEq, BorshSerialize, BorshDeserialize)]
pub struct Logprob {
    /// Of the token.
    pub logprob: f32,
    /// The likeliest, by descending log-probability.
    pub top: Vec<(u32, f32)>,
}

/// What a miner says of a text.
#[derive(Clone, Debug, PartialEq, BorshSerialize, BorshDeserialize)]
pub enum Frame {
    /// The next tokens; those to resume from are not said again.
    Tokens(Vec<(u32, Option<Logprob>)>),
    /// The whole answer, signed.
    Done {
        /// What it answers.
        response: Box<Signed<Response>>,
        /// Tokens of the prompt that the miner had computed before.
        cached: u32,
        /// Microseconds that its engine took, from the request's arrival there to the last token.
        engine_us: u64,
    },
    /// It will not be answered before its requester pays.
    Unpaid {
        /// All that this miner ever billed the requester.
        billed: Amount,
        /// What is due and what may be, for people.
        reason: String,
    },
    /// It will not be answered, or not to its end.
    Refused {
        /// The kind of reason.
        code: RefusalCode,
        /// The reason, for people.
        reason: String,
    },
}

impl Frame {
    /// A refusal; the reason is cut to 400 bytes.
    pub fn refused(code: RefusalCode, reason: impl ToString) -> Self {
        Frame::Refused { code, reason: cut(reason.to_string()) }
    }

    fn is_last(&self) -> bool {
        !matches!(self, Frame::Tokens(_))
    }
}

/// Where an asker hears a text.
pub(super) type Heard = mpsc::Sender<Result<Frame, AskError>>;

/// An ask with where its frames go; as read from a stream, they go nowhere.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) ask: TextAsk,
    pub(super) heard: Option<Heard>,
}

/// A miner's frames as it makes them; as read from a stream they have been handed on already.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) frames: Option<mpsc::Receiver<Frame>>,
    /// Given back when the last frame is written.
    pub(super) _place: Option<OwnedSemaphorePermit>,
}

/// The codec; one for each stream, since it carries where the stream's frames go.
#[derive(Clone, Debug, Default)]
pub(super) struct Codec {
    heard: Option<Heard>,
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "nobody waits for the text any more")
}

#[async_trait]
impl request_response::Codec for Codec {
    type Protocol = StreamProtocol;
    type Request = Asked;
    type Response = Said;

    async fn read_request<T: AsyncRead + Unpin + Send>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Asked> {
        Ok(Asked { ask: wire::read("ask", MAX_TEXT_ASK_BYTES, io).await?, heard: None })
    }

    async fn write_request<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        Asked { ask, heard }: Asked,
    ) -> io::Result<()> {
        self.heard = heard;
        wire::write("ask", MAX_TEXT_ASK_BYTES, io, &ask).await
    }

    async fn read_response<T: AsyncRead + Unpin + Send>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Said> {
        let heard = self.heard.take().ok_or_else(gone)?;
        loop {
            let frame: Frame = tokio::select! {
                frame = wire::read("frame", MAX_FRAME_BYTES, io) => frame?,
                () = heard.closed() => return Err(gone()),
            };
            let last = frame.is_last();
            heard.send(Ok(frame)).await.map_err(|_| gone())?;
            if last {
                return Ok(Said { frames: None, _place: None });
            }
        }
    }

    async fn write_response<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        said: Said,
    ) -> io::Result<()> {
        let Said { frames: Some(mut frames), _place } = said else { return Ok(()) };
        while let Some(frame) = frames.recv().await {
            let written = wire::write("frame", MAX_FRAME_BYTES, io, &frame);
            tokio::time::timeout(WRITE_LIMIT, written).await??;
        }
        Ok(())
    }
}
