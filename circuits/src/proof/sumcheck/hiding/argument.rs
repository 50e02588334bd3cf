//! That rows of a committed code satisfy a linear demand and demands of products, showing nothing else of them.
//!
//! After Ligero (Ames, Hazay, Ishai, Venkitasubramaniam, CCS 2017), with the rows of one code and their masks in two trees:
//! the rows' tree may be older than the argument, the masks' is made for it. The prover sends three polynomials, each hidden
//! by a mask of its own, and opens both trees at random positions, where the verifier computes them from the cells:
//!
//! | polynomial | of | demand |
//! |---|---|---|
//! | `p` | random combination of the rows, of the rows shifted up to the bound on degrees, and of the other masks | it is within the bound: so every row is a code word, and every mask within the bound |
//! | `q` | `sum(E_t(X) W_t(X))`, where `E_t` has the demand's coefficients as values on `H` and `W_t` combines rows | its values on `H` add up to the demand's sum |
//! | `v` | random combination of `X(X) Y(X) - Z(X)` for the triples of rows | it vanishes on `H`; what is sent is the quotient |
//!
//! *Sound*: if `p` passes at more than a share `(1 + K/n) / 2` of the positions, then the rows and masks are code words
//! outside a share `(1 - K/n) / 2` of positions (proximity gaps up to unique decoding: Ben-Sasson, Carmon, Ishai, Kopparty,
//! Saraf 2020; error at most `2 rows n / |F|`), fixed before the challenges; `q` or `v` that is not the true one agrees with
//! it at `K` positions at most. The mask of `q` may have any sum, but one fixed before the demand is drawn: the demand must
//! therefore be drawn after the masks' commitment, with a random coefficient for each of its parts. The mask of `v` may have
//! any values on `H`, likewise fixed: at a point of `H` they and the `m` products are the coefficients of a polynomial in the
//! challenge, which vanishes at a share `m / |F|` of challenges at most where one of them is not zero.
//! *Hiding*: the opened cells of rows are uniform (at most as many as the code has random coefficients for), `p`, `q` and `v`
//! are uniform within their demands, as their masks are; the masks' cells follow from these.

use p3_field::{BasedVectorSpace, PrimeCharacteristicRing, PrimeField64};
use p3_matrix::dense::RowMajorMatrix;
use rand::Rng;
use rayon::prelude::*;

use super::code::{Code, QUERIES};
use super::lazy::LazySum;
use super::tree::{Paths, Tree};
use crate::proof::sumcheck::commitment::{Base, Ext, Transcript};

/// A part of a linear demand: the values on `H` of the combination of rows, weighed by a vector.
pub(super) struct Term {
    /// Coefficients of the cells: one for each cell of a row.
    pub(super) vector: Vec<Ext>,
    /// Rows and their coefficients.
    pub(super) rows: Vec<(usize, Ext)>,
}

/// What is to be shown. Row numbers of `products` are of the first of two rows that hold an element of the extension.
pub(super) struct Demand<'a> {
    pub(super) code: &'a Code,
    pub(super) rows: usize,
    pub(super) terms: &'a [Term],
    /// Triples `x y = z`.
    pub(super) products: &'a [[usize; 3]],
}

/// Committed rows.
pub(super) struct Rows {
    pub(super) words: RowMajorMatrix<Base>,
    pub(super) tree: Tree,
}

/// Committed masks of one argument.
pub(super) struct Masks {
    words: RowMajorMatrix<Base>,
    tree: Tree,
}

/// The argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Argument {
    /// `p`: one coefficient for each degree within the bound.
    pub(super) near: Vec<Ext>,
    /// `q` without its constant term, which follows from the sum.
    pub(super) linear: Vec<Ext>,
    /// `v` divided by `X^l - 1`; nothing where there are no products.
    pub(super) vanishing: Vec<Ext>,
    pub(super) rows: Vec<Vec<Base>>,
    pub(super) row_paths: Paths,
    pub(super) masks: Vec<Vec<Base>>,
    pub(super) mask_paths: Paths,
}

