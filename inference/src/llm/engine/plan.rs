//! Which sequences a step computes, and how many rows of each.

use super::EngineOptions;

/// What there is to do of a running sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    /// Which sequence it is.
    pub(super) arrival: u64,
    /// Rows until its next token, or its end.
    pub(super) rows: usize,
    /// Whether this is the row of the token that was drawn last: somebody reads on.
    pub(super) decodes: bool,
}

/// One row in so many of what has gathered is computed in a step, or more.
const GATHERED: usize = 64;

/// The rows of each sequence in a step, of `due` in the order of its ranks: one for each that decodes, then the others
/// in turn while there is room.
pub(super) fn plan(due: &[Due], options: &EngineOptions) -> Vec<(u64, usize)> {
    let room = options.step_rows.max(1);
    let mut rows: Vec<(u64, usize)> =
        due.iter().filter(|d| d.decodes).map(|d| (d.arrival, d.rows)).take(room).collect();
    let behind = || due.iter().filter(|d| !d.decodes);
    let budget = match rows.len() {
        0 => room,
        _ => options.prompt_rows.max(1).max(behind().map(|d| d.rows).sum::<usize>() / GATHERED),
    };
    let mut left = budget.min(room - rows.len());
    for due in behind() {
        let piece = due.rows.min(left);
        if piece == 0 {
            break;
        }
        left -= piece;
        rows.push((due.arrival, piece));
    }
    rows
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::llm::arena::KvForm;

    fn options(step_rows: usize, prompt_rows: usize) -> EngineOptions {
        EngineOptions {
            threads: 1,
            context: 1 << 13,
            kv_bytes: 0,
            kv_form: KvForm::F16,
            step_rows,
            prompt_rows,
            running: 64,
            waiting: 0,
        }
    }

    /// Sequences numbered from 0, in order of rank: those that decode where there are no rows.
    fn due(rows: &[usize]) -> Vec<Due> {
        let each = |(at, rows): (usize, &usize)| Due { arrival: at as u64, rows: (*rows).max(1), decodes: *rows == 0 };
        rows.iter().enumerate().map(each).collect()
    }

    #[test]
    fn prompts_alone_have_all_the_room_and_beside_those_that_decode_a_part() {
        let of = |rows: &[usize]| plan(&due(rows), &options(256, 32));
        assert_eq!(of(&[]), []);
        assert_eq!(of(&[200, 100, 5]), [(0, 200), (1, 56)]);
        assert_eq!(of(&[0, 200, 0]), [(0, 1), (2, 1), (1, 32)]);
        assert_eq!(of(&[20, 0, 20, 20]), [(1, 1), (0, 20), (2, 12)], "two share it, and the third waits");
        assert_eq!(of(&[1, 200]), [(0, 1), (1, 200)], "a prompt's last row is nobody's next token");
        assert_eq!(of(&[0, 1, 1]), [(0, 1), (1, 1), (2, 1)]);
    }

    #[test]
    fn what_has_gathered_takes_more() {
        let of = |rows: &[usize]| plan(&due(rows), &options(256, 32));
        assert_eq!(of(&[0, 2048]), [(0, 1), (1, 32)]);
        assert_eq!(of(&[0, 8192]), [(0, 1), (1, 128)]);
        assert_eq!(of(&[0, 100, 6300]), [(0, 1), (1, 100)]);
        assert_eq!(of(&[0, 8192, 8192, 8192]), [(0, 1), (1, 255)], "and never more than a step holds");
    }

    #[test]
    fn options_at_their_edges() {
        assert_eq!(plan(&due(&[0, 9]), &options(256, 0)), [(0, 1), (1, 1)]);
        assert_eq!(plan(&due(&[0, 9]), &options(4, 100)), [(0, 1), (1, 3)]);
        assert_eq!(plan(&due(&[0, 0, 9]), &options(0, 0)), [(0, 1)]);
        assert_eq!(plan(&due(&[0, 0, 9]), &options(2, 2)), [(0, 1), (1, 1)], "no room is left for the third");
    }

    proptest! {
        #[test]
        fn a_step_holds_what_it_may_and_moves_on(
            rows in proptest::collection::vec(0usize..9000, 1..70),
            step_rows in 0usize..300,
            prompt_rows in 0usize..300,
        ) {
            let due = due(&rows);
            let plan = plan(&due, &options(step_rows, prompt_rows));
            prop_assert!(!plan.is_empty());
            prop_assert!(plan.iter().map(|(_, rows)| rows).sum::<usize>() <= step_rows.max(1));
            for (arrival, piece) in &plan {
                prop_assert!((1..=due[*arrival as usize].rows).contains(piece));
            }
            let decoding = due.iter().filter(|d| d.decodes).count().min(step_rows.max(1));
            prop_assert_eq!(plan.iter().filter(|(at, _)| due[*at as usize].decodes).count(), decoding);
            if let Some(behind) = due.iter().find(|d| !d.decodes) && decoding < step_rows.max(1) {
                prop_assert!(plan.iter().any(|(at, _)| *at == behind.arrival), "the first of them moves on");
            }
        }
    }
}
