//! Arguments as bytes: each list has the length that its demand gives, but for those that follow from the positions drawn.

use p3_field::{BasedVectorSpace, PrimeField64};

use super::argument::{Argument, Demand, mask_width};
use super::code::QUERIES;
use super::tree::Paths;
use crate::proof::sumcheck::commitment::{Base, Ext, OpeningError, Reader};

impl Argument {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        for value in self.near.iter().chain(&self.linear).chain(&self.vanishing) {
            let parts: &[Base] = value.as_basis_coefficients_slice();
            write_bases(out, parts);
        }
        write_count(out, self.rows.len());
        for (rows, paths) in [(&self.rows, &self.row_paths), (&self.masks, &self.mask_paths)] {
            rows.iter().for_each(|row| write_bases(out, row));
            paths.salts.iter().for_each(|salt| out.extend(salt));
            write_count(out, paths.siblings.len());
            paths.siblings.iter().for_each(|sibling| out.extend(sibling));
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>, demand: &Demand<'_>) -> Result<Self, OpeningError> {
        let (code, products) = (demand.code, !demand.products.is_empty());
        let near: Vec<Ext> = reader.exts(code.bound)?;
        let linear = reader.exts(code.bound - 1)?;
        let vanishing = reader.exts(if products { code.bound - code.cells() } else { 0 })?;
        let count = reader.count(QUERIES)?;
        let mut opened = |width: usize| {
            reader.holds(count, 8 * width)?;
            let rows = (0..count).map(|_| reader.bases(width)).collect::<Result<Vec<_>, _>>()?;
            let salts = reader.digests(count)?;
            let siblings = reader.count(count * code.domain)?;
            Ok::<_, OpeningError>((rows, Paths { salts, siblings: reader.digests(siblings)? }))
        };
        let (rows, row_paths) = opened(demand.rows)?;
        let (masks, mask_paths) = opened(mask_width(products))?;
        Ok(Self { near, linear, vanishing, rows, row_paths, masks, mask_paths })
    }
}

fn write_bases(out: &mut Vec<u8>, values: &[Base]) {
    values.iter().for_each(|value| out.extend(value.as_canonical_u64().to_le_bytes()));
}

fn write_count(out: &mut Vec<u8>, count: usize) {
    out.extend(u32::try_from(count).expect("at most the siblings of all positions").to_le_bytes());
}
