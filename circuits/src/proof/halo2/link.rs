//! That the weights of a proof are those of the model: a proof of representation beside the `halo2` proof.
//!
//! The `w` columns of the circuit hold weights, and zeros. The model's commitment is, for each of them, the Pedersen
//! commitment `C = sum(w_r G_r) + rho W` over the rows that the circuit uses. A proof opens with commitments `A` to the
//! same columns, with random values in the last rows, which the library keeps for that, and its own blind. So
//! `A - C` is a combination of those rows' generators and `W`, and nothing else, exactly if the weights are the same. The
//! prover shows that he knows such a combination (Schnorr, made non-interactive over everything that the proof says):
//!
//! ```text
//! D = sum(g^j (A_j - C_j))                  g = H(commitments, public values, halo2 proof)
//! R = sum(t_i G_i) + t W                    t random
//! z = t + c delta                           c = H(g, R)
//! check: sum(z_i G_i) + z W = R + c D
//! ```
//!
//! If two columns differed in any other row, the prover would know a relation between generators that nobody knows. Neither
//! `A`, `C` nor the link says anything about the weights: the first two are hidden by their blinds, the third is
//! zero-knowledge.

use halo2_proofs::{
    pasta::{
        EqAffine, Fp,
        group::{
            GroupEncoding,
            ff::{Field, PrimeField},
        },
    },
    plonk::Error,
    poly::{
        EvaluationDomain,
        commitment::{Blind, MSM, Params},
    },
};
use rand::{SeedableRng, rngs::StdRng};

use super::{
    UNUSABLE_ROWS,
    field::uniform,
    layout::{Layout, NONE},
};

/// Length of a link.
pub(super) const LINK_BYTES: usize = 32 * (UNUSABLE_ROWS + 2);
const DOMAIN: &str = "assay/halo2-weights-link/1";

/// The generators of the last rows, which no circuit uses.
pub(super) fn generators(params: &Params<EqAffine>) -> Vec<EqAffine> {
    let domain = EvaluationDomain::<Fp>::new(1, params.k());
    let rows = 1usize << params.k();
    let unit = |row: usize| {
        let mut unit = domain.empty_lagrange();
        unit[row] = Fp::ONE;
        params.commit_lagrange(&unit, Blind(Fp::ZERO)).into()
    };
    (rows - UNUSABLE_ROWS..rows).map(unit).collect()
}

/// The model's commitment: one point a column of weights. `values` has one a variable.
pub(super) fn commit(params: &Params<EqAffine>, layout: &Layout, values: &[Fp], blinds: &[Fp]) -> Vec<EqAffine> {
    let domain = EvaluationDomain::<Fp>::new(1, params.k());
    let terms = layout.shape.terms;
    let column = |(slot, blind): (usize, &Fp)| {
        let mut cells = domain.empty_lagrange();
        for (row, vars) in layout.w.chunks(terms).enumerate() {
            if vars[slot] != NONE {
                cells[row] = values[vars[slot] as usize];
            }
        }
        params.commit_lagrange(&cells, Blind(*blind)).into()
    };
    blinds.iter().enumerate().map(column).collect()
}

/// What blinds the `w` columns of a proof: for each the values of the last rows, then of the commitment.
///
/// The library draws them first of all: the last rows of each advice column, then a blind for each. If another version of it
/// should not, proving gives links that do not verify and says so before.
pub(super) fn blinding(seed: [u8; 32], columns: usize, terms: usize) -> (Vec<Vec<Fp>>, Vec<Fp>) {
    let mut rng = StdRng::from_seed(seed);
    let mut draw = || Fp::random(&mut rng);
    let mut rows: Vec<Vec<Fp>> = (0..columns).map(|_| (0..UNUSABLE_ROWS).map(|_| draw()).collect()).collect();
    rows.truncate(terms);
    (rows, (0..terms).map(|_| draw()).collect())
}

/// What a link is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject<'a> {
    pub(super) generators: &'a [EqAffine],
    /// The model's.
    pub(super) commitments: &'a [EqAffine],
    pub(super) public: &'a [Fp],
    /// The `halo2` proof, which begins with its own commitments to the same columns.
    pub(super) proof: &'a [u8],
}

fn read_point(bytes: &[u8]) -> Option<EqAffine> {
    let point = Option::<EqAffine>::from(EqAffine::from_bytes(bytes.try_into().ok()?))?;
    (EqAffine::to_bytes(&point) == *bytes).then_some(point)
}