impl Rows {
    pub(super) fn commit(code: &Code, rows: &[Vec<Base>], random: &mut impl Rng) -> Self {
        let words = code.encode(rows, random);
        let tree = Tree::new(&words.values, words.width, random);
        Self { words, tree }
    }
}

/// Cells of a masks' leaf.
pub(super) const fn mask_width(products: bool) -> usize {
    if products { 6 } else { 4 }
}

impl Masks {
    /// Masks for an argument whose linear one adds up to `sum` on `H`.
    pub(super) fn commit(code: &Code, sum: Ext, products: bool, random: &mut impl Rng) -> Self {
        let mut polynomials = vec![code.blind(code.bound, random), code.blind_with_sum(sum, random)];
        if products {
            let quotient = code.blind(code.bound - code.cells(), random);
            let mut mask = vec![Ext::ZERO; code.bound];
            for (at, coefficient) in quotient.into_iter().enumerate() {
                mask[at] -= coefficient;
                mask[at + code.cells()] += coefficient;
            }
            polynomials.push(mask);
        }
        let polynomials: Vec<&[Ext]> = polynomials.iter().map(Vec::as_slice).collect();
        let values = code.evaluate(&polynomials);
        let words = RowMajorMatrix::new(Ext::flatten_to_base(values.values), mask_width(products));
        let tree = Tree::new(&words.values, words.width, random);
        Self { words, tree }
    }

    pub(super) fn root(&self) -> [u8; 32] {
        self.tree.root()
    }
}

