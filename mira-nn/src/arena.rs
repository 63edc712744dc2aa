//! One block of memory for everything that lives for a while.

use std::ops::Range;

/// A piece of memory needed from step `first` to step `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lifetime {
    pub len: usize,
    pub first: usize,
    pub last: usize,
}

impl Lifetime {
    fn meets(&self, other: &Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// Places in an arena such that pieces alive at the same time do not overlap, and the arena's length. Largest first, each at
/// the lowest place that is free; places are multiples of `alignment`.
pub(super) fn place(pieces: &[Lifetime], alignment: usize) -> (Vec<Range<usize>>, usize) {
    let mut order: Vec<usize> = (0..pieces.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(pieces[i].len), pieces[i].first));
    let mut places = vec![0..0; pieces.len()];
    let mut placed: Vec<usize> = Vec::with_capacity(pieces.len());
    let mut total = 0;
    for i in order {
        let piece = pieces[i];
        let mut taken: Vec<Range<usize>> = placed
            .iter()
            .filter(|&&j| pieces[j].meets(&piece))
            .map(|&j| places[j].clone())
            .collect();
        taken.sort_by_key(|range| range.start);
        let mut start = 0;
        for range in taken {
            if start + piece.len <= range.start {
                break;
            }
            start = start.max(range.end.next_multiple_of(alignment));
        }
        places[i] = start..start + piece.len;
        total = total.max((start + piece.len).next_multiple_of(alignment));
        placed.push(i);
    }
    (places, total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_alive_together_are_apart_and_memory_is_reused() {
        // A chain: each piece is read by the next step only, so two places serve for all.
        let chain: Vec<_> = (0..20).map(|i| Lifetime { len: 100, first: i, last: i + 1 }).collect();
        let (places, total) = place(&chain, 16);
        assert_eq!(total, 2 * 112);
        for (i, a) in chain.iter().enumerate() {
            for (j, b) in chain.iter().enumerate().skip(i + 1) {
                let apart = places[i].end <= places[j].start || places[j].end <= places[i].start;
                assert!(apart || !a.meets(b), "{i} {j}");
            }
        }
    }
}