/// Points, one after another; `None` unless all are.
pub(super) fn read_points(bytes: &[u8]) -> Option<Vec<EqAffine>> {
    if !bytes.len().is_multiple_of(32) {
        return None;
    }
    bytes.chunks(32).map(read_point).collect()
}

impl Subject<'_> {
    /// The hash before the mixing challenge.
    fn hasher(&self) -> blake3::Hasher {
        let mut hasher = blake3::Hasher::new_derive_key(DOMAIN);
        for point in self.generators.iter().chain(self.commitments) {
            hasher.update(&point.to_bytes());
        }
        hasher.update(&(self.public.len() as u64).to_le_bytes());
        for value in self.public {
            hasher.update(&value.to_repr());
        }
        hasher.update(&(self.proof.len() as u64).to_le_bytes());
        hasher.update(self.proof);
        hasher
    }

    /// Shows the link, from the blindings of both sides.
    ///
    /// `Err` if the library has drawn its blinding in another way than [`blinding`] says, or the weights are others.
    pub(super) fn prove(
        &self,
        params: &Params<EqAffine>,
        rows: &[Vec<Fp>],
        blinds: &[Fp],
        model_blinds: &[Fp],
        nonce: [u8; 32],
    ) -> Result<Vec<u8>, &'static str> {
        let mut hasher = self.hasher();
        let mix = uniform(&hasher);
        let mut delta = vec![Fp::ZERO; UNUSABLE_ROWS + 1];
        let mut power = Fp::ONE;
        for ((row, blind), model_blind) in rows.iter().zip(blinds).zip(model_blinds) {
            for (sum, value) in delta.iter_mut().zip(row.iter().copied().chain([*blind - model_blind])) {
                *sum += power * value;
            }
            power *= mix;
        }
        let mut rng = StdRng::from_seed(nonce);
        let masks: Vec<Fp> = (0..delta.len()).map(|_| Fp::random(&mut rng)).collect();
        let mask_point = combine(params, &masks);
        hasher.update(&mask_point.to_bytes());
        let challenge = uniform(&hasher);
        let mut link = mask_point.to_bytes().to_vec();
        for (mask, delta) in masks.iter().zip(&delta) {
            link.extend((*mask + challenge * delta).to_repr());
        }
        let mut sum = MSM::new(params);
        self.add_to(&mut sum, &link, Fp::ONE).map_err(|_| "a commitment of the proof does not decode")?;
        if sum.eval() { Ok(link) } else { Err("the weights of the trace are not those of the key") }
    }

    /// Adds the check, scaled, to a sum that must come to zero.
    pub(super) fn add_to(&self, sum: &mut MSM<'_, EqAffine>, link: &[u8], scale: Fp) -> Result<(), Error> {
        let commitments = self.proof.get(..32 * self.commitments.len()).and_then(read_points).ok_or(Error::Opening)?;
        if link.len() != LINK_BYTES {
            return Err(Error::Opening);
        }
        let (mask, answers) = link.split_at(32);
        let mask_point = read_point(mask).ok_or(Error::Opening)?;
        let mut hasher = self.hasher();
        let mix = uniform(&hasher);
        hasher.update(mask);
        let challenge = uniform(&hasher);

        let mut responses = Vec::with_capacity(UNUSABLE_ROWS + 1);
        for answer in answers.chunks(32) {
            let repr: [u8; 32] = answer.try_into().map_err(|_| Error::Opening)?;
            responses.push(Option::<Fp>::from(Fp::from_repr(repr)).ok_or(Error::Opening)?);
        }
        for (response, generator) in responses.iter().zip(self.generators) {
            sum.append_term(scale * response, *generator);
        }
        sum.add_to_w_scalar(scale * responses[UNUSABLE_ROWS]);
        sum.append_term(-scale, mask_point);
        let mut power = scale * challenge;
        for (found, committed) in commitments.iter().zip(self.commitments) {
            sum.append_term(-power, *found);
            sum.append_term(power, *committed);
            power *= mix;
        }
        Ok(())
    }
}

/// `sum(x_i G_i) + x W` over the last rows.
fn combine(params: &Params<EqAffine>, scalars: &[Fp]) -> EqAffine {
    let domain = EvaluationDomain::<Fp>::new(1, params.k());
    let mut cells = domain.empty_lagrange();
    let first = (1usize << params.k()) - UNUSABLE_ROWS;
    for (row, scalar) in scalars[..UNUSABLE_ROWS].iter().enumerate() {
        cells[first + row] = *scalar;
    }
    params.commit_lagrange(&cells, Blind(scalars[UNUSABLE_ROWS])).into()
}