impl Demand<'_> {
    /// Degrees by which a row is shifted to reach the bound.
    fn shift(&self) -> u64 {
        (self.code.bound - self.code.cells() - self.code.random) as u64
    }

    /// The three polynomials' values at one position.
    fn values(
        &self,
        x: Base,
        row: &[Base],
        mask: &[Base],
        terms: impl Iterator<Item = Ext>,
        random: &Random,
    ) -> [Ext; 3] {
        let masks: Vec<Ext> = mask.chunks_exact(2).map(pair).collect();
        let (mut plain, mut shifted) = (LazySum::default(), LazySum::default());
        let (coefficients, others) = random.rows.split_at(self.rows);
        for ((cell, coefficient), other) in row.iter().zip(coefficients).zip(others) {
            plain.add(*coefficient, *cell);
            shifted.add(*other, *cell);
        }
        let mut near = masks[0] + plain.value() + shifted.value() * x.exp_u64(self.shift());
        for (mask, power) in masks[1..].iter().zip(&random.rows[2 * self.rows..]) {
            near += *mask * *power;
        }
        let mut linear = masks[1];
        for (term, value) in self.terms.iter().zip(terms) {
            linear += value * LazySum::of(term.rows.iter().map(|(at, c)| (*c, row[*at]))).value();
        }
        let mut vanishing = masks.get(2).copied().unwrap_or_default();
        for (triple, power) in self.products.iter().zip(&random.products) {
            let [a, b, c] = triple.map(|at| pair(&row[at..at + 2]));
            vanishing += (a * b - c) * *power;
        }
        [near, linear, vanishing]
    }

    /// Makes the argument.
    pub(super) fn prove(&self, rows: &Rows, masks: &Masks, transcript: &mut Transcript) -> Argument {
        let code = self.code;
        let random = Random::draw(self, transcript);
        let step = code.length() >> code.inner();
        let vectors: Vec<Vec<Ext>> = self.terms.iter().map(|t| code.interpolate_cells(t.vector.clone())).collect();
        let vectors: Vec<&[Ext]> = vectors.iter().map(Vec::as_slice).collect();
        let vectors = code.evaluate_on(&vectors, code.inner());
        let values: Vec<[Ext; 3]> = (0..1usize << code.inner())
            .into_par_iter()
            .with_min_len(64)
            .map(|at| {
                let position = at * step;
                let row = &rows.words.values[position * self.rows..][..self.rows];
                let width = masks.words.width;
                let mask = &masks.words.values[position * width..][..width];
                let terms = vectors.values[at * self.terms.len()..].iter().copied();
                self.values(code.point(position), row, mask, terms, &random)
            })
            .collect();
        let polynomial = |which: usize| {
            let mut coefficients = code.interpolate(values.iter().map(|v| v[which]).collect());
            // Beyond the bound there is nothing, or the rows are not what they should be: then the argument fails.
            coefficients.truncate(code.bound);
            coefficients
        };
        let near = polynomial(0);
        let linear = polynomial(1).split_off(1);
        let vanishing = if self.products.is_empty() { vec![] } else { divide(&polynomial(2), code.cells()) };
        absorb(transcript, [&near, &linear, &vanishing]);
        let positions = positions(code, transcript);
        let open = |words: &RowMajorMatrix<Base>| -> Vec<Vec<Base>> {
            positions.iter().map(|at| words.values[at * words.width..][..words.width].to_vec()).collect()
        };
        Argument {
            near,
            linear,
            vanishing,
            rows: open(&rows.words),
            row_paths: rows.tree.open(&positions),
            masks: open(&masks.words),
            mask_paths: masks.tree.open(&positions),
        }
    }

    /// Checks the argument: that the linear demand adds up to `sum`, and that the products hold.
    pub(super) fn verify(
        &self,
        roots: [&[u8; 32]; 2],
        sum: Ext,
        argument: &Argument,
        transcript: &mut Transcript,
    ) -> Result<(), &'static str> {
        let code = self.code;
        let products = !self.products.is_empty();
        let expected = [code.bound, code.bound - 1, if products { code.bound - code.cells() } else { 0 }];
        let found = [&argument.near, &argument.linear, &argument.vanishing].map(Vec::len);
        if found != expected {
            return Err("a polynomial of another length");
        }
        let random = Random::draw(self, transcript);
        absorb(transcript, [&argument.near, &argument.linear, &argument.vanishing]);
        let positions = positions(code, transcript);
        let opened = [
            (&argument.rows, &argument.row_paths, self.rows, roots[0]),
            (&argument.masks, &argument.mask_paths, mask_width(products), roots[1]),
        ];
        for (rows, paths, width, root) in opened {
            if rows.iter().any(|row| row.len() != width) || paths.root(&positions, rows, code.domain) != Some(*root) {
                return Err("an opened position is not the commitment's");
            }
        }
        let mut linear = vec![Ext::ZERO];
        linear.extend(&argument.linear);
        linear[0] = (sum - code.sum(&linear)) * p3_field::Field::inverse(&Base::from_usize(code.cells()));
        let mut vanishing = vec![Ext::ZERO; code.bound];
        for (at, coefficient) in argument.vanishing.iter().enumerate() {
            vanishing[at] -= *coefficient;
            vanishing[at + code.cells()] += *coefficient;
        }
        let claimed = code.evaluate(&[&argument.near, &linear, &vanishing]);
        let fits = positions.par_iter().enumerate().all(|(at, &position)| {
            let x = code.point(position);
            let weights = code.weights(x);
            let products = |term: &Term| LazySum::of(term.vector.iter().copied().zip(weights.iter().copied())).value();
            let terms = self.terms.iter().map(products);
            let values = self.values(x, &argument.rows[at], &argument.masks[at], terms, &random);
            values[..] == claimed.values[position * 3..][..3]
        });
        if fits { Ok(()) } else { Err("a polynomial is not what the opened cells give") }
    }
}

/// The verifier's random coefficients.
struct Random {
    rows: Vec<Ext>,
    products: Vec<Ext>,
}

impl Random {
    fn draw(demand: &Demand<'_>, transcript: &mut Transcript) -> Self {
        // Masks have the coefficient one. What was committed with them must have others, or a mask could make up for it.
        let mut list = |length: usize| transcript.challenge().powers().skip(1).take(length).collect();
        Self { rows: list(2 * demand.rows + 2), products: list(demand.products.len()) }
    }
}

