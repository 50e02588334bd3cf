//! The state before the first block.

use std::collections::BTreeMap;

use assay_chain_spec::{ChainSpec, SpecError};
use assay_primitives::{AccountId, Hash32, ModelId, block::ValidatorSetError};

use crate::{
    Changes, MemoryState, StoreError,
    execute::{add_stake, credit, write_model},
    keys,
    model::{Examined, ModelFault},
    overlay::Overlay,
    records::{Agenda, Attendance, Chain, Operator, Role, SubnetRecord, Supply, ValidatorRecord},
    settle::write_permits,
    tx::Endpoint,
};

/// Why a chain spec is no genesis.
#[derive(Debug, thiserror::Error)]
pub enum GenesisError {
    /// A field of the spec is wrong.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// A model is none that a chain may keep.
    #[error("chain spec, model {name:?}: {source}")]
    Model {
        /// The model's name in the spec.
        name: String,
        /// What is wrong with it.
        source: ModelFault,
    },
    /// A model's bytes are another model's.
    #[error("chain spec, model {name:?}: its bytes have the id {found}, the spec says {expected}")]
    ModelId {
        /// The model's name in the spec.
        name: String,
        /// The id in the spec.
        expected: ModelId,
        /// The id of the bytes.
        found: ModelId,
    },
    /// One model under two names.
    #[error("chain spec, model {name:?}: the model {id} stands in the spec already under another name")]
    SameModel {
        /// The second name.
        name: String,
        /// The model.
        id: ModelId,
    },
    /// The validators are no set.
    #[error("chain spec, validators: {0}")]
    Validators(#[from] ValidatorSetError),
    /// Sums of the spec do not fit.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Writes the state of height 0 from a spec: version 0 of the tree.
///
/// # Errors
/// [`GenesisError`], naming the field.
pub fn genesis(spec: &ChainSpec) -> Result<Changes, GenesisError> {
    spec.check()?;
    let nothing = MemoryState::default();
    let mut state = Overlay::new(&nothing);
    let set = spec.validator_set()?;
    let total = u64::try_from(spec.supply()).map_err(|_| StoreError::Books("the genesis supply exceeds 2^64"))?;
    state.write(keys::supply(), &Supply { genesis: total, minted: 0, burned: 0 });
    state.write(keys::params(), &spec.params);
    state.write(keys::agenda(), &Agenda::default());
    state.write(keys::set_current(), &set);
    state.write(keys::set_next(), &set);
    state.write(keys::set_after(0), &set);
    state.write(keys::epoch_start(0), &1u64);
    let chain = Chain {
        height: 0,
        epoch: 0,
        epoch_start: 1,
        epoch_end: spec.params.tempo,
        next_proposal: 1,
        next_slash: 1,
        next_unbonding: 1,
        next_redelegation: 1,
        total_stake: 0,
        time_ms: spec.genesis_time_ms,
        randomness: Hash32(spec.genesis_hash().0),
    };
    state.write(keys::chain(), &chain);
    for account in &spec.accounts {
        credit(&mut state, &account.account, account.balance)?;
    }
    for validator in &spec.validators {
        let (operator, owner) = (validator.operator, validator.owner);
        state.write(keys::operator(&operator), &Operator { owner, role: Role::Validator });
        let record = ValidatorRecord {
            operator,
            owner,
            stake: assay_primitives::Amount::ZERO,
            take: validator.take,
            endpoint: Endpoint::default(),
            registered: 0,
            tombstoned: false,
            jailed: None,
            attendance: Attendance::default(),
        };
        add_stake(&mut state, 0, record, &owner, validator.stake)?;
    }
    write_permits(&mut state, 0, &spec.params)?;
    let mut seen = std::collections::BTreeSet::new();
    for subnet in &spec.subnets {
        let mut market =
            SubnetRecord { id: subnet.id, name: subnet.name.clone(), params: BTreeMap::new(), models: Vec::new() };
        state.write(keys::subnet(subnet.id), &market);
        for model in &subnet.models {
            let name = || model.name.clone();
            let (bytes, key) = (&*model.bytes.0, model.groth16.as_ref().map(|key| &*key.0));
            let examined = Examined::new(bytes, key, spec.params.max_tx_bytes)
                .map_err(|source| GenesisError::Model { name: name(), source })?;
            let found = examined.id;
            if found != model.id {
                return Err(GenesisError::ModelId { name: name(), expected: model.id, found });
            }
            if !seen.insert(found) {
                return Err(GenesisError::SameModel { name: name(), id: found });
            }
            write_model(&mut state, &mut market, &examined, &model.name, (bytes, key), None::<AccountId>, 0);
        }
    }
    Ok(state.into_effects()?.0)
}
