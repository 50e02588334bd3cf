//! Another miner's work under one's own name.
//!
//! It steals for validators only: nobody else's opinion pays, and two copiers would otherwise ask each other for ever.

use std::{sync::Arc, time::Duration};

use assay_ledger::{StoreError, query, records::MinerRecord};
use assay_primitives::{
    AccountId, Keypair, Signed,
    task::{Output, Request, SubnetId},
};
use async_trait::async_trait;
use rand::{RngCore as _, rngs::OsRng};

use super::sign;
use crate::{
    net::{Ask, RefusalCode, Reply},
    roles::{Answerer, Asker, ChainView},
};

/// How long it waits for the miner it copies.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks other miners for the same input and relays what they answer.
pub struct Copy {
    chain: Arc<dyn ChainView>,
    asker: Arc<dyn Asker>,
    key: Keypair,
    requester: Keypair,
}

impl Copy {
    /// A copying miner with this operator key, asking in the name of `requester`, whose account must hold the miners'
    /// floor.
    pub fn new(chain: Arc<dyn ChainView>, asker: Arc<dyn Asker>, key: Keypair, requester: Keypair) -> Self {
        Self { chain, asker, key, requester }
    }

    fn pays(&self, requester: &AccountId) -> Result<bool, StoreError> {
        Ok(query::validator(&*self.chain.snapshot()?, requester)?.is_some())
    }

    fn victims(&self, subnet: SubnetId) -> Result<Vec<MinerRecord>, StoreError> {
        let mut miners = query::miners(&*self.chain.snapshot()?, subnet)?;
        miners.retain(|m| m.retired.is_none() && m.operator != self.key.account());
        miners.sort_by_key(|m| std::cmp::Reverse(m.score));
        Ok(miners)
    }

    async fn steal(&self, wanted: &Request, victim: &MinerRecord) -> Option<(Output, Vec<u8>)> {
        let mut nonce = [0; 16];
        OsRng.fill_bytes(&mut nonce);
        let requester = self.requester.account();
        let body = Request { requester, miner: victim.operator, nonce, ..wanted.clone() };
        let request = Signed::new(body, &self.chain.genesis(), &self.requester);
        let ask = Ask { request, want_proof: true, want_compact: false };
        match self.asker.ask(&victim.endpoint, ask, PATIENCE).await {
            Ok(Reply::Answer { response, proof, .. }) => Some((response.body.output, proof?)),
            _ => None,
        }
    }
}

#[async_trait]
impl Answerer for Copy {
    async fn answer(&self, ask: Ask) -> Reply {
        let wanted = &ask.request.body;
        if wanted.miner != self.key.account() {
            return Reply::refused(RefusalCode::NotForMe, "not for me");
        }
        let victims =
            match self.pays(&wanted.requester).and_then(|pays| Ok(pays.then_some(self.victims(wanted.subnet)?))) {
                Ok(Some(victims)) => victims,
                Ok(None) => return Reply::refused(RefusalCode::NotAllowed, "validators only"),
                Err(e) => return Reply::refused(RefusalCode::Unavailable, e),
            };
        for victim in victims {
            if let Some((output, proof)) = self.steal(wanted, &victim).await {
                let response = sign(&self.chain.genesis(), &self.key, &ask.request, output, Some(&proof));
                return Reply::Answer { response, proof: Some(proof), compact: None };
            }
        }
        Reply::refused(RefusalCode::Unavailable, "nobody to copy from")
    }
}