fn absorb(transcript: &mut Transcript, polynomials: [&Vec<Ext>; 3]) {
    for polynomial in polynomials {
        transcript.absorb_ext(polynomial);
    }
}

/// Random positions, ascending, each once.
fn positions(code: &Code, transcript: &mut Transcript) -> Vec<usize> {
    let mut positions: Vec<usize> = (0..QUERIES)
        .map(|_| {
            let drawn: Ext = transcript.challenge();
            let part: Base = drawn.as_basis_coefficients_slice()[0];
            // The modulus is one above a multiple of the length: no position is likelier by more than 2^-38.
            part.as_canonical_u64() as usize % code.length()
        })
        .collect();
    positions.sort_unstable();
    positions.dedup();
    positions
}

/// The quotient by `X^cells - 1`.
fn divide(polynomial: &[Ext], cells: usize) -> Vec<Ext> {
    let mut quotient = polynomial[cells..].to_vec();
    for at in (0..quotient.len().saturating_sub(cells)).rev() {
        let above = quotient[at + cells];
        quotient[at] += above;
    }
    quotient
}

/// Two cells as an element of the extension.
fn pair(cells: &[Base]) -> Ext {
    Ext::new([cells[0], cells[1]])
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::super::code::{uniform, uniform_ext};
    use super::*;

    struct Case {
        code: Code,
        rows: Rows,
        masks: Masks,
        terms: Vec<Term>,
        products: Vec<[usize; 3]>,
        sum: Ext,
    }

    impl Case {
        /// Six rows of an extension triple, three other rows; two terms.
        fn new(seed: u64, products: bool, true_product: bool) -> Self {
            let mut random = StdRng::seed_from_u64(seed);
            let code = Code::new(9, 1, products);
            let mut ext = || (0..512).map(|_| uniform_ext(&mut random)).collect::<Vec<Ext>>();
            let (x, y) = (ext(), ext());
            let mut z: Vec<Ext> = x.iter().zip(&y).map(|(x, y)| *x * *y).collect();
            if !true_product {
                z[100] += Ext::ONE;
            }
            let mut rows: Vec<Vec<Base>> = vec![];
            for list in [x, y, z] {
                for part in 0..2 {
                    rows.push(
                        list.iter()
                            .map(|v| <Ext as BasedVectorSpace<Base>>::as_basis_coefficients_slice(v)[part])
                            .collect(),
                    );
                }
            }
            rows.extend((0..3).map(|_| (0..512).map(|_| uniform(&mut random)).collect()));
            let mut term = |at: Vec<usize>| Term {
                vector: (0..512).map(|_| uniform_ext(&mut random)).collect(),
                rows: at.into_iter().map(|at| (at, uniform_ext(&mut random))).collect(),
            };
            let terms = vec![term(vec![0, 1]), term(vec![2, 6, 8])];
            let weigh = |term: &Term| -> Ext {
                let row = |h: usize| term.rows.iter().map(|(at, c)| *c * rows[*at][h]).sum::<Ext>();
                term.vector.iter().enumerate().map(|(h, v)| *v * row(h)).sum()
            };
            let sum = terms.iter().map(weigh).sum::<Ext>();
            let mask = uniform_ext(&mut random);
            let masks = Masks::commit(&code, mask, products, &mut random);
            let rows = Rows::commit(&code, &rows, &mut random);
            let products = if products { vec![[0, 2, 4]] } else { vec![] };
            Self { code, rows, masks, terms, products, sum: sum + mask }
        }

        fn demand(&self) -> Demand<'_> {
            Demand { code: &self.code, rows: 9, terms: &self.terms, products: &self.products }
        }

        fn prove(&self) -> Argument {
            self.demand().prove(&self.rows, &self.masks, &mut Transcript::new("test"))
        }

        fn verify(&self, argument: &Argument) -> Result<(), &'static str> {
            let roots = [&self.rows.tree.root(), &self.masks.root()];
            self.demand().verify(roots, self.sum, argument, &mut Transcript::new("test"))
        }
    }

    #[test]
    fn what_holds_is_accepted() {
        for products in [false, true] {
            let case = Case::new(1, products, true);
            assert_eq!(case.verify(&case.prove()), Ok(()));
        }
    }

    #[test]
    fn another_sum_is_refused() {
        let mut case = Case::new(2, true, true);
        case.sum += Ext::ONE;
        assert!(case.verify(&case.prove()).is_err());
    }

    #[test]
    fn one_false_product_is_refused() {
        let case = Case::new(3, true, false);
        assert!(case.verify(&case.prove()).is_err());
    }

    /// What the forger commits to instead, before any challenge; `Case`'s rows are 9 wide and its masks 6.
    fn committed_anew(words: &mut RowMajorMatrix<Base>, tree: &mut Tree, forge: impl Fn(usize, &mut [Base])) {
        let width = words.width;
        words.values.chunks_exact_mut(width).enumerate().for_each(|(position, cells)| forge(position, cells));
        *tree = Tree::new(&words.values, width, &mut StdRng::seed_from_u64(8));
    }

    #[test]
    fn a_mask_that_makes_up_for_a_false_product_is_refused() {
        let mut case = Case::new(3, true, false);
        let rows = &case.rows.words.values;
        committed_anew(&mut case.masks.words, &mut case.masks.tree, |position, mask| {
            let [x, y, z] = [0, 2, 4].map(|at| pair(&rows[position * 9 + at..][..2]));
            mask[4..].copy_from_slice((z - x * y).as_basis_coefficients_slice());
        });
        assert!(case.verify(&case.prove()).is_err());
    }

    #[test]
    fn rows_and_masks_that_are_no_code_words_are_refused() {
        for (column, of_masks) in [(0, true), (2, true), (4, true), (0, false), (8, false)] {
            let mut case = Case::new(4, true, true);
            let half = case.code.length() / 2;
            let forge = |position: usize, cells: &mut [Base]| {
                if position >= half {
                    cells[column] += Base::ONE;
                }
            };
            if of_masks {
                committed_anew(&mut case.masks.words, &mut case.masks.tree, forge);
            } else {
                committed_anew(&mut case.rows.words, &mut case.rows.tree, forge);
            }
            assert!(case.verify(&case.prove()).is_err(), "column {column}, masks {of_masks}");
        }
    }

    #[test]
    fn every_altered_part_is_refused() {
        let case = Case::new(4, true, true);
        let honest = case.prove();
        let alter: [fn(&mut Argument); 14] = [
            |a| a.near[0] += Ext::ONE,
            |a| a.linear[700] += Ext::ONE,
            |a| a.vanishing[3] += Ext::ONE,
            |a| a.near.push(Ext::ZERO),
            |a| a.linear.truncate(5),
            |a| a.vanishing.clear(),
            |a| a.rows[7][3] += Base::ONE,
            |a| a.masks[7][3] += Base::ONE,
            |a| drop(a.rows.pop()),
            |a| a.rows[0].push(Base::ZERO),
            |a| a.row_paths.siblings[9][0] ^= 1,
            |a| a.mask_paths.siblings.push([0; 32]),
            |a| a.row_paths.salts[4][1] ^= 1,
            |a| a.mask_paths.salts.truncate(5),
        ];
        for (at, alter) in alter.iter().enumerate() {
            let mut argument = honest.clone();
            alter(&mut argument);
            assert!(case.verify(&argument).is_err(), "alteration {at}");
        }
    }

    #[test]
    fn two_arguments_of_the_same_rows_share_no_polynomial_coefficient() {
        let (one, other) = (Case::new(5, true, true).prove(), Case::new(6, true, true).prove());
        for (a, b) in [(&one.near, &other.near), (&one.linear, &other.linear), (&one.vanishing, &other.vanishing)] {
            assert!(a.iter().zip(b).all(|(a, b)| a != b));
        }
    }
}
